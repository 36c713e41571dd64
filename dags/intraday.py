"""The DAG `intraday`: every quarter of an hour the events of the running day are laid over the last published night."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, CronTriggerTimetable

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `jobs` lies beside `dags`

from dags.explained import STATES_DOC
from dags.forms import day_param
from dags.operators import DEFAULT_ARGS, EXIT_USAGE, PUBLISHED, JobOperator, running_ds

DOC = """
### The day so far

Each run takes in what has landed of the running day since the last run, each event once, and publishes `user_interest_intraday`: the shares
of who did something today, as a mixture of the last published night and today. The view `user_interest_today` shows everybody.

- A day of which nothing has landed yet, or before the first published night, is **skipped**.
- Once the night of the day is published it supersedes all this: the rows are no longer shown, and the working files go.
- A run that failed or was killed is made good by the next one; runs that were missed need none.
- **Trigger** with **Day (ds)** for another day than the running one.

**Reads** what has landed of the day, `user_interest` and the models of the last published night. **Writes** `user_interest_intraday`.

What counts and how: `docs/intraday.md`. Without Airflow, as a process that goes on: `python -m jobs intraday --continuous`.
"""

with DAG(
    "intraday",
    schedule=CronTriggerTimetable("*/15 * * * *", timezone="UTC"),
    allowed_run_types=["scheduled", "manual"],
    description="Interests as of what has landed of the running day",
    doc_md=f"{DOC}\n{STATES_DOC}",
    catchup=False,
    max_active_runs=1,
    params={"ds": day_param("Day (ds)", "The day to take in, as YYYY-MM-DD. Blank: the one that is running.")},
    user_defined_macros={"running_ds": running_ds},
    default_args=DEFAULT_ARGS | {"execution_timeout": timedelta(hours=1)},
    tags=["nightly-interests", "intraday"],
) as dag:
    JobOperator(
        task_id="overlay",
        argv=["python", "-m", "jobs", "intraday", "--ds", "{{ running_ds(dag_run) }}"],
        fatal=(EXIT_USAGE,),
        inlets=[PUBLISHED],
        doc_md="Takes in what has landed. **Skipped**: nothing landed yet, or no night is published. **Failed**: the last line says why.",
    )
