"""Lists for users of whom little is known: what is popular at a part of the day, and what is near to what somebody said they like."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from recsys_core.parse.event import DAYPARTS
from recsys_core.rank import Slots, blend
from recsys_core.recommenders.base import Floats, Interactions, Recommender
from recsys_core.recommenders.declared import Declared
from recsys_core.recommenders.history import History, codes
from recsys_core.recommenders.popularity import Popularity

# Popularity orders what is equally near to what was declared, and fills where nothing is.
DECLARED_WEIGHTS = {"declared": 1.0, "popularity": 0.1}


def by_daypart(past: History, contexts: pa.Table, window: int, ds: dt.date) -> dict[str, Floats]:
    """Part of the day → popularity of each item by what was met in it within `window` nights, backed off to the whole day.

    `contexts` has ds, user_key, item_id and daypart. Whether somebody chose an item is decided by all that they did with it that night.
    """
    history, columns = past.interactions, ["user", "item", "age"]
    own = pa.table({"user": history.user, "item": history.item, "age": history.age, "weight": history.weight})
    age = np.int64((ds - dt.date(1970, 1, 1)).days) - contexts["ds"].cast(pa.int32()).to_numpy().astype(np.int64)
    given = {"user": past.user_codes(contexts["user_key"]), "item": past.item_codes(contexts["item_id"]), "age": age}
    met = pa.table({**given, "part": codes(contexts["daypart"], pa.array(DAYPARTS))}).group_by([*columns, "part"]).aggregate([])
    recent = pa.array(history.age < window)
    met = own.filter(recent).join(met.filter(pc.greater_equal(met["part"], 0)), columns, join_type="left outer")
    # Parts of the day stand for users. What is older, or of no known part, belongs to nobody and counts for everyone's figures alone.
    nobody = len(DAYPARTS)
    older = own.filter(pc.invert(recent))
    parts = np.r_[met["part"].fill_null(nobody).to_numpy(), np.full(older.num_rows, nobody)]
    item, ages, weight = (np.r_[met[c].to_numpy(), older[c].to_numpy()] for c in ("item", "age", "weight"))
    split = Interactions(parts, item, weight, ages, nobody + 1, history.n_items, np.r_[np.arange(nobody), -1])
    return dict(zip(DAYPARTS, Popularity(window).fit(split).by_group, strict=False))


def barred(users: pa.Array, past: History, first_topics: pa.Table, muted: Collection[tuple[str, int]]) -> sparse.csr_matrix:
    """(len(users), items), non-zero where a user has muted an item's first topic; `first_topics` has item_id and topic_id."""
    pairs = pa.table({"user_key": pa.array([u for u, _ in muted], pa.string()), "topic_id": pa.array([t for _, t in muted], pa.int64())})
    held = pairs.join(first_topics.select(["item_id", "topic_id"]), "topic_id", join_type="inner")
    user, item = codes(held["user_key"], users), past.item_codes(held["item_id"])
    known = (user >= 0) & (item >= 0)
    return sparse.csr_matrix((np.ones(known.sum(), np.int8), (user[known], item[known])), shape=(len(users), len(past.items)))


def declared_slots(
    past: History,
    vectors: NDArray[np.float32],
    topics: pa.Table,
    prior: pa.Table,
    active: Collection[str],
    eligible: NDArray[np.bool_],
    muted: Collection[tuple[str, int]],
    window: int,
    n: int,
) -> tuple[pa.Array, Slots]:
    """(user key of each slot, slots) for users who declared interests and are not `active`, by what is near to those.

    prior   user_key, topic_id, weight; topics   item_id, topic_id, weight, rank of the catalogue
    window  nights of the popularity that fills
    """
    prior = prior.filter(pc.invert(pc.is_in(prior["user_key"], pa.array(sorted(active), pa.string()))))
    keys = sorted(set(prior["user_key"].to_pylist()))
    users = pa.concat_arrays([past.users, pa.array([k for k in keys if k not in set(past.users.to_pylist())], pa.string())])
    group = np.r_[past.interactions.group, np.full(len(users) - len(past.users), -1)]
    history = replace(past.interactions, n_users=len(users), group=group, vectors=vectors)
    named = pa.array(sorted(set(prior["topic_id"].to_pylist())), pa.int64())
    kept = barred(users, past, topics.filter(pc.equal(topics["rank"], 1)), muted)
    topics = topics.filter(pc.is_in(topics["topic_id"], named))
    weights = sparse.csr_matrix(
        (prior["weight"].to_numpy(), (codes(prior["user_key"], users), codes(prior["topic_id"], named))), shape=(len(users), len(named))
    )
    members = sparse.csr_matrix(
        (topics["weight"].to_numpy(), (codes(topics["topic_id"], named), past.item_codes(topics["item_id"]))),
        shape=(len(named), len(past.items)),
    )
    sources: dict[str, Recommender] = {
        "declared": Declared(weights, members).fit(history),
        "popularity": Popularity(window).fit(history),
    }
    slots = blend(sources, DECLARED_WEIGHTS, history, codes(pa.array(keys, pa.string()), users), eligible, n, barred=kept)
    return users.take(pa.array(slots.user)), slots
