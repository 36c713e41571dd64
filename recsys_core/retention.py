"""What is old enough to go: delivered events, partitions of the lake, published nights; and what must stay although it is.

`_retained.json` in the lake notes the nights before which something was removed. It is written before anything goes, and only moves on, so
that a run that was cut off is taken up by the next one, and nobody builds a night again from what is left of it.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recsys_core.janitor import partitions
from recsys_core.lake import MANIFEST, LakeError, canonical_json
from recsys_core.landing import REPEAT_DAYS, WINDOW
from recsys_core.tables import TABLES

if TYPE_CHECKING:
    from recsys_core.lake import Lake
    from recsys_core.landing import Landing

ONE_DAY = dt.timedelta(days=1)
# Tables that hold what users wrote, are called, or told of themselves.
TEXTS = ("event_clean", "event_quarantine", "id_map", "user_attribute", "user_text", "user_history_text", "text_entity")
# Kept by content: a partition has the vectors of texts that nights after it meet again.
BY_CONTENT = ("text_embedding",)
REMOVED = "_removed.json"
_NOTE = "_retained.json"


@dataclass(frozen=True)
class Days:
    """For how many days what is kept, the newest cleaned night included; None = for ever."""

    landing: int | None = None
    lake: int | None = None
    text: int | None = None
    warehouse: int | None = None

    def of_table(self, table: str) -> int | None:
        """Days of a table of the lake."""
        given = [n for n in (self.lake, self.text if table in TEXTS else None) if n is not None]
        return min(given, default=None)


@dataclass(frozen=True)
class Horizon:
    """What goes, by night: everything before these nights; None = nothing.

    built  the first night that can still be built: nights before it stay as they are
    lake   by table; a table that nights from `built` on look back on is kept for as long as they do
    """

    built: dt.date
    landing: dt.date | None
    lake: Mapping[str, dt.date]
    warehouse: dt.date | None


@dataclass(frozen=True)
class Old:
    """Something that goes: where (landing or lake), its path there, and its bytes."""

    where: str
    path: str
    n_bytes: int


def horizon(newest: dt.date, days: Days, look_back: Mapping[str, int | None], noted: dt.date | None = None) -> Horizon:
    """What is to go when `newest` is the last night.

    look_back  nights that the jobs read of each table, tonight included; None = all of them
    noted      the first night that could be built before, which never moves back

    >>> found = horizon(dt.date(2026, 3, 31), Days(lake=10), {"user_topic_day": 8, "event_clean": 1})
    >>> found.built, found.lake["event_clean"], found.lake["user_topic_day"]
    (datetime.date(2026, 3, 22), datetime.date(2026, 3, 22), datetime.date(2026, 3, 15))
    """

    def first(kept: int | None) -> dt.date | None:
        return None if kept is None else newest - (kept - 1) * ONE_DAY

    landing, lake, text, warehouse = (first(n) for n in (days.landing, days.lake, days.text, days.warehouse))
    # A night is made of its window of deliveries, each compared with those of so many days before.
    whole = None if landing is None else landing + (REPEAT_DAYS - WINDOW[0]) * ONE_DAY
    built = max((d for d in (whole, lake, text, warehouse, noted) if d is not None), default=dt.date.min)
    tables = {}
    for table in (t.name for t in TABLES.values() if t.lake and t.name not in BY_CONTENT):
        own, back = first(days.of_table(table)), look_back.get(table, 1)
        if own is not None and back is not None:
            tables[table] = min(own, built - (back - 1) * ONE_DAY)
    return Horizon(built, landing, tables, warehouse)


def built_from(lake: Lake) -> dt.date | None:
    """The first night that can still be built; None when nothing was ever removed."""
    try:
        found = json.loads(lake.read_bytes(_NOTE))["built_from"]
        return dt.date.fromisoformat(found)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise LakeError(f"{lake.path(_NOTE)} does not say which nights can be built ({error!r}): restore it") from error


def note(lake: Lake, built: dt.date) -> None:
    """Note the first night that can still be built."""
    lake.write_bytes(_NOTE, canonical_json({"built_from": built.isoformat()}).encode())


def old(lake: Lake, landing: Landing, at: Horizon) -> Iterator[Old]:
    """Whatever goes from lake and landing zone. Items, categories and what is told of users are read from the first day on, and stay."""
    for table, before in at.lake.items():
        for folder in sorted(partitions(lake, table)):
            if next(part[3:] for part in folder.split("/") if part.startswith("ds=")) < before.isoformat():
                yield Old("lake", folder, sum(int(info["size"]) for info in lake.files(folder).values()))
    for ds in (d for d in landing.nights() if at.landing is not None and d < at.landing):
        folder = f"events/ds={ds.isoformat()}"
        sizes = {name: n for name, n in landing.sizes(ds, "events").items() if name != REMOVED}
        if sizes:
            yield Old("landing", folder, sum(sizes.values()))


def remove(lake: Lake, landing: Landing, found: Old) -> None:
    """Remove it: a partition is gone for readers with its manifest; a day of deliveries stays as one that was there."""
    if found.where == "lake":
        lake.remove(f"{found.path}/{MANIFEST}")
        lake.remove(found.path)
    else:
        landing.empty(found.path, REMOVED)
