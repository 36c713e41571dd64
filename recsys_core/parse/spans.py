"""Strings that lie in a block of bytes, to Arrow columns and to numbers of distinct ones, without a Python object for any of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from recsys_core.compiled import kernel


@kernel
def _copy(data: Any, places: Any, sizes: Any, rows: Any, ends: Any, out: Any, valid: Any) -> None:
    end = 0
    for k in range(len(rows)):
        size = sizes[rows[k]]
        if size >= 0:
            place = places[rows[k]]
            for i in range(size):
                out[end + i] = data[place + i]
            end += size
            valid[k >> 3] |= 1 << (k & 7)
        ends[k + 1] = end


def strings(data: np.ndarray, places: np.ndarray, sizes: np.ndarray, rows: np.ndarray) -> pa.Array:
    """The strings of these rows (indices): `sizes` bytes of UTF-8 from `places` of `data` on each, null where the size is below zero."""
    chosen = sizes[rows]
    missing = int((chosen < 0).sum())
    ends, valid = np.zeros(len(rows) + 1, np.int32), np.zeros((len(rows) + 7) // 8, np.uint8)
    out = np.empty(int(chosen.sum()) + missing, np.uint8)
    _copy(data, places, sizes, rows, ends, out, valid)
    buffers = [pa.py_buffer(valid) if missing else None, pa.py_buffer(ends), pa.py_buffer(out)]
    return pa.Array.from_buffers(pa.string(), len(rows), buffers, missing)


@kernel
def _hash(data: Any, place: int, size: int) -> int:
    """FNV-1a, the upper 63 of its 64 bits."""
    found = np.uint64(14695981039346656037)
    for i in range(place, place + size):
        found = (found ^ np.uint64(data[i])) * np.uint64(1099511628211)
    return np.int64(found >> np.uint64(1))  # type: ignore[return-value]


@kernel
def _number(data: Any, places: Any, sizes: Any, rows: Any, slots: Any, known: Any, ends: Any, count: int, found: Any) -> int:
    """Fill in the numbers; a slot is a number and 31 bits of the hash of its name, so that only a name that is the same is compared."""
    mask = len(slots) - 1
    for k in range(len(rows)):
        place, size = places[rows[k]], sizes[rows[k]]
        hashed = _hash(data, place, size)
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
                i = 0
                while i < size and known[first + i] == data[place + i]:
                    i += 1
                if i == size:
                    break
            slot = (slot + 1) & mask
        found[k] = number
    return count


@kernel
def _again(slots: Any, known: Any, ends: Any, count: int) -> None:
    """Give each known name its slot."""
    for number in range(count):
        hashed = _hash(known, ends[number], ends[number + 1] - ends[number])
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

    def numbers(self, data: np.ndarray, places: np.ndarray, sizes: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """int32 numbers of the strings of these rows, none of which may be null; new ones are remembered."""
        self._reserve(len(rows), int(sizes[rows].sum()))
        found = np.empty(len(rows), np.int32)
        self.count = _number(data, places, sizes, rows, self._slots, self._known, self._ends, self.count, found)
        return found

    def text(self, numbers: np.ndarray) -> pa.Array:
        """The strings of these numbers."""
        places = self._ends[numbers]
        return strings(self._known, places, self._ends[numbers + 1] - places, np.arange(len(numbers)))

    def _reserve(self, names: int, size: int) -> None:
        """Room for so many more names and bytes."""
        self._known = grown(self._known, int(self._ends[self.count]) + size)
        self._ends = grown(self._ends, self.count + names + 1)
        if 2 * (self.count + names) > len(self._slots):
            self._slots = np.full(1 << (2 * (self.count + names)).bit_length(), -1, np.int64)
            _again(self._slots, self._known, self._ends, self.count)
