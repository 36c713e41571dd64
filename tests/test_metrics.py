"""Metrics against arithmetic written out, and intervals that cover what they should."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from recsys_core import explain, metrics
from recsys_core.evaluation import baselines
from recsys_core.metrics import (
    bootstrap,
    calibration_kl,
    coverage,
    diversity,
    gini,
    hits,
    interval,
    mean_popularity,
    novelty,
    ranking_metrics,
    resampled,
    serendipity,
)
from recsys_core.ranking import top_n
from recsys_core.recommenders import base


@pytest.mark.parametrize("module", [metrics, top_n, explain, base, baselines])
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
    assert found["map_by_relevant"].tolist() == pytest.approx([(1 / 2 + 2 / 5) / 3, 0, 0.5])  # ten are relevant, five fit
    assert found["f1"].tolist() == pytest.approx([2 * (2 / 5) * (2 / 3) / (2 / 5 + 2 / 3), 0, 2 * 1 * 0.5 / 1.5])
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


def test_ndcg_is_that_of_scikit_learn() -> None:
    """Random lists of 30 of 40 items, of which at most k are relevant: then both divide by the same ideal list."""
    rng = np.random.default_rng(0)
    lists = np.stack([rng.permutation(40)[:30] for _ in range(50)])
    relevant = rng.random((50, 40)) < 0.1
    relevant[:, 0] = True
    row, item = np.nonzero(relevant)
    own = ranking_metrics(hits(lists, row, item), relevant.sum(axis=1), 10)["ndcg"]
    scores = np.zeros((50, 40))
    np.put_along_axis(scores, lists, np.arange(30, 0, -1.0)[None, :].repeat(50, axis=0), axis=1)
    theirs = [ndcg_score(relevant[[u]].astype(float), scores[[u]], k=10) for u in range(50)]
    assert own == pytest.approx(theirs)


def test_diversity_is_that_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(0, 1, (30, 8)) * (np.arange(30) % 5 > 0)[:, None]  # every fifth item has no text
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    lists = np.stack([rng.permutation(30)[:12] for _ in range(600)])
    lists[3, 1:], lists[4] = -1, -1
    found = diversity(lists, vectors.astype(np.float32), 10)
    for user in (0, 3, 4, 599):
        told = [i for i in lists[user, :10] if i >= 0 and i % 5]
        pairs = [1 - vectors[a] @ vectors[b] for n, a in enumerate(told) for b in told[:n]]
        assert found[user] == pytest.approx(np.mean(pairs) if pairs else 0, abs=1e-6)


def test_what_goes_beyond_accuracy() -> None:
    lists, popular = np.array([[0, 1, 2], [3, 4, -1]]), np.array([[2, 9, 0], [0, 1, 2]])
    hit = np.array([[True, False, True], [False, True, False]])
    assert serendipity(hit, lists, popular, 3).tolist() == pytest.approx([0, 1 / 3])
    assert serendipity(hit, lists, popular, 2).tolist() == [0.5, 0.5]  # item 0 is popular's third
    assert calibration_kl(np.array([[2.0, 2.0], [0.0, 0.0], [1.0, 0.0]]), np.array([[1.0, 3.0], [1.0, 1.0], [0.0, 0.0]])).tolist() == [
        pytest.approx(0.5 * math.log(0.5 / (0.99 * 0.25 + 0.005)) + 0.5 * math.log(0.5 / (0.99 * 0.75 + 0.005))),
        0,
        0,
    ]
    assert gini(np.array([], int)) == gini(np.array([0, 0])) == 0
    assert gini(np.array([5, 1, 3])) == pytest.approx(((1 - 2 + 0) * 1 * 2 + 0 * 3 + 2 * 5) / (3 * 9))  # weights −2, 0, 2
    assert mean_popularity(np.array([[0, 1], [-1, -1]]), np.array([0.2, 0.6]), 2).tolist() == [0.4, 0]


def test_groups_share_the_draws() -> None:
    """Means by group; who has no value does not count; of a group that few draws hold, the others are passed over."""
    values = np.array([[1.0, np.nan], [3.0, 2.0], [10.0, 4.0]])
    groups = [np.array([True, True, False]), np.array([False, False, True]), np.ones(3, bool)]
    found = resampled(values, 1, groups)
    assert found.shape == (1000, 3, 2)
    own = found[:, 0, 0][~np.isnan(found[:, 0, 0])]  # 1, 3 and what lies between for up to three draws
    assert set(own.round(9).tolist()) == {1.0, round(5 / 3, 9), 2.0, round(7 / 3, 9), 3.0}
    assert set(found[:, 0, 1][~np.isnan(found[:, 0, 1])].tolist()) == {2.0}
    assert np.isnan(found[:, 1]).any()
    assert interval(found)[:, 1].tolist() == [[10, 4], [10, 4]]
    assert np.array_equal(found[:, 2], resampled(values, 1)[:, 0], equal_nan=True)
    assert np.isnan(interval(np.full((5, 1), np.nan))).all()


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
