"""Tables that a process keeps: made once, the least recently asked for go first, and several threads may ask; totals of many nights."""

from __future__ import annotations

import doctest
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import pyarrow as pa
import pytest

from recsys_core import kept, totals
from recsys_core.kept import Kept


@pytest.mark.parametrize("module", [kept, totals])
def test_worked_examples(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


def test_made_once_and_dropped_in_the_order_of_their_last_use() -> None:
    made: list[str] = []

    def table(key: str, rows: int = 1) -> pa.Table:
        def make() -> pa.Table:
            made.append(key)
            return pa.table({"x": pa.array([7] * rows, pa.int64())})

        return found.of(key, make)

    found = Kept(24)
    assert [table(k).num_rows for k in "abab"] == [1, 1, 1, 1]
    assert made == ["a", "b"]
    table("c")
    table("a")
    table("d")  # of a, b, c the one that nobody asked for since
    assert found.keys() == ["c", "a", "d"]
    assert table("large", rows=100).num_rows == 100
    assert found.keys() == ["large"]
    table("a")
    assert made == ["a", "b", "c", "d", "large", "a"]


def test_several_threads_at_once() -> None:
    found = Kept(400)

    def ask(n: int) -> int:
        key = n % 30
        return found.of(key, lambda: pa.table({"x": [key] * (1 + key)})).num_rows - key

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(3_000))) == {1}
    assert sum(8 * (1 + key) for key in found.keys()) <= 400  # noqa: SIM118
