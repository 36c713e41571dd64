"""Least squares for many rows at once: what alternating least squares repeats, and how a factor model meets users whom it never saw."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import sparse

from recsys_core.recommenders.base import Floats, Ints, padded

_CELLS = 4_000_000  # numbers that are gathered at once


def blocks(lengths: Ints, width: int) -> Iterator[Ints]:
    """Rows in groups of like length, longest first, whose padded tensors (rows, longest, width) fit into memory.

    >>> [b.tolist() for b in blocks(np.array([1, 0, 2_000_000, 1]), 2)]
    [[2], [0, 3, 1]]
    """
    order, first = np.argsort(-lengths, kind="stable"), 0
    while first < len(order):
        size = max(1, _CELLS // (max(int(lengths[order[first]]), width) * width))
        yield order[first : first + size]
        first += size


def normal_matrices(weights: sparse.csr_matrix, rows: Ints, factors: Floats) -> Floats:
    """Σ over the entries of each row of weight × factor × factorᵀ, shape (len(rows), f, f)."""
    places, weight = padded(weights, rows)
    gathered = factors[places]
    found: Floats = (gathered * weight[:, :, None]).transpose(0, 2, 1) @ gathered
    return found


def ridge(weights: sparse.csr_matrix, targets: sparse.csr_matrix, factors: Floats, common: Floats, penalty: Floats | None = None) -> Floats:
    """For each row x that solves (common + diag(penalty) + Σ weight · y yᵀ) x = Σ target · y, y being the factors of the row's entries.

    weights, targets   the same entries (n_rows, n_items)
    factors            (n_items, f)
    common             (f, f), added to every row's matrix
    penalty            (n_rows, f), added to the diagonals

    Returns (n_rows, f). One entry of weight 1 and target 3, y = (2, 0), penalty 1: x = 3 · 2 / (2 · 2 + 1).

    >>> one, three = sparse.csr_matrix([[1.0, 0.0]]), sparse.csr_matrix([[3.0, 0.0]])
    >>> ridge(one, three, np.array([[2.0, 0.0], [5.0, 5.0]]), np.zeros((2, 2)), np.ones((1, 2))).tolist()
    [[1.2, 0.0]]
    """
    width = factors.shape[1]
    right = np.asarray(targets @ factors)
    found = np.zeros(right.shape)
    for rows in blocks(np.diff(weights.indptr), width):
        left = normal_matrices(weights, rows, factors) + common
        if penalty is not None:
            left[:, np.arange(width), np.arange(width)] += penalty[rows]
        found[rows] = np.linalg.solve(left, right[rows, :, None])[:, :, 0]
    return found
