"""The Spark services of docker/compose.yaml as processes: the facts of a night, by the task's own command, though they are killed.

The small form of the promise `components`; in `make soak` Airflow's services and PostgreSQL are killed, too, under a backfill.
"""

from __future__ import annotations

import datetime as dt
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from dags import nightly
from recsys_core.simulate import simulate
from tests.composed import Site
from tests.faults.components import no_door_is_open
from tests.shop import SECRET, Shop
from tests.test_dags import run_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from docker.postgres import Server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NIGHT = dt.date(2026, 3, 2)
MASTER, WORKERS = "spark-master", ("spark-worker", "spark-worker-2")
# What lives for a minute is ready sooner with the first compiler alone: master, workers, executors and driver.
JAVA_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Master and two workers, healthy, on ports of loopback that are free; the environment is that of the scheduler."""
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", JAVA_OPTIONS)
    nobody = cast("Server", SimpleNamespace(url="postgresql://pg@127.0.0.1:9/none"))  # facts are the lake's alone
    sizes = {"WORKER_MEMORY": "1g", "EXECUTOR_MEMORY": "700m", "SHUFFLE_PARTITIONS": "4"}
    made = Site(tmp_path / "site", nobody, {"SPARK_FROM_ROWS": "0"}, sizes)
    (made.secrets / "user_key_secret").write_text(SECRET)
    try:
        for names in ([MASTER], WORKERS):
            for name in names:
                made.start(name)
            made.wait(lambda names=names: all(made.healthy(name) for name in names), 120)  # type: ignore[misc]
        for name, value in made.environment("scheduler").items():
            monkeypatch.setenv(name, value)
        yield made
    finally:
        made.down()


def executors(site: Site, worker: str) -> list[Path]:
    """What each executor that ever ran on a worker said."""
    return list((site.folder / "tmp" / worker).glob("app-*/*/stderr"))


def at_work(site: Site, worker: str) -> bool:
    """Whether an executor of a worker has a task, or has had one."""
    return any("Running task" in said.read_text(errors="replace") for said in executors(site, worker))


def test_facts_are_those_of_one_machine_though_a_worker_and_the_master_are_killed(site: Site, tmp_path: Path, spark: SparkSession) -> None:
    here = Shop(tmp_path / "here")
    simulate(str(here.landing), NIGHT, nights=1, users=200, items=80, events_per_night=800, seed=11, dirt=True)
    here.lake.mkdir()
    there = here.copy(site.folder / "data", landing=True)
    task = nightly.dag.get_task("facts").prepare_for_execution()
    run = run_of("manual", conf={"ds": NIGHT.isoformat()})
    task.render_template_fields({"dag_run": run, "params": nightly.dag.params.dump() | (run.conf or {})}, nightly.dag.get_template_env())
    with ThreadPoolExecutor(1) as pool:
        command = pool.submit(task.run_command)
        try:
            while not (struck := next((name for name in WORKERS if at_work(site, name)), "")):
                assert not command.done(), command.result()
                time.sleep(0.05)
            site.kill(struck)
            site.start(struck)
            site.kill(MASTER)
            assert not command.done(), "all was over before the master was killed"
            site.start(MASTER)
            site.wait(command.done, 240)
        finally:
            task.on_kill()
    assert command.result()[0] == 0, command.result()
    assert all(executors(site, name) for name in WORKERS), "the night was one worker's alone"
    assert "New state: RECOVERING" in (site.folder / f"{MASTER}.log").read_text(errors="replace"), "the second master knew of no work"
    no_door_is_open(site)
    runner = here.runner()
    runner.settings.spark_from_rows = 0
    for job in nightly.NIGHTLY:
        if nightly.NIGHTLY[job].stage == "facts":
            runner.run(job, NIGHT)
    wanted, found = here.lake_checksums(NIGHT), there.lake_checksums(NIGHT)
    assert {folder.split("/")[0] for folder in wanted} >= {"event_clean", "item", "session", "user_item_day"}
    assert found == wanted
