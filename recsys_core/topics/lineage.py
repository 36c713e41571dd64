"""Which topics of a new version are topics of the version before: one-to-one, by the cosine of their centroids."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

SAME = 0.95
KEPT = 0.85
IDS_PER_NIGHT = 10_000


@dataclass(frozen=True)
class Origin:
    """Where a topic comes from: `relation` is same or drift, birth (no predecessor), or death (of a topic without a successor)."""

    topic_id: int
    relation: str
    prev_topic_id: int | None = None
    similarity: float | None = None


def new_ids(train_to: dt.date, taken: Collection[int]) -> Iterator[int]:
    """Topic ids that no topic has: the last training night, then a count from 1 that passes over `taken`."""
    first = int(f"{train_to:%Y%m%d}") * IDS_PER_NIGHT
    return (first + n for n in range(1, IDS_PER_NIGHT) if first + n not in taken)


def trace(centroids: np.ndarray, previous_ids: Sequence[int], previous: np.ndarray, fresh: Iterator[int]) -> list[Origin]:
    """The origin of each new topic in order, then the deaths.

    Topics are matched one to one so that the cosines' sum is highest (Kuhn 1955). A pair of at least KEPT keeps the id, as the same topic
    from SAME on and as a drifted one below; every other topic is a birth with an id from `fresh`. Without previous topics all are births.
    """
    partner: dict[int, tuple[int, float]] = {}
    if len(previous_ids):
        cosines = _unit(centroids) @ _unit(previous).T
        rows, columns = linear_sum_assignment(-cosines)
        partner = {int(r): (int(c), float(cosines[r, c])) for r, c in zip(rows, columns, strict=True) if cosines[r, c] >= KEPT}
    found = []
    for row in range(len(centroids)):
        if row in partner:
            column, cosine = partner[row]
            kept = int(previous_ids[column])
            found.append(Origin(kept, "same" if cosine >= SAME else "drift", kept, round(min(cosine, 1.0), 6)))
        else:
            found.append(Origin(next(fresh), "birth"))
    held = {column for column, _ in partner.values()}
    return found + [Origin(int(i), "death", int(i)) for column, i in enumerate(previous_ids) if column not in held]


def _unit(rows: np.ndarray) -> np.ndarray:
    wide = np.asarray(rows, np.float64)
    return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
