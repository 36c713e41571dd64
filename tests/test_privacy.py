"""Numbers about users leave only where enough of them stand behind, and with noise where a site asks for it: the same again, paid once."""

from __future__ import annotations

import datetime as dt
import math
import os
from collections import Counter
from pathlib import Path

import opendp.prelude as dp
import pyarrow as pa
import pytest

from recsys_core import graph
from recsys_core.lake import Lake, LakeError
from recsys_core.privacy.release import Release, audiences, geometric, noisy, shown, spend, spending, strongest, together
from recsys_core.sensitive import Sensitive
from recsys_core.tables import TABLES
from recsys_core.topics import tables

DAY = dt.date(2026, 3, 5)
SECRET = b"a secret of these tests"


def interests(*held: tuple[str, int, str, int]) -> pa.Table:
    """(user, topic, horizon, rank)"""
    return pa.table(dict(zip(("user_key", "topic_id", "horizon", "rank"), map(list, zip(*held, strict=True)), strict=True)))


def told(rule: Release, rows: pa.Table, topics: tuple[int, ...] = (1, 2, 3), secret: bytes = SECRET) -> dict[tuple[int, str], int]:
    found, _ = audiences(rows, topics, DAY, "m", rule, secret)
    assert found.schema.equals(TABLES["topic_audience"].arrow_schema())
    return {(r["topic_id"], r["horizon"]): r["n_users"] for r in found.to_pylist()}


def test_a_topic_that_few_hold_has_no_audience() -> None:
    rows = interests(*((f"u{n}", 1, "90d", 1) for n in range(20)), *((f"u{n}", 2, "90d", 2) for n in range(19)), ("u1", 9, "90d", 3))
    assert told(Release(20), rows) == {(1, "90d"): 20}
    assert told(Release(19), rows) == {(1, "90d"): 20, (2, "90d"): 19}
    assert told(Release(1), rows, (1, 9)) == {(1, "90d"): 20, (9, "90d"): 1}, "topics that may not be shown are not counted"
    assert told(Release(1), rows.slice(0, 0)) == {}


def test_a_query_gives_no_row_that_few_stand_behind() -> None:
    rows = pa.table({"topic_id": [1, 2, 3, 4], "n_users": [20, 19, 0, None]})
    assert shown(lambda sql, params: rows, 20)("", {})["topic_id"].to_pylist() == [1, 3, 4]
    other = pa.table({"share": [0.5]})
    assert shown(lambda sql, params: other, 20)("", {}) is other


def test_a_topic_of_few_users_does_not_say_of_how_many() -> None:
    users = pa.chunked_array([pa.array([5, 20, None, 21], pa.int64())])
    assert Release(20).counts(users).to_pylist() == [None, 20, None, 21]
    assert Release(1).counts(users).to_pylist() == [5, 20, None, 21]
    assert Release(20, epsilon=1.0).counts(users).to_pylist() == [None] * 4
    assert tables.model_tables(Lake(os.devnull), Sensitive(), Release(20))["topic_version"].num_rows == 0


def test_the_noise_is_geometric_of_the_scale_asked_for() -> None:
    n, scale = 200_000, 3.0
    found = Counter(geometric(b"key", n, scale))
    alpha = math.exp(-1 / scale)
    for x in range(-6, 7):
        expected = (1 - alpha) / (1 + alpha) * alpha ** abs(x)
        assert found[x] / n == pytest.approx(expected, abs=5 * math.sqrt(expected / n)), x
    assert geometric(b"key", 50, scale) == geometric(b"key", 50, scale)
    assert geometric(b"key", 50, scale) != geometric(b"other", 50, scale)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 4.0])
def test_a_kept_library_finds_that_the_noise_spends_what_is_said(epsilon: float) -> None:
    dp.enable_features("contrib")
    for release in (
        audiences(interests(("u", 1, "90d", 1)), [1], DAY, "m", Release(1, epsilon, 4), SECRET)[1],
        together({}, [1, 2], DAY, Release(1, epsilon, 4), SECRET)[1],
    ):
        assert release is not None
        counts = dp.vector_domain(dp.atom_domain(T=int)), dp.l1_distance(T=int)
        mechanism = dp.m.make_geometric(*counts, scale=release.sensitivity / release.epsilon)
        assert mechanism.map(release.sensitivity) == pytest.approx(epsilon)


def test_one_user_changes_the_counts_by_no_more_than_the_sensitivity() -> None:
    rule, busy = Release(1, 1.0, 2), [("busy", t, h, t) for h in ("1d", "7d", "90d") for t in range(1, 9)]
    without = interests(("u", 1, "90d", 1))
    changed = 0
    for rows in (without, pa.concat_tables([without, interests(*busy)])):
        capped = rows.filter(pa.compute.less_equal(rows["rank"], rule.cap))
        changed = capped.num_rows - changed
    _, spent = audiences(without, range(1, 9), DAY, "m", rule, SECRET)
    assert spent is not None
    assert changed == spent.sensitivity == 6


def test_the_same_counts_have_the_same_noise_and_others_have_another() -> None:
    rule, rows = Release(-1000, 0.5, 5), interests(*((f"u{n}", 1, "90d", 1) for n in range(50)))
    assert told(rule, rows) == told(rule, rows.take(list(range(49, -1, -1)))), "in whatever order users come"
    assert len(told(rule, rows)) == 9, "counts of nobody have noise, too"
    assert told(rule, rows) != told(rule, rows.slice(1)), "and one user fewer is no difference of one"
    assert told(rule, rows) != told(rule, rows, secret=b"another")
    first, again = (noisy({"a": 1}, 1, rule, ["t", "d"], SECRET)[1] for _ in range(2))
    assert first == again
    assert first.release != noisy({"a": 2}, 1, rule, ["t", "d"], SECRET)[1].release
    assert first.release != noisy({"a": 1}, 1, rule, ["t", "another day"], SECRET)[1].release


def test_a_users_strongest_topics_are_counted_together() -> None:
    rows = pa.table(
        {
            "user_key": pa.array(["a", "b", "a", "a", "b"]).dictionary_encode(),
            "topic_id": [3, 1, 1, 2, 2],
            "held": [True, True, True, True, False],
            "first": pa.array([DAY] * 5, pa.date32()),
            "before_micro": [5, 1, 0, 9, 9],
            "week_micro": [0, 0, 7, 0, 9],
        }
    )
    kept = strongest(rows, 2)
    assert sorted(zip(kept["user_key"].to_pylist(), kept["topic_id"].to_pylist(), strict=True)) == [("a", 1), ("a", 2), ("b", 1)]
    found = graph.counted(kept, DAY)
    assert found.held == {(1, 1): 2, (2, 2): 1, (1, 2): 1, (2, 1): 1, (None, None): 2}
    assert found.then == {}


def test_pairs_with_noise_make_edges_that_can_be() -> None:
    """Whatever the noise, no pair has more users than its topics, and nothing that few stand behind becomes an edge."""
    held = {(None, None): 100, (1, 1): 60, (2, 2): 50, (1, 2): 30}
    for n in range(50):
        counts, spent = together(held, (1, 2, 3), DAY, Release(20, 0.3, 5), str(n).encode())
        assert spent.sensitivity == 1 + 5 + 10
        edges = graph.cooccurrence(counts, 20)
        assert all(e["n_users"] >= 20 and e["lift"] > 0 and -1 <= e["weight"] <= 1 for e in edges)  # type: ignore[operator]
        for a, b in ((1, 2), (1, 3), (2, 3)):
            assert counts[a, b] <= min(counts[a, a], counts[b, b]) <= counts[None, None]
    exact, _ = together(held, (1, 2, 3), DAY, Release(20, 20.0, 1), SECRET)
    assert abs(exact[1, 2] - 30) <= 3


def test_what_was_spent_is_never_forgotten_nor_counted_twice(tmp_path: Path) -> None:
    lake, rule = Lake(str(tmp_path)), Release(1, 0.5, 5)
    assert spending(lake, DAY).num_rows == 0
    spend(lake, DAY, "topic_audience", None)
    assert spending(lake, DAY).num_rows == 0
    for counts in ({"a": 1}, {"a": 2}, {"a": 1}):
        spend(lake, DAY, "topic_audience", noisy(counts, 15, rule, ["x"], SECRET)[1])
    found = spending(lake, DAY).to_pylist()
    assert [(r["table_name"], r["epsilon"], r["sensitivity"], r["cap"]) for r in found] == [("topic_audience", 0.5, 15, 5)] * 2
    assert spending(lake, DAY + dt.timedelta(days=1)).num_rows == 0
    (tmp_path / "_privacy" / f"ds={DAY}.json").write_text("[")
    with pytest.raises(LakeError, match=r"is not JSON .*: restore it, since what was spent stays spent"):
        spending(lake, DAY)
