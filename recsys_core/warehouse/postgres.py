"""PostgreSQL as warehouse: Arrow by ADBC (binary COPY) into temporary tables, which are read back, then one short locked swap.

The swap deletes and inserts the night's rows in one transaction under an advisory lock. Attaching a partition would be quicker by
milliseconds and wrong for readers: a reader whose snapshot is older than the attachment would find the new partition and none of its rows,
and detaching waits for every open query. With delete and insert a snapshot keeps its whole old night.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar
from urllib.parse import unquote

import adbc_driver_postgresql.dbapi as driver
import psycopg
import pyarrow as pa
from adbc_driver_manager import Error
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from recsys_core.warehouse import NightTables, Source, Warehouse, WarehouseError
from recsys_core.warehouse.checks import check
from recsys_core.warehouse.postgres_session import LOCK, PostgresSession
from recsys_core.warehouse.publication import (
    INTRADAY,
    MODEL_TABLES,
    NEWEST,
    NIGHT_TABLES,
    RETIRED,
    USER_TABLES,
    conformed_intraday,
    conformed_models,
    generations_of,
    is_recorded,
    prepared,
    record,
    record_erasure,
    record_intraday,
    record_requests,
    record_runs,
    verify,
    verify_table,
)
from recsys_core.warehouse.session import TransientError, schema_mark

T = TypeVar("T")
# A waiting ALTER keeps readers out: after so long it gives way, and is tried again.
DDL_TIMEOUT_S = 5.0
LONGEST_PAUSE_S = 30.0
# SQLSTATEs after which the same may succeed: lost connection, shutdown and start, idle in transaction, too many connections, serialization,
# deadlock, lock timeout.
_TRANSIENT = re.compile(r"08...|57P0[1235]|25P03|53300|40001|40P01|55P03")
# Refused connections that no waiting mends; libpq gives no SQLSTATE.
_REFUSED = re.compile(
    r"does not exist|authentication failed|no pg_hba\.conf entry|no password supplied|could not translate host name|invalid "
)


class PostgresWarehouse(Warehouse):
    """The warehouse in one PostgreSQL database, schema public; a role that may only read names its schema in the URL's options.

    lock_wait_s   how long to wait for other publishers
    idle_s        after how long without a word the server gives up a publisher that holds the lock
    tries         how often a transaction is tried when the server goes away or another is in the way
    first_wait_s  pause before the second try; each further one is twice as long, LONGEST_PAUSE_S at most, with jitter
    """

    def __init__(
        self,
        url: str,
        say: Callable[[str], None] = lambda line: None,
        lock_wait_s: float = 600.0,
        idle_s: float = 180.0,
        tries: int = 7,
        first_wait_s: float = 1.0,
    ) -> None:
        self._url = url
        self.say = say
        self._lock_wait_s, self._idle_s, self._tries, self._first_wait_s = lock_wait_s, idle_s, tries, first_wait_s
        found = re.match(r"\w+://[^/@]*?:([^@/]*)@", url)
        self._secrets = {found.group(1), unquote(found.group(1))} - {""} if found else set()
        self._secrets |= set(re.findall(r"[?&]password=([^&]+)", url))
        self._reading: PostgresSession | None = None

    def exists(self) -> bool:
        return self.fetch("SELECT to_regclass('publication') IS NOT NULL AS there", {}).column(0)[0].as_py()

    def ensure_schema(self, may_drop: bool = False) -> None:
        asked = "SELECT obj_description(to_regclass('public.publication')) AS mark"

        def work() -> list[str]:
            if self.fetch(asked, {}).column(0)[0].as_py() == schema_mark("postgres"):
                return []
            from recsys_core.warehouse.postgres_schema import migrate

            with self._said():
                return migrate(self._url, LOCK, self._lock_wait_s, DDL_TIMEOUT_S, may_drop)

        for line in self._patiently(work):
            self.say(line)

    def publish_nights(
        self,
        nights: Sequence[NightTables],
        models: Mapping[str, pa.Table],
        fence: Callable[[], None] | None = None,
        runs: pa.Table | None = None,
    ) -> dict[dt.date, dict[str, int]]:
        rows, model_rows = prepared(nights, models)
        self.ensure_schema()
        known = {t: model_rows[t] if t in model_rows else self._patiently(partial(self.read, t)) for t in MODEL_TABLES}

        def work(session: PostgresSession) -> tuple[dict[dt.date, dict[str, int]], pa.Table]:
            for name, table in model_rows.items():
                session.stage(name, table)
            for name in NIGHT_TABLES:
                session.stage(name, *(r[name] for r in rows))
                if len(nights) > 1:
                    session.run(f"CREATE INDEX ON pg_temp.{name} (ds)", {})
            for night, done in zip(nights, checked, strict=True):
                verify(session, night)
                done.result()
            self._take_turn(session, fence)
            for name in NIGHT_TABLES:
                session.swap(name, [n.ds for n in nights])
            for name in model_rows:
                session.swap(name)
            ledger = pa.concat_tables([record(session, night, tables) for night, tables in zip(nights, rows, strict=True)])
            record_runs(session, runs)
            return generations_of(ledger), ledger

        with ThreadPoolExecutor(1) as pool:
            checked = [pool.submit(check, night.ds, tables, known) for night, tables in zip(nights, rows, strict=True)]
            return self._transact(work)

    def publish_models(self, tables: Mapping[str, pa.Table], fence: Callable[[], None] | None = None, runs: pa.Table | None = None) -> None:
        rows = conformed_models(tables)
        self.ensure_schema()

        def work(session: PostgresSession) -> tuple[None, None]:
            for name, table in rows.items():
                session.stage(name, table)
            self._take_turn(session, fence)
            for name in rows:
                session.swap(name)
            record_runs(session, runs)
            return None, None

        self._transact(work)

    def publish_intraday(
        self, ds: dt.date, rows: pa.Table, source: Source, as_of_ts: dt.datetime, fence: Callable[[], None] | None = None
    ) -> int | None:
        rows = conformed_intraday(ds, rows)
        self.ensure_schema()

        def work(session: PostgresSession) -> tuple[int | None, pa.Table | None]:
            session.stage(INTRADAY, rows)
            verify_table(session, INTRADAY, ds, source)
            self._take_turn(session, fence)
            newest = session.fetch(NEWEST, {}).column(0)[0].as_py()
            if newest is None or newest >= ds:
                return None, None
            session.swap(INTRADAY, [ds])
            ledger = record_intraday(session, ds, rows, source, as_of_ts)
            return generations_of(ledger)[ds][INTRADAY], ledger

        return self._transact(work)

    def erase(
        self,
        user_keys: Sequence[str],
        requests: Sequence[Mapping[str, Any]],
        input_hashes: Mapping[tuple[str, dt.date], str] | None = None,
        fence: Callable[[], None] | None = None,
    ) -> dict[tuple[str, dt.date], int]:
        self.ensure_schema()

        def work(session: PostgresSession) -> tuple[dict[tuple[str, dt.date], int], pa.Table]:
            session.run("CREATE TEMPORARY TABLE _forgotten (user_key TEXT) ON COMMIT DROP", {})
            session.append("_forgotten", pa.table({"user_key": pa.array(user_keys, pa.string())}), temporary=True)
            self._take_turn(session, fence)
            removed: dict[tuple[str, dt.date], int] = {}
            for name in USER_TABLES:
                theirs = f"{name} WHERE user_key IN (SELECT user_key FROM pg_temp._forgotten)"
                counts = session.fetch(f"SELECT ds, count(*) AS n FROM {theirs} GROUP BY ds", {}).to_pylist()
                removed |= {(name, row["ds"]): row["n"] for row in counts}
                session.run(f"DELETE FROM {theirs}", {})
            ledger = record_erasure(session, removed, input_hashes or {})
            record_requests(session, requests)
            return removed, ledger

        removed = self._transact(work)
        if user_keys:
            self._scrub(USER_TABLES)
        return removed

    def retire(self, before: dt.date) -> None:
        self.ensure_schema()

        def work(session: PostgresSession) -> tuple[None, None]:
            self._take_turn(session, None)
            for name in NIGHT_TABLES:
                session.run(f"DELETE FROM {name} WHERE ds < :before", {"before": before})
            session.run(RETIRED, {"before": before})
            return None, None

        self._transact(work)
        self._scrub(NIGHT_TABLES)

    def _scrub(self, tables: Sequence[str]) -> None:
        """Take the bytes of deleted rows out of the server's files."""
        from recsys_core.warehouse.postgres_scrub import scrub

        self.close()
        with self._said(), self._connected(autocommit=True) as session:
            scrub(session, tables, self.say)

    def fetch(self, sql: str, params: Mapping[str, Any]) -> pa.Table:
        with self._said():
            if self._reading is None:
                opened = PostgresSession(driver.connect(self._url, autocommit=True))
                opened.run("SET default_transaction_read_only = on", {})
                opened.run("SET TIME ZONE 'UTC'", {})
                self._reading = opened
            try:
                return self._reading.fetch(sql, params)
            except Error:
                self.close()  # the server may have gone: the next query connects anew
                raise

    def live(self, ds: dt.date) -> dict[str, dict[str, Any]]:
        return self._patiently(lambda: super(PostgresWarehouse, self).live(ds))

    def close(self) -> None:
        if self._reading is not None:
            self._reading.connection.close()
        self._reading = None

    def _take_turn(self, session: PostgresSession, fence: Callable[[], None] | None) -> None:
        session.lock(self._lock_wait_s, self._idle_s)
        if fence:
            fence()

    def _transact(self, work: Callable[[PostgresSession], tuple[T, pa.Table | None]]) -> T:
        """The first of what `work` returns, once its transaction is committed; tried again as a whole when something passing stops it.

        When the connection is lost in the commit, nobody has told whether it was done: then the ledger is asked for the rows that `work`
        says (second) it wrote, under the lock, which the transaction in doubt holds as long as it lives.
        """
        doubt: tuple[T, pa.Table | None] | None = None

        def once() -> T:
            nonlocal doubt
            with self._said(), self._connected() as session:
                if doubt is not None:
                    session.lock(self._lock_wait_s, self._idle_s)
                    if doubt[1] is not None and is_recorded(session, doubt[1]):
                        return doubt[0]
                    session.connection.rollback()
                    doubt = None
                # After the lock each statement must see what the publisher before committed, whatever the server's default is.
                session.run("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", {})
                result = work(session)
                doubt = result
                session.connection.commit()
                return result[0]

        try:
            return self._patiently(once)
        except TransientError as error:
            if doubt is None:
                raise
            raise TransientError(f"{error}; whether the last try was committed is not known: run again, it finds out") from None

    def _patiently(self, work: Callable[[], T]) -> T:
        """What `work` returns at last: what passes is waited for."""

        def tell(state: RetryCallState) -> None:
            error, pause = state.outcome and state.outcome.exception(), state.next_action and state.next_action.sleep
            self.say(f"{str(error).splitlines()[0]}; try {state.attempt_number + 1} of {self._tries} in {pause or 0:.1f} s")

        retrying = Retrying(
            retry=retry_if_exception_type(TransientError),
            wait=wait_exponential_jitter(multiplier=self._first_wait_s, max=LONGEST_PAUSE_S, jitter=self._first_wait_s),
            stop=stop_after_attempt(self._tries),
            before_sleep=tell,
            reraise=True,
        )
        return retrying(work)

    @contextmanager
    def _connected(self, autocommit: bool = False) -> Iterator[PostgresSession]:
        """A session of its own; what is not committed in the block is undone."""
        with driver.connect(self._url, autocommit=autocommit) as connection:
            try:
                yield PostgresSession(connection)
            finally:
                if not autocommit:
                    with suppress(Error):  # a lost connection has nothing to undo
                        connection.rollback()

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except (Error, psycopg.Error) as error:
            text = str(error)
            for secret in self._secrets:
                text = text.replace(secret, "***")
            # Without a SQLSTATE it was not the server that answered.
            lost = isinstance(error, driver.OperationalError | psycopg.OperationalError) and not _REFUSED.search(text)
            passing = _TRANSIENT.fullmatch(error.sqlstate) if error.sqlstate else lost
            raise (TransientError if passing else WarehouseError)(f"PostgreSQL: {text}") from None
