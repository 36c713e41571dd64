"""Latent semantic analysis (Deerwester et al. 1990): TF-IDF of words, projected on the directions in which texts differ most.

Any language that `texts.tokenize` cuts into words, no weights from elsewhere; what it knows is the words of the texts it was fitted on.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from recsys_core.registry import arrays_from_bytes, arrays_to_bytes
from recsys_core.texts import language, runs, tokenize

DIMENSIONS = 128
MIN_TEXTS = 2
SAY_EVERY = 20_000


class Lsa:
    """A fitted model.

    words       of the vocabulary, in order
    weights     (words) inverse document frequency: ln((1 + n) / (1 + n_w)) + 1
    directions  (words, dimensions) float32; the first of them holds no word, it is the place of texts without a known one
    """

    device = "cpu"
    made_by: Mapping[str, str] = {"device": "cpu"}

    def __init__(self, words: Sequence[str], weights: np.ndarray, directions: np.ndarray) -> None:
        self.words, self.weights, self.directions = list(words), weights, directions
        self.dimensions: int = directions.shape[1]
        self._place = {word: place for place, word in enumerate(self.words)}

    @classmethod
    def fit(cls, texts: Sequence[str], dimensions: int = DIMENSIONS, seed: int = 0) -> Lsa:
        """Fitted on distinct texts; a word counts from MIN_TEXTS texts on. Fewer dimensions where texts or words are fewer.

        ValueError when no word is in MIN_TEXTS texts.
        """
        from sklearn.decomposition import TruncatedSVD
        from threadpoolctl import threadpool_limits

        bags = [_words(text) for text in dict.fromkeys(texts)]
        found = Counter(word for bag in bags for word in set(bag))
        words = sorted(word for word, n in found.items() if n >= MIN_TEXTS)
        if not words:
            raise ValueError(f"no word is in {MIN_TEXTS} of the {len(bags):,} texts: lsa needs more texts to be fitted on")
        weights = np.log((1 + len(bags)) / (1 + np.array([found[word] for word in words]))) + 1
        unfitted = cls(words, weights, np.zeros((len(words), 0)))
        rows = unfitted._rows([[place for word in bag if (place := unfitted._place.get(word)) is not None] for bag in bags])
        rank = min(dimensions - 1, len(words) - 1, len(bags) - 1)
        directions = np.ones((len(words), 1))
        if rank > 0:
            with threadpool_limits(1):  # the number of threads decides on the order of sums
                svd = TruncatedSVD(rank, n_iter=10, random_state=seed).fit(rows)
            directions = svd.components_.T
            # A direction's sign is arbitrary: the word that counts most in it counts positively.
            directions = directions * np.sign(directions[np.abs(directions).argmax(0), np.arange(directions.shape[1])])
        return cls(words, weights, np.hstack([np.zeros((len(words), 1)), directions]).astype(np.float32))

    def encode(self, texts: Sequence[str], say: Callable[[str], None] | None = None) -> np.ndarray:
        """Unit vectors of the texts in their order, float16, shape (len(texts), dimensions).

        A text without a known word gets the first axis, on which no other text lies.
        """
        parts = [np.zeros((0, self.dimensions), np.float16)]
        for at in range(0, len(texts), SAY_EVERY):
            part = texts[at : at + SAY_EVERY]
            parts.append(self._vectors(self._rows([self._places(text) for text in part])))
            if say:
                say(f"embedded {at + len(part):,} of {len(texts):,} texts")
        return np.concatenate(parts)

    def _places(self, text: str) -> list[int]:
        """Places in the vocabulary of the text's words."""
        place = self._place
        if not text.isascii():
            return [place[word] for word in _words(text) if word in place]
        # Without Han a run is a word, but for what `tokenize` leaves out and the vocabulary does not have.
        return [place[word] for run in runs(text) if (word := run.removesuffix("'s")) in place]

    def _rows(self, found: Sequence[Sequence[int]]) -> Any:
        """TF-IDF of texts, by places of their words, as a sparse matrix (texts, words): (1 + ln tf) · idf, rows of unit length."""
        from scipy import sparse

        sizes = [len(places) for places in found]
        places = np.fromiter(chain.from_iterable(found), np.int64, sum(sizes))
        keys, counts = np.unique(np.repeat(np.arange(len(found)), sizes) * len(self.words) + places, return_counts=True)
        rows, places = np.divmod(keys, max(len(self.words), 1))
        values = (1 + np.log(counts)) * self.weights[places]
        ends = np.searchsorted(rows, np.arange(len(found) + 1))
        lengths = np.sqrt(np.bincount(rows, values**2, len(found)))
        return sparse.csr_matrix((values / lengths[rows], places, ends), shape=(len(found), len(self.words)))

    def _vectors(self, rows: Any) -> np.ndarray:
        # Sums of a sparse row run over its own words alone, in their order: neighbours change nothing.
        vectors = np.asarray(rows @ self.directions.astype(np.float64))
        lengths = np.linalg.norm(vectors, axis=1)
        vectors[lengths < 1e-9] = np.eye(1, self.dimensions)
        return (vectors / np.where(lengths < 1e-9, 1, lengths)[:, None]).astype(np.float16)

    def save(self) -> dict[str, bytes]:
        """The model's files."""
        return {
            "lsa.npz": arrays_to_bytes(weights=self.weights, directions=self.directions),
            "lsa_words.json": json.dumps(self.words, ensure_ascii=False).encode(),
        }


def fit(texts: Sequence[str]) -> dict[str, bytes]:
    """Files of a model fitted on the texts."""
    return Lsa.fit(texts).save()


def restore(files: dict[str, bytes], device: str = "auto", backend: str = "auto") -> Lsa:
    """The model of the files; it runs on a CPU whatever is asked for."""
    arrays = arrays_from_bytes(files["lsa.npz"], "lsa.npz")
    return Lsa(json.loads(files["lsa_words.json"]), arrays["weights"], arrays["directions"])


def _words(text: str) -> list[str]:
    # Only what Han is depends on the language; most texts have none.
    return tokenize(text, "en" if text.isascii() else language(text))
