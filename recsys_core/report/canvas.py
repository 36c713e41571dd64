"""What every chart is drawn on and with: SVG of equal bytes for equal data, readable without colour, in Chinese and English.

Text stays text in the file, drawn by the reader's fonts: so widths are estimated here (a Han character is as wide as it is high), never
measured in a font that lacks the glyphs. Words of both languages lie one over the other; the page shows one of them.
"""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from recsys_core.report.words import MOST_CHARACTERS, Text, each, layers, shown

# Okabe and Ito's palette (2008): its colours are told apart by colour-blind readers. Whatever a colour says, a word says, too.
BLUE, SKY, GREEN, ORANGE, RED, GREY, INK = "#0072b2", "#56b4e9", "#009e73", "#e69f00", "#d55e00", "#b8bfc6", "#24292f"
SOFT, DARK_RED = "#57606a", "#a84300"  # as dark as text must be on white
WIDTH = 720.0  # points of a chart over the whole page: a phone shows a part of it
HALF = 330.0  # of one that a phone shows whole
FONT = 9.0
_SETTINGS: dict[str, Any] = {
    "svg.hashsalt": "nightly-interests",
    "svg.fonttype": "none",
    "font.size": FONT,
    "font.family": ["DejaVu Sans"],
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": INK,
}


def svg(draw: Callable[[Any], None], width: float, height: float, **margins: float) -> Markup:
    """An SVG of the size in points that matplotlib draws without a display; `margins` (left, right, top, bottom) are in points."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = pyplot.figure(figsize=(width / 72, height / 72))
        try:
            figure.subplots_adjust(
                left=margins.get("left", 0) / width,
                right=1 - margins.get("right", 0) / width,
                top=1 - margins.get("top", 0) / height,
                bottom=margins.get("bottom", 0) / height,
                wspace=0.15,
                hspace=0.75,
            )
            draw(figure)
            for axes in figure.axes:
                for side in ("top", "right"):
                    axes.spines[side].set_visible(False)
            text = io.StringIO()
            figure.savefig(text, format="svg", metadata={"Date": None})
        finally:
            pyplot.close(figure)
    drawn = _for_a_page(text.getvalue()[text.getvalue().index("<svg") :], wide=width > HALF)
    return Markup(drawn)  # noqa: S704 - matplotlib escapes what it draws


def _for_a_page(drawn: str, wide: bool) -> str:
    """The SVG without what only its file needs; ids that stand for a language become that."""
    drawn = re.sub(r"<!--.*?-->\n?", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r"<metadata>.*?</metadata>\n?", "", drawn, count=1, flags=re.DOTALL)
    drawn = re.sub(r'(<[a-z]+) id="lang-(en|zh)"', r'\1 lang="\2"', drawn)
    drawn = re.sub(r'(<[a-z]+) id="[A-Za-z0-9]+_[0-9.]+"', r"\1", drawn)
    return drawn.replace("<svg ", '<svg class="wide" ', 1) if wide else drawn


def text_width(text: Text, size: float = FONT) -> float:
    """About how wide a text is, in points; of two languages, the wider.

    >>> text_width("茶叶", 10), text_width("teas", 10)
    (20.0, 24.0)
    """
    return size * max(sum(1.0 if unicodedata.east_asian_width(c) in "WF" else 0.6 for c in part) for _, part in layers(text))


def cut(text: Text, width: float, size: float = FONT) -> Text:
    """The text, or what of it is as wide as that with an ellipsis.

    >>> cut("waterproof hiking boots", 60, 10), cut("防水登山靴和袜子", 60, 10)
    ('waterproo…', '防水登山靴…')
    """

    def one(text: str) -> str:
        text = _line(text, int(width / size / 0.6) + 2)
        if text_width(text, size) <= width:
            return text
        while text and text_width(text + "…", size) > width:
            text = text[:-1]
        return text.rstrip(" ,、") + "…"

    return each(text, one)


def _line(text: str, most: int = MOST_CHARACTERS) -> str:
    """The text on one line, without what no reader sees."""
    return re.sub(r"[^\S ]+", " ", shown(text, most))


def blank(figure: Any, width: float, height: float) -> Any:
    """Axes over the whole figure whose units are points."""
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    axes.set_axis_off()
    return axes


def box(axes: Any, x: float, y: float, width: float, height: float, colour: str, **more: Any) -> None:
    """A filled rectangle from (x, y) up and to the right."""
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((x, y), width, height, **({"facecolor": colour, "linewidth": 0} | more)))


def write(axes: Any, x: float, y: float, text: Text, ha: str = "left", color: str = INK, size: float = FONT) -> None:
    """A text at a place, in each of its languages."""
    for lang, part in layers(text):
        axes.text(x, y, _line(part), ha=ha, va="center", color=color, fontsize=size, gid=lang and f"lang-{lang}")


def caption(axes: Any, left: float, width: float, meaning: Text) -> None:
    """What a chart's values are, at its foot below the values, or as far to the left as it needs."""
    wide = text_width(meaning)
    write(axes, left if left + wide < width else max(width - wide, 0.0), 9, cut(meaning, width), color=SOFT)


def beside(axes: Any, text: Text, at: tuple[Any, float], offset: tuple[float, float], ha: str = "left", **more: Any) -> None:
    """A text so many points from a place in the units of the axes."""
    for lang, part in layers(text):
        place = {"xytext": offset, "textcoords": "offset points", "ha": ha, "va": "center", "annotation_clip": False}
        axes.annotate(_line(part), at, gid=lang and f"lang-{lang}", **(place | more))


def titles(axes: Any, across: Text, up: Text) -> None:
    """What the axes mean: the upright one above its upper end, the other below its right one."""
    ends = {"xycoords": "axes fraction", "color": SOFT}
    if up:
        beside(axes, up, (0, 1), (-34, 10), **ends)
    if across:
        beside(axes, across, (1, 0), (0, -26), ha="right", **ends)
    axes.tick_params(labelsize=8)
