"""Cleaning behind the parser: parsed rows of a window of landing partitions to one night's events, each once."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.aggregate import in_time, open_sessions
from recsys_core.bots import BotRule, bots
from recsys_core.coded import compact, equals, plain
from recsys_core.grouping import Groups, Ranks, flags, having, whole
from recsys_core.parse import ParseJob
from recsys_core.parse.spans import hashes
from recsys_core.quality import FileLedger
from recsys_core.tables import TABLES

# (reason, file number) → events that are dropped or flagged: how many, of them those without a repair, of other nights, with other content
# than the one that is kept.
Dropped = Mapping[tuple[str, int], Sequence[int]]

_EPOCH = dt.date(1970, 1, 1)
_NAMES = TABLES["event_clean"].names
# What makes two events with one id the same.
_CONTENT = ("verdict", *(c for c in _NAMES if c not in ("event_id", "received_ts", "repairs")))


@dataclass(frozen=True)
class Cleaned:
    """A night's events and what became of all that was delivered, of some users or of all.

    events, users, open_sessions   rows of event_clean, by user and time, of id_map and of open_session, by key
    dropped                        what was dropped or flagged
    """

    events: pa.Table
    users: pa.Table
    open_sessions: pa.Table
    dropped: Dropped


def cleaned(rows: pa.Table, job: ParseJob, rule: BotRule, key_id: str, known_repeats: pa.Table | None = None) -> Cleaned:
    """The night of `job` from parsed rows of whole users.

    Of the events with one id in the window the first by received_ts (without one: last), file and place is kept, whatever night the others
    belong to; `known_repeats` tells which are repeats of those of users that are not among these rows (rows of `repeats`). Then each user's
    events beyond the cap are left out by (event_ts, event_id), and bots are flagged.
    """
    if known_repeats is not None and known_repeats.num_rows:
        rows = rows.filter(pa.array(~np.isin(places(rows), places(known_repeats))))
    found = repeats(rows)
    dropped = counted(found, "dedup", job.night)
    kept = flags(pc.is_valid(rows["event_id"])) & ~np.isin(places(rows), places(found))
    place = np.flatnonzero(kept)
    # Rows are wide: what decides is numbers, and the rows are gathered once, when it is known which.
    known = Ranks.of_column(rows["user_key"])
    users, at, day = known.of[place], whole(rows["event_ts"])[place], whole(rows["ds"].cast(pa.int32()))[place]
    ids = rows["event_id"]
    within, machines = _without_excess(users, day, at, ids, place, job, rule)
    tonight, verdicts = (job.night - _EPOCH).days, equals(rows["verdict"], "event")[place]
    dropped |= counted(rows.take(pa.array(place[~within])), "capped", job.night)
    dropped |= counted(rows.take(pa.array(place[machines & (day == tonight)])), "bot", job.night)
    before = rows.take(pa.array(place[within & (day == tonight - 1) & ~machines]))
    chosen = np.flatnonzero(within & verdicts)
    chosen = chosen[in_time(users[chosen], at[chosen], ids, place[chosen])]
    events = rows.select([n for n in _NAMES if n != "user_key"]).take(pa.array(place[chosen]))
    events = compact(events.append_column("user_key", known.like(users[chosen])).select(_NAMES))
    return Cleaned(
        events=_flagged(events, machines[chosen]),
        users=_users(rows.select(["verdict", "user_key", "note"]).filter(pa.array(equals(rows["verdict"], "user"))), job.night, key_id),
        open_sessions=open_sessions(job.night, before.filter(pa.array(~having(before["repairs"], "bot"))), job.time_zone),
        dropped=dropped,
    )


def _flagged(events: pa.Table, machines: np.ndarray) -> pa.Table:
    """The events, those of bots with the code `bot`."""
    if not machines.any():
        return events
    codes = [sorted({*r, "bot"}) if bot else r for r, bot in zip(events["repairs"].to_pylist(), machines.tolist(), strict=True)]
    return events.set_column(events.column_names.index("repairs"), events.schema.field("repairs"), pa.array(codes, pa.list_(pa.string())))


def refused(rows: pa.Table, night: dt.date, run_id: str) -> pa.Table:
    """Rows of event_quarantine: refused lines of the night's partition."""
    schema = TABLES["event_quarantine"].arrow_schema()
    rows = rows.filter(pa.array(equals(rows["verdict"], "quarantine") & flags(pc.equal(rows["partition"], night))))
    told = {"ds": pa.repeat(pa.scalar(night, pa.date32()), rows.num_rows), "run_id": pa.repeat(run_id, rows.num_rows)}
    return pa.table([told.get(n, rows[n] if n not in told else None) for n in schema.names], schema=schema)


def places(rows: pa.Table) -> np.ndarray:
    """Where rows come from, as one number each: file and place in it."""
    return whole(rows["file_no"]) << 40 | whole(rows["byte_offset"])


def repeats(events: pa.Table) -> pa.Table:
    """(file_no, byte_offset, ds, repairs, conflict) of rows with an event's id that came before; conflict: with other content."""
    several = plain(events.take(pa.array(_met_again(events["event_id"].combine_chunks()))))
    ids = several["event_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    known = pc.is_valid(several["received_ts"]).to_numpy()
    order = np.lexsort((whole(several["byte_offset"]), whole(several["file_no"]), whole(several["received_ts"]), ~known, ids))
    several, of = several.take(pa.array(order)), ids[order]
    starts = np.ones(len(of), bool)
    starts[1:] = of[1:] != of[:-1]
    first = np.flatnonzero(starts)[np.cumsum(starts) - 1] if len(of) else np.zeros(0, np.int64)
    firsts, conflict = several.take(pa.array(first)), np.zeros(len(of), bool)
    for name in _CONTENT:
        same = flags(pc.equal(several[name], firsts[name]))
        conflict |= ~(same | (flags(pc.is_null(several[name])) & flags(pc.is_null(firsts[name]))))
    found = several.select(["file_no", "byte_offset", "ds", "repairs"]).append_column("conflict", pa.array(conflict))
    return found.filter(pa.array(~starts))


def _met_again(ids: pa.Array) -> np.ndarray:
    """Rows whose id another row has, and perhaps a few more."""
    known = np.flatnonzero(flags(pc.is_valid(ids)))
    of = hashes(ids)[known]
    order = np.argsort(of)
    same = of[order][1:] == of[order][:-1]
    again = np.zeros(len(of), bool)
    again[1:] |= same
    again[:-1] |= same
    return np.sort(known[order[again]])


def counted(events: pa.Table, code: str, night: dt.date) -> dict[tuple[str, int], list[int]]:
    """What `Dropped` says of events that are dropped or flagged, all for one reason."""
    numbers = Groups([whole(events["file_no"])])
    plain, adrift = flags(pc.equal(pc.list_value_length(events["repairs"]), 0)), flags(pc.not_equal(events["ds"], night))
    conflict = flags(events["conflict"]) if "conflict" in events.column_names else np.zeros(events.num_rows, bool)
    columns = [numbers.counts(), *(numbers.counts(condition) for condition in (plain, adrift, conflict))]
    files = whole(events["file_no"])[numbers.first].tolist()
    return {(code, file): list(counts) for file, *counts in zip(files, *(c.tolist() for c in columns), strict=True)}


def together(found: Iterable[Dropped]) -> Dropped:
    """The sums of what became of several parts of the rows."""
    sums: dict[tuple[str, int], list[int]] = {}
    for part in found:
        for what, counts in part.items():
            sums[what] = [a + b for a, b in zip(sums.get(what, [0] * 4), counts, strict=True)]
    return sums


def _without_excess(
    users: np.ndarray, day: np.ndarray, at: np.ndarray, ids: pa.ChunkedArray, place: np.ndarray, job: ParseJob, rule: BotRule
) -> tuple[np.ndarray, np.ndarray]:
    """(which events are within the cap, which are a bot's and within it); the ids of the events are those at `place`."""
    who = Groups([users, day])
    n = who.counts()
    within, machines = np.ones(len(day), bool), np.zeros(who.n, bool)
    busy = n >= rule.min_events
    if busy.any():
        crowd = np.flatnonzero(busy[who.of])
        of = who.of[crowd]
        order = in_time(of, at[crowd], ids, place[crowd])
        within[crowd[order]] = Groups([of[order]]).places() < job.daily_cap
        machines[bots(of, at[crowd] // 1_000_000, rule)] = True
        # Of one file no more than the cap was let through: who has as many as that had them, or more.
        machines |= busy & (n >= job.daily_cap)
    return within, machines[who.of] & within


def _users(met: pa.Table, night: dt.date, key_id: str) -> pa.Table:
    """Rows of id_map, by key."""
    found = plain(met.select(["user_key", "note"])).group_by(["user_key", "note"]).aggregate([]).sort_by("user_key")
    n, schema = found.num_rows, TABLES["id_map"].arrow_schema()
    return pa.table([pa.repeat(pa.scalar(night, pa.date32()), n), found["user_key"], pa.repeat(key_id, n), found["note"]], schema=schema)


@dataclass
class Ledgers:
    """What became of the files.

    files           one ledger per file of the night's partition
    n_events        events that the night must have by the parser's count and what was dropped since
    """

    files: list[FileLedger] = field(default_factory=list)
    n_events: int = 0


def ledgers(files: Sequence[Mapping[str, Any]], job: ParseJob, dropped: Dropped) -> Ledgers:
    """What the parser counted (rows of FILE_SCHEMA), and what the night as a whole made of it."""
    made = Ledgers()
    for row in files:
        file, partition = job.files[row["file_no"]]
        note = json.loads(row["note"])
        if row["reason"] is None:
            made.n_events += note["tonight"] - note["capped"] + note["capped_beside"]
        if partition == job.night:
            found = FileLedger("events", partition, file, row["reason"])
            made.files.append(found)
            if row["reason"] is None:
                _fill(found, row["file_no"], note, dropped)
    made.n_events -= sum(n - adrift for (code, _), (n, _, adrift, _) in dropped.items() if code != "bot")
    made.files.sort(key=lambda f: f.file)
    return made


def _fill(found: FileLedger, file_no: int, note: dict[str, Any], dropped: Dropped) -> None:
    """The counts of a file that is used."""
    found.lines, found.objects_in = note["lines"], note["objects"]
    found.good, found.repaired, found.quarantined = note["good"], note["repaired"], note["quarantined"]
    found.other_nights = note["other_nights"]
    found.by_reason.update(note["by_reason"])
    found.fields.update(note["fields"])
    found.fields["note:mixed_epoch"] += note["mixed_epoch"]
    changes: list[tuple[Any, ...]] = [("capped", note["capped"], note["capped_plain"], note["capped_beside"], 0)]
    changes += [(code, *counts) for (code, number), counts in sorted(dropped.items()) if number == file_no]
    for code, n, unrepaired, adrift, conflicts in changes:
        found.by_reason[code] += n
        found.good -= unrepaired
        found.repaired += unrepaired
        found.other_nights -= adrift
        found.fields["note:id_conflict"] += conflicts
    found.by_reason, found.fields = +found.by_reason, +found.fields
