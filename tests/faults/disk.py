"""Fills the disk under the lake and the DuckDB file while a night is made, then frees it."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.faults.stand import DS, OLD, REPO, Place, Reference, Unavailable, ran
from tests.shop import Shop

LEVELS = 20
# The lower half of the levels runs full while the lake is written, the upper half while the warehouse is.
IN_LAKE = LEVELS // 2


def trial(n: int, rng: random.Random, place: Place) -> dict[str, Any]:
    """On a full disk a night fails with the path, the old night stays, and after space is freed the same command makes it equal."""
    level, part = n % LEVELS, (n % IN_LAKE + rng.random()) / IN_LAKE * 0.95
    place.reference.checksums  # noqa: B018 - before the disk is full
    return _in_own_mounts([str(place.stand.folder / "reference"), str(place.folder), str(level), str(part)])


def _in_own_mounts(argv: list[str]) -> dict[str, Any]:
    """What this module answers in a mount namespace of its own, which needs root or user namespaces."""
    for command in (["unshare", "-rm"], ["unshare", "-m"]):
        if (
            shutil.which(command[0])
            and subprocess.run([*command, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode == 0
        ):
            done = subprocess.run([*command, sys.executable, "-m", "tests.faults.disk", *argv], cwd=REPO, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr.strip().rpartition("AssertionError: ")[2][-1500:]
            answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
            return answer
    raise Unavailable("a small disk needs `unshare` with a mount of tmpfs, as root or with user namespaces; neither is allowed here")


def full(reference: Reference, folder: Path, level: int, part: float) -> dict[str, Any]:
    """One level, in a namespace where a small disk can be mounted: `part` of what the step needs is free."""
    disk = folder / "disk"
    disk.mkdir()
    by_night = level < IN_LAKE
    needed = (
        _allocated(reference.after.lake) - _allocated(reference.before.lake)
        if by_night
        else _allocated(reference.after.root / "warehouse.duckdb")
    )
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", str(disk)], check=True)
    shop = (reference.before if by_night else reference.after).copy(disk / "shop")
    shutil.copy2(reference.before.root / "warehouse.duckdb", shop.root)
    filler, command = disk / "filler", ("night" if by_night else "publish", "--ds", str(DS))
    free = int(part * needed)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(disk).free - free))
    began = time.monotonic()
    said = ran(shop, *command, wanted=1)
    failed_s = time.monotonic() - began
    failed = [line for line in said.splitlines() if line.startswith("failed: ")]
    assert failed, f"a full disk is not said: {said[-300:]}"
    assert str(disk) in failed[-1], f"the error does not name the path below {disk}: {failed[-1]}"
    _assert_old(reference, shop)
    filler.unlink()
    ran(shop, *command)
    reference.assert_equal(shop)
    return {"levels": 1, "in_lake" if by_night else "in_warehouse": 1, "free_mib": free / 2**20, "failed_s": failed_s}


def _assert_old(reference: Reference, shop: Shop) -> None:
    """Fails unless the night before is as it was, in the lake and in the warehouse, and the new one is not there."""
    assert shop.warehouse_checksums(OLD) == reference.before.warehouse_checksums(OLD), "the full disk changed the published night"
    assert shop.rows("SELECT DISTINCT ds FROM publication") == [{"ds": OLD}]
    found, wanted = shop.lake_checksums(), reference.before.lake_checksums()
    assert {k: found.get(k) for k in wanted} == wanted, "the full disk changed the lake's earlier nights"


def _allocated(path: Path) -> int:
    """Bytes that the files take on a disk of 4 KiB pages."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(-(-p.stat().st_size // 4096) * 4096 for p in files)


if __name__ == "__main__":
    print(json.dumps(full(Reference.at(Path(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))))
