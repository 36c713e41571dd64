"""The page of all nights: a calendar of how each one stands, when readers could see it, and the way to its own page."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping

from recsys_core.report.operations import STATES, NightState, weeks
from recsys_core.report.pages import render

MOST_MONTHS = 24


def index_page(states: Mapping[dt.date, NightState], pages: Collection[dt.date], fingerprint: str = "") -> str:
    """The HTML of all nights by month, the newest first; nights among `pages` are linked."""
    published = [s for s in states.values() if s.published_at]
    months = sorted({ds.replace(day=1) for ds in states}, reverse=True)
    shown = []
    for first in months[:MOST_MONTHS]:
        last = (first + dt.timedelta(days=31)).replace(day=1) - dt.timedelta(days=1)
        shown.append((first, weeks(states, first, last)))
    return render(
        "index.html.j2",
        {},
        fingerprint=fingerprint,
        months=shown,
        older=len(months) - len(shown),
        last=published[-1] if published else None,
        stopped=[s for s in states.values() if s.state in ("blocked", "waiting")][-12:],
        nights=[s for s in reversed(list(states.values())) if s.published_at][:60],
        n_published=len(published),
        pages={day.isoformat() for day in pages},
        meanings=STATES,
    )
