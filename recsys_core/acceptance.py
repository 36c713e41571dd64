"""Checks that somebody accepted although they failed: one record a night in the lake, so that every re-run honours them."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from recsys_core.lake import LakeError, canonical_json
from recsys_core.tables import TABLES

if TYPE_CHECKING:
    from recsys_core.lake import Lake


def acceptances(lake: Lake, ds: dt.date) -> pa.Table:
    """Rows of quality_acceptance for a night; none when nothing was accepted."""
    schema = TABLES["quality_acceptance"].arrow_schema()
    return pa.Table.from_pylist(
        [{**r, "ds": ds, "accepted_at": dt.datetime.fromisoformat(r["accepted_at"])} for r in _read(lake, ds)], schema
    )


def accept(lake: Lake, ds: dt.date, table: str, check: str, reason: str, accepted_at: dt.datetime) -> None:
    """Record that a failed check of a table does not keep the night from being published. A second record replaces the first."""
    kept = [r for r in _read(lake, ds) if (r["table_name"], r["check_name"]) != (table, check)]
    kept.append({"table_name": table, "check_name": check, "reason": reason, "accepted_at": accepted_at.isoformat()})
    kept.sort(key=lambda r: (r["table_name"], r["check_name"]))
    lake.write_bytes(_path(ds), canonical_json(kept).encode())


def _path(ds: dt.date) -> str:
    return f"_accepted/ds={ds.isoformat()}.json"


def _read(lake: Lake, ds: dt.date) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = json.loads(lake.read_bytes(_path(ds)))
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise LakeError(f"{lake.path(_path(ds))} is not JSON ({error}): mend it, or remove it and accept again") from error
    return found
