"""Charts of lists: what makes up a score, how far differences are sure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from recsys_core.report.charts import BLUE, GREEN, GREY, INK, ORANGE, RED, SKY, WIDTH, blank, cut, svg, text_width, write

_PARTS = (BLUE, ORANGE, SKY, GREEN, RED, "#f0e442", "#cc79a7", GREY)
_SOFT = "#57606a"
_ROW = 16.0


def stacked(labels: Sequence[str], parts: Sequence[tuple[str, Sequence[float]]], meaning: str) -> Markup:
    """One bar for each label, made of the parts (name, value ≥ 0 by label) side by side, with its sum; a key names the parts; '' for none.

    Of more than eight parts the last ones are one.
    """
    shown = [(name, list(values)) for name, values in parts if any(values)]
    if not labels or not shown:
        return Markup("")
    if len(shown) > len(_PARTS):
        rest = [sum(v) for v in zip(*(values for _, values in shown[len(_PARTS) - 1 :]), strict=True)]
        shown = [*shown[: len(_PARTS) - 1], (f"{len(shown) - len(_PARTS) + 1} more", rest)]
    texts = [cut(label, 260) for label in labels]
    left, key = max(map(text_width, texts)) + 10, 18.0
    height, width = key + _ROW * len(labels) + 20, WIDTH - max(map(text_width, texts)) - 70
    sums = [sum(values[n] for _, values in shown) for n in range(len(labels))]
    most = max(*sums, 1e-12)

    def draw(figure: Any) -> None:
        axes = blank(figure, WIDTH, height)
        x = left
        for (name, _), colour in zip(shown, _PARTS, strict=False):
            axes.add_patch(_box(x, height - 13, 9, 9, colour))
            write(axes, x + 13, height - 8.5, name)
            x += 13 + text_width(name) + 16
        for place, text in enumerate(texts):
            y, x = height - key - _ROW * (place + 0.5), left
            write(axes, left - 6, y, text, ha="right")
            for (_, values), colour in zip(shown, _PARTS, strict=False):
                wide = values[place] / most * width
                axes.add_patch(_box(x, y - _ROW * 0.35, wide, _ROW * 0.7, colour))
                x += wide
            write(axes, x + 4, y, f"{sums[place]:.2f}")
        write(axes, left, 9, meaning, color=_SOFT)

    return svg(draw, WIDTH, height)


def intervals(rows: Sequence[tuple[str, float, float, float]], meaning: str) -> Markup:
    """A dot with its interval for each (label, value, low, high), and a line at nought; what is surely on one side says so; '' for none."""
    if not rows:
        return Markup("")
    texts = [cut(label, 260) for label, *_ in rows]
    left, right = max(map(text_width, texts)) + 12, 150.0
    low, high = min(0.0, *(r[2] for r in rows)), max(0.0, *(r[3] for r in rows))
    height, width, span = _ROW * len(rows) + 24, WIDTH - left - right, max(high - low, 1e-12)

    def draw(figure: Any) -> None:
        axes = blank(figure, WIDTH, height)

        def at(value: float) -> float:
            return left + (value - low) / span * width

        axes.plot([at(0)] * 2, [20, height], color=GREY, linewidth=1)
        for place, (text, (_, value, first, last)) in enumerate(zip(texts, rows, strict=True)):
            y = height - _ROW * (place + 0.5)
            sure = "above" if first > 0 else "below" if last < 0 else "not settled"
            colour = {"above": BLUE, "below": RED, "not settled": INK}[sure]
            write(axes, left - 8, y, text, ha="right")
            axes.plot([at(first), at(last)], [y, y], color=colour, linewidth=1.6)
            axes.plot([at(value)], [y], marker="o", markersize=5, color=colour)
            write(axes, left + width + 10, y, f"{value:+.3f} {sure}", color=colour)
        write(axes, at(0), 9, meaning, ha="center" if left < at(0) < left + width else "left", color=_SOFT)

    return svg(draw, WIDTH, height)


def _box(x: float, y: float, width: float, height: float, colour: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), width, height, facecolor=colour, edgecolor="white", linewidth=0.5)
