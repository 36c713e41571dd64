"""Ward's clusters of a few points of each of many groups, compiled; importing this loads numba: do so where they are needed."""

from __future__ import annotations

from typing import Any

import numpy as np

from recsys_core.compiled import kernel


@kernel
def clusters(points: Any, at: Any, weight: Any, start: Any, cut: float, most: int) -> Any:
    """(group, place of the medoid within it, number of points, weight) of up to `most` clusters of each group, heaviest first.

    The points of group g are rows at[start[g] : start[g + 1]] of `points`; ties of weight go to the earlier medoid. The medoid is the point
    from which Σ squared distance is least, in 9 decimals, ties to the earlier point.
    """
    limit = len(at)
    group, medoid, size, mass = np.empty(limit, np.int64), np.empty(limit, np.int64), np.empty(limit, np.int64), np.empty(limit)
    found = 0
    for g in range(len(start) - 1):
        low, n = start[g], start[g + 1] - start[g]
        square = _squares(points, at[low : low + n])
        label = _merged(np.sqrt(square), cut)
        first = found
        for c in range(n):
            if label[c] != c:
                continue
            best, nearest, members, total = -1, np.inf, 0, 0.0
            for i in range(n):
                if label[i] != c:
                    continue
                far = 0.0
                for j in range(n):
                    if label[j] == c:
                        far += square[i, j]
                far = np.rint(far * 1e9)
                if far < nearest:
                    best, nearest = i, far
                members, total = members + 1, total + weight[low + i]
            # By insertion: heavier clusters, then those of earlier medoids, stand before it.
            key, place = np.rint(total * 1e9), found
            while place > first:
                before = np.rint(mass[place - 1] * 1e9)
                if before > key or (before == key and medoid[place - 1] < best):
                    break
                group[place], medoid[place], size[place], mass[place] = g, medoid[place - 1], size[place - 1], mass[place - 1]
                place -= 1
            group[place], medoid[place], size[place], mass[place] = g, best, members, total
            found += 1
        found = min(found, first + most)
    return group[:found], medoid[:found], size[:found], mass[:found]


@kernel
def _squares(points: Any, at: Any) -> Any:
    """Squared distances of all pairs of points, summed in the order of the dimensions on any machine.

    Four dimensions at a time, so that a sum is loaded and stored once for four of its terms.
    """
    n, dimensions = len(at), points.shape[1]
    square, x = np.zeros((n, n)), np.empty((dimensions, n))
    for i in range(n):
        for d in range(dimensions):
            x[d, i] = points[at[i], d]
    for i in range(n):
        sums = square[i, i:]
        for d in range(0, dimensions - 3, 4):
            a, b, c, e = x[d, i:], x[d + 1, i:], x[d + 2, i:], x[d + 3, i:]
            for j in range(1, n - i):
                found = sums[j]
                difference = a[0] - a[j]
                found += difference * difference
                difference = b[0] - b[j]
                found += difference * difference
                difference = c[0] - c[j]
                found += difference * difference
                difference = e[0] - e[j]
                found += difference * difference
                sums[j] = found
        for d in range(dimensions - dimensions % 4, dimensions):
            for j in range(1, n - i):
                difference = x[d, i] - x[d, i + j]
                sums[j] += difference * difference
        for j in range(i):
            square[i, j] = square[j, i]
    return square


@kernel
def _merged(distance: Any, cut: float) -> Any:
    """By point, the last point of its cluster: Ward's method by chains of nearest neighbours (Müllner 2011), merges up to `cut`.

    `distance` is overwritten.
    """
    n = len(distance)
    into, size, chain, length = np.arange(n), np.ones(n), np.empty(n + 1, np.int64), 0
    for _ in range(n - 1):
        if length == 0:
            length, chain[0] = 1, np.argmax(size > 0)
        while True:
            x = chain[length - 1]
            # The one before is preferred, so that chains end.
            y, least = (chain[length - 2], distance[x, chain[length - 2]]) if length > 1 else (-1, np.inf)
            for i in range(n):
                if size[i] > 0 and i != x and distance[x, i] < least:
                    y, least = i, distance[x, i]
            if length > 1 and y == chain[length - 2]:
                break
            chain[length] = y
            length += 1
        length -= 2
        x, y = min(x, y), max(x, y)
        if least <= cut:
            into[x] = y
        nx, ny = size[x], size[y]
        size[x], size[y] = 0, nx + ny
        for i in range(n):
            if size[i] > 0 and i != y:
                ni = size[i]
                t = 1.0 / (nx + ny + ni)
                dx, dy = distance[i, x], distance[i, y]
                # Rounding may leave a little less than nothing.
                new = np.sqrt(max(0.0, (ni + nx) * t * dx * dx + (ni + ny) * t * dy * dy - ni * t * least * least))
                distance[i, y] = distance[y, i] = new
    for i in range(n - 1, -1, -1):
        into[i] = into[into[i]]
    return into
