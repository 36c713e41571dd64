# ruff: noqa: E402 -- Airflow reads its environment while it is imported
"""Alerts, status and probe: what is posted, to whom, what happens when nobody answers, and that no secret goes along."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

REPO = Path(__file__).resolve().parent.parent
os.environ.setdefault("AIRFLOW_HOME", str(REPO / "var" / "tests" / "airflow"))

from airflow.sdk._shared.module_loading import accepts_context, import_string
from airflow.serialization.serialized_objects import DagSerialization

from dags import erasure, intraday, nightly, retention, training
from dags.alerts import NIGHT_WAIT, TASK_FAILED, Webhook
from jobs.__main__ import main
from jobs.observe.metrics import PREFIX
from recsys_core.status import status
from recsys_core.tables import TABLES
from recsys_core.warehouse import connect
from tests.test_warehouse import DAY, models, night

TOKEN = "canary-token-0815"
NOW = dt.datetime.combine(DAY + dt.timedelta(days=2), dt.time(6), dt.UTC)


class Hook:
    """A server that keeps what is posted and answers with `code`, and to questions for health with `health`."""

    def __init__(self) -> None:
        self.posted: list[Any] = []
        self.code, self.health = 200, dict.fromkeys(("metadatabase", "scheduler", "dag_processor", "triggerer"), "healthy")
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.posted.append((self.path, body))
                self._answer(outer.code, b"")

            def do_GET(self) -> None:
                self._answer(200, json.dumps({part: {"status": how} for part, how in outer.health.items()}).encode())

            def _answer(self, code: int, body: bytes) -> None:
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hook]:
    found = Hook()
    (tmp_path / "hook").write_text(f"{found.url}/{TOKEN}\n")
    monkeypatch.setenv("ALERT_WEBHOOK_FILE", str(tmp_path / "hook"))
    monkeypatch.setenv("RUNBOOK_URL", "https://runbook/page")
    yield found
    found.server.shutdown()


RUN = {
    "dag_id": "nightly",
    "dag_run_id": "scheduled__x",
    "run_type": "scheduled",
    "logical_date": "2026-03-04T00:00:00Z",
    "run_after": "2026-03-05T00:00:00Z",
    "state": "running",
    "conf": {},
}
TASK = {
    "dag_run": SimpleNamespace(**RUN | {"run_id": "manual__y", "run_type": "manual", "conf": {"ds": "2026-02-28"}}),
    "task_instance": SimpleNamespace(task_id="facts"),
    "exception": ValueError("review of user 4711"),
}


def plain(text: str) -> str:
    """The text without colours."""
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def test_a_failed_task_is_posted_with_its_night_and_its_page_and_the_hook_is_in_no_log(
    hook: Hook, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        TASK_FAILED(TASK)
    ((path, body),) = hook.posted
    at = body.pop("at")
    assert dt.datetime.fromisoformat(at).tzinfo is not None
    assert path == f"/{TOKEN}"
    assert body == {
        "what": "task_failed",
        "why": "a task failed; the last line of its log says what is wrong and the remedy",
        "dag": "nightly",
        "task": "facts",
        "run": "manual__y",
        "ds": "2026-02-28",
        "state": "failed",
        "runbook": "https://runbook/page#a-task-failed",
    }
    out = capsys.readouterr()
    assert "alert task_failed: sent" in plain(out.out)
    assert TOKEN not in "".join(r.getMessage() for r in caplog.records if r.levelno >= logging.INFO) + out.out + out.err


def test_a_late_night_is_posted_by_what_airflow_makes_of_the_deadline(hook: Hook) -> None:
    (deadline,) = nightly.dag.deadline if isinstance(nightly.dag.deadline, list) else [nightly.dag.deadline]
    assert deadline.interval == NIGHT_WAIT
    kept = deadline.callback.serialize()
    callback = import_string(kept["path"])
    assert accepts_context(callback)
    context = {"dag_run": RUN, "deadline": {"id": "x", "deadline_time": NOW}}

    async def as_the_triggerer_does() -> None:
        await callback(**kept["kwargs"], context=context)

    asyncio.run(as_the_triggerer_does())
    (_, body) = hook.posted[0]
    assert {name: body[name] for name in ("what", "dag", "ds", "state", "runbook")} == {
        "what": "night_late",
        "dag": "nightly",
        "ds": "2026-03-04",
        "state": "running",
        "runbook": "https://runbook/page#the-night-is-late",
    }
    assert DagSerialization.to_dict(nightly.dag)["dag"]["deadline"]


def test_every_task_tells_when_it_fails() -> None:
    for module in (nightly, training, intraday, erasure, retention):
        for task in module.dag.tasks:
            assert task.on_failure_callback in (TASK_FAILED, [TASK_FAILED]), task.task_id


@pytest.mark.parametrize("what", ["nobody", "refuses", "no hook", "no file", "wrong settings", "no date"])
def test_nobody_to_tell_fails_nothing(what: str, hook: Hook, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    context: dict[str, Any] = TASK
    if what == "nobody":
        hook.server.shutdown()
        hook.server.server_close()
    elif what == "refuses":
        hook.code = 500
    elif what == "no hook":
        monkeypatch.delenv("ALERT_WEBHOOK_FILE")
    elif what == "no file":
        monkeypatch.setenv("ALERT_WEBHOOK_FILE", "/nowhere/at/all")
    elif what == "wrong settings":
        monkeypatch.setenv("GRACE_S", "soon")
    else:
        context = TASK | {"dag_run": SimpleNamespace(**RUN | {"run_id": "x", "conf": {"ds": "2026-02-30"}})}
    Webhook("task_failed")(context)
    asyncio.run(Webhook("task_failed").async_notify(context))
    said = re.findall(r"alert task_failed: (.+?)(?:  |$)", plain(capsys.readouterr().out), re.MULTILINE)
    assert len(said) == 2
    assert said[0] == said[1]
    assert TOKEN not in " ".join(said)
    if what == "no date":
        assert ["ds" in body for _, body in hook.posted] == [False, False]
    else:
        assert ("not taken" if what == "refuses" else "not sent") in said[0]


# -- status and probe --------------------------------------------------------------------------------------------------------------
@pytest.fixture(params=["duckdb", "postgres"])
def published(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    url = request.getfixturevalue("postgres_db") if request.param == "postgres" else f"duckdb:///{tmp_path / 'w.duckdb'}"
    one: dict[str, Any] = dict.fromkeys(TABLES["job_run"].names, 1) | {
        "wall_s": 0.5,
        "cpu_s": 1.5,
        "rows_by_table": "{}",
        "error": None,
        "trigger": "manual",
    }
    one |= {"job": "clean", "stage": "facts", "state": "done", "ds": DAY, "started_at": NOW, "ended_at": NOW}
    rows = [one | {"run_id": f"r{n}", "cpu_s": float(n), "ended_at": NOW + dt.timedelta(hours=n)} for n in (2, 3, 1)]
    checks = [
        {
            "ds": DAY,
            "run_id": "r",
            "table_name": "user_topn",
            "check_name": name,
            "severity": "warn",
            "observed": 0.5,
            "threshold": 0.1,
            "passed": passed,
        }
        for name, passed in (("short_lists", False), ("empty_lists", True))
    ]
    quality = pa.Table.from_pylist(checks, schema=TABLES["quality_result"].arrow_schema())
    with connect(url) as warehouse:
        runs = pa.Table.from_pylist(rows, schema=TABLES["job_run"].arrow_schema())
        warehouse.publish_nights([night(rows={"quality_result": quality})], models(), runs=runs)
    return url


def test_status_says_how_things_stand_on_either_engine(published: str) -> None:
    with connect(published) as warehouse:
        found = status(warehouse.query, NOW, "Asia/Shanghai")
        before = json.dumps(status(warehouse.query, NOW, "UTC"))
    assert json.loads(json.dumps(found)) == found
    assert (found["night"], found["night_ended_at"]) == (DAY.isoformat(), f"{DAY.isoformat()}T16:00:00+00:00")
    assert found["age_s"] == (24 + 6 + 8) * 3600
    assert json.loads(before)["age_s"] == 30 * 3600
    assert (found["rows"]["user_topn"], found["rows"]["user_segment"]) == (3, 0)
    assert found["failed_checks"] == [{"table_name": "user_topn", "check_name": "short_lists", "severity": "warn"}]
    assert [(r["job"], r["cpu_s"]) for r in found["jobs"]] == [("clean", 3.0)]


def ask(*words: str, warehouse: str, landing: Path, **env: str) -> tuple[int, Any]:
    done = CliRunner().invoke(main, [*words, "--warehouse", warehouse, "--landing", str(landing)], env=env)
    assert done.exit_code in (0, 1), done.output
    assert done.stdout, done.stderr
    return done.exit_code, json.loads(done.stdout)


def test_the_probe_is_content_or_names_each_fault_with_its_page(published: str, hook: Hook, tmp_path: Path) -> None:
    for day in (DAY, DAY + dt.timedelta(days=1)):
        (tmp_path / "landing" / "events" / f"ds={day.isoformat()}").mkdir(parents=True)
    where: Any = {"warehouse": published, "landing": tmp_path / "landing"}
    code, found = ask("probe", "--max-age-h", "1e7", "--airflow", hook.url, **where)
    assert (code, found["ok"], found["night"], found["faults"]) == (0, True, DAY.isoformat(), [])
    assert found["nights_behind"] == [(DAY + dt.timedelta(days=1)).isoformat()]
    hook.health |= {"scheduler": "unhealthy", "triggerer": None}  # type: ignore[dict-item]
    code, found = ask("probe", "--airflow", hook.url, "--alert", **where)
    assert (code, found["ok"], found["not_sent"]) == (1, False, [])
    assert [(f["what"], f["runbook"]) for f in found["faults"]] == [
        ("night_late", "https://runbook/page#the-night-is-late"),
        ("airflow_down", "https://runbook/page#airflow-is-down"),
        ("airflow_down", "https://runbook/page#airflow-is-down"),
    ]
    assert [f["why"] for f in found["faults"][1:]] == ["scheduler is unhealthy", "triggerer is unknown"]
    assert [body["what"] for _, body in hook.posted] == ["night_late", "airflow_down", "airflow_down"]
    hook.server.shutdown()
    hook.server.server_close()
    code, found = ask("probe", "--max-age-h", "1e7", "--airflow", hook.url, "--alert", **where)
    assert [f["why"] for f in found["faults"]] == ["the API server does not answer (ConnectError)"]
    assert found["not_sent"] == ["the webhook does not answer (ConnectError)"]
    assert TOKEN not in json.dumps(found)


@pytest.mark.parametrize(
    ("warehouse", "what"),
    [
        ("duckdb:///{}/none.duckdb", "no_night"),
        ("postgresql://someone:canary-password@127.0.0.1:1/none", "warehouse_unreachable"),
        ("postgresql://someone:canary-password@127.0.0.1:none/none", "warehouse_unreachable"),
    ],
)
def test_the_probe_without_a_warehouse(warehouse: str, what: str, tmp_path: Path) -> None:
    code, found = ask("probe", warehouse=warehouse.format(tmp_path), landing=tmp_path)
    assert (code, [f["what"] for f in found["faults"]]) == (1, [what])
    assert "canary" not in json.dumps(found)


def test_status_is_metrics_too(published: str, tmp_path: Path) -> None:
    code, found = ask("status", warehouse=published, landing=tmp_path, METRICS_FOLDER=str(tmp_path / "metrics"))
    assert (code, found["night"]) == (0, DAY.isoformat())
    page = (tmp_path / "metrics" / f"{PREFIX}status.prom").read_text()
    ended = dt.datetime.combine(DAY + dt.timedelta(days=1), dt.time(), dt.UTC).timestamp()
    values = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    assert float(values[f"{PREFIX}night_ended_timestamp_seconds"]) == ended
    assert float(values[f'{PREFIX}night_rows{{table="user_topn"}}']) == 3
    assert float(values[f'{PREFIX}quality_passed{{check="short_lists",severity="warn",table="user_topn"}}']) == 0
    code, found = ask("status", warehouse=f"duckdb:///{tmp_path}/none", landing=tmp_path, METRICS_FOLDER=str(tmp_path / "metrics"))
    assert (found["night"], found["rows"], found["jobs"]) == (None, {}, [])
    assert "night_ended_timestamp_seconds 0" not in (tmp_path / "metrics" / f"{PREFIX}status.prom").read_text()
