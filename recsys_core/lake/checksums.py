"""A checksum of rows that adds up over parts of them, whatever holds them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

# Rows that are hashed at a time: what is in work stays in a core's own cache.
BLOCK = 1 << 15
# A value of more bytes is hashed by a call of its own, a shorter one with its neighbours, eight bytes at a time.
LONG = 1024
# Byte strings are hashed run by run where the runs are at most this share of the values: finding them costs a third of hashing.
FEWER = 0.75

Words: TypeAlias = npt.NDArray[np.uint64]
# Hashes of a dictionary's values and of null, beside the dictionary, by where it lies in memory.
Dictionaries: TypeAlias = dict[tuple[int, int, int], tuple[pa.Array, Words]]


def canonical_json(value: Any) -> str:
    """JSON text with sorted keys and no spaces, so that equal values are equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any) -> str:
    """Hex sha256 of a JSON-able value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


class Sums(NamedTuple):
    """What a checksum is made of; the sums of the parts of a table, added, are those of the table."""

    rows: int = 0
    first: int = 0
    second: int = 0

    def plus(self, other: Sums) -> Sums:
        """The sums of both together."""
        return Sums(self.rows + other.rows, (self.first + other.first) % 2**64, (self.second + other.second) % 2**64)

    def checksum(self, names: Iterable[str]) -> str:
        """Hex checksum, 32 digits, of the rows of a table with these columns."""
        return digest([sorted(names), *self])[:32]


def checksum(rows: pa.Table) -> str:
    """Hex checksum, 32 digits, of a table's contents, whatever the order of its rows and columns or its chunks.

    Equal contents give equal checksums in any engine that can hand over Arrow.
    """
    return sums(rows).checksum(rows.column_names)


def is_checksum(text: str) -> bool:
    """Whether a checksum is of this kind: earlier versions noted sha256 over sorted rows, which no sum can be compared with."""
    return len(text) == 32


def sums(rows: pa.Table | Iterable[pa.RecordBatch]) -> Sums:
    """Two sums, mod 2^64, of 64-bit hashes of the rows, which are independent of each other.

    A row's hash is the mixed sum of its values' hashes, each mixed with its column's name. A value's words of eight bytes are the
    coefficients of two polynomials, evaluated mod 2^64 after each word was multiplied and folded. −0.0 is 0.0: engines differ in which they
    keep. Not for secrets: it finds faults, not forgers.
    """
    n = first = second = 0
    known: Dictionaries = {}
    for batch in blocks(rows):
        n += batch.num_rows
        by_lane = row_hashes(batch, known).sum(axis=1, dtype=np.uint64)
        first, second = (first + int(by_lane[0])) % 2**64, (second + int(by_lane[1])) % 2**64
    return Sums(n, first, second)


def row_hashes(batch: pa.RecordBatch, known: Dictionaries | None = None) -> Words:
    """Two hashes of each row, (2, n); `known` keeps those of dictionaries from one batch to the next."""
    total, known = np.zeros((2, batch.num_rows), np.uint64), {} if known is None else known
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        value = _hashed_of_dictionary(column, known) if pa.types.is_dictionary(column.type) else _hashed(column)
        value += _seed(name)
        total += _folded(value)
    return _mixed(total)


def _hashed_of_dictionary(array: pa.DictionaryArray, known: Dictionaries) -> Words:
    held = array.dictionary
    place = (held.buffers()[-1].address if held.buffers()[-1] else 0, held.offset, len(held))
    if place not in known:
        found = [_hashed(held.slice(start, BLOCK)) for start in range(0, len(held), BLOCK)]
        known[place] = held, np.concatenate([*found, _NULL], axis=1)
    lanes = known[place][1]
    return lanes[:, pc.fill_null(array.indices, len(held)).to_numpy(zero_copy_only=False)]


def blocks(rows: pa.Table | Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Batches of at most BLOCK rows."""
    for batch in rows.to_batches(max_chunksize=BLOCK) if isinstance(rows, pa.Table) else rows:
        for start in range(0, batch.num_rows, BLOCK):
            yield batch.slice(start, BLOCK)


def value_hashes(values: pa.Array) -> npt.NDArray[np.int64]:
    """A 64-bit hash of each value, (n,), the same in any process; nulls are equal to each other."""
    found = [_mixed(_hashed(values.slice(start, BLOCK))[:1])[0] for start in range(0, len(values), BLOCK)]
    return np.concatenate([np.empty(0, np.uint64), *found]).view(np.int64)


# Odd multipliers of the two polynomials (their difference is 2 mod 4), where each begins, and what stands for null.
_STEP = np.array([[0x9E3779B97F4A7C15], [0xD6E8FEB86659FD93 + 4]], np.uint64)
_START = np.array([[0x243F6A8885A308D3], [0x13198A2E03707344]], np.uint64)
_NULL = np.array([[0xA4093822299F31D0], [0x082EFA98EC4E6C89]], np.uint64)
_FOLD, _PLACE, _HALF, _LAST = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB), np.uint64(32), np.uint64(56)
# Masks that keep the first n of a word's bytes.
_KEEP = np.array([(1 << 8 * n) - 1 for n in range(8)], np.uint64)


@cache
def _seed(name: str) -> Words:
    return np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], "<u8").reshape(2, 1)


def _mixed(lanes: Words) -> Words:
    """Each word replaced by one in which every bit depends on all (in place)."""
    for factor in (_FOLD, _PLACE):
        lanes ^= lanes >> _HALF
        lanes *= factor
    lanes ^= lanes >> _HALF
    return lanes


def _folded(words: Words) -> Words:
    words = words * _FOLD
    words ^= words >> _HALF
    return words


def _take(lanes: Words, words: Words) -> None:
    """The polynomials' next coefficient (in place)."""
    lanes += _folded(words)
    lanes *= _STEP


def _hashed(array: pa.Array) -> Words:
    """Hashes of values, (2, n)."""
    kind = array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lanes = _hashed_lists(array)
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        lanes = _hashed_runs(array, np.int32)
    elif pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        lanes = _hashed_runs(array, np.int64)
    else:
        lanes = np.repeat(_START, len(array), axis=1)
        for words in _words(array):
            _take(lanes, words)
    if array.null_count:
        lanes = np.where(np.asarray(array.is_valid()), lanes, _NULL)
    return lanes


def _words(array: pa.Array) -> list[Words]:
    """Values of fixed size as words of eight bytes."""
    kind = array.type
    if pa.types.is_decimal(kind):
        both = np.frombuffer(array.buffers()[1], "<u8").reshape(-1, 2)
        return list(both[array.offset : array.offset + len(array)].T)
    if pa.types.is_temporal(kind):
        array = array.cast(pa.int32() if pa.types.is_date32(kind) else pa.int64())
    values = np.asarray(array.fill_null(False if pa.types.is_boolean(kind) else 0))
    if values.dtype.kind == "f":
        return [(values.astype(np.float64) + 0.0).view(np.uint64)]
    return [values.astype(np.int64).view(np.uint64)]


def _hashed_runs(array: pa.Array, width: type[np.signedinteger[Any]]) -> Words:
    """Hashes of byte strings; where a value stands in several rows on end, as users do in their sorted rows, it is hashed once."""
    runs = pc.run_end_encode(array)
    if len(runs.values) > len(array) * FEWER:
        return _hashed_bytes(array, width)
    return np.repeat(_hashed_bytes(runs.values, width), np.diff(np.asarray(runs.run_ends), prepend=0), axis=1)


def _hashed_bytes(array: pa.Array, width: type[np.signedinteger[Any]]) -> Words:
    """Hashes of byte strings: their whole words, then the bytes that are left, and in a word's last byte how many these are."""
    _, offsets, values = array.buffers()
    ends = np.frombuffer(offsets, width)[array.offset : array.offset + len(array) + 1].astype(np.int64)
    starts, sizes = ends[:-1] - ends[0], np.diff(ends)
    # Words are read where the values lie, unaligned, the last ones beyond their end.
    held = np.zeros(ends[-1] - ends[0] + 8, np.uint8)
    if values is not None:
        held[:-8] = np.frombuffer(values, np.uint8)[ends[0] : ends[-1]]
    words: Words = np.ndarray((len(held) - 7,), "<u8", held, strides=(1,))
    lanes, short = np.repeat(_START, len(array), axis=1), sizes <= LONG
    _take_whole(lanes, words, starts, np.where(short, sizes >> 3, 0))
    for row in np.flatnonzero(~short).tolist():
        value = hashlib.blake2b(held[starts[row] : starts[row] + sizes[row]].tobytes(), digest_size=16).digest()
        for word in np.frombuffer(value, "<u8").reshape(2, 1):
            _take(lanes[:, row : row + 1], word)
    left = np.where(short, sizes & 7, 0)
    _take(lanes, (words[starts + sizes - left] & _KEEP[left]) | (np.where(short, left, 8).astype(np.uint64) << _LAST))
    return lanes


def _take_whole(lanes: Words, words: Words, starts: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> None:
    """Take so many words of each value, of those that begin at every byte (in place)."""
    most, least = int(counts.max(initial=0)), int(counts.min(initial=LONG))
    if not most:
        return
    apart = np.diff(starts)
    even = len(apart) and int(apart.min()) == int(apart.max())
    for number in range(least):
        # Values of one length lie evenly, which spares a look at where each begins.
        _take(lanes, words[8 * number :: int(apart[0])][: len(starts)] if even else words[starts + 8 * number])
    longer = np.flatnonzero(counts > least)
    if len(longer):
        # The longest first: those that have a next word are always the first ones.
        order = longer[np.argsort(most - counts[longer].astype(np.uint16), kind="stable")]
        inner, begins, having = lanes[:, order], starts[order], len(starts) - np.cumsum(np.bincount(counts))
        for number, count in enumerate(having[least:-1].tolist(), least):
            _take(inner[:, :count], words[begins[:count] + 8 * number])
        lanes[:, order] = inner


def _hashed_lists(array: pa.Array) -> Words:
    """Hashes of lists: the sum of their elements' hashes, each mixed with its place, and how many they are."""
    half = len(array) // 2
    if half and len(array.flatten()) > BLOCK:
        return np.concatenate([_hashed_lists(array.slice(0, half)), _hashed_lists(array.slice(half))], axis=1)
    sizes = np.asarray(array.value_lengths().fill_null(0)).astype(np.int64)
    inner = _hashed(array.flatten())
    begins = np.cumsum(sizes) - sizes
    place = np.arange(inner.shape[1]) - np.repeat(begins, sizes)
    inner += (place.astype(np.uint64) + np.uint64(1)) * _PLACE
    reached = np.zeros((2, inner.shape[1] + 1), np.uint64)
    np.cumsum(_mixed(inner), axis=1, out=reached[:, 1:])
    lanes: Words = reached[:, begins + sizes] - reached[:, begins]
    lanes += _START
    _take(lanes, sizes.view(np.uint64))
    return lanes
