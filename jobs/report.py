"""The pages of published nights, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recsys_core.lake import LakeError

if TYPE_CHECKING:
    import datetime as dt

    from jobs.night import Night
    from jobs.runner import Runner
    from recsys_core.lake import Lake


def report(night: Night, *, force: bool = False) -> None:
    """Write the page of the night, the page of topics and the index of all nights into the folder REPORT, from what is published.

    Pages that would be the same are left. LakeError for a night that is not published, once the index says so; nothing of a night's tables
    depends on its page.
    """
    report_together([night], force=force)


def report_together(nights: Sequence[Night], *, force: bool = False) -> None:
    """The same for many nights, with one look at the warehouse."""
    if not nights:
        return
    runner, asked = nights[0].runner, [night.ds for night in nights]
    if not runner.settings.report:
        runner.say("report: none is kept, REPORT is empty")
        return
    folder = Path(runner.settings.report)
    known, stopped, made = _written(runner, asked, force)
    for ds in (ds for ds in asked if ds in known):
        runner.say(f"{ds} report: {folder / f'{ds}.html'}" if ds in made else f"{ds} report: up to date")
    if absent := [ds for ds in asked if ds not in known]:
        why = "; ".join(f"{ds}: {', '.join(stopped.get(ds, ['run its nightly jobs first']))}" for ds in absent)
        raise LakeError(f"no page is made of a night that is not published ({why}); {folder / 'index.html'} says how all nights stand")


def index(runner: Runner) -> None:
    """Write the index, where there is one, and the page of topics anew if what they show has changed: for who has removed pages."""
    if runner.settings.report and (Path(runner.settings.report) / "index.html").exists():
        _written(runner, [])


def _written(
    runner: Runner, nights: Sequence[dt.date], force: bool = False
) -> tuple[set[dt.date], Mapping[dt.date, Sequence[str]], list[dt.date]]:
    """The nights that are published, the checks that keep others from it, and the nights among the given whose page is new or changed."""
    from recsys_core.privacy.release import shown
    from recsys_core.report import published, write_reports
    from recsys_core.warehouse import connect

    settings, landed = runner.settings, runner.landing.nights()
    with connect(settings.warehouse, runner.say) as warehouse:
        known = published(warehouse.query)
        # A night that is gone for its age is not one that failed.
        landed = [ds for ds in landed if ds in known or not runner.built_from or ds >= runner.built_from]
        stopped = {ds: names for ds in landed if ds not in known and (names := _stopped(runner.lake, ds))}
        there, query = [ds for ds in nights if ds in known], shown(warehouse.query, settings.k_anonymity)
        return known, stopped, write_reports(query, there, Path(settings.report), runner.lake, landed, stopped, force)


def _stopped(lake: Lake, ds: dt.date) -> list[str]:
    """The blocking checks that failed for a night, of those that the lake holds."""
    from recsys_core.acceptance import acceptances
    from recsys_core.quality import failed

    if lake.manifest("quality_result", ds) is None:
        return []
    excused = {(r["table_name"], r["check_name"]) for r in acceptances(lake, ds).to_pylist()}
    rows = failed(lake.read("quality_result", [ds]).to_pylist())
    return [f"{r['check_name']} ({r['table_name']})" for r in rows if (r["table_name"], r["check_name"]) not in excused]
