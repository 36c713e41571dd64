"""Experiments: what a site may write, who is dealt to which arm, and what their figures can be believed to say."""

from __future__ import annotations

import dataclasses
import datetime as dt
import doctest
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jobs import evaluate as jobs_evaluate
from jobs.runner import Runner
from jobs.settings import SettingError, Settings
from recsys_core import evaluation
from recsys_core import experiments as module
from recsys_core.evaluation import trial
from recsys_core.events import type_weights
from recsys_core.experiments import OVERRIDES, Arm, Experiment, ExperimentError, assign, experiments
from recsys_core.lake import Lake, Stamp, conform
from recsys_core.lists import Recipe
from recsys_core.ranking.policy import ListRules
from recsys_core.tables import TABLES
from tests.test_evaluate import YESTERDAY, SmallNight, cut_of, day, past, slot, table
from tests.test_evaluate import D as D
from tests.test_evaluate import lake as lake

FILE = """
[more_variety]
salt = "2026-03"
from = 2026-03-01
to = 2026-03-14
[more_variety.arms.as_before]
share = 0.5
[more_variety.arms.varied]
share = 0.25
diversity = 0.5
sources = { transitions = 1.0, popularity = 0 }
[more_variety.arms.daring]
share = 0.25
exploration_slots = 3

[earlier]
salt = "s"
from = 2026-02-01
to = 2026-02-28
arms.a.share = 0.5
arms.b.share = 0.5
"""
ARMS = Experiment("test", "salt", D, D, (Arm("a", 0.5), Arm("b", 0.3), Arm("c", 0.2)))


def test_worked_examples() -> None:
    assert doctest.testmod(module).failed == 0


def test_what_a_site_writes() -> None:
    found = experiments(FILE, "site.toml")
    assert [e.name for e in found.experiments] == ["earlier", "more_variety"]
    for day_, name in ((dt.date(2026, 3, 1), "more_variety"), (dt.date(2026, 3, 14), "more_variety"), (dt.date(2026, 2, 28), "earlier")):
        running = found.running(day_)
        assert running is not None
        assert running.name == name
    assert found.running(dt.date(2026, 3, 15)) is None
    running = found.running(dt.date(2026, 3, 5))
    assert running is not None
    assert [(a.name, a.share, dict(a.changes)) for a in running.arms] == [
        ("as_before", 0.5, {}),
        ("varied", 0.25, {"diversity": 0.5, "sources": {"transitions": 1.0, "popularity": 0}}),
        ("daring", 0.25, {"exploration_slots": 3}),
    ]
    # What an arm may change is there to be changed.
    assert {f.name for of in (ListRules, Recipe) for f in dataclasses.fields(of)} >= OVERRIDES.keys() - {"sources"}


@pytest.mark.parametrize(
    ("change", "place", "said"),
    [
        (("diversity = 0.5", "diversty = 0.5"), 10, "no key 'diversty'; did you mean diversity?"),
        (("diversity = 0.5", "diversity = 5"), 10, "diversity is 5; give a number from 0 to 1"),
        (("exploration_slots = 3", "exploration_slots = 1.5"), 14, "exploration_slots is 1.5; give a whole number"),
        (("popularity = 0 }", "popularity = -1 }"), 11, "give a table of weights from 0 to 100 of some of transitions, "),
        (("popularity = 0 }", "popularty = 1 }"), 11, "of some of transitions, "),
        (("share = 0.25\ndiv", "share = 0.35\ndiv"), 6, "shares that sum to 1.1: make them sum to 1"),
        (("share = 0.25\ndiv", "share = -1\ndiv"), 9, "share is -1; give a number above 0 and below 1"),
        (("share = 0.25\ndiv", "div"), 8, "lacks share"),
        (("to = 2026-03-14", "to = 2026-02-14"), 5, "ends on 2026-02-14, before it begins on 2026-03-01"),
        (("to = 2026-03-14", 'to = "2026-03-14"'), 5, "give a date without quotes, like 2026-12-01"),
        (('salt = "2026-03"', 'salt = ""'), 3, "give any words in quotes"),
        (("from = 2026-03-01", ""), 2, "[more_variety] lacks from"),
        (("from = 2026-03-01", "from = 2026-02-28"), 16, "[earlier] and [more_variety] both run on 2026-02-28"),
        (("arms.daring]", "arms.default]"), 12, "is no name of an arm"),
        (("arms.a.share = 0.5\narms.b", "arms.b"), 20, "needs two arms at least"),
    ],
)
def test_faults_name_place_and_remedy(change: tuple[str, str], place: int, said: str) -> None:
    wrong = FILE.replace(*change, 1)
    assert wrong != FILE
    with pytest.raises(ExperimentError) as caught:
        experiments(wrong, "site.toml")
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"site.toml, line {place}: ")
    assert said in line


def test_all_faults_at_once_and_by_the_setting(tmp_path: Any) -> None:
    path = tmp_path / "experiments.toml"
    path.write_text(FILE.replace("diversity = 0.5", "diversity = 5").replace('"2026-03"', "3"), encoding="utf-8")
    with pytest.raises(SettingError, match=r"(?s)EXPERIMENTS_FILE.*line 3.*line 10"):
        _ = Settings(experiments_file=str(path)).experiments
    assert Settings().experiments.running(D) is None


def test_dealing_is_stable_independent_and_as_declared() -> None:
    users = [f"user-{n}" for n in range(20_000)]
    arm = assign(users, ARMS)
    assert np.array_equal(arm, assign(users, ARMS))
    assert np.array_equal(arm[::-1], assign(reversed(users), ARMS))
    assert trial.sample_ratio_p(ARMS, np.bincount(arm)) > 0.01
    others = [dataclasses.replace(ARMS, name="other"), dataclasses.replace(ARMS, salt="other")]
    # The arm in one experiment says nothing of that in another: of each arm the other deals the declared shares.
    for other in (assign(users, e) for e in others):
        for number in range(3):
            assert trial.sample_ratio_p(ARMS, np.bincount(other[arm == number], minlength=3)) > 0.01
    # Who is in no arm that grew stays: shares are laid side by side.
    wider = dataclasses.replace(ARMS, arms=(Arm("a", 0.6), Arm("b", 0.2), Arm("c", 0.2)))
    assert set(arm[arm != assign(users, wider)].tolist()) == {1}


TWO = Experiment("test", "salt", D, D, (Arm("a", 0.5), Arm("b", 0.5)))


def measured(users: list[str], hits: np.ndarray) -> trial.Measured:
    values = np.column_stack([hits, np.full(len(users), np.nan)])
    values[0, 1] = 1.0
    return trial.Measured(pa.array(users), ("hit_rate_10", "ndcg_10"), values)


def rows_of(users: list[str], arm: np.ndarray, hits: np.ndarray) -> dict[tuple[str, str], dict[str, Any]]:
    shown = pa.table({"user_key": users, "variant": [TWO.arms[a].name for a in arm]})
    rows = evaluation.experiment_rows(TWO, shown, [measured(users, hits)], D, 0)
    conform(table("experiment_metric", rows), TABLES["experiment_metric"])
    return {(r["variant"], r["metric"]): r for r in rows}


def test_the_same_lists_differ_by_chance_and_better_ones_by_more() -> None:
    """Of 40 trials of two equal arms few find a difference; an arm that hits by a third more often is found better."""
    users = [f"u{n:04d}" for n in range(1_000)]
    arm = assign(users, TWO)
    rng = np.random.default_rng(0)
    found, few = 0, users[:300]
    for _ in range(40):
        diff = rows_of(few, arm[:300], (rng.random(300) < 0.3).astype(float))[("b", "hit_rate_10_diff")]
        found += not diff["ci_low"] <= 0 <= diff["ci_high"]
    assert found <= 7  # 2 are expected; 8 or more come in one run of a thousand
    rows = rows_of(users, arm, (rng.random(1_000) < np.where(arm == 1, 0.4, 0.3)).astype(float))
    assert rows[("b", "hit_rate_10_diff")]["ci_low"] > 0
    assert rows[("b", "hit_rate_10")]["ci_low"] < rows[("b", "hit_rate_10")]["value"] < rows[("b", "hit_rate_10")]["ci_high"]
    difference = rows[("b", "hit_rate_10")]["value"] - rows[("a", "hit_rate_10")]["value"]
    assert rows[("b", "hit_rate_10_diff")]["value"] == pytest.approx(difference, abs=2e-6)
    assert rows[("a", "users")]["n"] + rows[("b", "users")]["n"] == 1_000
    assert ("a", "hit_rate_10_diff") not in rows
    # ndcg counts one user, of one arm: no difference can be told
    assert [k for k in rows if k[1].startswith("ndcg")] == [(TWO.arms[arm[0]].name, "ndcg_10")]


def test_who_is_dealt_otherwise_is_caught() -> None:
    users = [f"u{n:04d}" for n in range(2_000)]
    arm, hits = assign(users, TWO), np.zeros(2_000)
    assert rows_of(users, arm, hits)[("a", "users")]["sample_ratio_p"] > trial.SUSPICIOUS_P
    lost = [n for n in range(2_000) if not (arm[n] == 1 and n % 5 == 0)]  # a fifth of one arm got no list
    rows = rows_of([users[n] for n in lost], arm[lost], hits[lost])
    assert {r["sample_ratio_p"] < trial.SUSPICIOUS_P for r in rows.values()} == {True}


def test_what_is_measured() -> None:
    """u1 finds its second slot, u2 nothing, u3 wants nothing; seven nights of the same lists by proxies."""
    facts = [day(3, u, "i00", view=1) for u in ("u1", "u2", "u3")] + [day(0, "u1", "i02", view=1), day(0, "u2", "i30", view=1)]
    history = past(facts)
    shown = table("user_topn", [slot(u, r, f"i0{r}", variant=v) for u, v in (("u1", "a"), ("u2", "b"), ("u3", "b")) for r in (1, 2)])
    next_night = trial.next_night(cut_of(history), history, shown)
    assert next_night.users.to_pylist() == ["u1", "u2", "u3"]
    assert next_night.values.tolist()[:2] == [[1, pytest.approx(1 / np.log2(3))], [0, 0]]
    assert np.isnan(next_night.values[2]).all()
    week = trial.seven_nights(shown, table("user_item_day", [f for f in facts if f["ds"] == D]), type_weights())
    assert week.names == ("slot_hit_rate_7d", "positive_share_7d", "hide_rate_7d", "return_7d")
    assert week.values.tolist() == [[0.5, 0.5, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
    rows = evaluation.experiment_rows(TWO, shown, [next_night, week], D, 0)
    found = {(r["variant"], r["metric"]): (r["value"], r["n"]) for r in rows}
    assert found[("b", "hit_rate_10")] == (0, 1)
    assert found[("b", "return_7d")] == (0.5, 2)
    assert found[("b", "return_7d_diff")] == (-0.5, 2)
    conform(table("experiment_metric", rows), TABLES["experiment_metric"])
    assert evaluation.experiment_rows(ARMS, shown.slice(0, 0), [], D, 0) == []


class TrialNight(SmallNight):
    """A night of which lists belong to an experiment, and that keeps what is said."""

    def __init__(self, lake: Lake, experiment: Experiment) -> None:
        super().__init__(lake, D)
        self.running, self.said = experiment, list[str]()
        self.runner = self
        self.say = self.said.append

    def experiment(self, ds: dt.date | None = None) -> Experiment | None:  # type: ignore[override]
        return self.running if self.running.first <= (ds or self.ds) <= self.running.last else None


def test_the_job_writes_what_became_of_experiments(lake: Lake) -> None:
    """Lists of last night, and of seven nights ago, by their arms; of lists before the experiment nothing is said."""
    week_ago = D - dt.timedelta(days=7)
    users = ["u1", "u2", *(f"f{n}" for n in range(8))]
    for nights_ago in (7, 1):
        rows = [slot(u, r, f"i{r:02d}", nights_ago, variant="ab"[n > 4]) for n, u in enumerate(users) for r in range(1, 5)]
        lake.write("user_topn", D - dt.timedelta(days=nights_ago), table("user_topn", rows), Stamp("lists", "hash"))
    items = [r | {"ds": week_ago} for r in lake.read("item", [YESTERDAY]).to_pylist()]
    lake.write("item", week_ago, table("item", items), Stamp("facts", "hash"))
    told = [{"ds": YESTERDAY, "user_key": u, "attribute": "age_band", "attribute_value": v} for u, v in (("u1", "18-24"), ("u2", "65+"))]
    lake.write("user_attribute", YESTERDAY, table("user_attribute", told), Stamp("facts", "hash"))
    both = dataclasses.replace(TWO, first=week_ago, last=D)
    jobs_evaluate.evaluate(night := TrialNight(lake, both))  # type: ignore[arg-type]
    found = {(r["variant"], r["metric"]): r for r in lake.read("experiment_metric", [D]).to_pylist()}
    assert found[("a", "hit_rate_10")]["value"] == 0.5  # u1 finds i01, u2 does not find i05
    assert found[("a", "users")]["n"] == found[("b", "users")]["n"] == 5
    assert found[("a", "return_7d")]["n"] == 5
    assert {m for _, m in found} >= {"hide_rate_7d", "hide_rate_7d_diff", "slot_hit_rate_7d"}
    assert night.said == []
    metrics = lake.read("eval_metric", [D]).to_pylist()
    # Neither age band is shared by enough users to be named.
    assert {(r["variant"], r["slice_value"]) for r in metrics if r["slice_dim"] == "attribute:age_band"} == {("a", "other")}
    assert {r["metric"] for r in metrics} >= {"recall", "recall_7d", "proxy_return_7d"}
    uneven = dataclasses.replace(both, first=YESTERDAY, arms=(Arm("a", 0.99), Arm("b", 0.01)))
    jobs_evaluate.evaluate(night := TrialNight(lake, uneven))  # type: ignore[arg-type]
    assert "WARNING: experiment test: users are not dealt to its arms as declared" in night.said[0]
    rows = lake.read("experiment_metric", [D]).to_pylist()
    assert {r["metric"].removesuffix("_diff") for r in rows} == {"users", "hit_rate_10", "ndcg_10"}
    jobs_evaluate.evaluate(TrialNight(lake, dataclasses.replace(both, first=D)))  # type: ignore[arg-type]
    assert lake.read("experiment_metric", [D]).num_rows == 0


def test_an_experiment_is_an_input_of_its_nights_alone(tmp_path: Any) -> None:
    """Lists of its nights, and what looks back on them, follow from it; another experiment on other nights changes nothing of them."""
    path = tmp_path / "experiments.toml"

    def inputs(job: str, ds: dt.date, text: str) -> list[tuple[str, str]]:
        path.write_text(text, encoding="utf-8")
        settings = Settings(lake=str(tmp_path / "lake"), landing=str(tmp_path / "landing"), experiments_file=str(path))
        return [i for i in Runner(settings).inputs(job, ds, None) if i[0].startswith("experiments/")]

    first = dt.date(2026, 3, 1)
    (known,) = inputs("recommend", first, FILE)
    assert known[0] == "experiments/2026-03-01"
    assert inputs("recommend", first, FILE.replace("2026-02-01", "2026-02-02")) == [known]
    assert inputs("recommend", first, FILE.replace("diversity = 0.5", "diversity = 0.4")) != [known]
    assert inputs("recommend", dt.date(2026, 3, 15), FILE) == []
    assert len(inputs("evaluate", dt.date(2026, 3, 18), FILE)) == 4  # the lists of the 11th to the 14th
    assert inputs("evaluate", dt.date(2026, 3, 22), FILE) == []
