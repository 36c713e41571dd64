"""The services of docker/compose.yaml as processes of this machine: their commands and their environment as they stand there.

Of what a container has of its own, only names are put in other words: the address of a service, the place of a volume, the program's path.
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psycopg
import yaml

from dags.launcher import descendants, send
from docker.compose_secrets import make
from docker.postgres import Server
from tests.test_ui import Site as Airflow

REPO = Path(__file__).resolve().parent.parent
COMPOSE = REPO / "docker" / "compose.yaml"
LAUNCHER = REPO / "dags" / "launcher.py"
LOOPBACK = "127.0.0.1"
# Services that run for as long as the site does; the second worker is the first one's replica.
LASTING = ("api-server", "scheduler", "dag-processor", "triggerer", "spark-master", "spark-worker", "spark-worker-2")
VARIABLE = re.compile(r"\$\{(\w+)(?::?-((?:[^{}]|\{[^{}]*\})*))?\}")


def services(variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The file's services, with its variables filled in."""
    return yaml.safe_load(filled(variables))["services"]


def filled(variables: Mapping[str, str] | None = None) -> str:
    """The file's text with `${NAME:-default}` replaced."""
    return VARIABLE.sub(lambda found: (variables or {}).get(found[1], found[2] or ""), COMPOSE.read_text(encoding="utf-8"))


class Site(Airflow):
    """The services below a folder; PostgreSQL is a throw-away server that asks them for their passwords."""

    def __init__(self, folder: Path, postgres: Server, settings: Mapping[str, str], variables: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.postgres = postgres
        self.port, self.spark, page, *pages = free_ports(5)
        self.secrets = self.home = folder / "secrets"
        make(self.secrets, os.geteuid())
        for name in ("data", "logs", "kernels", "spark", "tmp"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        database = postgres.url.rpartition("@")[2].rpartition("/")[0]
        self.places = {  # in a container → here
            "postgres:5432": database,
            "api-server:8080": f"{LOOPBACK}:{self.port}",
            "127.0.0.1:8080": f"{LOOPBACK}:{self.port}",
            "spark-master:7077": f"{LOOPBACK}:{self.spark}",
            "spark-master:8080": f"{LOOPBACK}:{page}",
            "/run/secrets": str(self.secrets),
            "/run/airflow": str(self.secrets),
            "/run/spark": str(self.secrets),
            "/var/log/airflow": str(folder / "logs"),
            "/var/lib/spark": str(folder / "spark"),
            "/data": str(folder / "data"),
            "/tmp": str(folder / "tmp"),
            "/app": str(REPO),
            '"scheduler"': f'"{LOOPBACK}"',
            "0.0.0.0": LOOPBACK,
        }
        self.words = {  # a service's own port → here
            ("api-server", "8080"): str(self.port),
            ("spark-master", "7077"): str(self.spark),
            ("spark-master", "8080"): str(page),
            ("spark-worker", "8081"): str(pages[0]),
            ("spark-worker-2", "8081"): str(pages[1]),
        }
        for name in ("pgpass", "settings.env"):
            path = self.secrets / name
            path.write_text(self._here(path.read_text()) + "".join(f"{n}={v}\n" for n, v in settings.items() if name == "settings.env"))
        self.services = services(variables)
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.restarts: list[str] = []

    def _here(self, text: str) -> str:
        pattern = "|".join(map(re.escape, sorted(self.places, key=len, reverse=True)))
        return re.sub(pattern, lambda found: self.places[found[0]], text)  # at once: what is here may hold a name of there

    def command(self, name: str) -> list[str]:
        """The service's command in words of this machine."""
        service = name.removesuffix("-2")
        words = [self.words.get((name, word), self._here(word)) for word in self.services[service]["command"]]
        words = [LOOPBACK if word == "spark-master" else word for word in words]
        if words[0] == "airflow":
            return [sys.executable, "-m", *words]
        found = importlib.util.find_spec("pyspark")
        assert found is not None
        assert found.origin is not None
        assert words[0] == "spark-class"
        bind = ["--host", LOOPBACK] if "--host" not in words else []
        return [str(Path(found.origin).parent / "bin" / words[0]), words[1], *bind, *words[2:]]

    def environment(self, name: str) -> dict[str, str]:
        """The service's environment, on top of this one and of what its image sets."""
        own = {key: self._here(str(value)) for key, value in self.services[name.removesuffix("-2")]["environment"].items()}
        image = {
            "AIRFLOW_HOME": str(self.folder / "tmp" / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(REPO / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPO / "dags" / "plugins"),
            "AIRFLOW__API__HOST": LOOPBACK,
            "JOBS_PYTHON": sys.executable,
            "SPARK_LOCAL_IP": LOOPBACK,
            "NO_PROXY": LOOPBACK,
            "PYTHONUNBUFFERED": "1",
        }
        if name.startswith("spark-worker"):
            own["SPARK_WORKER_DIR"] = str(self.folder / "tmp" / name)
        return os.environ | image | own

    def start(self, name: str) -> None:
        """Start a service; nothing of it outlives this process."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, str(LAUNCHER), str(os.getpid()), "3", *self.command(name)],
                env=self.environment(name),
                cwd=REPO,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def healthy(self, name: str) -> bool:
        """What the service's own health check says."""
        test = self.services[name.removesuffix("-2")]["healthcheck"]["test"][1:]
        page = self.words.get((name, "8081"), "")
        words = [sys.executable if word == "python" else self._here(word).replace("8081", page) for word in test]
        return subprocess.run(words, cwd=REPO, capture_output=True, check=False).returncode == 0

    def up(self, within_s: float = 240) -> None:
        """Databases, migration, and every lasting service in the order of their dependencies; returns when all are healthy."""
        self._databases()
        migrate = subprocess.run(
            self.command("migrate"), env=self.environment("migrate"), cwd=REPO, capture_output=True, text=True, check=False
        )
        assert migrate.returncode == 0, migrate.stdout + migrate.stderr
        for name in ("spark-master", "api-server"):
            self.start(name)
        self.wait(lambda: self.healthy("spark-master") and self.healthy("api-server"), within_s)
        for name in LASTING:
            if name not in self.running:
                self.start(name)
        self.wait(lambda: all(self.healthy(name) for name in LASTING), within_s)

    def _databases(self) -> None:
        """What PostgreSQL's image does with docker/postgres-init.sh on an empty volume, under a server that wants passwords."""
        env = os.environ | {"PGHOST": LOOPBACK, "PGPORT": self.places["postgres:5432"].rpartition(":")[2], "POSTGRES_USER": "pg"}
        script = [str(REPO / "docker" / "postgres-init.sh")]
        subprocess.run(script, env=env | {"PGPASSFILE_OF_ROLES": str(self.secrets / "pgpass"), "PGPASSFILE": ""}, check=True)
        with psycopg.connect(self.postgres.url, autocommit=True) as server:
            row = server.execute("SHOW hba_file").fetchone()
            assert row is not None
            Path(row[0]).write_text("host all pg 127.0.0.1/32 trust\nlocal all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
            server.execute("SELECT pg_reload_conf()")

    def kill(self, name: str) -> None:
        """End a service as a container is killed: all its processes at once, without a word."""
        process = self.running.pop(name)
        send({process.pid} | descendants([process.pid]), signal.SIGKILL)
        process.wait()

    def tend(self) -> None:
        """Start again what has ended by itself, as `restart: unless-stopped` does."""
        for name, process in list(self.running.items()):
            if process.poll() is not None:
                self.restarts.append(name)
                self.start(name)

    def wait(self, done: Callable[[], Any], within_s: float) -> None:
        """Tend the services until `done()`; fails with the ends of their logs when it takes too long."""
        deadline = time.monotonic() + within_s
        while not done():
            assert time.monotonic() < deadline, "\n".join(
                f"--- {p.name}\n{p.read_text(errors='replace')[-1500:]}" for p in self.folder.glob("*.log")
            )
            self.tend()
            time.sleep(1)

    def down(self) -> None:
        """End every service."""
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            process.wait(60)
        self.running.clear()


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind((LOOPBACK, 0))
    found = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return found
