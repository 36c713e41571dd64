"""The rules of `recsys_core.parse.event` for a block of objects at once, where they are simple: some six times as fast.

Only what needs no repair, or one of a few frequent ones, is taken; every other object is left to the rules themselves. A test holds both
against each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.events import EVENT_TYPES
from recsys_core.landing_schema import MAX_TEXT_LENGTH
from recsys_core.parse.event import DAYPARTS, FIELDS, LATE_DAYS, NO_ITEM, NO_USER, ONE_DAY, EventParser, extra_of, masked
from recsys_core.parse.rules import Fault
from recsys_core.parse.values import EPOCH, EPOCHS, micros, text
from recsys_core.privacy import user_key
from recsys_core.texts import language_code

_KNOWN = FIELDS - {"fault", "repairs"}
_ID = r"^[!-~]{1,256}$"
_PLAIN = r"^[!-~]([ -~]*[!-~])?$"
_MOMENT = r"^20\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[T ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-](0\d|1[0-3]):[0-5]\d)$"
_UTC = pa.timestamp("us", "UTC")
# Clocks have changed at whole quarters of an hour since 1972: one offset holds for each.
_QUARTER = 15 * 60 * 1_000_000
_DAY = 86_400_000_000
_MAX_EXACT = 1 << 53
# Distinct users whose keys one parser remembers.
_MAX_KEYS = 1 << 20


@dataclass
class Block:
    """What became of a block of objects.

    columns     arrays by name of event_clean, one entry for each object of the block; what is not `taken` is undefined there
    order       (n,) which object of the block an entry is of: all arrays here have the order of the columns
    taken       (n,) which are accepted here; the others are to be looked at one by one
    ds          (n,) local day, in days since 1970
    repairs     repair code → (n,) which objects got it
    """

    columns: dict[str, pa.Array]
    order: np.ndarray
    taken: np.ndarray
    ds: np.ndarray
    repairs: dict[str, np.ndarray]

    def repair_lists(self, rows: np.ndarray) -> pa.Array:
        """The sorted codes of each of the rows (indices)."""
        codes = sorted(self.repairs)
        flags = [self.repairs[c][rows] for c in codes]
        if not any(f.any() for f in flags):
            return pa.array([[]] * len(rows), pa.list_(pa.string()))
        return pa.array([[c for c, f in zip(codes, row, strict=True) if f] for row in zip(*flags, strict=True)], pa.list_(pa.string()))


class _Columns:
    """The fields of a block as lists, object by object; `ok` tells which objects are simple so far.

    Objects of one producer have the same fields in the same order: those with equal fields are taken apart together.
    """

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        alike: dict[tuple[str, ...], list[int]] = {}
        for i, row in enumerate(rows):
            alike.setdefault(tuple(row), []).append(i)
        self.n = len(rows)
        self.order = np.array([i for places in alike.values() for i in places], np.int64)
        self.ok = np.ones(self.n, bool)
        self.repairs: dict[str, np.ndarray] = {}
        self._values: dict[str, list[Any]] = {}
        start = 0
        for names, places in alike.items():
            end = start + len(places)
            if not _KNOWN.issuperset(names):
                self.ok[start:end] = False
            else:
                for name, values in zip(names, zip(*(rows[i].values() for i in places), strict=True), strict=True):
                    if name not in self._values:
                        self._values[name] = [None] * self.n
                    self._values[name][start:end] = values
            start = end

    def of_types(self, name: str, *types: type) -> list[Any] | None:
        """Values of a field, None where it is absent or of another type, which is not simple; None when all are absent."""
        values = self._values.get(name)
        if values is None:
            return None
        if not set(map(type, values)) <= {type(None), *types}:
            odd = [i for i, v in enumerate(values) if v is not None and type(v) not in types]
            values = values.copy()
            for i in odd:
                values[i] = None
            self.ok[odd] = False
        return values

    def strings(self, name: str) -> pa.Array:
        values = self.of_types(name, str)
        return pa.nulls(self.n, pa.string()) if values is None else pa.array(values, pa.string())

    def matching(self, column: pa.Array, pattern: str, nullable: bool = True) -> pa.Array:
        """The column; what does not match is not simple."""
        self.ok &= _flags(pc.match_substring_regex(column, pattern), nullable)
        return column

    def mark(self, code: str, flags: np.ndarray) -> None:
        if flags.any():
            self.repairs[code] = self.repairs.get(code, np.zeros(self.n, bool)) | flags

    def mark_one(self, code: str, i: int) -> None:
        self.repairs.setdefault(code, np.zeros(self.n, bool))[i] = True

    def floats(self, name: str, low: float, high: float) -> pa.Array:
        values = self.of_types(name, int, float)
        if values is None:
            return pa.nulls(self.n, pa.float64())
        big = [i for i, v in enumerate(values) if type(v) is int and abs(v) > _MAX_EXACT]
        if big:
            values = values.copy()
            for i in big:
                values[i] = None
            self.ok[big] = False
        found = pa.array(values, pa.float64())
        self.ok &= _flags(pc.and_(pc.greater_equal(found, low), pc.less_equal(found, high)), True)
        return found


def _flags(column: pa.Array, null: bool) -> np.ndarray:
    return pc.fill_null(column, null).to_numpy(zero_copy_only=False)


def _numbers(column: pa.Array) -> np.ndarray:
    """A timestamp or whole-number column as int64, 0 for nulls."""
    return pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)


def block(parser: EventParser, partition: date, rows: Sequence[dict[str, Any]], keys: dict[str, str]) -> Block:
    """The block's events by column. `keys` remembers user id → user key."""
    c = _Columns(rows)
    end = micros(parser.end_of(partition))
    received = _moments(c, "received_ts", epochs=False)
    c.ok &= _flags(pc.less_equal(received.cast(pa.int64()), end + _DAY), True)
    happened = _moments(c, "ts", epochs=True)
    c.ok &= ~_flags(happened.is_null(), False)
    at = _numbers(happened)
    now = _numbers(pc.fill_null(received, pa.scalar(end, pa.int64()).cast(_UTC)))
    c.ok &= at <= now
    if parser.job.known_cutoff:
        c.ok &= now <= micros(parser.job.known_cutoff)
    local = at + _offsets(parser, at, c.ok)
    ds = np.floor_divide(local, _DAY)
    late = (partition - date(1970, 1, 1)).days - ds
    c.ok &= late <= LATE_DAYS
    c.mark("late", late > 0)

    user_id = c.matching(c.strings("user_id"), _ID, nullable=False)
    user, user_keys = _users(c, parser, user_id, keys)
    kind = c.strings("event_type")
    c.ok &= _flags(pc.is_in(kind, pa.array(list(EVENT_TYPES))), False)
    query, written = _texts(c, "query", True), _texts(c, "text", True)
    item = c.matching(c.strings("item_id"), _ID)
    c.ok &= ~_flags(pc.is_in(pc.ascii_lower(item), pa.array(sorted(NO_ITEM))), False)
    c.ok &= _flags(pc.or_(pc.is_valid(item), pc.and_(pc.equal(kind, "search"), pc.is_valid(query))), False)
    columns = {
        "event_id": c.matching(c.strings("event_id"), _ID, nullable=False),
        "user_key": user_keys,
        "user_id": user,
        "item_id": item,
        "event_type": kind,
        "event_ts": happened,
        "received_ts": received,
        "session_id": c.matching(c.strings("session_id"), _ID),
        "rating": c.floats("rating", 1, 5),
        "quantity": _quantities(c),
        "price": _prices(c),
        "dwell_s": c.floats("dwell_s", 0, 10**7),
        "text": written,
        "query": query,
        "device": _texts(c, "device", False),
        "region": _texts(c, "region", False),
        "daypart": pa.DictionaryArray.from_arrays(
            pa.array(np.floor_divide(local - ds * _DAY, _DAY // 4).astype(np.int8)), pa.array(DAYPARTS)
        ).cast(pa.string()),
        "extra": _extras(c),
    }
    columns["lang"] = _languages(c, written, query)
    return Block(columns, c.order, c.ok, ds, {code: flags & c.ok for code, flags in c.repairs.items()})


def _moments(c: _Columns, name: str, epochs: bool) -> pa.Array:
    """Times in UTC; `epochs` are taken too, and marked."""
    values = c.of_types(name, str, int) if epochs else c.of_types(name, str)
    if values is None:
        return pa.nulls(c.n, _UTC)
    given: dict[int, int] = {}
    if int in set(map(type, values)):
        values = values.copy()
        for i, v in enumerate(values):
            if type(v) is int:
                values[i] = None
                for low, high, per_second, code in EPOCHS:
                    if low <= v <= high:
                        given[i] = v * 10**6 // per_second
                        c.mark_one(code, i)
                c.ok[i] &= i in given
    written = c.matching(pa.array(values, pa.string()), _MOMENT)
    written = pc.if_else(pa.array(c.ok), written, None)
    try:
        found = written.cast(_UTC)
    except pa.ArrowInvalid:  # the 31st of a month of 30 days
        odd = _flags(pc.greater(pc.utf8_slice_codeunits(written, 8, 10), "28"), False)
        c.ok &= ~odd
        found = pc.if_else(pa.array(~odd), written, None).cast(_UTC)
    if given:
        found = pc.coalesce(pa.array([given.get(i) for i in range(c.n)], pa.int64()).cast(_UTC), found)
    return found


def _offsets(parser: EventParser, at: np.ndarray, ok: np.ndarray) -> np.ndarray:
    """Microseconds between UTC and the night's zone at each time."""
    if parser.job.time_zone == "UTC":
        return np.zeros(len(at), np.int64)
    quarters = np.floor_divide(np.where(ok, at, 0), _QUARTER)
    distinct, place = np.unique(quarters, return_inverse=True)
    known = [_offset(EPOCH + timedelta(microseconds=int(q) * _QUARTER), parser) for q in distinct]
    return np.array(known, np.int64)[place]


def _offset(moment: datetime, parser: EventParser) -> int:
    found = moment.astimezone(UTC).astimezone(parser.zone).utcoffset()
    return (found or timedelta(0)) // timedelta(microseconds=1)


def _users(c: _Columns, parser: EventParser, user_id: pa.Array, keys: dict[str, str]) -> tuple[pa.Array, pa.Array]:
    """(user ids, their keys); who is known otherwise, opted out or is to be forgotten is not simple."""
    coded = user_id.dictionary_encode()
    names, job = coded.dictionary.to_pylist(), parser.job
    if len(keys) > _MAX_KEYS:
        keys.clear()
    found: list[str | None] = []
    for name in names:
        if name.lower() in NO_USER or name in job.opted_out or job.identities.get(name, name) != name:
            found.append(None)
            continue
        if name not in keys:
            if job.erased and job.erased.request(name):
                found.append(None)
                continue
            keys[name] = user_key(job.secret, name)
        found.append(keys[name])
    user_keys = pa.DictionaryArray.from_arrays(coded.indices, pa.array(found, pa.string())).cast(pa.string())
    c.ok &= ~_flags(user_keys.is_null(), True)
    return user_id, user_keys


def _texts(c: _Columns, name: str, masks: bool) -> pa.Array:
    """A column of texts; what is not plain ASCII without a number or an address is cleaned value by value, and is simple when that changes
    nothing to speak of."""
    column = c.strings(name)
    if column.null_count == c.n:
        return column
    plain = _flags(pc.and_(pc.match_substring_regex(column, _PLAIN), pc.less_equal(pc.binary_length(column), MAX_TEXT_LENGTH)), True)
    if masks:
        plain &= ~_flags(pc.match_substring_regex(column, "[@0-9]"), False)
    odd = np.nonzero(~plain & c.ok)[0]
    if not len(odd):
        return column
    values = column.to_pylist()
    for i in odd:
        repairs: list[str] = []
        try:
            values[i] = text(values[i], repairs)
        except Fault:
            c.ok[i] = False
            continue
        if masks:
            values[i] = masked(values[i], repairs)
        for code in repairs:
            c.mark_one(code, int(i))
    return pa.array(values, pa.string())


def _quantities(c: _Columns) -> pa.Array:
    values = c.of_types("quantity", int)
    if values is None:
        return pa.nulls(c.n, pa.int64())
    odd = [i for i, v in enumerate(values) if v is not None and not 0 <= v <= 10**9]
    if odd:
        values = values.copy()
        for i in odd:
            values[i] = None
        c.ok[odd] = False
    return pa.array(values, pa.int64())


def _prices(c: _Columns) -> pa.Array:
    """Prices that four decimals hold exactly; free ones, and those to be rounded, are not simple."""
    kind = pa.decimal128(18, 4)
    found = c.floats("price", 0.0001, 1e9)
    if found.null_count == c.n:
        return pa.nulls(c.n, kind)
    values = np.where(c.ok, pc.fill_null(found, 0.0).to_numpy(zero_copy_only=False), 0.0)
    whole = np.rint(values * 1e4)
    # Division rounds correctly: equality says that the price is the double nearest to a decimal of four places, and so is written as one.
    c.ok &= whole / 1e4 == values
    pairs = np.zeros((c.n, 2), np.int64)
    pairs[:, 0] = whole.astype(np.int64)
    valid = pc.is_valid(found)
    bits = np.packbits(valid.to_numpy(zero_copy_only=False), bitorder="little")
    return pa.Array.from_buffers(kind, c.n, [pa.py_buffer(bits.tobytes()), pa.py_buffer(pairs.tobytes())])


def _extras(c: _Columns) -> pa.Array:
    urls = c.of_types("url", str)
    if urls is None:
        return pa.nulls(c.n, pa.string())
    found: list[str | None] = []
    for i, url in enumerate(urls):
        repairs: list[str] = []
        found.append(extra_of({"url": url}, repairs) if url and c.ok[i] else None)
        for code in repairs:
            c.mark_one(code, int(i))
    return pa.array(found, pa.string())


def _languages(c: _Columns, written: pa.Array, query: pa.Array) -> pa.Array:
    """Language as declared, else of what was written or searched for."""
    declared = _texts(c, "lang", False)
    coded = declared.dictionary_encode()
    known = [language_code(name, None) if name else None for name in coded.dictionary.to_pylist()]
    found = pa.DictionaryArray.from_arrays(coded.indices, pa.array(known, pa.string())).cast(pa.string())
    said = pc.coalesce(written, query)
    open_ = _flags(pc.and_(found.is_null(), pc.is_valid(said)), False) & c.ok
    if not open_.any():
        return found
    values, texts = found.to_pylist(), said.to_pylist()
    for i in np.nonzero(open_)[0]:
        values[i] = language_code(None, texts[i])
    return pa.array(values, pa.string())


def null_counts(columns: dict[str, pa.Array], rows: pa.Array, names: Sequence[str], fields: Counter[str]) -> None:
    """Add to `fields` how many of the rows (indices) have no value, as `null:<name>`."""
    for name in names:
        column = columns[name]
        if column.null_count and (n := column.take(rows).null_count if column.null_count < len(column) else len(rows)):
            fields[f"null:{name}"] += n


def days(value: date) -> int:
    """Days since 1970."""
    return (value - date(1970, 1, 1)) // ONE_DAY
