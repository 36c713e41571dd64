"""The Spark side of cleaning: parsed rows of a window of landing partitions to one night's events, each once."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from pyspark.sql import Window
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from recsys_core.parse import PARSED_SCHEMA, ParseJob, parse_files
from recsys_core.tables import TABLES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def parsed(spark: SparkSession, job: ParseJob) -> DataFrame:
    """Rows of PARSED_SCHEMA, one task per file, and for each two flags.

    dropped   the event_id came before: the first by received_ts (without one: last), file and byte_offset is kept
    conflict  dropped, although its content differs from the kept one's
    """
    n = len(job.files)
    rows = spark.range(0, n, 1, max(n, 1)).mapInArrow(parse_files(job), from_arrow_schema(PARSED_SCHEMA))
    # Rows that are no events have no event_id: each is alone, which also keeps them from piling up in one task.
    identity = F.coalesce("event_id", F.concat_ws(":", "file", "byte_offset"))
    same = Window.partitionBy("verdict", "ds", identity).orderBy(F.col("received_ts").asc_nulls_last(), "file", "byte_offset")
    return rows.withColumn("dropped", F.row_number().over(same) > 1).withColumn(
        "conflict", F.coalesce(F.first("fingerprint").over(same) != F.col("fingerprint"), F.lit(False))
    )


def counted(rows: DataFrame) -> list[dict[str, Any]]:
    """Counts of parsed rows, grouped as `recsys_core.quality.ledger` wants them; one row per file."""
    by_file = F.when(F.col("verdict") == "file", F.struct("file", "extra"))
    groups = ("verdict", "partition", "ds", "reason", "repairs", "dropped", "conflict", by_file.alias("of_file"))
    counts = rows.groupBy(*groups).agg(F.count(F.lit(1)).alias("n")).withColumn("extra", F.col("of_file.extra"))
    return [r.asDict() for r in counts.drop("of_file").collect()]


def accepted(rows: DataFrame, ds: dt.date) -> DataFrame:
    """Rows of event_clean for night ds, from all partitions of the window."""
    kept = rows.where((F.col("verdict") == "event") & (F.col("ds") == F.lit(ds)) & ~F.col("dropped"))
    return kept.select(*TABLES["event_clean"].names)


def quarantined(rows: DataFrame, ds: dt.date, run_id: str) -> DataFrame:
    """Rows of event_quarantine: the refused lines of landing partition ds."""
    kept = rows.where((F.col("verdict") == "quarantine") & (F.col("partition") == F.lit(ds)))
    return kept.withColumn("ds", F.lit(ds)).withColumn("run_id", F.lit(run_id)).select(*TABLES["event_quarantine"].names)
