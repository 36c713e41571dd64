"""One contract for both engines: whole nights, exact rows, equal hashes, nothing lost when a publisher fails."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from jobs.runner import Runner
from jobs.settings import Settings
from recsys_core.lake import Lake, Stamp, checksum, empty
from recsys_core.tables import TABLES
from recsys_core.warehouse import MODEL_TABLES, NIGHT_TABLES, NightTables, Publication, PublishError, Source, WarehouseError, connect
from recsys_core.warehouse import postgres as postgres_engine
from recsys_core.warehouse.duckdb import DuckDBWarehouse
from recsys_core.warehouse.migrate import shapes
from recsys_core.warehouse.postgres_session import PostgresSession
from recsys_core.warehouse.session import bind, stored

DAY = dt.date(2024, 3, 9)
MODEL = "topics-2024-03-01-aaaa"
UTC = dt.UTC


@pytest.fixture(params=["duckdb", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh warehouse on each engine."""
    if request.param == "duckdb":
        return f"duckdb:///{tmp_path}/of ana's/warehouse.duckdb"
    return request.getfixturevalue("postgres_db")


@pytest.fixture(scope="module", params=["duckdb", "postgres"])
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """One published night on each engine, and the hashes of all that is there."""
    if request.param == "duckdb":
        url = f"duckdb:///{tmp_path_factory.mktemp('published')}/w.duckdb"
    else:
        url = fresh_database(request.getfixturevalue("postgres_url"), "published")
    with connect(url) as warehouse:
        warehouse.publish_nights([night()], models())
    return url, contents(url)


def fresh_database(server: str, name: str) -> str:
    """The URL of a new database that lives as long as the server."""
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    return f"{server.rpartition('/')[0]}/{name}"


def row(**values: Any) -> dict[str, Any]:
    return values


def table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=TABLES[name].arrow_schema())


def models(train_to: dt.date = dt.date(2024, 3, 1)) -> dict[str, pa.Table]:
    """Topic 1 with its child 11, and topic 2, under one version."""
    topics = [(1, None, "games", "游戏"), (11, 1, "chess", "国际象棋"), (2, None, "tea", "茶")]
    return {
        "topic": table(
            "topic",
            [
                row(
                    topic_id=i,
                    method="kmeans",
                    level=0 if parent else 1,
                    parent_topic_id=parent,
                    label_en=en,
                    label_zh=zh,
                    label_source="template",
                    keywords='["a","b"]',
                    status="active",
                    born_ds=train_to,
                    retired_ds=None,
                    sensitive=False,
                )
                for i, parent, en, zh in topics
            ],
        ),
        "topic_version": table("topic_version", [row(model_version=MODEL, topic_id=i, n_docs=5) for i in (1, 11, 2)]),
        "topic_lineage": empty(TABLES["topic_lineage"]),
        "model_version": table(
            "model_version",
            [
                row(
                    model_version=MODEL,
                    kind="topics",
                    status="champion",
                    train_from=dt.date(2024, 1, 1),
                    train_to=train_to,
                    valid_from_ds=train_to + dt.timedelta(days=1),
                    embedding_space="minilm",
                    code_sha="c0de",
                    params='{"k":2}',
                    data_fingerprint="f",
                    artifact_uri="_models/topics/x",
                    artifact_sha256="0" * 64,
                    promoted_at=dt.datetime(2024, 3, 1, 4, 5, 6, 789, UTC),
                )
            ],
        ),
    }


def interest(ds: dt.date, user: str, topic: int, horizon: str, share: float, rank: int, **other: Any) -> dict[str, Any]:
    return {
        **row(
            ds=ds,
            user_key=user,
            topic_id=topic,
            horizon=horizon,
            score=2.5,
            share=share,
            lift=1.5,
            rank=rank,
            confidence=0.5,
            n_events=3,
            n_items=2,
            first_seen_ds=ds - dt.timedelta(days=3),
            last_seen_ds=ds,
            sentiment=None,
            evidence='{"items":[{"item_id":"i1","n_events":2,"weight":2.0}],"rest":0.5}',
            model_version=MODEL,
            run_id="r1",
        ),
        **other,
    }


def slot(ds: dt.date, user: str, rank: int, item: str, **other: Any) -> dict[str, Any]:
    return {
        **row(
            ds=ds,
            user_key=user,
            list_name="for_you",
            variant="default",
            rank=rank,
            item_id=item,
            score=0.1 + rank,
            source="content",
            topic_id=1,
            exploration=False,
            reason_code="similar_text",
            reason_text_en="like “i1”",
            reason_text_zh="类似 i1",
            evidence_item_id=None,
            contributions=f'{{"content":{rank},"popularity":0.1}}',
            model_version="blend-1",
            run_id="r1",
        ),
        **other,
    }


def met(ds: dt.date, user: str, item: str) -> dict[str, Any]:
    counts = {n: 0 for n in TABLES["user_item_day"].names if n.startswith("n_")}
    return row(ds=ds, user_key=user, item_id=item, **counts, last_event_ts=dt.datetime(ds.year, ds.month, ds.day, tzinfo=UTC))


def night(ds: dt.date = DAY, rows: Mapping[str, pa.Table] | None = None, run: str = "r1", **publication: Any) -> NightTables:
    """A night with nulls, two scripts, lists, floats and timestamps; `rows` replaces tables."""
    tables = {t: empty(TABLES[t]) for t in NIGHT_TABLES}
    tables["user_interest"] = table(
        "user_interest", [interest(ds, "u1", 1, "90d", 0.7, 1), interest(ds, "u1", 2, "90d", 0.3, 2, sentiment=-0.25)]
    )
    tables["user_topn"] = table("user_topn", [slot(ds, "u1", 1, "i1"), slot(ds, "u1", 2, "i2", topic_id=None), slot(ds, "*", 1, "i3")])
    tables["item_topic"] = table("item_topic", [row(ds=ds, item_id="i1", topic_id=1, weight=1 / 3, rank=1, model_version=MODEL)])
    tables["user_profile"] = table(
        "user_profile",
        [
            row(
                ds=ds,
                user_key="u1",
                lifecycle="active",
                cold_level=2,
                n_events_30d=7,
                n_topics=2,
                entropy=0.1 + 0.2,
                drift_7d=-0.0,
                top_topic_id=1,
                summary_en="it's “x”; --",
                summary_zh="喜欢 😀 :ds ' \\",
                vector=[0.1, -2.5e-8, 1.0],
                embedding_space="minilm",
                model_version=MODEL,
                run_id="r1",
            ),
            row(
                ds=ds,
                user_key="u2",
                lifecycle="new",
                cold_level=0,
                n_events_30d=0,
                n_topics=0,
                entropy=0.0,
                drift_7d=None,
                top_topic_id=None,
                summary_en="",
                summary_zh="\n\t",
                vector=[],
                embedding_space=None,
                model_version=None,
                run_id="r1",
            ),
            row(
                ds=ds,
                user_key="u3",
                lifecycle="new",
                cold_level=0,
                n_events_30d=0,
                n_topics=0,
                entropy=1e-300,
                drift_7d=None,
                top_topic_id=None,
                summary_en="",
                summary_zh="",
                vector=None,
                embedding_space=None,
                model_version=None,
                run_id="r1",
            ),
        ],
    )
    tables["user_interest_intraday"] = table(
        "user_interest_intraday",
        [row(ds=ds, user_key="u1", topic_id=1, as_of_ts=dt.datetime(2024, 3, 9, 23, 59, 59, 999999, UTC), share=1.0, n_events_today=1)],
    )
    tables |= dict(rows or {})
    sources = {t: Source(run, f"in-{run}", checksum(r), {"topics": MODEL}) for t, r in tables.items()}
    about = {"event_cutoff_ts": dt.datetime.combine(ds + dt.timedelta(days=1), dt.time(), UTC)} | publication
    return NightTables(ds, tables, Publication(sources, **about))


def spoiled(name: str, rows: list[dict[str, Any]], ds: dt.date = DAY) -> NightTables:
    return night(ds, {name: table(name, rows)}, run="r2")


def contents(url: str, ds: dt.date = DAY) -> dict[str, str]:
    with connect(url) as warehouse:
        return {t: warehouse.checksum(t, ds) for t in NIGHT_TABLES} | {t: warehouse.checksum(t) for t in (*MODEL_TABLES, "publication")}


def test_hashes_are_those_of_the_rows_on_any_engine(url: str) -> None:
    given = night()
    with connect(url) as warehouse:
        assert warehouse.live(DAY) == {}
        assert set(warehouse.publish_nights([given], models())[DAY].values()) == {1}
        for name, rows in {**given.tables, **models()}.items():
            assert warehouse.checksum(name, DAY) == checksum(rows), name
            assert sorted(map(str, warehouse.read(name, DAY).to_pylist())) == sorted(map(str, rows.to_pylist())), name
        assert warehouse.live(DAY)["user_topn"] == {
            "run_id": "r1",
            "input_hash": "in-r1",
            "generation": 1,
            "row_count": 3,
            "content_hash": checksum(given.tables["user_topn"]),
        }


def test_all_declared_types_come_back(url: str) -> None:
    """Decimals and text lists stand in no warehouse table yet; the ways in and out must keep them all the same."""
    sql = """SELECT CAST('12.3400' AS DECIMAL(18,4)) AS price, 7 AS small, CAST('{"a":1}' AS JSON) AS doc, CAST(0.5 AS REAL) AS half,
             sum(n) AS total, CAST(:at AS TIMESTAMPTZ) AS at_ts, CAST(:d AS DATE) AS d, :t = '它''s' AS same
             FROM (SELECT CAST(3 AS BIGINT) AS n UNION ALL SELECT 4) x WHERE n <> :n"""
    at = dt.datetime(2024, 3, 9, 1, 2, 3, 4, UTC)
    with connect(url) as warehouse:
        warehouse.ensure_schema()
        found = warehouse.query(sql, {"at": at.isoformat(), "d": DAY, "t": "它's", "n": 4, "unused": 0})
    assert found.to_pylist() == [
        {"price": 12.34, "small": 7, "doc": '{"a":1}', "half": 0.5, "total": 3.0, "at_ts": at, "d": DAY, "same": True}
    ]
    assert [str(t) for t in found.schema.types] == [
        "double",
        "int64",
        "string",
        "double",
        "double",
        "timestamp[us, tz=UTC]",
        "date32[day]",
        "bool",
    ]


def test_a_second_publication_replaces_the_night_and_no_other(url: str) -> None:
    other, late = DAY + dt.timedelta(days=1), dt.datetime(2024, 3, 12, tzinfo=UTC)
    fewer = night(DAY, {"user_topn": table("user_topn", [slot(DAY, "u9", 1, "i9")])}, run="r2", known_cutoff_ts=late, trigger="backfill")
    with connect(url) as warehouse:
        warehouse.publish_nights([night(), night(other)], models())
        kept = warehouse.checksum("user_topn", other)
        generations = warehouse.publish_night(DAY, fewer.tables, {}, fewer.publication)
        assert generations["user_topn"] == 2
        assert warehouse.query("SELECT user_key FROM user_topn WHERE ds = :ds", {"ds": DAY}).to_pylist() == [{"user_key": "u9"}]
        assert warehouse.checksum("user_topn", other) == kept
        assert warehouse.read("topic").num_rows == 3
        sql = """SELECT generation, run_id, is_live, known_cutoff_ts, trigger FROM publication
                 WHERE ds = :ds AND table_name = 'user_topn' ORDER BY generation"""
        ledger = warehouse.query(sql, {"ds": DAY}).to_pylist()
    assert ledger == [
        {"generation": 1, "run_id": "r1", "is_live": False, "known_cutoff_ts": None, "trigger": "manual"},
        {"generation": 2, "run_id": "r2", "is_live": True, "known_cutoff_ts": late, "trigger": "backfill"},
    ]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            spoiled("user_topn", [slot(DAY, "u1", 1, "i1"), slot(DAY, "u1", 2, "i1")]),
            r"1 rows of table user_topn repeat \(ds, user_key, list_name, variant, item_id\)",
        ),
        (spoiled("user_topn", [slot(DAY, "u1", 2, "i1")]), "ranks_are_dense"),
        (spoiled("user_topn", [slot(DAY, "u1", 1, "i1", contributions='{"content":0.9,"popularity":0.1}')]), "contributions_sum_to_score"),
        (spoiled("user_topn", [slot(DAY, "u1", 1, "i1", exploration=True)]), "exploration_is_said"),
        (spoiled("user_topn", [slot(DAY, "u1", 1, "i1", reason_code="explore")]), "exploration_is_said"),
        (spoiled("user_item_day", [met(DAY, "u1", "i1")]), "lists_hold_nothing_of_the_night"),
        (spoiled("user_topn", [slot(DAY, "u1", 1, "i1", topic_id=99)]), "topics_exist"),
        (
            spoiled("user_interest", [interest(DAY, "u1", 1, "7d", 0.7, 1), interest(DAY, "u1", 2, "7d", 0.4, 2)]),
            "shares_sum_to_one_at_most",
        ),
        (spoiled("user_interest", [interest(DAY, "u1", 1, "7d", float("nan"), 1)]), "probabilities_are_within_0_and_1"),
        (spoiled("user_interest", [interest(DAY, "u1", 1, "7d", 0.5, 1, score=9.0)]), "evidence_sums_to_score"),
        (spoiled("user_interest", [interest(DAY, "u1", 1, "7d", 0.5, 1, model_version="unknown")]), "models_know_no_future"),
        (spoiled("user_interest", [interest(DAY, "u1", 1, "7d", 0.5, 1, last_seen_ds=DAY + dt.timedelta(days=1))]), "dates_are_in_order"),
        (
            spoiled(
                "item_topic", [row(ds=DAY, item_id="i", topic_id=t, weight=0.6, rank=r, model_version=MODEL) for t, r in ((1, 1), (2, 2))]
            ),
            "item_topics_sum_to_one_at_most",
        ),
        (spoiled("user_topn", [slot(dt.date(2024, 1, 1), "u1", 1, "i1")]), "rows of other nights"),
        (NightTables(DAY, {}, night().publication), "table user_topn is missing"),
        (NightTables(DAY, night(rows={"user_topn": empty(TABLES["user_topn"])}).tables, night().publication), "user_topn reads back as"),
    ],
    ids=lambda v: v.replace(" ", "_") if isinstance(v, str) else "",
)
def test_a_refused_night_leaves_everything_as_it_was(published: tuple[str, dict[str, str]], bad: NightTables, message: str) -> None:
    url, before = published
    renamed = models() | {"topic_version": models()["topic_version"].slice(0, 2)}
    with connect(url) as warehouse, pytest.raises(PublishError, match=message):
        warehouse.publish_nights([night(DAY + dt.timedelta(days=1)), bad], renamed)
    assert contents(url) == before


@pytest.mark.parametrize("root", ["lake", "memory://lake-of-checks"])
def test_rows_are_checked_where_they_lie_in_the_lake(published: tuple[str, dict[str, str]], tmp_path: Path, root: str) -> None:
    (url, before), lake = published, Lake(root if "://" in root else str(tmp_path / root))
    bad = spoiled("user_topn", [slot(DAY, "u1", 1, "i1"), slot(DAY, "u1", 3, "i3")])
    lake.write("user_topn", DAY, bad.tables["user_topn"], Stamp("made", "in"))
    lying = NightTables(DAY, {**bad.tables, "user_topn": lake.stream("user_topn", [DAY])}, bad.publication)
    with connect(url) as warehouse, pytest.raises(PublishError, match="ranks_are_dense finds 1 rows"):
        warehouse.publish_nights([lying], {})
    assert contents(url) == before


def test_a_model_of_the_future_is_refused(url: str) -> None:
    with connect(url) as warehouse, pytest.raises(PublishError, match="models_know_no_future"):
        warehouse.publish_nights([night()], models(train_to=DAY + dt.timedelta(days=1)))


def test_an_exception_in_mid_publication_leaves_the_old_night(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import recsys_core.warehouse.duckdb as duckdb_engine

    with connect(url) as warehouse:
        warehouse.publish_nights([night()], models())
    before = contents(url)

    def fail(*args: Any) -> None:
        raise KeyboardInterrupt

    # After all rows were swapped, before they are committed or the file replaced.
    for engine in (duckdb_engine, postgres_engine):
        monkeypatch.setattr(engine, "record", fail)
    with connect(url) as warehouse, pytest.raises(KeyboardInterrupt):
        warehouse.publish_nights([spoiled("user_topn", [slot(DAY, "u1", 1, "i7")])], {})
    monkeypatch.undo()
    assert contents(url) == before
    with connect(url) as warehouse:  # and nobody holds a lock
        assert warehouse.publish_nights([night()], models())[DAY]["user_topn"] == 2


def test_two_publishers_of_one_night_give_exact_rows(url: str) -> None:
    with connect(url) as warehouse:
        warehouse.ensure_schema()
    given = [spoiled("user_topn", [slot(DAY, "u1", r, f"{name}{r}") for r in range(1, 200)]) for name in ("a", "b", "c", "d")]
    faults: list[BaseException] = []

    def publish(one: NightTables) -> None:
        try:
            with connect(url) as warehouse:
                warehouse.publish_nights([one], models())
        except BaseException as error:  # noqa: BLE001 - shown below
            faults.append(error)

    threads = [threading.Thread(target=publish, args=[one]) for one in given]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    with connect(url) as warehouse:
        live = warehouse.live(DAY)
        assert {row["generation"] for row in live.values()} == {4}
        assert live["user_topn"]["content_hash"] == warehouse.checksum("user_topn", DAY)
        assert live["user_topn"]["content_hash"] in {one.publication.sources["user_topn"].content_hash for one in given}
        assert warehouse.query("SELECT count(*) AS n FROM publication WHERE is_live").to_pylist() == [{"n": len(NIGHT_TABLES)}]


def test_publish_models_replaces_them_whole(url: str) -> None:
    with connect(url) as warehouse:
        warehouse.publish_models(models())
        warehouse.publish_models({"topic": models()["topic"].slice(0, 1)})
        assert warehouse.read("topic").num_rows == 1
        assert warehouse.read("model_version").num_rows == 1
        with pytest.raises(PublishError, match="user_topn"):
            warehouse.publish_models({"user_topn": empty(TABLES["user_topn"])})


def test_queries_only_read_and_say_what_is_missing(url: str) -> None:
    with connect(url) as warehouse:
        warehouse.publish_nights([night()], models())
        for wrong in ("DELETE FROM user_topn", "SELECT no_such_column FROM user_topn", "SELECT :nothing"):
            with pytest.raises(WarehouseError):
                warehouse.query(wrong)
        assert warehouse.query("SELECT count(*) AS n FROM user_topn;\n").to_pylist() == [{"n": 3}]  # as files of queries end


def test_an_open_reader_sees_the_next_night(url: str) -> None:
    with connect(url) as reader, connect(url) as publisher:
        publisher.publish_nights([night()], models())
        assert reader.query("SELECT last_ds FROM published_status WHERE table_name = 'user_topn'").to_pylist() == [{"last_ds": DAY}]
        later = DAY + dt.timedelta(days=1)
        publisher.publish_nights([night(later)], {})
        assert reader.query("SELECT DISTINCT ds FROM user_topn_now").to_pylist() == [{"ds": later}]
        publisher.publish_nights([night(later, {"user_topn": empty(TABLES["user_topn"])})], {})
        assert reader.query("SELECT ds FROM user_topn_now").to_pylist() == []  # an empty night is a night, too


def test_a_snapshot_keeps_its_whole_old_night(postgres_db: str) -> None:
    with connect(postgres_db) as warehouse, psycopg.connect(postgres_db) as reader:
        warehouse.publish_nights([night()], models())
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        assert reader.execute("SELECT max(generation) FROM publication").fetchone() == (1,)
        warehouse.publish_nights([spoiled("user_topn", [slot(DAY, "u1", 1, "new")])], {})
        assert [r[0] for r in reader.execute("SELECT item_id FROM user_topn ORDER BY item_id")] == ["i1", "i2", "i3"]
        reader.rollback()
        assert [r[0] for r in reader.execute("SELECT item_id FROM user_topn")] == ["new"]


def test_a_table_of_another_shape_is_refused(postgres_db: str) -> None:
    with psycopg.connect(postgres_db, autocommit=True) as server:
        server.execute("CREATE TABLE user_topn (ds date, user_key text)")
    with connect(postgres_db) as warehouse, pytest.raises(WarehouseError, match="user_topn in another shape"):
        warehouse.publish_nights([night()], models())


def test_passwords_are_not_told(postgres_db: str) -> None:
    secret = "hunter%402secret"
    wrong = postgres_db.replace("pg@", f"pg:{secret}@").replace("/test_", "/no_such_")
    with connect(wrong) as warehouse, pytest.raises(WarehouseError) as caught:
        warehouse.live(DAY)
    assert "no_such_" in str(caught.value)
    assert "hunter" not in f"{caught.value!r} {caught.value.__cause__!r}"
    with pytest.raises(WarehouseError, match="duckdb:///path"):
        connect("mysql://u:hunter2@h/d")


def test_bind_leaves_strings_comments_and_casts_alone() -> None:
    text, names = bind(
        "SELECT ':a', \":b\", x::int -- :c\n, :d /* :e */ WHERE y = :f AND z = :d", {"d": 1, "f": 2}, lambda name, n: f"${n}"
    )
    assert text == "SELECT ':a', \":b\", x::int -- :c\n, $1 /* :e */ WHERE y = $2 AND z = $1"
    assert names == ["d", "f"]


def test_decimals_and_text_lists_survive_both_engines(tmp_path: Path, postgres_db: str) -> None:
    """The lake's catalogue has them: copied through both engines by the connections that publishing uses, it keeps its hash."""
    import duckdb

    from recsys_core.warehouse.duckdb_session import DuckDBSession

    item = row(ds=DAY, title="it", description=None, category="c", brand=None, lang="zh", valid_from_ds=DAY, first_ds=DAY, deleted=False)
    rows = table(
        "item",
        [
            {**item, "item_id": "a", "tags": ["x", None, "茶"], "price": Decimal("12.3400")},
            {**item, "item_id": "b", "tags": [], "price": None},
            {**item, "item_id": "c", "tags": None, "price": Decimal("-99999999999999.9999")},
        ],
    )
    with duckdb.connect(str(tmp_path / "x.duckdb")) as opened:
        opened.execute(TABLES["item"].ddl("duckdb"))
        DuckDBSession(opened).append("item", rows)
        assert checksum(stored(DuckDBSession(opened), "item", DAY)) == checksum(rows)
    with postgres_engine.driver.connect(postgres_db) as connection:
        session = PostgresSession(connection)
        session.stage("item", rows)
        assert checksum(stored(session, "item", DAY)) == checksum(rows)


# -- the job ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> Runner:
    """A lake with one night staged as by the jobs before publish, no topic model valid yet."""
    (tmp_path / "landing" / "events" / f"ds={DAY}").mkdir(parents=True)
    lake, stamp = Lake(str(tmp_path / "lake")), Stamp("made", "in-1")
    for name in _staged_tables():
        rows = empty(TABLES[name])
        if name == "user_topn":
            rows = table(name, [slot(DAY, "u1", 1, "i1", topic_id=None)])
        lake.write(name, DAY, rows, stamp)
    return Runner(
        Settings(
            landing=str(tmp_path / "landing"),
            lake=str(tmp_path / "lake"),
            warehouse=f"duckdb:///{tmp_path}/w.duckdb",
            user_key_secret="s",
            time_zone="Asia/Shanghai",
        )
    )


def _staged_tables() -> list[str]:
    from jobs import NIGHTLY

    return [t for t in NIGHTLY["publish"].reads if "model_version" not in TABLES[t].partition]


def test_the_job_publishes_once(site: Runner, capsys: pytest.CaptureFixture[str]) -> None:
    site.run("publish", DAY, trigger="backfill")
    site.run("publish", DAY)
    assert "publish: up to date" in capsys.readouterr().out
    with connect(site.settings.warehouse) as warehouse:
        about = warehouse.query("SELECT * FROM publication WHERE table_name = 'user_topn'").to_pylist()
        assert [(r["generation"], r["trigger"], r["run_id"], r["row_count"]) for r in about] == [(1, "backfill", "made", 1)]
        assert about[0]["event_cutoff_ts"] == dt.datetime(2024, 3, 9, 16, tzinfo=UTC)
        manifest = site.lake.manifest("user_topn", DAY)
        assert manifest is not None
        assert warehouse.checksum("user_topn", DAY) == manifest.checksum == about[0]["content_hash"]
    site.run("publish", DAY, force=True)
    with connect(site.settings.warehouse) as warehouse:
        assert {r["generation"] for r in warehouse.live(DAY).values()} == {2}


def test_the_job_refuses_a_night_with_a_failed_blocking_check(site: Runner) -> None:
    site.run("publish", DAY)
    result = row(
        ds=DAY,
        run_id="r",
        table_name="event_clean",
        check_name="refused_share",
        severity="block",
        observed=0.31,
        threshold=0.02,
        passed=False,
    )
    site.lake.write("quality_result", DAY, table("quality_result", [result]), Stamp("made", "in-2"))
    with pytest.raises(PublishError, match=r"refused_share of event_clean: observed 0\.31, allowed 0\.02\. The last good night stays live"):
        site.run("publish", DAY)
    with connect(site.settings.warehouse) as warehouse:
        assert {r["generation"] for r in warehouse.live(DAY).values()} == {1}


def test_keys_of_what_comes_from_the_lake_are_noted_in_duckdb_and_not_indexed(tmp_path: Path) -> None:
    with connect(f"duckdb:///{tmp_path}/w.duckdb") as warehouse:
        warehouse.ensure_schema()
        indexed = warehouse.query("SELECT table_name FROM duckdb_constraints() WHERE constraint_type IN ('PRIMARY KEY', 'UNIQUE')")
        assert set(indexed["table_name"].to_pylist()) == {t.name for t in TABLES.values() if t.warehouse and not t.lake}
        assert isinstance(warehouse, DuckDBWarehouse)
        found = shapes(warehouse.reader(), "duckdb")
    for table in (t for t in TABLES.values() if t.warehouse):
        assert {key for is_key, key in found[table.name].keys.values() if is_key} == {table.key}, table.name
        assert {key for is_key, key in found[table.name].keys.values() if not is_key} == ({table.unique} if table.unique else set())
