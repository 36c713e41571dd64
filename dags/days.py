"""Days and moments as the forms take them; without Airflow, because its processes read this while they start."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

# The name of a format is what Airflow answers: '2099-01-01' is not a '…'.
DAY = "day like 2026-03-01 that has begun"
MOMENT = "moment like 2026-03-16T00:00:00Z"
EARLIEST_ZONE = timedelta(hours=14)  # a day begins there first; what the site's own zone makes of it is seen by the task `ready`


def is_day(value: object) -> bool:
    """Whether a JSON value may be filled in as a day: no string (blank is no string), or a date that has begun somewhere on earth."""
    if not isinstance(value, str):
        return True
    try:
        day = date.fromisoformat(value)
    except ValueError:
        return False
    return day.isoformat() == value and day <= (datetime.now(UTC) + EARLIEST_ZONE).date()


def is_moment(value: object) -> bool:
    """Whether a JSON value may be filled in as a moment: no string, or a date with a time."""
    if not isinstance(value, str):
        return True
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return "T" in value


def know_formats() -> None:
    """Let every JSON schema of this process know the formats, so that a run with other values is refused where it is asked for."""
    from jsonschema import FormatChecker

    for name, check in ((DAY, is_day), (MOMENT, is_moment)):
        FormatChecker.cls_checks(name)(check)
