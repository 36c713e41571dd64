"""The DAG `training`: one run fits topics, forecasts, event weights and the ranker on the nights up to ds, valid from the night after."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

from airflow.sdk import CronTriggerTimetable

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `jobs` lies beside `dags`

from dags.operators import MODELS, PUBLISHED, build_dag
from jobs import TRAINING

DOC = """
### New models, once a week

Fits topics, a forecast, event weights and the ranker of lists on the nights up to and including `ds`, registers them as versions valid from
the night after, and builds the windows they need. Each comes into use only if it passes its gate. `nightly` takes the version that was
valid on its night, so a backfilled night never sees a model trained on its future.

- The scheduled run (Mondays, 00:00 UTC) trains up to the Sunday that has just ended.
- **Trigger** with **Night (ds)** trains up to that night; blank means the last night that has ended.
- Backfills are refused: train for a past date with an explicit `ds`, then backfill `nightly`.
- The same nights and parameters give the same version: running twice changes nothing.
"""

dag = build_dag(
    "training",
    TRAINING,
    {"topics": ("fit", "promote"), "predictions": ("forecast", "weights", "rank")},
    assets={"fit": {"inlets": [PUBLISHED]}, "rank": {"outlets": [MODELS]}},
    schedule=CronTriggerTimetable("0 0 * * 1", timezone="UTC", interval=timedelta(days=1)),
    description="Topics, forecasts, event weights and the ranker from the nights up to ds, valid from the next night",
    doc_md=DOC,
    max_active_runs=1,
    max_active_tasks=2,
    allowed_run_types=["scheduled", "manual"],
    tags=["nightly-interests", "training"],
)
