"""Ways of doing one job, side by side: each in a process of its own, in turns; medians, peak of memory, and tables with ratios.

A benchmark whose command is called with `--way NAME` does that way and ends with `Laps.say`; called without, it calls `compare`, which
starts it once for each way and round, then `show`. What is shown is also kept (`RECORDS`, `AIMS`) for whoever runs several benchmarks.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any

import click
import psutil

_MARK = "way: "
# What `show` and `aim` were given since the process began.
RECORDS: list[dict[str, Any]] = []
AIMS: list[dict[str, Any]] = []


@dataclass(frozen=True)
class Run:
    """What a way took, in seconds of the wall unless said otherwise; medians over rounds where there were several.

    start    until it could begin: imports, sessions, data that is no part of the job
    first    the first call in a fresh process, what a night sees
    warm     the median of further calls in the same process; None without any
    cpu      seconds of all processors, of the process and all below it, everything included
    peak_mb  most memory of the process and all below it at a time (proportional set size)
    result   what came out, as text: ways with equal texts did the same
    figures  more numbers by name
    """

    start: float
    first: float
    warm: float | None
    cpu: float
    peak_mb: float
    result: str = ""
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def best(self) -> float:
        """The warm call, else the first."""
        return self.first if self.warm is None else self.warm


class Laps:
    """Times of a way, taken in its own process."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self._laps: dict[str, list[float]] = {}

    def lap(self, name: str) -> float:
        """End a lap of that name ("start", "first", "warm" or any other); what follows belongs to the next one."""
        now = time.perf_counter()
        took, self._begun = now - self._begun, now
        self._laps.setdefault(name, []).append(took)
        return took

    def of(self, name: str) -> float:
        """Seconds of the last lap of that name."""
        return self._laps[name][-1]

    def skip(self) -> None:
        """Leave the time since the last lap out."""
        self._begun = time.perf_counter()

    def say(self, result: Any = "", **figures: float) -> None:
        """Print what `compare` reads; laps of other names become figures."""
        times = {name: statistics.median(laps) for name, laps in self._laps.items()}
        known = {name: times.pop(name, None) for name in ("start", "first", "warm")}
        print(_MARK + json.dumps({**known, "result": str(result), "figures": times | figures}), flush=True)


def compare(module: str, ways: Sequence[str], arguments: Sequence[str] = (), rounds: int = 1, timeout_s: float = 900) -> dict[str, Run]:
    """Run `python -m MODULE ARGUMENTS --way W` for each way, `rounds` times in turns; way → medians. A way that fails ends it all."""
    runs: dict[str, list[Run]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            runs[way].append(_run([sys.executable, "-m", module, *arguments, "--way", way], way, timeout_s))
    return {way: _median(found) for way, found in runs.items()}


def _run(command: list[str], way: str, timeout_s: float) -> Run:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    watch = _Watch(process.pid)
    try:
        said, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        raise click.ClickException(f"{way} took more than {timeout_s:,.0f} s") from None
    finally:
        peak, cpu = watch.stop()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = max(cpu, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    line = next((line for line in reversed(said.splitlines()) if line.startswith(_MARK)), None)
    if process.returncode or line is None:
        raise click.ClickException(f"{way} failed (exit code {process.returncode})")
    found = json.loads(line.removeprefix(_MARK))
    return Run(found["start"] or 0.0, found["first"] or 0.0, found["warm"], cpu, peak, found["result"], found["figures"])


def _median(runs: Sequence[Run]) -> Run:
    def of(values: Sequence[float | None]) -> float | None:
        known = [v for v in values if v is not None]
        return statistics.median(known) if known else None

    figures = {name: of([r.figures.get(name) for r in runs]) or 0.0 for name in runs[0].figures}
    whole = {name: of([getattr(r, name) for r in runs]) for name in ("start", "first", "warm", "cpu", "peak_mb")}
    return Run(**whole, result=runs[0].result, figures=figures)  # type: ignore[arg-type]


class _Watch:
    """Memory and processor time of a process tree, looked at four times a second."""

    def __init__(self, pid: int) -> None:
        self._pid, self._done, self._peak = pid, threading.Event(), 0
        self._cpu: dict[tuple[int, float], float] = {}
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while not self._done.wait(0.25):
            total = 0
            try:
                tree = [psutil.Process(self._pid), *psutil.Process(self._pid).children(recursive=True)]
            except psutil.Error:
                continue
            for process in tree:
                try:
                    times = process.cpu_times()
                    self._cpu[process.pid, process.create_time()] = times.user + times.system
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self._peak = max(self._peak, total)

    def stop(self) -> tuple[float, float]:
        """(peak in MB, seconds of all processors seen)."""
        self._done.set()
        self._thread.join()
        return self._peak / 1e6, sum(self._cpu.values())


def versions(*packages: str) -> str:
    """The packages' versions in one line."""
    return ", ".join(f"{name} {metadata.version(name)}" for name in packages)


def load() -> str:
    """How busy the machine was, in one line."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def show(
    name: str,
    runs: Mapping[str, Run],
    ours: Sequence[str],
    floors: Sequence[str] = (),
    notes: Sequence[str] = (),
    packages: Sequence[str] = (),
) -> None:
    """Print the runs as a Markdown table, with ratios to the best way that is neither ours nor a floor and to the fastest floor.

    name      of the table
    ours      ways that are the product's
    floors    ways that do less than the job, and bound it
    packages  whose versions are told
    """
    rivals = [way for way in runs if way not in ours and way not in floors]
    best_first = min((runs[w].first for w in rivals), default=None)
    best = min((runs[w].best for w in rivals), default=None)
    floor = min((runs[w].best for w in floors), default=None)
    figures = list(dict.fromkeys(figure for run in runs.values() for figure in run.figures))
    print(
        "| way | start s | first s | warm s | × best other, first / warm | × floor | CPU s | peak MB |"
        + "".join(f" {f} |" for f in figures)
    )
    print("|---" * (8 + len(figures)) + "|")
    for way, run in runs.items():
        title = f"**{way}**" if way in ours else f"{way} (floor)" if way in floors else way
        ratio = f"{_ratio(run.first, best_first)} / {_ratio(run.best, best)}" if way not in floors else ""
        warm = "" if run.warm is None else _seconds(run.warm)
        cells = [
            title,
            _seconds(run.start),
            _seconds(run.first),
            warm,
            ratio,
            _ratio(run.best, floor),
            _seconds(run.cpu),
            f"{run.peak_mb:,.0f}",
        ]
        print(f"| {' | '.join(cells)} |" + "".join(f" {_figure(run.figures.get(f))} |" for f in figures))
    said = [*notes, "; ".join([load(), versions(*packages)] if packages else [load()])]
    print("\n" + "\n".join(f"- {note}" for note in said) + "\n")
    rows = {way: asdict(run) | {"kind": "ours" if way in ours else "floor" if way in floors else "other"} for way, run in runs.items()}
    RECORDS.append({"name": name, "ways": rows, "notes": said, "python": platform.python_version()})


def aim(what: str, goal: str, reached: str, met: bool) -> None:
    """Keep what was aimed at beside what was reached, for the table of goals; say it."""
    AIMS.append({"what": what, "goal": goal, "reached": reached, "met": met})
    print(f"- goal: {what} {goal}; reached {reached}{'' if met else ', not met'}\n")


def _seconds(value: float) -> str:
    return f"{value:,.1f}" if value >= 10 else f"{value:.2f}"


def _ratio(value: float, other: float | None) -> str:
    return f"{value / other:.2f}" if other else ""


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
