"""Lists: total order, what was met stays away, always full, true reasons, and weights that follow what happened."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recsys_core import explain
from recsys_core.declared import Stances
from recsys_core.events import type_weights
from recsys_core.lake import checksum, conform
from recsys_core.lists import CANDIDATES, FEW_EVENTS, Recipe, make
from recsys_core.rank import blend, choose_weights, ranked, top_n
from recsys_core.recommenders import Interactions, Recommender
from recsys_core.recommenders.content import Content
from recsys_core.recommenders.history import History, build, item_vectors, reduce_night, usual
from recsys_core.recommenders.popularity import Popularity
from recsys_core.recommenders.transitions import Transitions
from recsys_core.tables import TABLES

D = dt.date(2026, 3, 10)


# -- cut and blend ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("n", [1, 3, 7, 50, 60])
def test_top_n_is_a_total_order(n: int) -> None:
    rng = np.random.default_rng(n)
    scores, allowed = rng.integers(0, 4, (20, 50)) / 3.0, rng.random((20, 50)) < 0.7
    for row, found in enumerate(top_n(scores, allowed, n)):
        wanted = sorted(np.flatnonzero(allowed[row]), key=lambda c: (-scores[row, c], c))[:n]
        assert found.tolist() == wanted + [-1] * (n - len(wanted))


def walkers(users: int = 80, items: int = 24, seed: int = 0) -> Interactions:
    """Everyone walks the same ring from a place of their own, one step a night; one in ten is disliked."""
    rng = np.random.default_rng(seed)
    steps = 6
    start = rng.integers(0, items, users)
    user, step = np.repeat(np.arange(users), steps), np.tile(np.arange(steps), users)
    item = (start[user] + step) % items
    weight = np.where(rng.random(len(user)) < 0.1, -3.0, 1.0)
    vectors = np.eye(items, dtype=np.float32)
    return Interactions.of(user, item, weight, steps - 1 - step, step, users, items, np.zeros(users, int), vectors)


def fitted(history: Interactions) -> dict[str, Transitions | Content | Popularity]:
    return {"transitions": Transitions().fit(history), "content": Content().fit(history), "popularity": Popularity().fit(history)}


def test_blend_keeps_away_what_was_met_and_what_is_gone() -> None:
    history = walkers()
    eligible = np.ones(24, bool)
    eligible[[3, 4]] = False
    slots = blend(fitted(history), CANDIDATES[0], history, np.arange(80), eligible, 10)
    met = history.seen().toarray()
    assert not met[slots.user, slots.item].any()
    assert eligible[slots.item].all()
    assert np.bincount(slots.user).tolist() == [10] * 80
    pairs = slots.user * 24 + slots.item
    assert len(np.unique(pairs)) == len(pairs)
    again = blend(fitted(history), CANDIDATES[0], history, np.arange(80), eligible, 10, allow_seen=True)
    assert met[again.user, again.item].any()


def test_short_catalogue_gives_every_eligible_unseen_item() -> None:
    history = walkers()
    slots = blend(fitted(history), CANDIDATES[0], history, np.arange(80), np.ones(24, bool), 100)
    unseen = (history.seen().toarray() == 0).sum(axis=1)
    assert np.bincount(slots.user).tolist() == unseen.tolist()
    assert slots.rank[slots.user == 7].tolist() == list(range(1, unseen[7] + 1))


def test_source_and_evidence_belong_to_the_largest_share() -> None:
    history = walkers()
    sources = fitted(history)
    slots = blend(sources, {"transitions": 1.0, "content": 0.0, "popularity": 0.1}, history, np.arange(80), np.ones(24, bool), 24)
    strength, profile = sources["transitions"].strength.toarray(), sources["transitions"].profile.toarray()  # type: ignore[union-attr]
    names = np.array(list(sources))[slots.source]
    assert set(names) == {"transitions", "popularity"}
    for user, item, name, evidence in zip(slots.user, slots.item, names, slots.evidence, strict=True):
        if name == "transitions":
            assert strength[evidence, item] > 0
            assert profile[user, evidence] > 0
        else:
            assert evidence == -1


def test_walk_is_continued() -> None:
    """The next step on the ring comes first for who liked the last one; with shuffled items it does so by chance only."""
    history = walkers()
    last = history.item[5::6]
    liked = history.weight[5::6] > 0

    def first(source: Transitions) -> float:
        return float((ranked(source, history, np.arange(80), np.ones(24, bool), 1)[:, 0] == (last + 1) % 24)[liked].mean())

    assert first(Transitions().fit(history)) > 0.9
    shuffled = replace(history, item=np.random.default_rng(1).permutation(history.item))
    assert first(Transitions().fit(shuffled)) < 0.3


def test_block_size_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    history = walkers()
    whole = blend(fitted(history), CANDIDATES[0], history, np.arange(80), np.ones(24, bool), 5)
    monkeypatch.setattr("recsys_core.rank.BLOCK", 7)
    parts = blend(fitted(history), CANDIDATES[0], history, np.arange(80), np.ones(24, bool), 5)
    for name in ("user", "rank", "item", "score", "source", "evidence"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name))


# -- weights ---------------------------------------------------------------------------------------------------------------------
ONLY = [{"transitions": 0.0, "popularity": 1.0}, {"transitions": 1.0, "popularity": 0.0}]


def choose(history: Interactions, **options: int) -> dict[str, float]:
    sources: dict[str, Recommender] = {"transitions": Transitions(), "popularity": Popularity()}
    return choose_weights(sources, ONLY, history, np.ones(history.n_items, bool), **{"nights": 2, "min_users": 10, **options})


def test_weights_follow_what_happened() -> None:
    history = walkers()
    assert choose(history) == ONLY[1]
    # the same past, but of late everybody turned to the one item that is popular
    hit = 24
    late = history.age < 2
    fans = np.arange(40)
    user = np.r_[history.user[~late], fans, np.arange(40, 80)]
    item = np.r_[history.item[~late], np.full(40, hit), np.full(40, hit)]
    age = np.r_[history.age[~late], np.full(40, 2), np.full(40, 0)]
    crowd = Interactions.of(user, item, np.ones(len(user)), age, -age, 80, 25)
    assert choose(crowd) == ONLY[0]


def test_too_few_users_leave_the_first_candidate() -> None:
    assert choose(walkers(), min_users=1000) == ONLY[0]
    assert choose(walkers(), nights=100) == ONLY[0]


# -- rows ------------------------------------------------------------------------------------------------------------------------
def day(nights_ago: int, user: str, item: str, hour: int = 12, **counts: int) -> dict[str, object]:
    """A row of user_item_day."""
    row: dict[str, object] = dict.fromkeys(TABLES["user_item_day"].names)
    ds = D - dt.timedelta(days=nights_ago)
    row |= {f"n_{t}": counts.get(t, 0) for t in type_weights()}
    row |= {"ds": ds, "user_key": user, "item_id": item, "n_events": sum(counts.values()), "n_positive": 0, "n_negative": 0}
    return row | {"last_event_ts": dt.datetime(ds.year, ds.month, ds.day, hour, tzinfo=dt.UTC)}


def table(rows: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=TABLES["user_item_day"].arrow_schema())


ROWS = [
    *(day(2, f"u{i}", "a", view=1) for i in range(6)),
    *(day(1, f"u{i}", "b", view=1, purchase=1) for i in range(5)),
    day(1, "u5", "c", view=1, hide=1),
    day(0, "u9", "d", dislike=1),
    day(40, "u8", "e", view=2),
    day(120, "gone", "a", view=1),
]
CATALOGUE = pa.table(
    {
        "item_id": ["a", "b", "c", "d", "e", "f", "g"],
        "title": ["Ant", "Bee", "Cat", "Dog", "Elk", None, "Gnu"],
        "deleted": [False, False, False, False, False, False, True],
    }
)
SESSIONS = pa.table({"user_key": ["u0", "u0", "u0", "u5"], "lang": ["zh", "en", "en", "zh"], "region": ["CN", None, None, "CN"]})
TOPICS = pa.table({"item_id": ["b", "b", "c"], "topic_id": [7, 8, 9], "weight": [0.6, 0.4, 1.0], "rank": pa.array([1, 2, 1], pa.int16())})


def contexts(*rows: tuple[int, str, str, str]) -> pa.Table:
    """Rows of user_item_context_day from (nights ago, user, item, part of the day)."""
    made = [{"ds": D - dt.timedelta(days=n), "user_key": u, "item_id": i, "daypart": p} for n, u, i, p in rows]
    return pa.Table.from_pylist(made, schema=TABLES["user_item_context_day"].arrow_schema()).select(
        ["ds", "user_key", "item_id", "daypart"]
    )


def said(*prior: tuple[str, int, float], muted: tuple[tuple[str, int], ...] = ()) -> Stances:
    schema = pa.schema([("user_key", pa.string()), ("topic_id", pa.int64()), ("weight", pa.float64())])
    return Stances(pa.table([pa.array([p[k] for p in prior], f.type) for k, f in enumerate(schema)], schema=schema), frozenset(muted))


def past(rows: list[dict[str, object]] = ROWS) -> History:
    return build(reduce_night(table(rows)), CATALOGUE["item_id"].to_pylist(), D)


def lists(
    rows: list[dict[str, object]] = ROWS,
    recipe: Recipe | None = None,
    met: pa.Table | None = None,
    stances: Stances | None = None,
    hidden: tuple[int, ...] = (),
) -> pa.Table:
    history = past(rows)
    vectors = np.eye(len(history.items), 8, dtype=np.float32)
    vectors[history.item_codes(pa.array(["c"]))] = vectors[history.item_codes(pa.array(["f"]))]
    told = (SESSIONS, TOPICS, recipe or Recipe(list_size=4), D, "run-1", met or contexts(), stances or said())
    made = make(history, CATALOGUE, vectors, *told, hidden)
    return conform(made, TABLES["user_topn"])


def of(made: pa.Table, user: str, list_name: str) -> list[dict[str, object]]:
    mask = pc.and_(pc.equal(made["user_key"], user), pc.equal(made["list_name"], list_name))
    return made.filter(mask).to_pylist()


def test_history_from_rows() -> None:
    history = past()
    assert history.users.to_pylist() == ["gone", "u0", "u1", "u2", "u3", "u4", "u5", "u8", "u9"]
    assert history.items.to_pylist() == ["a", "b", "c", "d", "e", "f", "g"]
    mine = history.interactions.user == 1
    assert history.interactions.item[mine].tolist() == [0, 1]
    assert history.interactions.weight[mine].tolist() == [1, 6]
    assert history.interactions.age[mine].tolist() == [2, 1]
    assert history.n_events[mine].tolist() == [1, 2]
    assert history.interactions.weight[history.interactions.user == 6].tolist() == [1, -2]  # seen, and hidden
    assert usual(SESSIONS, "lang", history.users)[1].tolist() == [-1, 0, -1, -1, -1, -1, 1, -1, -1]
    pooled = item_vectors(history, pa.chunked_array([["b", "b", "zz"]]), np.array([[1, 0], [0, 1], [5, 5]], np.float32))
    assert pooled[1].tolist() == [0.5, 0.5]
    assert not pooled[[0, 2, 3]].any()


def test_lists_of_known_users() -> None:
    made = lists()
    assert set(made.filter(pc.equal(made["list_name"], "for_you"))["user_key"].to_pylist()) == {*(f"u{i}" for i in range(6)), "u8", "u9"}
    u5 = of(made, "u5", "for_you")
    assert [r["rank"] for r in u5] == [1, 2, 3, 4]
    assert {r["item_id"] for r in u5} == {"b", "d", "e", "f"}  # a met, c hidden, g deleted
    assert u5[0]["item_id"] == "b"
    assert (u5[0]["source"], u5[0]["reason_code"], u5[0]["evidence_item_id"], u5[0]["topic_id"]) == ("transitions", "followed", "a", 7)
    assert u5[0]["reason_text_en"] == "Because of “Ant”: others went on from it to this"
    assert u5[0]["reason_text_zh"] == "因为“Ant”：其他人在它之后选择了这个"
    filled = {r["item_id"]: r for r in u5}
    assert filled["d"]["reason_code"] == "catalogue"  # disliked by the only one who met it: nothing may call it popular
    assert filled["d"]["source"] == "popularity"
    assert "d" not in {r["item_id"] for r in of(made, "u9", "for_you")}
    assert {r["reason_code"] for r in of(made, "u9", "for_you")} == {"popular", "catalogue"}


def test_reason_by_text() -> None:
    rows = [day(0, "x", "c", like=1), day(0, "y", "a", view=1)]
    (best,) = (r for r in of(lists(rows), "x", "for_you") if r["item_id"] == "f")
    assert (best["item_id"], best["source"], best["reason_code"], best["evidence_item_id"]) == ("f", "content", "similar_text", "c")
    assert best["reason_text_en"] == "Because of “Cat”: its description is similar"
    untitled = of(lists([day(0, "x", "f", like=1)]), "x", "for_you")[0]
    assert (untitled["item_id"], untitled["reason_text_en"]) == ("c", "Because of “f”: its description is similar")


def test_lists_of_unknown_users() -> None:
    made = lists()
    names = made.filter(pc.equal(made["user_key"], "*"))["list_name"].unique().to_pylist()
    assert names == [
        "popular",
        "popular_en",
        "popular_zh",
        *(f"popular_daypart_{part}" for part in ("night", "morning", "afternoon", "evening")),
        "popular_region_CN",
    ]
    best = of(made, "*", "popular")
    assert [r["item_id"] for r in best] == ["a", "b", "e", "c"]  # six, five, once long ago, none for c: ids decide
    assert [r["reason_code"] for r in best] == ["popular", "popular", "catalogue", "catalogue"]
    assert best[0]["reason_text_en"] == "Popular in the last 14 nights"
    assert all(r["evidence_item_id"] is None for r in best)


# -- little is known --------------------------------------------------------------------------------------------------------------
def items(made: pa.Table, user: str, list_name: str = "for_you") -> list[object]:
    return [r["item_id"] for r in of(made, user, list_name)]


def test_what_is_popular_at_a_part_of_the_day() -> None:
    rows = [*(day(0, f"m{n}", "f", view=1) for n in range(60)), *(day(3, f"e{n}", "e", view=1) for n in range(90)), *ROWS]
    met = [*((0, f"m{n}", "f", "morning") for n in range(60)), *((3, f"e{n}", "e", "evening") for n in range(90))]
    met += [(0, "u9", "d", "morning"), (40, "u8", "e", "morning"), (0, "m1", "e", "morning"), (1, "u5", "c", "")]
    made = lists(rows, met=contexts(*met))
    assert items(made, "*", "popular")[:2] == ["e", "f"]
    assert items(made, "*", "popular_daypart_morning")[:2] == ["f", "e"]  # who met it disliked d; of long ago and of no part nothing counts
    assert items(made, "*", "popular_daypart_evening")[:2] == ["e", "f"]
    assert items(made, "*", "popular_daypart_night") == items(made, "*", "popular")  # nobody was there: everyone decides
    assert lists(rows, met=contexts(*met[::-1])).equals(made)
    swapped = contexts(*((n, u, i, {"morning": "evening", "evening": "morning"}.get(p, p)) for n, u, i, p in met))
    assert items(lists(rows, met=swapped), "*", "popular_daypart_evening")[:2] == ["f", "e"]


def test_who_only_declared_gets_what_is_near_to_it() -> None:
    made = lists(stances=said(("nobody", 9, 1.0), ("gone", 9, 1.0), ("u0", 9, 1.0)))
    best = of(made, "nobody", "for_you")
    assert {r["item_id"] for r in best[:2]} == {"c", "f"}  # c is of the topic, f reads alike, though nobody ever met it
    assert (best[0]["source"], best[0]["reason_code"], best[0]["evidence_item_id"]) == ("declared", "declared", None)
    assert (best[0]["reason_text_en"], best[0]["reason_text_zh"]) == ("Close to the interests you named", "贴近您声明的兴趣")
    assert [r["reason_code"] for r in best[2:]] == ["popular", "popular"]
    assert [r["rank"] for r in best] == [1, 2, 3, 4]
    assert "a" not in items(made, "gone")  # met long ago
    assert items(made, "u0") == items(lists(), "u0")  # who has events is known by those
    assert items(lists(stances=said(("nobody", 7, 1.0))), "nobody")[0] == "b"


def test_what_is_muted_is_not_listed() -> None:
    before = lists()
    assert "b" in items(before, "u5")
    assert "b" in items(before, "u8")
    made = lists(stances=said(("nobody", 9, 1.0), muted=(("u5", 7), ("nobody", 7), ("x", 9))))
    assert "b" not in items(made, "u5")
    assert "b" not in items(made, "nobody")
    assert items(made, "u8") == items(before, "u8")


def test_an_item_of_a_sensitive_topic_is_listed_for_nobody() -> None:
    made = lists(stances=said(("nobody", 7, 1.0)), hidden=(7, 99))
    assert set(lists()["item_id"].to_pylist()) - set(made["item_id"].to_pylist()) == {"b"}


def test_an_item_of_tonight_is_listed_by_its_text() -> None:
    for events in (1, FEW_EVENTS):
        best = of(lists([day(0, "x", "c", view=events), *ROWS]), "x", "for_you")
        (new,) = (r for r in best if r["item_id"] == "f")
        assert (new["source"], new["reason_code"], new["evidence_item_id"]) == ("content", "similar_text", "c")


def test_same_rows_whatever_their_order() -> None:
    shuffled = [ROWS[i] for i in np.random.default_rng(0).permutation(len(ROWS))]
    key = TABLES["user_topn"].key
    assert checksum(lists(), key) == checksum(lists(shuffled), key)


def test_version_names_recipe_and_weights() -> None:
    version = Recipe().version(CANDIDATES[0])
    assert version == Recipe().version(dict(CANDIDATES[0]))
    assert version.startswith("lists-")
    assert len({version, Recipe().version(CANDIDATES[1]), Recipe(list_size=10).version(CANDIDATES[0])}) == 3
    with pytest.raises(RuntimeError, match="list_size is 0"):
        Recipe(list_size=0)


def test_nobody_and_nothing() -> None:
    made = lists([])
    assert set(made["user_key"].to_pylist()) == {"*"}
    assert set(made["reason_code"].to_pylist()) == {"catalogue"}


def test_reason_texts_are_the_templates() -> None:
    english, chinese = explain.reason_texts(np.array([0, 2, 0]), np.array([1, -1, 0]), ["{title}", "B"], 7)
    assert english.to_pylist() == [
        "Because of “B”: others went on from it to this",
        "Popular in the last 7 nights",
        "Because of “{title}”: others went on from it to this",
    ]
    assert chinese.to_pylist()[1] == "近7天的热门"
