"""Order of a list: scores first, but not the same thing over and over, and in the measure of what a user is about."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys_core.ranking.top_n import DIGITS
from recsys_core.recommenders.base import Floats, Ints, padded

SMOOTHING = 0.01  # Steck's α
DEPTH = 5  # so many times a list's length are looked at, the best by score: what is behind them is no match for a user's best


def rerank(
    item: Ints,
    score: Floats,
    vectors: NDArray[np.float32],
    topics: sparse.csr_matrix,
    target: Floats,
    n: int,
    diversity: float,
    calibration: float,
) -> Ints:
    """Places among the candidates, (m, n), of each user's list, best first; −1 where there are no more candidates.

    item, score            (m, c) codes and scores of the candidates of m users, in any order, −1 = none
    vectors                (n_items, d) unit vectors, a zero row = like nothing else
    topics                 (n_items, k) p(topic | item), an empty row = no topic
    target                 (m, k) how much each user is about each topic, any scale; a row of zeros = calibration is not asked for
    diversity, calibration λ and κ, together at most 1; both 0 leave the order of scores

    A list S grows by the candidate that makes the most of

        (1 − λ − κ) · mean of s  −  λ · mean of r  −  κ · KL(p, q) / ln(1 / α)

    over its items, which are of the DEPTH · n best by score: s = 1 / log2(1 + rank by score), the discount of NDCG, so that it does not
    matter how a shop's scores are spread; r the largest cosine, if above 0, to an item that was taken before (maximal marginal relevance,
    Carbonell and Goldstein 1998); p the user's topics, q those of the list, smoothed to (1 − α) · q + α · p with α = .01 (calibrated
    recommendations, Steck 2018). Each term lies between 0 and 1. Ties go to the higher score, then to the candidate that comes first, and a
    user's list depends on no other user.

    Items 0 and 1 are twins and the best by score, item 2 is different:

    >>> vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    >>> topics = sparse.csr_matrix(np.array([[1.0, 0], [1, 0], [0, 1]]))
    >>> candidates, score, nothing = np.array([[0, 1, 2]]), np.array([[0.9, 0.8, 0.1]]), np.zeros((1, 2))
    >>> rerank(candidates, score, vectors, topics, nothing, 3, 0.0, 0.0).tolist()
    [[0, 1, 2]]

    With λ = .5 the second may be item 1, for .5 · .631 − .5 · 1 = −.185, or item 2, for .5 · .5 − .5 · 0 = .25:

    >>> rerank(candidates, score, vectors, topics, nothing, 3, 0.5, 0.0).tolist()
    [[0, 2, 1]]

    A user is about item 2's topic alone. With κ = .5 the first is item 2, for .5 · .5 − .5 · 0 = .25, not item 0, for .5 · 1 − .5 · 1 = 0;
    with κ = .3 it is item 0, for .7 · 1 − .3 · 1 = .4 and not .7 · .5 − .3 · 0 = .35, and item 2 follows:

    >>> about = np.array([[0.0, 3.0]])
    >>> [rerank(candidates, score, vectors, topics, about, 2, 0.0, calibration).tolist() for calibration in (0.5, 0.3)]
    [[[2, 0]], [[0, 2]]]
    """
    by_score = np.argsort(-np.where(item >= 0, np.round(score, DIGITS), -np.inf), axis=1, kind="stable")[:, : DEPTH * n]
    item = np.take_along_axis(item, by_score, axis=1)
    there = item >= 0
    code, places = np.where(there, item, 0), np.full((len(item), n), -1, np.int64)
    calibrated = _Calibration(code, topics, target)
    share = calibration * calibrated.wanted  # (m,)
    relevance = (1 - diversity - share)[:, None] / np.log2(2 + np.arange(item.shape[1]))
    cosines = _cosines(vectors[code]) if diversity else None
    likeness = np.zeros(item.shape)
    rows, open_ = np.arange(len(item)), there.copy()
    for place in range(min(n, item.shape[1])):
        value = relevance - diversity * likeness
        if calibration:
            value -= (share * (place + 1))[:, None] * calibrated.divergence(place)
        value = np.where(open_, np.round(value, DIGITS), -np.inf)
        taken = value.argmax(axis=1)
        some = open_[rows, taken]
        places[some, place] = by_score[rows, taken][some]
        open_[rows, taken] = False
        if cosines is not None:
            likeness = np.maximum(likeness, cosines[rows, taken])
        calibrated.take(rows, taken)
    return places


def _cosines(own: NDArray[np.float32]) -> NDArray[np.float32]:
    """Those of each user's candidates with one another, (m, c, c) from (m, c, d)."""
    return np.matmul(own, own.transpose(0, 2, 1))


class _Calibration:
    """How far the topics of a growing list are from those of its user, for each candidate that might come next."""

    def __init__(self, code: Ints, topics: sparse.csr_matrix, target: Floats) -> None:
        total = target.sum(axis=1)
        self.wanted = total > 0
        self.target = target / np.where(self.wanted, total, 1.0)[:, None]
        topic, weight = padded(topics, code.ravel())
        weight = weight / np.maximum(weight.sum(axis=1), 1e-12)[:, None]
        shape = (*code.shape, topic.shape[1])
        self.topic, self.weight = topic.reshape(shape), weight.reshape(shape)
        self.held = np.zeros(target.shape)  # Σ p(topic | item) over the list
        self.own = np.take_along_axis(self.target[:, None, :], self.topic, axis=2)

    def divergence(self, n_taken: int) -> Floats:
        """KL between a user's topics and those of the list with each candidate, over its largest value ln(1 / α), shape (m, c)."""
        size = n_taken + 1
        without = self._terms(self.target, self.held / size)
        held = np.take_along_axis(self.held[:, None, :], self.topic, axis=2)
        with_it = self._terms(self.own, (held + self.weight) / size) - self._terms(self.own, held / size)
        divergence: Floats = (without.sum(axis=1)[:, None] + with_it.sum(axis=2)) / np.log(1 / SMOOTHING)
        return divergence

    def take(self, rows: Ints, taken: Ints) -> None:
        """Add a candidate to each list."""
        np.add.at(self.held, (rows[:, None], self.topic[rows, taken]), self.weight[rows, taken])

    def _terms(self, target: Floats, held: Floats) -> Floats:
        smoothed = (1 - SMOOTHING) * held + SMOOTHING * target
        return target * np.log(np.divide(target, smoothed, where=target > 0, out=np.ones_like(target)))
