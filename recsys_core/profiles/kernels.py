"""The loops of profiles that arrays alone would walk many times over, compiled; whoever needs one imports this module then."""

from __future__ import annotations

from typing import Any

import numpy as np

from recsys_core.compiled import kernel


@kernel
def faded_sums(of: Any, night: Any, parts: Any, fades: Any, first: Any, n: int) -> Any:
    """(horizons, checkpoints, n) Σ of parts that fade, in whole numbers: each row adds to its group at every checkpoint it is not after.

    of      the group of each row, 0 … n − 1
    night   its night, a place in `fades` and `first`
    parts   (decays, rows)
    fades   (nights, checkpoints, horizons, decays) what is left of a part
    first   by night: at how many checkpoints it counts, the first ones
    """
    _, checkpoints, horizons, decays = fades.shape
    sums = np.zeros((horizons, checkpoints, n), np.int64)
    for row in range(len(of)):
        at = night[row]
        for k in range(first[at]):
            for h in range(horizons):
                value = 0.0
                for d in range(decays):
                    value += parts[d, row] * fades[at, k, h, d]
                sums[h, k, of[row]] += np.int64(np.rint(value))
    return sums


@kernel
def pairs_within(group: Any, value: Any, n: int) -> Any:
    """(group, value) once each, in order, and the place of each row among them; groups are 0 … n − 1."""
    start = np.zeros(n + 1, np.int64)
    for g in group:
        start[g + 1] += 1
    for g in range(n):
        start[g + 1] += start[g]
    order, end = np.empty(len(group), np.int64), start[:n].copy()
    for row in range(len(group)):
        order[end[group[row]]] = row
        end[group[row]] += 1
    groups, values, place = np.empty(len(group), np.int64), np.empty(len(group), np.int64), np.empty(len(group), np.int64)
    found = 0
    for g in range(n):
        own = order[start[g] : start[g + 1]]
        if len(own) > 32:
            own = own[np.argsort(value[own])]
        else:
            for i in range(1, len(own)):
                row, j = own[i], i
                while j and value[own[j - 1]] > value[row]:
                    own[j] = own[j - 1]
                    j -= 1
                own[j] = row
        for i in range(len(own)):
            if i == 0 or value[own[i]] != values[found - 1]:
                groups[found], values[found] = g, value[own[i]]
                found += 1
            place[own[i]] = found - 1
    return groups[:found], values[:found], place


@kernel
def heaviest(group: Any, weight: Any, kept: Any, most: int) -> Any:
    """(place in `kept`, row) of up to `most` rows of each kept group, the heaviest first, ties to the earlier row; `group` is sorted."""
    of, rows = np.empty(len(kept) * most, np.int64), np.empty(len(kept) * most, np.int64)
    first = np.searchsorted(group, kept)
    found = 0
    for place in range(len(kept)):
        start = found
        row = first[place]
        while row < len(group) and group[row] == kept[place]:
            at = found
            while at > start and weight[rows[at - 1]] < weight[row]:
                at -= 1
            if at < start + most:
                last = min(found, start + most - 1)
                for later in range(last, at, -1):
                    rows[later] = rows[later - 1]
                rows[at], of[last] = row, place
                found = last + 1
            row += 1
    return of[:found], rows[:found]
