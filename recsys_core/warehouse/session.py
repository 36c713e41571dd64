"""What both engines share of talking to a database: errors, named parameters, Arrow in equal types, the schema."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from recsys_core.lake import LakeError, canonical_json, conform
from recsys_core.lake.checksums import Sums, sums
from recsys_core.lake.contents import declared
from recsys_core.tables import TABLES, Table

SQL = Path(__file__).resolve().parents[2] / "sql"

# PostgreSQL looks at a table of nights again after each publication, not after a tenth of all nights: of a night that it has not looked at
# it expects one row, and walks through every holder of a topic.
LOOKED_AT = "autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000"

# Parts of what is read back that are hashed at a time.
HASHERS = 2

# Strings, quoted names, comments and :: are passed over; what is left of :name is a parameter.
_PARAMETER = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/|::|:([A-Za-z_]\w*)", re.DOTALL)


class WarehouseError(LakeError):
    """The warehouse cannot be reached, or does not fit; the message never holds a password."""


class TransientError(WarehouseError):
    """The server went away, or another transaction was in the way: the same again may succeed."""


class PublishError(WarehouseError):
    """A night was refused; what was live stays live. The message names the night, the check and the first offending rows."""


class Rows(Protocol):
    """Rows in the declared schema of their table: a pa.Table, or a Stream from the lake."""

    @property
    def num_rows(self) -> int:
        """How many they are."""

    @property
    def schema(self) -> pa.Schema:
        """The declared schema."""

    def to_batches(self) -> Iterable[pa.RecordBatch]:
        """All of them."""


def reader(rows: Rows) -> pa.RecordBatchReader:
    """The rows for whoever takes Arrow as it comes; the next part is read while one is taken."""
    return pa.RecordBatchReader.from_batches(rows.schema, _ahead(iter(rows.to_batches())))


def _ahead(parts: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, parts, None)
        while (part := coming.result()) is not None:
            coming = pool.submit(next, parts, None)
            yield part


class Session(Protocol):
    """One open connection of a publisher."""

    def fetch(self, sql: str, params: Mapping[str, Any]) -> pa.Table:
        """Rows of a query."""

    def stream(self, sql: str, params: Mapping[str, Any]) -> Iterator[pa.RecordBatch]:
        """The same as they come, a part at a time."""

    def run(self, sql: str, params: Mapping[str, Any]) -> None:
        """Execute a statement."""

    def append(self, table: str, rows: Rows) -> None:
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
    return [*(statement for t in TABLES.values() if t.warehouse for statement in _made(t, engine)), *views]


def _made(table: Table, engine: str) -> list[str]:
    """DDL of one table.

    In DuckDB the keys of what comes from the lake are noted, as JSON in the table's comment, and not indexed: no query is quicker by those
    indexes, which cost more time and room than the rows. That keys do not repeat is seen in the lake, and that rows are the lake's from
    their checksum.
    """
    if engine == "postgres":
        return [table.ddl(engine), *([f"ALTER TABLE {table.name} SET ({LOOKED_AT})"] if table.by_night else [])]
    if not table.lake:
        return [table.ddl(engine)]
    keys = canonical_json([table.key, *([table.unique] if table.unique else [])])
    return [table.ddl(engine, constraints=False), f"COMMENT ON TABLE {table.name} IS '{keys}'"]


def make_schema(session: Session, engine: str) -> None:
    """Create the tables and views that are missing, and note the mark."""
    for statement in schema_statements(engine):
        session.run(statement, {})
    session.run(f"COMMENT ON TABLE publication IS '{schema_mark(engine)}'", {})


def stored(session: Session, table: str, ds: dt.date | None = None) -> pa.Table:
    """Rows of a table (of a night) in the declared schema, in no particular order."""
    sql, params = _all(table, ds)
    return conform(storage(session.fetch(sql, params)), TABLES[table])


def stored_checksum(session: Session, table: str, ds: dt.date | None = None) -> str:
    """The checksum of the same rows, which are hashed while the next come, and of which few are held at a time."""
    sql, params = _all(table, ds)
    found, waiting = Sums(), deque[Future[Sums]]()
    with ThreadPoolExecutor(HASHERS) as pool:
        for batch in session.stream(sql, params):
            waiting.append(pool.submit(_sums, batch, TABLES[table]))
            if len(waiting) > HASHERS:
                found = found.plus(waiting.popleft().result())
    for each in waiting:
        found = found.plus(each.result())
    return found.checksum(TABLES[table].names)


def _sums(batch: pa.RecordBatch, table: Table) -> Sums:
    return sums(declared(storage(pa.table(batch)), table))


def _all(table: str, ds: dt.date | None) -> tuple[str, dict[str, Any]]:
    where, params = ("", {}) if ds is None or not TABLES[table].by_night else (" WHERE ds = :ds", {"ds": ds})
    return f"SELECT {', '.join(TABLES[table].names)} FROM {table}{where}", params
