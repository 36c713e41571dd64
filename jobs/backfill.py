"""Many nights in one process: in which order, which of them side by side, and one publication for all of them.

Jobs go in the registry's order, each over all nights of a batch, oldest first. That order is right because no job looks back on what it
writes itself: whatever a night needs of earlier nights was written by jobs before it (`graph_markdown` lists it). So the nights of one job
depend on each other in nothing and run side by side, in processes of their own or as jobs of one Spark session. The rows are those of one
night after another.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from jobs import ALL, NIGHTLY, OUTSIDE, Job, is_fact, writer_of
from jobs.workers import SparkNeededError

if TYPE_CHECKING:
    from jobs.runner import Runner
    from jobs.workers import Workers

# Nights that go through the jobs and into the warehouse together.
BATCH = 30


def nights(
    runner: Runner, landed: list[dt.date], jobs: Iterable[str], force: bool, trigger: str, parallel: int, workers: Workers | None = None
) -> None:
    """Run jobs for nights (oldest first), `parallel` nights of a job side by side: in workers where there are any, else those of Spark.

    A night that fails stops those after it; the ones before it are finished and published, then its error is raised.
    """
    wanted = set(jobs)
    for start in range(0, len(landed), BATCH):
        batch = landed[start : start + BATCH]
        last, failure = start + len(batch), None
        for job, spec in NIGHTLY.items():
            if job not in wanted or not batch:
                continue
            runner.say(f"{job}: nights {batch[0]} to {batch[-1]} ({start + 1} to {last} of {len(landed)})")
            if spec.together:
                runner.run_together(job, batch, force, trigger)
                continue
            apart = _apart(spec)
            one = partial(_in_worker, runner, workers) if workers and apart else runner.run
            at_a_time = parallel if apart and (workers or spec.runtime == "spark") else 1
            failed = _first_failure([partial(one, job, ds, force, trigger) for ds in batch], at_a_time)
            if failed:
                batch, failure = batch[: failed[0]], failed[1]
        if failure:
            raise failure


def _apart(job: Job) -> bool:
    """Whether nights of a job can be done at the same time: one that looks back on what it writes itself goes night by night."""
    return not job.in_turn and not any(job.reads.get(table, 1) > 1 for table in job.writes)


def _in_worker(runner: Runner, workers: Workers, job: str, ds: dt.date, force: bool, trigger: str) -> None:
    """Do a night's job in a worker, or here if it turns out to be one for Spark."""
    try:
        workers.run(job, ds, force, trigger)
    except SparkNeededError:
        runner.run(job, ds, force, trigger)


def _first_failure(works: Sequence[Callable[[], None]], parallel: int) -> tuple[int, Exception] | None:
    """Do all of the works in order; (place, error) of the first one that failed. After a failure none is begun."""
    failures: dict[int, Exception] = {}

    def one(place: int) -> None:
        if not failures:
            try:
                works[place]()
            except Exception as error:  # noqa: BLE001 - the caller raises it
                failures[place] = error

    with ThreadPoolExecutor(parallel) as pool:
        list(pool.map(one, range(len(works))))
    return min(failures.items(), default=None, key=lambda f: f[0])


def graph_markdown() -> str:
    """What each job needs of its own night and of earlier ones, as a Markdown table."""
    rows = []
    for name, job in NIGHTLY.items():
        own, earlier = [], []
        for table, nights in job.reads.items():
            maker = writer_of(table)
            text = f"`{table}`" + (f" ({maker})" if maker else "")
            if nights == 1 or table in OUTSIDE:
                own.append(text)
            else:
                kind = "" if is_fact(table) else ", not a fact"
                earlier.append(f"{text}: {'all' if nights == ALL else nights} nights{kind}")
        rows.append(f"| `{name}` | {', '.join(own)} | {'; '.join(earlier) or '–'} |")
    return "\n".join(["| job | needs of its own night | needs of it and the nights before |", "|---|---|---|", *rows]) + "\n"
