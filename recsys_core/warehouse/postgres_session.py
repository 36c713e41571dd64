"""A publisher's connection to PostgreSQL: statements and bulk rows, staged tables and their swap, and the publisher's lock."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from adbc_driver_manager import Error

from recsys_core.tables import TABLES
from recsys_core.warehouse.session import Rows, WarehouseError, bind, reader

# Any constant: all publishers and schema makers of a database take this one lock.
LOCK = 6_215_202_611
# Waits for other locks than the publisher's; then the whole transaction is tried again.
LOCK_TIMEOUT_S = 60.0
# What a stream holds at a time: parts of the driver's own size leave the heap in pieces, and the process grows with the rows read.
STREAMED_BYTES = 2 << 20


class PostgresSession:
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

    def stream(self, sql: str, params: Mapping[str, Any]) -> Iterator[pa.RecordBatch]:
        with self.connection.cursor(adbc_stmt_kwargs={"adbc.postgresql.batch_size_hint_bytes": STREAMED_BYTES}) as cursor:
            self._execute(cursor, sql, params)
            yield from cursor.fetch_record_batch()

    def run(self, sql: str, params: Mapping[str, Any]) -> None:
        with self.connection.cursor() as cursor:
            self._execute(cursor, sql, params)

    def append(self, table: str, rows: Rows, temporary: bool = False) -> None:
        with self.connection.cursor() as cursor:
            cursor.adbc_ingest(table, reader(rows), mode="append", temporary=temporary)

    def stage(self, table: str, *rows: Rows) -> None:
        """A temporary table of the same name, which hides the real one from unqualified names until `swap`."""
        self.run(TABLES[table].ddl("postgres", f"pg_temp.{table}", constraints=False), {})
        for each in rows:
            if each.num_rows:
                self.append(table, each, temporary=True)

    def swap(self, table: str, nights: Sequence[dt.date] | None = None) -> None:
        """Replace the real table's rows (of nights) by the staged ones, and drop the staged table."""
        names = ", ".join(TABLES[table].names)
        dates = ", ".join(f"DATE '{ds.isoformat()}'" for ds in nights or ())
        where = "" if nights is None else f" WHERE ds IN ({dates})"
        self.run(f"DELETE FROM public.{table}{where}", {})
        self.run(f"INSERT INTO public.{table} ({names}) SELECT {names} FROM pg_temp.{table}", {})
        self.run(f"DROP TABLE pg_temp.{table}", {})

    def lock(self, wait_s: float, idle_s: float) -> None:
        """Wait for the publisher's turn, held to the end of the transaction; WarehouseError names the holder when it takes too long.

        The server ends the transaction of a holder that then says nothing for `idle_s`: a frozen publisher must not keep others out.
        """
        self.run(f"SET LOCAL lock_timeout = {int(wait_s * 1000)}", {})
        try:
            self.fetch(f"SELECT pg_advisory_xact_lock({LOCK})", {})  # `run` would not notice that it failed
        except Error as error:
            if error.sqlstate != "55P03":
                raise
            self.connection.rollback()
            raise WarehouseError(
                f"the publisher's lock was not to be had for {wait_s:g} s: {self._holder()}. Nothing was changed"
            ) from None
        self.run(f"SET LOCAL lock_timeout = {int(LOCK_TIMEOUT_S * 1000)}", {})
        self.run(f"SET LOCAL idle_in_transaction_session_timeout = {int(idle_s * 1000)}", {})

    def _holder(self) -> str:
        sql = f"""SELECT a.pid, a.usename::text AS who, coalesce(a.state, '') AS state FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                  WHERE l.locktype = 'advisory' AND l.granted AND a.datname = current_database()
                    AND (l.classid::bigint << 32) + l.objid::bigint = {LOCK}"""
        for row in self.fetch(sql, {}).to_pylist():
            return (
                f"process {row['pid']} of {row['who']} on the server holds it ({row['state']}); if it hangs, end it by "
                f"SELECT pg_terminate_backend({row['pid']}), then run again"
            )
        return "it has just been given back; run again"

    def mark(self) -> str | None:
        """The schema's mark, None in an empty database."""
        return self.fetch("SELECT obj_description(to_regclass('public.publication')) AS mark", {}).column(0)[0].as_py()
