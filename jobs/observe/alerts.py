"""Alerts: what went wrong in one word, and the section of the runbook (docs/operations.md) that says what to do. Imports nothing heavy."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.settings import Settings

POST_S = 10.0
# what → heading of its section in the runbook.
RUNBOOK = {
    "night_late": "The night is late",
    "no_night": "The night is late",
    "task_failed": "A task failed",
    "job_failed": "A task failed",
    "check_failed": "A check failed",
    "warehouse_unreachable": "The warehouse does not answer",
    "airflow_down": "Airflow is down",
    "metrics_missing": "Metrics are missing",
}


def anchor(heading: str) -> str:
    """What Markdown renderers make of a heading.

    >>> anchor("The night is late")
    'the-night-is-late'
    """
    return heading.lower().replace(" ", "-")


def runbook(settings: Settings, what: str) -> str:
    """Where the runbook says what to do."""
    return f"{settings.runbook_url}#{anchor(RUNBOOK[what])}"


def alert(settings: Settings, what: str, why: str, **about: str | None) -> dict[str, str]:
    """What is posted: {what, why, runbook, at}, and dag, task, run, ds and state as far as they are known."""
    at = dt.datetime.fromtimestamp(time.time(), dt.UTC).isoformat(timespec="seconds")
    return {"what": what, "why": why, **{k: v for k, v in about.items() if v}, "runbook": runbook(settings, what), "at": at}


def post(settings: Settings, body: dict[str, str]) -> str:
    """Post an alert to ALERT_WEBHOOK from a command; '' when it was taken, else why not, without the URL, which may hold a token."""
    import httpx2

    hook = settings.webhook()
    if not hook:
        return "ALERT_WEBHOOK is not set"
    try:
        answer = httpx2.post(hook, json=body, timeout=POST_S)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        return f"the webhook does not answer ({type(error).__name__})"
    return "" if answer.is_success else f"the webhook answers {answer.status_code}"
