"""Clustering of unit vectors: spherical k-means (Dhillon & Modha 2001) seeded by greedy k-means++, see `lloyd` for its rounds.

On the CPU by numpy, on a GPU by torch, with the same functions: rows are an array of either.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from recsys_core.topics import sharded
from recsys_core.topics.lloyd import BLOCK, MAX_ROUNDS, Found, lloyd

# Below this many multiplications a round, a GPU's start costs more than it saves.
GPU_WORK = 1e10


def unit(rows: np.ndarray) -> np.ndarray:
    """The rows with length 1, float64; rows of zeros stay."""
    wide = np.asarray(rows, np.float64)
    return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)


def on_gpu(work: float) -> bool:
    """Whether there is a GPU and `work` (multiplications a round) is worth its start."""
    if work < GPU_WORK:
        return False
    import torch

    return bool(torch.cuda.is_available())


def on_device(x: np.ndarray, work: float) -> Any:
    """The rows on the GPU, where that is worth it, else as they are."""
    if not on_gpu(work):
        return x
    import torch

    return torch.from_numpy(x).cuda()


def cluster(
    x: np.ndarray, k: int, seed: int, restarts: int, start: np.ndarray | None = None, rounds: int = MAX_ROUNDS, processes: int = 1
) -> Found:
    """The best of `restarts` by its sum of cosines, every cluster with one row at least; as many threads run as there are cores.

    x          unit rows (n, d) with n ≥ k, float32, float16 as stored, or what is made float32
    start      centroids (k, d) to go on from, instead of restarts
    processes  that share the rows, see `sharded`: a matter of memory and time, never of what comes out
    """
    x = x if x.dtype in (np.float16, np.float32) else x.astype(np.float32)  # no label hangs on more
    threads, work = len(os.sched_getaffinity(0)), float(len(x)) * k * x.shape[1]

    def begun(restart: int) -> np.ndarray:
        return x[plus_plus(x.astype(np.float32, copy=False), k, np.random.default_rng([seed, k, restart]))] if start is None else start

    number = 1 if start is not None else restarts
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        if processes > 1:
            device = "cuda" if on_gpu(work) else "cpu"
            found = sharded.share_out(x, list(pool.map(begun, range(number))), rounds, processes, device)
        else:
            rows = on_device(x, work)
            tensor, each = None if rows is x else rows, threads if number == 1 else 1
            found = list(pool.map(lambda restart: lloyd(x, begun(restart), rounds, tensor, threads=each), range(number)))
    return max(found, key=lambda run: run[2])


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
