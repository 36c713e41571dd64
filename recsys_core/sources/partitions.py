"""Landing partitions on disk or in a store: lines wait by partition in scratch files, and a finished file appears whole."""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import orjson

from recsys_core.sources.base import Refusal

BUFFERED_BYTES = 32 * 1024 * 1024


@dataclass
class Buckets:
    """Lines by key in files of a scratch folder, at most BUFFERED_BYTES of them in memory."""

    folder: Path
    rows: Counter[str] = field(default_factory=Counter)
    _buffers: dict[str, list[bytes]] = field(default_factory=dict)
    _size: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir()

    def add(self, key: str, line: bytes) -> None:
        """Append a line to the bucket of that key."""
        self._buffers.setdefault(key, []).append(line + b"\n")
        self.rows[key] += 1
        self._size += len(line) + 1
        if self._size >= BUFFERED_BYTES:
            self.flush()

    def flush(self) -> None:
        """Leave nothing in memory."""
        for key, lines in self._buffers.items():
            with (self.folder / key).open("ab") as file:
                file.writelines(lines)
        self._buffers, self._size = {}, 0

    def lines(self, key: str) -> Iterator[bytes]:
        """The lines of one bucket."""
        self.flush()
        with (self.folder / key).open("rb") as file:
            yield from (line.rstrip(b"\n") for line in file)

    def zip(self, keys: Iterable[str], target: Path) -> None:
        """One gzip file of the buckets, one after the other; equal lines give equal bytes (no time, no name inside)."""
        self.flush()
        with target.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
            for key in keys:
                with (self.folder / key).open("rb") as bucket:
                    shutil.copyfileobj(bucket, file, 1 << 20)


def landing_line(row: dict[str, Any] | bytes) -> bytes:
    """A landing line without its end; whole numbers of any length keep their digits."""
    if isinstance(row, bytes):
        return row
    try:
        return orjson.dumps(row)
    except TypeError:  # beyond 64 bits
        return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()


def fault_line(refusal: Refusal, raw: Any) -> bytes:
    """The line of a refused record: `fault` and `record`, an object or a text; bytes that are no text stand in `record_base64`."""
    record = raw if refusal.record is None else refusal.record
    name = "record"
    if isinstance(record, bytes):
        try:
            record = record.decode()
        except UnicodeDecodeError:
            name, record = "record_base64", base64.b64encode(record).decode()
    return landing_line({"fault": refusal.reason, name: record})


def local(landing: str) -> Path | None:
    """The folder of a landing that is one of this machine, else None."""
    return Path(landing.removeprefix("file://")) if "://" not in landing or landing.startswith("file://") else None


def publish(file: Path | None, landing: str, partition: str, name: str) -> None:
    """Put a finished file into a partition so that a reader sees all of it or the state before; None = only the empty folder.

    A new local folder appears together with its file, because a folder without one would be an empty night."""
    root = local(landing)
    if root is None:
        if file is not None:  # object stores have no empty folders, and a single put is atomic
            fs, base = fsspec.core.url_to_fs(landing)
            fs.makedirs(f"{base}/{partition}".rstrip("/"), exist_ok=True)
            fs.put_file(str(file), f"{base}/{partition}/{name}" if partition else f"{base}/{name}")
        return
    folder = root / partition
    if folder.is_dir():
        if file is not None:
            hidden = folder / f".{name}.tmp"
            shutil.copyfile(file, hidden)
            os.replace(hidden, folder / name)
        return
    hidden = folder.parent / f".{folder.name}.tmp"
    shutil.rmtree(hidden, ignore_errors=True)
    hidden.mkdir(parents=True)
    if file is not None:
        shutil.copyfile(file, hidden / name)
    os.replace(hidden, folder)


def withdraw(landing: str, path: str) -> None:
    """Remove a file below the landing, if it is there."""
    fs, base = fsspec.core.url_to_fs(landing)
    if fs.exists(f"{base}/{path}"):
        fs.rm_file(f"{base}/{path}")
