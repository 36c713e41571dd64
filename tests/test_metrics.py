"""Metrics against arithmetic written out, and intervals that cover what they should."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest

from recsys_core import explain, metrics, rank
from recsys_core.metrics import bootstrap, coverage, hits, novelty, ranking_metrics
from recsys_core.recommenders import base


@pytest.mark.parametrize("module", [metrics, rank, explain, base])
def test_worked_examples(module: object) -> None:
    found = doctest.testmod(module, extraglobs={"np": np})  # type: ignore[arg-type]
    assert found.attempted > 0
    assert found.failed == 0


def test_ranking_metrics_by_hand() -> None:
    hit = np.array([[False, True, False, False, True], [False] * 5, [True] * 5])
    found = ranking_metrics(hit, np.array([3, 1, 10]), 5)
    assert found["precision"].tolist() == [2 / 5, 0, 1]
    assert found["recall"].tolist() == [2 / 3, 0, 5 / 10]
    assert found["hit_rate"].tolist() == [1, 0, 1]
    assert found["mrr"].tolist() == [1 / 2, 0, 1]
    assert found["map"].tolist() == pytest.approx([(1 / 2 + 2 / 5) / 3, 0, 1])
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert found["ndcg"].tolist() == pytest.approx([(1 / math.log2(3) + 1 / math.log2(6)) / ideal, 0, 1])


def test_short_list_is_padded_with_misses() -> None:
    found = ranking_metrics(np.array([[True]]), np.array([1]), 5)
    assert found["precision"].tolist() == [0.2]
    assert found["ndcg"].tolist() == [1]


def test_hits_are_the_users_own() -> None:
    lists = np.array([[3, 9], [9, 3], [-1, -1]])
    assert hits(lists, np.array([0, 2]), np.array([9, 3])).tolist() == [[False, True], [False, False], [False, False]]


def test_novelty_and_coverage() -> None:
    lists = np.array([[0, 1], [2, -1], [-1, -1]])
    # 3 users: p = (n + 1) / 4
    assert novelty(lists, np.array([3, 1, 0]), 3, 2).tolist() == [0.5, 2, 0]
    assert coverage(lists, np.array([True, True, True, True, False]), 2) == 0.75
    assert coverage(np.array([[4, 0]]), np.array([True, True, True, True, False]), 2) == 0.25  # what is not eligible does not count


def test_bootstrap_is_seeded_and_paired() -> None:
    rng = np.random.default_rng(0)
    base_value = rng.normal(0, 10, 400)
    values = np.column_stack([base_value + 1, base_value, np.ones(400)])
    better, worse, difference = bootstrap(values, seed=3)
    assert [better, worse, difference] == bootstrap(values, seed=3)
    assert bootstrap(values, seed=4)[0] != better
    assert better.low < worse.high  # the two overlap …
    assert difference.low == difference.high == 1  # … and still every single user is better off


def test_bootstrap_interval_covers_the_mean() -> None:
    """The 95 % interval of 200 users holds the true mean in most of 100 repetitions."""
    rng = np.random.default_rng(5)
    values = rng.exponential(2.0, (200, 100))
    covered = sum(e.low <= 2.0 <= e.high for e in bootstrap(values, seed=0))
    assert 85 <= covered <= 100


def test_bootstrap_in_chunks_matches_user_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(12.0)[:, None]
    monkeypatch.setattr(metrics, "_CHUNK", 30)
    (few,) = bootstrap(values, seed=1, resamples=500)
    assert few.low < 5.5 < few.high
    assert few.value == 5.5
