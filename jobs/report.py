"""The pages of published nights, for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recsys_core.lake import LakeError

if TYPE_CHECKING:
    import datetime as dt

    from jobs.night import Night


def report(night: Night, *, force: bool = False) -> None:
    """Write the page of the night, the page of topics and the index of all nights into the folder REPORT, from what is published.

    Pages that would be the same are left. LakeError for a night that is not published, once the index says so; nothing of a night's tables
    depends on its page.
    """
    report_together([night], force=force)


def report_together(nights: Sequence[Night], *, force: bool = False) -> None:
    """The same for many nights, with one look at the warehouse."""
    from recsys_core.privacy.release import shown
    from recsys_core.report import published, write_reports
    from recsys_core.warehouse import connect

    if not nights:
        return
    runner, settings = nights[0].runner, nights[0].settings
    if not settings.report:
        runner.say("report: none is kept, REPORT is empty")
        return
    landed, folder = runner.landing.nights(), Path(settings.report)
    with connect(settings.warehouse, runner.say) as warehouse:
        known = published(warehouse.query)
        # A night that is gone for its age is not one that failed.
        landed = [ds for ds in landed if ds in known or not runner.built_from or ds >= runner.built_from]
        stopped = {ds: names for ds in landed if ds not in known and (names := _stopped(nights[0], ds))}
        there = [night.ds for night in nights if night.ds in known]
        made = write_reports(shown(warehouse.query, settings.k_anonymity), there, folder, runner.lake, landed, stopped, force)
    for ds in there:
        runner.say(f"{ds} report: {folder / f'{ds}.html'}" if ds in made else f"{ds} report: up to date")
    if absent := [night.ds for night in nights if night.ds not in known]:
        why = "; ".join(f"{ds}: {', '.join(stopped.get(ds, ['run its nightly jobs first']))}" for ds in absent)
        raise LakeError(f"no page is made of a night that is not published ({why}); {folder / 'index.html'} says how all nights stand")


def _stopped(night: Night, ds: dt.date) -> list[str]:
    """The blocking checks that failed for a night, of those that the lake holds."""
    from recsys_core.acceptance import acceptances
    from recsys_core.quality import failed

    if night.lake.manifest("quality_result", ds) is None:
        return []
    excused = {(r["table_name"], r["check_name"]) for r in acceptances(night.lake, ds).to_pylist()}
    rows = failed(night.lake.read("quality_result", [ds]).to_pylist())
    return [f"{r['check_name']} ({r['table_name']})" for r in rows if (r["table_name"], r["check_name"]) not in excused]
