"""The same night on a Spark cluster: a master and two workers in processes of their own, every table as one machine makes it."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from docker.spark_cluster import Cluster, serve
from recsys_core.simulate import simulate
from tests.shop import FACTS, ONE_DAY, Shop

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

TRAINED = dt.date(2026, 3, 2)
NIGHT = TRAINED + ONE_DAY
# Beside SPARK_FROM_ROWS=0, so that Spark does all that it can do, in several tasks, however little there is to do.
IN_SMALL_PIECES = """
import jobs.etl, jobs.interests
from jobs.__main__ import main

for module, limits in (
    (jobs.etl, {"BUCKET_ROWS": 300}),
    (jobs.interests, {"RANGE_ROWS": 1_000}),
):
    for name, limit in limits.items():
        assert hasattr(module, name), name
        setattr(module, name, limit)
main()
"""
BY_SPARK = {"SPARK_FROM_ROWS": "0", "RECOMMEND_ON": "spark"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> Shop:
    """A shop with a night's facts and topics, and a night that has landed and is not built."""
    shop = Shop(tmp_path_factory.mktemp("cluster") / "here")
    simulate(str(shop.landing), TRAINED, nights=2, users=300, items=120, events_per_night=900, seed=11, dirt=True)
    shop.runner().nights(TRAINED, TRAINED, FACTS)
    shop.runner().training(TRAINED)
    return shop


def ran_tasks(executor: Path) -> bool:
    return b"Finished task" in executor.read_bytes()


def night_on(cluster: Cluster, shop: Shop) -> None:
    environment = {**os.environ, **shop.environment(), **cluster.environment(), **BY_SPARK}
    command = [sys.executable, "-c", IN_SMALL_PIECES, "night", "--ds", NIGHT.isoformat()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_night_on_a_cluster_is_the_night_of_one_machine(trained: Shop, tmp_path: Path) -> None:
    there = trained.copy(tmp_path / "there")
    trained.runner().night(NIGHT)
    with serve(workers=2) as cluster:
        night_on(cluster, there)
        assert [ran_tasks(e) for e in cluster.executors()] == [True, True], "a worker had nothing to do"
    here, made = trained.lake_checksums(NIGHT), there.lake_checksums(NIGHT)
    assert sorted(k for k in here.keys() | made.keys() if here.get(k) != made.get(k)) == []
    assert trained.warehouse_checksums(NIGHT) == there.warehouse_checksums(NIGHT)
