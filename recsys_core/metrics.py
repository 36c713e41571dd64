"""Ranking metrics, each a value per user first, so that confidence intervals and paired differences follow by resampling users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys_core.recommenders.base import Floats, Ints

RESAMPLES = 1000
_CHUNK = 4_000_000  # resampled user numbers held at once


def hits(lists: Ints, user: Ints, item: Ints) -> NDArray[np.bool_]:
    """Whether each slot of `lists` (users × places, item codes, −1 = empty) is among the relevant (user row, item) pairs.

    >>> hits(np.array([[7, 3], [7, -1]]), np.array([0, 1]), np.array([3, 7])).tolist()
    [[False, True], [True, False]]
    """
    width = int(max(lists.max(initial=0), item.max(initial=0))) + 1
    slots = np.arange(len(lists))[:, None] * width + lists
    return (lists >= 0) & np.isin(slots, user * width + item)


def ranking_metrics(hit: NDArray[np.bool_], n_relevant: Ints, k: int) -> dict[str, Floats]:
    """Metrics at cut-off k of each user, from which of their slots hit and how many relevant items they have (≥ 1).

    precision = hits / k; recall = hits / relevant; hit_rate = any hit; mrr = 1 / rank of the first hit;
    map = Σ over hits of precision at their rank / min(relevant, k);
    ndcg = Σ over hits of 1 / log2(rank + 1), over the same sum of a list that hits first as often as it can (min(relevant, k)).
    Slots beyond the end of a short list count as misses.

    Hits at ranks 1 and 3 of 4 slots, 2 relevant items:

    >>> one = {name: round(float(v[0]), 4) for name, v in ranking_metrics(np.array([[True, False, True, False]]), np.array([2]), 4).items()}
    >>> one["precision"], one["recall"], one["hit_rate"], one["mrr"]  # 2/4, 2/2, 1, 1/1
    (0.5, 1.0, 1.0, 1.0)
    >>> one["map"]  # (1/1 + 2/3) / 2
    0.8333
    >>> one["ndcg"]  # (1/log2(2) + 1/log2(4)) / (1/log2(2) + 1/log2(3)) = 1.5 / 1.6309
    0.9197
    """
    cut = hit[:, :k].astype(np.float64)
    if cut.shape[1] < k:
        cut = np.pad(cut, ((0, 0), (0, k - cut.shape[1])))
    place = np.arange(1, k + 1)
    gain = 1 / np.log2(place + 1)
    found = cut.sum(axis=1)
    possible = np.minimum(n_relevant, k)
    return {
        "precision": found / k,
        "recall": found / n_relevant,
        "hit_rate": (found > 0).astype(np.float64),
        "ndcg": (cut @ gain) / np.cumsum(gain)[possible - 1],
        "map": (cut * np.cumsum(cut, axis=1) / place).sum(axis=1) / possible,
        "mrr": (cut / place).max(axis=1),
    }


def novelty(lists: Ints, n_users_of_item: Ints, n_users: int, k: int) -> Floats:
    """Mean −log2 p(item) over each user's first k slots, p = (users who met it + 1) / (users + 1): less known is higher, an empty list 0.

    >>> novelty(np.array([[0, 1]]), np.array([7, 1]), 7, 2).tolist()  # (−log2(8/8) − log2(2/8)) / 2
    [1.0]
    """
    surprise = -np.log2((n_users_of_item + 1) / (n_users + 1))
    cut = lists[:, :k]
    filled = cut >= 0
    return np.where(filled, surprise[np.maximum(cut, 0)], 0.0).sum(axis=1) / np.maximum(filled.sum(axis=1), 1)


def coverage(lists: Ints, eligible: NDArray[np.bool_], k: int) -> float:
    """Share of the eligible items that stand in anybody's first k slots.

    >>> coverage(np.array([[0, 1], [0, 2]]), np.array([True, True, True, True]), 1)
    0.25
    """
    shown = np.unique(lists[:, :k])
    return float(eligible[shown[shown >= 0]].sum() / max(int(eligible.sum()), 1))


def rank_biased_overlap(user: Ints, first: Ints, second: Ints, p: float = 0.9) -> Floats:
    """How alike two rankings of each user are, 0 to 1: rank-biased overlap, extrapolated (Webber, Moffat and Zobel 2010, eq. 32), by user.

    One entry for each item that either ranking of a user holds: its rank from 1 in the first and in the second, 0 where it is not ranked.
    Users are 0, 1, …, each with an item in both rankings at least; 1 = equal. The paper's lists a b c d e f g and z c a v w x y share no
    item in their first two and two items from depth 3 on:

    >>> ranks = np.array([(1, 3), (2, 0), (3, 2), (4, 0), (5, 0), (6, 0), (7, 0), (0, 1), (0, 4), (0, 5), (0, 6), (0, 7)])
    >>> p = 0.9  # (1 − p) / p · Σ overlap(d) / d · p^d + overlap(7) / 7 · p^7
    >>> written_out = 0.1 / 0.9 * sum(2 / d * p**d for d in (3, 4, 5, 6, 7)) + 2 / 7 * p**7
    >>> [round(float(v), 6) for v in (rank_biased_overlap(np.zeros(12, int), *ranks.T, p)[0], written_out)]
    [0.288217, 0.288217]
    """
    n, depth = int(user.max(initial=-1)) + 1, int(max(first.max(initial=0), second.max(initial=0)))
    met = np.maximum(first, second)[(first > 0) & (second > 0)] - 1
    overlap = np.bincount(user[(first > 0) & (second > 0)] * depth + met, minlength=n * depth).reshape(n, depth).cumsum(axis=1)
    lengths = np.stack([np.bincount(user, ranks > 0, minlength=n) for ranks in (first, second)]).astype(np.int64)
    short, long = lengths.min(axis=0)[:, None], lengths.max(axis=0)[:, None]
    at_short, at_long = (np.take_along_axis(overlap, length - 1, axis=1) for length in (short, long))
    d = np.arange(1, depth + 1)
    agreement = overlap / d + np.where(d > short, at_short * (d - short) / (short * d), 0.0)
    sums = np.where(d <= long, agreement * p**d, 0.0).sum(axis=1, keepdims=True)
    found: Floats = ((1 - p) / p * sums + ((at_long - at_short) / long + at_short / short) * p**long)[:, 0]
    return found


@dataclass(frozen=True)
class Estimate:
    """A mean over users with a 95 % interval."""

    value: float
    low: float
    high: float


def bootstrap(values: Floats, seed: int, resamples: int = RESAMPLES) -> list[Estimate]:
    """Mean and 95 % percentile interval of each column of `values` (users × columns), by drawing users with replacement.

    All columns share the same draws, so the interval of a column of differences is that of the paired comparison (percentile bootstrap,
    Efron and Tibshirani 1993, §13).

    >>> same = bootstrap(np.array([[2.0, 0.0], [2.0, 1.0]]), seed=1)
    >>> same[0], same[1].value
    (Estimate(value=2.0, low=2.0, high=2.0), 0.5)
    """
    n = len(values)
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    step = max(1, _CHUNK // n)
    for first in range(0, resamples, step):
        rows = min(step, resamples - first)
        drawn = rng.integers(0, n, (rows, n)) + np.arange(rows)[:, None] * n
        times = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        means[first : first + rows] = times @ values / n
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return [Estimate(*map(float, e)) for e in zip(values.mean(axis=0), low, high, strict=True)]
