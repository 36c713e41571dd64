"""`check`: what landing and cleaning would make of an input, without writing anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

from recsys_core.catalogue.rows import category_row, item_row
from recsys_core.parse.event import EventParser, ParseJob, note_fields
from recsys_core.parse.files import CORRUPT, CORRUPT_LINES, CORRUPT_SHARE, NOT_JSON_SHARE
from recsys_core.parse.rawlines import objects
from recsys_core.parse.rules import Fault
from recsys_core.sources.base import MADE_UP, Event, Identity, Item, Night, Raw, Refusal, Source
from recsys_core.sources.check_report import CheckReport
from recsys_core.sources.landing import CATALOGUE, PROGRESS_EVERY, chosen, declaration, in_range

# Keys of users are made and thrown away here.
_SECRET = b"check"
_CLEAN = {"items": item_row, "categories": category_row}


class _Judge:
    """Applies the rules of cleaning to the outcomes of one file, which count only once the file proves usable."""

    def __init__(self, total: CheckReport, declared: dict[str, Any], time_zone: str) -> None:
        self.total, self.declared, self.time_zone = total, declared, time_zone
        self.undated = False
        self._parsers: dict[date, EventParser] = {}
        self.begin("")

    def begin(self, file: str, marked: bool = False) -> None:
        """Start a file; marked = the source holds it to the rules of cleaning."""
        self.file, self.marked = file, marked
        self.found, self.lines, self.corrupt = CheckReport("", ""), 0, Counter[str]()

    def end(self, refused: str | None = None) -> None:
        """Count the file's rows, or the file as refused."""
        if self.marked and not refused:
            refused = self._reason()
        if refused:
            self.total.files_refused.append((self.file, refused))
        else:
            self.total.add(self.found)

    def _reason(self) -> str | None:
        """Why cleaning would refuse the whole file."""
        if not self.lines and not self.declared.get("empty_files_allowed"):
            return "empty_source"
        shares = ((self.corrupt.total(), CORRUPT_SHARE), (self.corrupt["not_json"], NOT_JSON_SHARE))
        return "not_json_lines" if any(n >= CORRUPT_LINES and n > share * self.lines for n, share in shares) else None

    def event(self, raw: Raw, outcome: Event) -> None:
        """Judge one landed line."""
        self.found.nights.add(outcome.ds)
        for row, code, repairs in _rows(outcome.row, raw):
            if code is None:
                if "fault" not in row:
                    note_fields(row, self.found.fields)
                try:
                    kept = self._parser(outcome.ds).event(row, outcome.ds, repairs)
                    self.found.events.keep(kept["repairs"], raw, row)
                    continue
                except Fault as fault:
                    code = fault.code
            self.corrupt[code] += code in CORRUPT
            self.found.events.refuse(code, raw, row)

    def _parser(self, ds: date) -> EventParser:
        if ds not in self._parsers:
            job = ParseJob(
                landing="",
                files=(),
                night=ds,
                time_zone=self.time_zone,
                naive_zone=self.declared.get("time_zone_of_naive_ts"),
                source=self.declared["source"],
                secret=_SECRET,
            )
            self._parsers[ds] = EventParser(job)
        return self._parsers[ds]

    def item(self, raw: Raw, outcome: Item) -> None:
        """Judge one landed line of the catalogue."""
        self.undated |= outcome.ds is None
        for row, code, before in _rows(outcome.row, raw):
            repairs = list(before)
            if code is None:
                try:
                    _CLEAN[outcome.kind](row, repairs)
                    self.found.items.keep(repairs, raw, row)
                    continue
                except Fault as fault:
                    code = fault.code
            self.corrupt[code] += code in CORRUPT
            self.found.items.refuse(code, raw, row)


def _rows(landed: dict[str, Any] | bytes, raw: Raw) -> Iterator[tuple[Any, str | None, tuple[str, ...]]]:
    """(object, None, its repairs) or (bytes, code, ()) of what stands on a landed line; nothing for a blank one."""
    if not isinstance(landed, bytes):
        yield landed, None, raw.repairs
    elif landed.strip():
        yield from ((f.raw, f.fault or "not_object", ()) if f.value is None else (f.value, None, f.repairs) for f in objects(landed))


def check(
    source: str,
    input: str,  # noqa: A002 - the name of the command-line option
    start: date | None = None,
    end: date | None = None,
    time_zone: str = "UTC",
    progress: Callable[[int], None] | None = None,
    mapping: str | None = None,
) -> CheckReport:
    """What `land` with the same arguments and then cleaning in `time_zone` would make of an input; writes nothing.

    Events that are repeated, or belong to a user who opted out or is a bot, are not looked for. Raises SourceError where `land` would,
    but for single files of a source that is held to the rules of cleaning (`canonical`): those are reported as refused.
    """
    path = Path(input)
    reader: Source = chosen(source, path, start, end, mapping)
    declared = declaration(source, reader, path)
    total = CheckReport(source, str(path), tuple(declared.get("expected_reasons") or ()))
    judge, read = _Judge(total, declared, time_zone), 0
    for raw in reader.read(path):
        if raw.kind == "file":
            judge.end()
            judge.begin(raw.file, marked=True)
        elif raw.kind == "file_refused":
            judge.end(raw.value.code)
            judge.begin("")
        else:
            _judged(judge, reader, raw, start, end)
        if raw.kind not in MADE_UP:
            read += 1
            if progress and read % PROGRESS_EVERY == 0:
                progress(read)
    judge.end()
    total.homeless = judge.undated and not (total.nights or start)
    return total


def _judged(judge: _Judge, reader: Source, raw: Raw, start: date | None, end: date | None) -> None:
    """Count what one raw record becomes."""
    found = judge.found
    found.rows_read += raw.kind not in MADE_UP
    judge.lines += raw.kind not in MADE_UP
    for outcome in reader.outcomes(raw, judge.time_zone):
        wanted = in_range(outcome.ds, None if isinstance(outcome, (Item, Identity)) else start, end)
        if isinstance(outcome, (Night, Identity)):
            found.identities += wanted and isinstance(outcome, Identity)
        elif not wanted:
            found.outside_range += raw.kind not in MADE_UP
        elif isinstance(outcome, Event):
            judge.event(raw, outcome)
        elif isinstance(outcome, Refusal):
            found.refused.refuse(outcome.reason, raw, raw.value if outcome.record is None else outcome.record)
            judge.corrupt[outcome.reason] += outcome.reason in CORRUPT
        elif outcome.kind in CATALOGUE:
            judge.item(raw, outcome)
        else:
            found.identities += 1
