"""A DuckDB file as warehouse: a new file is built beside the old one, verified read-only, and takes its place in one step.

Readers keep the file they opened, whole, for as long as they hold it; one publisher at a time, by a lock on `<file>.lock`. A publisher
that dies leaves at most a build file, which the next one removes. The new file begins as a copy of the old; when declarations changed or
users are erased, it is filled table by table instead, so that it holds no byte of what is left out.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import glob
import os
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.tables import TABLES
from recsys_core.warehouse import NightTables, Source, Warehouse, WarehouseError
from recsys_core.warehouse.duckdb_build import carry_over, examine, load, replace_models
from recsys_core.warehouse.duckdb_session import BESIDE, DuckDBSession, building, reading, said, synced
from recsys_core.warehouse.publication import (
    INTRADAY,
    RETIRED,
    conformed_intraday,
    conformed_models,
    generations_of,
    prepared,
    record,
    record_erasure,
    record_intraday,
    record_requests,
    record_runs,
    verify_table,
)
from recsys_core.warehouse.session import make_schema, schema_mark

LOCK_POLL_S = 0.05


class DuckDBWarehouse(Warehouse):
    """The warehouse in one DuckDB file; `lock_wait_s` is how long to wait for other publishers."""

    def __init__(self, path: Path, say: Callable[[str], None] = lambda line: None, lock_wait_s: float = 600.0) -> None:
        self.path = path.absolute()
        self.beside = self.path.with_name(f"{self.path.name}.intraday")
        self.say = say
        self._lock_wait_s = lock_wait_s
        self._open: Any = None
        self._reader: DuckDBSession | None = None
        self._seen: list[tuple[int, int, int]] = []

    def exists(self) -> bool:
        return self.path.exists()

    def ensure_schema(self, may_drop: bool = False) -> None:
        if self.exists():
            with said(self.path):
                if self.reader().mark() == schema_mark("duckdb"):
                    return
        with self._replacing(may_drop=may_drop):
            pass

    def publish_nights(
        self,
        nights: Sequence[NightTables],
        models: Mapping[str, pa.Table],
        fence: Callable[[], None] | None = None,
        runs: pa.Table | None = None,
    ) -> dict[dt.date, dict[str, int]]:
        rows, model_rows = prepared(nights, models)
        generations: dict[dt.date, dict[str, int]] = {}
        with self._replacing(nights, fence) as session:
            replace_models(session, model_rows)
            for night, tables in zip(nights, rows, strict=True):
                load(session, night.ds, tables)
                generations |= generations_of(record(session, night, tables))
                session.run("CHECKPOINT", {})
            record_runs(session, runs)
        return generations

    def publish_models(self, tables: Mapping[str, pa.Table], fence: Callable[[], None] | None = None, runs: pa.Table | None = None) -> None:
        rows = conformed_models(tables)
        with self._replacing(fence=fence) as session:
            replace_models(session, rows)
            record_runs(session, runs)

    def publish_intraday(
        self, ds: dt.date, rows: pa.Table, source: Source, as_of_ts: dt.datetime, fence: Callable[[], None] | None = None
    ) -> int | None:
        rows = conformed_intraday(ds, rows)
        if not self.exists():
            return None
        self.ensure_schema()
        with said(self.path), self._locked():
            if fence:
                fence()
            newest, before = self.newest(), {t: self.read(t) for t in BESIDE}
            if newest is None or newest >= ds:
                return None
            self._clear(f"{self.path.name}.build-")
            build = self.path.with_name(f"{self.path.name}.build-{uuid.uuid4().hex}")
            try:
                with building(build) as session:
                    for table, held in before.items():
                        session.run(TABLES[table].ddl("duckdb"), {})
                        session.append(table, held.filter(pc.field("ds") > newest))
                    session.run(f"DELETE FROM {INTRADAY} WHERE ds = :ds", {"ds": ds})
                    session.append(INTRADAY, rows)
                    ledger = record_intraday(session, ds, rows, source, as_of_ts)
                    session.run(f"COMMENT ON TABLE publication IS '{schema_mark('duckdb')}'", {})
                    session.run("CHECKPOINT", {})
                with reading(build) as check:
                    verify_table(check, INTRADAY, ds, source)
                synced(build)
                os.replace(build, self.beside)
                synced(self.path.parent)
            finally:
                self._clear(build.name)
            return generations_of(ledger)[ds][INTRADAY]

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
            if forgotten is not None and self.beside.exists():
                # The day so far is made anew from what is left of its events.
                theirs = self.read(INTRADAY).join(forgotten, "user_key", join_type="inner")
                session.removed |= {(INTRADAY, ds): n for ds, n in Counter(theirs["ds"].to_pylist()).items()}
                self.beside.unlink()
                synced(self.path.parent)
        self.close()
        return session.removed

    def retire(self, before: dt.date) -> None:
        with self._replacing(before=before) as session:
            session.run(RETIRED, {"before": before})

    def fetch(self, sql: str, params: Mapping[str, Any]) -> pa.Table:
        with said(self.path):
            return self.reader().fetch(sql, params)

    def reader(self) -> DuckDBSession:
        """A read-only session on the file, and the day so far, as they are now: opened again when one was replaced.

        WarehouseError without a file.
        """
        if not self.path.exists():
            raise WarehouseError(f"there is no warehouse at {self.path}: publish a night first")
        files = [path for path in (self.path, self.beside) if path.exists()]
        seen = [(info.st_ino, info.st_mtime_ns, info.st_size) for info in (path.stat() for path in files)]
        if self._reader is None or seen != self._seen:
            self.close()
            opened = reading(*files)
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
        before: dt.date | None = None,
    ) -> Iterator[DuckDBSession]:
        """A session on a new file, which becomes the warehouse when the block ends well and `nights` read back as announced and as checked.

        Statements commit one by one, which costs nothing in safety: nobody sees the new file. With `forgotten` (user_key) it has no row of
        these users, and the session's `removed` counts those that it left out; with `before` none of the nights before that one.
        """
        with said(self.path), self._locked():
            if fence:
                fence()
            self._clear(f"{self.path.name}.build-")
            build = self.path.with_name(f"{self.path.name}.build-{uuid.uuid4().hex}")
            lines: list[str] = []
            try:
                same = forgotten is None and before is None and self._is_current()
                if same:
                    shutil.copyfile(self.path, build)
                with building(build) as session:
                    if not same:
                        make_schema(session, "duckdb")
                        if self.path.exists():
                            lines = carry_over(self.path, session, forgotten, may_drop, before)
                    yield session
                    session.run("CHECKPOINT", {})
                examine(build, nights)
                synced(build)
                os.replace(build, self.path)
                synced(self.path.parent)
            finally:
                self._clear(build.name)
            for line in lines:
                self.say(line)

    def _is_current(self) -> bool:
        """Whether there is a file, of the declared schema."""
        if not self.path.exists():
            return False
        with reading(self.path) as old:
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
