"""What all lists share: scores that are comparable, the best in a total order, slots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys_core.recommenders.base import Floats, Ints, Recommender

BLOCK = 512  # users scored at once; fixed, so that products are summed in the same order in every run
DIGITS = 6
_BARRED = -(2**62)  # and what is below it, whose negatives must be int64 too


@dataclass(frozen=True)
class Slots:
    """Filled slots, ordered by user, then rank.

    user, rank (from 1), item    user and item are codes
    score                        blended score, 6 decimals
    source                       index of the source that adds most to the score
    evidence                     item of the user's history behind it, −1 = none
    parts                        what each source adds to the score, shape (slots, sources)
    """

    user: Ints
    rank: Ints
    item: Ints
    score: Floats
    source: Ints
    evidence: Ints
    parts: Floats


def normalise(scores: Floats, allowed: NDArray[np.bool_]) -> Floats:
    """Scores over the row's largest allowed score, so 0 … 1; a row without a positive allowed score becomes 0.

    >>> normalise(np.array([[4.0, 2.0, 1.0]]), np.array([[False, True, True]])).tolist()
    [[2.0, 1.0, 0.5]]
    """
    top = np.max(scores, axis=1, where=allowed, initial=0.0)[:, None]
    return np.divide(scores, top, where=top > 0, out=np.zeros_like(scores))


def top_n(scores: Floats, allowed: NDArray[np.bool_], n: int) -> Ints:
    """Columns of the n best allowed scores of each row, best first; −1 fills rows with fewer than n allowed columns.

    The order is total: scores are rounded to 6 decimals and ties go to the lower column, that is to the lower item id.

    >>> top_n(np.array([[0.5, 0.9, 0.5, 0.1]]), np.array([[True, False, True, True]]), 4).tolist()
    [[0, 2, 3, -1]]
    """
    width = scores.shape[1]
    n_best = min(n, width)
    keys = ordered_keys(scores, allowed)
    best = np.argpartition(-keys, n_best - 1, axis=1)[:, :n_best] if n_best < width else np.broadcast_to(np.arange(width), scores.shape)
    found = np.take_along_axis(keys, best, axis=1)
    order = np.argsort(-found, axis=1, kind="stable")
    best = np.where(np.take_along_axis(found, order, axis=1) <= _BARRED, -1, np.take_along_axis(best, order, axis=1))
    return np.pad(best, ((0, 0), (0, n - n_best)), constant_values=-1)


def ordered_keys(scores: Floats, allowed: NDArray[np.bool_]) -> Ints:
    """Whole numbers in the order of the scores, to 6 decimals, ties to the lower column; what is not allowed has the least of all.

    All of a row differ: where many values are equal, numpy's partition takes ten times as long.
    """
    column = np.arange(scores.shape[1])
    keys = np.round(scores * 10**DIGITS).astype(np.int64) * scores.shape[1]
    return np.where(allowed, keys, _BARRED) - column


def ranked(source: Recommender, users: Ints, allowed: Callable[[Ints], NDArray[np.bool_]], n: int) -> Ints:
    """One source's lists as a matrix (len(users), n) of item codes, −1 where nothing is left; `allowed` gives what may be shown to users.

    What the source has no opinion of comes last, by code.
    """
    parts = [np.empty((0, n), np.int64)]
    for first in range(0, len(users), BLOCK):
        block = users[first : first + BLOCK]
        may = allowed(block)
        parts.append(top_n(normalise(source.scores(block), may), may, n))
    return np.concatenate(parts)
