"""Connections to DuckDB files: the warehouse read-only, with the day so far beside it, and whatever is being built."""

from __future__ import annotations

import datetime as dt
import errno
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from recsys_core.lake import STREAMED_ROWS, Stream
from recsys_core.tables import TABLES
from recsys_core.warehouse.publication import INTRADAY, NEWEST
from recsys_core.warehouse.session import Rows, WarehouseError, bind, reader, schema_mark

CONFIG: dict[str, str | bool | int | float | list[str]] = {"memory_limit": "2GB", "preserve_insertion_order": "false"}
# What a file is called in the connections to it.
DATABASE = "warehouse"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)
# Tables of the small file that holds the day so far.
BESIDE = (INTRADAY, "publication")


class DuckDBSession:
    """A Session on one DuckDB connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self.removed: dict[tuple[str, dt.date], int] = {}
        connection.execute("SET TimeZone = 'UTC'")

    def fetch(self, sql: str, params: Mapping[str, Any]) -> pa.Table:
        text, names = bind(sql, params, lambda name, number: f"${name}")
        return self.connection.sql(text, params={n: params[n] for n in names} if names else None).to_arrow_table()

    def stream(self, sql: str, params: Mapping[str, Any]) -> Iterator[pa.RecordBatch]:
        text, names = bind(sql, params, lambda name, number: f"${name}")
        yield from self.connection.sql(text, params={n: params[n] for n in names} if names else None).to_arrow_reader(STREAMED_ROWS)

    def run(self, sql: str, params: Mapping[str, Any]) -> None:
        text, names = bind(sql, params, lambda name, number: f"${name}")
        self.connection.execute(text, {n: params[n] for n in names})

    def append(self, table: str, rows: Rows) -> None:
        names = ", ".join(rows.schema.names)
        if isinstance(rows, Stream) and rows.paths:
            # DuckDB reads them itself, on all cores; what has become of them is seen when they are read back.
            self.connection.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM {parquet(rows.paths)}")
            return
        self.connection.register("_staged", reader(rows))
        self.connection.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM _staged")
        self.connection.unregister("_staged")

    @contextmanager
    def another(self) -> Iterator[DuckDBSession]:
        """A session on the same database, for another thread."""
        with self.connection.cursor() as connection:
            connection.execute(f"USE {DATABASE}")
            yield DuckDBSession(connection)

    def mark(self) -> str | None:
        """The schema's mark, None in an empty file."""
        sql = "SELECT comment FROM duckdb_tables() WHERE database_name = current_database() AND table_name = 'publication'"
        return next(iter(self.fetch(sql, {}).column(0).to_pylist()), None)


@contextmanager
def reading(path: Path, beside: Path | None = None) -> Iterator[DuckDBSession]:
    """The file read-only, attached to an instance of its own; with the small file `beside`, what is of days that no night superseded.

    Connects of one process to one path share an instance, and with it the old file, until all of them are closed.
    """
    with _attached(path, "READ_ONLY", {}) as session:
        if beside is not None:
            _attach(session, beside)
        yield session


@contextmanager
def building(path: Path) -> Iterator[DuckDBSession]:
    """A file that nobody reads yet, new or a copy, to write in: what is not followed by a CHECKPOINT is lost, as nothing is logged."""
    with _attached(path, "RECOVERY_MODE no_wal_writes", {"temp_directory": f"{path}.tmp"}) as session:
        yield session


@contextmanager
def _attached(path: Path, how: str, config: Mapping[str, str]) -> Iterator[DuckDBSession]:
    with duckdb.connect(":memory:", config={**CONFIG, **config}) as connection:
        connection.execute(f"ATTACH {quoted(path)} AS {DATABASE} ({how})")
        connection.execute(f"USE {DATABASE}")
        yield DuckDBSession(connection)


def parquet(paths: Sequence[str]) -> str:
    """The rows of Parquet files as a table of SQL."""
    return f"read_parquet([{', '.join(quoted(path) for path in paths)}], hive_partitioning = false)"


def quoted(path: Path | str) -> str:
    """The path as an SQL string."""
    return "'" + str(path).replace("'", "''") + "'"


def _attach(session: DuckDBSession, beside: Path) -> None:
    """Let the tables of BESIDE show the file's rows, too: temporary views hide them, also from the views of the warehouse.

    A file that an earlier or later version of the tables made is passed over.
    """
    session.run(f"ATTACH {quoted(beside)} AS beside (READ_ONLY)", {})
    marks = session.fetch("SELECT comment FROM duckdb_tables() WHERE database_name = 'beside' AND table_name = 'publication'", {})
    if marks.column(0).to_pylist() != [schema_mark("duckdb")] or session.mark() != schema_mark("duckdb"):
        session.run("DETACH beside", {})
        return
    newest = session.fetch(NEWEST, {}).column(0)[0].as_py()
    for table in BESIDE:
        names = ", ".join(TABLES[table].names)
        later = f"SELECT {names} FROM beside.main.{table} WHERE ds > DATE '{newest or dt.date.min}'"
        session.run(f"CREATE TEMP VIEW {table} AS SELECT {names} FROM warehouse.main.{table} UNION ALL {later}", {})


@contextmanager
def said(path: Path) -> Iterator[None]:
    """What goes wrong with the file at `path` in the block is a WarehouseError that names it, and the remedy where it is room or rights."""
    try:
        yield
    except duckdb.Error as error:
        room = re.search("no space left|file too large|quota|could not (write|truncate|fsync)", str(error), re.IGNORECASE)
        raise WarehouseError(f"{path}: {error}" + (f". {_remedy(path)}" if room else "")) from error
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise WarehouseError(f"{error.filename or path}: {error.strerror}. {_remedy(path)}") from error


def _remedy(path: Path) -> str:
    """What helps when a file cannot be written: most often there is no room."""
    size = path.stat().st_size if path.exists() else 0
    return (
        f"The warehouse needs room for a second copy of itself ({size / 2**20:,.0f} MiB now) in {path.parent}, and the right to write "
        "there: see to both, then run again. What was published stays as it was"
    )


def synced(path: Path) -> None:
    """Wait until a file or a folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
