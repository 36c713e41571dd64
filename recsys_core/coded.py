"""Columns as dictionaries: what comes again and again is kept, hashed and compared once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

CODED = pa.dictionary(pa.int32(), pa.string())
Column: TypeAlias = pa.Array | pa.ChunkedArray


def coded(numbers: np.ndarray, count: int, text: Callable[[Any], pa.Array]) -> pa.DictionaryArray:
    """What `text` says of each of these numbers below `count`, null for −1; the dictionary has those that are there, by number.

    >>> coded(np.array([2, 0, -1, 2]), 3, pa.array(["a", "b", "c"]).take).to_pylist()
    ['c', 'a', None, 'c']
    """
    place = np.zeros(count + 1, np.int32)
    place[numbers] = 1
    place[-1] = 0
    there = np.flatnonzero(place)
    place[there], place[-1] = np.arange(len(there), dtype=np.int32), -1
    of = place[numbers]
    return pa.DictionaryArray.from_arrays(pa.array(of, mask=of < 0), text(there))


def values_at(places: np.ndarray, values: pa.Array) -> pa.DictionaryArray:
    """The values at these places, null for −1; of millions of rows their texts are kept once."""
    return pa.DictionaryArray.from_arrays(pa.array(places.astype(np.int32), mask=places < 0), values)


def repeated(value: str, n: int) -> pa.DictionaryArray:
    """One value n times."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array([value]))


def whole(column: Column) -> pa.Array:
    """A column in one piece, with one dictionary."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def compact(rows: pa.Table) -> pa.Table:
    """The rows with dictionaries that have no value that is not there."""
    for place, field in enumerate(rows.schema):
        if pa.types.is_dictionary(field.type):
            column = whole(rows.column(place))
            held = column.dictionary
            if len(held) > 1:
                numbers = pc.fill_null(column.indices, -1).to_numpy()
                rows = rows.set_column(place, field, coded(numbers, len(held), held.take))
    return rows


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The schema without dictionaries."""
    return pa.schema([f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in schema])


def plain(rows: pa.Table) -> pa.Table:
    """The rows without dictionaries."""
    return rows.cast(plain_schema(rows.schema))


def places(column: Column, values: pa.Array) -> np.ndarray:
    """The place of each of a column's texts among these, −1 where it is none of them."""
    column = whole(column)
    if not pa.types.is_dictionary(column.type):
        return np.asarray(pc.fill_null(pc.index_in(column, values), -1).to_numpy(zero_copy_only=False))
    of = np.append(pc.fill_null(pc.index_in(column.dictionary, values), -1).to_numpy(zero_copy_only=False), -1)
    return of[pc.fill_null(column.indices, -1).to_numpy(zero_copy_only=False)]


def equals(column: Column, value: str) -> np.ndarray:
    """Which rows have the value."""
    return places(column, pa.array([value])) == 0
