"""Personalised PageRank over users, topics and items: how often a walk that returns to a user now and then is at a topic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from recsys_core.expansion.neighbours import Scores
from recsys_core.expansion.state import Floats, Ints, State

DAMPING, STEPS = 0.85, 20
_USERS = 256


def pagerank(step: sparse.csr_matrix, sources: Ints, damping: float = DAMPING, steps: int = STEPS) -> Floats:
    """(sources, nodes): share of the time that a walk is at each node which begins at the source and goes back to it with 1 − damping.

    `step` (nodes, nodes): probabilities of going from the row's node to the column's; what a row lacks to 1 goes back to the source. The
    power iteration after `steps` steps is off by damping^steps at most (Page et al. 1999; Haveliwala 2002).

    Two nodes that lead to each other: x = .5 at the source + .5 of what the other has, so 2/3 and 1/3.

    >>> pagerank(sparse.csr_matrix([[0.0, 1.0], [1.0, 0.0]]), np.array([0]), 0.5, 40).round(6).tolist()
    [[0.666667, 0.333333]]
    """
    at = np.arange(len(sources))
    found = np.zeros((len(sources), step.shape[0]))
    found[at, sources] = 1.0
    back = step.T.tocsr()
    for _ in range(steps):
        found = damping * (back @ found.T).T
        found[at, sources] += 1.0 - found.sum(axis=1)
    return found


def walks(graphs: Sequence[tuple[State, sparse.csr_matrix]], item_topic: sparse.csr_matrix) -> Scores:
    """Scores of topics by PageRank over users, topics and items.

    `graphs` gives for each state that is to be scored what its users did with items by then, (users, items) weights ≥ 0; `item_topic` is
    (items, topics). From a node a walk goes to each kind of neighbour that it has with the same probability, and there by weight. All users
    are nodes, so this is for some hundred thousand of them.
    """
    steps = [(state, _steps(sparse.csr_matrix(state.shares, dtype=np.float64), done, item_topic)) for state, done in graphs]

    def scores(state: State, rows: slice) -> Floats:
        step = next(held for of, held in steps if of is state)
        users, k = state.shares.shape
        firsts = range(rows.start, rows.stop, _USERS)
        parts = [pagerank(step, np.arange(i, min(i + _USERS, rows.stop)))[:, users : users + k] for i in firsts]
        return np.asarray(np.round(np.concatenate(parts), 9), np.float64)

    return scores


def _steps(user_topic: sparse.csr_matrix, user_item: sparse.csr_matrix, item_topic: sparse.csr_matrix) -> sparse.csr_matrix:
    """Probabilities between all nodes: users, then topics, then items."""
    blocks = [[None, user_topic, user_item], [user_topic.T, None, item_topic.T], [user_item.T, item_topic, None]]
    by_kind = [[None if b is None else _stochastic(sparse.csr_matrix(b)) for b in row] for row in blocks]
    return _stochastic(sparse.bmat(by_kind, format="csr"))


def _stochastic(rows: sparse.csr_matrix) -> sparse.csr_matrix:
    """Rows that sum to 1, or to 0."""
    total = np.asarray(rows.sum(axis=1)).ravel()
    return sparse.csr_matrix(sparse.diags(np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)) @ rows)
