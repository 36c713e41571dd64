"""Lloyd's rounds of spherical k-means, exact, most products left out; by numpy, or by torch on a GPU; in one process or in several.

Equal rows, start and rounds give equal labels and centroids, whatever the device, its threads and the number of processes: a product in
single precision decides only where its error cannot matter, the rest is looked at in double precision; and sums are of whole numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_ROUNDS = 60
# Rows of a block of cosines: some megabytes.
BLOCK = 4096
# Rows, or pairs of a row and a centroid, that are looked at in double precision together.
FEW = 1024
# Coordinates are added up as whole numbers of 1 / PARTS: sums of 2 ** 25 rows are exact in float64.
PARTS = 2.0**28
# Of so many rows one tells how close those between two centroids are.
SAMPLED = 16

# (unit centroids (k, d), float32; label of each row; sum of the rows' cosines to their centroids)
Found = tuple[np.ndarray, np.ndarray, float]


@dataclass(frozen=True)
class Group:
    """The processes that share rows: which of them this one is, from 0, how many there are, and what sums an array over all of them."""

    place: int = 0
    size: int = 1
    total: Callable[[np.ndarray], np.ndarray] = lambda own: own


def lloyd(
    x: np.ndarray, centroids: np.ndarray, rounds: int = MAX_ROUNDS, tensor: Any = None, group: Group = Group(), threads: int = 1
) -> Found:
    """Centroids, labels and their sum of cosines when no label changes any more, or after `rounds`; no cluster is left empty.

    x          rows of about length 1, float32 or float16, (n, d); of several processes the own ones, successive rows of all
    centroids  to begin with, unit rows (k, d)
    tensor     the rows on the device that is to multiply
    threads    that blocks of rows are dealt out to; BLAS should have one in each
    """
    with ThreadPoolExecutor(threads) as pool:
        found = _Lloyd(x, np.ascontiguousarray(centroids, np.float32), tensor, group, threads, pool)
        for _ in range(rounds):
            if not found.assign():
                break
            found.move()
        score = group.total(np.array([np.rint(found.own() * PARTS).sum()]))
    return found.centroids, found.labels, float(score[0] / PARTS)


class _Lloyd:
    """Labels, and bounds of angles by the triangle inequality that tell which of them cannot have changed (Hamerly 2010).

    In late rounds most centroids lie almost still and a few move far. Those that moved farther than a limit are multiplied with all rows;
    the bounds know of the others alone, and rows for which they leave room are looked at anew. The limit is that of the least work.

    upper, lower  angle of each row to its own centroid, at most; to any other one, at least
    sums, sizes   of the rows of each cluster, in PARTS, and how many they are, in all processes
    """

    def __init__(self, x: np.ndarray, centroids: np.ndarray, tensor: Any, group: Group, threads: int, pool: ThreadPoolExecutor) -> None:
        self.x, self.centroids, self.tensor, self.group, self.threads, self.pool = x, centroids, tensor, group, threads, pool
        n, (k, d) = len(x), centroids.shape
        self.error = d * 2.0**-24  # of a cosine in single precision, at most
        self.lengths = np.ones(n, np.float32)
        for part in _blocks(n):
            self.lengths[part] = np.maximum(np.linalg.norm(x[part].astype(np.float32), axis=1), 1e-12)
        self.labels, self.upper, self.lower = np.full(n, -1), np.full(n, np.pi), np.zeros(n)
        self.sums, self.sizes, self.moved = np.zeros((k, d)), np.zeros(k), np.full(k, np.pi)

    def assign(self) -> bool:
        """Give each row to its nearest centroid, the lower one of equals; whether any row of all processes has another one than before."""
        before, k = self.labels.copy(), len(self.sizes)
        far, limit = self._far()
        if len(far) == k:
            self._look(np.arange(len(self.x)))
        else:
            self.upper += self.moved[self.labels]
            self.lower -= limit
            self._look_at(far)
            self._look(np.flatnonzero(self.upper >= self.lower))
        self._add(before)
        for empty in np.flatnonzero(self.sizes == 0):
            self._fill(int(empty))
        return bool(self.group.total(np.array([np.count_nonzero(self.labels != before)], np.float64))[0])

    def move(self) -> None:
        """Put the centroids at the means of their rows."""
        held = self.centroids.astype(np.float64)
        self.centroids = (self.sums / np.maximum(np.linalg.norm(self.sums, axis=1, keepdims=True), 1e-12)).astype(np.float32)
        now = self.centroids.astype(np.float64)
        cosines = (held * now).sum(axis=1) / np.maximum(np.linalg.norm(held, axis=1) * np.linalg.norm(now, axis=1), 1e-12)
        # Angles of nearly equal vectors are lost in rounding, but those that are equal have not moved.
        self.moved = np.where((held == now).all(axis=1), 0.0, np.arccos(np.clip(cosines, -1, 1)) + 1e-7)

    def own(self) -> np.ndarray:
        """Cosine of each row to its centroid, in double precision."""
        found = np.zeros(len(self.x))
        for part in _blocks(len(self.x), FEW):
            found[part] = _dots(self.x[part], self.centroids[self.labels[part]])
        return found

    def _far(self) -> tuple[np.ndarray, float]:
        """(centroids that moved too far for bounds to help, how far the others moved at most)."""
        order = np.argsort(self.moved, kind="stable")
        k, room = len(order), np.sort((self.lower - self.upper)[::SAMPLED])
        if self.tensor is not None or not len(room):
            return order, 0.0
        limits = np.concatenate([[0.0], self.moved[order]])
        anew = np.searchsorted(room, 2 * limits, side="right") / len(room)  # share of rows that a limit leaves in doubt
        anew[0] = 0.0
        near = int(np.argmin(k - np.arange(k + 1) + k * anew))
        return order[near:], float(limits[near])

    def _look(self, rows: np.ndarray) -> None:
        """Labels and bounds of rows from all centroids."""

        def look(part: slice) -> None:
            chosen = part if len(rows) == len(self.x) else rows[part]
            best, first, second = _two_best(self._products(chosen, self.centroids))
            unclear = np.flatnonzero(first - second <= 2 * self.error * self.lengths[chosen])
            for few in _blocks(len(unclear), FEW):
                best[unclear[few]] = self._exactly(rows[part][unclear[few]])
            self.labels[chosen] = best
            self.upper[chosen], self.lower[chosen] = self._angles(first, chosen, -1), self._angles(second, chosen, 1)

        self._each(look, _blocks(len(rows)))

    def _look_at(self, far: np.ndarray) -> None:
        """Bounds of all rows from some centroids."""
        place = np.full(len(self.sizes), -1)
        place[far] = np.arange(len(far))

        def look(part: slice) -> None:
            products = self._products(part, self.centroids[far])
            own = place[self.labels[part]]
            theirs = np.flatnonzero(own >= 0)
            self.upper[part][theirs] = self._angles(products[theirs, own[theirs]], part.start + theirs, -1)
            products[theirs, own[theirs]] = -2.0
            self.lower[part] = np.minimum(self.lower[part], self._angles(products.max(axis=1), part, 1))

        if len(far):
            self._each(look, _blocks(len(self.x)))

    def _each(self, what: Callable[[slice], Any], parts: Iterator[slice]) -> Sequence[Any]:
        return list(self.pool.map(what, parts) if self.threads > 1 else map(what, parts))

    def _products(self, rows: Any, centroids: np.ndarray) -> Any:
        if self.tensor is None:
            return self.x[rows].astype(np.float32, copy=False) @ centroids.T
        import torch

        return self.tensor[rows].float() @ torch.from_numpy(centroids).to(self.tensor.device).T

    def _angles(self, products: np.ndarray, rows: Any, sign: int) -> np.ndarray:
        """Angles of products in single precision, at most (−1) or at least (1)."""
        found: np.ndarray = np.arccos(np.clip(products.astype(np.float64) / self.lengths[rows] + sign * 2 * self.error, -1, 1))
        return found

    def _exactly(self, rows: np.ndarray) -> np.ndarray:
        """Labels of a few rows by products in double precision."""
        products = self.x[rows].astype(np.float32) @ self.centroids.T
        close = products >= products.max(axis=1, keepdims=True) - 2 * self.error * self.lengths[rows][:, None]
        row, column = np.nonzero(close)
        values = np.concatenate([_dots(self.x[rows[row[p]]], self.centroids[column[p]]) for p in _blocks(len(row), FEW)])
        order = np.lexsort((column, -values, row))
        return column[order][np.searchsorted(row, np.arange(len(rows)))]

    def _add(self, before: np.ndarray) -> None:
        """Take rows whose label is not the one `before` from one sum to the other."""
        from scipy.sparse import csr_matrix

        (k, d), change = self.sums.shape, np.flatnonzero(self.labels != before)

        def summed(part: slice) -> np.ndarray:
            own = np.zeros((k, d + 1))
            for few in _blocks(part.stop - part.start, FEW):
                rows = change[part][few]
                old, at = before[rows], np.arange(len(rows))
                entries = np.concatenate([np.ones(len(rows)), -np.ones((old >= 0).sum())])
                cluster, row = np.concatenate([self.labels[rows], old[old >= 0]]), np.concatenate([at, at[old >= 0]])
                sign = csr_matrix((entries, (cluster, row)), shape=(k, len(rows)))
                own[:, :d] += sign @ np.rint(self.x[rows].astype(np.float64) * PARTS)
                own[:, d] += np.bincount(cluster, entries, k)
            return own

        parts = self._each(summed, _blocks(len(change), max(FEW, -(-len(change) // self.threads))))
        changed = self.group.total(sum(parts, np.zeros((k, d + 1))))
        self.sums += changed[:, :d]
        self.sizes += changed[:, d]

    def _fill(self, empty: int) -> None:
        """Give an empty cluster the row that is farthest from its centroid among clusters of several rows."""
        before, offers = self.labels.copy(), np.zeros((self.group.size, 1))
        cosines = np.where(self.sizes[self.labels] > 1, self.own(), np.inf)
        offers[self.group.place] = np.minimum(cosines.min(initial=np.inf), 2.0)
        if int(self.group.total(offers).argmin()) == self.group.place:
            lone = int(cosines.argmin())
            self.labels[lone], self.upper[lone], self.lower[lone] = empty, np.pi, 0.0
        self._add(before)


def _blocks(n: int, size: int = BLOCK) -> Iterator[slice]:
    return (slice(low, min(low + size, n)) for low in range(0, n, size))


def _dots(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    found: np.ndarray = (rows.astype(np.float64) * others).sum(axis=1)
    return found


def _two_best(products: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(place of the greatest product of each row, that product, the next one or −2); the products are spoilt."""
    if isinstance(products, np.ndarray):
        at, best = np.arange(len(products)), products.argmax(axis=1)
        first = products[at, best]
        products[at, best] = -2.0
        return best, first, products.max(axis=1)
    values, places = (found.cpu().numpy() for found in products.topk(min(2, products.shape[1]), dim=1))
    return places[:, 0].copy(), values[:, 0], values[:, 1] if values.shape[1] > 1 else np.full(len(values), -2.0, np.float32)
