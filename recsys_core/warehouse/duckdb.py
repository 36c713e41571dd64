"""A DuckDB file as warehouse: a new file is built beside the old one, verified read-only, and takes its place in one step.

Readers keep the file they opened, whole, for as long as they hold it; one publisher at a time, by a lock on `<file>.lock`. A publisher
that dies leaves at most a build file, which the next one removes. The new file begins as a copy of the old; when declarations changed or
users are erased, it is filled table by table instead, so that it holds no byte of what is left out.
"""

from __future__ import annotations

import datetime as dt
import errno
import fcntl
import glob
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from recsys_core.tables import TABLES
from recsys_core.warehouse import NightTables, Warehouse, WarehouseError
from recsys_core.warehouse.migrate import Shape, changes, copied, shapes, undeclared
from recsys_core.warehouse.publication import (
    USER_TABLES,
    conformed_models,
    generations_of,
    prepared,
    record,
    record_erasure,
    record_requests,
    run_checks,
    verify,
)
from recsys_core.warehouse.session import bind, make_schema, schema_mark

CONFIG: dict[str, str | bool | int | float | list[str]] = {"memory_limit": "2GB", "preserve_insertion_order": "false"}
LOCK_POLL_S = 0.05
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)


class _Connection:
    """A Session on one DuckDB connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self.removed: dict[tuple[str, dt.date], int] = {}
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
        sql = "SELECT comment FROM duckdb_tables() WHERE database_name = current_database() AND table_name = 'publication'"
        return next(iter(self.fetch(sql, {}).column(0).to_pylist()), None)


@contextmanager
def _reading(path: Path) -> Iterator[_Connection]:
    """The file read-only, attached to an instance of its own.

    Connects of one process to one path share an instance, and with it the old file, until all of them are closed.
    """
    connection = duckdb.connect(":memory:", config=CONFIG)
    try:
        connection.execute(f"ATTACH {_quoted(path)} AS warehouse (READ_ONLY)")
        connection.execute("USE warehouse")
        yield _Connection(connection)
    finally:
        connection.close()


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


@contextmanager
def _said(path: Path) -> Iterator[None]:
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


class DuckDBWarehouse(Warehouse):
    """The warehouse in one DuckDB file; `lock_wait_s` is how long to wait for other publishers."""

    def __init__(self, path: Path, say: Callable[[str], None] = lambda line: None, lock_wait_s: float = 600.0) -> None:
        self.path = path.absolute()
        self.say = say
        self._lock_wait_s = lock_wait_s
        self._open: Any = None
        self._reader: _Connection | None = None
        self._seen: tuple[int, int, int] | None = None

    def exists(self) -> bool:
        return self.path.exists()

    def ensure_schema(self, may_drop: bool = False) -> None:
        if self.exists():
            with _said(self.path):
                if self.reader().mark() == schema_mark("duckdb"):
                    return
        with self._replacing(may_drop=may_drop):
            pass

    def publish_nights(
        self, nights: Sequence[NightTables], models: Mapping[str, pa.Table], fence: Callable[[], None] | None = None
    ) -> dict[dt.date, dict[str, int]]:
        rows, model_rows = prepared(nights, models)
        generations: dict[dt.date, dict[str, int]] = {}
        with self._replacing(nights, fence) as session:
            _replace_models(session, model_rows)
            for night, tables in zip(nights, rows, strict=True):
                for name, table in tables.items():
                    session.run(f"DELETE FROM {name} WHERE ds = :ds", {"ds": night.ds})
                    if table.num_rows:
                        session.append(name, table)
                generations |= generations_of(record(session, night, tables))
                run_checks(session, night.ds)
        return generations

    def publish_models(self, tables: Mapping[str, pa.Table], fence: Callable[[], None] | None = None) -> None:
        rows = conformed_models(tables)
        with self._replacing(fence=fence) as session:
            _replace_models(session, rows)

    def erase(
        self,
        user_keys: Sequence[str],
        requests: Sequence[Mapping[str, Any]],
        input_hashes: Mapping[tuple[str, dt.date], str] | None = None,
        fence: Callable[[], None] | None = None,
    ) -> dict[tuple[str, dt.date], int]:
        forgotten = pa.table({"user_key": pa.array(user_keys, pa.string())}) if user_keys else None
        with self._replacing(fence=fence, forgotten=forgotten) as session:
            record_erasure(session, session.removed, input_hashes or {})
            record_requests(session, requests)
        self.close()
        return session.removed

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
    def _replacing(
        self,
        nights: Sequence[NightTables] = (),
        fence: Callable[[], None] | None = None,
        forgotten: pa.Table | None = None,
        may_drop: bool = False,
    ) -> Iterator[_Connection]:
        """A session on a new file, which becomes the warehouse when the block ends well and `nights` read back as announced.

        Statements commit one by one, which costs nothing in safety: nobody sees the new file. With `forgotten` (user_key) it has no row of
        these users, and the session's `removed` counts those that it left out.
        """
        with _said(self.path), self._locked():
            if fence:
                fence()
            self._clear(f"{self.path.name}.build-")
            build = self.path.with_name(f"{self.path.name}.build-{uuid.uuid4().hex}")
            lines: list[str] = []
            try:
                same = forgotten is None and self._is_current()
                if same:
                    shutil.copyfile(self.path, build)
                with duckdb.connect(str(build), config=CONFIG) as connection:
                    session = _Connection(connection)
                    if not same:
                        make_schema(session, "duckdb")
                        if self.path.exists():
                            lines = _carry_over(self.path, session, forgotten, may_drop)
                    yield session
                    connection.execute("CHECKPOINT")
                with _reading(build) as check:
                    for night in nights:
                        verify(check, night)
                _sync(build)
                os.replace(build, self.path)
                _sync(self.path.parent)
            finally:
                self._clear(build.name)
            for line in lines:
                self.say(line)

    def _is_current(self) -> bool:
        """Whether there is a file, of the declared schema."""
        if not self.path.exists():
            return False
        with _reading(self.path) as old:
            return old.mark() == schema_mark("duckdb")

    def _clear(self, start: str) -> None:
        """Remove build files of that name, with the log and the spill folder that DuckDB lays beside them."""
        for dead in self.path.parent.glob(f"{glob.escape(start)}*"):
            if dead.is_dir():
                shutil.rmtree(dead)
            else:
                dead.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One publisher at a time; the lock's file names its process, and the kernel gives the lock back when that ends."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        place = self.path.with_name(f"{self.path.name}.lock")
        with place.open("a+") as lock:
            until = time.monotonic() + self._lock_wait_s
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until:
                        holder = place.read_text() or "unknown"
                        raise WarehouseError(
                            f"the publisher's lock {place} was not to be had for {self._lock_wait_s:g} s: process {holder} holds it; "
                            "if it hangs, end it, then run again. Nothing was changed"
                        ) from None
                    time.sleep(LOCK_POLL_S)
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield


def _carry_over(path: Path, session: _Connection, forgotten: pa.Table | None, may_drop: bool) -> list[str]:
    """Rows of the file at `path` into the new tables, but for those of forgotten users; returns a line for each change of the schema."""
    with _reading(path) as old:
        found = shapes(old, "duckdb")
        lines = [f"warehouse: {change}" for change in changes(old, found, may_drop)]
    connection = session.connection
    connection.execute(f"ATTACH {_quoted(path)} AS before (READ_ONLY)")
    if forgotten is not None:
        connection.register("_forgotten", forgotten)
    theirs = "user_key IN (SELECT user_key FROM _forgotten)"
    for name, shape in found.items():
        leave_out = forgotten is not None and name in USER_TABLES
        if leave_out:
            counts = session.fetch(f"SELECT ds, count(*) AS n FROM before.{name} WHERE {theirs} GROUP BY ds", {}).to_pylist()
            session.removed |= {(name, row["ds"]): row["n"] for row in counts}
        _copy(connection, name, shape, f" WHERE NOT {theirs}" if leave_out else "")
    if forgotten is not None:
        connection.unregister("_forgotten")
    connection.execute("DETACH before")
    kept = undeclared(found)
    return lines + [
        f"warehouse: {name} is declared no more and left as it is: drop it by hand; erasure does not reach it" for name in kept if lines
    ]


def _copy(connection: duckdb.DuckDBPyConnection, name: str, shape: Shape, where: str) -> None:
    if name in TABLES and TABLES[name].warehouse:
        names, values = copied(TABLES[name], shape)
        connection.execute(f"INSERT INTO {name} ({names}) SELECT {values} FROM before.{name}{where}")
    else:
        connection.execute(f'CREATE TABLE "{name}" AS SELECT * FROM before."{name}"')


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
