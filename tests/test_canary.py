"""Planted secrets, ids and texts occur in no log, metric, lineage event, note of a run or line of status, whatever goes right or wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.__main__ import main
from jobs.observe import logs
from recsys_core import job_runs
from recsys_core.lake import Lake

SECRETS = {
    "USER_KEY_SECRET": "canary-user-key-secret",
    "TEXT_API_KEY": "canary-text-api-key",
    "ALERT_WEBHOOK": "http://127.0.0.1:1/canary-webhook",
}
PASSWORD = "canary%2Dpassword"
EVENT = {
    "event_id": "e1",
    "user_id": "canary-user",
    "item_id": "i1",
    "event_type": "review",
    "ts": "2026-03-02T09:30:00Z",
    "text": "canary words, write to canary@example.org",
}
LINES = [
    json.dumps(EVENT),
    json.dumps(EVENT | {"event_id": "e2", "event_type": "search", "query": "canary query", "text": None}),
    json.dumps(EVENT | {"event_id": "e3", "event_type": "canary-type"}),
    '{"event_id": "e4", "user_id": "canary-user", "text": "canary cut',
]
NIGHT = ("--ds", "2026-03-02")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[dict[str, str]]:
    folder = tmp_path / "landing" / "events" / "ds=2026-03-02"
    folder.mkdir(parents=True)
    (folder / "part.jsonl").write_text("\n".join(LINES) + "\n")
    hook = sys.excepthook
    yield SECRETS | {
        "LANDING": str(tmp_path / "landing"),
        "LAKE": str(tmp_path / "lake"),
        "WAREHOUSE": f"duckdb:///{tmp_path / 'w.duckdb'}",
        "METRICS_FOLDER": str(tmp_path / "seen" / "metrics"),
        "LINEAGE_FILE": str(tmp_path / "seen" / "lineage.jsonl"),
    }
    logs.begin("text", ())
    sys.excepthook = hook


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_nothing_planted_is_seen(log_format: str, site: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise RuntimeError(f"connection to user:canary-password with {SECRETS['USER_KEY_SECRET']} was lost")

    site |= {"LOG_FORMAT": log_format}
    broken = site | {"WAREHOUSE": f"postgresql://someone:{PASSWORD}@127.0.0.1:none/interests"}
    (tmp_path / "seen").mkdir()
    said = [
        _say(0, site, "ready", *NIGHT),
        _say(0, site, "night", *NIGHT, "--jobs", "clean,aggregate,texts"),
        _say(0, site, "night", *NIGHT, "--jobs", "clean,aggregate,texts"),
        _say(1, broken, "status"),
        _say(1, broken, "probe", "--alert"),
        _say(1, site, "probe", "--alert", "--airflow", "http://127.0.0.1:1/"),
        _say(99, site, "night", "--ds", "2026-03-01"),
        _say(0, site, "status"),
    ]
    monkeypatch.setattr("jobs.etl.texts", breaks)
    said.append(_say(1, broken, "texts", *NIGHT, "--force"))
    assert "***" in said[-1]
    notes = [Lake(site["LAKE"]).read_bytes(f"{job_runs.FOLDER}/{name}").decode() for name in Lake(site["LAKE"]).names(job_runs.FOLDER)]
    seen = [path.read_text() for path in (tmp_path / "seen").rglob("*") if path.is_file()]
    assert len(notes) == 4
    assert len(seen) >= 4
    for text in (*said, *notes, *seen):
        assert "canary" not in text.lower()
    assert "canary" in (tmp_path / "landing" / "events" / "ds=2026-03-02" / "part.jsonl").read_text()
    if log_format == "json":
        for line in said[1].splitlines():
            json.loads(line)


def test_a_failure_that_nobody_expected_is_told_without_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    hook = sys.excepthook
    try:
        logs.begin("json", ())
        try:
            raise KeyError("canary-user")
        except KeyError as error:
            sys.excepthook(KeyError, error, error.__traceback__)
    finally:
        logs.begin("text", ())
        sys.excepthook = hook
    told = json.loads(capsys.readouterr().err)
    assert told["error"] == "KeyError"
    assert told["at_code"][0].startswith(__file__)
    assert "canary-user" not in json.dumps(told)


def _say(code: int, env: dict[str, str], *words: str) -> str:
    done = CliRunner().invoke(main, list(words), env=env)
    assert done.exit_code == code, (words, done.output, done.exception)
    return done.output
