"""Charts of topics and of what goes over time, for one topic or two hundred: maps, bars, small panels, curves and trends."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Sequence
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
    box,
    caption,
    cut,
    svg,
    text_width,
    titles,
    write,
)
from recsys_core.report.words import Text, Words, around, layers

MOST_BARS, MOST_PANELS, MOST_LABELS = 25, 12, 40


def plane(vectors: np.ndarray) -> np.ndarray:
    """Places of vectors in the plane, (n, 2), each axis within −1 to 1: near each other where their cosines are high.

    Metric scaling of cosine distances by SMACOF (de Leeuw 1977), which begins at the first two principal components, so that nothing is
    drawn at random.
    """
    n = len(vectors)
    if n < 2:
        return np.zeros((n, 2))
    from sklearn.manifold import smacof
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = np.asarray(vectors, np.float64)
        x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        left, values, right = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
        sign = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])
        start = np.zeros((n, 2))
        start[:, : min(2, len(values))] = (left * values * sign)[:, :2]
        distance = np.maximum(1 - x @ x.T, 0)
        np.fill_diagonal(distance, 0)
        found, _ = smacof((distance + distance.T) / 2, n_components=2, init=start, n_init=1, max_iter=200, random_state=0)
    found -= (found.max(axis=0) + found.min(axis=0)) / 2
    return np.round(found / max(np.abs(found).max(), 1e-12), 4)


def topic_map(labels: Sequence[Text], places: np.ndarray, sizes: Sequence[float]) -> Markup:
    """Topics in the plane (`plane`): a disc's area is its size; the largest have labels where these meet no other; '' for no topic."""
    if not labels:
        return Markup("")
    edge = 46.0
    height = 2 * edge + 388 * float(np.abs(places[:, 1]).max())
    at = np.column_stack([WIDTH / 2 + places[:, 0] * (WIDTH / 2 - edge - 40), height / 2 + places[:, 1] * (height / 2 - edge)])
    share = np.asarray(sizes, np.float64) / max(float(np.max(sizes)), 1e-12)
    radius = np.maximum(3.0, np.sqrt(share) * min(34.0, 170.0 / np.sqrt(len(labels))))
    order = np.lexsort((np.arange(len(labels)), -share))
    taken: list[tuple[float, float, float, float]] = []
    texts: list[tuple[float, float, Text]] = []
    for topic in order[:MOST_LABELS]:
        text = cut(labels[topic], 170)
        w, h, r = text_width(text) + 4, FONT + 3, radius[topic]
        x, y = at[topic]
        for cx, cy in ((x, y), (x, y + r + h / 2), (x, y - r - h / 2), (x + r + w / 2 + 2, y), (x - r - w / 2 - 2, y)):
            inside = w / 2 <= cx <= WIDTH - w / 2 and h / 2 <= cy <= height - h / 2
            box = (cx - w / 2, cx + w / 2, cy - h / 2, cy + h / 2)
            if inside and not any(box[0] < b[1] and b[0] < box[1] and box[2] < b[3] and b[2] < box[3] for b in taken):
                taken.append(box)
                texts.append((cx, cy, text))
                break

    def draw(figure: Any) -> None:
        from matplotlib.patches import Circle

        axes = blank(figure, WIDTH, height)
        for topic in order:
            axes.add_patch(Circle(tuple(at[topic]), radius[topic], facecolor=SKY, edgecolor=BLUE, alpha=0.45, linewidth=0.8))
        for x, y, text in texts:
            write(axes, x, y, text, ha="center")
        if len(texts) < len(labels):
            n = len(labels) - len(texts)
            write(axes, WIDTH - 4, 8, Words(f"{n} smaller topics without a label", f"另有 {n} 个较小的主题未标名"), ha="right", color=SOFT)

    return svg(draw, WIDTH, height)


def bars(
    labels: Sequence[Text],
    values: Sequence[float],
    meaning: Text,
    digits: int = 0,
    width: float = WIDTH,
    notes: Sequence[str] | None = None,
) -> Markup:
    """The largest values as bars, each with its number to so many digits and its note, and what the rest sums to; '' for none."""
    if not labels:
        return Markup("")
    order = sorted(range(len(labels)), key=lambda n: (-values[n], n))
    kept, rest = order[:MOST_BARS], order[MOST_BARS:]
    texts = [cut(labels[n], min(250, width * 0.45)) for n in kept]
    ends = [f"{values[n]:,.{digits}f}" + (f" · {notes[n]}" if notes else "") for n in kept]
    left = max(map(text_width, texts)) + 10
    row, top = 15.0, 4.0
    height = top + row * (len(kept) + bool(rest)) + 22
    long = width - left - max(60.0 if width == WIDTH else 0.0, max(map(text_width, ends)) + 8)
    most = max(max(values[n] for n in kept), 1e-12)

    def draw(figure: Any) -> None:
        axes = blank(figure, width, height)
        for place, (n, text, end) in enumerate(zip(kept, texts, ends, strict=True)):
            y = height - top - row * (place + 0.5)
            box(axes, left, y - row * 0.35, values[n] / most * long, row * 0.7, BLUE)
            write(axes, left - 6, y, text, ha="right")
            write(axes, left + values[n] / most * long + 4, y, end)
        y = height - top - row * (len(kept) + 0.5)
        if rest:
            total = f"{sum(values[n] for n in rest):,.{digits}f}"
            write(axes, left, y, Words(f"and {len(rest):,} more with {total} in all", f"另有 {len(rest):,} 项，共 {total}"), color=SOFT)
        caption(axes, left, width, meaning)

    return svg(draw, width, height)


def over_time(days: Sequence[dt.date], series: Sequence[tuple[Text, Sequence[float]]], meaning: Text) -> Markup:
    """One small panel for each (label, share by day), all on one scale, first day to last; '' without two days."""
    if len(days) < 2 or not series:
        return Markup("")
    kept = series[:MOST_PANELS]
    columns = min(3, len(kept))
    rows = -(-len(kept) // columns)
    high, gap = 92.0, 24.0
    height, wide = 24 + rows * high, (WIDTH - gap * (columns - 1)) / columns
    most = max(max(values) for _, values in kept) * 1.15 or 1.0
    across = np.array([(d - days[0]).days for d in days], np.float64) / max((days[-1] - days[0]).days, 1)

    def draw(figure: Any) -> None:
        axes = blank(figure, WIDTH, height)
        for place, (label, values) in enumerate(kept):
            left, low = (place % columns) * (wide + gap), height - (place // columns + 1) * high + 16
            x, y = left + across * wide, low + np.asarray(values, np.float64) / most * (high - 36)
            axes.fill_between(x, low, y, color=SKY, alpha=0.35, linewidth=0)
            axes.plot([left, left + wide], [low, low], color=GREY, linewidth=0.8)
            axes.plot(x, y, color=BLUE, linewidth=1.4)
            axes.plot(x[-1:], y[-1:], marker="o", markersize=3.5, color=BLUE)
            last = f"  {values[-1]:.1%}"
            write(axes, left, low + high - 28, around("", cut(label, wide - text_width(last) - 4), last))
            for at, day, ha in ((left, days[0], "left"), (left + wide, days[-1], "right")):
                write(axes, at, low - 8, f"{day:%m-%d}", ha=ha, size=7, color=SOFT)
        write(axes, WIDTH / 2, 8, meaning, ha="center", color=SOFT)

    return svg(draw, WIDTH, height)


def curve(points: Sequence[tuple[float, float]], chosen: float, across: Text, up: Text) -> Markup:
    """Values of what was tried, with the chosen one marked; '' for fewer than two."""
    if len(points) < 2:
        return Markup("")
    points = sorted(points)

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.plot([x for x, _ in points], [y for _, y in points], marker="o", markersize=4, color=BLUE)
        for x, y in points:
            if x == chosen:
                axes.plot([x], [y], marker="D", markersize=8, color=ORANGE, markeredgecolor=INK)
                beside(axes, Words(f"chosen: {x:g}", f"选定：{x:g}"), (x, y), (0, 9), ha="center")
        axes.margins(0.06, 0.25)
        titles(axes, across, up)

    return svg(draw, HALF, 190, left=44, right=20, top=24, bottom=36)


def trend(
    days: Sequence[dt.date],
    lines: Sequence[tuple[Text, Sequence[float | None]]],
    up: Text,
    band: Sequence[tuple[float | None, float | None]] = (),
) -> Markup:
    """A few lines over days, told apart by dashes and by their names at the right end; '' without a day.

    `band` holds the (low, high) of the first line's interval by day.
    """
    if not days:
        return Markup("")
    right = max(text_width(name) for name, _ in lines) + 16
    told = [v for _, values in lines for v in values if v is not None]
    top = max([*told, *(high for _, high in band if high is not None)], default=0.0) * 1.2 or 1.0

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        ends = []
        if any(low is not None for low, _ in band):
            low, high = (np.array([np.nan if v is None else v for v in side], np.float64) for side in zip(*band, strict=True))
            axes.fill_between(days, low, high, color=SKY, alpha=0.35, linewidth=0)
        for (name, values), colour, dashes in zip(lines, (BLUE, RED, GREEN, INK), ("-", "--", ":", "-."), strict=False):
            axes.plot(days, [np.nan if v is None else v for v in values], dashes, marker="o", markersize=3.5, color=colour)
            ends.append((next((v for v in reversed(values) if v is not None), 0.0), name))
        axes.set_ylim(min([0.0, *told]), top)
        ticks = [days[0], days[-1]] if len(days) > 1 else list(days)
        axes.set_xticks(ticks, [f"{d:%m-%d}" for d in ticks])
        titles(axes, "", up)
        step, at = top * 0.11, -np.inf
        for value, name in sorted(ends, key=lambda end: (end[0], layers(end[1])[0][1])):
            at = max(value, at + step)
            beside(axes, name, (days[-1], at), (9, 0))

    return svg(draw, HALF, 180, left=44, right=right, top=24, bottom=24)
