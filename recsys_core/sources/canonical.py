"""Files that are canonical already: a folder in the landing layout, or loose files.

In the layout (`events/ds=…`, `items/ds=…`) every line keeps its night and its bytes, good or bad, because cleaning has the rules for
both. Loose event files (`*.jsonl[.gz]`) go to the night of `received_ts`, else `ts`, so a line without either is refused;
`items*.jsonl[.gz]` and `*.csv` are the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import orjson

from recsys_core.landing_schema import ITEM_FIELDS
from recsys_core.sources.base import Event, Item, Night, Outcome, Raw, Refusal, Source, SourceError
from recsys_core.sources.reading import csv_rows, data_files, decoded, filled, from_epoch, lines, number, records

_TRUE = {"true": True, "1": True, "false": False, "0": False, "": None}


def _partitions(folder: Path) -> Iterator[tuple[date, list[Path]]]:
    for partition in sorted(folder.glob("ds=*")):
        try:
            ds = date.fromisoformat(partition.name.removeprefix("ds="))
        except ValueError:
            raise SourceError(f"{partition}: the folder of a night is called ds=YYYY-MM-DD") from None
        files = any(p.name[0] not in "._" for p in partition.iterdir())
        yield ds, data_files(partition, ".jsonl", ".csv") if files else []


def _catalogue(ds: date | None, path: Path) -> Iterator[Raw]:
    if ".csv" in path.suffixes:
        rows = records("item_row", csv_rows(decoded(path), str(path), ("item_id", "title")))
        yield from ((kind, (ds, row)) if kind == "item_row" else (kind, row) for kind, row in rows)
    else:
        yield from (("item_line", (ds, line)) for line in lines(path))


def _read(path: Path) -> Iterator[Raw]:
    if path.is_dir() and any((path / kind).is_dir() for kind in ("events", "items")):
        for ds, files in _partitions(path / "events"):
            yield "night", ds
            for file in files:
                yield from (("event_line", (ds, line)) for line in lines(file))
        for ds, files in _partitions(path / "items"):
            for file in files:
                yield from _catalogue(ds, file)
        return
    for file in data_files(path, ".jsonl", ".csv"):
        if ".csv" in file.suffixes or file.name.startswith("items"):
            yield from _catalogue(None, file)
        else:
            yield from (("loose_line", line) for line in lines(file) if line.strip())


def _received_on(line: bytes) -> date:
    """The UTC day of a line's received_ts, else ts; a time without offset counts as it stands."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise Refusal("json_syntax") from None
    if not isinstance(row, dict):
        raise Refusal("not_object")
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
    """A catalogue row of a CSV as an object: typed fields, tags split at `|`; unknown columns stay text."""
    item: dict[str, object] = dict(row)
    for field in ITEM_FIELDS:
        text = row.get(field.name, "").strip()
        if field.type == "strings":
            item[field.name] = [tag.strip() for tag in text.split("|") if tag.strip()]
        elif field.type == "number":
            item[field.name] = number(text) if text else None
        elif field.type == "boolean":
            if text.lower() not in _TRUE:
                raise Refusal("bad_boolean")
            item[field.name] = _TRUE[text.lower()]
        elif text == "" and field.required:
            raise Refusal("missing_required")
    return filled(**item)


def _convert(raw: Raw) -> Iterable[Outcome]:
    kind, value = raw
    if kind == "night":
        return [Night(value)]
    if kind == "event_line":
        return [Event(*value)]
    if kind == "item_line":
        return [Item(*value)]
    if kind == "item_row":
        return [Item(value[0], _item(value[1]))]
    return [Event(_received_on(value), value)]


SOURCE = Source("canonical files: a folder in the landing layout, or loose JSON lines", _read, _convert, "partitioned")
