"""A job done in several ways, for test_ways.py: `python -m tests.ways_case --way NAME`."""

import sys

from benchmarks.ways import Laps

laps = Laps()
way = sys.argv[-1]
if way == "broken":
    sys.exit(3)
laps.lap("start")
held = bytearray(200_000_000 if way == "large" else 1_000)
total = sum(range(2_000_000))
laps.lap("first")
total = sum(range(2_000_000))
laps.lap("warm")
laps.say(total, rows=len(held))
