"""Models of top-N lists: ours beside the package `implicit` and Spark MLlib, time to learn and what the lists find.

`python -m benchmarks models` draws 6,040 users × 3,416 items with 200,000 interactions that have tastes and an order; `--data FILE` reads
tab-separated user, item, rating and time instead. Each user's last interaction is held out, the rest is learned from.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.interactions import read_interactions
from benchmarks.topn_peers import ImplicitALS, ImplicitCosine
from benchmarks.ways import Laps, compare, show
from recsys_core.recommenders import Interactions, recommender
from recsys_core.recommenders.base import Floats, Ints
from recsys_core.recommenders.holdout import cut, lists, measured

USERS, ITEMS, TOPICS, EVENTS = 6_040, 3_416, 60, 200_000


class DenseEASE:
    """EASE as its paper has it: the inverse of the whole Gram matrix by numpy, in double precision."""

    def fit(self, history: Interactions) -> DenseEASE:
        """Invert."""
        self.met = history.seen().astype(np.float64)
        inverse = np.linalg.inv((self.met.T @ self.met).toarray() + 200.0 * np.eye(history.n_items))
        self.weights = -inverse / np.diag(inverse)
        np.fill_diagonal(self.weights, 0.0)
        return self

    def scores(self, users: Ints) -> Floats:
        """Sums over what the user met."""
        return np.maximum(np.asarray(self.met[users] @ self.weights), 0.0)


def by_spark(name: str) -> Callable[[], Callable[[Interactions], Any]]:
    """One of ours, its heavy part done by Spark: by MLlib for ALS."""

    def ready() -> Callable[[Interactions], Any]:
        from recsys_core.ranking.training import Sources
        from recsys_core.spark import session

        sources = Sources((name,), {}, 0, session("local[2]"))
        assert sources.spark is not None
        sources.spark.range(10).count()  # the first job starts what the session needs
        return lambda history: sources.fit(name, history)

    return ready


def own(name: str) -> Callable[[], Callable[[Interactions], Any]]:
    """One of ours, its class loaded."""

    def ready() -> Callable[[Interactions], Any]:
        cls = recommender(name)
        return lambda history: cls().fit(history)

    return ready


OURS = {f"ours: {name}": own(name) for name in ("transitions", "item_knn", "ease", "als")}
WAYS: dict[str, Callable[[], Callable[[Interactions], Any]]] = {
    **OURS,
    "implicit, cosine": lambda: ImplicitCosine(200).fit,
    "implicit, ALS": lambda: ImplicitALS(64, 20.0, 3.0, 0).fit,
    "numpy, EASE": lambda: DenseEASE().fit,
    "Spark, transitions": by_spark("transitions"),
    "Spark MLlib, ALS": by_spark("als"),
}


def drawn(n_events: int, seed: int = 0) -> Interactions:
    """Users of three of TOPICS topics each; half of what they do next follows from what they did last."""
    rng = np.random.default_rng(seed)
    each = n_events // USERS
    topic = np.sort(rng.integers(0, TOPICS, ITEMS))
    first, last = np.searchsorted(topic, np.arange(TOPICS)), np.searchsorted(topic, np.arange(TOPICS), side="right")
    mine, after = rng.integers(0, TOPICS, (USERS, 3)), rng.permutation(ITEMS)
    item = np.empty((USERS, each), np.int64)
    for step in range(each):
        of = mine[np.arange(USERS), rng.integers(0, 3, USERS)]
        among = np.maximum(last[of] - first[of], 1)
        fresh = np.minimum(first[of] + (among * rng.random(USERS) ** 3).astype(np.int64), ITEMS - 1)
        item[:, step] = np.where((rng.random(USERS) < 0.5) & (step > 0), after[item[:, step - 1]], fresh)
    user, time = np.repeat(np.arange(USERS), each), np.tile(np.arange(each), USERS)
    return Interactions.of(user, item.ravel(), np.ones(len(user)), each - 1 - time, time, USERS, ITEMS)


@click.command(help=__doc__)
@click.option("--data", type=click.Path(exists=True, path_type=Path), help="tab-separated user, item, rating, timestamp")
@click.option("--events", default=EVENTS, help="interactions that are drawn")
@click.option("--rounds", default=1, help="runs of each way, in turn")
@click.option("--way", type=click.Choice([*WAYS]), hidden=True)
def main(data: Path | None, events: int, rounds: int, way: str | None) -> None:
    """Print a table with recall@10 and NDCG@10 of the held-out interactions."""
    if way is None:
        given = [f"--data={data}"] if data else [f"--events={events}"]
        runs = compare("benchmarks.models", [*WAYS], given, rounds)
        notes = [f"{data or f'{events:,} interactions drawn'}; the last of each user is to be found; first and warm are the learning alone"]
        notes += [
            "each method is to be compared with its own kind: transitions with those by Spark, cosine, EASE and ALS with the packages'",
            "of 500,000 interactions Spark's transitions did not fit into a driver of 2 GB",
        ]
        show("Models of top-N lists", runs, [*OURS], (), notes, ("implicit", "pyspark", "numba"))
        return
    laps, learn = Laps(), WAYS[way]()
    held = cut(read_interactions(data).history() if data else drawn(events), "last", 0.0, 0)
    laps.lap("start")
    model = learn(held.known)
    laps.lap("first")
    if "Spark" not in way:  # a minute each
        learn(held.known)
        laps.lap("warm")
    items, _ = lists(model, held.known, held.users, 10)
    laps.lap("lists s")
    found = measured(items, held)
    laps.say(**{f"{name}@10": float(found[name].mean()) for name in ("recall", "ndcg")})


if __name__ == "__main__":
    main()
