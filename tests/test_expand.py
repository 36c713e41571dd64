"""Proposals by each method against what was written out by hand; permuted signals change them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse

from recsys_core.expansion import COLLABORATIVE, FIRST, METHODS, THEN, Proposals, calibration, coverage, expansions, llm
from recsys_core.expansion.neighbours import NEIGHBOURS, lifts, similar_users
from recsys_core.expansion.pagerank import pagerank, walks
from recsys_core.expansion.state import State, Week, summed, week
from recsys_core.generate import Prompt, Templates
from recsys_core.lake import Lake

IDS = [10, 20, 30, 40]
NONE = np.zeros((4, 4))


def of(taken: dict[str, dict[int, float]], recent: dict[str, dict[int, float]] | None = None, **more: Any) -> Week:
    """The week of users by events before it and in it."""
    pairs = sorted({(u, t) for held in (taken, recent or {}) for u, topics in held.items() for t in topics})
    before, late = ([round(held.get(u, {}).get(t, 0) * 1e6) for u, t in pairs] for held in (taken, recent or {}))
    masses = {"before_micro": before, "liked_before": before, "week_micro": late, "liked_week": late}
    rows = pa.table({"user_key": [u for u, _ in pairs], "topic_id": [t for _, t in pairs], **masses})
    return week(rows, IDS, **more)


def said(made: Proposals, found: Week) -> list[tuple[str, int, int, int]]:
    """(user, topic, via, rank) of proposals."""
    return [(found.users[u], IDS[t], IDS[v], int(r)) for u, t, v, r in zip(made.user, made.topic, made.via, made.rank, strict=True)]


def pairs(*rows: tuple[str, int] | tuple[str, int, float]) -> pa.Table:
    """user_key, topic_id, weight."""
    return pa.table({"user_key": [r[0] for r in rows], "topic_id": [r[1] for r in rows], "weight": [float(r[-1]) for r in rows]})


def test_a_touch_is_half_an_event_and_no_stray_one() -> None:
    found = of({"a": {10: 20.0, 20: 0.9, 30: 1.2}, "b": {10: 0.4, 20: 0.6}}, {"a": {20: 3.0}, "b": {10: 0.2}})
    assert found.before.touched.tolist() == [[True, False, True, False], [False, True, False, False]]
    assert found.new.tolist() == [[False, True, False, False], [False] * 4]  # of b's week .2 is too little
    assert found.now.touched.tolist() == [[True, True, False, False], [True, True, False, False]]  # 1.2 of 25.1 is stray
    assert found.now.activity == pytest.approx([25.1, 1.2])
    assert found.before.shares[1] == pytest.approx([0.4, 0.6, 0, 0])


def test_declared_held_and_muted_topics_are_not_proposed() -> None:
    prior, held = pairs(("c", 20, 0.75), ("c", 30, 0.25)), pairs(("a", 40, 1.0), ("nobody", 10, 1.0))
    found = of({"a": {10: 3.0, 20: 1.0}, "b": {10: 1.0}}, prior=prior, barred=held, muted={("a", 20), ("b", 30), ("gone", 10)})
    assert found.users == ["a", "b", "c"]
    assert found.now.open.tolist() == [[False, False, True, False], [False, True, False, True], [True, False, False, True]]
    assert found.now.shares.tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0.75, 0.25, 0]]  # what is muted leads nowhere


def test_each_method_leads_where_its_matrix_does() -> None:
    found = of({"a": {10: 3.0, 20: 1.0}, "b": {30: 1.0}, "c": {30: 1.0, 40: 1.0}})
    leads = NONE.copy()
    leads[0, 2], leads[1, 2], leads[1, 3], leads[2, 0] = 0.2, 0.9, 0.5, 1.0
    made = expansions(found, {"context": leads, "knowledge": NONE, "llm": leads.T})
    assert said(made["context"], found) == [("a", 30, 20, 1), ("a", 40, 20, 2), ("b", 10, 30, 1), ("c", 10, 30, 1)]  # .75 · .2 < .25 · .9
    assert said(made["knowledge"], found) == []
    assert said(made["llm"], found) == [("a", 30, 10, 1), ("b", 20, 30, 1), ("b", 10, 30, 2), ("c", 20, 30, 1), ("c", 10, 30, 2)]
    assert set(made) == set(METHODS)
    assert set(expansions(found, {})) == {COLLABORATIVE}
    assert 0 < made["context"].score[1] < made["context"].score[0] < 1


def test_users_who_are_alike_lead_to_what_they_touched() -> None:
    found = of({"a": {10: 1.0}, "b": {10: 3.0, 20: 4.0}, "c": {10: 4.0, 30: 3.0}, "d": {40: 1.0}})
    scores = similar_users(found.now, slice(0, 4))
    # a: cosine .6 to b, .8 to c, 0 to d; and one neighbour like everybody: 20, 30 and 40 were touched by one of four, (1 + .5) / 5.
    assert scores[0, 1:] == pytest.approx([(0.6 + 0.3) / 2.4, (0.8 + 0.3) / 2.4, 0.3 / 2.4], abs=1e-6)
    assert not scores[3].any()  # nobody is like d
    made = expansions(found, {})[COLLABORATIVE]
    assert said(made, found)[:3] == [("a", 30, 10, 1), ("a", 20, 10, 2), ("a", 40, 10, 3)]
    assert lifts(found.now)[0].tolist() == [4 * 3 / 9, 4 / 3, 4 / 3, 0]
    assert [u for u, *_ in said(made, found) if u == "d"] == []


def test_only_the_nearest_users_count_and_blocks_change_nothing() -> None:
    rng = np.random.default_rng(1)
    shares = rng.dirichlet(np.full(4, 0.3), 2100).astype(np.float32)
    state = State(shares, shares > 0.2, np.zeros(shares.shape, bool), np.ones(2100))
    cosine = shares.astype(float) @ shares.T.astype(float) / np.outer(*[np.linalg.norm(shares.astype(float), axis=1)] * 2)
    np.fill_diagonal(cosine, 0)
    near = np.argsort(-cosine[2099])[:NEIGHBOURS]
    wanted = (cosine[2099, near] @ state.touched[near] + (state.touched.sum(axis=0) + 0.5) / 2101) / (cosine[2099, near].sum() + 1)
    assert similar_users(state, slice(2048, 2100))[51] == pytest.approx(wanted, abs=1e-5)
    found = Week([str(n) for n in range(2100)], state, state, np.zeros(shares.shape, bool))
    whole = expansions(found, {"context": 1 - np.eye(4)})["context"]
    assert set(whole.user[whole.user >= 2048].tolist()) <= set(range(2048, 2100))
    assert (np.diff(whole.user) >= 0).all()


def shop(seed: int, users: int = 400) -> tuple[Week, np.ndarray]:
    """Users of two worlds of ten topics; each touches two of their world, and in the last week half of them a third; and who is alike."""
    rng = np.random.default_rng(seed)
    world = np.arange(users) % 2
    dealt = np.argsort(rng.random((users, 10)), axis=1) + 10 * world[:, None]
    mass, fresh = np.zeros((users, 20)), np.zeros((users, 20))
    mass[np.arange(users)[:, None], dealt[:, :2]] = 2.0
    came = rng.random(users) < 0.5
    fresh[np.flatnonzero(came), dealt[came, 2]] = 2.0
    keys = [f"u{n:04}" for n in range(users)]
    at = [(keys[u], int(t)) for u, t in zip(*np.nonzero(mass + fresh), strict=True)]
    row, column = np.nonzero(mass + fresh)
    before, now = (np.rint(m[row, column] * 1e6).astype(np.int64) for m in (mass, fresh))
    columns = {"before_micro": before, "liked_before": before, "week_micro": now, "liked_week": now}
    taken = pa.table({"user_key": [u for u, _ in at], "topic_id": [t for _, t in at], **columns})
    return week(taken, list(range(20))), np.kron(np.eye(2), np.ones((10, 10))) - np.eye(20)


def test_probabilities_are_those_that_came_true_and_a_permuted_signal_is_chance() -> None:
    found, alike = shop(3)
    own = np.arange(20) // 10

    def inside(made: Proposals) -> float:
        """Share of first proposals that are of the user's own world."""
        first = made.rank == 1
        return float((own[made.topic[first]] == made.user[first] % 2).mean())

    rng = np.random.default_rng(4)
    made = expansions(found, {"context": alike})
    assert inside(made["context"]) == inside(made[COLLABORATIVE]) == 1
    # Before the week each user had eight open topics of their world, and half touched one of them: 1/16.
    assert made[COLLABORATIVE].score[made[COLLABORATIVE].rank == 1].mean() == pytest.approx(1 / 16, rel=0.4)
    assert made["context"].score.max() < 0.15
    order = rng.permutation(len(found.users))
    before, now = (State(s.shares[order], s.touched, s.barred, s.activity) for s in (found.before, found.now))
    changed = expansions(Week(found.users, before, now, found.new), {"context": alike})
    assert inside(changed["context"]) < 0.65
    assert inside(changed[COLLABORATIVE]) < 0.65


def test_little_evidence_and_evidence_against_a_method_are_not_fitted() -> None:
    few = np.column_stack([np.zeros((40, 3)), np.r_[np.ones(29), np.zeros(11)]])
    assert calibration.fit(few, FIRST) == FIRST
    assert calibration.fit(np.zeros((0, 4)), THEN) == THEN
    lead = np.r_[np.zeros(200), np.full(200, -2.0)]
    against = np.column_stack([lead, np.zeros((400, 2)), np.r_[np.zeros(200), np.tile([1.0, 0.0], 100)]])
    fitted = calibration.fit(against, FIRST)
    assert fitted.lead == 0
    assert fitted.probability(np.array([[0.5, 0.0]]), np.zeros((1, 2)), np.zeros(1)).tolist() == [[pytest.approx(0.25, abs=0.01), 0]]


def test_a_walk_is_at_each_node_as_often_as_the_equations_say() -> None:
    step = np.array([[0, 0.5, 0.5, 0], [1, 0, 0, 0], [0.25, 0, 0, 0.75], [0, 0, 1, 0]])
    found = pagerank(sparse.csr_matrix(step), np.array([0, 3]), steps=200)
    wanted = [0.15 * np.linalg.solve(np.eye(4) - 0.85 * step.T, np.eye(4)[s]) for s in (0, 3)]
    assert found == pytest.approx(np.array(wanted))


def test_walks_go_from_a_user_by_topics_and_items_to_topics() -> None:
    found = of({"a": {10: 1.0}, "b": {10: 1.0, 20: 1.0}, "c": {40: 1.0}})
    user_item, item_topic = (
        sparse.csr_matrix(np.array([[1.0, 0], [0, 0], [0, 0]])),
        sparse.csr_matrix(np.array([[0, 0, 1.0, 0], [0, 0, 0, 1.0]])),
    )
    scores = walks([(found.now, user_item), (found.before, sparse.csr_matrix((3, 2)))], item_topic)
    a, _, c = scores(found.now, slice(0, 3))
    assert (a[[1, 2]] > 0).all()  # 20 by way of b, 30 by way of the item
    assert a[3] == 0
    assert c[[0, 1, 2]].tolist() == [0, 0, 0]
    assert scores(found.before, slice(0, 1))[0, 2] == 0  # the item was not met by then
    made = expansions(found, {}, scores)[COLLABORATIVE]
    assert {(u, t) for u, t, *_ in said(made, found)} >= {("a", 20), ("a", 30)}


class Oracle:
    """A generator that knows one pair, and counts what it is asked."""

    name = "oracle"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def generate(self, prompts: Sequence[Prompt], say: Callable[[str], None]) -> list[str]:
        """Yes where tea meets cups."""
        self.asked += [p.text for p in prompts]
        return [
            ["Yes, surely.", "yesterday", "No", "是"][0 if "tea" in p.text and "cups" in p.text else 1 + n % 3]
            for n, p in enumerate(prompts)
        ]


def test_a_language_model_is_asked_once_per_pair_of_topics(tmp_path: Any) -> None:
    described, alike, oracle, lake = ["tea", "cups", 'bikes"', "boats"], np.ones((4, 4)), Oracle(), Lake(str(tmp_path))
    found = llm.pairs(oracle, described, alike, lake, print)
    assert np.argwhere(found).tolist() == [[0, 1], [1, 0]]
    assert len(oracle.asked) == len(set(oracle.asked)) == 6
    assert '"bikes\\""' in "".join(oracle.asked)
    assert llm.pairs(oracle, described, alike, lake, print).tolist() == found.tolist()
    assert len(oracle.asked) == 6
    assert not llm.pairs(Templates(), described, alike, lake, print).any()
    week_of = of({"a": {10: 1.0}, "b": {20: 1.0}})
    assert said(expansions(week_of, {"llm": found})["llm"], week_of) == [("a", 20, 10, 1), ("b", 10, 20, 1)]


D = dt.date(2026, 3, 30)


def test_coverage_by_hand() -> None:
    day = dt.timedelta(days=1)
    rows = [(10, "a", 10, 1.0), (10, "b", 10, 1.0), (10, "b", 20, 1.0), (10, "c", 20, 1.0), (7, "c", 40, 1.0), (9, "e", 10, 1.0)]
    rows += [
        (6, "a", 20, 1.0),
        (0, "a", 30, 0.5),
        (3, "a", 10, 1.0),
        (2, "b", 40, 0.6),
        (2, "d", 10, 1.0),
        (1, "c", 20, 1.0),
        (-1, "c", 30, 9.0),
    ]
    days = pa.table(
        dict(
            zip(
                ("ds", "user_key", "topic_id", "mass_micro"),
                zip(*[(D - a * day, u, t, round(m * 1e6)) for a, u, t, m in rows], strict=True),
                strict=True,
            )
        )
    )
    shown = [
        ("a", 30, "context", 0.2, 1),
        ("a", 40, "context", 0.1, 2),
        ("a", 40, "llm", 0.3, 1),
        ("b", 30, "llm", 0.4, 1),
        ("x", 10, "llm", 0.9, 1),
    ]
    table = pa.table(dict(zip(("user_key", "topic_id", "method", "score", "rank"), zip(*shown, strict=True), strict=True)))
    found = week(summed(days, D), IDS)
    rows_of = coverage.expansion_metrics(table, found, IDS, "kmeans-1", D, 0)
    got = {(r["list_name"], r["k"]): (r["value"], r["baseline_value"], r["n"]) for r in rows_of}
    # a took up 20 and 30, b took up 40; c nothing new, d and e do not count. Popular: 10 (3 users), 20 (2), 40 (1), 30.
    assert got == {
        ("union", 1): (0.0, 0.75, 2),  # a: 40 first; popular: 20 to a, 40 to b
        ("union", 5): (0.25, 1.0, 2),
        ("union", 10): (0.25, 1.0, 2),
        ("context", 1): (0.25, 0.75, 2),
        ("context", 5): (0.25, 1.0, 2),
        ("context", 10): (0.25, 1.0, 2),
        ("llm", 1): (0.0, 0.75, 2),
        ("llm", 5): (0.0, 1.0, 2),
        ("llm", 10): (0.0, 1.0, 2),
    }
    assert {(r["subject"], r["metric"], r["baseline"], r["model_version"]) for r in rows_of} == {
        ("expansion", "future_coverage", "popularity", "kmeans-1")
    }
    assert coverage.expansion_metrics(table, week(summed(days, D - 8 * day), IDS), IDS, "kmeans-1", D, 0) == []
