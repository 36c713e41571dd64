"""Landing files to rows, in memory or laid out by bucket of users: one file at a time, and a file either whole or not at all."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import Any, BinaryIO, Protocol, TypeVar

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.coded import compact
from recsys_core.parse.crowded import Crowd
from recsys_core.parse.event import EventParser, ParseJob
from recsys_core.parse.files import PARSED_SCHEMA, FileParser

# Rows that wait in memory until they are put in the order of their buckets and written.
HELD_ROWS = 1 << 19
# What is known of a file once it is read: why nothing of it is used, its counts as JSON, and where its rows lie (null without any).
FILE_SCHEMA = pa.schema([("file_no", pa.int32()), ("reason", pa.string()), ("note", pa.string()), ("path", pa.string())])
# The bucket of rows that are nobody's: refused lines.
NOBODY = -1
# Digits of a user's key that tell the bucket.
_DIGITS = 4
MAX_BUCKETS = 16**_DIGITS
# Bytes at the end of a file of `Staged` that say where its index begins.
_TAIL = 8


def users_of(bucket: int, buckets: int) -> tuple[str | None, str | None]:
    """(least key, key that is too great) of the users of one of `buckets` buckets, which have about as many users each; None = no bound.

    >>> [users_of(b, 3) for b in range(3)]
    [(None, '5556'), ('5556', 'aaab'), ('aaab', None)]
    """
    low, high = (f"{-(-b * MAX_BUCKETS // buckets):0{_DIGITS}x}" for b in (bucket, bucket + 1))
    return low if bucket else None, high if bucket + 1 < buckets else None


def buckets_of(keys: pa.Array, buckets: int) -> np.ndarray:
    """The bucket of each user's key, NOBODY for null."""
    coded = keys if pa.types.is_dictionary(keys.type) else keys.dictionary_encode()
    heads = pc.utf8_slice_codeunits(coded.dictionary, 0, _DIGITS).cast(pa.binary(_DIGITS))
    digits = np.frombuffer(heads.buffers()[1] or b"", np.uint8, _DIGITS * len(heads)).reshape(-1, _DIGITS).astype(np.int64)
    of = np.where(digits > ord("9"), digits - ord("a") + 10, digits - ord("0")) @ 16 ** np.arange(_DIGITS)[::-1] * buckets // MAX_BUCKETS
    return np.append(of, NOBODY)[pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)]


class Rows(Protocol):
    """Where rows of PARSED_SCHEMA are kept."""

    n: int

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows."""

    def close(self) -> None:
        """All are written."""

    def batches(self) -> Iterable[pa.RecordBatch]:
        """All of them once more."""

    def discard(self) -> None:
        """Let go of them."""


R = TypeVar("R", bound=Rows)


class Held:
    """Rows in memory."""

    def __init__(self) -> None:
        self._batches: list[pa.RecordBatch] = []
        self.n = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        self._batches.append(batch)
        self.n += batch.num_rows

    def close(self) -> None:
        """Nothing is left to do."""

    def batches(self) -> list[pa.RecordBatch]:
        """All of them."""
        return self._batches

    def discard(self) -> None:
        """Forget them."""
        self._batches = []


class Staged:
    """Rows in a file: streams of Arrow, each of a bucket of users, behind each the hashes of its event ids, and an index.

    Rows are read once, soon and by this code: nothing but lz4 is done to them.
    """

    def __init__(self, fs: Any, path: str, buckets: int) -> None:
        self._fs, self.path, self._buckets = fs, path, buckets
        self._file: Any = None
        self._waiting: list[pa.RecordBatch] = []
        self._index: list[tuple[int, int, int, int]] = []
        self.n = self._n = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        self._waiting.append(batch)
        self._n += batch.num_rows
        if self._n >= HELD_ROWS:
            self._flush()

    def _flush(self) -> None:
        from recsys_core.parse.spans import hashes

        if not self._n:
            return
        if self._file is None:
            self._file = self._fs.open(self.path, "wb")
        rows = pa.Table.from_batches(self._waiting).combine_chunks()
        self._waiting, self._n, self.n = [], 0, self.n + self._n
        of = buckets_of(rows["user_key"].combine_chunks(), self._buckets)
        # Columns without a value are not written; who reads adds them.
        rows = rows.select([n for n in rows.column_names if rows[n].null_count < rows.num_rows])
        order, start = pa.array(np.argsort(of, kind="stable")), 0
        for bucket, n in zip(*np.unique(of, return_counts=True), strict=True):
            part, begins = compact(rows.take(order.slice(start, n))), self._file.tell()
            with pa.ipc.new_stream(self._file, part.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as stream:
                stream.write_table(part)
            ends = self._file.tell()
            if "event_id" in part.column_names:
                self._file.write(hashes(part["event_id"].drop_null().combine_chunks()).tobytes())
            self._index.append((int(bucket), begins, ends, self._file.tell()))
            start += n

    def close(self) -> None:
        """Write what waits."""
        self._flush()
        if self._file is not None:
            begins = self._file.tell()
            self._file.write(json.dumps(self._index).encode() + begins.to_bytes(_TAIL, "big"))
            self._file.close()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All of them, in another order."""
        for bucket in dict.fromkeys(bucket for bucket, *_ in self._index):
            yield from staged_rows(self._fs, [self.path], bucket).to_batches()

    def discard(self) -> None:
        """Remove the file."""
        if self._file is not None:
            self._fs.rm_file(self.path)


def staged_rows(fs: Any, paths: Iterable[str], bucket: int) -> pa.Table:
    """The rows of a bucket in files of `Staged`."""
    options = pa.ipc.IpcReadOptions(use_threads=False)
    found = [pa.ipc.open_stream(pa.py_buffer(data), options=options).read_all() for data in _staged(fs, paths, bucket, 0)]
    return pa.concat_tables([PARSED_SCHEMA.empty_table(), *found], promote_options="default").combine_chunks()


def staged_hashes(fs: Any, paths: Iterable[str], bucket: int) -> np.ndarray:
    """Hashes (int64, see `spans.hashes`) of the ids of a bucket's events there."""
    return np.concatenate([np.zeros(0, np.int64), *(np.frombuffer(data, np.int64) for data in _staged(fs, paths, bucket, 1))])


def _staged(fs: Any, paths: Iterable[str], bucket: int, piece: int) -> Iterator[bytes]:
    """Of what is laid out for a bucket, the rows (piece 0) or the hashes (1)."""
    for path in paths:
        with fs.open(path, "rb") as file:
            end = file.seek(-_TAIL, 2)
            begins = int.from_bytes(file.read(_TAIL), "big")
            file.seek(begins)
            for of, *ends in json.loads(file.read(end - begins)):
                if of == bucket:
                    file.seek(ends[piece])
                    yield file.read(ends[piece + 1] - ends[piece])


@dataclass(frozen=True)
class Parsed:
    """Parsed rows, to be had by bucket: of this process (`held`), or in files of `Staged` below the store.

    numbers  file number of the job, by the one that is written in the rows; None where they are the same
    """

    buckets: int
    held: pa.Table | None = None
    store: str = ""
    paths: tuple[str, ...] = ()
    numbers: Mapping[int, int] | None = None

    @property
    def n_files(self) -> int:
        """Files that the rows lie in."""
        return len(self.paths) if self.held is None else 1

    def of_file(self, place: int) -> Parsed:
        """Those in one of them."""
        return self if self.held is not None else replace(self, paths=(self.paths[place],))

    def id_hashes(self, bucket: int) -> np.ndarray:
        """Hashes (int64, see `spans.hashes`) of the ids of a bucket's events, of several buckets."""
        return staged_hashes(*self._files(), bucket)

    def _files(self) -> tuple[Any, list[str]]:
        fs, base = fsspec.core.url_to_fs(self.store)
        return fs, [f"{base}/{path}" for path in self.paths]

    def rows(self, bucket: int) -> pa.Table:
        """Those of the users of one bucket, of NOBODY the refused lines; where only one bucket is, all of them."""
        if self.held is not None:
            return self.held
        found = staged_rows(*self._files(), bucket)
        if self.numbers is None:
            return found
        of = np.zeros(max(self.numbers, default=0) + 1, np.int32)
        of[[*self.numbers]] = [*self.numbers.values()]
        return found.set_column(found.column_names.index("file_no"), "file_no", pa.array(of[found["file_no"].to_numpy()]))


def parse_files(job: ParseJob, store: str, folder: str, buckets: int) -> Callable[[int], dict[str, Any]]:
    """A function of an index into job.files that lays the file's rows out (see `Staged`); what it answers is a row of FILE_SCHEMA.

    The files lie in `folder` below `store` (a path or fsspec URL), under names of their own for each attempt: only what is in the answer
    (paths relative to the store) counts.
    """

    def parse(index: int) -> dict[str, Any]:
        (fs, root), (target, base) = fsspec.core.url_to_fs(job.landing), fsspec.core.url_to_fs(store)
        target.makedirs(f"{base}/{folder}", exist_ok=True)
        file, partition = job.files[index]
        reader = FileParser(EventParser(job), file, partition, index)

        def fresh() -> Staged:
            return Staged(target, f"{base}/{folder}/{index:06}-{uuid.uuid4().hex}.arrows", buckets)

        rows = read(reader, partial(fs.open, f"{root}/{file}", "rb"), fresh)
        path = f"{folder}/{rows.path.rpartition('/')[2]}" if rows else None
        return {"file_no": index, "reason": reader.refused, "note": reader.note(), "path": path}

    return parse


def parsed_here(job: ParseJob) -> tuple[Parsed, list[dict[str, Any]]]:
    """(rows of all files of the job, rows of FILE_SCHEMA without paths), in this process."""
    parser, (fs, root) = EventParser(job), fsspec.core.url_to_fs(job.landing)
    batches, found = [], []
    for index, (file, partition) in enumerate(job.files):
        reader = FileParser(parser, file, partition, index)
        rows = read(reader, partial(fs.open, f"{root}/{file}", "rb"), Held)
        batches += rows.batches() if rows else []
        found.append({"file_no": index, "reason": reader.refused, "note": reader.note(), "path": None})
    return Parsed(1, pa.Table.from_batches(batches, PARSED_SCHEMA).combine_chunks()), found


def read(reader: FileParser, opener: Callable[[], BinaryIO], fresh: Callable[[], R]) -> R | None:
    """A file's rows, without the events that no cap could let through; None when there are none, or the file is refused."""
    rows, cap = fresh(), reader.parser.job.daily_cap
    for batch in reader.batches(opener):
        rows.write(batch)
    if not reader.refused:
        for batch in reader.met():
            rows.write(batch)
    rows.close()
    if reader.refused or not rows.n:
        rows.discard()
        return None
    if crowded := reader.users.beyond(cap):
        whole, rows, crowd = rows, fresh(), Crowd(cap, crowded)
        for batch in crowd.measured(whole.batches):
            kept, rest = crowd.thinned(batch)
            reader.left_out(rest)
            rows.write(kept)
        rows.close()
        whole.discard()
    return rows


def parsed_rows(job: ParseJob, file: str, partition: date, opener: Callable[[], BinaryIO]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(rows of PARSED_SCHEMA of one file as dicts, in file order, the users' last; its counts, and `reason` when it is refused)."""
    reader = FileParser(EventParser(job), file, partition)
    rows = read(reader, opener, Held)
    found = [row for batch in rows.batches() for row in batch.to_pylist()] if rows else []
    return sorted(found, key=lambda r: (r["verdict"] == "user", r["byte_offset"])), {"reason": reader.refused, **json.loads(reader.note())}
