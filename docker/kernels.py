"""Compiles the loops of a night for this machine, so that no night does it: `python -m docker.kernels`.

Two nights of a tiny simulated shop run in a throw-away folder, in this process, with a training between them (about half a minute). numba
keeps what it compiled beside the modules (recsys_core/compiled.py) and knows when they have changed.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path

from jobs.night import ONE_DAY
from jobs.runner import Runner
from jobs.settings import Settings
from recsys_core.simulate import simulate

FIRST = dt.date(2026, 3, 1)


def main() -> None:
    """Run the nights."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        simulate(str(root / "landing"), FIRST, 2, users=40, items=120, events_per_night=600, seed=0, dirt=True)
        settings = Settings(
            landing=str(root / "landing"),
            lake=str(root / "lake"),
            warehouse=f"duckdb:///{root / 'warehouse.duckdb'}",
            user_key_secret="of no use",  # noqa: S106
            topic_models="kmeans",
            event_types_file=None,
        )
        runner = Runner(settings, print)
        runner.nights(FIRST, FIRST)
        runner.training(FIRST)
        runner.nights(FIRST + ONE_DAY, FIRST + ONE_DAY)


if __name__ == "__main__":
    main()
