"""What people go on to: directed, decayed item → item transitions."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from recsys_core.recommenders.base import Floats, Interactions, places_from_end
from recsys_core.recommenders.item_item import ItemItem


class Transitions(ItemItem):
    """Scores of what follows: Σ over the user's latest items of profile weight × transition strength.

    Every ordered pair of positive interactions of one user, at most `window` apart, adds decay^(distance − 1) to T[before, after], and
    `back` times that to T[after, before], all of it with `directed=False`; then T is divided by
    (row sum + prior)^row_power · (column sum)^column_power, which tames items that lead, or are led to, everywhere. `prior` holds back
    what rests on few pairs.
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
        back: float = 0.0,
        prior: float = 0.0,
    ) -> None:
        self.window, self.decay, self.row_power, self.column_power = window, decay, row_power, column_power
        self.profile_decay, self.last, self.directed, self.back, self.prior = profile_decay, last, directed, back, prior

    def strengths(self, history: Interactions) -> sparse.csr_matrix:
        """Count the transitions of the positive interactions, and tame them."""
        return self.tamed(self.counts(history))

    def take(self, counts: sparse.csr_matrix) -> None:
        """Stand on counts made elsewhere."""
        self.strength = self.tamed(counts)
        self.strength.sort_indices()

    def counts(self, history: Interactions) -> sparse.csr_matrix:
        """Decayed transitions of the positive interactions, as recsys_core.recommenders.spark counts them on a cluster."""
        from recsys_core.recommenders import kernels

        liked, n = history.positive(), history.n_items
        where = np.argsort(liked.item, kind="stable")
        begin = np.searchsorted(liked.item[where], np.arange(n + 1))
        weight: Floats = self.decay ** np.arange(self.window, dtype=np.float64)
        followers = np.minimum(places_from_end(liked.user), self.window)
        indptr, indices, data = kernels.followed(liked.item, followers, where, begin, weight)
        return sparse.csr_matrix((data, indices, indptr), shape=(n, n))

    def tamed(self, counts: sparse.csr_matrix) -> sparse.csr_matrix:
        """Strengths from counts, wherever those were made."""
        n = counts.shape[0]
        back = self.back if self.directed else 1.0
        if back:
            counts = counts + back * counts.T
        rows, columns = np.asarray(counts.sum(axis=1)).ravel(), np.asarray(counts.sum(axis=0)).ravel()
        scale_rows = np.power(rows + self.prior, -self.row_power, where=rows > 0, out=np.zeros(n))
        scale_columns = np.power(columns, -self.column_power, where=columns > 0, out=np.zeros(n))
        return (sparse.diags(scale_rows) @ counts @ sparse.diags(scale_columns)).tocsr()
