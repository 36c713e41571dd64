"""The tables and views of a PostgreSQL warehouse, made and migrated in one transaction by whoever owns them.

Alembic writes the DDL of the changes that `migrate` admits, and its comparison of the result with the declarations is the last check before
the commit. Views are dropped and made again with the grants that they had; those of schema `published` (sql/roles.sql), too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import psycopg
import pyarrow as pa
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy.dialects import postgresql

from recsys_core.tables import TABLES, Table
from recsys_core.warehouse.migrate import Change, changes, shapes, undeclared
from recsys_core.warehouse.session import SQL, Rows, WarehouseError, make_schema, schema_mark

# What people may read is everything but who asked to be forgotten: sql/roles.sql says the same.
UNPUBLISHED = ("erasure_request",)
_TYPES: dict[str, Any] = {
    "string": sa.Text(),
    "json": sa.JSON(),
    "binary": sa.LargeBinary(),
    "boolean": sa.Boolean(),
    "smallint": sa.SmallInteger(),
    "bigint": sa.BigInteger(),
    "double": sa.Double(),
    "decimal": sa.Numeric(18, 4),
    "date": sa.Date(),
    "timestamp": sa.TIMESTAMP(timezone=True),
    "string[]": postgresql.ARRAY(sa.Text()),
    "real[]": postgresql.ARRAY(sa.REAL()),
}


class _Session:
    """A Session (without COPY) on one psycopg connection, which is the one that Alembic works on."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    def fetch(self, sql: str, params: Mapping[str, Any]) -> pa.Table:
        cursor = self.connection.execute(sql)
        names = [c.name for c in cursor.description or ()]
        rows = cursor.fetchall()
        return pa.table({name: [row[i] for row in rows] for i, name in enumerate(names)})

    def run(self, sql: str, params: Mapping[str, Any]) -> None:
        self.connection.execute(sql)

    def stream(self, sql: str, params: Mapping[str, Any]) -> Iterator[pa.RecordBatch]:
        raise WarehouseError("a migration reads few rows")

    def append(self, table: str, rows: Rows) -> None:
        raise WarehouseError("a migration changes tables and brings no rows")


def migrate(url: str, lock: int, lock_wait_s: float, ddl_wait_s: float, may_drop: bool) -> list[str]:
    """Bring the database to the declarations, under the publisher's lock; a line for each change, none when somebody else was first.

    Raises psycopg.Error when the server refuses, WarehouseError when a change is not admitted or the tables belong to somebody else.
    """
    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=sa.NullPool)
    with _unwrapped(), engine.begin() as connection:
        session = _Session(cast("psycopg.Connection[Any]", connection.connection.dbapi_connection))
        session.run(f"SET LOCAL lock_timeout = {int(lock_wait_s * 1000)}", {})
        session.run(f"SELECT pg_advisory_xact_lock({lock})", {})
        # A waiting ALTER keeps all readers out, so it must not wait for long.
        session.run(f"SET LOCAL lock_timeout = {int(ddl_wait_s * 1000)}; SET LOCAL search_path = public", {})
        if session.fetch("SELECT obj_description(to_regclass('public.publication')) AS mark", {}).column(0)[0].as_py() == schema_mark(
            "postgres"
        ):
            return []
        _become_owner(session)
        found = shapes(session, "postgres")
        wanted = changes(session, found, may_drop)
        with _views_made_again(session):
            operations = Operations(MigrationContext.configure(connection))
            for change in wanted:
                if not change.is_new:
                    _apply(operations, change)
            make_schema(session, "postgres")
        if not found:
            return []
        compared(connection)
    return [f"warehouse: {c}" for c in wanted] + [
        f"warehouse: {name} is declared no more and left as it is: drop it by hand; erasure does not reach it" for name in undeclared(found)
    ]


@contextmanager
def _unwrapped() -> Iterator[None]:
    """What SQLAlchemy wraps is raised as psycopg raised it."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise cast("psycopg.Error", error.orig) from None


def _become_owner(session: _Session) -> None:
    """Act as the owner of what is there, so that all belongs to one role; WarehouseError when the caller may not."""
    sql = """SELECT current_user::text AS me, coalesce(min(relowner::regrole::text), current_user) AS owner,
                 coalesce(bool_and(pg_has_role(relowner, 'MEMBER')), has_schema_privilege('public', 'CREATE')) AS allowed
             FROM pg_class WHERE oid = to_regclass('public.publication')"""
    (row,) = session.fetch(sql, {}).to_pylist()
    if not row["allowed"]:
        raise WarehouseError(
            f"the warehouse is not as recsys_core/tables.py declares it, and {row['me']} may not change what {row['owner']} owns: "
            "run `python -m jobs migrate` as the owner of the warehouse, then again. Nothing was changed"
        )
    if row["owner"] != row["me"]:
        session.run(f"SET LOCAL ROLE {row['owner']}", {})


@contextmanager
def _views_made_again(session: _Session) -> Iterator[None]:
    """Views are out of the way in the block; afterwards those of schema `published` show the new tables, with the grants of before."""
    names = ", ".join(f"'{n}'" for n in [*_views(), *TABLES])
    sql = f"""SELECT c.oid::regclass::text AS name, a.privilege_type AS privilege,
                  CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS grantee
              FROM pg_class c LEFT JOIN LATERAL aclexplode(c.relacl) a ON a.grantee <> c.relowner
              WHERE c.relkind = 'v' AND c.relname IN ({names})
                AND c.relnamespace IN (to_regnamespace('published'), to_regnamespace('public'))
              ORDER BY c.relnamespace = to_regnamespace('public'), c.relname"""
    grants = session.fetch(sql, {}).to_pylist()
    for name in dict.fromkeys(g["name"] for g in grants):
        session.run(f"DROP VIEW {name}", {})
    yield
    if session.fetch("SELECT to_regnamespace('published') IS NOT NULL AS there", {}).column(0)[0].as_py():
        for name in [*(t.name for t in TABLES.values() if t.warehouse and t.name not in UNPUBLISHED), *_views()]:
            session.run(f"CREATE VIEW published.{name} AS SELECT * FROM public.{name}", {})
    for grant in grants:
        if grant["privilege"] and session.fetch(f"SELECT to_regclass('{grant['name']}') IS NOT NULL AS there", {}).column(0)[0].as_py():
            session.run(f"GRANT {grant['privilege']} ON {grant['name']} TO {grant['grantee']}", {})


def _views() -> list[str]:
    return [path.stem for path in sorted((SQL / "views").glob("*.sql"))]


def _apply(operations: Operations, change: Change) -> None:
    """Alter one table, in an order that every step finds its ground prepared."""
    name = change.table.name
    for key, _ in change.unwanted:
        operations.drop_constraint(key, name)
    for column in change.dropped:
        operations.drop_column(name, column)
    for c in change.freed:
        operations.alter_column(name, c.name, nullable=True)
    for c in change.retyped:
        to = _TYPES[c.type].compile(dialect=postgresql.dialect())
        operations.alter_column(name, c.name, type_=_TYPES[c.type], postgresql_using=f"{c.name}::{to}")
    for c in change.added:
        fill = sa.text(c.fill) if c.fill and not c.nullable else None
        operations.add_column(name, sa.Column(c.name, _TYPES[c.type], nullable=c.nullable, server_default=fill))
        if fill is not None:
            operations.alter_column(name, c.name, server_default=None)
    for c in change.required:
        if c.fill:
            operations.execute(sa.text(f"UPDATE {name} SET {c.name} = {c.fill} WHERE {c.name} IS NULL"))
        operations.alter_column(name, c.name, nullable=False)
    for is_key, columns in change.wanted:
        if is_key:
            operations.create_primary_key(f"{name}_pkey", name, list(columns))
        else:
            operations.create_unique_constraint(None, name, list(columns))


def compared(connection: sa.Connection) -> None:
    """WarehouseError when Alembic finds that the tables are still not as declared."""
    metadata = sa.MetaData()
    for table in TABLES.values():
        if table.warehouse:
            _declared(table, metadata)

    def is_declared(item: object, name: str | None, kind: str, *_: object) -> bool:
        return kind != "table" or name in metadata.tables

    context = MigrationContext.configure(connection, opts={"compare_type": True, "include_object": is_declared})
    if rest := compare_metadata(context, metadata):
        raise WarehouseError(f"the migrated tables are not as recsys_core/tables.py declares them, so nothing was changed: {rest}")


def _declared(table: Table, metadata: sa.MetaData) -> sa.Table:
    columns = [
        sa.Column(c.name, _TYPES[c.type], nullable=c.nullable, primary_key=c.name in table.key, autoincrement=False) for c in table.columns
    ]
    unique = [sa.UniqueConstraint(*table.unique)] if table.unique else []
    index = [sa.Index(table.index_name, *table.index)] if table.index else []
    return sa.Table(
        table.name, metadata, *columns, *unique, *index, comment=schema_mark("postgres") if table.name == "publication" else None
    )
