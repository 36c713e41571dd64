"""What a user did with an item on a night, as one weight: by type, dwell and a cap; and the vectors that follow from it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.events import DEFAULT_WEIGHTS, Weights
from recsys_core.profiles.clock import HORIZONS, NANO, Floats, clock, codes, distinct, faded, total
from recsys_core.user_texts import ACTS

# A view of so many seconds counts once, one of three times as many 1.5 times, and none twice.
DWELL_S = 30.0


def weighted(rows: pa.Table, base: Mapping[str, float], prefix: str, suffix: str = "") -> Floats:
    """Σ over event types of weight · column, where a type's column is `<prefix>_<type><suffix>`."""
    found = np.zeros(rows.num_rows)
    for name, weight in base.items():
        found += weight * rows[f"{prefix}_{name}{suffix}"].to_numpy()
    return found


def item_parts(rows: pa.Table, weights: Weights = DEFAULT_WEIGHTS) -> tuple[Floats, Floats]:
    """(linear, capped), each (parts of weights.by_decay(), rows), of rows of user_item_day.

    linear  Σ base weight · count
    capped  the same with f(dwell) on views, and scaled so that the parts sum to ± weights.cap at most;
            f = 2·m / (m + DWELL_S) for m seconds a view in the mean, and 1 where no dwell is told

    Grades of reviews are among the types (praised, panned): sentiment is in both.
    """
    parts = list(weights.by_decay().values())
    linear = np.array([weighted(rows, base, "n") for base in parts])
    views, dwell = rows["n_view"].to_numpy(), pc.fill_null(rows["dwell_s"], np.nan).to_numpy()
    mean = dwell / np.maximum(views, 1)
    longer = np.where((views > 0) & (dwell >= 0), views * (2 * mean / (mean + DWELL_S) - 1), 0.0)
    capped = linear + np.array([[base.get("view", 0.0)] for base in parts]) * longer
    size = np.abs(capped.sum(axis=0))
    return linear, capped * np.where(size > weights.cap, weights.cap / np.maximum(size, 1e-9), 1.0)


def item_weights(
    user_item_day: pa.Table, sessions: pa.Table, ds: dt.date, weights: Weights = DEFAULT_WEIGHTS, horizon: str = "90d"
) -> pa.Table:
    """Weight of each user and item as of the user's last night, and their strongest act with it, positive weights only.

    Columns: user_key, item_id, weight, act; nights as `clock.clock` counts them. While a user is away nothing of it changes.
    """
    users, items = distinct(user_item_day["user_key"]), distinct(user_item_day["item_id"])
    time, user = clock(users, sessions, ds), codes(user_item_day["user_key"], users)
    night = time.night_of(user, user_item_day["ds"])
    rows, user, night = user_item_day.filter(pa.array(night >= 0)), user[night >= 0], night[night >= 0]
    pair, of = np.unique(user * max(len(items), 1) + codes(rows["item_id"], items), return_inverse=True)
    _, capped = item_parts(rows, weights)
    fades = [faded(time.age[night], time.after[night], HORIZONS[horizon], decay) for decay in weights.by_decay()]
    weight = total(of, NANO * sum((c * f for c, f in zip(capped, fades, strict=True)), np.zeros(len(of))), len(pair))
    act = np.full(len(pair), len(ACTS))
    for place, name in enumerate(ACTS):
        np.minimum.at(act, of, np.where(rows[f"n_{name}"].to_numpy() > 0, place, len(ACTS)))
    kept = weight > 0
    pair, act = pair[kept], act[kept]
    columns = {
        "user_key": users.take(pa.array(pair // max(len(items), 1))),
        "item_id": items.take(pa.array(pair % max(len(items), 1))),
        "weight": weight[kept] / NANO,
        "act": pa.array(ACTS, pa.string()).take(pa.array(act, mask=act == len(ACTS))),
    }
    return pa.table(columns)


def pooled_vectors(weights: pa.Table, item_ids: list[str], vectors: np.ndarray) -> dict[str, np.ndarray]:
    """user_key → unit vector (float32, rounded to 6 decimals): Σ weight · item vector, over items that have one.

    `weights` has user_key, item_id, weight; `vectors` has one row per entry of `item_ids`.
    """
    from scipy.sparse import csr_matrix

    rows = weights.select(["user_key", "item_id", "weight"]).sort_by([("user_key", "ascending"), ("item_id", "ascending")]).to_pydict()
    row_of, column_of = {u: i for i, u in enumerate(dict.fromkeys(rows["user_key"]))}, {item: i for i, item in enumerate(item_ids)}
    kept = [(row_of[u], column_of[i], w) for u, i, w in zip(*rows.values(), strict=True) if i in column_of]
    if not kept:
        return {}
    users, columns, values = zip(*kept, strict=True)
    sums = np.asarray(csr_matrix((values, (users, columns)), (len(row_of), len(item_ids))) @ vectors.astype(np.float64))
    norms = np.linalg.norm(sums, axis=1)
    return {u: np.round(sums[i] / norms[i], 6).astype(np.float32) for u, i in row_of.items() if norms[i] > 1e-9}
