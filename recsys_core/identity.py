"""Who is who, and who is not to be known: the identity map and the opt-out list as of a night.

Both are landed by day, as JSON lines, and hold from the night of their day on: a login never rewrites the nights before it.

    identity/ds=2026-03-15/*.jsonl   {"anonymous_id": "c-81", "user_id": "u1"}
    optout/ds=2026-03-15/*.jsonl     {"user_id": "u1"}      {"user_id": "u2", "opted_out": false}
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable
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


@dataclass
class Identities:
    """What is known of users on a night.

    stitched    anonymous id → user id, the last one known
    opted_out   user ids
    files       ledgers of the night's own files of both kinds
    quarantine  refused rows of these files, as columns of event_quarantine
    """

    stitched: dict[str, str] = field(default_factory=dict)
    opted_out: set[str] = field(default_factory=set)
    files: list[FileLedger] = field(default_factory=list)
    quarantine: list[dict[str, Any]] = field(default_factory=list)


def identities_as_of(landing: Landing, ds: dt.date, erased: Erased | None = None) -> Identities:
    """The identity map and the opt-out list from all partitions up to ds; the newest row of an id holds.

    A refused row that names somebody who is to be forgotten is counted, and not kept.
    """
    found = Identities()
    for kind, read in (("identity", _identity), ("optout", _optout)):
        for day in (d for d in landing.nights(kind) if d <= ds):
            for file, sha256 in landing.fingerprint(landing.files(day, kind)):
                rows = _file(landing.url, file, sha256, read)
                if not rows.reason:
                    for key, value in rows.values:
                        _take(found, kind, key, value)
                if day == ds:
                    found.files.append(rows.ledger(kind, day, file, sha256))
                    kept = [q for q in rows.refused if not (erased and erased.within(base64.b64decode(q["raw_base64"])))]
                    found.quarantine += [q | {"file": file} for q in kept]
    return found


def _take(found: Identities, kind: str, key: str, value: str) -> None:
    if kind == "identity":
        found.stitched[key] = value
    elif value:
        found.opted_out.add(key)
    else:
        found.opted_out.discard(key)


@dataclass
class _Rows:
    values: list[tuple[str, str]] = field(default_factory=list)
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


Reader = Callable[[dict[str, Any], list[str]], tuple[str, str]]


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


def _id(row: dict[str, Any], name: str, repairs: list[str]) -> str:
    try:
        found = identifier(row.get(name), repairs)
    except Fault as fault:
        raise Fault(fault.code, name) from None
    if found.lower() in NO_USER:
        raise Fault("no_user", name)
    return found


def _identity(row: dict[str, Any], repairs: list[str]) -> tuple[str, str]:
    return _id(row, "anonymous_id", repairs), _id(row, "user_id", repairs)


def _optout(row: dict[str, Any], repairs: list[str]) -> tuple[str, str]:
    flag = row.get("opted_out", True)
    if not isinstance(flag, bool):
        raise Fault("bad_flag", "opted_out")
    return _id(row, "user_id", repairs), "yes" if flag else ""
