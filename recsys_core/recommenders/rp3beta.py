"""Where a walk from a liked item ends: item → user → item, with popular ends held back."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from recsys_core.recommenders.base import Interactions
from recsys_core.recommenders.item_item import ItemItem, likings, neighbourhood


class RP3Beta(ItemItem):
    """Random walks of three steps from user to item (RP³β, Paudel et al. 2016): the profile is the first step, the strengths the others.

    i speaks for j by Σ over users u of p(u | i)^alpha · p(j | u)^alpha / n_j^beta: steps go to each neighbour in proportion to how much
    it is liked (weight^weight_power), n_j is the number of users who liked j. Users with long histories count less for each of their pairs.
    Each item is spoken for by its `neighbours` strongest items only.
    """

    def __init__(
        self,
        alpha: float = 0.8,
        beta: float = 0.4,
        neighbours: int = 200,
        profile_decay: float = 0.9,
        last: int = 200,
        weight_power: float = 0.0,
    ) -> None:
        self.alpha, self.beta, self.neighbours = alpha, beta, neighbours
        self.profile_decay, self.last, self.weight_power = profile_decay, last, weight_power

    def strengths(self, history: Interactions) -> sparse.csr_matrix:
        """Two steps, from item to user to item."""
        liked = likings(history, self.weight_power)
        damped = np.maximum(np.diff(liked.tocsc().indptr), 1) ** self.beta
        to_user, to_item = (self._steps(matrix) for matrix in (liked.T.tocsr(), liked))
        return neighbourhood(to_user, to_item.tocsc(), self.neighbours, lambda i, j, product: product / damped[j])

    def _steps(self, matrix: sparse.csr_matrix) -> sparse.csr_matrix:
        total = np.asarray(matrix.sum(axis=1)).ravel()
        steps = matrix.copy()
        steps.data = (steps.data / np.repeat(total, np.diff(steps.indptr))) ** self.alpha
        return steps
