"""What the pages show of running it: the state of every night, when it could be read, and what its jobs cost."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recsys_core.report import charts
from recsys_core.report.canvas import HALF
from recsys_core.report.topics import Query
from recsys_core.report.words import Text, Words, named

NIGHTS = 28
_SQL = {
    "ledger": """SELECT ds, max(published_at) AS published_at, max(event_cutoff_ts) AS ends, max(generation) AS generation,
        sum(row_count) AS n_rows, max("trigger") AS started_by FROM publication
        WHERE is_live AND "trigger" <> 'intraday' AND ds <= :ds GROUP BY ds ORDER BY ds""",
    "checks": """SELECT q.ds, sum(CASE WHEN a.check_name IS NULL THEN 1 ELSE 0 END) AS n_failed,
        sum(CASE WHEN a.check_name IS NULL THEN 0 ELSE 1 END) AS n_accepted FROM quality_result q
        LEFT JOIN quality_acceptance a ON a.ds = q.ds AND a.table_name = q.table_name AND a.check_name = q.check_name
        WHERE NOT q.passed AND q.ds <= :ds GROUP BY q.ds ORDER BY q.ds""",
}
_TONIGHT = {
    "publication": """SELECT table_name, row_count, generation, run_id, "trigger", published_at FROM publication
        WHERE ds = :ds AND is_live ORDER BY table_name""",
    "runs": """SELECT job, stage, state, error, wall_s, cpu_s, peak_rss_bytes, read_bytes, written_bytes, row_count, ended_at FROM job_run
        WHERE ds = :ds ORDER BY ended_at, run_id, attempt""",
}


@dataclass(frozen=True)
class NightState:
    """How a night stands: published, warned (published with failed checks), accepted (although a check failed), blocked, or waiting."""

    ds: dt.date
    state: str
    note: Text = ""
    published_at: dt.datetime | None = None
    after_h: float | None = None
    generation: int | None = None
    n_rows: int | None = None
    started_by: str = ""

    @property
    def sign(self) -> str:
        """One character that says the state to who sees no colours."""
        return {"published": "✓", "warned": "!", "accepted": "△", "blocked": "✕", "waiting": "…"}[self.state]

    @property
    def words(self) -> Words:
        """The state in words."""
        return STATES[self.state]


STATES = {
    "published": Words("published", "已发布"),
    "warned": Words("published with warnings", "已发布，有警告"),
    "accepted": Words("published although a check failed", "检查未过，人工接受后发布"),
    "blocked": Words("not published: a check stopped it", "未发布：检查未通过"),
    "waiting": Words("landed, not published", "已送达，未发布"),
}


def night_states(
    query: Query, last: dt.date, landed: Collection[dt.date] = (), stopped: Mapping[dt.date, Sequence[str]] | None = None
) -> dict[dt.date, NightState]:
    """The state of each published or landed night up to `last`, oldest first.

    `stopped` holds the checks that keep a night from being published, by night.
    """
    rows = {name: query(sql, {"ds": last}).to_pylist() for name, sql in _SQL.items()}
    checks = {r["ds"]: r for r in rows["checks"]}
    found = {}
    for r in rows["ledger"]:
        failed, accepted = (int(checks.get(r["ds"], {}).get(name) or 0) for name in ("n_failed", "n_accepted"))
        state = "accepted" if accepted else "warned" if failed else "published"
        n = failed + accepted
        note = Words(f"{n} check{'s' * (n > 1)} failed", f"{n} 项检查未过") if n else ""
        after = (r["published_at"] - r["ends"]).total_seconds() / 3600 if r["published_at"] and r["ends"] else None
        found[r["ds"]] = NightState(
            r["ds"], state, note, r["published_at"], after, r["generation"], int(r["n_rows"] or 0), r["started_by"] or ""
        )
    for ds in landed:
        if ds <= last and ds not in found:
            why = (stopped or {}).get(ds, ())
            found[ds] = NightState(ds, "blocked" if why else "waiting", ", ".join(why))
    return dict(sorted(found.items()))


def operation_parts(query: Query, ds: dt.date) -> dict[str, Any]:
    """Charts and rows of the night's making for the page; no charts of costs where none are in the ledger."""
    states = night_states(query, ds)
    data = {name: query(sql, {"ds": ds}).to_pylist() for name, sql in _TONIGHT.items()}
    runs = _last_runs(data["runs"])
    recent = [s for s in states.values() if s.ds > ds - dt.timedelta(days=NIGHTS) and s.after_h is not None]
    hours = [(Words("night", "夜"), [s.after_h for s in recent])]
    up = Words("hours from the night's end to its publication", "夜晚结束到发布的小时数")
    stages = list(dict.fromkeys(r["stage"] for r in runs))
    cost = {
        s: (sum(r["cpu_s"] or 0.0 for r in runs if r["stage"] == s), sum(r["wall_s"] or 0.0 for r in runs if r["stage"] == s))
        for s in stages
    }
    return {
        "publication": data["publication"],
        "state": states.get(ds),
        "weeks": weeks(states, ds - dt.timedelta(days=NIGHTS + 6), ds),
        "fresh_chart": charts.trend([s.ds for s in recent], hours, up),
        "runs": runs,
        "cost_chart": charts.bars(
            [named(s) for s in stages], [cost[s][0] for s in stages], Words("CPU seconds, by stage", "各阶段 CPU 秒数"), 1, HALF
        ),
        "wall_chart": charts.bars(
            [named(r["job"]) for r in runs], [r["wall_s"] or 0.0 for r in runs], Words("seconds, by job", "各作业秒数"), 1, HALF
        ),
    }


def _last_runs(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last run of each job, in the order in which they ended."""
    return sorted({r["job"]: r for r in rows}.values(), key=lambda r: (r["ended_at"], r["job"]))


def weeks(states: Mapping[dt.date, NightState], first: dt.date, last: dt.date) -> list[list[tuple[dt.date, NightState | None]]]:
    """Whole weeks from Monday to Sunday that hold the days from first to last, each day with its state, None for one outside or unknown."""
    day, found = first - dt.timedelta(days=first.weekday()), []
    while day <= last:
        week = [day + dt.timedelta(days=n) for n in range(7)]
        found.append([(d, states.get(d) if first <= d <= last else None) for d in week])
        day += dt.timedelta(days=7)
    return found
