"""What is promised, and the trial that tries to break it.

A trial is `trial(n, rng, place) -> measurements`; it raises AssertionError with the reason when the promise is broken. Names of
measurements say how they are summed up: `…_s` (seconds) and `…_mib` by median and greatest, all others are counts and are added.
"""

from __future__ import annotations

import importlib
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.stand import Place, Stand


@dataclass(frozen=True)
class Promise:
    """A sentence, the module whose `trial` tries to break it, how many trials the soak makes, and the numbers of those that CI makes.

    `elsewhere` names the tests that make the short form in CI, where these are not the trial itself.
    """

    sentence: str
    module: str
    full: int
    short: tuple[int, ...] = (0,)
    elsewhere: str = ""

    def try_it(self, name: str, number: int, stand: Stand, folder: Path) -> dict[str, Any]:
        """Measurements of one trial in an empty folder; equal numbers make equal trials."""
        folder.mkdir(parents=True)
        trial = importlib.import_module(f"tests.faults.{self.module}").trial
        found: dict[str, Any] = trial(number, random.Random(seed(name, number)), Place(folder, stand))
        return found


def seed(name: str, number: int) -> str:
    """What the random moments of a trial follow from."""
    return f"{name} {number}"


PROMISES: dict[str, Promise] = {
    "kill": Promise(
        "A night whose driver, JVM, Python worker or Airflow task is killed (-9) at any moment is finished by the same command: equal "
        "checksums in lake and warehouse, nothing to clean up, nothing left.",
        "kill",
        full=50,
        short=(1,),
    ),
    "readers": Promise(
        "While nights are published, every reader sees in one snapshot one whole generation of all tables, on PostgreSQL and on DuckDB, "
        "also over a connection held open.",
        "readers",
        full=16,  # of 25 publications each, on PostgreSQL and DuckDB in turn
        short=(0, 1),
    ),
    "fence": Promise(
        "An attempt that was frozen before it published and thawed after its successor had published is refused as fenced.",
        "fence",
        full=20,
    ),
    "pairs": Promise(
        "Two processes that publish one night at the same time are both done, one after the other: exact rows, no deadlock.",
        "pairs",
        full=5,  # of ten pairs each, on both engines
    ),
    "crash": Promise(
        "PostgreSQL stopped (-m immediate) in the middle of a publication and started again holds the night whole after the publisher's "
        "own retries, or a second run; nothing is left behind.",
        "crash",
        full=30,
    ),
    "disk": Promise(
        "When the disk under the lake and the DuckDB file runs full, the old night stays, the error names the path, and once space is "
        "freed the same command makes the night equal.",
        "disk",
        full=20,
        short=(15,),
    ),
    "airflow": Promise(
        "30 nights backfilled in Airflow, four at a time, with its metadata on PostgreSQL, while the scheduled night and five runs by hand "
        "overlap, equal those that nothing disturbed.",
        "airflow",
        full=1,
        short=(),
        elsewhere="tests/test_ui.py (two nights, SQLite metadata)",
    ),
    "components": Promise(
        "On the services of docker/compose.yaml as processes, nights of a backfill equal those that nothing disturbed, though each service "
        "is killed (-9) in the middle of the work and started again.",
        "components",
        full=2,
        short=(),  # one night so costs some 290 CPU seconds
        elsewhere="tests/test_composed.py (facts of a night; a worker and the master killed)",
    ),
    "models": Promise(
        "Nights published under one model and built again after another was promoted equal what they were; with `--use-current-models` all "
        "carry the other one.",
        "models",
        full=3,  # of ten nights each
        short=(),
        elsewhere="tests/test_pipeline.py",
    ),
    "future": Promise(
        "Whatever changes after a night (events, in whatever partition; the catalogue; later models) changes no byte of it.",
        "future",
        full=5,
        short=(),
        elsewhere="tests/test_pipeline.py",
    ),
    "erasure": Promise(
        "Of 50 people 25 are erased: no byte of them is left in any store, the rows of the others are unchanged, and a file of an erased "
        "one that is delivered again is passed over.",
        "erasure",
        full=4,  # on DuckDB and PostgreSQL in turn
        short=(),
        elsewhere="tests/test_erasure_shop.py",
    ),
    "roles": Promise(
        "A reader of the PostgreSQL warehouse gets the six questions answered and is refused all else: more than 40 statements, one by "
        "one.",
        "roles",
        full=1,
    ),
    "backfill": Promise(
        "90 nights built by `python -m jobs nights` equal the same nights built one after the other, and with the facts built from the "
        "last night back.",
        "backfill",
        full=1,
        short=(),
        elsewhere="tests/test_pipeline.py",
    ),
}
