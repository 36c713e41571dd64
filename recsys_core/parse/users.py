"""The users of a block of events: their keys, made once for each of them in a process, and who of them is simple."""

from __future__ import annotations

from functools import lru_cache
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.coded import coded
from recsys_core.parse.event import NO_USER, ParseJob
from recsys_core.parse.spans import Names, grown
from recsys_core.privacy import user_key

# Distinct users that a process remembers from one file to the next.
MAX_USERS = 1 << 20
_KEY_BYTES = 64


class _Keys:
    """Ids met and their keys under one secret, by number."""

    def __init__(self, secret: bytes) -> None:
        self.secret, self.names, self.lock = secret, Names(), Lock()
        self.keys, self.nobody = np.zeros((0, _KEY_BYTES), np.uint8), np.zeros(0, bool)

    def numbers(self, data: np.ndarray, places: np.ndarray, sizes: np.ndarray, rows: np.ndarray) -> np.ndarray:
        with self.lock:
            known = self.names.count
            found = self.names.numbers(data, places, sizes, rows)
            self._make(known)
            return found

    def of(self, ids: list[str | None]) -> np.ndarray:
        with self.lock:
            known = self.names.count
            found = self.names.of(ids)
            self._make(known)
            return found

    def _make(self, known: int) -> None:
        """Keys of those from number `known` on."""
        if self.names.count > known:
            new = self.names.text(np.arange(known, self.names.count))
            made = np.frombuffer("".join([user_key(self.secret, name) for name in new.to_pylist()]).encode(), np.uint8)
            self.keys, self.nobody = grown(self.keys, self.names.count), grown(self.nobody, self.names.count)
            self.keys[known : self.names.count] = made.reshape(-1, _KEY_BYTES)
            self.nobody[known : self.names.count] = pc.is_in(pc.utf8_lower(new), pa.array(sorted(NO_USER)))

    def keys_of(self, numbers: np.ndarray) -> pa.Array:
        ends = np.arange(0, _KEY_BYTES * len(numbers) + 1, _KEY_BYTES, dtype=np.int32)
        return pa.Array.from_buffers(pa.string(), len(numbers), [None, pa.py_buffer(ends), pa.py_buffer(self.keys[numbers])], 0)


@lru_cache(maxsize=1)
def _keys(secret: bytes) -> _Keys:
    return _Keys(secret)


class Users:
    """Numbers distinct users under a job, and counts the events of a file that are kept of each on each day."""

    def __init__(self, job: ParseJob) -> None:
        if _keys(job.secret).names.count > MAX_USERS:
            _keys.cache_clear()
        self._job, self._keys = job, _keys(job.secret)
        # Of each number whether it was looked at, and is simple; by day (since 1970) how many events it has.
        self._seen, self._simple = (np.zeros(0, bool) for _ in range(2))
        self._n: dict[int, np.ndarray] = {}

    def numbers(self, data: np.ndarray, places: np.ndarray, sizes: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(number of the user of each of these rows; whether the id stands for itself, of somebody of whom events are kept)."""
        found = self._keys.numbers(data, places, sizes, rows)
        self._seen, self._simple = (grown(a, self._keys.names.count) for a in (self._seen, self._simple))
        new = np.unique(found[~self._seen[found]])
        self._seen[new] = True
        self._simple[new] = ~self._keys.nobody[new]
        job = self._job
        if len(new) and (job.identities or job.opted_out or job.erased):
            names = self._keys.names.text(new).to_pylist()
            barred = [n in job.opted_out or job.identities.get(n, n) != n or bool(job.erased and job.erased.request(n)) for n in names]
            self._simple[new] &= ~np.array(barred, bool)
        return found, self._simple[found]

    def of(self, ids: list[str | None]) -> np.ndarray:
        """Numbers of the users with these ids, −1 for None."""
        return self._keys.of(ids)

    def keys(self, numbers: np.ndarray) -> pa.DictionaryArray:
        """The users' keys, null for −1."""
        return coded(numbers, self._keys.names.count, self._keys.keys_of)

    def count(self, numbers: np.ndarray, days: np.ndarray) -> None:
        """Note an event of each of these users on each of these days."""
        for day in distinct(days):
            counts = self._n[day] = grown(self._n.get(day, np.zeros(0, np.int64)), self._keys.names.count)
            counts += np.bincount(numbers[days == day], minlength=len(counts))

    def beyond(self, cap: int) -> set[tuple[str, int]]:
        """(key, day) of those of whom more than `cap` events were noted."""
        found = [(self._keys.keys_of(np.flatnonzero(n > cap)), day) for day, n in self._n.items()]
        return {(key, day) for keys, day in found for key in keys.to_pylist()}

    def n_met(self, day: int) -> int:
        """Of how many users events of the day were noted."""
        return int(np.count_nonzero(self._n.get(day, np.zeros(0))))

    def met(self, day: int) -> tuple[pa.DictionaryArray, pa.Array]:
        """(keys of those of whom events of the day were noted, their ids), by id."""
        numbers = np.flatnonzero(self._n.get(day, np.zeros(0)))
        ids = self._keys.names.text(numbers)
        order = pc.sort_indices(ids)
        return self.keys(numbers[order.to_numpy()]), ids.take(order)


def distinct(days: np.ndarray) -> list[int]:
    """The days among these, of which there is mostly one."""
    if len(days) and (days == days[0]).all():
        return [int(days[0])]
    return [int(day) for day in np.unique(days)]
