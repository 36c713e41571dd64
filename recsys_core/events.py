"""Event types and the canonical landing format: what a raw log line may say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Signal = Literal["explicit", "implicit", "generated"]


@dataclass(frozen=True)
class EventType:
    """One kind of behaviour.

    name         the value of `event_type` in the logs, and of the column `n_<name>`
    signal       implicit (behaviour), explicit (a stated opinion) or generated (the user wrote something)
    polarity     +1 the user wants more of this, −1 less
    base_weight  signed strength of one event; applied in profile and rank, never baked into facts
    """

    name: str
    signal: Signal
    polarity: int
    base_weight: float


# A rating or a review of LOW_RATING or less counts under its own type *and* as `low_rated`, whose weight turns it negative.
LOW_RATING = 2.0

EVENT_TYPES: dict[str, EventType] = {
    t.name: t
    for t in (
        EventType("view", "implicit", +1, 1.0),
        EventType("click", "implicit", +1, 1.5),
        EventType("search", "implicit", +1, 1.5),
        EventType("add_to_cart", "implicit", +1, 3.0),
        EventType("purchase", "implicit", +1, 5.0),
        EventType("rating", "explicit", +1, 2.0),
        EventType("review", "generated", +1, 3.0),
        EventType("comment", "generated", +1, 2.0),
        EventType("post", "generated", +1, 3.0),
        EventType("edit", "generated", +1, 1.0),
        EventType("like", "explicit", +1, 3.0),
        EventType("favorite", "explicit", +1, 3.0),
        EventType("share", "explicit", +1, 3.0),
        EventType("dislike", "explicit", -1, -3.0),
        EventType("hide", "explicit", -1, -3.0),
        EventType("return", "explicit", -1, -4.0),
    )
}

# Pseudo-type: the weight that a low rating or a bad review adds to the weight of its own type.
LOW_RATED_WEIGHT = -6.0

# Column suffixes of every count or mass that is kept by type, in the one order used everywhere.
COUNTED_TYPES: tuple[str, ...] = (*EVENT_TYPES, "low_rated")


def type_weights() -> dict[str, float]:
    """Weight of one event of each of COUNTED_TYPES (no unit); negative means less interest."""
    return {**{t.name: t.base_weight for t in EVENT_TYPES.values()}, "low_rated": LOW_RATED_WEIGHT}
