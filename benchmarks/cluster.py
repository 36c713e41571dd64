"""What a night costs Spark, by its size and on a cluster: `python -m benchmarks cluster [--events 200000,800000] [--bot 300000]`.

A simulated night of each size goes through `clean`, `aggregate` and `texts`, all by Spark: on one machine with two threads, and on a
standalone cluster of one and of two workers with a core each (processes on loopback). Spark's event log says what was shuffled, broadcast,
spilled and brought to the driver; `laid out` is what tasks leave in the lake for other tasks, by bucket of users. A line through the sizes
is the cost of a million events more. One night more has a robot with so many events, in four files: it must end, and keep `daily_cap`.
"""

from __future__ import annotations

import datetime as dt
import gzip
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from benchmarks import ways
from recsys_core.lake import Lake

DS = dt.date(2026, 3, 2)
JOBS = ("clean", "aggregate", "texts")
BOT = "robot"
_LOCAL = "local[2]"
LAID_OUT = "laid out MB"
MEASURES = ("shuffled MB", LAID_OUT, "broadcast MB", "spilled MB", "to the driver MB", "tasks", "longest task s", "collecting garbage s")


@dataclass(frozen=True)
class Case:
    """A night of so many events on so many workers (0: one machine), with a robot's events beside them."""

    events: int
    workers: int = 0
    bot: int = 0

    def __str__(self) -> str:
        where = f"{self.workers} worker{'s' * (self.workers > 1)}" if self.workers else _LOCAL
        return f"{self.events:,} on {where}{f', one user with {self.bot:,} more' if self.bot else ''}"


def land(folder: Path, case: Case) -> None:
    """The landing zone of a case, made once."""
    from recsys_core.simulate import simulate

    if not folder.exists():
        n = case.events
        simulate(str(folder), DS, 1, users=max(n // 10, 100), items=max(n // 40, 200), events_per_night=n, seed=5, text_share=0.01)
        for part in range(4 if case.bot else 0):
            with gzip.open(folder / "events" / f"ds={DS}" / f"robot-{part}.jsonl.gz", "wt", compresslevel=1, encoding="utf-8") as file:
                file.writelines(_robot(range(part, case.bot, 4)))


def _robot(numbers: range) -> Iterator[str]:
    for n in numbers:
        second, rest = divmod(n, 1000)
        at = f"{DS}T{second // 3600 % 24:02}:{second // 60 % 60:02}:{second % 60:02}.{rest:03}Z"
        yield (
            f'{{"event_id":"robot{n}","user_id":"{BOT}","event_type":"view","ts":"{at}","received_ts":"{at}","session_id":"r","device":'
            f'"desktop","region":"US","lang":"en","item_id":"i{n % 5000}","dwell_s":1.5}}\n'
        )


class Watched(Lake):
    """A lake that knows how much was laid out in it for a while."""

    laid_out = 0

    def remove(self, relative: str) -> None:
        """Remove a folder, and count what is in it."""
        with suppress(FileNotFoundError):
            self.laid_out += self.fs.du(self.path(relative))
        super().remove(relative)


def night(case: Case, landing: Path) -> None:
    """Do the night of a case, and say what it took."""
    from docker.spark_cluster import serve
    from jobs.runner import Runner
    from jobs.settings import Settings

    laps = ways.Laps()
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (root / "log").mkdir()
        log = {"dir": (root / "log").as_uri(), "enabled": "true", "compress": "false", "rolling.enabled": "false"}
        conf, master = {f"spark.eventLog.{name}": value for name, value in log.items()}, _LOCAL
        if case.workers:
            cluster = stack.enter_context(serve(case.workers, memory="2g"))
            os.environ.update(cluster.environment())
            conf, master = cluster.conf | conf, cluster.url
        made = Settings(
            landing=str(landing),
            lake=str(root / "lake"),
            user_key_secret="benchmark",
            spark_master=master,
            spark_conf=conf,
            spark_from_rows=0,
        )
        runner = Runner(made, lambda line: print(line, file=sys.stderr))
        runner.lake = lake = Watched(made.lake)
        runner.spark.range(1).count()
        laps.lap("start")
        spans, laid_out = {}, {}
        for job in JOBS:
            began, before = time.time(), lake.laid_out
            runner.run(job, DS)
            spans[job], laid_out[job] = (began, time.time()), lake.laid_out - before
        laps.lap("first")
        result, kept = _result(lake), _of_robot(lake, case)
        runner.close()
        (written,) = (root / "log").iterdir()
        found = costs(written, spans)
        for job in JOBS:
            found[job][LAID_OUT] = laid_out[job] / 1e6
        laps.say(result, **{f"{job}: {name}": value for job, of in found.items() for name, value in of.items()}, **kept)


def _result(lake: Lake) -> str:
    """Checksums of what the jobs wrote."""
    from jobs import NIGHTLY
    from recsys_core.lake import digest

    return digest({t: m.checksum for job in JOBS for t in NIGHTLY[job].writes if (m := lake.manifest(t, DS))})[:12]


def _of_robot(lake: Lake, case: Case) -> dict[str, float]:
    """How many of the robot's events were left out and kept; the rest would be lost."""
    if not case.bot:
        return {}
    files = lake.read("landing_file", [DS], ["by_reason", "file"]).to_pylist()
    users = lake.read("event_clean", [DS], ["user_key"])["user_key"].value_counts().to_pylist()
    capped = sum(json.loads(f["by_reason"]).get("capped", 0) for f in files if "robot-" in f["file"])
    return {"capped": float(capped), "most of one user": float(max(u["counts"] for u in users))}


def costs(log: Path, spans: dict[str, tuple[float, float]]) -> dict[str, dict[str, float]]:
    """Job → what Spark's event log says of the stages that began while it ran, by `MEASURES`, and how long it took (s)."""
    found = {job: dict.fromkeys(MEASURES, 0.0) | {"s": end - begin} for job, (begin, end) in spans.items()}
    begun: dict[str, float] = {}
    sizes: set[int] = set()
    for line in log.open(encoding="utf-8"):
        event = json.loads(line)
        kind = event["Event"].rpartition(".")[2]
        if kind == "SparkListenerStageSubmitted":
            begun[f"stage {event['Stage Info']['Stage ID']}"] = event["Stage Info"]["Submission Time"] / 1000
        elif kind == "SparkListenerTaskEnd" and (job := _job_at(spans, begun[f"stage {event['Stage ID']}"])):
            _add(found[job], event["Task Metrics"] or {})
        elif kind in ("SparkListenerSQLExecutionStart", "SparkListenerSQLAdaptiveExecutionUpdate"):
            sizes |= {*_broadcasts(event["sparkPlanInfo"])}
            begun.setdefault(f"query {event['executionId']}", event.get("time", 0) / 1000)
        elif kind == "SparkListenerDriverAccumUpdates" and (job := _job_at(spans, begun[f"query {event['executionId']}"])):
            found[job]["broadcast MB"] += sum(n for i, n in event["accumUpdates"] if i in sizes) / 1e6
    return found


def _job_at(spans: dict[str, tuple[float, float]], moment: float) -> str | None:
    return next((job for job, (begin, end) in spans.items() if begin <= moment <= end), None)


def _broadcasts(plan: dict[str, Any]) -> Iterator[int]:
    """Accumulators of the sizes of what a plan broadcasts."""
    if plan["nodeName"].startswith("BroadcastExchange"):
        yield from (m["accumulatorId"] for m in plan["metrics"] if m["name"] == "data size")
    for child in plan["children"]:
        yield from _broadcasts(child)


def _add(sums: dict[str, float], task: dict[str, Any]) -> None:
    sums["tasks"] += 1
    sums["shuffled MB"] += task["Shuffle Write Metrics"]["Shuffle Bytes Written"] / 1e6
    sums["spilled MB"] += task["Disk Bytes Spilled"] / 1e6
    sums["to the driver MB"] += task["Result Size"] / 1e6
    sums["collecting garbage s"] += task["JVM GC Time"] / 1000
    sums["longest task s"] = max(sums["longest task s"], task["Executor Run Time"] / 1000)


def by_job(runs: dict[str, ways.Run]) -> str:
    """The figures of each job of each way as a Markdown table."""
    rows = ["| night | job | s | " + " | ".join(MEASURES) + " |", "|---" * (3 + len(MEASURES)) + "|"]
    for way, run in runs.items():
        for job in JOBS:
            values = [run.figures[f"{job}: {name}"] for name in ("s", *MEASURES)]
            rows.append(f"| {way} | {job} | " + " | ".join(f"{v:,.0f}" if v >= 100 else f"{v:.1f}" for v in values) + " |")
    return "\n".join(rows) + "\n"


def line_through(points: list[tuple[int, float]]) -> tuple[float, float]:
    """(what no events cost, what a million more cost), by least squares.

    >>> line_through([(1_000_000, 5.0), (3_000_000, 9.0)])
    (3.0, 2.0)
    """
    x, y = zip(*((n / 1e6, value) for n, value in points), strict=True)
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum((a - mean_x) ** 2 for a in x)
    return mean_y - slope * mean_x, slope


def fitted(runs: dict[str, ways.Run], sizes: list[int], workers: int) -> str:
    """A note of the line through sizes of one place."""
    at = [(n, runs[str(Case(n, workers))]) for n in sizes]
    fixed, more = line_through([(n, run.first) for n, run in at])
    cpu = line_through([(n, run.cpu) for n, run in at])
    shuffled = line_through([(n, run.figures["shuffled MB"]) for n, run in at])
    laid_out = line_through([(n, run.figures[LAID_OUT]) for n, run in at])
    where = f"{workers} workers" if workers else _LOCAL
    return (
        f"{where}: {fixed:.1f} s and {more:.1f} s for each million events ({cpu[0]:.0f} and {cpu[1]:.0f} CPU s, start included), "
        f"which shuffle {shuffled[1]:,.1f} MB and lay out {laid_out[1]:,.1f} MB"
    )


@click.command(help=__doc__)
@click.option("--events", default="200000,800000", show_default=True, help="events of the nights, comma-separated")
@click.option("--bot", type=click.IntRange(0), default=300_000, show_default=True, help="events of one user beside the smallest night's")
@click.option("--data", type=click.Path(path_type=Path), help="folder of the landing zones, kept  [default: a temporary one]")
@click.option("--way", hidden=True)
def main(events: str, bot: int, data: Path | None, way: str | None) -> None:
    """Land the nights, then do each in each place."""
    sizes = sorted({int(n) for n in events.split(",")})
    cases = [Case(n, workers) for n in sizes for workers in (0, 2)] + [Case(sizes[-1], 1)]
    cases += [Case(sizes[0], 0, bot)] if bot else []
    named = {str(case): case for case in cases}
    if way and data:
        night(named[way], data / f"{named[way].events}-{named[way].bot}")
        return
    root = data or Path(tempfile.mkdtemp())
    try:
        for case in cases:
            land(root / f"{case.events}-{case.bot}", case)
        runs = ways.compare("benchmarks.cluster", [*named], ["--data", str(root), "--events", events, "--bot", str(bot)])
    finally:
        if data is None:
            shutil.rmtree(root)
    print(by_job(runs))
    whole = {way: replace(run, figures=_whole(run.figures)) for way, run in runs.items()}
    differing = [n for n in sizes if len({runs[str(c)].result for c in cases if c.events == n and not c.bot}) > 1]
    notes = [
        f"{' → '.join(JOBS)} of one night in a fresh process; first: all three",
        "all places wrote equal tables" if not differing else "THE PLACES DIFFER",
        *(fitted(whole, sizes, workers) for workers in (0, 2) if len(sizes) > 1),
    ]
    if bot:
        run = runs[str(cases[-1])]
        capped, most = run.figures["capped"], run.figures["most of one user"]
        notes.append(f"of the robot's {bot:,} events {capped:,.0f} were left out as capped; most of one user that were kept: {most:,.0f}")
    ways.show("cluster", whole, [*whole], notes=notes, packages=("pyspark",))
    if differing:
        raise click.ClickException(f"nights of {differing} events differ between one machine and the cluster")


def _whole(figures: dict[str, float]) -> dict[str, float]:
    """Figures over all jobs."""
    return {name: (max if name == "longest task s" else sum)(figures[f"{job}: {name}"] for job in JOBS) for name in MEASURES}


if __name__ == "__main__":
    main()
