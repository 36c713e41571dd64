"""Landing files to typed rows inside Spark, one file per task, and a file either whole or not at all."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.lake import canonical_json
from recsys_core.parse.event import EventParser, ParseJob
from recsys_core.parse.rawlines import BOM, Found, lines, objects
from recsys_core.parse.rules import Fault
from recsys_core.parse.values import micros
from recsys_core.tables import TABLES

BATCH_ROWS = 8192
# A file's rows wait until its last byte proved good: in memory up to this size, then on disk.
SPOOL_BYTES = 64 << 20
# Shares of unreadable lines beyond which a whole file is refused, for files with at least as many such lines.
CORRUPT_SHARE, NOT_JSON_SHARE, CORRUPT_LINES = 0.5, 0.05, 5
CORRUPT = frozenset(("bad_utf8", "not_json", "not_object", "json_truncated", "json_syntax", "trailing_data", "control_char"))

_EVENT = TABLES["event_clean"].arrow_schema()
# verdict: event, quarantine or file (one row per file, its counts as JSON in `extra`); partition: the landing partition; ds: the event's
# night; fingerprint: hash of the content, to tell a repeated event from another one under the same id.
PARSED_SCHEMA = pa.schema(
    [
        pa.field("verdict", pa.string(), False),
        pa.field("partition", pa.date32(), False),
        pa.field("file", pa.string(), False),
        pa.field("byte_offset", pa.int64(), False),
        pa.field("reason", pa.string()),
        pa.field("raw_base64", pa.string()),
        pa.field("fingerprint", pa.int64()),
        *(pa.field(f.name, f.type) for f in _EVENT),
    ]
)
_AT = {name: i for i, name in enumerate(PARSED_SCHEMA.names)}


def parse_file(parser: EventParser, file: str, partition: date, stream: BinaryIO) -> Iterator[tuple[Any, ...]]:
    """Rows of one file, the last of them its own (verdict 'file': reason when refused, counts as JSON in `extra`).

    When that row has a reason, the rows before it must be thrown away.
    """
    own, counts = partition == parser.job.night, dict.fromkeys(("lines", "blank", "objects", "corrupt", "not_json"), 0)
    epochs: set[str] = set()
    refused: str | None = None
    try:
        for offset, line in lines(stream, file):
            counts["lines"] += 1
            before: tuple[str, ...] = ()
            if offset == 0 and line.startswith(BOM):
                offset, line, before = len(BOM), line[len(BOM) :], ("bom",)
            if not line.strip(b" \t\r"):
                counts["blank"] += 1
                continue
            for found in objects(line.rstrip(b"\r")):
                counts["objects"] += 1
                at = offset + found.offset
                code = found.fault
                row = None
                if found.value is not None:
                    try:
                        row = parser.event(found.value, partition, before + found.repairs)
                    except Fault as fault:
                        code = fault.code
                if code:
                    counts["corrupt"] += code in CORRUPT
                    counts["not_json"] += code == "not_json"
                    if own:
                        yield _quarantined(parser, file, partition, at, code, found)
                elif row is not None:
                    epochs.update(c for c in row["repairs"] if c.startswith("epoch_"))
                    yield _row(verdict="event", partition=partition, file=file, byte_offset=at, **row)
        if not counts["lines"] and not parser.job.empty_files_allowed:
            raise Fault("empty_source")
        if _beyond(counts["corrupt"], CORRUPT_SHARE, counts) or _beyond(counts["not_json"], NOT_JSON_SHARE, counts):
            raise Fault("not_json_lines")
    except Fault as fault:
        refused = fault.code
    except OSError:
        refused = "unreadable"
    stats = canonical_json(counts | {"mixed_epoch": int(len(epochs) > 1)})
    yield _row(verdict="file", partition=partition, file=file, byte_offset=-1, reason=refused, extra=stats)


def _beyond(bad: int, share: float, counts: dict[str, int]) -> bool:
    return bad >= CORRUPT_LINES and bad > share * counts["lines"]


def _quarantined(parser: EventParser, file: str, partition: date, at: int, code: str, found: Found) -> tuple[Any, ...]:
    received = parser.received(found.value.get("received_ts"), partition, []) if found.value else None
    return _row(
        verdict="quarantine",
        partition=partition,
        file=file,
        byte_offset=at,
        reason=code,
        raw_base64=base64.b64encode(found.raw).decode(),
        received_ts=micros(received) if received else None,
    )


def _row(**values: Any) -> tuple[Any, ...]:
    return tuple(map(values.get, _AT))


def _batches(rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[pa.RecordBatch, str | None]]:
    """(batch, reason of the refusal that it ends with, if any)."""
    block: list[tuple[Any, ...]] = []
    refusal: str | None = None
    for row in rows:
        block.append(row)
        if row[0] == "file":
            refusal = row[_AT["reason"]]
        if len(block) == BATCH_ROWS:
            yield _batch(block), refusal
            block = []
    if block:
        yield _batch(block), refusal


def _batch(rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [pa.array(c, f.type) for c, f in zip(zip(*rows, strict=True), PARSED_SCHEMA, strict=True)], schema=PARSED_SCHEMA
    )


def parse_files(job: ParseJob) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """A function for mapInArrow over rows (id = index into job.files); a refused file leaves its own row alone."""

    def parse(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        parser, (fs, root) = EventParser(job), fsspec.core.url_to_fs(job.landing)
        for index in (i for batch in batches for i in batch.column(0).to_pylist()):
            file, partition = job.files[index]
            with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as spool:
                refusal = _spool(parser, file, partition, partial(fs.open, f"{root}/{file}", "rb"), spool)
                spool.seek(0)
                with pa.ipc.open_stream(spool) as reader:
                    for batch in reader:
                        if refusal:
                            batch = batch.filter(pc.equal(batch.column(0), "file"))
                        if batch.num_rows:
                            yield batch

    return parse


def _spool(parser: EventParser, file: str, partition: date, opener: Callable[[], BinaryIO], spool: Any) -> str | None:
    """Write a file's rows as an Arrow stream; the reason when it was refused."""
    refusal = None
    with pa.ipc.new_stream(spool, PARSED_SCHEMA) as writer:
        try:
            with opener() as stream:
                for batch, refused in _batches(parse_file(parser, file, partition, stream)):
                    writer.write_batch(batch)
                    refusal = refused
        except OSError:
            refusal = "unreadable"
            writer.write_batch(_batch([_row(verdict="file", partition=partition, file=file, byte_offset=-1, reason=refusal, extra="{}")]))
    return refusal
