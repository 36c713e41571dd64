"""How the past fades: by nights and by what a user did since, on a clock that is the user's own."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class HalfLife(NamedTuple):
    """A horizon's half-life, in days and in events of the user; either alone halves what an event counts."""

    days: float
    events: float


# Events are the same for all, so that a longer horizon remembers longer, however busy a user is. Chosen in docs/decisions.md.
HORIZONS: dict[str, HalfLife] = {"1d": HalfLife(1.0, 100.0), "7d": HalfLife(7.0, 100.0), "90d": HalfLife(90.0, 100.0)}
WINDOW = 90
# Nights with events over which entering and leaving are replayed.
CHECKPOINTS = 7
NANO = 1_000_000_000
SPAN = 2 * WINDOW


@dataclass(frozen=True)
class Clock:
    """The nights that count for each of `users`: the last one with events, and those within WINDOW nights up to it.

    idle         by user: nights from the last one with events to tonight; 0 for users without one
    present      by user: whether the last one is within WINDOW nights of tonight; of others no night counts
    age, after   by night: nights, and events of the user, between its end and that of the user's last one
    checkpoints  (users, CHECKPOINTS, 2): age and after of the user's last nights with events, the latest first; −1 = there is none

    It stands still while a user is away: nothing that a user holds changes its rank in nights on which nothing is done.
    """

    ds: dt.date
    users: pa.Array
    idle: Ints
    present: NDArray[np.bool_]
    keys: Ints
    age: Ints
    after: Ints
    checkpoints: Ints

    @cached_property
    def _places(self) -> NDArray[np.int32]:
        """The place of each night of each user, −1 where it does not count."""
        found = np.full(len(self.users) * SPAN, -1, np.int32)
        found[self.keys] = np.arange(len(self.keys))
        return found

    def night_of(self, user: Ints, ds: pa.ChunkedArray) -> NDArray[np.int32]:
        """The place in age and after of each row's night, −1 where it does not count."""
        back = nights_back(ds, self.ds)
        return np.where(back < SPAN, self._places[user * SPAN + (SPAN - 1 - np.minimum(back, SPAN - 1))], np.int32(-1))


def encoded(rows: pa.Table, *names: str) -> pa.Table:
    """The rows with their columns of text as dictionaries: each value is looked up once, however often `distinct` and `codes` ask."""
    for name in names:
        column = rows[name] if pa.types.is_dictionary(rows.schema.field(name).type) else rows[name].dictionary_encode()
        rows = rows.set_column(rows.column_names.index(name), name, column.unify_dictionaries())
    return rows


def with_columns(rows: pa.Table, columns: Mapping[str, Any]) -> pa.Table:
    """The rows with more columns."""
    for name, values in columns.items():
        rows = rows.append_column(name, pa.array(values))
    return rows


def codes(values: pa.ChunkedArray | pa.Array, among: pa.Array) -> Ints:
    """The place of each value in `among`, −1 where it is not; of a dictionary (see `encoded`) each value is looked for once."""
    if not pa.types.is_dictionary(values.type):
        return pc.fill_null(pc.index_in(values, among), -1).to_numpy().astype(np.int64)
    if not len(values):
        return np.zeros(0, np.int64)
    chunks = pa.chunked_array(values).unify_dictionaries().chunks
    place = codes(chunks[0].dictionary, among)
    return np.concatenate([place[c.indices.to_numpy()] for c in chunks])


def distinct(*columns: Any) -> pa.Array:
    """All values of the columns once, in order."""
    texts = (_dictionary(c) if pa.types.is_dictionary(c.type) else c for c in columns if len(c))
    values = pa.chunked_array([c.cast(pa.string()) for column in texts for c in pa.chunked_array(column).chunks], pa.string())
    found = pc.unique(values)
    return found.take(pc.sort_indices(found))


def _dictionary(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    return pa.chunked_array(values).unify_dictionaries().chunk(0).dictionary


def once(keys: Ints, size: int) -> tuple[Ints, Ints]:
    """The distinct keys (0 … size − 1) in order, and the place of each key among them: without sorting, where the keys are dense."""
    if size > 4 * len(keys) + (1 << 20):
        found, place = np.unique(keys, return_inverse=True)
        return found, place
    seen = np.zeros(size, bool)
    seen[keys] = True
    return np.flatnonzero(seen), (np.cumsum(seen) - 1)[keys]


def places(groups: Ints) -> Ints:
    """The place of each row within its group; rows of a group stand together."""
    starts = np.flatnonzero(np.concatenate([[True], groups[1:] != groups[:-1]])) if len(groups) else np.zeros(0, np.int64)
    return np.arange(len(groups)) - np.repeat(starts, np.diff(np.append(starts, len(groups))))


def clock(users: pa.Array, sessions: pa.Table, ds: dt.date) -> Clock:
    """The clock of users from rows of session (ds, user_key, n_events) of 2 · WINDOW − 1 nights."""
    user, back = codes(sessions["user_key"], users), nights_back(sessions["ds"], ds)
    known = (user >= 0) & (back >= 0) & (back < SPAN - 1)
    key, inverse = once((user * SPAN + (SPAN - 1 - back))[known], len(users) * SPAN)
    n = np.zeros(len(key), np.int64)
    np.add.at(n, inverse, sessions["n_events"].to_numpy()[known])
    user, back = key // SPAN, SPAN - 1 - key % SPAN
    bounds = np.searchsorted(key, np.arange(len(users) + 1) * SPAN)
    seen = bounds[1:] > bounds[:-1]
    idle = np.zeros(len(users), np.int64)
    idle[seen] = back[bounds[1:][seen] - 1]
    present = seen & (idle < WINDOW)
    before = np.concatenate([[0], np.cumsum(n)])
    age, after = back - idle[user], before[bounds[user + 1]] - before[1:]
    nth = bounds[user + 1] - 1 - np.arange(len(key))
    counts = present[user] & (age < WINDOW)
    checkpoints = np.full((len(users), CHECKPOINTS, 2), -1, np.int64)
    of = counts & (nth < CHECKPOINTS)
    checkpoints[user[of], nth[of]] = np.stack([age[of], after[of]], axis=1)
    return Clock(ds, users, idle, present, key[counts], age[counts], after[counts], checkpoints)


def faded(age: Ints, after: Ints, half_life: HalfLife, decay: float = 1.0) -> Floats:
    """2^(−(age / days + after / events) / decay)

    >>> faded(np.array([7]), np.array([100]), HORIZONS["7d"])
    array([0.25])
    """
    return np.exp2(-(age / half_life.days + after / half_life.events) / decay)


def total(of: NDArray[np.integer], values: NDArray[Any], n: int) -> Ints:
    """Sums by group 0 … n − 1, `values` rounded to whole numbers first: the same in whatever order rows come."""
    found = np.zeros(n, np.int64)
    np.add.at(found, of, np.rint(values).astype(np.int64))
    return found


def dates(ds: pa.ChunkedArray) -> Ints:
    """Dates as days since 1970."""
    return ds.cast(pa.int32()).to_numpy().astype(np.int64)


def nights_back(ds: pa.ChunkedArray, tonight: dt.date) -> Ints:
    """Nights from each date to tonight."""
    return (tonight - dt.date(1970, 1, 1)).days - dates(ds)
