"""What users of like taste share: implicit-feedback matrix factorisation, users folded in from whatever history they have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from scipy import sparse

from recsys_core.recommenders.base import Floats, Interactions, Ints, Recommender, profiles
from recsys_core.recommenders.content import unit
from recsys_core.recommenders.ridge import ridge


class ALS(Recommender):
    """Implicit ALS (Hu, Koren and Volinsky 2008): preference 1 for what a user met, 0 for all else.

    Confidence is 1 + alpha · strength, strength being Σ weight^weight_power over the nights with the item. The penalty on squared factors
    is `reg` times what users and items have met in the mean (the geometric one of both), so that one value serves many sizes of data.
    A user's factors are the ridge regression of the preferences on the item factors: exact for any history, none is stored. The score is
    their product with the item's; what falls below 0 counts as no opinion.
    Of a history that is met the latest `last` positive interactions count, and each loses `profile_decay` of its pull for every one since:
    the preference fades with the confidence. (Fading alpha · strength alone left the 1 standing: .17 NDCG for .24 on MovieLens by time.)
    """

    STATE: ClassVar[Mapping[str, tuple[int, ...]]] = {"item_factors": (0,), "gram": ()}
    item_factors: Floats
    gram: Floats  # YᵀY + penalty · I of the items learned from: what was left is part of the regression, also when items have gone since

    def __init__(
        self,
        factors: int = 64,
        reg: float = 0.6,
        alpha: float = 2.0,
        iterations: int = 15,
        weight_power: float = 0.5,
        profile_decay: float = 0.8,
        last: int = 1000,
        seed: int = 0,
    ) -> None:
        self.factors, self.reg, self.alpha, self.iterations, self.weight_power = factors, reg, alpha, iterations, weight_power
        self.profile_decay, self.last, self.seed = profile_decay, last, seed

    def learn(self, history: Interactions) -> None:
        """Factorise, by the package `implicit`."""
        strength = profiles(history, 1.0, len(history.user) + 1, self.weight_power)
        self.take(*item_factors(strength, self.alpha, self.factors, self.reg, self.iterations, self.seed))

    def take(self, factors: Floats, penalty: float) -> None:
        """Stand on item factors (n_items, f) found elsewhere, as recsys_core.recommenders.spark finds them."""
        self.item_factors = factors
        self.gram = factors.T @ factors + penalty * np.eye(factors.shape[1])

    def meet(self, histories: Interactions) -> None:
        """Fold the users in."""
        faded, strength = (profiles(histories, decay, self.last, self.weight_power) for decay in (self.profile_decay, 1.0))
        self.extra, self.targets = self.alpha * faded, faded
        self.targets.data = faded.data * (1 / strength.data + self.alpha)
        self.user_factors = ridge(self.extra, self.targets, self.item_factors, self.gram)

    def scores(self, users: Ints) -> Floats:
        """Products of factors, 0 where negative."""
        # Rounded, because a product's last bits depend on the row's place in the block.
        product: Floats = self.user_factors[users] @ self.item_factors.T
        return np.maximum(product, 0.0).round(9)

    def contributions(self, user: int, items: Ints) -> tuple[Ints, Floats]:
        """A user's history items and what each adds to the score of each of `items`, shape (history, len(items)).

        Their sum is the score before it is cut at 0: with W = (YᵀCY + penalty · I)⁻¹ of this user, history item j adds y_i W y_j c_j to the
        score of i (Hu, Koren and Volinsky 2008, §5).
        """
        row = slice(self.targets.indptr[user], self.targets.indptr[user + 1])
        met = self.targets.indices[row].astype(np.int64)
        factors = self.item_factors[met]
        matrix = self.gram + (factors.T * self.extra.data[row]) @ factors
        return met, self.targets.data[row, None] * (factors @ np.linalg.solve(matrix, self.item_factors[items].T))

    def evidence(self, users: Ints, items: Ints) -> Ints:
        """The history item that contributes most."""
        found = np.full(len(users), -1, np.int64)
        order = np.argsort(users, kind="stable")
        who, starts = np.unique(users[order], return_index=True)
        for user, pairs in zip(who, np.split(order, starts[1:]), strict=True):
            met, added = self.contributions(int(user), items[pairs])
            if len(met):
                best = np.round(added, 9).argmax(axis=0)
                found[pairs] = np.where(added[best, np.arange(len(pairs))] > 0, met[best], -1)
        return found

    def similar(self, items: Ints) -> Floats:
        """Cosines of factors, 0 where negative and for the item itself."""
        directions = unit(self.item_factors)
        found: Floats = np.maximum(directions[items] @ directions.T, 0.0).round(9)
        found[np.arange(len(items)), items] = 0.0
        return found


def item_factors(
    strength: sparse.csr_matrix, alpha: float, factors: int, reg: float, iterations: int, seed: int, threads: int = 1
) -> tuple[Floats, float]:
    """Item factors (n_items, factors) of implicit ALS from strengths (n_users, n_items), 6 decimals, and their penalty.

    The bytes do not depend on the number of threads: each row is solved for by one of them. Nothing known: zeros.
    """
    if not strength.nnz:
        return np.zeros((strength.shape[1], factors)), reg
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    confidence = strength.astype(np.float64)
    confidence.data = 1.0 + alpha * confidence.data
    active = float(np.count_nonzero(np.diff(strength.indptr))) * len(np.unique(strength.indices))
    penalty = reg * strength.nnz / active**0.5
    with threadpool_limits(1, "blas"):  # threads of BLAS would fight with the package's own, and sum in another order
        model = AlternatingLeastSquares(factors, penalty, 1.0, iterations=iterations, num_threads=threads, random_state=seed)
        model.fit(confidence, show_progress=False)
    return model.item_factors.astype(np.float64).round(6), penalty
