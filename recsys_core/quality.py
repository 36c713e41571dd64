"""What became of all that was delivered for a night, and whether that and the lists are good enough to publish."""

from __future__ import annotations

import datetime as dt
import json
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from recsys_core.lake import canonical_json
from recsys_core.landing import USER_KINDS
from recsys_core.parse.rules import RULES
from recsys_core.tables import TABLES

MAX_QUARANTINED_SHARE = 0.02
MAX_BAD_ITEM_SHARE = 0.01
# A declared field that is missing while one of nearly its name is there, in more than this share of the objects, is a renamed field.
MAX_RENAMED_SHARE = 0.02
# What a night is compared with: the same weekday of the four weeks before, when all four have landed.
COMPARED_NIGHTS = (7, 14, 21, 28)
MAX_VOLUME_CHANGE, MAX_NULL_SHARE_CHANGE = 0.4, 0.2
# Smaller nights swing too much for these two to block.
MIN_OBJECTS_TO_BLOCK = 10_000
# Copies, and files that are no data by their names, are not read and harm nothing.
HARMLESS = frozenset(("file_repeated", "hidden_name"))
NOT_THERE = frozenset(("missing_file", "empty_source"))
CATALOGUE_KINDS = ("items", "categories")


@dataclass
class FileLedger:
    """What became of one delivered file, in objects; objects_in = good + repaired + quarantined unless the file is refused.

    kind        events, or one of HISTORY_KINDS
    partition   the day it was delivered
    reason      a code of RULES: why nothing of the file is used; None for a file that is
    expected    whether the night is not to be published without it
    other_nights   of the good and repaired, those whose day is another (early or late deliveries); each is its own night's to keep
    by_reason   codes of RULES: quarantined objects by reason, repaired ones by each of their repairs
    fields      what its fields looked like: `new:<name>`, `case:<found>~<declared>`, `type:<field>`, `null:<field>`, `short:<field>`;
                `night:<day>`
                for events of other nights, `cycle:<a > b>` for parents that lead back, `note:<what>` for what else is odd; with how many
                objects
    """

    kind: str
    partition: dt.date
    file: str
    reason: str | None = None
    n_bytes: int = 0
    sha256: str = ""
    lines: int = 0
    objects_in: int = 0
    good: int = 0
    repaired: int = 0
    quarantined: int = 0
    other_nights: int = 0
    expected: bool = True
    by_reason: Counter[str] = field(default_factory=Counter)
    fields: Counter[str] = field(default_factory=Counter)

    def excused(self, reasons: Iterable[str]) -> int:
        """How many of the quarantined have a reason that the source declares expected."""
        return sum(self.by_reason[r] for r in set(reasons) if RULES.get(r, ("",))[0] == "quarantined")


def landing_file_rows(ds: dt.date, files: Iterable[FileLedger], expected_reasons: Iterable[str]) -> pa.Table:
    """Rows of landing_file for night ds."""
    reasons, rows = tuple(expected_reasons), []
    for f in files:
        counts = {"lines": f.lines, "objects": f.objects_in, "good": f.good, "repaired": f.repaired, "quarantined": f.quarantined}
        counts |= {"excused": f.excused(reasons), "other_nights": f.other_nights}
        if f.reason:  # nothing of it is used, so nothing of it is accounted for
            counts = dict.fromkeys(counts, 0)
        known = {"ds": ds, "file": f.file, "kind": f.kind, "n_bytes": f.n_bytes, "sha256": f.sha256 or None, "expected": f.expected}
        text = {"by_reason": canonical_json(+f.by_reason), "fields": canonical_json(+f.fields)}
        rows.append(known | {"reason": f.reason} | {f"n_{n}": v for n, v in counts.items()} | text)
    rows.sort(key=lambda r: str(r["file"]))
    return pa.Table.from_pylist(rows, schema=TABLES["landing_file"].arrow_schema())


@dataclass(frozen=True)
class Night:
    """The rows of landing_file of a night, added up by kind."""

    ds: dt.date
    rows: Sequence[Mapping[str, Any]]

    def of(self, *kinds: str) -> list[Mapping[str, Any]]:
        """The files of some kinds."""
        return [r for r in self.rows if r["kind"] in kinds]

    def total(self, name: str, *kinds: str) -> int:
        """Sum of a count over the files of some kinds."""
        return sum(r[f"n_{name}"] for r in self.of(*kinds))

    def codes(self, *kinds: str) -> Counter[str]:
        """Codes of RULES with how many objects, or refused files."""
        found: Counter[str] = Counter()
        for r in self.of(*kinds):
            found.update(json.loads(r["by_reason"]))
            found.update([r["reason"]] if r["reason"] else [])
        return found

    def fields(self, *kinds: str) -> Counter[str]:
        """What fields looked like, with how many objects."""
        found: Counter[str] = Counter()
        for r in self.of(*kinds):
            found.update(json.loads(r["fields"]))
        return found

    def share(self, part: float, *kinds: str) -> float:
        """`part` of the objects of some kinds; 0 without objects."""
        return round(part / max(self.total("objects", *kinds), 1), 6)

    def null_share(self, name: str) -> float:
        """Share of the accepted events without a value of a field."""
        accepted = self.total("good", "events") + self.total("repaired", "events")
        return self.fields("events")[f"null:{name}"] / max(accepted, 1)

    def report(self) -> dict[str, Any]:
        """What `clean` prints last: the events of the night's partition."""
        rows = self.of("events")
        refused = [r for r in rows if r["reason"] and r["reason"] != "hidden_name"]
        names = {"lines": "lines", "objects_in": "objects", "good": "good", "repaired": "repaired", "quarantined": "quarantined"}
        counts = {name: self.total(n, "events") for name, n in (names | {"other_nights": "other_nights"}).items()}
        files = sum(r["reason"] not in ("missing_file", "hidden_name") for r in rows)
        by_reason = dict(sorted(self.codes("events").items()))
        return {"ds": self.ds.isoformat(), "files": files, "files_refused": len(refused), **counts, "by_reason": by_reason}


class _Checks:
    """Collects rows of quality_result."""

    def __init__(self, ds: dt.date, run_id: str) -> None:
        self.ds, self.run_id = ds, run_id
        self.rows: list[dict[str, Any]] = []

    def add(self, table: str, name: str, severity: str, observed: float, threshold: float | None = None) -> None:
        passed = threshold is None or observed <= threshold
        row = {"ds": self.ds, "run_id": self.run_id, "table_name": table, "check_name": name, "severity": severity}
        self.rows.append(row | {"observed": float(observed), "threshold": threshold, "passed": passed})


def quality_rows(
    run_id: str,
    tonight: Night,
    history: Sequence[Night],
    block_on_history: bool = False,
    lists: Mapping[str, tuple[str, int]] | None = None,
) -> pa.Table:
    """Rows of quality_result: the checks of what was delivered for a night, and of its lists.

    history           the nights COMPARED_NIGHTS before, those of them that landed
    block_on_history  whether volume and null shares block a night of MIN_OBJECTS_TO_BLOCK objects, instead of warning
    lists             check → (severity, how many slots or lists fail it); none of them may
    """
    checks = _Checks(tonight.ds, run_id)
    _balance(checks, tonight)
    _files(checks, tonight)
    _shares(checks, tonight)
    _fields(checks, tonight)
    if len(history) == len(COMPARED_NIGHTS):
        big = tonight.total("objects", "events") >= MIN_OBJECTS_TO_BLOCK
        _compared(checks, tonight, history, "block" if block_on_history and big else "warn")
    for name in ("objects", "good", "repaired", "quarantined", "other_nights"):
        checks.add("event_clean", "objects_in" if name == "objects" else name, "warn", tonight.total(name, "events"))
    for table, kinds in (("event_clean", ("events", *USER_KINDS)), ("item", CATALOGUE_KINDS)):
        for code, n in sorted(tonight.codes(*kinds).items()):
            # A code of the source's own is a repair: it stands in a line that was accepted.
            verdict = RULES.get(code, ("repaired",))[0]
            checks.add(table, f"{'repaired' if verdict == 'repaired' else 'rejected'}:{code}", "warn", n)
    for name, (severity, n) in (lists or {}).items():
        checks.add("user_topn", name, severity, n, 0.0)
    return pa.Table.from_pylist(checks.rows, schema=TABLES["quality_result"].arrow_schema())


def _balance(checks: _Checks, tonight: Night) -> None:
    off = [r["n_objects"] - r["n_good"] - r["n_repaired"] - r["n_quarantined"] for r in tonight.rows]
    checks.add("event_clean", "balance", "block", abs(sum(off)), 0.0)
    checks.add("event_clean", "file_balance", "block", sum(map(bool, off)), 0.0)


def _files(checks: _Checks, tonight: Night) -> None:
    """Refused files: one line for those that block, then one for each file by name."""
    for table, kinds in (("event_clean", ("events", *USER_KINDS)), ("item", CATALOGUE_KINDS)):
        refused = [r for r in tonight.of(*kinds) if r["reason"]]
        lost = [r for r in refused if r["expected"] and r["reason"] not in HARMLESS]
        if table == "event_clean":
            checks.add(table, "expected_files", "block", sum(r["reason"] in NOT_THERE for r in lost), 0.0)
            lost = [r for r in lost if r["reason"] not in NOT_THERE]
        checks.add(table, "refused_files", "block", len(lost), 0.0)
        for r in refused:
            checks.add(table, f"refused:{r['reason']}:{r['file']}", "warn", 1, 0.0)


def _shares(checks: _Checks, tonight: Night) -> None:
    def share(*kinds: str) -> float:
        excused = tonight.total("excused", *kinds)
        return round((tonight.total("quarantined", *kinds) - excused) / max(tonight.total("objects", *kinds) - excused, 1), 6)

    checks.add("event_clean", "quarantined_share", "block", share("events"), MAX_QUARANTINED_SHARE)
    checks.add("item", "quarantined_share", "block", share(*CATALOGUE_KINDS), MAX_BAD_ITEM_SHARE)


def _fields(checks: _Checks, tonight: Night) -> None:
    """Drift of the fields: new ones and odd types warn; one that lost its values to a near name blocks."""
    for table, kinds in (("event_clean", ("events",)), ("item", CATALOGUE_KINDS)):
        for note, n in sorted(tonight.fields(*kinds).items()):
            what, _, name = note.partition(":")
            if what == "new":
                checks.add(table, f"new_field:{name}", "warn", n, 0.0)
            elif what == "type":
                checks.add(table, f"field_type:{name}", "warn", tonight.share(n, *kinds), MAX_RENAMED_SHARE)
            elif what == "case":
                checks.add(table, f"field_case:{name}", "block", tonight.share(n, *kinds), MAX_RENAMED_SHARE)
            elif what == "note":
                checks.add(table, name, "warn", n, 0.0)
            elif what == "cycle":
                checks.add(table, note, "warn", n, 0.0)
            elif what == "short":
                checks.add(table, f"short_{name}", "warn", n)


def _compared(checks: _Checks, tonight: Night, history: Sequence[Night], severity: str) -> None:
    """Volume and null shares beside the median of the same weekday in four weeks."""
    usual = statistics.median(n.total("objects", "events") for n in history)
    change = abs(tonight.total("objects", "events") / usual - 1) if usual else 0.0
    checks.add("event_clean", "volume", severity, round(change, 6), MAX_VOLUME_CHANGE)
    nulls = Counter[str]()
    for night in (tonight, *history):
        nulls.update(n for n in night.fields("events") if n.startswith("null:"))
    for name in sorted(n.removeprefix("null:") for n in nulls):
        median = statistics.median(n.null_share(name) for n in history)
        checks.add("event_clean", f"null_share:{name}", severity, round(tonight.null_share(name) - median, 6), MAX_NULL_SHARE_CHANGE)


def failed(checks: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The blocking checks that failed."""
    return [r for r in checks if r["severity"] == "block" and not r["passed"]]


def explained(row: Mapping[str, Any], checks: Sequence[Mapping[str, Any]]) -> str:
    """A failed check in words, with what is likely to be behind it: the files, the reasons, the fields."""
    name, table = row["check_name"], row["table_name"]
    text = f"{name} of {table}: observed {row['observed']:g}, allowed {row['threshold']:g}"
    of_table = [r for r in checks if r["table_name"] == table]
    why: list[str] = []
    if name in ("refused_files", "expected_files"):
        why = [":".join(r["check_name"].split(":")[1:]) for r in of_table if r["check_name"].startswith("refused:")]
        why = [w for w in why if w.split(":")[0] not in HARMLESS]
    elif name == "quarantined_share":
        rejected = [r for r in of_table if r["check_name"].startswith("rejected:")]
        rejected.sort(key=lambda r: (-r["observed"], r["check_name"]))
        why = [f"{r['check_name'].split(':')[1]} {r['observed']:g}×" for r in rejected[:5]]
        why += [r["check_name"] for r in of_table if r["check_name"].startswith(("field_case:", "field_type:"))]
    return f"{text} ({', '.join(why[:10])})" if why else text
