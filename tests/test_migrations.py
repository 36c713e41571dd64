"""A warehouse of earlier declarations is brought to the present ones: every row stays, or nothing is changed and the error names all."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from recsys_core.tables import TABLES, Column
from recsys_core.warehouse import NightTables, WarehouseError, connect
from recsys_core.warehouse.postgres_schema import compared
from tests.test_roles import with_roles
from tests.test_warehouse import DAY, contents, models, night, row, slot, table

ONE = dt.timedelta(days=1)


def future(name: str, add: tuple[Column, ...] = (), drop: str = "", change: dict[str, dict[str, Any]] | None = None, **about: Any) -> None:
    """Declare a table otherwise; `published` has it undone."""
    now = TABLES[name]
    columns = tuple(replace(c, **(change or {}).get(c.name, {})) for c in now.columns if c.name != drop)
    TABLES[name] = replace(now, columns=columns + add, **about)


def segment(user: str) -> dict[str, Any]:
    return row(ds=DAY, segment="s", user_key=user, score=0.5, reason="because")


def shop() -> list[NightTables]:
    changed = row(ds=DAY, user_key="u1", topic_id=1, change="new", share_prev=0.0, share_now=0.7, z=2.0, slope=0.1, compared_ds=DAY - ONE)
    tables = {
        "user_segment": table("user_segment", [segment("u1"), segment("u2")]),
        "user_interest_change": table("user_interest_change", [changed]),
    }
    return [night(DAY - ONE), night(DAY, tables)]


@pytest.fixture(params=["duckdb", "postgres"])
def published(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Two nights, the second published twice; declarations may be changed afterwards."""
    url = f"duckdb:///{tmp_path}/w.duckdb" if request.param == "duckdb" else request.getfixturevalue("postgres_db")
    with connect(url) as warehouse:
        warehouse.publish_nights(shop(), models())
        warehouse.publish_nights(shop()[1:], {})
    now = dict(TABLES)
    yield url
    TABLES.clear()
    TABLES.update(now)


def test_what_keeps_every_row_is_done_and_said(published: str) -> None:
    before = contents(published)
    future(
        "user_segment",
        add=(
            Column("lang", "string", "", True),
            Column("kind", "string", "", False, fill="'by hand'"),
            Column("k", "smallint", "", True, fill="7"),
        ),
        drop="reason",
    )
    future(
        "user_profile",
        change={"cold_level": {"type": "bigint"}, "summary_en": {"nullable": True}, "top_topic_id": {"nullable": False, "fill": "-1"}},
    )
    future("user_interest_change", key=("ds", "user_key", "topic_id", "change"))
    future("user_segment", unique=("ds", "user_key", "segment", "k"))
    future("user_topn", unique=(), change={"topic_id": {"nullable": False, "fill": "0"}})
    TABLES["item_note"] = replace(TABLES["user_segment"], name="item_note")
    said: list[str] = []
    with connect(published, said.append) as warehouse:
        with pytest.raises(WarehouseError, match="reason of user_segment declared no more: `python -m jobs migrate` drops"):
            warehouse.ensure_schema()  # as before every publication
        warehouse.ensure_schema(may_drop=True)
        assert sorted(said) == [
            "warehouse: item_note: new table",
            "warehouse: user_interest_change: rows told apart by (ds, user_key, topic_id, change); no more by (ds, user_key, topic_id)",
            "warehouse: user_profile: of a wider type cold_level (bigint); never null top_topic_id; may be null summary_en",
            "warehouse: user_segment: new lang, kind, k; dropped reason; rows told apart by (ds, user_key, segment, k)",
            "warehouse: user_topn: never null topic_id; no more by (ds, user_key, list_name, variant, item_id)",
        ]
        warehouse.ensure_schema()
        assert len(said) == 5  # once
        new = {"lang": None, "kind": "by hand", "k": None}
        rows = [{**{n: v for n, v in segment(u).items() if n != "reason"}, **new} for u in ("u1", "u2")]
        assert sorted(warehouse.read("user_segment").to_pylist(), key=str) == rows
        assert {r["top_topic_id"] for r in warehouse.read("user_profile", DAY).to_pylist()} == {1, -1}
        assert {r["topic_id"] for r in warehouse.read("user_topn", DAY).to_pylist()} == {0, 1}
        assert warehouse.query("SELECT count(*) AS n FROM user_topn_now").to_pylist() == [{"n": 3}]  # the views are there again
        kept = {t: h for t, h in before.items() if t not in ("user_segment", "user_profile", "user_topn")}
        assert {t: warehouse.checksum(t, DAY) for t in kept if t != "publication"} | {
            "publication": warehouse.checksum("publication")
        } == kept
        # A night of the new shape goes in, two lists with one item and two changes of one interest included.
        both = [
            row(ds=DAY, user_key="u1", topic_id=1, change=c, share_prev=0.0, share_now=0.7, z=z, slope=0.1, compared_ds=DAY - ONE)
            for c, z in (("new", 1.0), ("lost", 2.0))
        ]
        given = {
            "user_interest_change": table("user_interest_change", both),
            "user_topn": table("user_topn", [slot(DAY, "u1", 1, "i1"), slot(DAY, "u1", 2, "i1")]),
            "user_profile": table("user_profile", []),
        }
        assert warehouse.publish_nights([night(DAY, given)], {})[DAY]["user_topn"] == 3


def test_what_would_lose_rows_is_refused_and_named(published: str) -> None:
    before = contents(published)
    now = dict(TABLES)
    future("user_segment", add=(Column("kind", "string", "", False),), key=("ds", "segment"))
    future("user_profile", change={"entropy": {"type": "bigint"}, "top_topic_id": {"nullable": False}})
    future("user_segment", add=(Column("z", "double", "", True),))
    with connect(published) as warehouse, pytest.raises(WarehouseError) as refused:
        warehouse.ensure_schema()
    TABLES.update(now)
    for fault in (
        "new column kind of user_segment holds no nulls and rows published before have no value for it: let it be null ('kind?')",
        "1 values of (ds, segment) stand in several rows of user_segment",
        "column entropy of user_profile is double and declared bigint, which does not hold every double: give it another name",
        "column top_topic_id of user_profile is declared without nulls and has 4: let it be null, or declare a fill",
        "Nothing was changed",
    ):
        assert fault in str(refused.value)
    assert contents(published) == before


def test_alembic_finds_the_declared_tables_in_a_fresh_database(postgres_db: str) -> None:
    with connect(postgres_db) as warehouse:
        warehouse.ensure_schema()
    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(postgres_db))
    with engine.begin() as connection:
        compared(connection)
        connection.exec_driver_sql("ALTER TABLE user_segment ALTER COLUMN score TYPE real")
        with pytest.raises(WarehouseError, match="score"):
            compared(connection)
    engine.dispose()


def test_the_owner_migrates_the_loader_is_told_so_and_grants_stay(postgres_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with connect(postgres_db) as warehouse:
        warehouse.publish_nights(shop(), models())
    with with_roles(postgres_db, olga="nightly_owner", lisa="nightly_loader", rita="nightly_reader", bo="") as as_user:
        with psycopg.connect(postgres_db) as admin:
            admin.execute("GRANT USAGE ON SCHEMA published TO bo; GRANT SELECT ON published.user_segment TO bo")
        _migrated_by_its_owner(postgres_db, as_user, monkeypatch)


def _migrated_by_its_owner(url: str, as_user: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        TABLES,
        "user_segment",
        replace(TABLES["user_segment"], columns=(*TABLES["user_segment"].columns, Column("k", "smallint", "", True))),
    )
    monkeypatch.setitem(TABLES, "item_note", replace(TABLES["user_segment"], name="item_note"))
    with connect(as_user["lisa"]) as loader:
        with pytest.raises(WarehouseError, match=r"lisa may not change what nightly_owner owns: run `python -m jobs migrate` as the owner"):
            loader.publish_nights(shop()[1:], models())
        with connect(as_user["olga"]) as owner:
            owner.ensure_schema()
        assert loader.publish_nights([night()], models())[DAY]["user_segment"] == 2
    for name, tables in (("rita", ("user_segment", "item_note", "user_topn_now")), ("bo", ("user_segment",))):
        with psycopg.connect(as_user[name], autocommit=True) as reader:
            for one in tables:
                reader.execute(f"SELECT * FROM published.{one}")
            reader.execute("SELECT k FROM published.user_segment")
            with pytest.raises(psycopg.errors.UndefinedTable):
                reader.execute("SELECT * FROM published.erasure_request")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute("SELECT * FROM public.user_segment")
    with psycopg.connect(url) as admin:
        of = "relnamespace IN ('public'::regnamespace, 'published'::regnamespace) AND relkind IN ('r', 'v')"
        owners = admin.execute(f"SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE {of}")
        assert owners.fetchall() == [("nightly_owner",)]
