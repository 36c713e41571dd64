"""What a cluster counts and factorises is what one machine does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from test_recommenders import USERS, checkerboard

from recsys_core.ranking.training import Sources
from recsys_core.recommenders import Interactions
from recsys_core.recommenders.spark import item_factors, transition_counts
from recsys_core.recommenders.transitions import Transitions

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def test_transitions_are_counted_alike(spark: SparkSession) -> None:
    rng = np.random.default_rng(4)
    user, item, time = rng.integers(0, 12, 150), rng.integers(0, 9, 150), rng.integers(0, 25, 150)
    weight = np.where(rng.random(150) < 0.2, -1.0, 2.0)
    history = Interactions.of(user, item, weight, np.zeros(150, np.int64), time, 12, 9)
    rows = pd.DataFrame({"user": user, "item": item, "time": time})[weight > 0].sample(frac=1, random_state=1)
    model = Transitions(window=5, decay=0.7)
    found = transition_counts(spark.createDataFrame(rows), 9, 5, 0.7)
    expected = model.counts(history)
    assert expected.nnz > 50
    assert abs(found - expected).max() < 1e-9
    assert abs(found - transition_counts(spark.createDataFrame(rows).repartition(3, "item"), 9, 5, 0.7)).nnz == 0
    fitted = model.fit(history).scores(np.arange(12))
    model.take(found)
    model.meet(history)
    assert model.scores(np.arange(12)) == pytest.approx(fitted, abs=1e-9)


def test_sources_learn_on_the_cluster_where_they_can(spark: SparkSession) -> None:
    history = checkerboard()
    options = {"als": {"factors": 8, "iterations": 3}}
    here, there = (Sources(("transitions", "als", "popularity"), options, 0, on).fitted(history, {}) for on in (None, spark))
    users = np.arange(USERS)
    assert there["transitions"].scores(users) == pytest.approx(here["transitions"].scores(users), abs=1e-9)
    assert np.array_equal(there["popularity"].scores(users), here["popularity"].scores(users))
    scores = there["als"].scores(users)  # other factors than here, as good ones
    scores[history.seen().toarray() > 0] = -1
    best = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    assert (best % 2 == users[:, None] % 2).mean() > 0.98
    rows = pd.DataFrame({"user": history.user, "item": history.item, "strength": 1.0})
    nothing, penalty = item_factors(spark.createDataFrame(rows).where("false"), 3, 1.0, 8, 0.5, 5, 0)
    assert penalty > 0
    assert not nothing.any()
