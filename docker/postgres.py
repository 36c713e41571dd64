"""A throw-away PostgreSQL on a free loopback port: nothing of it is left when its owner ends, however it ends.

`python docker/postgres.py` prints the server's URL and serves until Ctrl-C. Tests and scripts use `serve()`:

    with serve() as url:
        ...  # url = "postgresql://pg@127.0.0.1:PORT/postgres"

and `served()` where the server is to be crashed and started again.

The server never runs as root: started by root it runs as the system user postgres, or nobody.
It trusts every local connection and does not fsync.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

PROGRAMS = ("initdb", "pg_ctl", "postgres")
DEBIAN_HOME = Path("/usr/lib/postgresql")
# What is committed outlives a crash of the server, not one of the machine; the socket folder is added at start.
OPTIONS = {"fsync": "off", "full_page_writes": "off", "max_connections": "60", "listen_addresses": "127.0.0.1"}
PORT_TRIES = 5


class PostgresError(RuntimeError):
    """The server's programs are missing, or it did not start; the message says which and what to do."""


def server_programs() -> Path:
    """The folder that has initdb, pg_ctl and postgres: from PATH, else Debian's newest; `PostgresError` when there is none."""
    found = shutil.which("pg_ctl")
    debian = sorted(DEBIAN_HOME.glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True)
    for folder in ([Path(found).resolve().parent] if found else []) + debian:
        if all(os.access(folder / name, os.X_OK) for name in PROGRAMS):
            return folder
    raise PostgresError("the PostgreSQL server's programs (initdb, pg_ctl) were not found; install them: apt-get install postgresql")


def server_user() -> pwd.struct_passwd | None:
    """The account the server runs as, when that is not the caller's own: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise PostgresError("PostgreSQL refuses to run as root and there is no user postgres or nobody to run it as; run this as another user")


def _temporary_root() -> str:
    """The temporary folder, or a system one when another user could not pass the folders above it (a private TMPDIR)."""
    for root in (tempfile.gettempdir(), "/tmp", "/var/tmp"):  # noqa: S108 - mkdtemp makes a private folder in it
        path = Path(root).resolve()
        if path.is_dir() and all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents)):
            return str(path)
    raise PostgresError("no temporary folder here can be reached by another user than root")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class _Server:
    """One server in a folder of its own, started and stopped in the calling process."""

    def __init__(self) -> None:
        self.programs = server_programs()
        self.user = server_user()
        self.port = 0
        self.folder = Path(tempfile.mkdtemp(prefix="nightly-pg-", dir=_temporary_root()))
        if self.user:
            os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)

    def _call(self, program: str, *args: str) -> subprocess.CompletedProcess[str]:
        # A file and not a pipe: the server inherits it, and a pipe would never end.
        with (self.folder / "calls.log").open("w+", encoding="utf-8") as log:
            done = subprocess.run(
                [str(self.programs / program), "-D", str(self.folder / "data"), *args],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
                user=self.user.pw_uid if self.user else None,
                group=self.user.pw_gid if self.user else None,
                extra_groups=[] if self.user else None,
            )
            log.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, log.read())

    def make(self) -> str:
        """Its URL, once it answers."""
        made = self._call("initdb", "--auth=trust", "--username=pg", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8")
        if made.returncode:
            raise PostgresError(f"initdb failed in {self.folder}: {made.stdout[-2000:]}")
        for _ in range(PORT_TRIES):  # another process may take the port between the look and the start
            self.port = _free_port()
            with contextlib.suppress(PostgresError):
                self.start()
                return f"postgresql://pg@127.0.0.1:{self.port}/postgres"
        raise PostgresError(f"PostgreSQL did not start: {self._log()}")

    def start(self) -> None:
        """Start it on its port, on the data that is there; returns once it answers."""
        options = " ".join(f"-c {name}={value}" for name, value in OPTIONS.items()) + f" -p {self.port} -k {self.folder}"
        if self._call("pg_ctl", "start", "-w", "-t", "60", "-o", options, "-l", str(self.folder / "server.log")).returncode:
            raise PostgresError(f"PostgreSQL did not start: {self._log()}")

    def _log(self) -> str:
        with contextlib.suppress(OSError):
            return (self.folder / "server.log").read_text(encoding="utf-8", errors="replace")[-2000:]
        return ""

    def crash(self) -> None:
        """Stop it at once, as a crash would: nothing is finished, and the next start recovers."""
        self._call("pg_ctl", "stop", "-m", "immediate", "-w", "-t", "30")

    def stop(self) -> None:
        if (self.folder / "data" / "postmaster.pid").exists():
            self.crash()
        shutil.rmtree(self.folder, ignore_errors=True)


def _hold(follow_stdin: bool) -> None:
    """Serve until a signal, or until stdin ends: the kernel closes an owner's pipe even when the owner is killed.

    A line `crash` or `start` on stdin is done and answered by `done`.
    """

    def leave(signum: int, frame: FrameType | None) -> None:
        raise SystemExit(0)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    server = _Server()
    try:
        print(server.make(), flush=True)
        if follow_stdin:
            for line in sys.stdin:
                {"crash": server.crash, "start": server.start}[line.strip()]()
                print("done", flush=True)
        else:
            print("serving until Ctrl-C; everything in it goes with it", file=sys.stderr, flush=True)
            signal.pause()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        server.stop()


@dataclass(frozen=True)
class Server:
    """A throw-away server in a process of its own."""

    url: str
    _holder: subprocess.Popen[str]

    def crash(self) -> None:
        """Stop it as a crash would (`-m immediate`); returns once it is down."""
        self._ask("crash")

    def start(self) -> None:
        """Start it again under the same URL, on the same data; returns once it answers."""
        self._ask("start")

    def _ask(self, what: str) -> None:
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.write(f"{what}\n")
        self._holder.stdin.flush()
        if self._holder.stdout.readline().strip() != "done":
            raise PostgresError(f"the throw-away PostgreSQL did not {what}; the reason is printed above")


@contextlib.contextmanager
def served() -> Iterator[Server]:
    """A fresh server that lives as long as the block; `PostgresError` says why when there is none."""
    command = [sys.executable, str(Path(__file__).resolve()), "--follow-stdin"]
    # A session of its own: Ctrl-C reaches the owner alone, which then closes the pipe.
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        url = holder.stdout.readline().strip()
        if not url:
            raise PostgresError("the throw-away PostgreSQL did not start; the reason is printed above")
        yield Server(url, holder)
    finally:
        holder.stdin.close()
        holder.wait(timeout=60)
        holder.stdout.close()


@contextlib.contextmanager
def serve() -> Iterator[str]:
    """The URL of such a server."""
    with served() as server:
        yield server.url


def main() -> int:
    parser = argparse.ArgumentParser(description="Serve a throw-away PostgreSQL on a free loopback port until Ctrl-C.")
    parser.add_argument("--check", action="store_true", help="only say whether the server's programs are here (exit 0) or not (exit 1)")
    parser.add_argument("--follow-stdin", action="store_true", help="serve until standard input ends instead of until Ctrl-C")
    asked = parser.parse_args()
    try:
        if asked.check:
            print(server_programs())
        else:
            _hold(asked.follow_stdin)
    except PostgresError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
