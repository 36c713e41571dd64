"""A small night from raw logs to published tables, in fresh processes: `python -m benchmarks night [--events 100000]`.

A simulated shop of a few nights is built and trained first, so that the night finds its catalogue embedded, a topic model and a history.
Each way then runs the same night on a copy of that lake and warehouse: in one command, with Spark for all that Spark can do, stage by
stage as Airflow runs it, and once more when nothing is left to do. DuckDB's reading, dropping of repeated ids and counting of the night's
events stands beside them as the floor of its first two of fifteen jobs.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import click

from benchmarks import ways
from benchmarks.ways import Laps
from jobs import NIGHTLY, stages

FIRST = dt.date(2026, 3, 2)
SECRET = "of a simulated shop"
_TOOK = re.compile(r"^\S+ (\w+): ([\d.]+) s\b")


def settings(root: Path, **more: str) -> dict[str, str]:
    """The environment of commands on the shop below `root`."""
    own = {"LANDING": root / "landing", "LAKE": root / "lake", "WAREHOUSE": f"duckdb:///{root / 'warehouse.duckdb'}"}
    (file := root / "settings.env").touch()  # without one of its own Airflow would take the demo's
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "SETTINGS_FILE")}
    return kept | {k: str(v) for k, v in own.items()} | {"USER_KEY_SECRET": SECRET, "SETTINGS_FILE": str(file)} | more


def run(root: Path, *argv: str, **more: str) -> dict[str, float]:
    """Job → seconds that `python -m jobs ARGV` says it took, of all nights together."""
    done = subprocess.run([sys.executable, "-m", "jobs", *argv], env=settings(root, **more), capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"jobs {' '.join(argv)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    found: dict[str, float] = {}
    for line in done.stdout.splitlines():
        if match := _TOOK.match(line):
            found[match[1]] = found.get(match[1], 0.0) + float(match[2])
    return found


def prepare(root: Path, nights: int, shop: dict[str, float], trained: int) -> None:
    """Simulate `nights` nights below `root`, build the first `trained` of them, train on those."""
    from recsys_core.simulate import simulate

    simulate(str(root / "landing"), FIRST, nights, seed=5, **shop)  # type: ignore[arg-type]
    last = (FIRST + dt.timedelta(days=trained - 1)).isoformat()
    run(root, "nights", "--from", FIRST.isoformat(), "--to", last)
    run(root, "training", "--ds", last)


def checksums(root: Path, first: dt.date, last: dt.date) -> dict[str, str]:
    """What each table holds of these nights: partition's folder → checksum; not vectors, which whoever met their text first has written."""
    found = {}
    for path in sorted((root / "lake").glob("[!_]*/**/_manifest.json")):
        if "text_embedding" in path.parts:
            continue
        if path.parent.name.startswith("ds=") or path.parent.parent.name.startswith("ds="):
            manifest = json.loads(path.read_text(encoding="utf-8"))
            if first.isoformat() <= manifest["ds"] <= last.isoformat() and not path.parent.name.startswith("run="):
                found[str(path.parent.relative_to(root / "lake"))] = manifest["checksum"]
    return found


def copied(made: Path, to: Path) -> Path:
    """A lake, warehouse and landing zone of its own below `to`, as those below `made`."""
    shutil.copytree(made / "lake", to / "lake")
    shutil.copy(made / "warehouse.duckdb", to / "warehouse.duckdb")
    (to / "landing").symlink_to(made / "landing")
    return to


def _whole(made: Path, ds: dt.date, **more: str) -> None:
    laps = Laps()
    with tempfile.TemporaryDirectory(dir=made) as folder:
        root = copied(made, Path(folder))
        laps.skip()
        took = run(root, "night", "--ds", ds.isoformat(), **more)
        laps.lap("first")
        again = Laps()
        run(root, "night", "--ds", ds.isoformat(), **more)
        took["again"] = again.lap("again")
        laps.say(_digest(root, ds), **took)


def _stages(made: Path, ds: dt.date) -> None:
    laps = Laps()
    with tempfile.TemporaryDirectory(dir=made) as folder:
        root = copied(made, Path(folder))
        laps.skip()
        took: dict[str, float] = {}
        for stage in stages(NIGHTLY):
            took |= run(root, "stage", stage, "--ds", ds.isoformat())
        laps.lap("first")
        laps.say(_digest(root, ds), **took)


def _digest(root: Path, ds: dt.date) -> str:
    from recsys_core.lake import digest

    return digest(checksums(root, ds, ds))[:12]


def _duckdb(made: Path, ds: dt.date) -> None:
    import duckdb

    laps = Laps()
    connection = duckdb.connect(config={"threads": 2})
    source = f"read_json('{made}/landing/events/ds={ds}/*', format='newline_delimited', ignore_errors=true)"
    with tempfile.TemporaryDirectory(dir=made) as folder:
        laps.lap("start")
        connection.execute(
            f"COPY (SELECT user_id, item_id, event_type, count(*) AS n, max(ts) AS last FROM "
            f"(SELECT DISTINCT ON (event_id) * FROM {source}) GROUP BY ALL) TO '{folder}/rows.parquet'"
        )
        laps.lap("first")
    laps.say()


@click.command(help=__doc__)
@click.option("--events", type=click.IntRange(1), default=100_000, show_default=True, help="events a night")
@click.option("--users", type=click.IntRange(1), default=10_000, show_default=True)
@click.option("--items", type=click.IntRange(48), default=5_000, show_default=True)
@click.option("--text-share", type=click.FloatRange(0, 0.5), default=0.01, show_default=True, help="share of events with new text")
@click.option("--before", type=click.IntRange(1), default=3, show_default=True, help="nights built and trained on before")
@click.option("--rounds", type=click.IntRange(1), default=1, show_default=True)
@click.option("--data", type=click.Path(path_type=Path), help="folder to work in, kept  [default: a temporary one]")
@click.option("--way", hidden=True)
def main(events: int, users: int, items: int, text_share: float, before: int, rounds: int, data: Path | None, way: str | None) -> None:
    """Prepare the shop, then time the ways."""
    ds = FIRST + dt.timedelta(days=before)
    if way and data:
        done = {
            "in one command": lambda: _whole(data, ds),
            "in one command, all by Spark": lambda: _whole(data, ds, SPARK_FROM_ROWS="0"),
            "stage by stage": lambda: _stages(data, ds),
            "DuckDB, events alone": lambda: _duckdb(data, ds),
        }
        done[way]()
        return
    with tempfile.TemporaryDirectory() as folder:
        root = data or Path(folder)
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        shop = {"users": users, "items": items, "events_per_night": events, "text_share": text_share}
        prepare(root, before + 1, shop, before)
        ours = ["in one command", "in one command, all by Spark", "stage by stage"]
        arguments = ["--data", str(root), "--before", str(before)]
        found = ways.compare("benchmarks.night", [*ours, "DuckDB, events alone"], arguments, rounds)
    results = {found[w].result for w in ours}
    whole = found[ours[0]]
    longest = sorted(((s, j) for j, s in whole.figures.items() if j in NIGHTLY), reverse=True)
    parts = ", ".join(f"{job} {seconds:.1f}" for seconds, job in longest[:8])
    kept = {w: replace(r, figures={k: v for k, v in r.figures.items() if k == "again"}) for w, r in found.items()}
    notes = [
        f"{events:,} events, {users:,} users, {items:,} items, {text_share:.0%} of events with new text, {before} nights before",
        f"the longest jobs in one command, s: {parts}; what is left is starting, reading settings and looking what is up to date",
        "all ways wrote equal tables" if len(results) == 1 else "THE WAYS DIFFER",
        "`again`: the same command once more, when all is up to date",
    ]
    ways.show("night", kept, ours, ["DuckDB, events alone"], notes, ("pyspark", "duckdb", "torch"))
    ways.aim(f"a cold night of {events:,} events, s", "≤ 45", f"{whole.first:.1f}", whole.first <= 45)
    ways.aim("the same with nothing to do, s", "≤ 15", f"{whole.figures['again']:.1f}", whole.figures["again"] <= 15)
    if len(results) > 1:
        raise click.ClickException(f"the ways differ: {results}")


if __name__ == "__main__":
    main()
