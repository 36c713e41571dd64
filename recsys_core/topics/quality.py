"""How good a topic version is, how far documents have moved from what it was trained on, and whether it may come into use."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recsys_core.topics.online import FENCE
from recsys_core.topics.spherical import unit

RBO_P = 0.9
SILHOUETTE_DOCUMENTS = 2_000
# So much may each metric fall behind the champion's, on the same documents, before a version is refused.
MARGINS = {"npmi": 0.03, "topic_diversity": 0.05, "silhouette": 0.02}
# Standard errors to the ends of a 95 % interval.
ONE_SIDED, TWO_SIDED = 1.645, 1.96
# Share of documents that must keep their topic.
MIN_KEPT = 0.7


def topic_diversity(words: Sequence[Sequence[str]]) -> float:
    """Distinct words over all words of the topics, 0 to 1 (Dieng, Ruiz & Blei 2020); 0 without words.

    >>> topic_diversity([["a", "b"], ["a", "c"]])
    0.75
    """
    total = sum(len(topic) for topic in words)
    return len({word for topic in words for word in topic}) / total if total else 0.0


def inverted_rbo(words: Sequence[Sequence[str]], p: float = RBO_P) -> float:
    """1 − mean rank-biased overlap of all pairs of topics (Bianchi, Terragni & Hovy 2021): 1 when no two share a word; 1 for one topic.

    The overlap at depth d weighs (1 − p) p^(d−1), normalised over the depths that both lists have (Webber, Moffat & Zobel 2010, eq. 7).

    >>> inverted_rbo([["a", "b"], ["a", "b"]]), inverted_rbo([["a"], ["b"]])
    (0.0, 1.0)
    """
    found = []
    for n, one in enumerate(words):
        for other in words[n + 1 :]:
            depths = range(1, min(len(one), len(other)) + 1)
            weights = [p ** (d - 1) for d in depths]
            agreed = sum(w * len({*one[:d]} & {*other[:d]}) / d for w, d in zip(weights, depths, strict=True))
            found += [agreed / sum(weights)] if weights else []
    return 1.0 - float(np.mean(found)) if found else 1.0


def size_entropy(sizes: np.ndarray) -> float:
    """Entropy of the topics' shares of documents over that of equal shares, 0 to 1: low when one topic holds nearly all.

    >>> size_entropy(np.array([5, 5])), size_entropy(np.array([9, 0]))
    (1.0, 0.0)
    """
    share = sizes[sizes > 0] / max(sizes.sum(), 1)
    return float(-(share * np.log(share)).sum() / np.log(len(sizes)) + 0.0) if len(sizes) > 1 else 0.0


def silhouette(vectors: np.ndarray, first: np.ndarray, seed: int, documents: int = SILHOUETTE_DOCUMENTS) -> float:
    """Mean silhouette by cosine distance (Rousseeuw 1987) of a seeded sample of documents; 0 with fewer than two topics in it."""
    from sklearn.metrics import silhouette_score

    chosen = np.arange(len(first))
    if len(chosen) > documents:
        chosen = np.sort(np.random.default_rng(seed).choice(len(first), documents, replace=False))
    n_topics = len(np.unique(first[chosen]))
    return float(silhouette_score(vectors[chosen], first[chosen], metric="cosine")) if 1 < n_topics < len(chosen) else 0.0


def outlier_floor(cosines: np.ndarray) -> float:
    """The cosine to its topic's centroid below which a document is an outlier: Tukey's fence (1977) of those of the training documents."""
    lower, upper = np.quantile(cosines, [0.25, 0.75])
    return float(lower - FENCE * (upper - lower))


def own_cosines(vectors: np.ndarray, first: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Cosine of each document to the centroid of its first topic."""
    found: np.ndarray = (unit(vectors) * unit(centroids)[first]).sum(axis=1)
    return found


def jensen_shannon(one: np.ndarray, other: np.ndarray) -> float:
    """Jensen–Shannon divergence of two distributions given as counts or shares, base 2, 0 (equal) to 1 (nothing in common) (Lin 1991).

    >>> jensen_shannon(np.array([1, 1]), np.array([2, 2])), jensen_shannon(np.array([1, 0]), np.array([0, 1]))
    (0.0, 1.0)
    """
    p, q = (np.asarray(x, np.float64) / max(np.sum(x), 1e-300) for x in (one, other))
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(x > 0, x * np.log2(x / middle), 0.0).sum() for x in (p, q)]
    return float(sum(parts) / 2)


def refusals(measured: Mapping[str, Any], min_kept: float = MIN_KEPT) -> dict[str, list[str]]:
    """Why a version may not come into use by itself, in words with the numbers: 'churn' and 'worse', each empty when it may.

    measured  what training noted, see `training.Trained`: `kept` and, by metric, `compared` = (the version's, the champion's, standard
              error of the difference) on the same documents; nothing is refused where there was no champion

    A metric is worse when even the upper end of the difference's one-sided 95 % interval is beyond the margin: ten keywords of twenty
    topics say little, and a version is not to be refused by their noise.

    >>> refusals({"kept": 0.9, "compared": {"npmi": [0.05, 0.2, 0.01]}})
    {'churn': [], 'worse': ['npmi 0.050 ± 0.010, the champion has 0.200 on the same documents (margin 0.03)']}
    """
    kept = measured.get("kept")
    churn = [] if kept is None or kept >= min_kept else [f"{kept:.0%} of the documents keep their topic, {min_kept:.0%} is the least"]
    compared: Mapping[str, Sequence[float]] = measured.get("compared", {})
    worse = [
        f"{name} {mine:.3f} ± {error:.3f}, the champion has {theirs:.3f} on the same documents (margin {MARGINS[name]})"
        for name, (mine, theirs, error) in compared.items()
        if mine - theirs + ONE_SIDED * error < -MARGINS[name]
    ]
    return {"churn": churn, "worse": worse}


def metric_rows(ds: dt.date, model_version: str, measured: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of eval_metric: what was measured when the version was trained, beside the champion of then where both were compared."""
    compared = measured.get("compared", {})
    found = []
    for name, value in measured.get("metrics", {}).items():
        row = _row(ds, model_version, name, value, measured["n_docs"])
        if name in compared:
            mine, theirs, error = compared[name]
            against = {"baseline": "champion", "value": mine, "baseline_value": theirs, "diff": _r(mine - theirs)}
            against |= {"diff_ci_low": _r(mine - theirs - TWO_SIDED * error), "diff_ci_high": _r(mine - theirs + TWO_SIDED * error)}
            found.append(row | against | {"n": measured["n_compared"]})
        found.append(row)
    return found


def drift_rows(
    ds: dt.date, model_version: str, first: np.ndarray, cosines: np.ndarray, shares: np.ndarray, trained: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Rows of eval_metric about documents that training did not know; empty without any.

    first    their first topics, as places in `shares`, the topics' shares of the training documents
    cosines  to their first topic's centroid
    trained  what training measured: `similarity` (mean cosine), `outlier_share`, and the `floor` below which a document is an outlier
    """
    if not len(first):
        return []
    outliers = float((cosines < trained["floor"]).mean())
    values = [
        ("doc_drift", jensen_shannon(np.bincount(first, minlength=len(shares)), shares), 0.0),
        ("similarity", float(cosines.mean()), trained["similarity"]),
        ("outlier_share", outliers, trained["outlier_share"]),
    ]
    return [
        _row(ds, model_version, name, value, len(first))
        | {"slice_dim": "documents", "slice_value": "new", "baseline": "training"}
        | {"baseline_value": _r(base), "diff": _r(value - base)}
        for name, value, base in values
    ]


def _row(ds: dt.date, model_version: str, metric: str, value: float, n: int) -> dict[str, Any]:
    where = {"subject": "topics", "list_name": "", "variant": "default", "slice_dim": "all", "slice_value": ""}
    return {"ds": ds, "model_version": model_version, **where, "metric": metric, "k": 0, "baseline": "", "value": _r(value), "n": n}


def _r(value: float) -> float:
    return round(float(value), 6)
