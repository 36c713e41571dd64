"""Topics that a user has not touched yet, reached from those that they have, by methods that each say why.

A method scores (user, topic) pairs by what it goes by, and the score becomes the probability that the user touches the topic for the first
time within the next seven days: so proposals of several methods can be ranked together. A new method is one entry of METHODS and what it
leads by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys_core.expansion import calibration
from recsys_core.expansion.calibration import Calibration
from recsys_core.expansion.neighbours import Scores, lifts, similar_users
from recsys_core.expansion.state import Floats, Ints, State, Week

MAX_PROPOSALS = 10
FIT_USERS = 5_000
COLLABORATIVE = "collaborative"
# While too little was seen: the share of similar users who touched a topic as the odds, and for other methods that times what leads there.
FIRST, THEN = Calibration(0.0, 1.0, 0.0, 0.0), Calibration(0.0, 1.0, 1.0, 0.0)


@dataclass(frozen=True)
class Method:
    """Why a topic is proposed, in English and Chinese; {} is the topic that led to it, in the same language."""

    english: str
    chinese: str

    def reason(self, label: tuple[str, str]) -> str:
        """Both, as the one text of a row; `label` is the topic's (English, Chinese).

        >>> METHODS["context"].reason(("tents", "帐篷"))
        'close to tents · 与“帐篷”相近'
        """
        return f"{self.english.format(label[0])} · {self.chinese.format(label[1])}"


METHODS: dict[str, Method] = {
    "context": Method("close to {}", "与“{}”相近"),
    COLLABORATIVE: Method("people with interests like yours, {} among them, turn to this", "与你一样喜欢“{}”等主题的人也喜欢它"),
    "knowledge": Method("it belongs with {}", "与“{}”同属一类"),
    "llm": Method("likely to suit who likes {}", "喜欢“{}”的人可能也喜欢它"),
}


@dataclass(frozen=True)
class Proposals:
    """Columns of equal length: row of the user, column of the topic and of the topic that led to it, probability, rank from 1."""

    user: Ints
    topic: Ints
    via: Ints
    score: Floats
    rank: Ints


def expansions(found: Week, leads: Mapping[str, np.ndarray], peers: Scores = similar_users) -> dict[str, Proposals]:
    """Proposals by method as of a night, at most MAX_PROPOSALS a user: topics not touched, best first, ties to the lower column.

    leads  by method but "collaborative": (k, k) how much the topic of the row leads to that of the column; a method that is left out makes
           no proposals
    peers  what "collaborative" goes by

    The probability of a proposal is fitted on the seven nights before: on what methods said as of the night before them, and on what users
    touched for the first time since. "collaborative" starts from how popular the topic is, the others from what it says.
    """
    ways = {m: lifts(found.now) if m == COLLABORATIVE else leads[m] for m in METHODS if m == COLLABORATIVE or m in leads}
    pairs: dict[str, list[Floats]] = {m: [np.zeros((0, 4))] for m in ways}
    for rows in found.before.blocks(FIT_USERS):
        new, counted = found.new[rows], found.before.open[rows] & found.before.touched[rows].any(axis=1, keepdims=True)
        for method, (lead, base) in _evidence(found.before, rows, ways, peers):
            pairs[method].append(calibration.seen(lead, base, found.before.activity[rows], new, counted))
    fitted = {m: calibration.fit(np.concatenate(p), FIRST if m == COLLABORATIVE else THEN) for m, p in pairs.items()}
    none = np.zeros(0, np.int64)
    parts: dict[str, list[tuple[Any, ...]]] = {m: [(none, none, none, np.zeros(0), none)] for m in ways}
    for rows in found.now.blocks():
        for method, (lead, base) in _evidence(found.now, rows, ways, peers):
            probability = fitted[method].probability(lead, base, found.now.activity[rows]) * found.now.open[rows]
            order = np.argsort(-probability, axis=1, kind="stable")[:, :MAX_PROPOSALS]
            score = np.take_along_axis(probability, order, axis=1)
            row, place = np.nonzero(score > 0)
            topic = order[row, place]
            via = (found.now.shares[rows][row] * ways[method][:, topic].T).argmax(axis=1)
            parts[method].append((row + rows.start, topic, via, score[row, place], place + 1))
    return {m: Proposals(*(np.concatenate(column) for column in zip(*p, strict=True))) for m, p in parts.items()}


def _evidence(state: State, rows: slice, ways: Mapping[str, np.ndarray], peers: Scores) -> Iterator[tuple[str, tuple[Floats, Floats]]]:
    """By method (how much leads the users of a block to each topic, log odds without it)."""
    alike = peers(state, rows)
    usual = np.where(alike.any(axis=1, keepdims=True), np.log(np.maximum(alike, calibration.LEAST)), state.popularity)
    for method, matrix in ways.items():
        if method == COLLABORATIVE:
            yield method, (alike, np.broadcast_to(state.popularity, alike.shape))
        else:
            yield method, (np.round(state.shares[rows].astype(np.float64) @ matrix, 6), usual)


def reasons(method: str, labels: Sequence[tuple[str, str]]) -> list[str]:
    """A method's reason by the column of the topic that led to a proposal."""
    return [METHODS[method].reason(label) for label in labels]
