"""The blend: candidates of all sources, coefficients that follow what users turned to, and a gate that noise does not pass."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse

from recsys_core.lake import canonical_json
from recsys_core.ranking import training
from recsys_core.ranking.blender import SEGMENTS, Blend, Choices, fit, log_losses, segments
from recsys_core.ranking.candidates import candidates
from recsys_core.ranking.offer import Offer
from recsys_core.recommenders import RECOMMENDERS, Interactions, Recommender
from recsys_core.recommenders.base import Floats, Ints
from recsys_core.recommenders.transitions import Transitions

NAMES = ("transitions", "content", "popularity")
SOURCES = training.Sources(NAMES, {"popularity": {"window": 7}}, 0)


class Fixed(Recommender):
    """Scores that are given, by user and item."""

    def __init__(self, given: list[list[float]]) -> None:
        self.given = np.array(given, float)

    def learn(self, history: Interactions) -> None: ...
    def meet(self, histories: Interactions) -> None: ...
    def scores(self, users: Ints) -> Floats:
        found: Floats = self.given[users]
        return found

    def evidence(self, users: Ints, items: Ints) -> Ints:
        return np.full(len(users), -1)

    def similar(self, items: Ints) -> Floats:
        return np.zeros((len(items), self.given.shape[1]))


class Blind(Transitions):
    """Transitions among items that have been mixed up: the same scores, for items that have nothing to do with them."""

    def scores(self, users: Ints) -> Floats:
        found = super().scores(users)
        return found[:, np.random.default_rng(3).permutation(found.shape[1])]


def walkers(users: int = 240, items: int = 60, nights: int = 30, seed: int = 0, shuffled: bool = False) -> Interactions:
    """Everyone walks the same ring from a place of their own, one step a night; every third began in the last ten nights."""
    rng = np.random.default_rng(seed)
    start = rng.integers(0, items, users)
    user, night = np.repeat(np.arange(users), nights), np.tile(np.arange(nights), users)
    item = (start[user] + night) % items
    there = (user % 3 > 0) | (night >= nights - 10)
    user, item, night = user[there], item[there], night[there]
    if shuffled:
        item = rng.integers(0, items, len(item))
    vectors = rng.normal(size=(items, 8)).astype(np.float32)
    return Interactions.of(user, item, np.ones(len(user)), nights - 1 - night, night, users, items, vectors=vectors)


def trained(history: Interactions, sources: training.Sources = SOURCES, in_use: Blend | None = None) -> training.Trained:
    may = training.unseen(np.ones(history.n_items, bool))
    events = np.ones(len(history.user), np.int64)
    found = training.train(history, events, sources, may, in_use or Blend.default(sources.names))
    assert found is not None
    return found


# -- candidates ------------------------------------------------------------------------------------------------------------------------
def test_candidates_are_the_union_of_the_best_and_never_too_few() -> None:
    first, second = Fixed([[0, 4, 2, 1, 0, 0], [0] * 6]), Fixed([[3, 0, 0, 0, 0, 9], [0] * 6])
    popular = Fixed([[1, 2, 3, 4, 4, 6]] * 2)
    allowed = np.array([[True] * 5 + [False], [True, True, False, True, True, True]])
    found = candidates({"a": first, "b": second, "popularity": popular}, np.arange(2), allowed, 2)
    # 1 and 2 are the best of a, 0 the only one of b that is allowed, 3 and 4 the best of popularity; the second user has those alone.
    assert found.item.tolist() == [[0, 1, 2, 3, 4], [3, 5, -1, -1, -1]]
    wanted = [[0, 1, 0.25], [1, 0, 0.5], [0.5, 0, 0.75], [0.25, 0, 1], [0, 0, 1]]
    assert found.features[0].tolist() == wanted
    assert found.features[1].tolist() == [[0, 0, 0.666667], [0, 0, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    unknown = candidates({"a": first, "popularity": Fixed([[0.0] * 6] * 2)}, np.array([1]), allowed[1:], 3)
    assert unknown.item.tolist() == [[0, 1, 3]]  # nobody has an opinion: by code
    everything = candidates({"a": first, "b": second}, np.array([1]), allowed[1:], 10)
    assert everything.item.tolist() == [[0, 1, 3, 4, 5]]
    nothing = candidates({"a": first}, np.array([0]), np.zeros((1, 6), bool), 3)
    assert nothing.item.tolist() == [[-1]]


# -- coefficients ----------------------------------------------------------------------------------------------------------------------
def drawn(odds: Floats, users: int = 1500, seed: int = 0) -> Choices:
    """Users who choose one of 30 candidates by log odds odds · (s, √s) of three sources."""
    rng = np.random.default_rng(seed)
    features = rng.random((users, 30, 3)) ** 2
    score = features @ odds[:, 0] + np.sqrt(features) @ odds[:, 1]
    chosen = (score + rng.gumbel(size=score.shape)).argmax(axis=1)
    return Choices(
        ("a", "b", "c"),
        np.arange(users),
        np.tile(np.arange(30), (users, 1)),
        features,
        np.arange(30) == chosen[:, None],
        np.ones(users, np.int64),
        np.arange(users) % 2,
    )


def test_fit_finds_the_odds_behind_choices_and_drops_what_says_nothing() -> None:
    odds = np.array([[6.0, 0], [0, 2], [0, 0]])
    choices = drawn(odds)
    found = fit(choices, Blend.default(choices.sources))
    for segment in SEGMENTS:
        shares = found.shares(segment)
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
        assert min(min(pair) for pair in found.weights[segment].values()) >= 0
        assert shares["a"] == pytest.approx(0.75, abs=0.06)
        assert shares["c"] < 0.06
        assert found.weights[segment]["a"][0] > found.weights[segment]["a"][1]
        assert found.weights[segment]["b"][1] > found.weights[segment]["b"][0]
        assert found.sharpness[segment] == pytest.approx(8, abs=1)
    # What `a` says, said of other candidates, is worth nothing.
    features = choices.features.copy()
    features[:, :, 0] = np.random.default_rng(1).permuted(features[:, :, 0], axis=1)
    mixed = replace(choices, features=features)
    assert max(fit(mixed, Blend.default(choices.sources)).shares(s)["a"] for s in SEGMENTS) < 0.1
    first = np.arange(1500) < 700
    # No choice at all, and a doubt without end, leave what there was.
    start = Blend.default(choices.sources)
    assert fit(replace(choices, chosen=np.zeros_like(choices.chosen)), start).weights == start.weights
    assert fit(choices, start, 1e9).shares("few")["c"] == pytest.approx(1 / 3, abs=0.01)
    assert fit(Choices.joined([choices.take(half) for half in (~first, first)]), start).shares("few") == pytest.approx(
        found.shares("few"), abs=1e-4
    )


def test_contributions_are_the_score_and_json_keeps_everything() -> None:
    choices = drawn(np.array([[1.0, 1], [0, 2], [0.3, 0]]), 50)
    blend = fit(choices, Blend.default(choices.sources))
    parts, total = (f(choices.features, choices.segment) for f in (blend.contributions, blend.scores))
    assert np.array_equal(parts.sum(axis=2).round(6), total)
    assert parts.min() >= 0
    assert total.max() <= 1.00001
    pairs = np.array([blend.weights[SEGMENTS[choices.segment[7]]][n] for n in "abc"])
    assert total[7, 3] == pytest.approx(sum(a * s + b * s**0.5 for (a, b), s in zip(pairs, choices.features[7, 3], strict=True)), abs=2e-6)
    assert Blend(**json.loads(canonical_json(asdict(blend)))) == blend
    assert segments(np.array([1, 10])).tolist() == [SEGMENTS.index("few"), SEGMENTS.index("many")]
    losses = log_losses(choices, np.zeros(choices.item.shape))
    assert losses == pytest.approx(np.log(30))


# -- training --------------------------------------------------------------------------------------------------------------------------
def test_the_source_that_is_right_counts_and_the_gate_opens() -> None:
    history = walkers()
    found = trained(history)
    for segment in SEGMENTS:
        assert found.blend.shares(segment)["transitions"] > 0.7
    gate = found.measured[training.GATE]
    assert training.best_single(found.measured) == "transitions"
    assert gate["value"][0] > 0.8 > gate["popularity"][0]
    assert training.better(found.measured)
    assert found.measured["log_loss"]["value"][0] < found.measured["log_loss"]["popularity"][0]
    assert not found.measured["halves_of_users"]
    # In use already, it is no better than itself.
    again = trained(history, in_use=found.blend)
    assert again.blend == found.blend
    assert again.measured[training.GATE]["in_use_diff"] == [0, 0, 0]
    assert not training.better(again.measured)
    # The order of rows is nobody's business.
    order = np.random.default_rng(2).permutation(len(history.user))
    rows = (history.user[order], history.item[order], history.weight[order], history.age[order], -history.age[order])
    mixed = Interactions.of(*rows, history.n_users, history.n_items, vectors=history.vectors)
    assert canonical_json(asdict(trained(mixed).blend)) == canonical_json(asdict(found.blend))


def test_a_source_whose_items_are_mixed_up_counts_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECOMMENDERS, "blind", f"{__name__}:Blind")
    found = trained(walkers(), training.Sources(("blind", "transitions", "popularity"), {}, 0))
    for segment in SEGMENTS:
        assert found.blend.shares(segment)["blind"] < 0.1
    alone = trained(walkers(), training.Sources(("blind", "popularity"), {}, 0))
    assert alone.measured[training.GATE]["value"][0] < found.measured[training.GATE]["value"][0] / 2


def test_the_gate_refuses_noise_and_the_young_are_judged_by_halves() -> None:
    noise = trained(walkers(items=200, shuffled=True))
    assert not training.better(noise.measured)
    worse = {training.GATE: {"in_use_diff": [0.02, 0.01, 0.03], "best": [0.5, 0.4, 0.6], "best_diff": [-0.02, -0.03, -0.01]}}
    assert not training.better(worse)
    assert training.better({training.GATE: worse[training.GATE] | {"best_diff": [-0.02, -0.03, 0.01]}})
    young = trained(training.as_of(walkers(), 16), in_use=Blend.default(["popularity"]))
    assert young.measured["halves_of_users"]
    assert young.measured[training.GATE]["in_use_diff"][1] > 0.5
    few = walkers(users=40)
    may, n_events = training.unseen(np.ones(few.n_items, bool)), np.ones(len(few.user), np.int64)
    assert training.train(few, n_events, SOURCES, may, Blend.default(NAMES)) is None
    assert training.train(few, n_events, replace(SOURCES, names=("sasrec",)), may, Blend.default(["sasrec"]), cuts=(40, 50)) is None
    assert training.train(few.take(few.age < 0), n_events[:0], SOURCES, may, Blend.default(NAMES)) is None


def test_labels_are_what_came_after_and_could_be_shown() -> None:
    """User 0: item 1 twice, once for and once more against; user 1: 2 was met before, 3 is new, 4 is not eligible; user 2 is new."""
    user, item = np.array([0, 0, 0, 1, 1, 1, 1, 2]), np.array([0, 1, 1, 2, 2, 3, 4, 3])
    weight = np.array([1.0, 1, -2, 1, 1, 1, 1, 1])
    age = np.array([9, 3, 2, 9, 1, 0, 0, 0])
    history = Interactions.of(user, item, weight, age, -age, 3, 6)
    eligible = np.array([True, True, True, True, False, True])
    sources = {"popularity": Fixed([[0.0] * 6] * 3)}
    again = Offer.everywhere(eligible, sparse.csr_matrix((history.n_users, history.n_items)))
    for may, wanted in ((training.unseen(eligible), [[3]]), (lambda past, back: again, [[2, 3]])):
        found = training.choices_after(history, np.ones(8, np.int64), 7, sources, may)
        assert found is not None
        assert found.user.tolist() == [1]
        assert [found.item[0][found.chosen[0]].tolist()] == wanted
        assert found.n_relevant.tolist() == [len(wanted[0])]
    assert training.choices_after(history, np.ones(8, np.int64), 7, sources, training.unseen(eligible & False)) is None


def test_sources_that_take_long_are_learned_once_and_follow_their_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "TRAINED", frozenset({"transitions"}))
    history, rows, learn = walkers(), list[int](), Transitions.learn

    def counted(self: Transitions, known: Interactions) -> None:
        rows.append(len(known.user))
        learn(self, known)

    monkeypatch.setattr(Transitions, "learn", counted)
    found = trained(history)
    assert rows == [int((history.age >= 21).sum()), len(history.user)]  # at the oldest cut, and on the whole
    ids = [f"i{n:02}" for n in range(history.n_items)]
    files = training.artefacts(found.learned, ids)
    assert sorted(files) == ["items.txt", "transitions.json", "transitions.npz"]
    assert training.artefacts({}, ids) == {}
    with pytest.raises(ValueError, match="holds a line break"):
        training.artefacts(found.learned, ["a\nb", *ids[1:]])
    # Nights later there is an item more, at the front, and the last one is gone.
    then = pa.array(["a", *ids[:-1]])
    moved = history.take(history.item < len(ids) - 1)
    moved = replace(moved, item=moved.item + 1)
    ready = SOURCES.fitted(moved, training.restored(files, then))
    assert list(ready) == list(NAMES)
    old = found.learned["transitions"].about(history.take(history.item < len(ids) - 1)).scores(np.arange(9))
    new = ready["transitions"].scores(np.arange(9))
    assert np.allclose(new[:, 1:], old[:, :-1])
    assert not new[:, 0].any()
    assert list(SOURCES.fitted(moved, {})) == ["content", "popularity"]  # without a ranker there is none
    assert all(a < b for a, b in pairwise(sorted(files)))
