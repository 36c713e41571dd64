"""Bags of words: a vocabulary, counts of documents by word, models on them, and how often words meet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import ClassVar, Literal, Self

import numpy as np
import orjson
from scipy.sparse import csc_matrix, csr_matrix

from recsys_core.registry import arrays_from_bytes, arrays_to_bytes

MIN_DOCUMENTS = 2
MAX_SHARE = 0.5
MAX_WORDS = 50_000
# Added to probabilities before a logarithm, as in gensim, so that coherences compare with published ones.
EPSILON = 1e-12
WORDS = "vocabulary.json"


def vocabulary(documents: Sequence[Sequence[str]]) -> list[str]:
    """Words of at least MIN_DOCUMENTS and at most MAX_SHARE of the documents (all, if that leaves none), sorted; at most the MAX_WORDS of
    most documents.

    Raises ValueError when the documents hold no word at all.
    """
    counted = Counter(chain.from_iterable(map(set, documents)))
    if not counted:
        raise ValueError("the documents hold no words: a topic model on words needs texts")
    most = max(MIN_DOCUMENTS, MAX_SHARE * len(documents))
    kept = {w: n for w, n in counted.items() if MIN_DOCUMENTS <= n <= most} or counted
    return sorted(sorted(kept, key=lambda w: (-kept[w], w))[:MAX_WORDS])


def counts(documents: Sequence[Sequence[str]], place: dict[str, int]) -> csr_matrix:
    """How often each word is in each document, float64 of shape (documents, words), columns of a row sorted; `place`: word → column.

    >>> counts([["b", "a", "b"], ["c"]], {"a": 0, "b": 1}).toarray().tolist()
    [[1.0, 2.0], [0.0, 0.0]]
    """
    found = [[place[w] for w in words if w in place] for words in documents]
    columns = np.array([c for row in found for c in row], np.int64)
    starts = np.concatenate([[0], np.cumsum([len(row) for row in found], dtype=np.int64)])
    matrix = csr_matrix((np.ones(len(columns)), columns, starts), shape=(len(documents), len(place)))
    matrix.sum_duplicates()
    return matrix


class WordModel:
    """What topic models on words share: arrays with topics as the rows of the first, and a fixed dictionary.

    arrays  names of the two arrays that the model is made of and stored as
    """

    method: ClassVar[str]
    documents: ClassVar[Literal["vectors", "tokens"]] = "tokens"
    arrays: ClassVar[tuple[str, str]]

    def __init__(self, topics: np.ndarray, beside: np.ndarray, vocabulary: list[str]) -> None:
        for name, array in zip(self.arrays, (topics, beside), strict=True):
            setattr(self, name, array)
        self.vocabulary, self._place = vocabulary, {word: n for n, word in enumerate(vocabulary)}

    @property
    def n_topics(self) -> int:
        """Number of topics."""
        return len(getattr(self, self.arrays[0]))

    def save(self) -> dict[str, bytes]:
        """Arrays as .npz, the dictionary as JSON."""
        held = {name: getattr(self, name) for name in self.arrays}
        return {f"{self.method}.npz": arrays_to_bytes(**held), WORDS: orjson.dumps(self.vocabulary)}

    @classmethod
    def load(cls, files: dict[str, bytes]) -> Self:
        """The model that `save` wrote."""
        held = arrays_from_bytes(files[f"{cls.method}.npz"])
        return cls(held[cls.arrays[0]], held[cls.arrays[1]], orjson.loads(files[WORDS]))


class Windows:
    """Which of some words are in which stretches of `size` successive words of the documents; `size` None: in which documents.

    A document shorter than that is one stretch. Memory: `size` entries for each occurrence of one of the words.
    """

    def __init__(self, documents: Sequence[Sequence[str]], words: Sequence[str], size: int | None) -> None:
        self.place = {word: n for n, word in enumerate(words)}
        lengths = np.array([len(d) for d in documents], np.int64)
        stretches = np.maximum(lengths - size + 1, 1) if size else np.ones(len(documents), np.int64)
        first = np.cumsum(stretches) - stretches
        self.total = max(int(stretches.sum()), 1)
        known = [(n, at, self.place[w]) for n, d in enumerate(documents) for at, w in enumerate(d) if w in self.place]
        document, position, column = np.array(known, np.int64).reshape(-1, 3).T
        low = np.maximum(position - size + 1, 0) if size else np.zeros_like(position)
        each = np.minimum(position, stretches[document] - 1) - low + 1
        rows = np.repeat(first[document] + low, each) + (np.arange(each.sum()) - np.repeat(np.cumsum(each) - each, each))
        seen = csc_matrix((np.ones(len(rows), np.float32), (rows, np.repeat(column, each))), shape=(self.total, len(words)))
        seen.data[:] = 1.0
        self.seen = seen

    def npmi(self, words: Sequence[str]) -> np.ndarray:
        """Normalised pointwise mutual information of each pair of the words, about −1 to 1 (Bouma 2009; gensim's c_npmi), 1 with itself.

        All words must be among those given at the start and be in some document.
        """
        part = self.seen[:, [self.place[w] for w in words]]
        together = np.asarray((part.T @ part).todense(), np.float64) / self.total
        alone = np.diag(together)
        found: np.ndarray = np.log((together + EPSILON) / np.outer(alone, alone)) / -np.log(np.minimum(together + EPSILON, 1 - EPSILON))
        np.fill_diagonal(found, 1.0)
        return found
