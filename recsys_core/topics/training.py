"""Training of topic versions: from texts and vectors to files that are ready to be registered."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recsys_core.lake import Lake, LakeError
from recsys_core.registry import ModelVersion, register
from recsys_core.topics import keywords, number, quality, topic_model
from recsys_core.topics.corpus import Corpus
from recsys_core.topics.hierarchy import hierarchy
from recsys_core.topics.kmeans import KMeans
from recsys_core.topics.lineage import NO_TOPIC, Before, kept_share, new_ids, trace
from recsys_core.topics.rows import Level, lineage_rows, topic_rows, uppers
from recsys_core.topics.spherical import unit
from recsys_core.topics.state import remembered
from recsys_core.topics.tables import Previous, Topics, artifacts, documents_of, ids_in_use, kind_of, previous

# The number of topics stays that of the version before unless another one is better by this much by the criterion that chooses it.
K_MARGIN = 0.02

# So many documents of each old topic must both versions have been trained on, on average, to tell by them which topic is which.
KNOWN_PER_TOPIC = 5

Labels = Callable[[list[tuple[list[str], list[str], int]]], list[tuple[str, str, str]]]


@dataclass(frozen=True)
class Task:
    """What a version is made with: its name, its method, the number of topics, and the last training night.

    space   the embedding space of the corpus
    taken   topic ids that other versions gave out
    warm    whether training starts from the topics of the version before
    labels  (words, typical texts, topic id) of all topics → (English label, Chinese label, source)
    processes  that share the work of a method that can share it
    """

    model_version: str
    method: str
    k: int
    seed: int
    train_to: dt.date
    space: str | None
    labels: Labels
    taken: Collection[int] = ()
    warm: bool = True
    processes: int = 1


@dataclass(frozen=True)
class Trained:
    """A fitted version: its files, the topic ids it brings into the world, and what was measured.

    measured  JSON: metrics (name → value over n_docs documents), similarity, outlier_share and floor (for later drift); after a version
              before also kept (share of n_kept documents, those that both were trained on, that keep their topic id) and compared (metric →
              its value, that of the version before, and the standard error of the difference, on the same n_compared documents)
    """

    files: dict[str, bytes]
    born: list[int]
    measured: dict[str, Any]


def number_of_topics(
    data: Corpus, method: str, k_min: int, k_max: int, seed: int, before: int | None = None
) -> tuple[int, dict[int, float]]:
    """K for a method and the criterion for all that were tried, see `number`; LakeError for a catalogue of fewer than two texts.

    `before`, the number of the version before, is kept unless the best one is better by more than K_MARGIN: topics come and go by what
    people do, not by the noise of a criterion.
    """
    if len(data.items) < 2:
        raise LakeError(f"the catalogue has {len(data.items)} distinct texts, but topics need two at least: land more items")
    documents = documents_of(topic_model(method), data.vectors, data.words)
    k, tried = number.number_of_topics(method, documents, k_min, k_max, seed)
    if before and k_min <= before <= k_max and before != k:
        again, score = number.number_of_topics(method, documents, before, before, seed)
        tried = score | tried
        k = again if again == before and tried[before] >= tried[k] - K_MARGIN else k
    return k, tried


def fit_versions(
    lake: Lake,
    data: Corpus,
    names: dict[str, str],
    proto: ModelVersion,
    task: Task,
    follows: dict[str, ModelVersion | None],
) -> list[ModelVersion]:
    """Fit and register a candidate of each method in `names` (method → version name), the first of which is the one that nights use.

    `proto` and `task` hold what they share, `follows` the version before of each method.
    """
    champion, taken, found = next(iter(names)), ids_in_use(lake, set(names.values())), []
    for method, name in names.items():
        mine = replace(task, model_version=name, method=method, taken=taken)
        trained = train(data, mine, previous(lake, follows[method]))
        taken |= set(trained.born)
        params = proto.params | {"method": method, "measured": trained.measured}
        version = replace(proto, model_version=name, kind=kind_of(method, champion), params=params)
        found.append(register(lake, version, trained.files))
    return found


def train(data: Corpus, task: Task, old: Previous | None) -> Trained:
    """A fitted version. Topics that are those of `old` keep their ids, see `lineage.trace`; without it all are born after `train_to`."""
    cls = topic_model(task.method)
    on_words = cls.documents == "tokens"
    fitted_on = [*data.words, *data.reviews] if on_words else documents_of(cls, data.vectors, data.words)
    start = old.topics.model if old and task.warm and type(old.topics.model) is cls and (on_words or _same_space(old, task)) else None
    more: dict[str, Any] = ({"start": start} if start else {}) | ({"processes": task.processes} if cls is KMeans else {})
    model = cls.fit(fitted_on, task.k, task.seed, **more)
    weights = model.weights(documents_of(model, data.vectors, data.words))
    first = weights.argmax(axis=1)
    centres = _centroids(data.vectors, weights, first)
    before, assigned = _before(old, data, task)
    fresh = new_ids(task.train_to, task.taken)
    origins = trace(weights.shape[1], first, centres, before, fresh)
    ids = np.array([o.topic_id for o in origins[: weights.shape[1]]], np.int64)
    leaves = Level.of(data, 0, ids, first, weights, old)
    above, level_of = hierarchy(centres, np.bincount(first, minlength=len(ids)))
    levels = [leaves, *uppers(data, leaves, above, level_of, before, old, fresh)]
    rows = topic_rows(levels, above, centres, data, task, before, old)
    state, asleep = remembered(data.hashes, task.train_to, old if old and _same_space(old, task) else None, origins, ids, first, centres)
    rows["topic"] += asleep
    rows["topic_lineage"] = lineage_rows(data, task, old, origins, first, before)
    born = [r["topic_id"] for r in rows["topic"] if not old or r["topic_id"] not in old.rows]
    return Trained(artifacts(Topics(ids, model), rows, state), born, _measured(data, task, old, before, assigned, leaves, centres))


def _same_space(old: Previous, task: Task) -> bool:
    return old.version.embedding_space == task.space


def _centroids(vectors: np.ndarray, weights: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Mean vector of each topic's documents, unit; of a topic that is no document's first, of all documents by weight."""
    member = np.zeros_like(weights)
    member[np.arange(len(first)), first] = 1.0
    empty = member.sum(axis=0) == 0
    member[:, empty] = weights[:, empty]
    return unit(member.T @ vectors)


def _before(old: Previous | None, data: Corpus, task: Task) -> tuple[Before | None, np.ndarray | None]:
    """(the topics of the version before with the documents that tell who is who; the topic, as a place, that its model gives each one).

    Who is who is told by the documents that both versions were trained on, as the old one remembers them: what is new in the world is no
    part of an old topic, wherever the old model would put it. When it knew too few of them, its model's word is taken. The model can say
    nothing when it needs vectors of another space.
    """
    if old is None:
        return None, None
    same, state, model = _same_space(old, task), old.state, old.topics.model
    assigned = None
    if same or model.documents == "tokens":
        assigned = model.weights(documents_of(model, data.vectors, data.words)).argmax(axis=1)
    place = {int(i): n for n, i in enumerate(old.topics.ids)}
    first = np.array([place.get(int(i), -1) for i in state.anchored(data.hashes)] if state else [-1] * len(data.hashes))
    if assigned is not None and (first >= 0).sum() < KNOWN_PER_TOPIC * len(old.topics.ids):
        first = assigned
    if not same:
        return Before(old.topics.ids, first), assigned
    if state is None:
        return Before(old.topics.ids, first, getattr(model, "centroids", None)), assigned
    return Before(old.topics.ids, first, state.centroids, state.born, (state.dormant_ids, state.dormant_centroids)), assigned


def _measured(
    data: Corpus,
    task: Task,
    old: Previous | None,
    before: Before | None,
    assigned: np.ndarray | None,
    leaves: Level,
    centres: np.ndarray,
) -> dict[str, Any]:
    ids, first, words = leaves.ids, leaves.first, leaves.words
    cosines = quality.own_cosines(data.vectors, first, centres)
    floor = quality.outlier_floor(cosines)
    metrics = {
        "n_topics": float(len(ids)),
        "npmi": float(np.mean(leaves.coherence)),
        "topic_diversity": quality.topic_diversity(words),
        "irbo": quality.inverted_rbo(words),
        "silhouette": quality.silhouette(data.vectors, first, task.seed),
        "size_entropy": quality.size_entropy(np.bincount(first, minlength=len(ids))),
        "similarity": float(cosines.mean()),
        "outlier_share": float((cosines < floor).mean()),
    }
    found: dict[str, Any] = {"n_docs": len(first), "floor": round(floor, 6)}
    if before and old:
        kept, n = kept_share(ids[first], np.where(before.first >= 0, before.ids[before.first], NO_TOPIC))
        metrics["churn"] = 1 - kept
        if old.state is not None and assigned is not None and (strange := old.state.unknown(data.hashes)).any():
            metrics["doc_drift"] = quality.jensen_shannon(np.bincount(assigned[strange], minlength=len(before.ids)), old.state.shares)
        theirs = before.first if assigned is None else assigned
        found |= {"kept": _r(kept), "n_kept": n, "n_compared": int((theirs >= 0).sum())}
        found["compared"] = _compared(data, task.seed, first, theirs)
    return found | {"metrics": {name: _r(value) for name, value in metrics.items()}}


def _compared(data: Corpus, seed: int, mine: np.ndarray, theirs: np.ndarray) -> dict[str, list[float]]:
    """Metric → (under the new version, under the one before, standard error of the difference), each by the first topics of the documents
    to which both give one. The error is that of means over topics; of what is no such mean it is 0.
    """
    known = theirs >= 0
    documents = [words for words, k in zip(data.words, known, strict=True) if k]
    if len(documents) < 2:
        return {}
    found: dict[str, list[float]] = {name: [] for name in quality.MARGINS}
    errors = []
    for labels in (mine[known], theirs[known]):
        _, place = np.unique(labels, return_inverse=True)
        words = keywords.keywords(documents, np.eye(int(place.max()) + 1)[place])
        coherence = np.array(keywords.npmi([*documents, *data.reviews], words))
        errors.append(coherence.var() / len(coherence))
        found["npmi"].append(_r(float(coherence.mean())))
        found["topic_diversity"].append(_r(quality.topic_diversity(words)))
        found["silhouette"].append(_r(quality.silhouette(data.vectors[known], place, seed)))
    return {name: [*values, _r(np.sqrt(sum(errors)) if name == "npmi" else 0.0)] for name, values in found.items()}


def _r(value: float) -> float:
    return round(float(value), 6)
