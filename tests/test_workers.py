"""Nights in processes beside this one: the same rows, what needs Spark is done here, errors and deaths are told as if it happened here."""

from __future__ import annotations

import datetime as dt
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from jobs.runner import AbsentNightError, NotBuiltError
from jobs.workers import DIED, SparkNeededError, Workers
from recsys_core.simulate import simulate
from tests.shop import ONE_DAY, Shop

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FIRST = dt.date(2026, 3, 2)
FACTS = ("clean", "aggregate", "texts")


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("workers")
    simulate(str(root), FIRST, 2, users=40, items=60, events_per_night=300, seed=0)
    return root


@pytest.fixture
def workers(landing: Path, tmp_path: Path) -> Iterator[tuple[Shop, Workers]]:
    shop = Shop(tmp_path, landing)
    runner = shop.runner()
    runner.settings.spark_from_rows = 0
    found = Workers(runner, 1)
    yield shop, found
    found.close()


def test_nights_in_processes_equal_nights_here(landing: Path, tmp_path: Path) -> None:
    beside, here = Shop(tmp_path / "beside", landing), Shop(tmp_path / "here", landing)
    runner = beside.runner()
    runner.nights(FIRST, FIRST + ONE_DAY, FACTS, parallel=2, processes=True)
    assert "spark" not in vars(runner)
    assert [line for line in beside.said if "aggregate: " in line and "user_item_day" in line] != []
    one = here.runner()
    one.nights(FIRST, FIRST + ONE_DAY, FACTS)
    for table in ("event_clean", "user_item_day", "session", "user_text"):
        for ds in (FIRST, FIRST + ONE_DAY):
            made = [r.lake.manifest(table, ds) for r in (runner, one)]
            assert made[0] is not None
            assert made[1] is not None
            assert made[0].checksum == made[1].checksum
    runner.nights(FIRST, FIRST + ONE_DAY, FACTS, parallel=2, processes=True)
    assert beside.said.count(f"{FIRST} texts: up to date") == 1
    with pytest.raises(NotBuiltError, match="2026-03-02, landed but not built"):
        runner.nights(FIRST, FIRST + ONE_DAY, ("assign_topics", "profile", "evaluate"), parallel=2, processes=True)


def test_what_needs_spark_is_done_here(spark: SparkSession, workers: tuple[Shop, Workers]) -> None:
    shop, beside = workers
    with pytest.raises(SparkNeededError):
        beside.run("clean", FIRST, False, "manual")
    assert shop.said == []
    runner = shop.runner()
    runner.settings.spark_from_rows = 0
    runner.spark = spark
    runner.nights(FIRST, FIRST + ONE_DAY, ("clean",), parallel=2, processes=True)
    assert runner.lake.nights("event_clean") == [FIRST, FIRST + ONE_DAY]


def test_errors_and_deaths_of_workers(workers: tuple[Shop, Workers]) -> None:
    _, beside = workers
    absent = FIRST - ONE_DAY
    with pytest.raises(AbsentNightError, match="nothing was landed for 2026-03-01"):
        beside.run("clean", absent, False, "manual")
    for child in psutil.Process().children(recursive=True):
        if "spawn_main" in " ".join(child.cmdline()):
            os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=DIED[:40]):
        beside.run("clean", FIRST, False, "manual")
