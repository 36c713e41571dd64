"""Charts for zero, one and two hundred topics in both languages: equal bytes, nothing outside, no label on another."""

from __future__ import annotations

import datetime as dt
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from recsys_core.report import charts
from recsys_core.report.lineage_chart import COLOURS, MOST_TOPICS, Step, lineage_flow

HOSTILE = "<script>alert(1)</script> & $x^2$"
WORDS = ("hiking boots, trails", "绿茶、茶叶、红茶", HOSTILE)


def labels(n: int) -> list[str]:
    return [f"{WORDS[i % 3]} {i}" for i in range(n)]


def texts(svg: str, lang: str = "en") -> list[tuple[float, float, float, str]]:
    """(left, right, y, text) of each text that a reader of the language sees, in points; the SVG is well-formed.

    Widths are estimated as the charts do.
    """
    root = ElementTree.fromstring(svg)
    unseen = {id(e) for layer in root.iter() if layer.get("lang") not in (None, lang) for e in layer.iter()}
    found = []
    for element in (e for e in root.iter("{http://www.w3.org/2000/svg}text") if id(e) not in unseen):
        style, text = element.get("style") or "", "".join(element.itertext())
        size = float(re.search(r"font(?:-size)?: ([\d.]+)px", style)[1])  # type: ignore[index]
        place = re.search(r"translate\(([-\d.]+) ([-\d.]+)\)", element.get("transform") or "")
        x, y = (float(place[1]), float(place[2])) if place else (float(element.get("x") or 0), float(element.get("y") or 0))
        w = charts.text_width(text, size)
        x -= {"middle": w / 2, "end": w}.get((re.search(r"text-anchor: (\w+)", style) or ["", "start"])[1], 0.0)
        found.append((x, x + w, y, text))
    return found


def test_places_keep_what_is_alike_together_and_are_fixed() -> None:
    rng = np.random.default_rng(0)
    one, other = np.eye(8)[0], np.eye(8)[1]
    vectors = np.array([*(one + 0.1 * rng.normal(size=(6, 8))), *(other + 0.1 * rng.normal(size=(6, 8)))])
    places = charts.plane(vectors)
    assert np.abs(places).max() == 1.0
    far = np.linalg.norm(places[:, None] - places[None], axis=2)
    assert max(far[:6, :6].max(), far[6:, 6:].max()) < far[:6, 6:].min()
    assert charts.plane(3 * vectors).tolist() == places.tolist()
    assert charts.plane(np.zeros((0, 4))).shape == (0, 2)
    assert charts.plane(np.ones((1, 4))).tolist() == [[0, 0]]
    assert np.isfinite(charts.plane(np.ones((3, 4)))).all()


@pytest.mark.parametrize("n", [0, 1, 2, 200])
def test_any_number_of_topics_has_a_map_and_bars(n: int) -> None:
    rng = np.random.default_rng(n)
    places, sizes = charts.plane(rng.normal(size=(n, 16))), rng.integers(0, 99, n).astype(float)
    drawn = charts.topic_map(labels(n), places, sizes.tolist())
    bars = charts.bars(labels(n), sizes.tolist(), "texts")
    if not n:
        assert drawn == bars == ""
        return
    assert charts.topic_map(labels(n), places, sizes.tolist()) == drawn
    assert "<script" not in drawn + bars
    found = texts(drawn)
    for x, right, y, text in found:
        assert x > -1, text
        assert right < charts.WIDTH + 1, text
        assert sum(x < r and left < right and abs(y - v) < charts.FONT for left, r, v, _ in found) == 1, f"{text} lies on another"
    assert len(found) == n if n < 3 else 15 < len(found) <= charts.MOST_LABELS + 1
    assert min(x for x, *_ in texts(bars)) > -1
    shown = [text for *_, text in texts(bars)]
    assert ("and 175 more with" in " ".join(shown)) == (n == 200)


def test_no_size_at_all_and_a_long_label_are_drawn() -> None:
    assert len(texts(charts.topic_map(["a", "b"], np.array([[-1.0, 0.0], [1.0, 0.0]]), [0.0, 0.0]))) == 2
    wide = texts(charts.bars(["very " * 200, "很长" * 200], [0.0, 0.0], "texts"))
    assert sum(text.endswith("…") for *_, text in wide) == 2
    assert min(x for x, *_ in wide) > -1


def test_lines_over_days() -> None:
    days = [dt.date(2026, 3, 1) + dt.timedelta(days=n) for n in range(30)]
    series = [(label, [0.1 + 0.01 * n] * 30) for n, label in enumerate(labels(20))]
    drawn = charts.over_time(days, series, "share")
    assert drawn == charts.over_time(days, series, "share")
    said = [t for *_, t in texts(drawn)]
    assert sum(t.endswith("%") and "  " in t for t in said) == charts.MOST_PANELS
    assert [charts.over_time(days[:1], series, "share"), charts.over_time(days, [], "share")] == ["", ""]
    assert charts.trend([], [("lists", [])], "recall") == charts.curve([(1, 1)], 1, "k", "s") == ""
    for n in (1, 2, 30):
        lines = texts(charts.trend(days[:n], [("lists", [0.3] * n), ("popularity", [None] * n)], "recall@10"))
        assert {"lists", "popularity", "recall@10"} <= {t for *_, t in lines}
    assert "chosen: 20" in charts.curve([(10, 0.1), (20, 0.3), (40, 0.2)], 20, "topics", "silhouette")


def test_a_flow_names_every_kind_of_change() -> None:
    before = {1: 30.0, 2: 20.0, 3: 9.0, 4: 9.0, 5: 2.0}
    after = {1: 30.0, 2: 12.0, 3: 20.0, 6: 8.0, 7: 4.0}
    steps = [
        Step("same", 1, 1),
        Step("drift", 2, 2),
        Step("split", 6, 2),
        Step("merge", 3, 4),
        Step("same", 3, 3),
        Step("death", 5, 5),
        Step("birth", 7, None),
    ]
    names = {n: f"主题 {n}" if n % 2 else f"topic {n}" for n in range(8)}
    drawn = lineage_flow(["2026-01-31", "2026-02-28"], [before, after], [steps], names)
    assert drawn == lineage_flow(["2026-01-31", "2026-02-28"], [before, after], [steps], names)
    said = [t for *_, t in texts(drawn)]
    # Once in the legend, once in the picture, but for what stays the same.
    assert {relation: said.count(relation) for relation in COLOURS} == dict.fromkeys(COLOURS, 2) | {"same": 1}
    assert {"2 same, 1 drift, 1 split", "1 merge, 1 birth, 1 death", "2026-01-31", "主题 5", "主题 7"} <= set(said)
    assert lineage_flow(["2026-01-31"], [before], [], names) == lineage_flow([], [], [], {}) == ""


def test_a_flow_of_many_topics_folds_what_stayed() -> None:
    sizes = [{n: 1.0 + n for n in range(200)} for _ in range(6)]
    steps = [[Step("drift" if n in (7, 8) else "same", n, n) for n in range(200)] for _ in range(5)]
    steps[-1] += [Step("split", 300 + n, n) for n in range(100)]
    sizes[-1] |= {300 + n: 1.0 for n in range(100)}
    drawn = lineage_flow([f"v{n}" for n in range(6)], sizes, steps, {n: WORDS[n % 3] for n in range(400)})
    said = [t for *_, t in texts(drawn)]
    assert [t for t in said if re.fullmatch(r"v\d", t)] == ["v2", "v3", "v4", "v5"]
    assert f"{300 - MOST_TOPICS} other topics" in said or any(t.endswith("other topics") for t in said)
    assert "198 same, 2 drift, 100 split" in said
    assert "<script" not in drawn
    assert all(x > -1 and right < charts.WIDTH + 1 for x, right, *_ in texts(drawn))
