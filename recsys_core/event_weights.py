"""Weights of event types fitted on what users turned to next, and whether they tell it better than those in use.

A profile says that a user's next week goes to topics in the proportion of Σ over nights and types of weight · mass, faded. So the weights
are those under which that is most probable: a conditional choice with probability p(topic) ∝ FLOOR + max(Σ weight · faded mass, 0) among
the topics that the user has touched (Luce 1959), by maximum likelihood, with a penalty on leaving the weights in use, so that rare types
stay where they were.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.optimize import minimize

from recsys_core.events import COUNTED_TYPES, MAX_WEIGHT, Weights
from recsys_core.metrics import Estimate, bootstrap

# Nights that are faded, nights whose topics are told, and the half-life of fading: the middle one of the profile's horizons.
BEHIND, AHEAD, HALF_LIFE = 28, 7, 7.0
COLUMNS = ["ds", "user_key", "topic_id", "mass_micro", *(f"mass_{t}_micro" for t in COUNTED_TYPES)]
FLOOR = 0.1  # events: what a topic that speaks against itself is still worth
LEAST_EVENTS = 0.5  # a topic is turned to from half an event on
PENALTY = 50.0  # users whose word a factor of e on one weight must be worth
MIN_USERS = 100

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Weeks:
    """What users had touched by a night, and what they touched in the seven nights after it.

    user     row of the user of each (user, topic) pair, ascending; users have two such topics at least, and touch one of them again
    mass     (pairs, types) faded mass in events
    touched  whether the topic was touched in the nights after
    """

    user: NDArray[np.int64]
    mass: Floats
    touched: NDArray[np.bool_]

    @property
    def n_users(self) -> int:
        """Users that there are."""
        return int(self.user[-1]) + 1 if len(self.user) else 0


def weeks(days: pa.Table, end: dt.date, decay: Mapping[str, float]) -> Weeks:
    """What users had touched by the end of night `end`, from rows of user_topic_day (COLUMNS); later rows tell what they touched next."""
    age = np.int64((end - dt.date(1970, 1, 1)).days) - days["ds"].cast(pa.int32()).to_numpy().astype(np.int64)
    known = days.filter(pa.array((age >= 0) & (age < BEHIND)))
    age = age[(age >= 0) & (age < BEHIND)]
    later = days.filter(pc.and_(pc.greater(days["ds"], pa.scalar(end)), pc.less_equal(days["ds"], pa.scalar(end + dt.timedelta(AHEAD)))))
    faded = {
        t: np.round(known[f"mass_{t}_micro"].to_numpy() * 2.0 ** (-age / (HALF_LIFE * decay[t]))).astype(np.int64) for t in COUNTED_TYPES
    }
    names = ["user_key", "topic_id"]
    had = pa.table({**{n: known[n] for n in names}, **faded}).group_by(names).aggregate([(t, "sum") for t in COUNTED_TYPES])
    then = later.group_by(names).aggregate([("mass_micro", "sum")])
    both = had.join(then, names, join_type="left outer").sort_by([(n, "ascending") for n in names])
    touched = pc.fill_null(both["mass_micro_sum"], 0).to_numpy() >= LEAST_EVENTS * 1e6
    user = np.unique(both["user_key"].to_numpy(zero_copy_only=False), return_inverse=True)[1] if both.num_rows else np.zeros(0, np.int64)
    mass = np.column_stack([both[f"{t}_sum"].to_numpy() / 1e6 for t in COUNTED_TYPES])
    counts, again = np.bincount(user), np.bincount(user, touched)
    kept = ((counts > 1) & (again > 0))[user] if len(user) else np.zeros(0, bool)
    return Weeks(np.unique(user[kept], return_inverse=True)[1].astype(np.int64), mass[kept], touched[kept])


def log_likelihood(found: Weeks, weights: Floats) -> Floats:
    """Each user's mean log probability of the topics that they touched, shape (n_users,)."""
    worth = FLOOR + np.maximum(found.mass @ weights, 0.0)
    log_p = np.log(worth) - np.log(np.bincount(found.user, worth))[found.user]
    return np.bincount(found.user, log_p * found.touched) / np.bincount(found.user, found.touched)


def fit(found: Weeks, weights: Weights) -> Weights:
    """The most probable weights: each type keeps its sign, types that nobody used keep their weight.

    Rescaled so that the mass of all users together weighs as much as before: what follows from sums (confidence, floors) stays comparable.
    """
    base = np.array([weights.base[t] for t in COUNTED_TYPES])
    free = (found.mass.sum(axis=0) > 0) & (base != 0)
    n = found.n_users

    def of(theta: Floats) -> Floats:
        given = base.copy()
        given[free] = np.clip(base[free] * np.exp(theta), -MAX_WEIGHT, MAX_WEIGHT)
        return given

    def loss(theta: Floats) -> tuple[float, Floats]:
        given = of(theta)
        score = found.mass @ given
        worth, alive = FLOOR + np.maximum(score, 0.0), score > 0
        total = np.bincount(found.user, worth)
        part = found.touched / np.bincount(found.user, found.touched)[found.user]
        value = -(part * (np.log(worth) - np.log(total)[found.user])).sum()
        # d log p / d worth, summed over a user's topics: part / worth − 1 / total, since the parts of a user sum to one
        slope = -(part / worth - 1.0 / total[found.user]) * alive
        gradient = (found.mass[:, free] * given[free]).T @ slope
        return float(value + PENALTY * (theta**2).sum()) / n, (gradient + 2 * PENALTY * theta) / n

    theta = np.asarray(minimize(loss, np.zeros(int(free.sum())), jac=True, method="L-BFGS-B").x)
    fitted = of(theta)
    scale = np.abs(found.mass @ base).sum() / max(np.abs(found.mass @ fitted).sum(), 1e-12)
    fitted[free] = np.clip(fitted[free] * scale, -MAX_WEIGHT, MAX_WEIGHT)
    return replace(weights, base=dict(zip(COUNTED_TYPES, fitted.round(4).tolist(), strict=True)))


def ndcg(found: Weeks, weights: Floats) -> Floats:
    """Each user's NDCG of their topics ranked by weighted mass, ties to the lower topic, shape (n_users,)."""
    order = np.lexsort((-np.round(found.mass @ weights, 6), found.user))
    start = np.searchsorted(found.user, np.arange(found.n_users))
    discount = 1.0 / np.log2(np.arange(len(found.user)) - start[found.user] + 2.0)
    n_touched = np.bincount(found.user, found.touched)
    ideal = np.bincount(found.user, discount * (np.arange(len(found.user)) - start[found.user] < n_touched[found.user]))
    return np.bincount(found.user, discount * found.touched[order]) / ideal


def gains(found: Weeks, fitted: Weights, before: Weights, seed: int) -> dict[str, Estimate]:
    """How much better the fitted weights tell the next week than those before, by measure: mean differences over users."""
    arrays = [np.array([w.base[t] for t in COUNTED_TYPES]) for w in (fitted, before)]
    measures = {"ndcg": ndcg, "log_likelihood": log_likelihood}
    differences = [measure(found, arrays[0]) - measure(found, arrays[1]) for measure in measures.values()]
    return dict(zip(measures, bootstrap(np.column_stack(differences).round(9), seed), strict=True))


def sentence(fitted: Weights, before: Weights, seen: Sequence[str]) -> str:
    """The weights of the types that were seen, each with what it was."""
    return ", ".join(f"{t} {fitted.base[t]:g} (was {before.base[t]:g})" for t in seen)


def seen_types(found: Weeks) -> list[str]:
    """The types that anybody used."""
    return [t for t, used in zip(COUNTED_TYPES, found.mass.sum(axis=0) > 0, strict=True) if used]


def told(fitted: Weights, judged: Mapping[str, Estimate], n_users: int) -> dict[str, Any]:
    """What a version's params say."""
    measured = {f"{name}_gain": [round(v, 6) for v in (e.value, e.low, e.high)] for name, e in judged.items()}
    return {"base": dict(fitted.base), "measured": measured | {"users": n_users}}
