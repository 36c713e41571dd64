"""Who may do what in a PostgreSQL warehouse: the reader asks and does nothing else, the loader publishes, the owner migrates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg
import pytest

from recsys_core.warehouse import SQL, connect
from recsys_core.warehouse.postgres_session import LOCK
from tests.test_sql import ONE, QUESTIONS, shop
from tests.test_warehouse import DAY, fresh_database, models

ROLES = ("nightly_owner", "nightly_loader", "nightly_reader")


@contextmanager
def with_roles(url: str, **members: str) -> Iterator[dict[str, str]]:
    """sql/roles.sql in a published warehouse, and users (name=role) with their URLs; roles are the server's, so they are dropped again."""
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute((SQL / "roles.sql").read_text(encoding="utf-8"))
        admin.execute((SQL / "roles.sql").read_text(encoding="utf-8"))  # it can be run again
        for name, role in members.items():
            admin.execute(f"CREATE ROLE {name} LOGIN {'IN ROLE ' + role if role else ''}")
        yield {name: url.replace("pg@", f"{name}@") for name in members}
        for role in (*members, *ROLES):
            admin.execute(f"DROP OWNED BY {role} CASCADE")
        admin.execute(f"DROP ROLE {', '.join((*members, *ROLES))}")


@pytest.fixture(scope="module")
def users(postgres_url: str) -> Iterator[dict[str, str]]:
    """URLs of a reader, a loader and an owner of a published warehouse."""
    url = fresh_database(postgres_url, "with_roles")
    with connect(url) as warehouse:
        warehouse.publish_nights(shop()[:2], models(train_to=DAY - 20 * ONE))
    with with_roles(url, rita="nightly_reader", lisa="nightly_loader", olga="nightly_owner") as urls:
        yield urls | {"rita": urls["rita"] + "?options=-csearch_path%3Dpublished"}


def test_the_reader_asks_every_question(users: dict[str, str]) -> None:
    values = {"user_key": "u1", "ds": DAY, "time_zone": "UTC", "topic_id": 1, "metric": "recall", "k": 10}
    values |= {"horizon": "90d", "min_share": 0.5}
    with connect(users["rita"]) as warehouse:
        answers = [warehouse.query(path.read_text(encoding="utf-8"), values).num_rows for path in QUESTIONS]
        assert answers == [4, 4, 2, 2, 3, 4, 1, 4]
        # The command line knows only text.
        texts = {name: str(value) for name, value in values.items()}
        assert [warehouse.query(path.read_text(encoding="utf-8"), texts).num_rows for path in QUESTIONS] == answers
        assert set(warehouse.live(DAY)) == set(shop()[1].tables)


NO_RIGHT, NO_TABLE = psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedTable
FORBIDDEN: dict[str, type[psycopg.Error]] = {
    # What is not for readers: the tables behind the views, and who asked to be forgotten.
    "SELECT * FROM public.user_interest": NO_RIGHT,
    "SELECT count(*) FROM public.publication": NO_RIGHT,
    "SELECT * FROM public.erasure_request": NO_RIGHT,
    "SELECT * FROM published.erasure_request": NO_TABLE,
    "SELECT * FROM pg_authid": NO_RIGHT,
    # Rows.
    "INSERT INTO published.topic (topic_id) VALUES (1)": NO_RIGHT,
    "UPDATE published.topic SET label_en = 'x'": NO_RIGHT,
    "DELETE FROM published.user_topn": NO_RIGHT,
    "MERGE INTO public.topic t USING published.topic s ON t.topic_id = s.topic_id WHEN MATCHED THEN DELETE": NO_RIGHT,
    "SELECT * FROM published.topic FOR UPDATE": NO_RIGHT,
    "TRUNCATE public.user_topn": NO_RIGHT,
    "COPY public.topic FROM STDIN": NO_RIGHT,
    "DO $$ BEGIN LOCK TABLE published.user_topn IN ACCESS EXCLUSIVE MODE; END $$": NO_RIGHT,
    "WITH gone AS (DELETE FROM public.user_topn RETURNING *) SELECT * FROM gone": NO_RIGHT,
    "DO $$ BEGIN DELETE FROM public.user_topn; END $$": NO_RIGHT,
    # Tables, views and what hangs on them.
    "CREATE TABLE published.mine (x int)": NO_RIGHT,
    "CREATE TABLE public.mine (x int)": NO_RIGHT,
    "CREATE TEMPORARY TABLE mine (x int)": NO_RIGHT,
    "SELECT * INTO TEMPORARY mine FROM published.topic": NO_RIGHT,
    "CREATE VIEW published.mine AS SELECT 1": NO_RIGHT,
    "CREATE OR REPLACE VIEW published.topic AS SELECT 1": NO_RIGHT,
    "CREATE MATERIALIZED VIEW published.mine AS SELECT 1": NO_RIGHT,
    "CREATE SCHEMA mine": NO_RIGHT,
    "CREATE SEQUENCE published.mine": NO_RIGHT,
    "CREATE FUNCTION published.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'": NO_RIGHT,
    "CREATE INDEX ON public.user_topn (item_id)": NO_RIGHT,
    "CREATE TRIGGER mine BEFORE INSERT ON public.topic FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()": NO_RIGHT,
    "ALTER TABLE public.user_topn ADD COLUMN x int": NO_RIGHT,
    "ALTER VIEW published.user_topn RENAME TO mine": NO_RIGHT,
    "ALTER VIEW published.user_topn OWNER TO rita": NO_RIGHT,
    "DROP VIEW published.user_topn": NO_RIGHT,
    "DROP TABLE public.user_topn": NO_RIGHT,
    "DROP SCHEMA published CASCADE": NO_RIGHT,
    "VACUUM FULL public.user_topn": NO_RIGHT,
    "COMMENT ON TABLE public.publication IS 'x'": NO_RIGHT,
    # Rights and other roles.
    "GRANT SELECT ON public.user_interest TO rita": NO_RIGHT,
    "REVOKE nightly_reader FROM rita": NO_RIGHT,
    "GRANT nightly_loader TO rita": NO_RIGHT,
    "SET ROLE nightly_loader": NO_RIGHT,
    "SET ROLE pg": NO_RIGHT,
    "SET SESSION AUTHORIZATION pg": NO_RIGHT,
    "CREATE ROLE mine": NO_RIGHT,
    "CREATE DATABASE mine": NO_RIGHT,
    "CREATE EXTENSION dblink": NO_RIGHT,
    "ALTER SYSTEM SET work_mem = '1GB'": NO_RIGHT,
    # The server's files and other people's work.
    "COPY published.topic TO '/tmp/x'": NO_RIGHT,
    "COPY published.topic TO PROGRAM 'cat'": NO_RIGHT,
    "SELECT pg_read_file('/etc/passwd')": NO_RIGHT,
    "SELECT pg_ls_dir('/')": NO_RIGHT,
    "SELECT lo_create(0)": NO_RIGHT,
    "SELECT lo_from_bytea(0, 'x')": NO_RIGHT,
    "SELECT lo_import('/etc/passwd')": NO_RIGHT,
    "SELECT pg_switch_wal()": NO_RIGHT,
    "SELECT pg_reload_conf()": NO_RIGHT,
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'pg'": NO_RIGHT,
    f"SELECT pg_advisory_lock({LOCK})": NO_RIGHT,
}


def test_the_reader_does_nothing_else(users: dict[str, str]) -> None:
    assert len(FORBIDDEN) > 50
    assert not_refused(users["rita"], FORBIDDEN) == []


def not_refused(url: str, statements: Mapping[str, type[psycopg.Error]]) -> list[str]:
    """The statements that are done, or refused for another reason than the one given."""
    faults = []
    with psycopg.connect(url, autocommit=True) as connection:
        for statement, reason in statements.items():
            try:
                connection.execute(statement)
                faults.append(f"{statement}: done")
            except psycopg.Error as error:
                if type(error) is not reason:
                    faults.append(f"{statement}: {error!r}")
    return faults


def test_the_loader_publishes_and_changes_no_table(users: dict[str, str]) -> None:
    with connect(users["lisa"]) as warehouse:
        assert warehouse.publish_nights(shop()[1:2], models(train_to=DAY - 20 * ONE))[DAY]["user_topn"] == 2
    forbidden = """CREATE TABLE mine (x int); CREATE TABLE published.mine (x int); CREATE VIEW mine AS SELECT 1; DROP TABLE user_topn;
        TRUNCATE user_topn; ALTER TABLE user_topn ADD x int; ALTER TABLE user_topn DROP COLUMN score; CREATE INDEX ON user_topn (item_id);
        COMMENT ON TABLE publication IS 'x'; DROP VIEW user_topn_now; SET ROLE nightly_owner; GRANT nightly_owner TO lisa;
        COPY user_topn TO '/tmp/x'; SELECT lo_create(0)"""
    assert not_refused(users["lisa"], dict.fromkeys(map(str.strip, forbidden.split(";")), NO_RIGHT)) == []


def test_the_loader_erases_and_says_what_is_left_to_the_owner(users: dict[str, str]) -> None:
    said: list[str] = []
    with connect(users["lisa"], said.append) as warehouse:
        assert warehouse.erase(["u2"], [])["user_interest", DAY] == 4
    assert [line.split(":")[1].split(" are ")[0] for line in said] == [" erased rows", " erased rows"]
    assert "VACUUM (FULL, ANALYZE) public.user_item_day" in said[0]
    assert "pg_switch_wal" in said[1]
