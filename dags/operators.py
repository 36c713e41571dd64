"""From the registry to Airflow: `resolve_ds` says which night a run means, `JobOperator` runs a command, `build_dag` draws."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from airflow.sdk import DAG, Asset, BaseSensorOperator, Param, TaskGroup
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from dags import places
from dags.alerts import TASK_FAILED
from dags.explained import READY_DOC, stage_doc, stages_doc
from dags.forms import day_param, rebuild_param
from jobs import Job, stage_edges, stages
from jobs.observe import logs

ROOT = Path(__file__).resolve().parents[1]
LAUNCHER = Path(__file__).with_name("launcher.py")
EXIT_FAILED, EXIT_USAGE, EXIT_WAIT, EXIT_ABSENT = 1, 2, 75, 99
GRACE_S = 3.0  # between SIGTERM and SIGKILL: a JVM needs one second to remove its temporary files, and five are promised for all
DEFAULT_ARGS: dict[str, Any] = {
    "owner": "nightly-interests",
    "pool": "default_pool",
    "retries": 2,
    "retry_delay": timedelta(minutes=2),  # longer than the grace of a killed try
    "poke_interval": 60,
    "timeout": timedelta(hours=6),
    "execution_timeout": timedelta(hours=6),
    "do_xcom_push": False,
    "on_failure_callback": TASK_FAILED,
}


# What the DAGs hand to each other; no run is started by it, because a night is named by its date alone.
PUBLISHED = Asset("nightly-interests-published-night", uri="x-nightly-interests://warehouse/published-night", group="nightly-interests")
MODELS = Asset("nightly-interests-models", uri="x-nightly-interests://warehouse/models", group="nightly-interests")


def night_zone() -> ZoneInfo:
    """The time zone whose days are the nights, from the same settings that the commands read."""
    return ZoneInfo(places.settings().time_zone)


def resolve_ds(run: Any) -> str:
    """The night (YYYY-MM-DD) that a DAG run means: here, and in `running_ds`, a run becomes a date.

    An explicit `ds` wins, but a backfill has a range instead; a scheduled, backfill or asset run means its logical date; a manual run
    means the last night that ended before its `run_after`, in the configured time zone (the logical date "now" that the UI fills in is
    ignored). Anything else fails at once.
    """
    kind = str(getattr(run.run_type, "value", run.run_type))
    if given := _typed(run):
        if kind == "backfill":
            raise AirflowFailException("A backfill takes its nights from its range: create it again with the field Night (ds) left blank.")
        return given
    if kind in ("manual", "operator_triggered"):
        if run.run_after is not None:
            return (run.run_after.astimezone(night_zone()).date() - timedelta(days=1)).isoformat()
    elif run.logical_date is not None:
        return run.logical_date.astimezone(UTC).date().isoformat()
    raise AirflowFailException(f"This {kind} run has no date to take a night from: trigger the DAG by hand and fill in ds.")


def running_ds(run: Any) -> str:
    """The day (YYYY-MM-DD) whose events a run of the DAG intraday takes in: an explicit `ds`, else that of the moment before `run_after`.

    So the run of midnight, in the configured time zone, takes in the last quarter of an hour of the day that has just ended.
    """
    if given := _typed(run):
        return given
    if run.run_after is None:
        raise AirflowFailException("This run has no time to take a day from: trigger the DAG by hand and fill in ds.")
    return (run.run_after - timedelta(microseconds=1)).astimezone(night_zone()).date().isoformat()


def _typed(run: Any) -> str | None:
    """The date that was given with the run; None without one, a failure when it is none."""
    given = (run.conf or {}).get("ds")
    if not given:
        return None
    try:
        night = date.fromisoformat(str(given))
    except ValueError:
        night = None
    if night is None or night.isoformat() != given:
        raise AirflowFailException(f"ds={given!r} is not a calendar date like 2026-03-01: trigger again with a correct one.")
    return night.isoformat()


def moment(given: str | None) -> str:
    """A moment that was given with the run as UTC (2026-03-16T00:00:00Z), blank without one; without an offset it is UTC."""
    if not given:
        return ""
    try:
        found = datetime.fromisoformat(str(given))
    except ValueError:
        raise AirflowFailException(f"{given!r} is not a moment like 2026-03-16T00:00:00Z: trigger again with a correct one.") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def trigger_of(run: Any) -> str:
    """How the run came about, as `python -m jobs … --trigger` names it: scheduled, backfill or manual."""
    kind = str(getattr(run.run_type, "value", run.run_type))
    return kind if kind in ("scheduled", "backfill") else "manual"


class JobOperator(BaseSensorOperator):
    """Runs `argv` in a session of its own, its output line by line in the task log, and leaves no process behind.

    Exit code 0 is success; 75 reschedules the task, which frees its slot, until `timeout`; 99 (nothing landed for that night) skips it and
    what follows; 2, and any code in `fatal`, fails it without a retry; every other code fails the try. However the try ends (done, failed,
    timed out, cleared, marked in the UI, its worker killed), the command's whole process tree gets SIGTERM and, three
    seconds later, SIGKILL.

    The setting RUN_JOBS sends the command elsewhere, with the same exit codes; `spark` says that a cluster helps it. While one of the DAGs
    `beside` has a run at work it is not started: the task is rescheduled, as by exit code 75.
    """

    template_fields = ("argv", "beside", "command")
    template_fields_renderers: ClassVar = {"argv": "json", "command": "bash"}
    ui_color = "#dbeafe"

    def __init__(
        self,
        *,
        argv: list[str],
        beside: list[str] | None = None,
        fatal: tuple[int, ...] = (EXIT_USAGE,),
        grace_s: float = GRACE_S,
        spark: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(mode="reschedule", **kwargs)
        self.argv = argv
        self.beside = beside or []
        self.spark = spark
        self.command = ""
        self.fatal = fatal
        self.grace_s = grace_s
        self._process: subprocess.Popen[str] | None = None
        self._pod: Any = None

    def render_template_fields(self, context: Any, jinja_env: Any = None) -> None:
        """Renders `argv` and drops the words that came out empty: flags that are off. `command` is the line to be typed in a shell."""
        super().render_template_fields(context, jinja_env)
        self.argv = [word for word in self.argv if word]
        self.command = shlex.join(self.argv)

    def poke(self, context: Any) -> bool:
        """True when the command is done, False when it asks to be started again later, or is to wait for others."""
        if busy := [dag for dag in self.beside if dag and context["ti"].get_dr_count(dag_id=dag, states=["running"])]:
            self.log.info("Waiting, next try in %.0f s: a run of %s is at work", self.poke_interval, " and of ".join(busy))
            return False
        code, last = self.run_command(context)
        if code == 0:
            return True
        said = f"{' '.join(self.argv)} exited with {code}: {last}" if last else f"{' '.join(self.argv)} exited with {code}."
        if code == EXIT_WAIT:
            self.log.info("Waiting, next try in %.0f s: %s", self.poke_interval, last)
            return False
        if code == EXIT_ABSENT:
            raise AirflowSkipException(said)
        raise AirflowFailException(said) if code in self.fatal else AirflowException(said)

    def run_command(self, context: Any = None) -> tuple[int, str]:
        """(exit code, last line of output) of the command; a signal n counts as 128 + n."""
        site = places.settings()
        if site.run_jobs == "pod":
            from dags.pods import JobPod

            self._pod = JobPod.of(self.argv, site)
            return self._pod.outcome(context)
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        env |= {"PYSPARK_PYTHON": places.interpreter(site), "PYTHONUNBUFFERED": "1"}
        command = places.process(self.argv, site, self.spark)
        last, elsewhere = "", None
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(self.grace_s), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            cwd=ROOT,
            env=env,
            start_new_session=True,  # out of the group that Airflow kills after 5 s: the launcher needs its grace to the end
        )
        try:
            assert self._process.stdout is not None
            for line in self._process.stdout:
                line = logs.message_of(line.rstrip()) if site.log_format == "json" else line.rstrip()
                self.log.info("%s", line)
                last = line or last
                elsewhere = places.exit_said(line, site, self.spark) or elsewhere
            code = self._process.wait()
            return elsewhere or code, last
        finally:
            self.on_kill()
            self._process.wait()

    def on_kill(self) -> None:
        """Tells the launcher to stop the process tree; returns at once, because Airflow calls it inside a signal handler."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
        if self._pod is not None:
            self._pod.on_kill()


def build_dag(
    dag_id: str,
    registry: Mapping[str, Job],
    groups: Mapping[str, tuple[str, ...]],
    *,
    doc_md: str,
    params: Mapping[str, Param] | None = None,
    words: tuple[str, ...] = (),
    assets: Mapping[str, Mapping[str, Any]] | None = None,
    look_back_wait: timedelta = timedelta(hours=6),
    **kwargs: Any,
) -> DAG:
    """A DAG with the task `ready` and one task per stage of `registry`, its edges from what the jobs read and write.

    groups  name of a group in the picture → its stages, each in one; a group's first words are its tooltip
    doc_md  what the DAG is for; the stages with what they read and write are added
    params  further fields of the form
    words   templates of words that go to each stage's command; those that come out empty are dropped
    assets  stage → its `inlets` and `outlets`
    """
    names = list(stages(registry))
    dag = DAG(
        dag_id,
        params={
            "ds": day_param(
                "Night (ds)",
                "The night to build, as YYYY-MM-DD. Blank: the last night that has ended. "
                "The logical date above plays no part in a run started by hand.",
            ),
            "rebuild": rebuild_param(names),
            **(params or {}),
        },
        user_defined_macros={"resolve_ds": resolve_ds, "trigger_of": trigger_of, "moment": moment},
        render_template_as_native_obj=False,
        catchup=False,
        doc_md=f"{doc_md}\n{stages_doc(registry)}",
        default_args=DEFAULT_ARGS | {"timeout": look_back_wait},
        **kwargs,
    )
    night = ["--ds", "{{ resolve_ds(dag_run) }}"]
    how = ["--trigger", "{{ trigger_of(dag_run) }}", *words]
    with dag:
        ready = JobOperator(
            task_id="ready",
            argv=["python", "-m", "jobs", "ready", *night],
            fatal=(EXIT_FAILED, EXIT_USAGE),
            timeout=timedelta(hours=30),  # a night triggered in its first hour ends a day later, then comes the grace
            execution_timeout=timedelta(minutes=20),  # a moment's work, but a pod may wait for its machine
            doc_md=READY_DOC,
        )
        tasks = {}
        for group, members in groups.items():
            with TaskGroup(group, prefix_group_id=False, tooltip=", then ".join(members)):
                for stage in members:
                    forced = f"{{{{ '--force' if params.rebuild in ('everything', '{stage}') else '' }}}}"
                    tasks[stage] = JobOperator(
                        task_id=stage,
                        argv=["python", "-m", "jobs", "stage", stage, *night, *how, forced],
                        spark=any(registry[name].runtime == "spark" for name in stages(registry)[stage]),
                        doc_md=stage_doc(registry, stages(registry)[stage]),
                        **(assets or {}).get(stage, {}),
                    )
        links = stage_edges(registry)
        for earlier, later in links:
            tasks[earlier] >> tasks[later]
        for stage, task in tasks.items():
            if stage not in {later for _, later in links}:
                ready >> task
    return dag
