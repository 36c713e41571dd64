"""What users did, counted for the conditions of segments: one pass over each kind of facts, however many conditions there are."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_core.grouping import MICRO, flags
from recsys_core.segments.rules import Did
from recsys_core.texts import folded, term_pattern
from recsys_core.totals import totals

Ints = NDArray[np.int64]


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


def columns(conditions: Sequence[Did]) -> dict[str, list[str]]:
    """By table of facts, its columns that `counted` takes for the conditions; tables that none of them asks about are left out."""
    topical = {f"mass_{t}_micro" for c in conditions if c.topic for t in c.event_types}
    acts = {f"n_{t}" for c in conditions if not c.topic for t in c.event_types if t != "search"}
    found = {
        "user_topic_day": ["ds", "user_key", "topic_id", *sorted(topical)] if topical else [],
        "user_item_day": ["ds", "user_key", "item_id", *sorted(acts)] if acts else [],
        "user_text": ["ds", "user_key", "kind", "text", "n_events"] if any(_searched(c) for c in conditions) else [],
    }
    return {table: names for table, names in found.items() if names}


def counted(
    conditions: Sequence[Did],
    ds: dt.date,
    facts: Mapping[str, Iterable[pa.Table]],
    items: pa.Table,
    tree: TopicTree,
    muted: Collection[tuple[str, int]] = (),
) -> pa.Table:
    """(user_key, c0, c1, …): how many events of each condition a user has, in millionths; users who meet none of them are left out.

    facts  by table, rows with the `columns` of it, in tables of which one at a time is held: a night each
           user_topic_day  none without a topic model: a condition on a topic counts Σ p(topic | event), as interests do
           user_item_day   whose items are about a condition as `items` say, see `matching_items`
           user_text       a search is about a term when its words are, whatever item it led to
    muted  (user_key, topic_id): what a user does not want to see counts for no condition on the topic, nor on its items
    """
    names = [f"c{i}" for i in range(len(conditions))]
    patterns = {i: term_pattern(c.term) if c.term else None for i, c in enumerate(conditions) if _searched(c)}

    def summed(rows: pa.Table, kinds: Iterable[str], column: str) -> Ints:
        return sum((rows[column.format(kind)].to_numpy() for kind in kinds), np.zeros(rows.num_rows, np.int64))

    def by_topic(rows: pa.Table) -> dict[int, Ints]:
        asked = {i: (c, pa.array(tree.below(c.topic), pa.int64())) for i, c in enumerate(conditions) if c.topic}
        return {i: summed(rows, c.event_types, "mass_{}_micro") * flags(pc.is_in(rows["topic_id"], t)) for i, (c, t) in asked.items()}

    def by_item(rows: pa.Table) -> dict[int, Ints]:
        found = {}
        for i, c in enumerate(conditions):
            if kinds := [t for t in c.event_types if t != "search" and not c.topic]:
                found[i] = summed(rows, kinds, "n_{}") * MICRO * (flags(rows[f"f{i}"]) if c.by_item else 1)
        return found

    def by_words(rows: pa.Table) -> dict[int, Ints]:
        asked, n = rows["text"].combine_chunks().dictionary_encode(), rows["n_events"].to_numpy() * MICRO
        said, at = [folded(t) for t in asked.dictionary.to_pylist()], asked.indices.to_numpy()
        return {i: n * np.array([p is None or bool(p.search(t)) for t in said], bool)[at] for i, p in patterns.items()}

    def of_night(table: str, rows: pa.Table) -> pa.Table:
        """What a night's rows count for, by user."""
        if table == "user_item_day":
            about = items.drop("item_id").take(pc.index_in(rows["item_id"].cast(pa.string()), items["item_id"]))
            rows = pa.table({**{name: rows[name] for name in rows.column_names}, **{name: about[name] for name in about.column_names}})
        rows = rows.filter(pc.equal(rows["kind"], "search")) if table == "user_text" else _unmuted(rows, muted)
        age = (np.datetime64(ds) - rows["ds"].to_numpy()).astype("timedelta64[D]").astype(np.int64)
        makers = {"user_topic_day": by_topic, "user_item_day": by_item, "user_text": by_words}
        counts = {i: np.where(age < conditions[i].nights, n, 0) for i, n in makers[table](rows).items()}
        none = np.zeros(rows.num_rows, np.int64)
        kept = sum(counts.values(), none) > 0
        columns = {name: counts.get(i, none)[kept] for i, name in enumerate(names)}
        return pa.table({"user_key": rows["user_key"].cast(pa.string()).filter(pa.array(kept)), **columns})

    nobody = pa.table({"user_key": pa.array([], pa.string()), **{name: pa.array([], pa.int64()) for name in names}})
    nights = (of_night(table, rows) for table, given in facts.items() for rows in given)
    found = totals(chain([nobody], nights), ["user_key"], dict.fromkeys(names, "sum"))
    enough = [flags(pc.greater_equal(found[name], c.at_least * MICRO)) for name, c in zip(names, conditions, strict=True)]
    return found.filter(pa.array(np.logical_or.reduce(enough)))


def _searched(c: Did) -> bool:
    """Whether searches count, judged by their words."""
    return "search" in c.event_types and not (c.topic or c.category or c.brand)


def _unmuted(rows: pa.Table, muted: Collection[tuple[str, int]]) -> pa.Table:
    """The rows without those of topics that their users do not want to see."""
    theirs = np.flatnonzero(flags(pc.is_in(rows["user_key"].cast(pa.string()), pa.array(sorted({u for u, _ in muted}), pa.string()))))
    kept = np.ones(rows.num_rows, bool)
    pairs = zip(*(rows[c].take(pa.array(theirs)).to_pylist() for c in ("user_key", "topic_id")), strict=True)
    kept[theirs] = [pair not in muted for pair in pairs]
    return rows.filter(pa.array(kept)) if len(theirs) else rows


def _upwards(category: str, parents: Mapping[str, str | None]) -> Iterator[str]:
    """The category and all above it; a ring of categories is gone round once."""
    seen: set[str] = set()
    at: str | None = category
    while at and at not in seen:
        seen.add(at)
        yield at
        at = parents.get(at)
