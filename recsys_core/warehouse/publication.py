"""What both engines share of publishing: the night's rows, their comparison with what was announced, and the ledger."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.lake import SchemaError, Stream, canonical_json, checksum, conform, empty
from recsys_core.lake.contents import repeats
from recsys_core.tables import TABLES
from recsys_core.warehouse.session import PublishError, Rows, Session, stored, stored_checksum

NIGHT_TABLES: tuple[str, ...] = tuple(t.name for t in TABLES.values() if t.warehouse and t.by_night and not t.ledger)
USER_TABLES: tuple[str, ...] = tuple(t.name for t in TABLES.values() if t.warehouse and "user_key" in t.names)
MODEL_TABLES: tuple[str, ...] = ("model_version", "topic", "topic_version", "topic_lineage")
# The table of the day so far, and the newest night that supersedes it.
INTRADAY = "user_interest_intraday"
NEWEST = "SELECT max(ds) AS ds FROM publication WHERE table_name = 'user_interest' AND is_live"
# What the ledger says of nights that were removed for their age.
RETIRED = "UPDATE publication SET is_live = false WHERE is_live AND ds < :before"
# So many nights may share one replacement of a DuckDB file, or one transaction.
MAX_NIGHTS = 30


@dataclass(frozen=True)
class Source:
    """Where a night's rows of one table come from; `models` names the model version by kind."""

    run_id: str
    input_hash: str
    content_hash: str
    models: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Publication:
    """What the ledger says of a night beside its rows: a `Source` for every table of the night, cutoffs, and what started the run."""

    sources: Mapping[str, Source]
    event_cutoff_ts: dt.datetime
    known_cutoff_ts: dt.datetime | None = None
    trigger: str = "manual"


@dataclass(frozen=True)
class NightTables:
    """All tables of one night, as `publish_nights` takes them; a Stream's rows were audited when they were written in the lake."""

    ds: dt.date
    tables: Mapping[str, pa.Table | Stream]
    publication: Publication

    def conformed(self) -> dict[str, Rows]:
        """The rows as declared; PublishError names every table that is missing, strange or holds another night."""
        faults = [f"table {t} is missing" for t in NIGHT_TABLES if t not in self.tables or t not in self.publication.sources]
        faults += [f"{t} is no table of a night" for t in self.tables if t not in NIGHT_TABLES]
        rows: dict[str, Rows] = {}
        for name in NIGHT_TABLES:
            if name in self.tables:
                try:
                    rows[name] = self._audited(name, self.tables[name], faults)
                except SchemaError as error:
                    faults.append(str(error))
        if faults:
            raise PublishError(f"night {self.ds} was not published: " + "; ".join(faults))
        return rows

    def _audited(self, name: str, rows: pa.Table | Stream, faults: list[str]) -> Rows:
        if isinstance(rows, Stream):
            return rows
        rows, unique = conform(rows, TABLES[name]), TABLES[name].unique
        if rows.num_rows and pc.unique(rows.column("ds")).to_pylist() != [self.ds]:
            faults.append(f"table {name} holds rows of other nights")
        if unique and (twice := repeats(rows, unique)):
            faults.append(f"{twice} rows of table {name} repeat ({', '.join(unique)})")
        return rows


def verify(session: Session, night: NightTables) -> None:
    """Read the night's rows back and compare their hashes with the ones announced; PublishError names the table that differs."""
    for name, source in night.publication.sources.items():
        verify_table(session, name, night.ds, source)


def verify_table(session: Session, name: str, ds: dt.date, source: Source) -> None:
    """The same for one table."""
    found = stored_checksum(session, name, ds)
    if found != source.content_hash:
        raise PublishError(f"night {ds} was not published: {name} reads back as {found[:16]}, announced {source.content_hash[:16]}")


def record(session: Session, night: NightTables, rows: Mapping[str, Rows]) -> pa.Table:
    """Write the ledger of a night: its new generation is live, the ones before are not; returns the rows written."""
    session.run("UPDATE publication SET is_live = false WHERE ds = :ds AND is_live", {"ds": night.ds})
    about = night.publication
    return _written(
        session,
        night.ds,
        [
            {
                "table_name": name,
                "run_id": about.sources[name].run_id,
                "row_count": rows[name].num_rows,
                "content_hash": about.sources[name].content_hash,
                "input_hash": about.sources[name].input_hash,
                "event_cutoff_ts": about.event_cutoff_ts,
                "known_cutoff_ts": about.known_cutoff_ts,
                "model_versions": canonical_json(dict(about.sources[name].models)),
                "trigger": about.trigger,
            }
            for name in NIGHT_TABLES
        ],
    )


def record_intraday(session: Session, ds: dt.date, rows: pa.Table, source: Source, as_of_ts: dt.datetime) -> pa.Table:
    """Write the ledger of a running day, in the place of what stood there of the day so far; returns the row written."""
    session.run(f"UPDATE publication SET is_live = false WHERE ds = :ds AND table_name = '{INTRADAY}'", {"ds": ds})
    entry = {
        "table_name": INTRADAY,
        "run_id": source.run_id,
        "row_count": rows.num_rows,
        "content_hash": source.content_hash,
        "input_hash": source.input_hash,
        "event_cutoff_ts": as_of_ts,
        "model_versions": canonical_json(dict(source.models)),
        "trigger": "intraday",
    }
    ledger = _written(session, ds, [entry])
    session.run(
        f"DELETE FROM publication WHERE ds = :ds AND table_name = '{INTRADAY}' AND \"trigger\" = 'intraday' AND NOT is_live", {"ds": ds}
    )
    return ledger


def record_erasure(session: Session, removed: Iterable[tuple[str, dt.date]], input_hashes: Mapping[tuple[str, dt.date], str]) -> pa.Table:
    """Write the ledger of tables and nights that lost rows: a new generation each, with the hash of what is left.

    Live generations take the input hash given for them. Returns the rows written.
    """
    written = [empty(TABLES["publication"])]
    lost: dict[dt.date, set[str]] = {}
    for name, ds in removed:
        lost.setdefault(ds, set()).add(name)
    for ds, names in sorted(lost.items()):
        live = [r for r in stored(session, "publication", ds).to_pylist() if r["is_live"] and r["table_name"] in names]
        for entry in live:
            name = entry["table_name"]
            session.run("UPDATE publication SET is_live = false WHERE ds = :ds AND table_name = :name", {"ds": ds, "name": name})
            left = stored(session, name, ds)
            entry |= {"row_count": left.num_rows, "content_hash": checksum(left), "trigger": "erasure"}
        written.append(_written(session, ds, live))
    for (name, ds), input_hash in input_hashes.items():
        session.run(
            "UPDATE publication SET input_hash = :hash WHERE ds = :ds AND table_name = :name AND is_live AND input_hash <> :hash",
            {"ds": ds, "name": name, "hash": input_hash},
        )
    return pa.concat_tables(written)


def record_runs(session: Session, runs: pa.Table | None) -> None:
    """Write rows of job_run that are not there yet."""
    if runs is None or not runs.num_rows:
        return
    there = session.fetch(
        "SELECT run_id, attempt FROM job_run WHERE ds BETWEEN :first AND :last",
        {"first": pc.min(runs["ds"]).as_py(), "last": pc.max(runs["ds"]).as_py()},
    )
    known = {(r["run_id"], r["attempt"]) for r in there.to_pylist()}
    new = [run not in known for run in zip(runs["run_id"].to_pylist(), runs["attempt"].to_pylist(), strict=True)]
    session.append("job_run", conform(runs.filter(pa.array(new, pa.bool_())), TABLES["job_run"]))


def record_requests(session: Session, requests: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of erasure_request in the place of those with the same id; SchemaError when they do not fit."""
    table = TABLES["erasure_request"]
    for request in requests:
        session.run("DELETE FROM erasure_request WHERE request_id = :id", {"id": request["request_id"]})
    if requests:
        session.append(table.name, conform(pa.Table.from_pylist([{n: r.get(n) for n in table.names} for r in requests]), table))


def _written(session: Session, ds: dt.date, entries: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Add live generations of a night to the ledger, counted up from those that are there."""
    before = session.fetch(
        "SELECT table_name, max(generation) AS generation FROM publication WHERE ds = :ds GROUP BY table_name", {"ds": ds}
    )
    generations = {r["table_name"]: r["generation"] for r in before.to_pylist()}
    published_at = session.fetch("SELECT current_timestamp AS at_ts", {}).column(0)[0].as_py()
    about = {"ds": ds, "published_at": published_at, "is_live": True}
    ledger = pa.Table.from_pylist(
        [{**e, **about, "generation": generations.get(e["table_name"], 0) + 1} for e in entries],
        schema=TABLES["publication"].arrow_schema(),
    )
    session.append("publication", ledger)
    return ledger


def is_recorded(session: Session, ledger: pa.Table) -> bool:
    """Whether the ledger holds exactly these generations: whether the transaction that wrote them was committed."""

    def rows(of: pa.Table) -> set[tuple[Any, ...]]:
        about = of.select(["ds", "table_name", "generation", "run_id", "content_hash", "published_at"])
        return {tuple(r.values()) for r in about.to_pylist()}

    there = [stored(session, "publication", ds) for ds in pc.unique(ledger.column("ds")).to_pylist()]
    return bool(there) and rows(ledger) <= rows(pa.concat_tables(there))


def generations_of(ledger: pa.Table) -> dict[dt.date, dict[str, int]]:
    """Night → table → generation of rows of the ledger."""
    found: dict[dt.date, dict[str, int]] = {}
    for row in ledger.to_pylist():
        found.setdefault(row["ds"], {})[row["table_name"]] = row["generation"]
    return found


def prepared(nights: Sequence[NightTables], models: Mapping[str, pa.Table]) -> tuple[list[dict[str, Rows]], dict[str, pa.Table]]:
    """Rows of the nights and of the model tables, checked against their declarations; PublishError or SchemaError names what is wrong."""
    if not 0 < len(nights) <= MAX_NIGHTS or len({n.ds for n in nights}) != len(nights):
        raise PublishError(f"publish 1 to {MAX_NIGHTS} different nights at a time, not {len(nights)}")
    return [n.conformed() for n in nights], conformed_models(models)


def conformed_intraday(ds: dt.date, rows: pa.Table) -> pa.Table:
    """Rows of the running day as declared; PublishError when they are of another."""
    rows = conform(rows, TABLES[INTRADAY])
    if rows.num_rows and pc.unique(rows.column("ds")).to_pylist() != [ds]:
        raise PublishError(f"the day {ds} was not published: {INTRADAY} holds rows of other days")
    return rows


def conformed_models(models: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """Model tables as declared; PublishError on a name that is none."""
    if odd := [t for t in models if t not in MODEL_TABLES]:
        raise PublishError(f"{', '.join(odd)}: the model tables are {', '.join(MODEL_TABLES)}")
    return {t: conform(models[t], TABLES[t]) for t in MODEL_TABLES if t in models}
