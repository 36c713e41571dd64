"""Audiences: every fault of a rules file by its line, users counted by hand, and nobody near a topic that is sensitive or muted."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from jobs.segment import segment
from jobs.settings import SettingError, Settings
from recsys_core import profiles
from recsys_core.declared import NOBODY, Stances
from recsys_core.events import COUNTED_TYPES, EVENT_TYPES
from recsys_core.grouping import MICRO
from recsys_core.lake import Lake, Stamp
from recsys_core.segments.audiences import near_topics, ruled
from recsys_core.segments.counts import TopicTree, columns, counted, matching_items
from recsys_core.segments.rules import HORIZONS, Did, Rules, SegmentError, rules
from recsys_core.tables import TABLES
from recsys_core.texts import term_pattern

D = dt.date(2026, 3, 10)
# 1 drinks over 2 tea and 3 coffee; 4 poker is sensitive, below 5 games.
TREE = TopicTree(
    {1: ("drinks", "饮品"), 2: ("tea", "茶"), 3: ("coffee", "咖啡"), 4: ("poker", "扑克"), 5: ("games", "游戏")},
    {1: None, 2: 1, 3: 1, 4: 5, 5: None},
    frozenset({4}),
)


def rows_of(table: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows of a table in which what a test leaves out is 0, '' or null."""
    zero = {
        "bigint": 0,
        "double": 0.0,
        "string": "",
        "smallint": 0,
        "date": D,
        "boolean": False,
        "timestamp": dt.datetime(2026, 3, 10, tzinfo=dt.UTC),
    }
    columns = TABLES[table].columns
    return pa.Table.from_pylist(
        [{c.name: None if c.nullable else zero.get(c.type, "") for c in columns} | {"ds": D} | r for r in rows],
        schema=TABLES[table].arrow_schema(),
    )


def by_night(rows: pa.Table) -> list[pa.Table]:
    """A table for each night."""
    return [rows.filter(pc.equal(rows["ds"], night)) for night in pc.unique(rows["ds"])]


# -- the file ----------------------------------------------------------------------------------------------------------------------
FILE = """
[tea_lovers]
lifecycle = ["new", "active"]
[tea_lovers.searched]
event_types = "search"
term = ["tea", "茶"]
at_least = 3
["茶客".holds]
topic = 2
min_share = 0.25
horizon = "7d"
["茶客".rising]
topic = [1]
change = ["rising", "new"]
"""


def test_a_file_is_read_whatever_its_order() -> None:
    found = rules(FILE, "site.toml")
    assert [r.segment for r in found.rules] == ["tea_lovers", "茶客"]
    assert found.did() == [Did(("search",), term=("tea", "茶"), at_least=3, nights=7)]
    assert [r.about() for r in found.rules] == [set(), {1, 2}]
    assert rules("", "x") == Rules()
    parts = FILE.split("[", 2)
    assert rules('["茶客".holds]' + FILE.split('["茶客".holds]')[1] + "[" + parts[1] + "[" + parts[2].split('["茶客"')[0], "x") == found
    assert tuple(profiles.HORIZONS) == HORIZONS
    (default,) = rules("[a.b]\nat_least = 2", "x").did()
    assert default.event_types == tuple(t.name for t in EVENT_TYPES.values() if t.polarity > 0)


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("[a]\nb = ", ["line 2: not TOML: "]),
        ("a = 1", ["line 1: a is no segment; write [tea_lovers.searched]"]),
        ("\n[a]", ["line 2: [a] has no condition, so everybody would be in it"]),
        ('["topic:3".x]\nat_least = 1', ["line 1: [topic:3] is no name of a segment"]),
        ("[a]\nlifecycel = 'new'", ["line 2: [a] has no key 'lifecycel'; did you mean lifecycle?"]),
        ("[a]\nat_least = 3", ["line 2: [a] at_least belongs to a condition: write [a.some_name]"]),
        ("[a]\nlifecycle = 'old'", ['line 2: [a] lifecycle is "old"; give one or more of new, active, lapsing, dormant']),
        ("[a]\ncold_level = [1, 4]", ["line 2: [a] cold_level is 4; give one or more of 0, 1, 2, 3"]),
        ("[a.b]", ["line 1: [a.b] is empty"]),
        ("[a.b]\nnigths = 3", ["line 2: [a.b] has no key 'nigths'; did you mean nights?"]),
        ("[a.b]\nevent_types = 'serach'", ['line 2: [a.b] event_types is "serach"; did you mean search? give one or more of view']),
        ("[a.b]\nevent_types = []", ["line 2: [a.b] event_types is []"]),
        (
            "[a.b]\nat_least = 0\nnights = 91",
            ["line 2: [a.b] at_least is 0", "line 3: [a.b] nights is 91; give a whole number from 1 to 90"],
        ),
        ("[a.b]\nat_least = true", ["line 2: [a.b] at_least is true"]),
        ("[a.b]\nnights = [3]", ["line 2: [a.b] nights is [3]"]),
        ("[a.b]\ntopic = 2\nterm = 'tea'", ["line 3: [a.b] term does not go with topic"]),
        ("[a.b]\nterm = '?!'", ['line 2: [a.b] term is "?!"; give words in quotes']),
        ("[a.b]\nbrand = 'x'\nevent_types = 'search'", ["line 3: [a.b] event_types names search, but a search has no brand"]),
        ("[a.b]\nmin_share = 2", ["line 1: [a.b] lacks topic", "line 2: [a.b] min_share is 2; give a number above 0"]),
        ("[a.b]\ntopic = 2\nhorizon = '9d'", ["line 1: [a.b] lacks min_share", 'line 3: [a.b] horizon is "9d"; give one of 1d, 7d, 90d']),
        ("[a.b]\ntopic = 'tea'\nchange = 'up'", ['line 2: [a.b] topic is "tea"', 'line 3: [a.b] change is "up"; give one or more of new']),
        (
            "[a.b]\ntopic = 1\nchange = 'new'\nterm = 'x'",
            ["line 4: [a.b] term does not go with topic, change; here there are topic, change"],
        ),
        ("[a.b]\nat_least = nan", ["line 2: [a.b] at_least is NaN"]),
    ],
)
def test_every_fault_has_its_line_and_its_remedy(text: str, faults: list[str]) -> None:
    with pytest.raises(SegmentError) as caught:
        rules(text, "site.toml")
    found = str(caught.value).split("\n")
    assert len(found) == len(faults)
    for line, start in zip(found, faults, strict=True):
        assert line.startswith(f"site.toml, {start}"), line


def test_a_setting_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("[a.b]\nnights = 0\n", encoding="utf-8")
    with pytest.raises(SettingError, match=r"^SEGMENTS_FILE: .*rules.toml, line 2: \[a.b\] nights is 0"):
        _ = Settings(segments_file=str(path)).segments
    with pytest.raises(SettingError, match="which is not there"):
        _ = Settings(segments_file=str(path) + "x").segments
    assert Settings().segments == Rules()


def test_words_are_whole_and_chinese_ones_parts() -> None:
    for terms, text, met in (
        (("tea",), "green tea, 50 g", True),
        (("tea",), "steam", False),
        (("tea",), "a team", False),
        (("Tea Pot",), "blue tea pot", True),
        (("ＴＥＡ",), "tea", True),
        (("tea",), "买tea杯", True),
        (("茶",), "绿茶具", True),
        (("c++",), "c++ primer", True),
        (("tea", "茶"), "coffee", False),
    ):
        assert bool(term_pattern(terms).search(text)) is met, (terms, text)


# -- counting ----------------------------------------------------------------------------------------------------------------------
CATALOGUE = pa.table(
    {
        "item_id": ["tea", "cha", "steam", "mug", "deck"],
        "title": ["Green TEA", "绿茶 100克", "Steam iron", None, "Tea cards"],
        "category": ["Drinks/Tea", "Tea", "Home", "Drinks", None],
        "brand": ["Leaf", "叶", "Leaf", "ＬＥＡＦ", None],
    }
)
ABOVE = {"Tea": "drinks", "Drinks/Tea": "Tea", "Drinks": None, "Home": "Ring", "Ring": "home"}
FIRST = {"tea": 2, "cha": 2, "mug": 3, "deck": 4}


def test_items_meet_conditions_by_title_category_and_brand() -> None:
    conditions = [
        Did(("view",), term=("tea", "茶")),
        Did(("view",), category=("DRINKS",)),
        Did(("view",), brand=("leaf",)),
        Did(("view",), category=("drinks",), brand=("leaf",)),
        Did(("view",)),
    ]
    found = {r.pop("item_id"): r for r in matching_items(conditions, CATALOGUE, ABOVE, FIRST, {4}).to_pylist()}
    met = {item: [n for n in range(5) if row[f"f{n}"]] for item, row in found.items()}
    assert met == {"tea": [0, 1, 2, 3], "cha": [0, 1], "steam": [2], "mug": [1, 2, 3]}
    assert {item: row["topic_id"] for item, row in found.items()} == {"tea": 2, "cha": 2, "steam": None, "mug": 3}
    assert "deck" in matching_items(conditions, CATALOGUE, ABOVE, FIRST)["item_id"].to_pylist()


@pytest.fixture(scope="module")
def counts() -> dict[str, dict[int, float]]:
    """user → condition → events of what the frames below hold; CONDITIONS says what is counted."""

    def ago(n: int) -> dt.date:
        return D - dt.timedelta(days=n)

    item_days = rows_of(
        "user_item_day",
        [
            {"user_key": "a", "item_id": "tea", "n_view": 2, "n_purchase": 1},
            {"user_key": "a", "item_id": "cha", "ds": ago(6), "n_view": 1},
            {"user_key": "a", "item_id": "cha", "ds": ago(7), "n_view": 5},  # a night too early
            {"user_key": "b", "item_id": "steam", "n_view": 9},
            {"user_key": "c", "item_id": "tea", "n_view": 9},  # muted
            {"user_key": "c", "item_id": "gone", "n_purchase": 4},
        ],
    )
    said = [("a", 0, "绿茶", 1), ("a", 1, "Green TEA?", 1), ("a", 7, "tea", 9), ("b", 0, "steam iron", 5), ("b", 2, "ｔｅａ", 1)]
    searches = rows_of(
        "user_text",
        [
            {"user_key": u, "ds": ago(n), "kind": "search", "text": t, "text_hash": f"{i}", "n_events": k}
            for i, (u, n, t, k) in enumerate(said)
        ]
        + [{"user_key": "b", "kind": "review", "text": "tea tea", "text_hash": "r", "n_events": 9}],
    )
    topic_days = rows_of(
        "user_topic_day",
        [
            {"user_key": u, "topic_id": t, "model_version": "m", f"mass_{kind}_micro": round(mass * MICRO)}
            for u, t, kind, mass in (
                ("a", 2, "search", 1.2),
                ("a", 3, "search", 0.8),
                ("a", 3, "view", 9.0),
                ("b", 4, "search", 9.0),
                ("c", 2, "search", 9.0),
            )
        ],
    )
    items = matching_items(CONDITIONS, CATALOGUE, ABOVE, FIRST, {4})
    tables = {"user_topic_day": topic_days, "user_item_day": item_days, "user_text": searches}
    facts = {table: by_night(tables[table].select(names)) for table, names in columns(CONDITIONS).items()}
    assert facts.keys() == tables.keys()
    found = counted(CONDITIONS, D, facts, items, TREE, {("c", 2)}).to_pylist()
    return {r["user_key"]: {n: r[f"c{n}"] / MICRO for n in range(len(CONDITIONS)) if r[f"c{n}"]} for r in found}


CONDITIONS = [
    Did(("view", "search"), term=("tea", "茶"), at_least=5),  # 0: a 2 + 1 views, 2 searches; b 1 search
    Did(("search",), topic=(1,), at_least=2),  # 1: a 1.2 + 0.8
    Did(("search",), topic=(5,), at_least=1),  # 2: what is below games is sensitive
    Did(("purchase",), at_least=4, nights=1),  # 3: c, of an item that is sold no more
    Did(("search",), at_least=6, nights=90),  # 4: a 11, b 6
    Did(("view",), brand=("leaf",), at_least=9),  # 5: b's iron
]


def test_events_are_counted_by_topic_term_item_and_night(counts: dict[str, dict[int, float]]) -> None:
    assert counts == {"a": {0: 5, 1: 2, 3: 1, 4: 11, 5: 2}, "b": {0: 1, 4: 6, 5: 9}, "c": {3: 4}}


def test_no_model_and_no_condition_on_topics() -> None:
    days = rows_of("user_item_day", [{"user_key": "a", "item_id": "x", "n_like": 1}])
    items = matching_items([Did(("like",))], CATALOGUE, {}, {})
    facts = {"user_item_day": [days], "user_text": [rows_of("user_text", [])]}
    for condition, users in ((Did(("like",)), ["a"]), (Did(("like",), topic=(2,)), [])):
        found = counted([condition], D, facts, items, TREE)
        assert found["user_key"].to_pylist() == users
    assert set(COUNTED_TYPES) >= set(EVENT_TYPES)


def test_only_facts_that_a_condition_asks_about_are_read() -> None:
    assert columns([Did(("search", "view"), brand=("leaf",))]) == {"user_item_day": ["ds", "user_key", "item_id", "n_view"]}
    assert columns([Did(("search",))]) == {"user_text": ["ds", "user_key", "kind", "text", "n_events"]}
    assert columns([Did(("view",), topic=(1,))]) == {"user_topic_day": ["ds", "user_key", "topic_id", "mass_view_micro"]}


# -- rules -------------------------------------------------------------------------------------------------------------------------
def audiences(text: str, muted: frozenset[tuple[str, int]] = frozenset(), **tables: pa.Table) -> dict[str, dict[str, tuple[float, str]]]:
    """segment → user → (score, reason)"""
    given = {
        "counts": pa.table({"user_key": ["u", "v", "w"], "c0": pa.array([3 * MICRO, 12_600_000, 2_999_999], pa.int64())}),
        "profile": pa.table(
            {"user_key": ["u", "v", "w"], "lifecycle": ["new", "active", "new"], "cold_level": pa.array([2, 3, 3], pa.int16())}
        ),
        "interests": pa.table(
            {
                "user_key": ["u", "u", "v", "w", "w"],
                "topic_id": [2, 3, 2, 4, 2],
                "horizon": ["7d", "7d", "7d", "7d", "90d"],
                "share": [0.2, 0.3, 0.4, 0.9, 0.9],
            }
        ),
        "changes": pa.table({"user_key": ["u", "u", "v", "w"], "topic_id": [2, 3, 3, 4], "change": ["rising", "new", "lost", "rising"]}),
    } | tables
    found: dict[str, dict[str, tuple[float, str]]] = {}
    for r in ruled(rules(text, "x"), **given, tree=TREE, stances=Stances(NOBODY.prior, muted), ds=D).to_pylist():
        found.setdefault(r["segment"], {})[r["user_key"]] = (r["score"], r["reason"])
    return found


def test_all_conditions_hold_and_the_reason_says_them() -> None:
    assert audiences("[often.b]\nevent_types = 'search'\nterm = ['tea', '茶']\nat_least = 3") == {
        "often": {
            "u": (1.0, "3 events of search on “tea” / “茶” in 7 nights · 7天内3次行为（search），涉及“tea” / “茶”"),
            "v": (4.2, "12.6 events of search on “tea” / “茶” in 7 nights · 7天内12.6次行为（search），涉及“tea” / “茶”"),
        }
    }
    several = (
        "[s]\nlifecycle = 'new'\ncold_level = [1, 2]\n[s.a]\ntopic = 1\nmin_share = 0.4\nhorizon = '7d'\n[s.b]\ntopic = 1\nchange = 'new'"
    )
    english = "lifecycle is new; cold level is 1 or 2; 50 % of the interest over 7d is drinks; interest in drinks is new"
    chinese = "生命周期为新用户；冷启动级别为1或2；7d兴趣中饮品占50%；对饮品的兴趣新出现"
    assert audiences(several) == {"s": {"u": (1.25, f"{english} · {chinese}")}}


def test_rules_overlap_and_pass_over_what_is_sensitive_or_muted() -> None:
    share = "min_share = 0.1\nhorizon = '7d'\n"
    text = f"[t.a]\ntopic = [2, 4]\n{share}[p.a]\ntopic = 5\n{share}[r.a]\ntopic = 4\nchange = 'rising'"
    assert {s: sorted(users) for s, users in audiences(text).items()} == {"t": ["u", "v"]}
    assert "poker" not in str(audiences(text))
    assert {s: sorted(users) for s, users in audiences(text, frozenset({("u", 2)})).items()} == {"t": ["v"]}
    both = "[a]\nlifecycle = 'new'\n[b]\ncold_level = [2, 3]"
    assert {s: sorted(users) for s, users in audiences(both).items()} == {"a": ["u", "w"], "b": ["u", "v", "w"]}
    assert audiences("") == {}


# -- similarity --------------------------------------------------------------------------------------------------------------------
def near(vectors: dict[str, list[tuple[list[float], float]]], percent: int = 50, muted: frozenset[tuple[str, int]] = frozenset()) -> Any:
    """{(topic, user): score} over nine items: three each about tea (x), coffee (y) and poker (z)."""
    angles = (0.0, 0.2, 0.4)
    points = np.array([np.roll([np.cos(a), np.sin(a), 0.0], k) for k in range(3) for a in angles], np.float32)
    items = [f"i{n}" for n in range(9)]
    topic = pa.table({"item_id": items, "topic_id": [2] * 3 + [3] * 3 + [4] * 3, "rank": [1] * 9})
    rows = [
        {"user_key": u, "rank": n, "share": share, "vector": v, "item_id": "x"}
        for u, given in vectors.items()
        for n, (v, share) in enumerate(given, 1)
    ]
    table = rows_of("user_interest_vector", rows)
    found = near_topics(table, items, points, topic, TREE, Stances(NOBODY.prior, muted), D, percent).to_pylist()
    assert all(
        r["reason"] == f"as near to “{a}” as {100 - percent} % of its own items are · 与“{b}”的贴近程度达到其{100 - percent}%的内容"
        for r in found
        for a, b in [TREE.labels[int(r["segment"][6:])]]
    )
    return {(r["segment"], r["user_key"]): r["score"] for r in found}


def test_audiences_of_topics_overlap_by_a_threshold_of_their_own() -> None:
    x, y, z, off = [0.98, 0.2, 0.0], [0.0, 0.98, 0.2], [0.2, 0.0, 0.98], [0.9, 0.0, 0.43]
    users = {"both": [(x, 0.7), (y, 0.3)], "hardly": [(x, 0.95), (y, 0.05)], "poker": [(z, 1.0)], "far": [(off, 1.0)]}
    found = near(users)
    assert set(found) == {("topic:2", "both"), ("topic:2", "hardly"), ("topic:3", "both")}
    assert all(score > 0.99 for score in found.values())
    assert set(near(users, percent=1)) >= set(found)
    assert set(near(users, muted=frozenset({("both", 2)}))) == {("topic:2", "hardly"), ("topic:3", "both")}
    swapped = near(users | {"both": users["poker"], "poker": users["both"]})
    assert set(swapped) == {("topic:2", "poker"), ("topic:2", "hardly"), ("topic:3", "poker")}
    assert near({}) == {}


# -- the job ---------------------------------------------------------------------------------------------------------------------
class SmallNight:
    """What the job asks of a Night, over a real lake: no topic model, no texts."""

    ds, topics, sensitive, stances = D, None, frozenset[int](), NOBODY

    def __init__(self, lake: Lake, rules_file: str) -> None:
        self.lake, self.settings = lake, Settings(segments_file=rules_file)
        self.said: list[str] = []
        self.runner = self

    def say(self, line: str) -> None:
        self.said.append(line)

    def read(self, name: str, back: int | None = None, columns: list[str] | None = None) -> pa.Table:
        parts = {"model_version": "none"} if "model_version" in TABLES[name].partition else {}
        return self.lake.read(name, [] if parts else self.lake.nights(name), columns, None, **parts)

    def nights(self, name: str, back: int) -> list[dt.date]:
        return [d for d in self.lake.nights(name) if d > D - dt.timedelta(days=back)]

    def vectors(self, hashes: list[str]) -> np.ndarray:
        return np.zeros((len(hashes), 1), np.float32)

    def write(self, name: str, rows: pa.Table) -> None:
        self.lake.write(name, D, rows, Stamp("segment", "hash"))


def test_the_job_counts_within_the_nights_of_its_rules(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    held: dict[str, list[dict[str, Any]]] = {
        "user_item_day": [{"user_key": "a", "item_id": "tea", "n_view": 2}, {"user_key": "b", "item_id": "tea", "n_view": 1}],
        "user_text": [{"user_key": "b", "kind": "search", "text": "绿茶", "text_hash": "h", "n_events": 1}],
        "user_profile": [{"user_key": u, "lifecycle": kind, "cold_level": 2} for u, kind in (("a", "new"), ("b", "new"), ("c", "active"))],
        "item": [{"item_id": "tea", "title": "Green tea", "category": "Tea"}],
        **{name: [] for name in ("category", "item_text", "user_interest", "user_interest_change", "user_interest_vector")},
    }
    for name, rows in held.items():
        lake.write(name, D, rows_of(name, rows), Stamp("facts", "hash"))
    file = tmp_path / "rules.toml"
    file.write_text(
        "[tea]\nlifecycle = 'new'\n[tea.a]\nterm = ['tea', '茶']\nat_least = 2\n[t.a]\ntopic = 7\nat_least = 1\n", encoding="utf-8"
    )
    night = SmallNight(lake, str(file))
    segment(night)  # type: ignore[arg-type]
    assert [(r["segment"], r["user_key"], r["score"]) for r in lake.read("user_segment", [D]).to_pylist()] == [
        ("tea", "a", 1),
        ("tea", "b", 1),
    ]
    assert night.said == ["2026-03-10 segment: [t] names [7]: no topics of the night, or sensitive ones"]
    file.write_text("", encoding="utf-8")
    segment(SmallNight(lake, str(file)))  # type: ignore[arg-type]
    assert lake.read("user_segment", [D]).num_rows == 0


def test_the_page_shows_rules_that_can_be_used(repo_root: Path) -> None:
    example = (repo_root / "docs" / "segments.md").read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0]
    assert [r.segment for r in rules(example, "docs").rules] == ["gift_buyers", "tea_seekers", "茶客"]
