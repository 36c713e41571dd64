"""Topics of users on a night: the same rows by one process and by Spark."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
from pyspark.sql import SparkSession

from recsys_core.events import COUNTED_TYPES
from recsys_core.tables import TABLES
from recsys_core.topics.assign import topic_days, user_topic_day

DAY = dt.date(2024, 5, 31)
COUNTS = {f"n_{t}": TABLES["user_item_day"].arrow_schema().field(f"n_{t}").type for t in COUNTED_TYPES}


def met(*rows: tuple[str, str, dict[str, Any]]) -> pa.Table:
    """Rows of user_item_day: user, item, and what is not 0."""
    schema = pa.schema([("user_key", pa.string()), ("item_id", pa.string()), ("n_events", pa.int64()), *COUNTS.items()])
    zeros = dict.fromkeys(["n_events", *COUNTS], 0)
    return pa.Table.from_pylist([zeros | {"user_key": u, "item_id": i} | more for u, i, more in rows], schema)


def rows_of(names: dict[str, pa.DataType], *rows: tuple[Any, ...]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], pa.schema(list(names.items())))


def by_spark(spark: SparkSession, days: pa.Table, items: pa.Table, searches: pa.Table) -> pa.Table:
    frames = [spark.createDataFrame(t) for t in (days, items, searches)]
    found = user_topic_day(frames[0], frames[1], frames[2], DAY, "m").toArrow()
    return found.sort_by([("user_key", "ascending"), ("topic_id", "ascending")]).cast(TABLES["user_topic_day"].arrow_schema())


ITEMS = {"item_id": pa.string(), "topic_id": pa.int64(), "weight": pa.float64()}
SEARCHES = {"user_key": pa.string(), "topic_id": pa.int64(), "p_micro": pa.int64(), "n_events": pa.int64()}


def test_mass_is_the_same_by_one_process_and_by_spark(spark: SparkSession) -> None:
    days = met(
        ("u", "tent", {"n_events": 3, "n_view": 2, "n_purchase": 1}),
        ("u", "stove", {"n_events": 1, "n_review": 1, "n_praised": 0.5}),
        ("v", "tent", {"n_events": 2, "n_review": 2, "n_praised": 1.7000005}),
        ("v", "unknown", {"n_events": 9, "n_view": 9}),
    )
    items = rows_of(ITEMS, ("tent", 7, 0.750001), ("tent", 2, 0.249999), ("stove", 7, 1.0), ("nobody's", 5, 1.0))
    searches = rows_of(SEARCHES, ("u", 7, 600_000, 2), ("u", 4, 400_000, 2), ("w", 4, 1_000_000, 1))
    found = topic_days(days, items, searches, DAY, "m")
    held = {(r["user_key"], r["topic_id"]): {n: v for n, v in r.items() if v and n.startswith(("mass", "n_"))} for r in found.to_pylist()}
    assert list(held) == [("u", 2), ("u", 4), ("u", 7), ("v", 2), ("v", 7), ("w", 4)]
    assert held["u", 7] == {
        "mass_micro": 3 * 750_001 + 1_000_000 + 2 * 600_000,
        "mass_view_micro": 2 * 750_001,
        "mass_purchase_micro": 750_001,
        "mass_review_micro": 1_000_000,
        "mass_praised_micro": 500_000,
        "mass_search_micro": 1_200_000,
        "n_events": 6,
        "n_items": 2,
    }
    assert held["v", 7]["mass_praised_micro"] == 1_275_002, "1,275,002.075"
    assert held["w", 4] == {"mass_micro": 1_000_000, "mass_search_micro": 1_000_000, "n_events": 1}
    assert by_spark(spark, days, items, searches).equals(found)


def test_half_a_millionth_goes_up_and_nothing_gives_nothing(spark: SparkSession) -> None:
    items = rows_of(ITEMS, ("tent", 7, 0.750001), ("tent", 2, 0.249999))
    days = met(("u", "tent", {"n_events": 1, "n_panned": 0.5}))
    none = rows_of(SEARCHES)
    found = topic_days(days, items, none, DAY, "m")
    assert found["mass_panned_micro"].to_pylist() == [125_000, 375_001], "124,999.5 and 375,000.5"
    assert by_spark(spark, days, items, none).equals(found)
    for empty in (topic_days(days, items[:0], none, DAY, "m"), topic_days(met(), items, none, DAY, "m")):
        assert empty.schema == TABLES["user_topic_day"].arrow_schema()
        assert empty.num_rows == 0
