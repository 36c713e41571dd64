"""The compiled loops behind lists against the same rules written out in numpy."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import sparse

from recsys_core.lists import _contributions
from recsys_core.ranking.candidates import among
from recsys_core.ranking.rerank import SMOOTHING, rerank
from recsys_core.ranking.top_n import BLOCK, Slots, in_blocks, normalise, top_n
from recsys_core.recommenders import Interactions
from recsys_core.recommenders.base import Floats, Ints, places_from_end
from recsys_core.recommenders.by_factors import top_n_by_factors
from recsys_core.recommenders.item_item import neighbourhood
from recsys_core.recommenders.transitions import Transitions

M, ITEMS = 30, 70


def in_order(scores: Floats, allowed: np.ndarray, n: int) -> list[list[int]]:
    """Allowed columns by score of 6 decimals, ties to the lower column."""
    return [
        sorted(np.flatnonzero(may).tolist(), key=lambda c: (-round(float(row[c]), 6), c))[:n]
        for row, may in zip(scores, allowed, strict=True)
    ]


def drawn(seed: int, share: float = 0.7) -> tuple[Floats, Floats, Floats, np.ndarray]:
    """Scores of a source that knows little, of one full of ties, and of one that knows all, and what is allowed."""
    rng = np.random.default_rng(seed)
    few = np.where(rng.random((M, ITEMS)) < 0.1, rng.random((M, ITEMS)), 0.0)
    tied, full = rng.integers(0, 4, (M, ITEMS)).astype(float), rng.random((M, ITEMS)) * 1e-7 + 5.0
    allowed = rng.random((M, ITEMS)) < share
    allowed[3] = False
    return few, tied, full, allowed


@pytest.mark.parametrize("columns", [ITEMS, 20])
def test_candidates_are_those_of_sorting(columns: int) -> None:
    few, tied, full, allowed = drawn(1)
    allowed[:, columns:] = False  # few columns are looked at alone
    sources = {"few": few, "popularity": tied, "full": full}
    found = among(sources, allowed, 6)
    for row in range(M):
        shares = {name: np.round(normalise(s[row : row + 1], allowed[row : row + 1]), 6)[0] for name, s in sources.items()}
        best: set[int] = set()
        for name, share in shares.items():
            may = allowed[row] & ((share > 0) | (name == "popularity"))
            best |= set(in_order(share[None], may[None], 6)[0])
        item = found.item[row][found.item[row] >= 0]
        assert item.tolist() == sorted(best)
        assert found.features[row, : len(item)].tolist() == np.column_stack([s[item] for s in shares.values()]).tolist()
    assert (found.item[3] == -1).all()
    assert not found.features[found.item < 0].any()


@pytest.mark.parametrize("n", [1, 5, ITEMS, ITEMS + 3])
def test_the_best_are_those_of_sorting(n: int) -> None:
    few, tied, full, allowed = drawn(2)
    for scores in (few, tied, full, -tied):
        assert [[c for c in row if c >= 0] for row in top_n(scores, allowed, n).tolist()] == in_order(scores, allowed, n)


def test_blocks_come_in_order_however_many_threads() -> None:
    users = np.arange(5 * BLOCK + 7)
    found = in_blocks(lambda block: (len(block), int(block[0])), users, 10)
    assert found == [(BLOCK, at * BLOCK) for at in range(5)] + [(7, 5 * BLOCK)]
    assert found == in_blocks(lambda block: (len(block), int(block[0])), users, 2**40), "so many items that one block fills memory"
    assert in_blocks(len, users[:0], 10) == []


def slowly(
    item: Ints, score: Floats, vectors: np.ndarray, topics: Floats, target: Floats, n: int, diversity: float, calibration: float
) -> list[int]:
    """The list of one user by the formula of `rerank`, every candidate looked at in every step."""
    by_score = sorted((p for p in range(len(item)) if item[p] >= 0), key=lambda p: (-score[p], p))[: 5 * n]
    wanted = target.sum() > 0
    p = target / target.sum() if wanted else target
    taken: list[int] = []
    for _ in range(min(n, len(by_score))):
        values = {}
        for rank, place in enumerate(by_score):
            if place in taken:
                continue
            value = (1 - diversity - calibration * wanted) / np.log2(2 + rank)
            value -= diversity * max([0.0, *(float(vectors[item[place]] @ vectors[item[t]]) for t in taken)])
            held = topics[item[[*taken, place]]].sum(axis=0) / (len(taken) + 1)
            smooth = (1 - SMOOTHING) * held + SMOOTHING * p
            divergence = sum(a * np.log(a / b) for a, b in zip(p, smooth, strict=True) if a > 0)
            value -= calibration * (len(taken) + 1) * divergence / np.log(1 / SMOOTHING)
            values[place] = round(value, 6)
        taken.append(max(values, key=lambda place: values[place]))
    return taken


@pytest.mark.parametrize(("diversity", "calibration"), [(0.05, 0.05), (0.6, 0.0), (0.0, 0.5), (0.4, 0.6)])
def test_a_list_grows_by_the_best_of_all_candidates(diversity: float, calibration: float) -> None:
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(ITEMS, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    topics = rng.random((ITEMS, 4)) * (rng.random((ITEMS, 4)) < 0.5)
    topics /= np.maximum(topics.sum(axis=1, keepdims=True), 1e-12)
    item = np.stack([rng.permutation(ITEMS) for _ in range(M)])
    item[5, 3:] = -1
    score, target = np.round(rng.random((M, ITEMS)), 2), rng.random((M, 4)) * 7
    target[2] = 0
    places = rerank(item, score, vectors, sparse.csr_matrix(topics), target, 8, diversity, calibration)
    for user in range(M):
        own = slowly(item[user], score[user], vectors, topics, target[user], 8, diversity, calibration)
        assert places[user].tolist() == own + [-1] * (8 - len(own))


@pytest.mark.parametrize("native", [True, False])
def test_lists_from_factors_are_exact_below_zero_too(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    rng = np.random.default_rng(6)
    users, items = np.abs(rng.normal(size=(20, 8))), -np.abs(rng.normal(size=(400, 8))) * rng.choice([0.01, 1, 9], (400, 1))
    for few in (items, items[:7], np.round(items, 1)):
        expected = in_order((users @ few.T).round(9), np.ones((20, len(few)), bool), 12)
        assert [[c for c in row if c >= 0] for row in top_n_by_factors(users, few, 12)[0].tolist()] == expected


@pytest.mark.parametrize("items", [9, 400])
def test_transitions_are_counted_pair_by_pair(items: int) -> None:
    rng = np.random.default_rng(7)
    user, item, weight = rng.integers(0, 12, 300), rng.integers(0, items, 300), rng.choice([1.0, -1.0], 300, p=[0.8, 0.2])
    history = Interactions.of(user, item, weight, np.zeros(300, np.int64), np.arange(300), 13, items)
    expected, liked = np.zeros((items, items)), history.positive()
    for row, left in enumerate(places_from_end(liked.user)):
        for step in range(1, min(4, left) + 1):
            if liked.item[row] != liked.item[row + step]:
                expected[liked.item[row], liked.item[row + step]] += 0.5 ** (step - 1)
    counts = Transitions(window=4, decay=0.5).counts(history)
    assert counts.toarray().tolist() == expected.tolist(), "halves are added exactly"
    assert counts.has_sorted_indices


def test_neighbours_are_the_largest_with_ties_to_the_lower_row() -> None:
    rng = np.random.default_rng(8)
    left = sparse.csr_matrix(rng.integers(0, 3, (40, 6)) * (rng.random((40, 6)) < 0.6)).astype(np.float64)
    product = (left @ left.T).toarray()
    np.fill_diagonal(product, 0)
    found = neighbourhood(left, left.T.tocsc(), 5, lambda i, j, value: value * 2).toarray()
    for j in range(40):
        best = sorted(np.flatnonzero(product[:, j]).tolist(), key=lambda i: (-product[i, j], i))[:5]
        assert {i: found[i, j] for i in np.flatnonzero(found[:, j])} == {i: 2 * product[i, j] for i in best}


def test_contributions_are_canonical_json() -> None:
    parts = np.array([[0.25, 0.0, 1.0], [0.0, 0.0, 0.0], [0.1, 1e-06, 4.112345]])
    none = np.zeros(3, np.int64)
    names = ["transitions", 'a "b" é', "content", "expansion"]
    told = _contributions(Slots(none, none, none, np.zeros(3), none, none, parts), names).to_pylist()
    rows = [{name: v for name, v in zip(names, row, strict=False) if v} for row in parts.tolist()]
    assert told == [json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False) for row in rows]
    assert _contributions(Slots(none, none, none, np.zeros(3), none, none, np.zeros((3, 0))), []).to_pylist() == ["{}"] * 3
