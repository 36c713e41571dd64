"""Files beside the events that tell about users, landed by day as JSON lines; each row holds from the night of its day on."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from recsys_core.parse.event import NO_USER
from recsys_core.parse.rawlines import lines, objects_at
from recsys_core.parse.rules import Fault
from recsys_core.parse.values import identifier
from recsys_core.quality import FileLedger

if TYPE_CHECKING:
    from recsys_core.erasure.requests import Erased
    from recsys_core.landing import Landing

# (what a row is about, what it says of it) from an object; a Fault where it says nothing usable. Repairs are added to the list.
Reader = Callable[[dict[str, Any], list[str]], tuple[Any, Any]]


@dataclass
class Delivered:
    """What became of a night's own files.

    files       their ledgers
    quarantine  their refused rows, as columns of event_quarantine
    """

    files: list[FileLedger] = field(default_factory=list)
    quarantine: list[dict[str, Any]] = field(default_factory=list)


def rows_as_of(
    landing: Landing, ds: dt.date, kind: str, read: Reader, delivered: Delivered, erased: Erased | None = None
) -> Iterator[tuple[dt.date, Any, Any]]:
    """(day, about what, what) of all rows of a kind from the partitions up to ds, oldest first; what the night's own files came to.

    A refused row that names somebody who is to be forgotten is counted, and not kept.
    """
    for day in (d for d in landing.nights(kind) if d <= ds):
        for file, sha256 in landing.fingerprint(landing.files(day, kind)):
            rows = _file(landing.url, file, sha256, read)
            if not rows.reason:
                yield from ((day, about, what) for about, what in rows.values)
            if day == ds:
                delivered.files.append(rows.ledger(kind, day, file, sha256))
                kept = [q for q in rows.refused if not (erased and erased.within(base64.b64decode(q["raw_base64"])))]
                delivered.quarantine += [q | {"file": file} for q in kept]


def user_id(row: dict[str, Any], name: str, repairs: list[str]) -> str:
    """The id in a field; a Fault, which names the field, for what no user can be called."""
    try:
        found = identifier(row.get(name), repairs)
    except Fault as fault:
        raise Fault(fault.code, name) from None
    if found.lower() in NO_USER:
        raise Fault("no_user", name)
    return found


@dataclass
class _Rows:
    values: list[tuple[Any, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    repairs: list[tuple[str, ...]] = field(default_factory=list)
    lines: int = 0
    blank: int = 0
    n_bytes: int = 0
    reason: str | None = None

    def ledger(self, kind: str, day: dt.date, file: str, sha256: str) -> FileLedger:
        found = FileLedger(kind, day, file, self.reason, self.n_bytes, sha256)
        if not self.reason:
            found.lines, found.objects_in = self.lines, len(self.repairs) + len(self.refused)
            found.repaired = sum(map(bool, self.repairs))
            found.good, found.quarantined = len(self.repairs) - found.repaired, len(self.refused)
            found.by_reason.update(code for codes in self.repairs for code in codes)
            found.by_reason.update(q["reason"] for q in self.refused)
            found.by_reason.update({"blank_line": self.blank} if self.blank else {})
        return found


@lru_cache(maxsize=4096)
def _file(root: str, file: str, sha256: str, read: Reader) -> _Rows:
    """One file's rows; remembered by its hash, because every later night reads it again."""
    import fsspec

    found = _Rows()
    try:
        with fsspec.open(f"{root}/{file}", "rb") as stream:
            for offset, line in lines(stream, file):
                found.lines += 1
                _line(found, offset, line, read)
        fs, path = fsspec.core.url_to_fs(f"{root}/{file}")
        found.n_bytes = int(fs.size(path))
    except Fault as fault:
        found.reason = fault.code
    except OSError:
        found.reason = "unreadable"
    return found


def _line(found: _Rows, offset: int, line: bytes, read: Reader) -> None:
    things = objects_at(offset, line)
    found.blank += things is None
    for thing in things or ():
        repairs = list(thing.repairs)
        code, name = thing.fault, None
        if thing.value is not None:
            try:
                found.values.append(read(thing.value, repairs))
                found.repairs.append(tuple(sorted(set(repairs))))
                continue
            except Fault as fault:
                code, name = fault.code, fault.field
        raw = base64.b64encode(thing.raw).decode()
        refused = {"byte_offset": thing.offset, "reason": code, "field": name, "raw_base64": raw, "repairs": sorted(set(repairs))}
        found.refused.append(refused)
