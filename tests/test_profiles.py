"""Interests against arithmetic written out by hand, and equal bytes whatever the order of the rows."""

from __future__ import annotations

import datetime as dt
import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession

from recsys_core import profiles
from recsys_core.events import DEFAULT_WEIGHTS, Weights, overridden, type_weights
from recsys_core.lake import checksum, conform
from recsys_core.tables import TABLES

D = dt.date(2026, 3, 10)
W = type_weights()


def ago(nights: int) -> dt.date:
    return D - dt.timedelta(days=nights)


def day(nights_ago: int, user: str, topic: int, **masses: float) -> dict[str, Any]:
    """A row of user_topic_day; masses by event type, in events. A low rating counts under its own type too, but is one event."""
    total = sum(m for t, m in masses.items() if t != "low_rated")
    row: dict[str, Any] = {n: 0 for n in TABLES["user_topic_day"].names if n.startswith("mass_")}
    row |= {f"mass_{t}_micro": round(m * 1e6) for t, m in masses.items()}
    return row | {
        "ds": ago(nights_ago),
        "model_version": "m",
        "user_key": user,
        "topic_id": topic,
        "mass_micro": round(total * 1e6),
        "n_events": math.ceil(total),
        "n_items": 1,
    }


def item_day(nights_ago: int, user: str, item: str, **counts: int) -> dict[str, Any]:
    """A row of user_item_day; counts by event type."""
    row: dict[str, Any] = {c.name: None if c.nullable else 0 for c in TABLES["user_item_day"].columns}
    row |= {f"n_{t}": n for t, n in counts.items()}
    total = sum(n for t, n in counts.items() if t != "low_rated")
    return row | {
        "ds": ago(nights_ago),
        "user_key": user,
        "item_id": item,
        "n_events": total,
        "last_event_ts": dt.datetime.combine(ago(nights_ago), dt.time(12), dt.UTC),
    }


def topic_of(nights_ago: int, item: str, topic: int, p: float) -> dict[str, Any]:
    return {"ds": ago(nights_ago), "item_id": item, "topic_id": topic, "weight": p, "rank": 1, "model_version": "m"}


def frame(spark: SparkSession, table: str, rows: list[dict[str, Any]]) -> DataFrame:
    return spark.createDataFrame(pa.Table.from_pylist(rows, schema=TABLES[table].arrow_schema()))


# -- scores, all cases in one action -----------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def scores(spark: SparkSession) -> dict[tuple[str, int, str], Any]:
    """(user, topic, horizon) → row, over a few users that each show one rule."""
    rows = [
        day(0, "decay", 1, view=2.0),
        day(7, "decay", 1, purchase=0.5),
        day(90, "window", 1, purchase=9.0),
        day(89, "window", 1, view=1.0),
        day(120, "gone", 1, purchase=9.0),
        day(0, "cross", 1, view=3.0, dislike=1.0),
        day(0, "cross", 2, view=2.0, hide=1.0),
        day(7, "cross", 3, purchase=1.0),
        day(0, "cross", 3, **{"return": 1.0}),
        day(0, "rater", 1, rating=3.0, low_rated=1.0, like=1.0, dislike=2.0, view=5.0),
        day(0, "rater", 2, review=1.0, low_rated=1.0, view=9.0),
    ]
    found = profiles.scores(frame(spark, "user_topic_day", rows), D).collect()
    return {(r.user_key, r.topic_id, r.horizon): r for r in found}


def test_score_is_the_decayed_sum_of_weighted_mass(scores: dict[tuple[str, int, str], Any]) -> None:
    for horizon, half_life in {"1d": 1, "7d": 7, "90d": 90}.items():
        wanted = 2.0 * W["view"] + 0.5 * W["purchase"] * 2 ** (-7 / half_life)
        row = scores["decay", 1, horizon]
        assert row.score_nano == pytest.approx(wanted * 1e9, abs=1)
        assert row.n_eff_nano == pytest.approx((2.0 + 0.5 * 2 ** (-7 / half_life)) * 1e9, abs=1)
    assert scores["decay", 1, "7d"].score_nano == 2_000_000_000 + 1_250_000_000
    assert (scores["decay", 1, "7d"].first_seen_ds, scores["decay", 1, "7d"].last_seen_ds) == (ago(7), D)


def test_window_is_ninety_nights_but_first_seen_looks_further(scores: dict[tuple[str, int, str], Any]) -> None:
    row = scores["window", 1, "90d"]
    assert row.score_nano == pytest.approx(2 ** (-89 / 90) * 1e9, abs=1)
    assert row.n_events == 1
    assert row.first_seen_ds == ago(90)
    assert ("gone", 1, "90d") not in scores


def test_negatives_subtract_and_only_positive_scores_are_interests(scores: dict[tuple[str, int, str], Any]) -> None:
    assert ("cross", 1, "1d") not in scores  # 3 − 3 = 0
    assert ("cross", 2, "1d") not in scores  # 2 − 3 < 0
    assert ("cross", 3, "7d") not in scores  # 5 / 2 − 4 < 0
    assert scores["cross", 3, "90d"].score_nano == pytest.approx((5 * 2 ** (-7 / 90) - 4) * 1e9, abs=1)


def test_sentiment_counts_a_low_rating_once_as_an_objection(scores: dict[tuple[str, int, str], Any]) -> None:
    # three ratings of which one is low, one like, two dislikes: (2 + 1 − 1 − 2) / 6; views say nothing
    assert scores["rater", 1, "1d"].sentiment == 0.0
    assert scores["rater", 2, "1d"].sentiment == -1.0
    assert scores["decay", 1, "1d"].sentiment is None


def test_each_type_fades_at_its_own_pace_and_the_rest_as_ever(spark: SparkSession) -> None:
    own = overridden("[purchase]\nbase_weight = 6\ndecay = 2\n[return]\ndecay = 2\n[view]\ndecay = 0.5\n[rating]\ndecay = 4", "site.toml")
    rows = [
        day(0, "u", 1, view=2.0, purchase=0.25),
        day(14, "u", 1, view=1.0, purchase=0.5, click=2.0, like=0.3),
        day(7, "back", 1, purchase=1.0, click=3.0, **{"return": 1.0}),
        day(28, "rater", 1, rating=1.0, low_rated=1.0),
        day(28, "rater", 2, rating=1.0),
        day(90, "gone", 1, purchase=100.0),
    ]
    found = {
        (r.user_key, r.topic_id, r.horizon): r for r in profiles.scores(frame(spark, "user_topic_day", rows), D, weights=own).collect()
    }
    # 7d: views halve every 3.5 days, purchases every 14, all else every 7; in whole billionths
    wanted = 2.0 + 6 * 0.25 + 1.0 / 16 + 6 * 0.5 / 2 + (1.5 * 2.0 + 3 * 0.3) / 4
    assert found["u", 1, "7d"].score_nano == round(wanted * 1e9) == 6_037_500_000
    # 90d: 45, 180 and 90; 1d: 0.5, 2 and 1
    for horizon, half_life in {"90d": 90, "1d": 1}.items():
        fade = {decay: 2 ** (-14 / (half_life * decay)) for decay in (0.5, 1, 2)}
        wanted = 2.0 + 6 * 0.25 + 1.0 * fade[0.5] + 6 * 0.5 * fade[2] + (1.5 * 2.0 + 3 * 0.3) * fade[1]
        assert found["u", 1, horizon].score_nano == pytest.approx(wanted * 1e9, abs=2)
    # the count of events behind the confidence fades as the horizon says, whatever the types
    assert found["u", 1, "7d"].n_eff_nano == pytest.approx((2.25 + 3.8 / 4) * 1e9, abs=1)
    # bought and sent back: (6 − 4) / √2, clicks halved
    assert found["back", 1, "7d"].score_nano == pytest.approx((2 / 2**0.5 + 4.5 / 2) * 1e9, abs=2)
    # a rating outlives the horizon's half-life, and so does the objection to it: (2 − 6) / 2, never praise
    assert not [key for key in found if key[:2] == ("rater", 1)]
    assert found["rater", 2, "7d"].score_nano == 2.0 / 2 * 1e9
    assert not [key for key in found if key[0] == "gone"]  # the window ends where it did


# -- rows of user_interest ---------------------------------------------------------------------------------------------------------
TOPIC_DAYS = [
    day(0, "u", 1, view=1.5, purchase=1.0),
    day(7, "u", 1, click=0.333333),
    day(0, "u", 2, view=2.0),
    day(7, "u", 3, view=4.0),
    day(0, "v", 2, like=1.0),
]
ITEM_DAYS = [
    item_day(0, "u", "half", view=1),
    item_day(0, "u", "whole", view=1, purchase=1),
    item_day(7, "u", "third", click=1),
    *(item_day(0, "u", f"b{n}", view=1) for n in range(7)),
    item_day(0, "v", "whole", view=1, low_rated=1, rating=1),
]
ITEM_TOPICS = [
    topic_of(0, "half", 1, 0.5),
    topic_of(0, "half", 2, 0.5),
    topic_of(0, "whole", 1, 1.0),
    topic_of(7, "third", 1, 1 / 3),
    topic_of(0, "third", 1, 1.0),  # tonight's topics say nothing about events of a week ago
    *(topic_of(0, f"b{n}", 2, 0.1 + n / 100) for n in range(7)),
]


def interests(spark: SparkSession, parts: int = 1, step: int = 1, weights: Weights = DEFAULT_WEIGHTS) -> pa.Table:
    """user_interest of the night from rows in another order and other partitions."""
    days, items, topics = (
        frame(spark, name, rows[::step]).repartition(parts)
        for name, rows in (("user_topic_day", TOPIC_DAYS), ("user_item_day", ITEM_DAYS), ("item_topic", ITEM_TOPICS))
    )
    return conform(profiles.user_interest(days, items, topics, D, "m", "run", weights).toArrow(), TABLES["user_interest"])


@pytest.fixture(scope="module")
def held(spark: SparkSession) -> pa.Table:
    return interests(spark)


@pytest.fixture(scope="module")
def row_of(held: pa.Table) -> dict[tuple[str, int, str], dict[str, Any]]:
    return {(r["user_key"], r["topic_id"], r["horizon"]): r for r in held.to_pylist()}


def test_score_share_rank_and_confidence(row_of: dict[tuple[str, int, str], dict[str, Any]]) -> None:
    # 7d: topic 1 has 1.5 + 5 + 0.333333 · 1.5 / 2 = 6.75, topic 2 has 2, topic 3 has 4 / 2 = 2; ties go to the lower topic
    total = 6.75 + 2 + 2
    for topic, score, rank, n_eff in ((1, 6.75, 1, 2.5 + 0.333333 / 2), (2, 2.0, 2, 2.0), (3, 2.0, 3, 2.0)):
        row = row_of["u", topic, "7d"]
        assert row["score"] == round(score, 6)
        assert row["share"] == pytest.approx(score / total, abs=1e-6)
        assert row["rank"] == rank
        assert row["confidence"] == pytest.approx(n_eff / (n_eff + 5), abs=1e-6)
    assert [row_of["u", t, "90d"]["rank"] for t in (1, 3, 2)] == [1, 2, 3]  # a week ago counts for more over ninety days
    assert row_of["v", 2, "1d"]["share"] == 1.0


def test_lift_is_the_share_over_the_populations_share_shrunk(row_of: dict[tuple[str, int, str], dict[str, Any]]) -> None:
    everyone = 6.75 + 2 + 2 + 3
    for user, topic, score, total in (("u", 1, 6.75, 10.75), ("u", 2, 2, 10.75), ("v", 2, 3, 3)):
        pi = {1: 6.75, 2: 5.0}[topic] / everyone
        assert row_of[user, topic, "7d"]["lift"] == pytest.approx((score + 5 * pi) / (total * pi + 5 * pi), abs=2e-6)
    # unshrunk it would be 1 / (5 / 13.75) = 2.75
    assert 1 < row_of["v", 2, "7d"]["lift"] < 2.75


def test_evidence_and_rest_sum_to_the_score(held: pa.Table, row_of: dict[tuple[str, int, str], dict[str, Any]]) -> None:
    for row in held.to_pylist():
        evidence = json.loads(row["evidence"])
        assert len(evidence["items"]) <= 5
        assert sum(round(e["weight"] * 1e6) for e in evidence["items"]) + round(evidence["rest"] * 1e6) == round(row["score"] * 1e6)
    assert json.loads(row_of["u", 1, "7d"]["evidence"]) == {
        "items": [
            {"item_id": "whole", "n_events": 2, "weight": 6.0},
            {"item_id": "half", "n_events": 1, "weight": 0.5},
            {"item_id": "third", "n_events": 1, "weight": 0.25},  # 1.5 · ⅓ / 2
        ],
        "rest": 0.0,
    }
    two = json.loads(row_of["u", 2, "7d"]["evidence"])
    assert [e["item_id"] for e in two["items"]] == ["half", "b6", "b5", "b4", "b3"]
    assert two["rest"] == pytest.approx(2.0 - (0.5 + 0.16 + 0.15 + 0.14 + 0.13))
    assert row_of["u", 2, "7d"]["n_items"] == 8


def test_interest_without_items_has_its_whole_score_as_rest(row_of: dict[tuple[str, int, str], dict[str, Any]]) -> None:
    row = row_of["u", 3, "7d"]
    assert json.loads(row["evidence"]) == {"items": [], "rest": 2.0}
    assert (row["n_items"], row["n_events"]) == (0, 4)


def test_evidence_has_sorted_keys_and_no_spaces(held: pa.Table) -> None:
    for text in held["evidence"].to_pylist():
        assert json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False) == text


def test_order_and_partitions_of_the_input_change_no_byte(spark: SparkSession, held: pa.Table) -> None:
    wanted = checksum(held, TABLES["user_interest"].key)
    assert checksum(interests(spark, 5, -1), TABLES["user_interest"].key) == wanted


def test_evidence_fades_with_the_score(spark: SparkSession) -> None:
    own = overridden("[view]\nbase_weight = 2\ndecay = 0.5\n[purchase]\ndecay = 2\n[click]\ndecay = 0.25", "site.toml")
    found = interests(spark, weights=own)
    for row in found.to_pylist():
        evidence = json.loads(row["evidence"])
        assert sum(round(e["weight"] * 1e6) for e in evidence["items"]) + round(evidence["rest"] * 1e6) == round(row["score"] * 1e6)
    row_of = {(r["user_key"], r["topic_id"], r["horizon"]): r for r in found.to_pylist()}
    # a click of a week ago has gone through four half-lives of 7 / 4 days: 1.5 · ⅓ / 16; the score holds nothing besides the three items
    assert json.loads(row_of["u", 1, "7d"]["evidence"]) == {
        "items": [
            {"item_id": "whole", "n_events": 2, "weight": 7.0},
            {"item_id": "half", "n_events": 1, "weight": 1.0},
            {"item_id": "third", "n_events": 1, "weight": 0.03125},
        ],
        "rest": 0.0,
    }
    assert row_of["u", 1, "7d"]["score"] == 8.03125
    assert row_of["u", 3, "7d"]["score"] == 4 * 2.0 / 4
    assert checksum(interests(spark, 5, -1, own), TABLES["user_interest"].key) == checksum(found, TABLES["user_interest"].key)


def test_types_that_fade_alike_take_one_more_power_in_the_plan_not_one_each(spark: SparkSession) -> None:
    days = frame(spark, "user_topic_day", TOPIC_DAYS)

    def powers(text: str) -> int:
        plan = profiles.scores(days, D, weights=overridden(text, "site.toml"))._jdf.queryExecution().optimizedPlan().toString()
        return int(plan.count("POWER("))

    assert powers("") == 6  # three horizons, score and count
    assert powers("purchase.decay = 2") == powers("purchase.decay = 2\nlike.decay = 2\nreturn.decay = 2") == 9


def test_at_most_thirty_topics_and_shares_of_all(spark: SparkSession) -> None:
    days = frame(spark, "user_topic_day", [day(0, "u", t, view=1.0 + t) for t in range(40)])
    none_i, none_t = frame(spark, "user_item_day", []), frame(spark, "item_topic", [])
    rows = [r for r in profiles.user_interest(days, none_i, none_t, D, "m", "r").toArrow().to_pylist() if r["horizon"] == "1d"]
    assert sorted(r["topic_id"] for r in rows) == list(range(10, 40))
    assert sum(r["share"] for r in rows) == pytest.approx(sum(1 + t for t in range(10, 40)) / sum(1 + t for t in range(40)), abs=1e-4)


# -- item weights and pooled vectors -----------------------------------------------------------------------------------------------
def test_item_weights_decay_and_leave_out_what_is_not_wanted(spark: SparkSession) -> None:
    rows = [
        item_day(0, "u", "a", view=1),
        item_day(90, "u", "a", purchase=2),
        item_day(0, "u", "b", view=2, dislike=1),
        item_day(0, "u", "c", rating=1, low_rated=1),
    ]
    found = profiles.item_weights(frame(spark, "user_item_day", rows), D).collect()
    assert [(r.user_key, r.item_id, r.weight) for r in found] == [("u", "a", 1.0 + 2 * 5.0 / 2)]
    own = overridden("[purchase]\nbase_weight = 4\ndecay = 0.5\n[view]\ndecay = 2\n[dislike]\nbase_weight = -1", "site.toml")
    found = profiles.item_weights(frame(spark, "user_item_day", rows), D, weights=own).orderBy("item_id").collect()
    assert [(r.item_id, r.weight) for r in found] == [("a", 1.0 + 2 * 4.0 / 4), ("b", 2.0 - 1.0)]


def weights(*rows: tuple[str, str, float]) -> pa.Table:
    return pa.table({"user_key": [r[0] for r in rows], "item_id": [r[1] for r in rows], "weight": [r[2] for r in rows]})


def test_pooled_vector_is_the_weighted_sum_at_unit_length() -> None:
    rows = (("u", "x", 3.0), ("u", "y", 4.0), ("v", "y", 2.0), ("w", "unknown", 1.0), ("z", "x", 1.0), ("z", "minus_x", 1.0))
    vectors = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    found = profiles.pooled_vectors(weights(*rows), ["x", "y", "minus_x"], vectors)
    assert sorted(found) == ["u", "v"]  # w's item has no vector, z's cancel out
    assert found["u"].dtype == np.float32
    np.testing.assert_array_equal(found["u"], np.array([0.6, 0.8], np.float32))
    np.testing.assert_array_equal(found["v"], np.array([0, 1], np.float32))
    assert profiles.pooled_vectors(weights(("w", "unknown", 1.0)), ["x"], vectors[:1]) == {}
    assert (
        profiles.pooled_vectors(
            weights().cast(pa.schema([("user_key", pa.string()), ("item_id", pa.string()), ("weight", pa.float64())])), [], vectors[:0]
        )
        == {}
    )


def test_order_changes_no_byte_of_pooled_vectors() -> None:
    rng = np.random.default_rng(0)
    ids = [f"i{n}" for n in range(50)]
    vectors = rng.normal(size=(50, 8)).astype(np.float32)
    rows = [(f"u{n % 7}", ids[n * 3 % 50], float(w)) for n, w in enumerate(rng.random(40))]
    mixed, moved = rng.permutation(40), rng.permutation(50)
    one = profiles.pooled_vectors(weights(*rows), ids, vectors)
    two = profiles.pooled_vectors(weights(*(rows[i] for i in mixed)), [ids[i] for i in moved], vectors[moved])
    assert {u: v.tobytes() for u, v in one.items()} == {u: v.tobytes() for u, v in two.items()}


# -- the profile -------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("first", "last", "stage"),
    [(0, 0, "new"), (6, 6, "new"), (7, 7, "lapsing"), (7, 6, "active"), (80, 0, "active"), (80, 29, "lapsing"), (80, 30, "dormant")],
)
def test_lifecycle(first: int, last: int, stage: str) -> None:
    assert profiles.lifecycle(ago(first), ago(last), D) == stage


def test_entropy_of_shares_in_nats() -> None:
    assert profiles.entropy([0.2, 0.2]) == pytest.approx(math.log(2))
    assert profiles.entropy([0.5, 0.25, 0.25]) == pytest.approx(1.5 * math.log(2))
    assert str(profiles.entropy([0.7])) == "0.0"
    assert profiles.entropy([]) == 0.0


def test_drift_is_half_the_l1_distance() -> None:
    assert profiles.drift({1: 0.8, 2: 0.2}, {1: 0.5, 3: 0.5}) == pytest.approx(0.5 * (0.3 + 0.2 + 0.5))
    assert profiles.drift({1: 1.0}, {2: 1.0}) == 1.0
    assert profiles.drift({}, {1: 1.0}) is None
    assert profiles.drift({1: 1.0}, {}) is None


def test_summary_names_the_strongest_topics_in_both_languages() -> None:
    names = {1: ("tea", "茶"), 2: ("games", "游戏"), 4: ("hats", "帽子")}
    english, chinese = profiles.summary({2: 0.25, 1: 0.25, 4: 0.4, 9: 0.1}, names, 12)
    assert english == "Mostly hats (40%), tea (25%), games (25%); 12 events in the last 30 days."
    assert chinese == "主要兴趣：帽子（40%）、茶（25%）、游戏（25%）；最近30天12次行为。"
    assert profiles.summary({}, {}, 3)[0] == "No topic yet; 3 events in the last 30 days."


def test_profile_rows() -> None:
    sessions = pa.table(
        {"ds": [ago(40), ago(29), ago(3), ago(30)], "user_key": ["u", "u", "u", "w"], "n_events": pa.array([4, 5, 1, 2], pa.int64())},
        schema=pa.schema([("ds", pa.date32()), ("user_key", pa.string()), ("n_events", pa.int64())]),
    )
    interest = pa.table(
        {"user_key": ["u"] * 4, "topic_id": [1, 2, 1, 3], "horizon": ["90d", "90d", "7d", "1d"], "share": [0.5, 0.5, 1.0, 1.0]},
    )
    vector = np.array([0.6, 0.8], np.float32)
    rows = profiles.user_profile(sessions, interest, {"u": vector}, {1: ("tea", "茶"), 2: ("hats", "帽子")}, D, "space", "m", "run")
    table = conform(pa.Table.from_pylist(rows, schema=TABLES["user_profile"].arrow_schema()), TABLES["user_profile"])
    u, w = table.to_pylist()
    assert (u["lifecycle"], u["cold_level"], u["n_events_30d"], u["n_topics"], u["top_topic_id"]) == ("active", 3, 6, 2, 1)
    assert (u["entropy"], u["drift_7d"], u["embedding_space"]) == (round(math.log(2), 6), 0.5, "space")
    assert u["vector"] == vector.tolist()
    assert (w["lifecycle"], w["cold_level"], w["n_events_30d"], w["n_topics"], w["top_topic_id"]) == ("dormant", 0, 0, 0, None)
    assert (w["drift_7d"], w["vector"], w["embedding_space"], w["entropy"]) == (None, None, None, 0.0)


def test_nobody_has_no_profile() -> None:
    none = pa.schema([("ds", pa.date32()), ("user_key", pa.string()), ("n_events", pa.int64())]).empty_table()
    assert profiles.user_profile(none, TABLES["user_interest"].arrow_schema().empty_table(), {}, {}, D, "space", None, "run") == []
