"""What reads like one of the things a user is about: medoids of the profile's clusters against item vectors."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from recsys_core.medoids import MAX_ITEMS, MAX_VECTORS, clusters
from recsys_core.recommenders.base import Floats, Interactions, Ints, padded, profiles, strongest
from recsys_core.recommenders.content import Content


class Medoids(Content):
    """Largest share^`share_power` × cosine over the user's medoids; what points away from all of them counts as 0.

    The latest items of a user are clustered, a medoid stands for each of the MAX_VECTORS heaviest clusters (`recsys_core.medoids`), and its
    share is the cluster's part of the profile's weight. One pooled vector of somebody who likes tea and cameras lies between the two.
    """

    def __init__(self, profile_decay: float = 0.9, last: int = MAX_ITEMS, weight_power: float = 0.5, share_power: float = 0.5) -> None:
        super().__init__(profile_decay, last, weight_power)
        self.share_power = share_power

    def meet(self, histories: Interactions) -> None:
        """Cluster the profiles; `profile` holds share^share_power of each medoid."""
        whole = profiles(histories, self.profile_decay, self.last, self.weight_power)
        whole = (whole @ sparse.diags(self.vectors.any(axis=1).astype(np.float64))).tocsr()
        whole.eliminate_zeros()
        user, item, share = list[int](), list[int](), list[float]()
        for row in np.flatnonzero(np.diff(whole.indptr)):
            own = slice(whole.indptr[row], whole.indptr[row + 1])
            codes, weight = whole.indices[own], whole.data[own].round(9)
            heaviest = np.lexsort((codes, -weight))
            codes, weight = codes[heaviest], weight[heaviest]
            found = clusters(self.vectors[codes], weight)[:MAX_VECTORS]
            user += [int(row)] * len(found)
            item += [int(codes[medoid]) for medoid, _, _ in found]
            share += [(mass / weight.sum()) ** self.share_power for _, _, mass in found]
        self.profile = sparse.csr_matrix((np.array(share), (np.array(user, np.int64), np.array(item, np.int64))), shape=whole.shape)

    def scores(self, users: Ints) -> Floats:
        """Medoid by medoid."""
        items, shares = padded(self.profile, users)
        found = np.zeros((len(users), len(self.vectors)))
        for item, share in zip(items.T, shares.T, strict=True):
            np.maximum(found, share[:, None] * (self.vectors[item] @ self.vectors.T), out=found)
        return found.round(9)

    def evidence(self, users: Ints, items: Ints) -> Ints:
        """The medoid that gives the score."""
        medoids, shares = padded(self.profile, users)
        return strongest(self.profile, users, (shares * np.einsum("npd,nd->np", self.vectors[medoids], self.vectors[items])).round(9))
