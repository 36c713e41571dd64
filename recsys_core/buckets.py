"""A function of whole users, a bucket of them at a time: in this process, or in Spark's tasks when there is a session."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_HASH = pa.schema([("hash", pa.int64())])
# Hashes of one range, as bytes: to Spark they are one value.
_RANGE, MAX_RANGES = pa.schema([("range", pa.int64()), ("hashes", pa.binary())]), 256
_ANSWER = pa.schema([("number", pa.int64()), ("answer", pa.string())])


def gathered(numbers: Sequence[int], rows: Callable[[int], pa.Table], schema: pa.Schema, spark: SparkSession | None) -> pa.Table:
    """All rows, of this schema, that `rows` gives for the numbers; by Spark one task each, in any order."""
    if spark is None:
        return pa.concat_tables([schema.empty_table(), *(rows(n) for n in numbers)])
    return _spread(numbers, rows, schema, spark).toArrow().cast(schema)


def _spread(numbers: Sequence[int], rows: Callable[[int], pa.Table], schema: pa.Schema, spark: SparkSession) -> DataFrame:
    from pyspark.sql.pandas.types import from_arrow_schema

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for place in (p for batch in batches for p in batch.column(0).to_pylist()):
            yield from rows(numbers[place]).to_batches()
        _settle(len(sys.modules))

    return spark.range(0, len(numbers), 1, max(len(numbers), 1)).mapInArrow(work, from_arrow_schema(schema))


@cache
def _settle(modules: int) -> None:
    """Tell the collector that what is there stays, once for each number of modules: Spark's worker collects after every task, and to look
    through all that is imported takes it as long as a task of few rows."""
    gc.collect()
    gc.freeze()


def answers(numbers: Sequence[int], ask: Callable[[int], Any], spark: SparkSession | None) -> list[Any]:
    """What `ask` answers to each number, as JSON would tell it, in the order of the numbers."""

    def asked(number: int) -> pa.Table:
        return pa.table([[number], [json.dumps(ask(number))]], schema=_ANSWER)

    found = gathered(numbers, asked, _ANSWER, spark)
    said = dict(zip(found["number"].to_pylist(), found["answer"].to_pylist(), strict=True))
    return [json.loads(said[n]) for n in numbers]


def met_again(numbers: Sequence[int], hashes: Callable[[int], np.ndarray], spark: SparkSession | None) -> np.ndarray:
    """Sorted hashes (int64) that several numbers have, of which each may have one several times."""
    if spark is None:
        return _again([_distinct(hashes(n)) for n in numbers])
    n_ranges = min(len(numbers), MAX_RANGES)
    bounds = np.array([(r << 64) // n_ranges - (1 << 63) for r in range(1, n_ranges)], np.int64)

    def ranges(number: int) -> pa.Table:
        found = _distinct(hashes(number))
        parts = np.split(found, np.searchsorted(found, bounds))
        return pa.table([range(n_ranges), [part.tobytes() for part in parts]], schema=_RANGE)

    def again(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield pa.record_batch([_again([np.frombuffer(h, np.int64) for b in batches for h in b.column("hashes").to_pylist()])], schema=_HASH)

    spread = _spread(numbers, ranges, _RANGE, spark).repartition(n_ranges, "range")
    return np.sort(spread.mapInArrow(again, "hash long").toArrow()["hash"].to_numpy())


def _again(hashes: Sequence[np.ndarray]) -> np.ndarray:
    """Sorted hashes that are in several arrays, in each of which they are distinct."""
    found = np.sort(np.concatenate([np.zeros(0, np.int64), *hashes]))
    return _distinct(found[1:][found[1:] == found[:-1]])


def _distinct(hashes: np.ndarray) -> np.ndarray:
    """Each of them once, sorted; numpy's `unique` hashes numbers, which takes ten times as long where most are distinct."""
    found = np.sort(hashes)
    return np.concatenate([found[:1], found[1:][found[1:] != found[:-1]]])
