"""Lists: total order, what was met stays away, always full, true reasons, and weights that follow what happened."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy import sparse

from recsys_core import explain
from recsys_core.declared import Stances
from recsys_core.events import type_weights
from recsys_core.lake import checksum, conform
from recsys_core.lists import VARIANT, Recipe, Variant, make
from recsys_core.ranking.blender import FEW_EVENTS, Blend
from recsys_core.ranking.offer import Offer
from recsys_core.ranking.personal import Lists
from recsys_core.ranking.policy import ListRules
from recsys_core.ranking.shop import Shop
from recsys_core.ranking.top_n import Slots, ranked, top_n
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


def fitted(history: Interactions) -> dict[str, Recommender]:
    return {"content": Content().fit(history), "popularity": Popularity().fit(history), "transitions": Transitions().fit(history)}


def mixed(**weights: float) -> Blend:
    return Blend.linear({name: weights.get(name, 0.0) for name in ("content", "popularity", "transitions")})


USUAL = mixed(transitions=1.0, content=0.3, popularity=0.3)


def best(history: Interactions, n: int, blend: Blend = USUAL, eligible: np.ndarray | None = None, barred: Any = None) -> Slots:
    """Lists of all users, of what they have not met."""
    offer = Offer.everywhere(np.ones(history.n_items, bool) if eligible is None else eligible, history.seen() if barred is None else barred)
    users = np.arange(history.n_users)
    return Lists(fitted(history), blend, np.zeros(history.n_users, np.int64), offer.to).best(users, n)[0]


def test_lists_keep_away_what_was_met_and_what_is_gone() -> None:
    history = walkers()
    eligible = np.ones(24, bool)
    eligible[[3, 4]] = False
    slots = best(history, 10, eligible=eligible)
    met = history.seen().toarray()
    assert not met[slots.user, slots.item].any()
    assert eligible[slots.item].all()
    assert np.bincount(slots.user).tolist() == [10] * 80
    pairs = slots.user * 24 + slots.item
    assert len(np.unique(pairs)) == len(pairs)
    again = best(history, 10, barred=sparse.csr_matrix((80, 24)))
    assert met[again.user, again.item].any()


def test_short_catalogue_gives_every_eligible_unseen_item() -> None:
    history = walkers()
    slots = best(history, 100)
    unseen = (history.seen().toarray() == 0).sum(axis=1)
    assert np.bincount(slots.user).tolist() == unseen.tolist()
    assert slots.rank[slots.user == 7].tolist() == list(range(1, unseen[7] + 1))


def test_source_evidence_and_parts_belong_to_the_score() -> None:
    history = walkers()
    sources = fitted(history)
    slots = best(history, 24, mixed(transitions=1.0, content=0.0, popularity=0.1))
    strength, profile = sources["transitions"].strength.toarray(), sources["transitions"].profile.toarray()  # type: ignore[attr-defined]
    names = np.array(list(sources))[slots.source]
    assert set(names) == {"transitions", "popularity"}
    for user, item, name, evidence in zip(slots.user, slots.item, names, slots.evidence, strict=True):
        if name == "transitions":
            assert strength[evidence, item] > 0
            assert profile[user, evidence] > 0
        else:
            assert evidence == -1
    assert slots.parts.sum(axis=1) == pytest.approx(slots.score, abs=1e-9)
    known = slots.parts.any(axis=1)
    assert (slots.parts.max(axis=1) == slots.parts[np.arange(len(slots.item)), slots.source])[known].all()


def test_walk_is_continued() -> None:
    """The next step on the ring comes first for who liked the last one; with shuffled items it does so by chance only."""
    history = walkers()
    last = history.item[5::6]
    liked = history.weight[5::6] > 0

    def first(source: Transitions) -> float:
        unseen = Offer.everywhere(np.ones(24, bool), history.seen()).to
        return float((ranked(source, np.arange(80), unseen, 1)[:, 0] == (last + 1) % 24)[liked].mean())

    assert first(Transitions().fit(history)) > 0.9
    shuffled = replace(history, item=np.random.default_rng(1).permutation(history.item))
    assert first(Transitions().fit(shuffled)) < 0.3


def test_block_size_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    history = walkers()
    whole = best(history, 5)
    monkeypatch.setattr("recsys_core.ranking.top_n.BLOCK", 7)
    parts = best(history, 5)
    for name in ("user", "rank", "item", "score", "source", "evidence", "parts"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name))


def test_what_was_met_on_256_nights_was_met() -> None:
    nights = np.arange(256)
    history = Interactions.of(nights * 0, nights * 0, np.ones(256), 255 - nights, nights, 1, 3)
    assert (history.seen() + sparse.csr_matrix((1, 3), dtype=np.int8)).nnz == 1


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
        "category": pa.array([None] * 7, pa.string()),
        "stock": pa.array([None, 5, None, None, None, None, None], pa.int64()),
        "regions": pa.array([None] * 7, pa.list_(pa.string())),
        "available_from_ds": pa.array([None] * 7, pa.date32()),
        "available_to_ds": pa.array([None] * 7, pa.date32()),
        "first_ds": pa.array([D - dt.timedelta(days=n) for n in (300, 300, 300, 300, 300, 2, 300)], pa.date32()),
    }
)
TREE = pa.table({"category": pa.array([], pa.string()), "parent": pa.array([], pa.string())})
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


# What these tests are not about is off: lists beside for_you, order, exploration.
PLAIN = ListRules(because_you_liked=0, new_for_you=0, trending=0, diversity=0.0, calibration=0.0, exploration_slots=0)
INTERESTS = pa.table({"user_key": pa.array([], pa.string()), "topic_id": pa.array([], pa.int64()), "share": pa.array([], pa.float64())})


def shop(rows: list[dict[str, object]] = ROWS, **other: Any) -> Shop:
    history = past(rows)
    vectors = np.eye(len(history.items), 8, dtype=np.float32)
    vectors[history.item_codes(pa.array(["c"]))] = vectors[history.item_codes(pa.array(["f"]))]
    languages, group = usual(SESSIONS, "lang", history.users)
    history = replace(history, interactions=replace(history.interactions, group=group, vectors=vectors))
    told = {"contexts": contexts(), "interests": INTERESTS, "stances": said()} | {k: v for k, v in other.items() if v is not None}
    nothing = TABLES["user_interest_expansion"].arrow_schema().empty_table()
    return Shop(
        D,
        history,
        languages,
        **{"catalogue": CATALOGUE, "tree": TREE, "sessions": SESSIONS, "topics": TOPICS, "expansion": nothing, "labels": LABELS} | told,
    )


LABELS = {7: ("bees", "蜂"), 8: ("hives", "蜂箱"), 9: ("cats", "猫")}


def lists(
    rows: list[dict[str, object]] = ROWS,
    recipe: Recipe | None = None,
    met: pa.Table | None = None,
    stances: Stances | None = None,
    hidden: tuple[int, ...] = (),
    blend: Blend | None = None,
    **other: Any,
) -> pa.Table:
    of = shop(rows, contexts=met, stances=stances, hidden=hidden, **other)
    recipe = recipe or Recipe(list_size=4, rules=PLAIN)
    sources = fitted(of.history)
    variant = Variant(VARIANT, blend or Blend.default([*sources]), "blend-1")
    arm = np.zeros(len(of.past.users) + len(of.newcomers(recipe.active_nights)), np.int64)
    return conform(make(of, recipe, sources, [variant], arm, "run-1"), TABLES["user_topn"])


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
    assert checksum(lists()) == checksum(lists(shuffled))


def test_version_names_recipe_and_weights() -> None:
    sources = fitted(walkers())
    version = Recipe().version(USUAL, sources)
    assert version == Recipe().version(USUAL, fitted(walkers(seed=1)))
    assert version.startswith("lists-")
    others = [Recipe().version(mixed(transitions=1.0, content=0.3, popularity=0.1), sources), Recipe(list_size=10).version(USUAL, sources)]
    others += [Recipe(rules=ListRules(diversity=0.5)).version(USUAL, sources)]
    assert len({version, *others}) == 4
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


# -- what the site decides ---------------------------------------------------------------------------------------------------------
def test_slots_that_explore_stand_at_their_ranks_with_the_reason_of_the_proposal() -> None:
    schema, popular = TABLES["user_interest_expansion"].arrow_schema(), mixed(popularity=1.0)
    recipe = Recipe(list_size=2, rules=replace(PLAIN, exploration_slots=1))

    def explored(topic: int, via: int) -> list[dict[str, object]]:
        row = {
            "ds": D,
            "user_key": "u8",
            "topic_id": topic,
            "method": "context",
            "via_topic_id": via,
            "score": 0.4,
            "rank": 1,
            "reason": "",
        }
        made = lists(recipe=recipe, expansion=pa.Table.from_pylist([row | {"reason": ""}], schema), blend=popular)
        assert not any(r["exploration"] for r in of(made, "u0", "for_you"))  # nothing is proposed to them
        return of(made, "u8", "for_you")

    first, second = explored(9, 7)
    assert (first["item_id"], first["exploration"], first["source"]) == ("a", False, "popularity")
    assert (second["item_id"], second["exploration"], second["rank"], second["source"]) == ("c", True, 2, "expansion")
    assert (second["reason_code"], second["evidence_item_id"]) == ("explore", None)
    assert (second["reason_text_en"], second["reason_text_zh"]) == ("New to you: cats – close to bees", "新主题“猫”：与“蜂”相近")
    # b, the only item of the other topic, is in the list anyway
    assert [(r["item_id"], r["exploration"]) for r in explored(7, 9)] == [("a", False), ("b", False)]


def test_the_rules_of_the_site_decide_what_is_listed() -> None:
    rules = replace(PLAIN, category={"*": {"repeat": 2}})
    made = lists(recipe=Recipe(list_size=6, rules=rules))
    again = {r["item_id"]: r for r in of(made, "u0", "for_you")}
    assert "a" in again  # two nights ago
    assert "b" not in again  # last night
    assert (again["a"]["reason_code"], again["a"]["reason_text_en"]) == (
        "repeat",
        f"Back again: you last came across it on {D - dt.timedelta(days=2)}",
    )
    assert "b" in items(lists(), "u8")
    stock = CATALOGUE.set_column(CATALOGUE.column_names.index("stock"), "stock", pa.array([None, 0, *[None] * 5], pa.int64()))
    assert "b" not in lists(catalogue=stock)["item_id"].to_pylist()
    region = pa.array([None, ["FR"], *[None] * 5], pa.list_(pa.string()))
    elsewhere = lists(catalogue=CATALOGUE.set_column(CATALOGUE.column_names.index("regions"), "regions", region))
    assert "b" not in elsewhere["item_id"].to_pylist()  # nobody is known to be of that region


def test_lists_beside_for_you() -> None:
    rows = [*ROWS, day(3, "x", "c", purchase=1)]
    made = lists(rows, recipe=Recipe(list_size=3, rules=replace(PLAIN, because_you_liked=2, new_for_you=2)))
    liked = of(made, "x", "because_you_liked")
    assert [(r["item_id"], r["evidence_item_id"], r["reason_code"]) for r in liked] == [("f", "c", "because_you_liked")]
    assert liked[0]["reason_text_en"] == "Because you liked “Cat”"
    new = of(made, "x", "new_for_you")
    assert [(r["item_id"], r["reason_code"]) for r in new] == [("f", "new")]
    assert {r["list_name"] for r in made.to_pylist() if r["user_key"] == "u9"} == {"for_you"}


def test_parts_sum_to_the_score() -> None:
    for row in lists().to_pylist():
        assert sum(json.loads(row["contributions"]).values()) == pytest.approx(row["score"], abs=2e-6)


def test_each_user_has_the_lists_of_their_variant() -> None:
    of_night = shop(stances=said(("nobody", 9, 1.0)))
    recipe, sources = Recipe(list_size=4, rules=PLAIN), fitted(of_night.history)
    users = [*of_night.past.users.to_pylist(), *of_night.newcomers(90)]
    assert users[-1] == "nobody"
    variants = [
        Variant("as_before", USUAL, "blend-1"),
        Variant("varied", mixed(popularity=1.0), "blend-2", {"list_size": 2, "popularity_nights": 60}),
    ]
    arm, popular = np.arange(len(users)) % 2, set[str]()
    made = make(of_night, recipe, sources, variants, arm, "run-1")
    for number, user in enumerate(users):
        if user == "gone":  # not there for long
            continue
        mine = made.filter(pc.equal(made["user_key"], user)).to_pylist()
        wanted = variants[number % 2]
        assert {(r["variant"], r["model_version"]) for r in mine} == {(wanted.name, wanted.version)}
        if user != "nobody":
            assert len(mine) == (2 if wanted.name == "varied" else 4)
        window = {r["reason_text_en"] for r in mine if r["reason_code"] == "popular" and user != "nobody"}
        assert window <= {f"Popular in the last {60 if wanted.name == 'varied' else 14} nights"}, "each says the window that it went by"
        popular |= window
    assert len(popular) == 2
    assert set(made.filter(pc.equal(made["user_key"], "*"))["variant"].to_pylist()) == {VARIANT}
    with pytest.raises(RuntimeError, match=r"variant bold: with the site's rules it has diversity 0\.7 and calibration 0\.5"):
        Variant("bold", USUAL, "b", {"diversity": 0.7}).of(Recipe(rules=replace(PLAIN, calibration=0.5)))
