"""Rows out of Parquet files: whole, some users' alone, or as a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_core.coded import whole
from recsys_core.lake.contents import LakeError
from recsys_core.lake.files import Files
from recsys_core.tables import TABLES

Rows = TypeVar("Rows", pa.Table, pa.RecordBatch)
# Rows that a stream holds at a time.
STREAMED_ROWS = 1 << 16


@dataclass(frozen=True)
class Stream:
    """Rows as they lie in some files of a lake, read when they are asked for; it answers what a pa.Table would of its size and rows."""

    lake: Files
    table: str
    files: tuple[str, ...]
    num_rows: int

    @property
    def schema(self) -> pa.Schema:
        """The declared schema."""
        return TABLES[self.table].arrow_schema()

    @property
    def paths(self) -> list[str] | None:
        """Paths for another reader of Parquet files, None where they are not files of this machine."""
        return [self.lake.path(f) for f in self.files] if self.lake.local else None

    def to_batches(self, max_chunksize: int = STREAMED_ROWS) -> Iterator[pa.RecordBatch]:
        """The rows, in the declared schema."""
        for relative in self.files:
            with self.lake.fs.open(self.lake.path(relative)) as opened:
                for batch in pq.ParquetFile(opened).iter_batches(max_chunksize, columns=self.schema.names, use_threads=False):
                    yield conformed(batch, self.schema, self.lake.path(relative))


def conformed(rows: Rows, schema: pa.Schema, place: str) -> Rows:
    """Columns in the order and types of `schema`; LakeError when a file of an earlier version lacks some."""
    if lacking := [name for name in schema.names if name not in rows.schema.names]:
        raise LakeError(
            f"{place} has no {', '.join(lacking)}: an earlier version of the program made it; "
            "build its night again: python -m jobs nights --from NIGHT --to NIGHT"
        )
    return rows.select(schema.names).cast(schema)


def read_file(
    files: Files, relative: str, columns: Sequence[str], users: tuple[str | None, str | None] | None = None, coded: Sequence[str] = ()
) -> pa.Table:
    """Columns of a file, of them `coded` as dictionaries; of `users` (low, high) alone, the rows with low <= user_key < high, None being no
    bound.
    """
    with files.fs.open(files.path(relative)) as opened:
        file = pq.ParquetFile(opened, read_dictionary=[*coded])
        if users is None:
            return file.read(columns=columns)
        found = file.read_row_groups(_groups(file.metadata, *users), columns=[*dict.fromkeys([*columns, "user_key"])])
    low, high = users
    if low is None and high is None:
        return found
    keys = whole(found["user_key"])
    values = keys.dictionary if "user_key" in coded else keys
    within = pc.and_(pc.greater_equal(values, low or ""), pc.less(values, high) if high is not None else pc.is_valid(values))
    within = within.take(keys.indices) if "user_key" in coded else within
    return found if pc.all(within).as_py() else found.filter(within)


def _groups(metadata: pq.FileMetaData, low: str | None, high: str | None) -> list[int]:
    """Row groups of a file that may hold users from low to below high."""
    column = metadata.schema.names.index("user_key")
    found = []
    for number in range(metadata.num_row_groups):
        about = metadata.row_group(number).column(column).statistics
        known = about is not None and about.has_min_max
        if not (known and ((low is not None and about.max < low) or (high is not None and about.min >= high))):
            found.append(number)
    return found
