"""What a topic is called: its most telling words, labels in both languages, and how well the words hang together."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix

N_KEYWORDS = 10
LABEL_WORDS = 3
_HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff]")


def keywords(documents: Sequence[Sequence[str]], weights: np.ndarray, n: int = N_KEYWORDS) -> list[list[str]]:
    """The n words of each topic with the highest class-based TF-IDF, best first.

    `documents` are lists of words, `weights` p(topic | document), shape (documents, topics). A word counts for a topic as often as it is in
    its documents, by weight: tf(w, t) · ln(1 + mean words per topic / occurrences of w) (Grootendorst 2022, eq. 2). Words of a single
    document come last, so that no brand or typing error names a topic. Ties go by the alphabet.

    >>> keywords([["tent", "rain"], ["tent", "stove"], ["cake", "rain"], ["cake", "flour"]], np.array([[1, 0], [1, 0], [0, 1], [0, 1]]), 2)
    [['tent', 'rain'], ['cake', 'rain']]
    """
    words, counts = _bag(documents)
    if not words:
        return [[] for _ in range(weights.shape[1])]
    tf = np.asarray((counts.T @ weights).T)
    rare = np.asarray((counts > 0).sum(axis=0)).ravel() < 2
    score = tf * np.log1p(tf.sum() / len(tf) / np.asarray(counts.sum(axis=0)).ravel())
    found = []
    for row in score:
        order = np.lexsort((np.arange(len(words)), -row, rare))
        found.append([words[w] for w in order[:n] if row[w] > 0])
    return found


def npmi(documents: Sequence[Sequence[str]], topics: Sequence[Sequence[str]]) -> list[float]:
    """Mean normalised pointwise mutual information of all pairs of each topic's words, −1 to 1, a document being the window (Bouma 2009).

    A pair that never meets counts −1, one that is in every document 1; a topic of fewer than two words has 0.

    >>> npmi([["a", "b"], ["a", "b"], ["c"], ["d"]], [["a", "b"], ["a", "c"]])
    [1.0, -1.0]
    """
    words, counts = _bag(documents)
    place = {word: n for n, word in enumerate(words)}
    seen = (counts > 0).astype(np.float64)
    total = max(len(documents), 1)
    found = []
    for topic in topics:
        columns = [place[w] for w in topic if w in place]
        if len(columns) < 2:
            found.append(0.0)
            continue
        part = seen[:, columns]
        together = np.asarray((part.T @ part).todense()) / total
        alone = np.diag(together)
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = np.log(together / np.outer(alone, alone)) / -np.log(together)
        scores = np.where(together <= 0, -1.0, np.where(together >= 1, 1.0, scores))
        found.append(round(float(scores[np.triu_indices(len(columns), 1)].mean()), 6))
    return found


def labels(words: Sequence[str], topic_id: int) -> tuple[str, str]:
    """(English, Chinese) label of a topic from its keywords, best first: its first words of that language, where it has three.

    A topic without three words of a language is called by its first words of any; one without words by its number.

    >>> labels(["露营帐篷", "防潮垫", "tent", "野营"], 7)
    ('露营帐篷, 防潮垫, tent', '露营帐篷、防潮垫、野营')
    """
    if not words:
        return f"topic {topic_id}", f"主题 {topic_id}"
    chinese = [w for w in words if _HAN.search(w)]
    english = [w for w in words if not _HAN.search(w)]
    en, zh = (list(own if len(own) >= LABEL_WORDS else words)[:LABEL_WORDS] for own in (english, chinese))
    return ", ".join(en), "、".join(zh)


def _bag(documents: Sequence[Sequence[str]]) -> tuple[list[str], csr_matrix]:
    """(sorted words, counts of shape documents × words)."""
    words = sorted({word for document in documents for word in document})
    place = {word: n for n, word in enumerate(words)}
    rows = [row for row, document in enumerate(documents) for _ in document]
    columns = [place[word] for document in documents for word in document]
    return words, csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(documents), len(words)))
