"""The nightly page and the page of topics: what was published is on them, and hostile text stays text."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from recsys_core import registry, report
from recsys_core.lake import Lake, canonical_json
from recsys_core.privacy.release import shown
from recsys_core.registry import ModelVersion
from recsys_core.report import write_report
from recsys_core.report.night import night_page
from recsys_core.report.topics import topics_page
from recsys_core.tables import TABLES
from recsys_core.topics.kmeans import KMeans
from recsys_core.topics.tables import Topics, artifacts

D = dt.date(2026, 3, 2)
DAY = dt.timedelta(days=1)
HOSTILE = "<script>alert(1)</script>"
U = "u" * 64
MODEL, BEFORE = "topics-2026-03-01-aaaaaaaa", "topics-2026-02-01-bbbbbbbb"
Rows = dict[str, list[dict[str, Any]]]


def topic(topic_id: int, en: str, zh: str, words: list[str], **more: Any) -> dict[str, Any]:
    return {"topic_id": topic_id, "label_en": en, "label_zh": zh, "keywords": canonical_json(words), "label_source": "keywords"} | more


def interest(user: str, topic_id: int, **more: Any) -> dict[str, Any]:
    evidence = canonical_json({"items": [{"item_id": HOSTILE, "n_events": 2, "weight": 1.0}], "rest": 0.0})
    row = {"ds": D, "user_key": user, "topic_id": topic_id, "horizon": "90d", "score": 2.0, "share": 0.5, "lift": 2.0, "confidence": 0.4}
    return row | {"rank": 1, "evidence": evidence, "model_version": MODEL} | more


def version(name: str, ends: dt.date, status: str) -> dict[str, Any]:
    params = canonical_json(
        {"method": "kmeans", "k": 3, "silhouette": {"2": 0.1, "3": 0.4, "5": 0.2}, "measured": {"metrics": {"topic_diversity": 0.875}}}
    )
    row = {"model_version": name, "kind": "topics", "status": status, "train_from": ends - 9 * DAY, "train_to": ends}
    return row | {"valid_from_ds": ends + DAY, "params": params, "embedding_space": "minilm-x"}


def held(name: str, topic_id: int, n_docs: int) -> dict[str, Any]:
    row = {"model_version": name, "topic_id": topic_id, "n_docs": n_docs, "n_users": 2, "coherence_npmi": 0.25}
    return row | {"medoid_item_id": HOSTILE}


def step(relation: str, topic_id: int, prev: int | None) -> dict[str, Any]:
    row = {"model_version": MODEL, "prev_model_version": BEFORE, "topic_id": topic_id, "prev_topic_id": prev}
    return row | {"relation": relation, "similarity": 0.875}


def edge(relation: str, directed: bool, lift: float) -> dict[str, Any]:
    row = {"ds": D, "src_topic_id": 1, "dst_topic_id": 2, "relation": relation, "directed": directed, "n_users": 20}
    return row | {"weight": 0.5, "lift": lift}


def forecast(curves: dict[str, Any]) -> dict[str, Any]:
    return version("forecast-x", D - DAY, "champion") | {
        "kind": "forecast",
        "params": canonical_json({"measured": {h: {"curve": c} for h, c in curves.items()}}),
    }


def slot(rank: int, source: str, **more: Any) -> dict[str, Any]:
    row = {"ds": D, "user_key": U, "list_name": "for_you", "variant": "default", "rank": rank, "item_id": HOSTILE, "score": 0.75}
    row |= {"source": source, "topic_id": 2, "exploration": False, "reason_text_en": f"because {HOSTILE}", "reason_text_zh": "因为"}
    return row | {"contributions": canonical_json({source: 0.5, "popularity": 0.25}), "model_version": "ranker-x"} | more


def delivered(ds: dt.date, n: int, by_reason: dict[str, int], fields: dict[str, int]) -> dict[str, Any]:
    row = {"ds": ds, "file": f"events/ds={ds}/{HOSTILE}.jsonl", "kind": "events", "n_objects": n, "n_repaired": 4, "n_quarantined": 8}
    other = sum(v for k, v in fields.items() if k.startswith("night:"))
    row |= {"n_good": n - 12, "n_excused": 0, "n_other_nights": other, "n_lines": n, "n_bytes": n, "expected": True}
    return row | {"by_reason": canonical_json(by_reason), "fields": canonical_json(fields)}


def ran(job: str, stage: str, cpu_s: float) -> dict[str, Any]:
    ended = dt.datetime(2026, 3, 3, 1, tzinfo=dt.UTC)
    row = {"ds": D, "run_id": f"{job}-x", "attempt": 1, "job": job, "stage": stage, "state": "done", "started_at": ended, "ended_at": ended}
    return row | {"wall_s": 2 * cpu_s, "cpu_s": cpu_s, "peak_rss_bytes": 7 << 20, "written_bytes": 3 << 20, "row_count": 12}


METRIC = {"ds": D, "metric": "recall", "k": 10, "slice_dim": "all", "slice_value": "", "list_name": "for_you", "variant": "default"}
NIGHT: Rows = {
    "quality_result": [
        {
            "ds": D,
            "check_name": "balance",
            "table_name": "event_clean",
            "observed": 0.0,
            "threshold": 0.0,
            "passed": True,
            "severity": "block",
        }
    ],
    "landing_file": [
        delivered(D - 7 * DAY, 90, {}, {}),
        delivered(D - DAY, 100, {"late": 2}, {f"night:{D - 4 * DAY}": 2}),
        delivered(D, 110, {"bad_ts": 6, "dup_key": 2, "dedup": 4, "own_code": 1}, {f"night:{D - DAY}": 5, f"night:{D - 2 * DAY}": 5}),
        *(delivered(D - n * DAY, 100, {}, {}) for n in (2, 3, 4)),
    ],
    "job_run": [ran("clean", "facts", 2.5), ran("aggregate", "facts", 1.5), ran("publish", "publish", 0.5)],
    "topic": [
        topic(1, HOSTILE, "茶", [HOSTILE, "tea"], born_ds=D, parent_topic_id=9),
        topic(2, "tents, stoves, $x^2$", "帐篷、炉子", ["tent", "帐篷"], born_ds=D - DAY, label_source="llm"),
        topic(3, "gone", "不再", ["old"]),
        topic(9, "outdoors and tea", "户外与茶", [], level=1),
    ],
    "user_interest": [
        interest(U, 1),
        interest("v", 1),
        interest(U, 2, rank=2),
        *(interest(U, t, horizon="7d", ds=D - n * DAY) for n, t in ((0, 1), (1, 1), (1, 2))),
        *(interest(U, t, horizon="1d", ds=D - n * DAY, score=s) for n, t, s in ((0, 1, 3.0), (0, 2, 1.0), (1, 1, 1.0), (1, 2, 1.0))),
    ],
    "user_profile": [
        {"ds": D, "user_key": U, "lifecycle": "active", "n_events_30d": 4, "n_topics": 3, "summary_en": HOSTILE, "summary_zh": "喜欢茶"}
        | {"cold_level": 3},
        {"ds": D - DAY, "user_key": U, "cold_level": 2},
    ],
    "eval_metric": [
        METRIC
        | {"subject": "recommender", "baseline": "popularity", "value": 0.3125, "ci_low": 0.2, "ci_high": 0.4}
        | {"baseline_value": 0.1, "n": 7}
        | {"diff": 0.2125, "diff_ci_low": 0.1, "diff_ci_high": 0.3},
        METRIC | {"subject": "topics", "model_version": MODEL, "metric": "npmi", "k": 0, "value": 0.2345, "baseline": ""},
    ],
    "interest_edge": [edge("cooccur", False, 1.5), edge("transition", True, 3.0)],
    "user_interest_change": [{"ds": D, "user_key": U, "topic_id": 1, "change": "rising"}],
    "user_topn": [slot(1, "transitions"), slot(2, "expansion", exploration=True), slot(1, "content", user_key="v", topic_id=8)],
    "experiment_metric": [
        {"ds": D, "experiment": HOSTILE, "variant": "bold", "metric": "ndcg@10", "value": 0.4375, "ci_low": 0.4, "ci_high": 0.5, "n": 9}
        | {"sample_ratio_p": 0.0001}
    ],
    "user_segment": [{"ds": D, "segment": HOSTILE, "user_key": U, "reason": HOSTILE}],
    "user_interest_forecast": [
        {"ds": D, "user_key": U, "topic_id": 2, "horizon_days": 7, "rank": 1, "probability": 0.625, "baseline_probability": 0.5}
        | {"model_version": "forecast-x"}
    ],
    "publication": [
        {
            "ds": D,
            "table_name": "user_topn",
            "row_count": 20,
            "generation": 1,
            "run_id": "recommend-x",
            "trigger": "manual",
            "is_live": True,
            "published_at": dt.datetime(2026, 3, 3, 1, 30, tzinfo=dt.UTC),
            "event_cutoff_ts": dt.datetime(2026, 3, 3, tzinfo=dt.UTC),
        }
    ],
    "user_item_day": [{"ds": D, "user_key": user, "n_events": 3} for user in (U, "v", "w")],
    "model_version": [
        version(BEFORE, D - 20 * DAY, "retired"),
        version(MODEL, D - DAY, "champion"),
        forecast({"1": [[0.1, 0.2, 5]], "7": [[0.25, 0.5, 10], [0.75, 0.625, 4]]}),
        version("ranker-x", D - DAY, "champion")
        | {"kind": "ranker", "params": canonical_json({"coefficients": {"few": {"content": [0.5, 0.1]}, "many": {"content": [0.2, 0.7]}}})},
    ],
    "topic_version": [held(MODEL, 1, 12), held(MODEL, 2, 5), held(MODEL, 9, 17), held(BEFORE, 1, 10), held(BEFORE, 3, 4)],
    "topic_lineage": [step("drift", 1, 1), step("split", 2, 1), step("death", 3, 3), step("birth", 2, 0)],
}


def warehouse(rows: Rows) -> Any:
    """A query over the declared tables in memory, which have these rows and nulls where nothing is said."""
    connection = duckdb.connect()
    for name in (t.name for t in TABLES.values() if t.warehouse):
        schema = TABLES[name].arrow_schema()
        schema = pa.schema([f.with_nullable(True) for f in schema])
        made = pa.Table.from_pylist([{"level": 0, **row} if name == "topic" else row for row in rows.get(name, [])], schema=schema)
        connection.register(f"{name}_rows", made)
        connection.execute(f"CREATE TABLE {name} AS SELECT * FROM {name}_rows")

    def query(sql: str, params: dict[str, Any]) -> pa.Table:
        used = {k: v for k, v in params.items() if f":{k}" in sql}
        return connection.sql(re.sub(rf":({'|'.join(params)})\b", r"$\1", sql) if params else sql, params=used).to_arrow_table()

    return query


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake with the model of the night."""
    made = Lake(str(tmp_path / "lake"))
    topics = Topics(np.array([1, 2]), KMeans(np.eye(2, 4, dtype=np.float32), 0.1))
    record = ModelVersion(MODEL, "topics", "2026-02-20", "2026-03-01", "2026-03-02", {"method": "kmeans"}, "", "")
    registry.register(made, record, artifacts(topics, {"topic": [], "topic_version": [], "topic_lineage": []}))
    return made


def test_the_pages_are_self_contained_and_escape_text(tmp_path: Path, lake: Lake) -> None:
    page = write_report(warehouse(NIGHT), D, tmp_path, lake)
    night, topics, index = (p.read_text(encoding="utf-8") for p in (page, page.with_name("topics.html"), page.with_name("index.html")))
    for html in (night, topics):
        assert "<script" not in html
        assert "&lt;script&gt;alert(1)" in html
        assert not [word for word in ("src=", "@import", "url(http") if word in html]
        assert "no map" not in html
        assert "$x^2$" in html
    assert all(said in night for said in ("0.3125", "喜欢茶", "recommend-x", "3 users · 9 events", MODEL))
    assert U in night, "erasure looks for whole keys"
    assert "0.2345" not in night, "a metric of topics stands among those of lists"
    for said in ("62.5%", "within 7 days", "within 1 day", "rising", "held together", "3 full", "parts of the 90-day score"):
        assert said in night, said
    for said in ("(explores)", "what each source adds", "0.4375", "users of few events", "recall@10 – popular of late", "+0.212 above"):
        assert said in night, said
    # Shares of the last night's interest: 3 of 4 and 1 of 4.
    assert all(said in night for said in ("75.0%", "25.0%"))
    assert page.name in index
    assert "topics.html" in index


def test_groups_of_few_users_are_left_out_and_the_page_says_who_it_is_for(lake: Lake) -> None:
    query = warehouse(NIGHT)
    every, many = night_page(query, D, lake), night_page(shown(query, 2), D, lake)
    for html in (every, many, topics_page(query, lake)):
        assert "internal: for who may read rows about single users; counts are exact" in html
        assert "内部页面" in html
    # Whose interest in a topic rose, a segment, and how many topics are held: one user each, or one topic by one user.
    for group in (r"rising</span>", r'alert\(1\)[^<]*</td><td class="n">1</td>', r"topics held</span>.{,80}<dd>2</dd>"):
        assert re.search(group, every), group
        assert not re.search(group, many), group
    assert "tea" in many, "what two users hold stays"
    # Rows are left out by this name: a count under another one would be shown, however few stand behind it.
    sources = "".join(path.read_text(encoding="utf-8") for path in Path(str(report.__file__)).parent.glob("*.py"))
    counted = re.findall(r"count\([^)]*\) AS (\w+)", sources)
    assert set(counted) == {"n_users", "n_slots", "users"}, "slots of lists, and all users of the night"
    assert counted.count("users") == 1


def test_the_page_of_topics_shows_what_they_are_and_where_they_came_from(lake: Lake) -> None:
    html = topics_page(warehouse(NIGHT), lake)
    assert all(
        said in html for said in (MODEL, BEFORE, "帐篷、炉子", "(llm)", "outdoors and tea", "0.2345", "0.2500", "0.8750", "chosen: 3")
    )
    assert all(f'<td><span lang="en">{relation}</span>' in html for relation in ("drift", "split", "death"))
    assert "1 drift, 1 split, 1 birth" in html
    assert "2 topics · trained on" in html
    without = topics_page(warehouse(NIGHT), None)
    assert "no map" in without
    assert "帐篷、炉子" in without
    assert "no map" in topics_page(warehouse(NIGHT), Lake(str(lake.path("elsewhere"))))


def test_equal_rows_give_equal_bytes(tmp_path: Path, lake: Lake) -> None:
    pages = [write_report(warehouse(NIGHT), D, tmp_path / name, lake) for name in "ab"]
    assert pages[0].read_bytes() == pages[1].read_bytes()
    assert pages[0].with_name("topics.html").read_bytes() == pages[1].with_name("topics.html").read_bytes()


def test_a_night_without_rows_still_has_a_page(tmp_path: Path) -> None:
    page = write_report(warehouse({}), D, tmp_path)
    html = page.read_text(encoding="utf-8")
    assert "no model valid yet" in html
    assert "no earlier night" in html
    assert "No topic model is in use yet" in page.with_name("topics.html").read_text(encoding="utf-8")
