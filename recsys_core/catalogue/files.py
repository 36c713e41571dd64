"""One delivered catalogue file to its rows, each with its place and bytes, or to the reason why nothing of it is used."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

import orjson

from recsys_core.catalogue.rows import Kind, counted
from recsys_core.parse.files import CORRUPT, CORRUPT_LINES, CORRUPT_SHARE, NOT_JSON_SHARE
from recsys_core.parse.rawlines import BOM, lines, objects
from recsys_core.parse.rules import Fault

MAX_CSV_FIELD = 16 << 20
# Share of unusable rows beyond which a file is refused, if there are at least so many: rather yesterday's catalogue than half of one.
RUBBISH_SHARE, RUBBISH_ROWS = 0.01, 5


class Said(NamedTuple):
    """What an accepted row says, wherever it stands.

    contents  canonical: equal contents are equal bytes
    stub      says of an item no more than that it is deleted
    repairs   codes of RULES, each once
    notes     what its fields look like (`Kind.note_names`, `Kind.note_values`)
    """

    key: str
    contents: bytes
    parent: str | None
    stub: bool
    repairs: tuple[str, ...]
    notes: tuple[str, ...]


class Row(NamedTuple):
    """One object of a file: accepted, with what it says, or refused, with a code and perhaps the field at fault.

    offset, raw  where it begins in the unpacked file, and its bytes without the line end
    mark         digest of its bytes, and in a CSV of the header: rows of one mark say the same; b"" for one that was mended to be read
    """

    offset: int
    raw: bytes
    said: Said | None = None
    mark: bytes = b""
    code: str | None = None
    field: str | None = None
    repairs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass
class FileContents:
    """What a file holds; with a `reason` nothing of it may be used. `beside` counts repairs of what is no object (blank lines)."""

    rows: list[Row] = field(default_factory=list)
    lines: int = 0
    beside: Counter[str] = field(default_factory=Counter)
    fields: Counter[str] = field(default_factory=Counter)
    reason: str | None = None


def encoded(values: Mapping[str, Any], key: str) -> bytes:
    """Contents of a row but for its key; `decoded` takes them back, a Decimal as its text."""
    return orjson.dumps({n: v for n, v in values.items() if n != key}, default=str)


def decoded(contents: bytes) -> dict[str, Any]:
    """The values that `encoded` was given."""
    values: dict[str, Any] = orjson.loads(contents)
    return values


def read(kind: Kind, stream: BinaryIO, name: str, empty_allowed: bool, known: Mapping[bytes, Said]) -> FileContents:
    """The rows of a file, CSV or JSON lines by its name, gzip or not by its bytes; never raises for what is in it.

    known  mark → what rows of that mark say: they are not cleaned again
    """
    found = FileContents()
    spoilt = 0
    source = _csv if name.lower().removesuffix(".gz").endswith(".csv") else _json
    try:
        for row, n_lines in source(kind, stream, name, found, known):
            found.rows.append(row)
            spoilt += n_lines if row.code else 0
        refused = Counter(row.code for row in found.rows if row.code)
        if not found.rows and not empty_allowed:
            raise Fault("empty_source")
        if source is _json:
            _check_share(sum(n for code, n in refused.items() if code in CORRUPT), CORRUPT_SHARE, found.lines, "not_json_lines")
            _check_share(refused["not_json"], NOT_JSON_SHARE, found.lines, "not_json_lines")
        # An open quote makes one bad row of many: it counts as the lines that it swallowed.
        _check_share(spoilt, RUBBISH_SHARE, len(found.rows) + spoilt - refused.total(), "catalogue_rubbish", RUBBISH_ROWS)
    except Fault as fault:
        found.reason = fault.code
    found.fields += counted(Counter((row.said or row).notes for row in found.rows))
    return found


def _check_share(bad: int, share: float, of: int, code: str, least: int = CORRUPT_LINES) -> None:
    if bad >= least and bad > share * of:
        raise Fault(code)


def _json(kind: Kind, stream: BinaryIO, name: str, found: FileContents, known: Mapping[bytes, Said]) -> Iterator[tuple[Row, int]]:
    for offset, line in lines(stream, name):
        found.lines += 1
        before: tuple[str, ...] = ()
        if offset == 0 and line.startswith(BOM):
            offset, line, before = len(BOM), line[len(BOM) :], ("bom",)
        if not line.strip(b" \t\r"):
            found.beside["blank_line"] += 1
            continue
        line = line.rstrip(b"\r")
        if not before and (said := known.get(mark := _mark(line))):
            yield Row(offset, line, said, mark), 1
            continue
        for thing in objects(line):
            at, repairs = offset + thing.offset, before + thing.repairs
            if thing.value is None:
                yield Row(at, thing.raw, code=thing.fault or "not_object", repairs=repairs), 1
            else:
                notes = (*kind.note_names(thing.value), *kind.note_values(thing.value, typed=True))
                yield _row(kind, thing.value, at, thing.raw, b"" if repairs else _mark(line), repairs, notes), 1


def _csv(kind: Kind, stream: BinaryIO, name: str, found: FileContents, known: Mapping[bytes, Said]) -> Iterator[tuple[Row, int]]:
    """Rows by header name, whatever the order of columns."""
    header: list[str] | None = None
    names: list[str] = []
    salt = b""
    for offset, raw, cells, n_lines in _records(stream, name, found):
        if not raw.strip():
            found.beside["blank_line"] += 1
        elif header is None:
            header, salt = [h.strip() for h in cells or ()], _mark(raw)
            names = kind.note_names(header)
            if kind.key not in header or len(set(header)) != len(header):
                found.fields = counted({tuple(names): 1})
                raise Fault("bad_header")
        elif cells is None or len(cells) != len(header):
            yield Row(offset, raw, code="bad_row"), n_lines
        elif said := known.get(mark := _mark(raw, salt)):
            yield Row(offset, raw, said, mark), 1
        else:
            values = {h: cell or None for h, cell in zip(header, cells, strict=True)}
            # In a CSV every number is a text: none is mended.
            yield _row(kind, values, offset, raw, mark, (), (*names, *kind.note_values(values, typed=False)), "num_from_text"), 1


def _mark(raw: bytes, salt: bytes = b"") -> bytes:
    return hashlib.blake2b(raw, digest_size=16, key=salt).digest()


def _row(
    kind: Kind,
    value: dict[str, Any],
    offset: int,
    raw: bytes,
    mark: bytes,
    mended: tuple[str, ...],
    notes: tuple[str, ...],
    without: str = "",
) -> Row:
    repairs = list(mended)
    row: dict[str, Any] = {}
    fault: Fault | None = None
    try:
        row = kind.clean(value, repairs)
    except Fault as found:
        fault = found
    codes = tuple(r for r in dict.fromkeys(repairs) if r != without)
    if fault:
        return Row(offset, raw, None, b"", fault.code, fault.field, codes, notes)
    stub = row.get("deleted") is True and row["title"] is None
    return Row(offset, raw, Said(row[kind.key], encoded(row, kind.key), row[kind.parent], stub, codes, notes), mark)


class _Feed:
    """Lines for csv.reader, which takes exactly those of one record at a time; remembers where they began and what they were."""

    def __init__(self, stream: BinaryIO, name: str, found: FileContents) -> None:
        self.found, self.ended, self.offset = found, False, 0
        self.taken: list[bytes] = []
        self._pieces = _physical_lines(stream, name)

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        try:
            offset, piece = next(self._pieces)
        except StopIteration:
            self.ended = True
            raise
        self.found.lines += 1
        if offset == 0 and piece.startswith(BOM):
            offset, piece = len(BOM), piece[len(BOM) :]
            self.found.beside["bom"] += 1
        if not self.taken:
            self.offset = offset
        self.taken.append(piece)
        try:
            return piece.decode()
        except UnicodeDecodeError:
            raise Fault("encoding") from None


def _physical_lines(stream: BinaryIO, name: str) -> Iterator[tuple[int, bytes]]:
    """(offset, line with its end) for each of the line ends \\n, \\r\\n and \\r."""
    for offset, line in lines(stream, name):
        if b"\r" not in line:
            yield offset, line + b"\n"
            continue
        for piece in (line + b"\n").splitlines(keepends=True):
            yield offset, piece
            offset += len(piece)


def _records(stream: BinaryIO, name: str, found: FileContents) -> Iterator[tuple[int, bytes, list[str] | None, int]]:
    """(offset, bytes without the line end, cells or None when the quotes are broken, lines) of each record, blank ones too."""
    csv.field_size_limit(MAX_CSV_FIELD)
    feed = _Feed(stream, name, found)
    reader = csv.reader(feed, strict=True)
    while True:
        feed.taken = []
        cells: list[str] | None = None
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            if feed.ended:
                raise Fault("csv_open_quote") from None
        raw = b"".join(feed.taken)
        yield feed.offset, raw.removesuffix(b"\n").removesuffix(b"\r"), cells, len(feed.taken)
