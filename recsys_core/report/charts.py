"""Charts as SVG for the pages: readable without colour, in Chinese and English, for one topic or two hundred; equal data give equal bytes.

Text stays text in the file, drawn by the reader's fonts: so widths are estimated here (a Han character is as wide as it is high), never
measured in a font that lacks the glyphs.
"""

from __future__ import annotations

import datetime as dt
import io
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

# Okabe and Ito's palette (2008): its colours are told apart by colour-blind readers. Whatever a colour says, a word says, too.
BLUE, SKY, GREEN, ORANGE, RED, GREY, INK = "#0072b2", "#56b4e9", "#009e73", "#e69f00", "#d55e00", "#b8bfc6", "#24292f"
WIDTH = 720.0  # points of every chart; pages scale them
FONT = 9.0
MOST_BARS, MOST_PANELS, MOST_LABELS = 25, 12, 40
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
    return Markup(text.getvalue()[text.getvalue().index("<svg") :])  # noqa: S704 - matplotlib escapes what it draws


def text_width(text: str, size: float = FONT) -> float:
    """About how wide a text is, in points.

    >>> text_width("茶叶", 10), text_width("teas", 10)
    (20.0, 24.0)
    """
    return size * sum(1.0 if unicodedata.east_asian_width(c) in "WF" else 0.6 for c in text)


def cut(text: str, width: float, size: float = FONT) -> str:
    """The text, or what of it is as wide as that with an ellipsis.

    >>> cut("waterproof hiking boots", 60, 10), cut("防水登山靴和袜子", 60, 10)
    ('waterproo…', '防水登山靴…')
    """
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text.rstrip(" ,、") + "…"


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


def topic_map(labels: Sequence[str], places: np.ndarray, sizes: Sequence[float]) -> Markup:
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
    texts: list[tuple[float, float, str]] = []
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
            write(axes, WIDTH - 4, 8, f"{len(labels) - len(texts)} smaller topics without a label", ha="right", color="#57606a")

    return svg(draw, WIDTH, height)


def bars(labels: Sequence[str], values: Sequence[float], meaning: str, digits: int = 0) -> Markup:
    """The largest values as bars, each with its number to so many digits, and what the rest sums to; '' for none."""
    if not labels:
        return Markup("")
    order = sorted(range(len(labels)), key=lambda n: (-values[n], n))
    shown, rest = order[:MOST_BARS], order[MOST_BARS:]
    texts = [cut(labels[n], 250) for n in shown]
    left = max(map(text_width, texts)) + 10
    row, top = 15.0, 4.0
    height = top + row * (len(shown) + bool(rest)) + 22
    width = WIDTH - left - 60
    most = max(max(values[n] for n in shown), 1e-12)

    def draw(figure: Any) -> None:
        axes = blank(figure, WIDTH, height)
        for place, (n, text) in enumerate(zip(shown, texts, strict=True)):
            y = height - top - row * (place + 0.5)
            axes.barh(y, values[n] / most * width, left=left, height=row * 0.7, color=BLUE)
            write(axes, left - 6, y, text, ha="right")
            write(axes, left + values[n] / most * width + 4, y, f"{values[n]:,.{digits}f}")
        y = height - top - row * (len(shown) + 0.5)
        if rest:
            write(axes, left, y, f"and {len(rest):,} more with {sum(values[n] for n in rest):,.{digits}f} in all", color="#57606a")
        write(axes, left, 9, meaning, color="#57606a")

    return svg(draw, WIDTH, height)


def over_time(days: Sequence[dt.date], series: Sequence[tuple[str, Sequence[float]]], meaning: str) -> Markup:
    """One small panel for each (label, share by day), all on one scale, first day to last; '' without two days."""
    if len(days) < 2 or not series:
        return Markup("")
    shown = series[:MOST_PANELS]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    height = 34.0 + rows * 92
    most = max(max(values) for _, values in shown) * 1.15 or 1.0

    def draw(figure: Any) -> None:
        from matplotlib.ticker import PercentFormatter

        panel = (WIDTH - 50) / columns - 30
        for place, (label, values) in enumerate(shown):
            axes = figure.add_subplot(rows, columns, place + 1)
            axes.fill_between(days, values, color=SKY, alpha=0.35, linewidth=0)
            axes.plot(days, values, color=BLUE, linewidth=1.4)
            axes.plot(days[-1:], values[-1:], marker="o", markersize=3.5, color=BLUE)
            axes.set_ylim(0, most)
            axes.set_xlim(days[0], days[-1])
            axes.set_xticks([days[0], days[-1]], [f"{d:%m-%d}" for d in (days[0], days[-1])])
            axes.get_xticklabels()[0].set_ha("left")
            axes.get_xticklabels()[-1].set_ha("right")
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0 if most > 0.03 else 1))
            axes.locator_params(axis="y", nbins=3)
            axes.tick_params(labelsize=7, labelleft=place % columns == 0)
            last = f"{values[-1]:.1%}"
            axes.set_title(f"{cut(label, panel - text_width(last) - 10)}  {last}", fontsize=FONT, loc="left", pad=4)
        figure.text(0.5, 6 / height, meaning, ha="center", color="#57606a")

    return svg(draw, WIDTH, height, left=40, right=14, top=18, bottom=34)


def curve(points: Sequence[tuple[float, float]], chosen: float, across: str, up: str) -> Markup:
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
                axes.annotate(f"chosen: {x:g}", (x, y), xytext=(0, 9), textcoords="offset points", ha="center")
        axes.margins(0.06, 0.25)
        axes.set_xlabel(across)
        axes.set_ylabel(up)

    return svg(draw, WIDTH * 0.7, 190, left=58, right=20, top=10, bottom=36)


def trend(days: Sequence[dt.date], lines: Sequence[tuple[str, Sequence[float | None]]], up: str) -> Markup:
    """A few lines over days, told apart by dashes and by their names at the right end; '' without a day."""
    if not days:
        return Markup("")
    right = max(text_width(name) for name, _ in lines) + 16

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        ends = []
        for (name, values), colour, dashes in zip(lines, (BLUE, RED, GREEN, INK), ("-", "--", ":", "-."), strict=False):
            axes.plot(days, [np.nan if v is None else v for v in values], dashes, marker="o", markersize=4, color=colour)
            ends.append((values[-1] or 0.0, name, colour))
        most = max((v or 0.0 for _, values in lines for v in values), default=0.0)
        axes.set_ylim(0, most * 1.3 or 1.0)
        axes.set_ylabel(up)
        if len(days) < 8:
            axes.set_xticks(days)
        axes.tick_params(axis="x", rotation=30)
        step, at = (axes.get_ylim()[1] or 1.0) * 0.11, -np.inf
        for value, name, colour in sorted(ends):
            at = max(value, at + step)
            axes.annotate(name, (days[-1], at), xytext=(9, 0), textcoords="offset points", va="center", color=colour, annotation_clip=False)

    return svg(draw, WIDTH * 0.8, 190, left=52, right=right, top=8, bottom=46)


def blank(figure: Any, width: float, height: float) -> Any:
    """Axes over the whole figure whose units are points."""
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    axes.set_axis_off()
    return axes


def write(axes: Any, x: float, y: float, text: str, ha: str = "left", color: str = INK, size: float = FONT) -> None:
    axes.text(x, y, text, ha=ha, va="center", color=color, fontsize=size)
