"""Recommenders that are trained step by step: order, texts and context tell, evidence is what is missed, medoids keep interests apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse

from recsys_core.recommenders import Interactions
from recsys_core.recommenders.content import Content
from recsys_core.recommenders.medoids import Medoids
from recsys_core.recommenders.neural import Neural, discounted_gain, softmax_loss
from recsys_core.recommenders.sasrec import SASRec
from recsys_core.recommenders.two_towers import Rows, TwoTowers
from tests.test_recommenders import ITEMS, USERS, checkerboard


def walkers(users: int = 80, items: int = 24, steps: int = 6) -> Interactions:
    """Everyone walks the same ring from a place of their own, one step a night."""
    start, step = np.random.default_rng(0).integers(0, items, users), np.tile(np.arange(steps), users)
    user = np.repeat(np.arange(users), steps)
    return Interactions.of(user, (start[user] + step) % items, np.ones(len(user)), steps - 1 - step, step, users, items)


def continued(model: Neural, history: Interactions, walked: Interactions) -> float:
    """Share of the users for whom the ring's next step comes first among what they have not met."""
    scores = model.fit(history).scores(np.arange(walked.n_users))
    scores[walked.seen().toarray() > 0] = -1
    return float((scores.argmax(axis=1) == (walked.item[5::6] + 1) % 24).mean())


def test_sasrec_reads_the_order() -> None:
    """The ring is walked on; with the same items in another order somebody's next step is a guess."""
    walked = walkers()
    order = np.lexsort((np.random.default_rng(1).random(len(walked.user)), walked.user))
    assert continued(SASRec(hidden=32, blocks=1), walked, walked) > 0.9
    assert continued(SASRec(hidden=32, blocks=1), replace(walked, item=walked.item[order]), walked) < 0.6


@pytest.mark.parametrize("model", [SASRec(hidden=16, blocks=1, epochs=3), TwoTowers(hidden=16, epochs=3)], ids=["sasrec", "two_towers"])
def test_evidence_is_what_is_missed_most(model: Neural) -> None:
    history = checkerboard()
    model.fit(history)
    users, items = np.array([3, 8, 8]), np.array([17, 22, 21])
    for user, item, evidence in zip(users, items, model.evidence(users, items).tolist(), strict=True):
        own = sorted(history.item[history.user == user].tolist())
        without = [model.about(history.take((history.user != user) | (history.item != i))).scores(np.array([user]))[0, item] for i in own]
        falls = min(without) < model.scores(np.array([user]))[0, item]
        assert evidence == (own[int(np.argmin(without))] if falls else -1)


def test_only_item_is_the_evidence_and_repeats_count_once() -> None:
    history = checkerboard()
    one = history.take(np.arange(len(history.user)) % 8 == 7)
    model = SASRec(hidden=16, blocks=1, epochs=2).fit(history).about(one)
    assert model.evidence(one.user, (one.item + 2) % ITEMS).tolist() == one.item.tolist()
    user, item, age = (np.repeat(x, 2) for x in (one.user, one.item, one.age))
    twice = replace(one, user=user, item=item, weight=np.ones(len(user)), age=age)
    assert np.array_equal(model.about(twice).scores(np.arange(USERS)), model.scores(np.arange(USERS)))


def new_items(permuted: bool) -> float:
    """Share of users whose best five of twenty items that nobody has met are of their own colour, which texts alone tell."""
    history, rng = checkerboard(), np.random.default_rng(2)
    assert history.vectors is not None
    fresh = np.eye(2, 8, dtype=np.float32)[np.arange(20) % 2] + rng.normal(0, 0.1, (20, 8)).astype(np.float32)
    vectors = np.vstack([history.vectors, fresh])
    vectors = vectors[rng.permutation(len(vectors))] if permuted else vectors
    scores = TwoTowers().fit(replace(history, n_items=ITEMS + 20, vectors=vectors)).scores(np.arange(USERS))[:, ITEMS:]
    return float((np.argsort(-scores, axis=1, kind="stable")[:, :5] % 2 == np.arange(USERS)[:, None] % 2).mean())


def test_two_towers_place_new_items_by_text() -> None:
    assert new_items(permuted=False) > 0.98
    assert 0.3 < new_items(permuted=True) < 0.7


def test_two_towers_read_topics_and_refuse_other_texts() -> None:
    history = checkerboard()
    topics = sparse.csr_matrix(np.eye(2)[np.arange(ITEMS) % 2])
    by_topic = TwoTowers(id_dropout=1.0, epochs=3).fit(replace(history, vectors=None, topics=topics))
    scores = by_topic.scores(np.arange(USERS))
    own = np.arange(ITEMS) % 2 == np.arange(USERS)[:, None] % 2
    assert (np.where(own, scores, np.inf).min(axis=1) > np.where(own, 0.0, scores).max(axis=1)).all()
    with pytest.raises(ValueError, match="reads 2 numbers of an item's topics, and there are none"):
        by_topic.about(history)


def test_rows_before_and_their_context() -> None:
    rows = Rows(np.array([5, 6, 7, 8]), np.array([9, 4, 4, 1]), np.array([0, 3, 4]), np.array([1, 0]))
    items, weight = rows.before(np.array([2, 3]), np.array([0, 3]), 3, 0.5)
    assert items.tolist() == [[6, 5, -1], [-1, -1, -1]]
    assert weight.round(6).tolist() == [[0.666667, 0.333333, 0], [0, 0, 0]]
    context = rows.context(np.array([0, 1]), np.array([2, 4]), np.array([1, 0]), 1)
    assert context == pytest.approx(np.array([[0, np.log(3), np.log(4)], [1, np.log(2), np.log(2)]]))


def test_loss_and_gain_arithmetic() -> None:
    cosine = torch.tensor([[0.5, 0.1, 0.2]])
    full = softmax_loss(torch.tensor([0.5]), torch.tensor([0]), torch.arange(3), cosine, None, 0.5)
    assert float(full) == pytest.approx(-np.log(np.exp(1) / (np.exp(1) + np.exp(0.2) + np.exp(0.4))))
    # One of the two others is drawn, each half of the time: it stands for both.
    half = softmax_loss(torch.tensor([0.5]), torch.tensor([0]), torch.tensor([2]), cosine[:, 2:], torch.log(torch.tensor([0.5])), 0.5)
    assert float(half) == pytest.approx(-np.log(np.exp(1) / (np.exp(1) + 2 * np.exp(0.4))))
    items = np.eye(3)
    assert discounted_gain(np.array([[0.1, 0.2, 0.9]]), items, [np.array([2])], np.array([0])) == pytest.approx(1 / np.log2(3))


def test_medoids_keep_interests_apart() -> None:
    """Of somebody with two interests, pooling proposes what lies between; medoids propose what is near to either, the larger one first."""
    near = np.array([[1, 0, 0.1], [1, 0.1, 0], [0, 1, 0.1], [0.98, 0.05, 0.05], [0.05, 0.98, 0.05], [0.7, 0.7, 0.2]], np.float32)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    vectors = np.vstack([near, -near])  # what is shared by all, their mean, is nothing
    none = np.zeros(3, np.int64)
    history = Interactions.of(none, np.arange(3), np.ones(3), none, np.arange(3), 1, 12, vectors=vectors)
    pooled, apart, alike = (
        model.fit(history).scores(np.array([0]))[0, 3:6]
        for model in (Content(profile_decay=1.0), Medoids(profile_decay=1.0), Medoids(profile_decay=1.0, share_power=0.0))
    )
    assert pooled.argmax() == alike.argmin() == 2
    assert apart[0] > apart[1] > 0
    assert Medoids().fit(history).evidence(np.array([0, 0]), np.array([3, 4]))[1] == 2
