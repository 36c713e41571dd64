"""What a source is, and what its records become."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from recsys_core.parse.rules import Fault
from recsys_core.parse.values import moment


class SourceError(ValueError):
    """The input, the landing folder or the arguments cannot be used; the message names the place and the remedy.

    `code` is one of RULES where cleaning would refuse the file for the same reason.
    """

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class Refusal(Exception):
    """A raw record, or a part of one, that cannot become a landing line.

    reason  a code of RULES
    ds      its night, where that is known; of rows of the catalogue it is not
    record  what is refused, an object or a text; None = the whole raw record
    """

    def __init__(self, reason: str, ds: date | None = None, record: Any = None) -> None:
        super().__init__(reason)
        self.reason, self.ds, self.record = reason, ds, record


@contextmanager
def on_night(ds: date) -> Iterator[None]:
    """Refusals raised inside are refusals of that night."""
    try:
        yield
    except Refusal as refusal:
        raise Refusal(refusal.reason, refusal.ds or ds, refusal.record) from None


@dataclass(frozen=True, slots=True)
class Event:
    """One landing line for the events partition `ds`; `row` is an object, or the raw bytes of a line to be kept as they are."""

    ds: date
    row: dict[str, Any] | bytes


@dataclass(frozen=True, slots=True)
class Item:
    """One landing line of what is known from its night on: of the catalogue, as a rule; `ds` None = the source does not say since when.

    kind  the folder of the landing zone, one of HISTORY_KINDS
    """

    ds: date | None
    row: dict[str, Any] | bytes
    kind: str = "items"


@dataclass(frozen=True, slots=True)
class Identity:
    """An anonymous id of which `ds` tells that it is a user's."""

    ds: date
    anonymous_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class Night:
    """A partition that the input delivers although it holds no line: an empty night, which is not an absent one."""

    ds: date


Outcome = Event | Item | Identity | Night | Refusal


class Raw(NamedTuple):
    """A record of the input: its kind, what it says, where it stands (row = line of the file, from 1), and what reading it mended."""

    kind: str
    value: Any
    file: str = ""
    row: int = 0
    repairs: tuple[str, ...] = ()


# Kinds of raw records that a reader makes up; they are no rows of the input.
MADE_UP = frozenset(("file", "file_refused", "night", "catalogue"))


@dataclass(frozen=True)
class Source:
    """How one data set becomes landing lines.

    read      input path → raw records in file order; raises SourceError if the input is not this data set. Of the kind "refused" the
              value is the Refusal of a row that the reader itself could not read. The kinds MADE_UP are no rows of the input: "file" =
              here a file begins, "file_refused" = it cannot be used, the value is the SourceError that says why
    convert   raw record → its landing lines; raises Refusal, or gives one among them for a part of the record
    catalogue when items are known: "snapshot" = all from the first landed night; "by_date" = from their own date, those older
              than the first landed night from that night; "partitioned" = the input has dated partitions, which are kept
    name      whose logs these are, where the name in the registry does not say it
    described (input path, the site's file about it, if named) → the source it describes, where the registry's alone cannot read anything
    """

    help: str
    read: Callable[[Path], Iterator[Raw]]
    convert: Callable[[Raw], Iterable[Outcome]]
    catalogue: Literal["snapshot", "by_date", "partitioned"]
    time_zone_of_naive_ts: str | None = None
    expected_reasons: tuple[str, ...] = ()
    name: str | None = None
    described: Callable[[Path, str | None], Source] | None = None

    def outcomes(self, raw: Raw, time_zone: str = "UTC") -> Iterator[Outcome]:
        """What a raw record becomes on nights of a time zone; a refusal that ends its conversion is the last."""
        if raw.kind == "refused":
            yield raw.value
            return
        try:
            for outcome in self.convert(raw):
                yield self._on_local_night(outcome, time_zone) if isinstance(outcome, Event) and time_zone != "UTC" else outcome
        except Refusal as refusal:
            yield refusal

    def _on_local_night(self, event: Event, time_zone: str) -> Event:
        """An event of which nobody says when it was received, on the local day on which it happened; conversions tell the day in UTC."""
        if isinstance(event.row, bytes) or event.row.get("received_ts"):
            return event
        naive = ZoneInfo(self.time_zone_of_naive_ts) if self.time_zone_of_naive_ts else None
        try:
            return Event(moment(event.row.get("ts"), naive, []).astimezone(ZoneInfo(time_zone)).date(), event.row)
        except (Fault, OverflowError):
            return event
