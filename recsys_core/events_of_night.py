"""The Spark side of cleaning: parsed rows of a window of landing partitions to one night's events, each once."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyspark.sql import Window
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from recsys_core.aggregate import open_sessions
from recsys_core.bots import BotRule, bots
from recsys_core.parse import FILE_SCHEMA, PARSED_SCHEMA, ParseJob, parse_files
from recsys_core.quality import FileLedger
from recsys_core.tables import TABLES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row, SparkSession

_BROADCAST_ROWS = 1_000_000

_NAMES = TABLES["event_clean"].names


def parsed(spark: SparkSession, job: ParseJob, store: str, folder: str, first: int = 0) -> list[Row]:
    """Parse the job's files from the first-th on, one task each, into Parquet files below `folder` of `store`; rows of FILE_SCHEMA."""
    n = len(job.files)
    found = (
        spark.range(first, n, 1, max(n - first, 1)).mapInArrow(parse_files(job, store, folder), from_arrow_schema(FILE_SCHEMA)).collect()
    )
    return sorted(found, key=lambda r: r["file_no"])


def rows_of(spark: SparkSession, paths: Sequence[str]) -> DataFrame:
    """The parsed rows in these files."""
    schema = from_arrow_schema(PARSED_SCHEMA)
    return spark.read.schema(schema).parquet(*paths) if paths else spark.createDataFrame([], schema)


@dataclass
class Cleaned:
    """A night's events and what became of all that was delivered.

    events, quarantine, users, open_sessions   rows of event_clean, event_quarantine, id_map and open_session
    files           one ledger per file of the night's partition
    n_events        rows that `events` must have by the parser's count and what was dropped since
    n_users         users that files met, counted once per file
    n_before        events of the day before
    """

    events: DataFrame
    quarantine: DataFrame
    users: DataFrame
    open_sessions: DataFrame
    files: list[FileLedger] = field(default_factory=list)
    n_events: int = 0
    n_users: int = 0
    n_before: int = 0
    held: list[DataFrame] = field(default_factory=list)

    def close(self) -> None:
        """Let go of what Spark keeps in memory."""
        for frame in self.held:
            frame.unpersist()


def cleaned(rows: DataFrame, files: Sequence[Row | Mapping[str, Any]], job: ParseJob, rule: BotRule, key_id: str, run_id: str) -> Cleaned:
    """The night of `job` from its parsed rows and what is known of its files; close it when its frames are written.

    Of the events with one id in the window the first by received_ts (without one: last), file and place is kept, whatever night the others
    belong to. Then each user's events beyond the cap are left out by (event_ts, event_id), and bots are flagged.
    """
    night, yesterday = F.lit(job.night), F.lit(job.night - dt.timedelta(days=1))
    events = rows.where(F.col("verdict").isin("event", "beside"))
    repeats = _repeats(events).persist()
    dropped = {"dedup": _dropped(repeats, job.night)}
    kept = events
    if n := sum(r["n"] for r in dropped["dedup"]):
        # Without the hint both sides would be sorted before either is known to be small.
        few = F.broadcast(repeats) if n <= _BROADCAST_ROWS else repeats
        kept = events.join(few.select("file_no", "byte_offset"), ["file_no", "byte_offset"], "left_anti")
    # Nobody has more events in the night than the busiest user of each file together: often that alone says that nobody is busy.
    if sum(json.loads(f["note"])["most"] for f in files if f["reason"] is None) >= rule.min_events:
        kept, found = _without_excess(kept, job, rule)
        dropped |= found
    refused = rows.where((F.col("verdict") == "quarantine") & (F.col("partition") == night))
    users = rows.where(F.col("verdict") == "user").select("user_key", F.col("note").alias("user_id")).distinct()
    made = Cleaned(
        events=kept.where(F.col("verdict") == "event").select(*_NAMES),
        quarantine=refused.withColumns({"ds": night, "run_id": F.lit(run_id)}),
        users=users.withColumns({"ds": night, "key_id": F.lit(key_id)}),
        open_sessions=open_sessions(job.night, kept.where((F.col("ds") == yesterday) & ~F.array_contains("repairs", "bot")), job.time_zone),
        held=[repeats],
    )
    _count(made, files, job, dropped)
    return made


def _without_excess(events: DataFrame, job: ParseJob, rule: BotRule) -> tuple[DataFrame, dict[str, list[Row]]]:
    """(the events within the cap, those of bots with the code `bot`; what was dropped or flagged by file, as `_dropped` counts it)."""
    busy = _busy(events, rule.min_events)
    counts: dict[str, list[Row]] = {}
    if not busy:
        return events, counts
    crowd = events.join(F.broadcast(_frame(events, busy)), ["user_key", "ds"], "left_semi")
    kept = events
    if max(busy.values()) > job.daily_cap:
        order = Window.partitionBy("user_key", "ds").orderBy("event_ts", "event_id")
        beyond = crowd.withColumn("_place", F.row_number().over(order)).where(F.col("_place") > job.daily_cap)
        counts["capped"] = _dropped(beyond.withColumn("conflict", F.lit(False)), job.night)
        kept = events.join(beyond.select("file_no", "byte_offset"), ["file_no", "byte_offset"], "left_anti")
    # Of one file no more than the cap was let through: who has as many as that had them, or more.
    if found := bots(crowd, rule, {who for who, n in busy.items() if n >= job.daily_cap}):
        machines = F.broadcast(_frame(events, found).withColumn("_bot", F.array(F.lit("bot"))))
        flagged = kept.join(machines, ["user_key", "ds"], "left_semi").where(F.col("ds") == F.lit(job.night))
        counts["bot"] = _dropped(flagged.withColumn("conflict", F.lit(False)), job.night)
        codes = F.array_union("repairs", F.coalesce("_bot", F.array().cast("array<string>")))
        kept = kept.join(machines, ["user_key", "ds"], "left").withColumn("repairs", F.array_sort(codes)).drop("_bot")
    return kept, counts


def _repeats(events: DataFrame) -> DataFrame:
    """(file_no, byte_offset, ds, repairs, conflict) of events whose id came before; conflict: with other content.

    Ids are compared by a hash of 64 bits first, so that all but the few that share one travel as a number.
    """
    hashed = events.withColumn("_h", F.xxhash64("event_id"))
    several = hashed.groupBy("_h").agg(F.count(F.lit(1)).alias("_n")).where("_n > 1").select("_h")
    content = F.xxhash64("verdict", *(c for c in _NAMES if c not in ("event_id", "received_ts", "repairs")))
    same = Window.partitionBy("event_id").orderBy(F.col("received_ts").asc_nulls_last(), "file_no", "byte_offset")
    found = hashed.join(several, "_h", "left_semi").withColumn("_content", content)
    found = found.withColumn("_place", F.row_number().over(same)).withColumn(
        "conflict", F.first("_content").over(same) != F.col("_content")
    )
    return found.where("_place > 1").select("file_no", "byte_offset", "ds", "repairs", "conflict")


def _dropped(events: DataFrame, night: dt.date) -> list[Row]:
    """By file: n events that are dropped or flagged, plain = of them those without a repair, adrift = of other nights, conflicts."""
    sums = {
        "plain": F.size("repairs") == 0,
        "adrift": F.col("ds") != F.lit(night),
        "conflicts": F.col("conflict"),
    }
    return events.groupBy("file_no").agg(F.count(F.lit(1)).alias("n"), *(F.count_if(c).alias(n) for n, c in sums.items())).collect()


def _busy(events: DataFrame, least: int) -> dict[tuple[str, dt.date], int]:
    """(user, day) → events, of users with `least` and more."""
    counts = events.groupBy("user_key", "ds").agg(F.count(F.lit(1)).alias("n")).where(F.col("n") >= least).collect()
    return {(r["user_key"], r["ds"]): r["n"] for r in counts}


def _frame(rows: DataFrame, users: Iterable[tuple[str, dt.date]]) -> DataFrame:
    """A small frame of (user_key, ds)."""
    return rows.sparkSession.createDataFrame(sorted(users), "user_key string, ds date")


def _count(made: Cleaned, files: Sequence[Row | Mapping[str, Any]], job: ParseJob, dropped: dict[str, list[Row]]) -> None:
    """Fill in the ledgers: what the parser counted, and what the night as a whole made of it."""
    for row in files:
        file, partition = job.files[row["file_no"]]
        note = json.loads(row["note"])
        if row["reason"] is None:
            made.n_users += note["users"]
            made.n_before += note["before"]
            made.n_events += note["tonight"] - note["capped"] + note["capped_beside"]
        if partition == job.night:
            found = FileLedger("events", partition, file, row["reason"])
            made.files.append(found)
            if row["reason"] is None:
                _fill(found, row["file_no"], note, dropped)
    made.n_events -= sum(g["n"] - g["adrift"] for code, groups in dropped.items() if code != "bot" for g in groups)
    made.files.sort(key=lambda f: f.file)


def _fill(found: FileLedger, file_no: int, note: dict[str, Any], dropped: dict[str, list[Row]]) -> None:
    """The counts of a file that is used."""
    found.lines, found.objects_in = note["lines"], note["objects"]
    found.good, found.repaired, found.quarantined = note["good"], note["repaired"], note["quarantined"]
    found.other_nights = note["other_nights"]
    found.by_reason.update(note["by_reason"])
    found.fields.update(note["fields"])
    found.fields["note:mixed_epoch"] += note["mixed_epoch"]
    changes = [("capped", note["capped"], note["capped_plain"], note["capped_beside"], 0)]
    for code, groups in dropped.items():
        changes += [(code, g["n"], g["plain"], g["adrift"], g["conflicts"]) for g in groups if g["file_no"] == file_no]
    for code, n, plain, adrift, conflicts in changes:
        found.by_reason[code] += n
        found.good -= plain
        found.repaired += plain
        found.other_nights -= adrift
        found.fields["note:id_conflict"] += conflicts
    found.by_reason, found.fields = +found.by_reason, +found.fields
