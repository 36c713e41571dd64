"""Makes the archive of Spark's classes with which recsys_core/spark.py starts the JVM: `python -m docker.spark_classes`.

The Spark jobs of a night of a tiny simulated shop run in a throw-away folder; as the JVM ends it archives what it loaded for them
(about a minute, 110 MB). Run again after another Java or another pyspark was installed; a session does without where there is none.
"""

from __future__ import annotations

import datetime as dt
import sys
import tempfile
from pathlib import Path

from jobs.runner import Runner
from jobs.settings import Settings
from recsys_core.simulate import simulate
from recsys_core.spark import CLASSES, LOCAL_CONF

NIGHT = dt.date(2026, 3, 1)
JOBS = ("clean", "aggregate", "texts")
OPTIONS = "spark.driver.extraJavaOptions"


def main() -> int:
    """0 once the archive lies in its place, and no other beside it."""
    CLASSES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CLASSES) as name:
        root = Path(name)
        made = root / "made"
        simulate(str(root / "landing"), NIGHT, 1, users=40, items=60, events_per_night=300, seed=0)
        settings = Settings(
            landing=str(root / "landing"),
            lake=str(root / "lake"),
            user_key_secret="of no use",  # noqa: S106
            spark_master="local[2]",
            spark_conf={OPTIONS: f'{LOCAL_CONF[OPTIONS]} "-XX:ArchiveClassesAtExit={made}" -Xlog:cds=off -Xlog:cds+dynamic=off'},
            event_types_file=None,
        )
        runner = Runner(settings, lambda _: None)
        runner.nights(NIGHT, NIGHT, JOBS)
        gateway = runner.spark.sparkContext._gateway
        assert gateway is not None
        runner.close()
        gateway.proc.stdin.close()  # what the JVM waits for to end
        if gateway.proc.wait(timeout=300) or not made.is_file():
            print("the JVM made no archive of its classes", file=sys.stderr)
            return 1
        for old in CLASSES.glob("*.jsa"):
            old.unlink()
        made.rename(CLASSES / f"{made.stat().st_size}.jsa")
    return 0


if __name__ == "__main__":
    sys.exit(main())
