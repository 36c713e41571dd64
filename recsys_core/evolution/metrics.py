"""How good a forecast is: rankings of topics beside simple ones, and probabilities beside what came; users are what is resampled."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_core import evaluation
from recsys_core.evolution import calibration
from recsys_core.evolution.cut import Cut, moments
from recsys_core.evolution.features import MONTH, TopicDays, last_share, touched, week_share
from recsys_core.metrics import Estimate, bootstrap, ranking_metrics
from recsys_core.recommenders.base import Floats, Ints
from recsys_core.recommenders.history import codes

if TYPE_CHECKING:
    from recsys_core.evolution.network import Forecaster
    from recsys_core.registry import ModelVersion

# What decides whether a forecast comes into use.
GATE = "ndcg@10"
# What nights are measured by.
CUTS = (5, 10)
NAMES = ("ndcg", "recall")
SHARE = "share_7d"


def baselines(days: TopicDays, user: Ints, day: Ints) -> dict[str, Floats]:
    """Scores (n, topics) of what a forecast has to beat: the seven-day share, and the topics of the last active night."""
    return {SHARE: week_share(days, user, day), "last_interest": last_share(days, user, day)}


def ranked(scores: Floats, ties: Floats) -> Ints:
    """Topics of each row, the highest score first; equal scores by `ties`, then the first topic first.

    >>> ranked(np.array([[0.0, 0.5, 0.0]]), np.array([[0.1, 0.1, 0.2]])).tolist()
    [[1, 2, 0]]
    """
    order: Ints = np.lexsort((np.broadcast_to(np.arange(scores.shape[1]), scores.shape), -ties, -scores), axis=1)
    return order


def per_user(lists: Ints, came: NDArray[np.bool_], user: Ints) -> tuple[list[tuple[str, int]], Floats]:
    """Names (metric, k) and their values (users × names), users in rising order; a user's nights count alike.

    lists  places of topics, best first, −1 = none
    came   (n, topics); rows where nothing came do not count
    """
    some = came.any(axis=1)
    lists, came, user = lists[some], came[some], user[some]
    hit = np.take_along_axis(came, np.maximum(lists, 0), axis=1) & (lists >= 0)
    n_relevant = came.sum(axis=1)
    named = {(name, k): ranking_metrics(hit, n_relevant, k)[name] for k in CUTS for name in NAMES}
    named["map", 0] = ranking_metrics(hit, n_relevant, max(lists.shape[1], 1))["map"]
    _, row = np.unique(user, return_inverse=True)
    n = np.bincount(row)
    return list(named), np.column_stack([np.bincount(row, v) / n for v in named.values()])


def compared(
    scores: Floats, others: Mapping[str, Floats], ties: Floats, came: NDArray[np.bool_], user: Ints, seed: int
) -> tuple[int, dict[str, dict[str, Estimate]]]:
    """(users, 'metric@k' → value, and of each baseline value and difference, with 95 % intervals over the same draws of users)."""
    names, own = per_user(ranked(scores, ties), came, user)
    theirs = {name: per_user(ranked(s, ties), came, user)[1] for name, s in others.items()}
    if not len(own):
        return 0, {}
    columns = {"value": own}
    for name, values in theirs.items():
        columns |= {name: values, f"{name}_diff": own - values}
    found = bootstrap(np.hstack(list(columns.values())), seed)
    width = len(names)
    return len(own), {
        f"{metric}@{k}" if k else metric: {c: found[at * width + i] for at, c in enumerate(columns)} for i, (metric, k) in enumerate(names)
    }


def as_json(found: Mapping[str, Mapping[str, Estimate]]) -> dict[str, Any]:
    """Estimates as lists of value, low and high end."""
    return {m: {c: [round(x, 6) for x in (e.value, e.low, e.high)] for c, e in columns.items()} for m, columns in found.items()}


def better(measured: Mapping[str, Any]) -> bool:
    """Whether at each horizon of `judged` the metric of the gate is above every baseline's with 95 % confidence."""
    found = [m["metrics"].get(GATE) for m in measured.values()]
    return bool(found) and all(gate and all(ends[1] > 0 for name, ends in gate.items() if name.endswith("_diff")) for gate in found)


def judged(forecaster: Forecaster, days: TopicDays, cut: Cut, most: int, seed: int, device: str = "cpu") -> dict[str, Any]:
    """What the test nights say of a forecaster, by horizon, JSON: users, metrics (see `compared`, `as_json`), Brier score, expected
    calibration error and curve over all topics of at most about `most` (user, night) pairs, the same of the seven-day share (`share`),
    whose scaling to probabilities is found on the validation nights (`share_scaling`).
    """
    test, earlier = moments(days, cut.test, most, seed), moments(days, cut.validation, most, seed)
    user, day = test.user, test.day
    if not len(user):
        return {}
    said = np.concatenate([p for _, p, _ in forecaster.probabilities(days, user, day, device)])
    found = {}
    for n, horizon in enumerate(cut.horizons):
        known = cut.test.knows(day, horizon)
        who, when, p = user[known], day[known], said[known, :, n]
        came = touched(days, who, when, horizon)
        others = baselines(days, who, when)
        users, metrics = compared(p, others, days.population(when, MONTH), came, who, seed)
        before = cut.validation.knows(earlier.day, horizon)
        past = earlier.user[before], earlier.day[before]
        scaling = calibration.platt(calibration.share_score(week_share(days, *past)), touched(days, *past, horizon))
        share = calibration.measured(calibration.scaled(calibration.share_score(others[SHARE]), scaling), came)
        own = {"users": users, "metrics": as_json(metrics), "share": share, "share_scaling": list(scaling)}
        found[str(horizon)] = own | calibration.measured(p, came)
    return found


def forecast_metrics(said: pa.Table, days: TopicDays, version: ModelVersion, ds: dt.date, seed: int) -> list[dict[str, Any]]:
    """Rows of eval_metric for forecasts that fall due on ds: made one horizon before, against what was touched since.

    said  user_interest_forecast of one night and one horizon by `version`, at least one row
    days  topic days of the horizon's nights up to ds and of the seven before, under the version's topics

    Rankings, of users who touched something: ndcg and recall beside the seven-day share, ties by what is common. Probabilities of the
    topics that were listed, of all users: Brier score and expected calibration error, of which less is better, beside the share as a
    probability.
    """
    horizon, topics = int(said["horizon_days"][0].as_py()), pa.array(days.topics, pa.int64())
    said = said.filter(pc.is_in(said["topic_id"], topics)).sort_by([("user_key", "ascending"), ("rank", "ascending")])
    keys = pc.unique(said["user_key"])
    row, topic, users = codes(said["user_key"], keys), codes(said["topic_id"], topics), np.arange(len(keys))
    lists = np.full((len(keys), max(CUTS)), -1, np.int64)
    place = said["rank"].to_numpy().astype(np.int64) - 1
    inside = place < max(CUTS)
    lists[row[inside], place[inside]] = topic[inside]
    user, day = codes(keys, days.users), np.full(len(keys), ds.toordinal() - horizon)
    # Who did nothing in these nights has no row in `days`.
    came, share = np.zeros((len(keys), len(topics)), bool), np.zeros((len(keys), len(topics)))
    here = user >= 0
    came[here], share[here] = touched(days, user[here], day[here], horizon), week_share(days, user[here], day[here])
    where = {"ds": ds, "subject": "forecast", "model_version": version.model_version, "list_name": "", "variant": "default"}
    where |= {"slice_dim": "horizon_days", "slice_value": str(horizon)}
    rows = []
    if came.any():
        names, own = per_user(lists, came, users)
        theirs = per_user(ranked(share, days.population(day, MONTH)), came, users)[1]
        wanted = [i for i, (name, _) in enumerate(names) if name in NAMES]
        rows += evaluation.compared(own[:, wanted], theirs[:, wanted], [names[i] for i in wanted], SHARE, where, seed)
    scaling = version.params["measured"][str(horizon)]["share_scaling"]
    sayings = [said["probability"].to_numpy(), calibration.scaled(calibration.share_score(share[row, topic]), scaling)]
    happened, n = came[row, topic], np.bincount(row)
    brier = [np.bincount(row, (p - happened) ** 2) / n for p in sayings]
    against = f"{SHARE}_scaled"
    rows += evaluation.compared(brier[0][:, None], brier[1][:, None], [("brier", 0)], against, where, seed)
    errors = [calibration.expected_error(calibration.curve(p, happened)) for p in sayings]
    frame = {"metric": "ece", "k": 0, "baseline": against, "n": len(keys), "value": errors[0], "baseline_value": errors[1]}
    return [*rows, where | frame | {"diff": round(errors[0] - errors[1], 6)}]
