"""Interests of users: what of all that they hold is one, and the items behind it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_core.coded import repeated, values_at
from recsys_core.declared import NOBODY, Stances
from recsys_core.events import DEFAULT_WEIGHTS, Weights
from recsys_core.lake.contents import declared
from recsys_core.profiles.clock import HORIZONS, NANO, Floats, Ints, faded, places, total, with_columns
from recsys_core.profiles.evidence import evidence
from recsys_core.profiles.sums import PRIOR_HORIZON, Sums
from recsys_core.tables import TABLES

# Confidence is n_eff / (n_eff + CONFIDENCE_EVENTS); lift is shrunk towards 1 as if LIFT_EVENTS of average interest had been seen too.
CONFIDENCE_EVENTS = 5.0
LIFT_EVENTS = 5.0
EVIDENCE_ITEMS = 5
MAX_TOPICS = 30
# An interest is held from so many items on; a search without an item counts like one.
SUPPORT = 2
# A topic becomes an interest at a share of ENTER and stays one down to LEAVE. Between the two lie the topics that one noisy night pushes
# to and fro; both are far below what the first ranks of a user have, and below 1 / MAX_TOPICS.
ENTER, LEAVE = 0.02, 0.01
Population = Mapping[tuple[int, str], int]


class Scores(Sums):
    """What follows from what users hold: which of it is an interest, and rows of interests."""

    def left(self, horizon: str) -> Floats:
        """What idle nights have left of a pair's sums, 0 to 1: of any type as much, so that no order changes."""
        return faded(self.time.idle[self.user], np.zeros(self.n, np.int64), HORIZONS[horizon])

    def positive(self, horizon: str) -> NDArray[np.bool_]:
        """Which pairs have a score that 6 decimals show."""
        return self.score[horizon][0] * 2 > NANO // 1_000_000

    def shares(self, horizon: str) -> Floats:
        """(CHECKPOINTS, pairs): each score's share of all the user's; 0 where there is none."""
        whole = np.array([total(self.user, s, len(self.users))[self.user] for s in self.score[horizon]])
        return self.score[horizon] / np.maximum(whole, 1)

    def held(self, horizon: str) -> NDArray[np.bool_]:
        """Which pairs are interests: supported and entered at ENTER, not below LEAVE since, over the checkpoints; or declared."""
        found = np.zeros(self.n, bool)
        for share in self.shares(horizon)[::-1]:
            found = (share >= ENTER) | (found & (share >= LEAVE))
        declared = (self.prior > 0) & (horizon == PRIOR_HORIZON)
        return self.positive(horizon) & (declared | (found & (self.n_items + self.n_searches >= SUPPORT)))

    def population(self) -> dict[tuple[int, str], int]:
        """(topic, horizon) → Σ of what all users' scores are tonight, in billionths."""
        found: dict[tuple[int, str], int] = {}
        for h in HORIZONS:
            score = np.where(self.positive(h), self.score[h][0], 0) * self.left(h)
            sums = total(np.searchsorted(self.topics, self.topic), score, len(self.topics))
            found |= {(int(t), h): int(s) for t, s in zip(self.topics, sums, strict=True)}
        return found

    def rows(self, population: Population, model_version: str, run_id: str) -> pa.Table:
        """Rows of the table `user_interest`, see `user_interest`."""
        return with_lift(self.without_lift(model_version, run_id), population)

    def without_lift(self, model_version: str, run_id: str) -> pa.Table:
        """The rows as far as they follow from the users alone: without lift, with what it is made of (`now`, `whole`) in its place."""
        ranked = {h: self._ranked(h) for h in HORIZONS}
        own = self.heaviest([kept for kept, _ in ranked.values()], EVIDENCE_ITEMS)
        made_by = model_version, run_id
        rows = [self._rows(h, *of, items, *made_by) for (h, of), items in zip(ranked.items(), own, strict=True)]
        return pa.concat_tables(rows).unify_dictionaries()

    def _rows(
        self, horizon: str, kept: Ints, rank: Ints, items: tuple[Ints, Ints, Ints, Ints], model_version: str, run_id: str
    ) -> pa.Table:
        left, score = self.left(horizon)[kept], self.score[horizon][0]
        whole = total(self.user, score, len(self.users))[self.user[kept]] * left / NANO
        now, mass = score[kept] * left / NANO, self.mass[horizon][kept] * left / NANO
        seen = self.last[kept] >= 0
        tonight = int(np.datetime64(self.ds).astype(np.int64))
        first, last = (np.where(seen, x[kept], tonight).astype("datetime64[D]") for x in (self.first, self.last))
        stated = self.stated[kept]
        sentiment = pa.array(np.round(self.net[kept] / np.maximum(stated, 1), 6) + 0.0, mask=stated <= 0)
        columns: dict[str, Any] = {
            "ds": pa.repeat(pa.scalar(self.ds, pa.date32()), len(kept)),
            "user_key": values_at(self.user[kept], self.users),
            "topic_id": self.topic[kept],
            "horizon": repeated(horizon, len(kept)),
            "score": np.round(now, 6),
            "share": np.round(self.shares(horizon)[0][kept], 6),
            "rank": rank.astype(np.int16),
            "confidence": np.round(mass / (mass + CONFIDENCE_EVENTS), 6),
            "n_events": self.n_events[kept],
            "n_items": self.n_items[kept],
            "first_seen_ds": pa.array(first, pa.date32()),
            "last_seen_ds": pa.array(last, pa.date32()),
            "sentiment": sentiment,
            "evidence": self._evidence(horizon, kept, items, np.round(now, 6), left),
            "model_version": repeated(model_version, len(kept)),
            "run_id": repeated(run_id, len(kept)),
            "now": now,
            "whole": whole,
        }
        return pa.table(columns)

    def _ranked(self, horizon: str) -> tuple[Ints, Ints]:
        """(pairs that are rows, their ranks): those held, by user, by score, ties to the lower topic, MAX_TOPICS at most."""
        kept = np.flatnonzero(self.held(horizon))
        kept = kept[np.lexsort((self.topic[kept], -self.score[horizon][0][kept], self.user[kept]))]
        rank = places(self.user[kept]) + 1
        return kept[rank <= MAX_TOPICS], rank[rank <= MAX_TOPICS]

    def _evidence(self, horizon: str, kept: Ints, items: tuple[Ints, Ints, Ints, Ints], score: Floats, left: Floats) -> pa.Array:
        """JSON of the items of largest own weight, of what was declared, and of the rest: they sum to the score."""
        of, item, own, n_events = items
        said = np.round(self.prior[kept] * left / NANO, 6) if horizon == PRIOR_HORIZON else np.zeros(len(kept))
        return evidence(score, said, of, self.items, item, n_events, own * left[of] / NANO)


def user_interest(
    user_topic_day: pa.Table,
    items: pa.Table,
    sessions: pa.Table,
    ds: dt.date,
    model_version: str,
    run_id: str,
    weights: Weights = DEFAULT_WEIGHTS,
    stances: Stances = NOBODY,
    topics: pa.Table | None = None,
) -> pa.Table:
    """Rows of the table `user_interest` for ds: at most MAX_TOPICS topics per user and horizon.

    `items` are rows of user_item_day and `topics` of item_topic, or `items` are joined with them (topic_id, weight) by night and item;
    nights as `clock.clock` counts them.

    score       as of the user's last night with events, see `Scores`, times 2^(−nights since / half-life in days): while a user is away,
                all fades alike, and no rank and no share moves
    share       score / Σ score of the user's topics; what has no support or is not entered yet is in the sum, but no row
    lift        (score + κ·π) / (total·π + κ·π) with π the topic's share in the population, κ = LIFT_EVENTS
    confidence  n_eff / (n_eff + CONFIDENCE_EVENTS) with n_eff the decayed count of events
    evidence    the items of largest weight, `declared` where the user said so, and the rest: they sum to the score

    An interest needs SUPPORT items, or searches without an item in their place, within the user's nights, or to be declared. Muted topics
    are gone before any share is made.
    """
    scores = Scores(sessions, user_topic_day, items, ds, weights, stances, topics)
    return scores.rows(scores.population(), model_version, run_id)


def with_lift(rows: pa.Table, population: Population) -> pa.Table:
    """Rows of user_interest, with dictionaries, of what `Scores.without_lift` gives, now that the population is known."""
    topics, horizon = rows["topic_id"].to_numpy(), rows["horizon"]
    lift = np.ones(rows.num_rows)
    for name in HORIZONS:
        of = np.flatnonzero(pc.equal(horizon, name).to_numpy())
        there = np.sort(pc.unique(rows["topic_id"]).to_numpy())
        pi = _share_of_all(population, name, there)[np.searchsorted(there, topics[of])]
        shrunk, now, whole = LIFT_EVENTS * pi, rows["now"].to_numpy()[of], rows["whole"].to_numpy()[of]
        lift[of] = np.divide(now + shrunk, whole * pi + shrunk, out=np.ones(len(of)), where=pi > 0)
    found = with_columns(rows.drop_columns(["now", "whole"]), {"lift": np.round(lift, 6)})
    return declared(found, TABLES["user_interest"])


def _share_of_all(population: Population, horizon: str, topics: Ints) -> Floats:
    """Each topic's part in the population's scores."""
    whole = sum(s for (_, h), s in population.items() if h == horizon)
    return np.array([population.get((int(t), horizon), 0) / max(whole, 1) for t in topics])
