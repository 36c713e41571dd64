"""What goes into a new DuckDB file: rows of the old one, nights and model tables, and the look at all that once it lies there."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow as pa

from recsys_core.tables import TABLES
from recsys_core.warehouse import NightTables
from recsys_core.warehouse.checks import run_checks
from recsys_core.warehouse.duckdb_session import CONFIG, DuckDBSession, quoted, reading
from recsys_core.warehouse.migrate import Shape, changes, copied, shapes, undeclared
from recsys_core.warehouse.publication import NIGHT_TABLES, USER_TABLES, verify
from recsys_core.warehouse.session import Rows

LOAD_MEMORY = "512MB"
# Tables that are loaded at a time.
AT_A_TIME = 2


def carry_over(path: Path, session: DuckDBSession, forgotten: pa.Table | None, may_drop: bool, before: dt.date | None = None) -> list[str]:
    """Rows of the file at `path` into the new tables, but for those of forgotten users and of nights `before` one.

    Returns a line for each change of the schema.
    """
    with reading(path) as old:
        found = shapes(old, "duckdb")
        lines = [f"warehouse: {change}" for change in changes(old, found, may_drop)]
    connection = session.connection
    connection.execute(f"ATTACH {quoted(path)} AS before (READ_ONLY)")
    if forgotten is not None:
        connection.register("_forgotten", forgotten)
    theirs = "user_key IN (SELECT user_key FROM _forgotten)"
    for name, shape in found.items():
        leave_out = forgotten is not None and name in USER_TABLES
        if leave_out:
            counts = session.fetch(f"SELECT ds, count(*) AS n FROM before.{name} WHERE {theirs} GROUP BY ds", {}).to_pylist()
            session.removed |= {(name, row["ds"]): row["n"] for row in counts}
        young = f"ds >= DATE '{before.isoformat()}'" if before is not None and name in NIGHT_TABLES else "true"
        _copy(connection, name, shape, f" WHERE {young}{f' AND NOT {theirs}' if leave_out else ''}")
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


def load(session: DuckDBSession, ds: dt.date, tables: Mapping[str, Rows]) -> None:
    """Rows of a night in the place of those that are there, some tables at a time, the greatest first."""

    def replace(name: str) -> None:
        with session.another() as own:
            own.run(f"DELETE FROM {name} WHERE ds = :ds", {"ds": ds})
            if tables[name].num_rows:
                own.append(name, tables[name])

    # What is loaded only passes through: without a bound DuckDB would keep all that it may.
    session.run(f"SET memory_limit = '{LOAD_MEMORY}'", {})
    sizes = [rows.num_rows for rows in tables.values()]
    if 2 * max(sizes) < sum(sizes):
        # Each thread that loads a table leaves an unfilled row group, which the checkpoint makes anew: one is enough beside other tables.
        session.run("SET threads = 1", {})
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        list(pool.map(replace, sorted(tables, key=lambda name: -tables[name].num_rows)))
    session.run("RESET threads", {})
    session.run(f"SET memory_limit = '{CONFIG['memory_limit']}'", {})


def examine(build: Path, nights: Sequence[NightTables]) -> None:
    """Run the checks on what lies in a file and compare it with what was announced, at the same time; PublishError names what is wrong."""
    with reading(build) as session, session.another() as other, ThreadPoolExecutor(1) as pool:
        session.run(f"SET temp_directory = {quoted(f'{build}.tmp')}", {})
        verified = [pool.submit(verify, other, night) for night in nights]
        for night in nights:
            run_checks(session, night.ds)
        for done in verified:
            done.result()


def replace_models(session: DuckDBSession, rows: Mapping[str, pa.Table]) -> None:
    """Model tables in the place of those that are there."""
    for name, table in rows.items():
        session.run(f"DELETE FROM {name}", {})
        if table.num_rows:
            session.append(name, table)
