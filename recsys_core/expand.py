"""Topics that a user does not hold yet, reached from those held."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

MAX_VIA = 5
MAX_PROPOSALS = 10
_BLOCK = 2048


def neighbour_matrix(topic_ids: np.ndarray, edges: Iterable[Mapping[str, object]], relation: str, value: str = "weight") -> np.ndarray:
    """Matrix (k, k) of an undirected relation's positive weights between `topic_ids`; 0 where there is no edge."""
    at = {int(t): i for i, t in enumerate(topic_ids)}
    matrix = np.zeros((len(topic_ids), len(topic_ids)))
    for edge in edges:
        a, b = at.get(int(edge["src_topic_id"])), at.get(int(edge["dst_topic_id"]))  # type: ignore[call-overload]
        if edge["relation"] == relation and a is not None and b is not None:
            matrix[a, b] = matrix[b, a] = max(float(edge[value]), 0.0)  # type: ignore[arg-type]
    return matrix


def expansions(shares: np.ndarray, neighbours: np.ndarray, held: np.ndarray) -> list[tuple[int, int, int, float, int]]:
    """Proposals as (user row, topic column, via column, score, rank), best first, at most MAX_PROPOSALS a user.

    `shares` (users, k) are 90-day shares; a proposal's score is the largest share(via) · neighbours[via, topic] over the user's MAX_VIA
    strongest topics; topics in `held` (boolean, users × k) are left out. Ties go to the lower column.
    """
    found: list[tuple[int, int, int, float, int]] = []
    k = shares.shape[1]
    for start in range(0, shares.shape[0], _BLOCK):
        block = shares[start : start + _BLOCK]
        via = np.argsort(-block, axis=1, kind="stable")[:, : min(MAX_VIA, k)]
        reach = np.take_along_axis(block, via, axis=1)[:, :, None] * neighbours[via]
        score = np.round(reach.max(axis=1), 6)
        score[held[start : start + _BLOCK]] = 0.0
        best = np.take_along_axis(via, reach.argmax(axis=1), axis=1)
        order = np.argsort(-score, axis=1, kind="stable")[:, :MAX_PROPOSALS]
        for row, columns in enumerate(order):
            kept = [c for c in columns if score[row, c] > 0]
            found += [(start + row, int(c), int(best[row, c]), float(score[row, c]), rank) for rank, c in enumerate(kept, 1)]
    return found
