"""Blocks of objects parsed by column give exactly what the rules give one by one, and crowded users are thinned the same everywhere."""

from __future__ import annotations

import datetime as dt
import io
import json
import random
import unicodedata
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_core.parse import ParseJob, files, parsed_rows, rawlines, scanner, spans
from recsys_core.parse.values import text

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
        "12 of 345 or 6",
        "好 “很好”，１３８１２３４５６７８",
        "全角＠ｂ.com",
        "\u3000茶\u00a0",
        "Ｏｋ！naïve\x7f",
        '🚂 say "hi" \\ /',
        "\ud800",
        "x" * 999_999 + "茶",
    ],
    "query": [..., None, "red bicycle", "红色自行车", ""],
    "session_id": [..., None, "s1", "", 9],
    "lang": [..., None, "en", "zh-CN", "EN", "-", "", "中文", 1],
    "device": [..., "mobile", "手机", "", None],
    "region": [..., "DE", " x"],
    "url": [
        ...,
        "https://shop.example/i7",
        "",
        None,
        5,
        "https://x.example/?q=a@b.com",
        "\x00",
        " /a ",
        "/茶",
        "/" * 4100,
        "/%40/13812345678",
    ],
    "colour": [..., ..., ..., "red"],
    "repairs": [..., ..., ..., ["day_precision"], "x", [], ["late", "b2", "Bad", "ünd", "a" * 41], [1, "x"], [["x"]], None, {"x": 1}],
    "fault": [..., ..., ..., ..., "not_json", "made_up"],
}
GOOD = {"event_id": "e1", "user_id": "u1", "item_id": "i1", "event_type": "view", "ts": "2026-01-05T10:00:00Z"}
ROWS = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in VALUES.items()}).map(
    lambda changes: {k: v for k, v in (GOOD | changes).items() if v is not ...}
)


def job(**changes: Any) -> ParseJob:
    """A job of 2026-01-05 with an identity map and an opt-out list."""
    usual = {
        "night": DAY,
        "naive_zone": "Asia/Shanghai",
        "identities": {"anon": "u2"},
        "opted_out": frozenset({"gone"}),
        "time_zone": "UTC",
    }
    given_: dict[str, Any] = usual | changes
    return ParseJob("/landing", ((FILE, DAY),), source="test", secret=b"secret", **given_)


def both_ways(data: bytes, monkeypatch: pytest.MonkeyPatch, parse_job: ParseJob, partition: dt.date = DAY) -> tuple[list[Any], list[Any]]:
    """Rows by column, and rows of the same file one object at a time."""
    rows, note = parsed_rows(parse_job, FILE, partition, lambda: io.BytesIO(data))
    scan = scanner.scan

    def nothing_ordinary(*given: Any) -> None:
        scan(*given)
        given[-1].fill(False)

    with monkeypatch.context() as patch:
        patch.setattr(scanner, "scan", nothing_ordinary)
        one_by_one, same = parsed_rows(parse_job, FILE, partition, lambda: io.BytesIO(data))
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


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe"])
@pytest.mark.parametrize("night", [dt.date(2026, 3, 29), dt.date(2026, 4, 5), dt.date(2026, 10, 4), dt.date(2026, 10, 25)])
def test_times_without_offset_give_the_same_row_either_way_when_the_clocks_change(
    night: dt.date, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = [dt.datetime.combine(night, dt.time()) + dt.timedelta(minutes=m) for m in range(0, 300, 5)]
    data = b"".join(json.dumps(GOOD | {"event_id": f"e{i}", "ts": t.isoformat()}).encode() + b"\n" for i, t in enumerate(at))
    by_column, one_by_one = both_ways(data, monkeypatch, job(naive_zone=zone, night=night, time_zone="Europe/Berlin"), night)
    assert by_column == one_by_one
    assert by_column[-1]["by_reason"]["tz_assumed"] == len(at)
    there = {"Europe/Berlin": (3, 10, 25, 29), "Australia/Lord_Howe": (4, 10, 5, 4)}[zone]
    changes = night.month in there and night.day in there
    assert bool(by_column[-1]["by_reason"].keys() & {"dst_gap", "dst_fold"}) == changes


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


# What stands for a value, or between values, in a line: as JSON writes it, as it may be written, and as it may not.
WRITTEN = [
    *(
        "0",
        "-0",
        "-1",
        "1E2",
        "1e-3",
        "0.1e1",
        "01",
        "1.",
        ".5",
        "1e",
        "1e+",
        "1e22",
        "1e23",
        "1e-22",
        "1e-23",
        "1e400",
        "true",
        "nul",
        "null",
    ),
    *(
        "4.35",
        "0.30000000000000004",
        "12.34567",
        "12.345600",
        "9007199254740993",
        "9007199254740992",
        "123456789012345678901",
        "1000000000.0",
    ),
    *(
        "1767607200",
        "1767607200123",
        "1767607200123456",
        "1767607200123456789",
        "9767607200123456789",
        "4000000001",
        '"',
        '""',
        '"\\u00e9"',
    ),
    *('"\\"', '"a\\"b"', '"\\ud800"', '"\\u0000"', '"茶"', '"2026-01-05T10:00:00Z"', '"2026-01-05 10:00:00.5+00:59"', '"x@y.com"', '"\t"'),
    *(
        "{}",
        "[]",
        "[1]",
        '["x",]',
        '["x" "y"]',
        '[ "x" ,"late"]',
        "[01]",
        "[,]",
        '{"a":1}',
        '"ts":1',
        ",",
        ":",
        "}",
        "{",
        " ",
        "  ",
        "\t",
        "\r",
        "\r\n",
        "\n",
        "\ufeff",
        "\0",
        "é",
    ),
]


@st.composite
def spoilt_lines(draw: st.DrawFn) -> bytes:
    """A few lines as producers write them, with some of their bytes gone, doubled, flipped or replaced."""
    spaces = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    rows = draw(st.lists(ROWS, min_size=1, max_size=3))
    data = b"".join(json.dumps(r, ensure_ascii=False, separators=spaces).encode("utf-8", "surrogatepass") + b"\n" for r in rows)
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 30)))
        how = draw(st.sampled_from(["gone", "doubled", "flipped", "written", "value"]))
        if how == "value":  # a whole value
            colons = [i for i, b in enumerate(data) if b == ord(":")]
            start = draw(st.sampled_from(colons)) + 1 if colons else start
            end = next((i for i in range(start, len(data)) if data[i] in b",}\n"), len(data))
        middle = {
            "gone": b"",
            "doubled": data[start:end] * 2,
            "flipped": bytes(b ^ 1 << draw(st.integers(0, 7)) for b in data[start : min(end, start + 2)]) + data[start + 2 : end],
        }.get(how) or draw(st.sampled_from(WRITTEN)).encode("utf-8", "surrogatepass")
        data = data[:start] + middle + data[end:]
    return data


@settings(max_examples=250, deadline=None)
@given(spoilt_lines(), st.sampled_from(["UTC", "Asia/Shanghai"]))
def test_spoilt_lines_give_the_same_rows_either_way(data: bytes, zone: str) -> None:
    by_column, one_by_one = both_ways(data, pytest.MonkeyPatch(), job(time_zone=zone))
    assert by_column == one_by_one


def test_every_way_of_writing_a_value_gives_the_same_row_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    good = {k: json.dumps(v) for k, v in GOOD.items()}
    lines = [
        "{" + ",".join(f'"{k}":{v}' for k, v in (good | {name: written}).items()) + "}"
        for name in ("ts", "received_ts", "repairs", "rating", "quantity", "price", "dwell_s", "text", "event_type", "item_id")
        for written in WRITTEN
    ]
    by_column, one_by_one = both_ways("\n".join(lines).encode(), monkeypatch, job())
    assert by_column == one_by_one
    assert sum(r["verdict"] == "event" for r in by_column[:-1]) > 100


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1e7) | st.decimals(0, 10**7, places=4).map(float) | st.integers(0, 10**7), min_size=1, max_size=20))
def test_numbers_come_out_as_they_were_written(values: list[float]) -> None:
    data = b"".join(json.dumps(GOOD | {"event_id": f"e{i}", "dwell_s": v}).encode() + b"\n" for i, v in enumerate(values))
    rows = parsed_rows(job(), FILE, DAY, lambda: io.BytesIO(data))[0]
    assert [r["dwell_s"] for r in rows if r["verdict"] == "event"] == values


def test_a_character_that_counts_as_simple_is_changed_by_no_rule() -> None:
    simple = []
    for code in (c for c in range(0x80, 0x20000) if not 0xD800 <= c < 0xE000):
        raw = chr(code).encode()
        n, plain = scanner.character(np.frombuffer(raw + b"\n", np.uint8), 0)
        assert n == len(raw)
        if plain:
            simple.append(chr(code))
    assert set("é茶，。！“”…—～《》、") <= set(simple)
    around = "".join(f"a{c}{c}0 {c}9" for c in simple)
    codes: list[str] = []
    assert text(around, codes) == around
    assert not codes
    assert all(text(c, codes) == c for c in simple)
    assert not any(unicodedata.decimal(c, None) is not None or c in "＠％﹫" for c in simple)


@given(st.binary(min_size=1, max_size=4) | st.text(min_size=1, max_size=1).map(lambda c: c.encode("utf-8", "surrogatepass")))
def test_what_is_no_character_is_told(raw: bytes) -> None:
    n, _ = scanner.character(np.frombuffer(raw + b"\n", np.uint8), 0)
    sound = [k for k in range(2, len(raw) + 1) if raw[:k].decode("utf-8", "ignore").encode() == raw[:k] and len(raw[:k].decode()) == 1]
    assert n == (sound[0] if sound else 0)


def test_blocks_of_any_size_give_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line(i, f"u{i * i % 7}", i % 3000) for i in range(60)]
    data = b"".join(lines[:30]) + b"\n \r\n" + b"{\n" + b"".join(lines[30:]).rstrip(b"\n")
    whole = parsed_rows(job(), FILE, DAY, lambda: io.BytesIO(data))
    for size in (1, 100, 1000):
        monkeypatch.setattr(rawlines, "BLOCK", size)
        monkeypatch.setattr(files, "BLOCK_BYTES", 2 * size)
        assert parsed_rows(job(), FILE, DAY, lambda: io.BytesIO(data)) == whole
    assert [o for o, _ in rawlines.lines(io.BytesIO(data), FILE)] == [0, *(i + 1 for i, b in enumerate(data) if b == 10)]


def test_names_are_numbered_as_they_come_whatever_their_number() -> None:
    draw, names = random.Random(5), spans.Names()
    expected: dict[bytes, int] = {}
    for n in (3, 5000, 20_000):
        words = [f"u{draw.randrange(12_000):x}".encode() for _ in range(n)]
        sizes = np.array([len(w) for w in words], np.int32)
        places = np.cumsum([0, *sizes[:-1]]).astype(np.int32)
        found = names.numbers(np.frombuffer(b"".join(words), np.uint8), places, sizes, np.arange(n))
        assert found.tolist() == [expected.setdefault(w, len(expected)) for w in words]
    assert names.text(np.arange(names.count)).to_pylist() == [w.decode() for w in expected]


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
