"""Refused lines of a night under the rules of today: what is accepted now, and what still is not."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.lake import canonical_json
from recsys_core.parse import EventParser, Fault
from recsys_core.parse.files import accepted_notes
from recsys_core.parse.rawlines import objects
from recsys_core.tables import TABLES

_COUNTERS = ("by_reason", "fields")


@dataclass
class Replay:
    """What came of the refused lines that were looked at again.

    events      rows of event_clean
    users       (user key, user id) behind them
    quarantine  all rows of event_quarantine that stay, those not looked at included
    files       rows of landing_file with the counts of today
    doubtful    why the lines alone do not tell the night, and it is to be cleaned whole; '' when they do
    """

    events: pa.Table
    users: dict[str, str]
    quarantine: pa.Table
    files: list[dict[str, Any]]
    doubtful: str = ""
    looked_at: int = 0
    other_nights: Counter[dt.date] = field(default_factory=Counter)


def replay(
    parser: EventParser, quarantine: pa.Table, files: Iterable[dict[str, Any]], reasons: frozenset[str], excused: frozenset[str]
) -> Replay:
    """Parse refused lines of events again.

    reasons  which (empty = all); excused  reasons that the source declares expected
    """
    night = parser.job.night
    by_file = {r["file"]: {**r, **{n: Counter(json.loads(r[n])) for n in _COUNTERS}} for r in files}
    made = Replay(TABLES["event_clean"].arrow_schema().empty_table(), {}, quarantine, [])
    events: list[dict[str, Any]] = []
    kept: list[dict[str, Any]] = []
    for old in quarantine.to_pylist():
        if reasons and old["reason"] not in reasons:
            kept.append(old)
            continue
        made.looked_at += 1
        if not old["file"].startswith("events/"):
            kept.append(old)
            made.doubtful = "some of them are rows of the catalogue or of users"
            continue
        row, new = _again(parser, old)
        ledger = by_file[old["file"]]
        _uncount(ledger, old["reason"], excused)
        if row is None:
            kept.append(new)
            _recount(ledger, new["reason"], excused)
            continue
        ledger["n_repaired" if row["repairs"] else "n_good"] += 1
        ledger["by_reason"].update(row["repairs"])
        if "user_id" in row:
            ledger["fields"].update(accepted_notes(row))
        if "user_id" not in row or new["reason"] == "several":
            made.doubtful = made.doubtful or "an object is now another number of objects, or of a user who opted out"
        elif row["ds"] != night:
            made.other_nights[row["ds"]] += 1
        else:
            events.append(row)
            made.users[row["user_key"]] = row["user_id"]
    schema = TABLES["event_clean"].arrow_schema()
    if events:
        columns = {n: [e[n] for e in events] for n in schema.names}
        made.events = pa.table([pa.array(columns[f.name], f.type) for f in schema], schema=schema)
    made.quarantine = pa.Table.from_pylist(kept, schema=TABLES["event_quarantine"].arrow_schema())
    for r in by_file.values():
        r |= {n: canonical_json(+r[n]) for n in _COUNTERS}
    made.files = list(by_file.values())
    if made.other_nights:
        made.doubtful = "some of the lines are of other nights"
    elif made.events.num_rows and made.events.group_by("event_id").aggregate([]).num_rows != made.events.num_rows:
        made.doubtful = "some of the lines repeat an event_id"
    return made


def _again(parser: EventParser, old: dict[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """(the event, or None; the quarantine row with the reason of today)."""
    found = list(objects(base64.b64decode(old["raw_base64"])))
    if len(found) != 1 or found[0].repairs not in ((), ("surrogate",)):
        return {"repairs": []}, old | {"reason": "several"}
    repairs = tuple(dict.fromkeys((*old["repairs"], *found[0].repairs)))
    if found[0].value is None:
        return None, old | {"reason": found[0].fault, "field": None}
    try:
        return parser.event(found[0].value, parser.job.night, repairs), old
    except Fault as fault:
        return None, old | {"reason": fault.code, "field": fault.field}


def _uncount(ledger: dict[str, Any], reason: str, excused: frozenset[str]) -> None:
    ledger["n_quarantined"] -= 1
    ledger["n_excused"] -= reason in excused
    ledger["by_reason"][reason] -= 1


def _recount(ledger: dict[str, Any], reason: str, excused: frozenset[str]) -> None:
    ledger["n_quarantined"] += 1
    ledger["n_excused"] += reason in excused
    ledger["by_reason"][reason] += 1


def meets(events: pa.Table, accepted: pa.Table, busy: int) -> str:
    """Why the night's accepted events (event_id, user_key) matter to the replayed ones, '' when they do not.

    busy  events of one user from which on caps and the bot rule look at them
    """
    ids = pc.is_in(events["event_id"], accepted["event_id"].combine_chunks())
    if pc.any(ids).as_py():
        return "some of the lines repeat an event_id that was accepted"
    users = pa.concat_tables([events.select(["user_key"]), accepted.select(["user_key"])])
    counts = users.group_by("user_key").aggregate([([], "count_all")])
    of_these = counts.filter(pc.is_in(counts["user_key"], events["user_key"].combine_chunks()))
    if of_these.num_rows and pc.max(of_these["count_all"]).as_py() >= busy:
        return "some of the lines are of a very busy user"
    return ""
