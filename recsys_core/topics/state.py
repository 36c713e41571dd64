"""What a topic version remembers of its training, so that the next one can know its topics again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_core.topics.lineage import NO_TOPIC, Origin

if TYPE_CHECKING:
    from recsys_core.topics.tables import Previous

# Documents whose topics are remembered: enough to know a topic of a hundredth of the documents again.
ANCHORS = 5_000
# A topic that nothing was about for so long is retired; a seasonal one wakes within a year.
DORMANT_NIGHTS = 400


def _none() -> np.ndarray:
    return np.zeros(0, np.int64)


@dataclass(frozen=True)
class State:
    """What a version remembers of its training, beside its model, so that the next one can know its topics again.

    centroids       mean vector of each topic's documents, unit, (k, d) float32, in the version's embedding space
    born            the centroid that each topic was born with, or first had in this space
    shares          of the training documents by first topic, (k,)
    anchors         hashes of the training documents with the lowest ones, at most ANCHORS, sorted
    anchor_topics   their first topics, as ids
    dormant_ids     topics without documents that may wake, with their last centroids and the last training night that met them (ordinal)
    """

    centroids: np.ndarray
    born: np.ndarray
    shares: np.ndarray
    anchors: np.ndarray = field(default_factory=lambda: np.zeros(0, "S64"))
    anchor_topics: np.ndarray = field(default_factory=_none)
    dormant_ids: np.ndarray = field(default_factory=_none)
    dormant_centroids: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    dormant_since: np.ndarray = field(default_factory=_none)

    def anchored(self, hashes: Sequence[str]) -> np.ndarray:
        """Topic id of each document that training knew, else NO_TOPIC (0); of a large training a sample is remembered."""
        held = dict(zip(self.anchors.astype(str).tolist(), self.anchor_topics.tolist(), strict=True))
        return np.array([held.get(h, NO_TOPIC) for h in hashes], np.int64)

    def unknown(self, hashes: Sequence[str]) -> np.ndarray:
        """Which documents training did not know for certain: those outside the remembered range of hashes are left out."""
        last = "g" if len(self.anchors) < ANCHORS else self.anchors[-1].decode()
        return (self.anchored(hashes) == NO_TOPIC) & np.array([h <= last for h in hashes], bool)


def remembered(
    hashes: Sequence[str],
    train_to: dt.date,
    old: Previous | None,
    origins: Sequence[Origin],
    ids: np.ndarray,
    first: np.ndarray,
    centroids: np.ndarray,
) -> tuple[State, list[dict[str, Any]]]:
    """(what a version remembers, rows of the table topic of those that sleep under it).

    `old` is the version before if it lives in the same space: of other spaces no centroid is taken over, and what slept there sleeps on
    for ever. `first` is the first topic of each document as a place in `ids`.
    """
    born, asleep = centroids.copy(), {}
    if old and old.state:
        came_with = dict(zip(old.topics.ids.tolist(), old.state.born, strict=True))
        for n, topic_id in enumerate(ids.tolist()):
            born[n] = came_with.get(topic_id, centroids[n])
        slept = zip(old.state.dormant_ids.tolist(), old.state.dormant_centroids, old.state.dormant_since.tolist(), strict=True)
        asleep = {i: (c, since) for i, c, since in slept if since >= train_to.toordinal() - DORMANT_NIGHTS}
        ended = {o.prev_topic_id for o in origins if o.relation in ("merge", "death")}
        last = dt.date.fromisoformat(old.version.train_to).toordinal()
        asleep |= {i: (c, last) for i, c in zip(old.topics.ids.tolist(), old.state.centroids, strict=True) if i in ended}
        asleep = {i: held for i, held in sorted(asleep.items()) if i not in ids}
    found = State(
        centroids=centroids.astype(np.float32),
        born=born.astype(np.float32),
        shares=np.bincount(first, minlength=len(ids)) / len(first),
        anchors=np.array(hashes[:ANCHORS], "S64"),
        anchor_topics=ids[first[:ANCHORS]],
        dormant_ids=np.array(list(asleep), np.int64),
        dormant_centroids=np.array([c for c, _ in asleep.values()], np.float32).reshape(len(asleep), -1 if asleep else centroids.shape[1]),
        dormant_since=np.array([s for _, s in asleep.values()], np.int64),
    )
    return found, [old.rows[i] | {"status": "dormant", "parent_topic_id": None} for i in asleep] if old else []
