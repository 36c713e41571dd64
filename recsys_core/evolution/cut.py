"""The global time cut of a training: earlier nights to learn from, later ones to choose by, the last ones to judge by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys_core.evolution.features import WINDOW, TopicDays, active
from recsys_core.recommenders.base import Floats, Ints

HELD_OUT = 0.15
MOST_HELD_OUT = 60


@dataclass(frozen=True)
class Part:
    """Nights (ordinals, first to last) that forecasts are made at the end of; what is known of the nights up to `end` alone is learnt."""

    first: int
    last: int
    end: int

    def knows(self, day: Ints, horizon: int) -> np.ndarray:
        """Whether all `horizon` nights after each night are known."""
        return day + horizon <= self.end


@dataclass(frozen=True)
class Cut:
    """Three parts in the order of time, and the horizons for which each of them has nights.

    What a part learns from ends before the next one's first forecast is made.
    """

    train: Part
    validation: Part
    test: Part
    horizons: tuple[int, ...]


def time_cut(first: int, last: int, horizons: tuple[int, ...]) -> Cut | None:
    """The cut of nights first … last for as many of the horizons, shorter ones first, as there are nights for; None when for none.

    Validation and test get HELD_OUT of the nights each, at least a horizon, at most MOST_HELD_OUT or a horizon; training at least a
    horizon and three nights.

    >>> cut = time_cut(1, 31, (1, 7))
    >>> for part in (cut.train, cut.validation, cut.test):
    ...     print(part)
    Part(first=2, last=16, end=17)
    Part(first=17, last=23, end=24)
    Part(first=24, last=30, end=31)
    >>> time_cut(1, 10, (1, 7)).horizons, time_cut(1, 6, (1, 7))
    ((1,), None)
    """
    for count in range(len(horizons), 0, -1):
        longest = sorted(horizons)[count - 1]
        held = max(longest, min(round(HELD_OUT * (last - first)), MOST_HELD_OUT))
        if last - first >= 2 * held + longest + 3:
            test, validation = last - held, last - 2 * held
            parts = Part(first + 1, validation - 1, validation), Part(validation, test - 1, test), Part(test, last - 1, last)
            return Cut(*parts, tuple(sorted(horizons)[:count]))
    return None


@dataclass(frozen=True)
class Moments:
    """(user, night) pairs by night, then user, and what each counts: as many as it stands for, 1 on average."""

    user: Ints
    day: Ints
    weight: Floats


def moments(days: TopicDays, part: Part, most: int, seed: int, back: int = 0) -> Moments:
    """At most about `most` of the pairs of a part in which the user was active in the WINDOW nights up to the night, drawn evenly.

    With `back`, half of them are users who come back within so many nights, as far as the part may know: where most never do, these are
    what there is to learn from. They count less for it.
    """
    groups = [_groups(days, part, day, back) for day in range(part.first, part.last + 1)]
    totals = [sum(len(g[n]) for g in groups) for n in range(2)]
    half = max(most // 2, most - totals[1]) if back else most
    chance = [min(1.0, half / max(totals[0], 1)), min(1.0, max(most - min(totals[0], half), 0) / max(totals[1], 1))]
    rng, found = np.random.default_rng(seed), []
    for day, members in enumerate(groups, part.first):
        drawn = [(g[rng.random(len(g)) < p], 1 / max(p, 1e-12)) for g, p in zip(members, chance, strict=True)]
        user = np.concatenate([u for u, _ in drawn])
        weight = np.concatenate([np.full(len(u), w) for u, w in drawn])
        order = np.argsort(user)
        found.append((user[order], np.full(len(user), day), weight[order]))
    users, nights, weights = (np.concatenate(columns) for columns in zip(*found, strict=True))
    return Moments(users, nights, weights / max(weights.mean(), 1e-12) if len(weights) else weights)


def _groups(days: TopicDays, part: Part, day: int, back: int) -> tuple[Ints, Ints]:
    """(users who come back within `back` nights, other users) of those active before."""
    here = active(days, day - WINDOW + 1, day)
    if not back:
        return here, here[:0]
    returns = np.isin(here, active(days, day + 1, min(day + back, part.end)), assume_unique=True)
    return here[returns], here[~returns]
