"""What users' items weigh tonight, and the vectors of users that follow."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_core.events import DEFAULT_WEIGHTS, Weights
from recsys_core.profiles.clock import HORIZONS, NANO, Ints, clock, codes, distinct, encoded, faded, places, total
from recsys_core.profiles.items import by_decay, condensed_items
from recsys_core.user_texts import ACTS


def item_weights(
    user_item_day: pa.Table, sessions: pa.Table, ds: dt.date, weights: Weights = DEFAULT_WEIGHTS, horizon: str = "90d"
) -> pa.Table:
    """Weight of each user and item as of the user's last night, and their strongest act with it, positive weights only.

    Columns: user_key, item_id and act (dictionaries) and weight; nights as `clock.clock` counts them. While a user is away nothing of it
    changes.
    """
    from recsys_core.profiles.kernels import pairs_within

    rows = encoded(condensed_items(user_item_day, weights), "user_key", "item_id")
    users, items = distinct(rows["user_key"]), distinct(rows["item_id"])
    time, user = clock(users, sessions, ds), codes(rows["user_key"], users)
    night = time.night_of(user, rows["ds"])
    rows, user, night = rows.filter(pa.array(night >= 0)), user[night >= 0], night[night >= 0]
    of_user, of_item, of = pairs_within(user, codes(rows["item_id"], items), len(users))
    fades = [faded(time.age, time.after, HORIZONS[horizon], decay)[night] for decay in weights.by_decay()]
    weight = total(of, NANO * sum((c * f for c, f in zip(by_decay(rows, "capped"), fades, strict=True)), np.zeros(len(of))), len(of_user))
    act = np.full(len(of_user), len(ACTS), np.int8)
    np.minimum.at(act, of, rows["act"].to_numpy())
    kept = weight > 0
    act = act[kept]
    columns = {
        "user_key": _of(of_user[kept], users),
        "item_id": _of(of_item[kept], items),
        "weight": weight[kept] / NANO,
        "act": _of(act, pa.array(ACTS, pa.string()), act == len(ACTS)),
    }
    return pa.table(columns)


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


def _of(place: NDArray[np.integer], values: pa.Array, mask: NDArray[np.bool_] | None = None) -> pa.DictionaryArray:
    """The values at these places; of millions of rows their texts are kept once."""
    return pa.DictionaryArray.from_arrays(pa.array(place.astype(np.int32), mask=mask), values)


def rows_of(names: pa.Array, item_ids: Sequence[str]) -> Ints:
    """The last place of each name in `item_ids`, −1 where it has none."""
    place = codes(names, pa.array(item_ids[::-1], pa.string()))
    return np.where(place >= 0, len(item_ids) - 1 - place, -1)


def pooled_vectors(weights: pa.Table, item_ids: list[str], vectors: np.ndarray) -> dict[str, np.ndarray]:
    """user_key → unit vector (float32, rounded to 6 decimals): Σ weight · item vector, over items that have one.

    `weights` has user_key, item_id, weight; `vectors` has one row per entry of `item_ids`.
    """
    from scipy.sparse import csr_matrix

    weights = encoded(weights, "user_key", "item_id")
    users, names = distinct(weights["user_key"]), distinct(weights["item_id"])
    user, name = codes(weights["user_key"], users), codes(weights["item_id"], names)
    column = rows_of(names, item_ids)[name]
    order = np.flatnonzero(column >= 0)
    # By item, so that sums come out the same in whatever order rows and vectors come.
    order = order[np.lexsort((name[order], user[order]))]
    if not len(order):
        return {}
    start = np.searchsorted(user[order], np.arange(len(users) + 1))
    matrix = csr_matrix((weights["weight"].to_numpy()[order], column[order], start), (len(users), len(item_ids)))
    sums = np.asarray(matrix @ vectors.astype(np.float64))
    norms = np.linalg.norm(sums, axis=1)
    kept = norms > 1e-9
    pooled = np.round(sums[kept] / norms[kept, None], 6).astype(np.float32)
    return dict(zip(users.filter(pa.array(kept)).to_pylist(), pooled, strict=True))
