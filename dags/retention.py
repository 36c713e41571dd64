"""The DAG `retention`: once a week what is older than the site keeps it goes."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, CronTriggerTimetable, Param

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `jobs` lies beside `dags`

from dags.explained import STATES_DOC
from dags.operators import DEFAULT_ARGS, EXIT_USAGE, JobOperator

DOC = """
### Removing what is old

Removes what is older than `RETAIN_LANDING_DAYS`, `RETAIN_TEXT_DAYS`, `RETAIN_LAKE_DAYS` and `RETAIN_WAREHOUSE_DAYS` say: delivered events,
tables of the lake, published nights and their reports. Days count from the newest cleaned night. Without these settings nothing goes.

- The scheduled run (Wednesdays, 12:00 UTC) waits while runs of `nightly`, `training` or `erasure` are at work: what they read stays.
- **Trigger** with **Only say what would go** on removes nothing, waits for nobody, and lists in its log what a run would remove, and what
  stays for longer than was asked, and why.
- What is gone does not come back: nights of which something went stay as they are, and `nightly` refuses to build them.
- A run that failed or was killed is made good by the next one; runs that were missed need none.

**Reads** what there is of each night. **Writes** nothing but the first night that can still be built, and the index of reports.

What stays for how long, and why: `docs/security.md`.
"""

OTHERS = ("nightly", "training", "erasure")
DRY_RUN = Param(
    False,
    type="boolean",
    title="Only say what would go",
    description_md="List what is old enough to go, and remove nothing.",
)

with DAG(
    "retention",
    schedule=CronTriggerTimetable("0 12 * * 3", timezone="UTC"),
    allowed_run_types=["scheduled", "manual"],
    description="Remove what is older than the site keeps it",
    doc_md=f"{DOC}\n{STATES_DOC}",
    catchup=False,
    max_active_runs=2,  # a dry run does not queue behind one that waits; two removals at a time do no harm
    params={"dry_run": DRY_RUN},
    default_args=DEFAULT_ARGS | {"timeout": timedelta(days=6), "execution_timeout": timedelta(hours=24)},
    tags=["nightly-interests", "retention"],
) as dag:
    JobOperator(
        task_id="retain",
        argv=["python", "-m", "jobs", "retain", "{{ '--dry-run' if params.dry_run else '' }}"],
        beside=[f"{{{{ '' if params.dry_run else '{other}' }}}}" for other in OTHERS],
        fatal=(EXIT_USAGE,),
        doc_md="Removes what is old; the log says what went. **Waiting**: a night is being built, models are trained, or people forgotten; "
        "the log names the DAG. **Failed**: the last line says what is wrong.",
    )
