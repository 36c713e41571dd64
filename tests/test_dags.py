# ruff: noqa: E402 -- Airflow reads its environment while it is imported
"""The DAGs as Airflow sees them: tasks, edges, timetables, params, and the exact command of every task for every kind of run."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

REPO = Path(__file__).resolve().parent.parent
os.environ.setdefault("AIRFLOW_HOME", str(REPO / "var" / "tests" / "airflow"))  # importing airflow writes its configuration there

from airflow.sdk import DAG, CronDataIntervalTimetable, CronTriggerTimetable
from airflow.sdk.api.datamodels._generated import DagRun
from airflow.sdk.exceptions import AirflowFailException, ParamValidationError
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable as CoreIntervals
from airflow.timetables.trigger import CronTriggerTimetable as CoreTriggers

from dags import erasure, intraday, nightly, retention, training
from dags.operators import LAUNCHER, resolve_ds, running_ds
from jobs import NIGHTLY, TRAINING, stages

GOLDEN = Path(__file__).with_name("golden") / "commands.txt"
NIGHTLY_EDGES = {
    "ready": {"facts"},
    "facts": {"texts", "topics", "interests", "lists", "publish", "report"},
    "texts": {"topics", "interests", "lists"},
    "topics": {"interests", "lists", "publish"},
    "interests": {"lists", "publish"},
    "lists": {"publish"},
    "publish": {"report"},
    "report": set(),
}
TRAINING_EDGES = {
    "ready": {"fit"},
    "fit": {"promote"},
    "promote": {"forecast"},
    "forecast": {"weights"},
    "weights": {"rank"},
    "rank": set(),
}
NIGHTLY_ALONE = ("backfill", "manual with ds, current models", "manual with ds, one stage rebuilt", "manual, known up to a moment")
ERASURE_EDGES: dict[str, set[str]] = {"forget": set()}
INTRADAY_EDGES: dict[str, set[str]] = {"overlay": set()}
RETENTION_EDGES: dict[str, set[str]] = {"retain": set()}


def run_of(kind: str, *, logical: str | None = None, after: str = "2026-03-05T07:00:00Z", conf: dict[str, Any] | None = None) -> DagRun:
    """A DAG run as the task process receives it."""
    return DagRun.model_validate(
        {
            "dag_id": "nightly",
            "run_id": f"{kind}__x",
            "logical_date": logical,
            "data_interval_start": "2020-01-01T00:00:00Z",  # misleading on purpose: nothing may read the interval
            "data_interval_end": "2020-01-02T00:00:00Z",
            "run_after": after,
            "start_date": None,
            "end_date": None,
            "run_type": kind,
            "state": "running",
            "conf": conf,
            "consumed_asset_events": [],
            "partition_key": None,
        }
    )


def commands(dag: DAG, run: DagRun) -> dict[str, str]:
    """Task id → its command as rendered for the run, in the DAG's topological order."""
    found = {}
    for original in dag.topological_sort():
        task = original.prepare_for_execution()
        task.render_template_fields({"dag_run": run, "params": dag.params.dump() | (run.conf or {})}, dag.get_template_env())
        found[task.task_id] = " ".join(task.argv)
    return found


@pytest.mark.parametrize(
    ("dag", "wanted"),
    [
        (nightly.dag, NIGHTLY_EDGES),
        (training.dag, TRAINING_EDGES),
        (erasure.dag, ERASURE_EDGES),
        (intraday.dag, INTRADAY_EDGES),
        (retention.dag, RETENTION_EDGES),
    ],
    ids=["nightly", "training", "erasure", "intraday", "retention"],
)
def test_tasks_and_edges(dag: DAG, wanted: dict[str, set[str]]) -> None:
    assert {task.task_id: task.downstream_task_ids for task in dag.tasks} == wanted


def test_one_task_per_stage_of_the_registry() -> None:
    assert list(stages(NIGHTLY)) == [t for t in NIGHTLY_EDGES if t != "ready"]
    assert list(stages(TRAINING)) == [t for t in TRAINING_EDGES if t != "ready"]


@pytest.mark.parametrize("dag", [nightly.dag, training.dag, erasure.dag, intraday.dag, retention.dag], ids=lambda d: d.dag_id)
def test_every_task_is_owned_documented_bounded_and_waits_without_a_slot(dag: DAG) -> None:
    assert dag.doc_md
    assert dag.tags
    assert dag.catchup is False
    for task in dag.tasks:
        assert task.owner == "nightly-interests"
        assert task.doc_md
        assert task.retries == 2
        assert task.retry_delay > timedelta(seconds=task.grace_s)
        assert task.execution_timeout
        assert task.mode == "reschedule"
        assert task.timeout >= 6 * 3600
        assert task.do_xcom_push is False


def test_rendered_commands_equal_the_golden_file() -> None:
    runs = {
        "scheduled": run_of("scheduled", logical="2026-03-04T00:00:00Z"),
        "backfill": run_of("backfill", logical="2026-02-28T00:00:00Z"),
        "manual with ds": run_of("manual", logical="2026-03-05T06:59:58Z", conf={"ds": "2026-01-15", "rebuild": "changed"}),
        "manual with ds, rebuilt": run_of("manual", conf={"ds": "2026-01-15", "rebuild": "everything"}),
        "manual with ds, one stage rebuilt": run_of("manual", conf={"ds": "2026-01-15", "rebuild": "lists"}),
        "manual with ds, current models": run_of("manual", conf={"ds": "2026-01-15", "use_current_models": True}),
        "manual, blank": run_of("manual", logical="2026-03-05T06:59:58Z", conf={"ds": None, "rebuild": "changed"}),
        "manual, known up to a moment": run_of("manual", conf={"ds": "2026-01-15", "known_cutoff": "2026-01-17T08:00:00+08:00"}),
    }
    lines = []
    for dag in (nightly.dag, training.dag):
        for name, run in runs.items():
            if dag is training.dag and name in NIGHTLY_ALONE:
                continue
            lines += [f"[{dag.dag_id}: {name}]", *(f"{task:9} {command}" for task, command in commands(dag, run).items()), ""]
    # Whatever is typed into the form, no word of it enters the command.
    typed = run_of("manual", conf={"ds": "2026-01-15", "ids": "u1"})
    lines += ["[erasure: manual]", *(f"{task:9} {command}" for task, command in commands(erasure.dag, typed).items()), ""]
    quarter = {
        "scheduled": run_of("scheduled", logical="2026-03-05T07:15:00Z", after="2026-03-05T07:15:00Z"),
        "manual with ds": runs["manual with ds"],
    }
    for name, run in quarter.items():
        lines += [f"[intraday: {name}]", *(f"{task:9} {command}" for task, command in commands(intraday.dag, run).items()), ""]
    for name, run in {"scheduled": quarter["scheduled"], "manual, dry run": run_of("manual", conf={"dry_run": True})}.items():
        lines += [f"[retention: {name}]", *(f"{task:9} {command}" for task, command in commands(retention.dag, run).items()), ""]
    text = "\n".join(lines)
    if os.environ.get("GOLDEN") == "write":
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text(), "the commands changed: when that is meant, write them again with GOLDEN=write"


def test_nightly_has_a_run_for_both_ends_of_a_backfill_range() -> None:
    assert nightly.dag.timetable == CronDataIntervalTimetable("0 0 * * *", timezone="UTC")
    table = CoreIntervals("0 0 * * *", "UTC")
    assert DagSerialization.from_dict(DagSerialization.to_dict(nightly.dag)).timetable.serialize() == table.serialize()
    serialized = DagSerialization.from_dict(DagSerialization.to_dict(nightly.dag))
    infos = serialized.iter_dagrun_infos_between(datetime(2026, 2, 27, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC))
    assert [resolve_ds(run_of("backfill", logical=info.logical_date.isoformat())) for info in infos] == [
        "2026-02-27",
        "2026-02-28",
        "2026-03-01",
    ]


def test_training_is_scheduled_for_the_sunday_that_has_ended() -> None:
    assert training.dag.timetable == CronTriggerTimetable("0 0 * * 1", timezone="UTC", interval=timedelta(days=1))
    assert set(training.dag.allowed_run_types) == {"scheduled", "manual"}
    serialized = DagSerialization.from_dict(DagSerialization.to_dict(training.dag))
    assert isinstance(serialized.timetable, CoreTriggers)
    start = datetime(2026, 3, 3, tzinfo=UTC)  # a Tuesday
    restriction = TimeRestriction(earliest=start, latest=None, catchup=True)
    info = serialized.timetable.next_dagrun_info(last_automated_data_interval=None, restriction=restriction)
    assert info.run_after == datetime(2026, 3, 9, tzinfo=UTC)  # the Monday
    assert resolve_ds(run_of("scheduled", logical=info.logical_date.isoformat())) == "2026-03-08"


@pytest.mark.parametrize(
    ("run", "zone", "night"),
    [
        (run_of("scheduled", logical="2026-03-04T00:00:00Z"), "UTC", "2026-03-04"),
        (run_of("backfill", logical="2024-02-29T00:00:00Z"), "UTC", "2024-02-29"),
        (run_of("asset_triggered", logical="2026-03-04T00:00:00Z"), "UTC", "2026-03-04"),
        (run_of("scheduled", logical="2026-03-04T00:00:00Z", conf={"ds": "2026-01-01"}), "UTC", "2026-01-01"),
        (run_of("manual", conf={"ds": "2099-01-01"}), "UTC", "2099-01-01"),  # `ready` refuses the future, with a sentence
        (run_of("manual", logical="2026-03-05T07:00:00Z", conf={"ds": None}), "UTC", "2026-03-04"),
        (run_of("manual", logical="2026-01-01T00:00:00Z"), "UTC", "2026-03-04"),  # a logical date is ignored
        (run_of("manual", after="2026-03-05T00:00:00Z"), "UTC", "2026-03-04"),
        (run_of("manual", after="2026-03-04T23:59:59Z"), "UTC", "2026-03-03"),
        (run_of("manual", after="2026-03-04T16:00:00Z"), "Asia/Shanghai", "2026-03-04"),  # midnight in Shanghai
        (run_of("manual", after="2026-03-04T15:59:59Z"), "Asia/Shanghai", "2026-03-03"),
        (run_of("manual", after="2026-03-05T07:00:00Z"), "America/Los_Angeles", "2026-03-03"),  # 23:00 the evening before
        (run_of("operator_triggered", after="2026-03-05T07:00:00Z"), "UTC", "2026-03-04"),
    ],
    ids=lambda value: getattr(value, "run_type", value),
)
def test_resolve_ds(run: DagRun, zone: str, night: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIME_ZONE", zone)
    assert resolve_ds(run) == night


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (run_of("scheduled"), "This scheduled run has no date"),
        (run_of("asset_triggered"), "This asset_triggered run has no date"),
        (run_of("manual", conf={"ds": "2026-02-30"}), "'2026-02-30' is not a calendar date"),
        (run_of("manual", conf={"ds": "20260228"}), "'20260228' is not a calendar date"),
        (run_of("manual", conf={"ds": "2026-W09-6"}), "'2026-W09-6' is not a calendar date"),
        (run_of("manual", conf={"ds": "2026-02-28; rm -rf /"}), "is not a calendar date"),
    ],
    ids=range(6),
)
def test_resolve_ds_refuses_and_airflow_does_not_retry(run: DagRun, says: str) -> None:
    with pytest.raises(AirflowFailException, match=says):
        resolve_ds(run)
    with pytest.raises(AirflowFailException, match=says):  # rendering hands the same error on
        commands(nightly.dag, run)


def test_wrong_settings_are_a_sentence_without_a_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIME_ZONE", "Mars/Olympus")
    with pytest.raises(AirflowFailException, match="'Mars/Olympus' is no IANA time zone"):
        resolve_ds(run_of("manual"))


@pytest.mark.parametrize("value", ["2026-02-30", "2026-2-3", "yesterday", "", 20260228])
def test_the_form_refuses_what_is_no_date(value: object) -> None:
    with pytest.raises(ParamValidationError):
        nightly.dag.params.get_param("ds").resolve(value)


@pytest.mark.parametrize("value", ["2026-02-28", None])
def test_the_form_takes_dates_and_blank(value: str | None) -> None:
    assert nightly.dag.params.get_param("ds").resolve(value) == value


def test_erasure_runs_by_hand_alone_one_at_a_time_and_asks_for_nothing() -> None:
    assert list(erasure.dag.allowed_run_types) == ["manual"]
    assert (erasure.dag.schedule, erasure.dag.max_active_runs, dict(erasure.dag.params)) == (None, 1, {})


def test_intraday_runs_each_quarter_of_an_hour_one_at_a_time_and_nothing_is_caught_up() -> None:
    assert intraday.dag.timetable == CronTriggerTimetable("*/15 * * * *", timezone="UTC")
    assert (intraday.dag.max_active_runs, intraday.dag.catchup, intraday.dag.tasks[0].execution_timeout) == (1, False, timedelta(hours=1))
    assert set(intraday.dag.allowed_run_types) == {"scheduled", "manual"}


def test_retention_runs_once_a_week_and_nothing_is_caught_up() -> None:
    assert retention.dag.timetable == CronTriggerTimetable("0 12 * * 3", timezone="UTC")
    assert (retention.dag.max_active_runs, retention.dag.catchup, set(retention.dag.params)) == (2, False, {"dry_run"})
    assert set(retention.dag.allowed_run_types) == {"scheduled", "manual"}


@pytest.mark.parametrize(
    ("dry_run", "at_work", "waits"),
    [(False, {}, False), (False, {"nightly": 2}, True), (False, {"erasure": 1}, True), (True, {"nightly": 2}, False)],
)
def test_retention_waits_while_others_are_at_work(
    dry_run: bool, at_work: dict[str, int], waits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("landing", "lake"):
        monkeypatch.setenv(name.upper(), str(tmp_path / name))
    monkeypatch.setenv("USER_KEY_SECRET", "a secret of these tests")
    asked: list[tuple[str, list[str]]] = []

    def get_dr_count(dag_id: str, states: list[str]) -> int:
        asked.append((dag_id, states))
        return at_work.get(dag_id, 0)

    task = retention.dag.get_task("retain").prepare_for_execution()
    task.render_template_fields({"params": {"dry_run": dry_run}}, retention.dag.get_template_env())
    assert task.poke({"ti": SimpleNamespace(get_dr_count=get_dr_count)}) is not waits
    assert asked == ([] if dry_run else [(dag, ["running"]) for dag in ("nightly", "training", "erasure")])


@pytest.mark.parametrize(
    ("after", "zone", "day"),
    [
        ("2026-03-05T07:15:00Z", "UTC", "2026-03-05"),
        ("2026-03-05T00:00:00Z", "UTC", "2026-03-04"),  # the quarter that has just ended
        ("2026-03-05T00:15:00Z", "UTC", "2026-03-05"),
        ("2026-03-04T16:15:00Z", "Asia/Shanghai", "2026-03-05"),
        ("2026-03-05T07:15:00Z", "America/Los_Angeles", "2026-03-04"),
    ],
)
def test_the_running_day_is_that_of_the_moment_before_the_run(after: str, zone: str, day: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIME_ZONE", zone)
    assert running_ds(run_of("scheduled", logical="2020-01-01T00:00:00Z", after=after)) == day
    assert running_ds(run_of("manual", after=after, conf={"ds": "2026-01-15"})) == "2026-01-15"
    with pytest.raises(AirflowFailException, match="'2026-02-30' is not a calendar date"):
        running_ds(run_of("manual", after=after, conf={"ds": "2026-02-30"}))


@pytest.mark.parametrize("name", ["nightly", "training", "erasure", "intraday", "retention"])
def test_a_dag_file_imports_nothing_heavy_and_needs_no_python_path(name: str) -> None:
    script = (
        "import runpy, sys, airflow.sdk, airflow.models; before = set(sys.modules)\n"
        f"runpy.run_path({str(REPO / 'dags' / f'{name}.py')!r})\n"
        "new = {m.partition('.')[0] for m in set(sys.modules) - before}\n"
        "print(*sorted(new & {'pyspark', 'torch', 'numpy', 'pandas', 'pyarrow', 'duckdb', 'transformers', 'gensim', 'recsys_core'}))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, cwd="/", check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_airflow_finds_the_five_dags_and_nothing_else_in_the_folder() -> None:
    ignored = (REPO / "dags" / ".airflowignore").read_text().split()
    dags = {"nightly.py", "training.py", "erasure.py", "intraday.py", "retention.py"}
    assert {path.name for path in (REPO / "dags").glob("*.py")} - set(ignored) == dags
    assert LAUNCHER.is_file()
