"""What reads alike: users' decayed profile vectors against item vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from recsys_core.recommenders.base import Floats, Interactions, Ints, Recommender, padded, profiles, strongest


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
        # Rounded, because a product's last bits depend on the row's place in the block.
        cosine: Floats = self.user_vectors[users] @ self.vectors.T
        return np.maximum(cosine, 0.0).round(9)

    def evidence(self, users: Ints, items: Ints) -> Ints:
        """The history item with the largest profile weight × cosine to the proposal."""
        # Each user's history is gathered once, whatever the number of proposals: those stand side by side, padded with item 0.
        who, row = np.unique(users, return_inverse=True)
        order = np.argsort(row, kind="stable")
        place = np.empty(len(users), np.int64)
        place[order] = np.arange(len(users)) - np.searchsorted(row[order], row[order])
        proposals = np.zeros((len(who), int(place.max(initial=0)) + 1), np.int64)
        proposals[row, place] = items
        origins, values = padded(self.profile, who)
        cosine = self.vectors[origins] @ self.vectors[proposals].transpose(0, 2, 1)
        return strongest(self.profile, users, np.round(values[:, :, None] * cosine, 9)[row, :, place])

    def similar(self, items: Ints) -> Floats:
        """Cosines, 0 where negative and for the item itself."""
        found: Floats = np.maximum(self.vectors[items] @ self.vectors.T, 0.0).round(9)
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
