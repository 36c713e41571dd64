"""What the same people like: cosine neighbours of items."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from recsys_core.recommenders.base import Interactions
from recsys_core.recommenders.item_item import ItemItem, likings, neighbourhood


class ItemKNN(ItemItem):
    """Items by cosine (Sarwar et al. 2001): i speaks for j by x_i · x_j / (|x_i| |x_j| + shrink), x_i who liked i, and how much.

    Each item is spoken for by the `neighbours` nearest items only. `shrink` holds back similarities that rest on few people.
    `weight_power` 0 counts who liked what; above 0 a keener liking counts for more, in x and in the profiles.
    """

    def __init__(
        self, neighbours: int = 200, shrink: float = 10.0, profile_decay: float = 0.9, last: int = 200, weight_power: float = 0.0
    ) -> None:
        self.neighbours, self.shrink = neighbours, shrink
        self.profile_decay, self.last, self.weight_power = profile_decay, last, weight_power

    def strengths(self, history: Interactions) -> sparse.csr_matrix:
        """Shrunk cosines."""
        liked = likings(history, self.weight_power)
        length = np.sqrt(np.asarray(liked.multiply(liked).sum(axis=0)).ravel())
        return neighbourhood(
            liked.T.tocsr(), liked.tocsc(), self.neighbours, lambda i, j, product: product / (length[i] * length[j] + self.shrink)
        )
