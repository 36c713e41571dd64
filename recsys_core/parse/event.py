"""One landing object to one accepted event, or to the reason why not: the rules, written for one object at a time.

`recsys_core.parse.columns` applies the same rules to whole blocks where they are simple, and must never differ from these.
"""

from __future__ import annotations

import hmac
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from recsys_core.events import EVENT_TYPES
from recsys_core.lake import canonical_json
from recsys_core.landing_schema import EVENT_FIELDS
from recsys_core.parse.drift import MAX_NEW_FIELDS, Declared, shown
from recsys_core.parse.pii import mask
from recsys_core.parse.rules import RULES, Fault
from recsys_core.parse.values import identifier, micros, moment, number, price, text
from recsys_core.privacy import user_key
from recsys_core.texts import language_code

if TYPE_CHECKING:
    from recsys_core.erasure.requests import Erased

ONE_DAY = timedelta(days=1)
# Deliveries up to this many days after an event's day re-open its night.
LATE_DAYS = 3
SKEW = timedelta(minutes=10)
MAX_EXTRA_BYTES = 4096
NO_USER = frozenset(("", "null", "undefined", "none", "nan", "0"))
NO_ITEM = frozenset(("", "null", "undefined", "none", "nan"))
DAYPARTS = ("night", "morning", "afternoon", "evening")
DEAD_CLOCKS = (date(1970, 1, 1), date(2000, 1, 1))
_ESCAPED_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_CODE = re.compile("[a-z][a-z0-9_]{0,39}")
FIELDS = frozenset(f.name for f in EVENT_FIELDS)
_DECLARED = Declared(EVENT_FIELDS)


@dataclass(frozen=True)
class ParseJob:
    """What the workers need to know.

    files        (file relative to the landing root, day of its partition)
    night        the night to build; other partitions than its own give their events of this night, and of every other event what tells
                 whether it is the same event or the same session (verdict 'beside')
    naive_zone   IANA zone of times without offset, as the source declares it; None = such times are refused
    may_be_empty files of `files` that may hold no line
    repeated     files of `files` that are copies of earlier ones, and so are not read
    identities   anonymous id → user id, as known on the night
    opted_out    user ids of which nothing is kept
    daily_cap    most events of one user and day that are kept
    erased       whom to forget; None = nobody ever asked
    known_cutoff what was received later counts as not delivered yet; None = all that was delivered is known
    """

    landing: str
    files: tuple[tuple[str, date], ...]
    night: date
    time_zone: str
    naive_zone: str | None
    source: str
    secret: bytes = field(repr=False)
    may_be_empty: frozenset[str] = frozenset()
    repeated: frozenset[str] = frozenset()
    identities: Mapping[str, str] = field(default_factory=dict, repr=False)
    opted_out: frozenset[str] = field(default=frozenset(), repr=False)
    daily_cap: int = 5_000
    known_cutoff: datetime | None = None
    erased: Erased | None = field(default=None, repr=False)


class EventParser:
    """Turns objects into events under one ParseJob."""

    def __init__(self, job: ParseJob) -> None:
        self.job, self.zone = job, ZoneInfo(job.time_zone)
        self.naive_zone = ZoneInfo(job.naive_zone) if job.naive_zone else None
        self._ends: dict[date, datetime] = {}

    def end_of(self, partition: date) -> datetime:
        """The local end of a partition's day, UTC."""
        if partition not in self._ends:
            self._ends[partition] = datetime.combine(partition + ONE_DAY, time(), self.zone).astimezone(UTC)
        return self._ends[partition]

    def received(self, value: Any, partition: date, repairs: list[str]) -> datetime | None:
        """received_ts, or None and a repair when it is unusable or after the end of the day behind its partition's."""
        if value is None:
            return None
        try:
            found = moment(value, self.naive_zone, [])
        except Fault:
            found = None
        if found is None or found > self.end_of(partition) + ONE_DAY:
            repairs.append("bad_received_ts")
            return None
        return found

    def known(self, row: Mapping[str, Any], partition: date) -> bool:
        """Whether an object had been received by the cutoff, if there is one: by received_ts, else at the end of its partition's day."""
        cutoff = self.job.known_cutoff
        return cutoff is None or (self.received(row.get("received_ts"), partition, []) or self.end_of(partition)) <= cutoff

    def happened(self, value: Any, partition: date, received: datetime | None, repairs: list[str]) -> tuple[datetime, datetime]:
        """(time in UTC, the same in the night's zone) of an event that its partition may deliver."""
        if value is None or value == "":
            raise Fault("missing_required" if value is None else "bad_ts", "ts")
        found = moment(value, self.naive_zone, repairs)
        try:
            local = found.astimezone(self.zone)
        except OverflowError:
            raise Fault("ts_out_of_range", "ts") from None
        now, late = received or self.end_of(partition), (partition - local.date()).days
        if found > now:
            if found > now + SKEW:
                raise Fault("future_ts", "ts")
            repairs.append("clock_skew")
        if late > LATE_DAYS:
            # A partition as old as its events is history, not a broken clock.
            raise Fault("default_clock" if found.date() in DEAD_CLOCKS else "ts_out_of_range" if found.year < 2000 else "too_late", "ts")
        if late > 0:
            repairs.append("late")
        return found, local

    def user(self, value: Any, repairs: list[str]) -> str:
        """The user's id, an anonymous one replaced by the user it belongs to on the night; '' for one who opted out."""
        found = identifier(value, repairs)
        if found.lower() in NO_USER:
            raise Fault("no_user")
        known = self.job.identities.get(found)
        if known is not None and known != found:
            found = known
            repairs.append("stitched")
        return "" if found in self.job.opted_out else found

    def opted_out(self, row: Mapping[str, Any]) -> bool:
        """Whether an object, good or bad, is of a user who opted out."""
        if not self.job.opted_out:
            return False
        try:
            return not self.user(row.get("user_id"), [])
        except Fault:
            return False

    def erased(self, row: Mapping[str, Any], raw: bytes = b"") -> bool:
        """Whether an object, good or bad, is of somebody who is to be forgotten; without any user, whether its bytes name one."""
        erased = self.job.erased
        if not erased:
            return False
        try:
            found = identifier(row.get("user_id"), [])
        except Fault:
            found = ""
        if found.lower() in NO_USER:
            return erased.within(raw) is not None
        return erased.request(self.job.identities.get(found, found)) is not None or erased.named(found)

    def event(self, row: dict[str, Any], partition: date, mended: tuple[str, ...] = ()) -> dict[str, Any]:
        """An accepted event by column, with user_id and repairs; Fault when it is refused.

        One that is not known yet, or whose user opted out or is to be forgotten, has the only column `repairs`.
        """
        if not self.known(row, partition):
            return {"repairs": ["not_known_yet"]}
        if self.erased(row):
            return {"repairs": ["erased"]}
        if (landed_fault := row.get("fault")) is not None:
            known = isinstance(landed_fault, str) and RULES.get(landed_fault, ("",))[0] == "quarantined"
            raise Fault(str(landed_fault) if known else "refused_at_landing")
        if self.opted_out(row):
            return {"repairs": ["opted_out"]}
        repairs, step = list(mended), "ts"
        try:
            received = self.received(row.get("received_ts"), partition, repairs)
            ts, local = self.happened(row.get("ts"), partition, received, repairs)
            step = "user_id"
            user = self.user(row.get("user_id"), repairs)
            step = "event_type"
            kind = _event_type(row.get("event_type"), repairs)
            step = "item_id"
            item = identifier(row.get("item_id"), repairs)
            step = "query"
            query = text(row.get("query"), repairs)
            if item.lower() in NO_ITEM:
                item = ""
                if kind != "search" or query is None:
                    raise Fault("missing_required", "item_id")
            step = "event_id"
            event_id = identifier(row.get("event_id"), repairs) or self.id_from_hash(row, repairs)
            step = "text"
            written = text(row.get("text"), repairs)
            written, query = masked(written, repairs), masked(query, repairs)
            found: dict[str, Any] = {"ds": local.date(), "event_id": event_id, "user_key": user_key(self.job.secret, user)}
            found |= {"item_id": item or None, "event_type": kind, "event_ts": micros(ts)}
            found["received_ts"] = micros(received) if received else None
            for step, convert in _CONVERTERS.items():
                found[step] = convert(row.get(step), repairs)
            step = "price"
            found["price"] = price(row.get(step), repairs, refund=kind == "return")
            step = "quantity"
            found["quantity"] = _quantity(row.get(step), kind, repairs)
            step = "lang"
            found["lang"] = language_code(text(row.get(step), repairs), written or query)
        except Fault as fault:
            raise Fault(fault.code, fault.field or step) from None
        found |= {"text": written, "query": query, "daypart": DAYPARTS[local.hour // 6], "source": self.job.source}
        found["extra"] = extra_of(row, repairs)
        repairs += landed_repairs(row.get("repairs"))
        return found | {"user_id": user, "repairs": sorted(set(repairs))}

    def id_from_hash(self, row: Mapping[str, Any], repairs: list[str]) -> str:
        """An id made of the content alone, so that the same event delivered again has the same one."""
        content = {k: v for k, v in row.items() if k not in ("event_id", "received_ts", "repairs")}
        repairs.append("id_from_hash")
        return "h-" + hmac.digest(self.job.secret, canonical_json(content).encode(), "sha256").hex()[:32]


def masked(value: str | None, repairs: list[str]) -> str | None:
    """A text without e-mail addresses, phone and card numbers."""
    if value is None or (found := mask(value)) == value:
        return value
    repairs.append("pii_masked")
    return found


def landed_repairs(value: Any) -> list[str]:
    """The codes of what was repaired before landing."""
    return [c for c in value if isinstance(c, str) and _CODE.fullmatch(c)] if isinstance(value, list) else []


def _event_type(value: Any, repairs: list[str]) -> str:
    if value in EVENT_TYPES if isinstance(value, str) else False:
        return str(value)
    if value is None or value == "":
        raise Fault("missing_required")
    name = value.strip().lower().replace("-", "_").replace(" ", "_") if isinstance(value, str) else ""
    if name not in EVENT_TYPES:
        raise Fault("unknown_event_type")
    repairs.append("event_type_case")
    return name


def _session(value: Any, repairs: list[str]) -> str | None:
    return identifier(value, repairs) or None


def _rating(value: Any, repairs: list[str]) -> float | None:
    found = number(value, repairs)
    if found is not None and not 1 <= found <= 5:
        raise Fault("rating_out_of_range")
    return None if found is None else float(found)


def _quantity(value: Any, kind: str, repairs: list[str]) -> int | None:
    found = number(value, repairs)
    if found is None:
        return None
    if found != int(found):
        raise Fault("bad_number")
    if abs(found) > 10**9:
        raise Fault("number_too_large")
    if found < 0 and kind != "return":
        raise Fault("negative_quantity")
    return int(found)


def _dwell(value: Any, repairs: list[str]) -> float | None:
    found = number(value, repairs)
    if found is not None and found < 0:
        raise Fault("negative_dwell")
    if found is not None and found > 10**7:
        raise Fault("number_too_large")
    return None if found is None else float(found)


_CONVERTERS = {"session_id": _session, "rating": _rating, "dwell_s": _dwell, "device": text, "region": text}


def extra_of(row: Mapping[str, Any], repairs: list[str]) -> str | None:
    """Fields that have no column, as canonical JSON; the page's URL is one of them without being unknown."""
    unknown = {k: v for k, v in row.items() if k not in FIELDS}
    if unknown:
        repairs.append("unknown_fields")
    if isinstance(row.get("url"), str) and row["url"]:
        unknown["url"] = row["url"]
    if not unknown:
        return None
    clean = _masked_deep(unknown)
    if clean != unknown:
        repairs.append("pii_masked")
    # PostgreSQL's JSON has no NUL, not even escaped; an escaped backslash before `u0000` is another matter.
    found = _ESCAPED_NUL.sub(r"\1", canonical_json(clean))
    if len(found.encode()) > MAX_EXTRA_BYTES:
        repairs.append("extra_dropped")
        return None
    return found


def _masked_deep(value: Any) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {k: _masked_deep(v) for k, v in value.items()}
    return [_masked_deep(v) for v in value] if isinstance(value, list) else value


def note_fields(row: Mapping[str, Any], fields: Counter[str]) -> None:
    """Count what an object's fields look like: undeclared names, names that stand for a declared one that is not there, strange types."""
    for name, value in row.items():
        if name in FIELDS:
            if _DECLARED.is_odd(name, value):
                fields[f"type:{name}"] += 1
        elif len(fields) >= MAX_NEW_FIELDS and f"new:{name}" not in fields and not any(n.startswith(f"case:{name}~") for n in fields):
            fields["new:(others)"] += 1
        elif (known := _DECLARED.meant(name)) and known not in row:
            fields[f"case:{shown(name)}~{known}"] += 1
        else:
            fields[f"new:{shown(name)}"] += 1
