"""The best items of many users by products of factors, without looking at all products closely."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys_core.ranking.top_n import DIGITS
from recsys_core.recommenders.base import Floats, Ints

if TYPE_CHECKING:
    import torch

_GROUP = 16  # products of which the largest stands for all at first
_CELLS = 2_500_000  # rough products that a thread holds at once: they are to stay in the processor's cache
_STRIP = 2_000  # users of which a thread makes the lists at once


def top_n_by_factors(
    users: Floats, items: Floats, n: int, eligible: NDArray[np.bool_] | None = None, barred: sparse.csr_matrix | None = None
) -> tuple[Ints, Floats]:
    """The n best eligible items of each user that are not barred, best first, −1 = no further one, and their products (9 decimals, else 0).

    users      (n_users, f)
    items      (n_items, f)
    eligible   (n_items,), all if None
    barred     (n_users, n_items), an entry where an item is not for the user

    The result is `top_n` of all products. Those are made in bfloat16 where the processor multiplies that natively, else in single
    precision. They are wrong by no more than a known bound, so n items are known to be at least so good, and every item that rounding
    could have kept from being as good is a candidate; candidates are multiplied in double.

    >>> top_n_by_factors(np.array([[1.0, 0.0]]), np.array([[0.5, 9.0], [2.0, 0.0], [0.5, 1.0]]), 4)[0].tolist()
    [[1, 0, 2, -1]]
    """
    import torch

    found, products = np.full((len(users), n), -1, np.int64), np.zeros((len(users), n))
    among = np.arange(len(items)) if eligible is None else np.flatnonzero(eligible)
    if not len(users) or not len(among):
        return found, products
    factors = np.ascontiguousarray(items[among], np.float64)
    not_theirs = sparse.csr_matrix((len(users), len(items)), dtype=bool) if barred is None else barred
    not_theirs = not_theirs if eligible is None else sparse.csr_matrix(not_theirs[:, among])
    precision = torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32
    right = _columns(factors, precision)
    # Half a unit in the last place for each factor of a product and for the product as it is stored, and single precision in the sums.
    error = (1 + torch.finfo(precision).eps / 2) ** 3 * (1 + 2.0**-23) ** (factors.shape[1] + 2) - 1
    margin = error * np.linalg.norm(users, axis=1) * np.linalg.norm(factors, axis=1).max()

    def strip(first: int) -> None:
        rows = slice(first, min(first + _STRIP, len(users)))
        _best(users[rows], factors, right, not_theirs[rows], margin[rows], found[rows], products[rows])

    threads = torch.get_num_threads()
    try:
        # A strip is one thread's: threads that share each of many small steps wait for one another, on a busy machine most of the time.
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(strip, range(0, len(users), _STRIP)))
    finally:
        torch.set_num_threads(threads)
    return np.where(found >= 0, np.append(among, -1)[found], -1), products


def _columns(factors: Floats, precision: torch.dtype) -> torch.Tensor:
    """Factors as columns, zeros behind them up to a multiple of _GROUP."""
    import torch

    padded = np.zeros((-(-len(factors) // _GROUP) * _GROUP, factors.shape[1]), np.float32)
    padded[: len(factors)] = factors
    return torch.from_numpy(padded).to(precision).T.contiguous()


def _best(
    users: Floats, factors: Floats, right: torch.Tensor, barred: sparse.csr_matrix, margin: Floats, found: Ints, products: Floats
) -> None:
    """The best of some users, into `found` and `products`."""
    import torch

    from recsys_core.ranking import kernels

    step = max(1, _CELLS // right.shape[1])
    rough = torch.empty((min(step, len(users)), right.shape[1]), dtype=right.dtype)
    bits = torch.int16 if right.dtype == torch.bfloat16 else torch.int32
    for first in range(0, len(users), step):
        rows = slice(first, min(first + step, len(users)))
        own = np.ascontiguousarray(users[rows], np.float64)
        block, theirs = rough[: len(own)], barred[rows]
        torch.mm(torch.from_numpy(own.astype(np.float32)).to(right.dtype), right, out=block)
        outside = (theirs.indptr, theirs.indices, len(factors))
        slack = margin[rows] + 10.0**-DIGITS  # products count to so many decimals
        kernels.best_products(block.view(bits).numpy(), *outside, own, factors, slack, _GROUP, 10.0**DIGITS, found[rows], products[rows])
