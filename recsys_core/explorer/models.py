"""Models: all that were registered, and two of them side by side."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recsys_core.explorer.reads import Night, Reads

MOST_MODELS, MOST_METRICS, MOST_STEPS = 200, 5000, 200
METRIC_TIME = dt.timedelta(days=30)
# What names a metric, whichever model and night it is of.
_METRIC = ("subject", "list_name", "variant", "metric", "k", "baseline")


@dataclass(frozen=True)
class ModelsPage:
    """Registered models, the versions that have metrics, and of the two chosen each metric (newest night) and the steps between topics.

    metrics  rows of subject, list_name, variant, metric, k, baseline and, where it is known, `a` and `b`: rows of eval_metric
    steps    what became of the topics of the one in the other, when one follows the other
    """

    models: tuple[Mapping[str, Any], ...]
    known: tuple[str, ...]
    a: str | None
    b: str | None
    metrics: tuple[Mapping[str, Any], ...]
    steps: tuple[Mapping[str, Any], ...]


def models_page(reads: Reads, night: Night, a: str | None, b: str | None) -> ModelsPage | None:
    """Models as of a night; None when `a` or `b` names no model."""
    models = reads.rows("models", most=MOST_MODELS)
    measured = reads.rows("model_metrics", ds=night.ds, from_ds=night.ds - METRIC_TIME, most=MOST_METRICS)
    known = list(dict.fromkeys([m["model_version"] for m in models] + sorted({m["model_version"] for m in measured})))
    if not {a, b} - {None} <= set(known):
        return None
    metrics: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in measured:  # the newest night first
        for side in (side for side, name in (("a", a), ("b", b)) if name == row["model_version"]):
            found = metrics.setdefault(tuple(row[n] for n in _METRIC), {n: row[n] for n in _METRIC} | {"a": None, "b": None})
            found[side] = found[side] or row
    steps = [
        row
        for old, new in {(a, b), (b, a)}
        if old and new
        for row in reads.rows("model_lineage", model_version=new, most=MOST_STEPS)
        if row["prev_model_version"] == old
    ]
    return ModelsPage(tuple(models), tuple(known), a, b, tuple(metrics[key] for key in sorted(metrics)), tuple(steps))
