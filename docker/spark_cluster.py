"""A throw-away Spark standalone cluster on loopback: a master and workers as processes, gone when their owner ends, however it ends.

`python docker/spark_cluster.py` prints the settings that send a night to it, and serves until Ctrl-C. Tests and benchmarks use `serve()`:

    with serve(workers=2) as cluster:
        environment |= cluster.environment()

Who does not know the secret of the cluster can neither join it nor send it work.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LAUNCHER = Path(__file__).resolve().parent.parent / "dags" / "launcher.py"
START_S = 60
LOOPBACK = "127.0.0.1"
# What lives for minutes is ready sooner with the first compiler alone.
JAVA_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


class ClusterError(RuntimeError):
    """The master or a worker did not start; the message says which and ends with what it said."""


@dataclass(frozen=True)
class Cluster:
    """A running cluster: its master's URL, what an application must set to use it, and the folder of its logs and of what executors say."""

    url: str
    conf: dict[str, str]
    folder: Path

    def environment(self, **conf: str) -> dict[str, str]:
        """The settings of a process that works on the cluster; `conf` wins over the cluster's."""
        return {"SPARK_MASTER": self.url, "SPARK_CONF": json.dumps(self.conf | conf), "SPARK_LOCAL_IP": LOOPBACK}

    def executors(self) -> list[Path]:
        """What each executor that ever ran here logged."""
        return sorted(self.folder.glob("worker-*/app-*/*/stderr"))


@contextlib.contextmanager
def serve(workers: int = 2, cores: int = 1, memory: str = "1g") -> Iterator[Cluster]:
    """A fresh cluster that lives as long as the block: `workers` of so many cores and so much memory, all of it for one executor each.

    `ClusterError` says why when there is none.
    """
    folder = Path(tempfile.mkdtemp(prefix="nightly-spark-"))
    started: list[subprocess.Popen[bytes]] = []
    secret = {"spark.authenticate": "true", "spark.authenticate.secret": secrets.token_hex(16)}
    properties = folder / "daemons.conf"
    properties.touch(0o600)
    properties.write_text("".join(f"{name} {value}\n" for name, value in secret.items()), encoding="utf-8")

    def start(name: str, kind: str, *words: str) -> None:
        command = [str(_home() / "bin" / "spark-class"), f"org.apache.spark.deploy.{kind}", "--host", LOOPBACK, "--port", "0"]
        command += ["--webui-port", "0", "--properties-file", str(properties), *words]
        with (folder / f"{name}.log").open("wb") as said:
            started.append(
                subprocess.Popen(
                    [sys.executable, str(LAUNCHER), str(os.getpid()), "2", *command],
                    env=os.environ | _environment(folder),
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C reaches the owner alone
                )
            )

    try:
        start("master", "master.Master")
        url = _awaited(started[0], folder / "master.log", r"Starting Spark master at (spark://\S+)")
        for n in range(workers):
            limits = ["--cores", str(cores), "--memory", memory, "--work-dir", str(folder / f"worker-{n}")]
            start(f"worker-{n}", "worker.Worker", *limits, url)
        for n in range(workers):
            _awaited(started[1 + n], folder / f"worker-{n}.log", r"Successfully (registered) with master")
        conf = {
            **secret,
            "spark.driver.host": LOOPBACK,
            "spark.driver.bindAddress": LOOPBACK,
            "spark.executor.memory": _less(memory),
            "spark.executor.extraJavaOptions": JAVA_OPTIONS,
            "spark.sql.shuffle.partitions": str(2 * workers * cores),
            "spark.ui.enabled": "false",
        }
        yield Cluster(url, conf, folder)
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
        for process in started:
            process.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


def _home() -> Path:
    """Where Spark's programs are, without loading Spark."""
    from importlib.util import find_spec

    found = find_spec("pyspark")
    if found is None or found.origin is None:
        raise ClusterError("pyspark is not installed: run `make setup`")
    return Path(found.origin).parent


def _environment(folder: Path) -> dict[str, str]:
    return {
        "SPARK_HOME": str(_home()),
        "SPARK_LOCAL_IP": LOOPBACK,  # also where their pages are served
        "SPARK_LOCAL_DIRS": str(folder / "local"),
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_DAEMON_JAVA_OPTS": JAVA_OPTIONS,
    }


def _less(memory: str) -> str:
    """Three quarters of a size like 1g, in MiB: the JVM of an executor has more than its heap, and its Python workers need some, too."""
    return f"{int(memory[:-1]) * {'g': 1024, 'm': 1}[memory[-1]] * 3 // 4}m"


def _awaited(process: subprocess.Popen[bytes], log: Path, pattern: str) -> str:
    """The first group of what a daemon says once it is ready."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(pattern, log.read_text(encoding="utf-8", errors="replace")):
            return found[1]
        time.sleep(0.1)
    raise ClusterError(f"{log.stem} did not start: {log.read_text(encoding='utf-8', errors='replace')[-2000:]}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Serve a throw-away Spark cluster on loopback until Ctrl-C.")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cores", type=int, default=1, help="of each worker")
    parser.add_argument("--memory", default="1g", help="of each worker, like 1g or 800m")
    asked = parser.parse_args()
    try:
        with serve(asked.workers, asked.cores, asked.memory) as cluster, contextlib.suppress(KeyboardInterrupt):
            for name, value in cluster.environment().items():
                print(f"export {name}='{value}'", flush=True)
            print("serving until Ctrl-C; everything in it goes with it", file=sys.stderr, flush=True)
            signal.pause()
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
