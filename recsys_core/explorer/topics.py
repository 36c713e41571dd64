"""Topics: all of a night, those that a word finds, and one with its words, items, holders, relations and past."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recsys_core.explorer.reads import Night, Reads
from recsys_core.texts import folded

MOST_TOPICS, MOST_FOUND, MOST_WORDS, MOST_ITEMS, MOST_HOLDERS, MOST_EDGES, MOST_STEPS = 5000, 60, 12, 12, 20, 5, 40
# The strongest holders are sought among so many; an audience is counted anew for each night.
SAMPLE, CHART_NIGHTS = 1000, 14


@dataclass(frozen=True)
class Topic:
    """A topic: the row of `topic` with its figures under the night's version, where `current` says that it is one of that version's.

    Users hold the topics below a `parent`, not the parent itself.
    """

    row: Mapping[str, Any]
    keywords: tuple[str, ...]
    parent: bool

    @property
    def topic_id(self) -> int:
        found: int = self.row["topic_id"]
        return found

    @property
    def current(self) -> bool:
        return self.row["model_version"] is not None


@dataclass(frozen=True)
class TopicPage:
    """A topic on a night; `audience` is how many held it, by night; of `holders` and `items` each has a share or weight."""

    topic: Topic
    parent: Topic | None
    children: tuple[Topic, ...]
    audience: tuple[tuple[dt.date, int], ...]
    holders: tuple[Mapping[str, Any], ...]
    items: tuple[Mapping[str, Any], ...]
    edges: tuple[Mapping[str, Any], ...]
    lineage: tuple[Mapping[str, Any], ...]
    versions: tuple[Mapping[str, Any], ...]


def topics_of(reads: Reads, night: Night) -> list[Topic]:
    """All topics that may be shown, the night's by size first."""
    rows = reads.rows("topics", model_version=night.topics, most=MOST_TOPICS)
    parents = {row["parent_topic_id"] for row in rows}
    words = [tuple(map(str, json.loads(row.pop("keywords"))[:MOST_WORDS])) for row in rows]
    found = [Topic(row, said, row["topic_id"] in parents) for row, said in zip(rows, words, strict=True)]
    return sorted(found, key=lambda t: (not t.current, -(t.row["n_users"] or 0), -(t.row["n_docs"] or 0), t.topic_id))


def find_topics(topics: list[Topic], words: str) -> list[Topic]:
    """Topics in whose labels or keywords, English or Chinese, all the words are; what a label begins with comes first."""
    wanted = folded(words).split()

    def place(topic: Topic) -> int | None:
        labels = [folded(topic.row["label_en"]), folded(topic.row["label_zh"])]
        if any(label.startswith(folded(words)) for label in labels):
            return 0
        if any(all(word in label for word in wanted) for label in labels):
            return 1
        said = " ".join([*labels, *map(folded, topic.keywords)])
        return 2 if all(word in said for word in wanted) else None

    found = [(place(topic), n) for n, topic in enumerate(topics)] if wanted else []
    return [topics[n] for at, n in sorted((at, n) for at, n in found if at is not None)][:MOST_FOUND]


def topic_page(reads: Reads, night: Night, topic_id: int) -> TopicPage | None:
    """A topic on a night; None when there is none that may be shown."""
    topics = {topic.topic_id: topic for topic in topics_of(reads, night)}
    topic = topics.get(topic_id)
    if topic is None:
        return None
    about = {"ds": night.ds, "topic_id": topic_id}
    nights = reads.until(night.ds, CHART_NIGHTS)
    held = {row["ds"]: row["n_users"] for row in reads.rows("topic_audience", **about, from_ds=nights[0])}
    items = reads.rows("topic_items", **about, most=MOST_ITEMS)
    titles = reads.titles(night.ds, {item["item_id"] for item in items})
    children = [t for t in topics.values() if t.row["parent_topic_id"] == topic_id]
    return TopicPage(
        topic,
        topics.get(topic.row["parent_topic_id"]),
        tuple(children[:MOST_FOUND]),
        tuple((ds, held.get(ds, 0)) for ds in nights),
        tuple(reads.rows("topic_holders", **about, sample=SAMPLE, most=MOST_HOLDERS)),
        tuple(item | {"title": titles.get(item["item_id"], item["item_id"])} for item in items),
        tuple(reads.rows("topic_edges", **about, most=MOST_EDGES)),
        tuple(reads.rows("topic_lineage", topic_id=topic_id, most=MOST_STEPS)),
        tuple(reads.rows("topic_versions", topic_id=topic_id, most=MOST_STEPS)),
    )
