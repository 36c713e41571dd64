"""A night of top-N rows into a warehouse: checked, locked, fenced and swapped in, beside the bare ways of loading the same rows.

`python -m benchmarks publish [--rows N]` writes N rows of user_topn as a night of a lake, sorted by user, as the product keeps them. `ours`
publishes that night: audit, load, read-back against the announced checksum, all queries of sql/checks, lock, fence, swap, ledger. The
others load the same rows into the same declared table, which has its keys in PostgreSQL and none in DuckDB (`DuckDB, keys` has them), from
Parquet or from a CSV file made beforehand; a floor loads a table without keys. What lies in the table afterwards is read back and its
checksum compared, out of the time measured. PostgreSQL does not fsync (docker/postgres.py), DuckDB's ours does.
"""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from benchmarks.ways import Laps, aim, compare, show
from recsys_core.lake import Lake, Stamp, checksum, empty
from recsys_core.tables import TABLES
from recsys_core.warehouse import NIGHT_TABLES, NightTables, Publication, Source, connect
from recsys_core.warehouse.duckdb_session import CONFIG, DuckDBSession
from recsys_core.warehouse.session import stored_checksum

TABLE = TABLES["user_topn"]
DS = dt.date(2026, 1, 31)
LIST = 20  # rows of a list, one list a user
AT_A_TIME = 200_000
RATIO = 1.3


def rows(n: int) -> Iterator[pa.Table]:
    """n rows of user_topn in tables of AT_A_TIME, users ascending, with reasons and contributions as long as real ones."""
    for start in range(0, n, AT_A_TIME):
        number = np.arange(start, min(n, start + AT_A_TIME))
        rank = number % LIST + 1
        text = pa.array([f"{u * 2_654_435_761 % 2**40:016x}" * 3 for u in number])
        yield pa.table(
            {
                "ds": pa.array([DS] * len(number)),
                "user_key": pa.array([f"{u:016x}" * 4 for u in number // LIST]),
                "list_name": ["for_you"] * len(number),
                "variant": ["default"] * len(number),
                "rank": pa.array(rank, pa.int16()),
                "item_id": pa.array([f"{(u * 7919) % 1_000_003:016x}" for u in number]),
                "score": np.round(1 - rank / 100, 6),
                "source": ["transitions"] * len(number),
                "topic_id": pa.nulls(len(number), pa.int64()),
                "exploration": [False] * len(number),
                "reason_code": ["followed"] * len(number),
                "reason_text_en": text,
                "reason_text_zh": ["因为“山语摄像头 红轴”：其他人在它之后选择了这个"] * len(number),
                "evidence_item_id": pa.array([f"{(u * 104729) % 1_000_003:016x}" for u in number]),
                "contributions": [f'{{"content":0.1,"popularity":0.05,"transitions":{0.85 - r / 100:.6f}}}' for r in rank],
                "model_version": ["lists-4d1fc8f6"] * len(number),
                "run_id": ["recommend-20260131-5c3ea7e4c5"] * len(number),
            }
        )


def night(lake: Lake) -> NightTables:
    """The night as the product publishes it."""
    manifest = lake.manifest(TABLE.name, DS)
    assert manifest is not None
    tables: dict[str, Any] = {t: empty(TABLES[t]) for t in NIGHT_TABLES} | {TABLE.name: lake.stream(TABLE.name, [DS])}
    sources = {t: Source("run", "in", checksum(empty(TABLES[t]))) for t in NIGHT_TABLES} | {
        TABLE.name: Source("run", "in", manifest.checksum)
    }
    return NightTables(DS, tables, Publication(sources, dt.datetime(2026, 2, 1, tzinfo=dt.UTC)))


class Place:
    """What a way works on: the night in a lake, the same as CSV, and the warehouse's URL or file."""

    def __init__(self, folder: Path, url: str) -> None:
        self.lake, self.csv, self.url, self.file = Lake(str(folder / "lake")), folder / "rows.csv", url, folder / "bare.duckdb"
        self.ours = folder / "ours.duckdb"

    @property
    def parquet(self) -> list[str]:
        """The files of the night."""
        manifest = self.lake.manifest(TABLE.name, DS)
        assert manifest is not None
        return [self.lake.path(f) for f in manifest.files]


def _ours(url: Callable[[Place], str]) -> Callable[[Place, Laps], str]:
    def way(place: Place, laps: Laps) -> str:
        with connect(url(place)) as warehouse:
            warehouse.ensure_schema()
            laps.lap("start")
            warehouse.publish_nights([night(place.lake)], {}, lambda: None)
            laps.lap("first")
            return warehouse.checksum(TABLE.name, DS)

    return way


def _postgres(load: Callable[[Place], None], keys: bool = True) -> Callable[[Place, Laps], str]:
    def way(place: Place, laps: Laps) -> str:
        import psycopg

        with psycopg.connect(place.url) as connection:
            connection.execute(TABLE.ddl("postgres", constraints=keys))
        laps.lap("start")
        load(place)
        laps.lap("first")
        with connect(place.url) as warehouse:
            return warehouse.checksum(TABLE.name, DS)

    return way


def _psql(place: Place) -> None:
    command = f"\\copy {TABLE.name} FROM '{place.csv}' WITH (FORMAT csv, HEADER)"
    subprocess.run(["psql", "-q", place.url, "-c", command], check=True)


def _psycopg(place: Place) -> None:
    import psycopg

    types = [
        {"string": "text", "bigint": "int8", "smallint": "int2", "double": "float8", "boolean": "bool"}.get(c.type, c.type)
        for c in TABLE.columns
    ]
    with (
        psycopg.connect(place.url) as connection,
        connection.cursor().copy(f"COPY {TABLE.name} ({', '.join(TABLE.names)}) FROM STDIN (FORMAT binary)") as copy,
    ):
        copy.set_types(types)
        # A text goes in as text: psycopg would serialise a string for a column of type json.
        for batch in place.lake.stream(TABLE.name, [DS]).to_batches():
            for row in zip(*(c.to_pylist() for c in batch.columns), strict=True):
                copy.write_row([psycopg.types.json.Json(v, dumps=str) if t == "json" else v for v, t in zip(row, types, strict=True)])


def _adbc(place: Place) -> None:
    import adbc_driver_postgresql.dbapi as driver

    with driver.connect(place.url) as connection, connection.cursor() as cursor:
        found = place.lake.stream(TABLE.name, [DS])
        cursor.adbc_ingest(TABLE.name, pa.RecordBatchReader.from_batches(found.schema, found.to_batches()), mode="append")
        connection.commit()


def _duckdb(statement: str, keys: bool = False) -> Callable[[Place, Laps], str]:
    def way(place: Place, laps: Laps) -> str:
        import duckdb

        place.file.unlink(missing_ok=True)
        with duckdb.connect(str(place.file), config=CONFIG) as connection:
            connection.execute(TABLE.ddl("duckdb", constraints=keys))
            laps.lap("start")
            connection.execute(statement.format(files=place.parquet, table=TABLE.name))
            connection.execute("CHECKPOINT")
            laps.lap("first")
            return stored_checksum(DuckDBSession(connection), TABLE.name, DS)

    return way


WAYS: dict[str, dict[str, Callable[[Place, Laps], str]]] = {
    "PostgreSQL": {
        "ours": _ours(lambda place: place.url),
        "psql copy, CSV": _postgres(_psql),
        "psycopg COPY, binary": _postgres(_psycopg),
        "ADBC ingest": _postgres(_adbc),
        "ADBC ingest, no keys": _postgres(_adbc, keys=False),
    },
    "DuckDB": {
        "ours": _ours(lambda place: f"duckdb:///{place.ours}"),
        "INSERT from Parquet": _duckdb("INSERT INTO {table} SELECT * FROM read_parquet({files}, hive_partitioning = false)"),
        "INSERT from Parquet, keys": _duckdb(
            "INSERT INTO {table} SELECT * FROM read_parquet({files}, hive_partitioning = false)", keys=True
        ),
    },
}

# Where most of the time of ours goes, by the CPU seconds of its phases and of the server's process.
NEXT = {
    "PostgreSQL": "the swap of staged rows into the keyed table, row by row: of its time two thirds are the two indexes",
    "DuckDB": "DuckDB's compression of texts as it loads them; then reading back and hashing, and the checks",
}


@click.command(help=__doc__)
@click.option("--rows", "n", default=3_000_000, show_default=True, help="rows of user_topn")
@click.option("--rounds", default=1, show_default=True, help="how often each way runs")
@click.option("--only", type=click.Choice(list(WAYS)), help="one warehouse alone")
@click.option("--way", hidden=True, help="do one way: WAREHOUSE/NAME")
@click.option("--place", type=click.Path(path_type=Path), hidden=True)
@click.option("--server", hidden=True)
def main(n: int, rounds: int, only: str | None, way: str | None, place: Path | None, server: str | None) -> None:
    """Compare the ways, or do one."""
    if way and place:
        laps, (engine, name) = Laps(), way.split("/", 1)
        with _database(server) as url:
            laps.say(WAYS[engine][name](Place(place, url), laps))
        return
    from docker.postgres import serve

    with tempfile.TemporaryDirectory() as folder, serve() as url:
        made = _prepared(Path(folder), n)
        for engine in [only] if only else WAYS:
            names = {f"{engine}/{name}": name for name in WAYS[engine]}
            runs = compare("benchmarks.publish", list(names), ["--place", folder, "--server", url], rounds)
            assert {r.result for r in runs.values()} == {made}, "what lies in the tables differs"
            for file in Path(folder).glob("*.duckdb*"):
                file.unlink()
            shown = {names[way]: run for way, run in runs.items()}
            floors = [name for name in shown if name.endswith("no keys")]
            notes = [
                f"{n:,} rows of user_topn, equal checksums in all tables; ours with audit, read-back, checks, lock, fence, swap, ledger",
                f"next bottleneck: {NEXT[engine]}",
            ]
            show(f"publish into {engine}", shown, ["ours"], floors, notes, ["duckdb" if engine == "DuckDB" else "adbc-driver-postgresql"])
            rivals = [run.best for name, run in shown.items() if name != "ours" and name not in floors]
            ratio = shown["ours"].best / min(rivals)
            aim(f"publish {n:,} rows into {engine}", f"≤ {RATIO} × the fastest", f"{ratio:.2f} ×", ratio <= RATIO)


def _prepared(folder: Path, n: int) -> str:
    """The night in a lake and as CSV; returns the checksum."""
    lake = Lake(str(folder / "lake"))
    target = lake.target(TABLE.name, DS, Stamp("run", "in"))
    parts = [target.write(number, some) for number, some in enumerate(rows(n))]
    made = lake.finish(target, parts)
    with pa_csv.CSVWriter(str(folder / "rows.csv"), TABLE.arrow_schema()) as writer:
        for file in made.files:
            writer.write_table(pq.read_table(lake.path(file)).cast(TABLE.arrow_schema()))
    os.chmod(folder, 0o755)
    return made.checksum


@contextmanager
def _database(server: str | None) -> Iterator[str]:
    """A database of the server for a while."""
    import psycopg

    if server is None:
        yield ""
        return
    name = f"way_{os.getpid()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield server.rsplit("/", 1)[0] + f"/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


if __name__ == "__main__":
    main()
