"""Where and when an interest shows: a user's topics by part of the day, weekday and device."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.declared import NOBODY, Stances
from recsys_core.profiles.clock import codes, distinct, encoded, once, total
from recsys_core.profiles.items import memberships
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
    topics: pa.Table | None = None,
) -> pa.Table:
    """Rows of the table `user_context_interest`: at most MAX_TOPICS topics of a user in each context with MIN_EVENTS events.

    `met` are rows of user_item_context_day of the last NIGHTS nights, and `topics` of item_topic, or `met` are joined with them (topic_id,
    weight) by night and item.

    share  of the topics of the user's events with items in the context
    lift   (mass + κ·π) / ((total + κ)·π) with π the topic's share over all contexts of the dimension, κ = LIFT_EVENTS: above 1, the topic
           belongs to this context more than to the others

    `hidden` topics and what users mute are left out before any share is made. A device that is not told is no context.
    """
    row, topic, weight = memberships(met, topics)
    shown = ~np.isin(topic, [*hidden])
    met = (
        encoded(met, "user_key", "daypart", "device").select(["ds", "user_key", "daypart", "device", "n_events"]).take(pa.array(row[shown]))
    )
    met = stances.keep(met.append_column("topic_id", pa.array(topic[shown])).append_column("weight", pa.array(weight[shown])))
    weekday = pc.cast(pc.day_of_week(met["ds"], count_from_zero=False, week_start=1), pa.string()).dictionary_encode()
    places = {"daypart": met["daypart"], "device": met["device"], "weekday": weekday}
    parts = [_of_dimension(met.append_column("context_value", values), name) for name, values in places.items()]
    rows = pa.concat_tables([p for p in parts if p.num_rows] or parts[:1])
    rows = rows.append_column("ds", pa.repeat(pa.scalar(ds, pa.date32()), rows.num_rows))
    rows = rows.append_column("model_version", pa.repeat(pa.scalar(model_version), rows.num_rows))
    table = TABLES["user_context_interest"]
    return rows.select(table.names).cast(table.arrow_schema())


def _of_dimension(met: pa.Table, name: str) -> pa.Table:
    """Rows of one dimension, without ds and model_version."""
    users, values = distinct(met["user_key"]), distinct(met["context_value"])
    told = codes(met["context_value"], values.filter(pc.not_equal(values, "")))
    values, met = values.filter(pc.not_equal(values, "")), met.append_column("value", pa.array(told)).filter(pa.array(told >= 0))
    topics = np.sort(pc.unique(met["topic_id"]).to_numpy())
    topic, user = np.searchsorted(topics, met["topic_id"].to_numpy()), codes(met["user_key"], users)
    n_values, n_topics = max(len(values), 1), max(len(topics), 1)
    place, of = once((user * n_values + met["value"].to_numpy()) * n_topics + topic, len(users) * n_values * n_topics)
    n_events = met["n_events"].to_numpy()
    mass, events = total(of, met["weight"].to_numpy() * n_events * MICRO, len(place)), total(of, n_events, len(place))
    context, topic = place // n_topics, place % n_topics
    user = context // n_values
    of_context, of_user = (np.bincount(x, mass, n)[x] for x, n in ((context, len(users) * n_values), (user, len(users))))
    of_topic = np.bincount(user * n_topics + topic, mass, len(users) * n_topics)[user * n_topics + topic]
    pi, kappa = of_topic / np.maximum(of_user, 1), LIFT_EVENTS * MICRO
    order = np.lexsort((topics[topic], -mass, context))
    starts = np.searchsorted(context[order], context[order], "left")
    rank = np.empty(len(place), np.int64)
    rank[order] = np.arange(len(place)) - starts + 1
    kept = (of_context >= MIN_EVENTS * MICRO) & (mass > 0) & (rank <= MAX_TOPICS)
    lift = (mass + kappa * pi)[kept] / ((of_context + kappa) * pi)[kept]
    columns = {
        "user_key": users.take(pa.array(user[kept])),
        "context_dim": pa.repeat(pa.scalar(name), int(kept.sum())),
        "context_value": values.take(pa.array(context[kept] % n_values)),
        "topic_id": pa.array(topics[topic[kept]], pa.int64()),
        "share": np.round(mass[kept] / of_context[kept], 6),
        "lift": np.round(lift, 6),
        "rank": rank[kept].astype(np.int16),
        "n_events": events[kept],
    }
    return pa.table(columns)
