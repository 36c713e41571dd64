"""Columns as ranks of their values, and rows grouped by several of them: exact sums and counts of Arrow rows without a loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.coded import whole as whole_column

MICRO = 1_000_000
Column: TypeAlias = pa.Array | pa.ChunkedArray


@dataclass(frozen=True)
class Ranks:
    """A column as places in its sorted distinct values, −1 for null."""

    of: np.ndarray
    values: pa.Array
    coded: bool = False

    @classmethod
    def of_column(cls, column: Column) -> Ranks:
        """Of a column of strings, sorted by their bytes; of a dictionary's column `coded`."""
        column = whole_column(column)
        coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        order = pc.sort_indices(coded.dictionary).to_numpy()
        rank = np.empty(len(order) + 1, np.int64)
        rank[order], rank[-1] = np.arange(len(order)), -1
        found = rank[pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)]
        return cls(found, coded.dictionary.take(pa.array(order)), pa.types.is_dictionary(column.type))

    def like(self, ranks: np.ndarray) -> pa.Array:
        """The values at these places, null for −1: a dictionary, sorted, where the column is one."""
        if not self.coded:
            return self.names(ranks)
        return pa.DictionaryArray.from_arrays(pa.array(ranks.astype(np.int32), mask=ranks < 0), self.values)

    def names(self, ranks: np.ndarray) -> pa.Array:
        """The values at these places, null for −1."""
        return self.values.take(pa.array(ranks, mask=ranks < 0))


class Groups:
    """Rows with equal tuples of whole numbers, groups in ascending order of the tuples.

    n       number of groups
    of      (rows,) the group of each row
    first   (n,) a row of each group
    >>> g = Groups([np.array([3, 1, 3]), np.array([0, 0, 0])])
    >>> g.n, g.of.tolist(), g.sums(np.array([5, 6, 7])).tolist()
    (2, [1, 0, 1], [6, 12])
    """

    def __init__(self, keys: Sequence[np.ndarray]) -> None:
        self._order, found = _sorted(keys)
        new = np.ones(len(self._order), bool)
        if len(new):
            new[1:] = np.logical_or.reduce([k[1:] != k[:-1] for k in found])
        self._starts = np.flatnonzero(new)
        self.n, self.first = len(self._starts), self._order[self._starts]
        self.of = np.empty(len(new), np.int64)
        self.of[self._order] = np.cumsum(new) - 1

    def counts(self, rows: np.ndarray | None = None) -> np.ndarray:
        """(n,) rows of each group, or those of them that are flagged."""
        return np.bincount(self.of if rows is None else self.of[rows], minlength=self.n)

    def places(self) -> np.ndarray:
        """(rows,) how many rows of its group come before each."""
        found = np.empty(len(self.of), np.int64)
        found[self._order] = np.arange(len(self.of)) - self._starts[self.of[self._order]]
        return found

    def sums(self, values: np.ndarray) -> np.ndarray:
        """(n,) sums of whole numbers, exact."""
        return np.add.reduceat(values[self._order], self._starts) if self.n else np.zeros(0, np.int64)

    def greatest(self, values: np.ndarray) -> np.ndarray:
        """(n,) the greatest of each group."""
        return np.maximum.reduceat(values[self._order], self._starts) if self.n else values[:0]

    def least(self, values: np.ndarray) -> np.ndarray:
        """(n,) the least of each group."""
        return np.minimum.reduceat(values[self._order], self._starts) if self.n else values[:0]


def order(keys: Sequence[np.ndarray]) -> np.ndarray:
    """The rows in ascending order of tuples of whole numbers, equal ones as they come."""
    return _sorted(keys)[0]


def _sorted(keys: Sequence[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """(the order of the rows, in it what tells tuples apart)."""
    key = _packed(keys)
    if key is None:
        found = np.lexsort(keys[::-1])
        return found, [k[found] for k in keys]
    found = np.argsort(key, kind="stable")
    return found, [key[found]]


def _packed(keys: Sequence[np.ndarray]) -> np.ndarray | None:
    """One number for each tuple, in the same order; None when 63 bits do not hold them."""
    if not len(keys[0]):
        return np.zeros(0, np.int64)
    lows, highs = [int(k.min()) for k in keys], [int(k.max()) for k in keys]
    key, span = np.zeros(len(keys[0]), np.int64), 1
    for k, low, high in zip(keys, lows, highs, strict=True):
        span *= high - low + 1
        if span >= 1 << 63:
            return None
        key = key * (high - low + 1) + (k - low)
    return key


def flags(condition: Column, null: bool = False) -> np.ndarray:
    """A condition as an array, `null` where it is unknown."""
    found = pc.fill_null(condition, null)
    return np.asarray(found.to_numpy() if isinstance(found, pa.ChunkedArray) else found.to_numpy(zero_copy_only=False))


def whole(column: Column, null: int = 0) -> np.ndarray:
    """A column of whole numbers or times as int64, `null` for nulls."""
    found = pc.fill_null(column.cast(pa.int64()), null)
    return np.asarray(found.to_numpy())


def micros(column: Column) -> np.ndarray:
    """Numbers in whole millionths, halves away from zero, 0 for nulls: their sums do not depend on the order of rows."""
    scaled = np.asarray(pc.fill_null(column, 0.0).to_numpy()) * MICRO
    size = np.abs(scaled)
    down = np.floor(size)
    # What floor leaves is exact, so that no half is missed as by adding one.
    return (np.sign(scaled) * (down + (size - down >= 0.5))).astype(np.int64)


def ratio(micro: np.ndarray, by: np.ndarray) -> pa.Array:
    """micro / by / 10⁶ to six decimals, halves away from zero; null where `by` is 0.

    >>> ratio(np.array([-5, 3, 1]), np.array([2, 2, 0])).to_pylist()
    [-3e-06, 2e-06, None]
    """
    per = np.maximum(by, 1)
    rounded = np.sign(micro) * ((2 * np.abs(micro) + per) // (2 * per))
    return pa.array(rounded / MICRO, mask=by == 0)


def having(lists: Column, value: str) -> np.ndarray:
    """Which lists hold the value."""
    column = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    held = np.zeros(len(column), bool)
    at = pc.list_parent_indices(column).filter(pc.equal(pc.list_flatten(column), value))
    held[at.to_numpy()] = True
    return held
