"""Weights of event types: those that lead somewhere are found, noise changes nothing, and nights use what was better."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jobs.night import Night
from jobs.runner import Runner
from jobs.settings import Settings
from recsys_core import event_weights, registry
from recsys_core.events import COUNTED_TYPES, DEFAULT_WEIGHTS, FITTED_WEIGHTS, overridden
from recsys_core.lake import Stamp
from recsys_core.tables import TABLES
from recsys_core.topics import topic_model
from recsys_core.topics.spherical import unit
from recsys_core.topics.tables import Topics, artifacts
from tests.profile_rows import D, ago, day

SCHEMA = TABLES["user_topic_day"].arrow_schema()
VIEW, PURCHASE, HIDE = (COUNTED_TYPES.index(t) for t in ("view", "purchase", "hide"))


def shop(users: int = 300, seed: int = 0, shuffled: bool = False) -> list[dict[str, Any]]:
    """Three weeks of users who view three of six topics and buy in another: and come back to what they bought."""
    rng, found = np.random.default_rng(seed), []
    for user in range(users):
        bought = int(rng.integers(6))
        for week in (2, 1, 0):
            again = int(rng.integers(6)) if shuffled else bought
            viewed = rng.choice(6, 3, replace=False).tolist()
            bought = int(rng.integers(6))
            counts: dict[int, dict[str, float]] = {again: {"click": 2.0}}
            for topic in viewed:
                counts.setdefault(topic, {})["view"] = 0.3
            counts.setdefault(bought, {})["purchase"] = 0.3
            found += [day(7 * week + 3, f"u{user:03}", topic, **of) for topic, of in counts.items()]
    return found


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, SCHEMA)


def found_at(rows: pa.Table, weeks_ago: int) -> event_weights.Weeks:
    return event_weights.weeks(rows.select(event_weights.COLUMNS), ago(7 * weeks_ago), DEFAULT_WEIGHTS.decay)


def test_what_was_touched_and_what_came_after() -> None:
    rows = [
        day(7, "a", 1, view=2.0),
        day(14, "a", 1, view=2.0),  # a half-life before
        day(14, "a", 2, purchase=1.0, hide=1.0),
        day(3, "a", 2, view=1.0),  # comes after
        day(2, "a", 1, view=0.3),  # too little to count
        day(7, "b", 1, view=1.0),
        day(1, "b", 1, view=1.0),  # one topic only: nothing to choose between
        day(7, "c", 1, view=1.0),
        day(7, "c", 2, view=1.0),  # did not come back
        day(40, "d", 1, view=1.0),  # before the window
    ]
    found = found_at(table(rows), 1)
    assert found.n_users == 1
    assert found.mass[:, VIEW].tolist() == [3.0, 0.0]
    assert found.mass[:, PURCHASE].tolist() == [0.0, 0.5]
    assert found.mass[:, HIDE].tolist() == [0.0, 0.5]
    assert found.touched.tolist() == [False, True]
    weights = np.zeros(len(COUNTED_TYPES))
    weights[[VIEW, PURCHASE, HIDE]] = 1.0, 4.0, -3.0
    worth = event_weights.FLOOR + np.array([3.0, 0.5])
    assert event_weights.log_likelihood(found, weights) == pytest.approx([np.log(worth[1] / worth.sum())])
    assert event_weights.ndcg(found, weights) == pytest.approx([1 / np.log2(3)])  # 3.0 before 0.5: the touched one is second
    again = found_at(table(rows[::-1]), 1)
    assert np.array_equal(again.mass, found.mass)


def test_the_type_that_leads_somewhere_gains_and_noise_changes_nothing() -> None:
    rows = table(shop())
    learnt, judged = found_at(rows, 2), found_at(rows, 1)
    fitted = event_weights.fit(learnt, DEFAULT_WEIGHTS)
    ratio = fitted.base["purchase"] / fitted.base["view"]
    assert ratio > 2 * DEFAULT_WEIGHTS.base["purchase"] / DEFAULT_WEIGHTS.base["view"]
    assert {t: fitted.base[t] for t in ("return", "rating", "low_rated")} == {
        t: DEFAULT_WEIGHTS.base[t] for t in ("return", "rating", "low_rated")
    }
    assert all(fitted.base[t] * DEFAULT_WEIGHTS.base[t] >= 0 for t in COUNTED_TYPES)
    used = np.array([DEFAULT_WEIGHTS.base[t] for t in COUNTED_TYPES]), np.array([fitted.base[t] for t in COUNTED_TYPES])
    assert (learnt.mass @ used[0]).sum() == pytest.approx((learnt.mass @ used[1]).sum(), rel=1e-3)
    assert all(e.low > 0 for e in event_weights.gains(judged, fitted, DEFAULT_WEIGHTS, 0).values())
    noise = table(shop(shuffled=True))
    useless = event_weights.fit(found_at(noise, 2), DEFAULT_WEIGHTS)
    assert event_weights.gains(found_at(table(shop(seed=1, shuffled=True)), 1), fitted, DEFAULT_WEIGHTS, 0)["ndcg"].low < 0
    assert useless.base["purchase"] / useless.base["view"] < ratio / 2


def test_weights_that_were_fitted_from_others_are_not_meant() -> None:
    own = overridden("[view]\nbase_weight = 0.5", "site.toml")
    params = {"base": dict(DEFAULT_WEIGHTS.base) | {"view": 0.2}, "hand_set": DEFAULT_WEIGHTS.params}
    assert DEFAULT_WEIGHTS.fitted(params).base["view"] == 0.2
    assert own.fitted(params) == own


@pytest.mark.parametrize("useful", [True, False])
def test_nights_use_them_from_the_next_one_on_if_they_are_better(tmp_path: Path, useful: bool) -> None:
    values = {"landing": tmp_path / "landing", "lake": tmp_path / "lake", "warehouse": f"duckdb:///{tmp_path}/w.duckdb"}
    settings = Settings.model_validate({k: str(v) for k, v in values.items()} | {"user_key_secret": "of the tests"})
    said: list[str] = []
    runner = Runner(settings, said.append)
    runner.run("fit_event_weights", D)
    assert said[0] == f"{D} fit_event_weights: no topics yet: the weights stay"
    first = ago(30).isoformat()
    empty: dict[str, list[dict[str, Any]]] = {"topic": [], "topic_version": [], "topic_lineage": []}
    model = Topics(np.arange(6), topic_model("kmeans").fit(unit(np.eye(6) + 0.01), 6, 0))
    version = registry.ModelVersion("m", "topics", first, first, first, {"method": "kmeans"}, "data", "code")
    registry.register(
        runner.lake, replace(version, status="champion", promoted_at=f"{first}T00:00:00+00:00"), artifacts(model, empty, None)
    )
    rows = shop(shuffled=not useful)
    for ds in sorted({r["ds"] for r in rows}):
        (Path(runner.landing.root) / "events" / f"ds={ds}").mkdir(parents=True)
        tonight = table([r for r in rows if r["ds"] == ds])
        runner.lake.write("user_topic_day", ds, tonight, Stamp(f"by-hand-{ds}", "h", models={"topics": "m"}), model_version="m")
    for _ in range(2):  # the same again, however often
        runner.run("fit_event_weights", D)
        (made,) = registry.versions(runner.lake, FITTED_WEIGHTS)
    assert (made.status, made.valid_from_ds) == ("champion" if useful else "candidate", str(D + dt.timedelta(days=1)))
    assert "purchase" in said[-3]
    assert said[-2].endswith(": promoted" if useful else ": not promoted")
    assert runner.event_types(D) == DEFAULT_WEIGHTS
    later = D + dt.timedelta(days=1)
    night = Night(runner, "recommend", later, None, Stamp("r", "h"), {})
    assert (night.event_types.base["purchase"] > DEFAULT_WEIGHTS.base["purchase"]) is useful
    runner.run("fit_event_weights", ago(13))
    assert "fewer than 100: the weights stay" in said[-2]
