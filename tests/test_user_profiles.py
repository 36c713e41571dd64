"""What is told of a user in one row: weights of items, pooled vectors, stage of life, levels, words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest

from recsys_core import profiles
from recsys_core.events import overridden
from recsys_core.generate import Prompt
from recsys_core.lake import conform
from recsys_core.profiles import users
from recsys_core.tables import TABLES
from tests.profile_rows import SESSION, D, ago, item_day, table, visits


# -- item weights and pooled vectors -----------------------------------------------------------------------------------------------
def test_item_weights_decay_and_leave_out_what_is_not_wanted() -> None:
    rows = [
        item_day(0, "u", "a", view=1),
        item_day(45, "u", "a", purchase=2),
        item_day(0, "u", "b", view=2, dislike=1),
        item_day(0, "u", "c", rating=1, low_rated=1),
        item_day(30, "away", "a", view=1),
        item_day(75, "away", "a", purchase=2),
    ]
    items, sessions = table("user_item_day", rows), table("session", visits(rows))
    found = profiles.item_weights(items, sessions, D).to_pylist()
    wanted = pytest.approx(1.0 + 2 * 5.0 / 2**0.5, abs=1e-8)
    assert [tuple(r.values()) for r in found] == [("away", "a", wanted, "purchase"), ("u", "a", wanted, "purchase")]
    own = overridden("[purchase]\nbase_weight = 4\ndecay = 0.5\n[view]\ndecay = 2\n[dislike]\nbase_weight = -1", "site.toml")
    kept = [r for r in profiles.item_weights(items, sessions, D, own).to_pylist() if r["user_key"] == "u"]
    assert [(r["item_id"], r["weight"], r["act"]) for r in kept] == [("a", 1.0 + 2 * 4.0 / 2, "purchase"), ("b", 2.0 - 1.0, "dislike")]


def weights(*rows: tuple[str, str, float]) -> pa.Table:
    return pa.table({"user_key": [r[0] for r in rows], "item_id": [r[1] for r in rows], "weight": [r[2] for r in rows]})


def test_pooled_vector_is_the_weighted_sum_at_unit_length() -> None:
    rows = (("u", "x", 3.0), ("u", "y", 4.0), ("v", "y", 2.0), ("w", "unknown", 1.0), ("z", "x", 1.0), ("z", "minus_x", 1.0))
    vectors = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    found = profiles.pooled_vectors(weights(*rows), ["x", "y", "minus_x"], vectors)
    assert sorted(found) == ["u", "v"]  # w's item has no vector, z's cancel out
    assert found["u"].dtype == np.float32
    np.testing.assert_array_equal(found["u"], np.array([0.6, 0.8], np.float32))
    np.testing.assert_array_equal(found["v"], np.array([0, 1], np.float32))
    assert profiles.pooled_vectors(weights(("w", "unknown", 1.0)), ["x"], vectors[:1]) == {}
    assert (
        profiles.pooled_vectors(
            weights().cast(pa.schema([("user_key", pa.string()), ("item_id", pa.string()), ("weight", pa.float64())])), [], vectors[:0]
        )
        == {}
    )


def test_order_changes_no_byte_of_pooled_vectors() -> None:
    rng = np.random.default_rng(0)
    ids = [f"i{n}" for n in range(50)]
    vectors = rng.normal(size=(50, 8)).astype(np.float32)
    rows = [(f"u{n % 7}", ids[n * 3 % 50], float(w)) for n, w in enumerate(rng.random(40))]
    mixed, moved = rng.permutation(40), rng.permutation(50)
    one = profiles.pooled_vectors(weights(*rows), ids, vectors)
    two = profiles.pooled_vectors(weights(*(rows[i] for i in mixed)), [ids[i] for i in moved], vectors[moved])
    assert {u: v.tobytes() for u, v in one.items()} == {u: v.tobytes() for u, v in two.items()}


# -- the profile -------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("first", "last", "stage"),
    [(0, 0, "new"), (6, 6, "new"), (7, 7, "lapsing"), (7, 6, "active"), (80, 0, "active"), (80, 29, "lapsing"), (80, 30, "dormant")],
)
def test_lifecycle(first: int, last: int, stage: str) -> None:
    assert users.lifecycle(ago(first), ago(last), D) == stage


def test_entropy_of_shares_in_nats() -> None:
    assert users.entropy([0.2, 0.2]) == pytest.approx(math.log(2))
    assert users.entropy([0.5, 0.25, 0.25]) == pytest.approx(1.5 * math.log(2))
    assert str(users.entropy([0.7])) == "0.0"
    assert users.entropy([]) == 0.0


def test_drift_is_half_the_l1_distance() -> None:
    assert users.drift({1: 0.8, 2: 0.2}, {1: 0.5, 3: 0.5}) == pytest.approx(0.5 * (0.3 + 0.2 + 0.5))
    assert users.drift({1: 1.0}, {2: 1.0}) == 1.0
    assert users.drift({}, {1: 1.0}) is None
    assert users.drift({1: 1.0}, {}) is None


def test_summary_names_the_strongest_topics_in_both_languages() -> None:
    names = {1: ("tea", "茶"), 2: ("games", "游戏"), 4: ("hats", "帽子")}
    english, chinese = users.summary({2: 0.25, 1: 0.25, 4: 0.4, 9: 0.1}, names, 12)
    assert english == "Mostly hats (40%), tea (25%), games (25%); 12 events in the last 30 days."
    assert chinese == "主要兴趣：帽子（40%）、茶（25%）、游戏（25%）；最近30天12次行为。"
    assert users.summary({}, {}, 3)[0] == "No topic yet; 3 events in the last 30 days."


def test_profile_rows() -> None:
    sessions = {
        "ds": [ago(40), ago(29), ago(3), ago(30), ago(0), ago(0), ago(95)],
        "user_key": ["u", "u", "u", "w", "back", "one", "gone"],
        "n_events": [4, 5, 1, 2, 3, 1, 50],
    }
    interest = pa.table(
        {
            "user_key": ["u"] * 4 + ["back", "told", "told"],
            "topic_id": [1, 2, 1, 3, 2, 2, 7],
            "horizon": ["90d", "90d", "7d", "1d", "90d", "90d", "90d"],
            "share": [0.5, 0.5, 1.0, 1.0, 1.0, 0.25, 0.75],
            "first_seen_ds": [ago(40), ago(29), ago(40), ago(29), ago(300), D, D],
        },
    )
    vector = np.array([0.6, 0.8], np.float32)
    names = {1: ("tea", "茶"), 2: ("hats", "帽子"), 7: ("illness", "疾病")}
    rows = profiles.user_profile(pa.table(sessions, SESSION), interest, {"u": vector}, names, D, "space", "m", "run", ["told", "one"], {7})
    found = conform(rows, TABLES["user_profile"])
    back, one, told, u, w = found.to_pylist()
    assert (u["lifecycle"], u["cold_level"], u["n_events_30d"], u["n_topics"], u["top_topic_id"]) == ("active", 3, 6, 2, 1)
    assert (u["entropy"], u["drift_7d"], u["embedding_space"]) == (round(math.log(2), 6), 0.5, "space")
    assert u["vector"] == vector.tolist()
    assert (w["lifecycle"], w["cold_level"], w["n_events_30d"], w["n_topics"], w["top_topic_id"]) == ("dormant", 0, 0, 0, None)
    assert (w["drift_7d"], w["vector"], w["embedding_space"], w["entropy"]) == (None, None, None, 0.0)
    # Back after most of a year: no newcomer. Few events are the second step, one's own word without any the first.
    assert [(r["user_key"], r["lifecycle"], r["cold_level"]) for r in (back, one, told)] == [
        ("back", "active", 2),
        ("one", "new", 1),
        ("told", "new", 1),
    ]
    # A sensitive topic is counted and never named.
    assert (told["n_topics"], told["top_topic_id"]) == (2, 2)
    assert "illness" not in told["summary_en"]
    assert "疾病" not in told["summary_zh"]
    assert "hats (25%)" in told["summary_en"]


def test_cold_level_and_summary_stay_while_a_user_is_away() -> None:
    sessions = pa.table({"ds": [ago(89), ago(150), ago(178), ago(179)], "user_key": ["u"] * 4, "n_events": [3, 3, 4, 100]}, SESSION)
    none = TABLES["user_interest"].arrow_schema().empty_table()
    (row,) = profiles.user_profile(sessions, none, {}, {}, D, None, None, "run").to_pylist()
    assert (row["cold_level"], row["lifecycle"]) == (3, "dormant")
    less = sessions.filter(pa.array([True, True, False, True]))
    assert profiles.user_profile(less, none, {}, {}, D, None, None, "run")["cold_level"].to_pylist() == [0]


def test_nobody_has_no_profile() -> None:
    none = SESSION.empty_table()
    assert profiles.user_profile(none, TABLES["user_interest"].arrow_schema().empty_table(), {}, {}, D, "space", None, "run").num_rows == 0


def test_a_generator_writes_one_sentence_for_all_who_are_alike() -> None:
    class Writer:
        name = "writer"
        asked: ClassVar[list[str]] = []

        def generate(self, prompts: Sequence[Prompt], say: Callable[[str], None]) -> list[str]:
            self.asked.extend(p.text for p in prompts)
            return ["喜欢茶的人" if p.lang == "zh" else "" if "hats" in p.text else "Drinks tea." for p in prompts]

    names = {1: ("tea", "茶"), 2: ("hats", "帽子")}
    shares = {"a": {1: 0.7, 2: 0.1}, "b": {1: 0.75}, "c": {1: 0.81}, "d": {}}
    rows = [
        {"user_key": u, "n_events_30d": n, "summary_en": "template", "summary_zh": "模板"}
        for u, n in zip("abcd", (3, 12, 30, 0), strict=True)
    ]
    users.write_summaries(rows, shares, names, Writer(), None, print)
    assert len(Writer.asked) == 4  # b and c are alike
    assert not [text for text in Writer.asked if "12" in text or "75" in text]
    assert [r["summary_en"] for r in rows] == [
        "Mostly tea (70%), hats (10%); 3 events in the last 30 days.",
        "Drinks tea",
        "Drinks tea",
        "template",
    ]
    assert [r["summary_zh"] for r in rows] == ["喜欢茶的人"] * 3 + ["模板"]
