"""A window of deliveries parsed file by file and cleaned bucket by bucket of users, in this process or in Spark's tasks.

Nothing is shuffled: each parsed file is laid out by bucket, and a bucket's rows are read out of each. Only what is between buckets travels,
an event id or a session's name of several users, and as a hash first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.bots import BotRule
from recsys_core.buckets import answers, gathered, met_again
from recsys_core.coded import plain, plain_schema
from recsys_core.events_of_night import Dropped, cleaned, counted, refused, repeats, together
from recsys_core.lake import Part, Target, value_hashes
from recsys_core.parse import PARSED_SCHEMA, Parsed, ParseJob, parse_files, parsed_here
from recsys_core.parse.staging import NOBODY
from recsys_core.tables import TABLES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Rows = list[dict[str, Any]]


def parsed(job: ParseJob, buckets: int, store: str, folder: str, spark: SparkSession | None) -> tuple[Parsed, Rows]:
    """(rows of the job's files, what is known of each: rows of FILE_SCHEMA).

    One bucket stays in memory; several are files in `folder` of `store`, for as long as they are read.
    """
    if buckets == 1:
        return parsed_here(job)
    files = answers(range(len(job.files)), parse_files(job, store, folder, buckets), spark)
    return Parsed(buckets, store=store, paths=tuple(f["path"] for f in files if f["path"])), files


def clean_buckets(
    rows: Parsed,
    job: ParseJob,
    rule: BotRule,
    key_id: str,
    targets: Mapping[str, Target],
    beside: Rows,
    spark: SparkSession | None,
) -> tuple[dict[str, list[Part]], Dropped]:
    """Write the night of `job` to its targets; (the parts written, what was dropped or flagged).

    targets   of event_clean, id_map, open_session and event_quarantine
    beside    rows of event_quarantine of other files than those of the job, but for ds and run_id
    """
    run_id, known = targets["event_quarantine"].stamp.run_id, known_repeats(rows, spark)
    tables = ("event_clean", "id_map", "open_session")

    def clean(bucket: int) -> tuple[dict[str, Part], list[Any]]:
        found = cleaned(rows.rows(bucket), job, rule, key_id, known)
        made = {t: targets[t].write(bucket, part) for t, part in zip(tables, (found.events, found.users, found.open_sessions), strict=True)}
        return made, [*found.dropped.items()]

    def refuse(place: int) -> Part | None:
        lines = refused(rows.of_file(place).rows(NOBODY), job.night, run_id)
        return targets["event_quarantine"].write(place, lines) if lines.num_rows else None

    def either(number: int) -> Any:
        return clean(number) if number < rows.buckets else refuse(number - rows.buckets)

    made = answers(range(rows.buckets + rows.n_files), either, spark)
    made, lines_refused = made[: rows.buckets], made[rows.buckets :]
    parts = {t: [Part.of(written[t]) for written, _ in made] for t in tables}
    parts["event_quarantine"] = [Part.of(part) for part in lines_refused if part]
    if beside:
        table = TABLES["event_quarantine"].arrow_schema()
        lines = pa.Table.from_pylist([{"ds": job.night, "run_id": run_id, **row} for row in beside], schema=table)
        parts["event_quarantine"].append(targets["event_quarantine"].write(rows.n_files, lines))
    dropped = [{(code, file): counts for (code, file), counts in found} for _, found in made]
    return parts, together([*dropped, counted(known, "dedup", job.night)])


def known_repeats(rows: Parsed, spark: SparkSession | None) -> pa.Table:
    """The repeats (see `repeats`) of events whose ids users of several buckets have."""

    several = met_again(range(rows.buckets), rows.id_hashes, spark) if rows.buckets > 1 else np.zeros(0, np.int64)
    if not len(several):
        return repeats(PARSED_SCHEMA.empty_table())
    wanted = pa.array(several)

    def having_them(bucket: int) -> pa.Table:
        from recsys_core.parse.spans import hashes

        found = rows.rows(bucket)
        ids = found["event_id"].combine_chunks()
        return plain(found.filter(pc.and_(ids.is_valid(), pc.is_in(pa.array(hashes(ids)), wanted))))

    return repeats(gathered(range(rows.buckets), having_them, plain_schema(PARSED_SCHEMA), spark))


def names_of_several(names: Callable[[int], pa.Array], buckets: int, spark: SparkSession) -> pa.Array:
    """Distinct names of sessions (those of each bucket) that users of several buckets have."""
    several = met_again(range(buckets), lambda bucket: value_hashes(names(bucket)), spark)
    if not len(several):
        return pa.array([], pa.string())
    wanted = pa.array(several)

    def having_them(bucket: int) -> pa.Table:
        found = names(bucket)
        return pa.table({"session_id": found.filter(pc.is_in(pa.array(value_hashes(found)), wanted))})

    found = gathered(range(buckets), having_them, pa.schema([("session_id", pa.string())]), spark)
    counts = found.group_by("session_id").aggregate([([], "count_all")])
    return counts.filter(pc.greater(counts["count_all"], 1))["session_id"].combine_chunks()
