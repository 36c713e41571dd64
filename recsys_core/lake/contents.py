"""The declared form of rows, apart from where they lie."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.coded import plain, whole
from recsys_core.lake.checksums import blocks, row_hashes
from recsys_core.tables import Table


class LakeError(Exception):
    """Something in the lake is missing or does not fit; the message names the place and the remedy."""


class SchemaError(LakeError):
    """Rows do not fit their table's declaration; the message lists every difference."""


def empty(table: Table) -> pa.Table:
    """No rows, with the table's schema."""
    return table.arrow_schema().empty_table()


def conform(rows: pa.Table, table: Table) -> pa.Table:
    """The rows with the declared columns, order and types; every difference is named in one SchemaError."""
    made = declared(rows, table).cast(table.arrow_schema())
    if repeated := repeats(made, table.key):
        raise SchemaError(repeat_fault(table, repeated))
    return made


def declared(rows: pa.Table, table: Table) -> pa.Table:
    """The same, without a look at whether keys repeat; texts that are a dictionary's stay so."""
    schema, faults = table.arrow_schema(), []
    missing = [n for n in table.names if n not in rows.column_names]
    extra = [n for n in rows.column_names if n not in table.names]
    faults += [f"missing column {n}" for n in missing] + [f"undeclared column {n}" for n in extra]
    columns: dict[str, pa.ChunkedArray] = {}
    for want in schema:
        if want.name in missing:
            continue
        column = rows.column(want.name)
        if column.type != want.type and not (pa.types.is_dictionary(column.type) and column.type.value_type == want.type):
            try:
                column = column.cast(want.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                faults.append(f"column {want.name} is {column.type}, declared {want.type}: {str(error).splitlines()[0]}")
                continue
        if not want.nullable and column.null_count:
            faults.append(f"column {want.name} has {column.null_count} nulls")
        columns[want.name] = column
    if faults:
        raise SchemaError(f"table {table.name}: " + "; ".join(faults))
    return pa.table([columns[f.name] for f in schema], schema=pa.schema([f.with_type(columns[f.name].type) for f in schema]))


def repeats(rows: pa.Table, key: Sequence[str]) -> int:
    """How many rows have the key of another one before them."""
    if ascends(rows, key):
        return 0
    hashes = np.sort(np.concatenate([np.empty(0, np.uint64), *(row_hashes(batch)[0] for batch in blocks(rows.select(list(key))))]))
    if not (hashes[1:] == hashes[:-1]).any():
        return 0
    rows = plain(rows.select(list(key)))
    return rows.num_rows - rows.select(list(key)).group_by(list(key)).aggregate([]).num_rows


def repeat_fault(table: Table, repeated: int) -> str:
    """What is said of rows that repeat their key."""
    return f"table {table.name}: {repeated} rows repeat the key ({', '.join(table.key)})"


def ascends(rows: pa.Table, key: Iterable[str]) -> bool:
    """Whether each row's key is greater than that of the row before, by which no two are equal."""
    if rows.num_rows < 2:
        return True
    tied = pa.scalar(True)
    for name in key:
        column = comparable(rows.column(name))
        before, after = column.slice(0, rows.num_rows - 1), column.slice(1)
        equal = pc.and_(tied, pc.equal(before, after))
        if not pc.all(pc.or_(pc.invert(tied), pc.or_(equal, pc.less(before, after)))).as_py():
            return False
        tied = equal
    return not pc.any(tied).as_py()


def comparable(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """Values in the order of the column's: of a sorted dictionary the places in it."""
    if not pa.types.is_dictionary(column.type):
        return column
    one = whole(column)
    held = one.dictionary
    ascending = pc.all(pc.less(held[:-1], held[1:])).as_py() if len(held) > 1 else True
    return one.indices if ascending else column.cast(column.type.value_type)
