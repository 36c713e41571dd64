"""clean, aggregate and texts with real Spark: the ledger balances, each event counts once in its night, the facts are exact."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from jobs.runner import Runner
from jobs.settings import Settings
from recsys_core.aggregate import SAID, sessions, text_sentiment, user_item_day
from recsys_core.annotate.models import lexicon_scores
from recsys_core.lake import empty
from recsys_core.privacy import user_key
from recsys_core.profiles.clock import NANO
from recsys_core.profiles.interests import Scores
from recsys_core.tables import TABLES
from recsys_core.texts import text_hash
from recsys_core.topics.assign import topic_days
from recsys_core.user_texts import history_texts, item_texts, user_texts

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

BEFORE, DAY, AFTER = (dt.date(2026, 1, d) for d in (4, 5, 6))
GOOD = {"user_id": "u1", "item_id": "i1", "event_type": "view", "ts": "2026-01-05T10:00:00Z"}


def line(event_id: str, **changes: Any) -> str:
    """A landing line."""
    return json.dumps(GOOD | {"event_id": event_id} | changes)


def land(root: Path, ds: dt.date, name: str, *rows: str) -> None:
    """Write one file of events."""
    folder = root / "events" / f"ds={ds}"
    folder.mkdir(parents=True, exist_ok=True)
    data = "".join(r + "\n" for r in rows).encode()
    (folder / name).write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)


@pytest.fixture
def runner(spark: SparkSession, tmp_path: Path) -> Callable[..., Runner]:
    """Makes a runner over tmp_path that uses the tests' Spark session; what it says is in `said`."""

    def make(lake: str = "lake", **settings: Any) -> Runner:
        site = {"landing": str(tmp_path / "landing"), "lake": str(tmp_path / lake), "user_key_secret": "secret", **settings}
        said: list[str] = []
        made = Runner(Settings(**site), said.append)
        made.__dict__ |= {"spark": spark, "said": said}
        return made

    return make


def rows(runner: Runner, table: str, ds: dt.date = DAY) -> list[dict[str, Any]]:
    """Rows of a night, by the table's key."""
    table_rows: list[dict[str, Any]] = runner.lake.read(table, [ds]).to_pylist()
    return sorted(table_rows, key=lambda r: tuple(r[k] for k in TABLES[table].key))


def checks(runner: Runner, ds: dt.date = DAY) -> dict[str, tuple[float, bool]]:
    """(observed, passed) of the checks of event_clean, after an audit."""
    runner.run("audit", ds)
    return {r["check_name"]: (r["observed"], r["passed"]) for r in rows(runner, "quality_result", ds) if r["table_name"] == "event_clean"}


def test_clean_takes_each_event_once_into_its_night_and_balances(runner: Callable[..., Runner], tmp_path: Path) -> None:
    root = tmp_path / "landing"
    land(
        root,
        BEFORE,
        "a.jsonl",
        line("skew", ts="2026-01-05T00:03:00Z", received_ts="2026-01-04T23:59:00Z"),
        line("old", ts="2026-01-04T09:00:00Z"),
    )
    land(
        root,
        DAY,
        "a.jsonl.gz",
        line("twice", received_ts="2026-01-05T10:00:09Z"),
        line("twice", received_ts="2026-01-05T10:00:01Z"),
        line("other", rating=5, event_type="rating"),
        line("other", rating=1, event_type="rating"),
        line("yesterday", ts="2026-01-04T10:00:00Z"),
        line("nobody", user_id=None),
        line("cut")[:-5],
        f"[{line('array')}, {{}}]",
        "",
        line("red", colour="red", repairs=["day_precision"]),
    )
    land(root, DAY, "b.jsonl", line("b1"))
    (root / "events" / f"ds={DAY}" / "c.jsonl.gz").write_bytes(gzip.compress(line("lost").encode() * 9)[:-9])
    (root / "events" / f"ds={DAY}" / "_notes.txt").write_text("no data")
    land(root, AFTER, "a.jsonl", line("late"), line("twice"), line("new", ts="2026-01-06T01:00:00Z"), "{")
    land(root, dt.date(2026, 1, 9), "a.jsonl", line("far"))
    made = runner()
    made.run("clean", DAY)

    events = {r["event_id"]: r for r in rows(made, "event_clean")}
    assert sorted(events) == ["array", "b1", "late", "other", "red", "skew", "twice"]
    assert {e: r["repairs"] for e, r in events.items() if r["repairs"]} == {
        "array": ["array_unwrapped"],
        "late": ["late"],
        "red": ["day_precision", "unknown_fields"],
        "skew": ["clock_skew"],
    }
    assert events["twice"]["received_ts"].second == 1  # the first to be received
    assert events["other"]["rating"] == 5  # without received_ts: the first of the file
    assert events["b1"]["user_key"] == user_key(b"secret", "u1")

    refused = rows(made, "event_quarantine")
    assert sorted(r["reason"] for r in refused) == ["json_truncated", "missing_required", "no_user"]
    assert {r["file"] for r in refused} == {f"events/ds={DAY}/a.jsonl.gz"}

    report = json.loads(made.__dict__["said"][-1])
    assert report == {
        "ds": "2026-01-05",
        "files": 3,
        "files_refused": 1,
        "lines": 11,
        "objects_in": 11,
        "good": 3,  # twice, other, b1
        "repaired": 5,  # twice and other again, yesterday's, array, red
        "quarantined": 3,
        "other_nights": 1,
        "by_reason": {
            "array_unwrapped": 1,
            "blank_line": 1,
            "day_precision": 1,
            "dedup": 2,
            "gz_truncated": 1,
            "json_truncated": 1,
            "late": 1,
            "missing_required": 1,
            "no_user": 1,
            "unknown_fields": 1,
        },
    }
    made.run("clean", BEFORE)
    assert (
        checks(made).items()
        >= {
            "balance": (0, True),
            "quarantined_share": (round(3 / 11, 6), False),
            "refused_files": (1, False),
            "id_conflict": (1, False),
            "rejected:no_user": (1, True),
        }.items()
    )

    assert [r["event_id"] for r in rows(made, "event_clean", BEFORE)] == ["old", "yesterday"]


def test_expected_reasons_are_left_out_of_the_ratio_and_a_declared_zone_reads_naive_times(
    runner: Callable[..., Runner], tmp_path: Path
) -> None:
    root = tmp_path / "landing"
    land(
        root,
        DAY,
        "a.jsonl",
        *(line(f"n{i}", user_id="") for i in range(5)),
        line("a", ts="2026-01-05T23:30:00"),
        line("b", ts="2026-01-05T00:30:00"),
    )
    declared = {"source": "shop", "time_zone_of_naive_ts": "Asia/Shanghai", "expected_reasons": ["no_user"]}
    (root / "_source.json").write_text(json.dumps(declared))
    made = runner(time_zone="Asia/Shanghai")
    made.run("clean", DAY)
    assert [(r["event_id"], r["event_ts"].hour, r["daypart"], r["source"], r["repairs"]) for r in rows(made, "event_clean")] == [
        ("a", 15, "evening", "shop", ["tz_assumed"]),
        ("b", 16, "night", "shop", ["tz_assumed"]),
    ]
    assert checks(made)["quarantined_share"] == (0, True)


def test_an_empty_night_has_empty_tables_and_the_order_of_delivery_changes_nothing(runner: Callable[..., Runner], tmp_path: Path) -> None:
    root = tmp_path / "landing"
    (root / "events" / f"ds={DAY}").mkdir(parents=True)
    empty = runner("empty")
    empty.nights(DAY, DAY, ("clean", "aggregate", "texts"))
    assert {
        t: len(rows(empty, t)) for t in ("event_clean", "event_quarantine", "user_item_day", "session", "item_text", "user_text")
    } == dict.fromkeys(("event_clean", "event_quarantine", "user_item_day", "session", "item_text", "user_text"), 0)
    written = [line(f"e{i}", user_id=f"u{i % 3}", item_id=f"i{i % 4}", dwell_s=i / 7, text=f"a fine thing {i % 5}") for i in range(40)]
    checksums = []
    for turn in range(2):
        random.Random(turn).shuffle(written)
        for old in (root / "events" / f"ds={DAY}").iterdir():
            old.unlink()
        land(root, DAY, "a.jsonl", *written[: 10 + turn])
        land(root, DAY, "b.jsonl.gz", *written[10 + turn :])
        made = runner(f"lake{turn}")
        made.nights(DAY, DAY, ("clean", "aggregate", "texts"))
        checksums.append([made.lake.manifest(t, DAY).checksum for t in ("event_clean", "user_item_day", "session", "user_text")])  # type: ignore[union-attr]
    assert checksums[0] == checksums[1]


def events(*given: dict[str, Any]) -> pa.Table:
    """Rows of event_clean; `at` is the minute of the day."""
    found = []
    for number, row in enumerate(given):
        base = dict.fromkeys(TABLES["event_clean"].names) | {
            "ds": DAY,
            "event_id": f"e{number:03}",
            "user_key": "u",
            "item_id": "i",
            "event_type": "view",
            "daypart": "night",
            "source": "test",
            "repairs": [],
        }
        at = row.pop("at", number)
        base["event_ts"] = dt.datetime(2026, 1, 5, tzinfo=dt.UTC) + dt.timedelta(minutes=at)
        found.append(base | row)
    return pa.Table.from_pylist(found, schema=TABLES["event_clean"].arrow_schema())


def heard(given: pa.Table) -> pa.Table:
    """Rows of text_sentiment of the events."""
    batches = given.filter(pc.is_valid(given["text"])).select(SAID).to_batches()
    return pa.Table.from_batches(text_sentiment(batches, lexicon_scores, "lexicon"), TABLES["text_sentiment"].arrow_schema())


def test_user_item_day_counts_types_low_ratings_and_sentiment() -> None:
    given = events(
        {"dwell_s": 0.1},
        {"dwell_s": 0.2},
        {"event_type": "rating", "rating": 2.0},
        {"event_type": "review", "rating": 5.0},
        {"event_type": "return"},
        {"event_type": "view", "rating": 1.0},
        {"item_id": "j"},
        {"item_id": None, "event_type": "search", "query": "x"},
    )
    found = {r["item_id"]: r for r in user_item_day(DAY, given, heard(given)).to_pylist()}
    assert sorted(found) == ["i", "j"]
    assert tuple(found["i"]) == TABLES["user_item_day"].names
    counts = {k: v for k, v in found["i"].items() if k.startswith("n_") and v}
    assert counts == {
        "n_events": 6,
        "n_view": 3,
        "n_rating": 1,
        "n_review": 1,
        "n_return": 1,
        "n_low_rated": 1,
        "n_positive": 4,
        "n_negative": 2,
    }
    # Stated opinions: a low rating and a return against a good review.
    assert (found["i"]["rating"], found["i"]["sentiment"], found["i"]["dwell_s"]) == (2.666667, -0.333333, 0.3)
    assert (found["j"]["rating"], found["j"]["sentiment"], found["j"]["dwell_s"]) == (None, None, None)
    assert found["i"]["last_event_ts"].minute == 5


BAD = {"en": "Terrible, it broke and I hate it", "zh": "太垃圾了，非常失望，不喜欢"}
GOOD_WORDS = {"en": "Wonderful, I really love it", "zh": "太棒了，我非常喜欢"}
PLAIN = {"en": "It has four wheels and a handle", "zh": "它有四个轮子和一个把手"}
SENSE = {"bad": BAD, "good": GOOD_WORDS, "plain": PLAIN}


def test_a_bad_review_lowers_the_interest_and_a_good_one_raises_it_in_both_languages() -> None:
    given: list[dict[str, Any]] = []
    for lang, (sense, texts) in ((lang, s) for lang in BAD for s in SENSE.items()):
        for rating in (None, 4.0):
            user = f"{lang} {sense}{' rated' if rating else ''}"
            given += [{"user_key": user}, {"user_key": user, "event_type": "review", "text": texts[lang], "rating": rating}]
    given.append({"user_key": "de", "event_type": "review", "text": "Sehr schlecht, ein furchtbares Spiel, bad bad"})
    given.append({"user_key": "talk", "event_type": "comment", "text": BAD["en"]})
    frame = events(*given)
    said = heard(frame)
    found = user_item_day(DAY, frame, said)
    counted = {r["user_key"]: r for r in found.to_pylist()}
    assert {r["user_key"]: r["sentiment"] for r in said.to_pylist() if "rated" in r["user_key"]}.keys() == {
        u for u in counted if "rated" in u
    }
    assert (counted["de"]["n_panned"], counted["talk"]["n_panned"]) == (0, 0), "no German lexicon; talk is no verdict"

    item_topics = pa.table({"item_id": ["i", "i"], "topic_id": [1, 2], "weight": [0.75, 0.25]})
    searches = pa.table(
        {"user_key": pa.array([], pa.string())} | {n: pa.array([], pa.int64()) for n in ("topic_id", "p_micro", "n_events")}
    )
    days = topic_days(found, item_topics, searches, DAY, "m")
    held = Scores(found.select(["ds", "user_key", "n_events"]), days, found.join(item_topics, "item_id", join_type="inner"), DAY)
    interest = {held.users[held.user[p]].as_py(): held.score["90d"][0][p] / NANO for p in np.flatnonzero(held.topic == 1)}
    for lang in BAD:
        score = {s: interest[f"{lang} {s}"] for s in (*SENSE, *(f"{s} rated" for s in SENSE))}
        assert score["bad"] < 0.75 * (1 + 3) == score["plain"] < score["good"]
        assert score["bad"] < 0.75, "lower than without the review"
        assert score["bad rated"] == score["plain rated"] == score["good rated"] == score["plain"], "a rating alone decides"
        panned = counted[f"{lang} bad"]["n_panned"]
        assert 0.5 < panned < 1
        assert counted[f"{lang} bad"]["sentiment"] == pytest.approx(1 - 2 * panned)
        assert counted[f"{lang} good"]["sentiment"] == counted[f"{lang} plain"]["sentiment"] == 1
    own = held.heaviest([np.arange(held.n)] * len(held.score), 1)[[*held.score].index("90d")][2]
    assert np.maximum(own, 0) == pytest.approx(held.score["90d"][0], abs=1000), "the item carries it all"


def test_sessions_end_after_half_an_hour_unless_the_source_names_them() -> None:
    given = events(
        {"at": 0, "device": "tv", "item_id": "a"},
        {"at": 30, "device": "phone", "item_id": "b"},
        {"at": 61, "device": "tv"},
        {"at": 5, "session_id": "s1", "lang": "zh"},
        {"at": 600, "session_id": "s1", "lang": "en"},
        {"at": 0, "user_key": "v", "session_id": "shared"},
        {"at": 0, "user_key": "w", "session_id": "shared"},
        {"at": 10, "user_key": "w"},
    )
    found = sessions(DAY, given, empty(TABLES["open_session"])).to_pylist()
    assert sum(r["n_events"] for r in found) == 8
    by_start = {(r["user_key"], r["start_ts"].hour * 60 + r["start_ts"].minute, r["n_events"]): r for r in found}
    assert sorted(by_start) == [("u", 0, 2), ("u", 5, 2), ("u", 61, 1), ("v", 0, 1), ("w", 0, 1), ("w", 10, 1)]
    first = by_start["u", 0, 2]
    assert (first["n_items"], first["device"], first["carry_id"]) == (2, "phone", first["session_id"])  # a tie goes to the lower name
    assert (by_start["u", 5, 2]["session_id"], by_start["u", 5, 2]["lang"]) == ("s1", "en")
    assert len({r["session_id"] for r in found}) == len(found)


def test_texts_of_users_are_reviews_searches_and_behaviour() -> None:
    given = events(
        {"event_type": "review", "text": "really a good  train", "lang": "en"},
        {"event_type": "comment", "text": "really a good train", "item_id": "j", "lang": "zh"},
        {"event_type": "review", "text": "ok ok"},
        {"event_type": "search", "query": "火车", "item_id": None, "lang": "zh"},
        {"user_key": "v", "item_id": "unknown"},
        {"user_key": "w", "item_id": "i"},
    )
    items = pa.table({"item_id": ["i", "j"], "title": ["木火车", "Bus"]})
    found = {(r["user_key"], r["kind"]): r for r in user_texts(DAY, given, user_item_day(DAY, given, heard(given)), items).to_pylist()}
    assert sorted(found) == [("u", "behaviour"), ("u", "review"), ("u", "search"), ("w", "behaviour")]
    assert tuple(found["u", "review"]) == TABLES["user_text"].names
    review = found["u", "review"]
    assert (review["text"], review["n_events"], review["item_id"], review["text_hash"]) == (
        "really a good train",
        2,
        None,
        text_hash("really a good train"),
    )
    assert (found["u", "search"]["text"], found["u", "search"]["lang"], found["u", "search"]["item_id"]) == ("火车", "zh", None)
    assert found["u", "behaviour"]["text"] == "评价了木火车，然后评论了Bus"
    assert found["w", "behaviour"]["text"] == "viewed 木火车"


def test_ninety_days_are_told_of_who_was_there_that_night_in_their_language() -> None:
    weights = pa.table(
        {
            "user_key": ["zh", "zh", "en", "en", "gone"],
            "item_id": ["a", "b", "a", "unknown", "a"],
            "weight": [2.0, 9.0, 1.0, 3.0, 1.0],
            "act": ["view", "purchase", "review", "view", "view"],
        }
    )
    items = pa.table({"item_id": ["a", "b", "c"], "title": ["火车", "Bus", None]})
    sessions = pa.table({"user_key": ["zh", "zh", "en", "new"], "lang": ["zh", "other", None, "zh"]})
    found = history_texts(DAY, weights, items, sessions).to_pylist()
    assert [(r["user_key"], r["lang"], r["kind"], r["text"]) for r in found] == [
        ("en", "en", "behaviour_90d", "reviewed 火车"),
        ("zh", "zh", "behaviour_90d", "购买了Bus，然后浏览了火车"),
    ]
    assert found[0]["text_hash"] == text_hash("reviewed 火车")


def test_item_texts_leave_out_what_is_deleted_or_empty() -> None:
    items = pa.Table.from_pylist(
        [
            {"ds": DAY, "item_id": i, "title": t, "tags": ["x"] if t else None, "lang": "en", "valid_from_ds": DAY, "deleted": d}
            for i, t, d in (("a", "Train", False), ("b", "Bus", True), ("c", None, False))
        ],
        schema=TABLES["item"].arrow_schema(),
    )
    found = item_texts(DAY, items).to_pylist()
    assert [(r["item_id"], r["text"], r["lang"], r["kind"]) for r in found] == [("a", "Train. x", "en", "title")]
