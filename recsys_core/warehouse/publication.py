"""What both engines share of publishing: the night's rows, the checks on them, and the ledger."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.lake import SchemaError, canonical_json, checksum, conform
from recsys_core.tables import TABLES
from recsys_core.warehouse.session import SQL, PublishError, Session, answer, stored

NIGHT_TABLES: tuple[str, ...] = tuple(t.name for t in TABLES.values() if t.warehouse and t.by_night and t.name != "publication")
MODEL_TABLES: tuple[str, ...] = ("model_version", "topic", "topic_version", "topic_lineage")
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
    """All tables of one night, as `publish_nights` takes them."""

    ds: dt.date
    tables: Mapping[str, pa.Table]
    publication: Publication

    def conformed(self) -> dict[str, pa.Table]:
        """The rows as declared; PublishError names every table that is missing, strange or holds another night."""
        faults = [f"table {t} is missing" for t in NIGHT_TABLES if t not in self.tables or t not in self.publication.sources]
        faults += [f"{t} is no table of a night" for t in self.tables if t not in NIGHT_TABLES]
        rows: dict[str, pa.Table] = {}
        for name in NIGHT_TABLES:
            if name in self.tables:
                try:
                    rows[name] = conform(self.tables[name], TABLES[name])
                except SchemaError as error:
                    faults.append(str(error))
                    continue
                if rows[name].num_rows and pc.unique(rows[name].column("ds")).to_pylist() != [self.ds]:
                    faults.append(f"table {name} holds rows of other nights")
                if (unique := list(TABLES[name].unique)) and (
                    twice := rows[name].num_rows - rows[name].select(unique).group_by(unique).aggregate([]).num_rows
                ):
                    faults.append(f"{twice} rows of table {name} repeat ({', '.join(unique)})")
        if faults:
            raise PublishError(f"night {self.ds} was not published: " + "; ".join(faults))
        return rows


def run_checks(session: Session, ds: dt.date) -> None:
    """Run every query of sql/checks for a night; PublishError names the first that finds rows.

    A check may look at the night's own rows and at the model tables.
    """
    for path in sorted((SQL / "checks").glob("*.sql")):
        rows = answer(session.fetch(path.read_text(encoding="utf-8"), {"ds": ds}))
        if rows.num_rows:
            raise PublishError(
                f"night {ds} was not published: check {path.stem} finds {rows.num_rows} rows, such as {rows.slice(0, 3).to_pylist()}; "
                "the last published state stays live"
            )


def verify(session: Session, night: NightTables) -> None:
    """Read the night's rows back and compare their hashes with the ones announced; PublishError names the table that differs."""
    for name, source in night.publication.sources.items():
        found = checksum(stored(session, name, night.ds), TABLES[name].key)
        if found != source.content_hash:
            raise PublishError(
                f"night {night.ds} was not published: {name} reads back as {found[:16]}, announced {source.content_hash[:16]}"
            )


def record(session: Session, night: NightTables, rows: Mapping[str, pa.Table]) -> dict[str, int]:
    """Write the ledger of a night: its new generation is live, the ones before are not; returns the generation of each table."""
    before = session.fetch(
        "SELECT table_name, max(generation) AS generation FROM publication WHERE ds = :ds GROUP BY table_name", {"ds": night.ds}
    )
    generations = {r["table_name"]: r["generation"] for r in before.to_pylist()}
    published_at = session.fetch("SELECT current_timestamp AS at_ts", {}).column(0)[0].as_py()
    session.run("UPDATE publication SET is_live = false WHERE ds = :ds AND is_live", {"ds": night.ds})
    about = night.publication
    ledger = [
        {
            "ds": night.ds,
            "table_name": name,
            "run_id": about.sources[name].run_id,
            "generation": generations.get(name, 0) + 1,
            "row_count": rows[name].num_rows,
            "content_hash": about.sources[name].content_hash,
            "input_hash": about.sources[name].input_hash,
            "event_cutoff_ts": about.event_cutoff_ts,
            "known_cutoff_ts": about.known_cutoff_ts,
            "published_at": published_at,
            "is_live": True,
            "model_versions": canonical_json(dict(about.sources[name].models)),
            "trigger": about.trigger,
        }
        for name in NIGHT_TABLES
    ]
    session.append("publication", pa.Table.from_pylist(ledger, schema=TABLES["publication"].arrow_schema()))
    return {str(r["table_name"]): int(r["generation"]) for r in ledger}


def prepared(nights: Sequence[NightTables], models: Mapping[str, pa.Table]) -> tuple[list[dict[str, pa.Table]], dict[str, pa.Table]]:
    """Rows of the nights and of the model tables, checked against their declarations; PublishError or SchemaError names what is wrong."""
    if not 0 < len(nights) <= MAX_NIGHTS or len({n.ds for n in nights}) != len(nights):
        raise PublishError(f"publish 1 to {MAX_NIGHTS} different nights at a time, not {len(nights)}")
    return [n.conformed() for n in nights], conformed_models(models)


def conformed_models(models: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """Model tables as declared; PublishError on a name that is none."""
    if odd := [t for t in models if t not in MODEL_TABLES]:
        raise PublishError(f"{', '.join(odd)}: the model tables are {', '.join(MODEL_TABLES)}")
    return {t: conform(models[t], TABLES[t]) for t in MODEL_TABLES if t in models}
