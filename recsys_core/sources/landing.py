"""`land`: a source's raw files become landing partitions, each replaced whole and byte for byte reproducible, and no row is lost.

A row that cannot become an event lands all the same, in its night, as the line `{"fault": CODE, "record": ROW}`, which cleaning puts into
quarantine; one whose night is not known goes as such a line to `_refused/<source>.jsonl.gz`.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import fsspec
import orjson

from recsys_core.landing import HISTORY_KINDS
from recsys_core.sources.base import MADE_UP, Event, Identity, Item, Night, Outcome, Raw, Refusal, Source, SourceError
from recsys_core.sources.partitions import Buckets, fault_line, landing_line, local, publish, withdraw

PROGRESS_EVERY = 10_000
DECLARATION = "_source.json"
REFUSED = "_refused"
# Folders whose rows are the catalogue; the others of HISTORY_KINDS tell about users.
CATALOGUE = ("items", "categories")


@dataclass(frozen=True)
class LandReport:
    """What one landing did, in rows: read + several = events + items + refused + outside_range + identity_rows.

    A catalogue made from the events was not read, so its items stand outside of that sum.

    outside_range  rows of nights before `start` or after `end`, not looked at further
    refused        code of RULES → rows that could not become landing lines
    nights         events partitions written; nights between the first and the last without one are absent
    fault_lines    of the refused rows, those that landed in their night as fault lines; the others lie in `_refused`
    several        events beyond the first of rows that hold several (the products of one order)
    identities     pairs of an anonymous and a user id that were landed; of a folder in the landing layout also its opt-outs
    identity_rows  rows that tell such a thing and nothing else
    """

    source: str
    rows_read: int
    events: int
    items: int
    outside_range: int
    refused: dict[str, int]
    nights: tuple[date, ...]
    fault_lines: int = 0
    several: int = 0
    identities: int = 0
    identity_rows: int = 0

    def __str__(self) -> str:
        if self.nights:
            absent = (self.nights[-1] - self.nights[0]).days + 1 - len(self.nights)
            span = f"{len(self.nights):,} nights, {self.nights[0]} … {self.nights[-1]}" + (f" ({absent:,} absent)" if absent else "")
        else:
            span = "no night"
        refused, apart = sum(self.refused.values()), sum(self.refused.values()) - self.fault_lines
        reasons = ", ".join(f"{reason} {rows:,}" for reason, rows in self.refused.items())
        places = f"{self.fault_lines:,} in their nights as fault lines, {apart:,} in {REFUSED}/"
        rows = [
            ("read", f"{self.rows_read:,} rows of {self.source}" + (f", {self.several:,} events more than rows" if self.several else "")),
            ("landed", f"{self.events:,} events on {span}; {self.items:,} items"),
            ("out of range", f"{self.outside_range:,}"),
            ("refused", f"{refused:,} ({reasons}): {places}" if self.refused else "0"),
        ]
        if self.identities or self.identity_rows:
            rows.insert(2, ("identities", f"{self.identities:,} pairs; {self.identity_rows:,} rows tell nothing else"))
        return "\n".join(f"{name:<13} {text}" for name, text in rows)


def in_range(ds: date | None, start: date | None, end: date | None) -> bool:
    """Whether a night, None = an unknown one, lies between both ends, each None = open."""
    return ds is None or ((start is None or ds >= start) and (end is None or ds <= end))


@dataclass
class _Sorted:
    """Landing lines by partition, with the counts of the report."""

    scratch: Path
    start: date | None
    end: date | None
    outside: int = 0
    fault_lines: int = 0
    several: int = 0
    identity_rows: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    empty: set[date] = field(default_factory=set)
    pairs: dict[tuple[str, str], date] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.events, self.apart = Buckets(self.scratch / "events"), Buckets(self.scratch / "apart")
        self.history = {kind: Buckets(self.scratch / kind) for kind in HISTORY_KINDS}

    def add(self, raw: Raw, outcomes: Iterable[Outcome]) -> None:
        """Put each outcome of one raw record into its partition."""
        lines = 0
        for outcome in outcomes:
            # An older item or identity is known to the range's nights; an older event is none of theirs.
            wanted = in_range(outcome.ds, None if isinstance(outcome, (Item, Identity)) else self.start, self.end)
            if isinstance(outcome, Identity):
                if wanted:
                    pair = (outcome.anonymous_id, outcome.user_id)
                    self.pairs[pair] = min(outcome.ds, self.pairs.get(pair, outcome.ds))
                continue
            lines += not isinstance(outcome, Item) or outcome.kind in CATALOGUE
            if isinstance(outcome, Night):
                self.empty.update([outcome.ds] if wanted else [])
            elif not wanted:
                self.outside += raw.kind not in MADE_UP
            elif isinstance(outcome, Refusal):
                self.refuse(outcome, raw.value)
            elif isinstance(outcome, Event):
                self.events.add(str(outcome.ds), landing_line(_mended(outcome.row, raw.repairs)))
            else:
                self.history[outcome.kind].add(str(outcome.ds) if outcome.ds else "undated", landing_line(outcome.row))
        if raw.kind not in MADE_UP:
            self.several += max(lines - 1, 0)
            self.identity_rows += lines == 0

    def refuse(self, refusal: Refusal, raw: Any) -> None:
        """Put a fault line into its night, or apart where that is not known."""
        self.refused[refusal.reason] += 1
        self.fault_lines += refusal.ds is not None
        bucket, key = (self.events, str(refusal.ds)) if refusal.ds else (self.apart, REFUSED)
        bucket.add(key, fault_line(refusal, raw))

    def add_identities(self) -> None:
        """Put each pair into the partition of its first day, in order of first sight; one older than the range into that of its start."""
        for (anonymous_id, user_id), ds in sorted(self.pairs.items(), key=lambda entry: entry[1]):
            line = landing_line({"anonymous_id": anonymous_id, "user_id": user_id})
            self.history["identity"].add(str(max(ds, self.start or ds)), line)

    def nights(self) -> list[date]:
        """Events partitions, sorted."""
        return sorted({date.fromisoformat(key) for key in self.events.rows} | self.empty)


def _mended(row: dict[str, Any] | bytes, repairs: tuple[str, ...]) -> dict[str, Any] | bytes:
    return row if isinstance(row, bytes) or not repairs else {**row, "repairs": [*row.get("repairs", []), *repairs]}


def declaration(name: str, source: Source, path: Path) -> dict[str, Any]:
    """What `_source.json` says: the input's own declaration if it has one, else the source's. SourceError if its own is none."""
    own = path / DECLARATION
    if path.is_dir() and own.is_file():
        try:
            declared = orjson.loads(own.read_bytes())
        except orjson.JSONDecodeError as error:
            raise SourceError(f"{own} is no JSON: {error}") from error
        if not isinstance(declared, dict) or not isinstance(declared.get("source"), str):
            raise SourceError(f'{own} is no declaration: it needs {{"source": NAME, …}}')
        return declared
    reasons = list(source.expected_reasons)
    return {"source": source.name or name, "time_zone_of_naive_ts": source.time_zone_of_naive_ts, "expected_reasons": reasons}


def chosen(name: str, path: Path, start: date | None, end: date | None, mapping: str | None = None) -> Source:
    """The source of that name, by its mapping where it needs one; SourceError if one is missing or the range ends before it starts."""
    from recsys_core.sources import SOURCES  # the registry imports this module

    if name not in SOURCES:
        raise SourceError(f"unknown source {name!r}; there are {', '.join(SOURCES)}")
    if start and end and start > end:
        raise SourceError(f"the range ends ({end}) before it starts ({start})")
    if not path.exists():
        raise SourceError(f"no such file or folder: {path}")
    source = SOURCES[name]
    if source.described:
        return source.described(path, mapping)
    if mapping:
        raise SourceError(f"--mapping {mapping} goes with --source mapped: {name} knows its own columns")
    return source


def _check_landing(path: Path, landing: str, declared: dict[str, Any]) -> None:
    """Raise if the input lies in the landing folder, or the landing folder holds another source's logs."""
    root = local(landing)
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
    time_zone: str = "UTC",
    mapping: str | None = None,
) -> LandReport:
    """A report of the rows read, landed and refused, after the raw files at `input` have become partitions below `landing`.

    Writes `events/ds=D/<source>.jsonl.gz` for each night D that has rows from `start` to `end` (both included; None = no bound),
    `items/ds=D/…` and `categories/ds=D/…`, `identity/ds=D/…` (each pair once, on its first day), `_refused/…` (that of the landing before
    is replaced or removed) and `_source.json`. Nothing is written unless all of the input was readable. Landing a night again replaces
    its file. Lines wait in temporary files (TMPDIR says where), so that memory grows with items and identities, not with events.
    `progress` is called with the rows read so far; `time_zone` cuts the nights; `mapping` is that of the source `mapped`.
    Raises SourceError.
    """
    path = Path(input)
    reader = chosen(source, path, start, end, mapping)
    declared = declaration(source, reader, path)
    _check_landing(path, landing, declared)

    read = 0
    with tempfile.TemporaryDirectory(prefix="landing-") as scratch:
        found = _Sorted(Path(scratch), start, end)
        for raw in reader.read(path):
            if raw.kind == "file_refused":
                raise raw.value
            found.add(raw, reader.outcomes(raw, time_zone))
            if raw.kind not in MADE_UP:
                read += 1
                if progress and read % PROGRESS_EVERY == 0:
                    progress(read)
        if progress:
            progress(read)

        nights = found.nights()
        found.add_identities()
        history = {kind: _placed(found, kind, reader, nights[0] if nights else start) for kind in HISTORY_KINDS}
        _write(found, landing, f"{source}.jsonl.gz", history, declared)
        landed = {kind: sum(found.history[kind].rows[key] for keys in placed.values() for key in keys) for kind, placed in history.items()}
    return LandReport(
        source,
        read,
        found.events.rows.total() - found.fault_lines,
        sum(landed[kind] for kind in CATALOGUE),
        found.outside,
        dict(found.refused.most_common()),
        tuple(nights),
        found.fault_lines,
        found.several,
        sum(rows for kind, rows in landed.items() if kind not in CATALOGUE),
        found.identity_rows,
    )


def _placed(found: _Sorted, kind: str, source: Source, first: date | None) -> dict[str, list[str]]:
    """Partition of one of HISTORY_KINDS → the buckets it is made of, undated ones first; rows that no night can take are refused."""
    buckets = found.history[kind]
    placed: dict[str, list[str]] = {}
    for key in sorted(buckets.rows, key=lambda key: (key != "undated", key)):
        if key != "undated":
            night = str(max(date.fromisoformat(key), first)) if kind in CATALOGUE and source.catalogue == "by_date" and first else key
        elif first:
            night = str(first)
        else:
            for line in buckets.lines(key):
                found.refuse(Refusal("no_night"), line)
            continue
        placed.setdefault(night, []).append(key)
    return placed


def _write(found: _Sorted, landing: str, name: str, history: dict[str, dict[str, list[str]]], declared: dict[str, Any]) -> None:
    """Publish the declaration, then all that a night may need, then the nights: none is ever there without what explains it."""
    if not (found.nights() or any(history.values()) or found.apart.rows):
        return
    file = found.scratch / "file"
    if root := local(landing):
        root.mkdir(parents=True, exist_ok=True)
    file.write_bytes(orjson.dumps(declared) + b"\n")
    publish(file, landing, "", DECLARATION)
    if found.apart.rows:
        found.apart.zip([REFUSED], file)
        publish(file, landing, REFUSED, name)
    else:
        withdraw(landing, f"{REFUSED}/{name}")
    for kind, placed in history.items():
        for night, keys in placed.items():
            found.history[kind].zip(keys, file)
            publish(file, landing, f"{kind}/ds={night}", name)
    for ds in found.nights():
        if str(ds) in found.events.rows:
            found.events.zip([str(ds)], file)
            publish(file, landing, f"events/ds={ds}", name)
        else:
            publish(None, landing, f"events/ds={ds}", name)
