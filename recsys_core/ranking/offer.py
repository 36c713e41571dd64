"""What may be shown to whom on a night."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys_core.recommenders.base import Ints


@dataclass(frozen=True)
class Offer:
    """The items of a night and who may see them.

    eligible  (n_items,) what lists may hold at all
    barred    (n_users, n_items), non-zero where the item is not for the user: met before, muted
    region    (n_users,) each user's row of `open_to`, −1 = the last one
    open_to   (regions, n_items), whether the item may be shown there
    """

    eligible: NDArray[np.bool_]
    barred: sparse.csr_matrix
    region: Ints
    open_to: NDArray[np.bool_]

    @staticmethod
    def everywhere(eligible: NDArray[np.bool_], barred: sparse.csr_matrix) -> Offer:
        """An offer without regions."""
        return Offer(eligible, barred, np.full(barred.shape[0], -1), np.ones((1, len(eligible)), bool))

    def to(self, users: Ints) -> NDArray[np.bool_]:
        """(len(users), n_items), whether the item may be shown to the user; a copy."""
        found = self.open_to[self.region[users]] & self.eligible
        kept = self.barred[users]
        found[np.repeat(np.arange(len(users)), np.diff(kept.indptr)), kept.indices] = False
        return found

    def to_unknown(self) -> NDArray[np.bool_]:
        """(n_items,), what may be shown to users of whom nothing is known."""
        return self.eligible & self.open_to[-1]
