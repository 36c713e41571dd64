"""The strict parser: each kind of bad input gets the verdict that the table of rules promises."""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import io
import json
import re
from collections import Counter
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recsys_core.parse as package
from recsys_core.parse import RULES, EventParser, Fault, ParseJob, parsed_rows
from recsys_core.parse.files import FileParser
from recsys_core.parse.rawlines import BOM, lines, objects
from recsys_core.parse.values import identifier, moment, number, price, text
from recsys_core.privacy import user_key

DAY = dt.date(2026, 1, 5)
SECRET = b"secret"
FILE = "events/ds=2026-01-05/a.jsonl"
GOOD = {"event_id": "e1", "user_id": "u1", "item_id": "i1", "event_type": "view", "ts": "2026-01-05T10:00:00Z"}


def job(naive_zone: str | None = None, time_zone: str = "UTC", night: dt.date = DAY, **more: Any) -> ParseJob:
    """A job for the night of 2026-01-05."""
    return ParseJob("/landing", ((FILE, DAY),), night, time_zone, naive_zone, "test", SECRET, **more)


def parsed(data: bytes, partition: dt.date = DAY, file: str = FILE, **options: Any) -> list[dict[str, Any]]:
    """Rows of one file as dicts, the file's own row last."""
    rows, known = parsed_rows(job(**options), file, partition, lambda: io.BytesIO(data))
    return [*(r for r in rows if r["verdict"] != "user"), {"verdict": "file", "ds": None, "repairs": None} | known]


def verdict(row: dict[str, Any] | bytes, **options: Any) -> Any:
    """The repairs of an accepted line (a list), or the reason of a refused one (a text)."""
    line = row if isinstance(row, bytes) else json.dumps(row).encode()
    first = parsed(line + b"\n", **options)[0]
    return first["repairs"] if first["verdict"] in ("event", "beside") else first["reason"]


def event(**changes: Any) -> dict[str, Any]:
    """A good line with changes; ... stands for "without this field"."""
    return {k: v for k, v in (GOOD | changes).items() if v is not ...}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"event_id":"e1","user_', "json_truncated"),
        (b"42", "not_object"),
        (b'"abc"', "not_object"),
        (b"null", "not_object"),
        (b"[]", "not_object"),
        (json.dumps(GOOD).encode() + b" xyz", "trailing_data"),
        (json.dumps(GOOD).encode() + b'{"a":', "trailing_data"),
        (b'{"a":1,}', "json_syntax"),
        (b"{'a':1}", "json_syntax"),
        (b"{a:1}", "json_syntax"),
        (b'{"a":1} // comment', "trailing_data"),
        (b'{"user_id":"a","user_id":"b"}', "dup_key"),
        (b'{"x":{"a":1,"a":2}}', "dup_key"),
        (b'{"price":NaN}', "non_finite"),
        (b'{"price":-Infinity}', "non_finite"),
        (b'{"price":1e400}', "non_finite"),
        (b'{"price":' + b"9" * 1200 + b"}", "number_too_long"),
        (b'{"price":01.5}', "json_syntax"),
        (b'{"price":+1.5}', "json_syntax"),
        (b'{"price":0x10}', "json_syntax"),
        (b'{"text":"a\x01b"}', "control_char"),
        (b'{"text":"a\x00b"}', "control_char"),
        (b'{"text":"a\tb"}', "control_char"),
        (b'{"text":"caf\xe9"}', "bad_utf8"),
        (b'{"a":' * 2000, "too_deep"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "too_deep"),
        (b"<html><body>502 Bad Gateway</body></html>", "not_json"),
        (b"e1,u1,i1,view", "not_json"),
        (b"[2026-01-05] error", "not_json"),
        (b"{}", "missing_required"),
        (json.dumps({k.upper(): v for k, v in GOOD.items()}).encode(), "missing_required"),
    ],
)
def test_a_line_that_is_no_clean_object_is_quarantined_with_its_reason_and_bytes(line: bytes, expected: str) -> None:
    first, of_file = parsed(line + b"\n")
    assert (first["verdict"], first["reason"]) == ("quarantine", expected)
    assert base64.b64decode(first["raw_base64"]) == line
    assert of_file["objects"] == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"event_id": ...}, ["id_from_hash"]),
        ({"user_id": ...}, "no_user"),
        ({"user_id": ""}, "no_user"),
        ({"user_id": None}, "no_user"),
        ({"user_id": "NULL"}, "no_user"),
        ({"user_id": "undefined"}, "no_user"),
        ({"user_id": 0}, "no_user"),
        ({"user_id": 123}, ["id_cast"]),
        ({"user_id": 1.0}, "id_not_integer_text"),
        ({"user_id": 12345678901234567890123}, ["id_cast"]),
        ({"user_id": True}, "id_type"),
        ({"user_id": {"id": 1}}, "id_type"),
        ({"user_id": ["u1", "u2"]}, "id_type"),
        ({"user_id": "u" * 257}, "id_too_long"),
        ({"user_id": "u\n1"}, "id_control_char"),
        ({"user_id": " u1 "}, ["id_trimmed"]),
        ({"item_id": ...}, "missing_required"),
        ({"item_id": "null"}, "missing_required"),
        ({"item_id": ..., "event_type": "search"}, "missing_required"),
        ({"item_id": ..., "event_type": "search", "query": "train"}, []),
        ({"event_type": "teleport"}, "unknown_event_type"),
        ({"event_type": "Add To-Cart"}, ["event_type_case"]),
        ({"price": "abc"}, "bad_number"),
        ({"price": True}, "bad_number"),
        ({"price": "1.5"}, ["num_from_text"]),
        ({"price": "1,5"}, "ambiguous_number"),
        ({"price": "1.234,56 €"}, "ambiguous_number"),
        ({"price": "$5"}, "ambiguous_number"),
        ({"price": "NaN"}, "non_finite"),
        ({"price": "1e400"}, "non_finite"),
        ({"price": -5}, "negative_price"),
        ({"price": 0}, ["zero_price"]),
        ({"price": 1e15}, "number_too_large"),
        ({"quantity": -1}, "negative_quantity"),
        ({"quantity": -1, "event_type": "return"}, []),
        ({"quantity": 1.5}, "bad_number"),
        ({"rating": 6}, "rating_out_of_range"),
        ({"dwell_s": -1}, "negative_dwell"),
        ({"text": "a\x00b"}, ["nul_removed"]),
        ({"text": "a\u202eb"}, ["bidi_removed"]),
        ({"text": "cafe\u0301"}, ["nfc"]),
        ({"text": "x" * 1_000_001}, "text_too_long"),
        ({"text": ["a"]}, ["field_dropped"]),
        ({"colour": "red"}, ["unknown_fields"]),
        ({"colour": "r" * 5000}, ["extra_dropped", "unknown_fields"]),
        ({"url": "https://shop.example/"}, []),
        ({"repairs": ["day_precision"]}, ["day_precision"]),
        ({"ts": "2026-01-05T10:00:00"}, "no_time_zone"),
        ({"ts": "2026-01-05"}, "no_time"),
        ({"ts": ""}, "bad_ts"),
        ({"ts": ...}, "missing_required"),
        ({"ts": "2026-02-30T10:00:00Z"}, "bad_ts"),
        ({"ts": "01/02/2026 03:04"}, "bad_ts"),
        ({"ts": "0000-01-01T00:00:00Z"}, "ts_out_of_range"),
        ({"ts": "-2026-01-01T00:00:00Z"}, "ts_out_of_range"),
        ({"ts": "292278-01-01T00:00:00Z"}, "ts_out_of_range"),
        ({"ts": "1999-01-01T00:00:00Z"}, "ts_out_of_range"),
        ({"ts": "1970-01-01T00:00:00Z"}, "default_clock"),
        ({"ts": 0}, "default_clock"),
        ({"ts": "2026-01-08T10:00:00Z"}, "future_ts"),
        ({"ts": "2026-01-05T10:05:00Z", "received_ts": "2026-01-05T10:00:00Z"}, ["clock_skew"]),
        ({"ts": "2026-01-05T10:11:00Z", "received_ts": "2026-01-05T10:00:00Z"}, "future_ts"),
        ({"received_ts": "yesterday"}, ["bad_received_ts"]),
        ({"ts": "2026-01-02T10:00:00Z"}, ["late"]),
        ({"ts": "2026-01-01T23:59:59Z"}, "too_late"),
        ({"ts": 1767607200}, ["epoch_s"]),
        ({"ts": 1767607200123}, ["epoch_ms"]),
        ({"ts": 1767607200123456}, ["epoch_us"]),
        ({"ts": 1767607200123456789}, ["epoch_ns"]),
        ({"ts": "1767607200"}, ["epoch_s", "num_from_text"]),
        ({"ts": 5_000_000_000}, "ts_out_of_range"),
        ({"ts": True}, "bad_ts"),
    ],
)
def test_a_field_is_kept_repaired_or_refused(changes: dict[str, Any], expected: list[str] | str) -> None:
    assert verdict(event(**changes)) == expected


def test_every_code_that_the_parser_names_is_in_the_table_of_rules() -> None:
    source = "".join(p.read_text() for p in Path(package.__file__).parent.glob("*.py"))
    named = set(re.findall(r'(?:Fault|repairs\.append)\("(\w+)"\)', source))
    assert named
    assert named <= set(RULES)
    with pytest.raises(KeyError):
        Fault("made_up")


def test_an_accepted_row_holds_typed_values_and_no_raw_user() -> None:
    given = event(
        price=1.005,
        rating="4.5",
        quantity=2.0,
        dwell_s=3,
        text=" Zoë's \U0001f468\u200d\U0001f4bb 好 ",
        lang="zh-CN",
        url="u",
        user_id="u1",
    )
    row = parsed(json.dumps(given).encode())[0]
    assert row["price"] == Decimal("1.0050")
    assert (row["rating"], row["quantity"], row["dwell_s"], row["daypart"], row["lang"]) == (4.5, 2, 3.0, "morning", "zh")
    assert row["text"] == "Zoë's \U0001f468\u200d\U0001f4bb 好"
    assert row["user_key"] == user_key(SECRET, "u1")
    assert row["extra"] == '{"url":"u"}'
    assert (row["ds"], row["source"], row["event_ts"]) == (DAY, "test", dt.datetime(2026, 1, 5, 10, tzinfo=dt.UTC))
    assert "u1" not in [v for v in row.values() if isinstance(v, str)]


def test_hostile_texts_and_ids_come_through_byte_for_byte() -> None:
    for hostile in ("<script>alert(1)</script>", "'; DROP TABLE t;--", "{{7*7}}", "$(id)", "=HYPERLINK(1)", "../../etc/passwd"):
        row = parsed(json.dumps(event(text=hostile, item_id=hostile)).encode())[0]
        assert (row["text"], row["item_id"], row["repairs"]) == (hostile, hostile, [])


def test_unknown_fields_are_kept_as_canonical_json_without_nul() -> None:
    row = parsed(json.dumps(event(b=[1, {"d": 2, "c": 1}], a="x\0\0y\\u0000é")).encode())[0]
    assert row["extra"] == '{"a":"xy\\\\u0000é","b":[1,{"c":1,"d":2}]}'
    assert json.loads(row["extra"])["a"] == "xy\\u0000é"


def test_a_missing_event_id_is_made_from_the_content_alone() -> None:
    a, b, c = (
        parsed(json.dumps(event(event_id=..., **more)).encode())[0]["event_id"]
        for more in ({}, {"received_ts": "2026-01-05T11:00:00Z"}, {"rating": 3})
    )
    assert a == b != c


def test_times_are_read_as_meant() -> None:
    shanghai, berlin = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin")
    cases = [
        ("2026-01-05T10:00:00+09:00", None, "2026-01-05T01:00:00", []),
        ("2026-01-05 10:00:00.1234567-0330", None, "2026-01-05T13:30:00.123456", []),
        ("2026-01-05T10:00:00", shanghai, "2026-01-05T02:00:00", ["tz_assumed"]),
        ("2026-01-05T24:00:00Z", None, "2026-01-06T00:00:00", ["hour_24"]),
        ("2026-01-05T23:59:60Z", None, "2026-01-05T23:59:59.999000", ["leap_second"]),
        ("2026-03-29T02:30:00", berlin, "2026-03-29T01:30:00", ["tz_assumed", "dst_gap"]),
        ("2026-10-25T02:30:00", berlin, "2026-10-25T00:30:00", ["tz_assumed", "dst_fold"]),
    ]
    for written, zone, expected, codes in cases:
        repairs: list[str] = []
        found = moment(written, zone, repairs)
        assert (found.replace(tzinfo=None).isoformat(), repairs) == (expected, codes), written


def test_the_night_is_the_local_day_and_other_partitions_give_only_tonights_events() -> None:
    evening = json.dumps(event(ts="2026-01-04T23:30:00Z")).encode()
    assert parsed(evening, time_zone="Asia/Shanghai")[0]["ds"] == DAY
    assert parsed(evening)[0]["ds"] == dt.date(2026, 1, 4)  # tonight's own partition keeps what is another night's
    beside = dt.date(2026, 1, 6)
    rows = parsed(b"\n".join([evening, json.dumps(GOOD).encode(), b"{"]), partition=beside)
    assert [(r["verdict"], r["ds"], r["repairs"]) for r in rows] == [
        ("beside", dt.date(2026, 1, 4), ["late"]),
        ("event", DAY, ["late"]),
        ("file", None, None),
    ]


def test_objects_of_arrays_and_glued_objects_are_taken_one_by_one_with_their_own_offsets() -> None:
    one, two = json.dumps(event(text="é")), json.dumps(event(event_id="e2"))
    rows = parsed(f"\n[{one},{two}]\r\n{one}{two}\n".encode())
    assert [r["repairs"] for r in rows[:-1]] == [["array_unwrapped"]] * 2 + [["glued_objects"]] * 2
    first = 2
    second = first + len(one.encode()) + 1
    assert [r["byte_offset"] for r in rows[:2]] == [first, second]
    stats = rows[-1]
    assert (stats["lines"], stats["by_reason"]["blank_line"], stats["objects"]) == (3, 1, 4)


def test_surrogates_and_byte_order_marks_are_mended() -> None:
    line = json.dumps(GOOD)[:-1].encode() + b', "text": "a\\ud800b"}'
    rows = parsed(b"\xef\xbb\xbf" + line)
    assert rows[0]["text"] == "a\ufffdb"
    assert (rows[0]["repairs"], rows[0]["byte_offset"]) == (["bom", "surrogate"], 3)


LINE = json.dumps(GOOD).encode() + b"\n"
ZIPPED = gzip.compress(LINE * 50, mtime=0)


@pytest.mark.parametrize(
    ("data", "name", "expected"),
    [
        (ZIPPED, "a.jsonl.gz", None),
        (ZIPPED, "a.jsonl", None),
        (ZIPPED + gzip.compress(LINE, mtime=0), "a.jsonl.gz", None),
        (ZIPPED[:-20], "a.jsonl.gz", "gz_truncated"),
        (ZIPPED[:-8] + b"\0\0\0\0" + ZIPPED[-4:], "a.jsonl.gz", "gz_corrupt"),
        (ZIPPED + b"rubbish", "a.jsonl.gz", "gz_trailing"),
        (LINE, "a.jsonl.gz", "not_gzip"),
        (b"", "a.jsonl", "empty_source"),
        (gzip.compress(b"", mtime=0), "a.jsonl.gz", "empty_source"),
        (LINE.decode().encode("utf-16"), "a.jsonl", "encoding"),
        (json.dumps(GOOD, indent=1).encode(), "a.jsonl", "not_json_lines"),
        (LINE * 40 + b"<html>\n" * 5, "a.jsonl", "not_json_lines"),
        (LINE * 400 + b"<html>\n" * 5, "a.jsonl", None),
        (gzip.compress((b" " * (1 << 20) + b"\n") * 80, mtime=0), "a.jsonl.gz", "gz_bomb"),
        (b" " * ((16 << 20) + 1), "a.jsonl", "line_too_long"),
    ],
)
def test_a_file_is_read_by_its_bytes_or_refused_whole(data: bytes, name: str, expected: str | None) -> None:
    assert parsed(data, file=name)[-1]["reason"] == expected


def test_lines_know_where_they_begin_in_the_unpacked_file() -> None:
    assert list(lines(io.BytesIO(gzip.compress(b"ab\n\ncde")), "a.gz")) == [(0, b"ab"), (3, b""), (4, b"cde")]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )
)
def test_any_object_comes_back_as_it_was_written(value: Any) -> None:
    row = {"value": value}
    found = list(objects(json.dumps(row).encode("utf-8", "surrogatepass")))
    assert [(f.value, f.fault) for f in found] == [(row, None)] or found[0].repairs == ("surrogate",)


# Bytes that are nearly good lines: pieces of them, spoilt, glued, cut and mixed with any bytes.
PIECES = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        [LINE, LINE[:-1], LINE[: len(LINE) // 2], b"\n", b"\r\n", b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\u0000", b"\xff", BOM]
    ),
    st.sampled_from(
        [b'"event_id":', b'"user_id":', b'"ts":', b'"price":1e999', b'"text":"\\ud800"', b"null", b"1.5", "用户".encode(), b"NaN"]
    ),
)


@settings(max_examples=10_000, deadline=None)
@given(st.lists(PIECES, max_size=8).map(b"".join), st.booleans())
def test_no_bytes_break_the_parser_and_the_balance_is_always_exact(data: bytes, zipped: bool) -> None:
    reader = FileParser(EventParser(job()), FILE, DAY)
    rows: Counter[str] = Counter()
    for batch in reader.batches(lambda: io.BytesIO(gzip.compress(data, 1) if zipped else data)):
        rows.update(batch.column("verdict").to_pylist())
    counts = reader.counts
    assert reader.refused is None or RULES[reader.refused][0] == "refused"
    assert counts["objects"] == counts["good"] + counts["repaired"] + counts["quarantined"]
    assert (rows["event"] + rows["beside"], rows["quarantine"]) == (counts["good"] + counts["repaired"], counts["quarantined"])


@given(st.text() | st.integers() | st.floats() | st.lists(st.integers()))
def test_no_value_breaks_a_converter(value: Any) -> None:
    for convert in (identifier, number, price, text, lambda v, repairs: moment(v, None, repairs)):
        with suppress(Fault):  # any other exception is a broken parser
            convert(value, [])
