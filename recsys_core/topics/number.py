"""How many topics, when nobody says: by silhouette for models on vectors, by coherence and diversity for models on words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from recsys_core.topics import topic_model
from recsys_core.topics.keywords import keywords, npmi
from recsys_core.topics.kmeans import choose_k

SEARCH_DOCUMENTS = 2_500


def number_of_topics(method: str, documents: Any, k_min: int, k_max: int, seed: int) -> tuple[int, dict[int, float]]:
    """The best number of topics of a registered model by its criterion, and the criterion for all numbers that were tried.

    vectors  mean silhouette, see `kmeans.choose_k`
    tokens   mean NPMI · diversity of the plain keywords of `nmf`, which stands for all models on words, as it is fitted in seconds: six
             numbers in equal ratios, on a seeded sample of SEARCH_DOCUMENTS; a topic should have eight documents on average
    """
    if topic_model(method).documents == "vectors":
        return choose_k(documents, k_min, k_max, seed)
    filled: Sequence[Sequence[str]] = [words for words in documents if words]
    if len(filled) > SEARCH_DOCUMENTS:
        filled = [filled[i] for i in np.sort(np.random.default_rng(seed).choice(len(filled), SEARCH_DOCUMENTS, replace=False))]
    high = max(2, min(k_max, len(filled) // 8))
    tried = {int(k): _coherent_and_diverse(filled, int(k), seed) for k in np.unique(np.rint(np.geomspace(min(k_min, high), high, 6)))}
    return max(tried, key=lambda k: (tried[k], -k)), tried


def _coherent_and_diverse(documents: Sequence[Sequence[str]], k: int, seed: int) -> float:
    model = topic_model("nmf").fit(documents, k, seed)
    words = keywords(documents, model.weights(documents), coherent=False)
    diversity = len({w for topic in words for w in topic}) / max(sum(map(len, words)), 1)
    return round(float(np.mean(npmi(documents, words))) * diversity, 6)
