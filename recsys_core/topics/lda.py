"""Latent Dirichlet allocation on words: fitted by gensim in one process, applied from its arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import numpy as np
import orjson
from scipy.special import psi

from recsys_core.registry import arrays_from_bytes, arrays_to_bytes

MIN_DOCUMENTS = 2
MAX_SHARE = 0.5
# Passes over the documents: many over a small catalogue, and never fewer than five.
PASSES, LEAST_PASSES, PASSED_DOCUMENTS = 20, 5, 40_000
# Documents per update: small enough for many updates on a small catalogue.
CHUNK = 256
ROUNDS = 100
TOLERANCE = 1e-4
ARRAYS, WORDS = "lda.npz", "vocabulary.json"


class Lda:
    """Topic–word weights `lambda_` (topics × words), prior `alpha` (topics) and the fixed dictionary."""

    method: ClassVar[str] = "lda"
    documents: ClassVar[Literal["vectors", "tokens"]] = "tokens"

    def __init__(self, lambda_: np.ndarray, alpha: np.ndarray, vocabulary: list[str]) -> None:
        self.lambda_, self.alpha, self.vocabulary = lambda_, alpha, vocabulary
        self._id = {word: n for n, word in enumerate(vocabulary)}
        # exp E[log β], as in Hoffman, Blei & Bach 2010, eq. 6.
        self._beta = np.exp(psi(lambda_.astype(np.float64)) - psi(lambda_.astype(np.float64).sum(axis=1, keepdims=True)))

    @property
    def n_topics(self) -> int:
        """Number of topics."""
        return len(self.lambda_)

    @classmethod
    def fit(cls, documents: Sequence[Sequence[str]], k: int, seed: int) -> Self:
        """A model over the words of at least MIN_DOCUMENTS and at most MAX_SHARE of the documents (all, if that leaves none).

        Raises ValueError when the documents hold no word at all.
        """
        from gensim.corpora import Dictionary
        from gensim.models import LdaModel

        counted = Counter(word for words in documents for word in set(words))
        kept = [w for w, n in counted.items() if MIN_DOCUMENTS <= n <= max(MIN_DOCUMENTS, MAX_SHARE * len(documents))]
        vocabulary = sorted(kept or counted)
        if not vocabulary:
            raise ValueError("the documents hold no words: LDA needs texts")
        ids = {word: n for n, word in enumerate(vocabulary)}
        corpus = [sorted(Counter(ids[w] for w in words if w in ids).items()) for words in documents]
        dictionary = Dictionary()
        dictionary.token2id, dictionary.id2token = ids, {n: w for w, n in ids.items()}
        model = LdaModel(
            [bag for bag in corpus if bag],
            id2word=dictionary,
            num_topics=k,
            random_state=seed,
            passes=max(LEAST_PASSES, min(PASSES, PASSED_DOCUMENTS // len(documents))),
            chunksize=CHUNK,
            iterations=ROUNDS,
            alpha="auto",
            eta="auto",
            eval_every=None,
            dtype=np.float64,
        )
        return cls(model.state.get_lambda().astype(np.float32), np.asarray(model.alpha, np.float64), vocabulary)

    def weights(self, documents: Sequence[Sequence[str]]) -> np.ndarray:
        """p(topic | words), shape (n, n_topics), by the variational E-step from an even start; unknown words leave the prior."""
        found = np.empty((len(documents), self.n_topics))
        for row, words in enumerate(documents):
            bag = sorted(Counter(self._id[w] for w in words if w in self._id).items())
            gamma = self.alpha.copy()
            if bag:
                ids, counts = (np.array(part) for part in zip(*bag, strict=True))
                beta, gamma = self._beta[:, ids], self.alpha + counts.sum() / self.n_topics
                for _ in range(ROUNDS):
                    theta = np.exp(psi(gamma))
                    before, gamma = gamma, self.alpha + theta * (beta @ (counts / (theta @ beta + 1e-100)))
                    if np.abs(gamma - before).mean() < TOLERANCE:
                        break
            found[row] = gamma / gamma.sum()
        return found

    def save(self) -> dict[str, bytes]:
        """Arrays as .npz, the dictionary as JSON."""
        return {ARRAYS: arrays_to_bytes(lambda_=self.lambda_, alpha=self.alpha), WORDS: orjson.dumps(self.vocabulary)}

    @classmethod
    def load(cls, files: dict[str, bytes]) -> Self:
        """The model that `save` wrote."""
        held = arrays_from_bytes(files[ARRAYS])
        return cls(held["lambda_"], held["alpha"], orjson.loads(files[WORDS]))
