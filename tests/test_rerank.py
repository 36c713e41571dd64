"""The order of lists, diverse and in the user's own measure, and the slots that explore."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse

from recsys_core.ranking.exploration import Proposed, explore, exploring_ranks, members
from recsys_core.ranking.rerank import DEPTH, rerank

USERS, ITEMS, TOPICS, N = 40, 120, 6, 10


class Shop:
    """Items of planted topics with vectors around the topic's direction, and candidates by scores that go by one topic a user."""

    def __init__(self, seed: int = 3) -> None:
        rng = np.random.default_rng(seed)
        self.topic = np.arange(ITEMS) % TOPICS
        vectors = np.eye(TOPICS, 16)[self.topic] + rng.normal(0, 0.15, (ITEMS, 16))
        self.vectors = (vectors / np.linalg.norm(vectors, axis=1)[:, None]).astype(np.float32)
        self.topics = sparse.csr_matrix(np.eye(TOPICS)[self.topic])
        self.main = np.arange(USERS) % TOPICS
        # Scores are all about one topic, though a third of what a user is about is the next one.
        score = rng.random((USERS, ITEMS)) * 0.4 + 0.6 * (self.topic == self.main[:, None])
        self.item = np.broadcast_to(np.arange(ITEMS), score.shape)
        self.score = np.round(score, 6)
        self.target = np.eye(TOPICS)[self.main] * 2.0 + np.eye(TOPICS)[(self.main + 1) % TOPICS]

    def lists(self, diversity: float, calibration: float, **other: Any) -> np.ndarray:
        """Items of the lists."""
        given = {"item": self.item, "score": self.score, "vectors": self.vectors, "topics": self.topics, "target": self.target} | other
        places = rerank(**given, n=N, diversity=diversity, calibration=calibration)
        assert all(len(set(row)) == N for row in places.tolist())
        return np.take_along_axis(given["item"], places, axis=1)

    def likeness(self, lists: np.ndarray) -> float:
        """Mean cosine of two items of a list."""
        own = self.vectors[lists]
        return float((np.matmul(own, own.transpose(0, 2, 1)).sum(axis=(1, 2)) - N).mean() / (N * (N - 1)))

    def misfit(self, lists: np.ndarray) -> float:
        """Mean L1 distance of a list's topics from its user's."""
        held = np.stack([(self.topic[lists] == t).mean(axis=1) for t in range(TOPICS)], axis=1)
        return float(np.abs(held - self.target / 3).sum(axis=1).mean())


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop()


def test_without_weights_the_order_is_that_of_scores(shop: Shop) -> None:
    assert (shop.lists(0, 0) == np.argsort(-shop.score, axis=1, kind="stable")[:, :N]).all()
    item, tied = np.array([[7, 3, 9, -1, 5]]), np.array([[0.5, 1.0, 0.5, 9.0, 0.5000001]])
    one = rerank(item, tied, shop.vectors, shop.topics, shop.target[:1], 6, 0.0, 0.0)
    assert one.tolist() == [[1, 0, 2, 4, -1, -1]], "equal to six decimals: the first place; no candidate is never taken"


def test_diversity_goes_by_the_vectors(shop: Shop) -> None:
    alike = [shop.likeness(shop.lists(weight, 0)) for weight in (0.0, 0.1, 0.3, 0.6)]
    assert alike == sorted(alike, reverse=True)
    assert alike[0] > 0.6
    assert alike[-1] < 0.35
    scrambled = shop.lists(0.6, 0, vectors=np.random.default_rng(0).permutation(shop.vectors))
    assert shop.likeness(scrambled) > 2 * alike[-1], "other items' vectors tell nothing about these"
    # A list's most diverse part must not be bought with all of its scores.
    gained = [np.take_along_axis(shop.score, shop.lists(weight, 0), axis=1).mean() for weight in (0.0, 0.1)]
    assert gained[1] > 0.9 * gained[0]


def test_calibration_goes_by_the_users_topics(shop: Shop) -> None:
    plain, half, held = (shop.misfit(shop.lists(0, weight)) for weight in (0.0, 0.5, 0.9))
    assert plain > 0.6
    assert held < half < 0.5 * plain
    assert held < 0.1, "two thirds of one topic and a third of the next"
    other = shop.lists(0, 0.9, target=np.roll(shop.target, 3, axis=1))
    assert shop.misfit(other) > 1.5
    assert (shop.lists(0, 0.5, target=7 * shop.target) == shop.lists(0, 0.5)).all(), "the scale of what users are about is none"
    nobody = shop.target * (np.arange(USERS) % 2)[:, None]
    mixed, plainly, calibrated = shop.lists(0.2, 0.4, target=nobody), shop.lists(0.2, 0), shop.lists(0.2, 0.4)
    assert (mixed[::2] == plainly[::2]).all(), "nothing is known of whom: no calibration"
    assert (mixed[1::2] == calibrated[1::2]).all()


def test_a_list_depends_on_its_own_user_and_on_the_order_of_scores(shop: Shop) -> None:
    given = {"diversity": 0.2, "calibration": 0.2}
    whole = shop.lists(**given)
    few = [5, 17]
    part = shop.lists(**given, item=shop.item[few], score=shop.score[few], target=shop.target[few])
    assert (part == whole[few]).all()
    assert (shop.lists(**given, score=np.exp(3 * shop.score)) == whole).all(), "however a shop's scores are spread"
    mixed = np.random.default_rng(1).permuted(np.arange(ITEMS)[None, :].repeat(USERS, 0), axis=1)
    assert (shop.lists(**given, item=mixed, score=np.take_along_axis(shop.score, mixed, axis=1)) == whole).all()
    best = np.sort(shop.score, axis=1)[:, -DEPTH * N]
    assert (np.take_along_axis(shop.score, shop.lists(0.9, 0), axis=1) >= best[:, None]).all(), "what is far behind is not looked at"


def test_items_without_text_or_topic_are_like_nothing() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 0], [0, 0]], np.float32)
    topics = sparse.csr_matrix(([1.0, 1.0], ([0, 1], [0, 0])), shape=(4, 2))
    item, score = np.array([[0, 1, 2, 3]]), np.array([[0.9, 0.8, 0.7, 0.6]])
    assert rerank(item, score, vectors, topics, np.array([[1.0, 0.0]]), 4, 0.5, 0.0).tolist() == [[0, 2, 3, 1]]
    assert rerank(item, score, vectors, topics, np.array([[1.0, 0.0]]), 4, 0.0, 0.5).tolist() == [[0, 1, 2, 3]]
    assert rerank(item, score, vectors, topics, np.array([[0.0, 1.0]]), 3, 0.3, 0.3)[0].tolist()[0] == 0, "no candidate is of it"
    nothing = np.empty((0, 4), np.int64)
    assert rerank(nothing, nothing.astype(float), vectors, topics, np.empty((0, 2)), 3, 0.1, 0.1).shape == (0, 3)


# -- exploration -------------------------------------------------------------------------------------------------------------------
def expansion(*rows: tuple[str, int, str, float]) -> pa.Table:
    """Rows of user_interest_expansion: user, topic, method, score."""
    return pa.table(dict(zip(("user_key", "topic_id", "method", "score"), zip(*rows, strict=True), strict=True)))


KEYS, IDS = pa.array(["ann", "bob", "eve"]), pa.array([70, 71, 72])
# Items 0–3 are of topic 70, 4–6 of 71, 7–9 of 72, 10 of none; within a topic the higher number is the more popular.
MEMBERS = members(np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2, -1]), 3, np.arange(11.0))
ALL = np.ones((1, 11), bool)
PROPOSALS = expansion(
    ("ann", 71, "context", 0.3),
    ("bob", 70, "context", 0.9),
    ("ann", 72, "collaborative", 0.2),
    ("ann", 71, "collaborative", 0.4),
    ("ann", 99, "context", 0.9),
    ("zoe", 71, "context", 0.9),
)
NO_SCORES = (np.full((1, 1), -1), np.zeros((1, 1)))


def explored(
    lists: list[int], slots: int, user: int = 0, allowed: np.ndarray = ALL, liking: dict[int, float] | None = None
) -> tuple[Any, Any]:
    """The list, and which row of PROPOSALS is behind each slot."""
    item, score = (np.array([list(liking)]), np.array([list(liking.values())])) if liking else NO_SCORES
    given = Proposed.of(PROPOSALS, KEYS, IDS)
    found, why = explore(np.array([user]), np.array([lists]), item, score, allowed, given, MEMBERS, slots)
    return found[0].tolist(), why[0].tolist()


def test_the_surest_proposal_of_each_topic_counts() -> None:
    found = Proposed.of(PROPOSALS, KEYS, IDS)
    assert (found.begin.tolist(), found.topic.tolist(), found.row.tolist()) == ([0, 2, 3, 3], [1, 2, 0], [3, 2, 1])
    tied = expansion(("ann", 71, "context", 0.4), ("ann", 70, "context", 0.4), ("ann", 71, "collaborative", 0.4))
    both = [Proposed.of(tied.take(rows), KEYS, IDS) for rows in ([0, 1, 2], [2, 1, 0])]
    assert [b.topic.tolist() for b in both] == [[0, 1]] * 2
    assert both[0].row.tolist() == [1, 2], "ties to the lower topic, then to the first method by name"
    assert both[1].row.tolist() == [1, 0], "whatever the order of rows"
    empty = Proposed.of(PROPOSALS.slice(0, 0).cast(PROPOSALS.schema), KEYS, IDS)
    assert empty.begin.tolist() == [0, 0, 0, 0]
    assert [m.tolist() for m in MEMBERS] == [[3, 2, 1, 0], [6, 5, 4], [9, 8, 7]]


def test_explored_items_stand_at_known_ranks_and_the_list_stays_full() -> None:
    assert [exploring_ranks(20, s) for s in (1, 2, 4)] == [[20], [10, 20], [5, 10, 15, 20]]
    assert explored([0, 1, 2, 3], 0) == ([0, 1, 2, 3], [-1] * 4)
    assert explored([0, 1, 2, 3], 1) == ([0, 1, 2, 6], [-1, -1, -1, 3])
    assert explored([0, 1, 2, 3], 2) == ([0, 6, 1, 9], [-1, 3, -1, 2]), "a topic each, the most probable first"
    assert explored([0, 1, 2, 3], 4) == ([6, 9, 5, 8], [3, 2, 3, 2]), "then a second item of each"
    assert explored([0, 1, 2, 3], 1, user=2) == ([0, 1, 2, 3], [-1] * 4), "nothing is proposed"
    assert explored([0, 1, 2, -1], 1) == ([0, 1, 2, -1], [-1] * 4), "a list that is not full holds everything already"


def test_what_explores_is_what_the_blend_likes_among_what_may_be_shown() -> None:
    assert explored([0, 1, 2, 3], 1, liking={0: 1.0, 4: 0.2, 5: 0.3, 9: 0.9}) == ([0, 1, 2, 5], [-1, -1, -1, 3])
    assert explored([0, 6, 5, 3], 1) == ([0, 6, 5, 4], [-1, -1, -1, 3]), "not what is in the list already"
    allowed = ALL.copy()
    allowed[0, 4:7] = False
    assert explored([0, 1, 2, 3], 2, allowed=allowed) == ([0, 9, 1, 8], [-1, 2, -1, 2]), "a topic of which nothing may be shown has no turn"
    allowed[0, 7:10] = False
    assert explored([0, 1, 2, 3], 2, allowed=allowed) == ([0, 1, 2, 3], [-1] * 4)
    assert explored([4, 5, 6, 7], 2, user=1, liking={3: 0.5, 1: 0.5})[0] == [4, 3, 5, 1], "equally liked: the more popular first"


def test_exploring_goes_by_who_is_proposed_what() -> None:
    users = np.array([0, 1])
    lists, allowed = np.array([[0, 10], [5, 10]]), np.ones((2, 11), bool)
    none = np.full((2, 1), -1)
    one = explore(users, lists, none, np.zeros((2, 1)), allowed, Proposed.of(PROPOSALS, KEYS, IDS), MEMBERS, 1)[0]
    swapped = pa.table(
        {**{c: PROPOSALS[c] for c in ("topic_id", "method", "score")}, "user_key": ["bob", "ann", "bob", "bob", "bob", "zoe"]}
    )
    other = explore(users, lists, none, np.zeros((2, 1)), allowed, Proposed.of(swapped, KEYS, IDS), MEMBERS, 1)[0]
    assert (one.tolist(), other.tolist()) == ([[0, 6], [5, 3]], [[0, 3], [5, 6]])
