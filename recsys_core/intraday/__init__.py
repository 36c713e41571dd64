"""The day so far laid over the last night: shares of a user's topics that follow today's events as far as there are any."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.events import DEFAULT_WEIGHTS, Weights
from recsys_core.profiles.clock import NANO
from recsys_core.profiles.items import item_parts
from recsys_core.tables import TABLES
from recsys_core.topics import MICRO

# What is overlaid: the night's week. The 1d horizon is yesterday most of all, and 90d would jump when the night takes the day in.
HORIZON = "7d"


def trust(n_events: int, kappa: float) -> float:
    """β = n / (n + κ), 0 to 1: the part that today has in a user's shares after n events.

    >>> [trust(n, 5.0) for n in (0, 5, 15)]
    [0.0, 0.5, 0.75]
    """
    return n_events / (n_events + kappa)


def topic_scores(user_item_day: pa.Table, item_topics: pa.Table, searches: pa.Table, weights: Weights = DEFAULT_WEIGHTS) -> pa.Table:
    """What the events of one day alone score, by the night's weights, dwell and cap: user_key, topic_id, score > 0 in billionths.

    item_topics  item_id, topic_id, weight
    searches     see `assign.search_topics`
    """
    _, capped = item_parts(user_item_day, weights)
    items = user_item_day.select(["user_key", "item_id"]).append_column("w", pa.array(capped.sum(axis=0), pa.float64()))
    held = items.join(item_topics.select(["item_id", "topic_id", "weight"]), "item_id", join_type="inner")
    of_items = _nano(pc.multiply(held["w"], held["weight"]), NANO)
    asked = pc.cast(pc.multiply(searches["n_events"], searches["p_micro"]), pa.float64())
    of_searches = _nano(asked, weights.base["search"] * NANO / MICRO)
    parts = [t.select(["user_key", "topic_id"]).append_column("score", s) for t, s in ((held, of_items), (searches, of_searches))]
    found = pa.concat_tables(parts).group_by(["user_key", "topic_id"]).aggregate([("score", "sum")]).rename_columns({"score_sum": "score"})
    return found.filter(pc.greater(found["score"], 0))


def _nano(value: pa.ChunkedArray, factor: float) -> pa.ChunkedArray:
    """Whole billionths, so that sums do not depend on the order of rows."""
    return pc.cast(pc.round(pc.multiply(value, factor)), pa.int64())


def overlay(
    ds: dt.date,
    nightly: pa.Table,
    today: pa.Table,
    n_events: pa.Table,
    as_of_ts: dt.datetime,
    kappa: float,
    muted: Collection[tuple[str, int]] = (),
    hidden: Collection[int] = (),
) -> pa.Table:
    """Rows of user_interest_intraday for the users of `n_events`: share = (1 − β)·nightly + β·today, by user_key and topic_id.

    nightly   user_key, topic_id, share of the last night
    today     user_key, topic_id, score of today's events
    n_events  user_key, n_events: those of today that say something of topics
    muted     (user_key, topic_id) that are gone before today's shares are made
    hidden    topics that are never shown

    β is `trust`. Of who has no share of the night, or nothing today that speaks for a topic, the other alone counts.
    """
    today = _without(today, muted)
    total = today.group_by("user_key").aggregate([("score", "sum")])
    scored = today.join(total, "user_key")
    shares = pc.divide(scored["score"].cast(pa.float64()), scored["score_sum"].cast(pa.float64()))
    parts = {"then": _without(nightly, muted), "now": scored.select(["user_key", "topic_id"]).append_column("share", shares)}
    found = None
    for name, part in parts.items():
        mine = part.select(["user_key", "topic_id", "share"]).join(n_events, "user_key", join_type="inner")
        one = mine.select(["user_key", "topic_id", "share"]).rename_columns(["user_key", "topic_id", name])
        found = one if found is None else found.join(one, ["user_key", "topic_id"], join_type="full outer")
    assert found is not None
    sides = found.group_by("user_key").aggregate([("then", "count"), ("now", "count")]).join(n_events, "user_key")
    n = sides["n_events"].cast(pa.float64())
    beta = pc.if_else(
        pc.equal(sides["then_count"], 0), 1.0, pc.if_else(pc.equal(sides["now_count"], 0), 0.0, pc.divide(n, pc.add(n, kappa)))
    )
    rows = found.join(sides.select(["user_key", "n_events"]).append_column("beta", beta), "user_key")
    then, now = (pc.fill_null(rows[side], 0.0) for side in parts)
    share = pc.round(pc.add(pc.multiply(pc.subtract(1.0, rows["beta"]), then), pc.multiply(rows["beta"], now)), 6)
    made = pa.table(
        {
            "ds": pa.repeat(pa.scalar(ds, pa.date32()), rows.num_rows),
            "user_key": rows["user_key"],
            "topic_id": rows["topic_id"],
            "as_of_ts": pa.repeat(pa.scalar(as_of_ts, pa.timestamp("us", "UTC")), rows.num_rows),
            "share": share,
            "n_events_today": rows["n_events"],
        }
    )
    shown = pc.and_(pc.greater(share, 0.0), pc.invert(pc.is_in(made["topic_id"], pa.array(sorted(hidden), pa.int64()))))
    order = [("user_key", "ascending"), ("topic_id", "ascending")]
    return made.filter(shown).sort_by(order).cast(TABLES["user_interest_intraday"].arrow_schema())


def _without(rows: pa.Table, muted: Collection[tuple[str, int]]) -> pa.Table:
    """The rows whose user does not mute their topic."""
    if not muted:
        return rows
    columns = zip(*sorted(muted), strict=True)
    gone = pa.table(
        [pa.array(c, rows.schema.field(n).type) for c, n in zip(columns, ("user_key", "topic_id"), strict=True)], ["user_key", "topic_id"]
    )
    return rows.join(gone, ["user_key", "topic_id"], join_type="left anti")
