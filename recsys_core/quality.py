"""The ledger of a night's cleaning: what came in, what became of it, and whether that is good enough to publish."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from recsys_core.parse.rules import RULES
from recsys_core.tables import TABLES

MAX_QUARANTINED_SHARE = 0.02
MAX_BAD_ITEM_SHARE = 0.01


@dataclass
class Ledger:
    """Counts of the landing partition of a night, in objects; objects_in = good + repaired + quarantined, or the parser is broken.

    other_nights   of the good and repaired ones, those whose day is another (early or late deliveries); each is its own night's to keep
    by_reason      codes of RULES: quarantined objects by reason, repaired ones by each of their repairs, refused files by reason
    """

    ds: dt.date
    files: int = 0
    files_refused: int = 0
    refused_beside: int = 0
    mixed_epoch: int = 0
    lines: int = 0
    objects_in: int = 0
    good: int = 0
    repaired: int = 0
    quarantined: int = 0
    other_nights: int = 0
    id_conflicts: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)

    @property
    def balance(self) -> int:
        """Objects that nobody accounts for; 0 when all is well."""
        return self.objects_in - self.good - self.repaired - self.quarantined

    def quarantined_share(self, expected: Iterable[str]) -> float:
        """Share of quarantined objects, those of reasons that the source expects left out above and below the line."""
        excused = sum(self.by_reason[r] for r in set(expected) if RULES.get(r, ("",))[0] == "quarantined")
        return (self.quarantined - excused) / max(self.objects_in - excused, 1)

    def report(self) -> dict[str, Any]:
        """What `clean` prints."""
        names = ("files", "files_refused", "lines", "objects_in", "good", "repaired", "quarantined", "other_nights")
        return {"ds": self.ds.isoformat(), **{n: getattr(self, n) for n in names}, "by_reason": dict(sorted(self.by_reason.items()))}


def ledger(ds: dt.date, counts: Iterable[dict[str, Any]]) -> Ledger:
    """The ledger of night ds from grouped counts of parsed rows.

    counts  dicts of verdict, partition, ds, reason, repairs, dropped (a repeated event_id), conflict (with other content), extra (of a file
            row), n = rows of the group
    """
    found = Ledger(ds)
    for c in counts:
        n = c["n"]
        if c["verdict"] == "file":
            _add_file(found, c)
        elif c["partition"] != ds:
            continue
        elif c["verdict"] == "quarantine":
            found.quarantined += n
            found.by_reason[c["reason"]] += n
        else:
            repairs = [*c["repairs"], *(["dedup"] if c["dropped"] else [])]
            found.good += 0 if repairs else n
            found.repaired += n if repairs else 0
            found.other_nights += n if c["ds"] != ds else 0
            found.id_conflicts += n if c["conflict"] else 0
            for code in repairs:
                found.by_reason[code] += n
    return found


def _add_file(found: Ledger, row: dict[str, Any]) -> None:
    if row["partition"] != found.ds:
        found.refused_beside += row["reason"] is not None
        return
    found.files += 1
    if row["reason"] is not None:
        found.files_refused += 1
        found.by_reason[row["reason"]] += 1
        return
    stats = json.loads(row["extra"])
    found.lines += stats["lines"]
    found.objects_in += stats["objects"]
    found.mixed_epoch += stats["mixed_epoch"]
    if stats["blank"]:
        found.by_reason["blank_line"] += stats["blank"]


def quality_rows(run_id: str, found: Ledger, items: Counter[str], expected: Iterable[str]) -> pa.Table:
    """Rows of quality_result for cleaning: the checks that block or warn, and one row per reason and repair.

    items  codes met in the catalogue, and 'rows' = how many rows it had
    """
    rows: list[dict[str, Any]] = []

    def check(table: str, name: str, severity: str, observed: float, threshold: float | None) -> None:
        passed = threshold is None or observed <= threshold
        values = {"severity": severity, "observed": float(observed), "threshold": threshold, "passed": passed}
        rows.append({"ds": found.ds, "run_id": run_id, "table_name": table, "check_name": name} | values)

    check("event_clean", "balance", "block", abs(found.balance), 0.0)
    check("event_clean", "quarantined_share", "block", round(found.quarantined_share(expected), 6), MAX_QUARANTINED_SHARE)
    check("event_clean", "refused_files", "block", found.files_refused, 0.0)
    check("event_clean", "refused_files_beside", "warn", found.refused_beside, 0.0)
    check("event_clean", "mixed_epoch", "warn", found.mixed_epoch, 0.0)
    check("event_clean", "id_conflict", "warn", found.id_conflicts, 0.0)
    for name in ("objects_in", "good", "repaired", "quarantined", "other_nights"):
        check("event_clean", name, "warn", getattr(found, name), None)
    for table, codes in (("event_clean", found.by_reason), ("item", items)):
        for code, n in sorted(codes.items()):
            if code in RULES:
                check(table, f"{'repaired' if RULES[code][0] == 'repaired' else 'rejected'}:{code}", "warn", n, None)
    bad = sum(n for code, n in items.items() if RULES.get(code, ("",))[0] == "quarantined")
    refused = sum(n for code, n in items.items() if RULES.get(code, ("",))[0] == "refused")
    check("item", "refused_files", "block", refused, 0.0)
    check("item", "quarantined_share", "block", round(bad / max(items["rows"], 1), 6), MAX_BAD_ITEM_SHARE)
    return pa.Table.from_pylist(rows, schema=TABLES["quality_result"].arrow_schema())
