"""What people go on to: directed, decayed item → item transitions."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from recsys_core.recommenders.base import Interactions, places_from_end
from recsys_core.recommenders.item_item import ItemItem


class Transitions(ItemItem):
    """Scores of what follows: Σ over the user's latest items of profile weight × transition strength.

    Every ordered pair of positive interactions of one user, at most `window` apart, adds decay^(distance − 1) to T[before, after]; then T
    is divided by (row sum)^row_power · (column sum)^column_power, which tames items that lead, or are led to, everywhere.
    `directed=False` adds the transposed pairs.
    A user's profile is their `last` positive interactions, decayed by `profile_decay` for each one since.
    """

    def __init__(
        self,
        window: int = 20,
        decay: float = 0.8,
        row_power: float = 0.5,
        column_power: float = 0.3,
        profile_decay: float = 0.7,
        last: int = 30,
        directed: bool = True,
    ) -> None:
        self.window, self.decay, self.row_power, self.column_power = window, decay, row_power, column_power
        self.profile_decay, self.last, self.directed = profile_decay, last, directed

    def strengths(self, history: Interactions) -> sparse.csr_matrix:
        """Count the transitions of the positive interactions."""
        liked, n = history.positive(), history.n_items
        counts = sparse.csr_matrix((n, n))
        left = places_from_end(liked.user)
        for step in range(1, self.window + 1):
            first = np.flatnonzero(left >= step)
            before, after = liked.item[first], liked.item[first + step]
            moved = before != after
            weight = np.full(int(moved.sum()), self.decay ** (step - 1))
            counts = counts + sparse.csr_matrix((weight, (before[moved], after[moved])), shape=(n, n))
        if not self.directed:
            counts = counts + counts.T
        rows, columns = np.asarray(counts.sum(axis=1)).ravel(), np.asarray(counts.sum(axis=0)).ravel()
        scale_rows = np.power(rows, -self.row_power, where=rows > 0, out=np.zeros(n))
        scale_columns = np.power(columns, -self.column_power, where=columns > 0, out=np.zeros(n))
        return (sparse.diags(scale_rows) @ counts @ sparse.diags(scale_columns)).tocsr()
