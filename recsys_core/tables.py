"""Every table of the product, declared once: Arrow and Spark schemas, DDL and the README's list are generated from here.

A column's name fixes its type and meaning everywhere (recsys_core.columns), so a table is little more than the list of its columns.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from recsys_core.columns import COLUMNS
from recsys_core.events import COUNTED_TYPES, GRADED_TYPES

if TYPE_CHECKING:
    import pyarrow as pa

_ARROW = {
    "string": "string",
    "json": "string",
    "binary": "binary",
    "boolean": "bool_",
    "smallint": "int16",
    "bigint": "int64",
    "double": "float64",
    "date": "date32",
}
_SPARK = {"json": "string", "decimal": "decimal(18,4)", "string[]": "array<string>", "real[]": "array<float>"}
_DUCKDB = {
    "string": "VARCHAR",
    "json": "JSON",
    "binary": "BLOB",
    "decimal": "DECIMAL(18,4)",
    "timestamp": "TIMESTAMPTZ",
    "string[]": "VARCHAR[]",
    "real[]": "REAL[]",
}
_POSTGRES = {
    "string": "TEXT",
    "json": "JSON",
    "binary": "BYTEA",
    "double": "DOUBLE PRECISION",
    "decimal": "NUMERIC(18,4)",
    "timestamp": "TIMESTAMPTZ",
    "string[]": "TEXT[]",
    "real[]": "REAL[]",
}


@dataclass(frozen=True)
class Column:
    """A column of a table: `type` is one of the names listed at COLUMNS.

    fill  SQL literal that rows published before the column existed get, for a column that holds no nulls ('' = there is none)
    """

    name: str
    type: str
    doc: str
    nullable: bool
    fill: str = ""

    def sql_type(self, engine: str) -> str:
        """The column's type in 'duckdb' or 'postgres'."""
        return {"duckdb": _DUCKDB, "postgres": _POSTGRES}[engine].get(self.type, self.type.upper())


@dataclass(frozen=True)
class Table:
    """One table: `partition` is what one manifest covers in the lake ('' = not in the lake by night).

    restricted  holds what users are called or wrote as it came: its folder is for the lake's owner alone, and it is never published
    ledger      says how rows came about, so that equal rows need not have equal ledgers: no part of a night's contents
    index       columns by which PostgreSQL finds rows beside the key; DuckDB reads whole columns fast enough
    """

    name: str
    doc: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    lake: bool
    warehouse: bool
    unique: tuple[str, ...] = ()
    partition: tuple[str, ...] = field(default=("ds",))
    restricted: bool = False
    index: tuple[str, ...] = ()
    ledger: bool = False

    @property
    def index_name(self) -> str:
        """Name of the index in PostgreSQL."""
        return f"{self.name}_by_{'_'.join(self.index)}"

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in declared order."""
        return tuple(c.name for c in self.columns)

    @property
    def by_night(self) -> bool:
        """Whether rows belong to a night (`ds`)."""
        return "ds" in self.names

    def arrow_schema(self) -> pa.Schema:
        """The Arrow schema, columns in declared order, nullability as declared."""
        import pyarrow as pa

        special = {
            "decimal": pa.decimal128(18, 4),
            "timestamp": pa.timestamp("us", tz="UTC"),
            "string[]": pa.list_(pa.string()),
            "real[]": pa.list_(pa.float32()),
        }
        types = {t: getattr(pa, f)() for t, f in _ARROW.items()} | special
        return pa.schema([pa.field(c.name, types[c.type], c.nullable) for c in self.columns])

    def spark_schema(self) -> str:
        """The Spark schema as a DDL string."""
        return ", ".join(f"{c.name} {_SPARK.get(c.type, c.type)}{'' if c.nullable else ' NOT NULL'}" for c in self.columns)

    def ddl(self, engine: str, name: str | None = None, constraints: bool = True) -> str:
        """CREATE TABLE for 'duckdb' or 'postgres', under another name when `name` is given, without keys when staging."""
        lines = [f"{c.name} {c.sql_type(engine)}{'' if c.nullable else ' NOT NULL'}" for c in self.columns]
        if constraints:
            lines.append(f"PRIMARY KEY ({', '.join(self.key)})")
            if self.unique:
                lines.append(f"UNIQUE ({', '.join(self.unique)})")
        made = f"CREATE TABLE IF NOT EXISTS {name or self.name} (\n    " + ",\n    ".join(lines) + "\n);"
        if self.index and constraints and engine == "postgres":
            made += f"\nCREATE INDEX IF NOT EXISTS {self.index_name} ON {name or self.name} ({', '.join(self.index)});"
        return made


def _table(
    name: str,
    doc: str,
    key: str,
    columns: str,
    where: str = "lake warehouse",
    unique: str = "",
    partition: str = "ds",
    fill: Mapping[str, str] = MappingProxyType({}),
    index: str = "",
) -> Table:
    """Build a Table from space-separated column names; a '?' behind a name makes it nullable, `fill` is by column."""
    names = [c.rstrip("?") for c in columns.split()]
    cols = tuple(Column(n, *COLUMNS[n], c.endswith("?"), fill.get(n, "")) for n, c in zip(names, columns.split(), strict=True))
    return Table(
        name,
        doc,
        cols,
        tuple(key.split()),
        "lake" in where,
        "warehouse" in where,
        tuple(unique.split()),
        tuple(partition.split()) if "lake" in where else (),
        "restricted" in where,
        tuple(index.split()),
        "ledger" in where,
    )


_COUNTS = " ".join(f"n_{t}" for t in COUNTED_TYPES)
_MASSES = " ".join(f"mass_{t}_micro" for t in COUNTED_TYPES)

TABLES: dict[str, Table] = {
    t.name: t
    for t in (
        _table(
            "event_clean",
            "one accepted event",
            "ds event_id",
            "ds event_id user_key item_id? event_type event_ts received_ts? session_id? rating? quantity? price? dwell_s? text? query? "
            "lang? device? region? daypart source repairs extra?",
            "lake",
        ),
        _table(
            "event_quarantine",
            "one refused line, kept whole, replayable",
            "ds file byte_offset",
            "ds file byte_offset reason field? raw_base64 repairs received_ts? run_id",
            "lake restricted",
        ),
        _table(
            "landing_file",
            "what became of one delivered file",
            "ds file",
            "ds file kind n_bytes sha256? expected reason? n_lines n_objects n_good n_repaired n_quarantined n_excused n_other_nights "
            "by_reason fields",
        ),
        _table(
            "id_map",
            "whose user_key it is: the one place behind the landing zone that knows",
            "ds user_key",
            "ds user_key key_id user_id",
            "lake restricted",
        ),
        _table(
            "open_session",
            "a session of the day before that midnight cut, by user",
            "ds user_key",
            "ds user_key carry_id end_ts",
            "lake",
        ),
        _table(
            "item",
            "the catalogue as known on ds",
            "ds item_id",
            "ds item_id title? description? tags? category? brand? price? lang parent_id? valid_from_ds deleted "
            "stock? regions? available_from_ds? available_to_ds? first_ds",
            "lake",
        ),
        _table("category", "the category tree as known on ds", "ds category", "ds category parent? valid_from_ds", "lake"),
        _table(
            "session",
            "a session: 30-minute gap, closed at midnight",
            "ds session_id",
            "ds session_id user_key carry_id start_ts end_ts n_events n_items device? region? lang?",
            "lake",
        ),
        _table(
            "user_item_day",
            "what a user did with an item on a night, counted by event type",
            "ds user_key item_id",
            f"ds user_key item_id n_events {_COUNTS} n_positive n_negative rating? sentiment? dwell_s? last_event_ts",
            fill={f"n_{t}": "0" for t in GRADED_TYPES},
        ),
        _table(
            "user_item_context_day",
            "how often a user met an item on a night, by part of the day and device ('' = not told)",
            "ds user_key item_id daypart device",
            "ds user_key item_id daypart device n_events",
            "lake",
        ),
        _table(
            "declared_interest",
            "what a user said to want or not to see, as known on ds: a topic by id or a term in words",
            "ds user_key declared",
            "ds user_key declared stance topic_id? term? text_hash? declared_ds",
            "lake",
        ),
        _table(
            "user_attribute",
            "what the site told of a user, as known on ds; lists are compared between groups by it, nothing else is made of it",
            "ds user_key attribute",
            "ds user_key attribute attribute_value",
            "lake restricted",
        ),
        _table(
            "text_sentiment",
            "how good or bad the text of an event sounds; with the item where it is the verdict on one, a review without a rating",
            "ds event_id",
            "ds event_id user_key item_id? text_hash sentiment source",
            "lake",
        ),
        _table("item_text", "the text of an item to embed", "ds item_id text_hash", "ds item_id text_hash lang kind text", "lake"),
        _table(
            "user_text",
            "a text of a user: review, search, behaviour description",
            "ds user_key text_hash kind",
            "ds user_key text_hash lang kind item_id? n_events text",
            "lake",
        ),
        _table(
            "user_history_text",
            "90 days of a user who was there that night, in words",
            "ds user_key",
            "ds user_key text_hash lang kind text",
            "lake",
        ),
        _table(
            "text_entity",
            "a name that stands in a text",
            "ds text_hash begin_char entity_type source",
            "ds text_hash entity_type entity begin_char end_char source",
            "lake",
        ),
        _table(
            "text_label",
            "an interest or category that a text belongs to",
            "ds text_hash label model_version",
            "ds text_hash label score model_version",
            "lake",
        ),
        _table(
            "text_embedding",
            "a vector by content, written by the first night that met the text",
            "text_hash embedding_space",
            "ds text_hash embedding_space vec",
            "lake",
            partition="embedding_space ds",
        ),
        _table(
            "item_topic",
            "soft membership of an item in at most three topics",
            "ds item_id topic_id",
            "ds item_id topic_id weight rank model_version",
            partition="ds model_version",
            index="ds topic_id",
        ),
        _table(
            "declared_topic",
            "what users declared, in topics of a model: an interest with its part in all that the user wants, or a mute",
            "ds user_key topic_id",
            "ds model_version user_key topic_id stance weight",
            "lake",
            partition="ds model_version",
        ),
        _table(
            "user_topic_day",
            "a night's mass of a user on a topic, additive over nights",
            "ds model_version user_key topic_id",
            f"ds model_version user_key topic_id mass_micro {_MASSES} n_events n_items",
            "lake",
            partition="ds model_version",
        ),
        _table(
            "topic",
            "registry of all topics ever",
            "topic_id",
            "topic_id method level parent_topic_id? label_en label_zh label_source keywords status born_ds retired_ds? sensitive",
            "warehouse",
        ),
        _table(
            "topic_version",
            "a topic under one model version",
            "model_version topic_id",
            "model_version topic_id n_docs n_users? coherence_npmi? centroid_sim_prev? medoid_item_id? embedding_space?",
            "warehouse",
        ),
        _table(
            "topic_lineage",
            "what became of the topics of the version before",
            "model_version topic_id prev_topic_id relation",
            "model_version prev_model_version? topic_id prev_topic_id relation similarity? user_overlap?",
            "warehouse",
            fill={"prev_topic_id": "0"},
        ),
        _table(
            "user_interest",
            "how strongly a user holds a topic, with evidence",
            "ds user_key topic_id horizon",
            "ds user_key topic_id horizon score share lift rank confidence n_events n_items first_seen_ds last_seen_ds sentiment? evidence "
            "model_version run_id",
            index="ds topic_id horizon",
        ),
        _table(
            "user_profile",
            "a user in one row",
            "ds user_key",
            "ds user_key lifecycle cold_level n_events_30d n_topics entropy drift_7d? top_topic_id? summary_en summary_zh vector? "
            "embedding_space? model_version? run_id",
        ),
        _table(
            "user_context_interest",
            "where and when an interest shows: a user's topics by part of the day, weekday and device",
            "ds user_key context_dim context_value topic_id",
            "ds user_key context_dim context_value topic_id share lift rank n_events model_version",
        ),
        _table(
            "user_interest_vector",
            "several vectors of a user: the medoid items of what they turn to",
            "ds user_key rank",
            "ds user_key rank item_id share n_items vector embedding_space",
            "lake",
        ),
        _table(
            "user_state",
            "the hidden state of a user under the forecast's sequence model",
            "ds user_key",
            "ds user_key h model_version",
            "lake",
        ),
        _table(
            "user_interest_change",
            "an interest that is new, rising, falling, lost or returned",
            "ds user_key topic_id",
            "ds user_key topic_id change share_prev share_now z slope compared_ds",
            fill={"slope": "0"},
            index="ds topic_id",
        ),
        _table(
            "user_interest_forecast",
            "probability that a user touches a topic soon",
            "ds user_key topic_id horizon_days",
            "ds user_key topic_id horizon_days probability baseline_probability rank model_version",
        ),
        _table(
            "user_interest_expansion",
            "a topic the user may take up next",
            "ds user_key topic_id method",
            "ds user_key topic_id method via_topic_id? score rank reason",
        ),
        _table(
            "user_interest_intraday",
            "the day so far, superseded by the night",
            "ds user_key topic_id",
            "ds user_key topic_id as_of_ts share n_events_today",
        ),
        _table(
            "interest_edge",
            "two topics that people hold together or one after the other",
            "ds src_topic_id dst_topic_id relation",
            "ds src_topic_id dst_topic_id relation directed n_users weight lift",
        ),
        _table(
            "topic_audience",
            "how many users hold a topic, where they are K_ANONYMITY or more (with noise under DP_EPSILON)",
            "ds topic_id horizon",
            "ds topic_id horizon n_users model_version",
        ),
        _table(
            "privacy_spend",
            "what releases with noise have spent of the night: each that was ever made, since each may have been seen",
            "ds table_name release",
            "ds table_name release epsilon cap sensitivity",
        ),
        _table("user_segment", "users by segment", "ds segment user_key", "ds segment user_key score reason", index="ds user_key"),
        _table(
            "user_topn",
            "the lists",
            "ds user_key list_name variant rank",
            "ds user_key list_name variant rank item_id score source topic_id? exploration reason_code reason_text_en reason_text_zh "
            "evidence_item_id? contributions model_version run_id",
            unique="ds user_key list_name variant item_id",
            fill={"contributions": "'{}'"},
        ),
        _table(
            "topn_outcome",
            "what users did with listed items in the seven nights after, by the night that observed it",
            "ds list_ds user_key list_name variant rank event_type",
            "ds list_ds user_key list_name variant rank item_id event_type source exploration n_events",
        ),
        _table(
            "eval_metric",
            "quality of lists, topics and profiles beside a baseline",
            "ds subject model_version list_name variant slice_dim slice_value metric k baseline",
            "ds subject model_version list_name variant slice_dim slice_value metric k baseline value ci_low? ci_high? n baseline_value? "
            "diff? diff_ci_low? diff_ci_high?",
        ),
        _table(
            "experiment_metric",
            "arms of an experiment side by side",
            "ds experiment variant metric",
            "ds experiment variant metric value ci_low? ci_high? n sample_ratio_p?",
        ),
        _table(
            "model_version",
            "every model ever registered",
            "model_version",
            "model_version kind status train_from train_to valid_from_ds embedding_space? code_sha params data_fingerprint artifact_uri "
            "artifact_sha256 promoted_at?",
            "warehouse",
        ),
        _table(
            "publication",
            "ledger of what was published",
            "ds table_name generation",
            "ds table_name run_id generation row_count content_hash input_hash event_cutoff_ts known_cutoff_ts? published_at is_live "
            "model_versions trigger",
            "warehouse ledger",
        ),
        _table(
            "job_run",
            "what a run of a job for a night cost (that of a publication: from the next one on)",
            "ds run_id attempt",
            "ds run_id attempt job stage state error? trigger started_at ended_at n_nights wall_s cpu_s peak_rss_bytes read_bytes "
            "written_bytes row_count rows_by_table",
            "warehouse ledger",
        ),
        _table(
            "quality_result",
            "checks of a night",
            "ds run_id table_name check_name",
            "ds run_id table_name check_name severity observed? threshold? passed",
        ),
        _table(
            "quality_acceptance",
            "a failed check that somebody accepted, and why",
            "ds table_name check_name",
            "ds table_name check_name reason accepted_at",
        ),
        _table(
            "erasure_request",
            "requests to forget a user",
            "request_id",
            "request_id subject_hash requested_at completed_at? files_rewritten? rows_removed?",
            "warehouse",
        ),
    )
}


def schema_hash(table: Table) -> str:
    """Hex hash of a table's declaration: column names, types and nullability."""
    return hashlib.sha256(repr([(c.name, c.type, c.nullable) for c in table.columns]).encode()).hexdigest()[:16]


def tables_sql() -> str:
    """The text of sql/tables.sql: DDL of all warehouse tables for DuckDB, then for PostgreSQL."""
    parts = ["-- Generated by `make generate` from recsys_core/tables.py. Do not edit."]
    for engine in ("duckdb", "postgres"):
        parts.append(f"\n-- engine: {engine}")
        parts += [f"-- {t.name}: {t.doc}\n{t.ddl(engine)}" for t in TABLES.values() if t.warehouse]
    return "\n".join(parts) + "\n"


def tables_markdown() -> str:
    """The README's table list."""
    rows = []
    for t in TABLES.values():
        where = [name for name, there in (("lake", t.lake), ("warehouse", t.warehouse)) if there]
        rows.append(f"| `{t.name}` | {', '.join(where)} | {t.doc} | {', '.join(t.key)} |")
    return "\n".join(["| table | where | a row is | key |", "|---|---|---|---|", *rows]) + "\n"


def splice(text: str, marker: str, body: str) -> str:
    """Replace what stands between `<!-- marker -->` and `<!-- /marker -->`; a missing marker is a ValueError."""
    start, end = f"<!-- {marker} -->\n", f"<!-- /{marker} -->"
    if start not in text or end not in text:
        raise ValueError(f"no section {start.strip()} … {end}")
    return text[: text.index(start) + len(start)] + body + text[text.index(end) :]


def main(root: str) -> None:
    """Write the generated files below `root` (the repository)."""
    (Path(root) / "sql" / "tables.sql").write_text(tables_sql(), encoding="utf-8")
    readme = Path(root) / "README.md"
    readme.write_text(splice(readme.read_text(encoding="utf-8"), "tables", tables_markdown()), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
