"""Forecasts: both sequence models against planted habits, the gate, and the jobs on a small lake of literal topic days."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jobs.evaluate import _forecast_rows
from jobs.night import Night
from jobs.runner import ParameterError, Runner
from jobs.settings import Settings
from recsys_core import evolution, registry
from recsys_core.evolution import calibration, features, metrics, network, training
from recsys_core.evolution.cut import Cut, Moments, Part, moments, time_cut
from recsys_core.lake import Stamp
from recsys_core.tables import TABLES
from recsys_core.topics import topic_model
from recsys_core.topics.spherical import unit
from recsys_core.topics.tables import Topics, artifacts

D = dt.date(2026, 3, 2)
DAY = dt.timedelta(days=1)
TOPICS = np.array([101, 102, 103, 104, 105, 106])
COLUMNS = ["ds", "user_key", "topic_id", "mass_micro"]
SMALL = training.Task(hidden=8, epochs=8, batch=64, most=1000, learning_rate=1e-2)


def rows(found: list[tuple[int, str, int, float]]) -> pa.Table:
    """Rows of user_topic_day: (night from D on, user, place of the topic, events)."""
    schema = pa.schema([(c, TABLES["user_topic_day"].arrow_schema().field(c).type) for c in COLUMNS])
    made = [(D + n * DAY, user, int(TOPICS[t]), round(mass * 1e6)) for n, user, t, mass in found]
    return pa.Table.from_pylist([dict(zip(COLUMNS, r, strict=True)) for r in made], schema)


def habits(nights: int, users: int = 60, shuffled: bool = False) -> list[tuple[int, str, int, float]]:
    """Users who turn from one of their two topics to the other every active night; four of five nights are active."""
    rng, made = np.random.default_rng(5), []
    for user in range(users):
        pair = rng.choice(len(TOPICS), 2, replace=False)
        active = np.flatnonzero(rng.random(nights) < 0.8)
        turn = rng.permutation(len(active)) if shuffled else np.arange(len(active))
        made += [(int(n), f"u{user:02}", int(pair[at % 2]), 2.0) for n, at in zip(active, turn, strict=True)]
    return made


def days_of(nights: int, **how: Any) -> features.TopicDays:
    return features.topic_days(rows(habits(nights, **how)), TOPICS)


def cut_of(nights: int) -> Cut:
    first = D.toordinal()
    found = time_cut(first, first + nights - 1, (1,))
    assert found is not None
    return found


# -- inputs ----------------------------------------------------------------------------------------------------------------------------
def test_inputs_follow_from_the_nights_before_alone() -> None:
    day = D.toordinal() + 9
    early, late = [(0, "a", 0, 3.0), (7, "a", 1, 1.0), (9, "a", 0, 0.5), (9, "a", 2, 0.5), (8, "b", 3, 1.0)], [(10, "a", 4, 9.0)]
    plain, more = (features.topic_days(rows(r), TOPICS) for r in (early, early[::-1] + late))
    user, when = np.array([0, 1]), np.full(2, day)
    given, again = features.inputs(plain, user, when), features.inputs(more, user, when)
    for name in ("steps", "lengths", "topic", "user"):
        assert np.array_equal(getattr(given, name), getattr(again, name)), name
    assert given.lengths.tolist() == [3, 1]
    assert given.steps[0, :, :3].tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]
    assert given.steps[0, :, 7].tolist() == pytest.approx([0.0, np.log(8), np.log(3)])  # nights since the step before
    # The share of seven nights: the first night is out of it.
    assert features.week_share(plain, user, when)[0].tolist() == pytest.approx([0.25, 0.5, 0.25, 0, 0, 0])
    assert features.last_share(plain, user, when)[0].tolist() == pytest.approx([0.5, 0, 0.5, 0, 0, 0])
    # One event a night back, 3 seven nights before that, half an event tonight; half-life of a day.
    expected = np.array([3 / 2**9 + 0.5, 1 / 4, 0.5])
    assert given.topic[0, :3, 0] == pytest.approx(expected / expected.sum())
    assert features.touched(more, user, when, 1).tolist() == [[False] * 4 + [True, False], [False] * 6]
    assert features.touched(plain, np.array([0]), np.array([day - 1]), 1)[0].tolist() == [True, False, True, False, False, False]
    assert features.active(plain, day - 1, day - 1).tolist() == [1]


def test_what_is_learnt_ends_before_what_is_judged_begins() -> None:
    for last in (24, 60, 400):
        cut = time_cut(0, last, (1, 7))
        assert cut is not None
        assert cut.horizons == (1, 7)
        assert (cut.train.end, cut.validation.end, cut.test.end) == (cut.validation.first, cut.test.first, last)
        for part in (cut.train, cut.validation, cut.test):
            assert part.knows(np.arange(part.first, part.last + 1), 7).any()
    assert time_cut(0, 23, (1, 7)) == replace(time_cut(0, 23, (1,)), horizons=(1,))  # type: ignore[type-var]
    assert time_cut(0, 5, (1, 7)) is None


def test_moments_are_a_fair_sample() -> None:
    days = days_of(20)
    part = Part(D.toordinal() + 5, D.toordinal() + 9, D.toordinal() + 10)
    whole = moments(days, part, 10_000, 0)
    assert len(whole.user) == 60 * 5
    assert set(whole.weight) == {1.0}
    drawn: Callable[[int], Moments] = lambda seed: moments(days, part, 100, seed, back=1)  # noqa: E731
    assert 60 < len(drawn(0).user) < 140
    # Those who come back the next night stand for as many as there are.
    came = lambda m: features.touched(days, m.user, m.day, 1).any(axis=1) @ m.weight / m.weight.sum()  # noqa: E731
    assert np.mean([came(drawn(seed)) for seed in range(40)]) == pytest.approx(came(whole), abs=0.03)
    assert np.array_equal(drawn(1).user, drawn(1).user)


# -- models ----------------------------------------------------------------------------------------------------------------------------
def ndcg(days: features.TopicDays, forecaster: network.Forecaster, cut: Cut) -> tuple[float, float]:
    """(ndcg@5 of the forecast, of the seven-day share) on the test nights."""
    found = metrics.judged(forecaster, days, cut, 2000, 0)["1"]["metrics"]["ndcg@5"]
    return found["value"][0], found["share_7d"][0]


@pytest.mark.parametrize("name", evolution.SEQUENCE_MODELS)
def test_a_planted_alternation_is_learnt_and_kept(name: str) -> None:
    days, cut, task = days_of(30), cut_of(30), replace(SMALL, model=name)
    forecaster, losses = training.fit(days, cut, task)
    own, share = ndcg(days, forecaster, cut)
    assert own > 0.95
    assert own > share + 0.15
    assert losses[-1] < losses[0]
    saved = forecaster.save()
    short = [training.fit(days, cut, replace(task, epochs=1, most=300, seed=seed))[0].save() for seed in (0, 0, 1)]
    assert short[0] == short[1] != short[2]
    user, day = np.arange(5), np.full(5, cut.test.last)
    before, after = (next(f.probabilities(days, user, day)) for f in (forecaster, network.restore(saved)))
    assert np.array_equal(before[1], after[1])
    assert before[2].shape == (5, 8)
    # Alone or among others, with a longer history or a shorter one beside it: a user's forecast is the user's.
    alone = next(forecaster.probabilities(days, user[2:3], day[2:3]))
    assert alone[1][0] == pytest.approx(before[1][2], abs=1e-6)
    # Calibrated: what is said to come does come that often.
    assert metrics.judged(forecaster, days, cut, 2000, 0)["1"]["ece"] < 0.05
    # With the nights of each user in another order nothing of it is left.
    mixed = days_of(30, shuffled=True)
    assert ndcg(mixed, training.fit(mixed, cut, task)[0], cut)[0] < own - 0.1


def test_a_state_depends_on_the_order_of_its_nights() -> None:
    import torch

    steps = torch.rand(1, 5, 6, generator=torch.Generator().manual_seed(0))
    for name in evolution.SEQUENCE_MODELS:
        torch.manual_seed(0)
        model = evolution.sequence_model(name)(6, 8).eval()
        state = model(steps, torch.tensor([5]))
        padded = torch.cat([steps, torch.rand(1, 3, 6)], dim=1)
        assert torch.allclose(model(padded, torch.tensor([5])), state, atol=1e-6), name
        assert not torch.allclose(model(steps.flip(1), torch.tensor([5])), state, atol=1e-3), name
    with pytest.raises(ValueError, match=r"no sequence model is named 'lstm': there are gru, transformer"):
        evolution.sequence_model("lstm")
    with pytest.raises(ValueError, match="multiple of 4"):
        evolution.sequence_model("transformer")(6, 10)


def test_two_processes_train_what_one_does() -> None:
    from safetensors.numpy import load

    days, cut = days_of(16, users=30), cut_of(16)
    task = replace(SMALL, epochs=2, dropout=0.0)
    (one, losses), (two, again) = (training.fit(days, cut, replace(task, processes=n)) for n in (1, 2))
    assert again == pytest.approx(losses, abs=1e-3)
    weights, others = load(one.save()[network.WEIGHTS]), load(two.save()[network.WEIGHTS])
    for key, value in weights.items():
        assert others[key] == pytest.approx(value, abs=2e-3), key


def test_the_gate_lets_no_useless_forecast_through() -> None:
    days, cut = days_of(30), cut_of(30)
    good, _ = training.fit(days, cut, SMALL)
    assert metrics.better(metrics.judged(good, days, cut, 2000, 0))
    # The same network with its ranking turned round, and one that was told nothing.
    turned = network.Forecaster(good.network, good.scaling * np.array([-1.0, 1.0]))
    assert not metrics.better(metrics.judged(turned, days, cut, 2000, 0))
    untrained = network.Forecaster(network.Network(good.recipe), good.scaling)
    assert not metrics.better(metrics.judged(untrained, days, cut, 2000, 0))
    assert not metrics.better({})
    with pytest.raises(ValueError, match="nobody was active before the nights"):
        training.fit(features.topic_days(rows([(29, "a", 0, 1.0)]), TOPICS), cut, SMALL)


# -- probabilities ---------------------------------------------------------------------------------------------------------------------
def test_scaling_finds_the_odds_and_keeps_the_order() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=20_000)
    came = rng.random(20_000) < 1 / (1 + np.exp(-(2 * scores - 1)))
    assert calibration.platt(scores, came) == pytest.approx((2, -1), abs=0.1)
    found = calibration.measured(calibration.scaled(scores, calibration.platt(scores, came)), came)
    assert found["ece"] < 0.02
    assert calibration.platt(-scores, came)[0] == calibration.LEAST_SLOPE
    assert sum(n for *_, n in found["curve"]) == 20_000
    assert calibration.expected_error([]) == 0


# -- jobs ------------------------------------------------------------------------------------------------------------------------------
NIGHTS = 16


def lake_of(folder: Path, made: list[tuple[int, str, int, float]], nights: int = NIGHTS) -> Runner:
    """A lake with a topic model of six topics, and topic days of the nights under it; nothing else."""
    values = {"landing": folder / "landing", "lake": folder / "lake", "warehouse": f"duckdb:///{folder}/w.duckdb"}
    settings = Settings.model_validate({k: str(v) for k, v in values.items()} | {"user_key_secret": "of the tests", "device": "cpu"})
    runner = Runner(settings, list[str]().append)
    day = (D - DAY).isoformat()
    model = topic_model("kmeans").fit(unit(np.eye(6) + 0.01), 6, 0)
    empty: dict[str, list[dict[str, Any]]] = {"topic": [], "topic_version": [], "topic_lineage": []}
    version = registry.ModelVersion("topics-1", "topics", day, day, D.isoformat(), {"method": "kmeans"}, "data", "code")
    version = replace(version, status="champion", promoted_at=f"{D}T00:00:00+00:00")
    registry.register(runner.lake, version, artifacts(Topics(TOPICS, model), empty, None))
    schema = TABLES["user_topic_day"].arrow_schema()
    for night in range(nights):
        ds = D + night * DAY
        (Path(runner.landing.root) / "events" / f"ds={ds}").mkdir(parents=True)
        tonight = rows([r for r in made if r[0] == night]).to_pylist()
        zeros = {f.name: 0 for f in schema if pa.types.is_integer(f.type)} | {"model_version": "topics-1"}
        stamp = Stamp(f"by-hand-{ds}", "h", models={"topics": "topics-1"})
        runner.lake.write("user_topic_day", ds, pa.Table.from_pylist([zeros | r for r in tonight], schema), stamp, model_version="topics-1")
        muted = [{"ds": ds, "model_version": "topics-1", "user_key": "u00", "topic_id": 101, "stance": "mute", "weight": 0.0}]
        declared = pa.Table.from_pylist(muted, TABLES["declared_topic"].arrow_schema())
        runner.lake.write("declared_topic", ds, declared, stamp, model_version="topics-1")
    return runner


def test_a_forecast_is_trained_judged_used_and_measured(tmp_path: Path) -> None:
    runner, trained = lake_of(tmp_path, habits(NIGHTS)), D + (NIGHTS - 3) * DAY
    said = runner.say.__self__  # type: ignore[attr-defined]
    options: dict[str, Any] = {"hidden": 8, "epochs": 40, "models": "gru,transformer"}
    runner.run("fit_forecast", trained, **options)
    (version,), (beside,) = (registry.versions(runner.lake, kind) for kind in ("forecast", "forecast_transformer"))
    assert (version.status, version.valid_from_ds, version.params["topics"]) == ("champion", str(trained + DAY), "topics-1")
    assert version.params["horizons"] == [1]
    gate = version.params["measured"]["1"]["metrics"]["ndcg@10"]
    assert min(gate["share_7d_diff"][1], gate["last_interest_diff"][1]) > 0
    assert beside.status == "candidate"
    count = len(said)
    runner.run("fit_forecast", trained, **options)
    assert [line.split(": ")[1] for line in said[count:-1]] == [version.model_version, beside.model_version]
    with pytest.raises(ParameterError, match="--hidden 10 is no multiple of four"):
        runner.run("fit_forecast", trained, hidden=10)
    with pytest.raises(ParameterError, match=r"'gru,lstm' names no sequence models: there are gru, transformer"):
        runner.run("fit_forecast", trained, models="gru,lstm")

    runner.run("evolve", trained)  # it is not valid yet
    assert runner.lake.read("user_interest_forecast", [trained]).num_rows == 0
    ds = trained + DAY
    runner.run("evolve", ds)
    found, states = (runner.lake.read(t, [ds]).to_pylist() for t in ("user_interest_forecast", "user_state"))
    users = {r["user_key"] for r in found}
    assert len(users) == len(states) == 60
    assert {len(r["h"]) for r in states} == {8}
    assert {r["model_version"] for r in found} == {version.model_version}
    for user in users:
        mine = [r for r in found if r["user_key"] == user]
        assert [r["rank"] for r in mine] == list(range(1, len(mine) + 1))
        assert [r["probability"] for r in mine] == sorted((r["probability"] for r in mine), reverse=True)
        assert sum(r["baseline_probability"] for r in mine) <= 1 + 1e-5
        assert {r["topic_id"] for r in mine} == set(TOPICS.tolist()) - ({101} if user == "u00" else set())
    runner.run("evolve", ds)
    assert said[-1].endswith("evolve: up to date")

    last = ds + DAY
    runner.run("evolve", last)
    night = Night(runner, "evaluate", last, registry.find(runner.lake, "topics", "topics-1"), Stamp("r", "h"), {})
    made = {(r["metric"], r["k"]): r for r in _forecast_rows(night, 0)}
    assert {(r["slice_dim"], r["slice_value"], r["subject"]) for r in made.values()} == {("horizon_days", "1", "forecast")}
    came = {(r["user_key"], r["topic_id"]) for r in runner.lake.read("user_topic_day", [last], model_version="topics-1").to_pylist()}
    errors: dict[str, list[float]] = {u: [] for u in users}
    for r in found:
        errors[r["user_key"]].append((r["probability"] - ((r["user_key"], r["topic_id"]) in came)) ** 2)
    assert made["brier", 0]["value"] == pytest.approx(np.mean([np.mean(e) for e in errors.values()]), abs=2e-6)
    assert made["brier", 0]["diff_ci_high"] < 0
    assert made["ndcg", 5]["diff_ci_low"] > 0
    assert made["recall", 5]["n"] == len({u for u, _ in came})
    assert made["ece", 0]["value"] < made["ece", 0]["baseline_value"] + 0.1

    registry.rollback(runner.lake, version, dt.datetime(2026, 4, 1, tzinfo=dt.UTC), "a test")
    runner.run("evolve", ds)
    assert runner.lake.read("user_interest_forecast", [ds]).num_rows == 0
    assert "no forecast of the night's topics is valid" in said[-2]


def test_what_is_no_better_or_too_short_is_not_used(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    noise = [(n, f"u{u:02}", int(rng.integers(6)), 1.0) for u in range(40) for n in range(NIGHTS) if rng.random() < 0.6]
    runner, said = lake_of(tmp_path, noise), list[str]()
    runner.say = said.append
    runner.run("fit_forecast", D + 3 * DAY)
    assert "4 nights of topics, too few" in said[0]
    assert registry.versions(runner.lake, "forecast") == []
    runner.run("fit_forecast", D + 14 * DAY, hidden=8, epochs=5)
    assert [v.status for v in registry.versions(runner.lake, "forecast")] == ["candidate"]
    assert said[-2].endswith(": not promoted")
