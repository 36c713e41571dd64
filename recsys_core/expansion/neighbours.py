"""Users who are like a user, and what they touched."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from recsys_core.expansion.state import Floats, State

# Users are compared with these many at most, the first by key: keys are pseudonyms without order, so they are a sample without a draw.
REFERENCE_USERS = 5_000
NEIGHBOURS = 50

# (rows of the slice, k): how much leads those users to each topic, ≥ 0; 0 where nothing does.
Scores = Callable[[State, slice], Floats]


def similar_users(state: State, rows: slice) -> Floats:
    """Share of the NEIGHBOURS most similar users (by cosine of shares, and weighted by it) who touched the topic.

    Nobody is their own neighbour; as many as are equally similar to the last one count with them. The share is drawn towards that of all
    users, as if one neighbour more were like everybody.
    """
    reference = np.arange(min(len(state.shares), REFERENCE_USERS))
    others = _unit(state.shares[reference].astype(np.float64))
    cosine = np.round(_unit(state.shares[rows].astype(np.float64)) @ others.T, 6)
    own = np.arange(rows.start, rows.stop)
    inside = own < len(reference)
    cosine[inside, own[inside]] = 0.0
    if len(reference) > NEIGHBOURS:
        least = np.partition(cosine, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS, None]
        cosine[cosine < least] = 0.0
    touched = state.touched[reference].astype(np.float64)
    everybody: Floats = (touched.sum(axis=0) + 0.5) / (len(reference) + 1)
    found = (cosine @ touched + everybody) / (cosine.sum(axis=1, keepdims=True) + 1)
    known = cosine.any(axis=1, keepdims=True)
    return np.asarray(np.round(np.where(known, found, 0.0), 6), np.float64)


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
