"""Kills a night at a random moment, then runs the same command again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from dags.launcher import descendants, processes
from tests.faults.stand import DS, Place, ran, started
from tests.shop import Shop

VICTIMS = ("driver", "jvm", "worker", "task")
# As Airflow runs it: the operator in the task's process, the launcher below it.
TASK = "import sys; from dags.operators import JobOperator; sys.exit(JobOperator(task_id='night', argv=sys.argv[1:]).run_command()[0])"
NOTICED_S = 90.0  # after which a driver must have ended whose JVM or worker is gone
TASK_GONE_S = 5.0


def trial(n: int, rng: random.Random, place: Place) -> dict[str, Any]:
    """A night whose driver, JVM, Python worker or Airflow task is killed (-9) and that is run again equals the undisturbed one."""
    victim, at_s = VICTIMS[n % len(VICTIMS)], rng.uniform(0.0, 0.95) * place.reference.night_s
    for tries in range(5):
        shop = place.shop(f"shop-{tries}")
        if (struck := _killed(shop, victim, at_s, place.folder / "killed.log")) is not None:
            break
        at_s /= 2  # it was over before the moment came
    assert struck is not None, "the night always ended before it could be killed"
    began = time.monotonic()
    ran(shop, "night", "--ds", str(DS))
    again_s = time.monotonic() - began
    assert not (left := [pid for pid in struck.pop("pids") if _alive(pid)]), f"processes {left} of the killed run are still there"
    place.reference.assert_equal(shop)
    return {victim: 1, **struck, "again_s": again_s}


def _killed(shop: Shop, victim: str, at_s: float, log: Path) -> dict[str, Any] | None:
    """Kill the victim that far into the night, or as soon after as there is one; None when the night ended before."""
    night = ["-m", "jobs", "night", "--ds", str(DS)]
    with log.open("w") as out:
        process = started(shop, *(["-c", TASK, sys.executable, *night] if victim == "task" else night), stdout=out)
        try:
            began = time.monotonic()
            while time.monotonic() < began + at_s and process.poll() is None:
                time.sleep(0.01)
            while not (pids := _of(process.pid, victim)) and process.poll() is None:
                time.sleep(0.02)
            if process.poll() is not None:
                return None
            tree = {process.pid} | descendants([process.pid])
            struck_s = time.monotonic() - began
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            began = time.monotonic()
            process.wait(NOTICED_S)
            # Spark does without a worker that is idle.
            assert process.returncode != 0 or victim == "worker", f"the night went on without its {victim} and said it was done"
            if victim == "task":
                while any(_alive(pid) for pid in tree):
                    assert time.monotonic() < began + TASK_GONE_S, f"processes of the killed task are left after {TASK_GONE_S} s"
                    time.sleep(0.02)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"the driver did not end within {NOTICED_S} s of the loss of its {victim}: {log.read_text()[-500:]}"
            ) from None
        finally:
            process.kill()
            process.wait()
    return {"struck_s": struck_s, "ended_s": time.monotonic() - began, "pids": tree}


def _of(root: int, victim: str) -> list[int]:
    """Pids of the victims below a task: the root itself, its driver, the JVM, one Python worker of Spark."""
    below = {pid: _command(pid) for pid in descendants([root])}
    if victim == "jvm":
        return [pid for pid, command in below.items() if command[:1] and command[0].endswith("java")]
    if victim == "worker":
        daemons = [pid for pid, command in below.items() if any("pyspark" in word and "daemon" in word for word in command)]
        return [pid for pid in daemons if processes().get(pid, (0,))[0] in daemons][:1]
    return [root]


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def _alive(pid: int) -> bool:
    return processes().get(pid, (0, 0, "X"))[2] not in "ZX"
