"""The nightly page: what was published is on it, and hostile text stays text."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa

from recsys_core.lake import canonical_json
from recsys_core.report import write_report

D = dt.date(2026, 3, 2)
HOSTILE = "<script>alert(1)</script>"
ROWS: dict[str, list[dict[str, Any]]] = {
    "FROM quality_result": [
        {"check_name": "balance", "table_name": "event_clean", "observed": 0.0, "threshold": 0.0, "passed": True, "severity": "block"}
    ],
    "sum(i.score) AS mass": [
        {"topic_id": 1, "label_en": HOSTILE, "label_zh": "茶", "keywords": canonical_json([HOSTILE]), "n_users": 3, "mass": 2.0}
    ],
    "FROM user_profile": [{"user_key": "u" * 64, "lifecycle": "active", "n_events_30d": 4, "summary_en": HOSTILE, "summary_zh": "喜欢茶"}],
    "AS label": [
        {
            "user_key": "u" * 64,
            "label": HOSTILE,
            "share": 0.5,
            "lift": 2.0,
            "confidence": 0.4,
            "evidence": canonical_json({"items": [{"item_id": HOSTILE, "n_events": 2, "weight": 1.0}], "rest": 0.0}),
        }
    ],
    "ci_low": [
        {
            "metric": "recall",
            "k": 10,
            "slice_dim": "all",
            "slice_value": "",
            "value": 0.3125,
            "ci_low": 0.2,
            "ci_high": 0.4,
            "baseline_value": 0.1,
            "diff": 0.2125,
            "diff_ci_low": 0.1,
            "diff_ci_high": 0.3,
            "n": 7,
        }
    ],
    "ds <= :ds": [{"ds": D, "value": 0.3125, "baseline_value": 0.1}],
    "FROM publication": [{"table_name": "user_topn", "row_count": 20, "generation": 1, "run_id": "recommend-x", "trigger": "manual"}],
    "AS users": [{"users": 3, "events": 9}],
    "AS model": [{"model": "topics-x"}],
}


def query(sql: str, params: dict[str, Any]) -> pa.Table:
    assert params == {"ds": D}
    return pa.Table.from_pylist(next(rows for part, rows in ROWS.items() if part in sql))


def test_the_page_is_self_contained_and_escapes_text(tmp_path: Path) -> None:
    page = write_report(query, D, tmp_path)
    html = page.read_text(encoding="utf-8")
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert not [word for word in ("src=", "@import", "url(http") if word in html]
    assert "0.3125" in html
    assert "喜欢茶" in html
    assert "recommend-x" in html
    assert page.name in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    assert write_report(query, D, tmp_path / "a").read_bytes() == write_report(query, D, tmp_path / "b").read_bytes()


def test_a_night_without_rows_still_has_a_page(tmp_path: Path) -> None:
    def nothing(sql: str, params: dict[str, Any]) -> pa.Table:
        rows = [{"users": 0, "events": 0}] if "AS users" in sql else [{"model": None}] if "AS model" in sql else []
        return pa.Table.from_pylist(rows)

    html = write_report(nothing, D, tmp_path).read_text(encoding="utf-8")
    assert "no model valid yet" in html
    assert "no earlier night" in html
