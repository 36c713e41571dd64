"""The canonical landing format, declared once: the fields of an event line and of the catalogue's lines.

`python -m recsys_core.landing_schema docs/` writes the JSON schemas.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from recsys_core.events import EVENT_TYPES

FieldType = Literal["string", "number", "boolean", "timestamp", "date", "strings"]


@dataclass(frozen=True)
class Field:
    """One field of a landing line.

    type      string, number, boolean, timestamp (ISO 8601 text or an epoch number), date (YYYY-MM-DD) or strings (a list of them)
    required  True if a line without a value is no good line
    values    the only values allowed; empty = any
    minimum, maximum  inclusive bounds of a number; None = unbounded
    max_length  longest allowed text in characters; None = unbounded
    """

    name: str
    type: FieldType
    meaning: str
    examples: tuple[Any, ...]
    required: bool = False
    values: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    max_length: int | None = None


MAX_ID_LENGTH = 256
MAX_TEXT_LENGTH = 1_000_000

EVENT_FIELDS: tuple[Field, ...] = (
    Field(
        "event_id",
        "string",
        "Unique id of the event; a repeated id is the same event delivered again.",
        ("e-20260102-17",),
        True,
        max_length=MAX_ID_LENGTH,
    ),
    Field(
        "user_id",
        "string",
        "Raw id of the acting user; it never leaves the landing zone and the restricted id map.",
        ("u42",),
        True,
        max_length=MAX_ID_LENGTH,
    ),
    Field("item_id", "string", "Id of the item acted on; only a search may have none.", ("i7",), max_length=MAX_ID_LENGTH),
    Field("event_type", "string", "What the user did.", ("view", "review"), True, tuple(EVENT_TYPES)),
    Field(
        "ts",
        "timestamp",
        "When it happened: ISO 8601 with offset, or epoch seconds, ms, µs or ns (told apart by magnitude). "
        "A time without offset is read in the zone that `_source.json` declares (`time_zone_of_naive_ts`).",
        ("2026-01-02T03:04:05Z", 1767323045),
        True,
    ),
    Field("received_ts", "timestamp", "When it reached the logs; its day is the landing partition.", ("2026-01-02T03:04:09Z",)),
    Field(
        "text", "string", "What the user wrote (review, comment, post), as plain text.", ("Great soundtrack.",), max_length=MAX_TEXT_LENGTH
    ),
    Field(
        "query",
        "string",
        "What the user searched for; required for a search without an item.",
        ("red bicycle",),
        max_length=MAX_TEXT_LENGTH,
    ),
    Field("rating", "number", "Rating on the 1–5 scale; 2 and less is low, 4 and more is high.", (4, 4.5), minimum=1, maximum=5),
    Field("quantity", "number", "Pieces bought; negative for a return only.", (2,)),
    Field("price", "number", "Price of one piece in the shop's currency.", (12.99,), minimum=0),
    Field("dwell_s", "number", "Time spent on the item in seconds.", (31.5,), minimum=0),
    Field("session_id", "string", "The shop's own session id, if it has one.", ("s-9",), max_length=MAX_ID_LENGTH),
    Field("device", "string", "Kind of device.", ("mobile", "desktop")),
    Field("region", "string", "Region of the user.", ("DE", "United Kingdom")),
    Field("lang", "string", "Language of the text or page, BCP 47.", ("en", "zh")),
    Field("url", "string", "Page on which it happened.", ("https://shop.example/i7",)),
    Field("repairs", "strings", "Codes of what the landing step itself made up or mended in this line.", (["day_precision"],)),
    Field(
        "fault",
        "string",
        "Code of why the landing step found that this is no event; the raw row stands beside it in `record`.",
        ("not_a_product",),
    ),
)

ITEM_FIELDS: tuple[Field, ...] = (
    Field("item_id", "string", "Id of the item.", ("i7",), True, max_length=MAX_ID_LENGTH),
    Field("title", "string", "Name of the item; a deleted item needs none.", ("Wooden train",), max_length=MAX_TEXT_LENGTH),
    Field("description", "string", "What the item is, as plain text.", ("A train of beech wood.",), max_length=MAX_TEXT_LENGTH),
    Field("tags", "strings", "Tags; in CSV one text, separated by `|`.", (["toys", "wood"],)),
    Field("category", "string", "Main category.", ("Toys",)),
    Field("brand", "string", "Brand, maker or author.", ("Hokus",)),
    Field("price", "number", "Price of one piece in the shop's currency.", (12.99,), minimum=0),
    Field("lang", "string", "Language of title and description, BCP 47.", ("en", "zh")),
    Field("parent_id", "string", "Id of the item that this one is a variant of.", ("i3",), max_length=MAX_ID_LENGTH),
    Field("deleted", "boolean", "True: not sold from this night on; what was known of the item stays.", (False,)),
    Field("stock", "number", "Pieces left; 0 = none, without a value nothing is known of it.", (12,), minimum=0),
    Field(
        "regions",
        "strings",
        "Where it may be shown, as `region` of events has it; without a value everywhere. In CSV one text, separated by `|`.",
        (["DE", "AT"],),
    ),
    Field("available_from_ds", "date", "First day on which it may be had.", ("2026-03-01",)),
    Field("available_to_ds", "date", "Last day on which it may be had.", ("2026-03-31",)),
)

CATEGORY_FIELDS: tuple[Field, ...] = (
    Field("category", "string", "Name of the category, as items have it.", ("Toys",), True, max_length=MAX_TEXT_LENGTH),
    Field("parent", "string", "The category above; none for a root.", ("Children",), max_length=MAX_TEXT_LENGTH),
)


# What stands beside `fault`; these names mean nothing on other lines.
FAULT_RECORD: dict[str, dict[str, Any]] = {
    "record": {"description": "The raw row, as an object or as its text.", "type": ["object", "string"]},
    "record_base64": {"description": "The bytes of a raw row that is no UTF-8 text.", "type": "string"},
}


def _property(field: Field) -> dict[str, Any]:
    """JSON schema of one field; an optional field may also be null."""
    json_types = {"timestamp": ["string", "number"], "date": ["string"], "strings": ["array"]}.get(field.type, [field.type])
    types = json_types if field.required else [*json_types, "null"]
    schema: dict[str, Any] = {
        "description": field.meaning,
        "type": types[0] if len(types) == 1 else types,
        "examples": list(field.examples),
    }
    if field.type == "strings":
        schema["items"] = {"type": "string"}
    if field.type == "date":
        schema["format"] = "date"
    if field.values:
        schema["enum"] = list(field.values)
    if field.required and "string" in json_types:
        schema["minLength"] = 1
    bounds = {"minimum": field.minimum, "maximum": field.maximum, "maxLength": field.max_length}
    return schema | {key: value for key, value in bounds.items() if value is not None}


def _schema(title: str, description: str, fields: tuple[Field, ...]) -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "description": description,
        "type": "object",
        "properties": {field.name: _property(field) for field in fields},
        "required": [field.name for field in fields if field.required],
        "additionalProperties": True,
    }


def _with_value(name: str) -> dict[str, Any]:
    return {"required": [name], "properties": {name: {"type": "string", "minLength": 1}}}


def _has_value(field: str, value: Any) -> dict[str, Any]:
    return {"required": [field], "properties": {field: {"const": value}}}


def event_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of one line of `<landing>/events/ds=YYYY-MM-DD/*.jsonl[.gz]`."""
    schema = _schema(
        "Landing event",
        "One line of <landing>/events/ds=YYYY-MM-DD/*.jsonl[.gz]. Unknown fields are kept apart, never dropped.",
        EVENT_FIELDS,
    )
    searched = {"anyOf": [_with_value("item_id"), _with_value("query")]}
    bought = {"properties": {"quantity": {"minimum": 0}}}
    schema["if"] = {"required": ["fault"], "properties": {"fault": {"type": "string"}}}
    schema["then"] = {"anyOf": [{"required": [name], "properties": {name: record}} for name, record in FAULT_RECORD.items()]}
    schema["else"] = {
        "required": schema.pop("required"),
        "allOf": [
            {"if": _has_value("event_type", "search"), "then": searched, "else": _with_value("item_id")},
            {"if": _has_value("event_type", "return"), "else": bought},
        ],
    }
    return schema


def item_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of one line of `<landing>/items/ds=YYYY-MM-DD/*.jsonl[.gz]` (CSV has the same columns)."""
    schema = _schema(
        "Landing item",
        "One line of <landing>/items/ds=YYYY-MM-DD/*.jsonl[.gz], or one row of *.csv there. "
        "The item as of a night is its newest row in any partition up to it.",
        ITEM_FIELDS,
    )
    schema["if"], schema["else"] = _has_value("deleted", True), _with_value("title")
    return schema


def category_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of one line of `<landing>/categories/ds=YYYY-MM-DD/*.jsonl[.gz]` (CSV has the same columns)."""
    return _schema(
        "Landing category",
        "One line of <landing>/categories/ds=YYYY-MM-DD/*.jsonl[.gz], or one row of *.csv there. The folder is optional: with it, "
        "an item's category is one of the tree or unknown. The category as of a night is its newest row in any partition up to it.",
        CATEGORY_FIELDS,
    )


def schema_files() -> dict[str, str]:
    """File name → content of the generated schema files."""
    schemas = {
        "landing-event.schema.json": event_schema(),
        "landing-item.schema.json": item_schema(),
        "landing-category.schema.json": category_schema(),
    }
    return {name: json.dumps(schema, indent=2, ensure_ascii=False) + "\n" for name, schema in schemas.items()}


def main(arguments: list[str]) -> int:
    """Write the schema files into the folder named; 2 if none is named."""
    if len(arguments) != 1:
        print("usage: python -m recsys_core.landing_schema FOLDER", file=sys.stderr)
        return 2
    for name, content in schema_files().items():
        (Path(arguments[0]) / name).write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
