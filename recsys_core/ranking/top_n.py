"""What all lists share: scores that are comparable, the best in a total order, slots."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from recsys_core.recommenders.base import Floats, Ints, Recommender

BLOCK = 512  # users scored at once; fixed, so that products are summed in the same order in every run
CELLS = 2**26  # scores by a source that all threads hold at once
_T = TypeVar("_T")
DIGITS = 6


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
    from recsys_core.ranking import kernels

    found: Ints = kernels.best(np.require(scores, np.float64, ["C", "W"]), np.require(allowed, bool, ["C", "W"]), 10.0**DIGITS, n)
    return found


def in_blocks(of: Callable[[Ints], _T], users: Ints, n_items: int) -> list[_T]:
    """What `of` finds for each BLOCK of users, in their order; several blocks at once as far as CELLS scores of `n_items` are held.

    A block is one thread's: its products are not shared out further.
    """
    from threadpoolctl import threadpool_limits

    blocks = [users[first : first + BLOCK] for first in range(0, len(users), BLOCK)]
    threads = min(len(os.sched_getaffinity(0)), max(CELLS // (BLOCK * max(n_items, 1)), 1), len(blocks))
    if threads < 2:
        return [of(block) for block in blocks]
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
        return [*pool.map(of, blocks)]


def ranked(source: Recommender, users: Ints, allowed: Callable[[Ints], NDArray[np.bool_]], n: int) -> Ints:
    """One source's lists as a matrix (len(users), n) of item codes, −1 where nothing is left; `allowed` gives what may be shown to users.

    What the source has no opinion of comes last, by code.
    """

    def best(block: Ints) -> Ints:
        scores, may = source.scores(block), allowed(block)
        return top_n(normalise(scores, may), may, n)

    parts = [best(users[first : first + BLOCK]) for first in range(0, len(users), BLOCK)]
    return np.concatenate([np.empty((0, n), np.int64), *parts])
