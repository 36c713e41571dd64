"""Ninety nights of decayed sums of users' topic mass, at three half-lives: the sum behind user_interest, bare, beside what engines do.

`python -m benchmarks windows [--rows N]` writes N rows of user_topic_day as 90 nights of a lake, sorted by user as the product keeps them,
about four rows to a pair of user and topic. Each way reads user_key, topic_id and mass from the files, sums mass · 2^(−age / half-life)
in whole millionths a row, and writes a row a pair. `ours` are the product's own pieces: ranges of users, each read from every night and
summed by its kernel, as tasks of Spark or one after the other here. The sums of all ways are compared, out of the time measured.
"""

from __future__ import annotations

import datetime as dt
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from benchmarks.ways import Laps, aim, compare, show
from recsys_core.lake import Lake, Stamp
from recsys_core.tables import TABLES

TABLE = TABLES["user_topic_day"]
DS = dt.date(2026, 3, 31)
NIGHTS = 90
HALF_LIVES = (1.0, 7.0, 90.0)
MODEL = {"model_version": "m"}
TOPICS, PAIR_ROWS, USER_TOPICS = 97, 4, 30
RANGE_ROWS = 8_000_000
LONG_S = 60.0  # a way whose first call takes longer has no further one
COLUMNS = ["user_key", "topic_id", "mass_micro"]
DECAY = np.exp2(-np.arange(NIGHTS)[:, None] / np.array(HALF_LIVES))


class Place:
    """A lake of nights, and where a way writes."""

    def __init__(self, folder: Path) -> None:
        """In a folder."""
        self.folder, self.lake = folder, Lake(str(folder / "lake"))
        self.nights = [(DS - dt.timedelta(days=age), age) for age in range(NIGHTS)]

    def fill(self, n: int) -> None:
        """Write about n rows over the nights; the same ones for the same n."""
        random, pairs = np.random.default_rng(0), max(n // PAIR_ROWS, 1)
        users = -(-pairs // USER_TOPICS)
        tail = random.integers(0, 256, (users, 28), np.uint8)
        keys = pa.array([f"{u * 2**32 // users:08x}{tail[u].tobytes().hex()}" for u in range(users)])
        zeros = pa.array(np.zeros(2 * n // NIGHTS + 1, np.int64))
        for night, _ in self.nights:
            pair = np.unique(random.integers(0, pairs, n // NIGHTS))
            mass = pa.array(random.integers(1, 5_000_000, len(pair)))
            some = {name: zeros[: len(pair)] for name in TABLE.names if name.startswith(("mass_", "n_"))}
            some |= {"mass_micro": mass, "mass_view_micro": mass, "ds": pa.repeat(pa.scalar(night), len(pair))}
            topic = (pair // USER_TOPICS * 13 + pair % USER_TOPICS * 3) % TOPICS
            some |= {"user_key": keys.take(pa.array(pair // USER_TOPICS)), "topic_id": topic, "model_version": pa.repeat("m", len(pair))}
            self.lake.write(TABLE.name, night, pa.table({name: some[name] for name in TABLE.names}), Stamp("run", "in"), **MODEL)

    def files(self) -> list[tuple[str, int]]:
        """(path, nights ago) of each file."""
        live = [(self.lake.manifest(TABLE.name, night, **MODEL), age) for night, age in self.nights]
        return [(self.lake.path(file), age) for manifest, age in live if manifest for file in manifest.files]

    def rows(self) -> int:
        """How many there are."""
        return sum(pq.read_metadata(path).num_rows for path, _ in self.files())

    @property
    def out(self) -> Path:
        """Folder for what a way writes."""
        (self.folder / "out").mkdir(exist_ok=True)
        return self.folder / "out"

    def clear(self) -> None:
        """Remove what a way wrote."""
        shutil.rmtree(self.out)
        self.out.mkdir(exist_ok=True)

    def result(self) -> str:
        """Rows, and sums over what a way wrote that no exchanged pair leaves equal."""
        found = pads.dataset(sorted(str(p) for p in self.out.rglob("*.parquet"))).to_table()
        key = pc.utf8_slice_codeunits(pc.cast(found["user_key"], pa.string()), 0, 8)
        weight = np.array([int(k, 16) for k in pc.unique(key).to_pylist()])[pc.index_in(key, pc.unique(key)).to_numpy()] % 9973
        sums = [int((found[c].to_numpy().astype(np.int64) * (weight * TOPICS + found["topic_id"].to_numpy()) % 2**31).sum()) for c in "abc"]
        return f"{found.num_rows} {sums}"


def _summed(place: Place, users: tuple[str | None, str | None]) -> pa.Table:
    """Sums of a range of users, by the product's own pieces."""
    from recsys_core.profiles.clock import codes, distinct, once
    from recsys_core.profiles.kernels import faded_sums

    nights = [place.lake.read(TABLE.name, [night], COLUMNS, users, ["user_key"], **MODEL) for night, _ in place.nights]
    rows = pa.concat_tables(nights).unify_dictionaries().combine_chunks()
    keys, topics = distinct(rows["user_key"]), np.sort(pc.unique(rows["topic_id"]).to_numpy())
    key = codes(rows["user_key"], keys) * len(topics) + np.searchsorted(topics, rows["topic_id"].to_numpy())
    pair, of = once(key, len(keys) * len(topics))
    age = np.repeat(np.arange(NIGHTS), [n.num_rows for n in nights])
    mass = rows["mass_micro"].to_numpy().astype(np.float64)[None]
    sums = faded_sums(of, age, mass, DECAY[:, None, None], np.ones(NIGHTS, np.int64), len(pair))[:, 0]
    user = pa.DictionaryArray.from_arrays(pa.array((pair // len(topics)).astype(np.int32)), keys)
    return pa.table({"user_key": user, "topic_id": topics[pair % len(topics)], **dict(zip("abc", sums, strict=True))})


def ours_on_spark(place: Place) -> Callable[[], Any]:
    """Ranges of users as tasks."""
    from recsys_core.profiles.spread import in_tasks
    from recsys_core.spark import session

    spark, folder, n = session(), place.folder, max(2, place.rows() // RANGE_ROWS)

    def task(number: int, users: tuple[str | None, str | None]) -> int:
        there = Place(folder)
        rows = _summed(there, users)
        pq.write_table(rows, there.out / f"{number}.parquet", compression="zstd")
        return rows.num_rows

    return lambda: in_tasks(spark, task, n)


def ours_here(place: Place) -> Callable[[], Any]:
    """Ranges of users one after the other."""
    from recsys_core.profiles.spread import ranges

    n = 1 + place.rows() // RANGE_ROWS

    def run() -> None:
        for number, users in enumerate(ranges(n)):
            pq.write_table(_summed(place, users), place.out / f"{number}.parquet", compression="zstd")

    return run


def spark_group_by(place: Place) -> Callable[[], Any]:
    """groupBy of the frame."""
    from pyspark.sql import functions as F

    from recsys_core.spark import session

    spark = session()

    def run() -> None:
        rows = place.lake.scan(spark, TABLE.name, [night for night, _ in place.nights], **MODEL)
        age = F.datediff(F.lit(DS), F.col("ds"))
        sums = [
            F.sum(F.bround(F.col("mass_micro") * F.pow(F.lit(2.0), -age / half)).cast("bigint")).alias(name)
            for name, half in zip("abc", HALF_LIVES, strict=True)
        ]
        rows.groupBy("user_key", "topic_id").agg(*sums).write.mode("overwrite").parquet(f"file://{place.out}/spark")

    return run


def duckdb_sql(place: Place) -> Callable[[], Any]:
    """GROUP BY of the files, with two threads."""
    import duckdb

    connection = duckdb.connect(config={"threads": 2, "preserve_insertion_order": False})
    connection.execute(
        "CREATE TABLE decay AS SELECT * FROM (VALUES "
        + ", ".join(str((age, *map(float, DECAY[age]))) for age in range(NIGHTS))
        + ") AS _(age, a, b, c)"
    )
    files = [path for path, _ in place.files()]
    sums = ", ".join(f"sum(CAST(round_even(mass_micro * decay.{c}, 0) AS BIGINT))::BIGINT AS {c}" for c in "abc")
    query = (
        f"COPY (SELECT user_key, topic_id, {sums} FROM read_parquet({files}, hive_partitioning = false) AS rows "
        f"JOIN decay ON decay.age = DATE '{DS}' - rows.ds GROUP BY user_key, topic_id) TO '{place.out}/0.parquet' (COMPRESSION zstd)"
    )
    return lambda: connection.execute(query).fetchall()


def numpy_grid(place: Place) -> Callable[[], Any]:
    """A dense grid of users and topics, all nights' users looked up first."""

    def run() -> None:
        nights = [pq.read_table(path, columns=COLUMNS, read_dictionary=["user_key"], partitioning=None) for path, _ in place.files()]
        keys = pc.unique(pa.concat_arrays([c.dictionary for n in nights for c in n["user_key"].chunks])).sort()
        sums = np.zeros((3, len(keys) * TOPICS), np.int64)
        for rows, decay in zip(nights, DECAY, strict=True):
            user = np.concatenate([pc.index_in(c.dictionary, keys).to_numpy()[c.indices.to_numpy()] for c in rows["user_key"].chunks])
            at, mass = user.astype(np.int64) * TOPICS + rows["topic_id"].to_numpy(), rows["mass_micro"].to_numpy()
            for h in range(3):
                sums[h, at] += np.rint(mass * decay[h]).astype(np.int64)
        there = np.flatnonzero(sums.any(axis=0))
        columns = {"user_key": keys.take(pa.array(there // TOPICS)), "topic_id": there % TOPICS}
        pq.write_table(pa.table(columns | dict(zip("abc", sums[:, there], strict=True))), place.out / "0.parquet", compression="zstd")

    return run


def read_alone(place: Place) -> Callable[[], Any]:
    """Reading the three columns, and nothing else."""
    return lambda: [pq.read_table(path, columns=COLUMNS, partitioning=None) for path, _ in place.files()]


WAYS: dict[str, Callable[[Place], Callable[[], Any]]] = {
    "ours, tasks of Spark": ours_on_spark,
    "ours, this process": ours_here,
    "Spark groupBy": spark_group_by,
    "DuckDB": duckdb_sql,
    "numpy, dense grid": numpy_grid,
    "reading": read_alone,
}


@click.command()
@click.option("--rows", "n", default=30_000_000, show_default=True)
@click.option("--rounds", default=1, show_default=True)
@click.option("--warm", default=1, show_default=True, help="Further calls in a way's process.")
@click.option("--way", hidden=True)
@click.option("--place", hidden=True, type=click.Path(path_type=Path))
def main(n: int, rounds: int, warm: int, way: str | None, place: Path | None) -> None:
    """Compare the ways, or do one."""
    if way and place:
        there, laps = Place(place), Laps()
        run = WAYS[way](there)
        laps.lap("start")
        run()
        laps.lap("first")
        result = there.result() if way != "reading" else ""
        for _ in range(warm if laps.of("first") < LONG_S else 0):
            there.clear()
            laps.skip()
            run()
            laps.lap("warm")
        there.clear()
        laps.say(result)
        return
    with tempfile.TemporaryDirectory() as folder:
        Place(Path(folder)).fill(n)
        rows = Place(Path(folder)).rows()
        runs = compare("benchmarks.windows", list(WAYS), ["--place", folder, "--warm", str(warm)], rounds)
    assert len({run.result for way, run in runs.items() if way != "reading"}) == 1, {way: run.result for way, run in runs.items()}
    notes = [
        f"{rows:,} rows over {NIGHTS} nights, {runs['DuckDB'].result.split()[0]} pairs of user and topic, equal sums; read and written"
    ]
    show("windows", runs, ["ours, tasks of Spark", "ours, this process"], ["reading"], notes, ["duckdb", "pyspark", "pyarrow", "numpy"])
    took = runs["ours, tasks of Spark"].best * 30_000_000 / rows
    aim("90-night sums of 30 M rows on Spark, warm", "≤ 8 s", f"{took:.1f} s (from {rows:,} rows)", took <= 8)


if __name__ == "__main__":
    main()
