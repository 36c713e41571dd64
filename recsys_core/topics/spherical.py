"""Clustering of unit vectors: spherical k-means (Dhillon & Modha 2001) seeded by greedy k-means++.

On the CPU by numpy, on a GPU by torch, with the same functions: rows are an array of either.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

MAX_ROUNDS = 60
# Rows of a block of cosines: some megabytes.
BLOCK = 4096
# Below this many multiplications a round, a GPU's start costs more than it saves.
GPU_WORK = 1e10


def unit(rows: np.ndarray) -> np.ndarray:
    """The rows with length 1, float64; rows of zeros stay."""
    wide = np.asarray(rows, np.float64)
    return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)


def on_device(x: np.ndarray, work: float) -> Any:
    """The rows on the GPU, when there is one and `work` (multiplications) is worth it, else as they are."""
    if work >= GPU_WORK:
        import torch

        if torch.cuda.is_available():
            return torch.from_numpy(x).cuda()
    return x


def cluster(x: np.ndarray, k: int, seed: int, restarts: int, start: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, float]:
    """(unit centroids, labels, sum of cosines): the best of `restarts` by that sum, every cluster with one row at least.

    x      unit rows (n, d) with n ≥ k
    start  centroids (k, d) to go on from, instead of restarts
    """
    x = np.ascontiguousarray(x, np.float32)  # twice as fast as float64, and the labels hardly ever differ
    rows = on_device(x, float(len(x)) * k * x.shape[1])
    if start is not None:
        return _lloyd(x, rows, np.asarray(start, np.float32))
    streams = (np.random.default_rng([seed, k, restart]) for restart in range(restarts))
    return max((_lloyd(x, rows, x[plus_plus(x, k, rng)]) for rng in streams), key=lambda run: run[2])


def plus_plus(x: np.ndarray, k: int, rng: np.random.Generator, served: np.ndarray | None = None) -> np.ndarray:
    """k rows chosen one after the other: the best of a few drawn with probability in proportion to the squared distance from those before.

    The best leaves the rows nearest to what is chosen (greedy k-means++, Arthur & Vassilvitskii 2007, section 4). A single draw seeds a
    topic twice and passes over another so often that no number of restarts makes up for it.

    served  unit centroids that are there already, (m, d)
    """
    draws, chosen = 2 + int(np.log(max(k, 1))), [int(rng.integers(len(x)))] if served is None or not len(served) else []
    # Squared chord length; of unit vectors 2 − 2 cos.
    cosines = x @ x[chosen[0]] if chosen else nearest(x, served.astype(np.float32))[1]  # type: ignore[union-attr]
    distance = np.maximum(2.0 - 2.0 * cosines, 0.0)
    while len(chosen) < k:
        mass = distance.cumsum(dtype=np.float64)
        drawn = np.searchsorted(mass, rng.random(draws) * mass[-1], side="right") if mass[-1] > 0 else rng.integers(len(x), size=draws)
        drawn = np.minimum(drawn, len(x) - 1)
        left = np.minimum(distance[:, None], np.maximum(2.0 - 2.0 * (x @ x[drawn].T), 0.0))
        best = int(left.sum(axis=0, dtype=np.float64).argmin())
        chosen.append(int(drawn[best]))
        distance = left[:, best]
    return np.array(chosen[:k], np.int64)


def nearest(rows: Any, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(place of the nearest centroid, cosine to it) of each row."""
    labels, cosines = np.empty(len(rows), np.int64), np.empty(len(rows), np.float32)
    centres = _like(rows, centroids).T
    for low in range(0, len(rows), BLOCK):
        part = rows[low : low + BLOCK] @ centres
        if isinstance(part, np.ndarray):
            found = part.argmax(axis=1)
            best = part[np.arange(len(part)), found]
        else:
            best, found = (tensor.cpu().numpy() for tensor in part.max(dim=1))
        labels[low : low + BLOCK], cosines[low : low + BLOCK] = found, best
    return labels, cosines


def neighbour_means(x: np.ndarray, neighbours: int) -> np.ndarray:
    """The mean of each unit row's nearest other rows, float32 (n, d)."""
    rows = on_device(x, float(len(x)) ** 2 * x.shape[1])
    found = np.empty_like(x)
    for low in range(0, len(x), BLOCK):
        cosines = rows[low : low + BLOCK] @ rows.T
        own = np.arange(cosines.shape[0])
        cosines[own, own + low] = -2.0
        if isinstance(cosines, np.ndarray):
            near = np.argpartition(-cosines, neighbours - 1, axis=1)[:, :neighbours]
        else:
            near = cosines.topk(neighbours, dim=1).indices.cpu().numpy()
        # Sorted, so that the sum is the same in whichever order they were found.
        found[low : low + BLOCK] = x[np.sort(near, axis=1)].mean(axis=1)
    return found


def _like(rows: Any, centroids: np.ndarray) -> Any:
    if isinstance(rows, np.ndarray):
        return centroids
    import torch

    return torch.from_numpy(np.ascontiguousarray(centroids)).to(rows.device)


def _lloyd(x: np.ndarray, rows: Any, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    k, labels = len(centroids), np.full(len(x), -1)
    for _ in range(MAX_ROUNDS):
        found, best = nearest(rows, centroids)
        for empty in np.flatnonzero(np.bincount(found, minlength=k) == 0):
            shared = np.bincount(found, minlength=k)[found] > 1
            lone = int(np.where(shared, best, np.inf).argmin())
            found[lone], best[lone] = empty, 1.0
        if np.array_equal(found, labels):
            break
        labels = found
        member = csr_matrix((np.ones(len(x), x.dtype), (labels, np.arange(len(x)))), shape=(k, len(x)))
        centroids = unit(member @ x).astype(x.dtype)
    return centroids, labels, float((x * centroids[labels]).sum(dtype=np.float64))
