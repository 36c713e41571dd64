"""Spherical k-means on unit vectors (Dhillon & Modha 2001), seeded by k-means++ (Arthur & Vassilvitskii 2007)."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import numpy as np
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys_core.registry import arrays_from_bytes, arrays_to_bytes
from recsys_core.topics import membership

RESTARTS = 8
MAX_ROUNDS = 60
# Half of the training documents give their first topic at least this share: decided, but a document between two topics still shows both.
MEDIAN_TOP_WEIGHT = 0.8
# Choosing K looks at this many documents at most, and restarts the less often the more there are.
SEARCH_DOCUMENTS = 2_500
SEARCH_WORK = 5_000
FILE = "kmeans.npz"


class KMeans:
    """Centroids on the unit sphere and the temperature of p(topic | x) = softmax(cos(x, centroid) / temperature)."""

    method: ClassVar[str] = "kmeans"
    documents: ClassVar[Literal["vectors", "tokens"]] = "vectors"

    def __init__(self, centroids: np.ndarray, temperature: float) -> None:
        self.centroids, self.temperature = centroids, temperature

    @property
    def n_topics(self) -> int:
        """Number of topics."""
        return len(self.centroids)

    @classmethod
    def fit(cls, documents: np.ndarray, k: int, seed: int) -> Self:
        """The best of several restarts by the sum of cosines. `documents`: unit vectors (n, d) with n ≥ k, else ValueError."""
        x = _unit(documents)
        if not 1 <= k <= len(x):
            raise ValueError(f"{k} topics cannot be made of {len(x)} vectors")
        with threadpool_limits(1):
            centroids, labels, _ = _best(x, k, seed, RESTARTS)
            # The order of the topics is by size, then by the first document, so that it says nothing about the seed.
            first = np.array([int(np.argmax(labels == t)) for t in range(k)])
            order = np.lexsort((first, -np.bincount(labels, minlength=k)))
            centroids = centroids[order].astype(np.float32)
            return cls(centroids, _temperature(x @ _unit(centroids).T))

    def weights(self, documents: np.ndarray) -> np.ndarray:
        """p(topic | vector), shape (n, n_topics)."""
        with threadpool_limits(1):
            return _softmax(_unit(documents) @ _unit(self.centroids).T, self.temperature)

    def save(self) -> dict[str, bytes]:
        """Centroids and temperature as one .npz."""
        return {FILE: arrays_to_bytes(centroids=self.centroids, temperature=np.array(self.temperature))}

    @classmethod
    def load(cls, files: dict[str, bytes]) -> Self:
        """The model that `save` wrote."""
        held = arrays_from_bytes(files[FILE])
        return cls(held["centroids"], float(held["temperature"]))


def choose_k(vectors: np.ndarray, k_min: int, k_max: int, seed: int) -> tuple[int, dict[int, float]]:
    """The number of topics with the highest mean silhouette (cosine; Rousseeuw 1987), and the silhouettes of all that were tried.

    Tried are eight numbers in equal ratios from k_min to k_max, then the numbers between the best one's neighbours, thinned to eight. A
    small catalogue lowers both ends: a topic should have eight documents on average, and there are at least two topics. Of more than
    SEARCH_DOCUMENTS documents a seeded sample is looked at.
    """
    x = _unit(vectors)
    if len(x) > SEARCH_DOCUMENTS:
        x = x[np.sort(np.random.default_rng(seed).choice(len(x), SEARCH_DOCUMENTS, replace=False))]
    high = max(2, min(k_max, len(vectors) // 8, len(x) // 8))
    low = min(k_min, high)
    restarts = min(RESTARTS, max(2, SEARCH_WORK // len(x)))
    tried: dict[int, float] = {}

    def look(numbers: np.ndarray) -> int:
        for k in sorted({int(n) for n in np.rint(numbers)} - set(tried)):
            tried[k] = _silhouette(distance, _best(x, k, seed, restarts)[1])
        return max(tried, key=lambda k: (tried[k], -k))

    with threadpool_limits(1):
        distance = 1.0 - x @ x.T
        best = look(np.geomspace(low, high, 8))
        numbers = sorted(tried)
        at = numbers.index(best)
        best = look(np.linspace(numbers[max(at - 1, 0)], numbers[min(at + 1, len(numbers) - 1)], 10))
    return best, {k: round(s, 6) for k, s in sorted(tried.items())}


def _unit(rows: np.ndarray) -> np.ndarray:
    wide = np.asarray(rows, np.float64)
    return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)


def _best(x: np.ndarray, k: int, seed: int, restarts: int) -> tuple[np.ndarray, np.ndarray, float]:
    x = x.astype(np.float32)  # twice as fast, and the labels hardly ever differ
    runs = (_run(x, k, np.random.default_rng([seed, k, restart])) for restart in range(restarts))
    return max(runs, key=lambda run: run[2])


def _run(x: np.ndarray, k: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    """(centroids, labels, sum of cosines) of one start; every cluster keeps at least one document."""
    centroids = _plus_plus(x, k, rng)
    labels = np.full(len(x), -1)
    for _ in range(MAX_ROUNDS):
        cosines = x @ centroids.T
        found = cosines.argmax(axis=1)
        best = cosines[np.arange(len(x)), found]
        for empty in np.flatnonzero(np.bincount(found, minlength=k) == 0):
            shared = np.bincount(found, minlength=k)[found] > 1
            lone = int(np.where(shared, best, np.inf).argmin())
            found[lone], best[lone] = empty, 1.0
        if np.array_equal(found, labels):
            break
        labels = found
        member = csr_matrix((np.ones(len(x), x.dtype), (labels, np.arange(len(x)))), shape=(k, len(x)))
        centroids = _unit(member @ x).astype(x.dtype)
    return centroids, labels, float((x * centroids[labels]).sum(dtype=np.float64))


def _plus_plus(x: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    chosen = [int(rng.integers(len(x)))]
    # Squared chord length; of unit vectors 2 − 2 cos.
    distance = np.maximum(2.0 - 2.0 * (x @ x[chosen[0]]), 0.0)
    while len(chosen) < k:
        mass = distance.cumsum()
        pick = int(np.searchsorted(mass, rng.random() * mass[-1], side="right")) if mass[-1] > 0 else int(rng.integers(len(x)))
        chosen.append(min(pick, len(x) - 1))
        distance = np.minimum(distance, np.maximum(2.0 - 2.0 * (x @ x[chosen[-1]]), 0.0))
    return x[chosen]


def _silhouette(distance: np.ndarray, labels: np.ndarray) -> float:
    k = int(labels.max()) + 1
    member = np.zeros((len(labels), k))
    member[np.arange(len(labels)), labels] = 1.0
    sizes = member.sum(axis=0)
    sums = distance @ member
    rows = np.arange(len(labels))
    own = sizes[labels]
    within = sums[rows, labels] / np.maximum(own - 1, 1)
    means = np.where(sizes > 0, sums / np.maximum(sizes, 1), np.inf)
    means[rows, labels] = np.inf
    nearest = means.min(axis=1)
    return float(np.where(own > 1, (nearest - within) / np.maximum(np.maximum(nearest, within), 1e-12), 0.0).mean())


def _softmax(cosines: np.ndarray, temperature: float) -> np.ndarray:
    shifted = np.exp((cosines - cosines.max(axis=1, keepdims=True)) / temperature)
    found: np.ndarray = shifted / shifted.sum(axis=1, keepdims=True)
    return found


def _temperature(cosines: np.ndarray) -> float:
    """The temperature at which the documents' median first weight is MEDIAN_TOP_WEIGHT, by bisection on its logarithm."""
    low, high = np.log(1e-4), np.log(1.0)
    for _ in range(40):
        middle = (low + high) / 2
        _, _, micro, rank = membership(_softmax(cosines, float(np.exp(middle))), min_weight=0.0)
        if np.median(micro[rank == 1]) > MEDIAN_TOP_WEIGHT * 1e6:
            low = middle
        else:
            high = middle
    return float(np.exp(low))
