"""Files of a site's own form, CSV or JSON lines, read as its mapping file says (docs/bring-your-own-logs.md).

What a row says of its item counts where the row itself is an event; a row that is none lands as a fault line of its night. Numbers are
read with the decimal sign that the mapping names, with or without a currency; what is none is left as it is to the rules of cleaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from recsys_core.parse.rules import Fault
from recsys_core.parse.values import moment
from recsys_core.sources.base import Event, Item, Outcome, Raw, Refusal, Source, SourceError
from recsys_core.sources.mapping import FIELDS, Column, Mapping, Table, mapping
from recsys_core.sources.products import ProductHistory
from recsys_core.sources.reading import (
    DESCRIPTION_LENGTH,
    csv_records,
    data_files,
    decoded,
    digest,
    filled,
    inner,
    iso,
    json_records,
    plain,
    within_day,
)

DEFAULT = "mapping.toml"
JSON_LINES = (".jsonl", ".ndjson", ".json")
_TABLES = (".csv", ".tsv", ".txt")
# HTML has no place in these, and line ends tell nothing.
_PROSE = {"title": None, "description": DESCRIPTION_LENGTH, "text": None, "category": None, "brand": None}
_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_EPOCH = re.compile(r"\d{9,19}(\.\d+)?", re.ASCII)
_CURRENCY = r"(?:[A-Za-z]{1,3}\.?|[^\w\s.,'()+-]{1,2}|元|円)?"
_AMOUNTS = {
    point: re.compile(rf"{_CURRENCY}\s*([+-]?)\s*{_CURRENCY}\s*(\d{{1,3}}(?:[{group}\s'’]\d{{3}})+|\d+)(?:[{point}](\d+))?\s*{_CURRENCY}")
    for point, group in ((".", ","), (",", "."))
}


def source(path: Path, named: str | None = None) -> Source:
    """The source that a mapping file, the one named or the input folder's, describes; SourceError names all that is wrong with it."""
    file = Path(named) if named else path / DEFAULT
    if not file.is_file():
        remedy = f"name one by --mapping FILE.toml, or put {DEFAULT} into the folder (docs/bring-your-own-logs.md)"
        raise SourceError(f"{file}: no such mapping file, which says what the columns are: {remedy}")
    try:
        found = mapping(file.read_bytes().decode("utf-8-sig"), str(file))
    except UnicodeDecodeError as error:
        raise SourceError(f"{file}: not UTF-8 ({error.reason} at byte {error.start}): save the file as UTF-8") from error
    return Source(SOURCE.help, partial(_read, found), _convert, "by_date", found.time_zone, found.expected_reasons, found.name)


def _convert(raw: Raw) -> Iterable[Outcome]:
    return [raw.value]


def _read(found: Mapping, path: Path) -> Iterator[Raw]:
    """Rows with what becomes of each, file by file, then the catalogue that the rows told of."""
    history = ProductHistory()
    for file, table in _files(found, path):
        for raw in _records(found, file, table):
            if raw.kind == "refused":
                yield raw
            elif table is found.items:
                yield raw._replace(value=_item(found, table, raw.value))
            else:
                event = _event(found, table, raw.value)
                if isinstance(event, Event) and found.items and not found.items.files:
                    _note(found, event.ds, _fields(found, "items", found.items, raw.value), history)
                yield raw._replace(value=event)
    yield from (Raw("catalogue", item) for item in history.items())


def _note(found: Mapping, ds: date, item: dict[str, Any], history: ProductHistory) -> None:
    if item_id := item.pop("item_id", None):
        history.note(ds, str(item_id), item)


def _files(found: Mapping, path: Path) -> Iterator[tuple[Path, Table]]:
    """The input's files with the table that each is read by, those of items first; SourceError if none is wanted."""
    tables = [t for t in (found.items, found.events) if t and (t.files or t is found.events)]
    there = [f for f in data_files(path, *_TABLES, *JSON_LINES) if f.name != DEFAULT]
    wanted = [(f, next((t for t in tables if fnmatchcase(f.name, t.files or "*")), None)) for f in there]
    chosen = [(f, t) for f, t in wanted if t]
    if not chosen:
        patterns = " or ".join(t.files or "*" for t in tables)
        raise SourceError(
            f"{path}: no file is called {patterns}; there are {', '.join(f.name for f in there[:10])}: mend files = … in the mapping"
        )
    yield from sorted(chosen, key=lambda pair: pair[1] is found.events)


def _records(found: Mapping, file: Path, table: Table) -> Iterator[Raw]:
    form = found.format or ("jsonl" if any(end in file.suffixes for end in JSON_LINES) else "csv")
    if form == "jsonl":
        yield from json_records("row", file)
        return
    try:
        yield from csv_records("row", decoded(file, found.encoding, file.name), str(file), found.columns(table), delimiter=found.delimiter)
    except SourceError as error:
        if error.code != "bad_header":
            raise
        raise SourceError(f"{error}; mend the column's name in the mapping, or its delimiter = {found.delimiter!r}", error.code) from error


def _event(found: Mapping, table: Table, row: dict[str, Any]) -> Event | Refusal:
    """The landing line of a row, on the UTC day of its receipt, else of its time; or why there is none."""
    ds = None
    try:
        event = _fields(found, "events", table, row)
        if table.fields["ts"].by_day and isinstance(ts := event.get("ts"), date):
            event["ts"] = within_day(ts, str(event.get("event_id") or digest(*map(str, row.values())))).removesuffix("Z")
            event["repairs"] = ["day_precision"]
        zone = ZoneInfo(found.time_zone) if found.time_zone else None
        happened = moment(event.get("received_ts") or event.get("ts"), zone, []).date()
        if not 2000 <= happened.year < 9999:
            raise Refusal("ts_out_of_range")
        ds = happened
        for code, looks in found.refuse:
            if all(any(fnmatchcase(_cell(found, row, column) or "", p) for p in patterns) for column, patterns in looks):
                raise Refusal(code)
        if "event_type" not in event:
            raise Refusal("unknown_event_type")
        if "user_id" not in event:
            raise Refusal("no_user")
    except Fault as fault:
        return Refusal(fault.code, ds, row)
    except Refusal as refusal:
        return Refusal(refusal.reason, ds, row)
    return Event(ds, event)


def _item(found: Mapping, table: Table, row: dict[str, Any]) -> Item | Refusal:
    try:
        item = _fields(found, "items", table, row)
    except Refusal as refusal:
        return Refusal(refusal.reason, None, row)
    return Item(None, item) if "item_id" in item else Refusal("missing_required", None, row)


def _fields(found: Mapping, kind: str, table: Table, row: dict[str, Any]) -> dict[str, Any]:
    """The fields of a row that have a value, in the types of the landing format where they can be had."""
    return filled(**{name: _value(found, name, FIELDS[kind][name].type, column, row) for name, column in table.fields.items()})


def _value(found: Mapping, name: str, kind: str, column: Column, row: dict[str, Any]) -> Any:
    if not column.columns:
        return column.constant
    cells = [_cell(found, row, name) for name in column.columns]
    if kind == "strings":
        return _texts(cells, column.separator if len(cells) == 1 else "")
    value = cells[0] if len(cells) == 1 else None if None in cells else column.separator.join(map(str, cells))
    if column.values and value is not None:
        value = next((meant for pattern, meant in column.values if fnmatchcase(str(value), pattern)), None)
    return _typed(found, name, kind, column, value) if isinstance(value, str) else value


def _cell(found: Mapping, row: dict[str, Any], column: str) -> Any:
    """What stands in a column or under a path of keys; None for nothing and what the site writes in its place."""
    value = row.get(column)
    if value is None and "." in column:
        value = inner(row, *column.split("."))
    if isinstance(value, str):
        value = value.strip()
        return None if value == "" or value in found.empty else value
    return value


def _texts(cells: list[Any], separator: str) -> list[str]:
    parts = (part for cell in cells for part in (cell if isinstance(cell, list) else str(cell).split(separator) if separator else [cell]))
    return list(dict.fromkeys(text for part in parts if isinstance(part, str) and (text := plain(part))))


def _typed(found: Mapping, name: str, kind: str, column: Column, value: str) -> Any:
    """A text in the type of its field; one that does not read so stays, for cleaning to say what is wrong with it."""
    if kind == "number":
        return _amount(value, found.decimal)
    if kind == "boolean":
        return _FLAGS.get(value.lower(), value)
    if column.format:
        return _written(value, column, kind)
    if kind == "timestamp" and _EPOCH.fullmatch(value):
        return float(value) if "." in value else int(value)
    return plain(value, _PROSE[name]) if name in _PROSE else value


def _written(value: str, column: Column, kind: str) -> Any:
    """A time or date as the column's format has it: a date, where that is all it tells of a time, else ISO 8601."""
    try:
        read = datetime.strptime(value, column.format or "")  # noqa: DTZ007 - the zone is declared beside the lines
    except ValueError:
        raise Refusal("bad_ts" if kind == "timestamp" else "bad_date") from None
    if kind == "date":
        return read.date().isoformat()
    if column.by_day:
        return read.date()
    return iso(read) if read.tzinfo else read.isoformat()


def _amount(value: str, decimal: str) -> Any:
    """A number as people write it.

    >>> [_amount(text, ",") for text in ("1.299,50 €", "-3", "12.5")]
    [1299.5, -3, '12.5']
    >>> [_amount(text, ".") for text in ("£1,299.50", "USD 7", "¥ 1 000", "1,2", "about 3")]
    [1299.5, 7, 1000, '1,2', 'about 3']
    """
    match = _AMOUNTS[decimal].fullmatch(value) if len(value) <= 40 else None
    if not match:
        return value
    sign, whole, part = match.groups()
    digits = re.sub(r"\D", "", whole)
    return float(f"{sign}{digits}.{part}") if part else int(f"{sign}{digits}")


SOURCE = Source(
    "Your own CSV or JSON lines, with a mapping file that says which column is what",
    lambda path: source(path).read(path),
    _convert,
    "by_date",
    described=source,
)
