"""What a warehouse has to become when declarations change: decided here for both engines, before anything is touched.

Admitted is what keeps every published row: a new table; a new column that may be null, has a `fill` in its declaration, or meets no rows; a
dropped constraint and, by `python -m jobs migrate` alone, a dropped column; a wider type; another key that the rows satisfy; NOT NULL where
there are no nulls, or a `fill` for them. Everything else is one WarehouseError that names each table, column and remedy. Rows published
before keep their generations, and the ledger's `content_hash` of them stays the hash of the rows as they were published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recsys_core.tables import TABLES, Column, Table
from recsys_core.warehouse.session import Session, WarehouseError

# What the engines call the declared types, where it is another name.
_NAMES = {
    "timestamp with time zone": "timestamp",
    "text": "string",
    "varchar": "string",
    "blob": "binary",
    "bytea": "binary",
    "double precision": "double",
    "decimal(18,4)": "decimal",
    "numeric(18,4)": "decimal",
    "text[]": "string[]",
    "varchar[]": "string[]",
    "float[]": "real[]",
}
# From a type to those that hold all of its values.
_WIDER = {"smallint": ("bigint", "double"), "json": ("string",)}

_FOUND = {
    "postgres": (
        """SELECT c.relname::text AS table_name, a.attname::text AS column_name, format_type(a.atttypid, a.atttypmod) AS kind,
               NOT a.attnotnull AS nullable
           FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
           WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
           ORDER BY c.relname, a.attnum""",
        """SELECT c.relname::text AS table_name, k.conname::text AS name, k.contype = 'p' AS is_key,
               ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u (attnum, place)
                     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.attnum ORDER BY u.place) AS columns
           FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
           WHERE c.relnamespace = 'public'::regnamespace AND k.contype IN ('p', 'u')""",
    ),
    "duckdb": (
        """SELECT table_name, column_name, data_type AS kind, is_nullable AS nullable FROM duckdb_columns()
           WHERE NOT internal AND database_name = current_database() AND table_name IN (
               SELECT table_name FROM duckdb_tables() WHERE database_name = current_database())
           ORDER BY table_name, column_index""",
        """SELECT table_name, constraint_name AS name, constraint_type = 'PRIMARY KEY' AS is_key, constraint_column_names AS columns
           FROM duckdb_constraints()
           WHERE database_name = current_database() AND constraint_type IN ('PRIMARY KEY', 'UNIQUE')
           UNION ALL
           SELECT table_name, 'noted ' || key.key, CAST(key.key AS BIGINT) = 0, from_json(key.value, '["VARCHAR"]')
           FROM duckdb_tables(), json_each(comment) AS key
           WHERE database_name = current_database() AND comment LIKE '[[%'""",
    ),
}


@dataclass
class Shape:
    """A table as an engine has it: column → (declared type, nullable), and keys by constraint name → (is the primary key, columns)."""

    columns: dict[str, tuple[str, bool]] = field(default_factory=dict)
    keys: dict[str, tuple[bool, tuple[str, ...]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """How one declared table differs from what is there.

    `unwanted` are the keys to drop, by constraint name, and `wanted` those to make: (is the primary key, columns).
    """

    table: Table
    is_new: bool = False
    added: tuple[Column, ...] = ()
    dropped: tuple[str, ...] = ()
    retyped: tuple[Column, ...] = ()
    required: tuple[Column, ...] = ()
    freed: tuple[Column, ...] = ()
    unwanted: tuple[tuple[str, tuple[str, ...]], ...] = ()
    wanted: tuple[tuple[bool, tuple[str, ...]], ...] = ()

    def __str__(self) -> str:
        if self.is_new:
            return f"{self.table.name}: new table"
        parts = {
            "new": [c.name for c in self.added],
            "dropped": self.dropped,
            "of a wider type": [f"{c.name} ({c.type})" for c in self.retyped],
            "never null": [c.name for c in self.required],
            "may be null": [c.name for c in self.freed],
            "rows told apart by": [f"({', '.join(columns)})" for _, columns in self.wanted],
            "no more by": [f"({', '.join(columns)})" for _, columns in self.unwanted],
        }
        return f"{self.table.name}: " + "; ".join(f"{what} {', '.join(names)}" for what, names in parts.items() if names)


def shapes(session: Session, engine: str) -> dict[str, Shape]:
    """The tables that a warehouse has, by name."""
    columns, keys = _FOUND[engine]
    found: dict[str, Shape] = {}
    for row in session.fetch(columns, {}).to_pylist():
        kind = row["kind"].lower()
        found.setdefault(row["table_name"], Shape()).columns[row["column_name"]] = (_NAMES.get(kind, kind), row["nullable"])
    for row in session.fetch(keys, {}).to_pylist():
        found[row["table_name"]].keys[row["name"]] = (row["is_key"], tuple(row["columns"]))
    return found


def changes(session: Session, found: Mapping[str, Shape], may_drop: bool) -> list[Change]:
    """What has to change, table by table; WarehouseError names all that is not admitted, and the remedy."""
    declared = [t for t in TABLES.values() if t.warehouse]
    strange = [t.name for t in declared if t.name in found]
    if strange and "publication" not in found:
        raise WarehouseError(
            f"the database holds {', '.join(strange)} in another shape than recsys_core/tables.py declares, and no ledger `publication`: "
            "it is no warehouse of nights; name a fresh database"
        )
    made, faults = [], []
    for table in declared:
        if table.name not in found:
            made.append(Change(table, is_new=True))
            continue
        change = _change(table, found[table.name])
        if change != Change(table):
            made.append(change)
            faults += _faults(session, change, found[table.name])
            if change.dropped and not may_drop:
                faults.append(
                    f"{', '.join(change.dropped)} of {table.name} declared no more: `python -m jobs migrate` drops what that holds"
                )
    if faults:
        raise WarehouseError(
            "the warehouse cannot be brought to the tables that recsys_core/tables.py declares: "
            + "; ".join(faults)
            + ". Nothing was changed"
        )
    return made


def _change(table: Table, shape: Shape) -> Change:
    here = [c for c in table.columns if c.name in shape.columns]
    wanted = {(True, table.key)} | ({(False, table.unique)} if table.unique else set())
    return Change(
        table,
        added=tuple(c for c in table.columns if c.name not in shape.columns),
        dropped=tuple(n for n in shape.columns if n not in table.names),
        retyped=tuple(c for c in here if c.type != shape.columns[c.name][0]),
        required=tuple(c for c in here if not c.nullable and shape.columns[c.name][1]),
        freed=tuple(c for c in here if c.nullable and not shape.columns[c.name][1]),
        unwanted=tuple((name, key[1]) for name, key in shape.keys.items() if key not in wanted),
        wanted=tuple(sorted(wanted - set(shape.keys.values()), reverse=True)),
    )


def _faults(session: Session, change: Change, shape: Shape) -> list[str]:
    table = change.table

    def count(sql: str) -> int:
        return int(session.fetch(f"SELECT count(*) AS n FROM {sql}", {}).column(0)[0].as_py())

    faults = []
    if unfilled := [c.name for c in change.added if not c.nullable and not c.fill]:
        rows = count(f"(SELECT 1 FROM {table.name} LIMIT 1) x")
        faults += [
            f"new column {n} of {table.name} holds no nulls and rows published before have no value for it: let it be null ('{n}?') or "
            f"declare a value for them (fill={{'{n}': …}})"
            for n in unfilled
            if rows
        ]
    for c in change.retyped:
        was = shape.columns[c.name][0]
        if c.type not in _WIDER.get(was, ()):
            faults.append(
                f"column {c.name} of {table.name} is {was} and declared {c.type}, which does not hold every {was}: give it another name"
            )
    for c in change.required:
        if not c.fill and (nulls := count(f"{table.name} WHERE {c.name} IS NULL")):
            faults.append(
                f"column {c.name} of {table.name} is declared without nulls and has {nulls}: let it be null, or declare a fill for them"
            )
    for _, columns in change.wanted:
        # A new column has one value in all rows, so it tells none apart.
        if there := [n for n in columns if n in shape.columns]:
            twice = count(f"(SELECT {', '.join(there)} FROM {table.name} GROUP BY {', '.join(there)} HAVING count(*) > 1) x")
        else:
            twice = max(0, count(table.name) - 1)
        if twice:
            faults.append(f"{twice} values of ({', '.join(columns)}) stand in several rows of {table.name}: they cannot be its key")
    return faults


def copied(table: Table, shape: Shape) -> tuple[str, str]:
    """Column names and expressions that carry rows of the old shape over: INSERT INTO … (names) SELECT expressions."""
    names, values = [], []
    for c in table.columns:
        if c.name not in shape.columns and (c.nullable or not c.fill):
            continue
        names.append(c.name)
        if c.name not in shape.columns:
            values.append(c.fill)
        else:
            values.append(f"coalesce({c.name}, {c.fill})" if c.fill and not c.nullable else c.name)
    return ", ".join(names), ", ".join(values)


def undeclared(found: Mapping[str, Any]) -> list[str]:
    """Tables of a warehouse that no declaration names (any more); they are left as they are."""
    return sorted(n for n in found if n not in TABLES or not TABLES[n].warehouse)
