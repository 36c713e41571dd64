"""What a job costs: processor time, memory and bytes of this process and of all below it, Spark's JVM and its Python workers included."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB", re.MULTILINE)


@dataclass
class Cost:
    """What a run has used.

    peak_rss_bytes  sum over the processes of the most that each held since the run began: no less than the most that all held together
    read_bytes      what was asked of the system, whether a disk, its cache or a socket answered; memory-mapped files are not in it
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_rss_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0

    def share(self, n: int) -> Cost:
        """The part of each of `n` nights that were done together; the memory is everyone's."""
        return Cost(self.wall_s / n, self.cpu_s / n, self.peak_rss_bytes, self.read_bytes // n, self.written_bytes // n)


class Meter:
    """Charges what the processes use to the runs that are at work: those of the same moment share it equally, so nothing counts twice.

    `apart` names child processes that keep ledgers of their own; they and what is below them are left out.
    """

    def __init__(self, apart: Callable[[], Iterable[int]] = tuple) -> None:
        self.apart = apart
        self._lock = threading.Lock()
        self._running: dict[int, tuple[Cost, float]] = {}
        self._before = (0.0, 0, 0)

    def begin(self) -> Cost:
        """A run begins; what it costs is known when it ends."""
        cost = Cost()
        with self._lock:
            if self._running:
                self._settle()
            else:
                self._before = self._used(reset=True)[0]
            self._running[id(cost)] = (cost, perf_counter())
        return cost

    def end(self, cost: Cost) -> Cost:
        """The run ends; the same object, filled in."""
        with self._lock:
            self._settle()
            cost.wall_s = perf_counter() - self._running.pop(id(cost))[1]
        return cost

    def _settle(self) -> None:
        now, peak = self._used()
        # A process whose parent died takes its figures along: they are missing then, never less than nothing.
        cpu, read, written = (max(0, a - b) / len(self._running) for a, b in zip(now, self._before, strict=True))
        self._before = now
        for cost, _ in self._running.values():
            cost.cpu_s += cpu
            cost.read_bytes += int(read)
            cost.written_bytes += int(written)
            cost.peak_rss_bytes = max(cost.peak_rss_bytes, peak)

    def _used(self, reset: bool = False) -> tuple[tuple[float, int, int], int]:
        """((CPU seconds, bytes read, bytes written) so far, with those of ended children; most memory held), the latter forgotten first."""
        import psutil

        cpu, read, written, peak = 0.0, 0, 0, 0
        for process in self._processes():
            with suppress(psutil.Error):
                times = process.cpu_times()
                cpu += times.user + times.system + times.children_user + times.children_system
                counted = process.io_counters()
                read, written = read + counted.read_chars, written + counted.write_chars
            with suppress(OSError):
                if reset:
                    Path(f"/proc/{process.pid}/clear_refs").write_text("5")  # only the mark of the highest resident set, see proc(5)
                if found := _PEAK.search(Path(f"/proc/{process.pid}/status").read_text()):
                    peak += int(found[1]) * 1024
        return (cpu, read, written), peak

    def _processes(self) -> Iterator[psutil.Process]:
        import psutil

        me, apart = psutil.Process(), set(self.apart())
        yield me
        if not apart:
            yield from me.children(recursive=True)
            return
        for child in me.children():
            if child.pid not in apart:
                yield child
                with suppress(psutil.Error):
                    yield from child.children(recursive=True)
