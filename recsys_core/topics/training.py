"""Training of topic versions: from texts and vectors to files that are ready to be registered."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from recsys_core.lake import Lake, LakeError, canonical_json
from recsys_core.registry import ModelVersion, register
from recsys_core.texts import tokenize
from recsys_core.topics import describe, topic_model
from recsys_core.topics.kmeans import choose_k
from recsys_core.topics.lineage import Origin, new_ids, trace
from recsys_core.topics.tables import KINDS, Previous, Topics, artifacts, ids_in_use, version_before


@dataclass(frozen=True)
class Corpus:
    """What topics are learnt from: the distinct texts of the catalogue in the order of their hashes, and reviews.

    items     of each text, the items that have it, sorted
    vectors   unit vectors of the texts, (n, d)
    words     words of the texts
    reviews   words of the reviews; they shape the words of LDA, never the centroids
    users     item → codes of the users that touched it in the training nights
    """

    items: list[list[str]]
    vectors: np.ndarray
    words: list[list[str]]
    reviews: list[list[str]]
    users: dict[str, np.ndarray]


def corpus(item_text: pa.Table, user_text: pa.Table, user_item: pa.Table, vectors_of: Any, max_reviews: int) -> Corpus:
    """The training corpus; `vectors_of` gives unit vectors of text hashes.

    Of more than `max_reviews` distinct reviews those with the lowest hashes are taken: a sample without order or meaning.
    """
    texts: dict[str, tuple[str, str]] = {}
    items: dict[str, set[str]] = {}
    for row in item_text.to_pylist():
        texts[row["text_hash"]] = (row["text"], row["lang"])
        items.setdefault(row["text_hash"], set()).add(row["item_id"])
    hashes = sorted(texts)
    reviews = {r["text_hash"]: (r["text"], r["lang"]) for r in user_text.to_pylist() if r["kind"] == "review"}
    chosen = [reviews[h] for h in sorted(reviews)[:max_reviews]]
    pairs = user_item.group_by(["user_key", "item_id"]).aggregate([]).combine_chunks()
    codes = pairs["user_key"].dictionary_encode().combine_chunks().indices.to_pylist()
    held: dict[str, list[int]] = {}
    for item, code in zip(pairs["item_id"].to_pylist(), codes, strict=True):
        held.setdefault(item, []).append(code)
    return Corpus(
        items=[sorted(items[h]) for h in hashes],
        vectors=vectors_of(hashes),
        words=[tokenize(*texts[h]) for h in hashes],
        reviews=[tokenize(*review) for review in chosen],
        users={item: np.unique(found) for item, found in held.items()},
    )


def number_of_topics(data: Corpus, k_min: int, k_max: int, seed: int) -> tuple[int, dict[int, float]]:
    """K and the silhouettes of all that were tried, see `choose_k`; LakeError for a catalogue of fewer than two texts."""
    if len(data.items) < 2:
        raise LakeError(f"the catalogue has {len(data.items)} distinct texts, but topics need two at least: land more items")
    return choose_k(data.vectors, k_min, k_max, seed)


def fit_versions(lake: Lake, data: Corpus, names: dict[str, str], proto: ModelVersion, k: int, seed: int) -> None:
    """Fit and register a candidate of each method in `names` (method → version name); `proto` holds what they share."""
    train_to = dt.date.fromisoformat(proto.train_to)
    taken = ids_in_use(lake, set(names.values()))
    for method, name in names.items():
        previous = version_before(lake, method, train_to)
        files, born = train(method, name, data, k, seed, train_to, taken, proto.embedding_space, previous)
        taken |= set(born)
        register(lake, replace(proto, model_version=name, kind=KINDS[method], params=proto.params | {"method": method}), files)


def train(
    method: str,
    model_version: str,
    data: Corpus,
    k: int,
    seed: int,
    train_to: dt.date,
    taken: Collection[int],
    space: str | None,
    previous: Previous | None,
) -> tuple[dict[str, bytes], list[int]]:
    """A fitted version's files, and the topic ids it brings into the world.

    `taken` are ids that other versions gave out. Topics that are those of `previous`, by their centroids and in the same embedding space,
    keep their ids; without `previous` all are born on the night after `train_to`.
    """
    cls = topic_model(method)
    on_vectors = cls.documents == "vectors"
    model = cls.fit(data.vectors if on_vectors else [*data.words, *data.reviews], k, seed)
    weights = model.weights(data.vectors if on_vectors else data.words)
    before = previous if on_vectors and previous and previous.embedding_space == space else None
    # Topics of a model on words have no centroid of their own: their documents' mean stands for it.
    centres = weights.T @ data.vectors
    origins = trace(
        getattr(model, "centroids", centres),
        before.topics.ids.tolist() if before else [],
        before.topics.model.centroids if before else centres,  # type: ignore[attr-defined]
        new_ids(train_to, taken),
    )
    if previous and not before:
        origins += [Origin(int(i), "death", int(i)) for i in previous.topics.ids]
    held = origins[:k]
    rows = _rows(method, model_version, data, weights, held, train_to, space if on_vectors else None, previous)
    rows["topic_lineage"] = [
        {
            "model_version": model_version,
            "prev_model_version": previous.model_version if previous else None,
            "topic_id": o.topic_id,
            "prev_topic_id": o.prev_topic_id,
            "relation": o.relation,
            "similarity": o.similarity,
            "user_overlap": None,
        }
        for o in origins
    ]
    ids = np.array([o.topic_id for o in held], np.int64)
    return artifacts(Topics(ids, model), rows), [o.topic_id for o in held if o.relation == "birth"]


def _rows(
    method: str,
    model_version: str,
    data: Corpus,
    weights: np.ndarray,
    origins: Sequence[Origin],
    train_to: dt.date,
    space: str | None,
    previous: Previous | None,
) -> dict[str, list[dict[str, Any]]]:
    words = describe.keywords(data.words, weights)
    coherence = describe.npmi([*data.words, *data.reviews], words)
    first = weights.argmax(axis=1)
    topic, version = [], []
    for at, origin in enumerate(origins):
        members = np.flatnonzero(first == at)
        users = [data.users[i] for m in members for i in data.items[m] if i in data.users]
        en, zh = describe.labels(words[at], origin.topic_id)
        old = previous.rows.get(origin.topic_id) if previous else None
        topic.append(
            {
                "topic_id": origin.topic_id,
                "method": method,
                "level": 0,
                "parent_topic_id": None,
                "label_en": en,
                "label_zh": zh,
                "label_source": "keywords",
                "keywords": canonical_json(words[at]),
                "status": "active",
                "born_ds": old["born_ds"] if old else train_to + dt.timedelta(days=1),
                "retired_ds": None,
                "sensitive": False,
            }
        )
        version.append(
            {
                "model_version": model_version,
                "topic_id": origin.topic_id,
                "n_docs": len(members),
                "n_users": len(np.unique(np.concatenate(users))) if users else 0,
                "coherence_npmi": coherence[at],
                "centroid_sim_prev": origin.similarity,
                "medoid_item_id": _medoid(data, weights[:, at], members),
                "embedding_space": space,
            }
        )
    return {"topic": topic, "topic_version": version}


def _medoid(data: Corpus, weight: np.ndarray, members: np.ndarray) -> str | None:
    """The item whose vector is nearest the mean of the topic's documents, by weight; None for a topic that is no text's first."""
    if not len(members):
        return None
    centre = weight[members] @ data.vectors[members]
    return data.items[members[int(np.argmax(data.vectors[members] @ centre))]][0]
