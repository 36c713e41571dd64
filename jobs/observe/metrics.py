"""Metrics in Prometheus's text format, in files that node_exporter's textfile collector (or anything that reads the format) picks up.

One file for the last run of each job and one for the state of the warehouse, each replaced whole: jobs end in processes of their own,
several at a time, and none stays to be asked. Times are Unix seconds, so that what is late is `time() - …` in the query.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

if TYPE_CHECKING:
    from jobs.settings import Settings

PREFIX = "nightly_interests_"
_RUN = ("job", "stage")
# name → (help, labels). What is said of the last run of a job, then what is said of the warehouse.
JOB_METRICS: dict[str, tuple[str, tuple[str, ...]]] = {
    "job_failed": ("Whether the last run of the job failed", _RUN),
    "job_ended_timestamp_seconds": ("When the last run of the job ended", _RUN),
    "job_night_timestamp_seconds": ("Night of the last run of the job, its date at 00:00 UTC", _RUN),
    "job_duration_seconds": ("Wall time of the last run of the job", _RUN),
    "job_cpu_seconds": ("Processor time of the last run of the job, child processes included", _RUN),
    "job_peak_rss_bytes": ("Most memory that the processes of the last run of the job held", _RUN),
    "job_read_bytes": ("Bytes that the last run of the job read", _RUN),
    "job_written_bytes": ("Bytes that the last run of the job wrote", _RUN),
    "job_rows": ("Rows that the last run of the job wrote", ("job", "stage", "table")),
}
STATUS_METRICS: dict[str, tuple[str, tuple[str, ...]]] = {
    "status_timestamp_seconds": ("When this was looked up", ()),
    "night_ended_timestamp_seconds": ("End of the newest published night, in the site's time zone", ()),
    "night_published_timestamp_seconds": ("When the newest published night was published", ()),
    "nights_behind": ("Landed nights after the newest published one", ()),
    "night_rows": ("Rows of the newest published night", ("table",)),
    "quality_passed": ("Whether a check of the newest published night passed", ("table", "check", "severity")),
    "quality_observed": ("What a check of the newest published night saw", ("table", "check", "severity")),
    "quality_threshold": ("What a check of the newest published night allows", ("table", "check", "severity")),
    "model_valid_from_timestamp_seconds": ("First night that the champion model is valid for, its date at 00:00 UTC", ("kind",)),
}

CHECKS = "SELECT table_name, check_name, severity, observed, threshold, passed FROM quality_result WHERE ds = :ds"


class Page:
    """Values of some metrics, written as one file."""

    def __init__(self, declared: Mapping[str, tuple[str, tuple[str, ...]]]) -> None:
        self._registry = CollectorRegistry()
        self._gauges = {n: Gauge(PREFIX + n, text, labels, registry=self._registry) for n, (text, labels) in declared.items()}

    def set(self, name: str, value: float | None, *labels: str) -> None:
        """Set a metric; one without a value is left out."""
        if value is not None:
            gauge = self._gauges[name]
            (gauge.labels(*labels) if labels else gauge).set(value)

    def drop(self, name: str) -> None:
        """Leave out a metric that has no labels and no value, instead of saying 0."""
        self._registry.unregister(self._gauges.pop(name))

    def write(self, folder: str, name: str) -> None:
        """Replace the file of that name; the folder is made."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_to_textfile(str(Path(folder) / f"{PREFIX}{name}.prom"), self._registry)


def write_job(folder: str, row: Mapping[str, Any]) -> None:
    """The metrics of a job's last run, from its row of job_run."""
    page, of = Page(JOB_METRICS), (row["job"], row["stage"])
    values = {
        "job_failed": float(row["state"] == "failed"),
        "job_ended_timestamp_seconds": row["ended_at"].timestamp(),
        "job_night_timestamp_seconds": _midnight(row["ds"]),
        "job_duration_seconds": row["wall_s"],
        "job_cpu_seconds": row["cpu_s"],
        "job_peak_rss_bytes": row["peak_rss_bytes"],
        "job_read_bytes": row["read_bytes"],
        "job_written_bytes": row["written_bytes"],
    }
    for name, value in values.items():
        page.set(name, value, *of)
    for table, rows in json.loads(row["rows_by_table"]).items():
        page.set("job_rows", rows, *of, table)
    page.write(folder, f"job_{row['job']}")


def write_status(settings: Settings) -> None:
    """The metrics of the warehouse as it is now, where METRICS_FOLDER says."""
    from jobs.observe.state import state_of
    from recsys_core.warehouse import connect

    assert settings.metrics_folder, "metrics go to a folder"
    moment = dt.datetime.fromtimestamp(time.time(), dt.UTC)
    with connect(settings.warehouse) as warehouse:
        state = state_of(settings, warehouse, moment)
        night = state["night"] and dt.date.fromisoformat(state["night"])
        checks = warehouse.query(CHECKS, {"ds": night}).to_pylist() if night else []
    page = Page(STATUS_METRICS)
    page.set("status_timestamp_seconds", moment.timestamp())
    for name, key in (("night_ended_timestamp_seconds", "night_ended_at"), ("night_published_timestamp_seconds", "published_at")):
        if state[key]:
            page.set(name, dt.datetime.fromisoformat(state[key]).timestamp())
        else:
            page.drop(name)
    page.set("nights_behind", len(state["nights_behind"]))
    for table, rows in state["rows"].items():
        page.set("night_rows", rows, table)
    for check in checks:
        of = (check["table_name"], check["check_name"], check["severity"])
        page.set("quality_passed", float(check["passed"]), *of)
        page.set("quality_observed", check["observed"], *of)
        page.set("quality_threshold", check["threshold"], *of)
    for model in state["models"]:
        page.set("model_valid_from_timestamp_seconds", _midnight(dt.date.fromisoformat(model["valid_from"])), model["kind"])
    page.write(settings.metrics_folder, "status")


def _midnight(day: dt.date) -> float:
    return dt.datetime.combine(day, dt.time(), dt.UTC).timestamp()
