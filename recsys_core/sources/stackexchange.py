"""Stack Exchange questions as items: `[prefix]events.csv[.gz]` (what users did to them) and `[prefix]items.jsonl[.gz]` (the questions).

Times are UTC without saying so, which `_source.json` declares. Favourites and bounties are published by day only, at 00:00:00.000; they
are day-level events (`day_precision`). A bounty pays others to look at a question, hence a share. The summary of an edit is kept
unless the site wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path

from recsys_core.sources.base import Event, Item, Outcome, Raw, Refusal, Source
from recsys_core.sources.reading import (
    DESCRIPTION_LENGTH,
    csv_rows,
    day,
    decoded,
    filled,
    find_pair,
    json_records,
    names,
    plain,
    records,
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
    for kind, row in records("event", csv_rows(decoded(events), str(events), COLUMNS)):
        if kind == "event":
            first_day[row["item_id"]] = min(row["ts"][:10], first_day.get(row["item_id"], row["ts"][:10]))
        yield kind, row
    if items is not None:
        for kind, row in json_records("item", items):
            yield (kind, {**row, "first_event": first_day.get(str(row.get("item_id")))}) if kind == "item" else (kind, row)


def _text(event_type: str, text: str) -> str:
    summary = plain(text)
    automatic = event_type.startswith("edit") and all(_AUTOMATIC.fullmatch(part.strip()) for part in summary.split(";"))
    return "" if automatic else summary


def _known_since(row: dict[str, str | None]) -> date | None:
    """The day of creation, or that of the first event if the data say it came before."""
    days = [day(text) for text in (row.get("created"), row.get("first_event")) if text]
    return min(days, default=None)


def _convert(raw: Raw) -> Iterable[Outcome]:
    kind, row = raw
    if kind == "item":
        item = filled(
            item_id=required(row, "item_id"),
            title=plain(required(row, "title")),
            description=plain(row.get("body"), DESCRIPTION_LENGTH),
            tags=names(row.get("tags")),
            category=row.get("site"),
            lang="en",
        )
        return [Item(_known_since(row), item)]
    raw_type = row["event_type"]
    if raw_type not in EVENT_TYPE_OF:
        raise Refusal("unknown_event_type")
    ds = day(row["ts"])
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
        source_event_type=raw_type,
        repairs=["day_precision"] if day_level else None,
    )
    return [Event(ds, event)]


SOURCE = Source("Stack Exchange questions: events.csv.gz and items.jsonl.gz", _read, _convert, "by_date", time_zone_of_naive_ts="UTC")
