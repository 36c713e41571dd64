"""Lists beside for_you: they follow the signal that they name, and hold nobody's barred items."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from recsys_core.explain import CODES
from recsys_core.ranking.blender import Blend
from recsys_core.ranking.named import LEAST_RISE, MIN_USERS, because_you_liked, compared_nights, latest_liked, new_for_you, since, trending
from recsys_core.ranking.offer import Offer
from recsys_core.ranking.personal import Lists
from recsys_core.ranking.top_n import Slots
from recsys_core.recommenders.base import Interactions, Ints, Recommender
from recsys_core.recommenders.content import Content
from recsys_core.recommenders.popularity import Popularity
from recsys_core.recommenders.transitions import Transitions

D = dt.date(2026, 3, 10)
NIGHT = (D - dt.date(1970, 1, 1)).days
USERS, ITEMS = 40, 24


def walkers(seed: int = 0) -> Interactions:
    """Everyone walks a ring of 24 items from a place of their own, one step a night; item i reads like its opposite."""
    rng = np.random.default_rng(seed)
    start = rng.integers(0, ITEMS, USERS)
    user, step = np.repeat(np.arange(USERS), 6), np.tile(np.arange(6), USERS)
    vectors = np.tile(np.eye(ITEMS // 2, dtype=np.float32), (2, 1))
    group = np.arange(USERS) % 2
    return Interactions.of(user, (start[user] + step) % ITEMS, np.ones(len(user)), 5 - step, step, USERS, ITEMS, group, vectors)


def liking(history: Interactions, weights: dict[str, float], eligible: NDArray[np.bool_] = np.arange(ITEMS) != 7) -> Slots:  # noqa: B008
    known: dict[str, Recommender] = {"transitions": Transitions(), "content": Content(), "popularity": Popularity()}
    sources = {name: source.fit(history) for name, source in known.items()}

    def allowed(users: Ints) -> NDArray[np.bool_]:
        return np.repeat(eligible[None], len(users), axis=0)

    slots, reasons = because_you_liked(sources, weights, history, history.age == 2, np.arange(USERS), allowed, 3)
    assert np.allclose(slots.parts.sum(axis=1), slots.score)
    assert slots.parts.argmax(axis=1).tolist() == slots.source.tolist()
    assert {CODES[c] for c in reasons.code} <= {"because_you_liked"}
    assert reasons.about.tolist() == slots.evidence.tolist()
    return slots


def test_because_you_liked_goes_from_the_last_liked_item_to_what_is_like_it() -> None:
    history = walkers()
    seed = latest_liked(history, history.age == 2)
    assert seed.tolist() == history.item[3::6].tolist()
    met = history.seen().toarray() > 0
    slots = liking(history, {"transitions": 0.0, "content": 1.0, "popularity": 1.0})
    assert slots.evidence.tolist() == seed[slots.user].tolist()
    assert slots.item.tolist() == ((seed[slots.user] + ITEMS // 2) % ITEMS).tolist(), "its opposite reads alike, and nothing else does"
    assert set(slots.user.tolist()) == set(np.flatnonzero((seed + ITEMS // 2) % ITEMS != 7)), "who may be shown nothing of it has no list"
    assert not met[slots.user, slots.item].any()
    both = liking(history, {"transitions": 1.0, "content": 0.5, "popularity": 1.0})
    assert set(both.source.tolist()) == {0, 1}, "popularity leads from no item to another"
    assert 7 not in both.item
    assert [r for u in range(USERS) for r in both.rank[both.user == u]] == [
        r for u in range(USERS) for r in range(1, (both.user == u).sum() + 1)
    ]
    # The signal is the text: with the vectors in another order, other items are alike.
    shuffled = replace(history, vectors=np.random.default_rng(1).permutation(np.asarray(history.vectors)))
    other = liking(shuffled, {"transitions": 0.0, "content": 1.0, "popularity": 1.0})
    assert (other.item == (seed[other.user] + ITEMS // 2) % ITEMS).mean() < 0.3
    assert not len(liking(history, {"transitions": 1.0, "content": 1.0, "popularity": 1.0}, np.zeros(ITEMS, bool)).user)


def test_what_was_turned_away_from_is_not_liked_any_more() -> None:
    user, item, time = np.array([[0, 0, 0, 1, 1, 2], [5, 6, 6, 5, 5, 5], [1, 2, 3, 1, 2, 1]])
    history = Interactions.of(user, item, np.array([5.0, 5, -3, -3, 5, 1]), 9 - time, time, 4, 8)
    assert latest_liked(history, np.array([True, True, False, False, True, False])).tolist() == [5, 5, -1, -1]
    assert latest_liked(history, np.zeros(6, bool)).tolist() == [-1] * 4


@pytest.mark.parametrize("new_nights", [1, 3, 30])
def test_new_for_you_holds_what_is_new_and_spoken_for(new_nights: int) -> None:
    history = walkers()
    days = [NIGHT - (30 if i % 3 else i // 3) for i in range(ITEMS)]
    catalogue = pa.table(
        {"item_id": [f"i{i:02}" for i in range(ITEMS)][::-1], "first_ds": pa.array(days[::-1], pa.int32()).cast(pa.date32())}
    )
    known = since(catalogue, pa.array([f"i{i:02}" for i in range(ITEMS)]))
    assert known.tolist() == [-1 if d == NIGHT - 30 else d for d in days], "what was there first is not new"
    assert since(catalogue, pa.array(["zz"])).tolist() == [-1]
    eligible = np.arange(ITEMS) != 6
    sources: dict[str, Recommender] = {"transitions": Transitions().fit(history), "content": Content().fit(history)}

    offer = Offer.everywhere(eligible, history.take(history.age > 1).seen())  # what was met lately might come back
    lists = Lists(sources, Blend.default([*sources]), np.zeros(USERS, np.int64), offer.to)

    def best(users: Ints, shown: NDArray[np.bool_]) -> Slots:
        return lists.best(users, 4, shown)[0]

    slots, reasons = new_for_you(best, history, np.arange(USERS), eligible, known, D, new_nights)
    assert set(slots.item.tolist()) <= {i for i in range(0, ITEMS, 3) if i // 3 < new_nights and i != 6}
    assert not history.seen().toarray()[slots.user, slots.item].any()
    assert (slots.score > 0).all()
    assert {CODES[c] for c in reasons.code} == {"new"}
    assert reasons.about.tolist() == [days[i] for i in slots.item]
    for user in range(USERS):
        assert slots.rank[slots.user == user].tolist() == list(range(1, int((slots.user == user).sum()) + 1))
    nothing, _ = new_for_you(best, history, np.arange(USERS), np.zeros(ITEMS, bool), known, D, new_nights)
    assert not len(nothing.user)


def shop(now: dict[int, int], before: dict[int, int], nights: int = 28, group: int = 0) -> Interactions:
    """So many users met an item once in this week and in `nights` before; items 8 and 9 are met by many all the time."""
    rows = [(u, i, u % 7) for i, n in now.items() for u in range(n)]
    rows += [(u, i, 7 + u % nights) for i, n in before.items() for u in range(n)]
    rows += [(u, 8 + u % 2, age) for u in range(70) for age in range(7 + nights)]
    user, item, age = np.array(rows).T
    return Interactions.of(user, item, np.ones(len(user)), age, -age, 100, 10, np.where(np.arange(100) < 20, group, 1 - group))


def test_trending_is_what_rises_by_exact_counts() -> None:
    history = shop({0: 20, 1: 60, 2: MIN_USERS - 1, 3: 12}, {0: 5, 1: 90, 3: 60})
    names, slots, reasons = trending(history, ["en", "zh"], np.arange(10) != 5, 5)
    assert names == ["trending", "trending_en", "trending_zh"]
    overall = slots.user == 0
    assert slots.item[overall].tolist() == [0, 1], "item 2 has too few users, item 3 falls, 8 and 9 stand still"
    assert slots.rank[overall].tolist() == [1, 2]
    assert (slots.score >= LEAST_RISE).all()
    assert list(zip(reasons.about[overall].tolist(), reasons.before[overall].tolist(), strict=True)) == [(20, 5), (60, 90)]
    assert slots.item[slots.user == 1].tolist() == [0, 1]
    assert slots.item[slots.user == 2].tolist() == [1], "all of item 0's users are English"
    order = np.random.default_rng(0).permutation(len(history.user))
    again = trending(history.take(np.ones(len(order), bool)), ["en", "zh"], np.arange(10) != 5, 5)[1]
    assert again.item.tolist() == slots.item.tolist()
    # The signal is the night of each visit: shuffled over the five weeks, nothing rises.
    shuffled = replace(history, age=history.age[order])
    assert not len(trending(shuffled, ["en", "zh"], np.ones(10, bool), 5)[1].user)
    assert 0 not in trending(history, [], np.arange(10) != 0, 5)[1].item, "what may not be shown is not listed"
    assert not len(trending(replace(history, weight=-history.weight), [], np.ones(10, bool), 5)[1].user)


def test_a_young_shop_compares_with_what_there_is() -> None:
    for nights, compared in ((28, 28), (10, 10), (7, 7), (6, 0)):
        history = shop({0: 20}, {0: 2}, nights)
        assert compared_nights(history) == compared
        assert (0 in trending(history, [], np.ones(10, bool), 5)[1].item) == bool(compared)
    empty = history.take(np.zeros(len(history.user), bool))
    assert (compared_nights(empty), len(trending(empty, ["en"], np.ones(10, bool), 5)[1].user)) == (0, 0)
    doubled = shop({0: 4, 1: 4}, {0: 1, 1: 1})
    assert not len(trending(doubled, [], np.ones(10, bool), 5)[1].user), f"fewer than {MIN_USERS} users"
