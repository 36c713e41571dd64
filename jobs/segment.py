"""Audiences of a night."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from jobs.night import Night
    from recsys_core.declared import Stances
    from recsys_core.segments.counts import TopicTree
    from recsys_core.segments.rules import Rules

_VECTOR = ["user_key", "rank", "share", "vector"]
# What rules ask of the night's own tables.
_INTEREST = ["user_key", "topic_id", "horizon", "share"]
_CHANGE = ["user_key", "topic_id", "change"]
_PROFILE = ["user_key", "lifecycle", "cold_level"]


def segment(
    night: Night,
    *,
    nearness: Annotated[int, "percent of a topic's own items that are further from it than its audience is", range(1, 100)] = 50,
) -> None:
    """Write user_segment of the night: users near each topic, and those whom the site's rules describe."""
    from recsys_core.segments import audiences
    from recsys_core.segments.counts import TopicTree
    from recsys_core.topics.tables import labels, read_rows

    topics = read_rows(night.lake, night.topics, "topic") if night.topics else None
    above = dict(zip(*(topics[c].to_pylist() for c in ("topic_id", "parent_topic_id")), strict=True)) if topics else {}
    tree, said = TopicTree(labels(night.lake, night.topics), above, night.sensitive), night.stances
    texts = night.read("item_text", columns=["item_id", "text_hash"]).sort_by([("item_id", "ascending"), ("text_hash", "descending")])
    found = [
        audiences.near_topics(
            night.read("user_interest_vector", columns=_VECTOR),
            texts["item_id"].to_pylist(),
            night.vectors(texts["text_hash"].to_pylist()),
            night.read("item_topic", columns=["item_id", "topic_id", "rank"]),
            tree,
            said,
            night.ds,
            nearness,
        )
    ]
    rules = night.settings.segments
    for rule in rules.rules:
        if lost := rule.about() - set(tree.below(rule.about())):
            night.runner.say(f"{night.ds} segment: [{rule.segment}] names {sorted(lost)}: no topics of the night, or sensitive ones")
    if rules.rules:
        counts = _counts(night, rules, tree, said)
        tables = (("user_profile", _PROFILE), ("user_interest", _INTEREST), ("user_interest_change", _CHANGE))
        profile, interests, changes = (night.read(table, columns=columns) for table, columns in tables)
        found.append(audiences.ruled(rules, counts, profile, interests, changes, tree, said, night.ds))
    night.write("user_segment", pa.concat_tables(found))


def _counts(night: Night, rules: Rules, tree: TopicTree, said: Stances) -> pa.Table:
    """Events of users by condition of the rules; without a condition that counts no facts are read."""
    from recsys_core.segments import counts

    conditions = rules.did()
    if not conditions:
        return pa.table({"user_key": pa.array([], pa.string())})
    back = max(c.nights for c in conditions)
    topics = night.read("item_topic", columns=["item_id", "topic_id", "rank"])
    first = topics.filter(pc.equal(topics["rank"], 1))
    first_topic = dict(zip(first["item_id"].to_pylist(), first["topic_id"].to_pylist(), strict=True))
    above = dict(zip(*night.read("category", columns=["category", "parent"]).to_pydict().values(), strict=True))
    catalogue = night.read("item", columns=["item_id", "title", "category", "brand"])
    items = counts.matching_items(conditions, catalogue, above, first_topic, tree.sensitive)
    model = night.topics.model_version if night.topics else None

    def nights(table: str, columns: list[str]) -> Iterator[pa.Table]:
        """A night at a time."""
        parts = {"model_version": model} if model and table == "user_topic_day" else {}
        return (night.lake.read(table, [ds], columns, None, **parts) for ds in night.nights(table, back))

    facts = {t: nights(t, names) for t, names in counts.columns(conditions).items() if model or t != "user_topic_day"}
    return counts.counted(conditions, night.ds, facts, items, tree, said.muted)
