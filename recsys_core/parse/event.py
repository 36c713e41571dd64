"""One landing object to one accepted event, or to the reason why not."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from recsys_core.events import EVENT_TYPES
from recsys_core.lake import canonical_json
from recsys_core.landing_schema import EVENT_FIELDS
from recsys_core.parse.rules import Fault
from recsys_core.parse.values import identifier, micros, moment, number, price, text
from recsys_core.privacy import user_key
from recsys_core.texts import language_code

ONE_DAY = timedelta(days=1)
# Deliveries up to this many days after an event's day re-open its night.
LATE_DAYS = 3
SKEW = timedelta(minutes=10)
MAX_EXTRA_BYTES = 4096
NO_USER = frozenset(("", "null", "undefined", "none", "nan", "0"))
NO_ITEM = frozenset(("", "null", "undefined", "none", "nan"))
DEAD_CLOCKS = (date(1970, 1, 1), date(2000, 1, 1))
_ESCAPED_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_CODE = re.compile("[a-z][a-z0-9_]{0,39}")
_FIELDS = frozenset(f.name for f in EVENT_FIELDS)


@dataclass(frozen=True)
class ParseJob:
    """What the workers need to know.

    files       (file relative to the landing root, day of its partition)
    night       the night to build; of other partitions than its own only the events of this night are kept
    naive_zone  IANA zone of times without offset, as the source declares it; None = such times are refused
    """

    landing: str
    files: tuple[tuple[str, date], ...]
    night: date
    time_zone: str
    naive_zone: str | None
    source: str
    secret: bytes = field(repr=False)
    empty_files_allowed: bool = False


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

    def happened(self, value: Any, partition: date, received: datetime | None, repairs: list[str]) -> tuple[datetime, datetime]:
        """(time in UTC, the same in the night's zone) of an event that its partition may deliver."""
        if value is None or value == "":
            raise Fault("missing_required" if value is None else "bad_ts")
        found = moment(value, self.naive_zone, repairs)
        try:
            local = found.astimezone(self.zone)
        except OverflowError:
            raise Fault("ts_out_of_range") from None
        now, late = received or self.end_of(partition), (partition - local.date()).days
        if found > now:
            if found > now + SKEW:
                raise Fault("future_ts")
            repairs.append("clock_skew")
        if late > LATE_DAYS:
            # A partition as old as its events is history, not a broken clock.
            raise Fault("default_clock" if found.date() in DEAD_CLOCKS else "ts_out_of_range" if found.year < 2000 else "too_late")
        if late > 0:
            repairs.append("late")
        return found, local

    def event(self, row: dict[str, Any], partition: date, mended: tuple[str, ...] = ()) -> dict[str, Any] | None:
        """An accepted event by column, None when it is another partition's and another night's; Fault when it is refused."""
        repairs = list(mended)
        received = self.received(row.get("received_ts"), partition, repairs)
        ts, local = self.happened(row.get("ts"), partition, received, repairs)
        ds = local.date()
        if partition != self.job.night and ds != self.job.night:
            return None
        user = identifier(row.get("user_id"), repairs)
        if user.lower() in NO_USER:
            raise Fault("no_user")
        kind = _event_type(row.get("event_type"), repairs)
        item = identifier(row.get("item_id"), repairs)
        query = text(row.get("query"), repairs)
        if item.lower() in NO_ITEM:
            item = ""
            if kind != "search" or query is None:
                raise Fault("missing_required")
        key = user_key(self.job.secret, user)
        event_id = identifier(row.get("event_id"), repairs)
        if not event_id:
            content = {k: v for k, v in row.items() if k not in ("event_id", "received_ts", "repairs")}
            event_id = "h-" + hmac.digest(self.job.secret, canonical_json(content).encode(), "sha256").hex()[:32]
            repairs.append("id_from_hash")
        written = text(row.get("text"), repairs)
        found = {
            "ds": ds,
            "event_id": event_id,
            "user_key": key,
            "item_id": item or None,
            "event_type": kind,
            "event_ts": micros(ts),
            "received_ts": micros(received) if received else None,
            "session_id": identifier(row.get("session_id"), repairs) or None,
            "rating": _rating(row.get("rating"), repairs),
            "quantity": _quantity(row.get("quantity"), kind, repairs),
            "price": price(row.get("price"), repairs),
            "dwell_s": _dwell(row.get("dwell_s"), repairs),
            "text": written,
            "query": query,
            "lang": language_code(text(row.get("lang"), repairs), written or query),
            "device": text(row.get("device"), repairs),
            "region": text(row.get("region"), repairs),
            "daypart": ("night", "morning", "afternoon", "evening")[local.hour // 6],
            "source": self.job.source,
            "extra": _extra(row, repairs),
        }
        landed = row.get("repairs")
        if isinstance(landed, list):
            repairs += [c for c in landed if isinstance(c, str) and _CODE.fullmatch(c)]
        content_hash = hashlib.blake2b(repr([found[c] for c in found if c not in ("event_id", "received_ts")]).encode(), digest_size=8)
        return found | {"repairs": sorted(set(repairs)), "fingerprint": int.from_bytes(content_hash.digest(), "big", signed=True)}


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


def _extra(row: dict[str, Any], repairs: list[str]) -> str | None:
    """Fields that have no column, as canonical JSON; the page's URL is one of them without being unknown."""
    unknown = {k: v for k, v in row.items() if k not in _FIELDS}
    if unknown:
        repairs.append("unknown_fields")
    if isinstance(row.get("url"), str) and row["url"]:
        unknown["url"] = row["url"]
    if not unknown:
        return None
    # PostgreSQL's JSON has no NUL, not even escaped; an escaped backslash before `u0000` is another matter.
    found = _ESCAPED_NUL.sub(r"\1", canonical_json(unknown))
    if len(found.encode()) > MAX_EXTRA_BYTES:
        repairs.append("extra_dropped")
        return None
    return found
