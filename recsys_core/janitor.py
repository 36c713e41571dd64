"""Removes what no reader can reach any more: runs that are not live, intermediate files and half-written ones, once they are old.

What is live is never touched: a run's folder is looked up in its partition's manifest once more right before it goes. Young remains are
left alone, because a reader may still hold the manifest before last, and a folder without a manifest may be of a run at work.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from recsys_core.lake import MANIFEST, STAGING, Lake
from recsys_core.tables import TABLES


@dataclass(frozen=True)
class Dead:
    """Something that may go: its path in the lake, what it is, its bytes, and when it was last written to."""

    path: str
    what: str
    n_bytes: int
    written_at: dt.datetime


def dead(lake: Lake) -> Iterator[Dead]:
    """All that is not live, however young: `superseded` runs were live once, `unfinished` ones never were; `staging`, `temporary`."""
    for name in (t.name for t in TABLES.values() if t.lake):
        for folder in sorted(partitions(lake, name)):
            live = _live(lake, folder)
            for run in (f for f in lake.folders(folder) if f.startswith("run=") and f != live):
                whole = lake.exists(f"{folder}/{run}/{MANIFEST}")
                yield _found(lake, f"{folder}/{run}", "superseded" if whole else "unfinished")
    for job in lake.folders(STAGING):
        for night in lake.folders(f"{STAGING}/{job}"):
            for attempt in lake.folders(f"{STAGING}/{job}/{night}"):
                yield _found(lake, f"{STAGING}/{job}/{night}/{attempt}", "staging")
    for path, info in lake.files("").items():
        if path.endswith(".tmp") and "/run=" not in path and not path.startswith(STAGING):
            yield Dead(path, "temporary", int(info["size"]), _written_at(info))


def tidy(lake: Lake, before: dt.datetime, dry_run: bool = False) -> list[Dead]:
    """Remove what is dead and was last written to before a moment; returns it, and only looks when `dry_run`."""
    gone = []
    for found in dead(lake):
        folder, _, name = found.path.rpartition("/")
        if found.written_at >= before or (name.startswith("run=") and _live(lake, folder) == name):
            continue
        if not dry_run:
            lake.remove(found.path)
        gone.append(found)
    return gone


def partitions(lake: Lake, table: str) -> Iterator[str]:
    """Folders that hold a manifest or runs of a table."""
    level = [table]
    for _ in TABLES[table].partition:
        level = [f"{folder}/{name}" for folder in level for name in lake.folders(folder) if "=" in name and not name.startswith("run=")]
    yield from level


def _live(lake: Lake, folder: str) -> str | None:
    """Name of the folder of a partition's live run."""
    found = lake.manifest_in(folder)
    return f"run={found.run}" if found else None


def _found(lake: Lake, folder: str, what: str) -> Dead:
    files = list(lake.files(folder).values())
    written = [_written_at(info) for info in files] or [_written_at(lake.fs.info(lake.path(folder)))]
    return Dead(folder, what, sum(int(info["size"]) for info in files), max(written))


def _written_at(info: dict[str, object]) -> dt.datetime:
    """When a file was last written to, whatever its file system calls that; the distant past for folders of a store that has none."""
    for name in ("mtime", "LastModified", "last_modified", "updated", "created"):
        value = info.get(name)
        if isinstance(value, dt.datetime):
            return value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        if isinstance(value, int | float):
            return dt.datetime.fromtimestamp(value, dt.UTC)
    return dt.datetime.min.replace(tzinfo=dt.UTC)
