"""The lists that anybody could make: what is popular, now or ever, and what follows a user's last item."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys_core.evaluation.relevance import Cut
from recsys_core.ranking.top_n import BLOCK
from recsys_core.recommenders.base import Floats, Ints, padded
from recsys_core.recommenders.last_item import LastItem
from recsys_core.recommenders.popularity import Popularity

POPULARITY = "popularity"
EVER = 36_500  # nights


def baseline_lists(cut: Cut, users: Ints, popularity_nights: int, n: int) -> dict[str, Ints]:
    """Baseline → its lists for `users` as of the cut: (users, n) item codes, −1 where nothing is left; under the rules of the lists judged.

    popularity           user-nights within the last `popularity_nights` nights, in the user's language (see Popularity)
    popularity_all_time  the same over all nights
    last_item            the user's last item itself, where it may come again, then what most often came right after it, then popularity
    """
    recent = Popularity(window=popularity_nights).fit(cut.known)
    last = LastItem().fit(cut.known)
    popular, following = _order(recent.by_group, cut.offer.eligible), _descending(last.strength)
    ever = _order(Popularity(window=EVER).fit(cut.known).by_group, cut.offer.eligible)
    lists: dict[str, list[Ints]] = {POPULARITY: [], "popularity_all_time": [], "last_item": []}
    for first in range(0, len(users), BLOCK):
        block = users[first : first + BLOCK]
        allowed, group = cut.offer.to(block), recent.group[block]
        # So many places of a ranking hold n that are allowed and not listed yet, for everybody of the block.
        deep = 2 * n + int((cut.offer.eligible.sum() - allowed.sum(axis=1)).max(initial=0))
        item, known = padded(last.profile, block)
        item = np.where(known > 0, item, -1)
        begin, length = following.indptr[item[:, 0]], np.diff(following.indptr)[item[:, 0]]
        place = np.arange(min(int(length.max(initial=0)), deep))
        there = (place < length[:, None]) & (item >= 0)
        after = np.full(there.shape, -1, np.int64)
        after[there] = following.indices[(begin[:, None] + place)[there]]
        for name, stages in zip(lists, ([popular], [ever], [item, after, popular]), strict=True):
            own, left = np.full((len(block), n), -1, np.int64), allowed.copy()
            for stage in stages:
                _append(own, stage if stage is item or stage is after else stage[group, :deep], left)
            lists[name].append(own)
    none = np.empty((0, n), np.int64)
    return {name: np.concatenate([none, *parts]) for name, parts in lists.items()}


def _order(by_group: Floats, eligible: NDArray[np.bool_]) -> Ints:
    """Eligible items of each group, best first, ties to the lower code."""
    items = np.flatnonzero(eligible)
    return items[np.argsort(-by_group[:, items].round(12), axis=1, kind="stable")]


def _descending(strength: sparse.csr_matrix) -> sparse.csr_matrix:
    """The matrix with the entries of each row ordered by value, largest first, ties to the lower column."""
    row = np.repeat(np.arange(strength.shape[0]), np.diff(strength.indptr))
    order = np.lexsort((strength.indices, -strength.data, row))
    return sparse.csr_matrix((strength.data[order], strength.indices[order], strength.indptr), shape=strength.shape)


def _append(lists: Ints, candidates: Ints, allowed: NDArray[np.bool_]) -> None:
    """Append to each row, in order, the candidates that are allowed, as far as there is room, and allow them no more; −1 = none.

    >>> lists, allowed = np.array([[2, -1, -1]]), np.array([[True, False, False, True, True]])
    >>> _append(lists, np.array([[1, 4, -1, 3, 0]]), allowed)
    >>> lists.tolist(), allowed.tolist()
    ([[2, 4, 3]], [[True, False, False, False, False]])
    """
    rows = np.arange(len(lists))[:, None]
    place = (lists >= 0).sum(axis=1)[:, None] + np.cumsum(fit := (candidates >= 0) & allowed[rows, candidates], axis=1) - 1
    row, column = np.nonzero(fit & (place < lists.shape[1]))
    lists[row, place[row, column]] = candidates[row, column]
    allowed[row, candidates[row, column]] = False
