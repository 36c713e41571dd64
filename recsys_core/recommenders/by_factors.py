"""The best items of many users by products of factors, without looking at all products closely."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys_core.ranking.top_n import DIGITS, top_n
from recsys_core.recommenders.base import Floats, Ints

if TYPE_CHECKING:
    import torch

SPARE = 16  # candidates beyond n
_GROUP = 16  # products of which the largest stands for all at first
_CELLS = 5_000_000  # products that a thread holds at once
_STRIP = 2_000  # users of which a thread makes the lists at once


def top_n_by_factors(
    users: Floats, items: Floats, n: int, eligible: NDArray[np.bool_] | None = None, barred: sparse.csr_matrix | None = None
) -> tuple[Ints, Floats]:
    """The n best eligible items of each user that are not barred, best first, −1 = no further one, and their products (9 decimals, else 0).

    users      (n_users, f)
    items      (n_items, f)
    eligible   (n_items,), all if None
    barred     (n_users, n_items), an entry where an item is not for the user

    The result is `rank.top_n` of all products. Those are made in bfloat16, where the processor multiplies that natively, then in single
    precision; n + SPARE candidates are scored exactly, and a user for whom rounding could have hidden a better item goes to the next
    precision, at last to all products in double.

    >>> top_n_by_factors(np.array([[1.0, 0.0]]), np.array([[0.5, 9.0], [2.0, 0.0], [0.5, 1.0]]), 4)[0].tolist()
    [[1, 0, 2, -1]]
    """
    import torch

    among = np.arange(len(items)) if eligible is None else np.flatnonzero(eligible)
    factors = items[among]
    not_theirs = sparse.csr_matrix((len(users), len(items)), dtype=bool) if barred is None else barred
    not_theirs = not_theirs if eligible is None else sparse.csr_matrix(not_theirs[:, among])
    found, products = np.full((len(users), n), -1, np.int64), np.zeros((len(users), n))
    left = np.arange(len(users))
    precisions = [torch.bfloat16, torch.float32] if torch.cpu._is_avx512_bf16_supported() else [torch.float32]
    for precision in precisions if len(among) > _GROUP * (n + SPARE) else []:
        settled = np.zeros(len(left), bool)
        for strip, best, exact, sure in _in_strips(users[left], factors, not_theirs[left], n, precision):
            rows = left[strip]
            found[rows], products[rows], settled[strip] = best, exact, sure
        left = left[~settled]
    step = max(1, _CELLS // max(len(among), 1))
    for rows in np.split(left, range(step, len(left), step)):
        everything = np.broadcast_to(np.arange(len(among)), (len(rows), len(among)))
        found[rows], products[rows] = _ranked(users[rows], factors, everything, n, not_theirs[rows])
    return np.where(found >= 0, np.append(among, -1)[found], -1), products


def _ranked(users: Floats, factors: Floats, candidates: Ints, n: int, barred: sparse.csr_matrix | None = None) -> tuple[Ints, Floats]:
    """Exact products of ascending candidates (−1 first, where there are none), the n best, filled with −1."""
    if barred is None:
        exact = np.einsum("umf,uf->um", factors[candidates], users).round(9)
        allowed = candidates >= 0
    else:
        exact = (users @ factors.T).round(9)
        allowed = np.ones(exact.shape, bool)
        allowed[np.repeat(np.arange(len(users)), np.diff(barred.indptr)), barred.indices] = False
    if not candidates.shape[1]:
        return np.full((len(users), n), -1, np.int64), np.zeros((len(users), n))
    best = top_n(exact, allowed, n)
    return (
        np.where(best >= 0, np.take_along_axis(candidates, best, axis=1), -1),
        np.where(best >= 0, np.take_along_axis(exact, best, axis=1), 0.0),
    )


def _in_strips(
    users: Floats, factors: Floats, barred: sparse.csr_matrix, n: int, precision: torch.dtype
) -> Iterator[tuple[slice, Ints, Floats, NDArray[np.bool_]]]:
    """By strips of users: the n best of their candidates, exact products, and whether nothing can be better.

    A strip is one thread's: threads that share each of many small steps wait for one another, on a busy machine most of the time.
    """
    import torch

    width = -(-len(factors) // _GROUP)
    padded = np.zeros((_GROUP * width, factors.shape[1]), np.float32)
    padded[: len(factors)] = factors
    right = torch.from_numpy(padded).to(precision).T.contiguous()
    # Half a unit in the last place for each factor of a product, for the sums and for the product as it is stored.
    error = 3 * torch.finfo(precision).eps / 2 + (factors.shape[1] + 2) * 2.0**-23
    margin = error * np.linalg.norm(users, axis=1) * np.linalg.norm(factors, axis=1).max()

    def strip(first: int) -> tuple[slice, Ints, Floats, NDArray[np.bool_]]:
        rows = slice(first, min(first + _STRIP, len(users)))
        parts = []
        for theirs, candidates, limit in _candidates(users[rows], right, len(factors), barred[rows], n + SPARE):
            best, exact = _ranked(users[rows][theirs], factors, candidates, n)
            top = np.round(limit + margin[rows][theirs], DIGITS)
            parts.append((best, exact, np.isneginf(top) | (np.round(exact[:, -1], DIGITS) > top) & (best[:, -1] >= 0)))
        best, exact, sure = (np.concatenate(column) for column in zip(*parts, strict=True))
        return rows, best, exact, sure

    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(strip, range(0, len(users), _STRIP))
    finally:
        torch.set_num_threads(threads)


def _candidates(
    users: Floats, right: torch.Tensor, n_items: int, barred: sparse.csr_matrix, m: int
) -> Iterator[tuple[slice, Ints, Floats]]:
    """By blocks: which users, their m best items by rough products, ascending, and what no other item's rough product is above.

    Products stand in _GROUP rows of `width`; the m best of all lie in the m columns with the largest maxima.
    """
    import torch

    width = right.shape[1] // _GROUP
    step = max(1, _CELLS // right.shape[1])
    rough = torch.empty((min(step, len(users)), right.shape[1]), dtype=right.dtype)
    for first in range(0, len(users), step):
        rows = slice(first, min(first + step, len(users)))
        block = rough[: rows.stop - first]
        torch.mm(torch.from_numpy(users[rows].astype(np.float32)).to(right.dtype), right, out=block)
        block[:, n_items:] = -torch.inf
        theirs = barred[rows]
        row = np.repeat(np.arange(len(block)), np.diff(theirs.indptr))
        block.view(-1)[torch.from_numpy(row * block.shape[1] + theirs.indices)] = -torch.inf
        groups = block.view(len(block), _GROUP, width)
        columns = torch.topk(groups.amax(dim=1), m, dim=1, sorted=False).indices
        gathered = torch.gather(groups, 2, columns[:, None, :].expand(-1, _GROUP, -1)).reshape(len(block), -1)
        value, place = torch.topk(gathered, m, dim=1)
        item = torch.gather(columns, 1, place % m) + place // m * width
        chosen = torch.where(torch.isneginf(value), -1, item).sort(dim=1).values.numpy()
        yield rows, chosen, value[:, -1].double().numpy()
