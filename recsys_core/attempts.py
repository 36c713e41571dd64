"""Attempts: who started last on a night's job, so that one that was frozen or cut off can't undo what its successor did.

An attempt is a number of (job, night), taken by creating `_attempts/<job>/ds=D/<number>` which no two can create. What an attempt makes
bears its number: a manifest of a lower number with other inputs does not replace one of a higher number (`Lake.write`), and a publisher
asks `Attempt.check` once it holds the warehouse's lock, after which nobody can overtake it.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recsys_core.lake import FencedError

if TYPE_CHECKING:
    from recsys_core.lake import Lake

DIGITS = 6
# So many lower numbers stay beside the newest. A listing of a folder in which files come and go may lack what went in the meantime: were it
# the newest, a number would be given twice.
KEPT = 16


@dataclass(frozen=True)
class Attempt:
    """An attempt at a job of a night; numbers grow."""

    lake: Lake
    what: str
    ds: dt.date
    number: int

    def check(self) -> None:
        """FencedError when somebody has started on the same job and night since."""
        newest = max(_claimed(self.lake, _folder(self.what, self.ds)), default=0)
        if newest > self.number:
            raise FencedError(
                f"fenced: attempt {self.number} at {self.what} of {self.ds.isoformat()} was overtaken by attempt {newest}, "
                "which answers for the night: nothing was changed; if that one failed, run again"
            )


def claim(lake: Lake, what: str, ds: dt.date) -> Attempt:
    """The next attempt at a job (or another name) of a night."""
    folder = _folder(what, ds)
    while True:
        number = max(_claimed(lake, folder), default=0) + 1
        # Lower numbers are removed below, so one that can be created may have been somebody's: the newest ones never are removed.
        if lake.create(f"{folder}/{number:0{DIGITS}}") and max(_claimed(lake, folder), default=0) == number:
            break
    for lower in (n for n in _claimed(lake, folder) if n < number - KEPT):
        lake.remove(f"{folder}/{lower:0{DIGITS}}")
    return Attempt(lake, what, ds, number)


def _folder(what: str, ds: dt.date) -> str:
    return f"_attempts/{what}/ds={ds.isoformat()}"


def _claimed(lake: Lake, folder: str) -> list[int]:
    return [int(name) for name in lake.names(folder) if name.isdecimal()]
