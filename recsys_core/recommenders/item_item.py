"""What leads from item to item: a matrix of strengths, and users as decayed profiles of what they met."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np
from scipy import sparse

from recsys_core.recommenders.base import Floats, Interactions, Ints, Recommender, places_from_end, profiles

LONGEST = 2_000
_CELLS = 2**24  # of a product that are held at once


class ItemItem(Recommender):
    """Scores: Σ over the user's latest items of profile weight × strength towards the proposal.

    A user's profile is their `last` positive interactions, each weighing weight^weight_power, decayed by `profile_decay` for each one
    since. A subclass says what the strengths are; its constructor has these parameters (without `weight_power` every weight counts 1).
    """

    STATE: ClassVar[Mapping[str, tuple[int, ...]]] = {"strength": (0, 1)}
    profile_decay: float
    last: int
    weight_power: float = 0.0
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
        self.profile = profiles(histories, self.profile_decay, self.last, self.weight_power)

    def scores(self, users: Ints) -> Floats:
        """Profile × strength."""
        from recsys_core.recommenders import kernels

        mine, their = self.profile, self.strength
        left, right = (mine.indptr, mine.indices, mine.data), (their.indptr, their.indices, np.asarray(their.data, np.float64))
        found: Floats = kernels.dense_product(np.asarray(users, np.int64), *left, *right, their.shape[1])
        return found

    def evidence(self, users: Ints, items: Ints) -> Ints:
        """The history item with the largest profile weight × strength towards the proposal."""
        from recsys_core.recommenders import kernels

        mine, their = self.profile, self.strength
        left, right = (mine.indptr, mine.indices, mine.data), (their.indptr, their.indices, np.asarray(their.data, np.float64))
        found: Ints = kernels.strongest(np.asarray(users, np.int64), np.asarray(items, np.int64), *left, *right)
        return found

    def similar(self, items: Ints) -> Floats:
        """Rows of the strengths."""
        return self.strength[items].toarray()


def likings(history: Interactions, weight_power: float) -> sparse.csr_matrix:
    """(Σ positive weights)^weight_power of each user and item, shape (n_users, n_items): with power 0 who liked what, however often.

    Of a user the latest LONGEST interactions count: pairs grow with the square, and who meets everything says little about any two items.
    """
    liked = history.positive()
    liked = liked.take(places_from_end(liked.user) < LONGEST)
    matrix = sparse.csr_matrix((liked.weight, (liked.user, liked.item)), shape=(history.n_users, history.n_items))
    matrix.sum_duplicates()
    matrix.data **= weight_power
    return matrix


def neighbourhood(
    left: sparse.csr_matrix, right: sparse.csc_matrix, n: int, value: Callable[[Ints, Ints, Floats], Floats]
) -> sparse.csr_matrix:
    """The n largest of each column of value(i, j, (left @ right)[i, j]), ties to the lower row, nothing on the diagonal.

    The product is never held whole: users with long histories make it dense.
    """
    from recsys_core.recommenders import kernels

    size, width = left.shape[0], max(1, _CELLS // max(left.shape[0], 1))
    of_columns, of_rows = sparse.csr_matrix(right.T), sparse.csr_matrix(left.T)
    first, second = ((m.indptr, m.indices, np.asarray(m.data, np.float64)) for m in (of_columns, of_rows))
    rows, columns, values = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0)]
    for begin in range(0, size, width):
        block = np.arange(begin, min(begin + width, size))
        product = kernels.dense_product(block, *first, *second, size)
        product[np.arange(len(block)), block] = 0.0
        j, i = np.nonzero(product)
        strength = value(i, j + begin, product[j, i])
        best = kernels.largest(j, strength, n)
        rows.append(i[best])
        columns.append(j[best] + begin)
        values.append(strength[best])
    return sparse.csr_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(size, size))
