"""The DAG `nightly`: one run builds and publishes one night."""

from __future__ import annotations

import sys
from pathlib import Path

from airflow.sdk import CronDataIntervalTimetable, Param

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `jobs` lies beside `dags`

from dags.alerts import night_deadline
from dags.days import MOMENT
from dags.operators import MODELS, PUBLISHED, build_dag
from jobs import NIGHTLY

DOC = """
### One run = one night

Each run builds every table of one night `ds` and publishes them in one transaction; readers see the whole night or the one before it.

| you want | do this |
|---|---|
| a certain night | **Trigger**, fill in **Night (ds)** |
| the latest complete night | **Trigger**, leave it blank |
| many past nights | **Trigger → Backfill**, or `airflow backfill create --dag-id nightly --from-date A --to-date B`: both ends included |
| to repeat a failed step | open the task, **Clear task** |
| to rebuild what has not changed | **Trigger** with another choice of **Rebuild** |
| a past night without what came in later | **Trigger** with **Known up to** |
| a past night under a model promoted since | **Trigger** with **Use current models** on; otherwise it stays under its own |

- The scheduled run of the interval that starts on D builds night D. It starts at midnight UTC; any other hour would drop the last night of
  a backfill range.
- `ready` waits for the end of D in the configured time zone, plus the grace setting; future dates fail within seconds.
- Airflow silently leaves out backfill nights that have not ended; it runs one backfill of a DAG at a time.
- Nights run in parallel; what looks back on a night still being built waits for it.
- A run again gives the same rows, and is quick: jobs with equal inputs are skipped.
- Where data lies (`LANDING`, `LAKE`, `WAREHOUSE`) and all keys come from the settings of the machine, never from a run.
"""

CURRENT_MODELS = Param(
    False,
    type="boolean",
    title="Use current models",
    description_md="Take the models that are valid for the night now. Off: a night that was built before stays under the models of then.",
)
KNOWN_CUTOFF = Param(
    None,
    type=["null", "string"],
    format="date-time",
    allOf=[{"format": MOMENT}],
    title="Known up to",
    description_md="Leave out what was received after this moment. Blank: take in all that has landed.",
)

dag = build_dag(
    "nightly",
    NIGHTLY,
    {"prepare": ("facts", "texts"), "understand": ("topics", "interests"), "deliver": ("lists", "publish", "report")},
    params={"use_current_models": CURRENT_MODELS, "known_cutoff": KNOWN_CUTOFF},
    words=(
        "{{ '--use-current-models' if params.use_current_models else '' }}",
        "{{ '--known-cutoff' if params.known_cutoff else '' }}",
        "{{ moment(params.known_cutoff) }}",
    ),
    assets={"topics": {"inlets": [MODELS]}, "publish": {"outlets": [PUBLISHED]}},
    deadline=night_deadline(),
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    description="Behaviour logs of one night to interests, topics and top-N lists",
    doc_md=DOC,
    max_active_runs=2,
    max_active_tasks=4,
    tags=["nightly-interests", "nightly"],
)
