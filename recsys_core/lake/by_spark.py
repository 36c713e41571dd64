"""A Spark frame as parts of a partition, written by its own tasks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from recsys_core.lake.contents import SchemaError
from recsys_core.lake.files import Files
from recsys_core.lake.parts import Part, Target
from recsys_core.lake.reading import read_file
from recsys_core.tables import TABLES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# A partition smaller than this has no more than FEW_FILES files; a larger one, files of about FILE_BYTES.
SMALL_BYTES, FEW_FILES, FILE_BYTES = 512 << 20, 4, 128 << 20


def written_by_spark(target: Target, rows: DataFrame) -> list[Part]:
    """Parts that the tasks of a frame wrote, neither many nor small."""
    table, files = TABLES[target.table], Files(target.url)
    faults = [f"missing column {n}" for n in table.names if n not in rows.columns]
    faults += [f"undeclared column {n}" for n in rows.columns if n not in table.names]
    if faults:
        raise SchemaError(f"table {table.name}: " + "; ".join(faults))
    tasks = max(FEW_FILES, int(rows.sparkSession.conf.get("spark.sql.shuffle.partitions") or FEW_FILES))
    frame = rows.select(*table.names).coalesce(tasks)
    told = frame.mapInArrow(_writer(target), "part string, fault string").collect()
    if refused := sorted({t.fault for t in told if t.fault}):
        raise SchemaError(refused[0])
    parts = sorted(Part.of(json.loads(t.part)) for t in told)
    size = sum(p.bytes for p in parts)
    most = FEW_FILES if size < SMALL_BYTES else max(FEW_FILES, size // FILE_BYTES)
    if len(parts) <= most:
        return parts
    groups = [parts[len(parts) * n // most : len(parts) * (n + 1) // most] for n in range(most)]
    return [
        target.write(n, pa.concat_tables([read_file(files, f"{target.path}/{p.name}", table.names) for p in group]))
        for n, group in enumerate(groups)
    ]


def _writer(target: Target) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """What Spark's tasks do: all of a task's rows become one part; what is wrong with them is handed back, not raised, to be said once."""

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        if held := [b for b in batches if b.num_rows]:
            context = TaskContext.get()
            part, fault = None, None
            try:
                part = json.dumps(target.write(context.partitionId() if context else 0, pa.Table.from_batches(held)))
            except SchemaError as error:
                fault = str(error)
            yield pa.RecordBatch.from_pylist([{"part": part, "fault": fault}], pa.schema([("part", pa.string()), ("fault", pa.string())]))

    return write
