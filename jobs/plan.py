"""What a run would build and why, from manifests and landing files alone."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from jobs import NIGHTLY, OUTSIDE
from jobs.runner import NO_MODEL, NONE, listed, parameters_of
from recsys_core.tables import TABLES

if TYPE_CHECKING:
    from jobs.runner import Runner
    from recsys_core import registry


def plan(runner: Runner, first: dt.date, last: dt.date) -> Iterator[str]:
    """Lines that say what `nights` from first to last would build and why, which later nights that makes stale, and how many of each.

    Only manifests and landing files are read. A partition that will be written again counts as changed, with all that follows from it.
    """
    changed: set[str] = set()
    counts: dict[str, Counter[str]] = {job: Counter() for job in NIGHTLY}
    since = max(first, runner.built_from or first)
    if since > first:
        yield f"nights before {since.isoformat()} stay as they are: something of them was removed for its age"
    for ds in (d for d in runner.landing.nights() if d >= since):
        for job, spec in NIGHTLY.items():
            by_model = any(len(TABLES[t].partition) > 1 for t in spec.writes)
            models = runner.models_for(job, ds)
            if not models and ds <= last:
                counts[job]["without a model"] += 1
                yield f"{ds.isoformat()} {job}: nothing to do ({NO_MODEL})"
            for under in models:
                state, line = _state(runner, job, ds, under, changed)
                if ds > last and not line.startswith("stale: inputs"):
                    continue
                if state in ("to build", "stale"):
                    changed |= {runner.lake.partition(t, ds, **runner.parts(t, under)) for t in spec.writes}
                counts[job][state] += 1
                note = runner.models.note(ds) if not by_model and runner.stamped_models(job, under) else ""
                by = [*runner.parts(spec.writes[0], under).values()] if by_model else []
                yield f"{ds.isoformat()} {job}{f' ({by[0]})' if by else ''}: {line}{note}"
    yield from (f"{job}: {', '.join(f'{n} {state}' for state, n in sorted(c.items())) or 'nothing'}" for job, c in counts.items())


def _state(runner: Runner, job: str, ds: dt.date, under: registry.ModelVersion | None, changed: set[str]) -> tuple[str, str]:
    """(state, state with its reason) of a job, when the partitions `changed` are going to be written before it."""
    upstream, absent = [], []
    for table, back in NIGHTLY[job].reads.items():
        if table in OUTSIDE or NONE in runner.parts(table, under).values():
            continue
        found, missing = runner.look_back(job, table, ds, under)
        for night in (d for d in runner.landing.nights() if ds - back * dt.timedelta(days=1) < d <= ds):
            rewritten = runner.lake.partition(table, night, **runner.parts(table, under)) in changed
            # A vector follows from its text: writing it again changes nothing behind it.
            if rewritten and not (table == "text_embedding" and night in found):
                upstream.append(f"{table}/{night.isoformat()}")
            elif night in missing and table not in NIGHTLY[job].optional:
                absent.append(f"{table}/{night.isoformat()}")
    live = runner.live(job, ds, under)
    if absent:
        return "waiting", f"waits for {listed(absent, 3)}"
    if not all(live):
        return "to build", "to build (never built)"
    if upstream:
        return "stale", f"stale: inputs changed ({listed(upstream, 3)})"
    if not live:
        return "run every time", "runs every time (it keeps nothing in the lake)"
    now = runner.stamp(job, ds, under, {n: p.default for n, p in parameters_of(NIGHTLY[job]).items()})
    if all(m is not None and m.input_hash == now.input_hash for m in live):
        return "up to date", "up to date"
    pairs = {(what, value) for m in live if m for what, value in m.inputs}
    differing = sorted({what for what, _ in pairs ^ set(now.inputs)})
    return "stale", f"stale: inputs changed ({listed(differing, 3)})" if differing else "stale: code or config changed"
