"""Order of a list: scores first, but not the same thing over and over, and in the measure of what a user is about."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys_core.ranking.top_n import DIGITS
from recsys_core.recommenders.base import Floats, Ints

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
    from recsys_core.ranking import choosing

    by_score = np.argsort(-np.where(item >= 0, np.round(score, DIGITS), -np.inf), axis=1, kind="stable")[:, : DEPTH * n]
    item = np.take_along_axis(item, by_score, axis=1)
    places = np.full((len(item), n), -1, np.int64)
    total = target.sum(axis=1, keepdims=True)
    about = np.divide(target, total, where=total > 0, out=np.zeros_like(target, np.float64))
    amount = np.maximum(np.asarray(topics.sum(axis=1)).ravel(), 1e-12)
    share = topics.data / np.repeat(amount, np.diff(topics.indptr))
    of_items = (topics.indptr.astype(np.int64), topics.indices.astype(np.int64), share)
    discount = np.log2(2 + np.arange(item.shape[1]))
    choosing.grown(item, discount, vectors, *of_items, about, places, diversity, calibration, SMOOTHING, 10.0**DIGITS)
    return np.where(places >= 0, np.take_along_axis(by_score, np.maximum(places, 0), axis=1), -1)
