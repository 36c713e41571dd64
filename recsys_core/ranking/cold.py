"""Lists for users of whom little is known: what is popular at a part of the day, and what is near to what somebody said they like."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from recsys_core.declared import Stances
from recsys_core.parse.event import DAYPARTS
from recsys_core.ranking.blender import Blend
from recsys_core.ranking.offer import Offer
from recsys_core.ranking.personal import Lists
from recsys_core.ranking.policy import muted
from recsys_core.ranking.top_n import DIGITS, Slots, top_n
from recsys_core.recommenders.base import Floats, Interactions, Ints, Recommender
from recsys_core.recommenders.declared import Declared
from recsys_core.recommenders.history import History, codes
from recsys_core.recommenders.popularity import Popularity

# Popularity orders what is equally near to what was declared, and fills where nothing is.
DECLARED_WEIGHTS = {"declared": 1.0, "popularity": 0.1}


def by_daypart(past: History, contexts: pa.Table, window: int, ds: dt.date) -> dict[str, Floats]:
    """Part of the day → popularity of each item by what was met in it within `window` nights, backed off to the whole day.

    `contexts` has ds, user_key, item_id and daypart. Whether somebody chose an item is decided by all that they did with it that night.
    """
    liked, nobody = past.interactions.positive(), len(DAYPARTS)
    age = np.int64((ds - dt.date(1970, 1, 1)).days) - contexts["ds"].cast(pa.int32()).to_numpy().astype(np.int64)
    user, item = past.user_codes(contexts["user_key"]), past.item_codes(contexts["item_id"])
    part = codes(contexts["daypart"], pa.array(DAYPARTS))
    known = (user >= 0) & (item >= 0) & (part >= 0) & (age >= 0) & (age < window)

    def night(user: Ints, item: Ints, age: Ints) -> Ints:
        return (user * liked.n_items + item) * window + age

    recent = np.flatnonzero(liked.age < window)
    chosen = night(liked.user[recent], liked.item[recent], liked.age[recent])
    order, named = np.argsort(chosen), night(user[known], item[known], age[known])
    recent, chosen = recent[order], chosen[order]
    met = np.zeros((len(liked.user), nobody + 1), bool)
    if len(recent):
        at = np.minimum(np.searchsorted(chosen, named), len(chosen) - 1)
        there = chosen[at] == named
        met[recent[at[there]], part[known][there]] = True
    # Parts of the day stand for users. What is older, or of no known part, belongs to nobody and counts for everyone's figures alone.
    met[~met.any(axis=1), nobody] = True
    rows, parts = np.nonzero(met)
    split = Interactions(
        parts, liked.item[rows], liked.weight[rows], liked.age[rows], nobody + 1, liked.n_items, np.r_[np.arange(nobody), -1]
    )
    return dict(zip(DAYPARTS, Popularity(window).fit(split).by_group, strict=False))


def popular_slots(scores: Floats, allowed: NDArray[np.bool_], n: int) -> Slots:
    """The n best items of each row of scores, shape (lists, n_items); `user` of a slot is the row. Nobody's history speaks for them."""
    chosen = top_n(scores, allowed, n)
    row, place = np.nonzero(chosen >= 0)
    item = chosen[row, place]
    score = np.round(scores[row, item], DIGITS)
    return Slots(row, place + 1, item, score, np.zeros(len(row), np.int64), np.full(len(row), -1, np.int64), score[:, None])


def declared_slots(
    past: History, topics: pa.Table, stances: Stances, keys: Sequence[str], offer: Offer, first_topics: pa.Table, window: int, n: int
) -> tuple[pa.Array, Slots, NDArray[np.bool_]]:
    """(user key of each slot, slots, whether each item was chosen lately) for users of whom nothing but what they declared is known.

    keys    those users, in their order; of users of the past `offer` holds
    topics  item_id, topic_id, weight of the catalogue; `first_topics` item_id, topic_id of each item's strongest one
    window  nights of the popularity that fills
    """
    prior = stances.prior.filter(pc.is_in(stances.prior["user_key"], pa.array(keys, pa.string())))
    new = pa.array(keys, pa.string()).filter(pc.invert(pc.is_in(pa.array(keys, pa.string()), past.users)))
    users = pa.concat_arrays([past.users, new])
    group = np.r_[past.interactions.group, np.full(len(new), -1)]
    history = replace(past.interactions, n_users=len(users), group=group)
    named = pa.array(sorted(set(prior["topic_id"].to_pylist())), pa.int64())
    topics = topics.filter(pc.is_in(topics["topic_id"], named))
    weights = sparse.csr_matrix(
        (prior["weight"].to_numpy(), (codes(prior["user_key"], users), codes(prior["topic_id"], named))), shape=(len(users), len(named))
    )
    at = codes(topics["topic_id"], named), past.item_codes(topics["item_id"])
    members = sparse.csr_matrix((topics["weight"].to_numpy(), at), shape=(len(named), len(past.items)))
    popular = Popularity(window).fit(history)
    sources: dict[str, Recommender] = {"declared": Declared(weights, members).fit(history), "popularity": popular}
    blend = Blend.linear(DECLARED_WEIGHTS)
    kept = muted(stances.muted, users, past.items, first_topics)
    region = np.r_[offer.region, np.full(len(new), -1)]
    known = sparse.vstack([offer.barred, sparse.csr_matrix((len(new), history.n_items), dtype=offer.barred.dtype)])
    wide = replace(offer, barred=(known + kept).tocsr(), region=region)
    slots, _ = Lists(sources, blend, np.zeros(len(users), np.int64), wide.to).best(codes(pa.array(keys, pa.string()), users), n)
    return users.take(pa.array(slots.user)), slots, popular.in_window > 0
