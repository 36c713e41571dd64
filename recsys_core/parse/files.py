"""One landing file to typed rows and counts, block by block."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.coded import CODED, repeated
from recsys_core.lake import canonical_json
from recsys_core.parse.event import ONE_DAY, EventParser, note_fields
from recsys_core.parse.rawlines import Found, objects_at, whole_lines
from recsys_core.parse.rules import Fault
from recsys_core.parse.values import micros
from recsys_core.tables import TABLES
from recsys_core.texts import MIN_REVIEW_WORDS, count_words

if TYPE_CHECKING:
    from recsys_core.parse.columns import Block

# Rows of a batch of what is looked at one by one; bytes of whole lines that are parsed at once.
BATCH_ROWS, BLOCK_BYTES = 8192, 4 << 20
# Shares of unreadable lines beyond which a whole file is refused, for files with at least as many such lines.
CORRUPT_SHARE, NOT_JSON_SHARE, CORRUPT_LINES = 0.5, 0.05, 5
CORRUPT = frozenset(("bad_utf8", "not_json", "not_object", "json_truncated", "json_syntax", "trailing_data", "control_char"))
# Fields whose absence is counted: a jump in it is how a broken client shows.
OPTIONAL = ("received_ts", "session_id", "rating", "quantity", "price", "dwell_s", "text", "query", "device", "region", "lang")
BESIDE = ("event_id", "user_key", "event_ts", "received_ts", "session_id", "repairs")
_EPOCH = date(1970, 1, 1)

# In objects but the lines. tonight, before: events of the night and of the day before; capped: events beyond the cap, of them those
# without a repair and those of other nights.
_COUNTS = (
    "lines",
    "objects",
    "good",
    "repaired",
    "quarantined",
    "other_nights",
    "tonight",
    "before",
    "capped",
    "capped_plain",
    "capped_beside",
)

_EVENT = TABLES["event_clean"].arrow_schema()
# Columns whose values come again and again are dictionaries from the first: no value is copied, hashed or compared for each row.
_NAMED = ("item_id", "device", "region")
_REPEATED = frozenset((*_NAMED, "user_key", "event_type", "lang", "daypart", "source"))
# verdict: event (of the night), beside (of another night: only what tells whether it is the same event or session), quarantine, or user
# (user_key and, in `note`, the id behind it). partition: the landing partition; file_no: place of the file in the job's list; file: its
# name, for the verdict quarantine; ds: the event's night.
PARSED_SCHEMA = pa.schema(
    [
        pa.field("verdict", CODED),
        pa.field("partition", pa.date32()),
        pa.field("file_no", pa.int32()),
        pa.field("byte_offset", pa.int64()),
        pa.field("file", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("field", pa.string()),
        pa.field("raw_base64", pa.string()),
        pa.field("note", pa.string()),
        *(pa.field(f.name, CODED if f.name in _REPEATED else f.type) for f in _EVENT),
    ]
)


class FileParser:
    """Reads one file under a job; its counts are in `counts`, `by_reason` and `fields`, in objects of the file."""

    def __init__(self, parser: EventParser, file: str, partition: date, file_no: int = 0) -> None:
        from recsys_core.parse.columns import Scanner  # numba comes with it: where nothing is parsed, it is not wanted
        from recsys_core.parse.spans import Names
        from recsys_core.parse.users import Users

        self.parser, self.file, self.partition, self.file_no = parser, file, partition, file_no
        self.own, self._night = partition == parser.job.night, (parser.job.night - _EPOCH).days
        self.counts = Counter(dict.fromkeys(_COUNTS, 0))
        self.corrupt: Counter[str] = Counter()
        self.by_reason: Counter[str] = Counter()
        self.fields: Counter[str] = Counter()
        self.users, self._names = Users(parser.job), {name: Names() for name in _NAMED}
        self.refused: str | None = None
        self._scanner = Scanner(parser, partition)

    def batches(self, opener: Callable[[], BinaryIO]) -> Iterator[pa.RecordBatch]:
        """The file's rows. When `refused` is set at the end, they must be thrown away."""
        job = self.parser.job
        try:
            if self.file in job.repeated:
                raise Fault("file_repeated")
            with opener() as stream:
                for offset, lines in whole_lines(stream, self.file, BLOCK_BYTES):
                    yield from self._block(offset, lines if lines.endswith(b"\n") else lines + b"\n")
            # Where people were erased, blanks stand for objects.
            blanked = job.erased and self.by_reason["blank_line"]
            if not self.counts["objects"] and not blanked and self.file not in job.may_be_empty:
                raise Fault("empty_source")
            if self._beyond(self.corrupt.total(), CORRUPT_SHARE) or self._beyond(self.corrupt["not_json"], NOT_JSON_SHARE):
                raise Fault("not_json_lines")
        except Fault as fault:
            self.refused = fault.code
        except OSError:
            self.refused = "unreadable"

    def met(self) -> Iterator[pa.RecordBatch]:
        """Rows for the users met."""
        keys, ids = self.users.met(self._night)
        if len(ids):
            yield self._batch("user", len(ids), user_key=keys, note=ids)

    def note(self) -> str:
        """The file's counts as JSON."""
        epochs = sum(1 for code in self.by_reason if code.startswith("epoch_"))
        more = {
            "users": self.users.n_met(self._night),
            "mixed_epoch": int(epochs > 1),
            "by_reason": self.by_reason,
            "fields": self.fields,
        }
        return canonical_json({**self.counts, **more})

    def left_out(self, rows: pa.RecordBatch) -> None:
        """Count events that are not kept because their user has too many."""
        plain = pc.equal(pc.list_value_length(rows.column("repairs")), 0).true_count
        beside = pc.not_equal(rows.column("ds"), self.parser.job.night).true_count
        self.counts.update({"capped": rows.num_rows, "capped_plain": plain, "capped_beside": beside})

    def _beyond(self, bad: int, share: float) -> bool:
        return bad >= CORRUPT_LINES and bad > share * self.counts["lines"]

    def _batch(self, verdict: str, n: int, **given: Any) -> pa.RecordBatch:
        """Rows of PARSED_SCHEMA with the columns given, the others null."""
        given = {"file_no": np.full(n, self.file_no, np.int32), "byte_offset": np.zeros(n, np.int64)} | given
        given["verdict"], given["partition"] = repeated(verdict, n), pa.repeat(pa.scalar(self.partition, pa.date32()), n)
        arrays = []
        for f in PARSED_SCHEMA:
            value = given.get(f.name)
            arrays.append(pa.nulls(n, f.type) if value is None else value if isinstance(value, pa.Array) else pa.array(value, f.type))
        return pa.RecordBatch.from_arrays(arrays, schema=PARSED_SCHEMA)

    def _block(self, offset: int, lines: bytes) -> Iterator[pa.RecordBatch]:
        found = self._scanner.block(lines, self.users, self._names)
        self.counts["lines"] += len(found.ok)
        yield from self._taken(found, offset)
        hard = np.flatnonzero(~found.ok)
        if len(hard):
            spans = zip(found.starts[hard].tolist(), found.stops[hard].tolist(), strict=True)
            yield from self._one_by_one((offset + start, lines[start:stop]) for start, stop in spans)

    # -- the many ---------------------------------------------------------------------------------------------------------------
    def _taken(self, found: Block, offset: int) -> Iterator[pa.RecordBatch]:
        taken = np.flatnonzero(found.ok)
        if not len(taken):
            return
        repaired = np.zeros(len(found.ok), bool)
        for code, flags in found.repairs.items():
            repaired |= flags
            if n := int(flags[taken].sum()):
                self.by_reason[code] += n
        n_repaired, ds, night = int(repaired[taken].sum()), found.ds[taken], self._night
        tonight, beside = taken[ds == night], taken[ds != night]
        self.counts.update(objects=len(taken), repaired=n_repaired, good=len(taken) - n_repaired)
        self.counts.update(tonight=len(tonight), before=int((ds == night - 1).sum()))
        self.users.count(found.user[taken], ds)
        found.listen(taken if self.own else tonight)
        if self.own:
            self._note(found, taken, ds[ds != night])
        if len(tonight):
            given = found.events(tonight)
            given["source"] = repeated(self.parser.job.source, len(tonight))
            given["ds"] = pa.repeat(pa.scalar(self.parser.job.night, pa.date32()), len(tonight))
            yield self._batch("event", len(tonight), byte_offset=offset + found.starts[tonight], **given)
        if len(beside):
            given = found.beside(beside) | {"ds": pa.array(found.ds[beside].astype(np.int32)).cast(pa.date32())}
            yield self._batch("beside", len(beside), byte_offset=offset + found.starts[beside], **given)

    def _note(self, found: Block, taken: np.ndarray, other_nights: np.ndarray) -> None:
        """Count what the fields of accepted events of the night's own partition look like, as `accepted_notes` does."""
        self.counts["other_nights"] += len(other_nights)
        for day, n in zip(*np.unique(other_nights, return_counts=True), strict=True):
            self.fields[f"night:{_EPOCH + timedelta(days=int(day))}"] += int(n)
        for name in OPTIONAL:
            if n := found.missing(name, taken):
                self.fields[f"null:{name}"] += n
        for n in found.strings("text", taken).drop_null().value_counts().to_pylist():
            if _is_short(n["values"]):
                self.fields["short:text"] += n["counts"]

    # -- the few ----------------------------------------------------------------------------------------------------------------
    def _one_by_one(self, hard: Iterator[tuple[int, bytes]]) -> Iterator[pa.RecordBatch]:
        kept: dict[str, list[dict[str, Any]]] = {"event": [], "beside": [], "quarantine": []}
        for offset, line in hard:
            things = objects_at(offset, line)
            if things is None:
                self.by_reason["blank_line"] += 1
                continue
            for found in things:
                verdict, row = self._verdict(found)
                if verdict:
                    kept[verdict].append(row | {"byte_offset": found.offset})
            for verdict, rows in kept.items():
                if len(rows) >= BATCH_ROWS:
                    yield self._rows(verdict, rows)
                    rows.clear()
        for verdict, rows in kept.items():
            if rows:
                yield self._rows(verdict, rows)

    def _rows(self, verdict: str, rows: list[dict[str, Any]]) -> pa.RecordBatch:
        names = {name for row in rows for name in row} & set(PARSED_SCHEMA.names)
        given: dict[str, Any] = {n: [r.get(n) for r in rows] for n in names}
        if "user_key" in names:
            self.users.count(self.users.of([r["user_id"] for r in rows]), np.array([(r["ds"] - _EPOCH).days for r in rows]))
        return self._batch(verdict, len(rows), **given)

    def _verdict(self, found: Found) -> tuple[str | None, dict[str, Any]]:
        """(event, beside, quarantine or None for what is only counted, the row)."""
        self.counts["objects"] += 1
        code, field, row = found.fault, None, None
        mended = found.repairs
        if found.value is not None:
            try:
                row = self.parser.event(found.value, self.partition, mended)
            except Fault as fault:
                code, field = fault.code, fault.field
            if self.own and "fault" not in found.value:
                note_fields(found.value, self.fields)
        if row is None and self.parser.erased(found.value or {}, found.raw):
            row = {"repairs": ["erased"]}
        if row is None:
            assert code is not None
            self.counts["quarantined"] += 1
            self.by_reason[code] += 1
            if code in CORRUPT:
                self.corrupt[code] += 1
            return ("quarantine", self._quarantined(code, field, found, mended)) if self.own else (None, {})
        self.by_reason.update(row["repairs"])
        self.counts["repaired" if row["repairs"] else "good"] += 1
        if "user_id" not in row:
            return None, {}
        tonight = row["ds"] == self.parser.job.night
        if self.own:
            if not tonight:
                self.counts["other_nights"] += 1
                self.fields[f"night:{row['ds']}"] += 1
            self.fields.update(accepted_notes(row))
        self.counts["tonight"] += tonight
        self.counts["before"] += row["ds"] == self.parser.job.night - ONE_DAY
        if not tonight:
            return "beside", {n: row[n] for n in ("ds", "user_id", *BESIDE)}
        return "event", row

    def _quarantined(self, code: str, field: str | None, found: Found, mended: tuple[str, ...]) -> dict[str, Any]:
        received = self.parser.received(found.value.get("received_ts"), self.partition, []) if found.value else None
        return {
            "file": self.file,
            "reason": code,
            "field": field,
            "raw_base64": base64.b64encode(found.raw).decode(),
            "received_ts": micros(received) if received else None,
            "repairs": list(mended),
        }


def accepted_notes(row: Mapping[str, Any]) -> Iterator[str]:
    """What is counted of the fields of an accepted event."""
    yield from (f"null:{n}" for n in OPTIONAL if row[n] is None)
    if row["text"] and _is_short(row["text"]):
        yield "short:text"


def _is_short(text: str) -> bool:
    return count_words(text[:200]) < MIN_REVIEW_WORDS
