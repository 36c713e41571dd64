"""Latent Dirichlet allocation by collapsed Gibbs sampling (Griffiths & Steyvers 2004): sampled by tomotopy, applied from arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from recsys_core.topics.bag import WordModel, vocabulary
from recsys_core.topics.lda import continued, fold_in

# Sweeps over the documents: many over a small catalogue, and never fewer than a hundred.
SWEEPS, LEAST_SWEEPS, SWEPT_DOCUMENTS = 400, 100, 4_000_000
ALPHA, ETA = 0.1, 0.01
# Topics that go on count as much as this many words each.
START_WORDS = 500.0


class LdaGibbs(WordModel):
    """p(word | topic) as `topics` (topics × words), the learnt prior `alpha` (topics) and the fixed dictionary."""

    method = "lda_gibbs"
    arrays = ("topics", "alpha")
    topics: np.ndarray
    alpha: np.ndarray

    @classmethod
    def fit(cls, documents: Sequence[Sequence[str]], k: int, seed: int, start: Self | None = None) -> Self:
        """A model over the words that `bag.vocabulary` keeps, by one worker; ValueError when the documents hold no word at all.

        The topics of `start` are the prior of the first ones: if k is lower those of the highest `alpha`, if it is higher further ones are
        new. Equal bytes need equal instruction sets, too: tomotopy has a build for each.
        """
        import tomotopy

        words = vocabulary(documents)
        known = set(words)
        model = tomotopy.LDAModel(k=k, alpha=ALPHA, eta=ETA, seed=seed)
        for document in documents:
            if kept := [w for w in document if w in known]:
                model.add_doc(kept)
        if start is not None:
            prior = ETA + START_WORDS * continued(start.topics * start.alpha[:, None], start._place, words, k)
            for n, word in enumerate(words):
                model.set_word_prior(word, prior[:, n].tolist())
        model.train(max(LEAST_SWEEPS, min(SWEEPS, SWEPT_DOCUMENTS // len(documents))), workers=1)
        used = {word: n for n, word in enumerate(model.used_vocabs)}
        topics = np.stack([model.get_topic_word_dist(t) for t in range(k)])[:, [used[w] for w in words]]
        return cls(topics.astype(np.float32), np.maximum(np.asarray(model.alpha, np.float64), 1e-4), words)

    def weights(self, documents: Sequence[Sequence[str]]) -> np.ndarray:
        """p(topic | words), shape (n, n_topics), by a variational E-step from an even start; unknown words leave the prior."""
        return fold_in(self.topics.astype(np.float64), self.alpha, documents, self._place)
