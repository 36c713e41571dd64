"""The queries of sql/checks: DuckDB runs them whatever the warehouse is.

On a DuckDB warehouse they look at the new file. For PostgreSQL they look at the rows as they lie in the lake, while the server takes them
in: what it then holds is compared with the lake by its hash, so what holds for one holds for the other, and DuckDB finds it out in a tenth
of the server's time.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Mapping

import duckdb
import pyarrow as pa

from recsys_core.lake import Stream
from recsys_core.tables import TABLES
from recsys_core.warehouse.duckdb_session import CONFIG, DuckDBSession, parquet
from recsys_core.warehouse.session import SQL, PublishError, Rows, answer


def run_checks(session: DuckDBSession, ds: dt.date) -> None:
    """Run every query of sql/checks for a night; PublishError names the first that finds rows.

    A check may look at the night's own rows and at the model tables.
    """
    for path in sorted((SQL / "checks").glob("*.sql")):
        rows = answer(session.fetch(path.read_text(encoding="utf-8"), {"ds": ds}))
        if rows.num_rows:
            raise PublishError(
                f"night {ds} was not published: check {path.stem} finds {rows.num_rows} rows, such as {rows.slice(0, 3).to_pylist()}; "
                "the last published state stays live"
            )


def check(ds: dt.date, tables: Mapping[str, Rows], models: Mapping[str, pa.Table]) -> None:
    """The same on rows that are in no warehouse yet, beside the model tables as they will be."""
    with tempfile.TemporaryDirectory() as spilled, duckdb.connect(":memory:", config={**CONFIG, "temp_directory": spilled}) as connection:
        session = DuckDBSession(connection)
        for name, rows in {**models, **tables}.items():
            if isinstance(rows, Stream) and rows.paths:
                names = ", ".join(TABLES[name].names)
                session.run(f"CREATE VIEW {name} AS SELECT {names} FROM {parquet(rows.paths)}", {})
            else:
                session.run(TABLES[name].ddl("duckdb", constraints=False), {})
                session.append(name, rows)
        run_checks(session, ds)
