"""Speed of top-N lists from factors: ours, the package `implicit`, plain products with topk, and the products alone, in one run.

`python -m benchmarks topn-speed [--users 100000 --items 20000 --factors 64]` draws random factors and what users have seen, which no list
may hold. Seconds of a shared machine mean nothing by themselves: read the ratios to the products alone, best of `--repeats`, of CPU
seconds where others are at work. Results are compared with exact ones for a sample of users.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import click
import numpy as np
import torch
from scipy import sparse

from recsys_core.ranking.top_n import top_n
from recsys_core.recommenders.by_factors import top_n_by_factors

BLOCK = 512
SAMPLE = 2_000  # users whose lists are also made from all products in double precision


def products(users: torch.Tensor, items: torch.Tensor) -> None:
    """All products in single precision, block by block, thrown away."""
    out = torch.empty((BLOCK, items.shape[0]))
    for block in users.split(BLOCK):
        torch.mm(block, items.T, out=out[: len(block)])


def products_and_topk(users: torch.Tensor, items: torch.Tensor, seen: sparse.csr_matrix, n: int) -> np.ndarray:
    """The same, seen items masked, and torch's topk."""
    found = []
    for first, block in zip(range(0, len(users), BLOCK), users.split(BLOCK), strict=True):
        scores = block @ items.T
        theirs = seen[first : first + len(block)]
        row = np.repeat(np.arange(len(block)), np.diff(theirs.indptr))
        scores.view(-1)[torch.from_numpy(row * len(items) + theirs.indices)] = -torch.inf
        found.append(torch.topk(scores, n).indices.numpy())
    return np.concatenate(found)


def by_implicit(users: np.ndarray, items: np.ndarray, seen: sparse.csr_matrix, n: int, threads: int) -> np.ndarray:
    """`recommend` of the package."""
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):  # as the package asks for
        model = AlternatingLeastSquares(users.shape[1], num_threads=threads)
        model.user_factors, model.item_factors = users.astype(np.float32), items.astype(np.float32)
        found: np.ndarray = model.recommend(np.arange(len(users)), seen, N=n)[0]
    return found


def all_products(users: np.ndarray, items: np.ndarray, seen: sparse.csr_matrix, n: int) -> np.ndarray:
    """`rank.top_n` of all products in double precision, as for recommenders that are not factors."""
    found = [
        top_n((users[first : first + BLOCK] @ items.T).round(9), seen[first : first + BLOCK].toarray() == 0, n)
        for first in range(0, len(users), BLOCK)
    ]
    return np.concatenate(found)


@click.command(help=__doc__)
@click.option("--users", "n_users", default=100_000, help="number of users")
@click.option("--items", "n_items", default=20_000, help="number of items")
@click.option("--factors", default=64, help="number of factors")
@click.option("--n", default=10, help="length of lists")
@click.option("--seen", "n_seen", default=50, help="items that each user has seen, about")
@click.option("--threads", default=2, help="threads of every method")
@click.option("--repeats", default=1, help="runs of each method, in turn")
@click.option("--seed", default=0, help="of factors and of what is seen")
def main(n_users: int, n_items: int, factors: int, n: int, n_seen: int, threads: int, repeats: int, seed: int) -> None:
    """Print a table: wall and CPU seconds, their ratios to the products alone, and the share of users with the exact list."""
    rng = np.random.default_rng(seed)
    users, items = rng.normal(size=(n_users, factors)) / factors**0.5, rng.normal(size=(n_items, factors)) / factors**0.5
    met = rng.integers(0, n_items, (n_users, n_seen))
    row = np.repeat(np.arange(n_users), n_seen)
    seen = sparse.csr_matrix((np.ones(met.size, np.float32), (row, met.ravel())), shape=(n_users, n_items))
    seen.sum_duplicates()
    torch.set_num_threads(threads)
    users32, items32 = (torch.from_numpy(x.astype(np.float32)) for x in (users, items))
    few = min(SAMPLE, n_users)
    methods: dict[str, tuple[int, Callable[[], np.ndarray | None]]] = {
        "products alone (float32)": (n_users, lambda: products(users32, items32)),
        "ours (top_n_by_factors)": (n_users, lambda: top_n_by_factors(users, items, n, barred=seen)[0]),
        "products and topk (torch, float32)": (n_users, lambda: products_and_topk(users32, items32, seen, n)),
        "implicit, recommend": (n_users, lambda: by_implicit(users, items, seen, n, threads)),
        f"all products in double, top_n (from {few:,} users)": (few, lambda: all_products(users[:few], items, seen[:few], n)),
    }
    for asked in (users[:64], users[:0]):  # what is loaded or compiled at the first call is not the method's
        top_n_by_factors(asked, items, n)
    exact = all_products(users[:few], items, seen[:few], n)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    same: dict[str, str] = {}
    for _ in range(repeats):
        for name, (asked_users, method) in methods.items():
            wall, cpu = time.perf_counter(), time.process_time()
            lists = method()
            scale = n_users / asked_users
            taken[name].append(((time.perf_counter() - wall) * scale, (time.process_time() - cpu) * scale))
            same[name] = "" if lists is None else f"{(lists[:few] == exact).all(axis=1).mean():.4f}"
    best = {name: np.min(runs, axis=0) for name, runs in taken.items()}
    floor = best["products alone (float32)"]
    click.echo("| | s | ratio | CPU s | ratio | exact lists |\n|---|---|---|---|---|---|")
    for name, (wall, cpu) in best.items():
        click.echo(f"| {name} | {wall:.1f} | {wall / floor[0]:.2f} | {cpu:.1f} | {cpu / floor[1]:.2f} | {same[name]} |")
    click.echo(
        f"\n- {n_users:,} users, {n_items:,} items, {factors} factors, lists of {n}, {n_seen} seen, {threads} threads, "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )


if __name__ == "__main__":
    main()
