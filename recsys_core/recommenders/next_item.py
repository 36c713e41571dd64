"""What comes next: transitions propose, a fitted choice model weighs what the latest items say for a proposal, and by which path."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

import numpy as np
from scipy import sparse

from recsys_core.recommenders.base import Floats, Interactions, Ints, places_from_end
from recsys_core.recommenders.item_item import ItemItem
from recsys_core.recommenders.rp3beta import RP3Beta
from recsys_core.recommenders.transitions import Transitions

PATHS = ("next", "far", "before", "walks")
# The last item, the one before, all earlier ones: first and behind the last place from the end, decay by place.
LAGS = ((0, 1, 1.0), (1, 2, 1.0), (2, 30, 0.8))
BLOCK = 2048  # users at once, < 2^16
_transitions = partial(Transitions, row_power=0.7, column_power=0.1, prior=100.0)
_FLOOR, _CEILING = 0.03, 30.0  # of what is said, over its mean
_LARGEST = 50.0  # utility
_STEPS = 30
_DIGITS = 6


class NextItem(ItemItem):
    """A conditional logit (McFadden 1974) over the `candidates` best of transitions: the score is exp(w · f).

    f(user, item) is what the user's latest items say for the item: their sum by transitions (the strengths), and for each of PATHS what the
    last item, the one before, and the earlier ones say; each over its mean and as a logarithm; and how many liked the item, with the
    length of the history. Paths: transitions to the next item, to later ones, back to earlier ones, and walks over the same people (RP³β).
    w is fitted on every user's last item, given those before it, by a ridge towards transitions alone (`ridge`): with few users it is
    nearly that. Strengths are counted anew on the whole history afterwards. `directed=False` takes order out of all paths.
    Evidence and `similar` are those of the transitions.
    """

    STATE: ClassVar[Mapping[str, tuple[int, ...]]] = {
        "strength": (0, 1),
        **dict.fromkeys(PATHS, (0, 1)),
        "n_liked": (0,),
        "means": (),
        "weights": (),
    }

    def __init__(
        self,
        profile_decay: float = 0.65,
        last: int = 50,
        candidates: int = 100,
        ridge: float = 1.0,
        max_users: int = 20_000,
        directed: bool = True,
    ) -> None:
        self.profile_decay, self.last, self.candidates = profile_decay, last, candidates
        self.ridge, self.max_users, self.directed = ridge, max_users, directed

    def strengths(self, history: Interactions) -> sparse.csr_matrix:
        """Transitions, with some weight on the way back."""
        return _transitions(window=30, decay=0.9, back=0.2, directed=self.directed).strengths(history)

    def learn(self, history: Interactions) -> None:
        """Fit the weights with the last items held out, then count everything."""
        n_features = 2 * (1 + len(PATHS) * len(LAGS)) + 2
        self.means, self.weights = np.ones(n_features // 2 - 1), np.zeros(n_features)
        self.weights[len(self.means)] = 1.0  # the logarithm of what transitions say
        liked = history.positive()
        is_last = places_from_end(liked.user) == 0
        known = liked.take(~is_last)
        self._count(known)
        self.meet(known)
        self._fit(known, liked.user[is_last], liked.item[is_last])
        self._count(history)

    def meet(self, histories: Interactions) -> None:
        """Decay the profiles, as a whole and by lag."""
        super().meet(histories)
        liked = histories.positive()
        since, shape = places_from_end(liked.user), (histories.n_users, histories.n_items)
        self._lags = []
        for first, behind, decay in LAGS:
            of = (since >= first) & (since < behind)
            said = decay ** since[of].astype(np.float64)
            self._lags.append(sparse.csr_matrix((said, (liked.user[of], liked.item[of])), shape=shape))
        self._length = np.bincount(liked.user, minlength=histories.n_users)

    def scores(self, users: Ints) -> Floats:
        """exp(w · f), 0 for what is no candidate."""
        found = np.zeros((len(users), self.strength.shape[0]))
        for first in range(0, len(users), BLOCK):
            block = users[first : first + BLOCK]
            row, item, said = self._proposals(block, self.candidates + np.diff(self.profile.indptr)[block])
            if len(row):
                # Rounded, because a product's last bits depend on the row's place in the block.
                utility = (self._design(self._said(block, row, item, said), block[row], item) @ self.weights).round(9)
                found[first + row, item] = np.exp(np.clip(utility, -_LARGEST, _LARGEST))
        return found

    def _count(self, history: Interactions) -> None:
        super().learn(history)
        far = _transitions(window=30, decay=0.93, directed=self.directed)
        counts = far.counts(history)
        self.far, self.before = far.tamed(counts), far.tamed(counts.T.tocsr())
        self.next = _transitions(window=1, directed=self.directed).strengths(history)
        self.walks = RP3Beta(alpha=0.6, beta=0.2).strengths(history)
        for path in PATHS:
            getattr(self, path).sort_indices()
        self.n_liked = np.bincount(history.positive().item, minlength=history.n_items)

    def _proposals(self, users: Ints, n: Ints, without: sparse.csr_matrix | None = None) -> tuple[Ints, Ints, Floats]:
        """The n best of each user by transitions as (row, item, what transitions say), ordered by row; ties to the lower code."""
        said = self.profile[users] @ self.strength
        if without is not None:
            said = said - said.multiply(without[users])
            said.eliminate_zeros()
        said.sort_indices()
        row, item = np.repeat(np.arange(len(users)), np.diff(said.indptr)), said.indices.astype(np.int64)
        order = np.argsort(-said.data, kind="stable")
        order = order[np.argsort(row[order].astype(np.uint16), kind="stable")]  # short integers are sorted by radix: BLOCK fits
        best = order[np.arange(len(order)) - said.indptr[row] < n[row]]
        return row[best], item[best], said.data[best]

    def _said(self, users: Ints, row: Ints, item: Ints, said: Floats) -> Floats:
        paths = [np.asarray((lag[users] @ getattr(self, path))[row, item]).ravel() for path in PATHS for lag in self._lags]
        return np.column_stack([said, *paths])

    def _design(self, said: Floats, user: Ints, item: Ints) -> Floats:
        relative = np.minimum(said / self.means, _CEILING)
        popular = np.log1p(self.n_liked[item])
        return np.column_stack([relative, np.log(relative + _FLOOR), popular, popular * np.log1p(self._length[user])])

    def _fit(self, known: Interactions, user: Ints, item: Ints) -> None:
        step = max(1, -(-len(user) // self.max_users))
        user, item = user[::step], item[::step]
        seen = known.seen().astype(bool)
        target = np.full(known.n_users, -1)
        target[user] = item
        saids, users, items = [], [], []
        for first in range(0, len(user), BLOCK):
            block = user[first : first + BLOCK]
            row, proposed, said = self._proposals(block, np.full(len(block), self.candidates), seen)
            hit = np.bincount(row, proposed == target[block[row]], minlength=len(block)) > 0
            row, proposed, said = row[hit[row]], proposed[hit[row]], said[hit[row]]
            if len(row):
                saids.append(self._said(block, row, proposed, said))
                users.append(block[row])
                items.append(proposed)
        if not saids:
            return
        told, who, what = np.concatenate(saids), np.concatenate(users), np.concatenate(items)
        means = told.mean(axis=0)
        self.means = np.where(means > 0, means, 1.0)
        self.weights = conditional_logit(self._design(told, who, what), who, what == target[who], self.weights, self.ridge)


def conditional_logit(features: Floats, group: Ints, chosen: np.ndarray, start: Floats, ridge: float) -> Floats:
    """Weights w that maximise Σ over groups of log P(chosen) − ridge / 2 · |w − start|², P ∝ exp(features · w) within a group, 6 decimals.

    `group` is ordered and each group has one chosen row. Newton's method; the objective is concave, steps that lower it are halved.

    >>> w = conditional_logit(np.array([[1.0], [0], [1], [0], [1], [0]]), np.array([0, 0, 1, 1, 2, 2]),
    ...                       np.array([True, False, True, False, False, True]), np.zeros(1), 1e-9)
    >>> round(float(np.exp(w[0])), 3)  # chosen twice in three with the feature
    2.0
    """
    begins = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    place = np.repeat(np.arange(len(begins)), np.diff(np.r_[begins, len(group)]))

    def at(weights: Floats) -> tuple[float, Floats]:
        utility = features @ weights
        utility -= np.maximum.reduceat(utility, begins)[place]
        odds = np.exp(utility)
        total = np.add.reduceat(odds, begins)
        fit = utility[chosen].sum() - np.log(total).sum() - ridge / 2 * float(((weights - start) ** 2).sum())
        return float(fit), odds / total[place]

    weights = start
    value, share = at(weights)
    for _ in range(_STEPS):
        weighted = features * share[:, None]
        means = np.add.reduceat(weighted, begins, axis=0)
        gradient = features[chosen].sum(axis=0) - means.sum(axis=0) - ridge * (weights - start)
        step = np.linalg.solve(weighted.T @ features - means.T @ means + ridge * np.eye(len(start)), gradient)
        while np.abs(step).max() > 1e-7:
            new, new_share = at(weights + step)
            if new >= value:
                break
            step = step / 2
        else:
            break
        weights, value, share = weights + step, new, new_share
    return weights.round(_DIGITS)
