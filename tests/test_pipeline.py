"""From raw files to published nights, in small: whole, repeatable, in any order, blind to the future, equal in both warehouses."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pytest

from jobs import NIGHTLY
from jobs.quality import accept
from jobs.runner import NotBuiltError, ParameterError
from jobs.train import rollback
from recsys_core import registry
from recsys_core.lake import Lake
from recsys_core.privacy import user_key
from recsys_core.ranking.policy import ListRules
from recsys_core.simulate import simulate
from recsys_core.tables import TABLES
from recsys_core.warehouse import PublishError
from tests.shop import FACTS, ONE_DAY, SECRET, Shop

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

START = dt.date(2026, 3, 2)
NIGHTS = [START + n * ONE_DAY for n in range(4)]
TRAINED = NIGHTS[0]
AFTER = NIGHTS[1:]
LAST = NIGHTS[-1]
SIZE: dict[str, Any] = {"users": 160, "items": 320, "events_per_night": 1500, "seed": 5}
LIST_SIZE = 20
# Who never did anything, and said what they like.
NEWCOMER = "a newcomer"
# Declared and published, but without rows on these nights.
WITHOUT_PRODUCER = {
    "user_interest_change",  # has rows where a week differs from those before
    "user_interest_forecast",  # needs more nights to be trained on
    "user_interest_intraday",  # belongs to a day that is not over
    "experiment_metric",
    "erasure_request",
    "privacy_spend",  # has rows where noise is asked for
    "quality_acceptance",  # has rows for nights that somebody accepted in spite of a failed check
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pipeline")


@pytest.fixture(scope="module")
def malformed(home: Path) -> Counter[str]:
    """The dirty shop's landing zone is made; what was broken in it, by kind."""
    landing = home / "forward" / "landing"
    counts = simulate(str(landing), START, nights=len(NIGHTS), dirt=True, **SIZE)
    folder = landing / "declared" / f"ds={AFTER[0]}"
    folder.mkdir(parents=True)
    said = [{"user_id": NEWCOMER, "term": term} for term in ("露营帐篷", "camping tent")]
    (folder / "form.jsonl").write_bytes(b"\n".join(map(orjson.dumps, said)))
    return Counter(counts["malformed_by_kind"])


@pytest.fixture(scope="module")
def facts(home: Path, malformed: Counter[str], spark: SparkSession) -> Shop:
    """The shop with the facts and texts of the nights up to TRAINED, before any model."""
    shop = Shop(home / "forward")
    shop.runner().nights(START, TRAINED, FACTS)
    return shop.copy(home / "facts")


@pytest.fixture(scope="module")
def shop(home: Path, facts: Shop) -> Shop:
    """The shop in forward order: facts, training, then the nights after it published. Tests only read it, or work on copies."""
    made = Shop(home / "forward")
    made.runner().training(TRAINED)
    made.runner().nights(AFTER[0], LAST)
    return made


def differing(a: dict[str, str], b: dict[str, str]) -> list[str]:
    return sorted(k for k in a.keys() | b.keys() if a.get(k) != b.get(k))


def manifests(shop: Shop) -> dict[str, dict[str, Any]]:
    return {str(p.parent.relative_to(shop.lake)): json.loads(p.read_bytes()) for p in shop.live_manifests()}


def command_line(shop: Shop, *words: str) -> subprocess.CompletedProcess[str]:
    """What the command line does with the shop, as a process of its own."""
    environment = {**os.environ, **shop.environment()}
    return subprocess.run([sys.executable, "-m", "jobs", *words], env=environment, capture_output=True, text=True, check=False)


def column(rows: list[dict[str, Any]], name: str) -> set[Any]:
    return {r[name] for r in rows}


def lines_of(path: Path) -> list[bytes]:
    return gzip.decompress(path.read_bytes()).split(b"\n")[:-1]


# -- raw to published ------------------------------------------------------------------------------------------------------------
def test_every_table_of_a_night_is_published(shop: Shop) -> None:
    for name, table in TABLES.items():
        if table.warehouse:
            where = f" WHERE ds = DATE '{LAST}'" if table.by_night else ""
            count = shop.rows(f"SELECT count(*) AS n FROM {name}{where}")[0]["n"]
            assert count > 0 or name in WITHOUT_PRODUCER, f"{name} is empty"
    published = shop.rows("SELECT ds, table_name, row_count FROM publication WHERE is_live")
    assert column(published, "ds") == set(AFTER)
    for row in published:
        assert shop.rows(f"SELECT count(*) AS n FROM {row['table_name']} WHERE ds = :ds", ds=row["ds"])[0]["n"] == row["row_count"]


def test_who_declared_interests_and_did_nothing_yet_has_them_and_a_list(shop: Shop) -> None:
    who = user_key(SECRET.encode(), NEWCOMER)
    (profile,) = shop.rows("SELECT * FROM user_profile WHERE ds = :ds AND user_key = :who", ds=LAST, who=who)
    assert (profile["cold_level"], profile["n_events_30d"]) == (1, 0)
    held = shop.rows("SELECT * FROM user_interest WHERE ds = :ds AND user_key = :who ORDER BY rank", ds=LAST, who=who)
    assert {r["horizon"] for r in held} == {"90d"}
    said = [json.loads(r["evidence"]) for r in held]
    assert all(e["items"] == [] and e["declared"] == pytest.approx(r["score"]) for e, r in zip(said, held, strict=True))
    assert profile["top_topic_id"] == held[0]["topic_id"]
    listed = shop.rows("SELECT * FROM user_topn WHERE ds = :ds AND user_key = :who ORDER BY rank", ds=LAST, who=who)
    assert len(listed) == LIST_SIZE
    assert {r["list_name"] for r in listed} == {"for_you"}
    assert listed[0]["reason_code"] == "declared"
    assert sum(r["topic_id"] in {h["topic_id"] for h in held} for r in listed) > LIST_SIZE / 2


def test_warehouse_holds_what_the_lake_holds(shop: Shop) -> None:
    lake = Lake(str(shop.lake))
    stored = shop.warehouse_checksums(*AFTER)
    for ds in AFTER:
        version = registry.valid_for(lake, "topics", ds)
        assert version is not None
        for table in (t for t in TABLES.values() if t.warehouse and t.lake):
            parts = {"model_version": version.model_version} if "model_version" in table.partition else {}
            if manifest := lake.manifest(table.name, ds, **parts):
                assert stored[f"{table.name} {ds}"] == manifest.checksum, (table.name, ds)


def test_rows_name_things_that_exist(shop: Shop) -> None:
    items = set(Lake(str(shop.lake)).read("item", [LAST], ["item_id"]).column("item_id").to_pylist())
    topics = column(shop.rows("SELECT topic_id FROM topic"), "topic_id")
    versions = column(shop.rows("SELECT model_version FROM model_version"), "model_version")
    users = column(shop.rows("SELECT user_key FROM user_profile WHERE ds = :ds", ds=LAST), "user_key")
    champions = {v.model_version for v in registry.versions(Lake(str(shop.lake)), "topics") if v.status == "champion"}
    assert len(champions) == 1
    references = {
        "item_id": (items, ("item_topic", "user_topn", "topn_outcome", "user_item_day")),
        "topic_id": (topics, ("item_topic", "user_interest", "user_interest_expansion", "user_topn", "topic_version")),
        "user_key": (users | {"*"}, ("user_interest", "user_interest_expansion", "user_topn", "user_item_day")),
        "model_version": (versions, ("item_topic", "user_interest", "topic_version")),
    }
    for name, (known, tables) in references.items():
        for table in tables:
            where = " WHERE ds = :ds" if TABLES[table].by_night else ""
            named = column(shop.rows(f"SELECT DISTINCT {name} FROM {table}{where}", **({"ds": LAST} if where else {})), name) - {None}
            assert named, (table, name)
            assert named <= known, (table, name, sorted(named - known)[:3])
    assert column(shop.rows("SELECT DISTINCT model_version FROM user_interest"), "model_version") == champions


def test_evidence_sums_to_the_score(shop: Shop) -> None:
    rows = shop.rows("SELECT user_key, topic_id, horizon, score, share, rank, evidence FROM user_interest WHERE ds = :ds", ds=LAST)
    total: dict[tuple[str, str], float] = defaultdict(float)
    ranks: dict[tuple[str, str], list[int]] = defaultdict(list)
    with_items = 0
    for row in rows:
        evidence = json.loads(row["evidence"])
        assert len(evidence["items"]) <= 5
        parts = [*(e["weight"] for e in evidence["items"]), evidence.get("declared", 0.0), evidence["rest"]]
        assert sum(parts) == pytest.approx(row["score"], abs=1e-5)
        weights = [e["weight"] for e in evidence["items"]]
        assert weights == sorted(weights, reverse=True)
        with_items += bool(weights)
        total[row["user_key"], row["horizon"]] += row["share"]
        ranks[row["user_key"], row["horizon"]].append(row["rank"])
    assert with_items > 0.9 * len(rows)
    assert {h for _, h in total} == {"1d", "7d", "90d"}
    # What is not held (no support, not entered yet) has a part of the whole, too.
    assert all(0 < share < 1.001 for share in total.values())
    assert sorted(total.values())[len(total) // 2] > 0.7
    assert all(sorted(r) == list(range(1, len(r) + 1)) for r in ranks.values())


def test_lists_are_full_unseen_ranked_and_say_why(shop: Shop) -> None:
    lake = Lake(str(shop.lake))
    catalogue, tree = (lake.read(t, [LAST]) for t in ("item", "category"))
    sold = ListRules().eligible(catalogue, tree, catalogue["item_id"].combine_chunks(), LAST)
    eligible = set(catalogue["item_id"].filter(pa.array(sold)).to_pylist())
    assert len(eligible) < catalogue.num_rows, "everything is on sale: the test cannot fail"
    seen: dict[str, set[str]] = defaultdict(set)
    for row in lake.read("user_item_day", lake.nights("user_item_day"), ["user_key", "item_id"]).to_pylist():
        seen[row["user_key"]].add(row["item_id"])
    slots = shop.rows("SELECT * FROM user_topn WHERE ds = :ds ORDER BY user_key, list_name, variant, rank", ds=LAST)
    lists: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for slot in slots:
        lists[slot["user_key"], slot["list_name"], slot["variant"]].append(slot)
    assert {u for u, name, _ in lists if name == "for_you"} == {*seen, user_key(SECRET.encode(), NEWCOMER)}
    for (user, name, _), found in lists.items():
        assert [s["rank"] for s in found] == list(range(1, len(found) + 1))
        open_items = eligible - seen[user] if user != "*" else eligible
        listed = {s["item_id"] for s in found}
        assert listed <= open_items
        assert len(listed) == len(found)
        if name in ("because_you_liked", "new_for_you"):
            assert len(found) <= ListRules().new_for_you
        else:
            assert len(found) == LIST_SIZE, (user, name)
        if name != "for_you":  # which is put in order
            assert all(a["score"] >= b["score"] for a, b in pairwise(found))
        exploring = [s["rank"] for s in found if s["exploration"]]
        assert exploring in ([], [LIST_SIZE] if name == "for_you" else []), name
    assert all(s["reason_code"] and s["reason_text_en"] and s["reason_text_zh"] for s in slots)
    assert {s["source"] for s in slots} == {"transitions", "content", "popularity", "declared", "expansion"}
    assert {"for_you", "because_you_liked", "new_for_you"} < {s["list_name"] for s in slots}
    for s in slots:
        assert sum(json.loads(s["contributions"]).values()) == pytest.approx(s["score"], abs=1e-5)
    named = [s for s in slots if s["evidence_item_id"] is not None]
    assert named
    assert all(s["evidence_item_id"] in seen[s["user_key"]] for s in named)
    unknown = {name for user, name, _ in lists if user == "*"}
    assert "popular" in unknown
    assert len(unknown) > 1, "unknown users are served by language too"


def test_outcomes_count_what_listed_items_met(shop: Shop) -> None:
    lake = Lake(str(shop.lake))
    touched = {(r["user_key"], r["item_id"]) for r in lake.read("user_item_day", [LAST], ["user_key", "item_id"]).to_pylist()}
    expected = {
        (s["ds"], s["user_key"], s["list_name"], s["rank"], s["item_id"])
        for s in shop.rows("SELECT * FROM user_topn WHERE ds < :ds", ds=LAST)
        if (s["user_key"], s["item_id"]) in touched
    }
    found = shop.rows("SELECT * FROM topn_outcome WHERE ds = :ds", ds=LAST)
    assert expected
    assert {(r["list_ds"], r["user_key"], r["list_name"], r["rank"], r["item_id"]) for r in found} == expected


def test_before_any_model_there_are_lists_but_no_topics(facts: Shop, home: Path) -> None:
    shop = facts.copy(home / "no_model")
    shop.runner().night(TRAINED)
    for table in ("topic", "topic_version", "item_topic", "user_interest", "user_interest_expansion", "interest_edge"):
        assert shop.rows(f"SELECT count(*) AS n FROM {table}") == [{"n": 0}], table
    slots = shop.rows("SELECT user_key, source, topic_id FROM user_topn")
    assert column(slots, "source") <= {"transitions", "content", "popularity"}
    assert "transitions" in column(slots, "source")
    assert column(slots, "topic_id") == {None}
    profiles = shop.rows("SELECT user_key, top_topic_id, summary_en, summary_zh FROM user_profile")
    assert column(profiles, "user_key") == column(slots, "user_key") - {"*"}
    assert column(profiles, "top_topic_id") == {None}
    assert all(p["summary_en"] and p["summary_zh"] for p in profiles)


# -- again, in another order, without the future ----------------------------------------------------------------------------------
def test_a_night_run_again_is_equal_or_skipped(shop: Shop, home: Path) -> None:
    again = shop.copy(home / "again", warehouse=True)
    again.report = True
    again.runner().run("report", LAST)
    before = again.lake_checksums(), again.warehouse_checksums(*AFTER)
    again.runner().night(LAST)
    done = {line.split()[1].rstrip(":") for line in again.said if line.endswith("up to date")}
    assert done == set(NIGHTLY)
    again.runner().night(LAST, force=True)
    assert not any("up to date" in line for line in again.said)
    after = again.lake_checksums(), again.warehouse_checksums(*AFTER)
    assert differing(before[0], after[0]) == []
    assert differing(before[1], after[1]) == []
    rebuilt, kept = manifests(again), manifests(shop)
    assert all(rebuilt[at]["run"] != kept[at]["run"] for at in kept if f"ds={LAST}" in at), "nothing was rebuilt"
    ledger = "SELECT DISTINCT generation FROM publication WHERE ds = :ds AND is_live"
    assert again.rows(ledger, ds=LAST) == [{"generation": 2}]
    page = (again.root / "report" / f"{LAST}.html").read_text(encoding="utf-8")
    assert all(run["run_id"] in page for run in again.rows("SELECT run_id FROM publication WHERE ds = :ds AND is_live", ds=LAST))


def test_facts_in_any_order_then_what_looks_back(shop: Shop, home: Path) -> None:
    shuffled = Shop(home / "shuffled", shop.landing)
    order = NIGHTS.copy()
    random.Random(3).shuffle(order)
    assert order not in (NIGHTS, NIGHTS[::-1])
    for ds in order:
        shuffled.runner().night(ds, FACTS)
    shuffled.runner().training(TRAINED)
    for ds in reversed(AFTER):
        shuffled.runner().night(ds, ("assign_topics",))
    shuffled.runner().nights(AFTER[0], LAST)
    assert differing(shop.lake_checksums(), shuffled.lake_checksums()) == []
    assert differing(shop.warehouse_checksums(*AFTER), shuffled.warehouse_checksums(*AFTER)) == []


def test_a_missing_night_is_named(shop: Shop, home: Path) -> None:
    missing = NIGHTS[1]
    holed = shop.copy(home / "holed")
    for path in list(holed.lake.rglob(f"ds={missing}")):
        shutil.rmtree(path, ignore_errors=True)
    for job in ("profile", "recommend"):
        with pytest.raises(NotBuiltError, match=str(missing)):
            holed.runner().run(job, LAST)
    done = command_line(holed, "recommend", "--ds", str(LAST))
    assert done.returncode == 75, done.stderr
    assert str(missing) in done.stderr
    assert "Traceback" not in done.stderr


class Future:
    """Changes what lies after a night in a landing zone: events by event_ts, whichever partition brought them, and the catalogue."""

    def __init__(self, landing: Path, ds: dt.date) -> None:
        self.landing, self.ds, self.rng, self.changed = landing, ds, random.Random(9), 0
        self.ids = [e["event_id"] for path in self.files(ds) for e in map(orjson.loads, filter(self.whole, lines_of(path)))]

    def files(self, ds: dt.date, kind: str = "events") -> list[Path]:
        return sorted((self.landing / kind / f"ds={ds}").glob("*.gz"))

    @staticmethod
    def whole(line: bytes) -> bool:
        try:
            return isinstance(orjson.loads(line), dict)
        except orjson.JSONDecodeError:
            return False

    def events(self) -> None:
        end = (self.ds + ONE_DAY).isoformat()
        for folder in sorted((self.landing / "events").glob("ds=*")):
            if folder.name[3:] <= self.ds.isoformat():
                continue
            for path in sorted(folder.glob("*.gz")):
                old = lines_of(path)
                late = {i for i, line in enumerate(old) if self.whole(line) and str(orjson.loads(line).get("ts", "")) >= end}
                pool = [orjson.loads(old[i]) for i in sorted(late)]
                new = [orjson.dumps(self.other(orjson.loads(line), pool)) if i in late else line for i, line in enumerate(old)]
                path.write_bytes(gzip.compress(b"\n".join([*new, b""])))

    def other(self, event: dict[str, Any], pool: list[dict[str, Any]]) -> dict[str, Any]:
        """The event by someone else, with something else; now and then under the id of an event of the night."""
        self.changed += 1
        for name in ("user_id", "item_id", "event_type", "session_id"):
            event[name] = self.rng.choice(pool).get(name) or event.get(name) or "nothing"
        event |= {"rating": self.rng.randint(1, 5), "text": f"other words {self.changed}", "query": f"other query {self.changed}"}
        if self.rng.random() < 0.03:
            event["event_id"] = self.rng.choice(self.ids)
        return event

    def catalogue(self) -> None:
        """The day after, every item is something else, and half of them are gone."""
        known: dict[str, dict[str, Any]] = {}
        for folder in sorted((self.landing / "items").glob("ds=*")):
            for path in folder.glob("*.gz"):
                known |= {r["item_id"]: r for r in map(orjson.loads, lines_of(path))}
            if folder.name[3:] > self.ds.isoformat():
                shutil.rmtree(folder)
        new = [{**r, "title": f"quite another thing {k}", "category": "other", "deleted": k % 2 == 0} for k, r in enumerate(known.values())]
        self.land("items", new)
        self.land("categories", [{"category": "other", "parent": "all"}, {"category": "all", "parent": None}])

    def users(self) -> None:
        """The day after, every tenth user turns out to be another one, and as many want to be forgotten."""
        users = sorted({str(e["user_id"]) for path in self.files(self.ds) for e in map(orjson.loads, filter(self.whole, lines_of(path)))})
        self.land("identity", [{"anonymous_id": u, "user_id": users[0]} for u in users[1::10]])
        self.land("optout", [{"user_id": u} for u in users[5::10]])
        self.land("declared", [{"user_id": u, "term": "tea", "stance": "mute"} for u in [*users[2::10], NEWCOMER]])

    def land(self, kind: str, rows: list[dict[str, Any]]) -> None:
        target = self.landing / kind / f"ds={self.ds + ONE_DAY}"
        target.mkdir(parents=True)
        (target / "part.jsonl.gz").write_bytes(gzip.compress(b"\n".join([*map(orjson.dumps, rows), b""])))


def test_the_future_changes_nothing(shop: Shop, home: Path) -> None:
    """Events that happened after the night are changed in every partition, so are later catalogues and what is known of users, and a later
    model is there."""
    ds = AFTER[1]
    other = shop.copy(home / "future", warehouse=True, landing=True)
    before = other.lake_checksums(), other.warehouse_checksums(*AFTER)
    future = Future(other.landing, ds)
    future.events()
    future.catalogue()
    future.users()
    assert future.changed > 1000
    other.runner().nights(START, ds, ("clean",))
    assert sum(" event_clean " in line for line in other.said) == 3, "three nights look at the changed partitions"
    other.runner().training(ds)
    assert sum(bool(v.promoted_at) for v in registry.versions(Lake(str(other.lake)), "topics")) == 2
    other.runner().night(ds, force=True)
    other.runner().night(LAST, FACTS)
    after = other.lake_checksums(), other.warehouse_checksums(*AFTER)
    upto = tuple(f"ds={d}" for d in NIGHTS if d <= ds)
    assert [k for k in differing(before[0], after[0]) if k in before[0] and any(d in k for d in upto)] == []
    assert [k for k in differing(before[1], after[1]) if any(k.endswith(f" {d}") for d in AFTER)] == []
    tables = ("event_clean", "user_item_day", "session", "item", "category", "id_map", "item_text", "user_text")
    reached = {f"{t}/ds={LAST}" for t in tables}
    assert reached <= set(differing(before[0], after[0])), "the change reached nothing"


def models_of(shop: Shop, *nights: dt.date) -> set[str]:
    """Topic models that the rows of some nights name, in the lake and in the warehouse, which must agree."""
    lake = Lake(str(shop.lake))
    staged = {r["model_version"] for r in lake.read("user_interest", nights, ["model_version"]).to_pylist()}
    named = [f"SELECT DISTINCT model_version FROM {t} WHERE ds >= :first AND ds <= :last" for t in ("user_interest", "item_topic")]
    published = [column(shop.rows(sql, first=nights[0], last=nights[-1]), "model_version") for sql in named]
    assert published == [staged, staged]
    return staged


def test_a_night_stays_under_its_model_until_asked_otherwise_and_a_rollback_brings_back_the_old_one(shop: Shop, home: Path) -> None:
    """v2, trained on the same night with another seed, is promoted after nights were published under v1, and rolled back again."""
    other = shop.copy(home / "models", warehouse=True, landing=True)
    lake = Lake(str(other.lake))
    v1 = registry.valid_for(lake, "topics", LAST)
    assert v1

    def published() -> dict[str, str]:
        return {k: v for k, v in other.warehouse_checksums(*AFTER).items() if k.endswith(tuple(map(str, AFTER)))}

    before = other.lake_checksums(), published()
    other.runner().run("fit_topics", TRAINED, seed=1)
    other.runner().run("promote", TRAINED, reason="another seed")
    v2 = registry.valid_for(lake, "topics", LAST)
    assert v2
    assert v2 != v1
    again = other.runner()
    assert f"{LAST} profile: up to date (pinned to {v1.model_version}; --use-current-models would take {v2.model_version})" in list(
        again.plan(AFTER[0], LAST)
    )
    again.nights(AFTER[0], LAST)
    assert not any(" – " in line for line in other.said), "nothing is built again"
    other.runner().night(LAST, force=True)
    after = other.lake_checksums(), published()
    assert {k: after[0][k] for k in before[0]} == before[0]
    assert {k.rsplit("=", 1)[1] for k in after[0].keys() - before[0].keys()} == {v2.model_version}
    assert after[1] == before[1]
    assert models_of(other, *AFTER) == {v1.model_version}

    asked = other.runner()
    asked.models.use_current = True
    asked.nights(AFTER[1], LAST)
    assert models_of(other, AFTER[0]) == {v1.model_version}
    assert models_of(other, *AFTER[1:]) == {v2.model_version}

    now = dt.datetime(2026, 3, 8, 9, tzinfo=dt.UTC)
    rollback(other.runner(), "topics", None, "worse in every slice", now, "manual")
    assert other.said[-2] == f"{v2.model_version} is rolled back; new nights use {v1.model_version}"
    assert other.said[-1].startswith(f"2 published nights used it and stay as they are: {AFTER[1]}, {LAST}; ")
    record = [(r["action"], r["model_version"], r["reason"]) for r in registry.promotions(lake, "topics")]
    assert record[1:] == [("promote", v2.model_version, "another seed"), ("rollback", v2.model_version, "worse in every slice")]
    states = {r["model_version"]: (r["status"], r["promoted_at"]) for r in other.rows("SELECT * FROM model_version WHERE kind = 'topics'")}
    assert states == {
        v1.model_version: ("champion", dt.datetime.combine(AFTER[0], dt.time(), dt.UTC)),
        v2.model_version: ("retired", None),
    }
    (other.landing / "events" / f"ds={LAST + ONE_DAY}").mkdir()
    other.runner().night(LAST + ONE_DAY)
    assert models_of(other, LAST + ONE_DAY) == {v1.model_version}
    assert models_of(other, *AFTER[1:]) == {v2.model_version}


def test_a_night_as_known_is_published_with_its_cutoff_once_the_nights_before_are_too(shop: Shop, home: Path) -> None:
    other = shop.copy(home / "known", warehouse=True)
    cutoff = dt.datetime.combine(LAST + ONE_DAY, dt.time(), dt.UTC)
    cutoffs = "SELECT DISTINCT known_cutoff_ts FROM publication WHERE ds = :ds AND is_live"
    assert other.rows(cutoffs, ds=LAST) == [{"known_cutoff_ts": None}]
    known = other.runner()
    known.settings = known.settings.model_copy(update={"known_cutoff": cutoff})
    known.run("clean", LAST)
    with pytest.raises(
        PublishError, match=f"{NIGHTS[0]}, {NIGHTS[1]}, {NIGHTS[2]} otherwise; run .*--from {NIGHTS[0]} --to {LAST} --known"
    ):
        known.run("publish", LAST)
    for ds in NIGHTS[:-1]:
        known.run("clean", ds)
    known.run("publish", LAST)
    assert other.rows(cutoffs, ds=LAST) == [{"known_cutoff_ts": cutoff}]


def test_the_planted_truth_is_never_read(shop: Shop, home: Path) -> None:
    """Without `_truth` a night's facts are the same, and no file of it is among any job's inputs."""
    blind = Shop(home / "blind")
    shutil.copytree(shop.landing, blind.landing, ignore=shutil.ignore_patterns("_truth"))
    blind.runner().night(LAST, ("clean", "aggregate"))
    found = blind.lake_checksums(LAST)
    assert len(found) == len(NIGHTLY["clean"].writes) + len(NIGHTLY["aggregate"].writes)
    assert {k: shop.lake_checksums(LAST)[k] for k in found} == found
    inputs = {what for m in manifests(shop).values() for what, _ in m["inputs"]}
    assert any(what.startswith("events/") for what in inputs)
    assert not any("_truth" in what for what in inputs)


def test_a_failed_gate_keeps_the_last_good_night_live_until_somebody_accepts_it(shop: Shop, home: Path) -> None:
    other = shop.copy(home / "gate", warehouse=True, landing=True)
    night = "SELECT generation, row_count FROM publication WHERE ds = :ds AND table_name = 'user_item_day' AND is_live"
    before = other.rows(night, ds=LAST)
    broken = b"".join(
        b'{"event_id": "b%d", "user_id": "u%d", "item_id": "x", "event_type": "view", "TS": "?"}\n' % (i, i) for i in range(200)
    )
    (other.landing / "events" / f"ds={LAST}" / "broken.jsonl").write_bytes(broken)
    with pytest.raises(PublishError, match=r"quarantined_share of event_clean: .*missing_required 200×.*field_case:TS~ts") as stopped:
        other.runner().night(LAST)
    assert f"python -m jobs accept --ds {LAST} --check " in str(stopped.value)
    assert other.rows(night, ds=LAST) == before
    now = dt.datetime(2026, 3, 7, 9, tzinfo=dt.UTC)
    with pytest.raises(ParameterError, match=r"no blocking check 'volume' failed .*: quarantined_share of event_clean, field_case:TS~ts"):
        accept(other.runner(), LAST, "volume", None, "why not", now, "manual")
    with pytest.raises(PublishError, match="field_case:TS~ts"):
        accept(other.runner(), LAST, "quarantined_share", None, "a broken client, known", now, "manual")
    accept(other.runner(), LAST, "field_case:TS~ts", None, "the same", now, "manual")
    assert other.rows(night, ds=LAST) == [{"generation": before[0]["generation"] + 1, "row_count": before[0]["row_count"]}]
    accepted = other.rows("SELECT table_name, check_name, reason FROM quality_acceptance WHERE ds = :ds ORDER BY check_name", ds=LAST)
    assert [(r["check_name"], r["reason"]) for r in accepted] == [
        ("field_case:TS~ts", "the same"),
        ("quarantined_share", "a broken client, known"),
    ]


# -- warehouses ------------------------------------------------------------------------------------------------------------------
def test_postgres_and_duckdb_hold_the_same(shop: Shop, postgres_db: str) -> None:
    other = Shop(shop.root, warehouse_url=postgres_db)
    other.runner().nights(AFTER[0], LAST, ("publish",))
    assert differing(shop.warehouse_checksums(*AFTER), other.warehouse_checksums(*AFTER)) == []
    columns = "ds, table_name, run_id, row_count, content_hash, input_hash, event_cutoff_ts, model_versions"
    ledger = f"SELECT {columns} FROM publication WHERE is_live ORDER BY ds, table_name"
    assert shop.rows(ledger) == other.rows(ledger)


# -- nights without rows ---------------------------------------------------------------------------------------------------------
def test_an_empty_night_is_published_and_an_absent_one_is_not(shop: Shop, home: Path) -> None:
    other = shop.copy(home / "empty", landing=True)
    ds = LAST + ONE_DAY
    (other.landing / "events" / f"ds={ds}").mkdir()
    other.runner().night(ds)
    counts = {r["table_name"]: r["row_count"] for r in other.rows("SELECT table_name, row_count FROM publication WHERE ds = :ds", ds=ds)}
    assert counts["user_item_day"] == counts["topn_outcome"] == 0
    assert counts["user_topn"] > 0, "users of earlier nights keep their lists"
    assert counts["user_interest"] > 0
    assert counts["item_topic"] > 0
    lake = Lake(str(other.lake))
    for table in ("event_clean", "event_quarantine", "session", "user_text"):
        manifest = lake.manifest(table, ds)
        assert manifest is not None
        assert manifest.rows == 0
    done = command_line(other, "night", "--ds", str(ds + ONE_DAY))
    assert done.returncode == 99, done.stderr
    assert str(ds + ONE_DAY) in done.stderr
    assert "Traceback" not in done.stderr


# -- dirt ------------------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def clean_events(home: Path, spark: SparkSession) -> dict[str, tuple[Any, ...]]:
    """What `clean` makes of the same shop delivered without dirt."""
    tidy = Shop(home / "tidy")
    simulate(str(tidy.landing), START, nights=len(NIGHTS), **SIZE)
    tidy.runner().nights(START, LAST, ("clean",))
    return events_of(tidy)


def events_of(shop: Shop) -> dict[str, tuple[Any, ...]]:
    columns = ["event_id", "ds", "user_key", "item_id", "event_type", "event_ts", "session_id", "price", "rating"]
    rows = Lake(str(shop.lake)).read("event_clean", NIGHTS, columns)
    return {values[0]: values[1:] for values in zip(*rows.to_pydict().values(), strict=True)}


def test_dirt_is_counted_once_and_named(shop: Shop, malformed: Counter[str], clean_events: dict[str, tuple[Any, ...]]) -> None:
    """Two objects on one line are both kept (the second is a duplicate); a blank line holds nothing; the other broken lines are refused."""
    dirty = events_of(shop)
    assert {e: dirty[e] for e in dirty if dirty[e] != clean_events.get(e)} == {}
    lost = len(clean_events) - len(dirty)
    assert lost == malformed.total() - malformed["glued_objects"]
    refused = Lake(str(shop.lake)).read("event_quarantine", NIGHTS).to_pylist()
    reasons = Counter(r["reason"] for r in refused)
    assert reasons == Counter({k: n for k, n in malformed.items() if k not in ("glued_objects", "blank_line")})
    late = [row for row in dirty.values() if row[0] != row[4].date()]
    assert late == [], "an event belongs to the night of its event_ts"


def test_the_balance_law_holds_every_night(shop: Shop) -> None:
    lake = Lake(str(shop.lake))
    checks = [r for r in lake.read("quality_result", AFTER).to_pylist() if "balance" in r["check_name"]]
    assert len(checks) == 2 * len(AFTER)
    assert all(r["passed"] for r in checks)
    files = lake.read("landing_file", NIGHTS).to_pylist()
    assert {r["ds"] for r in files if r["n_objects"]} == set(NIGHTS)
    assert all(r["n_objects"] == r["n_good"] + r["n_repaired"] + r["n_quarantined"] for r in files)
