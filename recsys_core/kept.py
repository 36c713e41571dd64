"""Tables that a process makes once, as long as there is room for them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any

import pyarrow as pa


def encoded(rows: pa.Table) -> pa.Table:
    """The rows with each different text held once."""
    return _each(rows, pa.types.is_string, lambda column: column.dictionary_encode())


def decoded(rows: pa.Table) -> pa.Table:
    """The same rows with their texts written out."""
    return _each(rows, pa.types.is_dictionary, lambda column: column.cast(column.type.value_type))


def _each(rows: pa.Table, of_kind: Callable[[pa.DataType], bool], change: Callable[[pa.ChunkedArray], pa.ChunkedArray]) -> pa.Table:
    return pa.table({name: change(rows[name]) if of_kind(rows[name].type) else rows[name] for name in rows.column_names})


class Kept:
    """Up to so many bytes of tables by key, the least recently asked for going first; for several threads.

    >>> kept = Kept(20)
    >>> [kept.of(key, lambda: pa.table({"x": [0, 1]})).num_rows for key in ("a", "b", "a")]
    [2, 2, 2]
    >>> kept.keys()
    ['a']
    """

    def __init__(self, most: int) -> None:
        self.most, self._bytes, self._lock = most, 0, Lock()
        self._tables: OrderedDict[Any, pa.Table] = OrderedDict()

    def keys(self) -> list[Any]:
        """Keys of what is there, the one that goes first at the front."""
        return list(self._tables)

    def of(self, key: Any, make: Callable[[], pa.Table]) -> pa.Table:
        """The table of a key, made now if it is not there; a single table may be larger than all that is kept otherwise."""
        with self._lock:
            if key in self._tables:
                self._tables.move_to_end(key)
                return self._tables[key]
        rows = make()
        with self._lock:
            before = self._tables.pop(key, None)
            self._bytes += rows.nbytes - (0 if before is None else before.nbytes)
            self._tables[key] = rows
            while self._bytes > self.most and len(self._tables) > 1:
                self._bytes -= self._tables.popitem(last=False)[1].nbytes
        return rows
