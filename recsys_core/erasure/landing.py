"""People out of delivered files: their objects become blanks of equal length, so that every other object stays where it is.

Of a line with several objects only theirs are blanked, with the commas of an array that are too many then. What cannot be read as an
object is theirs when an id stands in it as a whole token. Objects of other people are never touched, whatever they mention.
"""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import os
import re
import shutil
import uuid
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from recsys_core.erasure.requests import Erased
from recsys_core.landing import EXPECTED, Landing
from recsys_core.parse.event import NO_USER
from recsys_core.parse.rawlines import BLOCK, BOM, Found, blocks, objects_at
from recsys_core.parse.rules import Fault
from recsys_core.parse.values import identifier

# The map of ids goes last: an erasure that was cut off finds its way by it.
KINDS = ("events", "declared", "attributes", "optout", "identity")
_UNFINISHED = ".erasing.tmp"
_WIDE = (
    (re.compile(rb"\xff\xfe\0\0|.\0\0\0", re.DOTALL), "utf-32-le"),
    (re.compile(rb"\0\0\xfe\xff|\0\0\0.", re.DOTALL), "utf-32-be"),
    (re.compile(rb"\xff\xfe|[^\0]\0", re.DOTALL), "utf-16-le"),
    (re.compile(rb"\xfe\xff|\0[^\0]", re.DOTALL), "utf-16-be"),
)


@dataclass
class Scanned:
    """What a delivered file holds of the people to forget.

    spans     (first, last + 1) bytes of the unpacked file that are to be blank
    objects   their objects, by request
    mentions  objects of other people in which one of their ids of six characters and more stands
    codec     of a file that is not UTF-8
    fault     a code of RULES: why the file could not be read to its end
    """

    file: str
    kind: str
    day: dt.date | None
    zipped: bool = False
    codec: str = ""
    spans: list[tuple[int, int]] = field(default_factory=list)
    objects: Counter[str] = field(default_factory=Counter)
    mentions: int = 0
    fault: str | None = None
    _others: list[bytes] = field(default_factory=list)
    _others_bytes: int = 0

    def note_others(self, erased: Erased, raws: Iterable[bytes], last: bool = False) -> None:
        """Count mentions in other people's objects, so many at a time that looking for many ids costs little."""
        for raw in raws:
            self._others.append(raw)
            self._others_bytes += len(raw)
        if last or self._others_bytes > BLOCK:
            self.mentions += erased.mentions(self._others)
            self._others, self._others_bytes = [], 0


class Owners:
    """Whose a delivered object is.

    aliases  anonymous ids that belonged to people to forget alone, with the request
    shared   anonymous ids that others have used, too: (day, user id) from which on each did; before the first they were the first one's
    """

    def __init__(self, erased: Erased, landing: Landing) -> None:
        self.erased = erased
        self.aliases: dict[str, str] = {}
        self.shared: dict[str, list[tuple[dt.date, str]]] = {}
        for anonymous_id, known in _known_as(landing).items():
            whose = [erased.request(user_id) for _, user_id in known]
            if all(whose):
                self.aliases[anonymous_id] = str(whose[0])
            elif (any(whose) or erased.request(anonymous_id)) and not erased.named(anonymous_id):
                self.shared[anonymous_id] = known

    def first_owned(self) -> dict[str, str]:
        """Shared anonymous ids whose rows of before any login are theirs, with the request."""
        return {a: found for a, known in self.shared.items() if (found := self.erased.request(known[0][1]))}

    def of(self, kind: str, day: dt.date | None, found: Found) -> str | None:
        """The request that an object belongs to, or None."""
        row = found.value
        names = ("user_id", "anonymous_id") if kind == "identity" else ("user_id",)
        ids = [i for n in names if row and (i := known_id(row.get(n)))] or [i for i in [known_id((row or {}).get("anonymous_id"))] if i]
        if not ids:
            return self.erased.within(found.raw) or self._of_record(row)
        if kind != "identity" and (known := self.shared.get(ids[0])):
            before = [user_id for since, user_id in known if day and since <= day]
            return self.erased.request(before[-1] if before else known[0][1])
        return next((r for i in ids if i not in self.shared and (r := self.erased.request(i))), None)

    def _of_record(self, row: dict[str, Any] | None) -> str | None:
        """Of a line that the landing step refused: the raw row may be packed."""
        packed = (row or {}).get("record_base64")
        try:
            return self.erased.within(base64.b64decode(packed)) if isinstance(packed, str) else None
        except ValueError:
            return None


def known_id(value: Any) -> str:
    """An id as the parser reads it, '' for what no user can be called."""
    try:
        found = identifier(value, [])
    except Fault:
        return ""
    return "" if found.lower() in NO_USER else found


def _known_as(landing: Landing) -> dict[str, list[tuple[dt.date, str]]]:
    """Anonymous id → (day, user id) from all delivered identity files, oldest first."""
    found: defaultdict[str, list[tuple[dt.date, str]]] = defaultdict(list)
    for file, _, day in delivered(landing, ("identity",)):
        with suppress(Fault, OSError), landing.fs.open(f"{landing.root}/{file}", "rb") as stream:
            for offset, line in _lines(blocks(stream)[1]):
                for thing in objects_at(offset, line) or ():
                    row = thing.value or {}
                    if (anonymous_id := known_id(row.get("anonymous_id"))) and (user_id := known_id(row.get("user_id"))):
                        found[anonymous_id].append((day or dt.date.min, user_id))
    return {a: sorted(known, key=lambda k: k[0]) for a, known in found.items()}


def delivered(landing: Landing, kinds: tuple[str, ...] = KINDS) -> Iterator[tuple[str, str, dt.date | None]]:
    """(file relative to the root, kind, day of its folder) of all files in the folders that hold people, whatever they are called.

    What an erasure that was cut off left beside them is removed.
    """
    for kind in kinds:
        for path in sorted(map(str, landing.fs.find(f"{landing.root}/{kind}"))):
            file, name = path[len(landing.root) + 1 :], path.rpartition("/")[2]
            if name.endswith(_UNFINISHED):
                landing.fs.rm_file(path)
            elif name != EXPECTED:
                day = re.search(r"/ds=(\d{4}-\d\d-\d\d)/", file)
                yield file, kind, dt.date.fromisoformat(day.group(1)) if day else None


def scan(landing: Landing, owners: Owners, file: str, kind: str, day: dt.date | None) -> Scanned:
    """Look through one file."""
    found = Scanned(file, kind, day)
    try:
        with landing.fs.open(f"{landing.root}/{file}", "rb") as stream:
            found.zipped, unpacked = blocks(stream)
            first = next(unpacked, b"")
            if wide := next((codec for pattern, codec in _WIDE if pattern.match(first[:4])), None):
                found.codec = wide
                _wide(found, owners, (first + b"".join(unpacked)).decode(wide))
            else:
                _plain(found, owners, first, unpacked)
    except Fault as fault:
        found.fault = fault.code
    except UnicodeDecodeError:
        found.fault = "encoding"
    except OSError:
        found.fault = "unreadable"
    found.note_others(owners.erased, (), last=True)
    return found


def _plain(found: Scanned, owners: Owners, first: bytes, rest: Iterator[bytes]) -> None:
    def unpacked() -> Iterator[bytes]:
        yield first
        yield from rest

    for offset, line in _lines(unpacked()):
        found.spans += [(offset + a, offset + b) for a, b in _judged(found, owners, offset, line)]


def _wide(found: Scanned, owners: Owners, whole: str) -> None:
    """The same of UTF-16 and UTF-32: spans of their bytes, of the lines as UTF-8 has them."""
    offset = 0
    for number, text in enumerate(whole.split("\n")):
        line = text.encode()
        for a, b in _judged(found, owners, min(number, 1), line):
            start, end = (offset + len(line[:n].decode().encode(found.codec)) for n in (a, b))
            found.spans.append((start, end))
        offset += len(f"{text}\n".encode(found.codec))


def _judged(found: Scanned, owners: Owners, offset: int, line: bytes) -> list[tuple[int, int]]:
    """Bytes of the line that are to be blank."""
    things = list(objects_at(offset, line) or ())
    whose = [owners.of(found.kind, found.day, t) for t in things]
    found.objects.update(filter(None, whose))
    others = [t for t, who in zip(things, whose, strict=True) if who is None]
    found.note_others(owners.erased, (t.raw for t in others))
    if len(others) == len(things):
        return []
    if not others:
        start = len(BOM) if offset == 0 and line.startswith(BOM) else 0
        return [(start, len(line.rstrip(b"\r")))]
    spans = [(t.offset - offset, t.offset - offset + len(t.raw)) for t in things]
    blank = [s for s, who in zip(spans, whose, strict=True) if who]
    if "array_unwrapped" in things[0].repairs:
        kept = -1
        for n, who in enumerate(whose):
            # One comma stays between two that stay: the last before the later.
            if n and (who or kept < 0):
                comma = line.index(b",", spans[n - 1][1], spans[n][0])
                blank.append((comma, comma + 1))
            kept = kept if who else n
    return sorted(blank)


def _lines(unpacked: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """(offset, line) of lines of any length."""
    offset, tail = 0, b""
    for block in unpacked:
        *whole, tail = (tail + block).split(b"\n")
        for line in whole:
            yield offset, line
            offset += len(line) + 1
    if tail:
        yield offset, tail


def blank(landing: Landing, scanned: Scanned) -> None:
    """Replace a file by one with blanks in its spans, in one step; what cannot be read of a packed file is cut off."""
    path = f"{landing.root}/{scanned.file}"
    folder, _, name = path.rpartition("/")
    local = os.path.isfile(path)
    # What another may read is complete: elsewhere than on this machine a file shows when it is closed.
    target = f"{folder}/.{name}.{uuid.uuid4().hex[:8]}{_UNFINISHED}" if local else path
    with landing.fs.open(path, "rb") as stream:
        unpacked = _blanked(blocks(stream)[1], scanned.spans, " ".encode(scanned.codec or "ascii"))
        if local:
            with open(target, "wb") as file:
                _pack(file, unpacked, scanned)
                file.flush()
                os.fsync(file.fileno())
            shutil.copymode(path, target)
            os.replace(target, path)
        else:
            packed = list(unpacked)
            with landing.fs.open(target, "wb") as file:
                _pack(file, iter(packed), scanned)


def _pack(file: BinaryIO, unpacked: Iterator[bytes], scanned: Scanned) -> None:
    if not scanned.zipped:
        file.writelines(unpacked)
    elif scanned.fault is None:
        with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
            for block in unpacked:
                packed.write(block)
    else:  # without an end: what was no whole file is none afterwards
        member = zlib.compressobj(6, zlib.DEFLATED, 31)
        for block in unpacked:
            file.write(member.compress(block))
        file.write(member.flush(zlib.Z_SYNC_FLUSH))


def _blanked(unpacked: Iterator[bytes], spans: list[tuple[int, int]], space: bytes) -> Iterator[bytes]:
    """The blocks with spaces in the spans (sorted, apart); it ends at the first Fault."""
    offset, n = 0, 0
    try:
        for block in unpacked:
            changed = bytearray(block)
            while n < len(spans) and spans[n][0] < offset + len(block):
                start, end = max(spans[n][0], offset), min(spans[n][1], offset + len(block))
                shift = (start - spans[n][0]) % len(space)
                fill = (space * ((end - start) // len(space) + 2))[shift:][: end - start]
                changed[start - offset : end - offset] = fill
                if spans[n][1] > offset + len(block):
                    break
                n += 1
            offset += len(block)
            yield bytes(changed)
    except Fault:
        return
