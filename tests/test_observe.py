"""What is seen from outside: what runs cost, the ledger, logs, metrics and the dashboard on them, lineage."""

from __future__ import annotations

import datetime as dt
import json
import re
import subprocess
import sys
import threading
import time
import types
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attr
import jsonschema
import promql_parser
import pytest
import yaml
from openlineage.client import event_v2, facet_v2
from prometheus_client.parser import text_string_to_metric_families

from jobs.observe import logs
from jobs.observe.alerts import RUNBOOK, anchor
from jobs.observe.cost import Cost, Meter
from jobs.observe.lineage import dataset
from jobs.observe.metrics import JOB_METRICS, PREFIX, STATUS_METRICS
from jobs.runner import Runner
from recsys_core import job_runs
from recsys_core.lake import Lake
from recsys_core.simulate import simulate
from recsys_core.tables import TABLES
from recsys_core.warehouse import connect
from tests.shop import Shop
from tests.test_warehouse import models, night

REPO = Path(__file__).resolve().parent.parent
FIRST = dt.date(2026, 3, 2)
UTC = dt.UTC
BURN = "import time\nwhile time.process_time() < 0.4: pass"
# Published specification 2-0-2 of OpenLineage, as far as events of runs go: what each must have, and of what form.
FACETS = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "required": ["_producer", "_schemaURL"],
        "properties": {
            "_producer": {"format": "uri", "pattern": "^https?://"},
            "_schemaURL": {"pattern": r"^https://openlineage\.io/spec/"},
        },
    },
}
DATASETS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["namespace", "name"],
        "properties": {
            "namespace": {"type": "string", "minLength": 1},
            "name": {"type": "string", "minLength": 1},
            "facets": FACETS,
            "inputFacets": FACETS,
            "outputFacets": FACETS,
        },
        "additionalProperties": False,
    },
}
RUN_EVENT = {
    "type": "object",
    "required": ["eventTime", "producer", "schemaURL", "run", "job"],
    "properties": {
        "eventTime": {"format": "date-time"},
        "eventType": {"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
        "producer": {"pattern": "^https?://"},
        "schemaURL": {"pattern": r"^https://openlineage\.io/spec/.*RunEvent$"},
        "run": {"required": ["runId"], "properties": {"runId": {"format": "uuid"}, "facets": FACETS}, "additionalProperties": False},
        "job": {"required": ["namespace", "name"], "properties": {"facets": FACETS}},
        "inputs": DATASETS,
        "outputs": DATASETS,
    },
    "additionalProperties": False,
}


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    hook = sys.excepthook
    yield
    logs.begin("text", ())
    sys.excepthook = hook


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("observed")
    simulate(str(root), FIRST, 1, users=30, items=50, events_per_night=200, seed=0)
    return root


def watched(landing: Path, folder: Path, **settings: Any) -> Runner:
    runner = Shop(folder, landing).runner()
    for name, value in {"metrics_folder": str(folder / "metrics"), "lineage_file": str(folder / "lineage.jsonl"), **settings}.items():
        setattr(runner.settings, name, value)
    return runner


def notes(runner: Runner) -> list[dict[str, Any]]:
    return sorted(job_runs.noted(runner.lake)[0].to_pylist(), key=lambda row: row["started_at"])


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "lineage.jsonl").read_text().splitlines()]


# -- cost --------------------------------------------------------------------------------------------------------------------------
def test_a_run_is_charged_what_its_children_use_alive_or_ended_and_their_bytes() -> None:
    meter = Meter()
    cost = meter.begin()
    subprocess.run([sys.executable, "-c", f"print('x' * 5_000_000)\n{BURN}"], check=True, stdout=subprocess.DEVNULL)
    held = subprocess.Popen([sys.executable, "-c", f"{BURN}\nb = b'x' * 150_000_000; print(flush=True); input()"], stdin=-1, stdout=-1)
    assert held.stdout is not None
    held.stdout.readline()
    meter.end(cost)
    held.communicate(b"\n")
    assert cost.cpu_s > 0.7
    assert cost.written_bytes > 5_000_000
    assert cost.peak_rss_bytes > 150_000_000
    assert cost.share(2) == Cost(cost.wall_s / 2, cost.cpu_s / 2, cost.peak_rss_bytes, cost.read_bytes // 2, cost.written_bytes // 2)


def test_runs_of_the_same_moment_share_and_nothing_counts_twice() -> None:
    whole, meter = Meter(), Meter()
    total, first = whole.begin(), meter.begin()
    _burn(0.2)
    second = meter.begin()
    _burn(0.4)
    meter.end(first)
    meter.end(second)
    whole.end(total)
    assert first.cpu_s > second.cpu_s >= 0.15
    assert first.cpu_s + second.cpu_s == pytest.approx(total.cpu_s, abs=0.05)


def test_processes_with_accounts_of_their_own_are_left_out() -> None:
    child = subprocess.Popen([sys.executable, "-c", f"{BURN}\nprint(flush=True); input()"], stdin=-1, stdout=-1)
    meter = Meter(lambda: [child.pid])
    cost = meter.begin()
    assert child.stdout is not None
    child.stdout.readline()
    meter.end(cost)
    child.communicate(b"\n")
    assert cost.cpu_s < 0.3


def _burn(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


# -- runs --------------------------------------------------------------------------------------------------------------------------
def test_what_a_run_cost_is_noted_counted_and_told(landing: Path, tmp_path: Path) -> None:
    runner = watched(landing, tmp_path)
    runner.run("clean", FIRST)
    runner.run("clean", FIRST)  # up to date: it cost nothing
    (row,) = notes(runner)
    manifest = runner.lake.manifest("event_clean", FIRST)
    assert manifest is not None
    assert (row["job"], row["stage"], row["state"], row["error"], row["attempt"]) == ("clean", "facts", "done", None, 1)
    assert (row["run_id"], row["trigger"], row["n_nights"]) == (manifest.run_id, "manual", 1)
    assert json.loads(row["rows_by_table"])["event_clean"] == manifest.rows
    assert row["started_at"] <= row["ended_at"]
    assert min(row["cpu_s"], row["wall_s"], row["peak_rss_bytes"], row["read_bytes"], row["written_bytes"]) > 0
    page = _metrics(tmp_path / "metrics")
    assert {name for name, _ in page} == {PREFIX + name for name in JOB_METRICS}
    assert page[f"{PREFIX}job_rows", (("job", "clean"), ("stage", "facts"), ("table", "event_clean"))] == manifest.rows
    start, end = events(tmp_path)
    assert (start["eventType"], end["eventType"], start["run"]["runId"]) == ("START", "COMPLETE", end["run"]["runId"])
    made = {d["name"].rsplit("/", 1)[1]: d for d in end["outputs"]}
    assert made["event_clean"]["outputFacets"]["outputStatistics"]["rowCount"] == manifest.rows
    assert [f["name"] for f in made["event_clean"]["facets"]["schema"]["fields"]] == list(TABLES["event_clean"].names)
    assert [d["name"] for d in end["inputs"]] == [str(landing)]


def test_a_run_that_fails_is_noted_with_the_kind_of_its_error_alone(landing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(night: object, **_: object) -> None:
        raise ValueError("review of user 4711: it broke")

    monkeypatch.setattr("jobs.etl.clean", breaks)
    runner = watched(landing, tmp_path)
    with pytest.raises(ValueError, match="4711"):
        runner.run("clean", FIRST)
    (row,) = notes(runner)
    assert (row["state"], row["error"], row["row_count"]) == ("failed", "ValueError", 0)
    assert _metrics(tmp_path / "metrics")[f"{PREFIX}job_failed", (("job", "clean"), ("stage", "facts"))] == 1
    assert events(tmp_path)[-1]["run"]["facets"]["errorMessage"]["message"] == "ValueError"
    left = "".join(p.read_text() for p in tmp_path.rglob("*") if p.is_file())
    assert "4711" not in left


def test_what_cannot_be_noted_fails_no_job(landing: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    runner = watched(landing, tmp_path, lineage_file=str(tmp_path / "none" / "x"), metrics_folder=str(tmp_path / "file"))
    said: list[str] = []
    runner.say = said.append
    runner.run("clean", FIRST)
    assert runner.lake.manifest("event_clean", FIRST) is not None
    assert [line.split(": ")[1] for line in said if line.startswith("not noted")] == ["RuntimeError", "RuntimeError", "FileExistsError"]


def test_the_ledger_takes_each_note_once_and_a_strange_one_stops_no_publication(url: str, tmp_path: Path) -> None:
    lake, about = Lake(str(tmp_path / "lake")), dict.fromkeys(TABLES["job_run"].names, 1) | {"wall_s": 0.5, "cpu_s": 1.5}
    moment = dt.datetime(2026, 3, 3, 1, tzinfo=UTC)
    texts = dict.fromkeys(("run_id", "job", "stage", "state", "trigger"), "x") | {"rows_by_table": "{}", "error": None}
    one = about | texts | {"ds": FIRST, "started_at": moment, "ended_at": moment}
    job_runs.note(lake, one)
    job_runs.note(lake, one | {"attempt": 2, "state": "failed", "error": "OSError"})
    job_runs.note(lake, {"run_id": "of-other-code", "attempt": 1})
    runs, names = job_runs.noted(lake)
    assert (runs.num_rows, len(names)) == (2, 3)
    with connect(url) as warehouse:
        warehouse.publish_nights([night()], models(), runs=runs)
        job_runs.note(lake, one | {"attempt": 3})
        warehouse.publish_models(models(), runs=job_runs.noted(lake)[0])
        found = warehouse.query("SELECT attempt, state, cpu_s FROM job_run ORDER BY attempt").to_pylist()
    assert found == [{"attempt": n, "state": s, "cpu_s": 1.5} for n, s in ((1, "x"), (2, "failed"), (3, "x"))]
    job_runs.taken(lake, [*names, "x-a3.json"])
    assert lake.names(job_runs.FOLDER) == []


@pytest.fixture(params=["duckdb", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return request.getfixturevalue("postgres_db") if request.param == "postgres" else f"duckdb:///{tmp_path / 'w.duckdb'}"


# -- lineage -----------------------------------------------------------------------------------------------------------------------
def test_events_are_as_the_specification_wants_them(landing: Path, tmp_path: Path) -> None:
    context = {"airflow_ctx_dag_id": "nightly", "airflow_ctx_dag_run_id": "manual__x", "airflow_ctx_task_id": "facts"}
    runner = watched(landing, tmp_path, **context, airflow_ctx_try_number="1")
    for job in ("clean", "aggregate"):
        runner.run(job, FIRST)
    told = events(tmp_path)
    assert len(told) == 4
    for event in told:
        jsonschema.validate(event, RUN_EVENT, format_checker=jsonschema.FormatChecker())
        uuid.UUID(event["run"]["runId"])
        _conforms(event, event_v2.RunEvent)
        parent = event["run"]["facets"]["parent"]
        assert (parent["job"]["name"], parent["root"]["job"]["name"]) == ("nightly.facts", "nightly")
        assert event["run"]["facets"]["nominalTime"]["nominalStartTime"] == "2026-03-02T00:00:00+00:00"
    assert len({event["run"]["runId"] for event in told}) == 2
    assert len({event["run"]["facets"]["parent"]["run"]["runId"] for event in told}) == 1
    broken = told[0] | {"eventType": "DONE"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, RUN_EVENT)


FACET_CLASSES = {
    kind._get_schema(): kind
    for module in vars(facet_v2).values()
    if isinstance(module, types.ModuleType)
    for kind in vars(module).values()
    if attr.has(kind) and hasattr(kind, "_get_schema")
}
PARTS: dict[str, type] = {
    "run": event_v2.Run,
    "job": event_v2.Job,
    "inputs": event_v2.InputDataset,
    "outputs": event_v2.OutputDataset,
}


def _conforms(told: dict[str, Any], kind: type) -> None:
    """Every key is a field of the class that the client's makers generate from the specification, and none that must be is missing."""
    fields = {f.name.lstrip("_"): f for f in attr.fields(kind)}
    names = {name.lstrip("_") for name in told}
    assert names <= set(fields), (kind, names - set(fields))
    assert {name for name, f in fields.items() if f.default is attr.NOTHING} <= names, kind
    for kept in ("facets", "inputFacets", "outputFacets"):
        for facet in (told.get(kept) or {}).values():
            _conforms(facet, FACET_CLASSES[facet["_schemaURL"]])
    if kind is event_v2.RunEvent:
        for name, part in PARTS.items():
            for each in told[name] if isinstance(told[name], list) else [told[name]]:
                _conforms(each, part)


@pytest.mark.parametrize(
    ("place", "named"),
    [
        ("postgresql://u:p%40ss@db/interests.public.topic", ("postgres://db:5432", "interests.public.topic")),
        ("postgres://u@db:6543/x.public.topic", ("postgres://db:6543", "x.public.topic")),
        ("duckdb:////a/w.duckdb/topic", ("file", "/a/w.duckdb/topic")),
        ("s3://bucket/lake/item", ("s3://bucket", "lake/item")),
        ("file:///a/lake/item", ("file", "/a/lake/item")),
        ("var/lake/item", ("file", "var/lake/item")),
    ],
)
def test_datasets_are_named_without_users_and_passwords(place: str, named: tuple[str, str]) -> None:
    assert dataset(place) == named


# -- logs --------------------------------------------------------------------------------------------------------------------------
def test_lines_are_objects_with_what_they_are_about_and_without_secrets(
    landing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.begin("json", ["hunter2", "hunter2-and-more"])
    runner = watched(landing, tmp_path)
    runner.say = logs.say
    runner.run("clean", FIRST)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (done,) = [line for line in lines if line.get("state") == "done"]
    assert (done["job"], done["ds"], done["attempt"], done["level"]) == ("clean", "2026-03-02", 1, "info")
    assert done["counts"]["event_clean"] > 0
    assert done["message"].startswith("2026-03-02 clean: ")
    assert all(line["run_id"] == done["run_id"] for line in lines)
    with logs.about(job="x"):
        logs.complain(f"password hunter2-and-more, then hunter2, of {'ab' * 32}")
    line = capsys.readouterr().err
    assert json.loads(line)["message"] == "password ***, then ***, of abababab…"
    assert logs.message_of(line) == "password ***, then ***, of abababab…"
    assert [logs.message_of(text) for text in ("plain", "[1]", '{"message": 1}', '{"a": 1}')] == [
        "plain",
        "[1]",
        '{"message": 1}',
        '{"a": 1}',
    ]


def test_two_threads_speak_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    logs.begin("json", ())

    def speak(job: str) -> None:
        with logs.about(job=job):
            logs.say(f"I am {job}")

    threads = [threading.Thread(target=speak, args=(f"job{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted((line["message"], line["job"]) for line in told) == [(f"I am job{n}", f"job{n}") for n in range(8)]


# -- dashboard and rules -----------------------------------------------------------------------------------------------------------
def queries() -> list[str]:
    board = json.loads((REPO / "docker" / "grafana" / "nightly-interests.json").read_text())
    rules = yaml.safe_load((REPO / "docker" / "prometheus-rules.yml").read_text())
    return [t["expr"] for panel in board["panels"] for t in panel["targets"]] + [r["expr"] for g in rules["groups"] for r in g["rules"]]


@pytest.mark.parametrize("query", queries())
def test_every_query_asks_for_metrics_that_there_are(query: str) -> None:
    from airflow._shared.observability.metrics.metrics_registry import MetricsRegistry

    airflow = {f"airflow_{name.replace('.', '_')}" for name in MetricsRegistry()._metrics}
    airflow |= {f"{name}_total" for name in airflow}
    named = set(re.findall(r'VectorSelector \{\s*name: Some\(\s*"(\w+)"', repr(promql_parser.parse(query))))
    assert named
    assert named <= {PREFIX + name for name in JOB_METRICS | STATUS_METRICS} | airflow
    labels = {label for wanted in re.findall(r"by \((.*?)\)", query) for label in wanted.split(", ")}
    declared = {label for name in named & {PREFIX + n for n in JOB_METRICS | STATUS_METRICS} for label in _labels(name)}
    assert labels <= declared


def test_every_metric_is_on_the_dashboard_or_in_a_rule() -> None:
    asked = " ".join(queries())
    assert {name for name in JOB_METRICS | STATUS_METRICS if PREFIX + name not in asked} <= {
        "job_night_timestamp_seconds",
        "night_published_timestamp_seconds",
    }


def test_every_alert_leads_to_a_section_of_the_runbook() -> None:
    page = (REPO / "docs" / "operations.md").read_text(encoding="utf-8")
    there = {anchor(heading) for heading in re.findall(r"^#+ (.+)$", page, re.MULTILINE)}
    assert {anchor(heading) for heading in RUNBOOK.values()} <= there
    for group in yaml.safe_load((REPO / "docker" / "prometheus-rules.yml").read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{anchor(RUNBOOK[rule['labels']['what']])}"


def _labels(name: str) -> tuple[str, ...]:
    return (JOB_METRICS | STATUS_METRICS)[name.removeprefix(PREFIX)][1]


def _metrics(folder: Path) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """(name, labels) → value in the files of a folder, which has nothing else in it."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for path in folder.iterdir():
        assert path.suffix == ".prom"
        for family in text_string_to_metric_families(path.read_text()):
            found |= {(s.name, tuple(sorted(s.labels.items()))): s.value for s in family.samples}
    return found
