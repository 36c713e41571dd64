"""k-means on the unit sphere that looks at a document's neighbours, and tells its topics apart by a linear discriminant."""

from __future__ import annotations

from functools import cache
from typing import ClassVar, Literal, Self

import numpy as np
from threadpoolctl import threadpool_limits

from recsys_core.registry import arrays_from_bytes, arrays_to_bytes
from recsys_core.topics import TOP
from recsys_core.topics.spherical import BLOCK, cluster, nearest, neighbour_means, plus_plus, unit

RESTARTS = 8
# A document is clustered as a fifth of itself and the rest the mean of its nearest neighbours: noise of single texts averages out.
NEIGHBOURS = 10
NEIGHBOUR_SHARE = 0.8
# Of more documents a seeded sample is clustered; all of them are then told apart by the discriminant.
CLUSTERED_DOCUMENTS, CLUSTERED_PER_TOPIC = 12_000, 60
# Share of the pooled covariance that is replaced by a sphere of equal trace, as it is estimated from few documents in many dimensions.
SHRINKAGE = 0.3
# Half of the training documents give their first topic at least this share: decided, but a document between two topics still shows both.
MEDIAN_TOP_WEIGHT = 0.8
# Choosing K looks at this many documents at most, and restarts the less often the more there are.
SEARCH_DOCUMENTS = 2_500
SEARCH_WORK = 5_000
SEARCH_RESTARTS = 8
# Share of the highest silhouette that a number of topics may lack.
NEARLY = 0.05
FILE = "kmeans.npz"


class KMeans:
    """Centroids, and a linear discriminant with its temperature: p(topic | x) = softmax((x' · slopes + offsets) / temperature).

    x' is the vector without the training mean, at length 1. Plain spherical k-means cuts half way between two centroids whatever the shape
    of the topics; Fisher's discriminant (1936; pooled covariance, shrunk) weighs directions by how much topics scatter in them.
    """

    method: ClassVar[str] = "kmeans"
    documents: ClassVar[Literal["vectors", "tokens"]] = "vectors"

    def __init__(
        self,
        centroids: np.ndarray,
        temperature: float,
        mean: np.ndarray | None = None,
        slopes: np.ndarray | None = None,
        offsets: np.ndarray | None = None,
    ) -> None:
        """Without mean, slopes and offsets topics are told apart by the cosine to their centroids."""
        self.centroids, self.temperature = centroids, temperature
        self.mean = np.zeros(centroids.shape[1]) if mean is None else mean
        self.slopes = unit(centroids).T if slopes is None else slopes
        self.offsets = np.zeros(len(centroids)) if offsets is None else offsets

    @property
    def n_topics(self) -> int:
        """Number of topics."""
        return len(self.centroids)

    @classmethod
    def fit(cls, documents: np.ndarray, k: int, seed: int, start: Self | None = None, processes: int = 1) -> Self:
        """A model of k topics, the largest first. `documents`: unit vectors (n, d) with n ≥ k, else ValueError.

        With `start` its topics go on in their places, if k is lower without the smallest ones, and if it is higher with new ones seeded
        where documents are farthest from all topics. `processes` share the work and change nothing else.
        """
        vectors = np.asarray(documents)
        if not 1 <= k <= len(vectors):
            raise ValueError(f"{k} topics cannot be made of {len(vectors)} vectors")
        rng = np.random.default_rng([seed, k])
        with threadpool_limits(1):
            mean = vectors.mean(axis=0, dtype=np.float64)
            chosen = np.arange(len(vectors))
            if len(vectors) > (most := max(CLUSTERED_DOCUMENTS, CLUSTERED_PER_TOPIC * k)):
                chosen = np.sort(rng.choice(len(vectors), most, replace=False))
            x = unit(unit(vectors[chosen]) - mean)
            seen = x.astype(np.float32)
            begin = None if start is None else _begin(seen, unit(start.centroids - mean), k, rng)
            _, labels, _ = cluster(_smoothed(seen, _neighbours(len(seen), k)), k, seed, RESTARTS, begin, processes=processes)
            slopes, offsets = _discriminant(x, labels, k)
            scores = _scores(vectors, mean, slopes, offsets)
            first = scores.argmax(axis=1)
            centroids = _centroids(vectors, first, k, vectors[chosen], labels)
            order = np.arange(k) if start else _by_size(first, k)
            return cls(centroids[order].astype(np.float32), temperature(scores[chosen]), mean, slopes[:, order], offsets[order])

    def weights(self, documents: np.ndarray) -> np.ndarray:
        """p(topic | vector), shape (n, n_topics)."""
        with threadpool_limits(1):
            return softmax(_scores(np.asarray(documents), self.mean, self.slopes, self.offsets), self.temperature)

    def save(self) -> dict[str, bytes]:
        """All arrays as one .npz."""
        arrays = {"centroids": self.centroids, "mean": self.mean, "slopes": self.slopes, "offsets": self.offsets}
        return {FILE: arrays_to_bytes(**arrays, temperature=np.array(self.temperature))}

    @classmethod
    def load(cls, files: dict[str, bytes]) -> Self:
        """The model that `save` wrote."""
        held = arrays_from_bytes(files[FILE])
        return cls(held["centroids"], float(held["temperature"]), held["mean"], held["slopes"], held["offsets"])


def choose_k(vectors: np.ndarray, k_min: int, k_max: int, seed: int) -> tuple[int, dict[int, float]]:
    """The most topics whose mean silhouette (cosine; Rousseeuw 1987) is within a twentieth of the best, and those of all that were tried.

    Around its highest point the silhouette is flat, and two topics that are told apart can be rolled up, while two that were mixed cannot
    be parted. Documents are clustered as `KMeans.fit` does; the silhouette is that of the documents themselves, without the training mean.

    Tried are eight numbers in equal ratios from k_min to k_max, then the numbers between the best one's neighbours, thinned to eight. A
    small catalogue lowers both ends: a topic should have eight documents on average, and there are at least two topics. Of more than
    SEARCH_DOCUMENTS documents a seeded sample is looked at.
    """
    x = unit(unit(vectors) - np.asarray(vectors).mean(axis=0, dtype=np.float64))
    if len(x) > SEARCH_DOCUMENTS:
        x = x[np.sort(np.random.default_rng(seed).choice(len(x), SEARCH_DOCUMENTS, replace=False))]
    seen = x.astype(np.float32)
    high = max(2, min(k_max, len(vectors) // 8, len(x) // 8))
    low = min(k_min, high)
    restarts = min(SEARCH_RESTARTS, max(2, SEARCH_WORK // len(x)))
    tried: dict[int, float] = {}
    smoothed = cache(lambda neighbours: _smoothed(seen, neighbours))

    def look(numbers: np.ndarray) -> int:
        for k in sorted({int(n) for n in np.rint(numbers)} - set(tried)):
            tried[k] = _silhouette(distance, cluster(smoothed(_neighbours(len(seen), k)), k, seed, restarts)[1])
        best = max(tried.values())
        return max(k for k, value in tried.items() if value >= best - NEARLY * abs(best))

    with threadpool_limits(1):
        distance = 1.0 - x @ x.T
        best = look(np.geomspace(low, high, 8))
        numbers = sorted(tried)
        at = numbers.index(best)
        best = look(np.linspace(numbers[max(at - 1, 0)], numbers[min(at + 1, len(numbers) - 1)], 10))
    return best, {k: round(s, 6) for k, s in sorted(tried.items())}


def temperature(scores: np.ndarray) -> float:
    """The temperature at which the documents' median first weight among TOP is MEDIAN_TOP_WEIGHT, by bisection on its logarithm."""
    top = np.sort(np.partition(scores, -TOP, axis=1)[:, -TOP:] if scores.shape[1] > TOP else scores, axis=1)
    behind = top - top[:, -1:]
    low, high = np.log(1e-4), np.log(1e4)
    for _ in range(40):
        middle = (low + high) / 2
        if np.median(1.0 / np.exp(behind / np.exp(middle)).sum(axis=1)) > MEDIAN_TOP_WEIGHT:
            low = middle
        else:
            high = middle
    return float(np.exp(low))


def softmax(scores: np.ndarray, temperature: float) -> np.ndarray:
    """exp(score / temperature), each row summing to 1."""
    shifted = np.exp((scores - scores.max(axis=1, keepdims=True)) / temperature)
    found: np.ndarray = shifted / shifted.sum(axis=1, keepdims=True)
    return found


def _scores(vectors: np.ndarray, mean: np.ndarray, slopes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    found = np.empty((len(vectors), len(offsets)))
    for low in range(0, len(vectors), BLOCK):
        found[low : low + BLOCK] = unit(unit(vectors[low : low + BLOCK]) - mean) @ slopes + offsets
    return found


def _begin(x: np.ndarray, centroids: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """k centroids to start from: those given without the ones of fewest rows, or and rows far from all of them."""
    if k < len(centroids):
        sizes = np.bincount(nearest(x, centroids.astype(np.float32))[0], minlength=len(centroids))
        return centroids[np.sort(np.argsort(-sizes, kind="stable")[:k])]
    return np.concatenate([centroids, x[plus_plus(x, k - len(centroids), rng, centroids)]])


def _neighbours(n: int, k: int) -> int:
    """How many neighbours of a document are looked at: they must not reach beyond a topic."""
    return min(NEIGHBOURS, n // (2 * k))


def _smoothed(x: np.ndarray, neighbours: int) -> np.ndarray:
    if neighbours < 1:
        return x
    return unit((1 - NEIGHBOUR_SHARE) * x + NEIGHBOUR_SHARE * neighbour_means(x, neighbours))


def _discriminant(x: np.ndarray, labels: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(slopes (d, k), offsets (k,)) of the linear discriminant with the topics' shares as prior."""
    sizes = np.bincount(labels, minlength=k)
    means = np.stack([x[labels == t].mean(axis=0) for t in range(k)])
    within = x - means[labels]
    covariance = within.T @ within / len(x)
    # The floor keeps equal documents, which do not scatter at all, apart.
    sphere = max(float(np.trace(covariance)) / x.shape[1], 1e-6)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * sphere * np.eye(x.shape[1])
    slopes = np.linalg.solve(covariance, means.T)
    return slopes, np.log(sizes / len(x)) - 0.5 * (means.T * slopes).sum(axis=0)


def _centroids(vectors: np.ndarray, first: np.ndarray, k: int, clustered: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Unit mean of each topic's documents; of a topic that is no document's first, of those it was made of."""
    found = np.zeros((k, vectors.shape[1]))
    for t in range(k):
        members = vectors[first == t]
        found[t] = (members if len(members) else clustered[labels == t]).mean(axis=0)
    return unit(found)


def _by_size(first: np.ndarray, k: int) -> np.ndarray:
    """Topics by size, then by first document: an order that says nothing about the seed."""
    begins = np.full(k, len(first))
    np.minimum.at(begins, first, np.arange(len(first)))
    return np.lexsort((begins, -np.bincount(first, minlength=k)))


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
    nearest_other = means.min(axis=1)
    return float(np.where(own > 1, (nearest_other - within) / np.maximum(np.maximum(nearest_other, within), 1e-12), 0.0).mean())
