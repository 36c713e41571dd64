"""Loops over the users of a block that are compiled: which of all items are candidates, and which are the best.

Importing this loads numba: do so where the loops are needed. What is compiled is kept beside the source, or in the user's cache. A user's
result depends on no other user. The loops hold no lock of the interpreter: blocks may be done by several threads.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys_core.compiled import kernel, summing
from recsys_core.recommenders.base import Floats, Ints

_Places = NDArray[np.int32] | NDArray[np.int64]


@kernel
def mark(scores: Floats, allowed: NDArray[np.bool_], unit: float, rest: bool, n: int, chosen: NDArray[np.bool_]) -> Floats:
    """Mark the n best allowed scores of each row, ties to the lower column; returns the largest allowed score of each row, 0 at least.

    Scores count in whole multiples of 1 / unit of that largest one; what is nearer to 0 is marked with `rest` alone.
    """
    width = scores.shape[1]
    strips = width // _STRIPS  # a strip's largest score stands for all of it: what is below n of those is no candidate
    tops, most = np.zeros(len(scores)), np.empty(strips)
    heap = np.empty(n, np.int64)  # the n best so far, the least on top: multiple, then the lower column, in one number
    for row in range(len(scores)):
        own, may = scores[row], allowed[row]
        _largest(own, may, most)
        top = 0.0
        for strip in range(strips):
            top = max(top, most[strip])
        for column in range(strips * _STRIPS, width):
            top = max(top, own[column] * may[column])
        tops[row] = top
        size, full, limit = 0, -1, -np.inf if rest else top / unit / 4
        if strips > n and top > 0:
            limit = max(limit, np.partition(most, strips - n)[strips - n] - top / unit)
        for strip in range(strips + 1):
            if strip < strips and most[strip] < limit:
                continue
            begin, end, step = (strip, strips * _STRIPS, strips) if strip < strips else (strips * _STRIPS, width, 1)
            for column in range(begin, end, step):
                if own[column] < limit or not may[column]:
                    continue
                share = max(int(np.rint(own[column] / top * unit)), 0) if top > 0 else 0
                key = share * width + (width - 1 - column)
                if (share > 0 or rest) and key > full:
                    size = pushed(heap, size, key)
                    if size == n:
                        full = heap[0]
                        limit = max(limit, (full // width - 1) / unit * top)
        for place in range(size):
            chosen[row, width - 1 - heap[place] % width] = True
    return tops


_STRIPS = 16  # rows in which a user's scores are thought to stand


@summing
def _largest(scores: Floats, allowed: NDArray[np.bool_], most: Floats) -> None:
    """The largest allowed score of each column when the scores stand in _STRIPS rows as wide as `most`, −1 without one."""
    width = len(most)
    most[:] = -1.0
    for strip in range(_STRIPS):
        for column in range(width):
            at = strip * width + column
            most[column] = max(most[column], scores[at] if allowed[at] else -1.0)


@summing
def _top(scores: Floats, allowed: NDArray[np.bool_]) -> float:
    """The largest allowed score, 0 at least."""
    top = 0.0
    for column in range(len(scores)):
        top = max(top, scores[column] * allowed[column])
    return top


@kernel
def best(scores: Floats, allowed: NDArray[np.bool_], unit: float, n: int) -> Ints:
    """Columns of the n best allowed scores of each row, best first, −1 behind them; scores count in whole 1 / unit, ties to the lower."""
    width = scores.shape[1]
    found = np.full((len(scores), n), -1, np.int64)
    heap = np.empty(min(n, width), np.int64)
    for row in range(len(scores)):
        size, limit = 0, -np.inf
        for column in range(width):
            if scores[row, column] >= limit and allowed[row, column]:
                key = np.int64(np.rint(scores[row, column] * unit)) * width + (width - 1 - column)
                if size < len(heap) or key > heap[0]:
                    size = pushed(heap, size, key)
                    if size == len(heap):
                        limit = (heap[0] // width - 1) / unit
        order = np.sort(heap[:size])
        for place in range(size):
            found[row, place] = width - 1 - order[size - 1 - place] % width
    return found


@kernel
def best_mixed(similar: Floats, place: Ints, weight: Floats, allowed: NDArray[np.bool_], unit: float, n: int) -> tuple[Ints, Floats]:
    """The n best allowed columns by Σ weight × score over the largest allowed one, above 0, as of `best`; and each source's part.

    similar  (sources, d, items) scores
    place    (m,) each row's place in the second axis
    """
    f, m, width = len(similar), len(allowed), allowed.shape[1]
    total, tops, open_ = np.empty((1, width)), np.empty(f), np.empty((1, width), np.bool_)
    found, parts = np.full((m, n), -1, np.int64), np.zeros((m, n, f))
    for row in range(m):
        total[:] = 0.0
        for source in range(f):
            own = similar[source, place[row]]
            tops[source] = _top(own, allowed[row])
            if tops[source] > 0:
                for column in range(width):
                    total[0, column] += weight[source] * (own[column] / tops[source])
        for column in range(width):
            open_[0, column] = allowed[row, column] and total[0, column] > 0
        found[row] = best(total, open_, unit, n)[0]
        for slot in range(n):
            for source in range(f):
                if found[row, slot] >= 0 and tops[source] > 0:
                    parts[row, slot, source] = weight[source] * (similar[source, place[row], found[row, slot]] / tops[source])
    return found, parts


@kernel
def pushed(heap: Ints, size: int, key: int) -> int:
    """The number of keys in a heap, least first, after another came in; a full heap gives its least one up for it."""
    if size < len(heap):
        at = size
        while at > 0 and heap[(at - 1) // 2] > key:
            heap[at] = heap[(at - 1) // 2]
            at = (at - 1) // 2
        heap[at] = key
        return size + 1
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= key:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = key
    return size


@kernel
def united(chosen: NDArray[np.bool_], least: int) -> Ints:
    """Columns marked in each row, ascending, −1 behind them; as wide as the longest row, `least` at least."""
    n = np.zeros(len(chosen), np.int64)
    for row in range(len(chosen)):
        n[row] = chosen[row].sum()
    found = np.full((len(chosen), max(least, n.max() if len(n) else 0)), -1, np.int64)
    for row in range(len(chosen)):
        at = 0
        for column in range(chosen.shape[1]):
            if chosen[row, column]:
                found[row, at] = column
                at += 1
    return found


@summing
def product(first: NDArray[np.float32] | Floats, second: NDArray[np.float32] | Floats) -> float:
    total = 0.0  # in double, so that the order of summing, which is the processor's, is nowhere to be seen
    for at in range(len(first)):
        total += np.float64(first[at]) * np.float64(second[at])
    return total


@kernel
def best_products(
    rough: NDArray[np.int16] | NDArray[np.int32],
    indptr: _Places,
    indices: _Places,
    n_items: int,
    users: Floats,
    factors: Floats,
    margin: Floats,
    n_rows: int,
    unit: float,
    found: Ints,
    products: Floats,
) -> None:
    """The n best items of each user by products of factors, into `found` and `products` (m, n), which hold −1 and 0.

    rough            (m, ≥ n_items) bits of the products in bfloat16 (int16) or single precision (int32), overwritten
    indptr, indices  items that are not for the user
    margin           (m,) how far a rough product may be from the true one

    Rough products stand in `n_rows` rows: the n-th largest maximum of a column is a product that n items reach. What lies two margins below
    it is no candidate. Products count in whole 1 / unit, ties go to the lower item.
    """
    n, width = found.shape[1], rough.shape[1] // n_rows
    shift, mask = (16, 0x7FFF) if rough.itemsize == 2 else (0, 0x7FFFFFFF)
    least = rough.dtype.type(-mask - 1)
    most = np.empty(width, rough.dtype)
    largest, heap = np.empty(n, np.int64), np.empty(n, np.int64)
    as_float = np.empty(1, np.float32)
    as_bits = as_float.view(np.int32)
    for user in range(len(rough)):
        own = rough[user]
        for at in range(len(own)):  # numbers that are ordered as the floats are
            own[at] = own[at] ^ ((own[at] >> 15 if shift else own[at] >> 31) & mask)
        own[n_items:] = least
        for entry in range(indptr[user], indptr[user + 1]):
            own[indices[entry]] = least
        most[:] = own[:width]
        for row in range(1, n_rows):
            begin = row * width
            for column in range(width):
                most[column] = max(most[column], own[begin + column])
        size = 0
        for column in range(width):
            if most[column] > least and (size < n or most[column] > largest[0]):
                size = pushed(largest, size, int(most[column]))
        limit = np.int64(least) + 1
        if size == n:
            bits = largest[0] ^ ((largest[0] >> 63) & mask)
            as_bits[0] = bits << shift
            as_float[0] -= 2 * margin[user]
            bits = np.int64(as_bits[0]) >> shift  # towards −∞: a float of less precision that is no larger, unless negative
            limit = bits ^ ((bits >> 63) & mask) if bits >= 0 else (bits ^ mask) - 1
        size = 0
        for column in range(width):
            if most[column] >= limit:
                for row in range(n_rows):
                    item = row * width + column
                    if own[item] >= limit:
                        value = np.rint(product(users[user], factors[item]) * 1e9) / 1e9
                        key = np.int64(np.rint(value * unit)) * len(factors) + (len(factors) - 1 - item)
                        if size < n or key > heap[0]:
                            size = pushed(heap, size, key)
        heap[:size].sort()
        for place in range(size):
            item = len(factors) - 1 - heap[size - 1 - place] % len(factors)
            found[user, place] = item
            products[user, place] = np.rint(product(users[user], factors[item]) * 1e9) / 1e9
