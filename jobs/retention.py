"""Removing what is older than a site keeps it, from landing zone, lake, warehouse and reports."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import ALL, JOBS
from jobs.report import index
from recsys_core.attempts import claim
from recsys_core.retention import Days, built_from, horizon, note, old, remove
from recsys_core.tables import TABLES

if TYPE_CHECKING:
    from jobs.runner import Runner
    from recsys_core.retention import Horizon

# The night under which removals claim their attempts: two at a time do no harm, but one answers.
_NO_NIGHT = dt.date(1970, 1, 1)


def look_back() -> dict[str, int | None]:
    """Nights that the jobs read of each table, tonight included; None for a table of which they read all."""
    found: dict[str, int] = {}
    for job in JOBS.values():
        for table, nights in job.reads.items():
            found[table] = max(nights, found.get(table, 1))
    return {table: None if nights == ALL else nights for table, nights in found.items()}


def retain(runner: Runner, dry_run: bool = False) -> None:
    """Remove what is older than RETAIN_LANDING_DAYS and the like say, counted from the newest night that was cleaned, and say what went.

    Nights of which something was removed stay as they are from then on: they can be built again no more. What later nights look back on
    stays for as long as they do.
    """
    settings, lake, landing = runner.settings, runner.lake, runner.landing
    days = Days(settings.retain_landing_days, settings.retain_lake_days, settings.retain_text_days, settings.retain_warehouse_days)
    newest = max(lake.nights("landing_file"), default=None)
    if days == Days() or newest is None:
        runner.say("nothing is removed: " + ("no night was cleaned" if newest is None else "no RETAIN_…_DAYS is set"))
        return
    at = horizon(newest, days, look_back(), built_from(lake))
    if not dry_run:
        claim(lake, "retention", _NO_NIGHT)
        note(lake, at.built)
    _tell(runner, at, days)
    would = "would go" if dry_run else "removed"
    _warehouse(runner, at, dry_run)
    if not dry_run:
        index(runner)  # also when a run before was cut off after its pages went
    total = count = 0
    for found in old(lake, landing, at):
        if not dry_run:
            remove(lake, landing, found)
        runner.say(f"{found.where} {found.path}: {found.n_bytes:,} bytes")
        count, total = count + 1, total + found.n_bytes
    runner.say(f"{count:,} partitions and days of deliveries {would}, {total:,} bytes")


def _tell(runner: Runner, at: Horizon, days: Days) -> None:
    """Say which nights can still be built, and what is kept for longer than was asked."""
    runner.say(f"nights before {at.built} stay as they are; those from then on can be built again")
    reads = look_back()
    for table in (t.name for t in TABLES.values() if t.lake and days.of_table(t.name) is not None):
        nights = reads.get(table, 1)
        if table not in at.lake:
            why = "nights look back on all of it" if nights is None else "later nights meet its texts again"
            runner.say(f"{table} is kept for ever: {why}")
        elif nights and nights > 1:
            runner.say(f"{table} is kept from {at.lake[table]} on: jobs look back on {nights} nights of it")


def _warehouse(runner: Runner, at: Horizon, dry_run: bool) -> None:
    """Remove published nights, and their reports."""
    from recsys_core.warehouse import connect

    if at.warehouse is None:
        return
    with connect(runner.settings.warehouse, runner.say) as warehouse:
        nights = warehouse.nights_before(at.warehouse)
        if nights and not dry_run:
            warehouse.retire(at.warehouse)
    if nights:
        runner.say(f"warehouse: {len(nights)} nights from {nights[0]} to {nights[-1]}")
    pages = [Path(runner.settings.report) / f"{ds.isoformat()}.html" for ds in nights] if runner.settings.report else []
    for page in (p for p in pages if p.exists()):
        if not dry_run:
            page.unlink()
        runner.say(f"report {page.name}")
