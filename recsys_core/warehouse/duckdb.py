"""A DuckDB file as warehouse: a new file is built beside the old one, verified read-only, and takes its place in one step.

Readers keep the file they opened, whole, for as long as they hold it; one publisher at a time, by a lock on `<file>.lock`. A publisher
that dies leaves at most a build file, which the next one removes.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from recsys_core.warehouse import NightTables, Warehouse, WarehouseError
from recsys_core.warehouse.publication import conformed_models, prepared, record, run_checks, verify
from recsys_core.warehouse.session import bind, make_schema, schema_mark

CONFIG: dict[str, str | bool | int | float | list[str]] = {"memory_limit": "2GB", "preserve_insertion_order": "false"}


class _Connection:
    """A Session on one DuckDB connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        connection.execute("SET TimeZone = 'UTC'")

    def fetch(self, sql: str, params: Mapping[str, Any]) -> pa.Table:
        text, names = bind(sql, params, lambda name, number: f"${name}")
        return self.connection.sql(text, params={n: params[n] for n in names} if names else None).to_arrow_table()

    def run(self, sql: str, params: Mapping[str, Any]) -> None:
        text, names = bind(sql, params, lambda name, number: f"${name}")
        self.connection.execute(text, {n: params[n] for n in names})

    def append(self, table: str, rows: pa.Table) -> None:
        names = ", ".join(rows.column_names)
        self.connection.register("_staged", rows)
        self.connection.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM _staged")
        self.connection.unregister("_staged")

    def mark(self) -> str | None:
        """The schema's mark, None in an empty file."""
        row = self.connection.execute("SELECT comment FROM duckdb_tables() WHERE table_name = 'publication'").fetchone()
        return row[0] if row else None


@contextmanager
def _reading(path: Path) -> Iterator[_Connection]:
    """The file read-only, attached to an instance of its own.

    Connects of one process to one path share an instance, and with it the old file, until all of them are closed.
    """
    connection = duckdb.connect(":memory:", config=CONFIG)
    try:
        connection.execute(f"ATTACH '{str(path).replace(chr(39), chr(39) * 2)}' AS warehouse (READ_ONLY)")
        connection.execute("USE warehouse")
        yield _Connection(connection)
    finally:
        connection.close()


@contextmanager
def _said(path: Path) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise WarehouseError(f"{path}: {error}") from error


class DuckDBWarehouse(Warehouse):
    """The warehouse in one DuckDB file."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._open: Any = None
        self._reader: _Connection | None = None
        self._seen: tuple[int, int, int] | None = None

    def exists(self) -> bool:
        return self.path.exists()

    def ensure_schema(self) -> None:
        if self.exists() and self.fetch("SELECT comment FROM duckdb_tables() WHERE table_name = 'publication'", {}).column(
            0
        ).to_pylist() == [schema_mark("duckdb")]:
            return
        with self._replacing():
            pass

    def publish_nights(self, nights: Sequence[NightTables], models: Mapping[str, pa.Table]) -> dict[dt.date, dict[str, int]]:
        rows, model_rows = prepared(nights, models)
        generations = {}
        with self._replacing(nights) as session:
            _replace_models(session, model_rows)
            for night, tables in zip(nights, rows, strict=True):
                for name, table in tables.items():
                    session.run(f"DELETE FROM {name} WHERE ds = :ds", {"ds": night.ds})
                    if table.num_rows:
                        session.append(name, table)
                generations[night.ds] = record(session, night, tables)
                run_checks(session, night.ds)
        return generations

    def publish_models(self, tables: Mapping[str, pa.Table]) -> None:
        rows = conformed_models(tables)
        with self._replacing() as session:
            _replace_models(session, rows)

    def fetch(self, sql: str, params: Mapping[str, Any]) -> pa.Table:
        with _said(self.path):
            return self.reader().fetch(sql, params)

    def reader(self) -> _Connection:
        """A read-only session on the file as it is now: opened again when the file was replaced. WarehouseError without a file."""
        try:
            info = self.path.stat()
        except FileNotFoundError as error:
            raise WarehouseError(f"there is no warehouse at {self.path}: publish a night first") from error
        seen = (info.st_ino, info.st_mtime_ns, info.st_size)
        if self._reader is None or seen != self._seen:
            self.close()
            opened = _reading(self.path)
            self._reader, self._open, self._seen = opened.__enter__(), opened, seen
        return self._reader

    def close(self) -> None:
        if self._open is not None:
            self._open.__exit__(None, None, None)
        self._open = self._reader = None

    @contextmanager
    def _replacing(self, nights: Sequence[NightTables] = ()) -> Iterator[_Connection]:
        """A session on a copy that becomes the warehouse when the block ends well and `nights` read back as announced; else it is removed.

        Statements commit one by one, which costs nothing in safety: nobody sees the copy.
        """
        with _said(self.path), self._locked():
            for dead in self.path.parent.glob(f"{self.path.name}.build-*"):
                dead.unlink()
            build = self.path.with_name(f"{self.path.name}.build-{uuid.uuid4().hex}")
            try:
                if self.path.exists():
                    shutil.copyfile(self.path, build)
                with duckdb.connect(str(build), config=CONFIG) as connection:
                    session = _Connection(connection)
                    if session.mark() != schema_mark("duckdb"):
                        there = session.fetch("SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal", {})
                        make_schema(session, "duckdb", there)
                    yield session
                    connection.execute("CHECKPOINT")
                with _reading(build) as check:
                    for night in nights:
                        verify(check, night)
                _sync(build)
                os.replace(build, self.path)
                _sync(self.path.parent)
            finally:
                for rest in self.path.parent.glob(f"{build.name}*"):
                    rest.unlink()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_name(f"{self.path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _replace_models(session: _Connection, rows: Mapping[str, pa.Table]) -> None:
    for name, table in rows.items():
        session.run(f"DELETE FROM {name}", {})
        if table.num_rows:
            session.append(name, table)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
