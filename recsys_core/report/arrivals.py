"""What the nightly page shows of what came in: how much of it was used, why the rest was not, and how late it came."""

from __future__ import annotations

import datetime as dt
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from recsys_core.landing import USER_KINDS
from recsys_core.parse.rules import RULES
from recsys_core.quality import CATALOGUE_KINDS, COMPARED_NIGHTS, Night
from recsys_core.report import arrival_charts, charts
from recsys_core.report.canvas import HALF
from recsys_core.report.reasons import meaning
from recsys_core.report.topics import Query
from recsys_core.report.words import Words, around

NIGHTS, LATEST = 28, 3  # nights that are shown, days that an event may be late
_ALL = ("events", *USER_KINDS, *CATALOGUE_KINDS)
_SQL = {
    "files": """SELECT ds, file, kind, reason, n_objects, n_good, n_repaired, n_quarantined, n_other_nights,
        CAST(by_reason AS VARCHAR) AS by_reason, CAST(fields AS VARCHAR) AS fields FROM landing_file
        WHERE ds <= :ds AND ds > CAST(:ds AS DATE) - 56 ORDER BY ds, file""",
    "checks": """SELECT q.check_name, q.table_name, q.observed, q.threshold, q.passed, q.severity, a.reason FROM quality_result q
        LEFT JOIN quality_acceptance a ON a.ds = q.ds AND a.table_name = q.table_name AND a.check_name = q.check_name
        WHERE q.ds = :ds AND (q.threshold IS NOT NULL OR NOT q.passed) ORDER BY q.passed, q.severity, q.check_name, q.table_name""",
}


def arrival_parts(query: Query, ds: dt.date) -> dict[str, Any]:
    """Charts and rows of the night's deliveries for the page."""
    data = {name: query(sql, {"ds": ds}).to_pylist() for name, sql in _SQL.items()}
    nights = _nights(data["files"])
    tonight = nights.get(ds, Night(ds, []))
    codes = tonight.codes(*_ALL)
    late = {d: n for d, n in _other_nights(tonight).items() if d < ds}
    return {
        "checks": data["checks"],
        "arrived": {n: tonight.total(n, "events") for n in ("objects", "good", "repaired", "quarantined")},
        "verdict_chart": _verdicts(nights, ds),
        "refusal_chart": _pareto(codes, ("quarantined", "refused"), Words("objects not used, by reason", "未采用的对象，按原因")),
        "repair_chart": _pareto(codes, ("repaired",), Words("objects repaired or marked, by rule", "已修复或标记的对象，按规则")),
        "codes": [
            {"code": code, "n": n, "verdict": RULES[code][0] if code in RULES else "repaired", "meaning": meaning(code)}
            for code, n in _ordered(codes)
        ],
        "late_chart": _lateness(nights, ds),
        "late": sorted(late.items(), reverse=True),
    }


def _nights(files: Sequence[Mapping[str, Any]]) -> dict[dt.date, Night]:
    """The files of each night of delivery."""
    found: defaultdict[dt.date, list[Mapping[str, Any]]] = defaultdict(list)
    for row in files:
        found[row["ds"]].append(row)
    return {ds: Night(ds, rows) for ds, rows in found.items()}


def _ordered(codes: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(codes.items(), key=lambda c: (-c[1], c[0]))


def _verdicts(nights: Mapping[dt.date, Night], ds: dt.date) -> Markup:
    """Events by verdict, night by night, before the range of the same weekday in the four weeks before."""
    days = [ds - dt.timedelta(days=n) for n in reversed(range(NIGHTS))]
    days = days[next((n for n, d in enumerate(days) if d in nights), 0) :]
    parts = [
        (word, [nights[d].total(name, "events") if d in nights else 0 for d in days])
        for name, word in (("good", Words("good", "完好")), ("repaired", Words("repaired", "已修复")))
    ]
    parts.append((Words("quarantined", "已隔离"), [nights[d].total("quarantined", "events") if d in nights else 0 for d in days]))
    bands: list[tuple[float, float, float] | None] = []
    for day in days:
        before = [d for back in COMPARED_NIGHTS if (d := day - dt.timedelta(days=back)) in nights]
        usual = [nights[d].total("objects", "events") for d in before]
        bands.append((min(usual), statistics.median(usual), max(usual)) if usual else None)
    return arrival_charts.columns(days, parts, bands, Words("events delivered", "送达的事件"))


def _pareto(codes: Counter[str], verdicts: Sequence[str], what: Words) -> Markup:
    """The codes of some verdicts, the most frequent first, with the share of all that they and those before them make up."""
    found = [(code, n) for code, n in _ordered(codes) if RULES.get(code, ("repaired",))[0] in verdicts]
    total, sofar, notes = sum(n for _, n in found), 0, []
    for _, n in found:
        sofar += n
        notes.append(f"{sofar / total:.0%}")
    return charts.bars([code for code, _ in found], [n for _, n in found], around("", what, " (%: Σ)"), width=HALF, notes=notes)


def _other_nights(night: Night) -> dict[dt.date, int]:
    """Events that were delivered on a night and are another's: by that night."""
    return {dt.date.fromisoformat(f[6:]): n for f, n in night.fields("events").items() if f.startswith("night:")}


def _lateness(nights: Mapping[dt.date, Night], ds: dt.date) -> Markup:
    """What share of the nights' events had come by the end of their own day, of the next, and so on."""
    came: defaultdict[dt.date, Counter[int]] = defaultdict(Counter)
    for day, night in nights.items():
        own = night.total("good", "events") + night.total("repaired", "events") - night.total("other_nights", "events")
        came[day][0] += max(own, 0)
        for other, n in _other_nights(night).items():
            came[other][min(max((day - other).days, 0), LATEST)] += n
    # Only nights of which nothing more can come.
    whole = [c for day, c in came.items() if day in nights and ds - dt.timedelta(days=NIGHTS) < day <= ds - dt.timedelta(days=LATEST)]
    total = sum(c.total() for c in whole)
    if not total:
        return Markup("")
    shares, sofar = [], 0
    for after in range(LATEST + 1):
        sofar += sum(c[after] for c in whole)
        shares.append((float(after), sofar / total))
    return arrival_charts.late_curve(shares)
