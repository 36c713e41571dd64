"""What lies near the topics that users named, for users of whom nothing else is known."""

from __future__ import annotations

from typing import Self

import numpy as np
from scipy import sparse

from recsys_core.recommenders.base import Floats, Interactions, Ints
from recsys_core.recommenders.content import Content


class Declared:
    """Σ over declared topics of weight · cosine between the topic's centre and the item, what points away counting as 0.

    prior    (n_users, k), a user's weight on each topic
    members  (k, n_items), p(topic | item): a topic's centre is the mean of item vectors by it

    Vectors are centred as `Content` does. Topics are not pooled first: between tea and cameras lies nothing.
    """

    def __init__(self, prior: sparse.csr_matrix, members: sparse.csr_matrix) -> None:
        self.prior, self.members = prior, members

    def fit(self, history: Interactions) -> Self:
        """Make the centres and each topic's cosines."""
        vectors = Content().fit(history).vectors
        centres = np.asarray(self.members @ vectors)
        length = np.linalg.norm(centres, axis=1, keepdims=True)
        self.near = np.maximum(np.divide(centres, length, where=length > 1e-9, out=np.zeros_like(centres)) @ vectors.T, 0.0).round(9)
        return self

    def scores(self, users: Ints) -> Floats:
        """Weighted cosines, rounded."""
        found: Floats = np.asarray(self.prior[users] @ self.near).round(9)
        return found

    def evidence(self, users: Ints, items: Ints) -> Ints:
        """None: no item of the user's own speaks for it."""
        return np.full(len(users), -1, np.int64)
