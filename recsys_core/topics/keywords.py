"""The words that tell what a topic is about: class-based TF-IDF, each word for one topic, chosen to hang together; and how well they do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain

import numpy as np
from scipy.sparse import csr_matrix

from recsys_core.topics.bag import Windows, counts

N_KEYWORDS = 10
# Words of a topic that its keywords are chosen from.
CANDIDATES = 50
# A candidate is in this many of the topic's documents at least, and in this share of them.
LEAST_DOCUMENTS, LEAST_SHARE = 3, 0.03
# What it counts, beside a score relative to the topic's best word, that a word meets the others (mean NPMI within WINDOW words).
COHERENCE = 3.0
WINDOW = 10
# Words beyond so many in all: a sample of the documents tells which words meet.
WINDOWED_WORDS = 2_000_000


def keywords(documents: Sequence[Sequence[str]], weights: np.ndarray, n: int = N_KEYWORDS, coherent: bool = True) -> list[list[str]]:
    """The n words of each topic that tell most about it, best first; fewer only where a topic's documents have no more.

    documents  lists of words
    weights    p(topic | document), shape (documents, topics); a document counts for its strongest topic
    coherent   False: the plain ranking by score, in which topics share words

    A word's score is class-based TF-IDF: its share of the topic's words · ln(1 + mean words per topic / occurrences of the word)
    (Grootendorst 2022, eq. 2). It belongs to the topic where that is highest, and only there it may be a keyword. Of the best CANDIDATES
    the first is taken, then those that add most to the sum of relative scores and COHERENCE · mean NPMI with the others, and exchanged
    while that grows. What is missing is filled up by own words in few of the topic's documents, then by words of other topics, and last by
    words of a single document, so that no brand or typing error names a topic. Ties go by the alphabet.

    >>> keywords([["tent", "rain"], ["tent", "stove"], ["cake", "rain"], ["cake", "flour"]], np.array([[1, 0], [1, 0], [0, 1], [0, 1]]), 2)
    [['tent', 'rain'], ['cake', 'rain']]
    """
    k = weights.shape[1]
    words, bags = _common(documents, k * n)
    if not words:
        return [[] for _ in range(k)]
    member = _first(weights)
    tf = np.asarray((member.T @ bags).todense(), np.float64)
    seen = (bags > 0).astype(np.float64)
    held = np.asarray((member.T @ seen).todense(), np.float64)
    score = tf / np.maximum(tf.sum(axis=1, keepdims=True), 1e-12) * np.log1p(tf.sum() / k / np.maximum(tf.sum(axis=0), 1e-12))
    if not coherent:
        return [[words[w] for w in np.argsort(-row, kind="stable")[:n] if row[w] > 0] for row in score]
    own = np.zeros(score.shape, bool)
    own[score.argmax(axis=0), np.arange(len(words))] = True
    sizes = np.asarray(member.sum(axis=0)).ravel()
    telling = held >= np.maximum(LEAST_DOCUMENTS, LEAST_SHARE * sizes)[:, None]
    # Best first: telling words of its own, further ones of its own, those of other topics, those of a single document.
    single = np.asarray(seen.sum(axis=0)).ravel() < 2
    grade = np.where(score > 0, np.where(single, 1, 2 + telling + 2 * own), 0)
    ranked = [np.lexsort((-score[t], -grade[t]))[: max(CANDIDATES, n)] for t in range(k)]
    ranked = [row[grade[t][row] > 0] for t, row in enumerate(ranked)]
    candidates = [row[grade[t][row] == 5] for t, row in enumerate(ranked)]
    windows = _windows(documents, [words[w] for w in np.unique(np.concatenate(candidates))])
    found = []
    for t, row in enumerate(candidates):
        chosen = row[_chosen(score[t][row], windows.npmi([words[w] for w in row]), n)] if len(row) > n else row
        found.append([words[w] for w in np.concatenate([chosen, ranked[t][len(row) :]])[:n]])
    return found


def npmi(documents: Sequence[Sequence[str]], topics: Sequence[Sequence[str]], window: int | None = WINDOW) -> list[float]:
    """Mean normalised pointwise mutual information of all pairs of each topic's words, about −1 to 1, 1 when they are always together.

    Counted in stretches of `window` words, or with None in whole documents (Bouma 2009; Röder et al. 2015: c_npmi). gensim's c_npmi is the
    same with a window of 10, but for a word that is twice in a stretch, which it loses with the first: up to .01 lower on prose. Words of
    no document are left out; a topic of fewer than two words has 0.

    >>> npmi([["a", "b"], ["a", "b"], ["c"], ["d"]], [["a", "b"], ["a", "c"]])
    [1.0, -0.924743]
    """
    present = {word for document in documents for word in document}
    held = [[w for w in topic if w in present] for topic in topics]
    windows = Windows(documents, sorted({w for topic in held for w in topic}), window)
    scores = [windows.npmi(topic)[np.triu_indices(len(topic), 1)] for topic in held]
    return [round(float(s.mean()), 6) if len(s) else 0.0 for s in scores]


def _common(documents: Sequence[Sequence[str]], wanted: int) -> tuple[list[str], csr_matrix]:
    """(sorted words, counts (documents, words)): words of more than one document, and the others only where `wanted` are not reached."""
    counted = Counter(chain.from_iterable(map(set, documents)))
    kept = [word for word, seen in counted.items() if seen > 1]
    words = sorted(kept if len(kept) >= wanted else counted)
    return words, counts(documents, {word: n for n, word in enumerate(words)})


def _first(weights: np.ndarray) -> csr_matrix:
    """1 for each document's strongest topic, (documents, topics); a topic that is no document's strongest has all documents by weight."""
    n, k = weights.shape
    member = csr_matrix((np.ones(n), (np.arange(n), weights.argmax(axis=1))), shape=(n, k))
    empty = np.asarray(member.sum(axis=0)).ravel() == 0
    return csr_matrix(member + csr_matrix(np.where(empty, weights, 0.0))) if empty.any() else member


def _windows(documents: Sequence[Sequence[str]], words: Sequence[str]) -> Windows:
    each = max(1, -(-sum(map(len, documents)) // WINDOWED_WORDS))
    return Windows(documents[::each], words, WINDOW)


def _chosen(score: np.ndarray, npmi: np.ndarray, n: int) -> np.ndarray:
    """Places of n candidates, ascending. `score` descends, (m,); npmi (m, m)."""
    worth, link = score / score[0], npmi - np.diag(np.diag(npmi))
    chosen = [0]
    while len(chosen) < n:
        gain = worth + COHERENCE * link[:, chosen].mean(axis=1)
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
    # The best word stays: it is what the topic is called by.
    for _ in range(len(score)):
        with_all = link[:, chosen].sum(axis=1)
        change = 2 * COHERENCE / (n - 1) * (with_all[:, None] - link[:, chosen] - with_all[chosen]) if n > 1 else 0.0
        change = worth[:, None] - worth[chosen] + change
        change[chosen], change[:, 0] = -np.inf, -np.inf
        new, old = np.unravel_index(int(change.argmax()), change.shape)
        if change[new, old] <= 1e-9:
            break
        chosen[old] = int(new)
    return np.sort(chosen)
