"""What a user did on a night in the words of profiles: event types summed by their weights, by dwell and a cap; and the items' topics.

Facts are condensed night by night as they are read, so that ninety nights are a few dozen bytes a row.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.events import DEFAULT_WEIGHTS, Weights
from recsys_core.profiles.clock import Floats, Ints, codes, distinct, encoded, with_columns
from recsys_core.user_texts import ACTS

# A view of so many seconds counts once, one of three times as many 1.5 times, and none twice.
DWELL_S = 30.0
_OPINIONS = ("rating", "review", "like", "favorite", "share")
_OBJECTIONS = ("dislike", "hide", "return", "low_rated", "panned")
# Objections that count under the type of their event, too.
_BESIDE = ("low_rated", "panned")


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


def memberships(items: pa.Table, topics: pa.Table | None) -> tuple[Ints, Ints, Floats]:
    """(row of `items`, topic, weight) of each topic that a row's item has on the row's night, in the order of the rows.

    Both have ds and item_id, `topics` topic_id and weight besides; without `topics` the rows of `items` bear their topic themselves.
    """
    if topics is None:
        return np.arange(items.num_rows), items["topic_id"].to_numpy(), items["weight"].to_numpy()
    topics = encoded(topics, "item_id")
    names, days = distinct(topics["item_id"]), (t["ds"].to_numpy().astype("datetime64[D]").astype(np.int64) for t in (items, topics))
    day, of_day = days
    first, n_days = min(of_day, default=0), int(np.ptp(of_day)) + 1 if len(of_day) else 1
    key = codes(topics["item_id"], names) * n_days + of_day - first
    order = np.argsort(key, kind="stable")
    place = codes(items["item_id"], names)
    known = (place >= 0) & (day >= first) & (day < first + n_days)
    wanted = np.where(known, place * n_days + day - first, -1)
    bounds = np.searchsorted(key[order], np.arange(len(names) * n_days + 1))
    low, high = (np.where(known, bounds[np.where(known, wanted + more, 0)], 0) for more in (0, 1))
    n = high - low
    row = np.repeat(np.arange(len(n)), n)
    at = order[np.arange(len(row)) - np.repeat(np.cumsum(n) - n, n) + np.repeat(low, n)]
    return row, topics["topic_id"].to_numpy()[at], topics["weight"].to_numpy()[at]


def condensed_days(user_topic_day: pa.Table, weights: Weights = DEFAULT_WEIGHTS) -> pa.Table:
    """Rows of user_topic_day as ds, user_key, topic_id, mass_micro, n_events and

    part_0 …     by decay, Σ_type weight · mass in billionths
    net, stated  opinions in favour less those against, and both together, in millionths

    Rows that are so already stay as they are.
    """
    if "net" in user_topic_day.column_names:
        return user_topic_day
    rows = user_topic_day
    opinions, objections, beside = (
        weighted(rows, dict.fromkeys(names, 1.0), "mass", "_micro") for names in (_OPINIONS, _OBJECTIONS, _BESIDE)
    )
    columns = {f"part_{d}": weighted(rows, base, "mass", "_micro") * 1000 for d, base in enumerate(weights.by_decay().values())}
    # A low rating counts under its own type and as low_rated: it is an objection once, and no opinion in favour. So is a review as far
    # as it is panned.
    columns |= {"net": opinions - objections - beside, "stated": opinions + objections - beside}
    return with_columns(encoded(rows.select(["ds", "user_key", "topic_id", "mass_micro", "n_events"]), "user_key"), columns)


def condensed_items(user_item_day: pa.Table, weights: Weights = DEFAULT_WEIGHTS) -> pa.Table:
    """Rows of user_item_day as ds, user_key, item_id, n_events and

    capped_0 …   by decay, see `item_parts`
    more_0 …     capped less linear
    act          the place of the strongest act in ACTS, their number for none

    Rows that are so already stay as they are.
    """
    if "act" in user_item_day.column_names:
        return user_item_day
    linear, capped = item_parts(user_item_day, weights)
    act = np.full(user_item_day.num_rows, len(ACTS), np.int8)
    for place, name in reversed([*enumerate(ACTS)]):
        act[user_item_day[f"n_{name}"].to_numpy() > 0] = place
    columns = {f"capped_{d}": part for d, part in enumerate(capped)} | {f"more_{d}": part for d, part in enumerate(capped - linear)}
    kept = encoded(user_item_day.select(["ds", "user_key", "item_id", "n_events"]), "user_key", "item_id")
    return with_columns(kept, columns | {"act": act})


def by_decay(rows: pa.Table, name: str) -> Floats:
    """(decays, rows) of the columns `<name>_0`, `<name>_1`, …"""
    return np.array([rows[f"{name}_{d}"].to_numpy() for d in range(sum(c.startswith(f"{name}_") for c in rows.column_names))])
