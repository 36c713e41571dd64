"""Steam reviews: `[prefix]events.csv[.gz]` (one dated review a row) and `[prefix]items.jsonl[.gz]` (the games).

The dates are days: the time within the day is made up (`day_precision`). A recommendation is a review rated 5, its opposite one rated 1.
The games are one snapshot without history, so they land on the first landed night; they have no description. How many found a review
helpful or funny, and whether its year was imputed, is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

from recsys_core.sources.base import Event, Item, Outcome, Raw, Refusal, Source, on_night
from recsys_core.sources.reading import (
    csv_records,
    day,
    decoded,
    filled,
    find_pair,
    json_records,
    money,
    names,
    plain,
    required,
    within_day,
)

RATINGS = {"review_recommend": 5, "review_not_recommend": 1}
COLUMNS = ("event_id", "event_date", "user_id", "item_id", "event_type", "review")


def _read(path: Path) -> Iterator[Raw]:
    events, items = find_pair(path)
    yield from csv_records("event", decoded(events), str(events), COLUMNS, _night)
    if items is not None:
        yield from json_records("item", items)


def _night(row: dict[str, str]) -> date:
    return day(row["event_date"])


def _price(value: Any) -> float | None:
    """0 for the many ways to say free, None for what is no price ("Third-party")."""
    return 0.0 if isinstance(value, str) and "free" in value.lower() else money(value)


def _convert(raw: Raw) -> Iterable[Outcome]:
    row = raw.value
    if raw.kind == "item":
        genres = names(row.get("genres"))
        item = filled(
            item_id=required(row, "item_id"),
            title=plain(required(row, "title")),
            tags=names(row.get("tags"), genres),
            category=genres[0] if genres else None,
            brand=plain(row.get("developer")),
            price=_price(row.get("price")),
            lang="en",
        )
        return [Item(None, item)]
    ds = _night(row)
    with on_night(ds):
        return [_review(row, ds)]


def _review(row: dict[str, str], ds: date) -> Event:
    if row["event_type"] not in RATINGS:
        raise Refusal("unknown_event_type")
    event_id = f"steam-{required(row, 'event_id')}"
    event = filled(
        event_id=event_id,
        user_id=required(row, "user_id"),
        item_id=required(row, "item_id"),
        event_type="review",
        ts=within_day(ds, event_id),
        rating=RATINGS[row["event_type"]],
        text=plain(row["review"]),
        repairs=["day_precision"],
    )
    return Event(ds, event)


SOURCE = Source("Steam reviews: events.csv.gz and items.jsonl.gz", _read, _convert, "snapshot")
