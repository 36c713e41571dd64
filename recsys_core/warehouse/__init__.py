"""The warehouse: what people query. DuckDB files and PostgreSQL behind one interface; a night is published whole or not at all.

    with connect("duckdb:///var/warehouse.duckdb") as warehouse:
        warehouse.publish_night(ds, tables, models, publication)
        warehouse.query("SELECT * FROM user_topn_now WHERE user_key = :user_key", {"user_key": key})

Rows go in and come out as Arrow. What was staged is read back and hashed before readers can see it, so a night's `content_hash` in the
ledger `publication` is the hash of the rows in the lake, in DuckDB and in PostgreSQL alike.
"""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from recsys_core.lake import Stream
from recsys_core.warehouse.publication import (
    INTRADAY,
    MAX_NIGHTS,
    MODEL_TABLES,
    NEWEST,
    NIGHT_TABLES,
    USER_TABLES,
    NightTables,
    Publication,
    Source,
)
from recsys_core.warehouse.session import SQL, PublishError, Rows, TransientError, WarehouseError, answer, stored, stored_checksum

__all__ = [
    "INTRADAY",
    "MAX_NIGHTS",
    "MODEL_TABLES",
    "NIGHT_TABLES",
    "SQL",
    "USER_TABLES",
    "NightTables",
    "Publication",
    "PublishError",
    "Source",
    "TransientError",
    "Warehouse",
    "WarehouseError",
    "connect",
]


class Warehouse(ABC):
    """A warehouse by URL; use it as a context manager or call `close`.

    `say` gets a line for each change of the schema, each further try, and whatever an administrator has to do. A `fence` is called once the
    publisher's lock is held and before anything is changed: what it raises is passed on and nothing was changed.
    """

    say: Callable[[str], None]

    @abstractmethod
    def ensure_schema(self, may_drop: bool = False) -> None:
        """Make the tables and views as declared, keeping all rows: see `recsys_core.warehouse.migrate` for what is admitted.

        Columns that are declared no more are dropped only when they may be: code of an earlier version must not undo what a later one made.
        """

    @abstractmethod
    def publish_nights(
        self,
        nights: Sequence[NightTables],
        models: Mapping[str, pa.Table],
        fence: Callable[[], None] | None = None,
        runs: pa.Table | None = None,
    ) -> dict[dt.date, dict[str, int]]:
        """Make nights (at most MAX_NIGHTS) live, all or none, and replace the model tables given; returns night → table → generation.

        `runs` are rows of job_run, of whatever night; those that are there already stay. Raises PublishError and leaves everything as it
        was when rows do not fit, a check finds something or a hash differs.
        """

    @abstractmethod
    def publish_models(self, tables: Mapping[str, pa.Table], fence: Callable[[], None] | None = None, runs: pa.Table | None = None) -> None:
        """Replace model tables (of MODEL_TABLES) whole, and add `runs` as publish_nights does."""

    @abstractmethod
    def publish_intraday(
        self, ds: dt.date, rows: pa.Table, source: Source, as_of_ts: dt.datetime, fence: Callable[[], None] | None = None
    ) -> int | None:
        """Replace the running day's rows of user_interest_intraday; returns the generation, None when a night from ds on is published.

        On DuckDB they lie in a small file beside the warehouse's, which `fetch` attaches. Raises SchemaError or PublishError, and leaves
        everything as it was, when rows do not fit or are not as the source announces.
        """

    @abstractmethod
    def erase(
        self,
        user_keys: Sequence[str],
        requests: Sequence[Mapping[str, Any]],
        input_hashes: Mapping[tuple[str, dt.date], str] | None = None,
        fence: Callable[[], None] | None = None,
    ) -> dict[tuple[str, dt.date], int]:
        """Remove the rows of users from all tables, and their bytes from the files; returns (table, night) → rows removed.

        In one transaction: each (table, night) that lost rows becomes a new generation under trigger `erasure`, with the hash of what is
        left; live generations take the input hash that `input_hashes` has for them; `requests` (rows of erasure_request) replace those of
        the same id. Done twice it finds nothing more to do. What the role may not do on PostgreSQL is said, with who has to do what.
        """

    @abstractmethod
    def retire(self, before: dt.date) -> None:
        """Remove all rows of the nights before one, and their bytes; the ledger keeps their generations, of which none is live."""

    @abstractmethod
    def fetch(self, sql: str, params: Mapping[str, Any]) -> pa.Table:
        """Rows of a read-only query with the engine's own Arrow types; WarehouseError when it fails."""

    @abstractmethod
    def exists(self) -> bool:
        """Whether tables are there already."""

    @abstractmethod
    def close(self) -> None:
        """Close what is open; the object can be used again."""

    def publish_night(
        self,
        ds: dt.date,
        tables: Mapping[str, pa.Table | Stream],
        models: Mapping[str, pa.Table],
        publication: Publication,
        fence: Callable[[], None] | None = None,
    ) -> dict[str, int]:
        """`publish_nights` of one night; returns table → generation."""
        return self.publish_nights([NightTables(ds, tables, publication)], models, fence)[ds]

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> pa.Table:
        """Rows of a read-only query with `:name` parameters, in the same types whatever the engine (see `answer`)."""
        # PostgreSQL's driver wraps a query without parameters into another one, which a semicolon would end.
        return answer(self.fetch(sql.rstrip().removesuffix(";"), params or {}))

    def read(self, table: str, ds: dt.date | None = None) -> pa.Table:
        """Rows of a table (of a night) in the declared schema, in no particular order."""
        return stored(_Reader(self), table, ds)

    def checksum(self, table: str, ds: dt.date | None = None) -> str:
        """The hash that `recsys_core.lake.checksum` gives of the rows: equal to the lake's for equal rows."""
        return stored_checksum(_Reader(self), table, ds)

    def newest(self) -> dt.date | None:
        """The newest published night; None before the first one."""
        found: dt.date | None = self.query(NEWEST).column(0)[0].as_py() if self.exists() else None
        return found

    def nights_before(self, ds: dt.date) -> list[dt.date]:
        """Published nights before one, sorted."""
        if not self.exists():
            return []
        found = self.query("SELECT DISTINCT ds FROM publication WHERE is_live AND ds < :ds ORDER BY ds", {"ds": ds})
        nights: list[dt.date] = found["ds"].to_pylist()
        return nights

    def live(self, ds: dt.date) -> dict[str, dict[str, Any]]:
        """What readers see of a night: table → run_id, input_hash, generation, row_count, content_hash; empty when not published."""
        if not self.exists():
            return {}
        rows = self.query(
            "SELECT table_name, run_id, input_hash, generation, row_count, content_hash FROM publication WHERE ds = :ds AND is_live",
            {"ds": ds},
        )
        return {r.pop("table_name"): r for r in rows.to_pylist()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Reader:
    """A Session that only reads."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.fetch = warehouse.fetch

    def run(self, sql: str, params: Mapping[str, Any]) -> None:
        raise WarehouseError("this connection only reads")

    def stream(self, sql: str, params: Mapping[str, Any]) -> Iterator[pa.RecordBatch]:
        yield from self.fetch(sql, params).to_batches()

    def append(self, table: str, rows: Rows) -> None:
        raise WarehouseError("this connection only reads")


def connect(url: str, say: Callable[[str], None] = lambda line: None) -> Warehouse:
    """The warehouse at `duckdb:///relative/path`, `duckdb:////absolute/path` or `postgresql://user@host:port/database`.

    Nothing is opened before it is used. Raises WarehouseError on any other URL.
    """
    if url.startswith("duckdb:///") and len(url) > len("duckdb:///"):
        from recsys_core.warehouse.duckdb import DuckDBWarehouse

        return DuckDBWarehouse(Path(url.removeprefix("duckdb:///")), say)
    if url.startswith(("postgresql://", "postgres://")):
        from recsys_core.warehouse.postgres import PostgresWarehouse

        return PostgresWarehouse(url, say)
    raise WarehouseError("a warehouse is duckdb:///path/to/file.duckdb or postgresql://user@host:port/database")
