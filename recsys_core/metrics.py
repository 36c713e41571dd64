"""Metrics of lists and ratings, a value per user first where they can be, so that intervals and paired differences follow by resampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys_core.recommenders.base import Floats, Ints

RESAMPLES = 1000
_CHUNK = 1 << 18  # how often users are drawn, held at once: what fits into the processor's cache
_BLOCK = 512  # users whose lists' vectors are held at once
_DRAWS = 16  # multiplied at once at least


def hits(lists: Ints, user: Ints, item: Ints) -> NDArray[np.bool_]:
    """Whether each slot of `lists` (users × places, item codes, −1 = empty) is among the relevant (user row, item) pairs.

    >>> hits(np.array([[7, 3], [7, -1]]), np.array([0, 1]), np.array([3, 7])).tolist()
    [[False, True], [True, False]]
    """
    width = int(max(lists.max(initial=0), item.max(initial=0))) + 1
    slots = np.arange(len(lists))[:, None] * width + lists
    relevant = np.sort(user * width + item)
    at = np.minimum(np.searchsorted(relevant, slots), max(len(relevant) - 1, 0))
    return (lists >= 0) & (relevant[at] == slots if len(relevant) else False)


def ranking_metrics(hit: NDArray[np.bool_], n_relevant: Ints, k: int) -> dict[str, Floats]:
    """Metrics at cut-off k of each user, from which of their slots hit and how many relevant items they have (≥ 1).

    precision = hits / k; recall = hits / relevant; f1 = their harmonic mean; hit_rate = any hit; mrr = 1 / rank of the first hit;
    map = Σ over hits of precision at their rank / min(relevant, k), so that a list full of hits has 1;
    map_by_relevant = the same sum / relevant, as TREC and most published tables have it (Manning, Raghavan and Schütze 2008, §8.4);
    ndcg = Σ over hits of 1 / log2(rank + 1), over the same sum of a list that hits first as often as it can (min(relevant, k)).
    Slots beyond the end of a short list count as misses.

    Hits at ranks 1 and 3 of 4 slots, 2 relevant items:

    >>> one = {name: round(float(v[0]), 4) for name, v in ranking_metrics(np.array([[True, False, True, False]]), np.array([2]), 4).items()}
    >>> one["precision"], one["recall"], one["f1"], one["hit_rate"], one["mrr"]  # 2/4, 2/2, 2 · 0.5 · 1 / 1.5, 1, 1/1
    (0.5, 1.0, 0.6667, 1.0, 1.0)
    >>> one["map"], one["map_by_relevant"]  # (1/1 + 2/3) / 2, both: two are relevant, and fit
    (0.8333, 0.8333)
    >>> many = ranking_metrics(np.array([[True, False, True, False]]), np.array([10]), 4)
    >>> [round(float(many[name][0]), 4) for name in ("map", "map_by_relevant")]  # (1/1 + 2/3) / 4, / 10
    [0.4167, 0.1667]
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
    precisions = (cut * np.cumsum(cut, axis=1) / place).sum(axis=1)
    return {
        "precision": found / k,
        "recall": found / n_relevant,
        "f1": 2 * found / (k + n_relevant),
        "hit_rate": (found > 0).astype(np.float64),
        "ndcg": (cut @ gain) / np.cumsum(gain)[possible - 1],
        "map": precisions / possible,
        "map_by_relevant": precisions / n_relevant,
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
    shown = np.zeros(len(eligible) + 1, bool)  # the last place is that of −1
    shown[lists[:, :k]] = True
    return float((shown[:-1] & eligible).sum() / max(int(eligible.sum()), 1))


def diversity(lists: Ints, vectors: NDArray[np.floating], k: int) -> Floats:
    """Intra-list diversity: 1 − the mean cosine of all pairs among each user's first k items (Ziegler et al. 2005), 0 to 2.

    `vectors` are unit vectors by item code; an item with a zero row, without a text, forms no pair; a list without a pair has 0.

    >>> diversity(np.array([[0, 1, 2]]), np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]), 3).round(6).tolist()  # 1 − (0 + 0.6 + 0.8) / 3
    [0.533333]
    """
    found, has_text, exact = np.empty(len(lists)), np.abs(vectors).sum(axis=1) > 0, vectors.astype(np.float64)
    for first in range(0, len(lists), _BLOCK):
        cut = lists[first : first + _BLOCK, :k]
        told = (cut >= 0) & has_text[cut]
        n = told.sum(axis=1)
        # Σ over ordered pairs of cosines = |Σ v|² − Σ |v|².
        total = sparse.csr_matrix((np.ones(n.sum()), cut[told], np.r_[0, n.cumsum()]), shape=(len(cut), len(vectors))) @ exact
        cosines = np.einsum("nd,nd->n", total, total) - n
        found[first : first + _BLOCK] = np.where(n > 1, 1 - cosines / np.maximum(n * (n - 1), 1), 0.0)
    return found


def serendipity(hit: NDArray[np.bool_], lists: Ints, obvious: Ints, k: int) -> Floats:
    """Share of the first k slots that hit and do not stand in the first k of `obvious`, the list of a primitive recommender, popularity.

    Ge, Delgado-Battenfeld and Jannach 2010: what is unexpected (not in the primitive list) and useful (relevant), over the list's length.

    >>> serendipity(np.array([[True, True, False]]), np.array([[4, 7, 1]]), np.array([[4, 2, 3]]), 3).round(6).tolist()  # item 7: 1/3
    [0.333333]
    """
    row, place = np.nonzero(obvious[:, :k] >= 0)
    expected = hits(lists[:, :k], row, obvious[row, place])
    found: Floats = (hit[:, :k] & ~expected).sum(axis=1) / k
    return found


def calibration_kl(wanted: Floats, shown: Floats, alpha: float = 0.01) -> Floats:
    """How far the topics of a list are from those of its user's profile: KL(p ‖ (1 − α) q + α p), nats, 0 = calibrated (Steck 2018, eq. 6).

    wanted, shown  (users, topics) amounts of p and q, of any sum; a user of whom one of the two is empty has 0

    >>> found = calibration_kl(np.array([[7.0, 3.0], [1.0, 1.0]]), np.array([[10.0, 0.0], [2.0, 2.0]]))
    >>> found.round(6).tolist()  # .7 · ln(.7 / (.99 + .01 · .7)) + .3 · ln(.3 / (.01 · .3)) = −.247569 + 1.381551
    [1.133982, 0.0]
    """
    totals = wanted.sum(axis=1, keepdims=True), shown.sum(axis=1, keepdims=True)
    p, q = (np.divide(x, t, where=t > 0, out=np.zeros(x.shape)) for x, t in zip((wanted, shown), totals, strict=True))
    smooth = (1 - alpha) * q + alpha * p
    terms = p * np.log(np.divide(p, smooth, where=p > 0, out=np.ones(p.shape)))
    return np.where((totals[0] > 0)[:, 0] & (totals[1] > 0)[:, 0], terms.sum(axis=1), 0.0)


def gini(counts: Ints) -> float:
    """How unevenly slots are spread over items, 0 (all alike) to 1: Gini = Σ (2i − n − 1) x_i / (n Σ x), x ascending, i from 1.

    >>> gini(np.array([0, 0, 0, 8])), gini(np.array([2, 2])), gini(np.array([3, 1]))  # 3 · 8 / (4 · 8), 0, (−1 + 3) / (2 · 4)
    (0.75, 0.0, 0.25)
    """
    n, total = len(counts), int(counts.sum())
    return float(((2 * np.arange(1, n + 1) - n - 1) * np.sort(counts)).sum() / (n * total)) if total else 0.0


def mean_popularity(lists: Ints, popularity: Floats, k: int) -> Floats:
    """Mean popularity of each user's first k items, an empty list 0. Popularity lift is the mean of this over users, over the mean
    of the same figure of their profiles, less 1 (Abdollahpouri et al. 2019): 0 = lists as mainstream as their users.

    >>> mean_popularity(np.array([[0, 1], [1, -1]]), np.array([0.5, 0.1]), 2).tolist()
    [0.3, 0.1]
    """
    cut = lists[:, :k]
    filled = cut >= 0
    return np.where(filled, popularity[np.maximum(cut, 0)], 0.0).sum(axis=1) / np.maximum(filled.sum(axis=1), 1)


def rating_errors(predicted: Floats, rating: Floats) -> tuple[float, float]:
    """(MAE, RMSE): mean |predicted − rating|, and the root of the mean square, over ratings.

    >>> rating_errors(np.array([3.0, 5.0]), np.array([4.0, 2.0]))  # (1 + 3) / 2, √((1 + 9) / 2)
    (2.0, 2.23606797749979)
    """
    error = predicted - rating
    return float(np.abs(error).mean()), float(np.sqrt((error**2).mean()))


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
    low, high = interval(resampled(values, seed, resamples=resamples)[:, 0])
    return [Estimate(*map(float, e)) for e in zip(values.mean(axis=0), low, high, strict=True)]


def interval(draws: Floats) -> Floats:
    """Ends of the 95 % percentile interval over the first axis, those without a value passed over; NaN where none has one."""
    found, missing = np.full((2, *draws.shape[1:]), np.nan), np.isnan(draws).sum(axis=0)
    whole, part = missing == 0, (missing > 0) & (missing < len(draws))
    found[:, whole] = np.quantile(draws[:, whole], [0.025, 0.975], axis=0)
    found[:, part] = np.nanquantile(draws[:, part], [0.025, 0.975], axis=0)
    return found


def resampled(
    values: Floats,
    seed: int,
    groups: Sequence[NDArray[np.bool_]] | None = None,
    columns: Sequence[Ints] | None = None,
    resamples: int = RESAMPLES,
) -> Floats:
    """Means of each column over the users of each group, in draws of all users with replacement: (resamples, groups, columns).

    groups   masks of users, together or not; None = everyone. A draw that holds nobody of a group has NaN there.
    columns  for each group those that are wanted, None = all; the others are NaN
    A value of NaN does not count. Groups and columns share the draws: whatever is computed of a draw's means has an interval.
    """
    from recsys_core.recommenders import kernels

    n, every = len(values), np.arange(values.shape[1])
    masks = np.ones((1, n), bool) if groups is None else np.stack(groups)
    products: list[tuple[int, Ints, Ints, Floats, Floats | None]] = []
    for at, mask in enumerate(masks):
        users, wanted = np.flatnonzero(mask), every if columns is None else columns[at]
        own = values[np.ix_(users, wanted)]
        counted = ~np.isnan(own)
        if not counted.all():
            products.append((at, users, wanted, np.nan_to_num(own), counted.astype(np.float64)))
            continue
        # Most users hit nothing: what is 0 for most is summed over those of whom something is not.
        told = own != 0
        often = 2 * told.sum(axis=0) > len(users)
        for some in (often, ~often):
            row = told[:, some].any(axis=1)
            products.append((at, users[row], wanted[some], own[np.ix_(row, some)], None))
    rng = np.random.default_rng(seed)
    found = np.full((resamples, len(masks), values.shape[1]), np.nan)
    step = max(_DRAWS, _CHUNK // n)
    for first in range(0, resamples, step):
        rows = slice(first, min(first + step, resamples))
        times = kernels.times_drawn(rng.integers(0, n, (rows.stop - first, n)))
        drawn = times @ masks.T.astype(np.float64)
        for at, users, wanted, amounts, counts in products:
            own = times if len(users) == n else times.take(users, axis=1)
            with np.errstate(invalid="ignore"):
                found[rows, at, wanted] = (own @ amounts) / (drawn[:, at, None] if counts is None else own @ counts)
    return found
