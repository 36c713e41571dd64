"""Topics that stay as they are while documents come in: assignment, and how new a document is to them."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import numpy as np
from threadpoolctl import threadpool_limits

from recsys_core.registry import arrays_from_bytes, arrays_to_bytes
from recsys_core.topics.kmeans import KMeans, softmax, temperature
from recsys_core.topics.spherical import nearest, unit

FILE = "online.npz"
# What is kept of the training documents' cosines to their topics: these quantiles.
QUANTILES = np.linspace(0, 1, 101)
# Tukey's fence (1977): an outlier is this many interquartile ranges below the lower quartile.
FENCE = 1.5


class Online:
    """Frozen centroids, told apart by cosine, and quantiles of the cosines that the training documents have to their topics.

    For what comes in between two trainings (intraday use), and to tell when the next one is due (drift).
    """

    method: ClassVar[str] = "online"
    documents: ClassVar[Literal["vectors", "tokens"]] = "vectors"

    def __init__(self, centroids: np.ndarray, temperature: float, cosines: np.ndarray) -> None:
        """cosines: QUANTILES of the training documents' cosines, ascending."""
        self.centroids, self.temperature, self.cosines = centroids, temperature, cosines

    @property
    def n_topics(self) -> int:
        """Number of topics."""
        return len(self.centroids)

    @classmethod
    def fit(cls, documents: np.ndarray, k: int, seed: int, start: Self | KMeans | None = None) -> Self:
        """The topics of `start` as they are, and how well they know the documents: unit vectors (n, d) with n ≥ k, else ValueError.

        If k is lower the topics of fewest documents go, and if it is higher new ones are made of the documents that the others know least,
        for each as many as a topic of these documents has on average. Without `start` all topics are made by `KMeans`.
        """
        vectors = np.asarray(documents)
        if start is None or k > len(vectors):
            centroids = KMeans.fit(vectors, k, seed).centroids
        else:
            centroids = start.centroids
            labels, cosines = nearest(unit(vectors).astype(np.float32), unit(centroids).astype(np.float32))
            if k < len(centroids):
                sizes = np.bincount(labels, minlength=len(centroids))
                centroids = centroids[np.sort(np.argsort(-sizes, kind="stable")[:k])]
            elif more := k - len(centroids):
                unknown = np.sort(np.argsort(cosines, kind="stable")[: max(more, more * len(vectors) // k)])
                centroids = np.concatenate([centroids, KMeans.fit(vectors[unknown], more, seed).centroids])
        found = cls(centroids, 1.0, QUANTILES)
        with threadpool_limits(1):
            cosines = unit(vectors) @ unit(centroids).T
        found.temperature = temperature(cosines)
        found.cosines = np.quantile(cosines.max(axis=1), QUANTILES)
        return found

    def weights(self, documents: np.ndarray) -> np.ndarray:
        """p(topic | vector), shape (n, n_topics)."""
        with threadpool_limits(1):
            return softmax(unit(documents) @ unit(self.centroids).T, self.temperature)

    def novelty(self, documents: np.ndarray) -> np.ndarray:
        """Share of training documents nearer to their topic than each document is to its own, 0 to 1: on average .5 for alike ones."""
        return 1.0 - np.interp(self._nearness(documents), self.cosines, QUANTILES, left=0.0, right=1.0)

    def outliers(self, documents: np.ndarray) -> np.ndarray:
        """Which documents are about none of the topics: farther from theirs than Tukey's fence under the training documents."""
        low, high = np.interp([0.25, 0.75], QUANTILES, self.cosines)
        return self._nearness(documents) < low - FENCE * (high - low)

    def drift(self, documents: np.ndarray) -> float:
        """How far the documents' novelty is from the training documents', 0 to 1: the Kolmogorov–Smirnov statistic; 0 without documents."""
        from scipy.stats import kstest

        return float(kstest(self.novelty(documents), "uniform").statistic) if len(documents) else 0.0

    def save(self) -> dict[str, bytes]:
        """All arrays as one .npz."""
        return {FILE: arrays_to_bytes(centroids=self.centroids, temperature=np.array(self.temperature), cosines=self.cosines)}

    @classmethod
    def load(cls, files: dict[str, bytes]) -> Self:
        """The model that `save` wrote."""
        held = arrays_from_bytes(files[FILE])
        return cls(held["centroids"], float(held["temperature"]), held["cosines"])

    def _nearness(self, documents: np.ndarray) -> np.ndarray:
        with threadpool_limits(1):
            found: np.ndarray = (unit(documents) @ unit(self.centroids).T).max(axis=1)
        return found
