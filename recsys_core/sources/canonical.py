"""Files that are canonical already: a folder in the landing layout, or loose files.

In the layout (`events/ds=…`, `items/ds=…`, `categories/…`, `identity/…`, `optout/…`, `declared/…`, …) every line keeps its night and its
bytes, good or bad, because cleaning has the rules for both. Loose event files (`*.jsonl[.gz]`) go to the night of `received_ts`, else `ts`,
so a line without either is refused; `items*.jsonl[.gz]` and `*.csv` are the catalogue. A CSV row whose values have the wrong types keeps
them as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

from recsys_core.landing import DATA, HISTORY_KINDS
from recsys_core.landing_schema import ITEM_FIELDS
from recsys_core.parse import rawlines
from recsys_core.sources.base import Event, Item, Night, Outcome, Raw, Refusal, Source, SourceError
from recsys_core.sources.reading import csv_records, data_files, decoded, filled, from_epoch, lines, number

LAYOUT = ("events", *HISTORY_KINDS)
KEYS = {"items": "item_id", "categories": "category"}
_TRUE = {"true": True, "1": True, "false": False, "0": False, "": None}


def _partitions(folder: Path) -> Iterator[tuple[date, list[Path]]]:
    for partition in sorted(folder.glob("ds=*")):
        try:
            ds = date.fromisoformat(partition.name.removeprefix("ds="))
        except ValueError:
            raise SourceError(f"{partition}: the folder of a night is called ds=YYYY-MM-DD") from None
        yield ds, sorted(p for p in partition.iterdir() if p.is_file() and (p.name[0] not in "._" or DATA.fullmatch(p.name)))


def _file(kind: str, path: Path, ds: date | None) -> Iterator[Raw]:
    """The records of one file after one of kind "file"; "file_refused" is the last if it cannot be used.

    kind  "event_line", "loose_line" or one of HISTORY_KINDS; rows of a CSV are "items_row" or "categories_row"
    """
    yield Raw("file", path, str(path))
    try:
        if path.name[0] in "._":
            raise SourceError(
                f"{path}: a name that begins with {path.name[0]!r} marks what is not data: rename it or remove it", "hidden_name"
            )
        if kind in KEYS and ".csv" in path.suffixes:
            for raw in csv_records(f"{kind}_row", decoded(path, name=path.name), str(path), (KEYS[kind],)):
                yield raw if raw.kind == "refused" else raw._replace(value=(ds, raw.value))
            return
        for number_, line in enumerate(lines(path, path.name), 1):
            if kind != "loose_line" or line.strip():
                yield Raw(kind, line if kind == "loose_line" else (ds, line), str(path), number_)
    except SourceError as error:
        yield Raw("file_refused", error, str(path))


def _read(path: Path) -> Iterator[Raw]:
    if path.is_dir() and any((path / kind).is_dir() for kind in LAYOUT):
        others = sorted({p.parent.name for p in path.glob("[!._]*/ds=*")} - set(LAYOUT))
        if others:
            raise SourceError(f"{path}: {', '.join(LAYOUT)} can be landed, {', '.join(others)} cannot: set LANDING to the folder itself")
        for ds, files in _partitions(path / "events"):
            yield Raw("night", ds)
            for file in files:
                yield from _file("event_line", file, ds)
        for kind in HISTORY_KINDS:
            for ds, files in _partitions(path / kind):
                for file in files:
                    yield from _file(kind, file, ds)
        return
    for file in data_files(path, ".jsonl", ".csv"):
        yield from _file("items" if ".csv" in file.suffixes or file.name.startswith("items") else "loose_line", file, None)


def _received_on(line: bytes) -> date:
    """The UTC day of the received_ts, else ts, of a line's first object; a time without offset counts as it stands."""
    found = next(rawlines.objects(line))
    row = found.value
    if row is None:
        raise Refusal(found.fault or "not_object")
    value = row.get("received_ts") or row.get("ts")
    if value is None or value == "" or isinstance(value, bool):
        raise Refusal("no_time")
    if isinstance(value, (int, float)) or (isinstance(value, str) and value.strip().isdigit()):
        return from_epoch(value).date()
    try:
        ts = datetime.fromisoformat(value)
        return (ts.astimezone(UTC) if ts.tzinfo else ts).date()
    except (TypeError, ValueError, OverflowError):
        raise Refusal("bad_ts") from None


def _item(row: dict[str, str]) -> dict[str, object]:
    """A catalogue row of a CSV as an object: typed fields, tags split at `|`; unknown columns stay text. Refuses other types."""
    item: dict[str, object] = dict(row)
    for field in ITEM_FIELDS:
        text = row.get(field.name, "").strip()
        if field.type == "strings":
            item[field.name] = [tag.strip() for tag in text.split("|") if tag.strip()]
        elif field.type == "number":
            item[field.name] = number(text) if text else None
        elif field.type == "boolean":
            if text.lower() not in _TRUE:
                raise Refusal("bad_flag")
            item[field.name] = _TRUE[text.lower()]
    return filled(**item)


def _convert(raw: Raw) -> Iterable[Outcome]:
    kind, value = raw.kind, raw.value
    if kind == "file":
        return []
    if kind == "night":
        return [Night(value)]
    if kind == "event_line":
        return [Event(*value)]
    if kind == "loose_line":
        return [Event(_received_on(value), value)]
    ds, row = value
    if kind in HISTORY_KINDS:
        return [Item(ds, row, kind)]
    if kind == "categories_row":
        return [Item(ds, filled(**row), "categories")]
    try:
        return [Item(ds, _item(row))]
    except Refusal:
        return [Item(ds, filled(**row))]


SOURCE = Source("canonical files: a folder in the landing layout, or loose JSON lines", _read, _convert, "partitioned")
