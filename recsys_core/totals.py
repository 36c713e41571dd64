"""Totals by key of many nights' rows, of which a night and the totals alone are in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

# So many rows wait at least before they are added up.
_LEAST = 1 << 20


def totals(nights: Iterable[pa.Table], keys: Sequence[str], how: Mapping[str, str]) -> pa.Table:
    """One row for each tuple of `keys`, in no order: `keys`, and each column of `how` added up as it says ("sum", "min" or "max").

    `nights` are tables, one at least, that hold these columns in one type each. What waits is added up once it is twice as much as the
    totals, so that memory is thrice theirs, and each row is added up a few times however many nights there are.

    >>> nights = [pa.table({"k": ["a", "b"], "n": [1, 2]}), pa.table({"k": ["b"], "n": [5]})]
    >>> totals(nights, ["k"], {"n": "sum"}).sort_by("k").to_pydict()
    {'k': ['a', 'b'], 'n': [1, 7]}
    """

    def added(waiting: Sequence[pa.Table]) -> pa.Table:
        found = pa.concat_tables(waiting).group_by(list(keys)).aggregate(list(how.items()))
        return found.select([*keys, *(f"{name}_{function}" for name, function in how.items())]).rename_columns([*keys, *how])

    waiting: list[pa.Table] = []
    settled = rows = 0
    for night in nights:
        waiting.append(night.select([*keys, *how]))
        rows += night.num_rows
        if rows > 2 * settled + _LEAST:
            waiting = [added(waiting)]
            settled = rows = waiting[0].num_rows
    return added(waiting)
