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
# Places of values that are their rows' own.
_EACH = np.empty(0, np.int32)

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
    from recsys_core.lake import hashing

    total, known = np.zeros((2, batch.num_rows), np.uint64), {} if known is None else known
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        hashing.add(
            *(_of_dictionary(column, known) if pa.types.is_dictionary(column.type) else (_hashed(column), _EACH)), _seed(name), total
        )
    hashing.mix(total)
    return total


def _of_dictionary(array: pa.DictionaryArray, known: Dictionaries) -> tuple[Words, npt.NDArray[np.int32]]:
    """(hashes of the values and of null, the place of each row's among them)."""
    from recsys_core.lake.hashing import NULL

    held = array.dictionary
    place = (held.buffers()[-1].address if held.buffers()[-1] else 0, held.offset, len(held))
    if place not in known:
        found = [_hashed(held.slice(start, BLOCK)) for start in range(0, len(held), BLOCK)]
        known[place] = held, np.ascontiguousarray(np.concatenate([*found, NULL], axis=1))
    return known[place][1], pc.fill_null(array.indices, len(held)).to_numpy(zero_copy_only=False).astype(np.int32, copy=False)


def blocks(rows: pa.Table | Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Batches of at most BLOCK rows."""
    for batch in rows.to_batches(max_chunksize=BLOCK) if isinstance(rows, pa.Table) else rows:
        for start in range(0, batch.num_rows, BLOCK):
            yield batch.slice(start, BLOCK)


def value_hashes(values: pa.Array) -> npt.NDArray[np.int64]:
    """A 64-bit hash of each value, (n,), the same in any process; nulls are equal to each other."""
    from recsys_core.lake.hashing import mix

    found = np.concatenate([np.empty((2, 0), np.uint64), *(_hashed(values.slice(n, BLOCK)) for n in range(0, len(values), BLOCK))], axis=1)
    mix(found)
    return found[0].view(np.int64)


@cache
def _seed(name: str) -> Words:
    return np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], "<u8")


def _hashed(array: pa.Array) -> Words:
    """Hashes of values, (2, n)."""
    from recsys_core.lake import hashing

    kind, found = array.type, np.empty((2, len(array)), np.uint64)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        half = len(array) // 2
        if half and len(array.flatten()) > BLOCK:
            return np.concatenate([_hashed(array.slice(0, half)), _hashed(array.slice(half))], axis=1)
        hashing.of_lists(_hashed(array.flatten()), np.asarray(array.value_lengths().fill_null(0)).astype(np.int64), found)
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        _hash_bytes(array, np.int32, found)
    elif pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        _hash_bytes(array, np.int64, found)
    else:
        hashing.of_words(_words(array), found)
    return np.where(np.asarray(array.is_valid()), found, hashing.NULL) if array.null_count else found


def _words(array: pa.Array) -> Words:
    """Values of fixed size as words of eight bytes, (words of each, n)."""
    kind = array.type
    if pa.types.is_decimal(kind):
        both = np.frombuffer(array.buffers()[1], "<u8").reshape(-1, 2)
        return np.array(both[array.offset : array.offset + len(array)].T, order="C")
    if pa.types.is_temporal(kind):
        array = array.cast(pa.int32() if pa.types.is_date32(kind) else pa.int64())
    values = np.asarray(array.fill_null(False if pa.types.is_boolean(kind) else 0))
    words = (values.astype(np.float64) + 0.0) if values.dtype.kind == "f" else values.astype(np.int64)
    return words.view(np.uint64).reshape(1, -1)


def _hash_bytes(array: pa.Array, width: type[np.signedinteger[Any]], found: Words) -> None:
    """Fill in the hashes of byte strings."""
    from recsys_core.lake.hashing import LONG, of_bytes

    _, offsets, values = array.buffers()
    ends = np.frombuffer(offsets, width)[array.offset : array.offset + len(array) + 1].astype(np.int64)
    # Words are read where the values lie, unaligned, the last ones beyond their end. They are two or more: one is another type to numba.
    held = np.zeros(ends[-1] - ends[0] + 9, np.uint8)
    if values is not None:
        held[:-9] = np.frombuffer(values, np.uint8)[ends[0] : ends[-1]]
    ends -= ends[0]
    long = [held[ends[row] : ends[row + 1]].tobytes() for row in np.flatnonzero(np.diff(ends) > LONG)]
    digests = np.frombuffer(b"".join(hashlib.blake2b(value, digest_size=16).digest() for value in long), "<u8").reshape(-1, 2)
    of_bytes(np.ndarray((len(held) - 7,), "<u8", held, strides=(1,)), ends, digests, found)
