"""Charts of interests for no topic, one and many in both languages: equal bytes, escaped, no name on another or outside."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from recsys_core.report import charts, interest_charts
from recsys_core.report.interest_charts import Edge
from recsys_core.report.interests import _side_by_side, evidence_chart
from tests.test_charts import labels, texts

DAYS = [dt.date(2026, 3, 2) + dt.timedelta(days=n) for n in range(5)]


def apart(drawn: str) -> list[str]:
    """The texts of a chart, none of which lies on another or outside."""
    found = texts(drawn)
    for x, right, y, text in found:
        assert -1 < x <= right < charts.WIDTH + 1, text
        assert sum(x < r and left < right and abs(y - v) < charts.FONT - 1 for left, r, v, _ in found) == 1, f"{text} lies on another"
    return [text for *_, text in found]


@pytest.mark.parametrize("n", [1, 2, 8, 200])
def test_a_stream_names_its_bands_and_sums_up_what_is_too_much(n: int) -> None:
    values = np.random.default_rng(n).dirichlet(np.ones(n), len(DAYS)).T
    series = list(zip(labels(n), values, strict=True))
    drawn = interest_charts.stream(DAYS, series, "share")
    assert drawn == interest_charts.stream(DAYS, series, "share")
    assert "<script" not in drawn
    said = apart(drawn)
    assert ("193 more" in said) == (n == 200)
    assert sum(text == "■" for text in said) == min(n, interest_charts.MOST_BANDS)
    assert interest_charts.stream(DAYS[:1], series, "share") == interest_charts.stream(DAYS, [], "share") == ""


@pytest.mark.parametrize("n", [2, 3, 18, 200])
def test_a_network_names_its_nodes_and_draws_the_strongest_edges(n: int) -> None:
    rng = np.random.default_rng(n)
    edges = [
        Edge(int(a), int(b), float(w), bool(w > 0.5))
        for a, b, w in zip(*rng.integers(0, n, (2, 300)), rng.random(300), strict=True)
        if a != b
    ]
    sizes = rng.integers(1, 9, n).astype(float).tolist()
    drawn = interest_charts.network(labels(n), sizes, edges, "what lines mean")
    assert drawn == interest_charts.network(labels(n), sizes, edges, "what lines mean")
    said = apart(drawn)
    assert len(said) == min(n, interest_charts.MOST_NODES) + 1
    assert interest_charts.network(labels(1), [1.0], [], "") == ""


def test_topics_that_are_held_together_stand_together() -> None:
    edges = [
        {"src_topic_id": 1, "dst_topic_id": 4, "lift": 3.0, "directed": False},
        {"src_topic_id": 4, "dst_topic_id": 2, "lift": 2.0, "directed": False},
        {"src_topic_id": 1, "dst_topic_id": 3, "lift": 9.0, "directed": True},
    ]
    assert _side_by_side([1, 2, 3, 4], edges) == [1, 4, 2, 3]


def test_reliability_and_evidence_show_their_numbers() -> None:
    drawn = interest_charts.reliability([("next day", [(0.1, 0.2, 10.0), (0.4, 0.3, 5.0)]), ("none", [])], "forecast", "came about")
    said = [text for *_, text in texts(drawn)]
    assert {"forecast", "came about", "next day"} <= set(said)
    assert "none" not in said
    assert interest_charts.reliability([("none", [])], "", "") == ""
    evidence = {"items": [{"item_id": "i1", "n_events": 2, "weight": 1.5}, {"item_id": "i2", "n_events": 1, "weight": 0.25}], "rest": 0.75}
    said = [text for *_, text in texts(evidence_chart(evidence, {"i1": "绿茶"}))]
    assert said == ["绿茶", "1.50", "searches and other items", "0.75", "i2", "0.25", "parts of the 90-day score"]
