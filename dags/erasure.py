"""The DAG `erasure`: one run forgets the users whose ids lie in the inbox."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `jobs` lies beside `dags`

from dags.explained import STATES_DOC
from dags.operators import DEFAULT_ARGS, EXIT_USAGE, JobOperator

DOC = """
### Forgetting people

1. Put a list of user ids, one on each line, into the folder that the setting `ERASURE_INBOX` names: write it elsewhere, then move it there.
2. **Trigger**. No id is typed here, and none stands in a log: the run prints how much was removed from which file and table.

A list is removed once its users are gone from delivered files, lake and warehouse. A failed run has kept the list: mend what the last log
line names and press **Clear task**; it goes on where it was cut off. Nobody else's rows are computed anew, and no night becomes stale.

**Reads** the inbox and the restricted map `id_map`. **Writes** delivered files, every table of lake and warehouse, `erasure_request`.

What is not removed, and for how long: `docs/erasure.md`. Model versions that were trained on data of these users are listed in the report.
"""

with DAG(
    "erasure",
    schedule=None,
    allowed_run_types=["manual"],
    description="Forget the users whose ids lie in the inbox",
    doc_md=f"{DOC}\n{STATES_DOC}",
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS | {"execution_timeout": timedelta(hours=24)},
    tags=["nightly-interests", "erasure"],
) as dag:
    JobOperator(
        task_id="forget",
        argv=["python", "-m", "jobs", "forget", "--inbox"],
        fatal=(EXIT_USAGE,),
        doc_md="Forgets the users of all lists in the inbox; the log ends with the report. **Failed**: the last line says what is wrong.",
    )
