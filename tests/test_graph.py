"""Edges between topics against counts made by hand, and against users whose topics were dealt out at random."""

from __future__ import annotations

import datetime as dt
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recsys_core import graph, totals

D = dt.date(2026, 3, 30)


def days(rows: list[tuple[int, str, int, float]]) -> list[pa.Table]:
    """user_topic_day, a table for each night, from (nights ago, user, topic, mass in events)."""
    made: dict[dt.date, list[dict[str, object]]] = {}
    for ago, user, topic, mass in rows:
        ds = D - dt.timedelta(days=ago)
        made.setdefault(ds, []).append({"ds": ds, "user_key": user, "topic_id": topic, "mass_micro": round(mass * 1e6)})
    return [pa.Table.from_pylist(night) for night in made.values()]


def edges(nights: list[pa.Table], relation: str, min_users: int) -> dict[tuple[int, int], Any]:
    """(src, dst) → edge of one relation."""
    counted = graph.counted(graph.taken(nights, D), D)
    found = graph.cooccurrence(counted.held, min_users) if relation == "cooccur" else graph.transitions(counted, min_users)
    return {(r.src_topic_id, r.dst_topic_id): r for r in (SimpleNamespace(**e) for e in found)}


def test_cooccurrence_by_hand() -> None:
    rows = [
        (1, u, t, 1.0)
        for u, topics in {"a": (1, 2), "b": (2, 1), "c": (1, 2), "d": (1, 3), "e": (3,), "f": (2,), "g": (3,), "h": (3,)}.items()
        for t in topics
    ]
    rows += [
        (0, "e", 1, 0.5),  # half an event is not held
        (0, "f", 3, 0.5),
        (3, "f", 3, 0.5),  # two halves are
        (30, "g", 1, 9.0),  # too long ago
    ]
    found = edges(made := days(rows), "cooccur", 1)
    # 8 users; 1: a b c d, 2: a b c f, 3: d e f g h
    assert {k: v.n_users for k, v in found.items()} == {(1, 2): 3, (1, 3): 1, (2, 3): 1}
    both = found[1, 2]
    assert (both.relation, both.directed) == ("cooccur", False)
    assert both.lift == round((3 / 8) / (4 / 8 * 4 / 8), 6) == 1.5
    assert both.weight == round(math.log(1.5) / -math.log(3 / 8), 6)
    assert found[1, 3].lift == round((1 / 8) / (4 / 8 * 5 / 8), 6)
    assert found[1, 3].weight < 0
    assert set(edges(made, "cooccur", 2)) == {(1, 2)}


def test_topics_that_everybody_holds_have_npmi_one() -> None:
    edge = edges(days([(0, u, t, 1.0) for u in "ab" for t in (1, 2)]), "cooccur", 1)[1, 2]
    assert (edge.weight, edge.lift) == (1.0, 1.0)


def test_transitions_by_hand() -> None:
    rows = [
        (20, "a", 1, 1.0), (10, "a", 2, 1.0),  # 1 → 2 on the 10th of 14 days
        (20, "b", 1, 0.5), (6, "b", 2, 0.5),  # on the 14th
        (20, "c", 1, 1.0), (5, "c", 2, 1.0),  # the 15th day is too late: 14 days at risk
        (9, "d", 2, 1.0), (8, "d", 1, 1.0),  # 2 → 1; never at risk of 2 after 1
        (9, "e", 1, 1.0), (9, "e", 2, 1.0),  # the same night has no order: at risk of neither
        (9, "f", 1, 0.4), (7, "f", 2, 1.0),  # too little of 1: 7 days after 2
        (9, "g", 2, 1.0), (7, "g", 1, 1.0), (5, "g", 2, 1.0),  # the first time counts: 2 → 1 on the 2nd day
        (4, "h", 1, 1.0), (30, "h", 3, 1.0),  # seen for 4 days after 1, and for 14 after 3, at risk of both
    ]  # fmt: skip
    found = edges(made := days(rows), "transition", 1)
    assert {k: v.n_users for k, v in found.items()} == {(1, 2): 2, (2, 1): 2}
    there, back = found[1, 2], found[2, 1]
    assert (there.relation, there.directed) == ("transition", True)
    # days at risk after 1 of 2: a 10, b 14, c 14, h 4; after 3 of 2: h 14. After 2 of 1: a to c had it, d 1, f 7, g 2; after 3 of 1: h 14.
    assert there.weight == round(1 - (1 - 2 / 42) ** 14, 6)
    assert there.lift == round((2 / 42) / (2 / (42 + 14)), 6)
    assert back.weight == round(1 - (1 - 2 / 10) ** 14, 6)
    assert back.lift == round((2 / 10) / (2 / (10 + 14)), 6)
    assert edges(made, "transition", 3) == {}


def test_direction_of_transitions_follows_time() -> None:
    forward = [(20 - 5 * t, f"u{n}", t, 1.0) for n in range(10) for t in (1, 2, 3)]
    backward = [(5 * t, u, t, m) for _, u, t, m in forward]
    assert set(edges(days(forward), "transition", 5)) == {(1, 2), (2, 3), (1, 3)}
    assert set(edges(days(backward), "transition", 5)) == {(2, 1), (3, 2), (3, 1)}


def test_dealing_topics_out_at_random_destroys_the_lift() -> None:
    """120 users hold one of three pairs of topics; the same topics dealt out at random among the same users are independent."""
    rng = np.random.default_rng(5)
    rows = [(1, f"u{n}", 2 * (n % 3) + part, 1.0) for n in range(120) for part in (0, 1)]
    shuffled = [
        (ago, user, int(topic), mass) for (ago, user, _, mass), topic in zip(rows, rng.permutation([r[2] for r in rows]), strict=True)
    ]
    planted, random = (edges(days(made), "cooccur", 1) for made in (rows, shuffled))
    assert {k: v.lift for k, v in planted.items()} == {(0, 1): 3.0, (2, 3): 3.0, (4, 5): 3.0}
    assert {v.weight for v in planted.values()} == {1.0}
    assert all(random[pair].lift < 1.6 and random[pair].weight < 0.2 for pair in planted if pair in random)
    assert len(random) > 10


def test_order_and_partitions_of_the_input_change_nothing() -> None:
    rows = [(n % 25, f"u{n % 11}", n * n % 7, 0.3 + n % 4 / 3) for n in range(150)]

    def all_edges(made: list[tuple[int, str, int, float]], parts: int) -> list[dict[str, object]]:
        whole = pa.concat_tables(days(made))
        nights = [whole.slice(i, -(-len(made) // parts)) for i in range(0, len(made), -(-len(made) // parts))]
        counted = graph.counted(graph.taken(nights, D), D)
        return graph.cooccurrence(counted.held, 2) + graph.transitions(counted, 2)

    wanted = all_edges(rows, 1)
    assert {e["relation"] for e in wanted} == {"cooccur", "transition"}
    assert len(wanted) > 10
    assert all_edges(rows[::-1], 5) == wanted


def test_ranges_of_users_and_how_often_nights_are_added_up_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = days([(n % 25, f"u{n % 11}", n * n % 7, 0.3 + n % 4 / 3) for n in range(150)])
    by = [("user_key", "ascending"), ("topic_id", "ascending")]
    whole = graph.taken(made, D)
    monkeypatch.setattr(totals, "_LEAST", 3)
    monkeypatch.setattr(graph, "_PAIRS", 10)
    users = [pc.less(night["user_key"], "u4") for night in made]
    some, others = ([n.filter(w) for n, w in zip(made, side, strict=True)] for side in (users, map(pc.invert, users)))
    ranges = pa.concat_tables([graph.taken(nights, D) for nights in (some, others)]).unify_dictionaries()
    one, two = (t.set_column(0, "user_key", t["user_key"].cast(pa.string())).sort_by(by) for t in (ranges, whole))
    assert one.equals(two)
    assert graph.counted(ranges, D) == graph.counted(whole, D)


def test_what_users_took_up_is_summed_by_the_week() -> None:
    made = days([(9, "a", 1, 2.0), (7, "a", 1, 1.0), (6, "a", 1, 0.25), (0, "a", 2, 1.0)])
    made = [
        n.append_column("mass_view_micro", n["mass_micro"]).append_column("mass_hide_micro", pa.array([400_000] * len(n))) for n in made
    ]
    rows = {r["topic_id"]: r for r in graph.taken(made, D, {"view": 2.0, "hide": -3.0}).to_pylist()}
    assert (rows[1]["before_micro"], rows[1]["week_micro"]) == (3_000_000, 250_000)
    assert (rows[1]["liked_before"], rows[1]["liked_week"]) == (2 * 3_000_000 - 3 * 800_000, 2 * 250_000 - 3 * 400_000)
    assert (rows[1]["held"], rows[1]["first"], rows[2]["week_micro"]) == (True, D - dt.timedelta(days=9), 1_000_000)
    assert graph.taken(made, D)["liked_week"].to_pylist() == [0, 0]


def test_similar_topics_are_the_nearest_centroids() -> None:
    angles = np.radians([0, 10, 30, 80])
    alike = graph.similarity(np.stack([np.cos(angles), np.sin(angles)], axis=1), [[]] * 4)
    found = graph.similar(np.array([7, 3, 5, 9]), alike, neighbours=1)
    # nearest: 7 ↔ 3 (10°), 5 → 3 (20°), 9 → 5 (50°)
    assert [(e["src_topic_id"], e["dst_topic_id"]) for e in found] == [(3, 5), (3, 7), (5, 9)]
    assert [e["weight"] for e in found] == pytest.approx([math.cos(math.radians(a)) for a in (20, 10, 50)], abs=1e-6)
    assert all((e["relation"], e["directed"], e["n_users"], e["lift"]) == ("similar", False, 0, 1.0) for e in found)


def test_shared_keywords_bring_topics_nearer() -> None:
    alike = graph.similarity(np.eye(3), [["tent", "rope"], ["rope", "tent", "stove"], ["帐篷"]])
    assert alike.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert graph.similarity(-np.eye(2) + 0.0, [["tent"], []])[0, 1] == 0


def test_equally_near_topics_go_by_id_and_one_topic_has_no_edge() -> None:
    found = graph.similar(np.array([9, 4, 6]), np.eye(3), neighbours=1)
    assert [(e["src_topic_id"], e["dst_topic_id"]) for e in found] == [(4, 6), (4, 9)]
    assert graph.similar(np.array([1]), np.array([[1.0]])) == []


def test_the_matrix_of_a_relation_goes_both_ways_where_it_is_undirected() -> None:
    known = graph.taxonomy({10: 99, 20: 99, 30: None}, [(30, 10)])
    assert graph.matrix(np.array([10, 20, 30]), known, "taxonomy").tolist() == [[0, 1, 0], [1, 0, 0], [1, 0, 0]]
    assert not graph.matrix(np.array([10, 20]), known, "similar").any()
    assert not graph.matrix(np.array([10, 20]), [{**known[0], "weight": -0.5}], "taxonomy").any()
