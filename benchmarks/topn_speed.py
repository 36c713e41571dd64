"""Speed of top-N lists from factors: ours, the packages `implicit` and `faiss`, torch, and the products alone.

`python -m benchmarks topn-speed [--users 100000 --items 20000 --factors 64]` draws random factors and what users have seen, which no list
may hold. Lists are compared with exact ones, made from all products in double precision, for a sample of users.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import click
import numpy as np
import torch
from scipy import sparse

from benchmarks.ways import Laps, aim, compare, show
from recsys_core.ranking.top_n import top_n
from recsys_core.recommenders.base import Floats, Ints
from recsys_core.recommenders.by_factors import top_n_by_factors

BLOCK = 512
SAMPLE = 1_000  # users whose lists are also made from all products in double precision
GOAL_S = 4.0  # of 100,000 users, 20,000 items and 64 factors


def products(users: Floats, items: Floats, seen: sparse.csr_matrix, n: int, precision: torch.dtype = torch.float32) -> None:
    """All products, block by block, thrown away."""
    left, right = torch.from_numpy(users).to(precision), torch.from_numpy(items).to(precision).T.contiguous()
    out = torch.empty((BLOCK, right.shape[1]), dtype=precision)
    for block in left.split(BLOCK):
        torch.mm(block, right, out=out[: len(block)])


def ours(users: Floats, items: Floats, seen: sparse.csr_matrix, n: int) -> Ints:
    """`top_n_by_factors`."""
    return top_n_by_factors(users, items, n, barred=seen)[0]


def by_torch(users: Floats, items: Floats, seen: sparse.csr_matrix, n: int) -> Ints:
    """Products in single precision, what was seen masked, and topk."""
    found, right = [], torch.from_numpy(items).float().T.contiguous()
    for first in range(0, len(users), BLOCK):
        scores = torch.from_numpy(users[first : first + BLOCK]).float() @ right
        theirs = seen[first : first + BLOCK]
        row = np.repeat(np.arange(len(scores)), np.diff(theirs.indptr))
        scores.view(-1)[torch.from_numpy(row * len(items) + theirs.indices)] = -torch.inf
        found.append(torch.topk(scores, n).indices.numpy())
    return np.concatenate(found)


def by_implicit(users: Floats, items: Floats, seen: sparse.csr_matrix, n: int) -> Ints:
    """`recommend` of the package."""
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):  # as the package asks for
        model = AlternatingLeastSquares(users.shape[1], num_threads=torch.get_num_threads())
        model.user_factors, model.item_factors = users.astype(np.float32), items.astype(np.float32)
        found: Ints = model.recommend(np.arange(len(users)), seen, N=n)[0]
    return found


def by_faiss(users: Floats, items: Floats, seen: sparse.csr_matrix, n: int) -> Ints:
    """A flat index asked for as many more as a user has seen, those taken out."""
    import faiss

    index = faiss.IndexFlatIP(items.shape[1])
    index.add(items.astype(np.float32))
    more = n + int(np.diff(seen.indptr).max())
    found = np.empty((len(users), n), np.int64)
    for first in range(0, len(users), BLOCK):
        asked = index.search(users[first : first + BLOCK].astype(np.float32), more)[1]
        rows, theirs = np.arange(len(asked))[:, None], seen[first : first + BLOCK].toarray() > 0
        kept = np.argsort(theirs[rows, asked], axis=1, kind="stable")[:, :n]
        found[first : first + BLOCK] = np.take_along_axis(asked, kept, axis=1)
    return found


OURS, FLOORS = "ours: top_n_by_factors", ("products alone, float32", "products alone, bfloat16")
WAYS: dict[str, Callable[[Floats, Floats, sparse.csr_matrix, int], Ints | None]] = {
    OURS: ours,
    "torch, products and topk": by_torch,
    "implicit, recommend": by_implicit,
    "faiss, flat index": by_faiss,
    FLOORS[0]: products,
    FLOORS[1]: partial(products, precision=torch.bfloat16),
}


def exact(users: Floats, items: Floats, seen: sparse.csr_matrix, n: int) -> Ints:
    """The lists by all products in double precision."""
    return top_n((users @ items.T).round(9), seen.toarray() == 0, n)


@click.command(help=__doc__)
@click.option("--users", "n_users", default=100_000, help="number of users")
@click.option("--items", "n_items", default=20_000, help="number of items")
@click.option("--factors", default=64, help="number of factors")
@click.option("--n", default=10, help="length of lists")
@click.option("--seen", "n_seen", default=50, help="items that each user has seen, about")
@click.option("--threads", default=2, help="threads of every way")
@click.option("--rounds", default=1, help="runs of each way, in turn")
@click.option("--seed", default=0, help="of factors and of what is seen")
@click.option("--way", type=click.Choice([*WAYS]), hidden=True)
def main(n_users: int, n_items: int, factors: int, n: int, n_seen: int, threads: int, rounds: int, seed: int, way: str | None) -> None:
    """Print a table with the share of users whose list is the exact one."""
    if way is None:
        ways = [w for w in WAYS if "bfloat16" not in w or torch.cpu._is_avx512_bf16_supported()]
        sizes = {"users": n_users, "items": n_items, "factors": factors, "n": n, "seen": n_seen, "threads": threads, "seed": seed}
        runs = compare("benchmarks.topn_speed", ways, [f"--{name}={value}" for name, value in sizes.items()], rounds)
        notes = [f"{n_users:,} users, {n_items:,} items, {factors} factors, lists of {n}, {n_seen} seen, {threads} threads"]
        notes += ["next: the products themselves, in bfloat16 half to two thirds of the time; what is left is one pass over them"]
        show("Top-N lists from factors", runs, [OURS], [w for w in FLOORS if w in runs], notes, ("torch", "implicit", "faiss-cpu", "numba"))
        scaled = runs[OURS].best * 100_000 / n_users * n_items / 20_000
        aim("top-10 of 100,000 users × 20,000 items × 64", f"≤ {GOAL_S:g} s, exact", f"{scaled:.1f} s", scaled <= GOAL_S)
        return
    rng, laps = np.random.default_rng(seed), Laps()
    users, items = rng.normal(size=(n_users, factors)) / factors**0.5, rng.normal(size=(n_items, factors)) / factors**0.5
    met = rng.integers(0, n_items, (n_users, n_seen))
    places = (np.repeat(np.arange(n_users), n_seen), met.ravel())
    seen = sparse.csr_matrix((np.ones(met.size, np.float32), places), shape=(n_users, n_items))
    seen.sum_duplicates()
    torch.set_num_threads(threads)
    few = min(SAMPLE, n_users)
    truth = exact(users[:few], items, seen[:few], n)
    laps.lap("start")
    for name in ("first", "warm", "warm"):
        lists = WAYS[way](users, items, seen, n)
        laps.lap(name)
    if lists is None:
        laps.say()
    else:
        laps.say(**{"exact lists": float((lists[:few] == truth).all(axis=1).mean())})


if __name__ == "__main__":
    main()
