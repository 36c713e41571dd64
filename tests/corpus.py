"""Bad input and what must become of it: at least one case for each of 74 kinds, as literal bytes.

The mark `"#` stands wherever a case's events name themselves or their user; `numbered` puts an id in its place, so that all cases can lie
in one landing zone. Every event that may be accepted carries the mark in `session_id`, because not all of them keep an event_id.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from recsys_core.privacy import user_key

KINDS = range(1, 75)
# The number of cases that no kind names, in the same spirit.
BEYOND = 75
DAY = dt.date(2026, 1, 5)
SECRET = "secret"
# A repair that only a delivered line knows of.
UNRULED = "made_up"
GOOD = {"event_id": "#", "user_id": "#", "item_id": "i1", "event_type": "view", "ts": "2026-01-05T10:00:00Z", "session_id": "#"}
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Outcome:
    """What must become of one object.

    codes  its repairs, or the one reason why it is quarantined
    row    columns of its row in event_clean; `ds` if it is another night's
    raw    its own bytes if they are not those of the whole line
    """

    verdict: Literal["good", "repaired", "quarantined"]
    codes: tuple[str, ...] = ()
    row: dict[str, Any] = field(default_factory=dict)
    raw: bytes = b""


class Line:
    """A line (or several) to be put between good ones, and what must become of each object in it, in order."""

    def __init__(self, kind: int, name: str, data: bytes, *outcomes: Outcome) -> None:
        self.kind, self.name, self.data, self.outcomes = kind, name, data, outcomes

    def __str__(self) -> str:
        return f"{self.kind}-{self.name}"


class File:
    """A whole file of events, and what must become of each object in it; `reason` if all of it is refused."""

    def __init__(self, kind: int, name: str, file: str, data: bytes, *outcomes: Outcome, reason: str | None = None) -> None:
        self.kind, self.name, self.file, self.data, self.outcomes, self.reason = kind, name, file, data, outcomes, reason

    def __str__(self) -> str:
        return f"{self.kind}-{self.name}"


def good(**row: Any) -> Outcome:
    """Accepted as it is."""
    return Outcome("good", (), row)


def repaired(*codes: str, **row: Any) -> Outcome:
    """Accepted with these repairs and no others."""
    return Outcome("repaired", tuple(sorted(codes)), row)


def quarantined(code: str, own: bytes = b"") -> Outcome:
    """Quarantined for this reason."""
    return Outcome("quarantined", (code,), {}, own)


def numbered(data: bytes, name: str) -> bytes:
    """The data with `name` for the mark."""
    return data.replace(b'"#', b'"' + name.encode())


def line(**changes: Any) -> bytes:
    """A good line with changes; ... stands for "without this field"."""
    return json.dumps({k: v for k, v in (GOOD | changes).items() if v is not ...}, ensure_ascii=False).encode()


def written(name: str, value: bytes) -> bytes:
    """A good line with a field whose value is written literally."""
    return line(**{name: ...})[:-1] + b', "%s": %s}' % (name.encode(), value)


def events(prefix: str, n: int = 40, **changes: Any) -> bytes:
    """Lines of good events `<prefix>0`, `<prefix>1`, …, each of a user of its own."""
    return b"".join(numbered(line(**changes), f"{prefix}{i}") + b"\n" for i in range(n))


def at(moment: str) -> dt.datetime:
    """A time in UTC."""
    return dt.datetime.fromisoformat(moment).replace(tzinfo=dt.UTC)


def day(number: int) -> dt.date:
    """The day so many days after DAY."""
    return DAY + dt.timedelta(days=number)


def key(user: str) -> str:
    """The user_key of a raw id."""
    return user_key(SECRET.encode(), user)


ONE, TWO = line(), line(event_id="#b", session_id="#b")
WRAPPED = b"[" + ONE + b"]"
HOSTILE = (
    "<script>alert(1)</script>",
    "'; DROP TABLE t;--",
    "{{7*7}}",
    "${jndi:ldap://x/a}",
    "$(id)",
    '=HYPERLINK("http://x","y")',
    "../../etc/passwd",
    "\\\\host\\share",
    "%s%n%x",
    "`id`",
)

LINES: tuple[Line, ...] = (
    # -- the line -------------------------------------------------------------------------------------------------------------------------
    Line(1, "cut in a key", b'{"event_id":"#","user_', quarantined("json_truncated")),
    Line(1, "cut in a text", line(text="a fine")[:-4], quarantined("json_truncated")),
    Line(1, "cut before the brace", ONE[:-1], quarantined("json_truncated")),
    Line(1, "cut after a comma", b'{"event_id":"#",', quarantined("json_truncated")),
    Line(1, "cut after a colon", b'{"event_id":', quarantined("json_truncated")),
    Line(1, "cut in a number", b'{"event_id":"#","price":12.', quarantined("json_truncated")),
    Line(1, "cut in an escape", b'{"event_id":"#","text":"\\u4f', quarantined("json_truncated")),
    Line(1, "cut to one brace", b"{", quarantined("json_truncated")),
    Line(1, "cut at its head", ONE[9:], quarantined("not_json")),
    Line(2, "empty", b""),
    Line(2, "spaces", b"   "),
    Line(2, "tabs", b" \t\t"),
    Line(2, "three in a row", b"\n\n"),
    Line(3, "array of one", WRAPPED, repaired("array_unwrapped")),
    Line(3, "array of one with spaces", b" [ " + ONE + b" ] ", repaired("array_unwrapped")),
    Line(4, "array of two", b"[" + ONE + b"," + TWO + b"]", repaired("array_unwrapped"), repaired("array_unwrapped")),
    Line(4, "array, one bad", b"[" + ONE + b', {"a": 1}]', repaired("array_unwrapped"), quarantined("missing_required", b'{"a": 1}')),
    Line(4, "array, one no object", b"[42, " + ONE + b"]", quarantined("not_object", b"42"), repaired("array_unwrapped")),
    Line(4, "empty array", b"[]", quarantined("not_object")),
    Line(4, "array in an array", b"[[1]]", quarantined("not_object", b"[1]")),
    Line(5, "number", b"42", quarantined("not_object")),
    Line(5, "text", b'"abc"', quarantined("not_object")),
    Line(5, "null", b"null", quarantined("not_object")),
    Line(5, "true", b" true", quarantined("not_object")),
    Line(6, "two glued", ONE + TWO, repaired("glued_objects"), repaired("glued_objects")),
    Line(6, "two glued, a space between", ONE + b"  " + TWO, repaired("glued_objects"), repaired("glued_objects")),
    Line(6, "two glued, one bad", ONE + b"{}", repaired("glued_objects"), quarantined("missing_required", b"{}")),
    Line(6, "glued and cut", ONE + TWO[:-5], quarantined("trailing_data")),
    Line(6, "a comma between", ONE + b"," + TWO, quarantined("trailing_data")),
    Line(7, "rubbish behind", ONE + b" xyz", quarantined("trailing_data")),
    Line(7, "a brace too many", ONE + b"}", quarantined("trailing_data")),
    Line(7, "a comma behind", ONE + b",", quarantined("trailing_data")),
    Line(7, "NULs behind", ONE + b"\0\0\0", quarantined("trailing_data")),
    Line(7, "rubbish behind an array", WRAPPED + b";", quarantined("trailing_data")),
    Line(8, "comma before the brace", ONE[:-1] + b",}", quarantined("json_syntax")),
    Line(8, "comma before the bracket", written("tags", b"[1,]"), quarantined("json_syntax")),
    Line(8, "two commas", b'{"a":1,,"b":2}', quarantined("json_syntax")),
    Line(9, "single quotes", ONE.replace(b'"', b"'"), quarantined("json_syntax")),
    Line(10, "keys without quotes", b'{event_id:"#"}', quarantined("json_syntax")),
    Line(10, "comment inside", b'{"event_id":"#" /* one */}', quarantined("json_syntax")),
    Line(10, "comment behind", ONE + b" // comment", quarantined("trailing_data")),
    Line(10, "Python's None", written("price", b"None"), quarantined("json_syntax")),
    Line(10, "undefined", written("price", b"undefined"), quarantined("json_syntax")),
    Line(11, "key twice", b'{"user_id":"a",' + ONE[1:], quarantined("dup_key")),
    Line(11, "key twice with one value", written("price", b'1, "price": 1'), quarantined("dup_key")),
    Line(11, "key twice, once escaped", b'{"\\u0075ser_id":"a",' + ONE[1:], quarantined("dup_key")),
    Line(11, "key twice, a space before its colon", b'{"user_id" :"a",' + ONE[1:], quarantined("dup_key")),
    Line(11, "key twice, a text full of keys", b'{"text":"\\"a\\":","user_id":"a",' + ONE[1:], quarantined("dup_key")),
    Line(11, "only a text with keys", line(text='{"a": 1, "a": 2}'), good(text='{"a": 1, "a": 2}')),
    Line(11, "key twice deep inside", written("cart", b'{"n": [{"a": 1, "a": 2}]}'), quarantined("dup_key")),
    Line(12, "keys in capitals", json.dumps({k.upper(): v for k, v in GOOD.items()}).encode(), quarantined("missing_required")),
    Line(12, "User_Id", ONE.replace(b"user_id", b"User_Id"), quarantined("no_user")),
    Line(12, "a key with a space", ONE.replace(b'"ts"', b'"ts "'), quarantined("missing_required")),
    Line(13, "no field", b"{}", quarantined("missing_required")),
    Line(13, "only strangers", b'{"a": 1, "b": [2]}', quarantined("missing_required")),
    Line(13, "only nulls", json.dumps(dict.fromkeys(GOOD)).encode(), quarantined("missing_required")),
    Line(13, "no type", line(event_type=...), quarantined("missing_required")),
    Line(13, "no item", line(item_id=...), quarantined("missing_required")),
    Line(13, "item null as text", line(item_id="null"), quarantined("missing_required")),
    Line(13, "search for nothing", line(item_id=..., event_type="search", query=" "), quarantined("missing_required")),
    # -- ids ------------------------------------------------------------------------------------------------------------------------------
    Line(14, "no event_id", line(event_id=...), repaired("id_from_hash")),
    Line(14, "event_id null", line(event_id=None), repaired("id_from_hash")),
    Line(14, "event_id empty", line(event_id=""), repaired("id_from_hash")),
    Line(15, "no user_id", line(user_id=...), quarantined("no_user")),
    Line(15, "user_id empty", line(user_id=""), quarantined("no_user")),
    Line(15, "user_id spaces", line(user_id="  "), quarantined("no_user")),
    Line(15, "user_id no-break space", line(user_id="\u00a0"), quarantined("no_user")),
    Line(15, "user_id null", line(user_id=None), quarantined("no_user")),
    Line(15, "user_id null as text", line(user_id="null"), quarantined("no_user")),
    Line(15, "user_id NULL", line(user_id="NULL"), quarantined("no_user")),
    Line(15, "user_id undefined", line(user_id="undefined"), quarantined("no_user")),
    Line(15, "user_id None", line(user_id="None"), quarantined("no_user")),
    Line(15, "user_id NaN as text", line(user_id="NaN"), quarantined("no_user")),
    Line(15, "user_id 0 as text", line(user_id="0"), quarantined("no_user")),
    Line(15, "user_id 0", line(user_id=0), quarantined("no_user")),
    Line(16, "user_id 123", line(user_id=123), repaired("id_cast", user_key=key("123"))),
    Line(16, "item_id 123", line(item_id=123), repaired("id_cast", item_id="123")),
    Line(16, "user_id -7", line(user_id=-7), repaired("id_cast", user_key=key("-7"))),
    Line(16, "item_id 0", line(item_id=0), repaired("id_cast", item_id="0")),
    Line(16, "event_id 17", line(event_id=17), repaired("id_cast", event_id="17")),
    Line(17, "user_id 1.0", line(user_id=1.0), quarantined("id_not_integer_text")),
    Line(17, "user_id 1e5", written("user_id", b"1e5"), quarantined("id_not_integer_text")),
    Line(17, "item_id 12.5", line(item_id=12.5), quarantined("id_not_integer_text")),
    Line(18, "user_id of 23 digits", line(user_id=12345678901234567890123), repaired("id_cast", user_key=key("12345678901234567890123"))),
    Line(18, "item_id beyond 64 bits", line(item_id=2**64), repaired("id_cast", item_id="18446744073709551616")),
    Line(18, "digits as text", line(item_id="00012345678901234567890123"), good(item_id="00012345678901234567890123")),
    Line(19, "user_id true", line(user_id=True), quarantined("id_type")),
    Line(19, "item_id false", line(item_id=False), quarantined("id_type")),
    Line(20, "user_id object", line(user_id={"id": 1}), quarantined("id_type")),
    Line(20, "user_id list", line(user_id=["u1", "u2"]), quarantined("id_type")),
    Line(20, "event_id list", line(event_id=["e"]), quarantined("id_type")),
    Line(21, "user_id 10 kB", line(user_id="u" * 10_240), quarantined("id_too_long")),
    Line(21, "item_id of 257", line(item_id="i" * 257), quarantined("id_too_long")),
    Line(21, "item_id of 256", line(item_id="i" * 256), good(item_id="i" * 256)),
    Line(21, "a line feed inside", line(user_id="u\n1"), quarantined("id_control_char")),
    Line(21, "a tab inside", line(item_id="i\t1"), quarantined("id_control_char")),
    Line(21, "an escaped NUL inside", line(item_id="i\0001"), quarantined("id_control_char")),
    Line(21, "spaces around", line(item_id="  i1 "), repaired("id_trimmed", item_id="i1")),
    Line(21, "ideographic space around", line(item_id="\u3000i1"), repaired("id_trimmed", item_id="i1")),
    Line(21, "a space inside", line(item_id="i 1"), good(item_id="i 1")),
    Line(21, "another case", line(item_id="I1", user_id="U1"), good(item_id="I1", user_key=key("U1"))),
    Line(
        21, "decomposed", line(user_id="Zoe\u0308", item_id="e\u0301"), repaired("id_trimmed", item_id="\u00e9", user_key=key("Zo\u00eb"))
    ),
    Line(21, "composed", line(user_id="Zo\u00eb", item_id="商品一"), good(item_id="商品一", user_key=key("Zo\u00eb"))),
    # -- numbers --------------------------------------------------------------------------------------------------------------------------
    Line(22, "price abc", line(price="abc"), quarantined("bad_number")),
    Line(22, "price with letters", line(price="12abc34"), quarantined("bad_number")),
    Line(22, "price in wide digits", line(price="１２"), quarantined("bad_number")),
    Line(22, "price empty", line(price=""), good(price=None)),
    Line(22, "price null", line(price=None), good(price=None)),
    Line(22, "rating n/a", line(rating="n/a"), quarantined("bad_number")),
    Line(23, "price 1.5 as text", line(price="1.5"), repaired("num_from_text", price="1.5000")),
    Line(23, "price with spaces around", line(price=" 15 "), repaired("num_from_text", price="15.0000")),
    Line(23, "price 1e3 as text", line(price="1e3"), repaired("num_from_text", price="1000.0000")),
    Line(23, "quantity 2 as text", line(quantity="2"), repaired("num_from_text", quantity=2)),
    Line(24, "price 1,5", line(price="1,5"), quarantined("ambiguous_number")),
    Line(24, "price 1.234,56 €", line(price="1.234,56 €"), quarantined("ambiguous_number")),
    Line(24, "price 1,234.56", line(price="1,234.56"), quarantined("ambiguous_number")),
    Line(24, "price $5", line(price="$5"), quarantined("ambiguous_number")),
    Line(24, "price 5 EUR", line(price="5 EUR"), quarantined("ambiguous_number")),
    Line(24, "price 1 000", line(price="1 000"), quarantined("ambiguous_number")),
    Line(24, "rating 4,5", line(rating="4,5"), quarantined("ambiguous_number")),
    Line(25, "price NaN", written("price", b"NaN"), quarantined("non_finite")),
    Line(25, "price NaN as text", line(price="NaN"), quarantined("non_finite")),
    Line(25, "dwell_s nan as text", line(dwell_s="nan"), quarantined("non_finite")),
    Line(26, "price Infinity", written("price", b"Infinity"), quarantined("non_finite")),
    Line(26, "price -Infinity", written("price", b"-Infinity"), quarantined("non_finite")),
    Line(26, "price inf as text", line(price="inf"), quarantined("non_finite")),
    Line(27, "price 1e400", written("price", b"1e400"), quarantined("non_finite")),
    Line(27, "price 1e400 as text", line(price="1e400"), quarantined("non_finite")),
    Line(27, "a stranger -1e400", written("weight", b"-1e400"), quarantined("non_finite")),
    Line(28, "price -5", line(price=-5), quarantined("negative_price")),
    Line(28, "price -0.01 as text", line(price="-0.01"), quarantined("negative_price")),
    Line(28, "price -5 of a return", line(price=-5, event_type="return"), good(price="-5.0000")),
    Line(28, "quantity -1", line(quantity=-1), quarantined("negative_quantity")),
    Line(28, "quantity -1 of a return", line(quantity=-1, event_type="return"), good(quantity=-1)),
    Line(28, "dwell_s -1", line(dwell_s=-1), quarantined("negative_dwell")),
    Line(29, "price 1e15", line(price=1e15), quarantined("number_too_large")),
    Line(29, "price 0", line(price=0), repaired("zero_price", price="0.0000")),
    Line(29, "price 0.00", written("price", b"0.00"), repaired("zero_price", price="0.0000")),
    Line(29, "price 1.005", line(price=1.005), good(price="1.0050")),
    Line(29, "price rounded half up", line(price=0.12345), good(price="0.1235")),
    Line(29, "price rounded half up from text", line(price="2.00005"), repaired("num_from_text", price="2.0001")),
    Line(29, "price at the cap", line(price=1e9), good(price="1000000000.0000")),
    Line(29, "price rounded to nothing", line(price=0.00001), repaired("zero_price", price="0.0000")),
    Line(29, "rating 6", line(rating=6), quarantined("rating_out_of_range")),
    Line(29, "rating 0", line(rating=0), quarantined("rating_out_of_range")),
    Line(29, "quantity 1.5", line(quantity=1.5), quarantined("bad_number")),
    Line(29, "quantity 1e12", line(quantity=10**12), quarantined("number_too_large")),
    Line(30, "price 01.5", written("price", b"01.5"), quarantined("json_syntax")),
    Line(30, "price +1.5", written("price", b"+1.5"), quarantined("json_syntax")),
    Line(30, "price 0x10", written("price", b"0x10"), quarantined("json_syntax")),
    Line(30, "price .5", written("price", b".5"), quarantined("json_syntax")),
    Line(30, "price 5.", written("price", b"5."), quarantined("json_syntax")),
    Line(30, "price 1_000", written("price", b"1_000"), quarantined("json_syntax")),
    Line(31, "price true", line(price=True), quarantined("bad_number")),
    Line(31, "price object", line(price={}), quarantined("bad_number")),
    Line(31, "price list", line(price=[]), quarantined("bad_number")),
    Line(31, "rating list", line(rating=[5]), quarantined("bad_number")),
    Line(32, "price of 1,200 digits", written("price", b"9" * 1200), quarantined("number_too_long")),
    Line(32, "price of 1,200 decimals", written("price", b"0." + b"1" * 1200), quarantined("number_too_long")),
    Line(32, "price of 1,200 digits as text", line(price="9" * 1200), quarantined("number_too_long")),
    Line(32, "a stranger of 1,200 digits", written("serial", b"9" * 1200), quarantined("number_too_long")),
    # -- times ----------------------------------------------------------------------------------------------------------------------------
    Line(33, "seconds", line(ts=1767607200), repaired("epoch_s", event_ts=at("2026-01-05T10:00:00"))),
    Line(33, "seconds with a fraction", line(ts=1767607200.25), repaired("epoch_s", event_ts=at("2026-01-05T10:00:00.250"))),
    Line(33, "seconds as text", line(ts="1767607200"), repaired("epoch_s", "num_from_text", event_ts=at("2026-01-05T10:00:00"))),
    Line(34, "milliseconds", line(ts=1767607200123), repaired("epoch_ms", event_ts=at("2026-01-05T10:00:00.123"))),
    Line(34, "milliseconds with a point", line(ts=1767607200123.0), repaired("epoch_ms", event_ts=at("2026-01-05T10:00:00.123"))),
    Line(34, "between seconds and milliseconds", line(ts=5_000_000_000), quarantined("ts_out_of_range")),
    Line(34, "before 2001", line(ts=999_999_999), quarantined("ts_out_of_range")),
    Line(35, "microseconds", line(ts=1767607200123456), repaired("epoch_us", event_ts=at("2026-01-05T10:00:00.123456"))),
    Line(35, "nanoseconds", line(ts=1767607200123456789), repaired("epoch_ns", event_ts=at("2026-01-05T10:00:00.123456"))),
    Line(35, "beyond nanoseconds", line(ts=10**21), quarantined("ts_out_of_range")),
    Line(37, "offset +09:00", line(ts="2026-01-05T10:00:00+09:00"), good(event_ts=at("2026-01-05T01:00:00"))),
    Line(37, "offset -0330", line(ts="2026-01-05T10:00:00-0330"), good(event_ts=at("2026-01-05T13:30:00"))),
    Line(37, "offset with a space", line(ts="2026-01-05 10:00:00 +02:00"), good(event_ts=at("2026-01-05T08:00:00"))),
    Line(37, "small z and a fraction", line(ts="2026-01-05t10:00:00.1234567z"), good(event_ts=at("2026-01-05T10:00:00.123456"))),
    Line(37, "offset that changes the day", line(ts="2026-01-05T05:30:00+09:00"), repaired("late", ds=day(-1))),
    Line(37, "no such offset", line(ts="2026-01-05T10:00:00+15:00"), quarantined("bad_ts")),
    Line(38, "no zone, none declared", line(ts="2026-01-05T10:00:00"), quarantined("no_time_zone")),
    Line(38, "no zone, a space", line(ts="2026-01-05 10:00:00"), quarantined("no_time_zone")),
    Line(39, "date only", line(ts="2026-01-05"), quarantined("no_time")),
    Line(40, "30 February", line(ts="2026-02-30T10:00:00Z"), quarantined("bad_ts")),
    Line(40, "29 February of no leap year", line(ts="2025-02-29T10:00:00Z"), quarantined("bad_ts")),
    Line(40, "month 13", line(ts="2026-13-01T10:00:00Z"), quarantined("bad_ts")),
    Line(40, "hour 25", line(ts="2026-01-05T25:00:00Z"), quarantined("bad_ts")),
    Line(40, "minute 60", line(ts="2026-01-05T10:60:00Z"), quarantined("bad_ts")),
    Line(40, "24:00:00", line(ts="2026-01-04T24:00:00Z"), repaired("hour_24", event_ts=at("2026-01-05T00:00:00"))),
    Line(40, "24:00:01", line(ts="2026-01-04T24:00:01Z"), quarantined("bad_ts")),
    Line(40, "day or month first", line(ts="01/02/2026 03:04"), quarantined("bad_ts")),
    Line(40, "in words", line(ts="Mon, 05 Jan 2026 10:00:00 GMT"), quarantined("bad_ts")),
    Line(40, "empty", line(ts=""), quarantined("bad_ts")),
    Line(40, "a word", line(ts="yesterday"), quarantined("bad_ts")),
    Line(40, "true", line(ts=True), quarantined("bad_ts")),
    Line(40, "object", line(ts={"$date": 1}), quarantined("bad_ts")),
    Line(40, "null", line(ts=None), quarantined("missing_required")),
    Line(41, "leap second", line(ts="2026-01-05T23:59:60Z"), repaired("leap_second", event_ts=at("2026-01-05T23:59:59.999"))),
    Line(41, "second 61", line(ts="2026-01-05T23:59:61Z"), quarantined("bad_ts")),
    Line(42, "year 0", line(ts="0000-01-01T00:00:00Z"), quarantined("ts_out_of_range")),
    Line(42, "year -2026", line(ts="-2026-01-05T00:00:00Z"), quarantined("ts_out_of_range")),
    Line(42, "year 292278", line(ts="292278-01-01T00:00:00Z"), quarantined("ts_out_of_range")),
    Line(42, "year 1", line(ts="0001-01-01T00:00:00+14:00"), quarantined("bad_ts")),
    Line(42, "1999", line(ts="1999-12-31T23:59:59Z"), quarantined("ts_out_of_range")),
    Line(42, "seconds before 1970", line(ts=-1), quarantined("ts_out_of_range")),
    Line(43, "5 min ahead", line(ts="2026-01-05T10:05:00Z", received_ts="2026-01-05T10:00:00Z"), repaired("clock_skew")),
    Line(43, "10 min ahead", line(ts="2026-01-05T10:10:00Z", received_ts="2026-01-05T10:00:00Z"), repaired("clock_skew")),
    Line(43, "5 min into tomorrow", line(ts="2026-01-06T00:05:00Z"), repaired("clock_skew", ds=day(1))),
    Line(44, "3 days ahead", line(ts="2026-01-08T10:00:00Z"), quarantined("future_ts")),
    Line(44, "11 min ahead", line(ts="2026-01-05T10:11:00Z", received_ts="2026-01-05T10:00:00Z"), quarantined("future_ts")),
    Line(44, "year 9999", line(ts="9999-12-31T23:59:59Z"), quarantined("future_ts")),
    Line(44, "received tomorrow week", line(received_ts="2026-01-13T10:00:00Z"), repaired("bad_received_ts", received_ts=None)),
    Line(45, "1970-01-01", line(ts="1970-01-01T00:00:00Z"), quarantined("default_clock")),
    Line(45, "2000-01-01", line(ts="2000-01-01T00:00:00Z"), quarantined("default_clock")),
    Line(45, "0", line(ts=0), quarantined("default_clock")),
    Line(45, "946684800", line(ts=946_684_800), quarantined("default_clock")),
    Line(45, "received 1970", line(received_ts=0), repaired("bad_received_ts", received_ts=None)),
    Line(47, "three days old", line(ts="2026-01-02T10:00:00Z"), repaired("late", ds=day(-3))),
    Line(47, "four days old", line(ts="2026-01-01T23:59:59Z"), quarantined("too_late")),
    # -- texts ----------------------------------------------------------------------------------------------------------------------------
    Line(50, "raw NUL", written("text", b'"a\0b"'), quarantined("control_char")),
    Line(50, "raw 0x01", written("text", b'"a\x01b"'), quarantined("control_char")),
    Line(50, "raw tab", written("text", b'"a\tb"'), quarantined("control_char")),
    Line(50, "raw escape", written("query", b'"\x1b[31m"'), quarantined("control_char")),
    Line(50, "raw NUL outside", b"{\0}", quarantined("control_char")),
    Line(50, "escaped 0x01", line(text="a\x01b"), repaired("control_removed", text="ab")),
    Line(50, "escaped tab and line feed", line(text="a\tb\nc"), good(text="a\tb\nc")),
    Line(50, "raw delete", written("text", b'"a\x7fb"'), repaired("control_removed", text="ab")),
    Line(51, "escaped NUL in a text", line(text="a\0b"), repaired("nul_removed", text="ab")),
    Line(51, "escaped NUL in a query", line(event_type="search", query="\0\0tr\0ain"), repaired("nul_removed", query="train")),
    Line(51, "escaped NUL in a device", line(device="\0"), repaired("nul_removed", device=None)),
    Line(51, "escaped NUL in a stranger", line(colour="r\0ed"), repaired("unknown_fields", extra='{"colour":"red"}')),
    Line(51, "escaped NUL in a stranger's name", line(**{"co\0lour": "red"}), repaired("unknown_fields", extra='{"colour":"red"}')),
    Line(51, "escaped backslash and u0000", line(text="a\\u0000b"), good(text="a\\u0000b")),
    Line(52, "high surrogate", written("text", b'"a\\ud800b"'), repaired("surrogate", text="a\ufffdb")),
    Line(52, "low surrogate", written("text", b'"a\\udc00"'), repaired("surrogate", text="a\ufffd")),
    Line(52, "pair in the wrong order", written("text", b'"\\ude00\\ud83d"'), repaired("surrogate", text="\ufffd\ufffd")),
    Line(52, "pair in the right order", written("text", b'"\\ud83d\\ude00"'), good(text="\U0001f600")),
    Line(52, "surrogate in an id", written("item_id", b'"i\\ud800"'), repaired("surrogate", item_id="i\ufffd")),
    Line(52, "surrogate in a stranger", written("x", b'["\\ud800"]'), repaired("surrogate", "unknown_fields", extra='{"x":["\ufffd"]}')),
    Line(
        53,
        "joined emoji",
        line(text="\U0001f468\u200d\U0001f469\u200d\U0001f467 好"),
        good(text="\U0001f468\u200d\U0001f469\u200d\U0001f467 好"),
    ),
    Line(53, "combining accent", line(text="cafe\u0301"), repaired("nfc", text="caf\u00e9")),
    Line(53, "composed accent", line(text="caf\u00e9"), good(text="caf\u00e9")),
    Line(53, "Hangul in parts", line(text="\u1112\u1161\u11ab"), repaired("nfc", text="\ud55c")),
    Line(53, "direction override", line(text="abc\u202egpj.exe"), repaired("bidi_removed", text="abcgpj.exe")),
    Line(53, "direction isolates", line(text="\u2066a\u2069"), repaired("bidi_removed", text="a")),
    Line(53, "byte-order mark inside", line(text="a\ufeffb"), repaired("bidi_removed", text="ab")),
    Line(53, "zero-width space", line(text="a\u200bb"), good(text="a\u200bb")),
    Line(53, "line separator", line(text="a\u2028b\u0085c"), good(text="a\u2028b\u0085c")),
    Line(53, "Persian with a non-joiner", line(text="می\u200cخواهم"), good(text="می\u200cخواهم")),
    Line(53, "direction override in an id", line(item_id="i\u202e1"), quarantined("id_control_char")),
    Line(54, "Han of four bytes", line(text="𠮷野家の𩸽"), good(text="𠮷野家の𩸽")),
    Line(
        54,
        "Chinese without spaces",
        line(text="这款游戏真的非常好玩，推荐给大家"),
        good(text="这款游戏真的非常好玩，推荐给大家", lang="zh"),
    ),
    Line(54, "Thai without spaces", line(text="เกมนี้สนุกมากจริงๆ"), good(text="เกมนี้สนุกมากจริงๆ", lang="other")),
    Line(
        54,
        "emoji only",
        line(text="\U0001f600\U0001f44d\U0001f3fd\u2764\ufe0f"),
        good(text="\U0001f600\U0001f44d\U0001f3fd\u2764\ufe0f", lang="other"),
    ),
    Line(54, "one character", line(text="好"), good(text="好", lang="zh")),
    Line(54, "one letter", line(text="k"), good(text="k")),
    Line(54, "Arabic", line(text="لعبة رائعة جدا"), good(text="لعبة رائعة جدا", lang="other")),
    Line(54, "flags and keycaps", line(text="1\ufe0f\u20e3\U0001f1e9\U0001f1ea"), good(text="1\ufe0f\u20e3\U0001f1e9\U0001f1ea")),
    Line(55, "stray byte", written("text", b'"a\xffb"'), quarantined("bad_utf8")),
    Line(55, "Latin-1", line(text="caf\u00e9").decode().encode("latin-1"), quarantined("bad_utf8")),
    Line(55, "GBK", line(text="很好玩").decode().encode("gbk"), quarantined("bad_utf8")),
    Line(55, "overlong slash", written("text", b'"\xc0\xaf"'), quarantined("bad_utf8")),
    Line(55, "surrogate as bytes", written("text", b'"\xed\xa0\x80"'), quarantined("bad_utf8")),
    Line(55, "beyond U+10FFFF", written("text", b'"\xf5\x80\x80\x80"'), quarantined("bad_utf8")),
    Line(55, "character cut in half", line(text="好")[:-3], quarantined("bad_utf8")),
    Line(55, "in a key", ONE.replace(b'"item_id"', b'"it\xe9m_id"'), quarantined("bad_utf8")),
    Line(57, "byte-order mark inside a file", BOM + ONE, quarantined("not_json")),
    Line(58, "CR LF", ONE + b"\r", good()),
    Line(58, "two CR", ONE + b"\r\r", good()),
    Line(58, "only a CR", b"\r"),
    Line(58, "CR between", ONE + b"\r" + TWO + b"\r", repaired("glued_objects"), repaired("glued_objects")),
    Line(58, "raw CR in a text", written("text", b'"a\rb"'), quarantined("control_char")),
    Line(
        58,
        "raw line feed in a text",
        b'{"event_id":"#","text":"a\nb"}',
        quarantined("json_truncated", b'{"event_id":"#","text":"a'),
        quarantined("not_json", b'b"}'),
    ),
    Line(
        58,
        "raw CR LF in a text",
        b'{"event_id":"#","text":"a\r\nb"}',
        quarantined("json_truncated", b'{"event_id":"#","text":"a'),
        quarantined("not_json", b'b"}'),
    ),
    Line(60, "100 kB", line(text="word " * 20_000 + "end"), good(text="word " * 20_000 + "end")),
    Line(60, "1,000,000 characters", line(text="好" * 1_000_000), good(text="好" * 1_000_000, lang="zh")),
    Line(60, "1,000,001 characters", line(text="x" * 1_000_001), quarantined("text_too_long")),
    Line(60, "5 MB", line(query="x" * 5_000_000), quarantined("text_too_long")),
    Line(61, "2,000 deep, unknown", written("x", b'{"a":' * 2000 + b"1" + b"}" * 2000), quarantined("too_deep")),
    Line(61, "2,000 deep, known", written("text", b"[" * 2000 + b"]" * 2000), quarantined("too_deep")),
    Line(61, "33 deep", written("x", b"[" * 32 + b"]" * 32), quarantined("too_deep")),
    Line(61, "32 deep", written("x", b"[" * 31 + b"]" * 31), repaired("unknown_fields", extra='{"x":' + "[" * 31 + "]" * 31 + "}")),
    Line(61, "100,000 deep and cut", b'{"a":[' * 100_000, quarantined("too_deep")),
    Line(61, "100,000 brackets", b"[" * 100_000, quarantined("too_deep")),
    Line(
        62,
        "100,000 keys",
        ONE[:-1] + b"".join(b', "k%d": 0' % n for n in range(100_000)) + b"}",
        repaired("unknown_fields", "extra_dropped"),
    ),
    Line(63, "unknown field", line(colour="red"), repaired("unknown_fields", extra='{"colour":"red"}')),
    Line(63, "unknown object", line(cart={"b": [1, None], "a": "é"}), repaired("unknown_fields", extra='{"cart":{"a":"é","b":[1,null]}}')),
    Line(
        63,
        "unknown number of 23 digits",
        written("serial", b"12345678901234567890123"),
        repaired("unknown_fields", extra='{"serial":12345678901234567890123}'),
    ),
    Line(63, "unknown field of 5 kB", line(colour="r" * 5000), repaired("unknown_fields", "extra_dropped", extra=None)),
    Line(63, "a field of the page", line(url="https://shop.example/i1?a=1&b=2"), good(extra='{"url":"https://shop.example/i1?a=1&b=2"}')),
    *(Line(64, f"{h} as text and item", line(text=h, item_id=h), good(text=h, item_id=h)) for h in HOSTILE),
    Line(64, "as user", line(user_id=HOSTILE[1]), good(user_key=key(HOSTILE[1]))),
    Line(
        64,
        "as query, device and region",
        line(query=HOSTILE[0], device=HOSTILE[2], region=HOSTILE[5]),
        good(query=HOSTILE[0], device=HOSTILE[2], region=HOSTILE[5]),
    ),
    Line(65, "a page of an error", b"<html><head><title>502 Bad Gateway</title></head></html>", quarantined("not_json")),
    Line(65, "a line of CSV", b"e1,u1,i1,view,2026-01-05T10:00:00Z", quarantined("not_json")),
    Line(65, "a line of a log", b"[2026-01-05 10:00:00] ERROR: connection reset", quarantined("not_json")),
    Line(65, "XML", b'<?xml version="1.0"?><event id="e1"/>', quarantined("not_json")),
    # -- no kind of its own ---------------------------------------------------------------------------------------------------------------
    Line(BEYOND, "unknown event type", line(event_type="teleport"), quarantined("unknown_event_type")),
    Line(BEYOND, "event type list", line(event_type=["view"]), quarantined("unknown_event_type")),
    Line(BEYOND, "event type in another form", line(event_type=" Add-To Cart"), repaired("event_type_case", event_type="add_to_cart")),
    Line(
        BEYOND,
        "search without an item",
        line(event_type="search", item_id=..., query="红色 自行车"),
        good(item_id=None, query="红色 自行车", lang="zh"),
    ),
    Line(BEYOND, "text of another type", line(text=["a"], device={"os": 1}), repaired("field_dropped", text=None, device=None)),
    Line(BEYOND, "repairs of the landing step", line(repairs=["day_precision"]), repaired("day_precision")),
    Line(BEYOND, "repairs that are none", line(repairs=[UNRULED, 7, "two words", {}]), repaired(UNRULED)),
    Line(
        BEYOND, "a fault of the landing step", b'{"fault": "not_a_product", "record": {"StockCode": "POST"}}', quarantined("not_a_product")
    ),
    Line(BEYOND, "an unknown fault of it", b'{"fault": "made_up", "record": "a,b"}', quarantined("refused_at_landing")),
    Line(BEYOND, "an address in a text", line(text="写信给 a.b@qq.com 谢谢"), repaired("pii_masked", text="写信给 [email] 谢谢")),
)
