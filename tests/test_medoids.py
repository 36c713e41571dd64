"""Several vectors of a user against clusters that can be seen: two subjects make two medoids, and weight decides their order."""

from __future__ import annotations

import datetime as dt
import itertools

import numpy as np
import pyarrow as pa
import pytest

from recsys_core.lake import checksum
from recsys_core.medoids import CUT, MAX_ITEMS, MAX_VECTORS, clusters, interest_vectors

D = dt.date(2026, 3, 10)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def subjects() -> np.ndarray:
    """Six directions, eight items about each: items 0–7 about the first, and so on."""
    rng = np.random.default_rng(0)
    return unit(np.repeat(np.eye(6, 32), 8, axis=0) + 0.08 * rng.normal(size=(48, 32)))


IDS = [f"i{n:02}" for n in range(48)]


def made(held: dict[str, dict[int, float]], vectors: np.ndarray) -> pa.Table:
    rows = [(user, IDS[n], w) for user, items in held.items() for n, w in items.items()]
    weights = pa.table(dict(zip(("user_key", "item_id", "weight"), zip(*rows, strict=True), strict=True)))
    return interest_vectors(weights, IDS, vectors, D, "s")


def test_a_subject_a_vector_by_weight(subjects: np.ndarray) -> None:
    held = {
        "both": {0: 1.0, 1: 1.0, 2: 1.0, 8: 2.0, 9: 2.0},
        "one": {16: 1.0, 17: 1.0, 18: 1.0, 19: 1.0},
        "single": {5: 0.5},
        "all": {n: 1.0 + (n == 40) for n in range(48)},
    }
    found = made(held, subjects)
    rows = {(r["user_key"], r["rank"]): r for r in found.to_pylist()}
    assert [r["share"] for (u, _), r in rows.items() if u == "both"] == [0.571429, 0.428571]
    assert rows["both", 1]["item_id"] in ("i08", "i09")
    assert rows["both", 2]["item_id"] in ("i00", "i01", "i02")
    assert [(r["item_id"] in IDS[16:20], r["n_items"], r["share"]) for (u, _), r in rows.items() if u == "one"] == [(True, 4, 1.0)]
    assert (rows["single", 1]["item_id"], rows["single", 1]["share"]) == ("i05", 1.0)
    assert sum(u == "all" for u, _ in rows) == MAX_VECTORS < 6
    assert rows["all", 1]["item_id"] in IDS[40:]
    for r in rows.values():
        np.testing.assert_array_equal(np.array(r["vector"], np.float32), subjects[IDS.index(r["item_id"])])
        assert (r["ds"], r["embedding_space"]) == (D, "s")


def test_the_order_of_rows_and_of_items_does_not_matter_but_who_holds_what_does(subjects: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    held = {f"u{n}": {int(i): float(w) for i, w in zip(rng.permutation(48)[:12], rng.integers(1, 4, 12), strict=True)} for n in range(6)}
    want = checksum(made(held, subjects))
    turned = {u: dict(reversed(items.items())) for u, items in reversed(held.items())}
    assert checksum(made(turned, subjects)) == want
    swapped = dict(zip(held, [*list(held.values())[1:], held["u0"]], strict=True))
    assert checksum(made(swapped, subjects)) != want
    assert checksum(made(held, subjects[::-1].copy())) != want


def test_items_without_a_vector_and_beyond_the_heaviest_count_for_nothing_but_the_whole(subjects: np.ndarray) -> None:
    gone = subjects.copy()
    gone[0] = 0
    assert made({"u": {0: 9.0}}, gone).num_rows == 0
    assert made({"u": {0: 9.0, 1: 1.0}}, gone).to_pylist()[0]["share"] == 1.0
    many = np.tile(subjects, (2, 1))
    ids = [f"{n:02}" for n in range(96)]
    weights = pa.table({"user_key": ["u"] * 96, "item_id": ids, "weight": [2.0] * MAX_ITEMS + [1.0] * (96 - MAX_ITEMS)})
    assert sum(interest_vectors(weights, ids, many, D, "s")["n_items"].to_pylist()) <= MAX_ITEMS
    assert interest_vectors(weights.slice(0, 0), [], np.zeros((0, 1), np.float32), D, None).num_rows == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_medoid_is_least_far_from_its_cluster(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = unit(rng.normal(size=(20, 4))).astype(np.float64)
    found = clusters(points, np.ones(20), CUT)
    assert sum(n for _, n, _ in found) == 20
    assert [w for *_, w in found] == sorted((w for *_, w in found), reverse=True)
    # Cut above everything: one cluster, whose medoid can be counted out.
    far = [sum(((points[a] - points[b]) ** 2).sum() for b in range(20)) for a in range(20)]
    assert clusters(points, np.ones(20), 1e9) == [(int(np.argmin(far)), 20, 20.0)]
    assert len(clusters(points, np.ones(20), 0.0)) == 20
    assert all(a[2] >= b[2] for a, b in itertools.pairwise(found))
