"""Rows of facts that interests are made of, in literals."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import pyarrow as pa

from recsys_core.events import type_weights
from recsys_core.tables import TABLES

D = dt.date(2026, 3, 10)
W = type_weights()
SESSION = pa.schema([("ds", pa.date32()), ("user_key", pa.string()), ("n_events", pa.int64())])


def ago(nights: int) -> dt.date:
    return D - dt.timedelta(days=nights)


def day(nights_ago: int, user: str, topic: int, **masses: float) -> dict[str, Any]:
    """A row of user_topic_day; masses by event type, in events. A low rating counts under its own type too, but is one event."""
    total = sum(m for t, m in masses.items() if t != "low_rated")
    row: dict[str, Any] = {n: 0 for n in TABLES["user_topic_day"].names if n.startswith("mass_")}
    row |= {f"mass_{t}_micro": round(m * 1e6) for t, m in masses.items()}
    return row | {
        "ds": ago(nights_ago),
        "model_version": "m",
        "user_key": user,
        "topic_id": topic,
        "mass_micro": round(total * 1e6),
        "n_events": math.ceil(total),
        "n_items": 1,
    }


def item_day(nights_ago: int, user: str, item: str, **counts: int) -> dict[str, Any]:
    """A row of user_item_day; counts by event type."""
    row: dict[str, Any] = {c.name: None if c.nullable else 0 for c in TABLES["user_item_day"].columns}
    row |= {f"n_{t}": n for t, n in counts.items()}
    total = sum(n for t, n in counts.items() if t != "low_rated")
    return row | {
        "ds": ago(nights_ago),
        "user_key": user,
        "item_id": item,
        "n_events": total,
        "last_event_ts": dt.datetime.combine(ago(nights_ago), dt.time(12), dt.UTC),
    }


def topic_of(nights_ago: int, item: str, topic: int, p: float) -> dict[str, Any]:
    return {"ds": ago(nights_ago), "item_id": item, "topic_id": topic, "weight": p, "rank": 1, "model_version": "m"}


def visits(rows: list[dict[str, Any]], n_events: int = 0) -> list[dict[str, Any]]:
    """Rows of session, one for each user and night of `rows`, of so many events: with 0 of them only days let anything fade."""
    nights = sorted({(r["user_key"], r["ds"]) for r in rows})
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    return [
        {"ds": ds, "session_id": f"{user}{ds}", "user_key": user, "carry_id": "", "start_ts": start, "end_ts": start}
        | {"n_events": n_events, "n_items": 0}
        for user, ds in nights
    ]


def table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=TABLES[name].arrow_schema())


def met(items: list[dict[str, Any]], topics: list[dict[str, Any]]) -> pa.Table:
    """Rows of user_item_day joined with item_topic."""
    told = table("item_topic", topics).select(["ds", "item_id", "topic_id", "weight"])
    return table("user_item_day", items).join(told, ["ds", "item_id"], join_type="inner")
