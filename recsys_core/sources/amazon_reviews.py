"""Amazon reviews, editions 2018 and 2023: JSON lines of reviews and of product metadata as distributed, told apart record by record.

A time of edition 2018 is the midnight of a day, so the time within the day is made up (`day_precision`). Variants of one product
(edition 2023) share their parent's id. Exact duplicates of a review get the same event id, and so count once. The products are one
snapshot without history. Whether a purchase was verified is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from recsys_core.sources.base import Event, Item, Outcome, Raw, Refusal, Source, on_night
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

# Edition → its fields for time, title, text and stars.
REVIEW_FIELDS = {2018: ("unixReviewTime", "summary", "reviewText", "overall"), 2023: ("timestamp", "title", "text", "rating")}


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


def _review(row: dict[str, Any], ts: datetime, fields: tuple[str, ...]) -> Event:
    day_level = "reviewerID" in row
    user = required(row, "reviewerID" if day_level else "user_id")
    item = required(row, "parent_asin" if row.get("parent_asin") and not day_level else "asin")
    raw_ts, title, text, stars = (row.get(name) for name in fields)
    title, text, stars = plain(title), plain(text), number(stars)
    event_id = f"amazon-{digest(user, item, str(raw_ts), title, text)}"
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
        repairs=["day_precision"] if day_level else None,
    )
    return Event(ts.date(), event)


def _convert(raw: Raw) -> Iterable[Outcome]:
    row = raw.value
    fields = REVIEW_FIELDS[2018 if "reviewerID" in row else 2023]
    if "reviewerID" in row or "user_id" in row:
        ts = from_epoch(row.get(fields[0]))
        with on_night(ts.date()):
            return [_review(row, ts, fields)]
    if "asin" in row or "parent_asin" in row:
        return [_product(row)]
    raise Refusal("unknown_record")


SOURCE = Source("Amazon reviews 2018 or 2023: review and metadata JSON lines", _read, _convert, "snapshot")
