"""How users' interests of the last weeks differ from those of the weeks before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recsys_core.lake import empty
from recsys_core.tables import TABLES

if TYPE_CHECKING:
    from jobs.night import Night


def compare(night: Night) -> None:
    """Write user_interest_change of the night; a year of nights is read one after the other, the newest first."""
    from recsys_core import change

    if night.topics is None:
        night.write("user_interest_change", empty(TABLES["user_interest_change"]))
        return
    version = night.topics.model_version
    nights = reversed(night.nights("user_topic_day"))
    facts = (((night.ds - d).days, night.lake.read("user_topic_day", [d], change.COLUMNS, model_version=version)) for d in nights)
    weeks = change.weeks_of((age, change.attention(rows)) for age, rows in facts)
    found = change.changes(weeks)
    night.write("user_interest_change", change.rows(weeks, found, night.ds, night.sensitive, night.stances.muted))
