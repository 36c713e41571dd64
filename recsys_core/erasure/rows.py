"""People out of the lake: partitions are written anew without their rows, and what is not live goes whole."""

from __future__ import annotations

import base64
import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.erasure.landing import KINDS, Owners
from recsys_core.erasure.requests import FOLDER
from recsys_core.janitor import dead
from recsys_core.lake import STAGING, FencedError, Lake, LakeError, Manifest, Stamp
from recsys_core.landing import Landing
from recsys_core.parse.rawlines import objects
from recsys_core.tables import TABLES

# A run that starts while a partition is written anew may be newer than the eraser: it looks again so often.
TRIES = 5
_BY_KEY = "user_key"
TRAINED_ON = ("user_item_day", "user_text")
# Tables without user_key whose rows people stand behind all the same; every other one is in WITHOUT_PEOPLE.
OF_TEXTS = ("text_entity", "text_label")
# Whose texts have vectors.
HOLDERS = ("item_text", "user_text", "declared_interest")
BY_CONTENT = ("event_quarantine", "text_embedding", *OF_TEXTS, "landing_file")
WITHOUT_PEOPLE = frozenset(
    (
        *("item", "category", "item_text", "item_topic", "interest_edge", "topic_audience", "eval_metric", "experiment_metric"),
        *("topic", "topic_version", "topic_lineage", "model_version"),
        *("publication", "job_run", "privacy_spend", "quality_result", "quality_acceptance", "erasure_request"),
    )
)


def coverage(table: str) -> str | None:
    """How people are removed from a table: 'user_key', 'content', 'none' where there are none, None for a table nobody has thought of."""
    if _BY_KEY in TABLES[table].names:
        return _BY_KEY
    return "content" if table in BY_CONTENT else "none" if table in WITHOUT_PEOPLE else None


@dataclass(frozen=True)
class Partition:
    """A live partition of the lake, in the folder `path`."""

    table: str
    ds: dt.date
    parts: Mapping[str, str]
    path: str
    manifest: Manifest


@dataclass(frozen=True)
class Removed:
    """A partition that was written anew: rows that it lost, and the bytes of its files before and after."""

    path: str
    table: str
    ds: dt.date
    rows: int
    bytes_before: int
    bytes_after: int


def partitions(lake: Lake, table: str) -> Iterator[Partition]:
    """All live partitions of a table, by the names of their folders."""
    level: list[tuple[str, dict[str, str]]] = [(table, {})]
    for name in TABLES[table].partition:
        level = [
            (f"{folder}/{entry}", {**found, name: entry.partition("=")[2]})
            for folder, found in level
            for entry in lake.folders(folder)
            if entry.startswith(f"{name}=")
        ]
    for path, found in level:
        parts = dict(found)
        ds = dt.date.fromisoformat(parts.pop("ds"))
        if (manifest := lake.manifest(table, ds, **parts)) is not None:
            yield Partition(table, ds, parts, path, manifest)


# The rows that stay, and how many each request loses as far as that can be told; None when nothing changes.
Verdict = tuple[pa.Table, Counter[str]] | None


@dataclass
class Sweep:
    """Removes people's rows from all live partitions; run again, it looks only at what has become live since.

    keys    user_key → request
    fence   (table, night, other partition columns) → the number of an attempt that overtakes every run at work on that partition
    """

    lake: Lake
    landing: Landing
    owners: Owners
    keys: Mapping[str, str]
    fence: Callable[[str, dt.date, Mapping[str, str]], int]
    removed: list[Removed] = field(default_factory=list)
    by_request: Counter[str] = field(default_factory=Counter)
    _clean: dict[str, str] = field(default_factory=dict)

    def run(self, rewritten: frozenset[str]) -> None:
        """Sweep all tables. `rewritten` are landing files whose ledgers are to be made true again."""
        for table in (t.name for t in TABLES.values() if t.lake):
            if _BY_KEY in TABLES[table].names:
                self._each(table, (_BY_KEY,), self._rows)
        self._each("event_quarantine", ("file", "raw_base64"), self._refused)
        if rewritten:
            self._each("landing_file", ("file",), lambda rows: self._ledgers(rows, rewritten))
        self._vectors()
        self._of_texts()

    def _read(self, p: Partition, columns: Iterable[str] | None = None) -> pa.Table:
        return self.lake.read(p.table, [p.ds], None if columns is None else list(columns), None, **p.parts)

    def _each(self, table: str, columns: Iterable[str], judge: Callable[[pa.Table], Verdict]) -> None:
        """Rewrite each partition that a look at some columns says changes."""
        for p in partitions(self.lake, table):
            self._one(p, columns, judge)

    def _one(self, p: Partition, columns: Iterable[str], judge: Callable[[pa.Table], Verdict]) -> None:
        if self._clean.get(p.path) == p.manifest.run:
            return
        if p.manifest.rows and judge(self._read(p, columns)) is not None:
            p = self._rewrite(p, judge)
        self._clean[p.path] = p.manifest.run

    def _rewrite(self, p: Partition, judge: Callable[[pa.Table], Verdict]) -> Partition:
        for _ in range(TRIES):
            attempt = self.fence(p.table, p.ds, p.parts)
            old = self.lake.manifest(p.table, p.ds, **p.parts) or p.manifest
            rows = self._read(p)
            verdict = judge(rows)
            if verdict is None:
                return replace(p, manifest=old)
            kept, lost = verdict
            for_whom = set(lost) or set(self.keys.values())
            stamp = Stamp(old.run_id, old.input_hash, tuple((a, b) for a, b in old.inputs), old.code, old.models, attempt)
            stamp = replace(stamp, erased_by=" ".join(sorted({*old.erased_by.split(), *for_whom})))
            try:
                new = self.lake.write(p.table, p.ds, kept, stamp, **p.parts)
            except FencedError:
                continue
            if new.attempt != attempt:  # a newer run had the same inputs, and may have read them before
                continue
            self.lake.remove(f"{p.path}/run={old.run}")
            self.by_request += lost
            self.removed.append(Removed(p.path, p.table, p.ds, rows.num_rows - kept.num_rows, old.bytes, new.bytes))
            return replace(p, manifest=new)
        raise LakeError(f"{self.lake.path(p.path)} is written by others again and again: wait for their end, and erase again")

    # -- which rows stay ---------------------------------------------------------------------------------------------------------
    def _rows(self, rows: pa.Table) -> Verdict:
        theirs = pc.is_in(rows[_BY_KEY], pa.array(sorted(self.keys), pa.string()))
        if not pc.any(theirs).as_py():
            return None
        lost = Counter(self.keys[k] for k in rows[_BY_KEY].filter(theirs).to_pylist())
        return rows.filter(pc.invert(theirs)), lost

    def _refused(self, rows: pa.Table) -> Verdict:
        whose = [self._whose(f, r) for f, r in zip(rows["file"].to_pylist(), rows["raw_base64"].to_pylist(), strict=True)]
        lost = Counter(filter(None, whose))
        return (rows.filter(pa.array([not w for w in whose])), lost) if lost else None

    def _whose(self, file: str, raw_base64: str) -> str | None:
        kind, _, rest = file.partition("/")
        if kind not in KINDS:
            return None
        day = dt.date.fromisoformat(rest.removeprefix("ds=")[:10])
        return next((r for found in objects(base64.b64decode(raw_base64)) if (r := self.owners.of(kind, day, found))), None)

    def _ledgers(self, rows: pa.Table, rewritten: frozenset[str]) -> Verdict:
        """Sizes and hashes of files as they are now; the counts stay those of what was delivered."""
        if not rewritten.intersection(rows["file"].to_pylist()):
            return None
        if "sha256" not in rows.column_names:
            return rows, Counter()
        ledgers = rows.to_pylist()
        for r in (r for r in ledgers if r["file"] in rewritten and r["sha256"]):
            r |= {"sha256": self.landing.sha256(r["file"]), "n_bytes": self.landing.size(r["file"])}
        new = pa.Table.from_pylist(ledgers, schema=rows.schema)
        return None if new.equals(rows) else (new, Counter())

    def _vectors(self) -> None:
        """Remove the vectors of texts that no night has any more."""
        held = [self._read(p, ["text_hash"])["text_hash"] for p in partitions(self.lake, "text_embedding")]
        orphans = pc.unique(pa.chunked_array([c for h in held for c in h.chunks], pa.string()))
        for p in (p for table in HOLDERS for p in partitions(self.lake, table)):
            if not len(orphans):
                return
            orphans = orphans.filter(pc.invert(pc.is_in(orphans, self._read(p, ["text_hash"])["text_hash"].combine_chunks())))

        def judge(rows: pa.Table) -> Verdict:
            gone = pc.is_in(rows["text_hash"], orphans)
            return (rows.filter(pc.invert(gone)), Counter()) if pc.any(gone).as_py() else None

        self._clean = {path: run for path, run in self._clean.items() if not path.startswith("text_embedding/")}
        self._each("text_embedding", ("text_hash",), judge)

    def _of_texts(self) -> None:
        """Remove what was found in texts that their own night has no more."""
        for p in (p for table in OF_TEXTS for p in partitions(self.lake, table)):
            held = [
                self.lake.read(t, [p.ds], ["text_hash"])["text_hash"] for t in ("item_text", "user_text") if self.lake.manifest(t, p.ds)
            ]
            self._clean.pop(p.path, None)
            self._one(p, ("text_hash",), partial(_without, pa.chunked_array([c for h in held for c in h.chunks], pa.string())))


def _without(held: pa.ChunkedArray, rows: pa.Table) -> Verdict:
    """The rows of texts that are held."""
    stay = pc.is_in(rows["text_hash"], held.combine_chunks())
    return None if pc.all(stay).as_py() else (rows.filter(stay), Counter())


def held(lake: Lake, keys: Mapping[str, str]) -> dict[str, set[dt.date]]:
    """Request → nights on which the person has rows in the tables that models are trained on."""
    found: dict[str, set[dt.date]] = {}
    for p in (p for table in TRAINED_ON for p in partitions(lake, table)):
        for key in pc.unique(lake.read(p.table, [p.ds], [_BY_KEY], None, **p.parts)[_BY_KEY]).to_pylist():
            if key in keys:
                found.setdefault(keys[key], set()).add(p.ds)
    return found


def keys_of(lake: Lake, owners: Owners) -> dict[str, str]:
    """user_key → request of all that the id map has of the people to forget, under whatever secret; their ids are met by the way."""
    found, seen = {}, set()
    before_login = owners.first_owned()
    for p in partitions(lake, "id_map"):
        rows = lake.read("id_map", [p.ds], [_BY_KEY, "user_id"])
        for key, user_id in zip(rows[_BY_KEY].to_pylist(), rows["user_id"].to_pylist(), strict=True):
            if key not in seen:
                seen.add(key)
                whose = before_login.get(user_id) if user_id in owners.shared else owners.erased.request(user_id)
                if whose:
                    found[key] = whose
    return found


def remove_dead(lake: Lake) -> list[tuple[str, int]]:
    """Remove all that is not live of tables with people, and all intermediate files; returns (path, bytes)."""
    gone = [d for d in dead(lake) if d.path.partition("/")[0] not in (*WITHOUT_PEOPLE, FOLDER)]
    for found in gone:
        lake.remove(found.path)
    lake.remove(STAGING)
    return [(found.path, found.n_bytes) for found in gone]
