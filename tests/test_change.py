"""What changed about interests: literal users over months of nights, found in any order of rows."""

from __future__ import annotations

import datetime as dt
import doctest
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from benchmarks import delay
from jobs.compare import compare
from recsys_core import change
from recsys_core.declared import NOBODY, Stances
from recsys_core.lake import Lake, Stamp
from recsys_core.tables import TABLES

D = dt.date(2026, 6, 30)
MICRO = 1_000_000
Plan = Callable[[int], dict[int, float]]  # nights before D → topic → events


def every(step: int, plan: Plan) -> Plan:
    """The plan on every step-th night."""
    return lambda age: plan(age) if age % step == 0 else {}


def table(rows: list[tuple[str, int, float]]) -> pa.Table:
    users, topics, events = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {
            "user_key": pa.array(users, pa.string()),
            "topic_id": pa.array(topics, pa.int64()),
            "micro": pa.array([round(e * MICRO) for e in events], pa.int64()),
        }
    )


def nights(users: dict[str, Plan], first: int = 120, shuffle: int | None = None) -> list[tuple[int, pa.Table]]:
    """Nights of the users from `first` nights ago, the newest first; rows in a seeded order."""
    found = []
    for age in range(first):
        rows = [(user, topic, events) for user, plan in users.items() for topic, events in plan(age).items()]
        if shuffle is not None:
            rows = [rows[i] for i in np.random.default_rng([shuffle, age]).permutation(len(rows))]
        if rows:
            found.append((age, table(rows)))
    return found


def told(users: dict[str, Plan], first: int = 120, shuffle: int | None = None) -> pa.Table:
    weeks = change.weeks_of(nights(users, first, shuffle))
    return change.rows(weeks, change.changes(weeks), D)


def between(newest: int, oldest: int, inside: dict[int, float], outside: dict[int, float]) -> Plan:
    return lambda age: inside if newest <= age < oldest else outside


USERS: dict[str, Plan] = {
    "crumbs": between(0, 7, {1: 4, 2: 3, 3: 1}, {1: 7.6, 2: 0.1, 3: 0.3}),  # soft crumbs of topic 2 before are no touch
    "few": every(7, between(0, 7, {2: 1}, {1: 1})),
    "new": between(0, 7, {1: 5, 2: 3}, {1: 8}),
    "returned": between(0, 7, {1: 5, 2: 3}, {1: 8}),
    "rising": between(0, 7, {1: 3, 2: 5}, {1: 6, 2: 2}),
    "silent": between(0, 28, {}, {1: 4, 2: 4}),
    "steady": lambda age: {1: 4 + age % 2, 2: 4 - age % 2},
    "steady too": lambda age: {1: 5 - age % 3, 3: 4 + age % 3},
    "turned": every(2, between(0, 7, {2: 4}, {1: 4})),
}
USERS["returned"] = lambda age: {1: 2, 2: 6} if 60 <= age < 90 else {1: 5, 2: 3} if age < 7 else {1: 8}


def of(rows: pa.Table) -> dict[str, dict[int, str]]:
    found: dict[str, dict[int, str]] = {}
    for r in rows.to_pylist():
        found.setdefault(r["user_key"], {})[r["topic_id"]] = r["change"]
    return found


def test_worked_examples() -> None:
    found = doctest.testmod(change, extraglobs={"np": np})
    assert found.attempted > 0
    assert found.failed == 0


def test_classes_of_literal_users() -> None:
    rows = told(USERS)
    assert of(rows) == {
        "crumbs": {1: "falling", 2: "new"},
        "new": {1: "falling", 2: "new"},
        "returned": {1: "falling", 2: "returned"},
        "rising": {1: "falling", 2: "rising"},
        "turned": {1: "lost", 2: "new"},
    }
    assert rows.schema == TABLES["user_interest_change"].arrow_schema()
    assert (
        rows.select(["user_key", "topic_id"]).to_pylist()
        == rows.sort_by([("user_key", "ascending"), ("topic_id", "ascending")]).select(["user_key", "topic_id"]).to_pylist()
    )
    (row,) = (r for r in rows.to_pylist() if (r["user_key"], r["topic_id"]) == ("rising", 2))
    assert (row["share_prev"], row["share_now"], row["compared_ds"]) == (0.25, 0.625, D - dt.timedelta(days=7))
    assert row["z"] >= change.Z


def test_nothing_is_new_without_a_history() -> None:
    """New and returned need four weeks before the week that is now."""
    assert of(told(USERS, 32))["new"] == {1: "falling", 2: "rising"}
    assert of(told(USERS, 36))["new"] == {1: "falling", 2: "new"}
    assert of(told(USERS, 7)) == {}  # nothing to compare with


def test_away_is_not_absent() -> None:
    """Who comes back after five weeks without any event has not returned to a topic: the topic was never away alone."""

    def away(age: int) -> dict[int, float]:
        return {1: 1, 2: 7} if age < 7 else {} if age < 42 else {1: 7, 2: 1}

    assert of(told(USERS | {"away": away}))["away"] == {1: "falling", 2: "rising"}


def test_order_of_rows_changes_nothing() -> None:
    assert told(USERS, shuffle=1).equals(told(USERS, shuffle=2))


def test_objections_are_no_attention() -> None:
    names = change.COLUMNS
    rows: list[dict[str, Any]] = [dict.fromkeys(names, 0) | {"user_key": "u", "topic_id": t, "mass_micro": 3 * MICRO} for t in (1, 2, 3)]
    rows[1] |= {"mass_hide_micro": MICRO, "mass_low_rated_micro": MICRO}
    rows[2] |= {"mass_dislike_micro": 3 * MICRO}
    found = change.attention(pa.Table.from_pylist(rows))
    assert found.to_pylist() == [{"user_key": "u", "topic_id": 1, "micro": 3 * MICRO}, {"user_key": "u", "topic_id": 2, "micro": MICRO}]


def test_unseen_and_muted_topics_are_left_out() -> None:
    weeks = change.weeks_of(nights(USERS))
    rows = change.rows(weeks, change.changes(weeks), D, frozenset({1}), {("new", 2), ("rising", 9)})
    assert of(rows) == {
        user: {2: word} for user, word in (("crumbs", "new"), ("returned", "returned"), ("rising", "rising"), ("turned", "new"))
    }


def test_visits_to_one_topic_are_no_independent_events() -> None:
    """Events by twos, threes … each visit on one topic: the design effect is about the size of a visit."""
    rng = np.random.default_rng(0)
    for size in (1, 4):
        first = rng.binomial(2, 0.5, (56, 200))  # of two visits a night, those to topic 1
        of_night = [
            (age, table([(f"u{u:03d}", t, n * size) for u in range(200) for t, n in ((1, first[age, u]), (2, 2 - first[age, u])) if n]))
            for age in range(56)
        ]
        assert change.design_effect(change.weeks_of(of_night)) == pytest.approx(size, rel=0.1)


def test_slope_is_the_median_of_all_pairs_of_weeks() -> None:
    """A share that grows by .1 a week, but for one wild week, and a week without events."""
    shares = {0: 0.8, 1: 0.7, 2: 0.6, 3: 1.0, 5: 0.3, 6: 0.2, 7: 0.1}
    weeks = change.weeks_of([(7 * w, table([("u", 1, 10 * s), ("u", 2, 10 - 10 * s)])) for w, s in shares.items()])
    assert change.slopes(weeks, np.array([0, 1])) == pytest.approx([0.1, -0.1])


def test_planted_switches_are_told_in_a_week() -> None:
    """On a shop of its own: ≥ 80 % of the switches of active users within 7 nights, ≤ 5 % of steady topics a month; not in random order."""
    shop = delay.shop(31, 300, 12 * 300)
    told_on = delay.alarms(shop, delay.ours())
    found = delay.delays(shop, told_on)[delay.active(shop, 20)]
    print(f"{np.mean(found <= 7):.1%} of {len(found)} switches, false alarms {delay.false_alarms(shop, told_on):.1%}")
    assert len(found) > 20
    assert np.mean(found <= 7) >= 0.8
    assert delay.false_alarms(shop, told_on) <= 0.05
    mixed = replace(shop, mass=np.random.default_rng(0).permutation(shop.mass))
    assert np.mean(delay.delays(mixed, delay.alarms(mixed, delay.ours()))[delay.active(shop, 20)] <= 7) <= 0.2


class SmallNight:
    """What the job asks of a Night, over a real lake."""

    topics, sensitive, ds = SimpleNamespace(model_version="topics-1"), frozenset({1}), D

    def __init__(self, lake: Lake, muted: frozenset[tuple[str, int]]) -> None:
        self.lake, self.stances = lake, Stances(NOBODY.prior, muted)

    def nights(self, name: str) -> list[dt.date]:
        return self.lake.nights(name, model_version="topics-1")

    def write(self, name: str, rows: pa.Table) -> None:
        self.lake.write(name, D, rows, Stamp("run", "hash"))


def test_job_over_a_lake(tmp_path: Path) -> None:
    """The job tells what the functions tell, without what is sensitive or muted."""
    lake, names = Lake(str(tmp_path)), TABLES["user_topic_day"].names
    for age, rows in nights(USERS, 70):
        ds = D - dt.timedelta(days=age)
        full = [
            dict.fromkeys(names, 0)
            | {"ds": ds, "model_version": "topics-1", "user_key": r["user_key"], "topic_id": r["topic_id"], "mass_micro": r["micro"]}
            for r in rows.to_pylist()
        ]
        facts = pa.Table.from_pylist(full, schema=TABLES["user_topic_day"].arrow_schema())
        lake.write("user_topic_day", ds, facts, Stamp("facts", "hash"), model_version="topics-1")
    compare(SmallNight(lake, frozenset({("new", 2)})))  # type: ignore[arg-type]
    weeks = change.weeks_of(nights(USERS, 70))
    assert lake.read("user_interest_change", [D]).equals(change.rows(weeks, change.changes(weeks), D, {1}, {("new", 2)}))
