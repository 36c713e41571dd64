"""Cleaning one night beside Spark's own JSON reader and DuckDB's: `python -m benchmarks.clean [--events 2000000] [--only ours,spark]`.

Each way reads the same gzip files, drops repeated ids, keeps the night and writes what each user did with each item as Parquet; the rows
must be equal. Ours does all of `clean` and `aggregate` besides: strict parsing, quarantine, keys for users, texts, ledgers, sessions. Each
way runs in a process of its own; the peak is the memory of the whole process tree (proportional set size).
"""

from __future__ import annotations

import datetime as dt
import gzip
import json
import multiprocessing
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import psutil

DAY = dt.date(2026, 1, 5)
KINDS = (("view", 60), ("click", 20), ("search", 4), ("add_to_cart", 6), ("purchase", 5), ("rating", 3), ("review", 2))
SCHEMA = (
    "event_id string, user_id string, item_id string, event_type string, ts timestamp, received_ts timestamp, session_id string, "
    "device string, region string, lang string, dwell_s double, price double, quantity bigint, rating double, text string, query string"
)
COUNTS = ("view", "click", "add_to_cart", "purchase", "rating", "review")


def write_file(job: tuple[str, int, int, int]) -> None:
    """One gzip file of events, 3 % of them delivered twice, 0.1 % broken."""
    path, number, n, users = job
    draw = random.Random(number)
    kinds, weights = zip(*KINDS, strict=True)
    with gzip.open(path, "wb", compresslevel=5) as file:
        for i in range(n):
            kind, second = draw.choices(kinds, weights)[0], draw.randrange(86_400)
            at = f"2026-01-05T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
            row: dict[str, Any] = {
                "event_id": f"e-{number}-{i}",
                "user_id": f"u{(user := int(users * draw.random() ** 1.2))}",
                "item_id": f"i{int(20_000 * draw.random() ** 3)}",
                "event_type": kind,
                "ts": f"{at}.{draw.randrange(1000):03}Z",
                "received_ts": f"{at}.999Z",
                "session_id": f"s{user}-{second // 21_600}",
                "device": draw.choice(("mobile", "desktop")),
                "lang": draw.choice(("en", "zh")),
            }
            if kind == "view":
                row["dwell_s"] = draw.randrange(600) / 10
            elif kind == "search":
                row |= {"query": draw.choice(("red bicycle", "wooden train", "红色自行车"))}
            elif kind == "purchase":
                row |= {"price": draw.randrange(1, 10_000) / 100, "quantity": draw.randrange(1, 4)}
            elif kind in ("rating", "review"):
                row["rating"] = draw.randrange(1, 6)
                if kind == "review":
                    row["text"] = draw.choice(("really a good train, would buy again", "很好玩的玩具，孩子喜欢"))
            line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
            file.write(line * (2 if draw.random() < 0.03 else 1))
            if draw.random() < 0.001:
                file.write(line[: len(line) // 2] + b"\n")


def make(root: Path, events: int, files: int) -> None:
    """The landing zone, made once below `root`."""
    folder = root / f"landing-{events}-{files}" / "events" / f"ds={DAY}"
    if folder.is_dir():
        return
    hidden = folder.with_name("_making")
    hidden.mkdir(parents=True, exist_ok=True)
    jobs = [(str(hidden / f"part-{n}.jsonl.gz"), n, events // files, events // 20) for n in range(files)]
    with multiprocessing.Pool() as pool:
        pool.map(write_file, jobs)
    hidden.rename(folder)


def ours(landing: Path, out: Path) -> dict[str, float]:
    """`clean`, then `aggregate`."""
    from jobs.runner import Runner
    from jobs.settings import Settings

    runner = Runner(Settings(landing=str(landing), lake=str(out), user_key_secret="benchmark"), lambda line: print(line, file=sys.stderr))
    times = {}
    for name in ("start", "clean", "aggregate"):
        began = time.perf_counter()
        if name == "start":
            runner.spark.range(1).count()
        else:
            runner.run(name, DAY, force=True)
        times[name] = time.perf_counter() - began
    (out / "rows.txt").write_text(runner.lake.manifest("user_item_day", DAY).files[0].rsplit("/", 1)[0])  # type: ignore[union-attr]
    runner.close()
    return times


def spark(landing: Path, out: Path) -> dict[str, float]:
    """`spark.read.json` with a schema, bad lines dropped."""
    from pyspark.sql import functions as F

    from recsys_core.spark import session

    began = time.perf_counter()
    running = session()
    running.range(1).count()
    started = time.perf_counter()
    rows = running.read.schema(SCHEMA + ", _corrupt string").json(
        f"{landing}/events/ds={DAY}", mode="PERMISSIVE", columnNameOfCorruptRecord="_corrupt"
    )
    rows = rows.where("event_id IS NOT NULL AND user_id IS NOT NULL AND _corrupt IS NULL").dropDuplicates(["event_id"])
    rows = rows.where((F.col("ts") >= F.lit("2026-01-05")) & (F.col("ts") < F.lit("2026-01-06")) & F.col("item_id").isNotNull())
    counted = [F.count_if(F.col("event_type") == t).alias(f"n_{t}") for t in COUNTS]
    found = rows.groupBy("user_id", "item_id").agg(F.count(F.lit(1)).alias("n_events"), *counted, F.max("ts").alias("last_event_ts"))
    found.coalesce(4).write.parquet(str(out / "rows"))
    (out / "rows.txt").write_text("rows")
    running.stop()
    return {"start": started - began, "read, drop repeats, aggregate": time.perf_counter() - started}


def duckdb(landing: Path, out: Path) -> dict[str, float]:
    """DuckDB's JSON reader, bad lines ignored."""
    import duckdb as engine

    began = time.perf_counter()
    connection = engine.connect(config={"memory_limit": "4GB", "threads": 2})
    types = {"double": "DOUBLE", "bigint": "BIGINT", "timestamp": "TIMESTAMPTZ", "string": "VARCHAR"}
    columns = {name: types[kind] for name, kind in (column.split() for column in SCHEMA.split(", "))}
    counted = ", ".join(f"count(*) FILTER (event_type = '{t}') AS n_{t}" for t in COUNTS)
    connection.execute(
        f"COPY (SELECT user_id, item_id, count(*) AS n_events, {counted}, max(ts) AS last_event_ts "
        f"FROM (SELECT DISTINCT ON (event_id) * FROM read_json('{landing}/events/ds={DAY}/*.gz', format='newline_delimited', "
        f"ignore_errors=true, columns={columns})) "
        f"WHERE event_id IS NOT NULL AND user_id IS NOT NULL AND item_id IS NOT NULL AND ts >= '2026-01-05 00:00:00+00' "
        f"AND ts < '2026-01-06 00:00:00+00' GROUP BY 1, 2) TO '{out / 'rows.parquet'}'"
    )
    (out / "rows.txt").write_text("rows.parquet")
    return {"read, drop repeats, aggregate": time.perf_counter() - began}


WAYS: dict[str, Callable[[Path, Path], dict[str, float]]] = {"ours": ours, "spark": spark, "duckdb": duckdb}


def totals(out: Path) -> tuple[int, ...]:
    """(rows, events, events by type) of what a way wrote."""
    import duckdb as engine

    place = out / (out / "rows.txt").read_text()
    sums = ", ".join(f"sum(n_{t})" for t in ("events", *COUNTS))
    found = engine.sql(f"SELECT count(*), {sums} FROM read_parquet('{place if place.is_file() else f'{place}/*.parquet'}')").fetchall()[0]
    return tuple(int(v) for v in found)


def peak_of(process: subprocess.Popen[str]) -> Callable[[], float]:
    """Watches the memory of a process tree; the answer stops it and gives the peak in MB."""
    done, peak = threading.Event(), [0]

    def watch() -> None:
        while not done.wait(0.25):
            try:
                tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
                peak[0] = max(peak[0], sum(p.memory_full_info().pss for p in tree))
            except psutil.Error:
                continue

    thread = threading.Thread(target=watch)
    thread.start()

    def stop() -> float:
        done.set()
        thread.join()
        return peak[0] / 1e6

    return stop


@click.command()
@click.option("--events", default=2_000_000, show_default=True)
@click.option("--files", default=8, show_default=True)
@click.option("--rounds", default=1, show_default=True, help="rounds, the ways taking turns; medians are shown")
@click.option("--only", default=",".join(WAYS), show_default=True)
@click.option("--data", type=click.Path(path_type=Path), default=Path(tempfile.gettempdir()) / "clean-benchmark", show_default=True)
@click.option("--way", hidden=True)
@click.option("--out", hidden=True, type=click.Path(path_type=Path))
def main(events: int, files: int, rounds: int, only: str, data: Path, way: str | None, out: Path | None) -> None:
    """Time each way and compare what it wrote."""
    landing = data / f"landing-{events}-{files}"
    if way and out:
        print(json.dumps(WAYS[way](landing, out)))
        return
    make(data, events, files)
    measured: dict[str, list[tuple[float, float, dict[str, float]]]] = {}
    results: dict[str, tuple[int, ...]] = {}
    for _ in range(rounds):
        for name in only.split(","):
            with tempfile.TemporaryDirectory(dir=data) as folder:
                command = [sys.executable, "-m", "benchmarks.clean", "--events", str(events), "--files", str(files), "--data", str(data)]
                began = time.perf_counter()
                process = subprocess.Popen([*command, "--way", name, "--out", folder], stdout=subprocess.PIPE, text=True)
                peak = peak_of(process)
                said, _ = process.communicate()
                wall = time.perf_counter() - began
                memory = peak()
                if process.returncode:
                    raise click.ClickException(f"{name} failed")
                measured.setdefault(name, []).append((wall, memory, json.loads(said.splitlines()[-1])))
                results[name] = totals(Path(folder))
    walls = {name: sorted(r[0] for r in runs)[len(runs) // 2] for name, runs in measured.items()}
    for name, runs in measured.items():
        wall, memory, steps = sorted(runs, key=lambda r: r[0])[len(runs) // 2]
        detail = ", ".join(f"{step} {seconds:.1f}" for step, seconds in steps.items())
        print(f"{name:7} {wall:6.1f} s ({detail}), peak {memory:,.0f} MB, {results[name][1]:,} events in {results[name][0]:,} rows")
    if {"ours", "spark"} <= set(measured):
        steps = min((r[2] for r in measured["ours"]), key=lambda s: s["clean"])
        print(f"clean alone, session start included: {(steps['start'] + steps['clean']) / walls['spark']:.2f} × all that Spark does")
        print(f"clean and aggregate: {walls['ours'] / walls['spark']:.2f} ×")
    if len(set(results.values())) > 1:
        raise click.ClickException(f"the ways differ: {results}")
    print("all ways wrote the same counts")


if __name__ == "__main__":
    main()
