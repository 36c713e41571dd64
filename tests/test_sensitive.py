"""Sensitive topics are named by id or word, marked, not shown and not published with proposals; the site's own edges between topics."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from jobs.settings import SettingError, Settings
from recsys_core.sensitive import Sensitive, SensitiveError, marked, sensitive
from recsys_core.tables import TABLES
from recsys_core.taxonomy_edges import TaxonomyEdgeError, TaxonomyEdges, taxonomy_edges
from recsys_core.warehouse import PublishError, connect
from tests.test_warehouse import DAY, models, night, row, table

NAMES = ("topic_id", "parent_topic_id", "label_en", "label_zh", "keywords", "sensitive")
ROWS = [
    (1, None, "games", "游戏", '["dice"]', False),
    (2, 1, "Online-Poker", "网上扑克", '["chips"]', False),
    (3, 9, "tea", "茶", '["pot"]', False),
    (4, None, "flagged before", "旧", "[]", True),
    (9, None, "hot drinks", "热饮", "[]", False),
]
TOPIC = pa.table(dict(zip(NAMES, zip(*ROWS, strict=True), strict=True)))


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (Sensitive(), {4}),
        (Sensitive((2, 77)), {2, 4}),
        (Sensitive((1,)), {1, 2, 4}),  # with all below it
        (Sensitive((), ("poker",)), {2, 4}),
        (Sensitive((), ("oker", "扑")), {2, 4}),  # a part of a Chinese word, no part of an English one
        (Sensitive((), ("POT", "drink")), {3, 4}),
        (Sensitive((), ("Ｈｏｔ  drinks",)), {3, 4, 9}),
        (Sensitive((), ("c++", "a.")), {4}),  # no pattern
    ],
)
def test_topics_are_found_by_id_and_word(given: Sensitive, found: set[int]) -> None:
    assert given.among(TOPIC) == found
    assert [r["topic_id"] for r in marked(TOPIC, given).to_pylist() if r["sensitive"]] == sorted(found)


def test_a_file_of_sensitive_topics_names_all_its_faults(tmp_path: Path) -> None:
    text = 'words = "gambling"\n\ntopic = [1]\ntopics = [1, 0, true, "2"]\n'
    with pytest.raises(SensitiveError) as caught:
        sensitive(text, "s.toml")
    assert [line.split(": ")[0] for line in str(caught.value).split("\n")] == ["s.toml, line 1", "s.toml, line 3", *["s.toml, line 4"] * 3]
    assert "did you mean topics?" in str(caught.value)
    with pytest.raises(SensitiveError, match=r's\.toml, line 2: words names "—"; give words in quotes'):
        sensitive('topics = []\nwords = ["—"]', "s.toml")
    with pytest.raises(SensitiveError, match=r"line 2: not TOML: .*write topics = "):
        sensitive("topics = [1]\nwords = [", "s.toml")
    path = tmp_path / "s.toml"
    path.write_text('words = ["赌博", "bets"]', encoding="utf-8")
    assert Settings(sensitive_topics_file=str(path)).sensitive_topics == Sensitive((), ("bets", "赌博"))
    assert Settings().sensitive_topics == Sensitive()
    path.write_text("words = 1", encoding="utf-8")
    with pytest.raises(SettingError, match=r"SENSITIVE_TOPICS_FILE: .*s\.toml, line 1: words is no list"):
        _ = Settings(sensitive_topics_file=str(path)).sensitive_topics


def test_a_file_of_edges_names_all_its_faults(tmp_path: Path) -> None:
    for text, lines in {
        "": ["1"],
        "from,to\n1,2\n": ["1"],
        "src,dst\n1\n\n1,2\n1,2,3\n1, 2\nTea,tea\n": ["2", "5", "6", "7"],
        'src,dst\n"a\nb",c\nd\n': ["4"],  # a field may hold a line break
        'src,dst\n1,"2\n': ["2"],
    }.items():
        with pytest.raises(TaxonomyEdgeError) as caught:
            taxonomy_edges(text, "e.csv")
        assert [line.removeprefix("e.csv, line ").split(":")[0] for line in str(caught.value).split("\n")] == lines, text
    path = tmp_path / "e.csv"
    path.write_text("src,dst\n茶,9\n", encoding="utf-8-sig")
    assert Settings(taxonomy_edge_file=str(path)).taxonomy_edges == TaxonomyEdges((("茶", "9"),))
    with pytest.raises(SettingError, match=r"TAXONOMY_EDGE_FILE names .*none, which is not there"):
        _ = Settings(taxonomy_edge_file=str(tmp_path / "none")).taxonomy_edges


def test_what_is_sensitive_is_neither_published_nor_shown(tmp_path: Path) -> None:
    proposal = row(ds=DAY, user_key="u1", topic_id=2, method="context", via_topic_id=1, score=0.5, rank=1, reason="close")
    edge = row(ds=DAY, src_topic_id=1, dst_topic_id=2, relation="similar", directed=False, n_users=0, weight=0.5, lift=1.0)
    audience = row(ds=DAY, segment="topic:1", user_key="u1", score=0.5, reason="holds it")
    known = models() | {"topic": marked(models()["topic"], Sensitive((1,)))}
    assert known["topic"].schema.equals(TABLES["topic"].arrow_schema())
    with connect(f"duckdb:///{tmp_path / 'w.duckdb'}") as warehouse:
        for name, of in (("user_interest_expansion", proposal), ("interest_edge", edge), ("user_segment", audience)):
            with pytest.raises(PublishError, match="sensitive_topics_are_not_expanded"):
                warehouse.publish_nights([night(rows={name: table(name, [of])})], known)

        def shown(view: str, column: str = "topic_id") -> set[int | None]:
            return set(warehouse.query(f"SELECT {column} AS found FROM {view}")["found"].to_pylist())

        warehouse.publish_nights([night()], known)
        assert shown("user_interest") == {1, 2}
        assert shown("user_interest_now") == shown("user_interest_by_parent") == {2}
        assert shown("user_topn_now") == shown("user_profile_now", "top_topic_id") == shown("user_profile_now", "top_label_zh") == {None}
        warehouse.publish_nights([night(rows={"interest_edge": table("interest_edge", [edge])})], models())
        assert shown("user_topn_now") == {1, None}
        assert shown("user_profile_now", "top_topic_id") == {1, None}
