"""What a user did on a night in the words of profiles: event types summed by their weights, by dwell and a cap; and the items' topics.

Facts are condensed night by night as they are read, so that ninety nights are a few dozen bytes a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.events import DEFAULT_WEIGHTS, Weights
from recsys_core.profiles.clock import Floats, Ints, codes, dates, distinct, encoded, with_columns
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


class ItemTopics:
    """The topics of items by night, for looking up: those of a row stand at low … high of `topic` and `weight`."""

    def __init__(self, topics: pa.Table) -> None:
        """Of rows of item_topic: ds, item_id, topic_id, weight."""
        rows = encoded(topics, "item_id")
        self.names, day = distinct(rows["item_id"]), dates(rows["ds"])
        self._first, self._nights = (int(day.min()), int(np.ptp(day)) + 1) if len(day) else (0, 1)
        key = codes(rows["item_id"], self.names) * self._nights + day - self._first
        order = np.argsort(key, kind="stable")
        self.topic, self.weight = rows["topic_id"].to_numpy()[order], rows["weight"].to_numpy()[order]
        self._bounds = np.concatenate([[0], np.cumsum(np.bincount(key, minlength=len(self.names) * self._nights))])

    def of(self, rows: pa.Table) -> tuple[Ints, Ints]:
        """(low, high) of each row, by its ds and item_id."""
        place, day = codes(rows["item_id"], self.names), dates(rows["ds"]) - self._first
        known = (place >= 0) & (day >= 0) & (day < self._nights)
        key = np.where(known, place * self._nights + day, 0)
        return self._bounds[key], np.where(known, self._bounds[np.minimum(key + 1, len(self._bounds) - 1)], self._bounds[key])


class Memberships(NamedTuple):
    """The topics that each row's item has on the row's night: those at low … high of `topic` and `weight`."""

    low: Ints
    high: Ints
    topic: Ints
    weight: Floats


def memberships(items: pa.Table, topics: pa.Table | ItemTopics | None) -> Memberships:
    """Of rows with ds and item_id; `topics` are rows of item_topic, or without them the rows bear topic_id and weight themselves."""
    if topics is None:
        row = np.arange(items.num_rows)
        return Memberships(row, row + 1, items["topic_id"].to_numpy(), items["weight"].to_numpy())
    known = topics if isinstance(topics, ItemTopics) else ItemTopics(topics)
    return Memberships(*known.of(items), known.topic, known.weight)


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
