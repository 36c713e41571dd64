"""Topic models by name, under one contract, and the soft membership that all of them end in.

A new topic model is one module with a class that offers what `TopicModel` lists, and one line here.
"""

from __future__ import annotations

import importlib
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np

TOPIC_MODELS: dict[str, str] = {
    "kmeans": "recsys_core.topics.kmeans:KMeans",
    "lda": "recsys_core.topics.lda:Lda",
    "lda_gibbs": "recsys_core.topics.lda_gibbs:LdaGibbs",
    "nmf": "recsys_core.topics.nmf:Nmf",
    "online": "recsys_core.topics.online:Online",
}

TOP = 3
MIN_WEIGHT = 0.05
MICRO = 1_000_000


class TopicModel(Protocol):
    """A fitted topic model. `documents` says what it takes: unit vectors (n, d), or lists of words."""

    method: ClassVar[str]
    documents: ClassVar[Literal["vectors", "tokens"]]

    @property
    def n_topics(self) -> int:
        """How many topics the model has."""

    @classmethod
    def fit(cls, documents: Any, k: int, seed: int, start: Self | None = None) -> Self:
        """A model of k topics; equal documents and seed give equal models.

        The topics of `start`, an earlier model, go on in their places: if k is lower without the smallest, if it is higher with new ones
        behind them.
        """

    def weights(self, documents: Any) -> np.ndarray:
        """p(topic | document), float64, shape (n, n_topics), rows summing to 1; a document's row depends on the document alone."""

    def save(self) -> dict[str, bytes]:
        """The model as named files that need no pickle."""

    @classmethod
    def load(cls, files: dict[str, bytes]) -> Self:
        """The model that `save` wrote."""


def topic_model(name: str) -> type[TopicModel]:
    """The class of a registered topic model; ValueError for an unknown name."""
    if name not in TOPIC_MODELS:
        raise ValueError(f"no topic model is named {name!r}: there are {', '.join(TOPIC_MODELS)}")
    module, cls = TOPIC_MODELS[name].split(":")
    found: type[TopicModel] = getattr(importlib.import_module(module), cls)
    return found


def membership(
    weights: np.ndarray, top: int = TOP, min_weight: float = MIN_WEIGHT
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The strongest topics of each document as (document, topic, weight in millionths, rank from 1), one entry a membership.

    At most `top` topics of at least `min_weight` once these `top` sum to 1; what is left out is shared out again in proportion, and the
    strongest takes the rounding, so that a document's weights sum to exactly one million. Ties go to the lower topic.

    >>> [part.tolist() for part in membership(np.array([[0.5, 0.02, 0.3, 0.18], [0.97, 0.03, 0, 0]]))]
    [[0, 0, 0, 1], [0, 2, 3, 0], [510205, 306122, 183673, 1000000], [1, 2, 3, 1]]
    """
    top = min(top, weights.shape[1])
    best = np.argsort(-weights, axis=1, kind="stable")[:, :top]
    held = np.take_along_axis(weights, best, axis=1)
    held = held / np.maximum(held.sum(axis=1, keepdims=True), 1e-300)
    held[held < min_weight] = 0.0
    held /= np.maximum(held.sum(axis=1, keepdims=True), 1e-300)
    micro = np.rint(held * MICRO).astype(np.int64)
    micro[:, 0] += MICRO - micro.sum(axis=1)
    document, place = np.nonzero(micro)
    return document, best[document, place], micro[document, place], place + 1
