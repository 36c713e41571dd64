"""A global cut in time: what was known on the night of a list, and what its users turned to after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from recsys_core.ranking.offer import Offer
from recsys_core.ranking.policy import NEVER, consumed
from recsys_core.recommenders.base import Interactions, Ints
from recsys_core.recommenders.history import History, codes

# Events up to the cut up to which a user counts as light, and as medium.
LIGHT, MEDIUM = 5, 30
ACTIVITY = ["light", "medium", "heavy"]


@dataclass(frozen=True)
class Cut:
    """What lists of a night are judged by.

    nights      how long ago that was
    known       interactions as of that night; ages are counted from it
    offer       what lists could hold then, and for whom
    user, item  relevant pairs, sorted: what came after it with a net weight above 0, and the list could hold
    """

    nights: int
    known: Interactions
    offer: Offer
    user: Ints
    item: Ints


def cut_at(
    past: History,
    nights: int,
    eligible: NDArray[np.bool_],
    cool_down: Ints | None = None,
    group: Ints | None = None,
    vectors: NDArray[np.float32] | None = None,
    topics: sparse.csr_matrix | None = None,
    region: Ints | None = None,
    open_to: NDArray[np.bool_] | None = None,
) -> Cut:
    """The cut `nights` nights before the end of `past`; what happened in these nights is to be foretold.

    cool_down               nights until an item may come back, see `consumed`; None = never
    group, vectors, topics  see Interactions; those of users as of the cut
    region, open_to         None = everything may be shown everywhere
    """
    history, width = past.interactions, max(past.interactions.n_items, 1)
    before = history.take(history.age >= nights)
    group = history.group if group is None else group
    known = replace(before, age=before.age - nights, group=group, vectors=vectors, topics=topics)
    barred = consumed(known, np.full(history.n_items, NEVER) if cool_down is None else cool_down)
    region = np.full(history.n_users, -1) if region is None else region
    open_to = np.ones((1, history.n_items), bool) if open_to is None else open_to
    after = history.take(history.age < nights)
    pairs, at = np.unique(after.user * width + after.item, return_inverse=True)
    pairs = pairs[np.bincount(at, after.weight, len(pairs)).round(6) > 0]
    kept_out = np.repeat(np.arange(history.n_users), np.diff(barred.indptr)) * width + barred.indices
    kept_out.sort()  # nearly is
    at = np.minimum(np.searchsorted(kept_out, pairs), max(len(kept_out) - 1, 0))
    pairs = pairs[kept_out[at] != pairs] if len(kept_out) else pairs
    user, item = pairs // width, pairs % width
    could = eligible[item] & open_to[region[user], item]
    return Cut(nights, known, Offer(eligible, barred, region, open_to), user[could], item[could])


def user_slices(past: History, cut: Cut, known: Mapping[str, pa.Table]) -> dict[str, tuple[list[str], Ints]]:
    """Slices of users as of the cut, by dimension: activity by their events, and what is `known` of them (user_key, value)."""
    history = past.interactions
    events = np.bincount(history.user, past.n_events * (history.age >= cut.nights), history.n_users)
    found = {"activity": (ACTIVITY, np.select([events <= LIGHT, events <= MEDIUM], [0, 1], 2).astype(np.int64))}
    for dim, rows in known.items():
        values = pc.unique(rows["value"]).sort()
        code = np.full(len(past.users), -1, np.int64)
        user = past.user_codes(rows["user_key"])
        code[user[user >= 0]] = codes(rows["value"], values)[user >= 0]
        found[dim] = values.to_pylist(), code
    return found
