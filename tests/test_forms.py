# ruff: noqa: E402 -- Airflow reads its environment while it is imported
"""What the forms of the DAGs and the commands take, and what they refuse, with the reason, before anything starts."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

REPO = Path(__file__).resolve().parent.parent
os.environ.setdefault("AIRFLOW_HOME", str(REPO / "var" / "tests" / "airflow"))

from airflow.sdk.exceptions import AirflowFailException
from airflow.serialization.serialized_objects import DagSerialization

from dags import intraday, nightly, retention, training
from dags.days import DAY, know_formats
from dags.operators import moment
from jobs import NIGHTLY, stages
from jobs.__main__ import main
from tests.hostile import HOSTILE, STRINGS

know_formats()
FUTURE = ("2099-01-01", "9999-12-31")  # nights for a command, of which nothing has landed
DAGS = {dag.dag_id: dag for dag in (nightly.dag, training.dag, intraday.dag, retention.dag)}
FORMS = [(name, param) for name, dag in DAGS.items() for param in dag.params]


def asked(dag: str, conf: dict[str, Any]) -> dict[str, Any]:
    """What Airflow's server does with the fields of a run before it creates it: a ValueError is its answer 400."""
    params = DagSerialization.from_dict(DagSerialization.to_dict(DAGS[dag])).params
    return params.deep_merge(conf).validate()


@pytest.mark.parametrize(("dag", "param"), FORMS, ids=lambda x: str(x))
def test_every_field_refuses_every_hostile_value_with_a_reason(dag: str, param: str) -> None:
    assert len(HOSTILE) >= 60
    for value in HOSTILE:
        with pytest.raises(ValueError, match=rf"(?s){param}"):
            asked(dag, {param: value})


@pytest.mark.parametrize(("dag", "param"), FORMS, ids=lambda x: str(x))
def test_every_field_has_a_title_and_help(dag: str, param: str) -> None:
    schema = DAGS[dag].params.get_param(param).schema
    assert schema["title"]
    assert len(schema["description_md"]) > 30


def test_what_is_meant_is_taken() -> None:
    today = datetime.now(UTC).date().isoformat()
    assert asked("nightly", {"ds": today})["ds"] == today  # `ready` waits until it is over
    taken = asked("nightly", {"ds": None, "rebuild": "lists", "use_current_models": True, "known_cutoff": "2026-03-16T00:00:00.000Z"})
    assert taken["rebuild"] == "lists"
    assert set(asked("training", {})) == {"ds", "rebuild"}


def test_the_reason_of_a_refusal_is_a_sentence() -> None:
    for given in ("2099-01-01", (datetime.now(UTC) + timedelta(days=2)).date().isoformat()):
        with pytest.raises(ValueError, match=f"'{given}' is not a '{DAY}'"):
            asked("nightly", {"ds": given})
    with pytest.raises(ValueError, match=r"'2026-02-30' is not a '(date|day like)"):
        asked("nightly", {"ds": "2026-02-30"})
    with pytest.raises(ValueError, match=r"'all' is not one of \['changed', 'everything', 'facts'"):
        asked("nightly", {"rebuild": "all"})


def test_rebuild_offers_every_stage() -> None:
    said = nightly.dag.params.get_param("rebuild").schema
    assert said["enum"] == ["changed", "everything", *stages(NIGHTLY)] == list(said["values_display"])


@pytest.mark.parametrize(
    ("given", "utc"),
    [
        (None, ""),
        ("", ""),
        ("2026-03-16T00:00:00Z", "2026-03-16T00:00:00Z"),
        ("2026-03-16T08:00:00.000+08:00", "2026-03-16T00:00:00Z"),
        ("2026-03-16T00:00", "2026-03-16T00:00:00Z"),
    ],
)
def test_a_moment_is_told_in_utc(given: str | None, utc: str) -> None:
    assert moment(given) == utc


@pytest.mark.parametrize("given", [s for s in STRINGS if not s[:4].isdigit() or len(s) > 10])
def test_what_is_no_moment_enters_no_command(given: str) -> None:
    with pytest.raises(AirflowFailException, match="is not a moment like"):
        moment(given)


@pytest.mark.parametrize("option", ["--ds", "--known-cutoff", "--trigger"])
def test_commands_refuse_every_hostile_value_with_a_reason(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER_KEY_SECRET", "a secret of this test")
    places = ["--landing", str(tmp_path / "landing"), "--lake", str(tmp_path / "lake"), "--warehouse", f"duckdb:///{tmp_path}/w.duckdb"]
    for value in (v for v in STRINGS if "\x00" not in v and v not in FUTURE):
        argv = ["stage", "facts", "--ds", "2026-03-01", *places, option, value]
        done = CliRunner().invoke(main, argv)
        assert done.exit_code in (1, 2), (value, done.output)
        assert done.output.strip(), value
    assert not list(tmp_path.rglob("*"))
