"""Rows that are kept from night to night, with each text once, tell the same as rows out of the lake."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from recsys_core.evaluation.rows import grouped
from recsys_core.kept import decoded, encoded
from recsys_core.recommenders import kernels
from recsys_core.recommenders.history import build, coded, codes, in_order, pairs, usual

ROWS = pa.table({"user_key": ["b", "a", None, "b", "c"], "lang": ["zh", "en", "zh", "en", None], "n": [1, 2, 3, 4, 5]})


def test_texts_are_held_once_and_written_out_again() -> None:
    short = encoded(ROWS)
    assert pa.types.is_dictionary(short["user_key"].type)
    assert short["n"].equals(ROWS["n"])
    assert decoded(short).equals(ROWS)


@pytest.mark.parametrize("rows", [ROWS, encoded(ROWS), pa.concat_tables([encoded(ROWS.slice(0, 2)), encoded(ROWS.slice(2))])])
def test_both_kinds_of_rows_have_the_same_codes(rows: pa.Table) -> None:
    users = pa.array(["a", "b"])
    assert codes(rows["user_key"], users).tolist() == [1, 0, -1, 1, -1]
    known, place = coded(rows["user_key"])
    assert (known.to_pylist(), place.tolist()) == (["a", "b", "c"], [1, 0, -1, 1, 2])
    assert pairs(rows["user_key"], rows["lang"], users, pa.array(["en", "zh"])).tolist() == [3, 0, -1, 2, -1]
    values, own = usual(rows, "lang", users)
    assert (values, own.tolist()) == (["en", "zh"], [0, 0]), "b speaks both once: the first by name"
    found = [(key["lang"], places.tolist()) for key, places in grouped(rows.slice(0, 4), ["lang"])]
    assert found == [("en", [1, 3]), ("zh", [0, 2])]


def _night(ds: dt.date, users: list[str], items: list[str], times: list[int]) -> pa.Table:
    n = len(users)
    columns = {"user_key": pa.array(users).dictionary_encode(), "item_id": pa.array(items).dictionary_encode()}
    return pa.table(
        {
            "ds": [ds] * n,
            **columns,
            "weight": np.arange(n) + 1.0,
            "liked": [False] * n,
            "n_events": [1] * n,
            "time": pa.array(times, pa.int64()),
        }
    )


def test_nights_that_are_in_order_make_the_same_history() -> None:
    days = [dt.date(2026, 3, 1), dt.date(2026, 3, 2)]
    nights = [
        _night(days[0], ["b", "a", "b", "a"], ["y", "y", "x", "x"], [5, 9, 5, 9]),
        _night(days[1], ["c", "a", "b"], ["x", "y", "z"], [12, 11, 10]),
    ]
    as_they_lie, in_turn = (build(pa.concat_tables(rows), ["w"], days[1]) for rows in (nights[::-1], map(in_order, nights)))
    assert in_turn.interactions.user.tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert [in_turn.items[i].as_py() for i in in_turn.interactions.item] == ["x", "y", "y", "x", "y", "z", "x"]
    for name in ("user", "item", "weight", "age"):
        assert getattr(in_turn.interactions, name).tolist() == getattr(as_they_lie.interactions, name).tolist()


def test_evidence_is_the_entry_that_adds_most_and_the_first_of_equals() -> None:
    # One user with items 0, 1 and 2 of weights 1, 2 and 1; strengths towards 3: 4, 2 and 1, towards 0: nothing.
    left = np.array([0, 3]), np.array([0, 1, 2]), np.array([1.0, 2.0, 1.0])
    right = np.array([0, 1, 2, 3, 3]), np.array([3, 3, 3]), np.array([4.0, 2.0, 1.0])
    assert kernels.strongest(np.zeros(2, np.int64), np.array([3, 0]), *left, *right).tolist() == [0, -1]
    weaker = right[0], right[1], np.array([1.0, 2.0, 1.0])
    assert kernels.strongest(np.zeros(1, np.int64), np.array([3]), *left, *weaker).tolist() == [1]
