"""The same rows of more users than fit into one process: Spark brings whole users together, the arrays do the rest."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterator

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from recsys_core import contexts
from recsys_core.declared import NOBODY, Stances
from recsys_core.events import DEFAULT_WEIGHTS, Weights
from recsys_core.profiles import items
from recsys_core.profiles.interests import Scores
from recsys_core.tables import TABLES

# Rows of users that are taken at once, with the users that they end in.
BLOCK_ROWS = 500_000
_PART = "_part"


def whole_users(
    batches: Iterator[pa.RecordBatch], function: Callable[[pa.Table], pa.Table], rows: int = BLOCK_ROWS
) -> Iterator[pa.RecordBatch]:
    """`function` of about `rows` rows at a time, never of a part of a user; the batches are sorted by user_key."""
    held: list[pa.RecordBatch] = []
    n = 0
    for batch in batches:
        held.append(batch)
        n += batch.num_rows
        if n >= rows:
            block = pa.Table.from_batches(held)
            cut = block["user_key"].index(block["user_key"][-1]).as_py()
            if cut:
                yield from function(block.slice(0, cut)).to_batches()
            held = block.slice(cut).combine_chunks().to_batches()
            n = block.num_rows - cut
    if n:
        yield from function(pa.Table.from_batches(held)).to_batches()


def by_users(rows: DataFrame, function: Callable[[pa.Table], pa.Table], schema: str) -> DataFrame:
    """`function` of the rows, whole users at a time."""
    gathered = rows.repartition("user_key").sortWithinPartitions("user_key")
    return gathered.mapInArrow(lambda batches: whole_users(batches, function), schema)


def together(**parts: DataFrame) -> DataFrame:
    """Rows of several frames in one; `apart` tells them apart again."""
    frames = [rows.withColumn(_PART, F.lit(name)) for name, rows in parts.items()]
    whole = frames[0]
    for more in frames[1:]:
        whole = whole.unionByName(more, allowMissingColumns=True)
    return whole


def apart(rows: pa.Table, name: str) -> pa.Table:
    """The rows that came from one of the frames of `together`."""
    return rows.filter(pc.equal(rows[_PART], name))


def user_interest(
    lines: DataFrame, ds: dt.date, model_version: str, run_id: str, weights: Weights = DEFAULT_WEIGHTS, stances: Stances = NOBODY
) -> DataFrame:
    """`interests.user_interest` of lines = together(sessions=…, days=…, items=…, declared=…), which are gone through twice."""

    def scores(block: pa.Table) -> Scores:
        prior = apart(block, "declared").select(["user_key", "topic_id", "weight"])
        sessions, days, met = (apart(block, name) for name in ("sessions", "days", "items"))
        return Scores(sessions, days, met, ds, weights, Stances(prior, stances.muted))

    def population(block: pa.Table) -> pa.Table:
        found = scores(block).population()
        return pa.table(
            [[t for t, _ in found], [h for _, h in found], [*found.values()]],
            schema=pa.schema([("topic_id", pa.int64()), ("horizon", pa.string()), ("score", pa.int64())]),
        )

    sums = by_users(lines, population, "topic_id bigint, horizon string, score bigint").groupBy("topic_id", "horizon").agg(F.sum("score"))
    whole = {(r[0], r[1]): r[2] for r in sums.collect()}
    return by_users(lines, lambda block: scores(block).rows(whole, model_version, run_id), TABLES["user_interest"].spark_schema())


def user_context_interest(met: DataFrame, ds: dt.date, model_version: str, hidden: Collection[int], stances: Stances) -> DataFrame:
    """`contexts.user_context_interest` of rows of user_item_context_day joined with item_topic."""
    schema = TABLES["user_context_interest"].spark_schema()
    return by_users(met, lambda block: contexts.user_context_interest(block, ds, model_version, hidden, stances), schema)


def item_weights(lines: DataFrame, ds: dt.date, weights: Weights = DEFAULT_WEIGHTS) -> DataFrame:
    """`items.item_weights` of lines = together(sessions=…, items=…)."""

    def weighed(block: pa.Table) -> pa.Table:
        return items.item_weights(apart(block, "items"), apart(block, "sessions"), ds, weights)

    return by_users(lines, weighed, "user_key string, item_id string, weight double, act string")
