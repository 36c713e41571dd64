"""The catalogue as of a night: the newest row of each item over the delivered deltas, read in one process (for some millions of items)."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.landing_schema import ITEM_FIELDS
from recsys_core.parse.rawlines import BOM, lines, objects
from recsys_core.parse.rules import Fault
from recsys_core.parse.values import identifier, price, text
from recsys_core.tables import TABLES
from recsys_core.texts import language_code

if TYPE_CHECKING:
    from recsys_core.lake import Landing

MAX_TAGS = 64
MAX_CSV_FIELD = 16 << 20
TRUE, FALSE = frozenset(("true", "1", "yes", "t", "y")), frozenset(("", "false", "0", "no", "f", "n"))
_NAMES = frozenset(f.name for f in ITEM_FIELDS)
_ATTRIBUTES = ("title", "description", "tags", "category", "brand", "price")
_SCHEMA = pa.schema([f for f in TABLES["item"].arrow_schema() if f.name not in ("ds", "valid_from_ds")])


def items_as_of(landing: Landing, ds: dt.date) -> tuple[pa.Table, Counter[str]]:
    """(rows of table item for ds, codes of RULES with how often the newest catalogue partition met them).

    An item is its last row in its newest partition up to ds, whole; valid_from_ds is that partition's date. A row that deletes an item and
    has no title keeps what was known of it. Items that were only clicked on are not invented.
    """
    met: Counter[str] = Counter()
    found: dict[str, tuple[dt.date, dict[str, Any]]] = {}
    partitions = [d for d in landing.nights("items") if d <= ds]
    for partition in partitions:
        for file, sha256 in landing.fingerprint(landing.files(partition, "items")):
            rows, codes = _file_rows(landing.url, file, sha256)
            if partition == partitions[-1]:
                met.update(dict(codes))
            for row in rows:
                known = found.get(row["item_id"])
                if row["deleted"] and row["title"] is None and known is not None:
                    row = row | {a: known[1][a] for a in (*_ATTRIBUTES, "lang")}
                found[row["item_id"]] = (partition, row)
    kept = [row for _, row in found.values()]
    table = pa.Table.from_pylist(kept, schema=_SCHEMA)
    table = table.append_column("valid_from_ds", pa.array([d for d, _ in found.values()], pa.date32()))
    table = table.append_column("ds", pa.array([ds] * len(kept), pa.date32())).select(list(TABLES["item"].names))
    return table.take(pc.sort_indices(table, sort_keys=[("item_id", "ascending")])), met


@lru_cache(maxsize=1 << 16)
def _file_rows(landing: str, file: str, sha256: str) -> tuple[tuple[dict[str, Any], ...], tuple[tuple[str, int], ...]]:
    """(good rows, (code, count) pairs) of one file; remembered by its hash, because every later night reads it again."""
    import fsspec

    met: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    try:
        with fsspec.open(f"{landing}/{file}", "rb") as stream:
            raws = _csv_rows(stream, file, met) if file.removesuffix(".gz").endswith(".csv") else _json_rows(stream, file, met)
            for raw in raws:
                met["rows"] += 1
                repairs: list[str] = []
                try:
                    rows.append(item_row(raw, repairs))
                    met.update(set(repairs))
                except Fault as fault:
                    met[fault.code] += 1
    except Fault as fault:
        return (), ((fault.code, 1),)
    return tuple(rows), tuple(sorted(met.items()))


def _json_rows(stream: Any, file: str, met: Counter[str]) -> Iterator[dict[str, Any]]:
    for offset, line in lines(stream, file):
        line = line.removeprefix(BOM) if offset == 0 else line
        if not line.strip():
            met["blank_line"] += 1
            continue
        for found in objects(line):
            met.update(found.repairs)
            if found.value is None:
                met["rows"] += 1
                met[found.fault or "not_object"] += 1
            else:
                yield found.value


def _csv_rows(stream: Any, file: str, met: Counter[str]) -> Iterator[dict[str, Any]]:
    """Rows by header name, whatever the order of columns; a row of another length is counted and left out."""
    csv.field_size_limit(MAX_CSV_FIELD)
    data = b"\n".join(line for _, line in lines(stream, file)).removeprefix(BOM)
    try:
        reader = csv.reader(io.StringIO(data.decode(), newline=""), strict=True)
    except UnicodeDecodeError:
        raise Fault("encoding") from None
    try:
        header = [h.strip() for h in next(reader, [])]
        if "item_id" not in header or len(set(header)) != len(header):
            raise Fault("bad_header")
        for row in reader:
            if not row:
                met["blank_line"] += 1
            elif len(row) != len(header):
                met["rows"] += 1
                met["bad_row"] += 1
            else:
                yield {name: value or None for name, value in zip(header, row, strict=True)}
    except csv.Error:
        # An open quote swallows the rest of the file: what was read before it may be wrong too.
        raise Fault("bad_header" if not header else "bad_row") from None


def item_row(raw: dict[str, Any], repairs: list[str]) -> dict[str, Any]:
    """A catalogue row cleaned and typed, columns of table item without its dates; Fault when it has no id or no use."""
    item = identifier(raw.get("item_id"), repairs)
    if not item:
        raise Fault("missing_required")
    deleted = _flag(raw.get("deleted"))
    title, description = text(raw.get("title"), repairs), text(raw.get("description"), repairs)
    if title is None and not deleted:
        raise Fault("missing_required")
    if raw.keys() - _NAMES:
        repairs.append("unknown_fields")
    written = " ".join(t for t in (title, description) if t)
    return {
        "item_id": item,
        "title": title,
        "description": description,
        "tags": _tags(raw.get("tags"), repairs),
        "category": text(raw.get("category"), repairs),
        "brand": text(raw.get("brand"), repairs),
        "price": price(raw.get("price"), repairs),
        "lang": language_code(text(raw.get("lang"), repairs), written) or "other",
        "deleted": deleted,
    }


def _flag(value: Any) -> bool:
    word = str(value if value is not None else "").strip().lower()
    if word not in TRUE | FALSE:
        raise Fault("bad_flag")
    return word in TRUE


def _tags(value: Any, repairs: list[str]) -> list[str] | None:
    """Tags of a JSON list, of one in a text (CSV), or of a text separated by '|', else by ','; each once, in order."""
    if isinstance(value, str):
        stripped = value.strip()
        try:
            value = orjson.loads(stripped) if stripped.startswith("[") else stripped.split("|" if "|" in stripped else ",")
        except orjson.JSONDecodeError:
            value = stripped.strip("[]").split(",")
    if value is None:
        return None
    if not isinstance(value, Iterable) or isinstance(value, dict):
        repairs.append("field_dropped")
        return None
    found = dict.fromkeys(t for v in value if isinstance(v, (str, int)) and not isinstance(v, bool) and (t := text(v, repairs)))
    return list(found)[:MAX_TAGS] or None
