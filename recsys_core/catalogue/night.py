"""The catalogue as of a night, with what became of each delivered row."""

from __future__ import annotations

import base64
import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from recsys_core.catalogue.files import decoded
from recsys_core.catalogue.history import History, history_of
from recsys_core.catalogue.rows import CATEGORIES, ITEMS
from recsys_core.quality import FileLedger
from recsys_core.tables import TABLES, Table

if TYPE_CHECKING:
    from recsys_core.landing import Landing

UNKNOWN_CATEGORY = "unknown"
BATCH_ROWS = 65_536


@dataclass(frozen=True)
class Catalogue:
    """The catalogue as of a night.

    items       rows of table item, by item_id
    categories  rows of table category, by category; none without a category tree
    files       what became of each file of the newest partition of items, and of categories, up to the night
    quarantine  refused rows of the night's own partitions: file, byte_offset, reason, field, raw_base64, repairs of event_quarantine
    warnings    ids_differ_in_case = items whose id is another's but for the case of letters; each is an item of its own
    """

    items: pa.Table
    categories: pa.Table
    files: tuple[FileLedger, ...]
    quarantine: list[dict[str, Any]]
    warnings: Counter[str]


def catalogue_as_of(landing: Landing, ds: dt.date) -> Catalogue:
    """The catalogue as of ds: of each item and category the contents last delivered up to ds, and since when they hold.

    Items that were only clicked on are not invented, and a deleted one keeps what was known of it. A parent that is not in the catalogue as
    of ds is left out, and with a category tree an item's category that is not in it is 'unknown': both come back once they are known.
    """
    empty_allowed = bool(landing.source().get("empty_files_allowed"))
    tree, items = (history_of(kind, landing, ds, empty_allowed) for kind in (CATEGORIES, ITEMS))
    tree_ledgers, item_ledgers = _Ledgers(tree), _Ledgers(items)
    categories = _table(TABLES["category"], ds, _category_rows(tree, tree_ledgers))
    rows = _table(TABLES["item"], ds, _item_rows(items, item_ledgers, tree))
    folded = Counter(map(str.casefold, items.rows))
    return Catalogue(
        rows,
        categories,
        (*item_ledgers.files, *tree_ledgers.files),
        [row for history in (items, tree) for row in _quarantine(history, ds)],
        Counter({"ids_differ_in_case": sum(n for n in folded.values() if n > 1)}),
    )


class _Ledgers:
    """Copies of a history's ledgers, to which repairs of the night are added."""

    def __init__(self, history: History) -> None:
        self.files = [replace(f, by_reason=Counter(f.by_reason), fields=Counter(f.fields)) for f in history.files]
        self._winners = history.winners
        self._repaired: set[str] = set()

    def add(self, key: str, code: str) -> None:
        """Count a repair of a row, if it is the newest partition's."""
        if (place := self._winners.get(key)) is None:
            return
        file = self.files[place >> 1]
        file.by_reason[code] += 1
        if not place & 1 and key not in self._repaired:
            self._repaired.add(key)
            file.good, file.repaired = file.good - 1, file.repaired + 1


def _item_rows(items: History, ledgers: _Ledgers, tree: History) -> Iterator[dict[str, Any]]:
    for key, since, row in _sorted(items):
        if row["parent_id"] is not None and row["parent_id"] not in items.rows:
            row["parent_id"] = None
            ledgers.add(key, "orphan_parent")
        if tree.rows and row["category"] is not None and row["category"] not in tree.rows:
            row["category"] = UNKNOWN_CATEGORY
            ledgers.add(key, "orphan_category")
        row["price"] = row["price"] and Decimal(row["price"])
        row |= {name: row[name] and dt.date.fromisoformat(row[name]) for name in ("available_from_ds", "available_to_ds")}
        yield row | {"item_id": key, "valid_from_ds": since, "first_ds": items.first[key]}


def _category_rows(tree: History, ledgers: _Ledgers) -> Iterator[dict[str, Any]]:
    for key, since, row in _sorted(tree):
        if row["parent"] is not None and row["parent"] not in tree.rows:
            row["parent"] = None
            ledgers.add(key, "orphan_parent")
        yield {"category": key, "parent": row["parent"], "valid_from_ds": since}


def _sorted(history: History) -> Iterator[tuple[str, dt.date, dict[str, Any]]]:
    for key in sorted(history.rows):
        since, contents = history.rows[key]
        yield key, since, decoded(contents)


def _table(table: Table, ds: dt.date, rows: Iterator[dict[str, Any]]) -> pa.Table:
    schema, batches = table.arrow_schema(), list[pa.RecordBatch]()
    block: list[dict[str, Any]] = []

    def flush() -> None:
        batches.append(pa.RecordBatch.from_pylist(block, schema=schema))
        block.clear()

    for row in rows:
        block.append(row | {"ds": ds})
        if len(block) == BATCH_ROWS:
            flush()
    flush()
    return pa.Table.from_batches(batches, schema=schema).combine_chunks()


def _quarantine(history: History, ds: dt.date) -> Sequence[dict[str, Any]]:
    if history.partition != ds:
        return ()
    return [
        {
            "file": file,
            "byte_offset": row.offset,
            "reason": code,
            "field": field,
            "raw_base64": base64.b64encode(row.raw).decode(),
            "repairs": list((row.said or row).repairs),
        }
        for file, row, code, field in history.refused
    ]
