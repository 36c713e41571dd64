"""Probabilities that mean what they say: scaling of scores on nights held out, and how far what was said is from what came."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_core.recommenders.base import Floats

BINS = 10
LEAST_SLOPE = 0.05
_RIDGE = 1e-6


def platt(scores: Floats, came: NDArray[np.bool_]) -> tuple[float, float]:
    """(a, b) of p = 1 / (1 + e^−(a · score + b)) that make what came most likely (Platt 1999), by Newton's method, rounded to 6 decimals.

    A is never below LEAST_SLOPE: a scaling does not turn an order round.

    >>> platt(np.array([0.0, 0.0, 0.0, 0.0]), np.array([True, False, False, False]))  # nothing but the base rate: b = ln(1/3)
    (0.05, -1.098611)
    """
    x = np.column_stack([np.ravel(scores).astype(np.float64), np.ones(np.size(scores))])
    y, w = np.ravel(came).astype(np.float64), np.array([1.0, 0.0])
    for free in ([0, 1], [1]):
        for _ in range(50):
            p = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
            columns = x[:, free]
            hessian = (columns * (p * (1 - p))[:, None]).T @ columns + _RIDGE * np.eye(len(free))
            step = np.linalg.solve(hessian, columns.T @ (y - p) - _RIDGE * w[free])
            w[free] += np.clip(step, -1, 1)
            if np.abs(step).max() < 1e-9:
                break
        if w[0] >= LEAST_SLOPE:
            break
        w[0] = LEAST_SLOPE
    return round(float(w[0]), 6), round(float(w[1]), 6)


def share_score(share: Floats) -> Floats:
    """A share as a score that can be scaled: its log-odds, a hundredth away from 0 and 1."""
    return np.log((share + 0.01) / (1.01 - share))


def scaled(scores: Floats, ab: tuple[float, float] | Floats) -> Floats:
    """Probabilities of scores by what `platt` found."""
    found: Floats = 1 / (1 + np.exp(-np.clip(ab[0] * scores + ab[1], -30, 30)))
    return found


def curve(said: Floats, came: NDArray[np.bool_], bins: int = BINS) -> list[tuple[float, float, int]]:
    """(mean probability said, share that came, how many) of each of `bins` equally large groups, from the least likely to the most.

    Equal probabilities stay together, so that the order of rows changes nothing and there may be fewer groups.

    >>> curve(np.array([0.1, 0.1, 0.9, 0.9]), np.array([False, False, True, False]), 2)
    [(0.1, 0.0, 2), (0.9, 0.5, 2)]
    """
    said, came = np.ravel(said), np.ravel(came)
    if not len(said):
        return []
    edges = np.unique(np.quantile(said, np.arange(1, bins) / bins, method="lower"))
    group = np.searchsorted(edges, said, side="left")
    n = np.bincount(group)
    sums = [np.bincount(group, v) for v in (said, came.astype(np.float64))]
    return [(round(float(p / m), 6), round(float(c / m), 6), int(m)) for p, c, m in zip(*sums, n, strict=True) if m]


def expected_error(found: list[tuple[float, float, int]]) -> float:
    """Expected calibration error: mean |said − came| over the groups of `curve`, by size (Naeini et al. 2015; equally large groups).

    >>> expected_error([(0.1, 0.0, 2), (0.9, 0.5, 2)])
    0.25
    """
    total = sum(n for *_, n in found)
    return round(sum(n * abs(p - c) for p, c, n in found) / max(total, 1), 6)


def measured(said: Floats, came: NDArray[np.bool_]) -> dict[str, Any]:
    """Brier score, expected calibration error and curve of probabilities, JSON."""
    groups = curve(said, came)
    return {"brier": round(float(np.mean((said - came) ** 2)), 6), "ece": expected_error(groups), "curve": [list(g) for g in groups]}
