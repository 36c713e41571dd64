"""Segment: calls as its destinations deliver them, JSON lines of the ecommerce specification (V2).

Track calls become events, one for each product of an order; a call belongs to the day on which it was received. The user is userId, else
anonymousId; calls that carry both, and identify and alias calls, tell which anonymous id is whose. The catalogue is what the calls say of
their products, from the day of first sight, and again when a name, price, brand or category changed. A list that was shown is an
`impression`; page, screen and group calls, and track calls of other names, are `unknown_event_type`: both are expected.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from recsys_core.parse.event import NO_ITEM
from recsys_core.sources.base import Event, Identity, Outcome, Raw, Refusal, Source, on_night
from recsys_core.sources.products import ProductHistory
from recsys_core.sources.reading import data_files, filled, inner, json_records, known_id, money, negated, plain

EVENT_TYPE_OF = {
    "Product Viewed": "view",
    "Product Clicked": "click",
    "Products Searched": "search",
    "Product Added": "add_to_cart",
    "Product Added to Wishlist": "favorite",
    "Wishlist Product Added to Cart": "add_to_cart",
    "Product Shared": "share",
    "Order Completed": "purchase",
    "Order Refunded": "return",
    "Product Reviewed": "review",
}
IMPRESSIONS = ("Product List Viewed", "Product List Filtered")
PRODUCT_EVENTS = (*EVENT_TYPE_OF, *IMPRESSIONS)
ORDERS = ("purchase", "return")


def _read(path: Path) -> Iterator[Raw]:
    history = ProductHistory()
    for file in data_files(path, ".json", ".jsonl", ".gz"):
        for raw in json_records("call", file):
            if raw.kind == "call" and raw.value.get("event") in PRODUCT_EVENTS:
                _note_products(raw.value, history)
            yield raw
    for item in history.items():
        yield Raw("catalogue", item)


def _note_products(row: dict[str, Any], history: ProductHistory) -> None:
    try:
        ds = _received_on(row)
    except Refusal:
        return
    for product in _products(row):
        item_id = _item_id(product)
        if item_id:
            fields = filled(
                title=plain(product.get("name")),
                category=plain(product.get("category")),
                brand=plain(product.get("brand")),
                price=money(product.get("price")),
            )
            history.note(ds, item_id, fields)


def _products(row: dict[str, Any]) -> list[Any]:
    """The products that a call is about: those of its list, else what it says itself."""
    listed = inner(row, "properties", "products")
    return [p for p in listed if isinstance(p, dict)] if isinstance(listed, list) else [inner(row, "properties") or {}]


def _item_id(product: Any) -> str | None:
    return known_id(inner(product, "product_id"), NO_ITEM) or known_id(inner(product, "sku"), NO_ITEM)


def _received_on(row: dict[str, Any]) -> date:
    """The UTC day on which a call was received, else that of its own time."""
    for name in ("receivedAt", "timestamp", "originalTimestamp"):
        try:
            ts = datetime.fromisoformat(row[name])
            return (ts.astimezone(UTC) if ts.tzinfo else ts).date()
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
    raise Refusal("bad_ts")


def _convert(raw: Raw) -> Iterator[Outcome]:
    row = raw.value
    if raw.kind == "catalogue":
        yield row
        return
    if not isinstance(row.get("type"), str):
        raise Refusal("unknown_record")
    ds = _received_on(row)
    # A call that is no event may still tell who somebody is.
    pairs = _identities(row, ds)
    yield from pairs
    with on_night(ds):
        if not (pairs and row.get("type") in ("identify", "alias")):
            yield from _events(row, ds)


def _identities(row: dict[str, Any], ds: date) -> list[Identity]:
    """The pair of ids that a call tells; an alias call names the id before as previousId."""
    user = known_id(row.get("userId"))
    anonymous = known_id(row.get("previousId" if row.get("type") == "alias" else "anonymousId"))
    return [Identity(ds, anonymous, user)] if user and anonymous and user != anonymous else []


def _events(row: dict[str, Any], ds: date) -> list[Outcome]:
    name = row.get("event")
    if row.get("type") != "track" or not isinstance(name, str):
        raise Refusal("unknown_event_type")
    if name in IMPRESSIONS:
        raise Refusal("impression")
    if name not in EVENT_TYPE_OF:
        raise Refusal("unknown_event_type")
    kind = EVENT_TYPE_OF[name]
    listed = inner(row, "properties", "products")
    if kind not in ORDERS or not isinstance(listed, list) or not listed:
        return [Event(ds, _event(row, kind, inner(row, "properties"), row.get("messageId")))]
    found: list[Outcome] = []
    for n, product in enumerate(listed, 1):
        if isinstance(product, dict):
            message = known_id(row.get("messageId"))
            found.append(Event(ds, _event(row, kind, product, message and f"{message}-{n}")))
        else:
            found.append(Refusal("missing_required", ds))
    return found


def _event(row: dict[str, Any], kind: str, product: Any, event_id: Any) -> dict[str, Any]:
    """The landing line of a call about one product, or about none; values of wrong types are left to cleaning."""
    context, quantity = row.get("context"), inner(product, "quantity") if kind in ORDERS else None
    return filled(
        event_id=event_id,
        user_id=known_id(row.get("userId")) or known_id(row.get("anonymousId")),
        item_id=_item_id(product),
        event_type=kind,
        ts=row.get("timestamp") or row.get("originalTimestamp"),
        received_ts=row.get("receivedAt"),
        query=inner(product, "query") if kind == "search" else None,
        text=plain(inner(product, "review_body")) if kind == "review" else None,
        rating=inner(product, "rating") if kind == "review" else None,
        quantity=negated(quantity) if kind == "return" else quantity,
        price=inner(product, "price"),
        device=_device(context),
        region=inner(context, "location", "country"),
        lang=inner(context, "locale"),
        url=inner(context, "page", "url") or inner(product, "url"),
    )


def _device(context: Any) -> str | None:
    """The kind of device: as mobile libraries tell it, else whether the browser says that it is a mobile one."""
    told = inner(context, "device", "type")
    if isinstance(told, str) and told:
        return "mobile" if told.lower() in ("ios", "android") else told.lower()
    mobile = inner(context, "userAgentData", "mobile")
    return {True: "mobile", False: "desktop"}[mobile] if isinstance(mobile, bool) else None


SOURCE = Source(
    "Segment calls, ecommerce specification V2: JSON lines, a file or a folder",
    _read,
    _convert,
    "by_date",
    expected_reasons=("unknown_event_type", "impression"),
)
