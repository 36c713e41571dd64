"""Parents of topics: topics joined by Ward's linkage of their centroids."""

from __future__ import annotations

import numpy as np

LEAST_TOPICS = 6


def hierarchy(centroids: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(parent of each node as a place among the nodes, −1 for none; level of each node): first the topics (level 0), then their parents.

    Topics are cut into about √(2k) parents; fewer than LEAST_TOPICS topics have none. Parents are ordered by size, then by first topic.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    k = len(centroids)
    if k < LEAST_TOPICS:
        return np.full(k, -1), np.zeros(k, np.int64)
    cut = fcluster(linkage(np.asarray(centroids, np.float64), "ward"), round(np.sqrt(2 * k)), "maxclust") - 1
    total = np.bincount(cut, np.asarray(sizes, np.float64))
    first = np.array([int(np.argmax(cut == c)) for c in range(len(total))])
    place = np.argsort(np.lexsort((first, -total)))
    parents = np.concatenate([k + place[cut], np.full(len(total), -1)])
    return parents, np.repeat([0, 1], [k, len(total)])
