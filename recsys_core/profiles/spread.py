"""Ranges of users, each made by one task: Spark hands out the tasks, and no row goes through it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Users from a key to below another one; None is no bound.
Users = tuple[str | None, str | None]
ALL: Users = (None, None)
_DIGITS = 4


def ranges(n: int) -> list[Users]:
    """Users in n ranges (up to 65,536) that hold about as many each, since user keys are hashes in hex.

    >>> ranges(4)
    [(None, '4000'), ('4000', '8000'), ('8000', 'c000'), ('c000', None)]
    """
    return [*pairwise([None, *(f"{i * 16**_DIGITS // n:0{_DIGITS}x}" for i in range(1, n)), None])]


def within(rows: pa.Table, users: Users) -> pa.Table:
    """The rows of some users; of a dictionary of user_key the values are compared, and a chunk that is sorted by it is sliced."""
    if users == ALL or not rows.num_rows:
        return rows
    if not pa.types.is_dictionary(rows.schema.field("user_key").type):
        return rows.filter(pa.array(_between(pc.cast(rows["user_key"], pa.string()), users)))
    batches = rows.unify_dictionaries().to_batches()
    theirs, found = _between(batches[0].column("user_key").dictionary, users), []
    for batch in batches:
        kept = theirs[batch.column("user_key").indices.to_numpy()]
        there = np.flatnonzero(kept)
        slices = len(there) == 0 or there[-1] - there[0] + 1 == len(there)
        found.append(batch.slice(there[0] if len(there) else 0, len(there)) if slices else batch.filter(pa.array(kept)))
    return pa.Table.from_batches(found).combine_chunks()


def _between(keys: pa.Array | pa.ChunkedArray, users: Users) -> Any:
    low, high = users
    above = pc.greater_equal(keys, low or "")
    return (pc.and_(above, pc.less(keys, high)) if high is not None else above).to_numpy(zero_copy_only=False)


def in_tasks(spark: SparkSession, task: Callable[[int, Users], Any], n: int) -> list[Any]:
    """What `task` (number, users) returns for each of n ranges of users, JSON-able; one task of Spark each."""
    of = ranges(n)

    def done(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            found = [json.dumps([number, task(number, of[number])]) for number in batch.column(0).to_pylist()]
            yield pa.RecordBatch.from_arrays([pa.array(found, pa.string())], ["found"])

    rows = spark.range(0, n, 1, n).mapInArrow(done, "found string").collect()
    return [value for _, value in sorted(json.loads(r[0]) for r in rows)]
