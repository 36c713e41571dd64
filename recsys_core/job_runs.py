"""What runs of jobs cost, from the job that notes it to the publication that takes it into the ledger `job_run`.

A note lies in the lake until it is published: jobs end in processes of their own, and a DuckDB file is replaced for a night, not for a row.
So the figures of a publication itself, and of what runs after it, are in the ledger from the next publication on.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from recsys_core.tables import TABLES

if TYPE_CHECKING:
    import pyarrow as pa

    from recsys_core.lake import Lake

FOLDER = "_job_run"


def note(lake: Lake, row: Mapping[str, Any]) -> None:
    """Lay a row of job_run into the lake."""
    plain = {name: value.isoformat() if isinstance(value, dt.date) else value for name, value in row.items()}
    lake.write_bytes(f"{FOLDER}/{row['run_id']}-a{row['attempt']}.json", json.dumps(plain, sort_keys=True).encode())


def noted(lake: Lake) -> tuple[pa.Table, list[str]]:
    """(rows of job_run that lie in the lake, names of their notes). A note of other code that lacks a column is named and left out."""
    import pyarrow as pa

    table, rows, names = TABLES["job_run"], [], []
    for name in lake.names(FOLDER):
        if not name.endswith(".json"):
            continue
        try:
            plain = json.loads(lake.read_bytes(f"{FOLDER}/{name}"))
        except FileNotFoundError:  # another publication took it
            continue
        names.append(name)
        if all(c.nullable or plain.get(c.name) is not None for c in table.columns):
            rows.append({c.name: _typed(c.type, plain.get(c.name)) for c in table.columns})
    return pa.Table.from_pylist(rows, schema=table.arrow_schema()), names


def taken(lake: Lake, names: Iterable[str]) -> None:
    """Remove notes that were published."""
    for name in names:
        lake.remove(f"{FOLDER}/{name}")


def _typed(kind: str, value: Any) -> Any:
    if value is None:
        return None
    return {"date": dt.date, "timestamp": dt.datetime}[kind].fromisoformat(value) if kind in ("date", "timestamp") else value
