"""Charts of lists: what makes up a score, how far differences are sure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from recsys_core.report.canvas import (
    BLUE,
    DARK_RED,
    GREEN,
    GREY,
    INK,
    ORANGE,
    RED,
    SKY,
    WIDTH,
    blank,
    box,
    caption,
    cut,
    svg,
    text_width,
    write,
)
from recsys_core.report.words import Text, Words

COLOURS = (BLUE, ORANGE, SKY, GREEN, RED, "#f0e442", "#cc79a7", GREY)
_ROW = 16.0


def stacked(
    labels: Sequence[Text], parts: Sequence[tuple[Text, Sequence[float]]], meaning: Text, digits: int = 2, width: float = WIDTH
) -> Markup:
    """One bar for each label, made of the parts (name, value ≥ 0 by label) side by side, with its sum; a key names the parts; '' for none.

    Of more than eight parts the last ones are one.
    """
    shown = [(name, list(values)) for name, values in parts if any(values)]
    if not labels or not shown:
        return Markup("")
    if len(shown) > len(COLOURS):
        rest = [sum(v) for v in zip(*(values for _, values in shown[len(COLOURS) - 1 :]), strict=True)]
        n = len(shown) - len(COLOURS) + 1
        shown = [*shown[: len(COLOURS) - 1], (Words(f"{n} more", f"另 {n} 项"), rest)]
    texts = [cut(label, min(260, width * 0.45)) for label in labels]
    names = [cut(name, 150) for name, _ in shown]
    left = max(map(text_width, texts)) + 10
    places, key = key_places(names, left if width == WIDTH else 0.0, width)
    sums = [sum(values[n] for _, values in shown) for n in range(len(labels))]
    ends = [f"{total:,.{digits}f}" for total in sums]
    height, long = key + _ROW * len(labels) + 20, width - left - max(map(text_width, ends)) - 8
    most = max(*sums, 1e-12)

    def draw(figure: Any) -> None:
        axes = blank(figure, width, height)
        draw_key(axes, names, places, height)
        for place, (text, end) in enumerate(zip(texts, ends, strict=True)):
            y, x = height - key - _ROW * (place + 0.5), left
            write(axes, left - 6, y, text, ha="right")
            for (_, values), colour in zip(shown, COLOURS, strict=False):
                wide = values[place] / most * long
                box(axes, x, y - _ROW * 0.35, wide, _ROW * 0.7, colour, edgecolor="white", linewidth=0.5)
                x += wide
            write(axes, x + 4, y, end)
        caption(axes, left, width, meaning)

    return svg(draw, width, height)


def key_places(names: Sequence[Text], left: float, width: float) -> tuple[list[tuple[float, float]], float]:
    """(place of each name of a key: x, and how far below the top; the key's height), in as many rows as it takes."""
    x, y, found = left, 8.5, []
    for name in names:
        wide = 13 + text_width(name) + 14
        if x > left and x + wide > width:
            x, y = left, y + 13
        found.append((x, y))
        x += wide
    return found, y + 9.5


def draw_key(
    axes: Any, names: Sequence[Text], places: Sequence[tuple[float, float]], height: float, colours: Sequence[str] = COLOURS
) -> None:
    """The key's squares and names."""
    for name, (x, y), colour in zip(names, places, colours, strict=False):
        box(axes, x, height - y - 4.5, 9, 9, colour)
        write(axes, x + 13, height - y, name)


def intervals(rows: Sequence[tuple[Text, float, float, float]], meaning: Text, width: float = WIDTH) -> Markup:
    """A dot with its interval for each (label, value, low, high), and a line at nought; what is surely on one side says so; '' for none."""
    if not rows:
        return Markup("")
    said = {
        "above": Words("above", "高于"),
        "below": Words("below", "低于"),
        "": Words("not settled", "未定"),
    }
    texts = [cut(label, min(260, width * 0.45)) for label, *_ in rows]
    left, right = max(map(text_width, texts)) + 12, 118.0
    low, high = min(0.0, *(r[2] for r in rows)), max(0.0, *(r[3] for r in rows))
    height, long, span = _ROW * len(rows) + 24, width - left - right, max(high - low, 1e-12)

    def draw(figure: Any) -> None:
        axes = blank(figure, width, height)

        def at(value: float) -> float:
            return left + (value - low) / span * long

        axes.plot([at(0)] * 2, [20, height], color=GREY, linewidth=1)
        for place, (text, (_, value, first, last)) in enumerate(zip(texts, rows, strict=True)):
            y = height - _ROW * (place + 0.5)
            sure = "above" if first > 0 else "below" if last < 0 else ""
            colour = {"above": BLUE, "below": DARK_RED, "": INK}[sure]
            write(axes, left - 8, y, text, ha="right")
            axes.plot([at(first), at(last)], [y, y], color=colour, linewidth=1.6)
            axes.plot([at(value)], [y], marker="o", markersize=5, color=colour)
            write(axes, left + long + 10, y, Words(*(f"{value:+.3f} {word}" for word in said[sure])), color=colour)
        caption(axes, left, width, meaning)

    return svg(draw, width, height)
