"""How things stand, from what is published: the last good night, how old it is, its rows and checks, the models, and what jobs cost.

Queries that any reader of the warehouse may ask. `query(sql, params)` gives Arrow rows.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any
from zoneinfo import ZoneInfo

MOST_SPANS = 5
Query = Callable[[str, Mapping[str, Any]], Any]

NIGHT = """SELECT max(ds) AS ds FROM publication WHERE table_name = 'user_interest' AND is_live"""
LEDGER = """SELECT table_name, row_count, published_at, "trigger" FROM publication
    WHERE ds = :ds AND is_live AND "trigger" <> 'intraday' ORDER BY table_name"""
CHECKS = """SELECT table_name, check_name, severity FROM quality_result WHERE ds = :ds AND NOT passed ORDER BY table_name, check_name"""
MODELS = """SELECT kind, model_version, valid_from_ds FROM model_version WHERE status = 'champion' AND valid_from_ds <= :ds
    ORDER BY kind, valid_from_ds, model_version"""
NIGHTS = """SELECT ds, bool_or(is_live) AS is_live FROM publication WHERE "trigger" <> 'intraday' GROUP BY ds ORDER BY ds"""
# A warehouse of an earlier version has none until the next publication.
HAS_RUNS = "SELECT count(*) AS n FROM information_schema.tables WHERE table_name = 'job_run'"
# The last run of each job: of several attempts at a night, and of several nights, the one that ended last.
RUNS = """SELECT job, ds, state, error, wall_s, cpu_s, peak_rss_bytes, row_count, ended_at FROM job_run r
    WHERE ended_at = (SELECT max(ended_at) FROM job_run o WHERE o.job = r.job) ORDER BY ended_at, job"""


def status(query: Query, now: dt.datetime, time_zone: str) -> dict[str, Any]:
    """What can be said at a moment, all of it plain JSON; `night` and what follows from it are None or empty before the first one.

    night           newest published night; night_ended_at its local end, age_s the seconds since, published_at when readers could see it
    rows            rows by table;  failed_checks  those that did not pass and yet did not stop the night (warnings, or accepted)
    models          the model of each kind that is valid for the next night;  jobs  the last run of each job, as far as it is published
    """
    night = query(NIGHT, {}).to_pylist()[0]["ds"]
    following = night + dt.timedelta(days=1) if night else dt.date.max
    ended = dt.datetime.combine(following, dt.time(), ZoneInfo(time_zone)).astimezone(dt.UTC) if night else None
    ledger = query(LEDGER, {"ds": night}).to_pylist() if night else []
    # Of each kind the last in order: the newest that is valid.
    models = {row["kind"]: row for row in query(MODELS, {"ds": following}).to_pylist()}
    return {
        "night": night and night.isoformat(),
        "night_ended_at": ended and ended.isoformat(),
        "age_s": ended and int((now - ended).total_seconds()),
        "published_at": max(r["published_at"] for r in ledger).astimezone(dt.UTC).isoformat() if ledger else None,
        "trigger": ledger[0]["trigger"] if ledger else None,
        "rows": {r["table_name"]: r["row_count"] for r in ledger},
        "failed_checks": query(CHECKS, {"ds": night}).to_pylist() if night else [],
        "models": [
            {"kind": kind, "model_version": row["model_version"], "valid_from": row["valid_from_ds"].isoformat()}
            for kind, row in models.items()
        ],
        "jobs": [_plain(row) for row in query(RUNS, {}).to_pylist()] if query(HAS_RUNS, {}).to_pylist()[0]["n"] else [],
    }


def unpublished(query: Query, ds: dt.date) -> str:
    """Why there is nothing of a night that readers do not see, and which nights they do see; '' for one that they see.

    >>> import pyarrow as pa
    >>> days = [dt.date(2026, 3, day) for day in (1, 2, 3, 5)]
    >>> ledger = pa.table({"ds": days, "is_live": [False, True, True, True]})
    >>> unpublished(lambda sql, params: ledger, days[0])
    '2026-03-01 was published, and removed for its age; published are 2026-03-02 to 2026-03-03, 2026-03-05'
    """
    known = {row["ds"]: row["is_live"] for row in query(NIGHTS, {}).to_pylist()}
    if known.get(ds):
        return ""
    spans: list[list[dt.date]] = []
    for day in (day for day, live in known.items() if live):
        if spans and day - spans[-1][-1] == dt.timedelta(days=1):
            spans[-1] = [spans[-1][0], day]
        else:
            spans.append([day])
    listed = [" to ".join(day.isoformat() for day in span) for span in spans[-MOST_SPANS:]] or ["no nights"]
    listed = ["earlier ones", *listed] if len(spans) > MOST_SPANS else listed
    stands = "was published, and removed for its age" if ds in known else "is not published"
    return f"{ds.isoformat()} {stands}; published are {', '.join(listed)}"


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, dt.date) else value for name, value in row.items()}
