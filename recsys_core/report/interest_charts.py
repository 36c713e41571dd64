"""Charts of people's interests: how they flow, how topics hang together, how far a forecast's probabilities can be believed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from recsys_core.report.canvas import (
    BLUE,
    FONT,
    GREEN,
    GREY,
    HALF,
    INK,
    ORANGE,
    RED,
    SKY,
    SOFT,
    WIDTH,
    beside,
    blank,
    cut,
    svg,
    text_width,
    titles,
    write,
)
from recsys_core.report.words import Text, Words

# Bands next to each other differ in lightness, so that they are told apart in grey, too.
_BANDS = (BLUE, SKY, GREEN, "#f0e442", RED, "#cc79a7", ORANGE, GREY)
MOST_BANDS = len(_BANDS)
MOST_NODES, MOST_EDGES = 18, 60


def stream(days: Sequence[dt.date], series: Sequence[tuple[Text, Sequence[float]]], meaning: Text, width: float = WIDTH) -> Markup:
    """Values of each (label, value by day) as bands on top of each other, named at the right; '' without two days.

    Of more than MOST_BANDS series the last ones are one band.
    """
    if len(days) < 2 or not series:
        return Markup("")
    shown: list[tuple[Text, np.ndarray]] = [(label, np.asarray(values, np.float64)) for label, values in series]
    if len(shown) > MOST_BANDS:
        rest, n = np.sum([values for _, values in shown[MOST_BANDS - 1 :]], axis=0), len(shown) - MOST_BANDS + 1
        shown = [*shown[: MOST_BANDS - 1], (Words(f"{n} more", f"另 {n} 项"), rest)]
    texts = [cut(label, min(190, width * 0.4)) for label, _ in shown]
    right, height = max(map(text_width, texts)) + 18, 200.0
    top = float(np.sum([values for _, values in shown], axis=0).max()) or 1.0

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.stackplot(days, [values for _, values in shown], colors=_BANDS[: len(shown)], edgecolor="white", linewidth=0.8)
        axes.set_xlim(days[0], days[-1])
        axes.set_ylim(0, top)
        axes.set_xticks([days[0], days[-1]], [f"{d:%m-%d}" for d in (days[0], days[-1])])
        axes.get_xticklabels()[0].set_ha("left")
        axes.get_xticklabels()[-1].set_ha("right")
        titles(axes, "", meaning)
        ends = np.cumsum([values[-1] for _, values in shown])
        places = _apart(ends - np.array([values[-1] for _, values in shown]) / 2, top * (FONT + 3) / (height - 40), top)
        for text, colour, at in zip(texts, _BANDS, places, strict=False):
            ends_at: dict[str, Any] = {"xycoords": ("axes fraction", "data")}
            beside(axes, "■", (1, at), (5, 0), color=colour, **ends_at)
            beside(axes, text, (1, at), (15, 0), **ends_at)

    return svg(draw, width, height, left=44, right=right + 8, top=24, bottom=24)


def _apart(wanted: np.ndarray, step: float, top: float) -> np.ndarray:
    """Places, ascending and at least `step` apart, near those wanted (ascending): pushed up from below, then down from `top`.

    >>> _apart(np.array([0.5, 0.9, 0.95]), 0.1, 1.0).round(2).tolist()
    [0.5, 0.9, 1.0]
    """
    found = wanted.astype(np.float64)
    for i in range(1, len(found)):
        found[i] = max(found[i], found[i - 1] + step)
    found[-1] = min(found[-1], top)
    for i in range(len(found) - 2, -1, -1):
        found[i] = min(found[i], found[i + 1] - step)
    return found


@dataclass(frozen=True)
class Edge:
    """A line between two nodes by their places in the list of labels; strength 0 to 1; directed ones have an arrow at `dst`."""

    src: int
    dst: int
    strength: float
    directed: bool


def network(labels: Sequence[Text], sizes: Sequence[float], edges: Sequence[Edge], meaning: Text) -> Markup:
    """Nodes on a circle in the order given, a disc's area being its size, and the strongest edges between them; '' for fewer than two.

    The order is the caller's, so that what belongs together can stand together. Nodes beyond MOST_NODES, and their edges, are left out.
    """
    labels, sizes = labels[:MOST_NODES], sizes[:MOST_NODES]
    n = len(labels)
    if n < 2:
        return Markup("")
    kept = sorted((e for e in edges if max(e.src, e.dst) < n), key=lambda e: (-e.strength, e.src, e.dst))[:MOST_EDGES]
    height, radius = 430.0, 165.0
    angle = np.pi / 2 - 2 * np.pi * np.arange(n) / n
    around = np.column_stack([np.cos(angle), np.sin(angle)])
    at = np.array([WIDTH / 2, height / 2 + 8]) + radius * around
    disc = np.maximum(3.0, 13.0 * np.sqrt(np.asarray(sizes, np.float64) / max(float(np.max(sizes)), 1e-12)))

    def draw(figure: Any) -> None:
        from matplotlib.patches import Circle, FancyArrowPatch

        axes = blank(figure, WIDTH, height)
        for e in reversed(kept):
            style = {"arrowstyle": "-|>", "mutation_scale": 8.0, "color": RED} if e.directed else {"arrowstyle": "-", "color": BLUE}
            dashes = "--" if e.directed else "-"
            shrink = {"shrinkA": float(disc[e.src]), "shrinkB": float(disc[e.dst])}
            line = {"linewidth": 0.6 + 2.6 * e.strength, "alpha": 0.35 + 0.5 * e.strength, "linestyle": dashes}
            bend = f"arc3,rad={0.18 if e.directed else 0.05}"
            axes.add_patch(FancyArrowPatch(tuple(at[e.src]), tuple(at[e.dst]), connectionstyle=bend, **style, **shrink, **line))
        for place, label in enumerate(labels):
            axes.add_patch(Circle(tuple(at[place]), disc[place], facecolor=SKY, edgecolor=INK, linewidth=0.6, zorder=3))
            x, y = at[place] + (disc[place] + 5) * around[place]
            side = "center" if abs(around[place, 0]) < 1e-6 else "left" if around[place, 0] > 0 else "right"
            if side == "center":
                y += (FONT / 2) * np.sign(around[place, 1])
            room = {"left": WIDTH - x, "right": x, "center": WIDTH / 2}[side] - 6
            write(axes, x, y, cut(label, room), ha=side)
        write(axes, WIDTH / 2, 8, meaning, ha="center", color=SOFT)

    return svg(draw, WIDTH, height)


def reliability(lines: Sequence[tuple[Text, Sequence[tuple[float, float, float]]]], across: Text, up: Text) -> Markup:
    """How often what was forecast came about, for each (name, points of (probability, share that came about, cases)); '' without points.

    A point on the diagonal is a probability that can be taken at its word; its area is the number of cases (DeGroot and Fienberg 1983).
    """
    lines = [(name, points) for name, points in lines if points]
    if not lines:
        return Markup("")
    most = min(1.0, max(max(p, o) for _, points in lines for p, o, _ in points) * 1.1) or 1.0

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.plot([0, most], [0, most], color=GREY, linewidth=1, linestyle=":")
        for (_, points), colour, mark, dashes in zip(lines, (BLUE, RED, GREEN), ("o", "s", "^"), ("-", "--", "-."), strict=False):
            x, y, n = (np.array(c, np.float64) for c in zip(*points, strict=True))
            axes.plot(x, y, dashes, color=colour, linewidth=1)
            axes.scatter(x, y, s=12 + 90 * n / max(float(n.max()), 1.0), marker=mark, color=colour, alpha=0.7, edgecolor=INK, linewidth=0.5)
        axes.set_xlim(0, most)
        axes.set_ylim(0, most)
        titles(axes, across, up)
        for place, ((name, _), colour, mark) in enumerate(zip(lines, (BLUE, RED, GREEN), ("●", "■", "▲"), strict=False)):
            corner = {"xycoords": "axes fraction"}
            beside(axes, mark, (0, 1), (8, -8 - 13 * place), color=colour, **corner)
            beside(axes, name, (0, 1), (22, -8 - 13 * place), **corner)

    return svg(draw, HALF, 290, left=44, right=16, top=24, bottom=40)
