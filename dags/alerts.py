"""Alerts from Airflow: a task that failed for good, a night that is late, posted to ALERT_WEBHOOK with a link into the runbook.

An alert is {what, why, dag, task, run, ds, state, runbook, at}. A hook that is not there, or does not answer, is said in a log and fails
nothing. A scheduler that is dead posts nothing either: that is what `python -m jobs probe` is for, asked from outside.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference
from airflow.sdk.bases.notifier import BaseNotifier

from dags import places
from jobs.observe.alerts import POST_S, alert

# From when a run was queued: the night may first have to end (a time zone behind UTC, a grace), then it is built.
NIGHT_WAIT = timedelta(hours=12)


class Webhook(BaseNotifier):
    """Posts an alert of a kind (`jobs.observe.alerts.RUNBOOK`): as a callback of a task, or of a deadline."""

    def __init__(self, what: str, context: Any = None) -> None:
        super().__init__(context)
        self.what = what

    def notify(self, context: Any) -> None:
        """Post it, from a task's process or the DAG processor."""
        import httpx

        if prepared := self._prepared(context):
            try:
                answer = httpx.post(prepared[0], json=prepared[1], timeout=POST_S)
                self._said("sent" if answer.is_success else f"not taken: the webhook answers {answer.status_code}")
            except Exception as error:  # noqa: BLE001 - nothing fails because nobody could be told
                self._said(f"not sent: {type(error).__name__}")

    async def async_notify(self, context: Any) -> None:
        """Post it, from the triggerer."""
        import httpx

        if prepared := self._prepared(context):
            try:
                async with httpx.AsyncClient(timeout=POST_S) as client:
                    answer = await client.post(prepared[0], json=prepared[1])
                self._said("sent" if answer.is_success else f"not taken: the webhook answers {answer.status_code}")
            except Exception as error:  # noqa: BLE001
                self._said(f"not sent: {type(error).__name__}")

    def _prepared(self, context: Mapping[str, Any]) -> tuple[str, dict[str, str]] | None:
        """(the hook, what is posted); None, and said, when there is none."""
        # At its usual level the client writes the URL into the log, and a hook's URL is a secret.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        try:
            site = places.settings()
            hook = site.webhook()
            if not hook:
                self._said("not sent: ALERT_WEBHOOK is not set")
                return None
            return hook, alert(site, self.what, WHY[self.what], **_about(context))
        except Exception as error:  # noqa: BLE001
            self._said(f"not sent: {type(error).__name__}")
            return None

    def _said(self, how: str) -> None:
        self.log.info("alert %s: %s", self.what, how)


WHY = {
    "task_failed": "a task failed; the last line of its log says what is wrong and the remedy",
    "night_late": f"a run of nightly is not done {NIGHT_WAIT.total_seconds() / 3600:.0f} hours after it was queued",
}
TASK_FAILED = Webhook("task_failed")


def _about(context: Mapping[str, Any]) -> dict[str, str | None]:
    """What an alert is about: in a task's callback the context has objects, in a deadline's the run as JSON."""
    from dags.operators import resolve_ds

    given = context["dag_run"]
    run = SimpleNamespace(**given) if isinstance(given, Mapping) else given
    if isinstance(given, Mapping):
        run.run_id = given.get("dag_run_id") or given.get("run_id")
        for name in ("logical_date", "run_after"):
            value = given.get(name)
            setattr(run, name, datetime.fromisoformat(value) if isinstance(value, str) else value)
    task = context.get("task_instance")
    try:
        ds = resolve_ds(run)
    except Exception:  # noqa: BLE001 - a date that is none is what failed
        ds = None
    state = "failed" if task is not None else str(getattr(run, "state", "") or "")
    return {"dag": run.dag_id, "task": task and task.task_id, "run": run.run_id, "ds": ds, "state": state}


def night_deadline() -> DeadlineAlert:
    """The alert of a night that takes too long."""
    return DeadlineAlert(
        DeadlineReference.DAGRUN_QUEUED_AT, NIGHT_WAIT, AsyncCallback(Webhook, kwargs={"what": "night_late"}), name="night late"
    )
