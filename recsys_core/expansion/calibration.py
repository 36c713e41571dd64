"""From what a method goes by to the probability that a user touches a topic for the first time within the next seven days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys_core.expansion.state import Floats

# With fewer first touches nothing is fitted.
LEAST_TOUCHES = 30
_RIDGE, _STEPS = 1.0, 25
LEAST = 1e-6


@dataclass(frozen=True)
class Calibration:
    """log odds = constant + lead · log(how much leads to the topic) + base · (log odds without it) + activity · log(1 + events)."""

    constant: float
    lead: float
    base: float
    activity: float

    def probability(self, lead: Floats, base: Floats, activity: Floats) -> Floats:
        """Of each (user, topic) by `lead` ≥ 0 and `base`, (n, k), and `activity` (n,); rounded to 6 decimals; 0 where nothing leads."""
        odds = self.constant + self.lead * np.log(np.maximum(lead, LEAST)) + self.base * base
        odds = np.clip(odds + self.activity * np.log1p(activity)[:, None], -30, 30)
        return np.where(lead > 0, np.maximum(np.round(1 / (1 + np.exp(-odds)), 6), LEAST), 0.0)


def fit(pairs: Floats, default: Calibration) -> Calibration:
    """What was seen of pairs of a user and a topic, (n, 4): log lead, base, log(1 + events), 1 where the user touched the topic.

    A logistic regression with a weak pull to `default`, by Newton's method; `default` itself for fewer than LEAST_TOUCHES. Where more lead
    was met with less, the lead is left out: no reason may be given that speaks against what it is given for.
    """
    x, y = np.column_stack([np.ones(len(pairs)), pairs[:, :3]]), pairs[:, 3]
    if y.sum() < LEAST_TOUCHES:
        return default
    pull = np.array([default.constant, default.lead, default.base, default.activity])
    found = _newton(x, y, pull)
    if found[1] < 0:
        rest = [0, 2, 3]
        found = np.zeros(4)
        found[rest] = _newton(x[:, rest], y, pull[rest])
    constant, lead, base, activity = np.round(found, 6).tolist()
    return Calibration(constant, lead, base, activity)


def seen(lead: Floats, base: Floats, activity: Floats, new: np.ndarray, counted: np.ndarray) -> Floats:
    """Pairs as `fit` takes them, of those that are `counted` (n, k) and that something leads to."""
    row, column = np.nonzero(counted & (lead > 0))
    columns: Sequence[Floats] = (np.log(lead[row, column]), base[row, column], np.log1p(activity[row]), new[row, column])
    return np.column_stack(columns)


def _newton(x: Floats, y: Floats, pull: Floats) -> Floats:
    """Coefficients (columns of x) of the penalised logistic regression of y on x."""
    found: Floats = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ found, -30, 30)))
        slope = x.T @ (p - y) + _RIDGE * (found - pull)
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + _RIDGE * np.eye(x.shape[1]), slope)
        found = found - np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-9:
            break
    return found
