"""Rows of topic, topic_version and topic_lineage that a trained version brings."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import orjson

from recsys_core.lake import canonical_json
from recsys_core.topics import keywords
from recsys_core.topics.corpus import Corpus
from recsys_core.topics.lineage import NO_TOPIC, Before, Origin, trace, user_overlap
from recsys_core.topics.spherical import unit

if TYPE_CHECKING:
    from recsys_core.topics.tables import Previous
    from recsys_core.topics.training import Task

# A word stays a topic's over a retrain while it is among so many of the topic's best by plain c-TF-IDF: names must not flicker.
STILL_TELLING = 60


@dataclass(frozen=True)
class Level:
    """Topics of one level: ids, first topic of each document (as a place), p(topic | document), words and their NPMI."""

    level: int
    ids: np.ndarray
    first: np.ndarray
    weights: np.ndarray
    words: list[list[str]]
    coherence: list[float]

    @classmethod
    def of(cls, data: Corpus, level: int, ids: np.ndarray, first: np.ndarray, weights: np.ndarray, old: Previous | None) -> Self:
        """The level with its words; topics that live on keep those that still tell what they are about."""
        words = keywords.keywords(data.words, weights)
        if held := {n: orjson.loads(old.rows[i]["keywords"]) for n, i in enumerate(ids.tolist()) if old and i in old.rows}:
            words = settled(words, held, keywords.keywords(data.words, weights, STILL_TELLING, coherent=False))
        return cls(level, ids, first, weights, words, keywords.npmi([*data.words, *data.reviews], words))


def settled(words: Sequence[Sequence[str]], before: Mapping[int, Sequence[str]], telling: Sequence[Sequence[str]]) -> list[list[str]]:
    """Words of topics; those that had words before (by place) keep the ones still among `telling`, unless another topic has them now.

    >>> settled([["tent", "rope"], ["cake"]], {0: ["stove", "cake", "fire"]}, [["rope", "tent", "stove", "cake"], ["cake"]])
    [['stove', 'tent'], ['cake']]
    """
    found = []
    for n, fresh in enumerate(words):
        elsewhere = {w for m, other in enumerate(words) if m != n for w in other}
        kept = [w for w in before.get(n, ()) if w in telling[n] and w not in elsewhere]
        found.append([*kept, *(w for w in fresh if w not in kept)][: len(fresh)])
    return found


def uppers(
    data: Corpus,
    leaves: Level,
    above: np.ndarray,
    level_of: np.ndarray,
    before: Before | None,
    old: Previous | None,
    fresh: Iterator[int],
) -> Iterator[Level]:
    """The levels above the leaves, see `hierarchy`. A parent keeps the id of the old one that had the same documents."""
    place, old_ids = np.arange(len(leaves.ids)), before.ids.tolist() if before else []
    for level in range(1, int(level_of.max()) + 1):
        nodes = np.flatnonzero(level_of == level)
        place = np.where(place >= 0, above[place], -1)
        member = place[:, None] == nodes
        first = member[leaves.first].argmax(axis=1)
        old_ids = [old.rows[i]["parent_topic_id"] if old and i in old.rows else None for i in old_ids]
        upper = None
        if before and (known := sorted({i for i in old_ids if i})):
            column = np.array([*(known.index(i) if i else -1 for i in old_ids), -1])
            upper = Before(np.array(known, np.int64), column[before.first])
        ids = np.array([o.topic_id for o in trace(len(nodes), first, None, upper, fresh)[: len(nodes)]], np.int64)
        yield Level.of(data, level, ids, first, leaves.weights @ member, old)


def topic_rows(
    levels: Sequence[Level], above: np.ndarray, centroids: np.ndarray, data: Corpus, task: Task, before: Before | None, old: Previous | None
) -> dict[str, list[dict[str, Any]]]:
    """Rows of topic and topic_version: the leaves, whose centroids are given, then their parents; `above` is the parent of each node."""
    topic, version, asked = [], [], []
    nodes = [int(i) for level in levels for i in level.ids]
    moved: dict[int, float] = {}
    if before and before.centroids is not None:
        cosines = unit(centroids) @ unit(before.centroids).T
        column_of = {int(i): n for n, i in enumerate(before.ids)}
        moved = {i: round(float(cosines[n, column_of[i]]), 6) for n, i in enumerate(levels[0].ids.tolist()) if i in column_of}
    for level in levels:
        for at, topic_id in enumerate(level.ids.tolist()):
            members, parent = np.flatnonzero(level.first == at), int(above[nodes.index(topic_id)])
            typical = data.typical(level.weights[:, at], members)
            users = [data.users_of(int(m)) for m in members]
            known = old.rows.get(topic_id) if old else None
            asked.append((level.words[at], [data.texts[d] for d in typical], topic_id))
            topic.append(
                {
                    "topic_id": topic_id,
                    "method": task.method,
                    "level": level.level,
                    "parent_topic_id": nodes[parent] if parent >= 0 else None,
                    "keywords": canonical_json(level.words[at]),
                    "status": "active",
                    "born_ds": known["born_ds"] if known else task.train_to + dt.timedelta(days=1),
                    "retired_ds": None,
                    "sensitive": known["sensitive"] if known else False,
                }
            )
            version.append(
                {
                    "model_version": task.model_version,
                    "topic_id": topic_id,
                    "n_docs": len(members),
                    "n_users": len(np.unique(np.concatenate(users))) if users else 0,
                    "coherence_npmi": level.coherence[at],
                    "centroid_sim_prev": moved.get(topic_id),
                    "medoid_item_id": data.items[typical[0]][0] if len(typical) else None,
                    "embedding_space": task.space,
                }
            )
    for row, (en, zh, source) in zip(topic, task.labels(asked), strict=True):
        row |= {"label_en": en, "label_zh": zh, "label_source": source}
    return {"topic": topic, "topic_version": version}


def lineage_rows(
    data: Corpus, task: Task, old: Previous | None, origins: Sequence[Origin], first: np.ndarray, before: Before | None
) -> list[dict[str, Any]]:
    """Rows of topic_lineage of the leaves."""
    row_of = {o.topic_id: n for n, o in enumerate(origins) if o.relation not in ("merge", "death")}
    column_of = {int(i): n for n, i in enumerate(before.ids)} if before else {}
    users = [data.users_of(d) for d in range(len(data.items))] if before else []
    found = []
    for origin in origins:
        shared = None
        if before and origin.topic_id in row_of and origin.prev_topic_id in column_of:
            shared = user_overlap(users, first, row_of[origin.topic_id], before.first, column_of[origin.prev_topic_id])
        found.append(
            {
                "model_version": task.model_version,
                "prev_model_version": old.version.model_version if old else None,
                "topic_id": origin.topic_id,
                "prev_topic_id": origin.prev_topic_id or NO_TOPIC,
                "relation": origin.relation,
                "similarity": origin.similarity,
                "user_overlap": shared,
            }
        )
    return found
