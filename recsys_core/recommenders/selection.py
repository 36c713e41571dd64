"""Automatic selection: which recommender, with which parameters, or which mixture of several, suits a history."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from recsys_core.ranking.top_n import DIGITS
from recsys_core.recommenders import mixing, recommender
from recsys_core.recommenders.base import Floats, Interactions, Recommender
from recsys_core.recommenders.grid import GRID
from recsys_core.recommenders.holdout import K, cut, lists, measured
from recsys_core.recommenders.item_item import LONGEST
from recsys_core.recommenders.mixture import Mixture, Part

# Validation users × items that are scored, about, for every parameter set and for those that may be mixed: 2,500 and 7,500 users of 10,000
# items, no fewer than MIN_USERS.
CELLS, MEMBER_CELLS = 25_000_000, 75_000_000
MIN_USERS = 1_000
MEMBERS = 8  # parameter sets that may be mixed
LEAST_USERS = 40  # validation users from which on mixtures are tried
# Recommenders that know nothing of an item but its text.
NEED_TEXTS = frozenset({"content", "medoids"})
# Recommenders whose result depends on the direction of a sequence and cannot be told to ignore it.
DIRECTED = frozenset({"sasrec"})
# Seconds that a parameter set takes on one core, roughly, of recommenders that may be costly: by pairs of items of a user, by items, by
# interactions.
COSTLY: dict[str, Callable[[Interactions, Mapping[str, Any]], float]] = {
    "item_knn": lambda history, given: 2e-7 * _pairs(history),
    "rp3beta": lambda history, given: 2e-7 * _pairs(history),
    "next_item": lambda history, given: 2e-7 * _pairs(history) + 3e-5 * len(history.user),
    "ease": lambda history, given: 2e-8 * _pairs(history) + 5e-11 * min(history.n_items, given.get("max_items", 10_000)) ** 3,
    "two_towers": lambda history, given: 30 + 2e-3 * len(history.user),
    "sasrec": lambda history, given: 30 + 3e-3 * len(history.user),
}
LONG = 20.0  # seconds from which on a parameter set waits until all cheaper ones are tried


@dataclass(frozen=True)
class Trial:
    """One row of the table: a parameter set, or a mixture, on the validation cut.

    metrics      of each user of the first sample: ndcg, recall, map at K; empty for a mixture
    fit, score   seconds
    final        the same of all validation users asked, for what may be mixed and mixtures
    power        of a mixture's shares
    """

    name: str
    parts: list[Part]
    metrics: Mapping[str, Floats]
    fit: float
    score: float
    final: Mapping[str, Floats] = field(default_factory=dict)
    power: float = 1.0

    def mean(self, metric: str, final: bool) -> float:
        """Mean over users, 6 decimals, −1 where there is none."""
        values = (self.final if final else self.metrics).get(metric, np.empty(0))
        return round(float(values.mean()), DIGITS) if len(values) else -1.0


@dataclass(frozen=True)
class Selection:
    """What was tried and what is best.

    best       the trial with the largest mean NDCG at K over all users asked, single or mixture: no single one is above it
    trials     best first
    left_out   names of parameter sets that the budget had no time for
    n_first, n_users   validation users asked of every parameter set, and of those that may be mixed
    """

    best: Trial
    trials: list[Trial]
    left_out: list[str]
    n_first: int
    n_users: int

    def table(self) -> str:
        """A Markdown table, best first."""
        heads = [f"{m} (all {self.n_users:,})" for m in (f"NDCG@{K}", f"recall@{K}", f"MAP@{K}")]
        lines = [f"| on validation users | {' | '.join(heads)} | NDCG@{K} (first {self.n_first:,}) | fit s | score s |", "|---" * 7 + "|"]
        for t in self.trials:
            figures = [t.mean(m, True) for m in ("ndcg", "recall", "map")] + [t.mean("ndcg", False)]
            said = " | ".join("" if f < 0 else f"{f:.4f}" for f in figures)
            lines.append(f"| {'**' + t.name + '**' if t is self.best else t.name} | {said} | {t.fit:.1f} | {t.score:.1f} |")
        return "\n".join(lines)


def built(parts: Sequence[Part], power: float = 1.0) -> Recommender:
    """A recommender from its parts, not fitted: the only one, or a mixture."""
    if len(parts) == 1:
        name, parameters, _ = parts[0]
        return recommender(name)(**parameters)
    return Mixture(parts, power)


def sets(names: Sequence[str], history: Interactions, seed: int, direction_blind: bool = False) -> list[tuple[str, dict[str, Any]]]:
    """(name, parameters) to try, in that order: each recommender's first set, each one's second …, what takes LONG after all others.

    Constructors that have `seed` get it. `direction_blind` leaves out what depends on the direction of sequences.
    """
    found: list[tuple[bool, int, str, dict[str, Any]]] = []
    for name in names:
        known = inspect.signature(recommender(name)).parameters
        if direction_blind and name in DIRECTED:
            continue
        for place, given in enumerate(GRID.get(name, [{}])):
            parameters = dict(given) | ({"seed": seed} if "seed" in known else {})
            if direction_blind and "directed" in known:
                parameters = {k: v for k, v in parameters.items() if k != "back"} | {"directed": False}
            if not any(name == n and parameters == p for _, _, n, p in found):
                found.append((_expected(name, parameters, history) > LONG, place, name, parameters))
    return [(name, parameters) for _, _, name, parameters in sorted(found, key=lambda s: s[:2])]


def choose(
    history: Interactions,
    names: Sequence[str],
    validation: str,
    share: float,
    seed: int,
    budget: float,
    clock: Callable[[], float],
    allow_seen: bool = False,
    direction_blind: bool = False,
) -> Selection:
    """The recommender whose lists best meet what is held out of the history (`holdout.cut`), by mean NDCG at K over validation users.

    Parameter sets are tried in the order of `sets` on a sample of the users as long as `budget` seconds by `clock` allow, at least one; the
    best of them then on more users, with a mixture of them: a part joins with the weight that gains most on one half of the users, and
    stays if it gains on the other half, too. The mixture is chosen only if it is above every single set. The same sets tried, the same
    choice. Where nothing can be held out the first set stands.
    """
    deadline = clock() + budget
    held = cut(history, validation, share, seed, allow_seen)
    order = np.random.default_rng(seed).permutation(len(held.users))
    first, held = (held.among(held.users[np.sort(order[: _users(cells, history)])]) for cells in (CELLS, MEMBER_CELLS))
    ratio = len(held.users) / max(len(first.users), 1)
    trials: list[Trial] = []
    fitted: dict[str, Recommender] = {}
    left_out: list[str] = []
    for name, parameters in sets(names, history, seed, direction_blind):
        label = _said(name, parameters)
        needed = max((t.fit + t.score for t in trials if t.parts[0][0] == name), default=_expected(name, parameters, history))
        reserve = ratio * sum(t.score for t in trials if t.name in fitted)
        if trials and (not len(held.users) or clock() + needed + reserve > deadline):
            left_out.append(label)
            continue
        begun = clock()
        fitted[label] = recommender(name)(**parameters).fit(held.known)
        done = clock()
        metrics = measured(lists(fitted[label], held.known, first.users, K, allow_seen)[0], first)
        trials.append(Trial(label, [(name, parameters, 1.0)], metrics, done - begun, clock() - done))
        fitted = {t.name: fitted[t.name] for t in _members(trials)}
    members = _members(trials)
    finals: list[Trial] = []
    if len(held.users) >= LEAST_USERS and len(members) > 1:
        begun = clock()
        found = mixing.proposals([fitted[t.name] for t in members], held, allow_seen)
        unit = np.eye(len(members))
        finals = [replace(t, final=found.metrics(unit[n])) for n, t in enumerate(members)]
        best_first = sorted(range(len(finals)), key=lambda n: -finals[n].mean("ndcg", True))
        weights = np.zeros(len(finals))
        weights[best_first], power = mixing.weights(found.of(best_first), seed)
        if np.count_nonzero(weights) > 1:
            inside = sorted(np.flatnonzero(weights), key=lambda n: -weights[n])
            parts: list[Part] = [(*finals[n].parts[0][:2], round(float(weights[n]), 4)) for n in inside]
            label = " + ".join(f"{part[2]:g} {finals[n].name}" for n, part in zip(inside, parts, strict=True))
            label += f" of shares^{power:g}" if power != 1 else ""
            finals.append(Trial(label, parts, {}, clock() - begun, 0.0, found.raised(power).metrics(weights), power))
    ranked = sorted(finals or trials, key=lambda t: (-t.mean("ndcg", bool(finals)), len(t.parts)))
    others = [t for t in sorted(trials, key=lambda t: -t.mean("ndcg", False)) if t.name not in {f.name for f in ranked}]
    return Selection(ranked[0], [*ranked, *others], left_out, len(first.users), len(held.users))


def _users(cells: int, history: Interactions) -> int:
    return max(MIN_USERS, cells // max(history.n_items, 1))


def _expected(name: str, parameters: Mapping[str, Any], history: Interactions) -> float:
    return COSTLY[name](history, parameters) if name in COSTLY else 0.0


def _pairs(history: Interactions) -> float:
    return float((np.minimum(np.bincount(history.user), LONGEST).astype(np.float64) ** 2).sum())


def _said(name: str, parameters: Mapping[str, Any]) -> str:
    inside = ", ".join(f"{k}={v}" for k, v in parameters.items() if k != "seed")
    return f"{name}({inside})" if inside else name


def _members(trials: Sequence[Trial]) -> list[Trial]:
    """What may be mixed, best first: half of the places go to the best sets, the others to the best set of each further recommender."""
    ranked = sorted(trials, key=lambda t: -t.mean("ndcg", False))
    chosen = ranked[: MEMBERS // 2]
    for trial in ranked[MEMBERS // 2 :]:
        if len(chosen) < MEMBERS and trial.parts[0][0] not in {t.parts[0][0] for t in chosen}:
            chosen.append(trial)
    return chosen
