"""What stands in a publisher's way: a newer attempt, others at work, a frozen holder of the lock, a lost connection, no room; erasure."""

from __future__ import annotations

import datetime as dt
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from recsys_core.lake import FencedError, checksum
from recsys_core.tables import TABLES
from recsys_core.warehouse import USER_TABLES, PublishError, TransientError, Warehouse, WarehouseError, connect, postgres_session
from recsys_core.warehouse.duckdb import DuckDBWarehouse
from recsys_core.warehouse.postgres import PostgresWarehouse
from tests.test_warehouse import DAY, UTC, contents, interest, models, night, row, slot, spoiled, table

ONE = dt.timedelta(days=1)


@pytest.fixture(params=["duckdb", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A warehouse with one published night on each engine."""
    url = f"duckdb:///{tmp_path}/w[1].duckdb" if request.param == "duckdb" else request.getfixturevalue("postgres_db")
    with connect(url) as warehouse:
        warehouse.publish_nights([night()], models())
    return url


def opened(url: str, say: Callable[[str], None] = lambda line: None, **about: Any) -> Warehouse:
    """The warehouse with other waits than in production."""
    if url.startswith("duckdb"):
        return DuckDBWarehouse(Path(url.removeprefix("duckdb:///")), say, **about)
    return PostgresWarehouse(url, say, **about)


@contextmanager
def publishing(warehouse: Warehouse) -> Iterator[threading.Event]:
    """Somebody who publishes in a thread and stands still in the fence, the lock in hand, until the event is set; the error is raised."""
    reached, go_on, faults = threading.Event(), threading.Event(), []

    def fence() -> None:
        reached.set()
        go_on.wait(60)

    def work() -> None:
        try:
            with warehouse:
                warehouse.publish_nights([spoiled("user_topn", [slot(DAY, "u1", 1, "slow")])], {}, fence)
        except BaseException as error:  # noqa: BLE001 - raised below
            faults.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert reached.wait(60)
    try:
        yield go_on
    finally:
        go_on.set()
        thread.join()
    if faults:
        raise faults[0]


def test_a_fenced_attempt_changes_nothing(url: str) -> None:
    before = contents(url)

    def fence() -> None:
        raise FencedError("overtaken")

    with connect(url) as warehouse:
        for attempt in (
            lambda: warehouse.publish_nights([night(run="r2"), night(DAY + ONE)], models(), fence),
            lambda: warehouse.publish_models({"topic": models()["topic"].slice(0, 1)}, fence),
            lambda: warehouse.erase(["u1"], [], fence=fence),
        ):
            with pytest.raises(FencedError, match="overtaken"):
                attempt()
    assert contents(url) == before


def test_the_wait_for_another_publisher_ends_and_names_it(url: str) -> None:
    with publishing(opened(url)), opened(url, lock_wait_s=0.2) as other:
        with pytest.raises(WarehouseError, match=r"lock .*was not to be had for 0\.2 s: process \d+ .*Nothing was changed") as refused:
            other.publish_nights([night(run="r2")], {})
        assert not isinstance(refused.value, TransientError)
    with connect(url) as warehouse:
        assert {r["generation"] for r in warehouse.live(DAY).values()} == {2}
        assert warehouse.query("SELECT item_id FROM user_topn").to_pylist() == [{"item_id": "slow"}]


def test_many_nights_in_one_publication(url: str) -> None:
    nights = [night(DAY + n * ONE) for n in range(5)]
    with connect(url) as warehouse:
        made = warehouse.publish_nights(nights, {})
        assert {ds: set(generations.values()) for ds, generations in made.items()} == {n.ds: {2 if n.ds == DAY else 1} for n in nights}
        for one in nights:
            assert {t: r["content_hash"] for t, r in warehouse.live(one.ds).items()} == {
                t: checksum(rows) for t, rows in one.tables.items()
            }
            assert warehouse.checksum("user_topn", one.ds) == checksum(one.tables["user_topn"])


# -- PostgreSQL ------------------------------------------------------------------------------------------------------------------


def test_a_frozen_holder_of_the_lock_is_given_up_and_fenced(postgres_db: str) -> None:
    overtaken: list[bool] = []
    frozen = PostgresWarehouse(postgres_db, idle_s=0.3, first_wait_s=0.01)
    reached, go_on, faults = threading.Event(), threading.Event(), []

    def fence() -> None:
        reached.set()
        if overtaken:
            raise FencedError("overtaken")
        go_on.wait(60)

    def work() -> None:
        try:
            frozen.publish_nights([night(run="frozen")], models(), fence)
        except FencedError as error:
            faults.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert reached.wait(60)
    with connect(postgres_db) as warehouse:
        assert warehouse.publish_nights([night()], models())[DAY]["user_topn"] == 1
        overtaken.append(True)
        go_on.set()
        thread.join()
        assert [str(f) for f in faults] == ["overtaken"]
        assert {(r["run_id"], r["generation"]) for r in warehouse.live(DAY).values()} == {("r1", 1)}


class Wire:
    """A proxy before a server that cuts the line once, when the client sends `word`: before the server has it, or after it answered."""

    def __init__(self, url: str, word: bytes, after: bool) -> None:
        self.word, self.after, self.cuts = word, after, 0
        self.server = int(url.rpartition(":")[2].partition("/")[0])
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = url.replace(f":{self.server}/", f":{self.listener.getsockname()[1]}/")
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.server))
                cutting = threading.Event()
                for pair in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pass_on, args=(*pair, cutting), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, to_server: bool, cutting: threading.Event) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if to_server and self.word in data and not self.cuts:
                    self.cuts += 1
                    if not self.after:
                        break
                    cutting.set()
                elif cutting.is_set() and not to_server:
                    break  # the server has answered, and nobody hears of it
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.listener.close()


@pytest.mark.parametrize(
    ("word", "after"),
    [(b"COMMIT", False), (b"COMMIT", True), (b"DELETE FROM public.user_topn", True), (b"pg_advisory_xact_lock", False)],
    ids=["commit_never_came", "commit_not_heard_of", "amid_the_swap", "before_the_lock"],
)
def test_a_lost_connection_is_made_good(postgres_db: str, word: bytes, after: bool) -> None:
    with connect(postgres_db) as warehouse:
        warehouse.publish_nights([night()], models())
    wire, said = Wire(postgres_db, word, after), list[str]()
    later = night(DAY, {"user_topn": table("user_topn", [slot(DAY, "u1", 1, "new")])}, run="r2")
    with PostgresWarehouse(wire.url, said.append, first_wait_s=0.01) as warehouse:
        assert set(warehouse.publish_nights([later], models())[DAY].values()) == {2}
    wire.close()
    assert wire.cuts == 1
    assert [line.endswith(" s") and "; try 2 of 7 in 0." in line for line in said] == [True]
    with connect(postgres_db) as warehouse:
        assert {(r["generation"], r["run_id"]) for r in warehouse.live(DAY).values()} == {(2, "r2")}
        assert warehouse.query(
            "SELECT max(generation) AS n, count(*) AS rows FROM publication WHERE table_name = 'user_topn'"
        ).to_pylist() == [{"n": 2, "rows": 2}]
        assert warehouse.query("SELECT item_id FROM user_topn").to_pylist() == [{"item_id": "new"}]


def test_what_passes_is_waited_for_and_nothing_else(postgres_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with PostgresWarehouse(postgres_db, said.append, first_wait_s=0.05) as warehouse:
        warehouse.publish_nights([night()], models())
        # A table that somebody else has locked.
        monkeypatch.setattr(postgres_session, "LOCK_TIMEOUT_S", 0.1)
        with psycopg.connect(postgres_db) as other:
            other.execute("LOCK TABLE user_topn IN ACCESS EXCLUSIVE MODE")

            def fence() -> None:
                if not said:
                    threading.Timer(0.3, other.rollback).start()

            assert warehouse.publish_nights([night()], models(), fence)[DAY]["user_topn"] == 2
        assert "lock timeout" in said[0]
        said.clear()
        # Rows that break a rule of the database.
        with psycopg.connect(postgres_db, autocommit=True) as admin:
            admin.execute("ALTER TABLE user_topn ADD CONSTRAINT short CHECK (length(item_id) < 10)")
        with pytest.raises(WarehouseError, match="short"):
            warehouse.publish_nights([spoiled("user_topn", [slot(DAY, "u1", 1, "0123456789")])], {})
        with pytest.raises(PublishError):
            warehouse.publish_nights([spoiled("user_topn", [slot(DAY, "u1", 2, "i1")])], {})
    with (
        PostgresWarehouse(postgres_db.replace("/test_", "/no_such_"), said.append) as nowhere,
        pytest.raises(WarehouseError, match="no_such_"),
    ):
        nowhere.publish_nights([night()], models())
    assert said == []
    # A server that stays away.
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    away = f"postgresql://pg:hunter2@127.0.0.1:{port}/x"
    with (
        PostgresWarehouse(away, said.append, tries=2, first_wait_s=0.01) as gone,
        pytest.raises(TransientError, match="refused") as refused,
    ):
        gone.publish_nights([night()], models())
    assert len(said) == 1
    assert "hunter2" not in f"{said}{refused.value!r}"


# -- DuckDB ----------------------------------------------------------------------------------------------------------------------


def test_no_room_leaves_the_old_file_and_says_what_to_do(tmp_path: Path) -> None:
    url = f"duckdb:///{tmp_path}/w.duckdb"
    with connect(url) as warehouse:
        warehouse.publish_nights([night()], models())
    before, size = contents(url), (tmp_path / "w.duckdb").stat().st_size
    many = spoiled("user_topn", [slot(DAY, f"u{n}", 1, f"item {n * 7919}") for n in range(40_000)])
    was = resource.getrlimit(resource.RLIMIT_FSIZE)
    for allowed in (size // 2, size + 300_000):  # full while the old file is copied, and while rows are added
        resource.setrlimit(resource.RLIMIT_FSIZE, (allowed, was[1]))
        try:
            with connect(url) as warehouse, pytest.raises(WarehouseError, match=r"w\.duckdb.*room for a second copy .* stays as it was"):
                warehouse.publish_nights([many], {})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, was)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["w.duckdb", "w.duckdb.lock"]
        assert contents(url) == before
    with connect(url) as warehouse:
        assert warehouse.publish_nights([many], {})[DAY]["user_topn"] == 2


def test_a_dead_publisher_leaves_nothing(tmp_path: Path) -> None:
    for name in ("w[1].duckdb.build-dead", "w[1].duckdb.build-dead.wal"):
        (tmp_path / name).write_bytes(b"half a file")
    (tmp_path / "w[1].duckdb.build-dead.tmp").mkdir()
    (tmp_path / "w[1].duckdb.build-dead.tmp" / "spilled").write_bytes(b"rows")
    with connect(f"duckdb:///{tmp_path}/w[1].duckdb") as warehouse:
        warehouse.publish_nights([night()], models())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["w[1].duckdb", "w[1].duckdb.lock"]


# -- erasure ---------------------------------------------------------------------------------------------------------------------

SECRET = "forget-me-5f0e7a"  # in texts of an erased user alone


def of_user(name: str, ds: dt.date, user: str, text: str) -> dict[str, Any]:
    """A row of any table that holds users."""
    by_type = {"string": text, "json": f'{{"k":"{text}"}}', "boolean": False, "double": 0.5, "date": ds - ONE, "real[]": [0.5]}
    whole: dict[str, Any] = {
        c.name: by_type.get(c.type, dt.datetime(2024, 3, 9, tzinfo=UTC) if c.type == "timestamp" else 1) for c in TABLES[name].columns
    }
    return {**whole, "ds": ds, "user_key": user, **({"list_ds": ds - ONE} if name == "topn_outcome" else {})}


def night_of_two(ds: dt.date) -> Any:
    """A night with a row of an erased and of another user in every table that holds users."""
    own: dict[str, Any] = {
        "user_interest": [interest(ds, u, 1, "7d", 0.5, 1, evidence=f'{{"items":[],"rest":2.5,"why":"{t}"}}') for u, t in TWO],
        # What was met that night is not listed.
        "user_topn": [slot(ds, u, 1, f"{t}-listed") for u, t in TWO],
    }
    return night(ds, {n: table(n, own.get(n) or [of_user(n, ds, u, t) for u, t in TWO]) for n in USER_TABLES})


TWO = (("u-erased", SECRET), ("u-other", "kept"))


def test_erasure_removes_users_from_every_table_and_file(url: str, tmp_path: Path) -> None:
    assert len(USER_TABLES) >= 9
    assert all(TABLES[t].by_night for t in USER_TABLES)
    said: list[str] = []
    request = row(request_id="q1", subject_hash="h", requested_at=dt.datetime(2024, 3, 11, tzinfo=UTC), completed_at=None)
    with connect(url, said.append) as warehouse:
        warehouse.publish_nights([night_of_two(DAY), night_of_two(DAY + ONE)], {})
        warehouse.publish_nights([night_of_two(DAY)], {})  # bytes of a generation that is live no more
        if isinstance(warehouse, PostgresWarehouse):
            with psycopg.connect(url, autocommit=True) as admin:
                admin.execute("ANALYZE")  # as the server does of itself: samples of values
                assert admin.execute("SELECT count(*) FROM pg_stats WHERE most_common_vals::text LIKE '%u-erased%'").fetchone() != (0,)
        assert planted(url)
        others = {t: [r for r in warehouse.read(t).to_pylist() if r.get("user_key") != "u-erased"] for t in USER_TABLES}
        before = warehouse.live(DAY)
        renewed = {("user_topn", DAY): "in-new", ("item_topic", DAY): "in-new"}
        removed = warehouse.erase(["u-erased", "u-unknown"], [request], renewed)
        assert removed == {(t, ds): 1 for t in USER_TABLES for ds in (DAY, DAY + ONE)}
        after = warehouse.live(DAY)
        for name, entry in after.items():
            rows = warehouse.read(name, DAY)
            want = {"row_count": rows.num_rows, "content_hash": checksum(rows), "run_id": "r1"}
            want["generation"] = before[name]["generation"] + (name in USER_TABLES)
            want["input_hash"] = renewed.get((name, DAY), "in-r1")
            assert entry == want, name
        for name, kept in others.items():
            assert sorted(map(str, warehouse.read(name).to_pylist())) == sorted(map(str, kept)), name
        sql = "SELECT trigger, count(*) AS n, count(DISTINCT ds) AS nights FROM publication WHERE is_live GROUP BY trigger"
        ledger = {r["trigger"]: (r["n"], r["nights"]) for r in warehouse.query(sql).to_pylist()}
        assert ledger["erasure"] == (2 * len(USER_TABLES), 2)
        assert not planted(url), said
        # Once more finds nothing to do, and completes the request; so does nobody.
        done = {**request, "completed_at": dt.datetime(2024, 3, 12, tzinfo=UTC), "rows_removed": 5}
        assert warehouse.erase(["u-erased"], [{**done, "rows_removed": 4}]) == {}
        assert warehouse.erase([], [done]) == {}
        assert [(r["request_id"], r["rows_removed"]) for r in warehouse.read("erasure_request").to_pylist()] == [("q1", 5)]
        assert warehouse.live(DAY) == after
        # The night is published anew by the count that erasure left.
        assert warehouse.publish_nights([night_of_two(DAY)], {})[DAY]["user_topn"] == 5
    assert said == []


def planted(url: str) -> list[str]:
    """Files of the warehouse that hold bytes of the erased user."""
    if url.startswith("duckdb"):
        folder = Path(url.removeprefix("duckdb:///")).parent
    else:
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute("CHECKPOINT")
            found = admin.execute("SHOW data_directory").fetchone()
            assert found
            folder = Path(found[0])
    words = [word.encode() for word in (SECRET, "u-erased")]
    return [str(p) for p in folder.rglob("*") if p.is_file() and any(word in p.read_bytes() for word in words)]
