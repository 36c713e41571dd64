"""What users did, counted for the conditions of segments: one pass over each kind of facts, however many conditions there are."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from recsys_core.segments.rules import Did
from recsys_core.texts import folded, term_pattern

MICRO = 1_000_000


@dataclass(frozen=True)
class TopicTree:
    """Topics of a night's model, as audiences may be about them.

    labels     topic_id → (English, Chinese)
    parents    topic_id → the topic above
    sensitive  topics that are nobody's segment
    """

    labels: Mapping[int, tuple[str, str]]
    parents: Mapping[int, int | None]
    sensitive: frozenset[int] = frozenset()

    def below(self, topics: Iterable[int]) -> list[int]:
        """The topics and all below them, ascending, without sensitive ones."""
        found = set(topics)
        while more := {t for t, above in self.parents.items() if above in found} - found:
            found |= more
        return sorted(t for t in found if t in self.labels and t not in self.sensitive)

    def named(self, topics: Sequence[int], side: int) -> str:
        """The topics by their labels, in English (0) or in Chinese (1)."""
        return (" or ", "或")[side].join(self.labels[t][side] for t in topics if t in self.labels and t not in self.sensitive)


def matching_items(
    conditions: Sequence[Did], items: pa.Table, above: Mapping[str, str | None], first: Mapping[str, int], sensitive: Collection[int] = ()
) -> pa.Table:
    """(item_id, topic_id, f0, f1, …): which conditions an item's title, category and brand meet; who meets none is left out.

    `above` gives the category above a category, `first` an item's first topic: where that is sensitive, the item is left out, too. A
    category goes with all below it; letter case is none.
    """
    tests = [(term_pattern(c.term) if c.term else None, {folded(x) for x in c.category}, {folded(x) for x in c.brand}) for c in conditions]
    parents = {folded(c): folded(p) if p else None for c, p in above.items()}
    rows = []
    for item, title, category, brand in zip(*(items[c].to_pylist() for c in ("item_id", "title", "category", "brand")), strict=True):
        said, made, line = folded(title or ""), folded(brand or ""), set(_upwards(folded(category or ""), parents))
        met = [
            c.by_item
            and not (term and not term.search(said))
            and not (places and not places & line)
            and not (makers and made not in makers)
            for c, (term, places, makers) in zip(conditions, tests, strict=True)
        ]
        if any(met) and first.get(item) not in sensitive:
            rows.append((item, first.get(item), *met))
    columns = zip(*rows, strict=True) if rows else [()] * (2 + len(conditions))
    types = [pa.string(), pa.int64(), *[pa.bool_()] * len(conditions)]
    names = ["item_id", "topic_id", *(f"f{i}" for i in range(len(conditions)))]
    return pa.table([pa.array(c, t) for c, t in zip(columns, types, strict=True)], names=names)


def counted(
    conditions: Sequence[Did],
    ds: dt.date,
    topic_days: DataFrame | None,
    item_days: DataFrame,
    searches: DataFrame,
    items: DataFrame,
    tree: TopicTree,
    muted: DataFrame,
) -> DataFrame:
    """(user_key, c0, c1, …): how many events of each condition a user has, in millionths; users who meet none of them are left out.

    topic_days  user_topic_day, None without a topic model: a condition on a topic counts Σ p(topic | event), as interests do
    item_days   user_item_day; items: see `matching_items`
    searches    user_text: a search is about a term when its words are, whatever item it led to
    muted       (user_key, topic_id): what a user does not want to see counts for no condition on the topic, nor on its items
    """
    places = range(len(conditions))

    def late(c: Did) -> Column:
        return F.col("ds") > F.lit(ds - dt.timedelta(days=c.nights))

    def summed(frame: DataFrame, amounts: Mapping[int, Column]) -> DataFrame:
        zero = F.lit(0).cast("bigint")
        return frame.groupBy("user_key").agg(*(F.sum(amounts.get(i, zero)).cast("bigint").alias(f"c{i}") for i in places))

    of_topic: dict[int, Column] = {}
    of_item: dict[int, Column] = {}
    of_search: dict[int, Column] = {}
    for i, c in enumerate(conditions):
        if c.topic:
            mass = sum((F.col(f"mass_{t}_micro") for t in c.event_types), F.lit(0))
            of_topic[i] = F.when(late(c) & F.col("topic_id").isin(tree.below(c.topic)), mass).otherwise(0)
            continue
        events = sum((F.col(f"n_{t}") * MICRO for t in c.event_types if t != "search"), F.lit(0))
        of_item[i] = F.when(late(c) & (F.coalesce(F.col(f"f{i}"), F.lit(False)) if c.by_item else F.lit(True)), events).otherwise(0)
        if "search" in c.event_types and not (c.category or c.brand):
            of_search[i] = F.when(late(c) & F.col(f"f{i}"), F.col("n_events") * MICRO).otherwise(0)
    parts = []
    if of_topic and topic_days is not None:
        parts.append(summed(topic_days.join(F.broadcast(muted), ["user_key", "topic_id"], "left_anti"), of_topic))
    if of_item:
        known = item_days.join(F.broadcast(items), "item_id", "left")
        parts.append(summed(known.join(F.broadcast(muted), ["user_key", "topic_id"], "left_anti"), of_item))
    if of_search:
        fields = ", ".join(f"f{i} boolean" for i in places)
        about = searches.where("kind = 'search'").select("ds", "user_key", "n_events", "text")
        parts.append(
            summed(
                about.mapInArrow(_asked([c.term for c in conditions]), f"ds date, user_key string, n_events bigint, {fields}"), of_search
            )
        )
    if not parts:
        return item_days.sparkSession.createDataFrame([], ", ".join(["user_key string", *(f"c{i} bigint" for i in places)]))
    together = parts[0]
    for part in parts[1:]:
        together = together.unionByName(part)
    found = together.groupBy("user_key").agg(*(F.sum(f"c{i}").alias(f"c{i}") for i in places))
    return found.where(" OR ".join(f"c{i} >= {c.at_least * MICRO}" for i, c in enumerate(conditions)))


def _asked(terms: Sequence[tuple[str, ...]]) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function over Arrow batches of (ds, user_key, n_events, text) that says which terms a text is about; no term = any text."""
    patterns = [term_pattern(t) if t else None for t in terms]

    def told(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            distinct = batch.column(3).dictionary_encode()
            said = [folded(t) for t in distinct.dictionary.to_pylist()]
            flags = [pa.array([p is None or bool(p.search(t)) for t in said], pa.bool_()).take(distinct.indices) for p in patterns]
            names = ["ds", "user_key", "n_events", *(f"f{i}" for i in range(len(patterns)))]
            yield pa.RecordBatch.from_arrays([*batch.columns[:3], *flags], names=names)

    return told


def _upwards(category: str, parents: Mapping[str, str | None]) -> Iterator[str]:
    """The category and all above it; a ring of categories is gone round once."""
    seen: set[str] = set()
    at: str | None = category
    while at and at not in seen:
        seen.add(at)
        yield at
        at = parents.get(at)
