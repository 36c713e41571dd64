"""Strings that lie in a block of bytes, to Arrow columns and to numbers of distinct ones, without a Python object for any of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from recsys_core.coded import coded
from recsys_core.compiled import kernel

_FACTOR, _HALF = np.uint64(0x9E3779B97F4A7C15), np.uint64(32)
# Masks that keep the first n of a word's bytes.
_KEEP = np.array([(1 << 8 * n) - 1 for n in range(8)], np.uint64)


def words(data: np.ndarray) -> np.ndarray:
    """The eight bytes from each byte on, as unaligned words of the same memory; kernels read them where more than eight bytes are left."""
    n = len(data) - 7
    return np.ndarray((n,), "<u8", data, strides=(1,)) if n > 1 else np.ndarray((2,), "<u8", np.zeros(9, np.uint8), strides=(1,))


@kernel
def _word(data: Any, at: Any, place: int, size: int) -> Any:
    """The up to seven bytes from there as a word."""
    if place + 8 < len(data):
        return at[place] & _KEEP[size]
    found = np.uint64(0)
    for i in range(size):
        found |= np.uint64(data[place + i]) << np.uint64(8 * i)
    return found


@kernel
def _hash(data: Any, at: Any, place: int, size: int) -> int:
    """63 bits that depend on all bytes: each word of eight multiplied and folded into those before it."""
    found = np.uint64(size) * _FACTOR
    while size > 7:
        found = (found ^ (at[place] if place + 8 < len(data) else _eight(data, place))) * _FACTOR
        found ^= found >> _HALF
        place += 8
        size -= 8
    found = (found ^ _word(data, at, place, size)) * _FACTOR
    found = (found ^ (found >> _HALF)) * _FACTOR
    return np.int64((found ^ (found >> _HALF)) >> np.uint64(1))  # type: ignore[return-value]


@kernel
def _eight(data: Any, place: int) -> Any:
    found = np.uint64(0)
    for i in range(8):
        found |= np.uint64(data[place + i]) << np.uint64(8 * i)
    return found


@kernel
def _copy(data: Any, at: Any, places: Any, sizes: Any, rows: Any, ends: Any, out: Any, to: Any, valid: Any) -> None:
    end = 0
    for k in range(len(rows)):
        size = sizes[rows[k]]
        if size >= 0:
            place, i = places[rows[k]], 0
            if place + size + 8 < len(data):
                while i < size:  # what a last word has too much is overwritten by the next value
                    to[end + i] = at[place + i]
                    i += 8
            else:
                for i in range(size):
                    out[end + i] = data[place + i]
            end += size
            valid[k >> 3] |= 1 << (k & 7)
        ends[k + 1] = end


def strings(data: np.ndarray, places: np.ndarray, sizes: np.ndarray, rows: np.ndarray) -> pa.Array:
    """The strings of these rows (indices): `sizes` bytes of UTF-8 from `places` of `data` on each, null where the size is below zero."""
    chosen = sizes[rows]
    missing = int((chosen < 0).sum())
    if missing == len(rows):
        return pa.nulls(missing, pa.string())
    ends, valid = np.zeros(len(rows) + 1, np.int32), np.zeros((len(rows) + 7) // 8, np.uint8)
    out = np.empty(int(chosen.sum()) + missing + 16, np.uint8)
    _copy(data, words(data), places, sizes, rows, ends, out, words(out), valid)
    buffers = [pa.py_buffer(valid) if missing else None, pa.py_buffer(ends), pa.py_buffer(out)]
    return pa.Array.from_buffers(pa.string(), len(rows), buffers, missing)


@kernel
def _hashes(data: Any, at: Any, ends: Any, found: Any) -> None:
    for k in range(len(found)):
        found[k] = _hash(data, at, ends[k], ends[k + 1] - ends[k])


def hashes(column: pa.Array) -> np.ndarray:
    """int64 hash of each string, not below zero, the same in any process; that of a null says nothing."""
    found = np.empty(len(column), np.int64)
    _, offsets, values = column.buffers()
    if len(column) and values is not None:
        data = np.frombuffer(values, np.uint8)
        _hashes(data, words(data), np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1], found)
    else:
        found[:] = 0
    return found


@kernel
def _number(
    data: Any, at: Any, places: Any, sizes: Any, rows: Any, slots: Any, known: Any, held_at: Any, ends: Any, count: int, found: Any
) -> int:
    """Fill in the numbers; a slot is a number and 31 bits of the hash of its name, so that only a name that is the same is compared."""
    mask = len(slots) - 1
    for k in range(len(rows)):
        place, size = places[rows[k]], sizes[rows[k]]
        if size < 0:
            found[k] = -1
            continue
        hashed = _hash(data, at, place, size)
        slot, tag = hashed & mask, hashed >> 32
        while True:
            held = slots[slot]
            number = held >> 32
            if held < 0:
                number = count
                slots[slot] = (number << 32) | tag
                first = ends[number]
                for i in range(size):
                    known[first + i] = data[place + i]
                ends[number + 1] = first + size
                count += 1
                break
            first = ends[number]
            if held & 0x7FFFFFFF == tag and ends[number + 1] - first == size:
                i, left = 0, size
                while left > 7 and held_at[first + i] == (at[place + i] if place + i + 8 < len(data) else _eight(data, place + i)):
                    i += 8
                    left -= 8
                if left < 8 and held_at[first + i] & _KEEP[left] == _word(data, at, place + i, left):
                    break
            slot = (slot + 1) & mask
        found[k] = number
    return count


@kernel
def _again(slots: Any, known: Any, at: Any, ends: Any, count: int) -> None:
    """Give each known name its slot."""
    for number in range(count):
        hashed = _hash(known, at, ends[number], ends[number + 1] - ends[number])
        slot = hashed & (len(slots) - 1)
        while slots[slot] >= 0:
            slot = (slot + 1) & (len(slots) - 1)
        slots[slot] = (number << 32) | (hashed >> 32)


def grown(array: np.ndarray, n: int) -> np.ndarray:
    """The array, or one with its rows before others of zeros that has twice as many, or n."""
    if n <= len(array):
        return array
    found = np.zeros((max(n, 2 * len(array)), *array.shape[1:]), array.dtype)
    found[: len(array)] = array
    return found


class Names:
    """Distinct strings, numbered from 0 on in the order in which they were met."""

    def __init__(self) -> None:
        self.count = 0
        self._slots = np.full(1 << 13, -1, np.int64)
        self._ends, self._known = np.zeros(1 << 12, np.int64), np.zeros(1 << 16, np.uint8)
        self._words = words(self._known)

    def numbers(self, data: np.ndarray, places: np.ndarray, sizes: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """int32 numbers of the strings of these rows, −1 for null (a size below zero); new ones are remembered."""
        self._reserve(len(rows), int(sizes[rows].sum()) + len(rows))
        found = np.empty(len(rows), np.int32)
        given = (data, words(data), places, sizes, rows)
        self.count = _number(*given, self._slots, self._known, self._words, self._ends, self.count, found)
        return found

    def of(self, values: list[str | None]) -> np.ndarray:
        """The same of some values."""
        raw = [b"" if v is None else v.encode() for v in values]
        sizes = np.array([-1 if v is None else len(r) for v, r in zip(values, raw, strict=True)], np.int32)
        places = np.cumsum([0, *map(len, raw)])[:-1].astype(np.int32)
        return self.numbers(np.frombuffer(b"".join(raw), np.uint8), places, sizes, np.arange(len(values)))

    def coded(self, numbers: np.ndarray) -> pa.DictionaryArray:
        """The strings of these numbers, null for −1, each of them once in the dictionary."""
        return coded(numbers, self.count, self.text)

    def text(self, numbers: np.ndarray) -> pa.Array:
        """The strings of these numbers."""
        places = self._ends[numbers]
        return strings(self._known, places, self._ends[numbers + 1] - places, np.arange(len(numbers)))

    def _reserve(self, names: int, size: int) -> None:
        """Room for so many more names and bytes."""
        known = grown(self._known, int(self._ends[self.count]) + size + 16)
        if known is not self._known:
            self._known, self._words = known, words(known)
        self._ends = grown(self._ends, self.count + names + 1)
        if 2 * (self.count + names) > len(self._slots):
            self._slots = np.full(1 << (2 * (self.count + names)).bit_length(), -1, np.int64)
            _again(self._slots, self._known, self._words, self._ends, self.count)
