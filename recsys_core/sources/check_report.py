"""What `check` found: how many objects would be kept, repaired or quarantined, why, and examples that any terminal can show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from recsys_core.parse.rules import RULES
from recsys_core.sources.base import Raw
from recsys_core.sources.landing import REFUSED
from recsys_core.sources.partitions import landing_line

EXAMPLES, EXAMPLE_LENGTH = 3, 160


@dataclass
class Tally:
    """What becomes of some objects, each of which is good, repaired or quarantined.

    by_code   codes of RULES: quarantined objects by reason, repaired ones by each of their repairs
    examples  code → up to EXAMPLES of (file, row, printable text); row 0 = the place is not known
    """

    good: int = 0
    repaired: int = 0
    quarantined: int = 0
    by_code: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[tuple[str, int, str]]] = field(default_factory=dict)

    @property
    def accepted(self) -> int:
        """Objects that are kept."""
        return self.good + self.repaired

    def keep(self, repairs: Iterable[str], raw: Raw, row: Any) -> None:
        """Count an accepted object."""
        codes = set(repairs)
        self.good += not codes
        self.repaired += bool(codes)
        for code in codes:
            self._note(code, raw, row)

    def refuse(self, code: str, raw: Raw, row: Any) -> None:
        """Count a quarantined object."""
        self.quarantined += 1
        self._note(code, raw, row)

    def _note(self, code: str, raw: Raw, row: Any) -> None:
        self.by_code[code] += 1
        shown = self.examples.setdefault(code, [])
        if len(shown) < EXAMPLES:
            shown.append((raw.file, raw.row, printable(row)))

    def add(self, other: Tally) -> None:
        """Count another tally's objects as well."""
        self.good += other.good
        self.repaired += other.repaired
        self.quarantined += other.quarantined
        self.by_code += other.by_code
        for code, shown in other.examples.items():
            self.examples[code] = [*self.examples.get(code, []), *shown][:EXAMPLES]


@dataclass
class CheckReport:
    """What an input would come to.

    refused        of rows that the landing step finds to be no event or item: the codes, none of them accepted
    homeless       whether its catalogue has no night to land on, because there is no event and no start of the range
    outside_range  rows of nights outside the range, not looked at further
    files_refused  (file, code) of those of which nothing can be used; their rows are in no other count
    fields         of event fields, what is odd: `new:<name>`, `case:<found>~<declared>`, `type:<field>` with how many events
    expected       codes that the source declares expected
    """

    source: str
    input: str
    expected: tuple[str, ...] = ()
    homeless: bool = False
    rows_read: int = 0
    outside_range: int = 0
    identities: int = 0
    nights: set[date] = field(default_factory=set)
    events: Tally = field(default_factory=Tally)
    items: Tally = field(default_factory=Tally)
    refused: Tally = field(default_factory=Tally)
    fields: Counter[str] = field(default_factory=Counter)
    files_refused: list[tuple[str, str]] = field(default_factory=list)

    @property
    def accepted(self) -> int:
        """Events and catalogue rows that would be kept."""
        return self.events.accepted + self.items.accepted

    def add(self, other: CheckReport) -> None:
        """Count another report's rows as well."""
        for name in ("rows_read", "outside_range", "identities"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("events", "items", "refused"):
            getattr(self, name).add(getattr(other, name))
        self.nights |= other.nights
        self.fields += other.fields

    def __str__(self) -> str:
        span = f"on {len(self.nights):,} nights, {min(self.nights)} … {max(self.nights)}" if self.nights else "on no night"
        events, items = (
            f"{t.accepted + t.quarantined:,}: {t.good:,} good, {t.repaired:,} repaired, {t.quarantined:,} quarantined"
            for t in (self.events, self.items)
        )
        lines = [
            f"read          {self.rows_read:,} rows of {self.source} in {self.input}; nothing was written",
            f"events        {events}, {span}",
            *self._codes(self.events),
            *([f"              fields: {', '.join(f'{n} {k:,}' for n, k in self.fields.most_common(12))}"] if self.fields else []),
            f"catalogue     {items}",
            *self._codes(self.items),
            *(["              no night to land on: give the first one with --from"] if self.homeless else []),
            *([f"identities    {self.identities:,} rows tell who an anonymous id is"] if self.identities else []),
            *([f"out of range  {self.outside_range:,} rows"] if self.outside_range else []),
            f"no event      {self.refused.quarantined:,}, which would land as fault lines, or in {REFUSED}/ where the night is not known",
            *self._codes(self.refused),
            *(f"refused file  {self._place(file)}: {code}, {_rule(code)[1]}" for file, code in self.files_refused),
            *([] if self.accepted else ["nothing of it would be accepted"]),
        ]
        return "\n".join(lines)

    def _codes(self, tally: Tally) -> Iterator[str]:
        """One line for each code and each example, quarantined ones first, each kind by count."""
        for code, n in sorted(tally.by_code.items(), key=lambda entry: (_rule(entry[0])[0], -entry[1], entry[0])):
            verdict, meaning = _rule(code)
            yield f"  {verdict:<12}{n:>9,}  {code}: {meaning}{', expected of this source' if code in self.expected else ''}"
            for file, row, text in tally.examples[code]:
                yield f"{'':>25}{f'{self._place(file)}:{row}  ' if row else ''}{text}"

    def _place(self, file: str) -> str:
        return file.removeprefix(self.input).lstrip("/:") or Path(file).name


def _rule(code: str) -> tuple[str, str]:
    """Verdict and meaning of a code; landed lines may carry codes of repairs of their own."""
    return RULES.get(code, ("repaired", "a repair that the line says of itself"))


def printable(row: Any) -> str:
    """A row as one line of at most EXAMPLE_LENGTH characters that any terminal can show.

    >>> printable(b'a\\x1b[2Jb'), printable({"id": "\\u202ex"})
    ('a\\\\x1b[2Jb', '{"id":"\\\\u202ex"}')
    """
    text = row if isinstance(row, str) else (row if isinstance(row, bytes) else landing_line(row)).decode("utf-8", "backslashreplace")
    cut = text[:EXAMPLE_LENGTH]
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
    return shown[: EXAMPLE_LENGTH - 1] + "…" if len(shown) > EXAMPLE_LENGTH or len(cut) < len(text) else shown
