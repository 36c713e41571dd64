"""What many people choose now: popularity over the last nights, by language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from recsys_core.recommenders.base import Floats, Interactions, Ints, Recommender

# Share of the all-time figure in the score: it only orders what the window does not know.
ALL_TIME_SHARE = 1e-3


class Popularity(Recommender):
    """User-nights with a positive interaction over the last `window` nights, in the user's language group, backed off to everyone.

    Score of item j for group g: (n_g · s_gj + prior · s_j) / (n_g + prior), n_g the group's user-nights in the window and s the item's
    share of them; plus ALL_TIME_SHARE × the share over all nights. With a `half_life`, shares are of all user-nights, each weighing
    2^(−nights ago / half_life): what is chosen now counts for more than what was two weeks ago.
    A user counts once a night and item, however often they came, so that robots do not decide. Users of no group (−1) get everyone's.
    """

    STATE: ClassVar[Mapping[str, tuple[int, ...]]] = {"in_window": (0,), "by_group": (1,)}

    def __init__(self, window: int = 14, prior: float = 50.0, half_life: float | None = None) -> None:
        self.window, self.prior, self.half_life = window, prior, half_life

    def learn(self, history: Interactions) -> None:
        """Count."""
        liked = history.positive()
        recent = liked.take(liked.age < self.window)
        self.in_window = np.bincount(recent.item, minlength=history.n_items)
        counted = liked if self.half_life else recent
        weight = 0.5 ** (counted.age / self.half_life) if self.half_life else np.ones(len(recent.age))
        everyone = _share(np.bincount(counted.item, weight, history.n_items))
        ever = _share(np.bincount(liked.item, minlength=history.n_items))
        self.by_group = np.empty((int(history.group.max(initial=-1)) + 2, history.n_items))
        self.by_group[-1] = everyone
        for group in range(len(self.by_group) - 1):
            theirs = history.group[counted.user] == group
            share = _share(np.bincount(counted.item[theirs], weight[theirs], history.n_items))
            n = int((history.group[recent.user] == group).sum())
            self.by_group[group] = (n * share + self.prior * everyone) / (n + self.prior)
        # Weights of ages are sums of many halves: rounded, they do not depend on the order of rows.
        self.by_group = np.round(self.by_group + ALL_TIME_SHARE * ever, 15)

    def meet(self, histories: Interactions) -> None:
        """Note whose group is which; a group that was not there counts as none."""
        self.group = np.where(histories.group < len(self.by_group) - 1, histories.group, -1)

    def scores(self, users: Ints) -> Floats:
        """Each user's group's figures."""
        return self.by_group[self.group[users]]

    def evidence(self, users: Ints, items: Ints) -> Ints:
        """None: nothing in the user's own history speaks for it."""
        return np.full(len(users), -1, np.int64)

    def similar(self, items: Ints) -> Floats:
        """Nothing: no item leads to another."""
        return np.zeros((len(items), self.by_group.shape[1]))


def _share(counts: Floats | Ints) -> Floats:
    total = float(counts.sum())
    return counts / total if total else counts.astype(np.float64)
