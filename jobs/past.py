"""What lists are made from, as the nightly lists and the training of their ranker read it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from recsys_core.kept import Kept

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

    from jobs.night import Night
    from recsys_core.recommenders.history import History

# Facts of earlier nights, from job to job and from night to night.
_kept = Kept(1 << 29)


@dataclass(frozen=True)
class Past:
    """Everything up to a night.

    history    users' languages and items' vectors among the interactions
    languages  those that the groups of the interactions stand for
    catalogue  all columns of `item`
    sessions   user_key, lang, region
    topics     item_id, topic_id, weight, rank (empty without a topic model)
    """

    history: History
    languages: list[str]
    catalogue: pa.Table
    sessions: pa.Table
    topics: pa.Table


def read(night: Night) -> Past:
    """The past of a night, from the tables that its job reads."""
    from recsys_core.recommenders import history

    catalogue = night.read("item")
    texts = night.read("item_text", columns=["item_id", "text_hash"])
    past = history.build(facts(night), catalogue["item_id"].to_pylist(), night.ds)
    vectors = history.item_vectors(past, texts["item_id"], night.vectors(texts["text_hash"].to_pylist()))
    topics = night.read("item_topic", columns=["item_id", "topic_id", "weight", "rank"])
    sessions = night.read("session", columns=["user_key", "lang", "region"])
    languages, group = history.usual(sessions, "lang", past.users)
    known = replace(past.interactions, group=group, vectors=vectors)
    return Past(replace(past, interactions=known), languages, catalogue, sessions, topics)


def facts(night: Night) -> pa.Table:
    """What the nights of a job's user_item_day hold as of `history.reduced`; a night of equal contents is read once in a process."""
    import pyarrow as pa

    from recsys_core.recommenders import history

    def of_night(ds: dt.date) -> pa.Table:
        made = night.lake.manifest("user_item_day", ds)
        key = (ds, made.checksum if made else None, *sorted(night.event_types.base.items()))
        return _kept.of(key, lambda: history.reduce_night(night.lake.read("user_item_day", [ds], history.COLUMNS), night.event_types))

    return pa.concat_tables(map(of_night, night.nights("user_item_day")))


def cluster(night: Night) -> SparkSession | None:
    """The session on which recommenders learn that can; None where they learn in this process."""
    return night.spark if night.settings.recommend_on == "spark" else None
