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

    Score of item j for group g: (n_gj + prior · n_j / n) / (n_g + prior), n over the window; plus
    ALL_TIME_SHARE × the share over all nights.
    A user counts once a night and item, however often they came, so that robots do not decide. Users of no group (−1) get everyone's.
    """

    STATE: ClassVar[Mapping[str, tuple[int, ...]]] = {"in_window": (0,), "by_group": (1,)}

    def __init__(self, window: int = 14, prior: float = 50.0) -> None:
        self.window, self.prior = window, prior

    def learn(self, history: Interactions) -> None:
        """Count."""
        liked = history.positive()
        recent = liked.take(liked.age < self.window)
        self.in_window = np.bincount(recent.item, minlength=history.n_items)
        everyone = _share(self.in_window)
        ever = _share(np.bincount(liked.item, minlength=history.n_items))
        self.by_group = np.empty((int(history.group.max(initial=-1)) + 2, history.n_items))
        self.by_group[-1] = everyone
        for group in range(len(self.by_group) - 1):
            counts = np.bincount(recent.item[history.group[recent.user] == group], minlength=history.n_items)
            self.by_group[group] = (counts + self.prior * everyone) / (counts.sum() + self.prior)
        self.by_group += ALL_TIME_SHARE * ever

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


def _share(counts: Ints) -> Floats:
    return counts / max(int(counts.sum()), 1)
