"""Non-negative matrix factorisation of TF-IDF (Lee & Seung 1999), by hierarchical alternating least squares (Cichocki & Phan 2009)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from scipy.sparse import csr_matrix, diags
from threadpoolctl import threadpool_limits

from recsys_core.topics.bag import WordModel, counts, vocabulary

MAX_ROUNDS = 150
# Fitting ends when a round moves the topics by less than this share of their length.
TOLERANCE = 1e-4
FOLD_IN_ROUNDS = 30
# Rows solved together: what fits into a core's cache.
BLOCK = 1024


class Nmf(WordModel):
    """Topics as non-negative unit rows over words; a document's weights are its parts in the topics that add up to it best.

    topics (k, words), and inverse document frequencies `idf` (words,), of the words of the fixed dictionary
    """

    method = "nmf"
    arrays = ("topics", "idf")
    topics: np.ndarray
    idf: np.ndarray

    @classmethod
    def fit(cls, documents: Sequence[Sequence[str]], k: int, seed: int, start: Self | None = None) -> Self:
        """A model of k topics over the words that `bag.vocabulary` keeps; ValueError when the documents hold no word at all.

        With `start` its topics go on in their places, if k is lower without the weakest ones, and if it is higher with new ones begun at
        the documents that are explained worst. Else they begin at the singular vectors (NNDSVD; Boutsidis & Gallopoulos 2008).
        """
        words = vocabulary(documents)
        bags = counts(documents, {word: n for n, word in enumerate(words)})
        idf = np.log((1 + len(documents)) / (1 + np.diff(bags.tocsc().indptr))) + 1.0
        x = _tfidf(bags, idf)
        with threadpool_limits(1):
            topics = _singular(x, k, seed) if start is None else _continued(x, words, k, start)
            share = _parts(x, topics)
            for _ in range(MAX_ROUNDS):
                before = topics
                topics = _unit(_solve(x.T @ share, share.T @ share, topics.T, 1).T)
                share = _solve(x @ topics.T, topics @ topics.T, share, 1)
                if np.linalg.norm(topics - before) < TOLERANCE * np.linalg.norm(topics):
                    break
        return cls(topics.astype(np.float32), idf, words)

    def weights(self, documents: Sequence[Sequence[str]]) -> np.ndarray:
        """p(topic | words), shape (n, n_topics): the parts over their sum; even for a document without a known word."""
        x = _tfidf(counts(documents, self._place), self.idf)
        parts = _parts(x, self.topics.astype(np.float64))
        parts[parts.sum(axis=1) == 0] = 1.0
        found: np.ndarray = parts / parts.sum(axis=1, keepdims=True)
        return found


def _tfidf(bags: csr_matrix, idf: np.ndarray) -> csr_matrix:
    """(1 + ln count) · idf, rows of length 1."""
    x = bags.copy()
    x.data = (1.0 + np.log(x.data)) * idf[x.indices]
    length = np.sqrt(np.asarray(x.multiply(x).sum(axis=1)).ravel())
    return csr_matrix(diags(1.0 / np.maximum(length, 1e-12)) @ x)


def _unit(rows: np.ndarray) -> np.ndarray:
    found: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return found


def _solve(target: np.ndarray, gram: np.ndarray, found: np.ndarray, rounds: int) -> np.ndarray:
    """Rows f ≥ 0 with the least ‖x − f · topics‖² found by coordinate descent from `found`; target x · topicsᵀ, gram topics · topicsᵀ."""
    done = np.empty_like(found)
    for low in range(0, len(found), BLOCK):
        rows, wanted = np.asfortranarray(found[low : low + BLOCK]), np.asfortranarray(target[low : low + BLOCK])
        for _ in range(rounds):
            for j in range(len(gram)):
                rows[:, j] = np.maximum(rows[:, j] + (wanted[:, j] - rows @ gram[:, j]) / max(gram[j, j], 1e-12), 0.0)
        done[low : low + BLOCK] = rows
    return done


def _parts(x: csr_matrix, topics: np.ndarray) -> np.ndarray:
    """The parts (documents, topics) that add up to the documents best; a row depends on its document alone."""
    return _solve(x @ topics.T, topics @ topics.T, np.zeros((x.shape[0], len(topics))), FOLD_IN_ROUNDS)


def _singular(x: csr_matrix, k: int, seed: int) -> np.ndarray:
    """Topics (k, words) to begin with: of each right singular vector the heavier of its positive and negative part."""
    from sklearn.utils.extmath import randomized_svd

    u, _, v = randomized_svd(x, min(k, *x.shape), random_state=seed)
    topics = np.full((k, x.shape[1]), 1e-6)
    for j in range(len(v)):
        mass = [np.linalg.norm(np.maximum(s * u[:, j], 0)) * np.linalg.norm(np.maximum(s * v[j], 0)) for s in (1, -1)]
        topics[j] += np.maximum(v[j] if mass[0] >= mass[1] else -v[j], 0)
    if k > len(v):
        topics[len(v) :] += np.random.default_rng(seed).random((k - len(v), x.shape[1]))
    return _unit(topics)


def _continued(x: csr_matrix, words: list[str], k: int, start: Nmf) -> np.ndarray:
    """The topics of `start` over other words, k of them."""
    topics = np.full((start.n_topics, len(words)), 1e-6)
    here = [n for n, word in enumerate(words) if word in start._place]
    topics[:, here] += start.topics[:, [start._place[words[n]] for n in here]]
    topics = _unit(topics)
    share = _parts(x, topics)
    if k < len(topics):
        return topics[np.sort(np.argsort(-share.sum(axis=0), kind="stable")[:k])]
    while len(topics) < k:
        explained = (share * (x @ topics.T)).sum(axis=1)
        topics = np.vstack([topics, _unit(x[[int(explained.argmin())]].toarray() + 1e-6)])
        share = _parts(x, topics)
    return topics
