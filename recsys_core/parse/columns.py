"""The rules of `recsys_core.parse.event` for a block of lines at once, where they are simple: some twenty times as fast.

Only what needs no repair, or one of a few frequent ones, is taken; every other line is left to the rules themselves. A test holds both
against each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.coded import values_at
from recsys_core.events import EVENT_TYPES
from recsys_core.parse import scanner
from recsys_core.parse.event import DAYPARTS, LATE_DAYS, ONE_DAY, EventParser, extra_of, landed_repairs, masked
from recsys_core.parse.rules import Fault
from recsys_core.parse.spans import Names, strings
from recsys_core.parse.users import Users
from recsys_core.parse.values import EPOCH, localised, micros, text
from recsys_core.texts import language_code

_UTC, _PRICE = pa.timestamp("us", "UTC"), pa.decimal128(18, 4)
# Clocks have changed at whole quarters of an hour since 1972: one offset holds for each.
_QUARTERS, _MICROSECOND = 96, timedelta(microseconds=1)
_NEVER = np.iinfo(np.int64).max
_LINE_FEED = 10
_MARKS = {
    scanner.LATE: "late",
    scanner.EPOCH_S: "epoch_s",
    scanner.EPOCH_MS: "epoch_ms",
    scanner.EPOCH_US: "epoch_us",
    scanner.EPOCH_NS: "epoch_ns",
    scanner.TZ_ASSUMED: "tz_assumed",
    scanner.DST_FOLD: "dst_fold",
    scanner.DST_GAP: "dst_gap",
}
_LANGUAGES = ("zh", "en", "other")


class Scanner:
    """Reads the blocks of a partition's files under a parser."""

    def __init__(self, parser: EventParser, partition: date) -> None:
        types, day = tuple(EVENT_TYPES), days(partition)
        near = range(day - LATE_DAYS - 2, day + 4)
        known = micros(parser.job.known_cutoff) if parser.job.known_cutoff else _NEVER
        self._window = (day, micros(parser.end_of(partition)), known, near.start * _QUARTERS, LATE_DAYS, types.index("search"))
        self._offsets = np.concatenate([_offsets(parser.zone, d) for d in near])
        zone = parser.naive_zone
        self._naive = np.concatenate([_naive(zone, d) for d in near], axis=1) if zone else np.zeros((2, 0), np.int64)
        self._keys, self._types = scanner.names(scanner.FIELDS), scanner.names(types)

    def block(self, lines: bytes, users: Users, names: Mapping[str, Names]) -> Block:
        """What is known of whole lines, each with its line feed."""
        data, spans, texts = np.frombuffer(lines, np.uint8), len(scanner.IDS + scanner.TEXTS), len(scanner.TEXTS)
        n = int(np.count_nonzero(data == _LINE_FEED))
        found = Block(
            lines=lines,
            columns=np.empty((len(scanner.COLUMNS), n), np.int64),
            numbers=np.empty((2, n)),
            places=np.empty((spans, n), np.int32),
            sizes=np.empty((spans, n), np.int32),
            ok=np.empty(n, bool),
            users=users,
            names=names,
        )
        odd, given = np.empty((texts, n), np.uint8), (self._keys, self._types, self._window, self._offsets, self._naive)
        scanner.scan(data, *given, found.columns, found.numbers, found.places, found.sizes, odd, found.ok)
        found.judge(odd)
        return found


@dataclass
class Block:
    """What is known of the lines of a block: as `scanner.scan` fills it in; `judge` completes it.

    ok          which lines are events accepted here; the others are to be looked at one by one
    repairs     repair code → bool (lines,): which got it
    user        int32 (lines,): number of the user
    names       names met in the file, of the columns whose values come again
    lang        int32 (lines,): number of the language, −1 for none; of lines only that `listen` was given
    """

    lines: bytes = field(repr=False)
    columns: np.ndarray
    numbers: np.ndarray
    places: np.ndarray
    sizes: np.ndarray
    ok: np.ndarray
    users: Users
    names: Mapping[str, Names]
    repairs: dict[str, np.ndarray] = field(default_factory=dict)
    user: np.ndarray = field(init=False)
    lang: np.ndarray = field(init=False)
    _data: np.ndarray = field(init=False)
    _extras: dict[int, str | None] = field(default_factory=dict)

    def judge(self, odd: np.ndarray) -> None:
        """Look at the users, and at the texts that are not plain."""
        rows = np.flatnonzero(self.ok)
        self._data, self.user, self.lang = np.frombuffer(self.lines, np.uint8), *np.full((2, len(self.ok)), -1, np.int32)
        self.user[rows], self.ok[rows] = self.users.numbers(self._data, *self._span("user_id"), rows)
        more: list[bytes] = []
        for name, of in zip(scanner.TEXTS, odd, strict=True):
            self._clean(name, of, more)
        if more:
            self._data = np.frombuffer(b"".join([self.lines, *more]), np.uint8)
        self.ok &= (self._span("item_id")[1] >= 0) | (self._span("query")[1] >= 0)
        marks = np.where(self.ok, self.columns[scanner.MARKS], 0)
        for bit, code in _MARKS.items():
            if (flags := (marks & bit) > 0).any():
                self.repairs[code] = self.repairs[code] | flags if code in self.repairs else flags

    def _span(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        f = scanner.FIELDS.index(name)
        return self.places[f], self.sizes[f]

    def _clean(self, name: str, odd: np.ndarray, more: list[bytes]) -> None:
        """Judge a field's texts value by value; what they become is laid behind the lines."""
        places, sizes = self._span(name)
        judged: dict[tuple[int, bytes], tuple[bytes | None, list[str]] | None] = {}
        end = len(self.lines) + sum(map(len, more))
        for i in np.flatnonzero((odd != scanner.PLAIN) & self.ok & (sizes >= 0)).tolist():
            raw = self.lines[places[i] : places[i] + sizes[i]]
            key = (odd[i], raw)
            if key not in judged:
                judged[key] = _judged(name, raw, odd[i] == scanner.ESCAPED)
            verdict = judged[key]
            if verdict is None:
                self.ok[i] = False
                continue
            value, codes = verdict
            for code in codes:
                if code not in self.repairs:
                    self.repairs[code] = np.zeros(len(self.ok), bool)
                self.repairs[code][i] = True
            if name == "url":
                self._extras[i] = None if value is None else value.decode()
            elif value is None:
                sizes[i] = -1
            elif value != raw:
                more.append(value)
                places[i], sizes[i] = end, len(value)
                end += len(value)

    # -- values of lines (indices) that are events -----------------------------------------------------------------------------------
    def strings(self, name: str, rows: np.ndarray) -> pa.Array:
        """A field's texts, cleaned."""
        return strings(self._data, *self._span(name), rows)

    def missing(self, name: str, rows: np.ndarray) -> int:
        """How many of the rows have no value in a field that is an id, a text, a time or a number."""
        if name == "lang":
            return int((self.lang[rows] < 0).sum())
        if name in scanner.IDS or name in scanner.TEXTS:
            return int((self._span(name)[1][rows] < 0).sum())
        if name in ("rating", "dwell_s"):
            return int(np.isnan(self._number(name, rows)).sum())
        return int((self._integer(name, rows) < 0).sum())

    @property
    def starts(self) -> np.ndarray:
        """Where each line begins."""
        return self.columns[scanner.START]

    @property
    def stops(self) -> np.ndarray:
        """The line feed of each line."""
        return self.columns[scanner.STOP]

    @property
    def ds(self) -> np.ndarray:
        """Local day in days since 1970."""
        return self.columns[scanner.DAY]

    def _number(self, name: str, rows: np.ndarray) -> np.ndarray:
        return self.numbers[("rating", "dwell_s").index(name), rows]

    def _integer(self, name: str, rows: np.ndarray) -> np.ndarray:
        return self.columns[scanner.COLUMNS.index(name), rows]

    def beside(self, rows: np.ndarray) -> dict[str, pa.Array]:
        """What of events of these lines tells whether they are the same event or session."""
        received = self._integer("received_ts", rows)
        return {
            "event_id": self.strings("event_id", rows),
            "user_key": self.users.keys(self.user[rows]),
            "event_ts": pa.array(self._integer("ts", rows)).cast(_UTC),
            "received_ts": pa.array(received, mask=received < 0).cast(_UTC),
            "session_id": self.strings("session_id", rows),
            "repairs": self.codes(rows),
        }

    def events(self, rows: np.ndarray) -> dict[str, pa.Array]:
        """All of events of these lines but their night and source."""
        quantity, numbers = self._integer("quantity", rows), {n: self._number(n, rows) for n in ("rating", "dwell_s")}
        return {
            **self.beside(rows),
            **{name: self.strings(name, rows) for name in ("text", "query")},
            **{name: known.coded(known.numbers(self._data, *self._span(name), rows)) for name, known in self.names.items()},
            **{name: pa.array(values, mask=np.isnan(values)) for name, values in numbers.items()},
            "event_type": _named(self._integer("event_type", rows), list(EVENT_TYPES)),
            "daypart": _named(self._integer("daypart", rows), DAYPARTS),
            "lang": _named(self.lang[rows], _LANGUAGES),
            "quantity": pa.array(quantity, mask=quantity < 0),
            "price": _prices(self._integer("price", rows)),
            "extra": self._extra(rows),
        }

    def listen(self, rows: np.ndarray) -> None:
        """Find out the language of events of these lines: as declared, else of what was written or searched for."""
        coded = self.strings("lang", rows).dictionary_encode()
        known = [_language(name, None) for name in coded.dictionary.to_pylist()]
        found = np.array([*known, -1], np.int64)[pc.fill_null(coded.indices, len(known)).to_numpy(zero_copy_only=False)]
        (places, sizes), (queries, query_sizes) = self._span("text"), self._span("query")
        places, sizes = np.where(sizes < 0, queries, places), np.where(sizes < 0, query_sizes, sizes)
        unknown = np.flatnonzero((found < 0) & (sizes[rows] >= 0))
        said = strings(self._data, places, sizes, rows[unknown]).dictionary_encode()
        heard = [_language(None, words) for words in said.dictionary.to_pylist()]
        found[unknown] = np.array(heard, np.int64)[said.indices.to_numpy()]
        self.lang[rows] = found

    def codes(self, rows: np.ndarray) -> pa.Array:
        """The sorted repair codes of each row."""
        codes = sorted(self.repairs)
        if not codes:
            ends = pa.array(np.zeros(len(rows) + 1, np.int32))
            return pa.ListArray.from_arrays(ends, pa.array([], pa.string()))
        flags = np.array([self.repairs[c][rows] for c in codes], bool).reshape(len(codes), len(rows))
        ends = np.concatenate([[0], np.cumsum(flags.sum(axis=0))]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(ends), _named(np.nonzero(flags.T)[1], codes).cast(pa.string()))

    def _extra(self, rows: np.ndarray) -> pa.Array:
        """The page's URL as canonical JSON, as `extra_of` gives it."""
        urls = self.strings("url", rows)
        if urls.null_count == len(rows):
            return urls
        found = pc.binary_join_element_wise('{"url":"', urls, '"}', "")
        if not self._extras:
            return found
        special = np.isin(rows, list(self._extras))
        values = pa.array([self._extras[i] for i in rows[special].tolist()], pa.string())
        return pc.replace_with_mask(found, pa.array(special), values)


def _judged(name: str, raw: bytes, escaped: bool) -> tuple[bytes | None, list[str]] | None:
    """(what a text becomes, its repairs), None when it is not simple."""
    repairs: list[str] = []
    try:
        if name == "repairs":
            return None, landed_repairs(orjson.loads(b"[%b]" % raw))
        value = orjson.loads(b'"%b"' % raw) if escaped else raw.decode()
        if name == "url":
            found = extra_of({"url": value}, repairs)
        else:
            found = text(value, repairs)
            found = masked(found, repairs) if name in ("text", "query") else found
    except (Fault, orjson.JSONDecodeError):
        return None
    return None if found is None else found.encode(), repairs


def _language(declared: str | None, said: str | None) -> int:
    found = language_code(declared, said)
    return -1 if found is None else _LANGUAGES.index(found)


def _named(numbers: np.ndarray, names: Sequence[str]) -> pa.DictionaryArray:
    """Texts by number; null below zero."""
    return values_at(numbers, pa.array(names, pa.string()))


def _prices(values: np.ndarray) -> pa.Array:
    """Ten-thousandths to decimals; null below zero."""
    pairs = np.zeros((len(values), 2), np.int64)
    pairs[:, 0] = values
    valid = values >= 0
    bits = np.packbits(valid, bitorder="little")
    return pa.Array.from_buffers(_PRICE, len(values), [pa.py_buffer(bits), pa.py_buffer(pairs)], int((~valid).sum()))


@lru_cache(maxsize=1024)
def _offsets(zone: ZoneInfo, day: int) -> np.ndarray:
    """Microseconds that a zone adds to UTC in each quarter of an hour of a day (since 1970) in UTC."""
    local = [(EPOCH + timedelta(days=day, minutes=15 * q)).astimezone(zone).utcoffset() for q in range(_QUARTERS)]
    return np.array([(of or timedelta(0)) // _MICROSECOND for of in local], np.int64)


@lru_cache(maxsize=1024)
def _naive(zone: ZoneInfo, day: int) -> np.ndarray:
    """(2, quarters of an hour of a day, since 1970): microseconds that make its local time UTC, and the marks that it gets."""
    found = np.zeros((2, _QUARTERS), np.int64)
    for q in range(_QUARTERS):
        at, codes = EPOCH + timedelta(days=day, minutes=15 * q), list[str]()
        found[0, q] = (localised(at.replace(tzinfo=None), zone, codes) - at) // _MICROSECOND
        found[1, q] = sum(bit for bit, code in _MARKS.items() if code in codes)
    return found


def days(value: date) -> int:
    """Days since 1970."""
    return (value - date(1970, 1, 1)) // ONE_DAY
