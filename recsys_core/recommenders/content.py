"""What reads alike: users' decayed profile vectors against item vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from recsys_core.recommenders.base import Floats, Interactions, Ints, Recommender, profiles


class Content(Recommender):
    """Cosine between a user's vector, Σ profile weight × item vector, and each item's; what points away counts as 0.

    Item vectors are centred on the catalogue's mean and made unit vectors again: what all texts share says nothing about one of them.
    Items without a text have a zero vector and no score.
    """

    STATE: ClassVar[Mapping[str, tuple[int, ...]]] = {"vectors": (0,)}

    def __init__(self, profile_decay: float = 0.9, last: int = 30, weight_power: float = 0.5) -> None:
        self.profile_decay, self.last, self.weight_power = profile_decay, last, weight_power

    def learn(self, history: Interactions) -> None:
        """Centre the vectors."""
        self.vectors = centred(history)

    def meet(self, histories: Interactions) -> None:
        """Pool the profiles."""
        self.profile = profiles(histories, self.profile_decay, self.last, self.weight_power)
        self.user_vectors = unit(self.profile @ self.vectors)

    def scores(self, users: Ints) -> Floats:
        """Cosines, 0 where negative."""
        from recsys_core.recommenders import kernels

        # Rounded, because a product's last bits depend on the row's place in the block.
        cosine: Floats = self.user_vectors[users] @ self.vectors.T
        kernels.cut_at_zero(cosine, 1e9)
        return cosine

    def evidence(self, users: Ints, items: Ints) -> Ints:
        """The history item with the largest profile weight × cosine to the proposal."""
        from recsys_core.recommenders import kernels

        mine = self.profile
        return kernels.nearest(np.asarray(users), np.asarray(items), mine.indptr, mine.indices, mine.data, self.vectors, 1e9)

    def similar(self, items: Ints) -> Floats:
        """Cosines, 0 where negative and for the item itself."""
        from recsys_core.recommenders import kernels

        found: Floats = self.vectors[items] @ self.vectors.T
        kernels.cut_at_zero(found, 1e9)
        found[np.arange(len(items)), items] = 0.0
        return found


def centred(history: Interactions) -> Floats:
    """Item vectors less the mean of those that have a text, as unit vectors; zero rows stay."""
    given = history.vectors if history.vectors is not None else np.zeros((history.n_items, 1), np.float32)
    has_text = np.abs(given).sum(axis=1) > 0
    vectors = given.astype(np.float64)
    if has_text.sum() > 1:
        vectors[has_text] -= vectors[has_text].mean(axis=0)
    return unit(vectors)


def unit(vectors: Floats) -> Floats:
    """Rows of length one; zero rows stay."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, where=length > 1e-9, out=np.zeros_like(vectors))
