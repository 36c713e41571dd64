"""Vectors by the hash of their text, from all nights of the lake."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from threading import RLock

import numpy as np
import pyarrow as pa

from recsys_core.lake import Lake, LakeError


class VectorStore:
    """Looks up vectors of one embedding space, for several threads; each partition's hashes are read once per process, and its vectors
    once one of them is asked for.

    A vector follows from its text alone, so which night wrote it does not matter. Without a space (no encoder is fitted yet) texts have
    zero vectors of one dimension.
    """

    def __init__(self, lake: Lake, space: str | None) -> None:
        self.lake, self.space = lake, space
        self._lock = RLock()
        self._runs: dict[dt.date, str] = {}
        # A text's night, or the number of what was added.
        self._place: dict[str, dt.date | int] = {}
        self._added: list[pa.Table] = []
        self._blocks: dict[dt.date | int, tuple[dict[str, int], np.ndarray]] = {}

    def refresh(self) -> None:
        """Take up partitions that became live since the last call; what is live no more is forgotten."""
        assert self.space is not None
        with self._lock:
            live = {}
            for night in self.lake.nights("text_embedding", embedding_space=self.space):
                if manifest := self.lake.manifest("text_embedding", night, embedding_space=self.space):
                    live[night] = manifest.run
            if not self._runs.items() <= live.items():
                self._runs, self._place, self._blocks = {}, {}, {}
                for number, rows in enumerate(self._added):
                    self._take(number, rows)
            for night in sorted(live.keys() - self._runs.keys()):
                self._take(night, self.lake.read("text_embedding", [night], ["text_hash"], embedding_space=self.space))
            self._runs = live

    def add(self, rows: pa.Table) -> None:
        """Take up rows of text_embedding that are not in the lake."""
        with self._lock:
            self._added.append(rows)
            self._take(len(self._added) - 1, rows)

    def _take(self, place: dt.date | int, rows: pa.Table) -> None:
        for text_hash in rows["text_hash"].to_pylist():
            self._place.setdefault(text_hash, place)

    def missing(self, hashes: Collection[str]) -> list[str]:
        """Those that have no vector, sorted."""
        with self._lock:
            if self.space is not None and any(h not in self._place for h in hashes):
                self.refresh()
            return sorted({h for h in hashes if h not in self._place})

    def get(self, hashes: list[str]) -> np.ndarray:
        """Unit vectors, float32 of shape (len(hashes), dimensions); LakeError when one is missing."""
        if self.space is None:
            return np.zeros((len(hashes), 1), np.float32)
        with self._lock:
            if missing := self.missing(hashes):
                raise LakeError(
                    f"{len(missing)} texts have no vector in {self.space} (first: {missing[0]}): run `python -m jobs embed` of their night"
                )
            rows_of: dict[dt.date | int, list[int]] = {}
            for row, text_hash in enumerate(hashes):
                rows_of.setdefault(self._place[text_hash], []).append(row)
            blocks = {place: self._block(place) for place in rows_of or list(self._place.values())[:1]}
        dimensions = next((vectors.shape[1] for _, vectors in blocks.values()), 0)
        found = np.empty((len(hashes), dimensions), np.float32)
        for place, rows in rows_of.items():
            at, vectors = blocks[place]
            if gone := [hashes[row] for row in rows if hashes[row] not in at]:
                raise LakeError(f"the vector of {gone[0]} was taken out of {self.space} in {place} meanwhile: run this again")
            found[rows] = vectors[[at[hashes[row]] for row in rows]]
        # float16 storage takes the length off by up to 1e-3
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def _block(self, place: dt.date | int) -> tuple[dict[str, int], np.ndarray]:
        """(hash → row, vectors) of a night or of what was added."""
        if place not in self._blocks:
            if isinstance(place, int):
                rows = self._added[place]
            else:
                rows = self.lake.read("text_embedding", [place], ["text_hash", "vec"], embedding_space=self.space or "")
            vectors = np.frombuffer(b"".join(rows["vec"].to_pylist()), "<f2").reshape(rows.num_rows, -1)
            self._blocks[place] = {h: row for row, h in enumerate(rows["text_hash"].to_pylist())}, vectors
        return self._blocks[place]
