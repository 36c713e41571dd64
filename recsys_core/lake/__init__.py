"""The lake: partitions of Parquet files that become live, whole, by one atomic replacement of a manifest.

Layout: `<table>/ds=D[/model_version=V]/run=R/part-*.parquet` beside `_manifest.json`; `text_embedding` has `embedding_space=E` before ds.
A partition without a manifest does not exist for readers. A run's folder bears the number of the attempt that made it and, once whole, a
copy of its manifest: a folder without one never was live. All validation of rows lives here.

Rows are written by `write`, or by many at once: each calls `target.write` where its rows are, and `finish` makes the parts live together.
Tables of users are kept in the order of their users, so that `read(users=…)` passes over the rest.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from recsys_core.coded import CODED
from recsys_core.lake.by_spark import written_by_spark
from recsys_core.lake.checksums import Sums, canonical_json, checksum, digest, is_checksum, value_hashes
from recsys_core.lake.contents import LakeError, SchemaError, conform, empty, repeat_fault, repeats
from recsys_core.lake.files import DISK_FULL, REMEDY, UNFINISHED_S, Files, disk_full, place
from recsys_core.lake.parts import Manifest, Part, Stamp, Target, are_apart
from recsys_core.lake.reading import STREAMED_ROWS, Stream, conformed, read_file
from recsys_core.tables import TABLES, schema_hash

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

__all__ = [
    "DISK_FULL",
    "MANIFEST",
    "REMEDY",
    "STREAMED_ROWS",
    "UNFINISHED_S",
    "FencedError",
    "Lake",
    "LakeError",
    "Manifest",
    "Part",
    "SchemaError",
    "Stamp",
    "Stream",
    "Target",
    "canonical_json",
    "checksum",
    "conform",
    "digest",
    "disk_full",
    "empty",
    "place",
    "value_hashes",
]

MANIFEST = "_manifest.json"
STAGING = "_staging"
_RUN = re.compile(r"run=.+-a(\d+)-[0-9a-f]{8}")


class FencedError(LakeError):
    """An attempt was overtaken by a newer one; it has changed nothing."""


class Lake(Files):
    """A lake below `root`, any URL that fsspec knows; everything inside refers to itself relative to the root."""

    def partition(self, table: str, ds: dt.date, **parts: str) -> str:
        """Relative folder of a partition; `parts` holds the values of the partition columns other than ds."""
        declared = TABLES[table].partition
        wanted = [p for p in declared if p != "ds"]
        if sorted(parts) != sorted(wanted):
            raise LakeError(f"table {table} is laid out by {', '.join(declared)}: got {', '.join(parts) or 'nothing'} beside ds")
        values = {"ds": ds.isoformat(), **parts}
        return "/".join([table, *(f"{p}={values[p]}" for p in declared)])

    # -- attempts ----------------------------------------------------------------------------------------------------------------
    @staticmethod
    def staging(what: str, ds: dt.date, attempt: int) -> str:
        """Relative path of the folder of an attempt's intermediate files."""
        return f"{STAGING}/{what}/ds={ds.isoformat()}/{attempt:06}"

    def clear_staging(self, what: str, ds: dt.date, attempt: int) -> None:
        """Remove what an attempt, and those before it, left in their staging folders."""
        folder = f"{STAGING}/{what}/ds={ds.isoformat()}"
        numbers = [int(n) for n in self.folders(folder) if n.isdecimal()]
        for number in (n for n in numbers if n <= attempt):
            self.remove(self.staging(what, ds, number))
        if self.local:
            with suppress(OSError):  # an attempt that goes on has its folder there
                os.rmdir(self.path(folder))

    # -- manifests ---------------------------------------------------------------------------------------------------------------
    def manifest(self, table: str, ds: dt.date, **parts: str) -> Manifest | None:
        """The live manifest of a partition, or None."""
        return self.manifest_in(self.partition(table, ds, **parts))

    def manifest_in(self, folder: str) -> Manifest | None:
        """The manifest in a folder, or None."""
        relative = f"{folder}/{MANIFEST}"
        try:
            return Manifest(**json.loads(self.read_bytes(relative)))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise LakeError(f"{self.path(relative)} is no manifest ({error}): remove it and run the night again") from error

    def nights(self, table: str, **parts: str) -> list[dt.date]:
        """Nights for which a live partition is there, sorted."""
        declared = TABLES[table].partition
        prefix = table + "".join(f"/{p}={parts[p]}" for p in declared[: declared.index("ds")])
        found = [dt.date.fromisoformat(f[3:]) for f in self.folders(prefix) if re.fullmatch(r"ds=\d{4}-\d\d-\d\d", f)]
        return [d for d in found if self.manifest(table, d, **parts)]

    # -- rows --------------------------------------------------------------------------------------------------------------------
    def _manifests(self, table: str, nights: Iterable[dt.date], parts: dict[str, str]) -> Iterator[Manifest]:
        for night in nights:
            manifest = self.manifest(table, night, **parts)
            if manifest is None:
                raise LakeError(f"table {table} of {night.isoformat()} is not built: run its night first")
            yield manifest

    def _paths(self, table: str, nights: Iterable[dt.date], parts: dict[str, str]) -> Iterator[str]:
        return (f for m in self._manifests(table, nights, parts) for f in m.files)

    def read(
        self,
        table: str,
        nights: Iterable[dt.date],
        columns: list[str] | None = None,
        users: tuple[str | None, str | None] | None = None,
        coded: Sequence[str] = (),
        **parts: str,
    ) -> pa.Table:
        """Rows of some nights as Arrow, declared columns (or `columns`) in order; a night not built is a LakeError that names it.

        `users` (low, high) keeps the rows with low <= user_key < high, None being no bound, and reads little more than those; columns
        among `coded` are dictionaries.
        """
        schema = TABLES[table].arrow_schema()
        if columns is not None:
            schema = pa.schema([schema.field(c) for c in columns])
        schema = pa.schema([f.with_type(CODED) if f.name in coded else f for f in schema])
        files = self._paths(table, nights, parts)
        tables = [conformed(read_file(self, f, schema.names, users, coded), schema, self.path(f)) for f in files]
        return pa.concat_tables(tables).combine_chunks() if tables else schema.empty_table()

    def stream(self, table: str, nights: Iterable[dt.date], **parts: str) -> Stream:
        """The same, all columns, row group by row group, for who passes rows on and holds none; a night not built is a LakeError here."""
        manifests = list(self._manifests(table, nights, parts))
        return Stream(self, table, tuple(f for m in manifests for f in m.files), sum(m.rows for m in manifests))

    def scan(self, spark: SparkSession, table: str, nights: Iterable[dt.date], **parts: str) -> DataFrame:
        """The same as a Spark DataFrame, read lazily."""
        paths = [self.spark_path(f) for f in self._paths(table, nights, parts)]
        reader = spark.read.schema(TABLES[table].spark_schema())
        return reader.parquet(*paths) if paths else spark.createDataFrame([], TABLES[table].spark_schema())

    # -- writing -----------------------------------------------------------------------------------------------------------------
    def target(self, table: str, ds: dt.date, stamp: Stamp, **parts: str) -> Target:
        """A fresh run directory for a partition: whoever has rows of it writes them there with `write`, and `finish` makes them live."""
        folder = self.partition(table, ds, **parts)
        if TABLES[table].restricted:
            self.keep_to_owner(table)
        run = f"{stamp.run_id}-a{stamp.attempt:06}-{uuid.uuid4().hex[:8]}"
        return Target(self.url, table, ds, folder, run, stamp, parts)

    def finish(self, target: Target, parts: Sequence[Part]) -> Manifest:
        """Make a run live that consists of these parts and no other file; returns the manifest that is live then.

        Raises SchemaError when a key is in two parts (which is seen from the parts' ranges of it, or else by reading keys), FencedError
        when a newer attempt was quicker, and LakeError when a part is not there as it was written, or when the disk is full.
        """
        with self.disk_full_is_said(target.folder):
            if not parts:
                parts = [target.write(0, empty(TABLES[target.table]))]
            return self._finish(target, sorted(parts))

    def write(self, table: str, ds: dt.date, rows: pa.Table | DataFrame, stamp: Stamp, **parts: str) -> Manifest:
        """Write a fresh run directory, audit it, and make it live; returns the manifest.

        Nothing is visible before the last step, and an interrupted run leaves only a dead directory. Raises SchemaError, FencedError, and
        LakeError with the place when its disk is full.
        """
        target = self.target(table, ds, stamp, **parts)
        with self.disk_full_is_said(target.folder):
            return self.finish(target, [target.write(0, rows)] if isinstance(rows, pa.Table) else written_by_spark(target, rows))

    def _finish(self, target: Target, parts: Sequence[Part]) -> Manifest:
        table, stamp = TABLES[target.table], target.stamp
        there = {e["name"].rstrip("/").rsplit("/", 1)[-1]: int(e["size"]) for e in self.entries(target.path)}
        if lost := [p.name for p in parts if there.get(p.name) != p.bytes]:
            raise LakeError(f"{self.path(target.path)}: {lost[0]} is not there as it was written: run again")
        for name in there.keys() - {p.name for p in parts}:  # of tasks that failed or were overtaken
            self.remove(f"{target.path}/{name}")
        if not are_apart(parts):
            with ThreadPoolExecutor() as pool:
                keys = [*pool.map(lambda p: read_file(self, f"{target.path}/{p.name}", table.key), parts)]
            if repeated := repeats(pa.concat_tables(keys), table.key):
                raise SchemaError(repeat_fault(table, repeated))
        total = Sums()
        for part in parts:
            total = total.plus(part.sums)
        manifest = Manifest(
            table=table.name,
            ds=target.ds.isoformat(),
            run=target.run,
            run_id=stamp.run_id,
            files=[f"{target.path}/{p.name}" for p in parts],
            rows=total.rows,
            bytes=sum(p.bytes for p in parts),
            checksum=total.checksum(table.names),
            schema_hash=schema_hash(table),
            input_hash=stamp.input_hash,
            inputs=[list(i) for i in stamp.inputs],
            code=stamp.code,
            models=stamp.models,
            partition=target.parts,
            attempt=stamp.attempt,
            erased_by=stamp.erased_by,
        )
        return self._make_live(target.folder, manifest)

    def relabel(self, manifest: Manifest, **changes: Any) -> Manifest:
        """Change what a live manifest says of its rows, which stay; FencedError when another run has become live since it was read."""
        parts, ds = manifest.partition, dt.date.fromisoformat(manifest.ds)
        live = self.manifest(manifest.table, ds, **parts)
        if live is None or live.run != manifest.run:
            raise FencedError(f"fenced: another run of {self.partition(manifest.table, ds, **parts)} has become live: nothing was changed")
        return self._make_live(self.partition(manifest.table, ds, **parts), replace(live, **changes))

    def renewed(self, manifest: Manifest) -> Manifest:
        """The manifest, with a checksum that can be compared: an earlier version's is replaced by that of the rows as they lie there."""
        if is_checksum(manifest.checksum):
            return manifest
        rows = self.read(manifest.table, [dt.date.fromisoformat(manifest.ds)], None, None, **manifest.partition)
        return self.relabel(manifest, checksum=checksum(rows))

    def _make_live(self, folder: str, manifest: Manifest) -> Manifest:
        """Replace the partition's manifest, unless a newer attempt has; returns the one that is live then.

        FencedError when the newer one had other inputs; with equal inputs its rows are these.
        """
        live = self.manifest(manifest.table, dt.date.fromisoformat(manifest.ds), **manifest.partition)
        if live is not None and live.attempt > manifest.attempt:
            self.remove(f"{folder}/run={manifest.run}")
            if live.input_hash != manifest.input_hash:
                raise FencedError(
                    f"fenced: attempt {live.attempt} has written {folder} from other inputs while attempt {manifest.attempt} was at work: "
                    "nothing was changed"
                )
            return live
        data = canonical_json(asdict(manifest)).encode()
        self.write_bytes(f"{folder}/run={manifest.run}/{MANIFEST}", data)
        self.write_bytes(f"{folder}/{MANIFEST}", data)
        for name in self.folders(folder):  # what earlier attempts left unfinished
            if (made := _RUN.fullmatch(name)) and int(made.group(1)) < manifest.attempt and not self.exists(f"{folder}/{name}/{MANIFEST}"):
                self.remove(f"{folder}/{name}")
        return manifest
