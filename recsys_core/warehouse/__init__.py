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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from recsys_core.lake import checksum
from recsys_core.tables import TABLES
from recsys_core.warehouse.publication import MAX_NIGHTS, MODEL_TABLES, NIGHT_TABLES, NightTables, Publication, Source
from recsys_core.warehouse.session import SQL, PublishError, WarehouseError, answer, stored

__all__ = [
    "MAX_NIGHTS",
    "MODEL_TABLES",
    "NIGHT_TABLES",
    "SQL",
    "NightTables",
    "Publication",
    "PublishError",
    "Source",
    "Warehouse",
    "WarehouseError",
    "connect",
]


class Warehouse(ABC):
    """A warehouse by URL; use it as a context manager or call `close`."""

    @abstractmethod
    def ensure_schema(self) -> None:
        """Create the tables and views that are missing."""

    @abstractmethod
    def publish_nights(self, nights: Sequence[NightTables], models: Mapping[str, pa.Table]) -> dict[dt.date, dict[str, int]]:
        """Make nights (at most MAX_NIGHTS) live, all or none, and replace the model tables given; returns night → table → generation.

        Raises PublishError and leaves everything as it was when rows do not fit, a check finds something or a hash differs.
        """

    @abstractmethod
    def publish_models(self, tables: Mapping[str, pa.Table]) -> None:
        """Replace model tables (of MODEL_TABLES) whole."""

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
        self, ds: dt.date, tables: Mapping[str, pa.Table], models: Mapping[str, pa.Table], publication: Publication
    ) -> dict[str, int]:
        """`publish_nights` of one night; returns table → generation."""
        return self.publish_nights([NightTables(ds, tables, publication)], models)[ds]

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> pa.Table:
        """Rows of a read-only query with `:name` parameters, in the same types whatever the engine (see `answer`)."""
        return answer(self.fetch(sql, params or {}))

    def read(self, table: str, ds: dt.date | None = None) -> pa.Table:
        """Rows of a table (of a night) in the declared schema, in no particular order."""
        return stored(_Reader(self), table, ds)

    def checksum(self, table: str, ds: dt.date | None = None) -> str:
        """The hash that `recsys_core.lake.checksum` gives of the rows: equal to the lake's for equal rows."""
        return checksum(self.read(table, ds), TABLES[table].key)

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

    def append(self, table: str, rows: pa.Table) -> None:
        raise WarehouseError("this connection only reads")


def connect(url: str) -> Warehouse:
    """The warehouse at `duckdb:///relative/path`, `duckdb:////absolute/path` or `postgresql://user@host:port/database`.

    Nothing is opened before it is used. Raises WarehouseError on any other URL.
    """
    if url.startswith("duckdb:///") and len(url) > len("duckdb:///"):
        from recsys_core.warehouse.duckdb import DuckDBWarehouse

        return DuckDBWarehouse(Path(url.removeprefix("duckdb:///")))
    if url.startswith(("postgresql://", "postgres://")):
        from recsys_core.warehouse.postgres import PostgresWarehouse

        return PostgresWarehouse(url)
    raise WarehouseError("a warehouse is duckdb:///path/to/file.duckdb or postgresql://user@host:port/database")
