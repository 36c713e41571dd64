"""Where and when an interest shows: a user's topics by part of the day, weekday and device."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_core.coded import repeated, values_at
from recsys_core.declared import NOBODY, Stances
from recsys_core.lake.contents import declared
from recsys_core.profiles.clock import codes, distinct, encoded
from recsys_core.profiles.items import ItemTopics, memberships
from recsys_core.tables import TABLES
from recsys_core.topics import MICRO

# Four whole weeks: every weekday as often as any other.
NIGHTS = 28
# A context says something from so many events on; lift is shrunk as if so many of the user's average events had been seen in it, too.
MIN_EVENTS = 5
LIFT_EVENTS = 5.0
MAX_TOPICS = 3


def user_context_interest(
    met: pa.Table,
    ds: dt.date,
    model_version: str,
    hidden: Collection[int] = (),
    stances: Stances = NOBODY,
    topics: pa.Table | ItemTopics | None = None,
) -> pa.Table:
    """Rows of the table `user_context_interest`: at most MAX_TOPICS topics of a user in each context with MIN_EVENTS events.

    `met` are rows of user_item_context_day of the last NIGHTS nights, and `topics` of item_topic, or `met` are joined with them (topic_id,
    weight) by night and item.

    share  of the topics of the user's events with items in the context
    lift   (mass + κ·π) / ((total + κ)·π) with π the topic's share over all contexts of the dimension, κ = LIFT_EVENTS: above 1, the topic
           belongs to this context more than to the others

    `hidden` topics and what users mute are left out before any share is made. A device that is not told is no context.
    """
    from recsys_core.profiles.kernels import context_sums, grouped

    met = encoded(met, "user_key", "daypart", "device")
    low, high, topic, weight = memberships(met, topics)
    users, ids = distinct(met["user_key"]), np.unique(topic)
    shown = np.tile(~np.isin(ids, [*hidden]), (len(users), 1))
    pairs = sorted(stances.muted)
    muted = codes(pa.array([u for u, _ in pairs], pa.string()), users), codes(pa.array([t for _, t in pairs], pa.int64()), pa.array(ids))
    known = (muted[0] >= 0) & (muted[1] >= 0)
    shown[muted[0][known], muted[1][known]] = False
    user = codes(met["user_key"], users)
    rows = grouped(user, np.arange(len(user)), len(users)), user, low, high, np.searchsorted(ids, topic), weight, met["n_events"].to_numpy()
    weekday = pc.cast(pc.day_of_week(met["ds"], count_from_zero=False, week_start=1), pa.string()).dictionary_encode()
    parts = []
    for name, column in {"daypart": met["daypart"], "device": met["device"], "weekday": weekday}.items():
        values = distinct(column)
        values = values.filter(pc.not_equal(values, ""))
        parts.append(
            _of_dimension(
                name,
                values,
                context_sums(rows[0], user, codes(column, values), *rows[2:], shown, len(values), MIN_EVENTS * MICRO, MAX_TOPICS),
                users,
                ids,
            )
        )
    found = pa.concat_tables(parts)
    found = found.append_column("ds", pa.repeat(pa.scalar(ds, pa.date32()), found.num_rows))
    found = found.append_column("model_version", repeated(model_version, found.num_rows))
    return declared(found.unify_dictionaries(), TABLES["user_context_interest"])


def _of_dimension(name: str, values: pa.Array, sums: NDArray[np.int64], users: pa.Array, topics: NDArray[np.int64]) -> pa.Table:
    """Rows of one dimension, without ds and model_version, of what `context_sums` gives."""
    user, value, topic, mass, events, of_context, of_topic, of_user, rank = sums
    pi, kappa = of_topic / np.maximum(of_user, 1), LIFT_EVENTS * MICRO
    columns = {
        "user_key": values_at(user, users),
        "context_dim": repeated(name, len(user)),
        "context_value": values_at(value, values),
        "topic_id": pa.array(topics[topic], pa.int64()),
        "share": np.round(mass / of_context, 6),
        "lift": np.round((mass + kappa * pi) / ((of_context + kappa) * pi), 6),
        "rank": rank.astype(np.int16),
        "n_events": events,
    }
    return pa.table(columns)
