"""Matrix factorisation: implicit ALS and its exact explanations, biased ratings, and the least squares under both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from test_recommenders import USERS, checkerboard, sequence

from recsys_core.ranking.top_n import top_n
from recsys_core.recommenders import Interactions, holdout
from recsys_core.recommenders.als import ALS, item_factors
from recsys_core.recommenders.biased_mf import RATING_MODELS, BiasedMF
from recsys_core.recommenders.by_factors import top_n_by_factors
from recsys_core.recommenders.ridge import ridge


# -- least squares -----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("common", [np.diag([1.0, 2, 3, 4]), np.zeros((4, 4))], ids=["common", "short rows by their entries"])
def test_ridge_is_the_textbook_solution_for_rows_of_any_length(monkeypatch: pytest.MonkeyPatch, common: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    weights = sparse.csr_matrix(rng.random((30, 12)) * (rng.random((30, 12)) < 0.3) * (np.arange(30) != 3)[:, None])
    targets, factors = weights.copy(), rng.normal(size=(12, 4))
    targets.data = rng.normal(size=weights.nnz)
    penalty = rng.random((30, 4)) + 0.1
    found = ridge(weights, targets, factors, common, penalty)
    for row in range(30):
        matrix = common + np.diag(penalty[row]) + factors.T @ np.diag(weights[[row]].toarray()[0]) @ factors
        assert found[row] == pytest.approx(np.linalg.solve(matrix, factors.T @ targets[[row]].toarray()[0]))
    assert not found[3].any()
    monkeypatch.setattr("recsys_core.recommenders.ridge._CELLS", 20)
    assert ridge(weights, targets, factors, common, penalty) == pytest.approx(found, abs=1e-12)


# -- implicit ALS ------------------------------------------------------------------------------------------------------------------
def test_users_are_folded_in_as_training_left_them() -> None:
    """The package's own user factors, solved anew against the final item factors, are what `meet` finds."""
    history = checkerboard()
    model = ALS(factors=8, weight_power=1.0, profile_decay=1.0).fit(history)
    confidence = 1 + model.alpha * history.seen().toarray()
    matrix = model.item_factors.T @ (confidence[5][:, None] * model.item_factors)
    penalty = (model.gram - model.item_factors.T @ model.item_factors)[0, 0]
    assert penalty == pytest.approx(model.reg * 480 / (USERS * 40) ** 0.5)  # 8 items a user, 12 users an item
    met = history.seen().toarray()[5] > 0
    expected = np.linalg.solve(matrix + penalty * np.eye(8), model.item_factors.T @ (confidence[5] * met))
    assert model.user_factors[5] == pytest.approx(expected, abs=1e-9)
    assert model.scores(np.array([5]))[0, met].min() > 0.3


def test_contributions_add_up_to_the_score_and_the_largest_is_the_evidence() -> None:
    history = checkerboard()
    history = replace(history, weight=1.0 + np.arange(len(history.user)) % 3)
    model = ALS(factors=8, profile_decay=0.9).fit(history)
    users, items = np.array([3, 3, 8, 21]), np.array([17, 5, 22, 9])
    for user, item, said in zip(users, items, model.evidence(users, items), strict=True):
        met, added = model.contributions(int(user), np.array([item]))
        assert set(met) == set(history.item[history.user == user])
        assert max(added.sum(), 0) == pytest.approx(model.scores(np.array([user]))[0, item], abs=1e-9)
        assert said == met[added[:, 0].argmax()]


def test_what_is_long_ago_or_weak_pulls_less() -> None:
    history = checkerboard()
    model = ALS(factors=8, weight_power=1.0).fit(history)
    both = sequence(0, 1, n_items=40)  # one of each colour, the odd one last

    def odd(histories: Interactions, **parameters: float) -> float:
        other = ALS(**{**model.parameters, **parameters})
        other.item_factors, other.gram = model.item_factors, model.gram
        other.meet(histories)
        scores = other.scores(np.array([0]))[0]
        return float(scores[3::2].mean() - scores[2::2].mean())

    assert odd(both, profile_decay=1.0) == pytest.approx(0, abs=0.05)
    assert odd(both, profile_decay=0.5) > odd(both, profile_decay=0.9) > odd(both, profile_decay=1.0)
    assert odd(replace(both, weight=np.array([1.0, 9.0])), profile_decay=1.0) > 0.05 + odd(both, profile_decay=1.0)
    assert odd(both, profile_decay=1.0, last=1) > odd(both, profile_decay=0.5)


def test_factors_do_not_depend_on_threads_but_on_seed_and_strength() -> None:
    strength = sparse.csr_matrix(sparse.random_array((300, 90), density=0.1, rng=np.random.default_rng(1)))
    first, penalty = item_factors(strength, 3.0, 16, 0.3, 5, seed=0)
    again, same = item_factors(strength, 3.0, 16, 0.3, 5, seed=0, threads=2)
    assert np.array_equal(first, again)
    assert penalty == same
    assert not np.array_equal(first, item_factors(strength, 3.0, 16, 0.3, 5, seed=1)[0])
    assert not np.array_equal(first, item_factors(strength * 2, 3.0, 16, 0.3, 5, seed=0)[0])


# -- lists from factors ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("native", [True, False])
def test_lists_from_factors_are_those_of_all_products(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    rng = np.random.default_rng(5)
    users, items = rng.normal(size=(40, 8)), rng.normal(size=(900, 8)) * rng.random((900, 1))
    users[3] = 0  # no opinion: the lowest codes
    users[4] *= 1e-5  # products that six decimals hardly tell apart
    items[450:] = items[:450]  # ties
    barred = sparse.csr_matrix(rng.random((40, 900)) < 0.05)
    nearly_all = sparse.csr_matrix(rng.random((40, 900)) < 0.995)
    some, few = rng.random(900) < 0.6, np.arange(900) % 300 == 0
    for n, eligible, theirs in ((5, None, None), (5, some, barred), (100, None, barred), (8, None, nearly_all), (8, few, barred)):
        allowed = np.ones((40, 900), bool) if theirs is None else theirs.toarray() == 0
        allowed &= True if eligible is None else eligible
        exact = (users @ items.T).round(9)
        expected = top_n(exact, allowed, n)
        found, products = top_n_by_factors(users, items, n, eligible, theirs)
        assert np.array_equal(found, expected)
        assert products == pytest.approx(np.where(found >= 0, np.take_along_axis(exact, found, axis=1), 0), abs=2e-9)
    assert (top_n_by_factors(users, items, 2, np.zeros(900, bool))[0] == -1).all()
    assert top_n_by_factors(users[:0], items, 2)[0].shape == (0, 2)


# -- ratings -----------------------------------------------------------------------------------------------------------------------
NOISE = 0.2


def planted(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every third cell of 120 users × 80 items: mean 3, biases of ±.5 or so, two tastes, noise of .2."""
    rng = np.random.default_rng(seed)
    user, item = (cells.ravel() for cells in np.indices((120, 80)))
    taste = rng.normal(0, 0.7, (120, 2)), rng.normal(0, 1, (80, 2))
    rating = 3 + rng.normal(0, 0.5, 120)[user] + rng.normal(0, 0.5, 80)[item] + (taste[0][user] * taste[1][item]).sum(axis=1)
    rows = rng.permutation(len(user))[: len(user) // 3]
    return user[rows], item[rows], (rating + rng.normal(0, NOISE, len(rating)))[rows]


def rmse(model: BiasedMF, user: np.ndarray, item: np.ndarray, rating: np.ndarray) -> float:
    """Of the last fifth of the rows, the model being fitted on the others."""
    n = len(user) * 4 // 5
    model.fit(user[:n], item[:n], rating[:n], 120, 80)
    return float(((model.predict(user[n:], item[n:]) - rating[n:]) ** 2).mean() ** 0.5)


def test_planted_tastes_are_found_near_the_noise_and_lost_with_the_ratings() -> None:
    user, item, rating = planted()
    found = rmse(BiasedMF(factors=2, reg=0.01, bias_reg=0.1), user, item, rating)
    assert NOISE < found < 1.35 * NOISE  # 21 ratings to fit 3 numbers of a user, 32 for 3 of an item: √(1 + 3/21 + 3/32) = 1.11 at best
    assert rmse(RATING_MODELS["biases"](), user, item, rating) > 3 * found
    shuffled = np.random.default_rng(1).permutation(rating)
    assert rmse(BiasedMF(factors=2), user, item, shuffled) > 0.95 * shuffled.std()


def test_mean_and_biases_by_hand() -> None:
    # mean 3; users' means are 4 and 2; after them nothing is left for the items
    user, item, rating = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.array([4.0, 4, 2, 2])
    model = BiasedMF(factors=0, bias_reg=2.0, iterations=1).fit(user, item, rating, 3, 3)
    assert model.mean.tolist() == [3]
    assert model.user_bias.tolist() == [0.5, -0.5, 0]  # Σ residuals / (n + bias_reg) = 2 / (2 + 2)
    assert model.item_bias.tolist() == [0, 0, 0]
    assert model.predict(np.array([0, 1, -1, 2, 0]), np.array([0, 1, 0, 2, -1])).tolist() == [3.5, 2.5, 3, 3, 3.5]
    loud = BiasedMF(factors=0, bias_reg=0.001).fit(user, item, np.array([5.0, 5, 5, 1]), 2, 2)
    assert loud.predict(np.array([0]), np.array([0])).tolist() == [5]  # not above what anybody gave
    with pytest.raises(ValueError, match="no rating to learn from"):
        BiasedMF().fit(user[:0], item[:0], rating[:0], 1, 1)


@pytest.mark.parametrize("name", RATING_MODELS)
def test_rating_models_repeat_themselves_and_are_saved(name: str) -> None:
    user, item, rating = planted()
    first = RATING_MODELS[name]().fit(user, item, rating, 121, 80)
    order = np.random.default_rng(3).permutation(len(user))
    again = RATING_MODELS[name]().fit(user[order], item[order], rating[order], 121, 80)
    loaded = BiasedMF.load(first.save())
    everybody = np.r_[np.arange(121), -1], np.r_[np.arange(120) % 80, 5, -1]
    assert np.array_equal(first.predict(*everybody), again.predict(*everybody))
    assert np.array_equal(first.predict(*everybody), loaded.predict(*everybody))
    assert loaded.parameters == first.parameters
    assert first.predict(np.array([120, -1]), np.array([5, 5])) == pytest.approx(float(first.mean[0] + first.item_bias[5]), abs=1e-6)


def test_lists_by_factors_are_those_by_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users with a history, one who met nearly everything, and one without any: full lists, the same by products as by all scores."""
    rng = np.random.default_rng(5)
    user = np.r_[rng.integers(0, 40, 600), np.full(595, 40)]
    item = np.r_[rng.integers(0, 600, 600), np.arange(595)]
    history = Interactions.of(user, item, np.ones(len(user)), np.zeros(len(user), np.int64), np.arange(len(user)), 42, 600)
    model = ALS(factors=8, iterations=3).fit(history)
    users = np.arange(42)
    found = holdout.lists(model, history, users, 10)
    monkeypatch.setattr(holdout, "ALS", ())
    items, scores = holdout.lists(model, history, users, 10)
    assert found[1] == pytest.approx(scores, abs=2e-6)
    assert (found[0] == items).mean() > 0.98  # ties go by the sixth decimal of products, or of shares
    assert (items >= 0).sum(axis=1).tolist() == [10] * 40 + [5, 10]
