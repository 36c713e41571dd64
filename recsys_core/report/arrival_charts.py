"""Charts of what came in: amounts by night before what is usual for the weekday, and how late events come."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from recsys_core.report.canvas import BLUE, GREY, HALF, INK, ORANGE, RED, SKY, SOFT, beside, blank, box, svg, text_width, titles, write
from recsys_core.report.list_charts import draw_key, key_places
from recsys_core.report.words import Text, Words


def columns(
    days: Sequence[dt.date],
    parts: Sequence[tuple[Text, Sequence[float]]],
    bands: Sequence[tuple[float, float, float] | None],
    meaning: Text,
) -> Markup:
    """One column a day made of parts (name, value by day) on top of each other, before a band (low, middle, high) where there is one.

    '' where nothing is above nought. The last column's sum stands above it.
    """
    sums = [sum(values[n] for _, values in parts) for n in range(len(days))]
    most = max([*sums, *(band[2] for band in bands if band)], default=0)
    if not most:
        return Markup("")
    usual: list[Text] = [Words("same weekday, four weeks before: range, median", "前四周同一星期几：范围与中位数")] if any(bands) else []
    names = [name for name, _ in parts] + usual
    places, key = key_places(names, 0.0, HALF)
    left, body, foot = 44.0, 150.0, 34.0
    height, step = key + body + foot + 8, (HALF - left - 6) / len(days)

    def draw(figure: Any) -> None:
        axes = blank(figure, HALF, height)
        draw_key(axes, names, places, height, (SKY, BLUE, RED, GREY))
        for share in (0, 0.5, 1):
            y = foot + share * (body - 14)
            axes.plot([left, HALF], [y, y], color=GREY, linewidth=0.5)
            write(axes, left - 4, y, f"{share * most:,.0f}", ha="right", size=7.5, color=SOFT)
        for n, (day, band) in enumerate(zip(days, bands, strict=True)):
            x, scale = left + n * step, (body - 14) / most
            if band:
                box(axes, x, foot + band[0] * scale, step, max((band[2] - band[0]) * scale, 1.5), GREY, alpha=0.6)
            low = foot
            for (_, values), colour in zip(parts, (SKY, BLUE, RED), strict=False):
                box(axes, x + step * 0.2, low, step * 0.6, values[n] * scale, colour)
                low += values[n] * scale
            if band:
                axes.plot([x, x + step], [foot + band[1] * scale] * 2, color=INK, linewidth=1)
            if (len(days) - 1 - n) % 7 == 0:
                write(axes, min(x + step / 2, HALF - 14), foot - 8, f"{day:%m-%d}", ha="center", size=7.5, color=SOFT)
        last = f"{sums[-1]:,.0f}"
        write(axes, HALF - text_width(last) - 2, foot + sums[-1] * (body - 14) / most + 7, last)
        write(axes, left, 8, meaning, color=SOFT)

    return svg(draw, HALF, height)


def late_curve(points: Sequence[tuple[float, float]]) -> Markup:
    """What share had come by so many days after: (days, share), steps up to one."""
    low = min(y for _, y in points)
    bottom = max(0.0, low - max(1 - low, 0.01) * 0.6)

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        x, y = [p[0] for p in points], [p[1] for p in points]
        axes.step(x, y, where="post", color=BLUE)
        axes.plot(x, y, "o", color=BLUE, markersize=4)
        for after, share in points:
            beside(axes, f"{share:.2%}", (after, share), (0, 9), ha="center")
        axes.set_ylim(bottom, 1 + (1 - bottom) * 0.25)
        axes.set_xlim(-0.35, points[-1][0] + 0.35)
        axes.set_xticks(x, [f"{after:.0f}" for after in x])
        axes.set_yticks([bottom, 1], [f"{bottom:.1%}", "100%"])
        axes.axhline(1, color=ORANGE, linewidth=0.8, linestyle=":")
        titles(
            axes,
            Words("days after the event's own", "晚于事件当日的天数"),
            Words("share of a night's events that had come", "当晚事件已送达的比例"),
        )

    return svg(draw, HALF, 190, left=44, right=12, top=24, bottom=38)
