"""The users of a block of events: their keys, made once for each of them in a process, and who of them is simple."""

from __future__ import annotations

from functools import lru_cache
from threading import Lock

import numpy as np
import pyarrow as pa

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
            if self.names.count > known:
                new = self.names.text(np.arange(known, self.names.count)).to_pylist()
                made = np.frombuffer("".join([user_key(self.secret, name) for name in new]).encode(), np.uint8)
                self.keys, self.nobody = grown(self.keys, self.names.count), grown(self.nobody, self.names.count)
                self.keys[known : self.names.count] = made.reshape(-1, _KEY_BYTES)
                self.nobody[known : self.names.count] = [name.lower() in NO_USER for name in new]
            return found


@lru_cache(maxsize=1)
def _keys(secret: bytes) -> _Keys:
    return _Keys(secret)


class Users:
    """Numbers distinct users under a job; `met` are those of whom events were kept: id → key."""

    def __init__(self, job: ParseJob) -> None:
        if _keys(job.secret).names.count > MAX_USERS:
            _keys.cache_clear()
        self._job, self._keys = job, _keys(job.secret)
        self.met: dict[str, str] = {}
        # Of each number whether it was looked at, is simple, was met.
        self._seen, self._simple, self._met = (np.zeros(0, bool) for _ in range(3))

    def numbers(self, data: np.ndarray, places: np.ndarray, sizes: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(number of the user of each of these rows; whether the id stands for itself, of somebody of whom events are kept)."""
        found = self._keys.numbers(data, places, sizes, rows)
        self._seen, self._simple, self._met = (grown(a, self._keys.names.count) for a in (self._seen, self._simple, self._met))
        new = np.unique(found[~self._seen[found]])
        self._seen[new] = True
        self._simple[new] = ~self._keys.nobody[new]
        job = self._job
        if job.identities or job.opted_out or job.erased:
            names = self._keys.names.text(new).to_pylist()
            barred = [n in job.opted_out or job.identities.get(n, n) != n or bool(job.erased and job.erased.request(n)) for n in names]
            self._simple[new] &= ~np.array(barred, bool)
        return found, self._simple[found]

    def keys(self, numbers: np.ndarray) -> pa.Array:
        """The users' keys."""
        ends = np.arange(0, _KEY_BYTES * len(numbers) + 1, _KEY_BYTES, dtype=np.int32)
        return pa.Array.from_buffers(pa.string(), len(numbers), [None, pa.py_buffer(ends), pa.py_buffer(self._keys.keys[numbers])], 0)

    def meet(self, numbers: np.ndarray) -> None:
        """Note that events of these users were kept."""
        new = np.unique(numbers[~self._met[numbers]])
        self._met[new] = True
        self.met.update(zip(self._keys.names.text(new).to_pylist(), self.keys(new).to_pylist(), strict=True))
