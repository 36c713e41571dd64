"""Landing files to Parquet inside Spark, one file per task, and a file either whole or not at all."""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from typing import Any, BinaryIO, Self

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_core.parse.crowded import Crowd
from recsys_core.parse.event import EventParser, ParseJob
from recsys_core.parse.files import PARSED_SCHEMA, FileParser

# Rows of a row group.
GROUP_ROWS = 131_072
# What is known of a file once it is read: why nothing of it is used, its counts as JSON, and where its rows lie (null without any).
FILE_SCHEMA = pa.schema([("file_no", pa.int32()), ("reason", pa.string()), ("note", pa.string()), ("path", pa.string())])


def parse_files(job: ParseJob, store: str, folder: str) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """A function for mapInArrow over rows (id = index into job.files) that leaves each file's rows of PARSED_SCHEMA as Parquet.

    The files lie in `folder` below `store` (a path or fsspec URL), under names of their own for each attempt: only what is in the answer
    (rows of FILE_SCHEMA, paths relative to the store) counts. Wide rows so never pass through the JVM before they are few.
    """

    def parse(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        parser, (fs, root) = EventParser(job), fsspec.core.url_to_fs(job.landing)
        target, base = fsspec.core.url_to_fs(store)
        target.makedirs(f"{base}/{folder}", exist_ok=True)
        keys: dict[str, str] = {}
        for index in (i for batch in batches for i in batch.column(0).to_pylist()):
            file, partition = job.files[index]
            reader = FileParser(parser, file, partition, index, keys)
            name = f"{folder}/{index:06}-{uuid.uuid4().hex}.parquet"
            n = stage(reader, partial(fs.open, f"{root}/{file}", "rb"), target, f"{base}/{name}")
            row = {"file_no": index, "reason": reader.refused, "note": reader.note(), "path": name if n else None}
            yield pa.RecordBatch.from_pylist([row], FILE_SCHEMA)

    return parse


def stage(reader: FileParser, opener: Callable[[], BinaryIO], fs: Any, path: str) -> int:
    """Write a file's rows as Parquet, without the events that no cap could let through; returns how many (0 of a refused file)."""
    crowd = Crowd(reader.parser.job.daily_cap)
    with _Sink(fs, path) as sink:
        for batch in reader.batches(opener):
            sink.write(batch)
            crowd.count(batch)
        if not reader.refused:
            for batch in reader.met():
                sink.write(batch)
    n, reader.most = 0 if reader.refused else sink.rows, crowd.most
    if n and crowd.most > crowd.cap:
        thin = f"{path}.thin"
        with _Sink(fs, thin) as sink:
            for batch in crowd.measured(lambda: _again(fs, path)):
                kept, rest = crowd.thinned(batch)
                reader.left_out(rest)
                sink.write(kept)
        n = sink.rows
        fs.mv(thin, path)
    if not n:
        fs.rm_file(path)
    return n


class _Sink:
    """Collects batches and writes them to a Parquet file in row groups of a useful size."""

    def __init__(self, fs: Any, path: str) -> None:
        self._file = fs.open(path, "wb")
        self._writer = pq.ParquetWriter(self._file, PARSED_SCHEMA, compression="lz4", write_statistics=["verdict"])
        self._waiting: list[pa.RecordBatch] = []
        self._n = self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        self._waiting.append(batch)
        self._n += batch.num_rows
        self.rows += batch.num_rows
        if self._n >= GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._n:
            self._writer.write_table(pa.Table.from_batches(self._waiting), row_group_size=self._n)
        self._waiting, self._n = [], 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()
        self._writer.close()
        self._file.close()


def _again(fs: Any, path: str) -> Iterator[pa.RecordBatch]:
    with fs.open(path, "rb") as file:
        yield from pq.ParquetFile(file).iter_batches(GROUP_ROWS)


def parsed_rows(job: ParseJob, file: str, partition: date, opener: Callable[[], BinaryIO]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(rows of PARSED_SCHEMA of one file as dicts, in file order, the users' last; its counts, and `reason` when it is refused)."""
    reader = FileParser(EventParser(job), file, partition)
    with tempfile.TemporaryDirectory() as folder:
        fs, path = fsspec.filesystem("file"), f"{folder}/rows.parquet"
        found = [row for batch in _again(fs, path) for row in batch.to_pylist()] if stage(reader, opener, fs, path) else []
    return sorted(found, key=lambda r: (r["verdict"] == "user", r["byte_offset"])), {"reason": reader.refused, **json.loads(reader.note())}
