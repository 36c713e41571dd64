"""The lineage of topics as a flow from version to version: what changed is drawn one by one, what stayed as one band."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from recsys_core.report.canvas import BLUE, FONT, GREEN, GREY, ORANGE, RED, SKY, SOFT, WIDTH, blank, cut, svg, text_width, write
from recsys_core.report.words import Text, Words, around
from recsys_core.report.words import named as in_words

COLOURS = {"same": GREY, "drift": SKY, "split": ORANGE, "merge": GREEN, "birth": BLUE, "death": RED}
# What a reader wants to see most, first.
_TELLING = ("split", "merge", "death", "birth", "drift", "same")
MOST_TOPICS, MOST_VERSIONS = 24, 4
_REST = -1
_LEAST, _GAP, _NODE = 12.0, 5.0, 10.0


@dataclass(frozen=True)
class Step:
    """A row of the table topic_lineage: from a topic of the version before (None for a birth) to one of this version (None for a death)."""

    relation: str
    topic_id: int | None
    prev_topic_id: int | None


def lineage_flow(
    names: Sequence[str], sizes: Sequence[Mapping[int, float]], steps: Sequence[Sequence[Step]], labels: Mapping[int, Text]
) -> Markup:
    """The flow of topics through the last versions; '' for fewer than two.

    names   of the versions, oldest first
    sizes   of each version, topic_id → texts
    steps   of each version after the first, how its topics came about
    """
    names, sizes = names[-MOST_VERSIONS:], sizes[-MOST_VERSIONS:]
    steps = steps[len(steps) - len(names) + 1 :]
    if len(names) < 2:
        return Markup("")
    shown = _telling(sizes, steps)
    columns = [_column(held, shown) for held in sizes]
    tallest = max(len(c) for c in columns)
    body = max(140.0, 20.0 * tallest)
    height = body + 86
    margin = 172.0
    xs = [margin + n * (WIDTH - 2 * margin - _NODE) / (len(names) - 1) for n in range(len(names))]
    nodes = [_stacked(column, body, height - 26) for column in columns]
    counts = [Counter(s.relation for s in held) for held in steps]

    def draw(figure: Any) -> None:
        axes = blank(figure, WIDTH, height)
        for at in range(len(names) - 1):
            # A topic that stands at neither end has its name nowhere else.
            named = {t: labels.get(t, str(t)) for t in nodes[at] if t != _REST and t not in nodes[0] and t not in nodes[-1]}
            _bands(axes, xs[at] + _NODE, xs[at + 1], nodes[at], nodes[at + 1], steps[at], shown, named)
        for at, (name, x, placed) in enumerate(zip(names, xs, nodes, strict=True)):
            write(axes, x + _NODE / 2, height - 10, name, ha="center", size=FONT + 1)
            for topic, (low, high) in placed.items():
                axes.fill([x, x + _NODE, x + _NODE, x], [low, low, high, high], color=SOFT if topic != _REST else GREY, linewidth=0)
                n = len(sizes[at]) - len([t for t in sizes[at] if t in shown])
                text = labels.get(topic, str(topic)) if topic != _REST else Words(f"{n} other topics", f"其他 {n} 个主题")
                if at == 0:
                    write(axes, x - 4, (low + high) / 2, cut(text, margin - 10), ha="right")
                elif at == len(names) - 1:
                    write(axes, x + _NODE + 4, (low + high) / 2, cut(text, margin - 10))
        for at, count in enumerate(counts):
            said = [around(f"{count[r]} ", in_words(r)) for r in COLOURS if count[r]]
            for line, first in enumerate(range(0, len(said), 3)):
                three = [Words(*one) if isinstance(one, Words) else Words(one, one) for one in said[first : first + 3]]
                text = Words(", ".join(one.en for one in three), "、".join(one.zh for one in three))
                write(axes, (xs[at] + xs[at + 1] + _NODE) / 2, 38 - 11 * line, text, ha="center", size=8)
        x = 8.0
        for relation, colour in COLOURS.items():
            axes.fill([x, x + 12, x + 12, x], [4, 4, 12, 12], color=colour, linewidth=0)
            write(axes, x + 16, 8, in_words(relation))
            x += 16 + text_width(in_words(relation)) + 22

    return svg(draw, WIDTH, height)


def _telling(sizes: Sequence[Mapping[int, float]], steps: Sequence[Sequence[Step]]) -> set[int]:
    """The topics that are drawn one by one: those of the most telling relations, the larger before the smaller."""
    best: dict[int, int] = {}
    for step in (s for held in steps for s in held):
        rank = _TELLING.index(step.relation) if step.relation in _TELLING else 0
        for topic in {step.topic_id, step.prev_topic_id} - {None}:
            best[topic] = min(rank, best.get(topic, len(_TELLING)))  # type: ignore[index,arg-type]
    largest = {t: max(held.get(t, 0.0) for held in sizes) for t in best}
    order = sorted(best, key=lambda t: (best[t], -largest[t], t))
    return set(order[:MOST_TOPICS])


def _column(held: Mapping[int, float], shown: set[int]) -> list[tuple[int, float]]:
    """(topic, size) of one version in the order of ids, which no version changes, and the rest as one, last."""
    found = [(t, held[t]) for t in sorted(held) if t in shown]
    rest = [n for t, n in held.items() if t not in shown]
    return found + ([(_REST, sum(rest))] if rest else [])


def _stacked(column: Sequence[tuple[int, float]], body: float, top: float) -> dict[int, tuple[float, float]]:
    """Topic → (low, high) of its box, from the top down; at least _LEAST high, what is left over by size (the rest counts as little)."""
    free = max(body - sum(_LEAST + _GAP for _ in column), 0.0)
    weight = {t: (n if t != _REST else min(n, max((m for u, m in column if u != _REST), default=n))) for t, n in column}
    total = sum(weight.values()) or 1.0
    found = {}
    for topic, n in weight.items():
        high = top
        top -= _LEAST + free * n / total
        found[topic] = (top, high)
        top -= _GAP
    return found


def _bands(
    axes: Any,
    left: float,
    right: float,
    before: Mapping[int, tuple[float, float]],
    after: Mapping[int, tuple[float, float]],
    steps: Sequence[Step],
    shown: set[int],
    named: Mapping[int, Text],
) -> None:
    """The bands between two versions; births begin and deaths end in the open, every band but 'same' bears its word where there is room."""
    links: dict[tuple[int, int], str] = {}
    for step in steps:
        prev = None if step.prev_topic_id is None or step.relation == "birth" else step.prev_topic_id
        topic = None if step.topic_id is None or step.relation == "death" else step.topic_id
        source, target = (None if t is None else t if t in shown else _REST for t in (prev, topic))
        if source is not None and target is not None:
            if source in before and target in after:
                links[source, target] = "same" if source == target == _REST else links.get((source, target), step.relation)
        elif target in after and target is not None and target != _REST:
            _ends(axes, right, -1, *after[target], "birth", in_words("birth"))
        elif source in before and source is not None and source != _REST:
            who = named.get(source)
            _ends(axes, left, 1, *before[source], "death", Words("death", "消亡") if who is None else _dead(who))
    said: list[tuple[float, float]] = []
    out, into = defaultdict(list), defaultdict(list)
    for source, target in links:
        out[source].append(target)
        into[target].append(source)
    for (source, target), relation in links.items():
        a = _part(before[source], sorted(out[source], key=lambda t: -after[t][1]), target)
        b = _part(after[target], sorted(into[target], key=lambda s: -before[s][1]), source)
        _band(axes, left, right, a, b, COLOURS.get(relation, GREY))
        if relation != "same":
            # Where bands of one kind part or have not met yet: at t of the Bézier curve in the middle of the band.
            t = {"split": 0.75, "merge": 0.25}.get(relation, 0.5)
            inner = 3 * t * (1 - t)
            x = left * (1 - t) ** 3 + (left + right) / 2 * inner + right * t**3
            y = sum(a) / 2 * ((1 - t) ** 3 + inner * (1 - t)) + sum(b) / 2 * (t**3 + inner * t)
            if all(abs(x - u) > 30 or abs(y - v) > 8 for u, v in said):
                write(axes, x, y, in_words(relation), ha="center", size=7.5)
                said.append((x, y))
        if source in named:
            write(axes, left + 3, sum(a) / 2, cut(named[source], (right - left) * 0.6, 7), size=7)


def _dead(who: Text) -> Text:
    en, zh = who if isinstance(who, Words) else (who, who)
    return Words(f"death: {en}", f"消亡：{zh}")


def _part(box: tuple[float, float], order: Sequence[int], one: int) -> tuple[float, float]:
    """The equal part of a box's side that belongs to one of several bands, from the top down."""
    low, high = box
    step = (high - low) / len(order)
    place = order.index(one)
    return high - step * (place + 1), high - step * place


def _band(axes: Any, left: float, right: float, a: tuple[float, float], b: tuple[float, float], colour: str) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    mid = (left + right) / 2
    points = [
        *((left, a[1]), (mid, a[1]), (mid, b[1]), (right, b[1])),
        *((right, b[0]), (mid, b[0]), (mid, a[0]), (left, a[0]), (left, a[1])),
    ]
    codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]
    axes.add_patch(PathPatch(Path(points, codes), facecolor=colour, alpha=0.55, linewidth=0))


def _ends(axes: Any, x: float, way: int, low: float, high: float, relation: str, said: Text) -> None:
    """A wedge at a box's side that says birth or death."""
    axes.fill([x, x, x + way * 14], [low, high, (low + high) / 2], color=COLOURS[relation], linewidth=0)
    write(axes, x + way * 17, (low + high) / 2, cut(said, 96, 7.5), ha="left" if way > 0 else "right", size=7.5)
