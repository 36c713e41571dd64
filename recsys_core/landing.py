"""The landing zone: raw files as they were delivered, one folder per day of receipt, and what of them a night is made of."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from recsys_core.lake import LakeError, place

EXPECTED = "_expected.json"
DATA = re.compile(r".+\.(jsonl|csv)(\.gz)?")
# The landing partitions that may hold events of a night, in days after it.
WINDOW = range(-1, 4)
# A file is a repeated delivery when its bytes came before, in its own partition or in one of so many days before it.
REPEAT_DAYS = 31
# Folders beside the events of which a night reads all partitions up to its own.
USER_KINDS = ("identity", "optout", "declared", "attributes")
HISTORY_KINDS = ("items", "categories", *USER_KINDS)


@dataclass(frozen=True)
class Expected:
    """A file that `_expected.json` names."""

    name: str
    may_be_empty: bool = False


@dataclass(frozen=True)
class Delivery:
    """What was delivered for a night.

    files      (file, day of its partition) of the window's partitions, sorted; copies included
    repeated   of these, the copies
    missing    names of the night's own partition that are expected and not there
    hidden     files there whose name marks them as no data, although it ends like data's
    expected   names in the night's partition without which it is not to be published; None = all of them
    may_be_empty   files that may hold nothing
    """

    files: tuple[tuple[str, dt.date], ...]
    repeated: frozenset[str]
    missing: tuple[str, ...]
    hidden: tuple[str, ...]
    expected: frozenset[str] | None
    may_be_empty: frozenset[str]


class Landing:
    """The landing zone: raw files as they were delivered, one folder per day of receipt."""

    def __init__(self, root: str) -> None:
        self.fs, self.root, local = place(root)
        self.url = self.root if local else self.fs.unstrip_protocol(self.root)
        self._hashes: dict[tuple[str, int, str], str] = {}
        self._expected: dict[tuple[str, str], tuple[Expected, ...]] = {}

    def nights(self, kind: str = "events") -> list[dt.date]:
        """Days that have a folder, sorted; kind is 'events' or one of HISTORY_KINDS."""
        path = f"{self.root}/{kind}"
        if not self.fs.isdir(path):
            return []
        names = [e["name"].rstrip("/").rsplit("/", 1)[-1] for e in self.fs.ls(path, detail=True) if e["type"] == "directory"]
        return sorted(dt.date.fromisoformat(n[3:]) for n in names if re.fullmatch(r"ds=\d{4}-\d\d-\d\d", n))

    def files(self, ds: dt.date, kind: str = "events") -> list[str]:
        """Delivered files of a day, relative to the root, sorted; names that begin with '_' or '.' are no data unless they are expected."""
        sizes = self.sizes(ds, kind)
        wanted = {e.name for e in self._expected_of(ds, sizes) or ()} if kind == "events" else set()
        return [f"{kind}/ds={ds.isoformat()}/{n}" for n in sorted(sizes) if n[0] not in "_." or n in wanted]

    def sizes(self, ds: dt.date, kind: str) -> dict[str, int]:
        """Bytes of each file in a partition's folder, by name."""
        path = f"{self.root}/{kind}/ds={ds.isoformat()}"
        if not self.fs.isdir(path):
            return {}
        return {e["name"].rsplit("/", 1)[-1]: int(e["size"]) for e in self.fs.ls(path, detail=True) if e["type"] == "file"}

    def empty(self, folder: str, marker: str) -> None:
        """Remove the files of a day's folder, which stays as one that was there; the marker's name begins with '_', as of no data."""
        path = f"{self.root}/{folder}"
        self.fs.pipe_file(f"{path}/{marker}", b"{}\n")
        for entry in self.fs.ls(path, detail=True):
            if entry["type"] == "file" and not entry["name"].endswith(f"/{marker}"):
                self.fs.rm_file(entry["name"])

    def _expected_of(self, ds: dt.date, sizes: dict[str, int]) -> tuple[Expected, ...] | None:
        """What the partition's `_expected.json` names, None without one; LakeError when it is none."""
        if EXPECTED not in sizes:
            return None
        file = f"events/ds={ds.isoformat()}/{EXPECTED}"
        sha256 = self.sha256(file)
        if (file, sha256) not in self._expected:
            self._expected[file, sha256] = _expected(f"{self.root}/{file}", self.fs.cat_file(f"{self.root}/{file}"))
        return self._expected[file, sha256]

    def delivery(self, ds: dt.date) -> Delivery:
        """What was delivered for night ds, from the partitions of its window."""
        days = [ds + dt.timedelta(days=n) for n in WINDOW]
        files = tuple((f, day) for day in days for f in self.files(day))
        sizes = self.sizes(ds, "events")
        expected = self._expected_of(ds, sizes)
        names = frozenset(e.name for e in expected or ())
        return Delivery(
            files=files,
            repeated=self._repeated([f for f, _ in files], days),
            missing=tuple(sorted(names - set(sizes))),
            hidden=tuple(sorted(n for n in sizes if n[0] in "_." and n not in names and DATA.fullmatch(n))),
            expected=None if expected is None else names,
            may_be_empty=frozenset(f"events/ds={ds.isoformat()}/{e.name}" for e in expected or () if e.may_be_empty),
        )

    def _repeated(self, files: Iterable[str], days: list[dt.date]) -> frozenset[str]:
        """Of the files those whose bytes came before. Only files of equal size are read for that.

        An empty file repeats nothing, and a name that promises gzip makes another file of the same bytes.
        """
        by_size: dict[tuple[int, bool], list[str]] = {}
        for n in range(-REPEAT_DAYS, (days[-1] - days[0]).days + 1):
            day = days[0] + dt.timedelta(days=n)
            sizes = self.sizes(day, "events")
            for file in self.files(day):
                size = sizes[file.rsplit("/", 1)[-1]]
                if size:
                    by_size.setdefault((size, file.endswith(".gz")), []).append(file)
        looked_at, found = set(files), set()
        for same in by_size.values():
            seen: dict[str, str] = {}
            if len(same) < 2 or not looked_at & set(same):
                continue
            for file in same:
                sha256 = self.sha256(file)
                if file in looked_at and sha256 in seen and _days_between(seen[sha256], file) <= REPEAT_DAYS:
                    found.add(file)
                else:
                    seen[sha256] = file
        return frozenset(found)

    def read_by(self, ds: dt.date) -> list[str]:
        """All files from which the facts of night ds follow, sorted."""
        days = [d for d in self.nights() if ds + dt.timedelta(days=WINDOW[0]) <= d <= ds + dt.timedelta(days=WINDOW[-1])]
        found = [f for d in days for f in self.files(d)]
        if EXPECTED in self.sizes(ds, "events"):
            found.append(f"events/ds={ds.isoformat()}/{EXPECTED}")
        found += [f for kind in HISTORY_KINDS for d in self.nights(kind) if d <= ds for f in self.files(d, kind)]
        return found

    def fingerprint(self, files: Iterable[str]) -> list[tuple[str, str]]:
        """(file, hex sha256) pairs; a file's hash is remembered until its size or time changes."""
        return [(f, self.sha256(f)) for f in files]

    def size(self, file: str) -> int:
        """A file's bytes."""
        return int(self.fs.size(f"{self.root}/{file}"))

    def sha256(self, file: str) -> str:
        """Hex sha256 of a file."""
        info = self.fs.info(f"{self.root}/{file}")
        key = (file, int(info["size"]), str(info.get("mtime") or info.get("LastModified") or info.get("ETag")))
        if key not in self._hashes:
            hasher = hashlib.sha256()
            with self.fs.open(f"{self.root}/{file}", "rb") as stream:
                while block := stream.read(1 << 20):
                    hasher.update(block)
            self._hashes[key] = hasher.hexdigest()
        return self._hashes[key]

    def source(self) -> dict[str, Any]:
        """What the landing zone's `_source.json` declares: source, time_zone_of_naive_ts, expected_reasons."""
        declared: dict[str, Any] = {"source": "canonical", "time_zone_of_naive_ts": None, "expected_reasons": []}
        path = f"{self.root}/_source.json"
        if self.fs.exists(path):
            try:
                declared |= json.loads(self.fs.cat_file(path))
            except ValueError as error:
                raise LakeError(f"{path} is not JSON ({error}): mend it or remove it") from error
        return declared


def _days_between(earlier: str, later: str) -> int:
    """Days between the partitions of two files."""
    first, last = (dt.date.fromisoformat(f.split("/")[1].removeprefix("ds=")) for f in (earlier, later))
    return (last - first).days


def _expected(path: str, data: bytes) -> tuple[Expected, ...]:
    """The files that an `_expected.json` names: a list, or {"files": […]}, of names or of {"name": …, "may_be_empty": true}."""
    try:
        given = json.loads(data)
        entries = given["files"] if isinstance(given, dict) else given
        found = tuple(Expected(e) if isinstance(e, str) else Expected(str(e["name"]), bool(e.get("may_be_empty"))) for e in entries)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LakeError(f'{path} is not understood ({error!r}): write ["a.jsonl.gz", …], or mend it') from error
    if odd := [e.name for e in found if "/" in e.name or not e.name]:
        raise LakeError(f"{path} names {odd}, which is no file of its own folder: write the name alone")
    return found
