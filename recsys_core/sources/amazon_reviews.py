"""Amazon reviews, editions 2018 and 2023: JSON lines of reviews and of product metadata as distributed, told apart record by record.

A time of edition 2018 is the midnight of a day, so the time within the day is made up (`day_precision`). Variants of one product
(edition 2023) share their parent's id. Exact duplicates of a review get the same event id, and so count once. The products are one
snapshot without history.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from recsys_core.sources.base import Event, Item, Outcome, Raw, Refusal, Source
from recsys_core.sources.reading import (
    DESCRIPTION_LENGTH,
    data_files,
    digest,
    filled,
    from_epoch,
    iso,
    json_records,
    money,
    names,
    number,
    plain,
    required,
    within_day,
)


def _read(path: Path) -> Iterator[Raw]:
    for file in data_files(path, ".json", ".jsonl"):
        yield from json_records("record", file)


def _product(row: dict[str, Any]) -> Item:
    path = names(row.get("main_category"), row.get("main_cat"), row.get("categories"), row.get("category"))
    item = filled(
        item_id=required(row, "parent_asin" if row.get("parent_asin") else "asin"),
        title=plain(required(row, "title")),
        description=plain(names(row.get("description"), row.get("features"), row.get("feature")), DESCRIPTION_LENGTH),
        tags=path[1:],
        category=path[0] if path else None,
        brand=plain(row.get("store") or row.get("brand")),
        price=money(row.get("price")),
        lang="en",
    )
    return Item(None, item)


def _review(row: dict[str, Any], user: str, item: str, raw_ts: Any, title: Any, text: Any, rating: Any, verified: Any) -> Event:
    ts = from_epoch(raw_ts)
    title, text = plain(title), plain(text)
    event_id = f"amazon-{digest(user, item, str(raw_ts), title, text)}"
    day_level = "reviewerID" in row
    stars = number(rating)
    if not 1 <= stars <= 5:
        raise Refusal("bad_rating")
    event = filled(
        event_id=event_id,
        user_id=user,
        item_id=item,
        event_type="review",
        ts=within_day(ts.date(), event_id) if day_level else iso(ts),
        rating=stars,
        text=f"{title}\n{text}".strip() if title != text else text,
        verified=verified if isinstance(verified, bool) else None,
        repairs=["day_precision"] if day_level else None,
    )
    return Event(ts.date(), event)


def _convert(raw: Raw) -> Iterable[Outcome]:
    row = raw[1]
    if "reviewerID" in row:
        fields = (row.get(name) for name in ("unixReviewTime", "summary", "reviewText", "overall", "verified"))
        return [_review(row, required(row, "reviewerID"), required(row, "asin"), *fields)]
    if "user_id" in row:
        fields = (row.get(name) for name in ("timestamp", "title", "text", "rating", "verified_purchase"))
        return [_review(row, required(row, "user_id"), required(row, "parent_asin" if row.get("parent_asin") else "asin"), *fields)]
    if "asin" in row or "parent_asin" in row:
        return [_product(row)]
    raise Refusal("unknown_record")


SOURCE = Source("Amazon reviews 2018 or 2023: review and metadata JSON lines", _read, _convert, "snapshot")
