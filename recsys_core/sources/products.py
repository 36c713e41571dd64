"""A catalogue with history, made of what the events themselves say of their products."""

from __future__ import annotations

from array import array
from bisect import insort
from collections.abc import Iterator
from datetime import date
from itertools import groupby
from typing import Any

from recsys_core.sources.base import Item

FIELDS = ("title", "description", "tags", "category", "brand", "price", "lang")

# A field's values in the order of the days (ordinals, sorted) on which each was seen without another in between.
_Stretches = list[tuple[Any, "array[int]"]]


class ProductHistory:
    """What was seen of each product, by field and day; on one day what is noted last counts, and days may come in any order.

    Memory grows with products and the days on which they are seen (some bytes each), not with events.
    """

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, _Stretches]] = {}

    def note(self, ds: date, item_id: str, fields: dict[str, Any]) -> None:
        """Take down what a day says of a product: those of FIELDS that have a value."""
        known = self._seen.setdefault(item_id, {})
        day = ds.toordinal()
        for name, value in fields.items():
            stretches = known.setdefault(name, [])
            if not (stretches and stretches[-1][0] == value and stretches[-1][1][-1] == day):
                known[name] = _noted(stretches, day, value)

    def items(self) -> Iterator[Item]:
        """Rows by date, then id: a product from the first day on which its title is known, and again on each day that changes a field."""
        rows = ((day, item_id, row) for item_id, known in self._seen.items() for day, row in _versions(known))
        for day, item_id, row in sorted(rows, key=lambda entry: entry[:2]):
            yield Item(date.fromordinal(day), {"item_id": item_id, **row})


def _noted(stretches: _Stretches, day: int, value: Any) -> _Stretches:
    """The stretches after a value was seen on a day."""
    if stretches and day > stretches[-1][1][-1]:  # as a rule
        if stretches[-1][0] == value:
            stretches[-1][1].append(day)
        else:
            stretches.append((value, array("I", [day])))
        return stretches
    parts: _Stretches = []
    for old, days in stretches:
        parts += [(old, array("I", [d for d in days if d < day])), (old, array("I", [d for d in days if d > day]))]
    parts = [part for part in parts if part[1]]
    insort(parts, (value, array("I", [day])), key=lambda part: part[1][0])
    merged = ((old, [d for _, days in group for d in days]) for old, group in groupby(parts, key=lambda part: part[0]))
    return [(old, array("I", days)) for old, days in merged]


def _versions(known: dict[str, _Stretches]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(day, row) for each day that changed something, once there is a title."""
    changes: dict[int, dict[str, Any]] = {}
    for name, stretches in known.items():
        for value, days in stretches:
            changes.setdefault(days[0], {})[name] = value
    state: dict[str, Any] = {}
    for day in sorted(changes):
        state |= changes[day]
        if "title" in state:
            yield day, {name: state[name] for name in FIELDS if name in state}
