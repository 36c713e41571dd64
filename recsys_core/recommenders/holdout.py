"""Validation cuts inside a history: what is known, what is to be found, and how well lists find it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsys_core.metrics import hits, ranking_metrics
from recsys_core.ranking.top_n import DIGITS, normalise, top_n
from recsys_core.recommenders.als import ALS
from recsys_core.recommenders.base import Floats, Interactions, Ints, Recommender, places_from_end
from recsys_core.recommenders.by_factors import top_n_by_factors
from recsys_core.recommenders.mixture import unmet

CUTS = ("last", "random", "time")
K = 10
# Held out by `random` and `time`. With less, what users will turn to and nobody knows yet competes with ever less that is to be found.
SHARE = 0.25
_CELLS = 2_000_000  # users × items scored at once


@dataclass(frozen=True)
class Cut:
    """A history without what is held out of it.

    known       the interactions to learn from; users and items keep their codes
    users       users who have something to be found, ascending
    row, item   the relevant pairs: place in `users`, item code
    """

    known: Interactions
    users: Ints
    row: Ints
    item: Ints

    def among(self, users: Ints) -> Cut:
        """The same for some of the users; `users` ascend."""
        kept = np.isin(self.users[self.row], users)
        return Cut(self.known, users, np.searchsorted(users, self.users[self.row[kept]]), self.item[kept])


def stratified(item: Ints, draw: Floats, share: float) -> NDArray[np.bool_]:
    """A mask of rows that keeps round(share · n) of each item's n rows, those with the smallest draws.

    >>> stratified(np.array([5, 5, 5, 5, 9]), np.array([0.4, 0.1, 0.9, 0.2, 0.5]), 0.75).tolist()
    [True, True, False, True, True]
    """
    order = np.lexsort((draw, item))
    codes = item[order]
    first = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]]) if len(codes) else np.empty(0, np.int64)
    sizes = np.diff(np.r_[first, len(codes)])
    place = np.arange(len(codes)) - np.repeat(first, sizes)
    kept = np.empty(len(item), bool)
    kept[order] = place < np.repeat(np.round(share * sizes), sizes)
    return kept


def cut(history: Interactions, kind: str, share: float, seed: int, allow_seen: bool = False) -> Cut:
    """Hold out by one of CUTS: each user's last interaction, a random `share` of each item's, or the newest nights with that share.

    Relevant is what is held out, speaks for the item (weight > 0) and, unless `allow_seen`, was not met in what is known; users of whom
    nothing is known do not count. ValueError for an unknown kind, and where all interactions are of one night and `time` is to part them.
    """
    age = 0
    if kind == "last":
        held = (places_from_end(history.user) == 0) & (history.weight > 0)
    elif kind == "random":
        draw = np.random.default_rng(seed).random(len(history.user))
        held = ~stratified(history.item, draw, 1 - share)
    elif kind == "time":
        rows = np.bincount(history.age, minlength=1).cumsum()
        age = int(np.searchsorted(rows, share * rows[-1])) + 1
        held = history.age < age
        if held.all():
            raise ValueError("all interactions are of one night (or in one order without dates): validate by 'last' or 'random'")
    else:
        raise ValueError(f"no validation is named {kind!r}: there are {', '.join(CUTS)}")
    known, wanted = history.take(~held), history.take(held & (history.weight > 0))
    known = replace(known, age=known.age - age)
    pair = np.unique(wanted.user * history.n_items + wanted.item)
    if not allow_seen:
        pair = np.setdiff1d(pair, known.user * history.n_items + known.item)
    pair = pair[np.isin(pair // max(history.n_items, 1), known.user)]
    users, row = np.unique(pair // max(history.n_items, 1), return_inverse=True)
    return Cut(known, users, row, pair % max(history.n_items, 1))


def lists(source: Recommender, history: Interactions, users: Ints, k: int, allow_seen: bool = False) -> tuple[Ints, Floats]:
    """Item codes and scores (len(users), k) of each user's best items, without those met unless `allow_seen`.

    Scores are over the user's largest, 6 decimals. Lists are full, or hold every item there is for the user (−1 follows): items that the
    source has no opinion of come last, with score 0, by how many users met them, then by code.
    """
    seen, fallback = history.seen(), popularity(history)
    items, scores = np.full((len(users), k), -1, np.int64), np.zeros((len(users), k))
    left = np.arange(len(users))
    if isinstance(source, ALS):
        items, products = top_n_by_factors(source.user_factors[users], source.item_factors, k, None, None if allow_seen else seen[users])
        scores = np.divide(products, products[:, :1], where=products[:, :1] > 0, out=np.zeros_like(products))
        left = np.flatnonzero(np.round(scores[:, -1], DIGITS) <= 0)  # who has no opinion of so many items
    for part in blocks(len(left), history.n_items):
        rows = left[part]
        allowed = np.ones((len(rows), history.n_items), bool) if allow_seen else unmet(seen, users[rows])
        score = normalise(source.scores(users[rows]), allowed)
        items[rows] = found = top_n(np.where(np.round(score, DIGITS) > 0, 1 + score, fallback), allowed, k)
        scores[rows] = np.where(found >= 0, np.take_along_axis(score, np.maximum(found, 0), axis=1), 0.0)
    return items, np.round(scores, DIGITS)


def popularity(history: Interactions) -> Floats:
    """Users who met each item, over one more than the most, below 1."""
    met = np.diff(history.seen().tocsc().indptr)
    return met / (int(met.max(initial=0)) + 1)


def measured(items: Ints, found: Cut) -> dict[str, Floats]:
    """Metrics at K of lists for the users of a cut."""
    n_relevant = np.bincount(found.row, minlength=len(found.users))
    return ranking_metrics(hits(items, found.row, found.item), n_relevant, K)


def blocks(n_users: int, n_items: int) -> Iterator[slice]:
    """Rows of users to score at once: few enough for their scores to stay in memory from block to block."""
    step = max(1, _CELLS // max(n_items, 1))
    return (slice(first, min(first + step, n_users)) for first in range(0, n_users, step))
