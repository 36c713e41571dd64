"""Lists: sources are united, normalised, blended with weights that last week chose, freed of what was seen, cut, and filled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys_core.metrics import hits, ranking_metrics
from recsys_core.recommenders.base import Floats, Interactions, Ints, Recommender

BLOCK = 512  # users scored at once; fixed, so that products are summed in the same order in every run
DIGITS = 6
_BARRED = -(2**62)  # its negative must be an int64 too


@dataclass(frozen=True)
class Slots:
    """Filled slots, ordered by user, then rank.

    user, rank (from 1), item    user and item are codes
    score                        blended score, 6 decimals
    source                       index of the source that adds most to the score
    evidence                     item of the user's history behind it, −1 = none
    """

    user: Ints
    rank: Ints
    item: Ints
    score: Floats
    source: Ints
    evidence: Ints


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
    keys = np.round(scores * 10**DIGITS).astype(np.int64) * width - np.arange(width)
    keys[~allowed] = _BARRED
    best = np.argpartition(-keys, n_best - 1, axis=1)[:, :n_best] if n_best < width else np.broadcast_to(np.arange(width), scores.shape)
    found = np.take_along_axis(keys, best, axis=1)
    order = np.argsort(-found, axis=1, kind="stable")
    best = np.where(np.take_along_axis(found, order, axis=1) == _BARRED, -1, np.take_along_axis(best, order, axis=1))
    return np.pad(best, ((0, 0), (0, n - n_best)), constant_values=-1)


def blend(
    sources: Mapping[str, Recommender],
    weights: Mapping[str, float],
    history: Interactions,
    users: Ints,
    eligible: NDArray[np.bool_],
    n: int,
    allow_seen: bool = False,
    barred: sparse.csr_matrix | None = None,
) -> Slots:
    """The n best eligible items of each user by Σ weight × normalised score.

    `sources` are fitted, `eligible` has shape (n_items,). What a user ever met is left out before the cut, as is what is non-zero for them
    in `barred` (n_users, n_items).
    Every list is full, or holds all that is eligible and unseen: items that no source knows come last, by item id, under the source
    'popularity' (the last one when there is none of that name). Users keep the order given.
    """
    names, seen = list(sources), None if allow_seen else history.seen()
    if barred is not None:
        seen = barred if seen is None else seen + barred
    fallback = names.index("popularity") if "popularity" in names else len(names) - 1
    parts = []
    for first in range(0, len(users), BLOCK):
        block = users[first : first + BLOCK]
        allowed = _allowed(block, eligible, seen)
        shares = [weights[name] * normalise(sources[name].scores(block), allowed) for name in names]
        total = np.sum(shares, axis=0)
        chosen = top_n(total, allowed, n)
        row, place = np.nonzero(chosen >= 0)
        item = chosen[row, place]
        share = np.stack([s[row, item] for s in shares])
        source = np.where(share.max(axis=0) > 0, share.argmax(axis=0), fallback)
        evidence = np.full(len(row), -1, np.int64)
        for number, name in enumerate(names):
            mine = source == number
            evidence[mine] = sources[name].evidence(block[row[mine]], item[mine])
        parts.append((block[row], place + 1, item, np.round(total[row, item], DIGITS), source, evidence))
    if not parts:
        none = np.empty(0, np.int64)
        return Slots(none, none, none, np.empty(0), none, none)
    return Slots(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _allowed(users: Ints, eligible: NDArray[np.bool_], seen: sparse.csr_matrix | None) -> NDArray[np.bool_]:
    allowed = np.broadcast_to(eligible, (len(users), len(eligible))).copy()
    if seen is not None:
        met = seen[users]
        allowed[np.repeat(np.arange(len(users)), np.diff(met.indptr)), met.indices] = False
    return allowed


def choose_weights(
    sources: Mapping[str, Recommender],
    candidates: Sequence[Mapping[str, float]],
    history: Interactions,
    eligible: NDArray[np.bool_],
    nights: int,
    n: int = 10,
    max_users: int = 500,
    min_users: int = 50,
) -> dict[str, float]:
    """The candidate whose lists of `nights` nights ago best met what came since: NDCG at n, the mean over users, ties to the first.

    `sources` (not fitted) learn from what is older than `nights`; relevant is what known users turned to since and never met before.
    At most `max_users` users are asked, evenly over the order of keys. With fewer than `min_users` the first candidate stands.
    """
    before, since = (
        history.take(history.age >= nights),
        history.take((history.age < nights) & (history.weight > 0) & eligible[history.item]),
    )
    before = replace(before, age=before.age - nights)
    met, width = before.user * history.n_items + before.item, history.n_items
    fresh = np.setdiff1d(since.user * width + since.item, met)
    fresh = fresh[np.isin(fresh // width, before.user)]
    users = np.unique(fresh // width)
    users = users[:: max(1, -(-len(users) // max_users))]
    if len(users) < min_users:
        return dict(candidates[0])
    fitted = {name: source.fit(before) for name, source in sources.items()}
    seen, gain = before.seen(), np.zeros(len(candidates))
    for first in range(0, len(users), BLOCK):
        block = users[first : first + BLOCK]
        allowed = _allowed(block, eligible, seen)
        shares = {name: normalise(source.scores(block), allowed) for name, source in fitted.items()}
        wanted = fresh[np.isin(fresh // width, block)]
        row = np.searchsorted(block, wanted // width)
        n_relevant = np.bincount(row, minlength=len(block))
        for number, weights in enumerate(candidates):
            total = np.sum([weights[name] * share for name, share in shares.items()], axis=0)
            found = ranking_metrics(hits(top_n(total, allowed, n), row, wanted % width), n_relevant, n)
            gain[number] += found["ndcg"].sum()
    return dict(candidates[int(np.round(gain / len(users), DIGITS).argmax())])


def ranked(source: Recommender, history: Interactions, users: Ints, eligible: NDArray[np.bool_], n: int) -> Ints:
    """One source's lists as a matrix (len(users), n) of item codes, −1 where there is no further eligible unseen item."""
    slots = blend({"only": source}, {"only": 1.0}, history, users, eligible, n)
    place = {int(u): i for i, u in enumerate(users)}
    lists = np.full((len(users), n), -1, np.int64)
    lists[np.fromiter((place[int(u)] for u in slots.user), np.int64, len(slots.user)), slots.rank - 1] = slots.item
    return lists
