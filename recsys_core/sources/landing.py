"""`land`: a source's raw files become landing partitions, each replaced whole and byte for byte reproducible."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import fsspec
import orjson

from recsys_core.sources.base import Event, Item, Night, Refusal, Source, SourceError

BUFFERED_BYTES = 32 * 1024 * 1024
PROGRESS_EVERY = 10_000
DECLARATION = "_source.json"
# Kinds of raw records that a reader makes up; they are no rows of the input.
MADE_UP = ("night", "catalogue")


@dataclass(frozen=True)
class LandReport:
    """What one landing did, in rows: read = events + items + refused + outside_range (a catalogue made from the events was not read).

    outside_range  rows of nights before `start` or after `end`, not looked at further
    refused        reason → rows that could not become landing lines
    nights         events partitions written; nights between the first and the last without one are absent
    """

    source: str
    rows_read: int
    events: int
    items: int
    outside_range: int
    refused: dict[str, int]
    nights: tuple[date, ...]

    def __str__(self) -> str:
        if self.nights:
            absent = (self.nights[-1] - self.nights[0]).days + 1 - len(self.nights)
            span = f"{len(self.nights):,} nights, {self.nights[0]} … {self.nights[-1]}" + (f" ({absent:,} absent)" if absent else "")
        else:
            span = "no night"
        reasons = ", ".join(f"{reason} {rows:,}" for reason, rows in self.refused.items()) or "none"
        rows = (
            ("read", f"{self.rows_read:,} rows of {self.source}"),
            ("landed", f"{self.events:,} events on {span}; {self.items:,} items"),
            ("out of range", f"{self.outside_range:,}"),
            ("refused", f"{sum(self.refused.values()):,} ({reasons})" if self.refused else "0"),
        )
        return "\n".join(f"{name:<13} {text}" for name, text in rows)


@dataclass
class _Buckets:
    """Lines by key in files of a scratch folder, at most BUFFERED_BYTES of them in memory."""

    folder: Path
    rows: Counter[str] = field(default_factory=Counter)
    _buffers: dict[str, list[bytes]] = field(default_factory=dict)
    _size: int = 0

    def add(self, key: str, line: bytes) -> None:
        self._buffers.setdefault(key, []).append(line + b"\n")
        self.rows[key] += 1
        self._size += len(line) + 1
        if self._size >= BUFFERED_BYTES:
            self.flush()

    def flush(self) -> None:
        for key, lines in self._buffers.items():
            with (self.folder / key).open("ab") as file:
                file.writelines(lines)
        self._buffers, self._size = {}, 0

    def zip(self, keys: Iterable[str], target: Path) -> None:
        """One gzip file of the buckets, one after the other; equal lines give equal bytes (no time, no name inside)."""
        with target.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
            for key in keys:
                with (self.folder / key).open("rb") as bucket:
                    shutil.copyfileobj(bucket, file, 1 << 20)


def _in_range(ds: date | None, start: date | None, end: date | None) -> bool:
    return ds is None or ((start is None or ds >= start) and (end is None or ds <= end))


def _line(row: dict[str, Any] | bytes) -> bytes:
    return row if isinstance(row, bytes) else orjson.dumps(row)


def _local(landing: str) -> Path | None:
    """The folder of a landing that is one of this machine, else None."""
    return Path(landing.removeprefix("file://")) if "://" not in landing or landing.startswith("file://") else None


def _publish(file: Path | None, landing: str, partition: str, name: str) -> None:
    """Put a finished file into a partition so that a reader sees all of it or the state before; None = only the empty folder.

    A new local folder appears together with its file, because a folder without one would be an empty night."""
    root = _local(landing)
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


def _declaration(name: str, source: Source, path: Path) -> dict[str, Any]:
    """What `_source.json` says: the input's own declaration if it has one, else the source's."""
    own = path / DECLARATION
    if path.is_dir() and own.is_file():
        try:
            declared = orjson.loads(own.read_bytes())
        except orjson.JSONDecodeError as error:
            raise SourceError(f"{own} is no JSON: {error}") from error
        if not isinstance(declared, dict) or not isinstance(declared.get("source"), str):
            raise SourceError(f'{own} is no declaration: it needs {{"source": NAME, …}}')
        return declared
    return {"source": name, "time_zone_of_naive_ts": source.time_zone_of_naive_ts, "expected_reasons": list(source.expected_reasons)}


def _check_places(path: Path, landing: str, declared: dict[str, Any]) -> None:
    """Raise if the input is missing, lies in the landing folder, or the landing folder holds another source's logs."""
    if not path.exists():
        raise SourceError(f"no such file or folder: {path}")
    root = _local(landing)
    if root is not None and (root.resolve() == path.resolve() or root.resolve() in path.resolve().parents):
        raise SourceError(f"the input {path} lies in the landing folder {landing}: name another landing folder")
    fs, base = fsspec.core.url_to_fs(landing)
    if fs.exists(f"{base}/{DECLARATION}"):
        there = orjson.loads(fs.cat_file(f"{base}/{DECLARATION}"))
        if there != declared:
            other, own = there.get("source"), declared["source"]
            raise SourceError(f"{landing} holds the logs of {other!r} under another declaration: land {own!r} into a folder of its own")


def land(
    source: str,
    input: str,  # noqa: A002 - the name of the command-line option
    landing: str,
    start: date | None = None,
    end: date | None = None,
    progress: Callable[[int], None] | None = None,
) -> LandReport:
    """A report of the rows read, landed and refused, after the raw files at `input` have become partitions below `landing`.

    Writes `events/ds=D/<source>.jsonl.gz` for each night D that has events from `start` to `end` (both included; None = no bound),
    `items/ds=D/…` and `_source.json`. Nothing is written unless all of the input was readable. Landing a night again replaces its
    file. Lines wait in temporary files (TMPDIR says where), so that memory does not grow with the number of events. `progress` is
    called with the rows read so far. Raises SourceError.
    """
    from recsys_core.sources import SOURCES  # the registry imports this module's caller

    if source not in SOURCES:
        raise SourceError(f"unknown source {source!r}; there are {', '.join(SOURCES)}")
    if start and end and start > end:
        raise SourceError(f"the range ends ({end}) before it starts ({start})")
    chosen, path = SOURCES[source], Path(input)
    declared = _declaration(source, chosen, path)
    _check_places(path, landing, declared)

    read = outside = 0
    refused: Counter[str] = Counter()
    empty: set[date] = set()
    with tempfile.TemporaryDirectory(prefix="landing-") as scratch:
        events, items = (_Buckets(Path(scratch, kind)) for kind in ("events", "items"))
        events.folder.mkdir()
        items.folder.mkdir()
        for raw in chosen.read(path):
            read += raw[0] not in MADE_UP
            if progress and read % PROGRESS_EVERY == 0:
                progress(read)
            try:
                if raw[0] == "refused":
                    raise Refusal(raw[1])
                for outcome in chosen.convert(raw):
                    # An older item is known to the range's nights; an older event is none of theirs.
                    wanted = _in_range(outcome.ds, None if isinstance(outcome, Item) else start, end)
                    if isinstance(outcome, Night):
                        empty.update([outcome.ds] if wanted else [])
                    elif not wanted:
                        outside += raw[0] not in MADE_UP
                    elif isinstance(outcome, Event):
                        events.add(str(outcome.ds), _line(outcome.row))
                    else:
                        items.add(str(outcome.ds) if outcome.ds else "undated", _line(outcome.row))
            except Refusal as refusal:
                if _in_range(refusal.ds, start, end):
                    refused[refusal.reason] += 1
                else:
                    outside += 1
        if progress:
            progress(read)
        events.flush()
        items.flush()

        nights = sorted({date.fromisoformat(key) for key in events.rows} | empty)
        first = nights[0] if nights else start
        catalogue = _catalogue_nights(items.rows, chosen, first)
        homeless = catalogue.pop(None, [])
        if homeless:
            refused["no_night"] += sum(items.rows[key] for key in homeless)
        if nights or catalogue:
            _write(Path(scratch), landing, f"{source}.jsonl.gz", events, items, nights, catalogue, declared)
        landed_items = sum(items.rows[key] for keys in catalogue.values() for key in keys)
    return LandReport(source, read, events.rows.total(), landed_items, outside, dict(refused.most_common()), tuple(nights))


def _catalogue_nights(keys: Iterable[str], source: Source, first: date | None) -> dict[str | None, list[str]]:
    """Items partition → the buckets it is made of, undated ones first; None = there is no night to put them in."""
    placed: dict[str | None, list[str]] = {}
    for key in sorted(keys, key=lambda key: (key != "undated", key)):
        if key == "undated":
            night = str(first) if first else None
        else:
            night = str(max(date.fromisoformat(key), first)) if source.catalogue == "by_date" and first else key
        placed.setdefault(night, []).append(key)
    return placed


def _write(
    scratch: Path,
    landing: str,
    name: str,
    events: _Buckets,
    items: _Buckets,
    nights: list[date],
    catalogue: dict[str | None, list[str]],
    declared: dict[str, Any],
) -> None:
    """Publish the declaration, then the catalogue, then the nights: no night is ever there without what explains it."""
    file = scratch / "file"
    if root := _local(landing):
        root.mkdir(parents=True, exist_ok=True)
    file.write_bytes(orjson.dumps(declared) + b"\n")
    _publish(file, landing, "", DECLARATION)
    for night, keys in catalogue.items():
        items.zip(keys, file)
        _publish(file, landing, f"items/ds={night}", name)
    for ds in nights:
        if str(ds) in events.rows:
            events.zip([str(ds)], file)
            _publish(file, landing, f"events/ds={ds}", name)
        else:
            _publish(None, landing, f"events/ds={ds}", name)
