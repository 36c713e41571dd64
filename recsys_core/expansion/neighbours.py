"""Users who are like a user, and what they touched."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from recsys_core.expansion.state import Floats, State
from recsys_core.grouping import MICRO

# Users are compared with these many at most, the first by key: keys are pseudonyms without order, so they are a sample without a draw.
REFERENCE_USERS = 5_000
NEIGHBOURS = 50
# Rows at a time: what is worked on stays in memory that is at hand.
_ROWS, _THREADS = 512, 2

# (rows of the slice, k): how much leads those users to each topic, ≥ 0; 0 where nothing does.
Scores = Callable[[State, slice], Floats]


def similar_users(state: State, rows: slice) -> Floats:
    """Share of the NEIGHBOURS most similar users (by cosine of shares, and weighted by it) who touched the topic.

    Nobody is their own neighbour; as many as are equally similar to the last one count with them. The share is drawn towards that of all
    users, as if one neighbour more were like everybody.
    """
    from recsys_core.expansion.kernels import touched_by_nearest

    reference = slice(0, min(len(state.shares), REFERENCE_USERS))
    others, touched = _unit(state.shares[reference].astype(np.float64)), state.touched[reference]
    everybody: Floats = (touched.sum(axis=0) + 0.5) / (len(others) + 1)

    def scored(start: int) -> Floats:
        own = np.arange(start, min(start + _ROWS, rows.stop))
        cosine = _unit(state.shares[own].astype(np.float64)) @ others.T
        inside = own < len(others)
        cosine[inside, own[inside]] = 0.0
        found, total = touched_by_nearest(cosine, touched, NEIGHBOURS)
        shared = (found + everybody * MICRO) / (total[:, None] + MICRO)
        return np.asarray(np.round(np.where(total[:, None] > 0, shared, 0.0), 6), np.float64)

    with ThreadPoolExecutor(_THREADS) as pool:
        return np.concatenate([*pool.map(scored, range(rows.start, rows.stop, _ROWS))])


def lifts(state: State) -> Floats:
    """(k, k) how much more often who touched the topic of the row touched that of the column than independent topics would be, from 0."""
    touched = state.touched.astype(np.float64)
    n, alone = touched.T @ touched, touched.sum(axis=0)
    known = max(int(state.touched.any(axis=1).sum()), 1)
    found: Floats = n * known / np.maximum(np.outer(alone, alone), 1)
    return found


def _unit(rows: Floats) -> Floats:
    found: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return found
