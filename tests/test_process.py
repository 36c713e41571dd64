# ruff: noqa: E402 -- Airflow reads its environment while it is imported
"""A task's process: what it is given, what it reports, and that nothing of it outlives the task, however the task ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).resolve().parent.parent
os.environ.setdefault("AIRFLOW_HOME", str(REPO / "var" / "tests" / "airflow"))  # importing airflow writes its configuration there

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException, AirflowTaskTimeout
from airflow.sdk.execution_time.timeout import timeout

from dags.launcher import processes
from dags.operators import GRACE_S, LAUNCHER, JobOperator

# A job of three generations that all ignore SIGTERM: itself, a child that left its group, and a grandchild that left its session and whose
# parent has ended. It writes their pids to the file and waits.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sleep = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", sleep], process_group=0)
middle = f"import subprocess as s, sys; print(s.Popen([sys.executable, '-c', {sleep!r}], start_new_session=True, stdout=s.DEVNULL).pid)"
orphan = int(subprocess.run([sys.executable, "-c", middle], stdout=subprocess.PIPE, text=True).stdout)
time.sleep(0.3)
with open(sys.argv[1] + ".part", "w") as file:
    file.write(f"{os.getpid()} {child.pid} {orphan}")
os.rename(sys.argv[1] + ".part", sys.argv[1])
print("started", flush=True)
time.sleep(float(sys.argv[2]))
"""


class Recorder:
    """A log that keeps each message with the moment it came."""

    def __init__(self) -> None:
        self.lines: list[tuple[float, str]] = []

    def info(self, text: str, *values: object) -> None:
        self.lines.append((time.monotonic(), text % values))


class LoggedJob(JobOperator):
    """The operator with a log that a test can read."""

    recorder: Recorder

    @property
    def log(self) -> Any:
        return self.recorder


def job(*argv: str, grace_s: float = 1.0, **kwargs: Any) -> LoggedJob:
    """An operator that runs `python argv…`."""
    operator = LoggedJob(task_id="job", argv=["python", *argv], grace_s=grace_s, **kwargs)
    operator.recorder = Recorder()
    return operator


def living(pids: list[int]) -> list[int]:
    """Those of the pids that are running (a zombie is not)."""
    table = processes()
    return [pid for pid in pids if pid in table and table[pid][2] not in "ZX"]


def pids_in(path: Path) -> list[int]:
    """The pids a stubborn job wrote, waiting for them."""
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, "the job did not start"
        time.sleep(0.05)
    return [int(word) for word in path.read_text().split()]


def assert_gone(pids: list[int], within_s: float) -> None:
    """Fails unless all pids end in time."""
    deadline = time.monotonic() + within_s
    while left := living(pids):
        assert time.monotonic() < deadline, f"still running: {left}"
        time.sleep(0.05)


def test_lines_of_both_streams_reach_the_log_as_they_come() -> None:
    operator = job("-u", "-c", "import sys, time; print('öne'); print('two', file=sys.stderr); time.sleep(1.2); print('three')")
    assert operator.run_command() == (0, "three")
    times, lines = zip(*operator.recorder.lines, strict=True)
    assert lines == ("öne", "two", "three")
    assert times[2] - times[1] > 1.0


def test_the_job_gets_this_interpreter_the_checkout_and_no_bytecode_ban(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("LAKE", "somewhere")
    names = "LAKE PYSPARK_PYTHON PYTHONDONTWRITEBYTECODE"
    script = f"import os, sys; print(sys.executable, os.getcwd(), *(os.environ.get(n) for n in {names!r}.split()))"
    assert job("-c", script).run_command() == (0, f"{sys.executable} {REPO} somewhere {sys.executable} None")


@pytest.mark.parametrize(
    ("code", "fatal", "error"),
    [
        (99, (2,), AirflowSkipException),
        (2, (2,), AirflowFailException),
        (1, (1, 2), AirflowFailException),
        (1, (2,), AirflowException),
        (-signal.SIGKILL, (2,), AirflowException),
    ],
)
def test_exit_codes_become_task_states(code: int, fatal: tuple[int, ...], error: type[Exception]) -> None:
    end = f"os.kill(os.getpid(), {-code})" if code < 0 else f"sys.exit({code})"
    with pytest.raises(error, match=rf"exited with {code if code >= 0 else 128 - code}: the reason") as raised:
        job("-c", f"import os, sys; print('the reason', flush=True); {end}", fatal=fatal).poke({})
    assert type(raised.value) is error  # a plain AirflowException is what Airflow retries


def test_75_waits_without_a_slot_and_says_for_what() -> None:
    operator = job("-c", "import sys; print('2026-03-01 is not built yet'); sys.exit(75)")
    assert operator.poke({}) is False
    assert operator.reschedule
    assert operator.recorder.lines[-1][1] == "Waiting, next try in 60 s: 2026-03-01 is not built yet"
    assert job("-c", "print('built')").poke({}) is True


def test_a_kill_ends_every_generation(tmp_path: Path) -> None:
    operator = job("-c", STUBBORN, str(tmp_path / "pids"), "600")
    ended: list[tuple[int, str]] = []
    thread = threading.Thread(target=lambda: ended.append(operator.run_command()))
    thread.start()
    pids = pids_in(tmp_path / "pids")
    assert living(pids) == pids
    begun = time.monotonic()
    operator.on_kill()
    assert time.monotonic() - begun < 0.5  # Airflow calls it inside a signal handler
    thread.join(10)
    assert ended == [(128 + signal.SIGTERM, "started")]
    assert living(pids) == []
    assert time.monotonic() - begun >= 1.0  # the grace was given


def test_a_timeout_ends_every_generation(tmp_path: Path) -> None:
    operator = job("-c", STUBBORN, str(tmp_path / "pids"), "600")
    with pytest.raises(AirflowTaskTimeout), timeout(3):
        operator.run_command()
    assert living(pids_in(tmp_path / "pids")) == []


def test_what_a_finished_job_leaves_behind_is_ended_and_its_exit_code_kept(tmp_path: Path) -> None:
    assert job("-c", STUBBORN, str(tmp_path / "pids"), "0").run_command() == (0, "started")
    assert living(pids_in(tmp_path / "pids")) == []


@pytest.mark.parametrize("victim", ["task", "launcher"])
def test_a_killed_parent_leaves_nothing(tmp_path: Path, victim: str) -> None:
    """kill -9 of Airflow's task process ends all generations; kill -9 of the launcher ends the job at once."""
    script = (
        "import sys; from dags.operators import JobOperator\n"
        "JobOperator(task_id='job', argv=['python', *sys.argv[1:]], grace_s=1.0).run_command()"
    )
    command = [sys.executable, "-c", script, "-c", STUBBORN, str(tmp_path / "pids"), "600"]
    with subprocess.Popen(command, cwd=REPO, start_new_session=True, stdout=subprocess.DEVNULL) as task:
        pids = pids_in(tmp_path / "pids")
        try:
            launcher = processes()[pids[0]][0]
            assert processes()[launcher][0] == task.pid
            os.kill(task.pid if victim == "task" else launcher, signal.SIGKILL)
            assert_gone([*pids, launcher] if victim == "task" else [pids[0], launcher], within_s=10)
        finally:
            for pid in living([task.pid, *pids]):
                os.kill(pid, signal.SIGKILL)


# -- a real job: a driver, its JVM, and Python workers that are reading files --------------------------------------------------------------
DAY = "2026-03-01"
GENERATIONS = ("task", "launcher", "driver", "jvm", "daemon", "worker")
KILL, TERM = signal.SIGKILL, signal.SIGTERM


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A landed night whose two files keep two workers busy for longer than a test lasts."""
    root = tmp_path_factory.mktemp("landing")
    folder = root / "events" / f"ds={DAY}"
    folder.mkdir(parents=True)
    line = f'{{"event_id":"e%d","user_id":"u1","item_id":"i1","event_type":"view","ts":"{DAY}T10:00:00Z"}}\n'
    lines = "".join(line % n for n in range(10_000)).encode()
    for name in "ab":
        with (folder / f"{name}.jsonl").open("wb") as file:
            file.writelines([name.encode(), b"\n", *[lines] * 60])
    return root


@pytest.fixture
def task(landing: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that starts the launcher as a task does, and that `clean`; what is said lies in `said`."""
    script = "import os, subprocess as s, sys; sys.exit(s.call([sys.executable, sys.argv[1], str(os.getpid()), *sys.argv[2:]]))"
    command = [sys.executable, "-c", script, str(LAUNCHER), str(GRACE_S), sys.executable, "-m", "jobs", "clean", "--ds", DAY]
    env = os.environ | {
        "LANDING": str(landing),
        "LAKE": str(tmp_path / "lake"),
        "USER_KEY_SECRET": "of a night that is killed",
        "SPARK_FROM_ROWS": "0",
    }
    with (tmp_path / "said").open("w") as said, subprocess.Popen(command, cwd=REPO, env=env, stdout=said, stderr=said) as started:
        yield started
        started.kill()


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("victim", "number", "code", "says"),
    [
        ("task", KILL, -9, ""),
        ("launcher", KILL, 256 - 9, ""),
        ("launcher", TERM, 143, ""),
        ("driver", KILL, 137, ""),
        ("jvm", KILL, 1, "failed: Spark's Java process ended in the middle of the work (signal 9): it was killed, or memory ran out"),
        ("worker", KILL, 1, "failed: a Python worker of Spark ended in the middle of the work: it was killed, or memory ran out"),
    ],
    ids=["task", "launcher", "launcher, told to stop", "driver", "jvm", "worker"],
)
def test_nothing_of_a_night_outlives_a_kill(
    task: subprocess.Popen[bytes], tmp_path: Path, victim: str, number: int, code: int, says: str
) -> None:
    """Five seconds after a kill from above; a driver that lost a process below says so in one sentence, as its last act."""
    found: dict[str, list[int]] = {}
    deadline = time.monotonic() + 90
    while len(found.get("worker", ())) < 2:
        assert time.monotonic() < deadline, found
        assert task.poll() is None, (tmp_path / "said").read_text()
        time.sleep(0.1)
        table, found = processes(), {"task": [task.pid]}
        for above, below in pairwise(GENERATIONS):
            found[below] = [pid for pid, (parent, _, state) in table.items() if parent in found[above] and state not in "ZX"]
    try:
        os.kill(found[victim][-1], number)
        assert_gone(list(chain(*found.values())), within_s=15 if says else 5)
    finally:
        for pid in living(list(chain(*found.values()))):
            os.kill(pid, KILL)
    assert task.wait() == code
    lines = [line for line in (tmp_path / "said").read_text().splitlines() if not line.startswith("WARNING: Using incubator modules")]
    assert [line[: len(says)] for line in lines if says] == ([says] if says else [])
