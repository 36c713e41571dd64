"""Loops of checksums, compiled; importing this loads numba: do so where rows are hashed. What is hashed how, `checksums` says.

Hashes are uint64 (2, n): two of each value, which are independent of each other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from recsys_core.compiled import kernel

# A value of more bytes is given by a digest of two words, a shorter one is hashed eight bytes at a time.
LONG = 1024
# Odd multipliers of the two polynomials (their difference is 2 mod 4), where each begins, and what stands for null.
_STEP_1, _STEP_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93 + 4)
_START_1, _START_2 = np.uint64(0x243F6A8885A308D3), np.uint64(0x13198A2E03707344)
NULL = np.array([[0xA4093822299F31D0], [0x082EFA98EC4E6C89]], np.uint64)
_FOLD, _PLACE = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_HALF, _LAST, _EIGHT = np.uint64(32), np.uint64(56), np.uint64(8)
# Masks that keep the first n of a word's bytes.
_KEEP = np.array([(1 << 8 * n) - 1 for n in range(8)], np.uint64)


@kernel
def _folded(word: Any) -> Any:
    word *= _FOLD
    return word ^ (word >> _HALF)


@kernel
def _mixed(word: Any) -> Any:
    """A word in which every bit depends on all of this one's."""
    word = (word ^ (word >> _HALF)) * _FOLD
    word = (word ^ (word >> _HALF)) * _PLACE
    return word ^ (word >> _HALF)


@kernel
def mix(hashes: Any) -> None:
    """Mix each (in place)."""
    for lane in range(2):
        for row in range(hashes.shape[1]):
            hashes[lane, row] = _mixed(hashes[lane, row])


@kernel
def of_words(words: Any, found: Any) -> None:
    """Fill in the hashes of values of as many words each: (k, n)."""
    for row in range(words.shape[1]):
        first, second = _START_1, _START_2
        for number in range(words.shape[0]):
            word = _folded(words[number, row])
            first, second = (first + word) * _STEP_1, (second + word) * _STEP_2
        found[0, row], found[1, row] = first, second


@kernel
def of_bytes(words: Any, ends: Any, digests: Any, found: Any) -> None:
    """The same of byte strings: their whole words, then the bytes that are left, and in a word's last byte how many these are.

    words    the eight bytes from each byte on
    ends     int64 (n + 1,): where each begins, and the last ends
    digests  (m, 2) of those that are LONG, in their order
    """
    met = 0
    for row in range(len(ends) - 1):
        place, size = ends[row], ends[row + 1] - ends[row]
        first, second = _START_1, _START_2
        last = _EIGHT << _LAST
        if size > LONG:
            for number in range(2):
                word = _folded(digests[met, number])
                first, second = (first + word) * _STEP_1, (second + word) * _STEP_2
            met += 1
        else:
            while size > 7:
                word = _folded(words[place])
                first, second = (first + word) * _STEP_1, (second + word) * _STEP_2
                place += 8
                size -= 8
            last = (words[place] & _KEEP[size]) | (np.uint64(size) << _LAST)
        word = _folded(last)
        found[0, row], found[1, row] = (first + word) * _STEP_1, (second + word) * _STEP_2


@kernel
def of_lists(inner: Any, sizes: Any, found: Any) -> None:
    """The same of lists: the sum of their elements' hashes (`inner`), each mixed with its place, and how many they are."""
    at = 0
    for row in range(len(sizes)):
        first, second, place = _START_1, _START_2, _PLACE
        for _ in range(sizes[row]):
            first += _mixed(inner[0, at] + place)
            second += _mixed(inner[1, at] + place)
            place += _PLACE
            at += 1
        word = _folded(np.uint64(sizes[row]))
        found[0, row], found[1, row] = (first + word) * _STEP_1, (second + word) * _STEP_2


@kernel
def add(hashes: Any, places: Any, seed: Any, total: Any) -> None:
    """Add values to the sums of their rows: `hashes` row by row, or at these places where there are any."""
    for lane in range(2):
        for row in range(total.shape[1]):
            total[lane, row] += _folded(hashes[lane, places[row] if len(places) else row] + seed[lane])
