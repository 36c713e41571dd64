"""Stack Exchange questions as items: `[prefix]events.csv[.gz]` (what users did to them) and `[prefix]items.jsonl[.gz]` (the questions).

Times are UTC without saying so, which `_source.json` declares. Favourites and bounties are published by day only, at 00:00:00.000; they
are day-level events (`day_precision`). A bounty pays others to look at a question, hence a share. The summary of an edit is kept
unless the site wrote it; the site's own name of what was done is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

from recsys_core.sources.base import Event, Item, Outcome, Raw, Refusal, Source, on_night
from recsys_core.sources.reading import (
    DESCRIPTION_LENGTH,
    csv_records,
    day,
    decoded,
    filled,
    find_pair,
    json_records,
    names,
    plain,
    required,
    within_day,
)

EVENT_TYPE_OF = {
    "ask": "post",
    "answer": "post",
    "comment": "comment",
    "favorite": "favorite",
    "bounty": "share",
    "edit_title": "edit",
    "edit_body": "edit",
    "edit_tags": "edit",
}
DAY_LEVEL = ("favorite", "bounty")
COLUMNS = ("event_id", "user_id", "item_id", "event_type", "ts", "text")
_AUTOMATIC = re.compile(r"(added|deleted) \d+ characters? in body|edited (tags|title|body)")


def _read(path: Path) -> Iterator[Raw]:
    events, items = find_pair(path)
    first_day: dict[str, str] = {}
    for raw in csv_records("event", decoded(events), str(events), COLUMNS, _night):
        if raw.kind == "event":
            row = raw.value
            first_day[row["item_id"]] = min(row["ts"][:10], first_day.get(row["item_id"], row["ts"][:10]))
        yield raw
    if items is not None:
        for raw in json_records("item", items):
            yield raw if raw.kind == "refused" else raw._replace(value=(raw.value, first_day.get(str(raw.value.get("item_id")))))


def _night(row: dict[str, str]) -> date:
    return day(row["ts"])


def _text(event_type: str, text: str) -> str:
    summary = plain(text)
    automatic = event_type.startswith("edit") and all(_AUTOMATIC.fullmatch(part.strip()) for part in summary.split(";"))
    return "" if automatic else summary


def _known_since(row: dict[str, Any], first_event: str | None) -> date | None:
    """The day of creation, or that of the first event if the data say it came before."""
    days = [day(text) for text in (row.get("created"), first_event) if text]
    return min(days, default=None)


def _question(row: dict[str, Any], first_event: str | None) -> Item:
    item = filled(
        item_id=required(row, "item_id"),
        title=plain(required(row, "title")),
        description=plain(row.get("body"), DESCRIPTION_LENGTH),
        tags=names(row.get("tags")),
        category=row.get("site"),
        lang="en",
    )
    return Item(_known_since(row, first_event), item)


def _convert(raw: Raw) -> Iterable[Outcome]:
    if raw.kind == "item":
        row, first_event = raw.value
        try:
            return [_question(row, first_event)]
        except Refusal as refusal:
            raise Refusal(refusal.reason, record=row) from None
    ds = _night(raw.value)
    with on_night(ds):
        return [_event(raw.value, ds)]


def _event(row: dict[str, str], ds: date) -> Event:
    raw_type = row["event_type"]
    if raw_type not in EVENT_TYPE_OF:
        raise Refusal("unknown_event_type")
    event_id = f"stackexchange-{required(row, 'event_id')}"
    day_level = raw_type in DAY_LEVEL and row["ts"][11:].strip("0:.") == ""
    event = filled(
        event_id=event_id,
        user_id=row["user_id"].strip() or None,
        item_id=required(row, "item_id"),
        event_type=EVENT_TYPE_OF[raw_type],
        ts=within_day(ds, event_id) if day_level else row["ts"],
        text=_text(raw_type, row["text"]),
        lang="en",
        repairs=["day_precision"] if day_level else None,
    )
    return Event(ds, event)


SOURCE = Source("Stack Exchange questions: events.csv.gz and items.jsonl.gz", _read, _convert, "by_date", time_zone_of_naive_ts="UTC")
