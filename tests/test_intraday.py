"""The day so far: its arithmetic, each event once whatever is cut off, what supersedes it, and the same on both warehouses."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from jobs import intraday as job
from jobs import publish
from jobs.night import Night
from jobs.runner import AbsentNightError
from jobs.settings import Settings
from recsys_core import encoders, registry
from recsys_core import intraday as arithmetic
from recsys_core.events import DEFAULT_WEIGHTS
from recsys_core.intraday import overlay, trust
from recsys_core.intraday.running_day import folder_of
from recsys_core.lake import Lake, LakeError, Stamp, checksum, empty
from recsys_core.privacy import user_key
from recsys_core.tables import TABLES
from recsys_core.texts import compose_item
from recsys_core.topics import assign, tables
from recsys_core.topics.kmeans import KMeans
from recsys_core.warehouse import INTRADAY, NIGHT_TABLES, NightTables, Publication, PublishError, Source, connect
from tests.conftest import REPO
from tests.forgotten import forget, hits
from tests.shop import ONE_DAY, SECRET, Shop

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DAY = dt.date(2026, 3, 3)
BEFORE = DAY - ONE_DAY
UTC = dt.UTC
CAMPING, TEA = 1, 2
TITLES = {"tent": "Camping tent for two", "stove": "Camping gas stove", "pot": "Cast iron teapot", "cup": "Porcelain tea cup"}
NEW = {"leaf": "Green tea leaves"}
ANNE, BEN, CARL = (user_key(SECRET.encode(), u) for u in ("anne-7", "ben-7", "carl-7"))
AT = dt.datetime(2026, 3, 3, 12, 0, tzinfo=UTC)


# -- arithmetic ------------------------------------------------------------------------------------------------------------------
def rows_of(*rows: tuple[Any, ...], last: str) -> pa.Table:
    schema = pa.schema([("user_key", pa.string()), ("topic_id", pa.int64()), (last, pa.int64() if last == "score" else pa.float64())])
    return pa.table([list(c) for c in zip(*rows, strict=True)] if rows else [[], [], []], schema=schema)


def mixed(nightly: pa.Table, today: pa.Table, n: Mapping[str, int], kappa: float = 5.0, **more: Any) -> dict[tuple[str, int], float]:
    n_events = pa.table({"user_key": pa.array(n.keys(), pa.string()), "n_events": pa.array(n.values(), pa.int64())})
    found = overlay(DAY, nightly, today, n_events, AT, kappa, **more)
    assert checksum(found)
    assert found.schema == TABLES[INTRADAY].arrow_schema()
    return {(r["user_key"], r["topic_id"]): r["share"] for r in found.to_pylist()}


def test_shares_are_a_mixture_by_how_many_events_today_has() -> None:
    nightly = rows_of(("a", 1, 0.6), ("a", 2, 0.4), ("idle", 1, 1.0), last="share")
    today = rows_of(("a", 2, 3_000), ("a", 3, 1_000), last="score")
    # β = 15 / (15 + 5) = .75: .25 · .6, .25 · .4 + .75 · .75, .75 · .25
    assert mixed(nightly, today, {"a": 15}) == {("a", 1): 0.15, ("a", 2): 0.6625, ("a", 3): 0.1875}
    assert mixed(nightly, today, {"a": 5}) == {("a", 1): 0.3, ("a", 2): 0.575, ("a", 3): 0.125}
    assert mixed(nightly, today, {"a": 5}, kappa=15.0) == {("a", 1): 0.45, ("a", 2): 0.4875, ("a", 3): 0.0625}
    shuffled = nightly.take([2, 1, 0]), today.take([1, 0])
    assert mixed(*shuffled, {"a": 15}) == mixed(nightly, today, {"a": 15})
    assert [trust(n, 5.0) for n in (0, 5, 15)] == [0.0, 0.5, 0.75]


def test_one_side_alone_counts_where_there_is_no_other() -> None:
    nightly, today = rows_of(("old", 1, 0.9), last="share"), rows_of(("new", 2, 10), last="score")
    # A new user has no night; the old one's only event today was a dislike.
    assert mixed(nightly, today, {"old": 3, "new": 1}) == {("old", 1): 0.9, ("new", 2): 1.0}
    assert mixed(nightly, rows_of(last="score"), {}) == {}


def test_muted_topics_are_gone_before_shares_are_made_and_sensitive_ones_never_shown() -> None:
    nightly, today = rows_of(("a", 1, 0.6), ("a", 2, 0.4), last="share"), rows_of(("a", 2, 30), ("a", 3, 10), ("b", 3, 1), last="score")
    assert mixed(nightly, today, {"a": 5, "b": 5}, muted={("a", 2)}) == {("a", 1): 0.3, ("a", 3): 0.5, ("b", 3): 1.0}
    assert mixed(nightly, today, {"a": 5, "b": 5}, hidden={3}) == {("a", 1): 0.3, ("a", 2): 0.575}


# -- a small day -----------------------------------------------------------------------------------------------------------------
def line(
    event_id: str, user: str, item: str | None, hour: float = 9, day: dt.date = DAY, kind: str = "view", **more: Any
) -> dict[str, Any]:
    at = dt.datetime.combine(day, dt.time(), UTC) + dt.timedelta(hours=hour)
    return {"event_id": event_id, "user_id": user, "item_id": item, "event_type": kind, "ts": at.isoformat(), **more}


def land(shop: Shop, name: str, *lines: dict[str, Any], day: dt.date = DAY, kind: str = "events") -> None:
    folder = shop.landing / kind / f"ds={day}"
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f".{name}"
    made.write_text("".join(json.dumps(x, ensure_ascii=False) + "\n" for x in lines), encoding="utf-8")
    made.rename(folder / name)  # files appear whole


def night_tables(shop: Shop, ds: dt.date, rows: Mapping[str, pa.Table]) -> NightTables:
    held = {name: rows.get(name, empty(TABLES[name])) for name in NIGHT_TABLES}
    sources = {n: Source("r1", "in", checksum(r)) for n, r in held.items()}
    return NightTables(ds, held, Publication(sources, dt.datetime.combine(ds + ONE_DAY, dt.time(), UTC)))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A model of two topics, and the published night before the day: Anne camps, Ben has tea. Tests work on copies."""
    shop = Shop(tmp_path_factory.mktemp("day"))
    land(shop, "items.jsonl", *({"item_id": i, "title": t} for i, t in TITLES.items()), day=BEFORE, kind="items")
    land(shop, "a.jsonl", line("y1", "anne-7", "tent", day=BEFORE), day=BEFORE)
    lake, encoder = Lake(str(shop.lake)), encoders.load("bilingual", "cpu")
    centres = encoder.encode(["camping tent stove outdoor", "tea teapot cup drink"])
    model = KMeans(np.asarray(centres, np.float32), 0.05)
    topic = {"level": 0, "label_source": "keywords", "keywords": "[]", "status": "active", "sensitive": False, "method": "kmeans"}
    names = {CAMPING: ("camping", "露营"), TEA: ("tea", "茶")}
    rows: dict[str, list[dict[str, Any]]] = {
        "topic": [topic | {"topic_id": i, "label_en": en, "label_zh": zh, "born_ds": BEFORE} for i, (en, zh) in names.items()],
        "topic_version": [{"model_version": "topics-x", "topic_id": i, "n_docs": 1} for i in names],
        "topic_lineage": [{"model_version": "topics-x", "topic_id": i, "prev_topic_id": 0, "relation": "birth"} for i in names],
    }
    first, space = str(BEFORE - ONE_DAY), encoders.space_of("bilingual")
    version = registry.ModelVersion("topics-x", "topics", first, first, str(BEFORE), {"method": "kmeans"}, "f", "c", space)
    topics = tables.Topics(np.array([*names], np.int64), model)
    version = registry.register(lake, version, tables.artifacts(topics, rows))
    registry.promote(lake, version, AT, AT)
    stamp = Stamp("r1", "in", models={"topics": "topics-x"})
    texts = [compose_item(t, None, None)[0] for t in TITLES.values()]
    of_items = assign.item_topic([*TITLES], encoder.encode(texts), topics, BEFORE, "topics-x")
    lake.write("item_topic", BEFORE, of_items, stamp, model_version="topics-x")
    about = {"ds": BEFORE, "horizon": "7d", "score": 2.0, "lift": 1.0, "confidence": 0.5, "n_events": 2, "n_items": 2, "run_id": "r1"}
    about |= {"first_seen_ds": BEFORE, "last_seen_ds": BEFORE, "evidence": '{"items":[],"rest":2.0}', "model_version": "topics-x"}
    shares = ((ANNE, CAMPING, 0.8, 1), (ANNE, TEA, 0.2, 2), (BEN, TEA, 1.0, 1))
    held = [{**about, "user_key": user, "topic_id": topic_id, "share": share, "rank": rank} for user, topic_id, share, rank in shares]
    interests = pa.Table.from_pylist(held, schema=TABLES["user_interest"].arrow_schema())
    lake.write("user_interest", BEFORE, interests, stamp)
    with shop.open() as warehouse:
        warehouse.publish_nights([night_tables(shop, BEFORE, {"user_interest": interests})], tables.model_tables(lake))
    return shop


@pytest.fixture
def shop(base: Shop, tmp_path: Path, spark: SparkSession) -> Shop:
    """A copy of the base whose day begins."""
    return base.copy(tmp_path, warehouse=True, landing=True)


def take(shop: Shop, **settings: Any) -> list[str]:
    """Take in what has landed; returns what was said."""
    runner = shop.runner()
    runner.settings = runner.settings.model_copy(update=settings)
    job.intraday(runner, DAY)
    return list(shop.said)


def now(shop: Shop, user: str) -> dict[int, float]:
    return {r["topic_id"]: r["share"] for r in shop.rows("SELECT * FROM user_interest_today WHERE user_key = :u", u=user)}


def n_today(shop: Shop) -> dict[str, int]:
    rows = shop.rows("SELECT DISTINCT user_key, n_events_today AS n FROM user_interest_today WHERE n_events_today > 0")
    return {r["user_key"]: r["n"] for r in rows}


MORNING = (
    line("m1", "anne-7", "pot", 8),
    line("m2", "anne-7", "cup", 8.1),
    line("m3", "carl-7", "tent", 8.2),
    line("late", "ben-7", "tent", 23, BEFORE),  # yesterday's, landed today
)
NOON = (
    *(line(f"n{i}", "anne-7", "pot", 12 + i / 60) for i in range(4)),
    line("n9", "ben-7", "leaf", 12.5),
    line("m3", "carl-7", "tent", 8.2),
)


def test_noon_changes_the_overlay_within_one_batch_and_each_event_counts_once(shop: Shop) -> None:
    with pytest.raises(AbsentNightError, match="nothing was landed for 2026-03-03 yet"):
        take(shop)
    land(shop, "morning.jsonl", *MORNING)
    assert "2 users as of 2026-03-03T08:12:00+00:00" in take(shop)[-2]
    assert n_today(shop) == {ANNE: 2, CARL: 1}
    assert now(shop, BEN) == {TEA: 1.0}, "an event of yesterday does not enter, and Ben has the night's share"
    morning = now(shop, ANNE)
    assert morning[TEA] == pytest.approx(0.2 * 5 / 7 + 2 / 7, abs=0.02)  # β = 2 / (2 + 5), today all tea
    assert sum(morning.values()) == pytest.approx(1.0, abs=2e-6)
    assert sum(now(shop, CARL).values()) == pytest.approx(1.0, abs=2e-6)
    assert any("up to date" in said for said in take(shop))

    land(shop, "items.jsonl", *({"item_id": i, "title": t} for i, t in (TITLES | NEW).items()), kind="items")
    land(shop, "noon.jsonl", *NOON)
    with shop.open() as held:
        before = held.query("SELECT count(*) AS n FROM user_interest_today").to_pylist()
        cursor = held.reader()  # type: ignore[attr-defined]
        take(shop)
        assert cursor.fetch("SELECT count(*) AS n FROM user_interest_today", {}).to_pylist() == before, "who reads keeps what was opened"
    assert n_today(shop) == {ANNE: 6, BEN: 1, CARL: 1}, "Carl's event came twice"
    assert now(shop, ANNE)[TEA] == pytest.approx(0.2 * 5 / 11 + 6 / 11, abs=0.02)
    assert now(shop, BEN)[TEA] > 0.9, "an item that no night knew is told by its text"
    with duckdb.connect() as client:  # any other client, as docs/intraday.md says
        statements = (REPO / "docs" / "intraday.md").read_text(encoding="utf-8").partition("```sql\n")[2].partition("```")[0]
        said = statements.replace("'warehouse.duckdb", f"'{shop.root}/warehouse.duckdb")
        *before_it, asked = filter(str.strip, said.split(";"))
        for statement in before_it:
            client.execute(statement)
        shown = client.sql(asked).to_arrow_table()
    assert shown.num_rows == len(shop.rows("SELECT * FROM user_interest_today")) == 4
    ledger = shop.rows("SELECT ds, generation, trigger, is_live, event_cutoff_ts AS at FROM publication WHERE table_name = :t", t=INTRADAY)
    assert {"ds": DAY, "generation": 2, "trigger": "intraday", "is_live": True, "at": AT + dt.timedelta(minutes=30)} in ledger
    assert len([r for r in ledger if r["ds"] == DAY]) == 1


def test_a_batch_that_was_cut_off_counts_once_and_the_night_agrees(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    land(shop, "morning.jsonl", *MORNING)
    publish_now = job.SoFar.publish

    def die(self: job.SoFar) -> None:
        raise KeyError("killed after the batch was noted")

    def die_late(self: job.SoFar) -> None:
        publish_now(self)
        raise KeyError("killed after it was published, before Spark knew")

    for death in (die, die_late):
        monkeypatch.setattr(job.SoFar, "publish", death)
        with pytest.raises(KeyError, match="killed"):
            take(shop)
    monkeypatch.undo()
    take(shop)
    assert n_today(shop) == {ANNE: 2, CARL: 1}
    search = line("s1", "ben-7", None, 13, kind="search", query="green tea")
    land(shop, "items.jsonl", *({"item_id": i, "title": t} for i, t in (TITLES | NEW).items()), kind="items")
    land(shop, "noon.jsonl", *NOON, search)
    # An anonymous morning becomes Anne's when she logs in; what an opted-out user did is gone.
    land(shop, "early.jsonl", line("a1", "cookie", "cup", 7), line("a2", "dora-7", "cup", 7))
    take(shop)
    assert n_today(shop)[user_key(SECRET.encode(), "cookie")] == 1
    land(shop, "logins.jsonl", {"anonymous_id": "cookie", "user_id": "anne-7"}, kind="identity")
    land(shop, "optout.jsonl", {"user_id": "dora-7"}, kind="optout")
    kept: dict[str, pa.Table] = {}
    scores = arithmetic.topic_scores

    def spy(items: pa.Table, *rest: Any) -> pa.Table:
        kept["items"], kept["scores"] = items, scores(items, *rest)
        return kept["scores"]

    monkeypatch.setattr(arithmetic, "topic_scores", spy)
    take(shop)
    assert n_today(shop) == {ANNE: 7, BEN: 2, CARL: 1}
    shop.runner().night(DAY, ("clean", "aggregate", "texts", "embed", "assign_topics"))
    lake = Lake(str(shop.lake))
    night = lake.read("user_item_day", [DAY])
    assert checksum(kept["items"].cast(night.schema)) == checksum(night)
    # Nothing here has a dwell or reaches the cap: a topic's score is its mass, by type and weight.
    masses = lake.read("user_topic_day", [DAY], model_version="topics-x").to_pylist()
    of_night = {
        (r["user_key"], r["topic_id"]): sum(w * r[f"mass_{t}_micro"] / 1e6 for t, w in DEFAULT_WEIGHTS.base.items()) for r in masses
    }
    so_far = {(r["user_key"], r["topic_id"]): r["score"] / 1e9 for r in kept["scores"].to_pylist()}
    assert so_far == pytest.approx(of_night, abs=1e-6)


def test_a_run_that_goes_on_takes_files_as_they_land(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "EVERY_S", 1)
    land(shop, "morning.jsonl", *MORNING[:1])

    def over() -> bool:
        n = n_today(shop).get(ANNE, 0)
        if n == 1 and not (shop.landing / "events" / f"ds={DAY}" / "later.jsonl").exists():
            land(shop, "later.jsonl", *MORNING)
        return n == 2

    job.intraday(shop.runner(), DAY, continuous=True, over=over)
    assert n_today(shop) == {ANNE: 2, CARL: 1}


def test_without_a_date_a_run_that_goes_on_waits_and_moves_to_the_next_day(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([AT, AT, AT, AT + ONE_DAY, AT + ONE_DAY])
    ran: list[tuple[dt.date, bool]] = []

    def one(runner: Any, ds: dt.date, continuous: bool, over: Any) -> None:
        ran.append((ds, continuous))
        if len(ran) == 1:
            raise AbsentNightError("nothing landed")
        while not over():
            pass
        if len(ran) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(job, "intraday", one)
    monkeypatch.setattr(job, "EVERY_S", 0)
    runner = type("Runner", (), {"say": print})
    with pytest.raises(StopIteration):
        job.follow(runner, None, lambda: next(moments), True)  # type: ignore[arg-type]
    assert ran == [(DAY, True), (DAY, True), (DAY + ONE_DAY, True)]
    ran.clear()
    with pytest.raises(AbsentNightError):
        job.follow(runner, DAY, lambda: AT, False)  # type: ignore[arg-type]


def test_the_night_supersedes_the_day(shop: Shop) -> None:
    land(shop, "morning.jsonl", *MORNING)
    take(shop)
    assert (shop.lake / folder_of(DAY)).is_dir()
    assert (shop.lake / folder_of(DAY)).stat().st_mode & 0o077 == 0
    runner = shop.runner()
    night = Night(runner, "publish", DAY, runner.models.of(DAY), Stamp("r2", "in"), {}).begun()
    with shop.open() as warehouse:
        held = warehouse.read("user_interest", BEFORE)
        moved = held.set_column(0, held.schema.field("ds"), pa.array([DAY] * held.num_rows, pa.date32()))
        publish._publish(warehouse, {DAY: (night, night_tables(shop, DAY, {"user_interest": moved}))}, {})
    assert now(shop, ANNE) == {CAMPING: 0.8, TEA: 0.2}
    assert n_today(shop) == {}
    assert shop.rows("SELECT * FROM user_interest_intraday") == []
    assert not (shop.lake / folder_of(DAY)).exists()
    assert "superseded by the published night 2026-03-03" in take(shop)[-1]
    assert shop.rows("SELECT trigger FROM publication WHERE ds = :d AND table_name = :t AND is_live", d=DAY, t=INTRADAY) == [
        {"trigger": "manual"}
    ]


def test_mutes_of_today_and_sensitive_topics_are_left_out(shop: Shop) -> None:
    land(shop, "morning.jsonl", *MORNING)
    take(shop)
    land(shop, "declared.jsonl", {"user_id": "anne-7", "topic_id": TEA, "stance": "mute"}, kind="declared")
    take(shop)
    assert set(now(shop, ANNE)) == {CAMPING}
    assert set(now(shop, CARL)) >= {CAMPING}


def test_who_is_forgotten_is_in_no_working_file_and_no_overlay(shop: Shop) -> None:
    land(shop, "morning.jsonl", *MORNING)
    take(shop)
    marks = ["anne-7", ANNE]
    assert hits(shop.lake / folder_of(DAY), marks)
    beside = shop.root / "warehouse.duckdb.intraday"
    assert hits(beside, marks)
    report = forget(shop, ["anne-7"], salt=bytes(32))
    assert {"table": INTRADAY, "ds": str(DAY), "rows": 2} in report["warehouse"]
    assert not beside.exists()
    assert hits(shop.root, marks) == []
    assert now(shop, ANNE) == {}
    take(shop)
    assert n_today(shop) == {CARL: 1}
    assert hits(shop.root, marks) == []


# -- both engines ----------------------------------------------------------------------------------------------------------------
def rows(ds: dt.date, *shares: tuple[str, int, float]) -> pa.Table:
    made = [{"ds": ds, "user_key": u, "topic_id": t, "as_of_ts": AT, "share": s, "n_events_today": 3} for u, t, s in shares]
    return pa.Table.from_pylist(made, schema=TABLES[INTRADAY].arrow_schema())


def source(of: pa.Table, name: str) -> Source:
    return Source(name, f"in-{name}", checksum(of), {"topics": "topics-x"})


@pytest.mark.parametrize("engine", ["duckdb", "postgres"])
def test_both_warehouses_show_the_day_until_its_night(base: Shop, engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = f"duckdb:///{tmp_path}/of ana's/w.duckdb" if engine == "duckdb" else request.getfixturevalue("postgres_db")
    with base.open() as held:
        night = night_tables(base, BEFORE, {"user_interest": held.read("user_interest", BEFORE)})
        models = {t: held.read(t) for t in tables.model_tables(Lake(str(base.lake)))}
    sql = "SELECT ds, user_key, topic_id, share, rank FROM user_interest_today ORDER BY user_key, rank"

    def shown() -> list[tuple[Any, ...]]:
        with connect(url) as warehouse:
            return [tuple(r.values()) for r in warehouse.query(sql).to_pylist()]

    one, two = rows(DAY, (ANNE, TEA, 0.7), (ANNE, CAMPING, 0.3)), rows(DAY, (ANNE, TEA, 1.0))
    next_day = rows(DAY + ONE_DAY, (CARL, TEA, 1.0))
    with connect(url) as warehouse:
        assert (warehouse.newest(), warehouse.publish_intraday(DAY, one, source(one, "a"), AT)) == (None, None)
        warehouse.publish_nights([night], models)
        nightly = sorted([(BEFORE, ANNE, CAMPING, 0.8, 1), (BEFORE, ANNE, TEA, 0.2, 2), (BEFORE, BEN, TEA, 1.0, 1)], key=lambda r: r[1])
        assert shown() == nightly
        assert warehouse.publish_intraday(DAY, one, source(one, "a"), AT) == 1
        assert warehouse.publish_intraday(DAY, two, source(two, "b"), AT) == 2
        assert warehouse.publish_intraday(DAY + ONE_DAY, next_day, source(next_day, "c"), AT) == 1
        assert warehouse.live(DAY)[INTRADAY]["input_hash"] == "in-b"
    ben = [r for r in nightly if r[1] == BEN]
    assert shown() == sorted([*ben, (DAY, ANNE, TEA, 1.0, 1), (DAY + ONE_DAY, CARL, TEA, 1.0, 1)], key=lambda r: r[1])
    with connect(url) as warehouse:
        for bad, message in ((rows(BEFORE, (ANNE, TEA, 1.0)), "rows of other days"), (one, "reads back as")):
            with pytest.raises(PublishError, match=message):
                warehouse.publish_intraday(DAY, bad, source(two, "d"), AT)
        assert warehouse.checksum(INTRADAY, DAY) == checksum(two)
        removed = warehouse.erase([CARL], [])
        assert removed[INTRADAY, DAY + ONE_DAY] == 1
        assert warehouse.query("SELECT count(*) AS n FROM user_interest_intraday WHERE user_key = :u", {"u": CARL}).to_pylist() == [
            {"n": 0}
        ]
        of_day = night_tables(base, DAY, {})
        warehouse.publish_nights([of_day], models)
        assert (warehouse.newest(), warehouse.publish_intraday(DAY, two, source(two, "e"), AT)) == (DAY, None)
        assert set(warehouse.live(DAY)) == set(NIGHT_TABLES)
    assert shown() == []


# -- Kafka -----------------------------------------------------------------------------------------------------------------------
def test_a_spark_without_the_connector_names_the_package(shop: Shop) -> None:
    with pytest.raises(LakeError, match=r"kafka://queue:9092/clicks.*org\.apache\.spark:spark-sql-kafka-0-10_2\.13:\d"):
        take(shop, intraday_source="kafka://queue:9092/clicks")


@pytest.mark.parametrize("value", ["kafka://queue", "kafka://queue:1/a/b", "kafka://me:pw@queue:1/t", "files", ""])
def test_an_address_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="give landing, or kafka://host:port/topic"):
        Settings(intraday_source=value)
