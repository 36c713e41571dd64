"""The one place that starts a Spark session."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_QUIET = f"-Dlog4j2.configurationFile={(Path(__file__).parent / 'log4j2.properties').as_uri()}"

# Few shuffle partitions and the first compiler only: a night on one machine is mostly start-up and planning.
LOCAL_CONF = {
    "spark.sql.shuffle.partitions": "2",
    "spark.default.parallelism": "2",
    "spark.ui.enabled": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.memory": "2g",
    # A night compiles some two hundred pieces of code, of which the next one needs most again: Spark keeps a hundred, and names a piece by
    # its stage's number, which follows from what happened to end first.
    "spark.sql.codegen.cache.maxEntries": "500",
    "spark.sql.codegen.useIdInClassName": "false",
    # The first compiler alone is given 48 MiB for its code, which a few nights fill; from then on everything would be interpreted.
    "spark.driver.extraJavaOptions": (
        f"{_QUIET} -XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -XX:+UseParallelGC -Xss4m -Duser.timezone=UTC"
    ),
}
# Executors elsewhere find this code where it lies here: all machines have the same folders, by one image or one file system.
CLUSTER_CONF = {"spark.executorEnv.PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
CONF = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.adaptive.coalescePartitions.parallelismFirst": "false",
}


# Under the interpreter, as Spark's jars are; docker/spark_classes.py makes what lies there.
CLASSES = Path(sys.prefix) / "share" / "spark-classes"


def class_archive() -> Path | None:
    """The archive of Spark's classes that a JVM maps instead of reading them from jars one by one; None where none was made.

    Its name says its size, because the JVM dies of a file that is cut off. One of another Java or for other jars it leaves alone.
    """
    return next((path for path in sorted(CLASSES.glob("*.jsa")) if path.stem == str(path.stat().st_size)), None)


def session(master: str = "local[2]", app: str = "nightly-interests", conf: dict[str, str] | None = None) -> SparkSession:
    """A Spark session on `master`, in UTC, with this interpreter for its Python workers.

    `conf` wins over the defaults. Raises RuntimeError naming the remedy when no JVM can be started.
    """
    from pyspark.errors import PySparkRuntimeError
    from pyspark.sql import SparkSession

    # Spark 4.3 warns of pandas 3 at every call that passes Arrow; the calls used here are tested with it.
    warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas", category=FutureWarning)
    logging.getLogger("py4j").setLevel(logging.WARNING)  # else every closed connection is a line wherever the root logger says INFO
    logging.getLogger().addFilter(_not_a_lost_answer)
    if master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    settings = {**CONF, **(LOCAL_CONF if master.startswith("local") else CLUSTER_CONF), **(conf or {})}
    if (archive := class_archive()) and settings.get("spark.driver.extraJavaOptions") == LOCAL_CONF["spark.driver.extraJavaOptions"]:
        settings["spark.driver.extraJavaOptions"] += f' "-XX:SharedArchiveFile={archive}" -Xshare:auto -Xlog:cds=off -Xlog:cds+dynamic=off'
    builder = SparkSession.builder.master(master).appName(app)
    for key, value in settings.items():
        builder = builder.config(key, value)
    try:
        return builder.getOrCreate()
    except (PySparkRuntimeError, FileNotFoundError) as error:
        raise RuntimeError(f"no JVM for Spark ({error}): install Java 17 or later and see that `java -version` answers") from error


def _not_a_lost_answer(record: logging.LogRecord) -> bool:
    # py4j says so by the root logger, with a traceback, when a JVM dies while it is asked: `death` says it in a sentence.
    return record.msg != "Exception while sending command."


def stop(running: SparkSession) -> None:
    """Stop a session; nothing is left to be stopped when its JVM has ended."""
    if _jvm_ended(within_s=0) is None:
        running.stop()


def death(error: Exception) -> str | None:
    """The sentence that says so when `error` came of a process of Spark that has died, its JVM or a Python worker; None when it did not."""
    if "pyspark" not in sys.modules:
        return None
    code = _jvm_ended(within_s=1)  # its connections break before it has ended
    if code is not None:
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        died = f"Spark's Java process ended in the middle of the work ({how})"
    elif "Python worker exited unexpectedly" in str(error):
        died = "a Python worker of Spark ended in the middle of the work"
    else:
        return None
    return f"{died}: it was killed, or memory ran out; nothing half-written is live, so free some memory and run the command again"


def _jvm_ended(within_s: float) -> int | None:
    """Exit code of the session's JVM (-n: by signal n), None while it runs or where this process started none."""
    from pyspark import SparkContext

    jvm = getattr(SparkContext._gateway, "proc", None)
    if jvm is None:
        return None
    with suppress(subprocess.TimeoutExpired):
        return int(jvm.wait(within_s))
    return None
