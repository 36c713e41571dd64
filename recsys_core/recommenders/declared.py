"""What lies near the topics that users named, for users of whom nothing else is known."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from recsys_core.recommenders.base import Floats, Interactions, Ints, Recommender
from recsys_core.recommenders.content import centred, unit


class Declared(Recommender):
    """Σ over declared topics of weight · cosine between the topic's centre and the item, what points away counting as 0.

    prior    (n_users, k), a user's weight on each topic
    members  (k, n_items), p(topic | item): a topic's centre is the mean of item vectors by it

    Vectors are centred as `Content` does. Topics are not pooled first: between tea and cameras lies nothing.
    """

    def __init__(self, prior: sparse.csr_matrix, members: sparse.csr_matrix) -> None:
        self.prior, self.members = prior, members

    def learn(self, history: Interactions) -> None:
        """Make the centres and each topic's cosines."""
        vectors = centred(history)
        self.near = np.maximum(unit(np.asarray(self.members @ vectors)) @ vectors.T, 0.0).round(9)

    def meet(self, histories: Interactions) -> None:
        """Nothing: users are known by what they declared."""

    def scores(self, users: Ints) -> Floats:
        """Weighted cosines, rounded."""
        found: Floats = np.asarray(self.prior[users] @ self.near).round(9)
        return found

    def evidence(self, users: Ints, items: Ints) -> Ints:
        """None: no item of the user's own speaks for it."""
        return np.full(len(users), -1, np.int64)

    def similar(self, items: Ints) -> Floats:
        """Nothing: topics lead to items, not items."""
        return np.zeros((len(items), self.near.shape[1]))
