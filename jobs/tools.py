"""Commands beside the jobs: simulate, land, check, query, demo, generate."""

from __future__ import annotations

import datetime as dt
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.options import check_range, guard, settings_of

if TYPE_CHECKING:
    from recsys_core.warehouse import Warehouse


def simulate(**values: Any) -> None:
    """Simulate a shop into the landing zone and print its counts."""
    from recsys_core.simulate import simulate

    def work() -> None:
        landing = values["landing"] or settings_of(values, secret=False).landing
        shop = {k: values[k] for k in ("start", "nights", "users", "items", "events_per_night", "seed", "text_share", "dirt")}
        try:
            counts = simulate(landing, **shop, progress=click.echo)
        except ValueError as error:  # arguments that do not go together
            raise click.UsageError(str(error)) from error
        click.echo(", ".join(f"{k} {v:,}" if isinstance(v, int) else f"{k} {v}" for k, v in counts.items()))

    guard(work)


def land(**values: Any) -> None:
    """Land a data set and print what was read, landed and refused."""
    from recsys_core.sources import SOURCES, SourceError, land

    check_range(values)
    if values["source"] not in SOURCES:
        raise click.UsageError(f"no source {values['source']!r}; there are {', '.join(SOURCES)}")

    def work() -> None:
        settings = settings_of(values, secret=False)
        try:
            report = land(
                values["source"],
                values["input"],
                settings.landing,
                values["first"],
                values["last"],
                _rows_read,
                settings.time_zone,
                values["mapping"],
            )
        except SourceError as error:
            raise RuntimeError(str(error)) from error
        click.echo(str(report))

    guard(work)


def check(**values: Any) -> None:
    """Print what landing and cleaning would make of a data set; exit 1 when nothing of it would be accepted."""
    from recsys_core.sources import SOURCES, SourceError
    from recsys_core.sources.check import check

    check_range(values)
    if values["source"] not in SOURCES:
        raise click.UsageError(f"no source {values['source']!r}; there are {', '.join(SOURCES)}")
    time_zone = settings_of(values, secret=False).time_zone

    def work() -> None:
        try:
            report = check(values["source"], values["input"], values["first"], values["last"], time_zone, _rows_read, values["mapping"])
        except SourceError as error:
            raise RuntimeError(str(error)) from error
        click.echo(str(report))
        if not report.accepted:
            sys.exit(1)

    guard(work)


def _rows_read(count: int) -> None:
    if count % 100_000 == 0:
        click.echo(f"{count:,} rows read")


def query(**values: Any) -> None:
    """Run a stored or given query and print its rows as a table."""
    from recsys_core.warehouse import connect

    root = Path(__file__).resolve().parent.parent / "sql" / "queries"
    path = next((p for p in (Path(values["name"]), root / f"{values['name']}.sql") if p.is_file()), None)
    if path is None:
        raise click.UsageError(
            f"no file {values['name']!r} and no such query in sql/queries: {', '.join(sorted(p.stem for p in root.glob('*.sql')))}"
        )
    settings, params = settings_of(values, secret=False), {}
    for pair in values["param"]:
        key, sign, value = pair.partition("=")
        if not sign:
            raise click.UsageError(f"--param {pair!r}: write name=value")
        params[key] = value

    def work() -> None:
        with connect(settings.warehouse_reader or settings.warehouse) as warehouse:
            found = warehouse.query(path.read_text(encoding="utf-8"), params)
            why = "" if found.num_rows else _why_nothing(warehouse, params.get("ds", ""))
        try:
            click.echo("\t".join(found.column_names))
            for row in found.to_pylist():
                click.echo("\t".join("" if v is None else str(v) for v in row.values()))
        except BrokenPipeError:  # who reads has seen enough (`| head`); the rest goes nowhere, at the end of the process, too
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        click.echo(f"{found.num_rows:,} rows{why}", err=True)

    guard(work)


def _why_nothing(warehouse: Warehouse, ds: str) -> str:
    """What to add to an answer without rows about a night (none, where it is no date) that readers do not see."""
    from recsys_core.lake import LakeError
    from recsys_core.status import unpublished

    try:
        said = unpublished(warehouse.query, dt.date.fromisoformat(ds))
    except (ValueError, LakeError):  # no night was asked for, or the warehouse is somebody else's
        return ""
    return f": {said}" if said else ""


def demo(**values: Any) -> None:
    """Run the demo."""
    from jobs.demo import demo

    guard(lambda: demo(values["nights"], say=click.echo))


def generate() -> None:
    """Write the generated files of the checkout."""
    from jobs.backfill import graph_markdown
    from jobs.dictionary import dictionary_markdown
    from jobs.settings_page import settings_markdown
    from recsys_core import events, landing_schema, tables
    from recsys_core.parse.rules import rules_markdown

    root = Path(__file__).resolve().parent.parent
    tables.main(str(root))
    landing_schema.main([str(root / "docs")])
    (root / "docs" / "event-types.md").write_text(events.markdown(), encoding="utf-8")
    (root / "docs" / "settings.md").write_text(settings_markdown(), encoding="utf-8")
    (root / "docs" / "tables.md").write_text(dictionary_markdown(root / "sql" / "views"), encoding="utf-8")
    for page, marker, body in (("ingest.md", "rules", rules_markdown()), ("backfill.md", "graph", graph_markdown())):
        path = root / "docs" / page
        path.write_text(tables.splice(path.read_text(encoding="utf-8"), marker, body), encoding="utf-8")
    click.echo("sql/tables.sql, README.md and docs/ are fresh")
