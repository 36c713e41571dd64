"""OpenLineage events of jobs: what ran, when, under which task of Airflow, from which tables to which, with columns and row counts.

Two events a run, START and COMPLETE or FAIL, appended to one file, a JSON object a line (https://openlineage.io/docs/spec/object-model).
Of an error only its kind is told; no text, id or password is in an event.
"""

from __future__ import annotations

import datetime as dt
import re
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from openlineage.client import event_v2 as ol
from openlineage.client.client import OpenLineageClient
from openlineage.client.facet_v2 import (
    error_message_run,
    job_type_job,
    nominal_time_run,
    output_statistics_output_dataset,
    parent_run,
    schema_dataset,
)
from openlineage.client.transport.file import FileConfig, FileTransport

from jobs import OUTSIDE
from recsys_core.tables import TABLES

if TYPE_CHECKING:
    from jobs.night import Night
    from jobs.settings import Settings

NAMESPACE = "nightly-interests"
PRODUCER = "https://pypi.org/project/nightly-interests"
# Ids of runs follow from what they name, so that whoever knows a run of a job, or a task of Airflow, knows its id.
_RUNS = uuid.uuid5(uuid.NAMESPACE_URL, PRODUCER)


class Lineage:
    """Writes events to the file that LINEAGE_FILE names."""

    def __init__(self, settings: Settings) -> None:
        assert settings.lineage_file, "lineage goes to a file"
        self.settings = settings
        ol.set_producer(PRODUCER)
        transport = FileTransport(FileConfig(log_file_path=settings.lineage_file, append=True))
        # The client's own facets tell the environment and the machine: what is told here is what is written here.
        self._client = OpenLineageClient(transport=transport, config={"facets": {"environment_variables": []}})

    def started(self, night: Night) -> None:
        """Tell that a job's run began."""
        self._client.emit(self._event(night, ol.RunState.START, {}))

    def ended(self, night: Night, row: Mapping[str, Any]) -> None:
        """Tell that it ended, as its row of job_run says."""
        failed = row["state"] == "failed"
        facets = {"errorMessage": error_message_run.ErrorMessageRunFacet(str(row["error"]), "python")} if failed else {}
        self._client.emit(self._event(night, ol.RunState.FAIL if failed else ol.RunState.COMPLETE, facets))

    def _event(self, night: Night, state: ol.RunState, more: Mapping[str, Any]) -> ol.RunEvent:
        assert night.attempt is not None, "a job runs under an attempt"
        zone = ZoneInfo(self.settings.time_zone)
        begin, end = (dt.datetime.combine(day, dt.time(), zone).isoformat() for day in (night.ds, night.ds + dt.timedelta(days=1)))
        facets = {"nominalTime": nominal_time_run.NominalTimeRunFacet(begin, end), **more}
        if parent := parent_of(self.settings):
            facets["parent"] = parent
        about: dict[str, Any] = {"jobType": job_type_job.JobTypeJobFacet("BATCH", "NIGHTLY_INTERESTS", "JOB")}
        return ol.RunEvent(
            eventTime=dt.datetime.fromtimestamp(time.time(), dt.UTC).isoformat(),
            eventType=state,
            run=ol.Run(str(uuid.uuid5(_RUNS, f"{night.stamp.run_id} {night.attempt.number}")), facets),
            job=ol.Job(NAMESPACE, night.job, about),
            inputs=[self._input(table, state) for table in night.spec.reads if table not in OUTSIDE or table == "landing"],
            outputs=self._outputs(night, state),
        )

    def _input(self, table: str, state: ol.RunState) -> ol.InputDataset:
        place = self.settings.landing if table == "landing" else f"{self.settings.lake.rstrip('/')}/{table}"
        return ol.InputDataset(*dataset(place), facets=_columns(table, state))

    def _outputs(self, night: Night, state: ol.RunState) -> list[ol.OutputDataset]:
        lake, warehouse = self.settings.lake.rstrip("/"), self.settings.warehouse
        found = []
        for table in night.spec.writes:
            made = night.written.get(table)
            size = _rows(made.rows, made.bytes) if made else {}
            found.append(ol.OutputDataset(*dataset(f"{lake}/{table}"), facets=_columns(table, state), outputFacets=size))
        for table, rows in night.published.items():
            place = f"{warehouse.split('?')[0]}{'/' if warehouse.startswith('duckdb') else '.public.'}{table}"
            found.append(ol.OutputDataset(*dataset(place), facets=_columns(table, state), outputFacets=_rows(rows, None)))
        return found


def dataset(place: str) -> tuple[str, str]:
    """(namespace, name) of a table by OpenLineage's naming: where it lies, without user and password.

    >>> dataset("postgresql://loader:secret@db:5432/interests.public.user_topn")
    ('postgres://db:5432', 'interests.public.user_topn')
    >>> dataset("duckdb:////data/warehouse.duckdb/user_topn")
    ('file', '/data/warehouse.duckdb/user_topn')
    >>> dataset("s3://bucket/lake/session"), dataset("var/lake/session")
    (('s3://bucket', 'lake/session'), ('file', 'var/lake/session'))
    """
    found = urlsplit(place)
    if found.scheme in ("", "file", "duckdb"):
        return "file", re.sub(r"^(duckdb:///|file://)", "", place)
    host = found.netloc.rpartition("@")[2]
    scheme = "postgres" if found.scheme.startswith("postgres") else found.scheme
    return f"{scheme}://{f'{host}:5432' if scheme == 'postgres' and ':' not in host else host}", found.path.lstrip("/")


def parent_of(settings: Settings) -> parent_run.ParentRunFacet | None:
    """The task of Airflow that the command belongs to, as Airflow's own words in the environment name it; None without one."""
    task = [settings.airflow_ctx_dag_id, settings.airflow_ctx_dag_run_id, settings.airflow_ctx_task_id, settings.airflow_ctx_try_number]
    if not all(task[:3]):
        return None
    dag, run, name, attempt = (str(word or "") for word in task)
    root = parent_run.Root(parent_run.RootRun(str(uuid.uuid5(_RUNS, f"{dag} {run}"))), parent_run.RootJob(NAMESPACE, dag))
    own = parent_run.Run(str(uuid.uuid5(_RUNS, f"{dag} {run} {name} {attempt}")))
    return parent_run.ParentRunFacet(own, parent_run.Job(NAMESPACE, f"{dag}.{name}"), root)


def _columns(table: str, state: ol.RunState) -> dict[str, Any]:
    if table not in TABLES or state is ol.RunState.START:  # once for a run
        return {}
    fields = [schema_dataset.SchemaDatasetFacetFields(c.name, c.type, c.doc, fields=None) for c in TABLES[table].columns]
    return {"schema": schema_dataset.SchemaDatasetFacet(fields)}


def _rows(rows: int, size: int | None) -> dict[str, Any]:
    return {"outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rows, size)}
