"""Processes beside this one that do jobs of single nights, so that a backfill uses every core for what Python does alone."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from jobs.observe import logs
from jobs.runner import Runner

if TYPE_CHECKING:
    from jobs.settings import Settings

DIED = (
    "a worker ended in the middle of the work: it was killed, or memory ran out; nothing half-written is live, so free some memory, "
    "or take fewer nights at a time (--parallel), and run the command again"
)
# What libraries of matrix products read when they are loaded.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class SparkNeededError(Exception):
    """A job asked for Spark in a process that has none: the night is to be done where the session is."""

    goes_on_elsewhere = True


class _Beside(Runner):
    """Runs jobs in a worker: one Spark session for all is enough, and it is not here."""

    @cached_property
    def spark(self) -> NoReturn:
        raise SparkNeededError


_runner: _Beside | None = None


class Workers:
    """`processes` workers with the settings of a runner; they live until `close`, and never longer than this process."""

    def __init__(self, runner: Runner, processes: int) -> None:
        self._say = runner.say
        threads = max(1, (os.cpu_count() or 1) // processes)
        given = (runner.settings, runner.models.use_current, runner.now, threads)
        # While they live they are all of this process's own children of that kind, and keep their own accounts.
        runner.observer.meter.apart = lambda: [child.pid for child in multiprocessing.active_children() if child.pid]
        self._pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _begin, given)

    def run(self, job: str, ds: dt.date, force: bool, trigger: str) -> None:
        """Run a job for a night in one of the workers, and say what it says once it is done. SparkNeededError where it cannot."""
        try:
            lines, error = self._pool.submit(_run, job, ds, force, trigger).result()
        except BrokenProcessPool as broken:
            raise RuntimeError(f"{ds.isoformat()} {job}: {DIED}") from broken
        if not isinstance(error, SparkNeededError):
            for line, about in lines:
                with logs.about(**about):
                    self._say(line)
        if error:
            raise error

    def close(self) -> None:
        """End the workers."""
        self._pool.shutdown(cancel_futures=True)


def _begin(settings: Settings, use_current_models: bool, now: dt.datetime | None, threads: int) -> None:
    """Make a worker ready: matrix products take `threads` threads, and it ends when its parent does."""
    from threadpoolctl import threadpool_limits

    global _runner
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for name in _THREADS:  # of libraries that are still to be loaded
        os.environ.setdefault(name, str(threads))
    threadpool_limits(threads)
    _runner = _Beside(settings, use_current_models=use_current_models, now=now)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent"
    parent.join()
    os._exit(1)


def _run(job: str, ds: dt.date, force: bool, trigger: str) -> tuple[list[tuple[str, dict[str, Any]]], Exception | None]:
    """(lines said, each with what it is about, the error that ended the job)."""
    assert _runner is not None, "a worker was not begun"
    lines: list[tuple[str, dict[str, Any]]] = []
    _runner.say = lambda line: lines.append((line, logs.current()))
    try:
        _runner.run(job, ds, force, trigger)
    except Exception as error:  # noqa: BLE001 - it is raised where the night was asked for
        return lines, error
    return lines, None
