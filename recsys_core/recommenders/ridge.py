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
    shorter = -lengths[order]
    while first < len(order):
        longest = int(lengths[order[first]])
        end = min(first + max(1, _CELLS // (max(longest, width) * width)), int(np.searchsorted(shorter, -(longest // 2), side="right")))
        yield order[first:end]
        first = end


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
    width, lengths = factors.shape[1], np.diff(weights.indptr)
    right = np.asarray(targets @ factors)
    found, diagonal = np.zeros(right.shape), penalty is not None and not common.any()
    for rows in blocks(lengths, width):
        if penalty is not None and diagonal and lengths[rows[0]] < width:
            found[rows] = _of_few(weights, targets, rows, factors, penalty[rows])
            continue
        left = normal_matrices(weights, rows, factors) + common
        if penalty is not None:
            left[:, np.arange(width), np.arange(width)] += penalty[rows]
        found[rows] = np.linalg.solve(left, right[rows, :, None])[:, :, 0]
    return found


def _of_few(weights: sparse.csr_matrix, targets: sparse.csr_matrix, rows: Ints, factors: Floats, penalty: Floats) -> Floats:
    """The same for rows of fewer entries than factors and a common part of 0: with P = diag(penalty) and W = diag(weight), x is
    P⁻¹ Yᵀ (I + W Y P⁻¹ Yᵀ)⁻¹ target, a system of as many equations as there are entries.
    """
    (places, weight), (_, target) = padded(weights, rows), padded(targets, rows)
    gathered = factors[places]
    scaled = (gathered / penalty[:, None, :]).transpose(0, 2, 1)
    left = weight[:, :, None] * (gathered @ scaled) + np.eye(weight.shape[1])
    return np.asarray((scaled @ np.linalg.solve(left, target[:, :, None]))[:, :, 0])
