"""The lake: partitions of Parquet files that become live, whole, by one atomic replacement of a manifest.

Layout: `<table>/ds=D[/model_version=V]/run=R/part-*.parquet` beside `_manifest.json`; `text_embedding` has `embedding_space=E` before ds.
A partition without a manifest does not exist for readers. All validation of rows lives here.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
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


class LakeError(Exception):
    """Something in the lake is missing or does not fit; the message names the place and the remedy."""


class SchemaError(LakeError):
    """Rows do not fit their table's declaration; the message lists every difference."""


@dataclass(frozen=True)
class Stamp:
    """Who makes a partition: the run's id, the hash of all that went in, its inputs, code and model versions."""

    run_id: str
    input_hash: str
    inputs: tuple[tuple[str, str], ...] = ()
    code: str = ""
    models: dict[str, str] = field(default_factory=dict)


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
    fs, path = fsspec.core.url_to_fs(root)
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
        with open(staged, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(staged, path)

    def folders(self, relative: str) -> list[str]:
        """Names of the folders directly below, sorted."""
        path = self.path(relative)
        if not self.fs.isdir(path):
            return []
        return sorted(e["name"].rstrip("/").rsplit("/", 1)[-1] for e in self.fs.ls(path, detail=True) if e["type"] == "directory")

    def staging(self, what: str, ds: dt.date) -> str:
        """Relative path of a folder for one run's intermediate files, which the run removes with `remove`."""
        return f"_staging/{what}-{ds:%Y%m%d}-{uuid.uuid4().hex[:12]}"

    def remove(self, relative: str) -> None:
        """Remove a folder with all in it, if it is there."""
        if self.fs.exists(self.path(relative)):
            self.fs.rm(self.path(relative), recursive=True)

    # -- manifests ---------------------------------------------------------------------------------------------------------------
    def manifest(self, table: str, ds: dt.date, **parts: str) -> Manifest | None:
        """The live manifest of a partition, or None."""
        relative = f"{self.partition(table, ds, **parts)}/{MANIFEST}"
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

    def _keep_to_owner(self, table: Table) -> None:
        """Let nobody else of this machine into the folder of a restricted table; elsewhere that is for the store's own rules."""
        if table.restricted and self.local:
            os.makedirs(self.path(table.name), exist_ok=True)
            os.chmod(self.path(table.name), 0o700)

    def write(self, table: str, ds: dt.date, rows: pa.Table | DataFrame, stamp: Stamp, **parts: str) -> Manifest:
        """Write a fresh run directory, audit it, and make it live; returns the manifest.

        Nothing is visible before the last step, and an interrupted run leaves only a dead directory. Raises SchemaError.
        """
        declared, folder = TABLES[table], self.partition(table, ds, **parts)
        run = f"{stamp.run_id}-{uuid.uuid4().hex[:8]}"
        target = f"{folder}/run={run}"
        if isinstance(rows, pa.Table):
            rows = conform(rows, declared)
            self._keep_to_owner(declared)
            self.fs.makedirs(self.path(target), exist_ok=True)
            with self.fs.open(self.path(f"{target}/part-00000.parquet"), "wb") as file:
                pq.write_table(rows, file, compression="zstd")
        else:
            faults = [f"missing column {n}" for n in declared.names if n not in rows.columns]
            faults += [f"undeclared column {n}" for n in rows.columns if n not in declared.names]
            if faults:
                raise SchemaError(f"table {table}: " + "; ".join(faults))
            self._keep_to_owner(declared)
            rows.select(*declared.names).coalesce(4).write.parquet(self.spark_path(target))
        entries = [e for e in self.fs.ls(self.path(target), detail=True) if e["name"].endswith(".parquet")]
        files = sorted(f"{target}/{e['name'].rsplit('/', 1)[-1]}" for e in entries)
        if not isinstance(rows, pa.Table):
            written = [pq.ParquetFile(self.fs.open(self.path(f))).read() for f in files]
            rows = conform(pa.concat_tables(written), declared) if written else empty(declared)
        strangers = [
            c
            for c in ("ds", *parts)
            if rows.num_rows and pc.unique(rows.column(c).cast(pa.string())).to_pylist() != [{"ds": ds.isoformat(), **parts}[c]]
        ]
        if strangers:
            raise SchemaError(f"table {table}: rows of another partition than {folder} ({', '.join(strangers)})")
        manifest = Manifest(
            table=table,
            ds=ds.isoformat(),
            run=run,
            run_id=stamp.run_id,
            files=files,
            rows=rows.num_rows,
            bytes=sum(e["size"] for e in entries),
            checksum=checksum(rows, declared.key),
            schema_hash=schema_hash(declared),
            input_hash=stamp.input_hash,
            inputs=[list(i) for i in stamp.inputs],
            code=stamp.code,
            models=stamp.models,
            partition=parts,
        )
        self.write_bytes(f"{folder}/{MANIFEST}", canonical_json(asdict(manifest)).encode())
        return manifest
