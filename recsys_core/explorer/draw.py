"""Lines of small charts as SVG paths; what they say is in words beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """A line through values in a box, the area under it, and where it ends; coordinates in the box's units, y downwards."""

    line: str
    area: str
    end: tuple[float, float]


def line(values: Sequence[float], most: float, width: float, height: float) -> Line:
    """Values from left to right, 0 at the bottom and `most` at the top of the box; a single value is a level line.

    >>> line([0, 1, 2], 2, 10, 4)
    Line(line='M0,4L5,2L10,0', area='M0,4L5,2L10,0L10,4L0,4Z', end=(10.0, 0.0))
    """
    held = list(values) * 2 if len(values) == 1 else list(values)
    step = width / (len(held) - 1)
    points = [(round(n * step, 1), round(height - height * min(v / most, 1.0) if most > 0 else height, 1)) for n, v in enumerate(held)]
    drawn = "M" + "L".join(f"{x:g},{y:g}" for x, y in points)
    return Line(drawn, f"{drawn}L{width:g},{height:g}L0,{height:g}Z", points[-1])
