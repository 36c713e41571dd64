"""What both engines share of talking to a database: errors, named parameters, Arrow in equal types, the schema."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from recsys_core.lake import LakeError, conform
from recsys_core.tables import TABLES

SQL = Path(__file__).resolve().parents[2] / "sql"

# Strings, quoted names, comments and :: are passed over; what is left of :name is a parameter.
_PARAMETER = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/|::|:([A-Za-z_]\w*)", re.DOTALL)


class WarehouseError(LakeError):
    """The warehouse cannot be reached, or does not fit; the message never holds a password."""


class TransientError(WarehouseError):
    """The server went away, or another transaction was in the way: the same again may succeed."""


class PublishError(WarehouseError):
    """A night was refused; what was live stays live. The message names the night, the check and the first offending rows."""


class Session(Protocol):
    """One open connection of a publisher."""

    def fetch(self, sql: str, params: Mapping[str, Any]) -> pa.Table:
        """Rows of a query."""

    def run(self, sql: str, params: Mapping[str, Any]) -> None:
        """Execute a statement."""

    def append(self, table: str, rows: pa.Table) -> None:
        """Add rows in the declared schema to a table."""


def bind(sql: str, params: Mapping[str, Any], mark: Callable[[str, int], str]) -> tuple[str, list[str]]:
    """The text with each `:name` written as `mark(name, number)`, and the names in order of first use; values never enter the text.

    >>> bind("SELECT ':no', a::int WHERE b = :x AND c = :y AND d = :x", {"x": 1, "y": 2}, lambda name, n: f"${n}")
    ("SELECT ':no', a::int WHERE b = $1 AND c = $2 AND d = $1", ['x', 'y'])
    """
    names: list[str] = []

    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        if name is None:
            return match.group(0)
        if name not in params:
            raise WarehouseError(f"the query needs a value for :{name}")
        if name not in names:
            names.append(name)
        return mark(name, names.index(name) + 1)

    return _PARAMETER.sub(replace, sql), names


def storage(rows: pa.Table) -> pa.Table:
    """The rows with extension types (JSON, PostgreSQL's numeric) as the strings that store them."""

    def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
        if isinstance(column.type, pa.BaseExtensionType):
            return pa.chunked_array([c.storage for c in column.chunks], column.type.storage_type)
        return column

    return pa.table([plain(c) for c in rows.columns], names=rows.column_names)


def answer(rows: pa.Table) -> pa.Table:
    """The rows with the types that any engine gives: whole numbers as int64, NUMERIC and REAL as double, JSON as string."""

    def common(name: str) -> pa.ChunkedArray:
        column, kind = flat.column(name), rows.schema.field(name).type
        if pa.types.is_integer(kind):
            return column.cast(pa.int64())
        if pa.types.is_decimal(kind) or pa.types.is_floating(kind) or getattr(kind, "type_name", "") == "numeric":
            return column.cast(pa.float64())
        return column.cast(pa.string()) if pa.types.is_large_string(kind) or pa.types.is_null(kind) else column

    flat = storage(rows)
    return pa.table([common(n) for n in flat.column_names], names=flat.column_names)


def schema_mark(engine: str) -> str:
    """What is noted in a warehouse once its tables and views are made: a hash of all of them."""
    return "schema " + hashlib.sha256("\n".join(schema_statements(engine)).encode()).hexdigest()[:16]


def schema_statements(engine: str) -> list[str]:
    """DDL of all tables and views for 'duckdb' or 'postgres', in order."""
    views = [path.read_text(encoding="utf-8") for path in sorted((SQL / "views").glob("*.sql"))]
    return [*(t.ddl(engine) for t in TABLES.values() if t.warehouse), *views]


def make_schema(session: Session, engine: str) -> None:
    """Create the tables and views that are missing, and note the mark."""
    for statement in schema_statements(engine):
        session.run(statement, {})
    session.run(f"COMMENT ON TABLE publication IS '{schema_mark(engine)}'", {})


def stored(session: Session, table: str, ds: dt.date | None = None) -> pa.Table:
    """Rows of a table (of a night) in the declared schema, in no particular order."""
    declared = TABLES[table]
    where, params = ("", {}) if ds is None or not declared.by_night else (" WHERE ds = :ds", {"ds": ds})
    return conform(storage(session.fetch(f"SELECT {', '.join(declared.names)} FROM {table}{where}", params)), declared)
