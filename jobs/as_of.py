"""As happened or as known: the moment up to which a night's deliveries count, and what the lake says of it."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from recsys_core.lake import Lake
from recsys_core.landing import WINDOW

if TYPE_CHECKING:
    from jobs.settings import Settings

# The input under which a night's facts name their cutoff.
KNOWN_CUTOFF = "_known_cutoff"
ONE_DAY = dt.timedelta(days=1)


def end_of(ds: dt.date, settings: Settings) -> dt.datetime:
    """The local end of a night, UTC."""
    return dt.datetime.combine(ds + ONE_DAY, dt.time(), ZoneInfo(settings.time_zone)).astimezone(dt.UTC)


def known_cutoff(ds: dt.date, settings: Settings) -> dt.datetime | None:
    """The setting KNOWN_CUTOFF, for nights of which something can have been received later; None for others, which it leaves as they are.

    An event of the night lies in one of the landing partitions of its window, and was received a day after that partition's at the latest.
    """
    cutoff = settings.known_cutoff
    return cutoff if cutoff and cutoff < end_of(ds + (WINDOW[-1] + 1) * ONE_DAY, settings) else None


def cleaned_as_known(lake: Lake, ds: dt.date) -> dt.datetime | None:
    """The cutoff of the night's facts as they lie in the lake; None when they hold all that was delivered."""
    manifest = lake.manifest("landing_file", ds)
    found = dict(manifest.inputs if manifest else ()).get(KNOWN_CUTOFF)
    return dt.datetime.fromisoformat(found) if found else None


def known_otherwise(lake: Lake, ds: dt.date, settings: Settings) -> list[dt.date]:
    """Nights before ds that still had open deliveries at its cutoff and are built with another one; none for a night as happened."""
    cutoff = cleaned_as_known(lake, ds)
    if cutoff is None:
        return []
    asked = settings.model_copy(update={"known_cutoff": cutoff})
    nights = [d for n in range(WINDOW[-1] + 1, 0, -1) if lake.manifest("landing_file", d := ds - n * ONE_DAY)]
    return [d for d in nights if cleaned_as_known(lake, d) != known_cutoff(d, asked)]
