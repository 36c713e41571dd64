"""One row of the catalogue, cleaned and typed, or the reason why not; what its fields look like."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

from recsys_core.landing_schema import CATEGORY_FIELDS, ITEM_FIELDS, Field
from recsys_core.parse.drift import MAX_NEW_FIELDS, Declared, shown
from recsys_core.parse.rules import Fault
from recsys_core.parse.values import identifier, number, price, text
from recsys_core.texts import language_code

MAX_TAGS = 64
MAX_STOCK = 1e9
TRUE, FALSE = frozenset(("true", "1", "yes", "t", "y")), frozenset(("", "false", "0", "no", "f", "n"))

Clean = Callable[[Mapping[str, Any], list[str]], dict[str, Any]]


@dataclass(frozen=True)
class Kind:
    """A kind of catalogue row: the landing folder it comes in, the field that names it, that of its parent, and how it is cleaned."""

    folder: str
    key: str
    parent: str
    fields: tuple[Field, ...]
    clean: Clean

    @cached_property
    def declared(self) -> Declared:
        """The declared fields, for comparison with what comes."""
        return Declared(self.fields)

    def note_names(self, names: Iterable[str]) -> list[str]:
        """What is odd about names of fields: `case:<found>~<declared>` for one that stands for a declared one, else `new:<name>`."""
        found = []
        for name in sorted(set(names) - self.declared.types.keys()):
            meant = self.declared.meant(name)
            found.append(f"case:{shown(name)}~{meant}" if meant and meant not in names else f"new:{shown(name)}")
        return found

    def note_values(self, row: Mapping[str, Any], typed: bool) -> list[str]:
        """What is odd about a row's values: `null:<field>` without one, and when typed (CSV has texts only) `type:<field>`."""
        found = []
        for name in self.declared.types:
            value = row.get(name)
            if value is None or value == "":
                found.append(f"null:{name}")
            elif typed and self.declared.is_odd(name, value):
                found.append(f"type:{name}")
        return found


def counted(notes: Mapping[tuple[str, ...], int]) -> Counter[str]:
    """Counts of single notes; of names that are not declared MAX_NEW_FIELDS are told apart, the first by the alphabet."""
    found: Counter[str] = Counter()
    for several, n in notes.items():
        for note in several:
            found[note] += n
    for odd in sorted(n for n in found if n.startswith(("new:", "case:")))[MAX_NEW_FIELDS:]:
        found["new:(others)"] += found.pop(odd)
    return found


def item_row(raw: Mapping[str, Any], repairs: list[str]) -> dict[str, Any]:
    """A catalogue row cleaned and typed, columns of table item without its dates; Fault when it has no id or no use.

    A deleted item needs no title.
    """
    row = _converted(raw, _ITEM, repairs)
    begin, end = row["available_from_ds"], row["available_to_ds"]
    if begin and end and end < begin:
        raise Fault("bad_date", "available_to_ds")
    if row["title"] is None and not row["deleted"]:
        raise Fault("missing_required", "title")
    written = " ".join(t for t in (row["title"], row["description"]) if t)
    return row | {"lang": language_code(row["lang"], written) or "other"}


def category_row(raw: Mapping[str, Any], repairs: list[str]) -> dict[str, Any]:
    """A row of the category tree, columns of table category without its dates; Fault when it has no name."""
    return _converted(raw, _CATEGORY, repairs)


def _converted(raw: Mapping[str, Any], converters: Mapping[str, Callable[[Any, list[str]], Any]], repairs: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    name = ""
    try:
        for name, convert in converters.items():
            row[name] = convert(raw.get(name), repairs)
    except Fault as fault:
        raise Fault(fault.code, name) from None
    if raw.keys() - converters.keys():
        repairs.append("unknown_fields")
    return row


def _required(convert: Callable[[Any, list[str]], str | None]) -> Callable[[Any, list[str]], str]:
    def found(value: Any, repairs: list[str]) -> str:
        if not (name := convert(value, repairs)):
            raise Fault("missing_required")
        return name

    return found


def _identifier(value: Any, repairs: list[str]) -> str | None:
    return identifier(value, repairs) or None


def _flag(value: Any, repairs: list[str]) -> bool:
    word = str(value if value is not None else "").strip().lower()
    if word not in TRUE | FALSE:
        raise Fault("bad_flag")
    return word in TRUE


def _tags(value: Any, repairs: list[str]) -> list[str] | None:
    found = _names(value, repairs)
    if found is None:
        repairs.append("field_dropped")
    return (found or [])[:MAX_TAGS] or None


def _regions(value: Any, repairs: list[str]) -> list[str] | None:
    found = _names(value, repairs)
    if found is None:  # left out, the item would be shown everywhere
        raise Fault("bad_regions")
    return found or None


def _names(value: Any, repairs: list[str]) -> list[str] | None:
    """Texts of a JSON list, of one in a text (CSV), or of a text separated by '|', else by ','; each once, in order. None = no list."""
    if isinstance(value, str):
        stripped = value.strip()
        try:
            value = orjson.loads(stripped) if stripped.startswith("[") else stripped.split("|" if "|" in stripped else ",")
        except orjson.JSONDecodeError:
            value = stripped.strip("[]").split(",")
    if value is None:
        return []
    if not isinstance(value, Iterable) or isinstance(value, dict):
        return None
    return list(dict.fromkeys(t for v in value if isinstance(v, (str, int)) and not isinstance(v, bool) and (t := text(v, repairs))))


def _stock(value: Any, repairs: list[str]) -> int | None:
    found = number(value, repairs)
    if found is None:
        return None
    if abs(found) > MAX_STOCK:
        raise Fault("number_too_large")
    whole = max(math.ceil(found), 0)
    if whole != found:
        repairs.append("stock_mended")
    return whole


def _date(value: Any, _repairs: list[str]) -> dt.date | None:
    if value is None or value == "":
        return None
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", written := str(value).strip(), re.ASCII):
            return dt.date.fromisoformat(written)
    except ValueError:
        pass
    raise Fault("bad_date")


_ITEM: dict[str, Callable[[Any, list[str]], Any]] = {
    "item_id": _required(identifier),
    "title": text,
    "description": text,
    "tags": _tags,
    "category": text,
    "brand": text,
    "price": price,
    "lang": text,
    "parent_id": _identifier,
    "deleted": _flag,
    "stock": _stock,
    "regions": _regions,
    "available_from_ds": _date,
    "available_to_ds": _date,
}
_CATEGORY: dict[str, Callable[[Any, list[str]], Any]] = {"category": _required(text), "parent": text}

ITEMS = Kind("items", "item_id", "parent_id", ITEM_FIELDS, item_row)
CATEGORIES = Kind("categories", "category", "parent", CATEGORY_FIELDS, category_row)
