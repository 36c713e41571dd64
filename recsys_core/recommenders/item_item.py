"""What leads from item to item: a matrix of strengths, and users as decayed profiles of what they met."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from scipy import sparse

from recsys_core.recommenders.base import Floats, Interactions, Ints, Recommender, padded, profiles, strongest


class ItemItem(Recommender):
    """Scores: Σ over the user's latest items of profile weight × strength towards the proposal.

    A user's profile is their `last` positive interactions, decayed by `profile_decay` for each one since. A subclass says what the
    strengths are; its constructor has both parameters.
    """

    STATE: ClassVar[Mapping[str, tuple[int, ...]]] = {"strength": (0, 1)}
    profile_decay: float
    last: int
    strength: sparse.csr_matrix

    @abstractmethod
    def strengths(self, history: Interactions) -> sparse.csr_matrix:
        """How much each item (row) speaks for each other one (column), ≥ 0, shape (n_items, n_items), nothing on the diagonal."""

    def learn(self, history: Interactions) -> None:
        """Find the strengths."""
        self.strength = self.strengths(history)
        self.strength.sort_indices()

    def meet(self, histories: Interactions) -> None:
        """Decay the profiles."""
        n = self.strength.shape[0]
        # Places of the entries in row-major order, ascending: evidence looks single strengths up by bisection.
        self._keys = np.repeat(np.arange(n), np.diff(self.strength.indptr)) * n + self.strength.indices
        self.profile = profiles(histories, self.profile_decay, self.last)

    def scores(self, users: Ints) -> Floats:
        """Profile × strength."""
        return (self.profile[users] @ self.strength).toarray()

    def evidence(self, users: Ints, items: Ints) -> Ints:
        """The history item with the largest profile weight × strength towards the proposal."""
        origins, values = padded(self.profile, users)
        keys = origins * self.strength.shape[0] + items[:, None]
        if not len(self._keys):
            return np.full(len(users), -1, np.int64)
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return strongest(self.profile, users, values * np.where(self._keys[at] == keys, self.strength.data[at], 0.0))

    def similar(self, items: Ints) -> Floats:
        """Rows of the strengths."""
        return self.strength[items].toarray()
