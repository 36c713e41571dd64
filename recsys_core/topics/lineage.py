"""What became of the topics of the version before: which live on under their ids, which split, merged, ended or are new."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from recsys_core.topics.spherical import unit

IDS_PER_NIGHT = 10_000
NO_TOPIC = 0


class Rule(NamedTuple):
    """How alike two topics are, weight · cosine + (1 − weight) · Jaccard of documents, and from where on an id is kept, or called same."""

    weight: float
    kept: float
    same: float


# By what both versions can be compared on. Two embedding spaces share no centroids; then documents whose old topics are remembered decide.
RULES = {"both": Rule(0.5, 0.6, 0.85), "centroids": Rule(1.0, 0.85, 0.95), "documents": Rule(0.0, 0.4, 0.8)}
# Small steps add up: a topic this far from the centroid it was born with is no longer that topic, however alike the last version is.
BORN_COSINE = 0.7
# A dormant topic has no documents to compare: its centroid must be met this closely to wake it.
WAKING_COSINE = 0.85
# Shares of an old topic's documents that make a new topic a split of it, and its end a merge into another.
SPLIT, MERGE = 0.25, 0.5


@dataclass(frozen=True)
class Origin:
    """Where a topic comes from, or how an old one ended.

    same, drift  the topic lives on under its id; drift from a dormant one too, when that wakes
    split        a new id that took documents of `prev_topic_id`, which lives on
    birth        a new id of nothing before
    merge        the old topic `prev_topic_id` went into `topic_id`, which lives on
    death        the old topic has no successor (topic_id is its own)
    """

    topic_id: int
    relation: str
    prev_topic_id: int | None = None
    similarity: float | None = None


@dataclass(frozen=True)
class Before:
    """The topics of the version before.

    ids        topic ids (m,)
    first      first topic of each document as a place in `ids`, −1 where it is not known, (documents,)
    centroids  unit vectors (m, d); None in another embedding space
    born       the centroids the topics were born with, likewise
    dormant    ids and centroids of topics that have no documents now
    """

    ids: np.ndarray
    first: np.ndarray
    centroids: np.ndarray | None = None
    born: np.ndarray | None = None
    dormant: tuple[np.ndarray, np.ndarray] = field(default_factory=lambda: (np.zeros(0, np.int64), np.zeros((0, 0))))


def new_ids(train_to: dt.date, taken: Collection[int]) -> Iterator[int]:
    """Topic ids that no topic has: the last training night, then a count from 1 that passes over `taken`."""
    first = int(f"{train_to:%Y%m%d}") * IDS_PER_NIGHT
    return (first + n for n in range(1, IDS_PER_NIGHT) if first + n not in taken)


def trace(n_topics: int, first: np.ndarray, centroids: np.ndarray | None, before: Before | None, fresh: Iterator[int]) -> list[Origin]:
    """The origin of each new topic in order, then the ends of old ones.

    n_topics   number of new topics
    first      first new topic of each document, (documents,), in the order of `before.first`
    centroids  unit vectors of the new topics; None when nothing can be compared by them
    fresh      ids for what is new

    Old and new topics are matched one to one so that the sum of similarities is highest (Kuhn 1955); a pair that its rule of RULES keeps
    keeps the id. A new topic without partner wakes a dormant one of WAKING_COSINE, or has split from the old topic that lost the largest
    share of its documents to it, SPLIT at least, or is a birth. An old topic without partner has merged into the new topic that lives on
    and took MERGE of its documents, or has died. Without `before` all are births.

    >>> old = Before(np.array([7, 8]), np.array([0, 0, 0, 0, 1, 1]))
    >>> [(o.topic_id, o.relation, o.prev_topic_id) for o in trace(2, np.array([0, 0, 0, 0, 0, 0]), None, old, iter([9]))]
    [(7, 'drift', 7), (9, 'birth', None), (7, 'merge', 8)]
    """
    if before is None:
        return [Origin(next(fresh), "birth") for _ in range(n_topics)]
    shared = _shared(first, before.first, n_topics, len(before.ids))
    woken: dict[int, tuple[int, float]] = {}
    if centroids is not None and before.centroids is not None:
        rule = RULES["both" if shared.any() else "centroids"]
        alike = (1 - rule.weight) * _jaccard(shared) + rule.weight * (unit(centroids) @ unit(before.centroids).T)
        known = before.centroids if before.born is None else before.born
        allowed = (alike >= rule.kept) & (unit(centroids) @ unit(known).T >= BORN_COSINE)
    else:
        rule, alike = RULES["documents"], _jaccard(shared)
        allowed = alike >= rule.kept
    kept = {r: (c, float(alike[r, c])) for r, c in _matched(np.where(allowed, alike, -1.0)) if allowed[r, c]}
    if centroids is not None and before.centroids is not None:
        woken = _woken([r for r in range(n_topics) if r not in kept], centroids, before.dormant)
    moved = shared / np.maximum(shared.sum(axis=0), 1)
    living = sorted({c for c, _ in kept.values()})
    found = []
    for row in range(n_topics):
        if row in kept:
            column, score = kept[row]
            own = int(before.ids[column])
            found.append(Origin(own, "same" if score >= rule.same else "drift", own, _r(score)))
        elif row in woken:
            own, score = woken[row]
            found.append(Origin(own, "same" if score >= RULES["centroids"].same else "drift", own, _r(score)))
        elif living and moved[row, living].max() >= SPLIT:
            source = living[int(moved[row, living].argmax())]
            found.append(Origin(next(fresh), "split", int(before.ids[source]), _r(float(alike[row, source]))))
        else:
            found.append(Origin(next(fresh), "birth"))
    for column in sorted(set(range(len(before.ids))) - set(living)):
        own, rows = int(before.ids[column]), sorted(kept)
        if rows and moved[rows, column].max() >= MERGE:
            target = rows[int(moved[rows, column].argmax())]
            found.append(Origin(found[target].topic_id, "merge", own, _r(float(alike[target, column]))))
        else:
            found.append(Origin(own, "death", own))
    return found


def kept_share(ids: np.ndarray, before_ids: np.ndarray) -> tuple[float, int]:
    """(share of documents whose topic id is the one before, documents compared); those without one before (NO_TOPIC) do not count.

    >>> kept_share(np.array([1, 2, 3, 4]), np.array([1, 2, 9, NO_TOPIC]))
    (0.6666666666666666, 3)
    """
    known = before_ids != NO_TOPIC
    return (float((ids == before_ids)[known].mean()) if known.any() else 1.0), int(known.sum())


def user_overlap(users: Sequence[np.ndarray], first: np.ndarray, new: int, before_first: np.ndarray, old: int) -> float | None:
    """Users in common over users in all (Jaccard) of a new topic's documents and an old one's; None where neither has a user.

    `users` are the codes of each document's users; only documents with an old topic are looked at.
    """
    known = before_first >= 0
    mine, theirs = (
        {int(u) for i in np.flatnonzero(mask & known).tolist() for u in users[i]} for mask in (first == new, before_first == old)
    )
    return _r(len(mine & theirs) / len(mine | theirs)) if mine | theirs else None


def sentences(rows: Sequence[Mapping[str, Any]], names: Mapping[int, str], names_before: Mapping[int, str]) -> list[str]:
    """Rows of topic_lineage in words, what changed most first; topics that stayed the same are counted in the last one."""

    def said(topic: int, held: Mapping[int, str]) -> str:
        return f"“{held[topic]}” ({topic})" if topic in held else str(topic)

    words = {
        "split": "{new} split off from {old}, which lives on",
        "merge": "{old} went into {new}",
        "death": "{old} has no documents any more and is dormant",
        "birth": "{new} is new",
        "drift": "{new} drifted: it was {old}{score}",
    }
    found = []
    for relation, text in words.items():
        for row in (r for r in rows if r["relation"] == relation):
            score = f" (similarity {row['similarity']:.2f})" if row["similarity"] is not None else ""
            found.append(text.format(new=said(row["topic_id"], names), old=said(row["prev_topic_id"], names_before), score=score))
    same = sum(r["relation"] == "same" for r in rows)
    return [*found, f"{same} of {sum(r['relation'] not in ('merge', 'death') for r in rows)} topics stayed the same"]


def _shared(first: np.ndarray, before: np.ndarray, n: int, m: int) -> np.ndarray:
    """Documents by new and old topic, (n, m), of those that have both."""
    found = np.zeros((n, m))
    known = (first >= 0) & (before >= 0)
    np.add.at(found, (first[known], before[known]), 1)
    return found


def _jaccard(shared: np.ndarray) -> np.ndarray:
    union = shared.sum(axis=1, keepdims=True) + shared.sum(axis=0, keepdims=True) - shared
    found: np.ndarray = shared / np.maximum(union, 1)
    return found


def _matched(alike: np.ndarray) -> list[tuple[int, int]]:
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(-alike)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True)]


def _woken(rows: list[int], centroids: np.ndarray, dormant: tuple[np.ndarray, np.ndarray]) -> dict[int, tuple[int, float]]:
    """New topic → (id of the dormant topic that it wakes, cosine)."""
    ids, held = dormant
    if not rows or not len(ids):
        return {}
    cosines = unit(centroids)[rows] @ unit(held).T
    close = np.where(cosines >= WAKING_COSINE, cosines, -1.0)
    return {rows[r]: (int(ids[c]), float(cosines[r, c])) for r, c in _matched(close) if cosines[r, c] >= WAKING_COSINE}


def _r(value: float) -> float:
    return round(min(value, 1.0), 6)
