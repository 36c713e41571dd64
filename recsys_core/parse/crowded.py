"""Users with more events in a file than are kept of anyone: their first ones are chosen before anything leaves the worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class Crowd:
    """Keeps the `cap` first events by (event_ts, event_id) of each crowded user and day (since 1970) of a file, repeated ids counted once.

    Memory grows with cap times the number of those users, not with their events. The first `cap` of all
    files are among the first `cap` of each, so thinning file by file loses nothing that the night would keep.
    """

    def __init__(self, cap: int, crowded: set[tuple[str, int]]) -> None:
        self.cap, self._crowded = cap, crowded
        self._first: dict[tuple[str, int], pa.Table] = {}

    def measured(self, batches: Callable[[], Iterable[pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
        """The batches once more, after those of crowded users have been looked at."""
        for batch in batches():
            for who, rows in _by_user(batch, self._crowded):
                self._keep_first(who, rows)
        yield from batches()

    def _keep_first(self, who: tuple[str, int], rows: pa.Table) -> None:
        rows = rows.select(["event_ts", "event_id", "byte_offset"])
        known = self._first.get(who)
        rows = rows if known is None else pa.concat_tables([known, rows])
        rows = rows.sort_by([("event_ts", "ascending"), ("event_id", "ascending"), ("byte_offset", "ascending")])
        new = np.ones(rows.num_rows, bool)
        new[1:] = _differs(rows["event_ts"]) | _differs(rows["event_id"])
        self._first[who] = rows.filter(pa.array(np.cumsum(new) <= self.cap)).combine_chunks()

    def thinned(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """(what is kept of the batch, the events of crowded users that are not among their first)."""
        drop = np.zeros(batch.num_rows, bool)
        events = _flags(_of_events(batch))
        for (user, day), first in self._first.items():
            chosen = pc.is_in(batch["byte_offset"], first["byte_offset"].combine_chunks())
            drop |= events & _flags(pc.fill_null(pc.and_(_of_user(batch, user, day), pc.invert(chosen)), False))
        return batch.filter(pa.array(~drop)), batch.filter(pa.array(drop))


def _by_user(batch: pa.RecordBatch, crowded: Iterable[tuple[str, int]]) -> Iterator[tuple[tuple[str, int], pa.Table]]:
    events = batch.filter(_of_events(batch))
    rows = pa.table({n: events.column(n) for n in ("user_key", "ds", "event_ts", "event_id", "byte_offset")})
    rows = rows.set_column(0, "user_key", rows["user_key"].cast(pa.string()))
    rows = rows.filter(pc.is_in(rows["user_key"], pa.array(sorted({u for u, _ in crowded}), pa.string())))
    pairs = rows.group_by(["user_key", "ds"]).aggregate([])
    for user, day in zip(pairs["user_key"].to_pylist(), pairs["ds"].cast(pa.int32()).to_pylist(), strict=True):
        if (user, day) in crowded:
            yield (user, day), rows.filter(_of_user(rows, user, day))


def _of_events(batch: pa.RecordBatch) -> pa.Array:
    return pc.is_in(batch.column("verdict").cast(pa.string()), pa.array(["event", "beside"]))


def _of_user(rows: pa.Table | pa.RecordBatch, user: str, day: int) -> pa.Array | pa.ChunkedArray:
    return pc.and_(pc.equal(rows["user_key"].cast(pa.string()), user), pc.equal(rows["ds"].cast(pa.int32()), day))


def _flags(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    return np.asarray(column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy())


def _differs(column: pa.ChunkedArray) -> np.ndarray:
    """Whether each value but the first differs from the one before."""
    values = column.combine_chunks()
    return pc.not_equal(values[1:], values[:-1]).to_numpy(zero_copy_only=False)
