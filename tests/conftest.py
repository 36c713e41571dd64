"""What tests share: a Spark session, a throw-away PostgreSQL, the checkout's folders, a clean environment, and fast tests first."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Generator, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

REPO = Path(__file__).resolve().parent.parent
# A test belongs to the last one it is marked with. The fast ones run first, then from the last kind on: with two workers the longest files
# must not begin when the other worker has nothing left.
KINDS = ("fast", "spark", "postgres", "e2e", "ui")
FIXTURE_KINDS = {"spark": "spark", "postgres_url": "postgres", "postgres_db": "postgres"}
# A developer's own settings must not decide what a test sees.
SETTINGS = re.compile(
    r"LANDING|LAKE|WAREHOUSE(_READER)?|REPORT|USER_KEY_SECRET(_FILE)?|KEY_ID|TIME_ZONE|GRACE_S|ENCODER|DEVICE|SPARK_MASTER|EVENT_TYPES_FILE|KNOWN_CUTOFF|ERASURE_INBOX|SENTIMENT_MODEL|ENTITY_MODEL|TAXONOMY_FILE|TAXONOMY_EDGE_FILE|SENSITIVE_TOPICS_FILE|SEGMENTS_FILE|REASON_COPY|LISTS_FILE|TEXT_.*|BLOCK_ON_HISTORY|INTRADAY_.*|RECOMMENDERS|FORECAST_MODELS|TRAIN_PROCESSES|SPARK_CONF.*|SPARK_FROM_ROWS|LOG_FORMAT|METRICS_FOLDER|LINEAGE_FILE|ALERT_WEBHOOK(_FILE)?|RUNBOOK_URL|K_ANONYMITY|DP_.*|RETAIN_.*|MAX_NIGHT_AGE_H|AIRFLOW_.*|PYTHONDONTWRITEBYTECODE"
)

for name in [name for name in os.environ if SETTINGS.fullmatch(name)]:
    del os.environ[name]
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "PYSPARK_PYTHON": sys.executable,
    "PYSPARK_DRIVER_PYTHON": sys.executable,
    "SPARK_LOCAL_IP": "127.0.0.1",
    "SETTINGS_FILE": os.devnull,
    # Importing Airflow writes there: each worker of pytest-xdist needs its own.
    "AIRFLOW_HOME": str(REPO / "var" / "tests" / f"airflow{os.environ.get('PYTEST_XDIST_WORKER', '')}"),
}


def kind(item: pytest.Item) -> int:
    """The test's place in `KINDS`."""
    return max(KINDS.index(mark.name) for mark in item.iter_markers() if mark.name in KINDS)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, None, None]:
    """Mark every test with its kind before `-m` selects, and order them by it after all else has ordered them."""
    for item in items:
        used = {FIXTURE_KINDS[name] for name in getattr(item, "fixturenames", ()) if name in FIXTURE_KINDS}
        for name in sorted(used) or ["fast"]:
            if used or not any(mark.name in KINDS for mark in item.iter_markers()):
                item.add_marker(name)
    yield
    items.sort(key=lambda item: -kind(item) % len(KINDS))


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The checkout's folder."""
    return REPO


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the real logs: `SHARED_DATA`, else ../shared/data beside the checkout; without it the test is skipped."""
    folder = Path(os.environ.get("SHARED_DATA") or REPO.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"the real logs are not here ({folder}); name their folder in SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """One small local session for all tests; its own files lie in a temporary folder."""
    from recsys_core.spark import session

    folder = tmp_path_factory.mktemp("spark")
    conf = {
        "spark.driver.memory": "1g",
        "spark.local.dir": str(folder / "local"),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
    }
    running = session("local[2]", "tests", conf)
    yield running
    running.stop()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Spark's asks the session that is no more


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A throw-away server's URL (its database `postgres`), alive for the session; nothing of it is left afterwards, even after a kill."""
    from docker.postgres import serve

    with serve() as url:
        yield url


_database_numbers = count(1)


@pytest.fixture
def postgres_db(postgres_url: str) -> Iterator[str]:
    """The URL of a fresh, empty database, dropped after the test."""
    name = f"test_{next(_database_numbers)}"
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
        yield f"{postgres_url.rpartition('/')[0]}/{name}"
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")
