"""Cleaning a night beside Spark's own JSON reader and DuckDB's: `python -m benchmarks clean [--events 1000000] [--workers 1,2]`.

Each way reads the same gzip files, drops repeated ids, keeps the night and writes what each user did with each item as Parquet; the rows
must be equal. Ours does all of `clean` and `aggregate` besides: strict parsing, quarantine, keys for users, texts, ledgers, sessions. The
warm call is another night of as many events, of other users, in the same process.
"""

from __future__ import annotations

import datetime as dt
import gzip
import json
import multiprocessing
import random
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from benchmarks import ways

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


def renamed(job: tuple[Path, Path]) -> None:
    """A file with the same events of other users under other ids."""
    source, target = job
    with gzip.open(source, "rb") as given, gzip.open(target, "wb", compresslevel=5) as made:
        while block := given.readlines(1 << 24):
            made.write(b"".join(block).replace(b'"event_id": "e', b'"event_id": "f').replace(b'"user_id": "u', b'"user_id": "v'))


def make(root: Path, events: int, files: int) -> list[Path]:
    """The landing zones of two nights, made once below `root`."""
    first, second = (root / f"{name}-{events}-{files}" for name in ("night", "again"))
    if not second.is_dir():
        folders = [landing / "events" / f"ds={DAY}" for landing in (first, root / "_making")]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        names = [f"part-{n}.jsonl.gz" for n in range(files)]
        with multiprocessing.Pool() as pool:
            pool.map(write_file, [(str(folders[0] / name), n, events // files, events // 20) for n, name in enumerate(names)])
            pool.map(renamed, [(folders[0] / name, folders[1] / name) for name in names])
        (root / "_making").rename(second)
    return [first, second]


def nights(landings: list[Path], out: Path, laps: ways.Laps) -> Iterator[tuple[Path, Path]]:
    """(landing zone, folder to write to) of each night, timed."""
    for name, landing in zip(("first", "warm"), landings, strict=True):
        (out / name).mkdir()
        yield landing, out / name
        laps.lap(name)


def ours(landings: list[Path], out: Path, **settings: Any) -> None:
    """`clean`, then `aggregate`."""
    from jobs.runner import Runner
    from jobs.settings import Settings

    laps, seconds = ways.Laps(), dict[str, float]()
    kept: dict[str, Any] = {}
    for landing, folder in nights(landings, out, laps):
        runner = Runner(Settings(landing=str(landing), lake=str(folder), user_key_secret="benchmark", **settings))
        runner.__dict__ |= kept
        if not seconds and not runner.settings.spark_from_rows:
            runner.spark.range(1).count()
            kept = {"spark": runner.spark}
        if not seconds:
            laps.lap("start")
        for job in ("clean", "aggregate"):
            began = time.perf_counter()
            runner.run(job, DAY)
            seconds[job] = time.perf_counter() - began
        (folder / "rows").symlink_to(folder / Path(runner.lake.manifest("user_item_day", DAY).files[0]).parent)  # type: ignore[union-attr]
    laps.say(totals(out), **seconds)
    runner.close()


def spark(landings: list[Path], out: Path) -> None:
    """`spark.read.json` with a schema, bad lines dropped."""
    from pyspark.sql import functions as F

    from recsys_core.spark import session

    laps, running = ways.Laps(), session()
    running.range(1).count()
    laps.lap("start")
    for landing, folder in nights(landings, out, laps):
        rows = running.read.schema(SCHEMA + ", _corrupt string").json(
            f"{landing}/events/ds={DAY}", mode="PERMISSIVE", columnNameOfCorruptRecord="_corrupt"
        )
        rows = rows.where("event_id IS NOT NULL AND user_id IS NOT NULL AND _corrupt IS NULL").dropDuplicates(["event_id"])
        rows = rows.where((F.col("ts") >= F.lit("2026-01-05")) & (F.col("ts") < F.lit("2026-01-06")) & F.col("item_id").isNotNull())
        counted = [F.count_if(F.col("event_type") == t).alias(f"n_{t}") for t in COUNTS]
        found = rows.groupBy("user_id", "item_id").agg(F.count(F.lit(1)).alias("n_events"), *counted, F.max("ts").alias("last_event_ts"))
        found.coalesce(4).write.parquet(str(folder / "rows"))
    laps.say(totals(out))
    running.stop()


def duckdb(landings: list[Path], out: Path) -> None:
    """DuckDB's JSON reader, bad lines ignored."""
    import duckdb as engine

    laps = ways.Laps()
    connection = engine.connect(config={"memory_limit": "4GB", "threads": 2})
    types = {"double": "DOUBLE", "bigint": "BIGINT", "timestamp": "TIMESTAMPTZ", "string": "VARCHAR"}
    columns = {name: types[kind] for name, kind in (column.split() for column in SCHEMA.split(", "))}
    counted = ", ".join(f"count(*) FILTER (event_type = '{t}') AS n_{t}" for t in COUNTS)
    laps.lap("start")
    for landing, folder in nights(landings, out, laps):
        (folder / "rows").mkdir()
        connection.execute(
            f"COPY (SELECT user_id, item_id, count(*) AS n_events, {counted}, max(ts) AS last_event_ts "
            f"FROM (SELECT DISTINCT ON (event_id) * FROM read_json('{landing}/events/ds={DAY}/*.gz', format='newline_delimited', "
            f"ignore_errors=true, columns={columns})) "
            f"WHERE event_id IS NOT NULL AND user_id IS NOT NULL AND item_id IS NOT NULL AND ts >= '2026-01-05 00:00:00+00' "
            f"AND ts < '2026-01-06 00:00:00+00' GROUP BY 1, 2) TO '{folder / 'rows' / 'rows.parquet'}'"
        )
    laps.say(totals(out))


def unpacked(path: Path) -> int:
    """Bytes of a file without its compression."""
    inflate, n = zlib.decompressobj(31), 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            n += len(inflate.decompress(block))
    return n


def gunzip(landings: list[Path], out: Path) -> None:
    """Nothing but unpacking, two files at a time."""
    laps = ways.Laps()
    with multiprocessing.Pool(2) as pool:
        laps.lap("start")
        for landing, _ in nights(landings, out, laps):
            pool.map(unpacked, sorted((landing / "events" / f"ds={DAY}").iterdir()), chunksize=1)
    laps.say()


WAYS: dict[str, Callable[[list[Path], Path], None]] = {"spark.read.json": spark, "DuckDB": duckdb, "gunzip": gunzip}


def totals(out: Path) -> tuple[int, ...]:
    """(rows, events, events by type) of what a way wrote of both nights."""
    import duckdb as engine

    sums = ", ".join(f"sum(n_{t})" for t in ("events", *COUNTS))
    found = engine.connect().execute(f"SELECT count(*), {sums} FROM read_parquet('{out}/*/rows/*.parquet')").fetchall()[0]
    return tuple(int(v) for v in found)


@click.command(help=__doc__)
@click.option("--events", type=click.IntRange(1), default=1_000_000, show_default=True)
@click.option("--files", type=click.IntRange(1), default=8, show_default=True)
@click.option("--workers", default="1,2", show_default=True, help="with how many of Spark's tasks at a time ours is run")
@click.option("--rounds", type=click.IntRange(1), default=1, show_default=True, help="rounds, the ways taking turns; medians are shown")
@click.option("--only", help="ways, with semicolons between  [default: all]")
@click.option("--data", type=click.Path(path_type=Path), default=Path(tempfile.gettempdir()) / "clean-benchmark", show_default=True)
@click.option("--way", hidden=True)
def main(events: int, files: int, workers: str, rounds: int, only: str | None, data: Path, way: str | None) -> None:
    """Time each way and compare what it wrote."""
    landings = make(data, events, files)
    numbers = [int(n) for n in workers.split(",")]
    own = {f"ours, {n} worker{'s' if n > 1 else ''}": {"spark_from_rows": 0, "spark_master": f"local[{n}]"} for n in numbers}
    own["ours, one process"] = {"spark_from_rows": 1 << 40}
    if way:
        with tempfile.TemporaryDirectory(dir=data) as folder:
            if way in own:
                ours(landings, Path(folder), **own[way])
            else:
                WAYS[way](landings, Path(folder))
        return
    chosen = only.split(";") if only else [*own, *WAYS]
    arguments = ["--events", str(events), "--files", str(files), "--workers", workers, "--data", str(data)]
    runs = ways.compare("benchmarks.clean", chosen, arguments, rounds)
    results = {run.result for name, run in runs.items() if name != "gunzip"}
    notes = [
        f"{events:,} events in {files} gzip files a night, 3 % of them twice, 0.1 % broken",
        "all ways wrote the same counts" if len(results) == 1 else f"THE WAYS DIFFER: {results}",
    ]
    spread = [f"ours, {n} worker{'s' if n > 1 else ''}" for n in numbers]
    if len(spread) > 1 and set(spread) <= runs.keys():
        least, most = runs[spread[0]], runs[spread[-1]]
        notes.append(f"{numbers[-1]} workers beside {numbers[0]}, warm: {least.best / most.best:.2f} times as fast")
    ways.show("clean", runs, [*own], ["gunzip"] if "gunzip" in runs else [], notes, ("pyspark", "duckdb", "pyarrow"))
    best = spread[-1]
    if best in runs:
        rate, peak = events / runs[best].best, runs[best].peak_mb
        ways.aim("clean and aggregate on Spark, events/s warm", "≥ 400,000", f"{rate:,.0f}", rate >= 400_000)
        ways.aim("the same, peak of memory, GB", "< 3", f"{peak / 1000:.1f}", peak < 3000)
    if {best, "spark.read.json", "DuckDB"} <= runs.keys():
        faster, slower = runs["spark.read.json"].best / runs[best].best, runs[best].best / runs["DuckDB"].best
        ways.aim("the same beside spark.read.json, times as fast", "≥ 2.3", f"{faster:.2f}", faster >= 2.3)
        ways.aim("the same beside DuckDB, times its time", "≤ 2.6", f"{slower:.2f}", slower <= 2.6)
    if len(results) > 1:
        raise click.ClickException("the ways differ")


if __name__ == "__main__":
    main()
