"""Parts of a partition, each written where its rows are, and what is known of each of them when they are put together."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_core.lake.checksums import Sums, sums
from recsys_core.lake.contents import SchemaError, ascends, comparable, declared, repeat_fault, repeats
from recsys_core.lake.files import Files
from recsys_core.tables import TABLES, Table

# Rows that a reader who wants some users' alone reads at least.
GROUP_ROWS = 1 << 17


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


class Part(NamedTuple):
    """One file of a partition: its name, its bytes, the sums of its rows, and the least and the greatest of its leading key column.

    Plain values, so that json.dumps(part) and Part.of(json.loads(…)) carry it between processes. Without rows there is no least and
    no greatest.
    """

    name: str
    bytes: int
    sums: Sums
    low: str | int | None
    high: str | int | None

    @classmethod
    def of(cls, values: Sequence[Any]) -> Part:
        """The part that JSON made a list of."""
        name, size, added, low, high = values
        return cls(name, size, Sums(*added), low, high)

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return self.sums.rows


@dataclass(frozen=True)
class Target:
    """Where the files of one run of a partition go; it travels to those who write them."""

    url: str
    table: str
    ds: dt.date
    folder: str
    run: str
    stamp: Stamp
    parts: dict[str, str]

    @property
    def path(self) -> str:
        """Relative path of the run's folder."""
        return f"{self.folder}/run={self.run}"

    def write(self, number: int, rows: pa.Table) -> Part:
        """Write rows as one file, as declared and in the order that the table is kept in; returns what is known of it.

        Raises SchemaError when they do not fit or are of another partition; whether keys repeat in other parts is seen in `Lake.finish`.
        """
        table, files = TABLES[self.table], Files(self.url)
        rows = self._audited(arranged(declared(rows, table), table), table)
        name = f"part-{number:05}-{uuid.uuid4().hex}.parquet"
        with files.disk_full_is_said(self.folder):
            files.fs.makedirs(files.path(self.path), exist_ok=True)
            with files.fs.open(files.path(f"{self.path}/{name}"), "wb") as file:
                # Dictionaries are how rows are written, and no matter of whoever reads them.
                kept = rows.schema.types == table.arrow_schema().types
                pq.write_table(
                    rows,
                    file,
                    compression="zstd",
                    row_group_size=GROUP_ROWS,
                    use_dictionary=_coded(table),
                    write_statistics=["user_key"],  # of others nobody asks
                    store_schema=kept,
                )
                size = file.tell()
        return Part(name, size, sums(rows), *_range(rows, leading(table)))

    def _audited(self, rows: pa.Table, table: Table) -> pa.Table:
        wanted = {"ds": self.ds, **self.parts}
        strangers = [c for c, v in wanted.items() if not pc.all(pc.equal(rows.column(c), v)).as_py()] if rows.num_rows else []
        if strangers:
            raise SchemaError(f"table {table.name}: rows of another partition than {self.folder} ({', '.join(strangers)})")
        if repeated := repeats(rows, table.key):
            raise SchemaError(repeat_fault(table, repeated))
        return rows


def leading(table: Table) -> str:
    """The first column of the key that is not the same in all rows of a partition."""
    return next(c for c in table.key if c not in table.partition)


def by_user(table: Table) -> bool:
    """Whether a table is kept in the order of its users, so that some users' rows can be read alone."""
    return leading(table) == "user_key"


def _coded(table: Table) -> list[str]:
    """Columns whose values come again and again; others are given up as such only after a dictionary of a megabyte was made of them."""
    alone = [c for c in table.key if c not in table.partition]
    return [f.name for f in table.arrow_schema() if not pa.types.is_timestamp(f.type) and [f.name] != alone]


def arranged(rows: pa.Table, table: Table) -> pa.Table:
    """The rows in the order in which they are kept: by user, those of one user as they were given."""
    if not by_user(table) or ascends(rows, table.key):
        return rows
    return rows.take(pc.sort_indices(comparable(rows.column("user_key"))))


def are_apart(parts: Sequence[Part]) -> bool:
    """Whether no two parts can have a key in common, by their ranges."""
    ranges = sorted((p.low, p.high) for p in parts if p.rows)
    return all(before[1] < after[0] for before, after in pairwise(ranges))  # type: ignore[operator]


def _range(rows: pa.Table, column: str) -> tuple[str | int | None, str | int | None]:
    """Least and greatest value, dates as text, of which the order is theirs."""
    values = rows.column(column)
    if pa.types.is_dictionary(values.type):
        values = pc.unique(values).cast(values.type.value_type)
    least, greatest = pc.min_max(values).as_py().values()
    return (least.isoformat(), greatest.isoformat()) if isinstance(least, dt.date) else (least, greatest)
