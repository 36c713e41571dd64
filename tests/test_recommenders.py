"""Every registered recommender: finds what is planted, loses it with its signal, repeats itself; then each one's arithmetic."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from recsys_core.events import COUNTED_TYPES, overridden
from recsys_core.lists import Recipe
from recsys_core.ranking.blender import Blend
from recsys_core.recommenders import RECOMMENDERS, Interactions, Recommender, recommender
from recsys_core.recommenders.base import places_from_end, profiles
from recsys_core.recommenders.content import Content
from recsys_core.recommenders.ease import EASE
from recsys_core.recommenders.history import COLUMNS, reduce_night
from recsys_core.recommenders.item_item import ItemItem
from recsys_core.recommenders.item_knn import ItemKNN
from recsys_core.recommenders.next_item import NextItem
from recsys_core.recommenders.popularity import Popularity
from recsys_core.recommenders.rp3beta import RP3Beta
from recsys_core.recommenders.transitions import Transitions

USERS, ITEMS = 60, 40


def checkerboard(seed: int = 0) -> Interactions:
    """Even users meet only even items, odd ones odd items; languages and texts follow the same split."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(USERS), 8)
    item = np.concatenate([2 * rng.permutation(ITEMS // 2)[:8] + u % 2 for u in range(USERS)])
    vectors = np.eye(2, 8, dtype=np.float32)[np.arange(ITEMS) % 2] + rng.normal(0, 0.1, (ITEMS, 8)).astype(np.float32)
    order = rng.permutation(len(user))
    time = np.tile(np.arange(8), USERS)
    return Interactions.of(
        user[order], item[order], np.ones(len(user)), 7 - time[order], time[order], USERS, ITEMS, np.arange(USERS) % 2, vectors
    )


def agreement(name: str, history: Interactions, given: Interactions | None = None) -> float:
    """Share of the five best items not in `history` that are of the user's own colour, by a model of `given`, else of `history`."""
    scores = recommender(name)().fit(given or history).scores(np.arange(USERS))
    scores[history.seen().toarray() > 0] = -1
    best = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    return float((best % 2 == np.arange(USERS)[:, None] % 2).mean())


def without_signal(name: str, history: Interactions) -> Interactions:
    """The history with what the recommender claims to use dealt out at random."""
    rng = np.random.default_rng(1)
    if name in ("content", "medoids"):
        assert history.vectors is not None
        return replace(history, vectors=history.vectors[rng.permutation(ITEMS)])
    if name == "popularity":
        return replace(history, group=rng.permutation(history.group))
    return replace(history, item=rng.permutation(history.item))


@pytest.mark.parametrize("name", RECOMMENDERS)
def test_checkerboard_is_recovered_and_lost_with_its_signal(name: str) -> None:
    history = checkerboard()
    assert agreement(name, history) > 0.98
    assert agreement(name, history, without_signal(name, history)) < 0.5  # chance: 12 of the 32 unseen items are of the own colour, 0.375


@pytest.mark.parametrize("name", RECOMMENDERS)
def test_contract(name: str) -> None:
    history = checkerboard()
    first, second = recommender(name)().fit(history), recommender(name)().fit(checkerboard())
    users = np.array([5, 0, 5])
    scores = first.scores(users)
    assert scores.shape == (3, ITEMS)
    assert (scores >= 0).all()
    assert np.array_equal(scores[0], scores[2])
    assert np.array_equal(scores, second.scores(users))
    items = scores.argmax(axis=1)
    evidence = first.evidence(users, items)
    assert np.array_equal(evidence, second.evidence(users, items))
    met = history.seen().toarray()
    assert all(e == -1 or met[u, e] for u, e in zip(users, evidence, strict=True))
    assert name == "popularity" or (evidence >= 0).all()


@pytest.mark.parametrize("name", RECOMMENDERS)
def test_a_saved_model_speaks_of_any_histories(name: str) -> None:
    """Loaded, it scores as before; histories of others, and items under other codes, change nothing but whom and what it speaks of."""
    history = checkerboard()
    fitted = recommender(name)().fit(history)
    loaded = recommender(name).load(fitted.save()).about(history)
    users = np.arange(USERS)
    assert loaded.parameters == fitted.parameters
    assert np.array_equal(loaded.scores(users), fitted.scores(users))
    some = np.array([7, 4])
    rows = np.concatenate([np.flatnonzero(history.user == u) for u in some])
    few = replace(history.take(np.isin(np.arange(len(history.user)), rows)), n_users=2, group=history.group[some])
    few = replace(few, user=np.where(few.user == 7, 0, 1), item=few.item, weight=few.weight, age=few.age)
    order = np.lexsort((np.arange(len(few.user)), few.user))
    few = replace(few, user=few.user[order], item=few.item[order], weight=few.weight[order], age=few.age[order])
    assert fitted.about(few).scores(np.arange(2)) == pytest.approx(fitted.scores(some), abs=1e-6)
    similar = fitted.similar(np.array([3, 8]))
    assert similar.shape == (2, ITEMS)
    assert (similar >= 0).all()
    assert (similar[[0, 1], [3, 8]] == 0).all()
    if name != "popularity":
        best = np.argsort(-similar, axis=1, kind="stable")[:, :5]
        assert (best % 2 == [[1], [0]]).mean() > 0.9
    code = np.r_[np.arange(ITEMS - 1) + 1, -1]  # everything moves up by one, the last item is gone, item 0 is new
    vectors = None if history.vectors is None else np.roll(history.vectors, 1, axis=0)
    moved = replace(history.take(history.item < ITEMS - 1), vectors=vectors)
    moved = replace(moved, item=moved.item + 1)
    again = fitted.recoded(code, ITEMS).about(moved).scores(users)[:, 1:]
    same = fitted.about(history.take(history.item < ITEMS - 1)).scores(users)[:, :-1]
    assert again == pytest.approx(same, abs=1e-6)


@pytest.mark.parametrize("name", RECOMMENDERS)
def test_nothing_known(name: str) -> None:
    nothing = np.empty(0, np.int64)
    empty = Interactions.of(nothing, nothing, np.empty(0), nothing, nothing, 2, 3)
    fitted = recommender(name)().fit(empty)
    assert fitted.scores(np.array([0, 1])).tolist() == [[0, 0, 0]] * 2
    assert fitted.evidence(np.array([1]), np.array([2])).tolist() == [-1]


@pytest.mark.parametrize("name", ["transitions", "item_knn", "rp3beta", "ease", "content"])
def test_evidence_carries_the_most(name: str) -> None:
    """Taking one item out of the history lowers the score by its contribution; the evidence is the item that costs most."""
    history = checkerboard()
    fitted = recommender(name)().fit(history)
    for user, item in ((3, 17), (8, 22), (9, 21)):
        assert isinstance(fitted, ItemItem | Content)
        profile = fitted.profile[[user]].toarray()[0]
        towards = fitted.strength.toarray()[:, item] if isinstance(fitted, ItemItem) else fitted.vectors @ fitted.vectors[item]
        assert fitted.evidence(np.array([user]), np.array([item])).tolist() == [int((profile * towards).argmax())]


def sequence(*items: int, weight: float | list[float] = 1.0, n_items: int = 4, users: int = 1) -> Interactions:
    """Each user meets the items in this order, one a night."""
    user, n = np.repeat(np.arange(users), len(items)), len(items)
    weights = np.tile(np.broadcast_to(np.asarray(weight, float), n), users)
    time = np.tile(np.arange(n), users)
    return Interactions.of(user, np.tile(np.array(items), users), weights, n - 1 - time, time, users, n_items)


def test_transitions_arithmetic() -> None:
    history = sequence(0, 1, 2)
    plain = Transitions(row_power=0, column_power=0).fit(history).strength.toarray()
    assert plain[0].tolist() == [0, 1, 0.8, 0]  # next, and one further on
    assert plain[1].tolist() == [0, 0, 1, 0]
    assert not plain[2:].any()
    normal = Transitions().fit(history)
    assert normal.strength[0, 2] == pytest.approx(0.8 / 1.8**0.5 / 1.8**0.3)
    # profile: item 2 now, 1 one step ago, 0 two steps ago
    assert normal.scores(np.array([0]))[0, 2] == pytest.approx(0.7 * 1 / 1**0.5 / 1.8**0.3 + 0.49 * 0.8 / 1.8**0.5 / 1.8**0.3)


def test_transitions_follow_direction_window_and_liking() -> None:
    blind = Transitions(directed=False).fit(sequence(0, 1)).strength.toarray()
    assert blind[1, 0] == blind[0, 1] > 0
    assert Transitions().fit(sequence(0, 1)).strength[1, 0] == 0
    assert Transitions(window=1).fit(sequence(0, 1, 2)).strength[0, 2] == 0
    disliked = Transitions(row_power=0, column_power=0).fit(sequence(0, 1, 2, weight=[1, -3, 1])).strength.toarray()
    assert disliked[0].tolist() == [0, 0, 1, 0]  # the disliked item in between leaves no trace
    assert not disliked[1].any()
    assert Transitions().fit(sequence(1, 1)).strength.nnz == 0


def test_transitions_do_not_cross_users() -> None:
    strength = Transitions(row_power=0, column_power=0).fit(sequence(0, 1, users=2)).strength.toarray()
    assert strength[0, 1] == 2
    assert strength.sum() == 2


def test_transitions_back_and_prior() -> None:
    history = sequence(0, 1, 2)
    plain = Transitions(row_power=0, column_power=0, back=0.5).fit(history).strength.toarray()
    assert plain[:3, :3].tolist() == [[0, 1, 0.8], [0.5, 0, 1], [0.4, 0.5, 0]]
    assert Transitions(prior=3.2, column_power=0).fit(history).strength[0, 1] == pytest.approx(1 / 5**0.5)  # 1.8 lead on from item 0
    back, blind = (Transitions(directed=directed, back=1.0).fit(history).strength for directed in (True, False))
    assert np.array_equal(back.toarray(), blind.toarray())


@pytest.mark.parametrize("name", ["transitions", "next_item", "item_knn", "rp3beta", "ease"])
def test_rows_may_come_in_any_order(name: str) -> None:
    of, rows = checkerboard(), np.random.default_rng(4).permutation(8 * USERS)
    again = Interactions.of(of.user[rows], of.item[rows], of.weight[rows], of.age[rows], -of.age[rows], USERS, ITEMS)
    files = [recommender(name)().fit(history).save()["recommender.npz"] for history in (of, again)]
    assert files[0] == files[1]


LIKED = {0: (0, 1, 2), 1: (0, 1, 2), 2: (0, 3), 3: (4,)}  # by user


def liked(weight: float = 1.0, nights: int = 1) -> Interactions:
    """Every user meets what LIKED says, in that order, on each of some nights."""
    user, item = np.array([(u, i) for u, items in LIKED.items() for _ in range(nights) for i in items]).T
    return Interactions.of(user, item, np.full(len(user), weight), np.zeros(len(user), int), np.arange(len(user)), 4, 5)


def test_item_knn_arithmetic() -> None:
    strength = ItemKNN(shrink=2.0).fit(liked()).strength.toarray()
    assert strength[0] == pytest.approx([0, 2 / (6**0.5 + 2), 2 / (6**0.5 + 2), 1 / (3**0.5 + 2), 0])
    assert np.array_equal(strength, strength.T)
    assert not strength[4].any()
    one = ItemKNN(neighbours=1, shrink=0.0).fit(liked()).strength.toarray()
    assert one[:, 1] == pytest.approx([0, 0, 1, 0, 0])  # 2 is nearer than 0
    assert one[:, 0] == pytest.approx([0, 2 / 6**0.5, 0, 0, 0])  # 1 and 2 are as near: the lower code
    profile = ItemKNN(shrink=2.0, profile_decay=0.5).fit(liked())
    assert profile.scores(np.array([2]))[0, 1] == pytest.approx(0.5 * 2 / (6**0.5 + 2))  # item 0 was the last but one
    assert np.array_equal(ItemKNN().fit(liked(weight=-1.0)).scores(np.arange(4)), np.zeros((4, 5)))


def test_rp3beta_arithmetic() -> None:
    strength = RP3Beta(alpha=0.8, beta=0.4).fit(liked()).strength.toarray()
    assert strength[0, 1] == pytest.approx(2 * (1 / 3 * 1 / 3) ** 0.8 / 2**0.4)
    assert strength[0, 3] == pytest.approx((1 / 3 * 1 / 2) ** 0.8)
    assert strength[3, 0] == pytest.approx((1 * 1 / 2) ** 0.8 / 3**0.4)
    walk = RP3Beta(alpha=1.0, beta=0.0).fit(liked()).strength.toarray()
    assert walk.sum(axis=1) == pytest.approx([11 / 18, 2 / 3, 2 / 3, 1 / 2, 0])  # what comes back to the item itself is missing


def test_ease_is_a_ridge_regression_on_all_other_items() -> None:
    who = np.array([[float(i in items) for i in range(5)] for items in LIKED.values()])
    model = EASE(regularisation=0.5, profile_decay=1.0).fit(liked())
    strength = model.strength.toarray()
    for item in range(5):
        others = np.delete(np.arange(5), item)
        x = who[:, others]
        assert strength[others, item] == pytest.approx(np.linalg.solve(x.T @ x + 0.5 * np.eye(4), x.T @ who[:, item]), abs=2e-6)
    assert (strength[3, [1, 2]] < 0).all()  # who has 0 and yet not 1: 3 speaks against it
    users = np.arange(4)
    assert model.scores(users) == pytest.approx(np.maximum(who @ strength, 0), abs=1e-6)
    assert model.scores(users)[2, 1] > 0
    assert model.evidence(np.array([2, 3]), np.array([1, 1])).tolist() == [0, -1]
    assert (model.similar(users) >= 0).all()
    few = EASE(regularisation=0.5, max_items=2).fit(liked()).strength.toarray()  # 0, and of 1 and 2 the lower code
    assert sorted(zip(*np.nonzero(few), strict=True)) == [(0, 1), (1, 0)]
    assert (np.count_nonzero(EASE(regularisation=0.5, neighbours=1).fit(liked()).strength.toarray()[:, [0, 3]], axis=0) <= 2).all()
    with pytest.raises(ValueError, match="raise `regularisation`"):
        EASE(regularisation=-3.0).fit(sequence(0, 1, users=2))


@pytest.mark.parametrize("model", [ItemKNN, RP3Beta, EASE])
def test_who_likes_what_counts_once_and_keenness_by_its_power(model: type[ItemKNN | RP3Beta | EASE]) -> None:
    once = model().fit(liked()).strength.toarray()
    assert np.array_equal(model().fit(liked(weight=7.0, nights=3)).strength.toarray(), once)
    keen = liked()
    keen = replace(keen, weight=np.where((keen.user == 0) & (keen.item < 2), 9.0, 1.0))
    assert np.array_equal(model().fit(keen).strength.toarray(), once)
    assert model(weight_power=0.5).fit(keen).strength[1, 0] > model(weight_power=0.5).fit(keen).strength[2, 0]
    assert model(weight_power=0.5).fit(keen).profile.max() == 3 * (1 if model().profile_decay == 1 else 0.9)


def walkers(shuffled: bool = False) -> tuple[Interactions, np.ndarray]:
    """300 users go round a ring of 40 items, to the next one or, one time in three, to any; returns where the next step would lead, too."""
    rng = np.random.default_rng(3)
    met = np.cumsum(np.where(rng.random((300, 8)) < 2 / 3, 1, rng.integers(0, 40, (300, 8))), axis=1) % 40
    leads = (met[:, -1] + 1) % 40
    met = rng.permuted(met, axis=1) if shuffled else met
    user, time = np.repeat(np.arange(300), 8), np.tile(np.arange(8), 300)
    return Interactions.of(user, met.ravel(), np.ones(2400), 7 - time, time, 300, 40), leads


def test_next_item_learns_from_last_items_which_path_and_lag_tell() -> None:
    def lead(model: NextItem, history: Interactions, leads: np.ndarray) -> float:
        """How far the item that the user is led to lies above the next best unseen one, median of log odds."""
        scores = model.fit(history).scores(np.arange(300))
        right = scores[np.arange(300), leads]
        others = np.where(history.seen().toarray() > 0, 0, scores)
        others[np.arange(300), leads] = 0
        return float(np.median(np.log(np.maximum(right, 1e-9) / np.maximum(others.max(axis=1), 1e-9))))

    model, plain = NextItem(), NextItem(ridge=1e9)
    fitted, alone = lead(model, *walkers()), lead(plain, *walkers())
    assert fitted > alone + 0.5
    own = len(plain.means)
    assert plain.weights[own] == pytest.approx(1.0, abs=1e-4)  # transitions alone
    assert np.abs(np.delete(plain.weights, own)).max() < 1e-4
    assert lead(NextItem(), *walkers(shuffled=True)) < alone - 1
    assert lead(NextItem(directed=False), *walkers()) < fitted


def test_popularity_counts_the_window_by_group_and_backs_off() -> None:
    # item 0: four users long ago; item 1: two users of group 0 last night; item 2: one user of group 1, disliked by another
    user, item = np.array([0, 1, 2, 3, 0, 1, 2, 3]), np.array([0, 0, 0, 0, 1, 1, 2, 2])
    weight, age = np.array([1.0, 1, 1, 1, 1, 1, 1, -3]), np.array([20, 20, 20, 20, 0, 0, 0, 0])
    history = Interactions.of(user, item, weight, age, -age, 4, 4, np.array([0, 0, 1, -1]))
    scores = Popularity(window=14, prior=1.0).fit(history).scores(np.arange(4))
    ever = 1e-3 * np.array([4, 2, 1, 0]) / 7
    assert scores[0] == pytest.approx(np.array([0, (2 + 2 / 3) / 3, (0 + 1 / 3) / 3, 0]) + ever)
    assert scores[2] == pytest.approx(np.array([0, (0 + 2 / 3) / 2, (1 + 1 / 3) / 2, 0]) + ever)
    assert scores[3] == pytest.approx(np.array([0, 2 / 3, 1 / 3, 0]) + ever)


def test_popularity_counts_a_user_once_a_night_however_keen() -> None:
    history = Interactions.of(np.array([0, 1, 2]), np.array([0, 1, 1]), np.array([500.0, 1, 1]), np.zeros(3, int), np.zeros(3, int), 3, 2)
    assert Popularity().fit(history).in_window.tolist() == [1, 2]


def test_content_prefers_the_near_and_knows_nothing_of_the_wordless() -> None:
    vectors = np.array([[1, 0, 0], [0.9, 0.436, 0], [0, 0, 1], [0, 0, 0]], np.float32)
    history = replace(sequence(0), vectors=vectors)
    scores = Content().fit(history).scores(np.array([0]))[0]
    assert scores[0] == pytest.approx(1)
    assert scores[1] > scores[2]
    assert scores[3] == 0
    assert Content().fit(replace(sequence(3), vectors=vectors)).scores(np.array([0])).tolist() == [[0, 0, 0, 0]]


def test_profiles_decay_by_interactions_and_skip_what_was_disliked() -> None:
    history = sequence(0, 1, 2, 0, weight=[4, -1, 1, 1])
    assert profiles(history, 0.5, 10).toarray().tolist() == [[1.25, 0, 0.5, 0]]
    assert profiles(history, 0.5, 2).toarray().tolist() == [[1, 0, 0.5, 0]]
    assert profiles(history, 1.0, 10, weight_power=0.5).toarray().tolist() == [[3, 0, 1, 0]]
    assert places_from_end(np.empty(0, np.int64)).tolist() == []


# -- a site's own weights ----------------------------------------------------------------------------------------------------------
def test_a_night_with_an_item_weighs_what_the_site_says() -> None:
    counts = [{"view": 3}, {"view": 1, "purchase": 1, "return": 1}, {"rating": 1, "low_rated": 1}, {"search": 1, "hide": 2}]
    moment = dt.datetime(2026, 3, 10, 12, tzinfo=dt.UTC)
    rows = [
        {"ds": moment.date(), "user_key": "u", "item_id": f"i{n}", "n_events": sum(of.values()), "last_event_ts": moment}
        | {f"n_{t}": of.get(t, 0) for t in COUNTED_TYPES}
        for n, of in enumerate(counts)
    ]
    night = pa.Table.from_pylist(rows).select(COLUMNS)
    assert reduce_night(night)["weight"].to_pylist() == [3.0, 1 + 5 - 4, 2 - 6, 1.5 - 6]
    own = overridden("[view]\nbase_weight = 0\n[return]\nbase_weight = -6\n[low_rated]\nbase_weight = -1.5\ndecay = 3", "site.toml")
    found = reduce_night(night, own)
    assert found["weight"].to_pylist() == [0.0, 5 - 6, 2 - 1.5, 1.5 - 6]
    assert found["n_events"].to_pylist() == [3, 3, 2, 3]
    assert found["time"].to_pylist() == [int(moment.timestamp() * 1e6)] * 4


def test_lists_of_other_event_weights_are_another_version() -> None:
    sources: dict[str, Recommender] = {"transitions": Transitions()}
    plain = Recipe().version(Blend.linear({"transitions": 1.0}), sources)

    def version(text: str) -> str:
        return Recipe(event_weights=overridden(text, "site.toml").base).version(Blend.linear({"transitions": 1.0}), sources)

    assert version("[view]\nbase_weight = 1\ndecay = 2") == plain
    assert version("[view]\nbase_weight = 2") != plain
