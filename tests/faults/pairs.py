"""Two processes publish one night at the same time, again and again."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from recsys_core.warehouse import _Reader, connect
from tests.faults.stand import Contents, Place, seen, started
from tests.shop import Shop

PAIRS, FEW = 10, 3
PAIR_S = 60.0  # a pair that takes longer is taken for deadlocked


def trial(n: int, rng: random.Random, place: Place) -> dict[str, Any]:
    """Of ten pairs on each engine both are published, one after the other, and the night is exactly the later one's."""
    found: dict[str, Any] = {"pairs": 0}
    pairs = FEW if place.stand.short else PAIRS
    for engine, url in place.warehouses().items():
        with connect(url) as warehouse:
            warehouse.ensure_schema()
        sides = [
            started(place.reference.after, "-m", "tests.faults.pairs", url, str(place.reference.after.root), stdin=subprocess.PIPE)
            for _ in "ab"
        ]
        watchdog = threading.Timer(pairs * PAIR_S, lambda sides=sides: [side.kill() for side in sides])
        watchdog.start()
        try:
            for side in sides:
                _said(side)
            slowest = max(_pair(url, sides, pair, rng) for pair in range(pairs))
        finally:
            watchdog.cancel()
            for side in sides:
                side.kill()
                side.communicate()
        found |= {"pairs": found["pairs"] + pairs, f"{engine}_pair_s": slowest}
    return found


def _pair(url: str, sides: list[subprocess.Popen[str]], pair: int, rng: random.Random) -> float:
    """Seconds that a pair took; fails unless both were published, one after the other."""
    names = {2 * pair + 10: 0, 2 * pair + 11: 1}
    began = time.monotonic()
    for name, side in names.items():
        print(name, rng.uniform(0, 0.03), file=sides[side].stdin, flush=True)
    generations = {name: json.loads(_said(sides[side])) for name, side in names.items()}
    taken = time.monotonic() - began
    assert taken < PAIR_S, f"pair {pair} took {taken:.0f} s"
    assert sorted(generations.values()) == [2 * pair + 1, 2 * pair + 2], f"pair {pair} was published as generations {generations}"
    with connect(url) as warehouse:
        shown = seen(_Reader(warehouse))
    later = max(generations, key=lambda name: generations[name])
    assert shown == later, f"pair {pair}: {shown} is live, but {later} was published last"
    return taken


def _said(side: subprocess.Popen[str]) -> str:
    assert side.stdout is not None
    line = side.stdout.readline().strip()
    if not line.isdecimal():
        raise AssertionError(f"a publisher failed, or hung and was ended: {line}{side.stdout.read()[-1500:]}")
    return line


def serve(url: str, root: Path) -> None:
    """Publish what each line of stdin names, after its pause, and say the generation it became."""
    contents = Contents(Shop(root))
    print(0, flush=True)
    for line in sys.stdin:
        name, pause_s = line.split()
        night = contents.of(int(name))
        time.sleep(float(pause_s))
        with connect(url) as warehouse:
            made = warehouse.publish_nights([night], contents.models)[night.ds]
        assert len(set(made.values())) == 1, made
        print(min(made.values()), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]))
