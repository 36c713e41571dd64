"""What users' items weigh tonight, and the vectors of users that follow."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_core.coded import values_at
from recsys_core.events import DEFAULT_WEIGHTS, Weights
from recsys_core.profiles.clock import HORIZONS, NANO, Floats, Ints, clock, codes, distinct, encoded, faded, places
from recsys_core.profiles.items import by_decay, condensed_items
from recsys_core.user_texts import ACTS


def item_weights(
    user_item_day: pa.Table, sessions: pa.Table, ds: dt.date, weights: Weights = DEFAULT_WEIGHTS, horizon: str = "90d"
) -> pa.Table:
    """Weight of each user and item as of the user's last night, and their strongest act with it, positive weights only.

    Columns: user_key, item_id and act (dictionaries) and weight; nights as `clock.clock` counts them. While a user is away nothing of it
    changes.
    """
    from recsys_core.profiles.kernels import grouped, weights_of_items

    rows = encoded(condensed_items(user_item_day, weights), "user_key", "item_id")
    users, items = distinct(rows["user_key"]), distinct(rows["item_id"])
    user, item = codes(rows["user_key"], users), codes(rows["item_id"], items)
    time = clock(users, sessions, ds)
    fades = np.array([faded(time.age, time.after, HORIZONS[horizon], decay) for decay in weights.by_decay()])
    order = grouped(user, grouped(item, np.arange(len(item)), len(items)), len(users))
    columns = time.night_of(user, rows["ds"]), by_decay(rows, "capped"), rows["act"].to_numpy(), fades
    user, item, weight, act = weights_of_items(order, user, item, *columns)
    kept = weight > 0
    act = act[kept]
    return pa.table(
        {
            "user_key": values_at(user[kept], users),
            "item_id": values_at(item[kept], items),
            "weight": weight[kept] / NANO,
            "act": values_at(np.where(act == len(ACTS), -1, act), pa.array(ACTS, pa.string())),
        }
    )


def heaviest(weights: pa.Table, titled: pa.Table, most: int) -> pa.Table:
    """The rows (user_key, item_id, weight, act) of each user's `most` largest weights, and those as large, of items that have a title."""
    weights = encoded(weights, "user_key", "item_id")
    users, names = distinct(weights["user_key"]), titled.filter(pc.not_equal(pc.fill_null(titled["title"], ""), ""))["item_id"]
    user, known = codes(weights["user_key"], users), codes(weights["item_id"], pc.unique(names)) >= 0
    weight = weights["weight"].to_numpy()
    order = np.flatnonzero(known)
    order = order[np.lexsort((-weight[order], user[order]))]
    least = np.full(len(users), -np.inf)
    nth = places(user[order])
    last = order[nth == most - 1]
    least[user[last]] = weight[last]
    return weights.filter(pa.array(known & (weight >= least[user])))


def with_rows(weights: pa.Table, item_ids: Sequence[str], known: NDArray[np.bool_]) -> tuple[pa.Array, Ints, Ints, Floats]:
    """(users, and of each of `weights` whose item is known: place of the user, last place in `item_ids`, weight), by user and item.

    `weights` has user_key, item_id and weight; `known` says of each entry of `item_ids` whether it is to be found.
    """
    from recsys_core.profiles.kernels import grouped

    weights = encoded(weights, "user_key", "item_id")
    users, names, there = distinct(weights["user_key"]), distinct(weights["item_id"]), np.flatnonzero(known)[::-1]
    user, name = codes(weights["user_key"], users), codes(weights["item_id"], names)
    place = codes(names, pa.array(item_ids, pa.string()).take(pa.array(there)))
    row = np.append(there, -1)[place][name]
    # By item, so that sums come out the same in whatever order rows and vectors come.
    order = grouped(user, grouped(name, np.flatnonzero(row >= 0), len(names)), len(users))
    return users, user[order], row[order], weights["weight"].to_numpy()[order]


def pooled_vectors(weights: pa.Table, item_ids: list[str], vectors: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """user_key → unit vector (float32, rounded to 6 decimals): Σ weight · item vector, over items that have one.

    `weights` has user_key, item_id, weight; `vectors` has one row per entry of `item_ids`.
    """
    from scipy.sparse import csr_matrix

    users, user, row, weight = with_rows(weights, item_ids, np.ones(len(item_ids), bool))
    if not len(row):
        return {}
    start = np.searchsorted(user, np.arange(len(users) + 1))
    sums = np.asarray(csr_matrix((weight, row, start), (len(users), len(item_ids))) @ vectors.astype(np.float64))
    norms = np.linalg.norm(sums, axis=1)
    kept = norms > 1e-9
    pooled = np.round(sums[kept] / norms[kept, None], 6).astype(np.float32)
    return dict(zip(users.filter(pa.array(kept)).to_pylist(), pooled, strict=True))
