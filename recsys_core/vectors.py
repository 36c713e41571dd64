"""Vectors by the hash of their text, from all nights of the lake."""

from __future__ import annotations

from collections.abc import Collection
from threading import Lock

import numpy as np
import pyarrow as pa

from recsys_core.lake import Lake, LakeError


class VectorStore:
    """Looks up vectors of one embedding space, for several threads; each partition is read once per process.

    A vector follows from its text alone, so which night wrote it does not matter. Without a space (no encoder is fitted yet) texts have
    zero vectors of one dimension.
    """

    def __init__(self, lake: Lake, space: str | None) -> None:
        self.lake, self.space = lake, space
        self._lock = Lock()
        self._runs: set[str] = set()
        self._row_of: dict[str, tuple[int, int]] = {}
        self._blocks: list[np.ndarray] = []

    def refresh(self) -> None:
        """Read partitions that became live since the last call."""
        assert self.space is not None
        for night in self.lake.nights("text_embedding", embedding_space=self.space):
            manifest = self.lake.manifest("text_embedding", night, embedding_space=self.space)
            if manifest is None or manifest.run in self._runs:
                continue
            self._runs.add(manifest.run)
            self.add(self.lake.read("text_embedding", [night], ["text_hash", "vec"], embedding_space=self.space))

    def add(self, rows: pa.Table) -> None:
        """Take up rows of text_embedding."""
        if rows.num_rows == 0:
            return
        data = b"".join(rows.column("vec").to_pylist())
        self._blocks.append(np.frombuffer(data, "<f2").reshape(rows.num_rows, -1))
        block = len(self._blocks) - 1
        for row, text_hash in enumerate(rows.column("text_hash").to_pylist()):
            self._row_of.setdefault(text_hash, (block, row))

    def missing(self, hashes: Collection[str]) -> list[str]:
        """Those that have no vector, sorted."""
        with self._lock:
            if any(h not in self._row_of for h in hashes):
                self.refresh()
        return sorted({h for h in hashes if h not in self._row_of})

    def get(self, hashes: list[str]) -> np.ndarray:
        """Unit vectors, float32 of shape (len(hashes), dimensions); LakeError when one is missing."""
        if self.space is None:
            return np.zeros((len(hashes), 1), np.float32)
        if missing := self.missing(hashes):
            raise LakeError(
                f"{len(missing)} texts have no vector in {self.space} (first: {missing[0]}): run `python -m jobs embed` of their night"
            )
        if not hashes:
            return np.zeros((0, self._blocks[0].shape[1] if self._blocks else 0), np.float32)
        found = np.stack([self._blocks[b][r] for b, r in (self._row_of[h] for h in hashes)]).astype(np.float32)
        # float16 storage takes the length off by up to 1e-3
        return found / np.linalg.norm(found, axis=1, keepdims=True)
