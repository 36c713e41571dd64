"""What users have to do with topics as of a night, as matrices of users by topics."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_core.graph import AHEAD_DAYS, TOUCHED_MICRO
from recsys_core.topics import MICRO

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_BLOCK = 2048
# What is less of all that a user did is chance, not a touch.
STRAY_SHARE = 0.05
_PAIRS = pa.schema([("user_key", pa.string()), ("topic_id", pa.int64()), ("weight", pa.float64())]).empty_table()


@dataclass(frozen=True)
class State:
    """Users (rows, by key) and topics (columns) as of a night.

    shares    (users, k) float32: the topic's part in what the user likes; a row sums to 1, or to 0 for one of whom nothing is known
    touched   (users, k) bool: whether the topic's mass reached half an event
    barred    (users, k) bool: what is not to be proposed for other reasons
    activity  (users,) events
    """

    shares: NDArray[np.float32]
    touched: NDArray[np.bool_]
    barred: NDArray[np.bool_]
    activity: Floats

    @cached_property
    def popularity(self) -> Floats:
        """(k,) log odds that a user who touched anything touched the topic."""
        known = int(self.touched.any(axis=1).sum())
        share = (self.touched.sum(axis=0) + 0.5) / (known + 1)
        found: Floats = np.log(share / (1 - share))
        return found

    @property
    def open(self) -> NDArray[np.bool_]:
        """(users, k) what may be proposed."""
        return ~(self.touched | self.barred)

    def blocks(self, most: int | None = None) -> Iterator[slice]:
        """All users, or the first `most` by key, in blocks that fit into memory."""
        end = min(len(self.shares), most or len(self.shares))
        for start in range(0, end, _BLOCK):
            yield slice(start, min(start + _BLOCK, end))


@dataclass(frozen=True)
class Week:
    """Users by key, as of a night and as of seven nights before, and what they touched for the first time in between."""

    users: list[str]
    before: State
    now: State
    new: NDArray[np.bool_]


def week(
    taken: pa.Table,
    topic_ids: Sequence[int],
    prior: pa.Table | None = None,
    barred: pa.Table | None = None,
    muted: Collection[tuple[str, int]] = frozenset(),
) -> Week:
    """The states of a night's users, of the topics `topic_ids` alone.

    taken   user_key, topic_id, before_micro, week_micro, liked_before, liked_week: rows of `graph.taken`
    prior   user_key, topic_id, weight: what users declared; it is as good as one more event
    barred  user_key, topic_id: pairs that are held already, whatever their mass
    muted   pairs that lead to nothing and that nothing leads to
    """
    ids = pa.array(topic_ids, pa.int64())
    frames = [f.filter(pc.is_in(f["topic_id"], ids)) for f in (taken, prior or _PAIRS, barred or _PAIRS)]
    users = sorted(set().union(*(pc.unique(f["user_key"]).to_pylist() for f in frames[:2])))
    keys = pa.array(users, pa.string())

    def at(frame: pa.Table) -> tuple[Any, Any]:
        frame_keys = frame["user_key"].cast(pa.string())
        row, column = pc.index_in(frame_keys, keys), pc.index_in(frame["topic_id"], ids)
        kept = row.is_valid().to_numpy(zero_copy_only=False)
        return row.fill_null(0).to_numpy()[kept], column.to_numpy()[kept]

    places = [at(f) for f in frames]
    shape = (len(users), len(ids))
    excluded, silent = np.zeros(shape, bool), np.zeros(shape, bool)
    excluded[places[1]] = excluded[places[2]] = True
    row_of, column_of = {u: i for i, u in enumerate(users)} if muted else {}, {int(t): i for i, t in enumerate(topic_ids)}
    for user, topic in muted:
        if user in row_of and topic in column_of:
            silent[row_of[user], column_of[topic]] = True
    said = np.zeros(shape, np.float32)
    said[places[1]] = frames[1]["weight"].to_numpy()
    columns = {c: frames[0][c].to_numpy() for c in ("before_micro", "week_micro", "liked_before", "liked_week")}

    def spread(values: Any) -> Any:
        found = np.zeros(shape, np.int64)
        found[places[0]] = values
        return found

    before, within = spread(columns["before_micro"]), spread(columns["week_micro"])
    liked = spread(columns["liked_before"])
    states = []
    for mass, likes in ((before, liked), (before + within, liked + spread(columns["liked_week"]))):
        wanted = np.where(silent, 0.0, np.maximum(likes, 0) / MICRO + said).astype(np.float32)
        shares = wanted / np.maximum(wanted.sum(axis=1, keepdims=True), np.float32(1e-9))
        states.append(State(shares, _touched(mass), excluded | silent, mass.sum(axis=1) / MICRO))
    new = _touched(within) & ~states[0].touched
    return Week(users, states[0], states[1], new)


def _touched(mass: Any) -> Any:
    """Where mass (users, k), in millionths of an event, is half an event at least and no stray part of all that the user did."""
    return (mass >= TOUCHED_MICRO) & (mass >= STRAY_SHARE * mass.sum(axis=1, keepdims=True))


def summed(days: pa.Table, ds: dt.date, ahead: int = AHEAD_DAYS) -> pa.Table:
    """What `week` takes, of rows of user_topic_day up to ds: mass by user and topic up to `ahead` nights ago, and since."""
    days = days.filter(pc.less_equal(days["ds"], pa.scalar(ds, pa.date32())))
    late = pc.greater(days["ds"], pa.scalar(ds - dt.timedelta(days=ahead), pa.date32()))
    mass, none = days["mass_micro"], pa.scalar(0, pa.int64())
    columns = {"before": pc.if_else(late, none, mass), "week": pc.if_else(late, mass, none)}
    frame = pa.table({"user_key": days["user_key"], "topic_id": days["topic_id"], **columns})
    found = frame.group_by(["user_key", "topic_id"]).aggregate([("before", "sum"), ("week", "sum")])
    return pa.table(
        {
            "user_key": found["user_key"],
            "topic_id": found["topic_id"],
            **dict.fromkeys(("before_micro", "liked_before"), found["before_sum"]),
            **dict.fromkeys(("week_micro", "liked_week"), found["week_sum"]),
        }
    )
