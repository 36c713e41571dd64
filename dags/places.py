"""Where the command of a task runs, by the setting RUN_JOBS: as a process here, through spark-submit, or in a pod (dags/pods.py)."""

from __future__ import annotations

import re
import shlex
import sys
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowFailException

if TYPE_CHECKING:
    from jobs.settings import Settings

# A driver in the cluster ends elsewhere, and spark-submit with 0 or 1: YARN's and Kubernetes' words tell how the command ended.
EXIT_SAID = re.compile(r"(?:User application exited with status|exit code:) (\d+)")


def settings() -> Settings:
    """The site's settings, as the commands read them; a failure that no retry mends when they are wrong."""
    from jobs.settings import SettingError, read_settings

    try:
        return read_settings()
    except (SettingError, ValueError) as error:
        raise AirflowFailException(f"The settings are wrong, so nothing can be run: {error}") from error


def interpreter(site: Settings) -> str:
    """The interpreter of the jobs: JOBS_PYTHON, else the one that runs this."""
    return site.jobs_python or sys.executable


def process(argv: list[str], site: Settings, spark: bool) -> list[str]:
    """The words of the process that does `argv` (`python -m jobs …`) from here; `spark` says that it has use for a cluster."""
    if _submits(site, spark):
        if not site.spark_submit:
            raise AirflowFailException("RUN_JOBS=submit needs SPARK_SUBMIT, the words before the job's own: docs/kubernetes.md")
        return [*shlex.split(site.spark_submit), *argv[argv.index("jobs") + 1 :]]
    return [interpreter(site) if word == "python" else word for word in argv]


def exit_said(line: str, site: Settings, spark: bool) -> int | None:
    """The exit code of a submitted command that a line of spark-submit tells; None for every other line and command."""
    found = EXIT_SAID.search(line) if _submits(site, spark) else None
    return int(found[1]) if found else None


def _submits(site: Settings, spark: bool) -> bool:
    return site.run_jobs == "submit" and spark


def step(argv: list[str]) -> str:
    """What `python -m jobs …` does, as a name: that of its stage, else of its command."""
    words = argv[argv.index("jobs") + 1 :]
    return words[1] if words[0] == "stage" else words[0]
