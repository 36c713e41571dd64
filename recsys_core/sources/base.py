"""What a source is, and what its records become."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal


class SourceError(ValueError):
    """The input, the landing folder or the arguments cannot be used; the message names the place and the remedy."""


class Refusal(Exception):
    """A raw record that cannot become a landing line; `reason` is counted if the record's night `ds`, where known, is in range."""

    def __init__(self, reason: str, ds: date | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.ds = ds


@dataclass(frozen=True, slots=True)
class Event:
    """One landing line for the events partition `ds`; `row` is an object, or the raw bytes of a line to be kept as they are."""

    ds: date
    row: dict[str, Any] | bytes


@dataclass(frozen=True, slots=True)
class Item:
    """One landing line for the catalogue; `ds` None = the source does not say since when the item is known."""

    ds: date | None
    row: dict[str, Any] | bytes


@dataclass(frozen=True, slots=True)
class Night:
    """A partition that the input delivers although it holds no line: an empty night, which is not an absent one."""

    ds: date


Outcome = Event | Item | Night
Raw = tuple[str, Any]


@dataclass(frozen=True)
class Source:
    """How one data set becomes landing lines.

    read      input path → raw records in file order, each with its kind; raises SourceError if the input is not this data set.
              The kind "refused" carries the reason of a row that the reader itself could not read; the kinds
              "night" and "catalogue" are made up by the reader and are no rows of the input.
    convert   raw record → its landing lines; raises Refusal
    catalogue when items are known: "snapshot" = all from the first landed night; "by_date" = from their own date, those older
              than the first landed night from that night; "partitioned" = the input has dated partitions, which are kept
    """

    help: str
    read: Callable[[Path], Iterator[Raw]]
    convert: Callable[[Raw], Iterable[Outcome]]
    catalogue: Literal["snapshot", "by_date", "partitioned"]
    time_zone_of_naive_ts: str | None = None
    expected_reasons: tuple[str, ...] = ()
