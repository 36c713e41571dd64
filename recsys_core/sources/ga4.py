"""Google Analytics 4: the BigQuery export (tables events_YYYYMMDD) as JSON lines, a file or a folder of them.

A row becomes an event, or one for each of its items; it belongs to the UTC day of its event_timestamp. The export has no event id: a
digest of what identifies a row stands for it. The user is user_id, else user_pseudo_id; rows that have both tell whose pseudonym it is. The
catalogue is what the rows say of their items, from the day of first sight, and again when a name, price, brand or category changed.
Lists and promotions that were shown are an `impression`, rows without any id (no consent) `no_user`, and all other event names
`unknown_event_type`: all three are expected.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

from recsys_core.parse.event import NO_ITEM
from recsys_core.sources.base import Event, Identity, Outcome, Raw, Refusal, Source, on_night
from recsys_core.sources.products import ProductHistory
from recsys_core.sources.reading import (
    data_files,
    digest,
    filled,
    from_epoch,
    inner,
    iso,
    json_records,
    known_id,
    money,
    names,
    negated,
    plain,
)

EVENT_TYPE_OF = {
    "view_item": "view",
    "select_item": "click",
    "search": "search",
    "view_search_results": "search",
    "add_to_cart": "add_to_cart",
    "add_to_wishlist": "favorite",
    "share": "share",
    "purchase": "purchase",
    "refund": "return",
}
IMPRESSIONS = ("view_item_list", "view_promotion")
# What the export writes where there is no value.
NO_VALUES = frozenset(("(not set)", "(not provided)", "(none)", "(data not available)", "(data deleted)", "<Other>"))
CATEGORIES = ("item_category2", "item_category3", "item_category4", "item_category5")
# With the item, what tells two rows of the export apart.
ROW_ID = ("user_pseudo_id", "event_timestamp", "event_name", "event_bundle_sequence_id", "batch_page_id", "batch_event_index", "stream_id")
_TABLE = re.compile(r"events_(?:intraday_)?(\d{8})")


def _read(path: Path) -> Iterator[Raw]:
    history = ProductHistory()
    for file in data_files(path, ".json", ".jsonl", ".gz"):
        table = _TABLE.search(file.name)
        for raw in json_records("row", file, _date(table[1]) if table else None):
            if raw.kind == "row":
                _note_items(raw.value, history)
            yield raw
    for item in history.items():
        yield Raw("catalogue", item)


def _date(text: Any) -> date | None:
    """The date of a text YYYYMMDD, None if it is none."""
    try:
        return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007 - the day of the property's own zone
    except (TypeError, ValueError):
        return None


def _note_items(row: dict[str, Any], history: ProductHistory) -> None:
    try:
        ds = from_epoch(row.get("event_timestamp")).date()
    except Refusal:
        return
    for item in _items(row):
        if item_id := known_id(_value(item, "item_id"), NO_ITEM):
            fields = filled(
                title=plain(_value(item, "item_name")),
                tags=names(*(_value(item, name) for name in CATEGORIES)),
                category=plain(_value(item, "item_category")),
                brand=plain(_value(item, "item_brand")),
                price=money(_number(_value(item, "price"))),
            )
            history.note(ds, item_id, fields)


def _items(row: dict[str, Any]) -> list[Any]:
    return [item for item in row["items"] if isinstance(item, dict)] if isinstance(row.get("items"), list) else []


def _value(row: Any, *path: str) -> Any:
    """The value at a path of nested records; None for what the export writes where there is none."""
    value = inner(row, *path)
    return None if isinstance(value, str) and value in NO_VALUES else value


def _number(value: Any) -> Any:
    """BigQuery writes 64-bit integers as texts; what is no such text stays as it is."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?\d{1,19}", value, re.ASCII) else value


def _parameter(row: dict[str, Any], key: str) -> Any:
    """The value of an event parameter, whichever of its four types it has."""
    parameters = row.get("event_params")
    for entry in parameters if isinstance(parameters, list) else []:
        if inner(entry, "key") == key:
            typed = (_value(entry, "value", name) for name in ("string_value", "int_value", "float_value", "double_value"))
            return next((value for value in typed if value is not None), None)
    return None


def _convert(raw: Raw) -> Iterator[Outcome]:
    row = raw.value
    if raw.kind == "catalogue":
        yield row
        return
    if not isinstance(row.get("event_name"), str):
        raise Refusal("unknown_record")
    try:
        ts = from_epoch(row.get("event_timestamp"))
    except Refusal as refusal:
        raise Refusal(refusal.reason, _date(row.get("event_date"))) from None
    # A row that is no event may still tell who somebody is.
    user, pseudonym = known_id(_value(row, "user_id")), known_id(_value(row, "user_pseudo_id"))
    if user and pseudonym and user != pseudonym:
        yield Identity(ts.date(), pseudonym, user)
    with on_night(ts.date()):
        yield from _events(row, ts)


def _events(row: dict[str, Any], ts: datetime) -> list[Outcome]:
    name = row["event_name"]
    if name in IMPRESSIONS:
        raise Refusal("impression")
    if name not in EVENT_TYPE_OF:
        raise Refusal("unknown_event_type")
    kind = EVENT_TYPE_OF[name]
    items = [] if kind == "search" else _items(row)
    # A share names its item among the parameters.
    about = items or [{"item_id": _parameter(row, "item_id")} if kind != "search" else {}]
    return [Event(ts.date(), _event(row, kind, ts, n, item)) for n, item in enumerate(about)]


def _event(row: dict[str, Any], kind: str, ts: datetime, n: int, item: dict[str, Any]) -> dict[str, Any]:
    """The landing line of a row about one item, or about none; values of wrong types are left to cleaning."""
    item_id, query = known_id(_value(item, "item_id"), NO_ITEM), _parameter(row, "search_term") if kind == "search" else None
    pseudonym, session = known_id(_value(row, "user_pseudo_id")), _parameter(row, "ga_session_id")
    quantity = _number(_value(item, "quantity")) if kind in ("purchase", "return") else None
    identifying = (*(row.get(name) for name in ROW_ID), _value(row, "ecommerce", "transaction_id"), query, n, item_id)
    return filled(
        event_id=f"ga4-{digest(*(str(part) for part in identifying))}",
        user_id=known_id(_value(row, "user_id")) or pseudonym,
        item_id=item_id,
        event_type=kind,
        ts=iso(ts),
        query=query,
        quantity=negated(quantity) if kind == "return" else quantity,
        price=_number(_value(item, "price")),
        # Sessions are numbered within a user; a digest, because the pseudonym stays in the landing zone.
        session_id=digest(pseudonym, str(session)) if pseudonym and session is not None else None,
        device=_value(row, "device", "category"),
        region=_value(row, "geo", "country"),
        lang=_value(row, "device", "language"),
        url=_parameter(row, "page_location"),
    )


SOURCE = Source(
    "Google Analytics 4: the BigQuery export as JSON lines, a file or a folder",
    _read,
    _convert,
    "by_date",
    expected_reasons=("unknown_event_type", "impression", "no_user"),
)
