"""Audiences of a night: users near a topic, and users whom a site's rules describe. They overlap, and each row says why it is there."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_core.declared import Stances
from recsys_core.grouping import MICRO, Ranks, flags
from recsys_core.segments.counts import TopicTree
from recsys_core.segments.rules import RESERVED, Changed, Did, Holds, Rule, Rules
from recsys_core.tables import TABLES
from recsys_core.topics.spherical import unit

# A vector of a user that stands for less of their weight makes them no member: one item is no interest.
MIN_VECTOR_SHARE = 0.1
# Vectors that are compared at a time.
_ROWS = 4096


# -- by similarity -----------------------------------------------------------------------------------------------------------------
def near_topics(
    vectors: pa.Table,
    item_ids: list[str],
    of_items: NDArray[np.float32],
    item_topic: pa.Table,
    tree: TopicTree,
    stances: Stances,
    ds: dt.date,
    percent: int,
) -> pa.Table:
    """Rows of `user_segment` named topic:<id>: users one of whose vectors is as near to the topic as `percent` % of its own items are.

    vectors     the night's user_interest_vector; vectors below MIN_VECTOR_SHARE are passed over
    of_items    unit vectors, one row per entry of `item_ids`
    item_topic  item_id, topic_id, rank; a topic's own items are those it is first of, and the mean of their vectors is its centroid

    score is the largest cosine of a user's vector to the centroid. The threshold is each topic's own, the cosine that `percent` % of its
    items do not reach: what is near differs between encoders and between topics. Vectors are centred on the mean of all items first.
    """
    row_of = {item: row for row, item in enumerate(item_ids)}
    first = item_topic.filter(pc.equal(item_topic["rank"], 1)).sort_by([("topic_id", "ascending"), ("item_id", "ascending")])
    own: dict[int, list[int]] = {}
    for item, topic in zip(first["item_id"].to_pylist(), first["topic_id"].to_pylist(), strict=True):
        if item in row_of and topic in tree.labels and topic not in tree.sensitive:
            own.setdefault(topic, []).append(row_of[item])
    theirs = vectors.filter(pc.greater_equal(vectors["share"], MIN_VECTOR_SHARE)).sort_by(
        [("user_key", "ascending"), ("rank", "ascending")]
    )
    if not own or not theirs.num_rows:
        return _rows(ds, [])
    centre = of_items.mean(axis=0, dtype=np.float64)
    points = unit(of_items - centre)
    at = unit(np.stack([points[rows].mean(axis=0) for rows in own.values()]))
    edge = [float(np.percentile(np.round(points[rows] @ at[k], 6), percent, method="lower")) for k, rows in enumerate(own.values())]
    users, flat = Ranks.of_column(theirs["user_key"]), theirs["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    blocks = np.array_split(flat.reshape(len(users.of), -1), 1 + len(users.of) // _ROWS)
    cosine = np.concatenate([np.round(unit(rows - centre) @ at.T, 6) for rows in blocks])
    nearest = np.maximum.reduceat(cosine, np.flatnonzero(np.diff(users.of, prepend=-1)))  # by user, as they are sorted
    silent: dict[int, list[str]] = {topic: [] for topic in own}
    for user, topic in stances.muted:
        silent.get(topic, []).append(user)
    found = []
    for k, topic in enumerate(own):
        near = (nearest[:, k] >= max(edge[k], 1e-6)) & ~flags(pc.is_in(users.values, pa.array(silent[topic], pa.string())))
        members = users.values.filter(pa.array(near))
        english, chinese = tree.labels[topic]
        reason = f"as near to “{english}” as {100 - percent} % of its own items are · 与“{chinese}”的贴近程度达到其{100 - percent}%的内容"
        found.append(_segment(f"{RESERVED}{topic}", members, nearest[near, k], pa.repeat(reason, len(members))))
    return _rows(ds, found)


# -- by rules ----------------------------------------------------------------------------------------------------------------------
def ruled(
    rules: Rules,
    counts: pa.Table,
    profile: pa.Table,
    interests: pa.Table,
    changes: pa.Table,
    tree: TopicTree,
    stances: Stances,
    ds: dt.date,
) -> pa.Table:
    """Rows of `user_segment` of a site's rules: the users who meet all conditions of one.

    counts is what `counted` finds for `rules.did()`; profile has user_key, lifecycle, cold_level; interests and changes are tonight's.

    score is how far over its bounds a user is, the least over the conditions that have one (found / asked, at least 1), else 1.
    """
    place = {c: i for i, c in enumerate(rules.did())}
    interests, changes = stances.keep(interests), stances.keep(changes)
    found = []
    for rule in rules.rules:
        parts = [_of_profile(rule, profile)] if rule.lifecycle or rule.cold_level else []
        for c in rule.conditions:
            if isinstance(c, Did):
                parts.append(_did(c, counts["user_key"], counts[f"c{place[c]}"], tree))
            elif isinstance(c, Holds):
                parts.append(_holds(c, interests, tree))
            else:
                parts.append(_changed(c, changes, tree))
        members = parts[0].rename_columns(["user_key", "ratio0", "en0", "zh0"])
        for n, part in enumerate(parts[1:], 1):
            members = members.join(part.rename_columns(["user_key", f"ratio{n}", f"en{n}", f"zh{n}"]), "user_key", join_type="inner")
        score = pc.min_element_wise(*(members[f"ratio{n}"] for n in range(len(parts))))
        english, chinese = (
            pc.binary_join_element_wise(*(members[f"{side}{n}"] for n in range(len(parts))), stop)
            for side, stop in (("en", "; "), ("zh", "；"))
        )
        reason = pc.binary_join_element_wise(english, chinese, " · ")
        found.append(_segment(rule.segment, members["user_key"], pc.round(pc.fill_null(score, 1.0), 6), reason))
    return _rows(ds, found)


def _did(c: Did, users: pa.ChunkedArray, micro: pa.ChunkedArray, tree: TopicTree) -> pa.Table:
    n = pc.divide(pc.cast(micro, pa.float64()), float(MICRO))
    enough = pc.greater_equal(micro, c.at_least * MICRO)
    listed = ", ".join(c.event_types) if len(c.event_types) <= 3 else ""
    about = [
        " / ".join(f"“{x}”" for x in (*c.term, *c.category, *c.brand)) if c.by_item else tree.named(c.topic, side) if c.topic else ""
        for side in (0, 1)
    ]
    kind = (f" of {listed}" if listed else "", f"（{listed}）" if listed else "")
    english = ("", f" events{kind[0]}{f' on {about[0]}' if about[0] else ''} in {c.nights} nights")
    chinese = (f"{c.nights}天内", f"次行为{kind[1]}{f'，涉及{about[1]}' if about[1] else ''}")
    return _part(users.filter(enough), n.filter(enough), pc.round(n, 1).filter(enough), float(c.at_least), english, chinese)


def _holds(c: Holds, interests: pa.Table, tree: TopicTree) -> pa.Table:
    about = pc.and_(pc.equal(interests["horizon"], c.horizon), pc.is_in(interests["topic_id"], pa.array(tree.below(c.topic), pa.int64())))
    shares = (
        interests.filter(about).select(["user_key", "topic_id", "share"]).sort_by([("user_key", "ascending"), ("topic_id", "ascending")])
    )
    total = shares.group_by("user_key", use_threads=False).aggregate([("share", "sum")])
    share = pc.round(total["share_sum"], 6)
    enough = pc.greater_equal(share, c.min_share)
    percent = pc.round(pc.multiply(share, 100.0), 0)
    english = ("", f" % of the interest over {c.horizon} is {tree.named(c.topic, 0)}")
    chinese = (f"{c.horizon}兴趣中{tree.named(c.topic, 1)}占", "%")
    return _part(total["user_key"].filter(enough), share.filter(enough), percent.filter(enough), c.min_share, english, chinese)


_CHANGE_ZH = {"new": "新出现", "rising": "上升", "falling": "下降", "lost": "消失", "returned": "回归"}


def _changed(c: Changed, changes: pa.Table, tree: TopicTree) -> pa.Table:
    about = pc.and_(
        pc.is_in(changes["change"], pa.array(c.change, pa.string())),
        pc.is_in(changes["topic_id"], pa.array(tree.below(c.topic), pa.int64())),
    )
    users = changes.filter(about).group_by("user_key").aggregate([])["user_key"]
    english = f"interest in {tree.named(c.topic, 0)} is {' or '.join(c.change)}"
    chinese = f"对{tree.named(c.topic, 1)}的兴趣{'或'.join(_CHANGE_ZH[x] for x in c.change)}"
    return _said(users, english, chinese)


_LIFECYCLE_ZH = {"new": "新用户", "active": "活跃", "lapsing": "渐失", "dormant": "沉睡"}


def _of_profile(rule: Rule, profile: pa.Table) -> pa.Table:
    english, chinese = [], []
    if rule.lifecycle:
        profile = profile.filter(pc.is_in(profile["lifecycle"], pa.array(rule.lifecycle, pa.string())))
        english.append(f"lifecycle is {' or '.join(rule.lifecycle)}")
        chinese.append(f"生命周期为{'或'.join(_LIFECYCLE_ZH[x] for x in rule.lifecycle)}")
    if rule.cold_level:
        profile = profile.filter(pc.is_in(profile["cold_level"], pa.array(rule.cold_level, profile.schema.field("cold_level").type)))
        english.append(f"cold level is {' or '.join(map(str, rule.cold_level))}")
        chinese.append(f"冷启动级别为{'或'.join(map(str, rule.cold_level))}")
    return _said(profile["user_key"], "; ".join(english), "；".join(chinese))


def _said(users: pa.ChunkedArray, english: str, chinese: str) -> pa.Table:
    n = len(users)
    return pa.table({"user_key": users, "ratio": pa.nulls(n, pa.float64()), "en": pa.repeat(english, n), "zh": pa.repeat(chinese, n)})


def _part(
    users: pa.ChunkedArray, found: pa.ChunkedArray, shown: pa.ChunkedArray, asked: float, english: tuple[str, str], chinese: tuple[str, str]
) -> pa.Table:
    """(user_key, ratio, en, zh) of a condition with a bound; the texts stand before and behind what was found."""
    number = pc.replace_substring_regex(pc.cast(shown, pa.string()), r"\.0$", "")
    en, zh = (pc.binary_join_element_wise(before, number, behind, "") for before, behind in (english, chinese))
    return pa.table({"user_key": users, "ratio": pc.divide(found, asked), "en": en, "zh": zh})


def _segment(name: str, users: pa.ChunkedArray, score: pa.ChunkedArray, reason: pa.ChunkedArray | pa.Array) -> pa.Table:
    return pa.table({"segment": pa.repeat(name, len(users)), "user_key": users, "score": score, "reason": reason})


def _rows(ds: dt.date, found: list[pa.Table]) -> pa.Table:
    """Segments as rows of the table, by name and user."""
    schema = TABLES["user_segment"].arrow_schema()
    if not found:
        return schema.empty_table()
    rows = pa.concat_tables(found).sort_by([("segment", "ascending"), ("user_key", "ascending")])
    return rows.add_column(0, "ds", pa.repeat(pa.scalar(ds, pa.date32()), rows.num_rows)).cast(schema)
