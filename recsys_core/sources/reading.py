"""Reading of raw files (plain or gzip, told apart by their first bytes) and the small conversions that the sources share."""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import html
import io
import re
from collections.abc import Callable, Container, Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from recsys_core.parse import rawlines
from recsys_core.parse.event import NO_USER
from recsys_core.parse.rules import RULES, Fault
from recsys_core.sources.base import Raw, Refusal, SourceError

MAX_FIELD = 16 * 1024 * 1024
DESCRIPTION_LENGTH = 2_000
DAY_SPREAD_S = 6 * 3600

# The elements that occur in user text; a closed list, because `a < b` and `<psi|phi>` are text.
_ELEMENTS = (
    "a|abbr|b|blockquote|br|center|code|dd|del|div|dl|dt|em|font|h[1-6]|hr|i|img|kbd|li|ol|p|pre|s|small|span|strike|strong|sub|sup|"
    "table|tbody|td|th|thead|tr|u|ul"
)
_TAG = re.compile(rf"<(?:/(?:{_ELEMENTS})\s*|(?:{_ELEMENTS})(?:\s[^<>]*)?/?)>", re.IGNORECASE)
# A line that the csv module is given after the last one: whatever row it ends up in was not closed.
_END = "\x1a"
_MONEY = re.compile(r"\$?\s*(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)")


def open_bytes(path: Path) -> BinaryIO:
    """The bytes of a plain or gzip file."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if zipped else path.open("rb")  # type: ignore[return-value]


def find(folder: Path, *names: str) -> Path | None:
    """The first of `names`, plain or with .gz, that lies in the folder."""
    candidates = (folder / f"{name}{end}" for name in names for end in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def find_pair(path: Path) -> tuple[Path, Path | None]:
    """The files `*events.csv[.gz]` and `*items.jsonl[.gz]` of equal prefix: those of the events file named, or of a folder, in which the
    pair without prefix comes first."""
    if path.is_dir():
        events = find(path, "events.csv") or next(iter(sorted((*path.glob("*events.csv"), *path.glob("*events.csv.gz")))), None)
    else:
        events = path if path.is_file() and re.search(r"events\.csv(\.gz)?$", path.name) else None
    if events is None:
        raise SourceError(f"no events.csv[.gz] in {path}: name the folder that holds it, or the file")
    prefix = events.name[: events.name.index("events.csv")]
    return events, find(events.parent, f"{prefix}items.jsonl")


def data_files(path: Path, *ends: str) -> list[Path]:
    """The file itself, or by name the files of a folder with one of the endings (plain or .gz), but those with . or _ in front."""
    if path.is_file():
        return [path]
    wanted = tuple(f"{end}{zipped}" for end in ends for zipped in ("", ".gz"))
    found = sorted(p for p in path.rglob("*") if p.is_file() and p.name.endswith(wanted) and p.name[0] not in "._") if path.is_dir() else []
    if not found:
        raise SourceError(f"no file *{' or *'.join(ends)} (plain or .gz) in {path}")
    return found


def lines(path: Path, name: str = "") -> Iterator[bytes]:
    """The lines of a file without their ends and without BOM; an unusable file is one SourceError that names it.

    A name that ends in .gz is held to it; without a name gzip is told by its bytes alone."""
    try:
        with path.open("rb") as file:
            for offset, line in rawlines.lines(file, name):
                yield (line if offset else line.removeprefix(codecs.BOM_UTF8)).rstrip(b"\r")
    except Fault as fault:
        raise SourceError(f"{path} is cut or damaged: {RULES[fault.code][1]} ({fault.code}): fetch it again", fault.code) from fault


def decoded(path: Path, encoding: str = "utf-8", name: str = "") -> Iterator[str]:
    """The lines of a text file as `lines` gives them; bytes of another encoding are one SourceError that names file and line."""
    for number, line in enumerate(lines(path, name), 1):
        try:
            yield line.decode(encoding)
        except UnicodeDecodeError as error:
            raise SourceError(f"{path}, line {number}: not {encoding} ({error.reason}): convert the file", "encoding") from error


def csv_records(
    kind: str,
    text: Iterable[str],
    name: str,
    required: Iterable[str],
    night: Callable[[dict[str, str]], date] | None = None,
    delimiter: str = ",",
) -> Iterator[Raw]:
    """The rows of a CSV by header name, as raw records of a kind; one with too few or too many fields is refused, `bad_row`.

    A lone carriage return inside a field is a space, not a line end. `night` finds the night of a row, also of a refused one, whose
    fields are then given as far as they go."""
    csv.field_size_limit(MAX_FIELD)
    taken: list[str] = []
    ended = False

    def given() -> Iterator[str]:
        nonlocal ended
        for line in text:
            taken.append(line)
            yield line.replace("\r", " ") + "\n"
        ended = True
        yield _END

    reader = csv.reader(given(), delimiter=delimiter)
    try:
        header = [column.strip() for column in next(reader)]
        if ended and header != [_END]:
            raise SourceError(f"{name}: a quote in the header that is never closed", "csv_open_quote")
        missing = [column for column in required if column not in header]
        if missing:
            found = "nothing" if ended else ", ".join(header)
            raise SourceError(f"{name}: no column {', '.join(missing)}; the header has {found}", "empty_source" if ended else "bad_header")
        if len(set(header)) != len(header):
            raise SourceError(f"{name}: a column stands twice in the header {', '.join(header)}", "bad_header")
        taken.clear()
        for row in reader:
            if ended:
                if row != [_END]:
                    raise SourceError(f"{name}, line {reader.line_num - len(taken)}: a quote that is never closed", "csv_open_quote")
            elif row and len(row) == len(header):
                yield Raw(kind, dict(zip(header, row, strict=True)), name, reader.line_num)
            elif row:
                ds = _night_of(dict(zip(header, row, strict=False)), night)
                yield Raw("refused", Refusal("bad_row", ds, "\n".join(taken)), name, reader.line_num)
            taken.clear()
    except csv.Error as error:
        raise SourceError(f"{name}, line {reader.line_num}: no readable CSV ({error})", "line_too_long") from error


def _night_of(row: dict[str, str], night: Callable[[dict[str, str]], date] | None) -> date | None:
    try:
        return night(row) if night else None
    except (KeyError, Refusal):
        return None


def json_records(kind: str, path: Path, ds: date | None = None) -> Iterator[Raw]:
    """The objects of a JSON-lines file as raw records of a kind; what is none is refused, as one of night ds. Blank lines are skipped."""
    for number, line in enumerate(lines(path), 1):
        if line.strip():
            for found in rawlines.objects(line):
                value = Refusal(found.fault or "not_object", ds, found.raw) if found.value is None else found.value
                yield Raw("refused" if found.value is None else kind, value, str(path), number, found.repairs)


def inner(row: Any, *path: str) -> Any:
    """The value at a path of nested objects; None where one is missing or no object."""
    for name in path:
        row = row.get(name) if isinstance(row, dict) else None
    return row


def required(row: dict[str, Any], name: str) -> str:
    """The field as text without outer space; refuses `missing_required` if it is absent or empty."""
    value = row.get(name)
    text = "" if value is None else str(value).strip()
    if not text:
        raise Refusal("missing_required")
    return text


def known_id(value: Any, none: Container[str] = NO_USER) -> str | None:
    """An id, text or whole number, as text; None for none and for the words that programs write in its place."""
    text = str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    return None if text.lower() in none else text


def negated(quantity: Any) -> Any:
    """The quantity of a return, which is negative; what is no number stays as it is."""
    return -abs(quantity) if type(quantity) in (int, float) else quantity


def number(value: Any) -> float:
    """A finite number; refuses `bad_number`."""
    try:
        result = float(value if "_" not in str(value) else "")
    except (TypeError, ValueError):
        raise Refusal("bad_number") from None
    if not abs(result) < float("inf"):
        raise Refusal("bad_number")
    return result


def money(value: Any) -> float | None:
    """A price of a catalogue: a number, or a text such as "$1,299.00"; None for anything else (ranges, words)."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) if 0 <= value < float("inf") else None
    match = _MONEY.fullmatch(value.strip()) if isinstance(value, str) else None
    return float(match[1].replace(",", "")) if match else None


def day(text: str) -> date:
    """The date of an ISO date or time; refuses `bad_ts`."""
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        raise Refusal("bad_ts") from None


def from_epoch(value: Any) -> datetime:
    """UTC time of an epoch, told apart by magnitude: s from 1973 on, ms, µs or ns from 2001 on, all up to 2096; else refuses `bad_ts`."""
    try:
        epoch = number(value)
    except Refusal:
        raise Refusal("bad_ts") from None
    for unit, first in ((1, 1e8), (1e3, 1e9), (1e6, 1e9), (1e9, 1e9)):
        if first * unit <= epoch < 4e9 * unit:
            return datetime.fromtimestamp(epoch / unit, UTC)
    raise Refusal("bad_ts")


def iso(ts: datetime) -> str:
    """ISO 8601 with offset Z, with milliseconds if there are any."""
    return ts.astimezone(UTC).isoformat(timespec="milliseconds" if ts.microsecond else "seconds").replace("+00:00", "Z")


def within_day(ds: date, event_id: str) -> str:
    """The time of an event of which only the day is known: noon UTC plus an offset within ±6 h that depends on the event id alone.

    >>> within_day(date(2014, 1, 1), "steam-1")
    '2014-01-01T17:40:21Z'
    """
    offset = int.from_bytes(hashlib.sha256(event_id.encode()).digest()[:8]) % (2 * DAY_SPREAD_S + 1) - DAY_SPREAD_S
    return iso(datetime.combine(ds, time(12), UTC) + timedelta(seconds=offset))


def digest(*parts: str) -> str:
    """A stable id of 24 hex digits for a record that has none of its own."""
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:24]


def plain(text: Any, limit: int | None = None) -> str:
    """Text without HTML elements and entities and with single spaces, cut to `limit` characters; a list is joined.

    >>> plain("<p>if a &lt; b then<br/>x</p>")
    'if a < b then x'
    """
    joined = " ".join(part for part in text if isinstance(part, str)) if isinstance(text, list) else text if isinstance(text, str) else ""
    return " ".join(html.unescape(_TAG.sub(" ", joined)).split())[:limit]


def names(*values: Any) -> list[str]:
    """The different texts of some values and lists of values, in order."""
    flat = (v for value in values for v in (value if isinstance(value, list) else [value]))
    return list(dict.fromkeys(text for v in flat if isinstance(v, str) and (text := plain(v))))


def filled(**fields: Any) -> dict[str, Any]:
    """The fields that have a value; empty texts and lists count as none."""
    return {name: value for name, value in fields.items() if value is not None and value != "" and value != []}


def text_encoding(path: Path) -> str:
    """utf-8 if all of a file is, else cp1252 (spreadsheet exports)."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with open_bytes(path) as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def text_of(data: bytes) -> Iterator[str]:
    """The lines of a UTF-8 text in memory."""
    return (line.rstrip("\r\n") for line in io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="\n"))
