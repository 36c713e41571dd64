"""Bytes of deleted rows out of a PostgreSQL server's files: tables and statistics written anew, and the write-ahead log overwritten.

A server keeps old rows in its pages, samples of values in its statistics, and all that was ever written in its log, whose files it uses
again without emptying them. Each step needs its right; what this role may not do is said with the remedy and does not stop the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adbc_driver_manager import Error

from recsys_core.warehouse.session import Session

# How long VACUUM FULL waits for those who read a table, who then wait for it.
WAIT_MS = 30_000


def scrub(session: Session, tables: Sequence[str], say: Callable[[str], None]) -> None:
    """Rewrite the tables, what the planner knows of them, and the log, on a session that commits each statement."""
    rest = [name for name in (*(f"public.{t}" for t in tables), "pg_catalog.pg_statistic") if not _rewritten(session, name)]
    if rest:
        say(
            f"PostgreSQL: erased rows are still in the files of {', '.join(rest)}, which this role may not rewrite or others hold: "
            f"run as the owner of the database `VACUUM (FULL, ANALYZE) {', '.join(rest)}`, then CHECKPOINT"
        )
    if older := session.fetch(_OLDER, {}).column(0).to_pylist():
        say(
            f"PostgreSQL: erased rows are kept for transactions that began before (processes {', '.join(map(str, older))}): "
            "once they have ended, run the erasure again"
        )
    try:
        _overwrite_log(session)
    except Error as error:
        say(
            f"PostgreSQL: erased rows are still in the write-ahead log ({error.sqlstate}: this role may not see or switch it), until the "
            "server has used its files again: run the erasure again as a superuser, or as a role with pg_monitor, pg_checkpoint and "
            "EXECUTE ON FUNCTION pg_switch_wal()"
        )


# Who still sees rows of before: transactions with a snapshot older than this one's.
_OLDER = """SELECT pid FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()
              AND age(backend_xmin) > age(pg_snapshot_xmin(pg_current_snapshot())::xid)
            ORDER BY pid"""


def _rewritten(session: Session, table: str) -> bool:
    """Whether VACUUM FULL gave the table a new file: where it may not, the server only warns."""
    before = _file_of(session, table)
    try:
        session.run(f"SET lock_timeout = {WAIT_MS}", {})
        session.run(f"VACUUM (FULL{'' if table.startswith('pg_catalog.') else ', ANALYZE'}) {table}", {})
    except Error:
        return False
    return _file_of(session, table) != before


def _file_of(session: Session, table: str) -> int:
    return int(session.fetch(f"SELECT pg_relation_filenode('{table}')::bigint AS file", {}).column(0)[0].as_py())


def _overwrite_log(session: Session) -> None:
    """Leave no old segment: those no more needed are removed or made into coming ones, and the coming ones are written full of nothing."""
    session.fetch("SELECT pg_switch_wal()::text", {})
    session.run("CHECKPOINT", {})
    coming = (
        "SELECT count(*) AS n FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$' AND name > pg_walfile_name(pg_current_wal_insert_lsn())"
    )
    for _ in range(int(session.fetch(coming, {}).column(0)[0].as_py()) + 1):
        session.fetch("SELECT pg_logical_emit_message(false, 'erasure', '')::text", {})
        session.fetch("SELECT pg_switch_wal()::text", {})
    session.run("CHECKPOINT", {})
