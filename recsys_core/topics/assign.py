"""Topics of a night: items by their texts, users by what they did with items and by what they searched for."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from recsys_core.events import COUNTED_TYPES
from recsys_core.tables import TABLES
from recsys_core.topics import MICRO
from recsys_core.topics.tables import Topics

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_COUNTS = tuple(f"n_{t}" for t in COUNTED_TYPES)


def item_topic(items: list[str], documents: Any, topics: Topics, ds: dt.date, model_version: str) -> pa.Table:
    """Rows of `item_topic`: soft membership of each item in at most three topics; an item's weights sum to 1.

    `items` are n distinct ids, `documents` their n texts as the model takes them (see `Topics.documents`).
    """
    row, topic, micro, rank = topics.assign(documents) if items else (np.zeros(0, np.int64),) * 4
    return pa.table(
        {
            "ds": pa.repeat(pa.scalar(ds, pa.date32()), len(row)),
            "item_id": pa.array(items, pa.string()).take(pa.array(row)),
            "topic_id": topic,
            "weight": micro / MICRO,
            "rank": rank.astype(np.int16),
            "model_version": pa.repeat(pa.scalar(model_version), len(row)),
        },
        schema=TABLES["item_topic"].arrow_schema(),
    )


def search_topics(users: list[str], n_events: list[int], documents: Any, topics: Topics) -> pa.Table:
    """Memberships of search queries: user_key, topic_id, p_micro (p(topic | query) in millionths), n_events; one row a query and topic."""
    row, topic, micro, _ = topics.assign(documents) if users else (np.zeros(0, np.int64),) * 4
    return pa.table(
        {
            "user_key": pa.array(users, pa.string()).take(pa.array(row)),
            "topic_id": topic,
            "p_micro": micro,
            "n_events": pa.array(n_events, pa.int64()).take(pa.array(row)),
        }
    )


def topic_days(user_item_day: pa.Table, item_topics: pa.Table, searches: pa.Table, ds: dt.date, model_version: str) -> pa.Table:
    """Rows of `user_topic_day`, by user and topic: each user's mass on each topic, in all and by event type, in millionths of an event.

    mass_<type>_micro = Σ p(topic | item) · n_<type> over the user's items, and mass_micro the same over all events; `searches` (see
    `search_topics`) add p(topic | query) · events to mass_search_micro and mass_micro. n_events counts the events behind it, n_items the
    items (a query is none). All sums are of integers: no order of rows changes them.
    """
    p = item_topics.select(["item_id", "topic_id"]).append_column(
        "p_micro", [np.rint(item_topics["weight"].to_numpy() * MICRO).astype(int)]
    )
    met = user_item_day.select(["user_key", "item_id", "n_events", *_COUNTS]).join(p, "item_id", join_type="inner")
    none, asked = np.zeros(searches.num_rows, np.int64), searches["n_events"].to_numpy()
    parts = {
        "n_events": (met["n_events"].to_numpy(), asked),
        "n_items": (np.ones(met.num_rows, np.int64), none),
        "mass_micro": _masses(met, "n_events", searches, asked),
        **{f"mass_{t}_micro": _masses(met, f"n_{t}", searches, asked if t == "search" else none) for t in COUNTED_TYPES},
    }
    keys = pa.concat_tables([rows.select(["user_key", "topic_id"]) for rows in (met, searches)])
    for name, values in parts.items():
        keys = keys.append_column(name, [np.concatenate(values)])
    found = keys.group_by(["user_key", "topic_id"]).aggregate([(name, "sum") for name in parts])
    found = found.rename_columns([name.removesuffix("_sum") for name in found.column_names])
    for name, value in (("ds", pa.scalar(ds, pa.date32())), ("model_version", pa.scalar(model_version))):
        found = found.append_column(name, pa.repeat(value, len(found)))
    found = found.sort_by([("user_key", "ascending"), ("topic_id", "ascending")])
    return found.select(TABLES["user_topic_day"].names).cast(TABLES["user_topic_day"].arrow_schema())


def user_topic_day(user_item_day: DataFrame, item_topics: DataFrame, searches: DataFrame, ds: dt.date, model_version: str) -> DataFrame:
    """What `topic_days` gives, in no order, of more rows than one process holds."""
    from pyspark.sql import functions as F

    p = item_topics.select("item_id", "topic_id", F.round(F.col("weight") * MICRO).cast("bigint").alias("p_micro"))
    by_item = user_item_day.select("user_key", "item_id", "n_events", *_COUNTS).join(F.broadcast(p), "item_id")
    columns = ["user_key", "topic_id", "p_micro", "n_events", *_COUNTS]
    zero, one = F.lit(0).cast("bigint"), F.lit(1).cast("bigint")
    by_query = searches.select(
        "user_key", "topic_id", "p_micro", "n_events", *[(F.col("n_events") if c == "n_search" else zero).alias(c) for c in _COUNTS]
    )
    parts = by_item.select(*columns, one.alias("n_items")).unionByName(by_query.select(*columns, zero.alias("n_items")))
    # Grades are fractions: rounded one by one, so that their sum is whole, too.
    masses = [F.sum(F.round(F.col("p_micro") * F.col(f"n_{t}")).cast("bigint")).alias(f"mass_{t}_micro") for t in COUNTED_TYPES]
    found = parts.groupBy("user_key", "topic_id").agg(
        F.sum(F.col("p_micro") * F.col("n_events")).alias("mass_micro"),
        *masses,
        F.sum("n_events").alias("n_events"),
        F.sum("n_items").alias("n_items"),
    )
    stamped = found.withColumns({"ds": F.lit(ds), "model_version": F.lit(model_version)})
    return stamped.select(*TABLES["user_topic_day"].names)


def _masses(met: pa.Table, counts: str, searches: pa.Table, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """p · n of each row, in whole millionths, halves going up as Spark's do: grades are fractions, and their sum is to be whole, too."""
    mass = met["p_micro"].to_numpy() * met[counts].to_numpy()
    low = np.floor(mass)
    return (low + (mass - low >= 0.5)).astype(np.int64), searches["p_micro"].to_numpy() * asked
