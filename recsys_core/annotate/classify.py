"""Texts to interests: by the nearest label of a taxonomy, without training, or by a linear head that was trained on item categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Labels of one text by a taxonomy, at most.
MOST_LABELS = 3
# Cosine from which a label holds while nothing is known about which do, and texts of known category from which it is chosen on them.
THRESHOLD, MIN_KNOWN = 0.3, 50
# Every so many-th text is held out.
HELD_OUT = 5


class TaxonomyError(ValueError):
    """A taxonomy file that cannot be used: every fault on a line of its own, with its place and its remedy."""


@dataclass(frozen=True)
class Taxonomy:
    """Labels, and what each says in English and in Chinese; one of the two may be ''."""

    labels: tuple[str, ...]
    english: tuple[str, ...]
    chinese: tuple[str, ...]

    def texts(self) -> tuple[list[str], list[int]]:
        """(texts to embed, the label that each is of): a label is as near as the nearest of its texts."""
        found = [(text, i) for i, both in enumerate(zip(self.english, self.chinese, strict=True)) for text in both if text]
        return [t for t, _ in found], [i for _, i in found]


def taxonomy(text: str, name: str) -> Taxonomy:
    """The taxonomy in a TSV file `name`: label id, English words, Chinese words; blank lines and those with # are passed over.

    >>> taxonomy("chess\\tchess and go\\t国际象棋 围棋\\n", "site.tsv").labels
    ('chess',)
    """
    rows: list[list[str]] = []
    faults: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = [f.strip() for f in line.split("\t")]
        if len(fields) != 3 or not fields[0] or not any(fields[1:]):
            faults.append(
                f"{name}, line {number}: give label, English words and Chinese words, parted by tabs; one of the two may be empty"
            )
        elif fields[0] in (r[0] for r in rows):
            faults.append(f"{name}, line {number}: label {fields[0]!r} is there already; name it once")
        else:
            rows.append(fields)
    if faults or not rows:
        raise TaxonomyError(
            "\n".join(faults) or f"{name}: there is no label; write one on each line, like chess<tab>chess, go<tab>国际象棋"
        )
    return Taxonomy(*(tuple(column) for column in zip(*rows, strict=True)))


def similarities(vectors: np.ndarray, label_vectors: np.ndarray, label_of: Sequence[int]) -> np.ndarray:
    """Cosine of each text to each label, shape (n, labels): that of the label's nearest text."""
    cosines = vectors @ label_vectors.T
    found = np.full((len(vectors), max(label_of) + 1), -1.0, np.float32)
    for column, label in enumerate(label_of):
        found[:, label] = np.maximum(found[:, label], cosines[:, column])
    return found


def chosen(scores: np.ndarray, threshold: float, most: int = MOST_LABELS) -> list[tuple[int, int, float]]:
    """(text, label, score) of the labels whose score reaches the threshold, the best `most` of each text, in that order."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :most]
    return [(row, int(c), float(scores[row, c])) for row in range(len(scores)) for c in order[row] if scores[row, c] >= threshold]


def tuned(scores: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """(threshold, F1): the cut of each text's best score, in hundredths, at which best labels are right most, by F1 over all texts.

    `truth` is the right label of each text; a text below the threshold has no label, and so is missed.
    """
    best, right = scores.max(axis=1), scores.argmax(axis=1) == truth
    cuts = np.arange(-100, 100) / 100
    f1 = [f1_at(best, right, cut) for cut in cuts]
    return float(cuts[int(np.argmax(f1))]), max(f1)


def f1_at(best: np.ndarray, right: np.ndarray, cut: float) -> float:
    """F1 of labels that are given from a score on: 2 · right / (given + texts)."""
    given = best >= cut
    return float(2 * (given & right).sum() / (given.sum() + len(best))) if len(best) else 0.0


@dataclass(frozen=True)
class LinearHead:
    """Probabilities of categories by softmax(W v + b): `weights` (c, d), `bias` (c,), and from which probability on a category holds."""

    labels: tuple[str, ...]
    weights: np.ndarray
    bias: np.ndarray
    threshold: float

    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        """Shape (n, categories), rows summing to 1."""
        logits = vectors @ self.weights.T + self.bias
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        found: np.ndarray = exponents / exponents.sum(axis=1, keepdims=True)
        return found

    def arrays(self) -> dict[str, np.ndarray]:
        """The head as plain arrays; `LinearHead.of` reads them."""
        return {"labels": np.array(self.labels), "weights": self.weights, "bias": self.bias, "threshold": np.array(self.threshold)}

    @classmethod
    def of(cls, arrays: dict[str, np.ndarray]) -> LinearHead:
        """A head from its arrays."""
        return cls(tuple(arrays["labels"].tolist()), arrays["weights"], arrays["bias"], float(arrays["threshold"]))


def fit_head(vectors: np.ndarray, categories: Sequence[str], seed: int = 0) -> tuple[LinearHead, dict[str, float]]:
    """A logistic regression of categories on unit vectors (n, d), and how it does on texts that were held out of a first fit.

    Every HELD_OUT-th of a seeded order is held out; there the threshold is chosen on one half and all is measured on the other: accuracy
    with its 95 % interval's low end, that of always naming the commonest category, F1 at the threshold, n. The head itself is fitted on
    all texts. ValueError for fewer than two categories.
    """
    labels = sorted(set(categories))
    if len(labels) < 2:
        raise ValueError("a head tells categories apart: there must be two at least")
    truth = np.searchsorted(np.array(labels), np.array(categories))
    order = np.random.default_rng(seed).permutation(len(truth))
    held, rest = order[::HELD_OUT], np.delete(order, np.s_[::HELD_OUT])
    scores = _fitted(vectors[rest], truth[rest], labels).probabilities(vectors[held])
    threshold, _ = tuned(scores[::2], truth[held[::2]])
    scores, truth_held = scores[1::2], truth[held[1::2]]
    right = scores.argmax(axis=1) == truth_held
    n, accuracy = len(right), float(right.mean())
    metrics = {
        "accuracy": accuracy,
        "accuracy_ci_low": accuracy - 1.96 * float(np.sqrt(accuracy * (1 - accuracy) / n)),
        "majority_accuracy": float((truth_held == np.bincount(truth[rest]).argmax()).mean()),
        "f1": f1_at(scores.max(axis=1), right, threshold),
    }
    head = _fitted(vectors, truth, labels)
    return LinearHead(head.labels, head.weights, head.bias, threshold), {k: round(v, 6) for k, v in metrics.items()} | {"n": float(n)}


def _fitted(vectors: np.ndarray, truth: np.ndarray, labels: Sequence[str]) -> LinearHead:
    """A head whose categories without a text here get no probability."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # the order of a sum must not depend on the number of cores
        model = LogisticRegression(C=10.0, max_iter=300).fit(vectors, truth)
    weights, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # one row tells the second from the first: half of it for, half against
        weights, bias = np.vstack([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    full, offset = np.zeros((len(labels), vectors.shape[1])), np.full(len(labels), -50.0)
    full[model.classes_], offset[model.classes_] = weights, bias
    return LinearHead(tuple(labels), np.round(full, 6).astype(np.float32), np.round(offset, 6).astype(np.float32), 0.0)
