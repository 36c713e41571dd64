"""The lake: partitions of Parquet files that become live, whole, by one atomic replacement of a manifest.

Layout: `<table>/ds=D[/model_version=V]/run=R/part-*.parquet` beside `_manifest.json`; `text_embedding` has `embedding_space=E` before ds.
A partition without a manifest does not exist for readers. A run's folder bears the number of the attempt that made it and, once whole, a
copy of its manifest: a folder without one never was live. All validation of rows lives here.
"""

from __future__ import annotations

import datetime as dt
import errno
import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_core.tables import TABLES, Table, schema_hash

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

MANIFEST = "_manifest.json"
STAGING = "_staging"
# A partition smaller than this has no more than FEW_FILES files; a larger one, files of about FILE_BYTES.
SMALL_BYTES, FEW_FILES, FILE_BYTES = 512 << 20, 4, 128 << 20
# A file that somebody began to write so long before another write of the same one is given up.
UNFINISHED_S = 5.0
DISK_FULL = os.strerror(errno.ENOSPC)
REMEDY = "free space there and run again; what was live before still is"
_RUN = re.compile(r"run=.+-a(\d+)-[0-9a-f]{8}")


class LakeError(Exception):
    """Something in the lake is missing or does not fit; the message names the place and the remedy."""


class FencedError(LakeError):
    """An attempt was overtaken by a newer one; it has changed nothing."""


class SchemaError(LakeError):
    """Rows do not fit their table's declaration; the message lists every difference."""


@dataclass(frozen=True)
class Stamp:
    """Who makes a partition: the run's id, the hash of all that went in, its inputs, code and model versions, and which attempt it is.

    `erased_by` names the erasure requests for which rows were taken out of what the run had made.
    """

    run_id: str
    input_hash: str
    inputs: tuple[tuple[str, str], ...] = ()
    code: str = ""
    models: dict[str, str] = field(default_factory=dict)
    attempt: int = 0
    erased_by: str = ""


@dataclass(frozen=True)
class Manifest:
    """What a live partition holds; `files` are relative to the lake's root."""

    table: str
    ds: str
    run: str
    run_id: str
    files: list[str]
    rows: int
    bytes: int
    checksum: str
    schema_hash: str
    input_hash: str
    inputs: list[list[str]]
    code: str
    models: dict[str, str]
    partition: dict[str, str]
    attempt: int = 0
    erased_by: str = ""


def disk_full(error: BaseException) -> bool:
    """Whether an error, of whatever library, says that a disk is full."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or DISK_FULL.lower() in str(error).lower()


def canonical_json(value: Any) -> str:
    """JSON text with sorted keys and no spaces, so that equal values are equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any) -> str:
    """Hex sha256 of a JSON-able value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def checksum(rows: pa.Table, key: Iterable[str]) -> str:
    """Hex sha256 of a table's contents, whatever the order of its rows or its chunks.

    Rows are sorted by `key` (which must be unique), then each column is hashed as validity, lengths and values: equal contents give equal
    checksums in any engine that can hand over Arrow.
    """
    hasher = hashlib.sha256(f"{rows.num_rows}".encode())
    if rows.num_rows:
        rows = rows.take(pc.sort_indices(rows, sort_keys=[(k, "ascending") for k in key]))
    for name in sorted(rows.column_names):
        hasher.update(name.encode())
        if rows.num_rows:
            _hash_array(rows.column(name).combine_chunks(), hasher)
    return hasher.hexdigest()


def _hash_array(array: pa.Array, hasher: Any) -> None:
    if isinstance(array, pa.ChunkedArray):  # what combine_chunks leaves of a string column
        array = pa.concat_arrays(array.cast(pa.large_binary()).chunks)
    hasher.update(np.asarray(array.is_valid()).tobytes())
    kind = array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        hasher.update(np.asarray(pc.fill_null(pc.list_value_length(array), -1)).astype(np.int64).tobytes())
        _hash_array(pc.list_flatten(array), hasher)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raw = pc.fill_null(array.cast(pa.large_binary()), b"")
        _, offsets, values = raw.buffers()
        ends = np.frombuffer(offsets, np.int64)[raw.offset : raw.offset + len(raw) + 1]
        hasher.update(np.diff(ends).tobytes())
        if values is not None:
            hasher.update(memoryview(values)[ends[0] : ends[-1]])
    elif pa.types.is_decimal(kind):
        _hash_array(array.cast(pa.string()), hasher)
    elif pa.types.is_temporal(kind):
        width = pa.int32() if pa.types.is_date32(kind) else pa.int64()
        hasher.update(np.asarray(pc.fill_null(array.cast(width), 0)).tobytes())
    elif pa.types.is_boolean(kind):
        hasher.update(np.asarray(pc.fill_null(array, False)).tobytes())
    else:
        # Adding 0.0 turns −0.0 into 0.0: engines differ in which they keep.
        hasher.update((np.asarray(pc.fill_null(array, 0)) + 0).tobytes())


def conform(rows: pa.Table, table: Table) -> pa.Table:
    """The rows with the declared columns, order and types; every difference is named in one SchemaError."""
    schema, faults = table.arrow_schema(), []
    missing = [n for n in table.names if n not in rows.column_names]
    extra = [n for n in rows.column_names if n not in table.names]
    faults += [f"missing column {n}" for n in missing] + [f"undeclared column {n}" for n in extra]
    columns: dict[str, pa.ChunkedArray] = {}
    for want in schema:
        if want.name in missing:
            continue
        column = rows.column(want.name)
        if column.type != want.type:
            try:
                column = column.cast(want.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                faults.append(f"column {want.name} is {column.type}, declared {want.type}: {str(error).splitlines()[0]}")
                continue
        if not want.nullable and column.null_count:
            faults.append(f"column {want.name} has {column.null_count} nulls")
        columns[want.name] = column
    if not faults and rows.num_rows:
        keys = pa.table({k: columns[k] for k in table.key})
        distinct = keys.group_by(list(table.key)).aggregate([]).num_rows
        if distinct != rows.num_rows:
            faults.append(f"{rows.num_rows - distinct} rows repeat the key ({', '.join(table.key)})")
    if faults:
        raise SchemaError(f"table {table.name}: " + "; ".join(faults))
    return pa.table([columns[n] for n in table.names], schema=schema)


def empty(table: Table) -> pa.Table:
    """No rows, with the table's schema."""
    return table.arrow_schema().empty_table()


def place(root: str) -> tuple[Any, str, bool]:
    """The file system of a URL, the path within it without a slash at the end, and whether it is this machine's own."""
    # What other processes write must be seen at once: nothing that was listed is remembered.
    fs, path = fsspec.core.url_to_fs(root, use_listings_cache=False)
    local = "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)
    return fs, os.path.abspath(path) if local else path.rstrip("/"), local


class Lake:
    """A lake below `root`, any URL that fsspec knows; everything inside refers to itself relative to the root."""

    def __init__(self, root: str) -> None:
        self.fs, self.root, self.local = place(root)

    @property
    def url(self) -> str:
        """The root for fsspec in another process."""
        return self.root if self.local else str(self.fs.unstrip_protocol(self.root))

    # -- paths -------------------------------------------------------------------------------------------------------------------
    def path(self, relative: str) -> str:
        """Absolute path of something in the lake, for fsspec."""
        return f"{self.root}/{relative}" if relative else self.root

    def spark_path(self, relative: str) -> str:
        """The same for Spark."""
        return (
            f"file://{self.path(relative)}" if self.local else f"{self.fs.unstrip_protocol(self.path(relative)).replace('s3://', 's3a://')}"
        )

    def partition(self, table: str, ds: dt.date, **parts: str) -> str:
        """Relative folder of a partition; `parts` holds the values of the partition columns other than ds."""
        declared = TABLES[table].partition
        wanted = [p for p in declared if p != "ds"]
        if sorted(parts) != sorted(wanted):
            raise LakeError(f"table {table} is laid out by {', '.join(declared)}: got {', '.join(parts) or 'nothing'} beside ds")
        values = {"ds": ds.isoformat(), **parts}
        return "/".join([table, *(f"{p}={values[p]}" for p in declared)])

    # -- bytes -------------------------------------------------------------------------------------------------------------------
    def exists(self, relative: str) -> bool:
        """Whether a file is there."""
        return bool(self.fs.exists(self.path(relative)))

    def read_bytes(self, relative: str) -> bytes:
        """A file's bytes; FileNotFoundError when absent."""
        return bytes(self.fs.cat_file(self.path(relative)))

    def write_bytes(self, relative: str, data: bytes) -> None:
        """Write a file so that readers see the old or the new one, never a part."""
        path = self.path(relative)
        if not self.local:
            self.fs.pipe_file(path, data)  # object stores show an object only when it is complete
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        staged = f"{path}.{uuid.uuid4().hex}.tmp"
        try:
            with open(staged, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            _remove_unfinished(path, os.stat(staged).st_mtime - UNFINISHED_S)
            os.replace(staged, path)
        except OSError:
            with suppress(FileNotFoundError):
                os.unlink(staged)
            raise

    def create(self, relative: str) -> bool:
        """Create an empty file; False when it was there. Of several that try only one succeeds."""
        path = self.path(relative)
        try:
            if self.local:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            else:
                self.fs.pipe_file(path, b"", mode="create")
        except FileExistsError:
            return False
        return True

    def names(self, relative: str) -> list[str]:
        """Names of all that lies directly in a folder, sorted; none when it is not there."""
        return sorted(e["name"].rstrip("/").rsplit("/", 1)[-1] for e in self._entries(relative))

    def folders(self, relative: str) -> list[str]:
        """Names of the folders directly below, sorted."""
        return sorted(e["name"].rstrip("/").rsplit("/", 1)[-1] for e in self._entries(relative) if e["type"] == "directory")

    def _entries(self, relative: str) -> list[dict[str, Any]]:
        """name, type and size of all that lies directly in a folder."""
        path = self.path(relative)
        if self.local:
            return list(_scan(path))
        try:
            return [e for e in self.fs.ls(path, detail=True) if e["name"].rstrip("/") != path]
        except FileNotFoundError:
            return []

    def files(self, relative: str) -> dict[str, dict[str, Any]]:
        """All files in a folder and below it, by path in the lake, with what the file system knows of each."""
        try:
            found = self.fs.find(self.path(relative), detail=True)
        except FileNotFoundError:
            return {}
        return {str(path)[len(self.root) + 1 :]: info for path, info in sorted(found.items())}

    def remove(self, relative: str) -> None:
        """Remove a file, or a folder with all in it, if it is there."""
        with suppress(FileNotFoundError):  # somebody else may be removing it too
            self.fs.rm(self.path(relative), recursive=True)

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
    def _paths(self, table: str, nights: Iterable[dt.date], parts: dict[str, str]) -> Iterator[str]:
        for night in nights:
            manifest = self.manifest(table, night, **parts)
            if manifest is None:
                raise LakeError(f"table {table} of {night.isoformat()} is not built: run its night first")
            yield from manifest.files

    def read(self, table: str, nights: Iterable[dt.date], columns: list[str] | None = None, **parts: str) -> pa.Table:
        """Rows of some nights as Arrow, declared columns (or `columns`) in order; a night not built is a LakeError that names it."""
        schema = TABLES[table].arrow_schema()
        if columns is not None:
            schema = pa.schema([schema.field(c) for c in columns])
        tables = [
            pq.ParquetFile(self.fs.open(self.path(f))).read(columns=schema.names).select(schema.names).cast(schema)
            for f in self._paths(table, nights, parts)
        ]
        return pa.concat_tables(tables).combine_chunks() if tables else schema.empty_table()

    def scan(self, spark: SparkSession, table: str, nights: Iterable[dt.date], **parts: str) -> DataFrame:
        """The same as a Spark DataFrame, read lazily."""
        paths = [self.spark_path(f) for f in self._paths(table, nights, parts)]
        reader = spark.read.schema(TABLES[table].spark_schema())
        return reader.parquet(*paths) if paths else spark.createDataFrame([], TABLES[table].spark_schema())

    def keep_to_owner(self, folder: str) -> None:
        """Make a folder that nobody else of this machine can enter; elsewhere that is for the store's own rules."""
        if self.local:
            os.makedirs(self.path(folder), exist_ok=True)
            os.chmod(self.path(folder), 0o700)

    def write(self, table: str, ds: dt.date, rows: pa.Table | DataFrame, stamp: Stamp, **parts: str) -> Manifest:
        """Write a fresh run directory, audit it, and make it live; returns the manifest.

        Nothing is visible before the last step, and an interrupted run leaves only a dead directory. Raises SchemaError, FencedError, and
        LakeError with the place when its disk is full.
        """
        with self._disk_full_is_said(self.partition(table, ds, **parts)):
            return self._write(table, ds, rows, stamp, parts)

    @contextmanager
    def _disk_full_is_said(self, folder: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if disk_full(error):
                raise LakeError(f"{self.path(folder)}: {DISK_FULL}: {REMEDY}") from error
            raise

    def _write(self, table: str, ds: dt.date, rows: pa.Table | DataFrame, stamp: Stamp, parts: dict[str, str]) -> Manifest:
        declared, folder = TABLES[table], self.partition(table, ds, **parts)
        run = f"{stamp.run_id}-a{stamp.attempt:06}-{uuid.uuid4().hex[:8]}"
        target = f"{folder}/run={run}"
        if declared.restricted:
            self.keep_to_owner(declared.name)
        if isinstance(rows, pa.Table):
            rows = conform(rows, declared)
            self._write_file(f"{target}/part-00000.parquet", rows)
        else:
            rows = self._written_by_spark(rows, declared, target)
        strangers = [
            c
            for c in ("ds", *parts)
            if rows.num_rows and pc.unique(rows.column(c).cast(pa.string())).to_pylist() != [{"ds": ds.isoformat(), **parts}[c]]
        ]
        if strangers:
            raise SchemaError(f"table {table}: rows of another partition than {folder} ({', '.join(strangers)})")
        entries = self._parquet(target)
        manifest = Manifest(
            table=table,
            ds=ds.isoformat(),
            run=run,
            run_id=stamp.run_id,
            files=[f"{target}/{name}" for name in entries],
            rows=rows.num_rows,
            bytes=sum(entries.values()),
            checksum=checksum(rows, declared.key),
            schema_hash=schema_hash(declared),
            input_hash=stamp.input_hash,
            inputs=[list(i) for i in stamp.inputs],
            code=stamp.code,
            models=stamp.models,
            partition=parts,
            attempt=stamp.attempt,
            erased_by=stamp.erased_by,
        )
        return self._make_live(folder, manifest)

    def relabel(self, manifest: Manifest, **changes: Any) -> Manifest:
        """Change what a live manifest says of its rows, which stay; FencedError when another run has become live since it was read."""
        parts, ds = manifest.partition, dt.date.fromisoformat(manifest.ds)
        live = self.manifest(manifest.table, ds, **parts)
        if live is None or live.run != manifest.run:
            raise FencedError(f"fenced: another run of {self.partition(manifest.table, ds, **parts)} has become live: nothing was changed")
        return self._make_live(self.partition(manifest.table, ds, **parts), replace(live, **changes))

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

    def _write_file(self, relative: str, rows: pa.Table) -> None:
        self.fs.makedirs(self.path(relative.rpartition("/")[0]), exist_ok=True)
        with self.fs.open(self.path(relative), "wb") as file:
            pq.write_table(rows, file, compression="zstd")

    def _parquet(self, folder: str) -> dict[str, int]:
        """Bytes of each Parquet file in a folder, by name in order."""
        found = [e for e in self._entries(folder) if e["name"].endswith(".parquet")]
        return {e["name"].rsplit("/", 1)[-1]: int(e["size"]) for e in sorted(found, key=lambda e: str(e["name"]))}

    def _written_by_spark(self, rows: DataFrame, declared: Table, target: str) -> pa.Table:
        """Write the frame to a folder, in files that are neither many nor small; returns what was written, as declared."""
        faults = [f"missing column {n}" for n in declared.names if n not in rows.columns]
        faults += [f"undeclared column {n}" for n in rows.columns if n not in declared.names]
        if faults:
            raise SchemaError(f"table {declared.name}: " + "; ".join(faults))
        tasks = max(FEW_FILES, int(rows.sparkSession.conf.get("spark.sql.shuffle.partitions") or FEW_FILES))
        rows.select(*declared.names).coalesce(tasks).write.parquet(self.spark_path(target))
        files = self._parquet(target)
        if not files:
            return empty(declared)
        parts = [pq.ParquetFile(self.fs.open(self.path(f"{target}/{name}"))).read() for name in files]
        written = conform(pa.concat_tables(parts), declared)
        most = FEW_FILES if sum(files.values()) < SMALL_BYTES else max(FEW_FILES, sum(files.values()) // FILE_BYTES)
        if len(files) > most:
            each = -(-written.num_rows // most)
            for number in range(most):
                self._write_file(f"{target}/joined-{number:05}.parquet", written.slice(number * each, each))
            for name in files:
                self.remove(f"{target}/{name}")
        return written


def _scan(path: str) -> Iterator[dict[str, Any]]:
    """Entries of a folder of this machine; what vanishes meanwhile is passed over, where fsspec would give up the whole folder."""
    try:
        entries = list(os.scandir(path))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        with suppress(FileNotFoundError):
            folder = entry.is_dir()
            yield {"name": entry.path, "type": "directory" if folder else "file", "size": 0 if folder else entry.stat().st_size}


def _remove_unfinished(path: str, before: float) -> None:
    """Remove what writers of a file that did not come to their end left beside it, if it is older than `before` (of the file system)."""
    folder, name = os.path.split(path)
    for entry in os.scandir(folder):
        if entry.name.startswith(f"{name}.") and entry.name.endswith(".tmp"):
            with suppress(FileNotFoundError):
                if entry.stat().st_mtime < before:
                    os.unlink(entry.path)
