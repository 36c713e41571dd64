"""A mapping file: a site's TOML that says which columns of its own files are which fields of the landing format."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from recsys_core import toml_file
from recsys_core.landing_schema import EVENT_FIELDS, ITEM_FIELDS, Field
from recsys_core.parse.rules import RULES
from recsys_core.sources.base import SourceError
from recsys_core.sources.products import FIELDS as SEEN_IN_EVENTS

# Landing writes these itself.
FIELDS: dict[str, dict[str, Field]] = {
    "events": {f.name: f for f in EVENT_FIELDS if f.name not in ("repairs", "fault")},
    "items": {f.name: f for f in ITEM_FIELDS},
}
_REMEDY = 'write [events], and below it user_id = "YOUR COLUMN" and the like: docs/bring-your-own-logs.md'
# A time by which formats are tried out, and the directives of a format that say more than a day.
_SAMPLE = datetime(2001, 2, 3, 16, 5, 6, 789_000, tzinfo=UTC)
_TIME_OF_DAY = ("%H", "%I", "%c", "%X", "%s")


@dataclass(frozen=True)
class Column:
    """Where a field's value comes from.

    columns    names of columns, of JSON keys or of paths of keys (`user.id`); the values of several are joined by `separator`
    constant   the same value on all rows; then there are no columns
    separator  between joined values; a single column of a list of texts is split by it
    values     (pattern as of file names, what it stands for), of which the first that fits counts; () = values as they are
    format     how a time or date is written, as of strptime; None = ISO 8601, or an epoch
    """

    columns: tuple[str, ...] = ()
    constant: Any = None
    separator: str = ""
    values: tuple[tuple[str, str], ...] = ()
    format: str | None = None

    @property
    def by_day(self) -> bool:
        """Whether the format tells the day alone."""
        return self.format is not None and not any(part in self.format for part in _TIME_OF_DAY)


@dataclass(frozen=True)
class Table:
    """Fields of one kind of landing lines; `files` is the pattern of the files they come from, None = of those of the events, or all."""

    fields: dict[str, Column]
    files: str | None = None


@dataclass(frozen=True)
class Mapping:
    """How a site's files are to be read.

    refuse  (code of RULES, what columns look like in rows refused under it: all of them)
    items   None = nothing is known of items
    """

    events: Table | None
    items: Table | None
    name: str = "mapped"
    time_zone: str | None = None
    format: str | None = None
    encoding: str = "utf-8"
    delimiter: str = ","
    decimal: str = "."
    empty: frozenset[str] = frozenset()
    expected_reasons: tuple[str, ...] = ()
    refuse: tuple[tuple[str, tuple[tuple[str, tuple[str, ...]], ...]], ...] = field(default=())

    def columns(self, table: Table) -> list[str]:
        """Names of all columns that rows of a table are asked for."""
        rules = [column for _, looks in self.refuse for column, _ in looks] if table is self.events else []
        seen = [c for t in self.tables_of(table) for column in t.fields.values() for c in column.columns]
        return list(dict.fromkeys([*seen, *rules]))

    def tables_of(self, table: Table) -> list[Table]:
        """The tables that rows of a file are read by: those of events often say what the items are, too."""
        return [table, self.items] if table is self.events and self.items and not self.items.files else [table]


def mapping(text: str, name: str) -> Mapping:
    """The mapping that the TOML file `name` describes; SourceError names all its faults, each with its line.

    >>> found = mapping('[events]\\nuser_id = "Customer"\\nitem_id = "Sku"\\nevent_type = { value = "view" }\\nts = "At"', "shop.toml")
    >>> found.events.fields["user_id"].columns
    ('Customer',)
    """
    given = toml_file.checked(text, name, _REMEDY, _faults, SourceError)
    events, items = (_table(given[kind]) if kind in given else None for kind in FIELDS)
    if events and items and not items.files and "item_id" not in items.fields and "item_id" in events.fields:
        items.fields["item_id"] = events.fields["item_id"]
    looks = given.get("refuse", {}).items()
    return Mapping(
        events,
        items,
        **{key: given[key] for key in ("name", "time_zone", "format", "encoding", "delimiter", "decimal") if key in given},
        empty=frozenset(given.get("empty", ())),
        expected_reasons=tuple(given.get("expected_reasons", ())),
        refuse=tuple((code, tuple((column, _many(patterns)) for column, patterns in columns.items())) for code, columns in looks),
    )


def _table(given: dict[str, Any]) -> Table:
    return Table({name: _column(value) for name, value in given.items() if name != "files"}, given.get("files"))


def _column(given: str | dict[str, Any]) -> Column:
    if isinstance(given, str):
        return Column((given,))
    named = given.get("columns", given.get("column", ()))
    return Column(_many(named), given.get("value"), given.get("separator", ""), tuple(given.get("values", {}).items()), given.get("format"))


def _many(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


# -- faults ------------------------------------------------------------------------------------------------------------------------
def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _zone(value: Any) -> bool:
    try:
        return _text(value) and bool(ZoneInfo(value))
    except (KeyError, ValueError, OSError):
        return False


def _encoding(value: Any) -> bool:
    """Whether it is the name of an encoding of texts in which a line ends with the byte of a line end."""
    try:
        return _text(value) and codecs.lookup(value).name != "" and "a\n".encode(value) == b"a\n"
    except (LookupError, ValueError):
        return False


def _patterns(value: Any) -> bool:
    return _text(value) or (_texts(value) and bool(value))


# Key → (what a value has to be, what to give).
_Rule = tuple[Callable[[Any], bool], str]
_TOP: dict[str, _Rule] = {
    "name": (lambda v: _text(v) and v.isprintable() and len(v) <= 64, 'a name of whose logs these are, like "gift-shop"'),
    "time_zone": (_zone, 'the zone of times that say none, like "Europe/London"'),
    "format": (lambda v: v in ("csv", "jsonl"), '"csv" or "jsonl"'),
    "encoding": (_encoding, 'an encoding like "utf-8", "cp1252" or "gb18030"; save files of UTF-16 as UTF-8'),
    "delimiter": (lambda v: _text(v) and len(v) == 1 and v not in '"\r\n\0', 'one character, like ";" or "\\t"'),
    "decimal": (lambda v: v in (".", ","), '"." or ","'),
    "empty": (_texts, 'texts that stand for nothing, like ["NULL", "-"]'),
    "expected_reasons": (
        lambda v: _texts(v) and all(RULES.get(code, ("",))[0] == "quarantined" for code in v),
        'codes under which rows may be refused, like ["no_user"]: docs/ingest.md',
    ),
}
_COLUMN: dict[str, _Rule] = {
    "column": (_text, "the name of a column in quotes"),
    "columns": (lambda v: _texts(v) and bool(v) and all(v), "names of columns in quotes"),
    "value": (lambda v: isinstance(v, str | int | float | bool) or _texts(v), "the value of all rows"),
    "separator": (_text, 'a text, like "-"'),
    "values": (
        lambda v: isinstance(v, dict) and bool(v) and all(isinstance(each, str) for each in v.values()),
        'what each value stands for, like { "buy*" = "purchase", "*" = "view" }',
    ),
    "format": (lambda v: _text(v) and _tried(v), 'a format of strptime like "%d/%m/%Y %H:%M"'),
}
# Without these no line of the kind is good.
_NEEDED = {"events": ("user_id", "event_type", "ts"), "items": ("item_id", "title")}
Faults = Iterator[tuple[tuple[str, ...], str]]


def _tried(form: str) -> bool:
    try:
        return datetime.strptime(_SAMPLE.strftime(form), form).year == 2001  # noqa: DTZ007 - tried, not used
    except (ValueError, OverflowError):
        return False


def _value_faults(path: tuple[str, ...], value: Any, rule: _Rule) -> Faults:
    right, wanted = rule
    if not right(value):
        yield path, f"{'.'.join(path)} is {json.dumps(value, default=str, ensure_ascii=False)[:60]}: give {wanted}"


def _faults(given: dict[str, Any]) -> Faults:
    """(path of a key, what is wrong with it and what to write instead)"""
    tables = ("events", "items", "refuse")
    if not given.keys() & FIELDS.keys():
        yield (), f"nothing says what the columns are: {_REMEDY}"
    for key, value in given.items():
        if key in _TOP:
            yield from _value_faults((key,), value, _TOP[key])
        elif key not in tables:
            yield (key,), f"there is no key {key!r}; {toml_file.nearest(key, (*_TOP, *tables))}"
        elif not isinstance(value, dict):
            yield (key,), f"{key} is no table: write [{key}] on a line of its own, and its keys below"
        elif key == "refuse":
            yield from _refuse_faults(value)
        else:
            yield from _table_faults(key, value, given)
    if given.get("format") == "jsonl" and str(given.get("encoding", "utf-8")).lower().replace("_", "-") not in ("utf-8", "utf8"):
        yield ("encoding",), "encoding: JSON lines are UTF-8; leave this out"


def _refuse_faults(given: dict[str, Any]) -> Faults:
    for code, columns in given.items():
        if RULES.get(code, ("",))[0] != "quarantined":
            known = [name for name, (verdict, _) in RULES.items() if verdict == "quarantined"]
            yield ("refuse", code), f"[refuse.{code}] is no code of docs/ingest.md; {toml_file.nearest(code, known).split('?')[0]}?"
        if not isinstance(columns, dict) or not columns or not all(_patterns(value) for value in columns.values()):
            yield ("refuse", code), f'[refuse.{code}]: give columns and what they look like, like StockCode = ["POST", "GIFT_*"]'


def _table_faults(kind: str, given: dict[str, Any], whole: dict[str, Any]) -> Faults:
    known = FIELDS[kind]
    beside = kind == "items" and "files" not in given
    for name, value in given.items():
        if name == "files":
            yield from _value_faults((kind, name), value, (_text, 'a pattern of file names, like "orders-*.csv"'))
        elif name not in known:
            yield (kind, name), f"[{kind}] has no field {name!r}; {toml_file.nearest(name, ('files', *known))}"
        elif beside and name not in ("item_id", *SEEN_IN_EVENTS):
            yield (
                (kind, name),
                f"[items] {name}: rows of events tell {', '.join(SEEN_IN_EVENTS)} alone; give items files of their own (files = …)",
            )
        else:
            yield from _column_faults((kind, name), value, known[name])
    events = whole.get("events")
    needed = [n for n in _NEEDED[kind] if not (beside and n == "item_id" and isinstance(events, dict) and "item_id" in events)]
    if missing := [name for name in needed if name not in given]:
        yield (kind,), f'[{kind}] lacks {" and ".join(missing)}: write {missing[0]} = "YOUR COLUMN"'
    if beside and not isinstance(events, dict):
        yield (kind,), "[items] without [events] needs files of its own: write files = …"
    if kind == "events" and not given.keys() & {"item_id", "query"}:
        yield (kind,), '[events] lacks what was acted on: write item_id = "YOUR COLUMN", for searches query = …'


def _column_faults(path: tuple[str, str], given: Any, known: Field) -> Faults:
    place = f"[{path[0]}] {path[1]}"
    if isinstance(given, str) and given:
        return
    if not isinstance(given, dict):
        yield path, f'{place}: give the name of a column in quotes, or {{ columns = ["A", "B"], separator = "-" }}, or {{ value = … }}'
        return
    for key, value in given.items():
        if key not in _COLUMN:
            yield (*path, key), f"{place} has no key {key!r}; {toml_file.nearest(key, tuple(_COLUMN))}"
        else:
            yield from (
                (at, f"[{path[0]}] {what.removeprefix(path[0] + '.')}") for at, what in _value_faults((*path, key), value, _COLUMN[key])
            )
    if sum(key in given for key in ("column", "columns", "value")) != 1:
        yield path, f"{place}: give one of column, columns and value"
    if isinstance(named := given.get("columns"), list) and len(named) > 1 and "separator" not in given and known.type != "strings":
        yield path, f'{place}: say what stands between the columns: separator = "-" (one that no value holds, or different rows get one id)'
    if "format" in given and known.type not in ("timestamp", "date"):
        yield (*path, "format"), f"{place} is no time: leave out format"
    if known.values:
        meant = given["values"].values() if isinstance(given.get("values"), dict) else [given["value"]] if "value" in given else []
        for value in meant:
            if value not in known.values:
                near = toml_file.nearest(value, known.values) if isinstance(value, str) else f"there are {', '.join(known.values)}"
                yield path, f"{place} has no value {json.dumps(value, default=str, ensure_ascii=False)}; {near}"
