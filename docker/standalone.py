"""Airflow for one machine: `standalone.py up | down | status` (`make up`, `make down`).

A supervisor in a session of its own starts the API server, scheduler, DAG processor and triggerer, restarts what ends by itself, and adopts
every process below them, so that `down` can end all of it. Everything is kept in AIRFLOW_HOME (default `var/airflow`, mode 0700): the
configuration with its generated keys, the password, the SQLite metadata (unless AIRFLOW_DATABASE names another one), the logs. The address
is 127.0.0.1:AIRFLOW_PORT (default 8080).
"""

from __future__ import annotations

import base64
import configparser
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dags.launcher import adopt_orphans, descendants, die_with_parent, processes, send  # noqa: E402

COMPONENTS = {  # the log servers of scheduler and triggerer would listen on all interfaces; the API server reads the files itself
    "api-server": ["api-server"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}
DAGS = ("nightly", "training", "intraday", "erasure", "retention")
HOST = "127.0.0.1"
START_S, GRACE_S, RESTART_S = 300.0, 20.0, 5.0


def home() -> Path:
    """AIRFLOW_HOME, absolute."""
    return Path(os.environ.get("AIRFLOW_HOME") or ROOT / "var" / "airflow").resolve()


def write_private(path: Path, text: str) -> None:
    """Writes `text` so that no other user could read it at any moment."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def write_config(port: int) -> None:
    """airflow.cfg with this product's settings, keeping the keys of an earlier one."""
    path = home() / "airflow.cfg"
    old = configparser.ConfigParser(interpolation=None)
    old.read(path)
    base = f"http://{HOST}:{port}"
    config = configparser.ConfigParser(interpolation=None)
    config.read_dict(
        {
            "core": {
                "dags_folder": str(ROOT / "dags"),
                "plugins_folder": str(ROOT / "dags" / "plugins"),
                "load_examples": "False",
                "dags_are_paused_at_creation": "False",
                "executor": "LocalExecutor",
                "parallelism": "4",
                "auth_manager": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
                "simple_auth_manager_passwords_file": str(home() / "passwords.json"),
                "execution_api_server_url": f"{base}/execution/",
                "fernet_key": old.get("core", "fernet_key", fallback=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()),
            },
            # A backfill is created while the scheduler writes, too: the lock is waited for longer than the usual 5 s.
            "database": {"sql_alchemy_conn": os.environ.get("AIRFLOW_DATABASE") or f"sqlite:///{home() / 'airflow.db'}?timeout=30"},
            "logging": {"base_log_folder": str(home() / "logs" / "tasks")},
            "api": {
                "host": HOST,
                "port": str(port),
                "base_url": base,
                "secret_key": old.get("api", "secret_key", fallback=secrets.token_hex(32)),
            },
            "api_auth": {"jwt_secret": old.get("api_auth", "jwt_secret", fallback=secrets.token_hex(32))},
            "execution_api": {"jwt_expiration_time": "86400"},
            "workers": {"execution_api_timeout": "30"},  # the jobs may keep every core busy
            "dag_processor": {"refresh_interval": "30"},
            # What a killed scheduler was running is taken up again after a minute instead of five.
            "scheduler": {"enable_health_check": "False", "orphaned_tasks_check_interval": "30"},
        }
    )
    lines = [f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in config[section].items()) for section in config.sections()]
    write_private(path, "\n".join(lines))


def password() -> tuple[str, bool]:
    """(admin's password, whether it was generated just now), kept in passwords.json with mode 0600."""
    path = home() / "passwords.json"
    if path.exists():
        path.chmod(0o600)
        return json.loads(path.read_text())["admin"], False
    made = secrets.token_urlsafe(15)
    write_private(path, json.dumps({"admin": made}) + "\n")
    return made, True


def environment() -> dict[str, str]:
    """What Airflow and the jobs below it get: this environment, the product's AIRFLOW_HOME and an absolute SETTINGS_FILE."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE" and not name.startswith("AIRFLOW__")}
    env |= {"AIRFLOW_HOME": str(home()), "AIRFLOW_CONFIG": str(home() / "airflow.cfg"), "PYTHONUNBUFFERED": "1"}
    for name in ("NO_PROXY", "no_proxy"):
        env[name] = ",".join(filter(None, [env.get(name), HOST, "localhost"]))
    if settings := settings_file():
        env["SETTINGS_FILE"] = str(settings)
    return env


def settings_file() -> Path | None:
    """The settings file the jobs will read: SETTINGS_FILE, else settings.env, else the demo's, else none."""
    if given := os.environ.get("SETTINGS_FILE"):
        return Path(given).resolve()
    return next((path for path in (ROOT / "settings.env", ROOT / "var" / "demo" / "settings.env") if path.exists()), None)


def started(pid: int) -> str | None:
    """The kernel's start time of a process, which tells it from a later one of the same pid; None when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def recorded() -> dict[str, Any] | None:
    """The pid file: pid, start time and port of the supervisor."""
    path = home() / "supervisor.json"
    return json.loads(path.read_text()) if path.exists() else None


def alive(record: dict[str, Any] | None) -> bool:
    """True when the recorded supervisor itself is still running."""
    return record is not None and started(record["pid"]) == record["started"]


def members(record: dict[str, Any]) -> set[int]:
    """Every living process of the recorded supervisor's session and everything below it."""
    if started(record["pid"]) not in (None, record["started"]):  # the number belongs to a stranger now, hence no session of ours is left
        return set()
    session = {pid for pid, (_, sid, state) in processes().items() if sid == record["pid"] and state not in "ZX"}
    return session | descendants(session)


def end(pids_of: Any, grace_s: float = GRACE_S) -> None:
    """SIGTERM to each process that `pids_of()` names, SIGKILL to those left after `grace_s`; returns when there are none."""
    send(pids_of(), signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while left := pids_of():
        if time.monotonic() > deadline:
            send(left, signal.SIGKILL)
        time.sleep(0.1)


def supervise(port: int) -> int:
    """Runs the components until SIGTERM or SIGINT, then ends every process below this one."""
    me = {"pid": os.getpid(), "started": started(os.getpid()), "port": port}
    adopt_orphans()
    mask = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, mask)
    write_private(home() / "supervisor.json", json.dumps(me))

    def in_child() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, mask)
        die_with_parent(signal.SIGTERM)

    running: dict[int, str] = {}
    due = dict.fromkeys(COMPONENTS, 0.0)  # component → when to start it
    while True:
        serving = answers(port)  # a task started before the API server would fail: it comes first
        for name in [name for name, when in due.items() if when <= time.monotonic() and (serving or name == "api-server")]:
            with (home() / "logs" / f"{name}.log").open("a") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "airflow", *COMPONENTS[name]],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=ROOT,
                    preexec_fn=in_child,
                )
            running[process.pid] = name
            process.returncode = 0  # reaped below, together with the adopted ones
            del due[name]
        received = signal.sigtimedwait(mask, 1.0)
        if received is not None and received.si_signo in (signal.SIGTERM, signal.SIGINT):
            break
        for pid in reap():
            if pid in running:
                print(f"{running[pid]} (pid {pid}) ended by itself; it is started again in {RESTART_S:.0f} s", flush=True)
                due[running.pop(pid)] = time.monotonic() + RESTART_S

    def below() -> set[int]:
        reap()
        return descendants([os.getpid()])

    end(below)
    (home() / "supervisor.json").unlink(missing_ok=True)
    return 0


def answers(port: int) -> bool:
    """True when something listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def reap() -> list[int]:
    """Collects the ended children of this process."""
    found = []
    try:
        while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
            found.append(pid)
    except ChildProcessError:
        pass
    return found


def call(port: int, path: str, body: dict[str, Any] | None = None, token: str = "") -> Any:
    """The JSON that the local API answers, past any proxy; None while it does not answer."""
    request = urllib.request.Request(f"http://{HOST}:{port}{path}", headers={"Content-Type": "application/json"})
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    if body is not None:
        request.data = json.dumps(body).encode()
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return json.load(answer)
    except (urllib.error.URLError, OSError, ValueError):
        return None


def missing(port: int, secret: str) -> str:
    """What is not ready yet, in words; empty when all components are healthy and the DAGs are there."""
    health = call(port, "/api/v2/monitor/health")
    if health is None:
        return "the API server"
    sick = [part for part in ("metadatabase", "scheduler", "dag_processor", "triggerer") if health[part]["status"] != "healthy"]
    if sick:
        return ", ".join(sick)
    token = (call(port, "/auth/token", {"username": "admin", "password": secret}) or {}).get("access_token", "")
    found = {dag["dag_id"] for dag in (call(port, "/api/v2/dags", token=token) or {"dags": []})["dags"]}
    if set(DAGS) <= found:
        return ""
    errors = (call(port, "/api/v2/importErrors", token=token) or {"import_errors": []})["import_errors"]
    return "the DAGs " + ", ".join(sorted(set(DAGS) - found)) + "".join(f"\n{error['stack_trace']}" for error in errors)


def complain(sentence: str) -> int:
    """1, the exit code of a failure, after saying why."""
    print(sentence, file=sys.stderr)
    return 1


def up(port: int) -> int:
    """Starts Airflow unless it runs, and returns when it is healthy; prints where it is and how to log in."""
    if alive(record := recorded()):
        assert record is not None
        print(f"Airflow is already running at http://{HOST}:{record['port']} (user admin, password in {home() / 'passwords.json'}).")
        return 0
    if record is not None:
        end(lambda: members(record))  # what a killed supervisor left behind
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return complain(
                f"Port {port} of {HOST} is taken by another program: stop it, or choose another port: AIRFLOW_PORT=8081 make up"
            )
    (home() / "logs").mkdir(parents=True, exist_ok=True)
    home().chmod(0o700)
    write_config(port)
    secret, fresh = password()
    env = environment()
    print(f"Preparing the metadata in {home()} …", flush=True)
    with (home() / "logs" / "migrate.log").open("w") as log:
        migrate = [sys.executable, "-m", "airflow", "db", "migrate"]
        if subprocess.run(migrate, env=env, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT).returncode != 0:
            return complain(f"`airflow db migrate` failed: see {log.name}.")
    print("Starting API server, scheduler, DAG processor and triggerer …", flush=True)
    with (home() / "logs" / "supervisor.log").open("a") as log:
        supervisor = subprocess.Popen(
            [sys.executable, __file__, "supervise", str(port)],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_S
    while what := missing(port, secret):
        if time.monotonic() > deadline or supervisor.poll() is not None:
            down()
            return complain(f"Airflow did not get ready, {what} missing: see {home() / 'logs'}.")
        time.sleep(0.5)
    print(f"Airflow is ready: http://{HOST}:{port}")
    shown = f"{secret} (shown this once; kept in" if fresh else "(in"
    print(f"Log in as admin with the password {shown} {home() / 'passwords.json'})")
    print(f"The jobs read their settings from {env.get('SETTINGS_FILE', 'the environment only: no settings.env and no demo was found')}")
    print("All DAGs are switched on: a night for which nothing has landed is skipped. Stop everything with `make down`.")
    return 0


def down() -> int:
    """Ends the supervisor and every process below it; returns when none is left."""
    record = recorded()
    if record is None:
        print("Airflow is not running.")
        return 0
    before = members(record)
    if alive(record):
        send([record["pid"]], signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S + 10
        while alive(record) and time.monotonic() < deadline and processes()[record["pid"]][2] != "Z":
            time.sleep(0.1)
    end(lambda: members(record))
    (home() / "supervisor.json").unlink(missing_ok=True)
    print(f"Airflow is stopped: {len(before)} processes ended, none left.")
    return 0


def status() -> int:
    """Prints whether Airflow runs and what is missing; 0 when all is well, 3 when it is not running, 1 when not ready."""
    record = recorded()
    if not alive(record):
        print("Airflow is not running.")
        return 3
    assert record is not None
    what = missing(record["port"], password()[0])
    ready = f"not ready: {what}" if what else "ready"
    print(f"Airflow runs at http://{HOST}:{record['port']} in {len(members(record))} processes, {ready}.")
    return 1 if what else 0


def main(arguments: list[str]) -> int:
    """Runs one of the commands; 2 for anything else."""
    try:
        port = int(os.environ.get("AIRFLOW_PORT") or 8080)
    except ValueError:
        print(f"AIRFLOW_PORT={os.environ['AIRFLOW_PORT']!r} is not a port number.", file=sys.stderr)
        return 2
    match arguments:
        case ["up"]:
            return up(port)
        case ["down"]:
            return down()
        case ["status"]:
            return status()
        case ["supervise", given]:
            return supervise(int(given))
    print("usage: standalone.py up | down | status", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
