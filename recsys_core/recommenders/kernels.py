"""Loops of recommenders that are compiled. Importing this loads numba: do so where a loop is needed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys_core.compiled import kernel, summing
from recsys_core.recommenders.base import Floats, Ints

_Indices = NDArray[np.int32] | NDArray[np.int64]


@kernel
def dense_product(
    rows: Ints, indptr: _Indices, indices: _Indices, data: Floats, begin: _Indices, columns: _Indices, values: Floats, n_columns: int
) -> Floats:
    """Some rows of the product of two sparse matrices, (len(rows), n_columns), summed in the order of the left one's entries."""
    found = np.zeros((len(rows), n_columns))
    for at in range(len(rows)):
        for entry in range(indptr[rows[at]], indptr[rows[at] + 1]):
            weight, row = data[entry], indices[entry]
            for place in range(begin[row], begin[row + 1]):
                found[at, columns[place]] += weight * values[place]
    return found


@kernel
def times_drawn(draws: Ints) -> Floats:
    """How often each draw, a row of as many places as there are users, holds each user."""
    found = np.zeros(draws.shape)
    for row in range(len(draws)):
        for user in draws[row]:
            found[row, user] += 1
    return found


@kernel
def largest(group: Ints, value: Floats, n: int) -> NDArray[np.bool_]:
    """Which values are among the n largest of their group, ties to the first; groups stand side by side."""
    kept = np.ones(len(group), np.bool_)
    begin = 0
    while begin < len(group):
        end = begin
        while end < len(group) and group[end] == group[begin]:
            end += 1
        if end - begin > n:
            least = np.partition(value[begin:end], end - begin - n)[end - begin - n]
            ties = n - (value[begin:end] > least).sum()
            for at in range(begin, end):
                if value[at] == least and ties > 0:
                    ties -= 1
                else:
                    kept[at] = value[at] > least
        begin = end
    return kept


@kernel
def followed(item: Ints, followers: Ints, where: Ints, begin: Ints, weight: Floats) -> tuple[Ints, Ints, Floats]:
    """How much comes after each item, as a sparse matrix (indptr, indices, data), columns ascending, nothing on the diagonal.

    item       of each row, a user's rows side by side
    followers  how many rows after each one count
    where      the rows of each item, those of item i from begin[i] to begin[i + 1]
    weight     what each follower adds, the next one first
    """
    n = len(begin) - 1
    sums, columns = np.zeros(n), np.empty(n, np.int64)
    indptr = np.zeros(n + 1, np.int64)
    indices, data = np.empty(len(item), np.int64), np.empty(len(item))
    size = 0
    for before in range(n):
        count = 0
        for place in range(begin[before], begin[before + 1]):
            row = where[place]
            for step in range(followers[row]):
                after = item[row + 1 + step]
                if after != before:
                    if sums[after] == 0.0:
                        columns[count] = after
                        count += 1
                    sums[after] += weight[step]
        while size + count > len(indices):
            indices, data = np.append(indices, np.empty_like(indices)), np.append(data, np.empty_like(data))
        if count > n // 16:  # a look at all is quicker than sorting
            count = 0
            for after in range(n):
                if sums[after] != 0.0:
                    columns[count] = after
                    count += 1
        else:
            columns[:count].sort()
        for place in range(count):
            indices[size], data[size] = columns[place], sums[columns[place]]
            sums[columns[place]] = 0.0
            size += 1
        indptr[before + 1] = size
    return indptr, indices[:size], data[:size]


@kernel
def strongest(
    users: Ints, items: Ints, indptr: _Indices, indices: _Indices, data: Floats, begin: _Indices, columns: _Indices, values: Floats
) -> Ints:
    """For each (user, item) the entry of the user's row with the largest value × strength towards the item, −1 where none is above 0.

    Strengths are a sparse matrix whose rows are in order. Ties go to the entry that comes first.
    """
    found = np.full(len(users), -1, np.int64)
    for at in range(len(users)):
        most = 0.0
        for entry in range(indptr[users[at]], indptr[users[at] + 1]):
            low, high = begin[indices[entry]], begin[indices[entry] + 1]
            end = high
            while low < high:
                middle = (low + high) // 2
                if columns[middle] < items[at]:
                    low = middle + 1
                else:
                    high = middle
            if low < end and columns[low] == items[at] and data[entry] * values[low] > most:
                most, found[at] = data[entry] * values[low], indices[entry]
    return found


@kernel
def cut_at_zero(products: Floats, unit: float) -> None:
    """Round products to whole 1 / unit, those below 0 to 0, in place."""
    for row in range(products.shape[0]):
        for column in range(products.shape[1]):
            products[row, column] = np.rint(max(products[row, column], 0.0) * unit) / unit


@kernel
def nearest(users: Ints, items: Ints, indptr: _Indices, indices: _Indices, data: Floats, vectors: Floats, unit: float) -> Ints:
    """For each (user, item) the item of the user's row with the largest weight × product of vectors, −1 where none is above 0.

    Products count in whole 1 / unit; ties go to the entry that comes first.
    """
    found = np.full(len(users), -1, np.int64)
    for at in range(len(users)):
        most = 0.0
        for entry in range(indptr[users[at]], indptr[users[at] + 1]):
            value = np.rint(data[entry] * _product(vectors[indices[entry]], vectors[items[at]]) * unit)
            if value > most:
                most, found[at] = value, indices[entry]
    return found


@summing
def _product(first: Floats, second: Floats) -> float:
    total = 0.0
    for at in range(len(first)):
        total += first[at] * second[at]
    return total
