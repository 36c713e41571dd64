"""Interests against arithmetic written out by hand, and equal bytes whatever the order of the rows."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from recsys_core import profiles
from recsys_core.declared import Stances
from recsys_core.events import DEFAULT_WEIGHTS, Weights, overridden
from recsys_core.lake import checksum, conform
from recsys_core.profiles import spread
from recsys_core.profiles.clock import encoded
from recsys_core.profiles.interests import NOBODY, Scores, with_lift
from recsys_core.profiles.items import item_parts
from recsys_core.tables import TABLES
from tests.profile_rows import SESSION, D, W, ago, day, item_day, met, table, topic_of, visits


# -- sums and scores, all cases of a rule in one action ----------------------------------------------------------------------------------
def scored(
    days: list[dict[str, Any]], weights: Weights = DEFAULT_WEIGHTS, n_events: int = 0
) -> dict[tuple[str, int, str], SimpleNamespace]:
    """(user, topic, horizon) → score and n_eff of tonight in billionths, first and last night, n_events, sentiment; of positive scores."""
    found = Scores(table("session", visits(days, n_events)), table("user_topic_day", days), met([], []), D, weights)
    users, epoch = found.users.to_pylist(), dt.date(1970, 1, 1)
    return {
        (users[found.user[p]], int(found.topic[p]), h): SimpleNamespace(
            score=found.score[h][0][p] * found.left(h)[p],
            n_eff=found.mass[h][p] * found.left(h)[p],
            first_seen_ds=epoch + dt.timedelta(int(found.first[p])),
            last_seen_ds=epoch + dt.timedelta(int(found.last[p])),
            n_events=found.n_events[p],
            sentiment=found.net[p] / found.stated[p] if found.stated[p] else None,
        )
        for h in profiles.HORIZONS
        for p in np.flatnonzero(found.positive(h))
    }


@pytest.fixture(scope="module")
def scores() -> dict[tuple[str, int, str], SimpleNamespace]:
    """(user, topic, horizon) → row, over a few users that each show one rule."""
    rows = [
        day(0, "decay", 1, view=2.0),
        day(7, "decay", 1, purchase=0.5),
        day(90, "window", 1, purchase=9.0),
        day(89, "window", 1, view=1.0),
        day(0, "window", 2, view=1.0),
        day(120, "gone", 1, purchase=9.0),
        day(0, "cross", 1, view=3.0, dislike=1.0),
        day(0, "cross", 2, view=2.0, hide=1.0),
        day(7, "cross", 3, purchase=1.0),
        day(0, "cross", 3, **{"return": 1.0}),
        day(0, "rater", 1, rating=3.0, low_rated=1.0, like=1.0, dislike=2.0, view=5.0),
        day(0, "rater", 2, review=1.0, low_rated=1.0, view=9.0),
    ]
    return scored(rows)


def test_score_is_the_decayed_sum_of_weighted_mass(scores: dict[tuple[str, int, str], SimpleNamespace]) -> None:
    for horizon, half_life in {"1d": 1, "7d": 7, "90d": 90}.items():
        wanted = 2.0 * W["view"] + 0.5 * W["purchase"] * 2 ** (-7 / half_life)
        row = scores["decay", 1, horizon]
        assert row.score == pytest.approx(wanted * 1e9, abs=1)
        assert row.n_eff == pytest.approx((2.0 + 0.5 * 2 ** (-7 / half_life)) * 1e9, abs=1)
    assert scores["decay", 1, "7d"].score == 2_000_000_000 + 1_250_000_000
    assert (scores["decay", 1, "7d"].first_seen_ds, scores["decay", 1, "7d"].last_seen_ds) == (ago(7), D)


def test_window_is_ninety_nights_but_first_seen_looks_further(scores: dict[tuple[str, int, str], SimpleNamespace]) -> None:
    row = scores["window", 1, "90d"]
    assert row.score == pytest.approx(2 ** (-89 / 90) * 1e9, abs=1)
    assert row.n_events == 1
    assert row.first_seen_ds == ago(90)
    assert not [key for key in scores if key[0] == "gone"]


def test_negatives_subtract_and_only_positive_scores_are_interests(scores: dict[tuple[str, int, str], SimpleNamespace]) -> None:
    assert ("cross", 1, "1d") not in scores  # 3 − 3 = 0
    assert ("cross", 2, "1d") not in scores  # 2 − 3 < 0
    assert ("cross", 3, "7d") not in scores  # 5 / 2 − 4 < 0
    assert scores["cross", 3, "90d"].score == pytest.approx((5 * 2 ** (-7 / 90) - 4) * 1e9, abs=1)


def test_sentiment_counts_a_low_rating_once_as_an_objection(scores: dict[tuple[str, int, str], SimpleNamespace]) -> None:
    # three ratings of which one is low, one like, two dislikes: (2 + 1 − 1 − 2) / 6; views say nothing
    assert scores["rater", 1, "1d"].sentiment == 0.0
    assert scores["rater", 2, "1d"].sentiment == -1.0
    assert scores["decay", 1, "1d"].sentiment is None


def test_each_type_fades_at_its_own_pace_and_the_rest_as_ever() -> None:
    own = overridden("[purchase]\nbase_weight = 6\ndecay = 2\n[return]\ndecay = 2\n[view]\ndecay = 0.5\n[rating]\ndecay = 4", "site.toml")
    rows = [
        day(0, "u", 1, view=2.0, purchase=0.25),
        day(14, "u", 1, view=1.0, purchase=0.5, click=2.0, like=0.3),
        day(7, "back", 1, purchase=1.0, click=3.0, **{"return": 1.0}),
        day(0, "back", 2, view=1.0),
        day(7, "away", 1, purchase=1.0, click=3.0, **{"return": 1.0}),
        day(28, "rater", 1, rating=1.0, low_rated=1.0),
        day(28, "rater", 2, rating=1.0),
        day(0, "rater", 3, view=1.0),
        day(90, "gone", 1, purchase=100.0),
    ]
    found = scored(rows, weights=own)
    # 7d: views halve every 3.5 days, purchases every 14, all else every 7; in whole billionths
    wanted = 2.0 + 6 * 0.25 + 1.0 / 16 + 6 * 0.5 / 2 + (1.5 * 2.0 + 3 * 0.3) / 4
    assert found["u", 1, "7d"].score == round(wanted * 1e9) == 6_037_500_000
    # 90d: 45, 180 and 90; 1d: 0.5, 2 and 1
    for horizon, half_life in {"90d": 90, "1d": 1}.items():
        fade = {decay: 2 ** (-14 / (half_life * decay)) for decay in (0.5, 1, 2)}
        wanted = 2.0 + 6 * 0.25 + 1.0 * fade[0.5] + 6 * 0.5 * fade[2] + (1.5 * 2.0 + 3 * 0.3) * fade[1]
        assert found["u", 1, horizon].score == pytest.approx(wanted * 1e9, abs=2)
    # the count of events behind the confidence fades as the horizon says, whatever the types
    assert found["u", 1, "7d"].n_eff == pytest.approx((2.25 + 3.8 / 4) * 1e9, abs=1)
    # bought and sent back: (6 − 4) / √2, clicks halved; while a user is away everything is
    assert found["back", 1, "7d"].score == pytest.approx((2 / 2**0.5 + 4.5 / 2) * 1e9, abs=2)
    assert found["away", 1, "7d"].score == (2 + 4.5) / 2 * 1e9
    # a rating outlives the horizon's half-life, and so does the objection to it: (2 − 6) / 2, never praise
    assert not [key for key in found if key[:2] == ("rater", 1)]
    assert found["rater", 2, "7d"].score == 2.0 / 2 * 1e9
    assert not [key for key in found if key[0] == "gone"]  # the window ends where it did


def test_what_a_user_does_lets_the_past_fade_as_days_do() -> None:
    """Of 50 events a night: a night ago 50 have come since, and half of a half-life of 100 events has passed."""
    own = overridden("[purchase]\ndecay = 2\n", "site.toml")
    rows = [day(0, "u", 1, view=1.0), day(1, "u", 2, view=1.0, purchase=1.0), day(2, "u", 3, view=1.0), day(2, "other", 3, view=1.0)]
    found = scored(rows, weights=own, n_events=50)
    for horizon, half_life in profiles.HORIZONS.items():
        assert half_life.events == 100
        one = 1 / half_life.days + 0.5
        assert found["u", 1, horizon].score == 1e9
        assert found["u", 2, horizon].score == pytest.approx((2**-one + 5 * 2 ** (-one / 2)) * 1e9, abs=2)
        assert found["u", 3, horizon].score == pytest.approx(2 ** (-2 * one) * 1e9, abs=1)
        assert found["u", 3, horizon].n_eff == pytest.approx(2 ** (-2 * one) * 1e9, abs=1)
        assert found["other", 3, horizon].score == pytest.approx(2 ** (-2 / half_life.days) * 1e9, abs=1)  # others' events are no clock


def test_an_item_counts_by_how_long_it_is_looked_at_and_up_to_a_cap() -> None:
    own = overridden("[purchase]\ndecay = 2\n", "site.toml")
    rows = [
        item_day(0, "u", "untold", view=2),
        item_day(0, "u", "half a minute", view=2) | {"dwell_s": 60.0},
        item_day(0, "u", "glance", view=2) | {"dwell_s": 0.0},
        item_day(0, "u", "long", view=1, click=1) | {"dwell_s": 90.0},
        item_day(0, "u", "no view", click=1) | {"dwell_s": 90.0},
        item_day(0, "u", "much", view=4, purchase=4) | {"dwell_s": 120.0},
        item_day(0, "u", "against", **{"return": 9}),
    ]
    linear, capped = item_parts(table("user_item_day", rows), own)
    found = {row["item_id"]: (linear[0, n], *capped[:, n]) for n, row in enumerate(rows)}
    assert found["untold"] == (2, 2, 0)
    assert found["half a minute"] == (2, 2, 0)
    assert found["glance"] == (2, 0, 0)
    assert found["long"] == (2.5, 2 * 90 / 120 + 1.5, 0)
    assert found["no view"] == (1.5, 1.5, 0)
    # 4 views and 4 purchases, 24 together, are scaled to one whole funnel: 1 + 1.5 + 1.5 + 3 + 5 = 12
    assert found["much"] == pytest.approx((4, 2, 10))
    assert found["against"] == (-36, -12, 0)


# -- rows of user_interest ---------------------------------------------------------------------------------------------------------
TOPIC_DAYS = [
    day(0, "u", 1, view=1.5, purchase=1.0),
    day(7, "u", 1, click=0.333333),
    day(0, "u", 2, view=2.0),
    day(7, "u", 3, view=4.0),
    day(0, "v", 2, like=1.0) | {"n_events": 2},
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


def interests(step: int = 1, weights: Weights = DEFAULT_WEIGHTS) -> pa.Table:
    """user_interest of the night, from rows in another order."""
    days, items, sessions = table("user_topic_day", TOPIC_DAYS[::step]), met(ITEM_DAYS[::step], ITEM_TOPICS), visits(TOPIC_DAYS)[::step]
    found = profiles.user_interest(days, items, table("session", sessions), D, "m", "run", weights)
    return conform(found, TABLES["user_interest"])


@pytest.fixture(scope="module")
def held() -> pa.Table:
    return interests()


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


def test_order_of_the_input_changes_no_byte(held: pa.Table) -> None:
    assert checksum(interests(-1)) == checksum(held)


def test_ranges_of_users_made_by_spark_give_the_same_rows(spark: SparkSession) -> None:
    """Interests and weights of items, whatever the ranges; with one who only declared, and one who mutes; from rows joined or not."""
    prior = pa.table({"user_key": ["v", "new"], "topic_id": [3, 1], "weight": [1.0, 1.0]})
    muted, days, items = frozenset({("u", 2)}), table("user_topic_day", TOPIC_DAYS), table("user_item_day", ITEM_DAYS)
    own, sessions = overridden("[view]\ndecay = 0.5", "site.toml"), table("session", visits(TOPIC_DAYS, 30)).select(SESSION.names)
    topics, bounds = table("item_topic", ITEM_TOPICS), [spread.ranges(3), [(None, "o"), ("o", "v"), ("v", None)]]

    def task(number: int, users: spread.Users) -> list[Any]:
        users = bounds[1][number]  # of these keys, which are no hashes
        visited, topical, met_items = (spread.within(rows, users) for rows in (sessions, days, items))
        found = Scores(visited, topical, met_items, D, own, Stances(spread.within(prior, users), muted), topics)
        return [[[*of, n] for of, n in found.population().items()], found.without_lift("m", "run").to_pylist()]

    here = profiles.user_interest(days, met(ITEM_DAYS, ITEM_TOPICS), sessions, D, "m", "run", own, Stances(prior, muted))
    whole = Scores(sessions, days, items, D, own, Stances(prior, muted), topics)
    parts, found = [whole.without_lift("m", "run").slice(0, 0)], Counter[tuple[int, str]]()
    for population, rows in spread.in_tasks(spark, lambda number, users: json.loads(json.dumps(task(number, users), default=str)), 3):
        found.update({(topic, horizon): n for topic, horizon, n in population})
        dated = [r | {d: dt.date.fromisoformat(r[d]) for d in ("ds", "first_seen_ds", "last_seen_ds")} for r in rows]
        parts.append(pa.Table.from_pylist(dated, schema=parts[0].schema))
    assert found == whole.population()
    assert [p.num_rows > 0 for p in parts[1:]] == [True, True, True]
    there = conform(with_lift(pa.concat_tables(parts), found), TABLES["user_interest"])
    assert checksum(there) == checksum(here)
    assert {("new", 1), ("v", 3)} <= set(zip(here["user_key"].to_pylist(), here["topic_id"].to_pylist(), strict=True))
    weights = profiles.item_weights(items, sessions, D, own).to_pylist()
    assert [
        r
        for users in bounds[1]
        for r in profiles.item_weights(spread.within(items, users), spread.within(sessions, users), D, own).to_pylist()
    ] == weights


def test_every_user_is_in_one_range() -> None:
    users = pa.table({"user_key": ["", "0", "3fff", "4000", "4000a", "7", "7fff", "8000", "ffff", "ffffe", "zz"]})
    for n in (1, 2, 3, 4, 7, 1000):
        for rows in (users, encoded(users, "user_key")):
            assert [u for of in spread.ranges(n) for u in spread.within(rows, of)["user_key"].to_pylist()] == users["user_key"].to_pylist()


def test_nights_before_the_window_say_only_when_a_topic_was_first_seen() -> None:
    days = [day(0, "u", 1, view=2.0), day(100, "u", 1, view=9.0), day(200, "u", 1, view=9.0), day(300, "u", 2, view=9.0)]
    sessions, none = table("session", visits(days)), table("user_item_day", [])
    whole = Scores(sessions, table("user_topic_day", days), none, D, topics=table("item_topic", []))
    before = table("user_topic_day", days[2:]).select(["ds", "user_key", "topic_id"])
    parted = Scores(sessions, table("user_topic_day", days[:2]), none, D, topics=table("item_topic", []), before=before)
    rows = [with_lift(s.without_lift("m", "r"), s.population()) for s in (whole, parted)]
    assert rows[0].to_pylist() == rows[1].to_pylist()


def test_evidence_fades_with_the_score() -> None:
    own = overridden("[view]\nbase_weight = 2\ndecay = 0.5\n[purchase]\ndecay = 2\n[click]\ndecay = 0.25", "site.toml")
    found = interests(weights=own)
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
    assert checksum(interests(-1, own)) == checksum(found)


def test_at_most_thirty_topics_and_shares_of_all() -> None:
    days = [day(0, "u", t, view=100.0 + t) for t in range(35)]
    rows = [r for r in held_rows(days) if r["horizon"] == "1d"]
    assert sorted(r["topic_id"] for r in rows) == list(range(5, 35))
    assert sum(r["share"] for r in rows) == pytest.approx(sum(range(105, 135)) / sum(range(100, 135)), abs=1e-4)


# -- what is an interest -----------------------------------------------------------------------------------------------------------
def held_rows(
    days: list[dict[str, Any]],
    items: list[dict[str, Any]] | None = None,
    topics: list[dict[str, Any]] | None = None,
    ds: dt.date = D,
    stances: Stances = NOBODY,
    n_events: int = 0,
    clock: list[dict[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Rows of user_interest of `ds`; the clock is that of `days` unless another one is given."""

    def until(rows: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
        return [row for row in rows or [] if row["ds"] <= ds]

    facts = table("user_topic_day", until(days)), met(until(items), until(topics)), table("session", until(clock or visits(days, n_events)))
    return conform(profiles.user_interest(*facts, ds, "m", "r", stances=stances), TABLES["user_interest"]).to_pylist()


def test_evidence_is_faithful() -> None:
    """Without an item's events the score is lower by just what the evidence says; without other ones it stays, to the last digit."""
    topics = [topic_of(n, item, t, p) for n in (0, 3) for item in ("a", "b", "c") for t, p in ((1, 0.7), (2, 0.3))]
    items = [
        item_day(0, "u", "a", view=3, purchase=1) | {"dwell_s": 200.0},
        item_day(3, "u", "a", view=20, click=9),  # beyond the cap
        item_day(3, "u", "b", view=2, like=1) | {"dwell_s": 3.0},
        item_day(0, "u", "c", view=1, hide=1),
        item_day(0, "v", "a", view=2),
    ]
    clock = visits(items, 40)

    def told(left_out: tuple[str, str] | None) -> dict[tuple[str, int, str], dict[str, Any]]:
        kept = [r for r in items if (r["user_key"], r["item_id"]) != left_out]
        days = {}
        for ds, user in sorted({(r["ds"], r["user_key"]) for r in kept}):
            for t, p in ((1, 0.7), (2, 0.3)):
                mine = [r for r in kept if (r["ds"], r["user_key"]) == (ds, user)]
                mass = {n: sum(p * r[f"n_{n}"] for r in mine) for n in ("view", "click", "purchase", "like", "hide")}
                extra = {"search": 5.0} if user == "u" else {}
                days[ds, user, t] = day((D - ds).days, user, t, **mass, **extra) | {"n_events": 99}
        rows = held_rows([*days.values()], kept, topics, clock=clock)
        return {(r["user_key"], r["topic_id"], r["horizon"]): r for r in rows}

    whole, parts = told(None), {item: told(("u", item)) for item in ("a", "b")}
    for key, row in whole.items():
        evidence = json.loads(row["evidence"])
        assert row["score"] == pytest.approx(sum(e["weight"] for e in evidence["items"]) + evidence["rest"], abs=1e-9)
        for item, without in parts.items():
            claimed = next((e["weight"] for e in evidence["items"] if e["item_id"] == item), 0.0) if key[0] == "u" else 0.0
            assert (row["score"] - without[key]["score"] if key in without else row["score"]) == pytest.approx(claimed, abs=2e-6)
    a = json.loads(whole["u", 1, "7d"]["evidence"])["items"][0]
    assert a["weight"] == pytest.approx(0.7 * (3 * 2 * (200 / 3) / (200 / 3 + 30) + 5 + 12 * 2 ** (-3 / 7 - 40 / 100)), abs=1e-6)
    others = told(("v", "a"))
    assert {k: r["evidence"] for k, r in whole.items() if k[0] == "u"} == {k: r["evidence"] for k, r in others.items()}


def test_nothing_moves_while_a_user_is_away() -> None:
    """Ranks and shares of the user's last night stay for 90 nights, whatever leaves the window of others; then there are none."""
    days = [day(n, "u", t, view=1.0 + t + n % 3, purchase=n % 2) for n in (60, 61, 75, 100, 130, 149) for t in range(4)]
    days += [day(n, "here", 1, view=2.0) for n in (0, 60)]
    rows: dict[int, dict[tuple[int, str], dict[str, Any]]] = {}
    for nights_ago in (60, 1, -29, -30):
        found = held_rows(days, ds=ago(nights_ago), n_events=7)
        rows[nights_ago] = {(r["topic_id"], r["horizon"]): r for r in found if r["user_key"] == "u"}
    then, now, last = rows[60], rows[1], rows[-29]
    assert len(then) == 12
    for later in (now, last):
        assert {k: (r["rank"], r["share"], r["n_items"], r["n_events"]) for k, r in later.items()} == {
            k: (r["rank"], r["share"], r["n_items"], r["n_events"]) for k, r in then.items()
        }
    for topic in range(4):
        assert now[topic, "90d"]["score"] == pytest.approx(then[topic, "90d"]["score"] * 2 ** (-59 / 90), abs=1e-6)
        assert last[topic, "7d"]["confidence"] < now[topic, "7d"]["confidence"] < then[topic, "7d"]["confidence"]
    assert rows[-30] == {}


def test_interests_enter_at_two_hundredths_and_stay_down_to_one() -> None:
    """Shares of 1d by night, the oldest first, of which the last one makes up all but a billionth: 3,000 events a night."""
    courses = {
        "enters": ([0.015, 0.021], True),
        "between from the first": ([0.015, 0.012], False),
        "stays": ([0.03, 0.012, 0.011], True),
        "leaves": ([0.03, 0.009, 0.015], False),
        "comes back": ([0.03, 0.009, 0.021], True),
        "long ago": ([0.03, *[0.012] * 7], False),  # the replay begins seven nights back
        "seven nights ago": ([0.03, *[0.012] * 6], True),
    }
    days = []
    for user, (shares, _) in courses.items():
        for n, share in enumerate(reversed(shares)):
            days += [day(n, user, 1, view=100 * share) | {"n_events": 5}, day(n, user, 2, view=100 * (1 - share))]
    found = held_rows(days, n_events=3000)
    assert {user: any((r["user_key"], r["topic_id"], r["horizon"]) == (user, 1, "1d") for r in found) for user in courses} == {
        user: held for user, (_, held) in courses.items()
    }
    # What is not held is in the sum of shares all the same.
    assert next(r["share"] for r in found if (r["user_key"], r["horizon"]) == ("leaves", "1d")) == pytest.approx(0.985, abs=1e-6)


def test_an_interest_needs_two_items_or_searches_or_the_users_word() -> None:
    topics = [topic_of(0, i, t, 0.5) for i in ("a", "b") for t in (1, 2)]
    items = [
        item_day(0, u, i, view=3) for u, i in (("one", "a"), ("two", "a"), ("two", "b"), ("mixed", "a"), ("told", "a"), ("muted", "a"))
    ]
    items.append(item_day(0, "muted", "b", view=3))
    days = [
        *(day(0, u, t, view=1.5) | {"n_events": 3} for u in ("one", "told") for t in (1, 2)),
        *(day(0, u, t, view=3.0) | {"n_events": 6} for u in ("two", "muted") for t in (1, 2)),
        day(0, "mixed", 1, view=1.5, search=1.0) | {"n_events": 4},
        day(0, "mixed", 2, view=1.5) | {"n_events": 3},
        day(0, "asks", 1, search=1.5) | {"n_events": 2},
        day(0, "asks", 2, search=0.5) | {"n_events": 1},
    ]
    prior = pa.table({"user_key": ["told", "new", "new"], "topic_id": [1, 1, 2], "weight": [1.0, 0.75, 0.25]})
    found = held_rows(days, items, topics, stances=Stances(prior, frozenset({("muted", 1), ("nobody", 2)})))
    held = {(r["user_key"], r["topic_id"]): r for r in found if r["horizon"] == "90d"}
    assert sorted(held) == [("asks", 1), ("mixed", 1), ("muted", 2), ("new", 1), ("new", 2), ("told", 1), ("two", 1), ("two", 2)]
    assert {r["horizon"] for r in found if r["user_key"] in ("told", "new")} == {"90d"}  # what was declared is of the long run
    # What is muted is in no share and no rank.
    assert (held["muted", 2]["share"], held["muted", 2]["rank"], held["two", 2]["share"]) == (1.0, 1, 0.5)
    # All that is declared counts like one item on one night at most: 12 beside 1.5 of the view of an item.
    assert json.loads(held["told", 1]["evidence"]) == {
        "declared": 12.0,
        "items": [{"item_id": "a", "n_events": 3, "weight": 1.5}],
        "rest": 0.0,
    }
    assert (held["told", 1]["score"], held["told", 1]["share"]) == (13.5, 0.9)
    new = held["new", 1]
    assert (new["score"], new["share"], new["n_events"], new["n_items"], new["confidence"]) == (9.0, 0.75, 0, 0, 0.0)
    assert (new["first_seen_ds"], new["last_seen_ds"]) == (D, D)
