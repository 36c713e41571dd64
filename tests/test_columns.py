"""Blocks of objects parsed by column give exactly what the rules give one by one, and crowded users are thinned the same everywhere."""

from __future__ import annotations

import datetime as dt
import io
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_core.parse import ParseJob, files, parsed_rows

DAY = dt.date(2026, 1, 5)
FILE = f"events/ds={DAY}/a.jsonl"
# Values at and beyond the edge of what is simple; ... leaves the field out.
VALUES: dict[str, list[Any]] = {
    "event_id": ["e1", "e2", "é", "", None, 7, " e ", "e 1", "x" * 257, "e\t"],
    "user_id": ["u1", "u2", "anon", "gone", "0", "null", "NaN", "", None, 5, 5.0, True, "用户", "u" * 256, "u" * 257, ["u"]],
    "item_id": ["i1", "i2", "", None, "null", "None", 3, "i 1", "商品"],
    "event_type": ["view", "search", "purchase", "return", "View", "teleport", "", None, 1],
    "ts": [
        *("2026-01-05T10:00:00Z", "2026-01-05 10:00:00.123456+08:00", "2026-01-05T23:30:00-03:30", "2026-01-04T23:59:59.999Z"),
        *("2026-01-05T10:00:00.1234567Z", "2026-01-05T24:00:00Z", "2026-01-05T10:00:60Z", "2026-01-05T10:00Z", "2026-01-05T10:00:00"),
        *("2026-02-30T10:00:00Z", "2026-01-32T10:00:00Z", "2025-12-31T10:00:00Z", "2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"),
        *(1767607200, 1767607200123, 1767607200123456, 1767607200123456789, 1767607200.5, 12, True, None, "", "2026-01-06T00:05:00Z"),
        *("2026-01-06T00:11:00Z", "2026-01-08T00:00:00Z", "1999-01-01T00:00:00Z", "2000-01-01T00:00:00Z", "2026-01-05T10:00:00+14:30"),
    ],
    "received_ts": [
        ...,
        None,
        "2026-01-05T10:00:01Z",
        "2026-01-05T09:55:00Z",
        "2026-01-05T09:00:00Z",
        "2026-01-09T00:00:00Z",
        1767607205,
        "x",
    ],
    "rating": [..., None, 1, 4.5, 5, "3", 0, 6, True, [1], "x", 2**60],
    "quantity": [..., None, 1, 2.0, 2.5, -1, 0, "2", 10**10, True],
    "price": [..., None, 0, 12.99, 0.1, 1.005, 1.00005, 1e-5, 1e9, 1e10, 999999999.9999, -1, "1,5", "1.5", True, 3],
    "dwell_s": [..., None, 0, 31.5, -1, 1e8, "5"],
    "text": [
        ...,
        None,
        "",
        "ok",
        "a fine train",
        " spaced ",
        "很好玩的游戏",
        "cafe\u0301",
        "a\u202eb",
        "call 13812345678",
        "a@b.com",
        5,
        ["a"],
        "tab\tline\n",
    ],
    "query": [..., None, "red bicycle", "红色自行车", ""],
    "session_id": [..., None, "s1", "", 9],
    "lang": [..., None, "en", "zh-CN", "EN", "-", "", "中文", 1],
    "device": [..., "mobile", "手机", "", None],
    "region": [..., "DE", " x"],
    "url": [..., "https://shop.example/i7", "", None, 5, "https://x.example/?q=a@b.com", "\x00"],
    "colour": [..., ..., ..., "red"],
    "repairs": [..., ..., ..., ["day_precision"], "x"],
    "fault": [..., ..., ..., ..., "not_json", "made_up"],
}
GOOD = {"event_id": "e1", "user_id": "u1", "item_id": "i1", "event_type": "view", "ts": "2026-01-05T10:00:00Z"}
ROWS = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in VALUES.items()}).map(
    lambda changes: {k: v for k, v in (GOOD | changes).items() if v is not ...}
)


def job(**changes: Any) -> ParseJob:
    """A job of 2026-01-05 with an identity map and an opt-out list."""
    given_ = {"identities": {"anon": "u2"}, "opted_out": frozenset({"gone"}), "time_zone": "UTC"} | changes
    return ParseJob("/landing", ((FILE, DAY),), DAY, naive_zone="Asia/Shanghai", source="test", secret=b"secret", **given_)


def both_ways(data: bytes, monkeypatch: pytest.MonkeyPatch, parse_job: ParseJob) -> tuple[list[Any], list[Any]]:
    """Rows by column, and rows of the same file one object at a time."""
    rows, note = parsed_rows(parse_job, FILE, DAY, lambda: io.BytesIO(data))
    with monkeypatch.context() as patch:
        patch.setattr(files, "_flat", lambda line: None)
        one_by_one, same = parsed_rows(parse_job, FILE, DAY, lambda: io.BytesIO(data))
    return [*rows, note], [*one_by_one, same]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "America/St_Johns", "Australia/Lord_Howe"])
def test_each_odd_value_of_each_field_alone_gives_the_same_row_either_way(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {k: v for k, v in (GOOD | {name: value, "event_id": "same"}).items() if v is not ...} for name in VALUES for value in VALUES[name]
    ]
    data = b"".join(json.dumps(r).encode() + b"\n" for r in rows)
    by_column, one_by_one = both_ways(data, monkeypatch, job(time_zone=zone, daily_cap=10**6))
    assert by_column == one_by_one
    assert by_column[-1]["objects"] == len(rows)
    assert {r["verdict"] for r in by_column[:-1]} >= {"event", "quarantine", "user"}


@pytest.mark.parametrize("received", [..., "2026-01-05T11:00:00Z", "2026-01-05T12:00:00Z", "2026-01-05T12:00:00.000001Z", "soon"])
def test_what_was_received_after_the_cutoff_is_not_known_either_way(received: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {k: v for k, v in (GOOD | {"received_ts": received}).items() if v is not ...}
    for hour, known in ((12, received in ("2026-01-05T11:00:00Z", "2026-01-05T12:00:00Z")), (24, True)):
        cutoff = dt.datetime(2026, 1, 5, tzinfo=dt.UTC) + dt.timedelta(hours=hour)
        by_column, one_by_one = both_ways(json.dumps(row).encode() + b"\n", monkeypatch, job(known_cutoff=cutoff))
        assert by_column == one_by_one
        assert (by_column[-1]["by_reason"].get("not_known_yet", 0), len(by_column)) == ((0, 3) if known else (1, 1))


@settings(max_examples=150, deadline=None)
@given(st.lists(ROWS, max_size=12), st.sampled_from(["UTC", "Europe/Berlin"]))
def test_any_mix_of_odd_values_gives_the_same_rows_either_way(rows: list[dict[str, Any]], zone: str) -> None:
    data = b"".join(json.dumps(r, ensure_ascii=len(rows) % 2 == 0).encode("utf-8", "surrogatepass") + b"\n" for r in rows)
    by_column, one_by_one = both_ways(data + b"\n", pytest.MonkeyPatch(), job(time_zone=zone))
    assert by_column == one_by_one


def line(i: int, user: str, second: int) -> bytes:
    """A view."""
    return (
        json.dumps(GOOD | {"event_id": f"e{i}", "user_id": user, "ts": f"2026-01-05T10:{second // 60:02}:{second % 60:02}Z"}).encode()
        + b"\n"
    )


def test_a_crowded_user_keeps_the_first_events_and_nobody_else_loses_any() -> None:
    views = [line(i, "robot", i % 3000) for i in range(3000)] + [line(9000 + i, f"u{i % 50}", i) for i in range(500)]
    random.Random(3).shuffle(views)
    views += views[:100]  # delivered twice: an id counts once
    rows, note = parsed_rows(job(daily_cap=40), FILE, DAY, lambda: io.BytesIO(b"".join(views)))
    events = [r for r in rows if r["verdict"] == "event"]
    per_user: dict[str, set[str]] = {}
    for r in events:
        per_user.setdefault(r["user_key"], set()).add(r["event_id"])
    crowded = [ids for ids in per_user.values() if len(ids) > 10]
    assert crowded == [{f"e{i}" for i in range(40)}]
    assert sum(len(ids) for ids in per_user.values()) == 40 + 500
    assert note["objects"] == note["good"] == 3600
    assert note["capped"] == note["capped_plain"] == 3600 - len(events)
