"""Interests of users: windowed, decayed sums of topic mass, and the items behind them.

Whole users at a time, as arrays: `spread` gives the same rows of more users than fit into one process. Sums are of whole billionths, so
that they come out the same whatever order rows arrive in.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_core.declared import NOBODY, Stances
from recsys_core.events import DEFAULT_WEIGHTS, Weights
from recsys_core.profiles.clock import (
    CHECKPOINTS,
    HORIZONS,
    NANO,
    SPAN,
    Floats,
    Ints,
    clock,
    codes,
    distinct,
    encoded,
    faded,
    once,
    places,
    total,
    with_columns,
)
from recsys_core.profiles.evidence import evidence
from recsys_core.profiles.items import by_decay, condensed_days, condensed_items, memberships
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
# What all that a user declared weighs together, in events of the average weight of a funnel: as much as one item on one night at most.
PRIOR_EVENTS = 5.0
PRIOR_HORIZON = "90d"

Population = Mapping[tuple[int, str], int]


class Scores:
    """What users hold, by pair of user and topic, as of each user's last night with events; sums in billionths.

    score         horizon → (CHECKPOINTS, pairs): Σ_d Σ_type weight · mass · 2^(−(age / days + after / events) / decay of the type), and for
                  nights with items what dwell and cap add or take; not below 0
    mass          horizon → pairs: Σ_d mass · 2^(−age / days − after / events)
    prior         pairs: what a declared interest adds to the score of PRIOR_HORIZON
    n_events, n_items, n_searches, net, stated, first, last   pairs: counts within the window, opinions, first and last night (days)
    own           horizon → by pair and item (`item_pair`, `item`): the part of the score that is the item's own
    """

    def __init__(
        self,
        sessions: pa.Table,
        days: pa.Table,
        items: pa.Table,
        ds: dt.date,
        weights: Weights = DEFAULT_WEIGHTS,
        stances: Stances = NOBODY,
        topics: pa.Table | None = None,
        before: pa.Table | None = None,
    ) -> None:
        """From rows of session, of user_topic_day and of user_item_day, or what `condensed_days` and `condensed_items` make of them.

        topics  rows of item_topic; without them those of `items` are joined with it (topic_id, weight) already
        before  ds, user_key, topic_id of earlier nights of user_topic_day, of which only the dates are asked
        """
        self.ds, self.weights = ds, weights
        row, topic_id, weight = memberships(items, topics)
        sessions, days = encoded(sessions, "user_key"), encoded(condensed_days(days, weights), "user_key")
        items = encoded(condensed_items(items, weights), "user_key", "item_id")
        self.users = distinct(sessions["user_key"], days["user_key"], items["user_key"], stances.prior["user_key"])
        self.time = clock(self.users, sessions, ds)
        user_days, user_items, user_prior = (codes(t["user_key"], self.users) for t in (days, items, stances.prior))
        who = user_days, user_items[row], user_prior
        topic = days["topic_id"].to_numpy(), topic_id, stances.prior["topic_id"].to_numpy()
        self.topics = np.sort(pc.unique(pa.chunked_array([pa.array(t, pa.int64()) for t in topic])).to_numpy())
        n_topics = max(len(self.topics), 1)
        key = [u * n_topics + np.searchsorted(self.topics, t) for u, t in zip(who, topic, strict=True)]
        pairs, inverse = once(np.concatenate(key), len(self.users) * n_topics)
        muted = self._muted(pairs, stances)
        self.user, self.topic = pairs // n_topics, self.topics[pairs % n_topics] if len(self.topics) else pairs
        self.n = len(pairs)
        of_day, of_item, of_prior = np.split(inverse, np.cumsum([len(k) for k in key])[:-1])
        self._seen([(days, of_day), *([self._earlier(before, pairs)] if before is not None else [])])
        self._fades()
        self.score = dict.fromkeys(HORIZONS, np.zeros((CHECKPOINTS, self.n), np.int64))
        self._days(days, user_days, of_day)
        self._items(items, user_items, row, of_item, weight * NANO)
        average = weights.cap / 5
        self.prior = total(of_prior, stances.prior["weight"].to_numpy() * (PRIOR_EVENTS * average * NANO), self.n)
        self.score[PRIOR_HORIZON] = self.score[PRIOR_HORIZON] + self.prior
        for h in HORIZONS:
            self.score[h] = np.where(muted, 0, np.maximum(self.score[h], 0))

    def _muted(self, pairs: Ints, stances: Stances) -> NDArray[np.bool_]:
        """Which pairs their user does not want to see."""
        named = sorted(stances.muted)
        user = codes(pa.array([u for u, _ in named], pa.string()), self.users)
        place = {int(t): i for i, t in enumerate(self.topics)}
        keys = [u * max(len(self.topics), 1) + place[t] for u, (_, t) in zip(user.tolist(), named, strict=True) if u >= 0 and t in place]
        return np.isin(pairs, keys)

    def _earlier(self, before: pa.Table, pairs: Ints) -> tuple[pa.Table, Ints]:
        """The rows of earlier nights whose pairs are there, and their pairs."""
        before = encoded(before, "user_key")
        user, topic = codes(before["user_key"], self.users), codes(before["topic_id"], pa.array(self.topics))
        key = user * max(len(self.topics), 1) + topic
        place = np.minimum(np.searchsorted(pairs, key), max(len(pairs) - 1, 0))
        known = (user >= 0) & (topic >= 0) & (pairs[place] == key) if len(pairs) else np.zeros(len(key), bool)
        return before.filter(pa.array(known)), place[known]

    def _seen(self, rows: Sequence[tuple[pa.Table, Ints]]) -> None:
        """Each pair's first and last night, of rows of nights and their pairs."""
        self.first, self.last = np.full(self.n, np.iinfo(np.int64).max), np.full(self.n, -1)
        for days, of in rows:
            date = days["ds"].to_numpy().astype("datetime64[D]").astype(np.int64)
            np.minimum.at(self.first, of, date)
            np.maximum.at(self.last, of, date)

    def _fades(self) -> None:
        """What is left of a part, by night, checkpoint, horizon and decay; and how many checkpoints, the first, each night counts at."""
        time, decays = self.time, list(self.weights.by_decay())
        since = time.checkpoints[time.keys // SPAN]
        seen = (since[:, :, 0] >= 0) & (time.age[:, None] >= since[:, :, 0])
        gone = time.age[:, None] - since[:, :, 0], time.after[:, None] - since[:, :, 1]
        self.fades = np.zeros((len(seen), CHECKPOINTS, len(HORIZONS), len(decays)))
        for h, half_life in enumerate(HORIZONS.values()):
            for d, decay in enumerate(decays):
                self.fades[:, :, h, d][seen] = faded(gone[0][seen], gone[1][seen], half_life, decay)
        self.checkpoints = seen.sum(axis=1)

    def _add(self, of: Ints, night: Ints, parts: Floats) -> None:
        """Add parts by decay (billionths, not faded) to the scores of every checkpoint that their night is not after."""
        from recsys_core.profiles.kernels import faded_sums

        sums = faded_sums(of, night, parts, self.fades, self.checkpoints, self.n)
        self.score = {h: self.score[h] + sums[n] for n, h in enumerate(HORIZONS)}

    def _days(self, days: pa.Table, user: Ints, of: Ints) -> None:
        night = self.time.night_of(user, days["ds"])
        within = night >= 0
        days, of, night = days.filter(pa.array(within)), of[within], night[within]
        self._add(of, night, by_decay(days, "part"))
        mass = days["mass_micro"].to_numpy() * 1000.0
        self.mass = {h: total(of, mass * faded(self.time.age, self.time.after, x)[night], self.n) for h, x in HORIZONS.items()}
        self.net, self.stated = (total(of, days[name].to_numpy(), self.n) for name in ("net", "stated"))
        self.n_events = total(of, days["n_events"].to_numpy(), self.n)

    def _items(self, items: pa.Table, user: Ints, row: Ints, of: Ints, share: Floats) -> None:
        """`row` is the row of `items` that each membership belongs to, `of` its pair, and `share` its weight in billionths."""
        from recsys_core.profiles.kernels import faded_sums, pairs_within

        night = self.time.night_of(user, items["ds"])
        within = night[row] >= 0
        row, of, share = row[within], of[within], share[within]
        capped, more = by_decay(items, "capped"), by_decay(items, "more")
        changed: NDArray[np.bool_] = (more != 0).max(axis=0, initial=False)[row]
        self._add(of[changed], night[row[changed]], more[:, row[changed]] * share[changed])
        self.items = distinct(items["item_id"])
        self.item_pair, self.item, by_item = pairs_within(of, codes(items["item_id"], self.items)[row], self.n)
        n = len(self.item)
        self.item_events = total(by_item, items["n_events"].to_numpy()[row], n)
        own = faded_sums(by_item, night[row], capped[:, row] * share, self.fades[:, :1], np.ones(len(self.fades), np.int64), n)
        self.own = {h: own[at, 0] for at, h in enumerate(HORIZONS)}
        self.n_items = np.bincount(self.item_pair, minlength=self.n)
        self.n_searches = np.maximum(self.n_events - total(self.item_pair, self.item_events, self.n), 0)

    # -- what follows -------------------------------------------------------------------------------------------------------------
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
        return pa.concat_tables([self._rows(h, model_version, run_id) for h in HORIZONS])

    def _rows(self, horizon: str, model_version: str, run_id: str) -> pa.Table:
        kept, rank = self._ranked(horizon)
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
            "user_key": self.users.take(pa.array(self.user[kept])),
            "topic_id": self.topic[kept],
            "horizon": pa.repeat(pa.scalar(horizon), len(kept)),
            "score": np.round(now, 6),
            "share": np.round(self.shares(horizon)[0][kept], 6),
            "rank": rank.astype(np.int16),
            "confidence": np.round(mass / (mass + CONFIDENCE_EVENTS), 6),
            "n_events": self.n_events[kept],
            "n_items": self.n_items[kept],
            "first_seen_ds": pa.array(first, pa.date32()),
            "last_seen_ds": pa.array(last, pa.date32()),
            "sentiment": sentiment,
            "evidence": self._evidence(horizon, kept, np.round(now, 6), left),
            "model_version": pa.repeat(pa.scalar(model_version), len(kept)),
            "run_id": pa.repeat(pa.scalar(run_id), len(kept)),
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

    def _evidence(self, horizon: str, kept: Ints, score: Floats, left: Floats) -> pa.Array:
        """JSON of the items of largest own weight (ties to the lower id), of what was declared, and of the rest: they sum to the score."""
        from recsys_core.profiles.kernels import heaviest

        own = self.own[horizon]
        of, place = heaviest(self.item_pair, own, kept, EVIDENCE_ITEMS)
        said = np.round(self.prior[kept] * left / NANO, 6) if horizon == PRIOR_HORIZON else np.zeros(len(kept))
        return evidence(score, said, of, self.items, self.item[place], self.item_events[place], own[place] * left[of] / NANO)


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
    """Rows of user_interest of what `Scores.without_lift` gives, now that the population is known."""
    topics, horizon = rows["topic_id"].to_numpy(), rows["horizon"]
    lift = np.ones(rows.num_rows)
    for name in HORIZONS:
        of = np.flatnonzero(pc.equal(horizon, name).to_numpy())
        there = np.sort(pc.unique(rows["topic_id"]).to_numpy())
        pi = _share_of_all(population, name, there)[np.searchsorted(there, topics[of])]
        shrunk, now, whole = LIFT_EVENTS * pi, rows["now"].to_numpy()[of], rows["whole"].to_numpy()[of]
        lift[of] = np.divide(now + shrunk, whole * pi + shrunk, out=np.ones(len(of)), where=pi > 0)
    table = TABLES["user_interest"]
    found = with_columns(rows.drop_columns(["now", "whole"]), {"lift": np.round(lift, 6)})
    return found.select(table.names).cast(table.arrow_schema())


def _share_of_all(population: Population, horizon: str, topics: Ints) -> Floats:
    """Each topic's part in the population's scores."""
    whole = sum(s for (_, h), s in population.items() if h == horizon)
    return np.array([population.get((int(t), horizon), 0) / max(whole, 1) for t in topics])
