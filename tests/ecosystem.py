"""Rows of Segment and of Google Analytics 4 in the form of their published examples, one literal row a case."""

from __future__ import annotations

from typing import Any

MONOPOLY, UNO = "507f1f77bcf86cd799439011", "505bd76785ebb509fc183733"


def _call(number: int, time: str, **fields: Any) -> dict[str, Any]:
    """A call with the envelope that Segment's libraries and servers put around it."""
    return {
        "anonymousId": "23adfd82-aa0f-45a7-a756-24f2a7a4c895",
        "channel": "client",
        "context": {
            "ip": "108.0.78.21",
            "library": {"name": "analytics.js", "version": "2.11.1"},
            "locale": "en-US",
            "location": {"city": "San Francisco", "country": "United States"},
            "page": {"path": "/games", "referrer": "", "search": "", "title": "Games", "url": "https://www.example.com/games"},
            "userAgent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_9_5) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/47.0.2526.80",
            "userAgentData": {"brands": [{"brand": "Google Chrome", "version": "113"}], "mobile": False, "platform": "macOS"},
        },
        "integrations": {},
        "messageId": f"ajs-{number}",
        "originalTimestamp": f"{time}.249Z",
        "receivedAt": f"{time}.266Z",
        "sentAt": f"{time}.250Z",
        "timestamp": f"{time}.249Z",
        "type": "track",
        "userId": None,
        "version": 2,
    } | fields


_MONOPOLY = {
    "product_id": MONOPOLY,
    "sku": "45790-32",
    "name": "Monopoly: 3rd Edition",
    "price": 19,
    "quantity": 1,
    "category": "Games",
    "url": "https://www.example.com/product/path",
    "image_url": "https://www.example.com/product/path.jpg",
}
_UNO = {"product_id": UNO, "sku": "46493-32", "name": "UNO Card Game", "price": 3, "quantity": 2, "category": "Games"}
_VIEWED = {
    "product_id": MONOPOLY,
    "sku": "G-32",
    "category": "Games",
    "name": "Monopoly: 3rd Edition",
    "brand": "Hasbro",
    "variant": "200 pieces",
    "price": 18.99,
    "quantity": 1,
    "coupon": "MAYDEALS",
    "currency": "usd",
    "position": 3,
    "value": 18.99,
    "url": "https://www.example.com/product/path",
    "image_url": "https://www.example.com/product/path.jpg",
}
_ORDER = {
    "checkout_id": "fksdjfsdjfisjf9sdfjsd9f",
    "order_id": "50314b8e9bcf000000000000",
    "affiliation": "Google Store",
    "total": 27.5,
    "subtotal": 22.5,
    "revenue": 25.0,
    "shipping": 3,
    "tax": 2,
    "discount": 2.5,
    "coupon": "hasbros",
    "currency": "USD",
    "products": [_MONOPOLY, _UNO],
}
_KNOWN = {"userId": "AiUGstSDIg"}

SEGMENT: tuple[dict[str, Any], ...] = (
    _call(1, "2026-01-02T19:11:01", event="Product Viewed", properties=_VIEWED),
    _call(2, "2026-01-02T19:12:01", event="Products Searched", properties={"query": "blue roses"}),
    _call(3, "2026-01-02T19:13:01", event="Product Clicked", properties={"sku": "G-33", "name": "Cluedo"}),
    _call(4, "2026-01-02T19:14:01", event="Product Added", properties={**_VIEWED, "cart_id": "skdjsidjsdkdj29j"}, **_KNOWN),
    _call(
        5,
        "2026-01-02T19:15:01",
        event="Product List Viewed",
        properties={"list_id": "hot_deals_1", "category": "Deals", "products": [{**_UNO, "position": 1}]},
    ),
    _call(6, "2026-01-02T19:16:01", type="page", name="Home", properties={"title": "Welcome | Initech", "url": "http://www.initech.com"}),
    _call(7, "2026-01-03T00:00:01", event="Order Completed", properties=_ORDER, **_KNOWN) | {"timestamp": "2026-01-02T23:59:58.249Z"},
    _call(
        8,
        "2026-01-03T10:00:01",
        event="Order Refunded",
        properties={"order_id": "50314b8e9bcf000000000000", "total": 38, "currency": "USD", "products": [_UNO]},
        **_KNOWN,
    ),
    _call(
        9,
        "2026-01-03T10:01:01",
        event="Product Reviewed",
        properties={"product_id": UNO, "review_id": "kdfjrj39fj39jf3", "review_body": "I love this product &amp; the box", "rating": 5},
        **_KNOWN,
    ),
    _call(10, "2026-01-03T10:02:01", event="Product Added to Wishlist", properties={"wishlist_id": "skdjsidjsdkdj29j", **_MONOPOLY}),
    _call(
        11,
        "2026-01-03T10:03:01",
        event="Product Shared",
        properties={"share_via": "email", "share_message": "Hey, check out this item", "recipient": "friend@example.com", **_MONOPOLY},
    ),
    _call(12, "2026-01-03T10:04:01", type="alias", previousId="39239-239239-239239-23923", anonymousId=None, **_KNOWN),
    _call(13, "2026-01-03T10:05:01", type="identify", traits={"name": "Peter Gibbons", "plan": "premium"}, **_KNOWN),
    _call(14, "2026-01-03T10:06:01", event="Course Clicked", properties={"title": "Intro to Analytics"}),
)


def _item(item_id: str, name: str, price: float, **fields: Any) -> dict[str, Any]:
    """An element of items[] as the export writes it."""
    return {
        "item_id": item_id,
        "item_name": name,
        "item_brand": "Google",
        "item_variant": "(not set)",
        "item_category": "Apparel",
        "item_category2": "Adult",
        "item_category3": "(not set)",
        "item_category4": "(not set)",
        "item_category5": "(not set)",
        "price_in_usd": price,
        "price": price,
        "quantity": None,
        "item_revenue_in_usd": None,
        "coupon": "(not set)",
        "item_list_id": "(not set)",
        "item_list_index": "(not set)",
        "promotion_id": "(not set)",
    } | fields


def _row(number: int, name: str, parameters: dict[str, Any] | None = None, day: int = 3, **fields: Any) -> dict[str, Any]:
    """A row of the export; 64-bit integers are texts."""
    given = {"ga_session_id": 661084800, "page_location": "https://shop.googlemerchandisestore.com/"} | (parameters or {})
    typed = {
        key: {"string_value": None if isinstance(v, int) else v, "int_value": str(v) if isinstance(v, int) else None}
        | {"float_value": None, "double_value": None}
        for key, v in given.items()
    }
    return {
        "event_date": f"2026010{day}",
        "event_timestamp": str(1767225600000000 + (day - 1) * 86_400_000_000 + number * 1_000_593),
        "event_name": name,
        "event_params": [{"key": key, "value": value} for key, value in typed.items()],
        "event_previous_timestamp": None,
        "event_bundle_sequence_id": "6595101026",
        "batch_event_index": str(number),
        "batch_page_id": "1767398400",
        "user_id": None,
        "user_pseudo_id": "1026454.4271112504",
        "privacy_info": {"analytics_storage": "Yes", "ads_storage": "Yes", "uses_transient_token": "No"},
        "user_properties": [],
        "user_first_touch_timestamp": "1767398400000000",
        "device": {"category": "mobile", "mobile_brand_name": "Apple", "operating_system": "(not set)", "language": "en-us"},
        "geo": {"continent": "Americas", "country": "United States", "region": "California", "metro": "(not set)"},
        "traffic_source": {"medium": "organic", "name": "(organic)", "source": "google"},
        "stream_id": "2100450278",
        "platform": "WEB",
        "ecommerce": {"total_item_quantity": None, "transaction_id": "(not set)"},
        "items": [],
    } | fields


_TEE, _CAP = _item("GGOEGAAX0105", "Google Tee White", 18.0), _item("GGOEGCBQ016499", "Google Cap Black", 12.5)

GA4: tuple[dict[str, Any], ...] = (
    _row(1, "page_view"),
    _row(2, "login", {"method": "Google"}, user_id="u-1"),
    _row(3, "view_item_list", items=[_TEE, _CAP]),
    _row(4, "view_item", items=[_TEE]),
    _row(5, "select_item", items=[_CAP]),
    _row(6, "search", {"search_term": "google tee"}),
    _row(7, "view_search_results", {"search_term": "T恤"}, items=[_TEE]),
    _row(8, "add_to_cart", items=[{**_TEE, "quantity": "1"}]),
    _row(9, "add_to_wishlist", items=[_CAP]),
    _row(10, "share", {"method": "Twitter", "content_type": "image", "item_id": "GGOEGAAX0105"}),
    _row(
        11,
        "purchase",
        {"currency": "USD", "value": 48},
        user_id="u-1",
        ecommerce={"total_item_quantity": "3", "purchase_revenue": 48.5, "transaction_id": "T_12345"},
        items=[{**_TEE, "quantity": "2"}, {**_CAP, "quantity": 1}],
    ),
    _row(12, "refund", day=4, user_id="u-1", ecommerce={"transaction_id": "T_12345"}, items=[{**_TEE, "price": 20.0, "quantity": "2"}]),
    _row(13, "view_item", day=4, user_pseudo_id=None, items=[_CAP]),
    _row(14, "view_item", event_timestamp=None, items=[_TEE]),
)
