"""Watches jobs: what each run of a job cost goes into the ledger `job_run`, and to metrics and lineage where a site asks for them.

Nothing of this decides what a job writes, and none of it can fail one: what cannot be noted is said, and the job goes on.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jobs.observe import logs
from jobs.observe.cost import Cost, Meter
from recsys_core import job_runs
from recsys_core.lake import canonical_json

if TYPE_CHECKING:
    from jobs.night import Night
    from jobs.observe.lineage import Lineage
    from jobs.settings import Settings


class Observer:
    """Watches the runs of one process."""

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self.settings, self.say, self.meter = settings, say, Meter()
        self._lineage: Lineage | None = None

    @contextmanager
    def watching(self, nights: Sequence[Night]) -> Iterator[None]:
        """Watch a job in the block, for a night or for many that are done together and share what it costs."""
        for night in nights:
            self._begun(night)
        started, cost, failed = time.time(), self.meter.begin(), None
        try:
            with logs.about(**(logs.of_night(nights[0]) if len(nights) == 1 else {"job": nights[0].job})):
                yield
        except BaseException as error:
            failed = error
            raise
        finally:
            spent = self.meter.end(cost).share(len(nights))
            if not getattr(failed, "goes_on_elsewhere", False):
                for night in nights:
                    self._ended(night, _row(night, spent, started, len(nights), failed))

    def _begun(self, night: Night) -> None:
        if self.settings.lineage_file:
            self._safely(lambda: self.lineage.started(night))

    def _ended(self, night: Night, row: dict[str, Any]) -> None:
        self._safely(lambda: job_runs.note(night.lake, row))
        if self.settings.lineage_file:
            self._safely(lambda: self.lineage.ended(night, row))
        if folder := self.settings.metrics_folder:
            from jobs.observe import metrics

            self._safely(lambda: metrics.write_job(folder, row))
            if night.job == "publish":
                self._safely(lambda: metrics.write_status(self.settings))

    def _safely(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - a job is not failed by who watches it
            self.say(f"not noted: {type(error).__name__}: {error}")

    @property
    def lineage(self) -> Lineage:
        """Where lineage goes; its library is loaded when first asked for."""
        if self._lineage is None:
            from jobs.observe.lineage import Lineage

            self._lineage = Lineage(self.settings)
        return self._lineage


def _row(night: Night, spent: Cost, started: float, n_nights: int, failed: BaseException | None) -> dict[str, Any]:
    """A row of the table job_run. Of what is done together, a night whose rows went out did not fail."""
    assert night.attempt is not None, "a job runs under an attempt"
    counts = {table: made.rows for table, made in night.written.items()} | night.published
    moments = [dt.datetime.fromtimestamp(at, dt.UTC) for at in (started, time.time())]
    return {
        "ds": night.ds,
        "run_id": night.stamp.run_id,
        "attempt": night.attempt.number,
        "job": night.job,
        "stage": night.spec.stage,
        "state": "failed" if failed is not None and not night.published else "done",
        "error": type(failed).__name__ if failed is not None and not night.published else None,
        "trigger": night.trigger,
        "started_at": moments[0],
        "ended_at": moments[1],
        "n_nights": n_nights,
        "wall_s": round(spent.wall_s, 3),
        "cpu_s": round(spent.cpu_s, 3),
        "peak_rss_bytes": spent.peak_rss_bytes,
        "read_bytes": spent.read_bytes,
        "written_bytes": spent.written_bytes,
        "row_count": sum(counts.values()),
        "rows_by_table": canonical_json(counts),
    }
