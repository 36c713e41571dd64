"""Latent Dirichlet allocation on words: fitted by gensim in one process, applied from its arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from scipy.special import psi

from recsys_core.topics.bag import WordModel, counts, vocabulary

# Passes over the documents: many over a small catalogue, and never fewer than five.
PASSES, LEAST_PASSES, PASSED_DOCUMENTS = 28, 5, 100_000
# Documents per update. With few, and priors that are learnt, topics collapse into rare words.
CHUNK = 2_000
ROUNDS, ROUNDS_BETWEEN = 100, 10
TOLERANCE = 1e-3
# Documents folded in together.
BLOCK = 256


class Lda(WordModel):
    """Topic–word weights `lambda_` (topics × words), prior `alpha` (topics) and the fixed dictionary."""

    method = "lda"
    arrays = ("lambda_", "alpha")
    lambda_: np.ndarray
    alpha: np.ndarray

    def __init__(self, lambda_: np.ndarray, alpha: np.ndarray, vocabulary: list[str]) -> None:
        super().__init__(lambda_, alpha, vocabulary)
        # exp E[log β], as in Hoffman, Blei & Bach 2010, eq. 6.
        self._beta = np.exp(psi(lambda_.astype(np.float64)) - psi(lambda_.astype(np.float64).sum(axis=1, keepdims=True)))

    @classmethod
    def fit(cls, documents: Sequence[Sequence[str]], k: int, seed: int, start: Self | None = None) -> Self:
        """A model over the words that `bag.vocabulary` keeps, with even priors; ValueError when the documents hold no word at all.

        The first topics begin as those of `start`: if k is lower those of the most words, if it is higher further ones are new.
        """
        from gensim.corpora import Dictionary
        from gensim.models import LdaModel

        words = vocabulary(documents)
        place = {word: n for n, word in enumerate(words)}
        bags = counts(documents, place)
        dictionary = Dictionary()
        dictionary.token2id, dictionary.id2token = place, {n: w for w, n in place.items()}
        rows = (slice(a, b) for a, b in zip(bags.indptr, bags.indptr[1:], strict=False) if a < b)
        model = LdaModel(
            id2word=dictionary,
            num_topics=k,
            random_state=seed,
            passes=max(LEAST_PASSES, min(PASSES, PASSED_DOCUMENTS // len(documents))),
            chunksize=CHUNK,
            iterations=ROUNDS,
            alpha="symmetric",
            eta="symmetric",
            eval_every=None,
            dtype=np.float64,
        )
        if start is not None:
            held = continued(start.lambda_, start._place, words, k) * bags.sum() / k
            model.state.sstats = np.where(held.any(axis=1, keepdims=True), held, model.state.sstats)
            model.sync_state()
        model.update([list(zip(bags.indices[r].tolist(), bags.data[r].tolist(), strict=True)) for r in rows])
        return cls(model.state.get_lambda().astype(np.float32), np.asarray(model.alpha, np.float64), words)

    def weights(self, documents: Sequence[Sequence[str]]) -> np.ndarray:
        """p(topic | words), shape (n, n_topics), by the variational E-step from an even start; unknown words leave the prior."""
        return fold_in(self._beta, self.alpha, documents, self._place)


def fold_in(beta: np.ndarray, alpha: np.ndarray, documents: Sequence[Sequence[str]], place: dict[str, int]) -> np.ndarray:
    """p(topic | words), shape (documents, topics): the mean of the variational posterior (Hoffman, Blei & Bach 2010, alg. 1, E-step).

    beta   weight of each word in each topic, (topics, words); `place`: word → column
    alpha  prior of the topics, (topics,)
    """
    found = np.tile(alpha / alpha.sum(), (len(documents), 1))
    bags = counts(documents, place)
    filled = np.flatnonzero(np.diff(bags.indptr))
    weight = np.ascontiguousarray(beta.T)
    for low in range(0, len(filled), BLOCK):
        rows = filled[low : low + BLOCK]
        gamma = alpha + np.asarray(bags[rows].sum(axis=1)) / len(alpha)
        for _ in range(0, ROUNDS, ROUNDS_BETWEEN):
            part = bags[rows]
            words, owner = weight[part.indices], np.repeat(np.arange(len(rows)), np.diff(part.indptr))
            share = part.copy()
            for _ in range(ROUNDS_BETWEEN):
                theta, before = np.exp(psi(gamma)), gamma
                share.data = part.data / (np.einsum("ij,ij->i", theta[owner], words) + 1e-100)
                gamma = alpha + theta * (share @ weight)
            found[rows] = gamma / gamma.sum(axis=1, keepdims=True)
            # A document stops by itself, whatever others it is folded in with.
            moving = np.abs(gamma - before).mean(axis=1) >= TOLERANCE
            rows, gamma = rows[moving], gamma[moving]
            if not len(rows):
                break
    return found


def continued(weights: np.ndarray, place: dict[str, int], words: Sequence[str], k: int) -> np.ndarray:
    """p(word | topic) over other words, (k, words): topics of most weight in their order, then rows of zeros; weights (topics, words)."""
    kept = np.sort(np.argsort(-weights.sum(axis=1), kind="stable")[:k])
    here = [n for n, word in enumerate(words) if word in place]
    found = np.zeros((k, len(words)))
    found[: len(kept), here] = weights[kept][:, [place[words[n]] for n in here]]
    return found / np.maximum(found.sum(axis=1, keepdims=True), 1e-300)
