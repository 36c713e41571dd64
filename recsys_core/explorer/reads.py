"""What all pages read: stored queries, published nights, and the texts that may be shown."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import pyarrow as pa

from recsys_core.texts import folded, term_pattern
from recsys_core.warehouse import SQL, connect

Query = Callable[[str, dict[str, Any]], pa.Table]
Titles = Callable[[dt.date, Collection[str]], Mapping[str, str]]
HORIZONS = ("90d", "7d", "1d")
# Nights that can be looked at.
MOST_NIGHTS = 400
# After so long a page says that the server does not answer: a thread that waits serves nobody.
CONNECT_S, ANSWER_S = 5, 20


@contextmanager
def opened(url: str) -> Iterator[Query]:
    """The warehouse at a URL for one request; a server that is not reached, or does not answer, in time is a WarehouseError."""
    server = url.startswith("postgres")
    if server and "connect_timeout=" not in url:
        url += f"{'&' if '?' in url else '?'}connect_timeout={CONNECT_S}"
    with connect(url) as warehouse:
        if server:
            warehouse.query(f"SELECT set_config('statement_timeout', '{ANSWER_S}s', false) AS told")
        yield warehouse.query


@dataclass(frozen=True)
class Night:
    """A published night: how much it holds, the model versions by kind, and when it was published for the `generation`th time."""

    ds: dt.date
    n_users: int
    n_interests: int
    n_slots: int
    models: Mapping[str, str]
    generation: int
    published_at: dt.datetime | None

    @property
    def topics(self) -> str:
        """The version of its topics; '' when none was valid."""
        return self.models.get("topics", "")


@dataclass(frozen=True)
class Reads:
    """The warehouse as one request sees it; `query(sql, params)` gives Arrow rows, `titles(ds, item_ids)` what items are called."""

    query: Query
    titles: Titles

    def rows(self, name: str, **params: Any) -> list[dict[str, Any]]:
        """Rows of a query of `sql/explorer`."""
        found: list[dict[str, Any]] = self.query(_sql(name), params).to_pylist()
        return found

    @cached_property
    def nights(self) -> list[Night]:
        """Published nights, the newest first."""
        found = []
        for row in self.rows("nights", most=MOST_NIGHTS):
            counts = (row["n_users"] or 0, row["n_interests"] or 0, row["n_slots"] or 0)
            found.append(Night(row["ds"], *counts, json.loads(row["models"] or "{}"), row["generation"] or 0, row["published_at"]))
        return found

    def night(self, ds: dt.date | None) -> Night | None:
        """The published night of a date, the newest without one; None when there is none."""
        return next((night for night in self.nights if ds in (None, night.ds)), None)

    def until(self, ds: dt.date, most: int) -> list[dt.date]:
        """The nights of a chart that ends at ds, at most so many, the first one first; ds alone before the first topic model."""
        return [night.ds for night in self.nights if night.ds <= ds and night.n_interests][:most][::-1] or [ds]

    def shown(self, text: str | None) -> str | None:
        """The text, or None where it names a sensitive topic: what was written before a topic became one still may."""
        return None if not text or (self._unsaid and self._unsaid.search(folded(text))) else text

    def shown_in(self, row: dict[str, Any], *names: str) -> dict[str, Any]:
        """The row with those of its texts that may be shown."""
        return row | {name: self.shown(row[name]) for name in names}

    @cached_property
    def _unsaid(self) -> re.Pattern[str] | None:
        labels = sorted({label for row in self.rows("sensitive") for label in row.values() if label})
        return term_pattern(labels) if labels else None


@cache
def _sql(name: str) -> str:
    return (SQL / "explorer" / f"{name}.sql").read_text(encoding="utf-8")
