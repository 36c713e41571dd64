"""Runs one command so that nothing of it outlives its parent: `python launcher.py PARENT_PID GRACE_S COMMAND…`.

The launcher leads a session of its own and adopts every descendant of the command, also those that changed their process group (Spark's
Python workers do) or lost their parent (a JVM whose driver was killed). When it is told to stop, when its parent dies, and when the command
ends, all descendants get SIGTERM and, after the grace, SIGKILL. Exit code: the command's, 128 + n after signal n, 143 when told to stop.
Standard library only, one thread, no imports of the pipeline: it starts in milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
STOPPED = 128 + signal.SIGTERM
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(sig: int) -> None:
    """This process gets `sig` when the thread that started it ends (Linux)."""
    _libc.prctl(PR_SET_PDEATHSIG, sig, 0, 0, 0)


def adopt_orphans() -> None:
    """Descendants whose parent dies become children of this process instead of PID 1 (Linux)."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def processes() -> dict[int, tuple[int, int, str]]:
    """pid → (parent pid, session id, state letter) of every process visible in /proc."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()  # the name before ")" may hold blanks
            except OSError:  # gone meanwhile
                continue
            found[int(entry.name)] = (int(fields[1]), int(fields[3]), fields[0])
    return found


def descendants(roots: Iterable[int]) -> set[int]:
    """Pids of the living (not zombie) processes below `roots`, the roots themselves left out."""
    table = processes()
    children: dict[int, list[int]] = {}
    for pid, (parent, _, _) in table.items():
        children.setdefault(parent, []).append(pid)
    below: set[int] = set()
    queue = list(roots)
    while queue:
        for pid in children.get(queue.pop(), ()):
            if pid not in below:
                below.add(pid)
                queue.append(pid)
    return {pid for pid in below if table[pid][2] not in "ZX"}


def send(pids: Iterable[int], sig: int) -> None:
    """Sends `sig` to each pid that still exists."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, sig)


def _in_child(mask: set[signal.Signals]) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, mask)
    die_with_parent(signal.SIGKILL)


def _reap(main: int) -> int | None:
    """Collects ended children; the command's exit code once it is among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == main:
            code = os.waitstatus_to_exitcode(status)
            code = 128 - code if code < 0 else code


def launch(parent: int, grace_s: float, command: list[str]) -> int:
    """Exit code of `command` after it and all its descendants are gone."""
    stop = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    mask = stop | {signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, mask)
    die_with_parent(signal.SIGTERM)
    adopt_orphans()
    if os.getppid() != parent:  # it died before prctl could tell
        return STOPPED
    process = subprocess.Popen(command, process_group=0, preexec_fn=lambda: _in_child(mask))
    code: int | None = None
    deadline: float | None = None
    told_to_stop = False
    while True:
        ended = _reap(process.pid)
        code = ended if code is None else code
        if code is not None and not descendants([os.getpid()]):
            return STOPPED if told_to_stop else code
        if deadline is None and (told_to_stop or code is not None):
            deadline = time.monotonic() + grace_s
            send(descendants([os.getpid()]), signal.SIGTERM)
        if deadline is not None and time.monotonic() > deadline:
            send(descendants([os.getpid()]), signal.SIGKILL)
        received = signal.sigtimedwait(mask, 30.0 if deadline is None else 0.1)
        told_to_stop |= received is not None and received.si_signo in stop


if __name__ == "__main__":
    sys.exit(launch(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
