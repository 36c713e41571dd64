"""Interests of users and what lies near them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from recsys_core.lake import empty
from recsys_core.tables import TABLES

if TYPE_CHECKING:
    from jobs.runner import Night
    from recsys_core.declared import Stances

# Of so many rows looked back at, this process makes the interests: Spark's stages would cost more than the rows.
FEW_ROWS = 500_000
_MET = ["ds", "item_id", "topic_id", "weight"]


def profile(night: Night) -> None:
    """Write what the night says of each user, see the tables that the job writes."""
    from recsys_core import profiles
    from recsys_core.medoids import interest_vectors
    from recsys_core.topics.tables import labels
    from recsys_core.user_texts import history_texts

    said, sensitive = night.stances, night.sensitive
    if night.topics is None:
        night.write("user_interest", empty(TABLES["user_interest"]))
        night.write("user_context_interest", empty(TABLES["user_context_interest"]))
    weights = (_here if _look_back(night) <= FEW_ROWS else _by_spark)(night, said, sensitive)
    # Of an item with several texts the one with the lowest hash, the last one here, stands for it.
    texts = night.read("item_text", columns=["item_id", "text_hash"]).sort_by([("item_id", "ascending"), ("text_hash", "descending")])
    item_ids, of_items = texts["item_id"].to_pylist(), night.vectors(texts["text_hash"].to_pylist())
    vectors = profiles.pooled_vectors(weights, item_ids, of_items)
    night.write("user_interest_vector", interest_vectors(weights, item_ids, of_items, night.ds, night.space))
    interests = night.lake.read("user_interest", [night.ds], ["user_key", "topic_id", "horizon", "share", "first_seen_ds"])
    names = labels(night.lake, night.topics)
    rows = profiles.user_profile(
        night.read("session", columns=["ds", "user_key", "n_events"]),
        interests,
        vectors,
        names,
        night.ds,
        night.space,
        night.topics.model_version if night.topics else None,
        night.stamp.run_id,
        set(said.prior["user_key"].to_pylist()),
        sensitive,
    )
    shown = profiles.shares_of(interests, "90d", sensitive)
    profiles.write_summaries(rows, shown, names, night.settings.generator(), night.lake, night.runner.say)
    night.write("user_profile", pa.Table.from_pylist(rows, schema=TABLES["user_profile"].arrow_schema()))
    tonight = night.read("session", 1, ["user_key", "lang"])
    night.write("user_history_text", history_texts(night.ds, weights, night.read("item", columns=["item_id", "title"]), tonight))


def _look_back(night: Night) -> int:
    """Rows of users that the night's interests are made of."""
    tables = ("user_topic_day", "user_item_day", "user_item_context_day")
    found = ((t, d, night.runner.parts(t, night.under)) for t in tables for d in night.nights(t))
    return sum(m.rows for t, d, parts in found if (m := night.lake.manifest(t, d, **parts)))


def _here(night: Night, said: Stances, sensitive: frozenset[int]) -> pa.Table:
    """Write user_interest and user_context_interest, where the night has topics; returns the weights of users' items."""
    from recsys_core import profiles
    from recsys_core.contexts import user_context_interest

    ds, model, weights = night.ds, night.topics, night.event_types
    items, sessions = night.read("user_item_day"), night.read("session", columns=["ds", "user_key", "n_events"])
    if model:
        topics, days = night.read("item_topic", columns=_MET), night.read("user_topic_day")
        met, contexts = (rows.join(topics, ["ds", "item_id"], join_type="inner") for rows in (items, night.read("user_item_context_day")))
        run = night.stamp.run_id
        night.write("user_interest", profiles.user_interest(days, met, sessions, ds, model.model_version, run, weights, said))
        night.write("user_context_interest", user_context_interest(contexts, ds, model.model_version, sensitive, said))
    return profiles.item_weights(items, sessions, ds, weights)


def _by_spark(night: Night, said: Stances, sensitive: frozenset[int]) -> pa.Table:
    """The same, by Spark."""
    from recsys_core.profiles import spread

    ds, model, weights = night.ds, night.topics, night.event_types
    items, sessions = night.scan("user_item_day"), night.scan("session").select("ds", "user_key", "n_events")
    if model:
        topics, days = night.scan("item_topic").select(*_MET), night.scan("user_topic_day")
        # No hint: which side is small depends on the shop. A large catalogue has millions of memberships in 90 nights, a small one few.
        met, contexts = (rows.join(topics, ["ds", "item_id"]) for rows in (items, night.scan("user_item_context_day")))
        declared = night.spark.createDataFrame(said.prior)
        lines = spread.together(sessions=sessions, days=days, items=met, declared=declared).persist()
        night.write("user_interest", spread.user_interest(lines, ds, model.model_version, night.stamp.run_id, weights, said))
        lines.unpersist()
        night.write("user_context_interest", spread.user_context_interest(contexts, ds, model.model_version, sensitive, said))
    return spread.item_weights(spread.together(sessions=sessions, items=items), ds, weights).toArrow()
