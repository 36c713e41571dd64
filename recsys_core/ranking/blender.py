"""The blend: a linear score over what sources say, with coefficients that what users turned to has chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp

from recsys_core.ranking.top_n import DIGITS, top_n
from recsys_core.recommenders.base import Floats, Ints

# Users with fewer events are known by what they turned to rather than by what others did after it: texts count for more.
FEW_EVENTS = 10
SEGMENTS = ("few", "many")
# How many users' worth of doubt pulls fitted coefficients towards equal ones.
PRIOR = 0.3
# Log odds between a candidate that all sources put first and one that none knows, at most.
SHARPEST = 100.0


def segments(n_events: Ints) -> Ints:
    """Place in SEGMENTS of users with so many events.

    >>> segments(np.array([0, 9, 10])).tolist()
    [0, 0, 1]
    """
    return (n_events >= FEW_EVENTS).astype(np.int64)


def shaped(features: Floats) -> Floats:
    """Normalised scores s as (s, √s), shape (…, 2): a source may be right in its first choices alone, or in all that it names.

    >>> shaped(np.array([0.25, 1.0])).tolist()
    [[0.25, 0.5], [1.0, 1.0]]
    """
    return np.stack([features, np.sqrt(features)], axis=-1)


@dataclass(frozen=True)
class Blend:
    """A source that gives an item the normalised score s adds a · s + b · √s to the blend's, with coefficients a, b ≥ 0.

    weights    segment → source → (a, b); those of a segment sum to 1, so that a score lies between 0 and 1, and a + b is what the source
               adds to its own first choice
    sharpness  segment → the factor that makes scores log odds: p(a user turns to a candidate) ∝ exp(sharpness · score)
    """

    weights: Mapping[str, Mapping[str, Sequence[float]]]
    sharpness: Mapping[str, float]

    @staticmethod
    def default(sources: Sequence[str]) -> Blend:
        """What blends `sources` before anything is fitted: all count alike."""
        return Blend.of(sources, dict.fromkeys(SEGMENTS, np.full((len(sources), 2), 0.5 / len(sources))))

    @staticmethod
    def of(sources: Sequence[str], odds: Mapping[str, Floats]) -> Blend:
        """The blend of coefficients of log odds, (sources, 2) for each segment."""
        scale = {s: float(raw.sum()) or 1.0 for s, raw in odds.items()}
        weights = {
            s: {name: [round(float(v) / scale[s], DIGITS) for v in pair] for name, pair in zip(sources, raw, strict=True)}
            for s, raw in odds.items()
        }
        return Blend(weights, {s: round(v, DIGITS) for s, v in scale.items()})

    @staticmethod
    def linear(weights: Mapping[str, float]) -> Blend:
        """The blend of given weights of the normalised scores themselves, the same for everybody."""
        raw = np.array([(w, 0.0) for w in weights.values()])
        return Blend.of([*weights], dict.fromkeys(SEGMENTS, raw))

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources, sorted: the order of features."""
        return tuple(sorted(self.weights[SEGMENTS[0]]))

    def shares(self, segment: str) -> dict[str, float]:
        """What each source adds to its own first choice, for users of a segment."""
        return {name: round(float(sum(pair)), DIGITS) for name, pair in self.weights[segment].items()}

    def matrix(self, sources: Sequence[str]) -> Floats:
        """Coefficients (segments, len(sources), 2), 0 for sources that the blend does not know."""
        return np.array([[self.weights[s].get(name, (0.0, 0.0)) for name in sources] for s in SEGMENTS])

    def contributions(self, features: Floats, segment: Ints) -> Floats:
        """What each source adds to each score, (m, c, f), 6 decimals; `features` in the order of `sources`, `segment` (m,) places."""
        return np.round(np.einsum("mcfs,mfs->mcf", shaped(features), self.matrix(self.sources)[segment]), DIGITS)

    def scores(self, features: Floats, segment: Ints) -> Floats:
        """Scores (m, c): the sums of the contributions, to the last decimal."""
        return np.round(self.contributions(features, segment).sum(axis=2), DIGITS)


@dataclass(frozen=True)
class Choices:
    """Candidates of users, and which of them the users then turned to.

    item, features  as in Candidates, the features in the order of `sources`
    chosen          (m, c), whether the user turned to the candidate
    n_relevant      (m,) what the user turned to and might have been shown, candidate or not
    user, segment   (m,) codes, and places in SEGMENTS
    """

    sources: tuple[str, ...]
    user: Ints
    item: Ints
    features: Floats
    chosen: NDArray[np.bool_]
    n_relevant: Ints
    segment: Ints

    def take(self, rows: NDArray[np.bool_]) -> Choices:
        """Some of the users."""
        return Choices(self.sources, *(getattr(self, n)[rows] for n in ("user", "item", "features", "chosen", "n_relevant", "segment")))

    @staticmethod
    def joined(parts: Sequence[Choices]) -> Choices:
        """Users of several blocks or nights under one another."""
        width = max(part.item.shape[1] for part in parts)

        def wide(array: NDArray[Any], fill: Any) -> NDArray[Any]:
            return np.pad(array, [(0, 0), (0, width - array.shape[1]), *[(0, 0)] * (array.ndim - 2)], constant_values=fill)

        return Choices(
            parts[0].sources,
            np.concatenate([p.user for p in parts]),
            np.vstack([wide(p.item, -1) for p in parts]),
            np.concatenate([wide(p.features, 0.0) for p in parts]),
            np.vstack([wide(p.chosen, False) for p in parts]),
            np.concatenate([p.n_relevant for p in parts]),
            np.concatenate([p.segment for p in parts]),
        )

    def hits(self, score: Floats, n: int) -> NDArray[np.bool_]:
        """Whether each of the n best candidates by `score` (m, c) was chosen, best first."""
        best = top_n(score, self.item >= 0, n)
        return (best >= 0) & np.take_along_axis(self.chosen, np.maximum(best, 0), axis=1)


def log_losses(choices: Choices, odds: Floats) -> Floats:
    """−log p of what each user chose, the mean over it, by a softmax of `odds` (m, c) over the user's candidates; NaN without a choice."""
    odds = np.where(choices.item >= 0, odds, -np.inf)
    n = choices.chosen.sum(axis=1)
    total = np.where(choices.chosen, odds, 0.0).sum(axis=1)
    return np.where(n > 0, logsumexp(odds, axis=1) - total / np.maximum(n, 1), np.nan)


def fit(choices: Choices, start: Blend, prior: float = PRIOR) -> Blend:
    """The blend of `choices.sources` under which what users chose is most likely, by segment.

    Conditional logistic regression (McFadden 1974): each thing that a user turned to is a choice among their candidates, users weigh alike.
    It compares candidates of one user, as a list does; a plain logistic regression would spend its coefficients on who buys at all.
    Minimised is the mean over users of `log_losses` + prior / (2 users) · ‖w − w₀‖², w₀ being the coefficients of `start` with the
    sharpness that suits these choices; w ≥ 0, because a source that is wrong is to be left out, not to be contradicted: a reason could not
    be given. The problem is convex and L-BFGS-B starts from w₀, so that equal choices give equal coefficients. A segment without a choice
    keeps those of `start`.
    """
    found = {}
    for place, name in enumerate(SEGMENTS):
        own = choices.take((choices.segment == place) & choices.chosen.any(axis=1))
        base = start.matrix(choices.sources)[place]
        found[name] = base * start.sharpness[name]
        if len(own.item) and base.any():
            columns = shaped(own.features).reshape(*own.item.shape, -1)
            one = _most_likely(own, (columns @ base.ravel())[:, :, None], np.ones(1), 0.0)
            found[name] = _most_likely(own, columns, base.ravel() * one[0], prior).reshape(base.shape)
    return Blend.of(choices.sources, found)


def sharpened(choices: Choices, blend: Blend) -> Blend:
    """The blend with the sharpness that makes what users chose most likely; `choices` are seen by the blend's sources."""
    found = dict(blend.sharpness)
    for place, name in enumerate(SEGMENTS):
        own = choices.take((choices.segment == place) & choices.chosen.any(axis=1))
        if len(own.item):
            score = blend.scores(own.features, own.segment)[:, :, None]
            found[name] = round(float(_most_likely(own, score, np.ones(1), 0.0)[0]), DIGITS)
    return Blend(blend.weights, found)


def _most_likely(choices: Choices, columns: Floats, start: Floats, prior: float) -> Floats:
    """Coefficients ≥ 0 of `columns` (m, c, k), from `start` (k,), that make the choices most likely; every user has one."""
    inside, n = choices.item >= 0, len(choices.item)
    share = choices.chosen / choices.chosen.sum(axis=1, keepdims=True)
    wanted = np.einsum("mc,mck->k", share, columns) / n
    loss = _objective(columns, inside, wanted, start, prior / n)
    bounds = [(0.0, SHARPEST)] * len(start)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500, "ftol": 1e-12})
    best: Floats = found.x
    return best


def _objective(
    columns: Floats, inside: NDArray[np.bool_], wanted: Floats, start: Floats, prior: float
) -> Callable[[Floats], tuple[float, Floats]]:
    """Loss and gradient; `wanted` is the mean of the columns of what was chosen."""

    def loss(w: Floats) -> tuple[float, Floats]:
        odds = np.where(inside, columns @ w, -np.inf)
        norm = logsumexp(odds, axis=1)
        p = np.exp(odds - norm[:, None])
        pull = w - start
        gradient = np.einsum("mc,mck->k", p, columns) / len(columns) - wanted + prior * pull
        return float(norm.mean() - wanted @ w + prior / 2 * pull @ pull), gradient

    return loss
