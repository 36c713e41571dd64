"""Users with more events in a file than are kept of anyone: their first ones are chosen before anything leaves the worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Rows that wait to be counted by user.
COUNTED_ROWS = 1 << 18


class Crowd:
    """Keeps the `cap` first events by (event_ts, event_id) of each user and day of one file, repeated ids counted once.

    Memory grows with the number of users and with cap times the number of those beyond it, not with their events. The first `cap` of all
    files are among the first `cap` of each, so thinning file by file loses nothing that the night would keep.
    """

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self._seen: list[pa.Table] = []
        self._waiting = self._n = 0
        self._first: dict[tuple[str, int], pa.Table] = {}

    def count(self, batch: pa.RecordBatch) -> None:
        """Note the users of a batch of parsed rows."""
        events = batch.select(["user_key", "ds"]).filter(_of_events(batch))
        self._n += events.num_rows
        self._waiting += events.num_rows
        ones = np.ones(events.num_rows, np.int64)
        self._seen.append(pa.table({"u": events.column("user_key"), "d": events.column("ds").cast(pa.int32()), "n": ones}))
        if self._waiting > COUNTED_ROWS:
            self._add_up()

    def _add_up(self) -> None:
        self._seen = [pa.concat_tables(self._seen).group_by(["u", "d"]).aggregate([("n", "sum")]).rename_columns({"n_sum": "n"})]
        self._waiting = 0

    def found(self) -> set[tuple[str, int]]:
        """The users and days with more events than the cap."""
        if self._n <= self.cap:
            return set()
        self._add_up()
        many = self._seen[0].filter(pc.greater(self._seen[0]["n"], self.cap))
        return set(zip(many["u"].to_pylist(), many["d"].to_pylist(), strict=True))

    def measured(self, batches: Callable[[], Iterable[pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
        """The batches once more, after those of crowded users have been looked at."""
        crowded = self.found()
        self._seen = []
        for batch in batches():
            for who, rows in _by_user(batch, crowded):
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
    rows = rows.filter(pc.is_in(rows["user_key"], pa.array(sorted({u for u, _ in crowded}), pa.string())))
    pairs = rows.group_by(["user_key", "ds"]).aggregate([])
    for user, day in zip(pairs["user_key"].to_pylist(), pairs["ds"].cast(pa.int32()).to_pylist(), strict=True):
        if (user, day) in crowded:
            yield (user, day), rows.filter(_of_user(rows, user, day))


def _of_events(batch: pa.RecordBatch) -> pa.Array:
    return pc.is_in(batch.column("verdict"), pa.array(["event", "beside"]))


def _of_user(rows: pa.Table | pa.RecordBatch, user: str, day: int) -> pa.Array | pa.ChunkedArray:
    return pc.and_(pc.equal(rows["user_key"], user), pc.equal(rows["ds"].cast(pa.int32()), day))


def _flags(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    return np.asarray(column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy())


def _differs(column: pa.ChunkedArray) -> np.ndarray:
    """Whether each value but the first differs from the one before."""
    values = column.combine_chunks()
    return pc.not_equal(values[1:], values[:-1]).to_numpy(zero_copy_only=False)
