"""PostgreSQL as warehouse: Arrow by ADBC (binary COPY) into temporary tables, checks on those, then one short locked swap.

The swap deletes and inserts the night's rows in one transaction under an advisory lock. Attaching a partition would be quicker by
milliseconds and wrong for readers: a reader whose snapshot is older than the attachment would find the new partition and none of its rows,
and detaching waits for every open query. With delete and insert a snapshot keeps its whole old night.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

import adbc_driver_postgresql.dbapi as driver
import pyarrow as pa
from adbc_driver_manager import Error

from recsys_core.tables import TABLES
from recsys_core.warehouse import NightTables, Warehouse, WarehouseError
from recsys_core.warehouse.publication import conformed_models, prepared, record, run_checks, verify
from recsys_core.warehouse.session import bind, make_schema, schema_mark

# Any constant: all publishers and schema makers of a database take this one lock.
LOCK = 6_215_202_611


class _Connection:
    """A Session on one PostgreSQL connection."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def _execute(self, cursor: Any, sql: str, params: Mapping[str, Any]) -> None:
        text, names = bind(sql, params, lambda name, number: f"${number}")
        cursor.execute(text, [params[n] for n in names] if names else None)

    def fetch(self, sql: str, params: Mapping[str, Any]) -> pa.Table:
        with self.connection.cursor() as cursor:
            self._execute(cursor, sql, params)
            return cursor.fetch_arrow_table()

    def run(self, sql: str, params: Mapping[str, Any]) -> None:
        with self.connection.cursor() as cursor:
            self._execute(cursor, sql, params)

    def append(self, table: str, rows: pa.Table, temporary: bool = False) -> None:
        with self.connection.cursor() as cursor:
            cursor.adbc_ingest(table, rows, mode="append", temporary=temporary)

    def stage(self, table: str, rows: pa.Table) -> None:
        """A temporary table of the same name, which hides the real one from unqualified names until `unstage`."""
        self.run(TABLES[table].ddl("postgres", f"pg_temp.{table}", constraints=False), {})
        if rows.num_rows:
            self.append(table, rows, temporary=True)

    def swap(self, table: str, ds: dt.date | None = None) -> None:
        """Replace the real table's rows (of a night) by the staged ones, and drop the staged table."""
        names = ", ".join(TABLES[table].names)
        self.run(f"DELETE FROM public.{table}" + ("" if ds is None else " WHERE ds = :ds"), {} if ds is None else {"ds": ds})
        self.run(f"INSERT INTO public.{table} ({names}) SELECT {names} FROM pg_temp.{table}", {})
        self.run(f"DROP TABLE pg_temp.{table}", {})

    def lock(self) -> None:
        """Wait for the publisher's turn; held to the end of the transaction."""
        self.run(f"SELECT pg_advisory_xact_lock({LOCK})", {})

    def mark(self) -> str | None:
        """The schema's mark, None in an empty database."""
        return self.fetch("SELECT obj_description(to_regclass('public.publication')) AS mark", {}).column(0)[0].as_py()


class PostgresWarehouse(Warehouse):
    """The warehouse in one PostgreSQL database, schema public; a role that may only read names its schema in the URL's options."""

    def __init__(self, url: str) -> None:
        self._url = url
        found = re.match(r"\w+://[^/@]*?:([^@/]*)@", url)
        self._secrets = {found.group(1), unquote(found.group(1))} - {""} if found else set()
        self._secrets |= set(re.findall(r"[?&]password=([^&]+)", url))
        self._reading: _Connection | None = None

    def exists(self) -> bool:
        return self.fetch("SELECT to_regclass('publication') IS NOT NULL AS there", {}).column(0)[0].as_py()

    def ensure_schema(self) -> None:
        if self.fetch("SELECT obj_description(to_regclass('public.publication')) AS mark", {}).column(0)[0].as_py() == schema_mark(
            "postgres"
        ):
            return
        with self._transaction() as session:
            session.lock()
            if session.mark() != schema_mark("postgres"):
                there = "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = 'public'"
                make_schema(session, "postgres", session.fetch(there, {}))

    def publish_nights(self, nights: Sequence[NightTables], models: Mapping[str, pa.Table]) -> dict[dt.date, dict[str, int]]:
        rows, model_rows = prepared(nights, models)
        self.ensure_schema()
        generations = {}
        with self._transaction() as session:
            for name, table in model_rows.items():
                session.stage(name, table)
            for night, tables in zip(nights, rows, strict=True):
                for name, table in tables.items():
                    session.stage(name, table)
                verify(session, night)
                run_checks(session, night.ds)
                session.lock()
                for name in tables:
                    session.swap(name, night.ds)
                generations[night.ds] = record(session, night, tables)
            for name in model_rows:
                session.swap(name)
        return generations

    def publish_models(self, tables: Mapping[str, pa.Table]) -> None:
        rows = conformed_models(tables)
        self.ensure_schema()
        with self._transaction() as session:
            for name, table in rows.items():
                session.stage(name, table)
            session.lock()
            for name in rows:
                session.swap(name)

    def fetch(self, sql: str, params: Mapping[str, Any]) -> pa.Table:
        with self._said():
            if self._reading is None:
                opened = _Connection(driver.connect(self._url, autocommit=True))
                opened.run("SET default_transaction_read_only = on", {})
                opened.run("SET TIME ZONE 'UTC'", {})
                self._reading = opened
            try:
                return self._reading.fetch(sql, params)
            except Error:
                self.close()  # the server may have gone: the next query connects anew
                raise

    def close(self) -> None:
        if self._reading is not None:
            self._reading.connection.close()
        self._reading = None

    @contextmanager
    def _transaction(self) -> Iterator[_Connection]:
        """A session of its own whose work is committed when the block ends well and undone otherwise."""
        with self._said(), driver.connect(self._url) as connection:
            session = _Connection(connection)
            # After the lock each statement must see what the publisher before committed, whatever the server's default is.
            session.run("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", {})
            try:
                yield session
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except Error as error:
            text = str(error)
            for secret in self._secrets:
                text = text.replace(secret, "***")
            raise WarehouseError(f"PostgreSQL: {text}") from None
