"""Many nights of raw logs to published tables: `python -m benchmarks backfill [--nights 4] [--airflow 2]`.

A simulated shop whose first nights are built and trained on, as in `benchmarks night`. Then the nights after them are backfilled on copies
of that lake: by `python -m jobs nights` in one process, the same with two nights at a time in processes of their own, by one command for
each night, and by Airflow on this machine (the first nights of them only). Equal tables are made sure of. Seconds are also given by night.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import click

from benchmarks import night, ways
from benchmarks.ways import Laps
from recsys_core.lake import digest

REPO = Path(__file__).resolve().parent.parent
ONE, TWO, SINGLE, AIRFLOW = "nights, one at a time", "nights, two at a time", "one command a night", "Airflow"
START_S = 600.0


def _range(root: Path, first: dt.date, last: dt.date, parallel: int) -> dict[str, float]:
    return night.run(root, "nights", "--from", first.isoformat(), "--to", last.isoformat(), "--parallel", str(parallel))


def _singly(root: Path, first: dt.date, last: dt.date) -> dict[str, float]:
    found: dict[str, float] = {}
    for day in range((last - first).days + 1):
        for job, seconds in night.run(root, "night", "--ds", (first + dt.timedelta(days=day)).isoformat()).items():
            found[job] = found.get(job, 0.0) + seconds
    return found


def _by_airflow(root: Path, first: dt.date, last: dt.date) -> dict[str, float]:
    """A backfill with four runs at a time; start-up of Airflow left out. Stage → seconds of its tasks, by Airflow's own record."""
    home = root / "airflow"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = night.settings(root) | {"AIRFLOW_HOME": str(home), "AIRFLOW_PORT": str(port)}
    supervisor = str(REPO / "docker" / "standalone.py")
    subprocess.run([sys.executable, supervisor, "up"], env=env, cwd=REPO, check=True, stdout=subprocess.DEVNULL)
    try:
        argv = ["-m", "airflow", "backfill", "create", "--dag-id", "nightly", "--max-active-runs", "4"]
        argv += ["--from-date", first.isoformat(), "--to-date", last.isoformat()]
        for _ in range(5):  # SQLite may be locked: then it is created again, as the README says
            created = subprocess.run([sys.executable, *argv], env=env, cwd=REPO, capture_output=True, text=True, check=False)
            if created.returncode == 0:
                break
        else:
            raise click.ClickException(created.stderr[-2000:])
        begun, wanted = time.perf_counter(), (last - first).days + 1
        while (done := _runs(home)).count("success") < wanted:
            if "failed" in done or time.perf_counter() - begun > START_S * wanted:
                raise click.ClickException(f"Airflow's runs ended as {done}: see {home / 'logs'}")
            time.sleep(1)
        took = _query(home, "SELECT task_id, sum(duration) FROM task_instance WHERE state = 'success' GROUP BY 1")
        return {str(task): float(seconds) for task, seconds in took} | {"backfill": time.perf_counter() - begun}
    finally:
        subprocess.run([sys.executable, supervisor, "down"], env=env, cwd=REPO, check=False, stdout=subprocess.DEVNULL)


def _query(home: Path, sql: str) -> list[tuple[str | float, ...]]:
    with contextlib.closing(sqlite3.connect(f"file:{home / 'airflow.db'}?mode=ro", uri=True, timeout=30)) as database:
        return database.execute(sql).fetchall()


def _runs(home: Path) -> list[str]:
    return [str(state) for (state,) in _query(home, "SELECT state FROM dag_run WHERE dag_id = 'nightly' AND run_type = 'backfill'")]


def _way(made: Path, way: str, build: Callable[[Path], dict[str, float]], first: dt.date, last: dt.date, compared: dt.date) -> None:
    """Build the nights on a copy; what is compared with other ways are the nights up to `compared`."""
    laps = Laps()
    with tempfile.TemporaryDirectory(dir=made) as folder:
        root = night.copied(made, Path(folder))
        laps.skip()
        took = build(root)
        whole = took.pop("backfill", None)
        laps.lap("first")
        figures = {"s a night": (whole or laps.of("first")) / ((last - first).days + 1)}
        found = night.checksums(root, first, compared)
        (made / f"{way}.json").write_text(json.dumps(found))
        laps.say(digest(found)[:12], **figures, **took)


def _differing(made: Path, ways_: Sequence[str]) -> list[str]:
    """Folders of partitions that not all ways hold with equal contents."""
    held = [json.loads((made / f"{way}.json").read_text()) for way in ways_]
    return sorted(folder for folder in set().union(*held) if len({found.get(folder) for found in held}) > 1)


@click.command(help=__doc__)
@click.option("--nights", type=click.IntRange(1), default=4, show_default=True, help="nights that are backfilled")
@click.option("--airflow", type=click.IntRange(0), default=2, show_default=True, help="of them by Airflow; 0 leaves it out")
@click.option("--single", type=click.IntRange(0), default=2, show_default=True, help="of them by one command each")
@click.option("--events", type=click.IntRange(1), default=100_000, show_default=True, help="events a night")
@click.option("--users", type=click.IntRange(1), default=10_000, show_default=True)
@click.option("--items", type=click.IntRange(48), default=5_000, show_default=True)
@click.option("--before", type=click.IntRange(1), default=3, show_default=True, help="nights built and trained on before")
@click.option("--data", type=click.Path(path_type=Path), help="folder to work in, kept  [default: a temporary one]")
@click.option("--way", hidden=True)
def main(
    nights: int, airflow: int, single: int, events: int, users: int, items: int, before: int, data: Path | None, way: str | None
) -> None:
    """Prepare the shop, then time the ways."""
    first = night.FIRST + dt.timedelta(days=before)

    def after(n: int) -> dt.date:
        return first + dt.timedelta(days=n - 1)

    last = after(nights)
    counts = {ONE: nights, TWO: nights, SINGLE: min(single, nights), AIRFLOW: min(airflow, nights)}
    if way and data:
        compared, own = after(min(n for n in counts.values() if n)), after(counts[way])
        builds: dict[str, Callable[[Path], dict[str, float]]] = {
            ONE: lambda root: _range(root, first, last, 1),
            TWO: lambda root: _range(root, first, last, 2),
            SINGLE: lambda root: _singly(root, first, own),
            AIRFLOW: lambda root: _by_airflow(root, first, own),
        }
        _way(data, way, builds[way], first, own, compared)
        return
    names = [name for name, n in counts.items() if n]
    with tempfile.TemporaryDirectory() as folder:
        root = data or Path(folder)
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        shop = {"users": users, "items": items, "events_per_night": events, "text_share": 0.01}
        night.prepare(root, before + nights, shop, before)
        arguments = [
            "--data",
            str(root),
            "--nights",
            str(nights),
            "--airflow",
            str(airflow),
            "--single",
            str(single),
            "--before",
            str(before),
        ]
        found = ways.compare("benchmarks.backfill", names, arguments, timeout_s=START_S * nights)
        differing = _differing(root, names)
    kept = {w: replace(r, figures={"nights": counts[w], "s a night": r.figures["s a night"]}) for w, r in found.items()}
    notes = [
        f"{events:,} events a night, {users:,} users, {items:,} items, {before} nights before; the first column of seconds holds start-up"
    ]
    for name in names:
        longest = sorted(((s, j) for j, s in found[name].figures.items() if j != "s a night"), reverse=True)[:7]
        notes.append(f"{name}, s: " + ", ".join(f"{job} {seconds / counts[name]:.1f}" for seconds, job in longest) + " a night")
    notes.append(f"THE WAYS DIFFER in {', '.join(differing)}" if differing else "all ways wrote equal tables of the nights that they share")
    ways.show("backfill", kept, names, (), notes, ("pyspark", "duckdb", "torch"))
    reached = min(found[name].figures["s a night"] for name in (ONE, TWO))
    ways.aim(f"a backfill of {nights} nights of {events:,} events, s a night", "≤ 6", f"{reached:.1f}", reached <= 6)
    if differing:
        raise click.ClickException(f"the ways differ in {', '.join(differing)}")


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    main()
