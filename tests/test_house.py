"""Rules of the house that a text search can hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
SOURCES = sorted(p for folder in ("jobs", "recsys_core", "dags") for p in (REPO / folder).rglob("*.py"))
FORBIDDEN = {
    # Results must not depend on the clock: only the command line may look at it.
    r"\b(?:today|now|utcnow)\(": {"dags/days.py", "jobs/__main__.py", "jobs/options.py"},
    # No artefact may run code when it is loaded, and no text may reach a shell.
    r"pickle\.load|joblib|torch\.load\(|allow_pickle=True|trust_remote_code=True|shell=True": set(),
    # Both were measured to lose data when a run is killed or raced.
    r"partitionOverwriteMode|insertInto|mode\(.append.\)": set(),
    # The science reads no environment; settings do.
    r"os\.environ\[|os\.getenv|os\.environ\.get": {"jobs/settings.py", "jobs/demo.py", "jobs/__main__.py", "recsys_core/spark.py"},
}


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_nothing_forbidden_is_written(pattern: str) -> None:
    found = {str(path.relative_to(REPO)) for path in SOURCES if re.search(pattern, path.read_text(encoding="utf-8"))}
    assert found <= FORBIDDEN[pattern]


def test_the_search_finds_what_it_looks_for() -> None:
    assert re.search(next(iter(FORBIDDEN)), "datetime.now(UTC)")
    assert len(SOURCES) > 50


def test_core_imports_no_airflow_and_jobs_import_no_dags() -> None:
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        if "dags" not in path.parts:
            assert not re.search(r"^\s*(?:from|import) (?:airflow|dags)\b", text, re.MULTILINE), path
        if "recsys_core" in path.parts:
            assert not re.search(r"^\s*(?:from|import) jobs\b", text, re.MULTILINE), path
