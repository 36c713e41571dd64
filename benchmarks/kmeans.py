"""k-means of unit vectors from given centroids: ours beside scikit-learn, faiss, plain torch, and the products alone.

`python -m benchmarks kmeans [--rows 200000 --dimensions 384 --k 200 --iterations 20]` draws rows about overlapping topics of very unequal
sizes, as texts have them: about 400 directions in 20 families, each row at a cosine of .6 to its own. All ways begin at the same rows and
make the same number of rounds at most; `inertia` is that of the clusters found (sum of squared distances to their means), so that ways
whose centroids have length 1 and those whose centroids have not are compared by one number.
"""

from __future__ import annotations

import os

import click
import numpy as np

from benchmarks.ways import Laps, aim, compare, show

BLOCK = 8192
OURS, STORED, FLOOR = "ours", "ours, rows float16 as stored", "products alone (numpy, float32)"
SKLEARN, BATCHES, FAISS, TORCH = "scikit-learn KMeans (lloyd)", "scikit-learn MiniBatchKMeans", "faiss Kmeans", "torch, all products"
PEERS = [SKLEARN, BATCHES, TORCH, FAISS]


def drawn(n: int, d: int, seed: int, kind: str, topics: int = 400, families: int = 20, cosine: float = 0.6) -> np.ndarray:
    """Unit rows about topics, (n, d), of a kind of number."""
    rng = np.random.default_rng(seed)

    def unit(rows: np.ndarray) -> np.ndarray:
        found: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return found

    above = unit(rng.standard_normal((families, d), np.float32))[rng.integers(families, size=topics)]
    centres = unit(unit(rng.standard_normal((topics, d), np.float32)) + np.float32(0.8) * above)
    label = rng.choice(topics, n, p=rng.dirichlet(np.ones(topics)))
    x = np.empty((n, d), kind)
    for low in range(0, n, BLOCK):
        part = label[low : low + BLOCK]
        noise = unit(rng.standard_normal((len(part), d), np.float32))
        x[low : low + BLOCK] = unit(np.float32(cosine) * centres[part] + np.float32((1 - cosine**2) ** 0.5) * noise)
    return x


def inertia(x: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Σ squared distance of unit rows to the means of their clusters."""
    sums = np.zeros((k, x.shape[1]))
    for low in range(0, len(x), BLOCK):
        np.add.at(sums, labels[low : low + BLOCK], x[low : low + BLOCK])
    return float(len(x) - ((sums**2).sum(axis=1) / np.maximum(np.bincount(labels, minlength=k), 1)).sum())


def clustered(way: str, x: np.ndarray, begun: np.ndarray, iterations: int, threads: int) -> np.ndarray | None:
    """Labels that a way finds."""
    k = len(begun)
    if way in (OURS, STORED):
        from recsys_core.topics.spherical import cluster

        return cluster(x, k, 0, 1, begun, iterations)[1]
    if way in (SKLEARN, BATCHES):
        from sklearn.cluster import KMeans, MiniBatchKMeans

        more = {"init": begun, "n_init": 1, "max_iter": iterations, "random_state": 0}
        model = KMeans(k, tol=0, **more) if way == SKLEARN else MiniBatchKMeans(k, batch_size=4096, **more)
        labels: np.ndarray = model.fit(x).labels_
        return labels
    if way == FAISS:
        import faiss

        faiss.omp_set_num_threads(threads)
        model = faiss.Kmeans(x.shape[1], k, niter=iterations, max_points_per_centroid=len(x), spherical=True)
        model.train(x, init_centroids=begun)
        return np.asarray(model.index.search(x, 1)[1].ravel())
    if way == TORCH:
        return _by_torch(x, begun, iterations, threads)
    for _ in range(iterations):
        for low in range(0, len(x), BLOCK):
            x[low : low + BLOCK] @ begun.T
    return None


def _by_torch(x: np.ndarray, begun: np.ndarray, iterations: int, threads: int) -> np.ndarray:
    import torch

    torch.set_num_threads(threads)
    rows, centroids = torch.from_numpy(x), torch.from_numpy(begun)
    for _ in range(iterations):
        labels = torch.cat([(part @ centroids.T).argmax(dim=1) for part in rows.split(BLOCK)])
        sums = torch.zeros_like(centroids).index_add_(0, labels, rows)
        centroids = torch.nn.functional.normalize(torch.where(sums.any(dim=1, keepdim=True), sums, centroids))
    return labels.numpy()


@click.command(help=__doc__)
@click.option("--rows", default=200_000, show_default=True)
@click.option("--dimensions", default=384, show_default=True)
@click.option("--k", default=200, show_default=True)
@click.option("--iterations", default=20, show_default=True)
@click.option("--rounds", default=1, show_default=True, help="processes of each way, in turns")
@click.option("--seed", default=0, show_default=True)
@click.option("--way", help="do this one way, in this process")
def main(rows: int, dimensions: int, k: int, iterations: int, rounds: int, seed: int, way: str | None) -> None:
    """Print a table of times, memory and inertia."""
    if way:
        laps, threads = Laps(), len(os.sched_getaffinity(0))
        x = drawn(rows, dimensions, seed, "float16" if way == STORED else "float32")
        begun = x[np.sort(np.random.default_rng(seed + 1).choice(rows, k, replace=False))].astype(np.float32)
        clustered(way, x[: 4 * k], begun, 1, threads)  # what is loaded at the first call is no part of the job
        laps.lap("start")
        labels = clustered(way, x, begun, iterations, threads)
        laps.lap("first")
        laps.say(inertia=0.0 if labels is None else inertia(x, labels, k))
        return
    asked = ["--rows", str(rows), "--dimensions", str(dimensions), "--k", str(k), "--iterations", str(iterations), "--seed", str(seed)]
    runs = compare("benchmarks.kmeans", [OURS, STORED, *PEERS, FLOOR], asked, rounds)
    notes = [
        f"{rows:,} rows of {dimensions} dimensions, k = {k}, at most {iterations} rounds from given centroids, drawn with seed {seed}",
        f"the rows alone are {rows * dimensions * 4 / 1e6:,.0f} MB as float32; start: imports and drawing the rows",
        "next bottleneck: the products of the first rounds, in which all centroids move (profile: four fifths of our time are products)",
    ]
    show("kmeans", runs, [OURS, STORED], [FLOOR], notes, ["numpy", "scikit-learn", "torch", "faiss-cpu"])
    mine, theirs = runs[STORED], runs[SKLEARN]
    ratios = [getattr(mine, name) / getattr(theirs, name) for name in ("first", "peak_mb")]
    ratios.append(mine.figures["inertia"] / theirs.figures["inertia"])
    reached = "{:.2f} × its time, {:.2f} × its memory, {:.4f} × its inertia (rows as stored)".format(*ratios)
    goal = "at scikit-learn's inertia at most its time, with half the memory"
    aim("k-means", goal, reached, ratios[0] <= 1 and ratios[1] <= 0.5 and ratios[2] <= 1.005)


if __name__ == "__main__":
    main()
