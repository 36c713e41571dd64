"""A linear model of each item from all others, in closed form."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from recsys_core.recommenders.base import Floats, Interactions, Ints
from recsys_core.recommenders.item_item import ItemItem, likings

_DIGITS = 6


class EASE(ItemItem):
    """Ridge regression of each item's column of X on all others (Steck 2019): B = −P / diag(P), P = (XᵀX + regularisation · I)⁻¹.

    The diagonal of B is 0, X is who liked what (weight^weight_power). Strengths may be negative: having one item can speak against
    another. A score is the whole sum, 0 where that is below 0; evidence is the item that adds most to it, `similar` shows what is positive.
    Memory and time go by the square and the cube of the number of items: only the `max_items` liked by most users take part, ties to
    the lower code. Each item keeps its `neighbours` strengths of largest magnitude, with 6 decimals.
    """

    def __init__(
        self,
        regularisation: float = 200.0,
        profile_decay: float = 0.9,
        last: int = 200,
        weight_power: float = 0.0,
        max_items: int = 10_000,
        neighbours: int = 1_000,
    ) -> None:
        self.regularisation, self.max_items, self.neighbours = regularisation, max_items, neighbours
        self.profile_decay, self.last, self.weight_power = profile_decay, last, weight_power

    def strengths(self, history: Interactions) -> sparse.csr_matrix:
        """Invert the Gram matrix of the items that take part."""
        liked, n = likings(history, self.weight_power).tocsc(), history.n_items
        n_users = np.diff(liked.indptr)
        part = np.sort(np.argsort(-n_users, kind="stable")[: min(self.max_items, int((n_users > 0).sum()))])
        if not len(part):
            return sparse.csr_matrix((n, n))
        weights = _regression((liked[:, part].T @ liked[:, part]).toarray().astype(np.float32), self.regularisation)
        if self.neighbours < len(part):
            size = np.abs(weights)
            weights[size < np.partition(size, len(part) - self.neighbours, axis=0)[len(part) - self.neighbours]] = 0.0
        found = sparse.coo_matrix(weights)
        return sparse.csr_matrix((found.data, (part[found.row], part[found.col])), shape=(n, n))

    def scores(self, users: Ints) -> Floats:
        """Profile × strength, 0 where what speaks against the item weighs more."""
        return np.maximum(super().scores(users), 0.0)

    def similar(self, items: Ints) -> Floats:
        """Rows of the strengths, 0 where negative."""
        return np.maximum(super().similar(items), 0.0)


def _regression(gram: np.ndarray, regularisation: float) -> np.ndarray:
    """B from XᵀX, in single precision.

    >>> gram = np.array([[2.0, 1.0], [1.0, 3.0]], np.float32)  # P = [[4, -1], [-1, 3]] / 11 with 1 on the diagonal added
    >>> _regression(gram, 1.0).astype(float).round(4).tolist()
    [[0.0, 0.3333], [0.25, 0.0]]
    """
    place = np.diag_indices(len(gram))
    gram[place] += np.float32(regularisation)
    factor, failed = lapack.spotrf(gram.T, lower=1, overwrite_a=1)  # transposed: LAPACK's order, no copy
    inverse, singular = lapack.spotri(factor, lower=1, overwrite_c=1)
    if failed or singular:
        raise ValueError("EASE: XᵀX + regularisation · I is not positive definite; raise `regularisation` above 0")
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    found = -inverse / np.diag(inverse)
    found[place] = 0.0
    return found.round(_DIGITS)
