"""Interests of users: windowed, decayed sums of topic mass, and the items behind them.

Whole users at a time, as arrays: `spread` gives the same rows of more users than fit into one process. Sums are of whole billionths, so
that they come out the same whatever order rows arrive in.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_core.declared import NOBODY, Stances
from recsys_core.events import DEFAULT_WEIGHTS, Weights
from recsys_core.lake import canonical_json
from recsys_core.profiles.clock import CHECKPOINTS, HORIZONS, NANO, Floats, HalfLife, Ints, clock, codes, distinct, faded, total
from recsys_core.profiles.items import item_parts, weighted
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

_OPINIONS = ("rating", "review", "like", "favorite", "share")
_OBJECTIONS = ("dislike", "hide", "return", "low_rated", "panned")
# Objections that count under the type of their event, too.
_BESIDE = ("low_rated", "panned")
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
    ) -> None:
        """From rows of session, of user_topic_day and of user_item_day joined with item_topic; the prior of other users is left out."""
        self.ds, self.weights = ds, weights
        self.users = distinct(sessions["user_key"], days["user_key"], items["user_key"], stances.prior["user_key"])
        self.time = clock(self.users, sessions, ds)
        parts = (days, items, stances.prior)
        who = [codes(t["user_key"], self.users) for t in parts]
        topic = [t["topic_id"].to_numpy() for t in parts]
        self.topics = np.unique(np.concatenate(topic))
        key = [u * max(len(self.topics), 1) + np.searchsorted(self.topics, t) for u, t in zip(who, topic, strict=True)]
        pairs, inverse = np.unique(np.concatenate(key), return_inverse=True)
        muted = self._muted(pairs, stances)
        self.user, self.topic = pairs // max(len(self.topics), 1), self.topics[pairs % max(len(self.topics), 1)]
        self.n = len(pairs)
        of_day, of_item, of_prior = np.split(inverse, np.cumsum([len(k) for k in key])[:-1])
        self.score = {h: np.zeros((CHECKPOINTS, self.n), np.int64) for h in HORIZONS}
        self._days(days, who[0], of_day)
        self._items(items, who[1], of_item)
        average = weights.cap / 5
        self.prior = total(of_prior, stances.prior["weight"].to_numpy() * (PRIOR_EVENTS * average * NANO), self.n)
        self.score[PRIOR_HORIZON] += self.prior
        for h in HORIZONS:
            self.score[h] = np.where(muted, 0, np.maximum(self.score[h], 0))

    def _muted(self, pairs: Ints, stances: Stances) -> NDArray[np.bool_]:
        """Which pairs their user does not want to see."""
        named = sorted(stances.muted)
        user = codes(pa.array([u for u, _ in named], pa.string()), self.users)
        place = {int(t): i for i, t in enumerate(self.topics)}
        keys = [u * max(len(self.topics), 1) + place[t] for u, (_, t) in zip(user.tolist(), named, strict=True) if u >= 0 and t in place]
        return np.isin(pairs, keys)

    def _add(self, of: Ints, user: Ints, night: Ints, parts: Floats) -> None:
        """Add parts by decay (billionths, not faded) to the scores of every checkpoint that their night is not after."""
        decays = list(self.weights.by_decay())
        age, after = self.time.age[night], self.time.after[night]
        for k in range(CHECKPOINTS):
            since = self.time.checkpoints[user, k]
            seen = (since[:, 0] >= 0) & (age >= since[:, 0])
            gone = age[seen] - since[seen, 0], after[seen] - since[seen, 1]
            for h, half_life in HORIZONS.items():
                self.score[h][k] += total(of[seen], _fading(parts[:, seen], gone, half_life, decays), self.n)

    def _days(self, days: pa.Table, user: Ints, of: Ints) -> None:
        night = self.time.night_of(user, days["ds"])
        date = days["ds"].to_numpy().astype("datetime64[D]").astype(np.int64)
        self.first, self.last = np.full(self.n, np.iinfo(np.int64).max), np.full(self.n, -1)
        np.minimum.at(self.first, of, date)
        np.maximum.at(self.last, of, date)
        within = night >= 0
        days, user, of, night = days.filter(pa.array(within)), user[within], of[within], night[within]
        self._add(of, user, night, np.array([weighted(days, b, "mass", "_micro") * 1000 for b in self.weights.by_decay().values()]))
        mass = days["mass_micro"].to_numpy() * 1000.0
        self.mass = {h: total(of, mass * faded(self.time.age[night], self.time.after[night], x), self.n) for h, x in HORIZONS.items()}
        opinions, objections, beside = (
            weighted(days, dict.fromkeys(names, 1.0), "mass", "_micro") for names in (_OPINIONS, _OBJECTIONS, _BESIDE)
        )
        # A low rating counts under its own type and as low_rated: it is an objection once, and no opinion in favour. So is a review as far
        # as it is panned.
        self.net, self.stated = total(of, opinions - objections - beside, self.n), total(of, opinions + objections - beside, self.n)
        self.n_events = total(of, days["n_events"].to_numpy(), self.n)

    def _items(self, items: pa.Table, user: Ints, of: Ints) -> None:
        night = self.time.night_of(user, items["ds"])
        within = night >= 0
        items, user, of, night = items.filter(pa.array(within)), user[within], of[within], night[within]
        linear, capped = item_parts(items, self.weights)
        share = items["weight"].to_numpy() * NANO
        changed = (linear != capped).any(axis=0)
        self._add(of[changed], user[changed], night[changed], ((capped - linear) * share)[:, changed])
        self.items = distinct(items["item_id"])
        held, by_item = np.unique(of * max(len(self.items), 1) + codes(items["item_id"], self.items), return_inverse=True)
        self.item_pair, self.item = held // max(len(self.items), 1), held % max(len(self.items), 1)
        self.item_events = total(by_item, items["n_events"].to_numpy(), len(held))
        gone, decays = (self.time.age[night], self.time.after[night]), list(self.weights.by_decay())
        self.own = {h: total(by_item, _fading(capped * share, gone, x, decays), len(held)) for h, x in HORIZONS.items()}
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
        schema = TABLES["user_interest"].arrow_schema()
        return pa.concat_tables([schema.empty_table(), *(self._rows(h, population, model_version, run_id) for h in HORIZONS)])

    def _rows(self, horizon: str, population: Population, model_version: str, run_id: str) -> pa.Table:
        kept, rank = self._ranked(horizon)
        pi = _share_of_all(population, horizon, self.topics)[np.searchsorted(self.topics, self.topic[kept])]
        left, score = self.left(horizon)[kept], self.score[horizon][0]
        whole = total(self.user, score, len(self.users))[self.user[kept]] * left / NANO
        now, mass = score[kept] * left / NANO, self.mass[horizon][kept] * left / NANO
        shrunk = LIFT_EVENTS * pi
        lift = np.divide(now + shrunk, whole * pi + shrunk, out=np.ones(len(kept)), where=pi > 0)
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
            "lift": np.round(lift, 6),
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
        }
        return pa.table(columns, schema=TABLES["user_interest"].arrow_schema())

    def _ranked(self, horizon: str) -> tuple[Ints, Ints]:
        """(pairs that are rows, their ranks): those held, by user, by score, ties to the lower topic, MAX_TOPICS at most."""
        kept = np.flatnonzero(self.held(horizon))
        kept = kept[np.lexsort((self.topic[kept], -self.score[horizon][0][kept], self.user[kept]))]
        rank = _place(self.user[kept]) + 1
        return kept[rank <= MAX_TOPICS], rank[rank <= MAX_TOPICS]

    def _evidence(self, horizon: str, kept: Ints, score: Floats, left: Floats) -> list[str]:
        """JSON of the items of largest own weight (ties to the lower id), of what was declared, and of the rest: they sum to the score."""
        own = self.own[horizon]
        order = np.lexsort((self.item, -own, self.item_pair))
        order = order[_place(self.item_pair[order]) < EVIDENCE_ITEMS]
        low, high = (np.searchsorted(self.item_pair[order], kept, side) for side in ("left", "right"))
        ids, events = self.items.take(pa.array(self.item[order])).to_pylist(), self.item_events[order].tolist()
        weight, found = own[order].tolist(), []
        declared = np.round(self.prior[kept] * left / NANO, 6) if horizon == PRIOR_HORIZON else np.zeros(len(kept))
        for a, b, whole, fade, said in zip(low, high, score.tolist(), left.tolist(), declared.tolist(), strict=True):
            items = [{"item_id": ids[i], "n_events": events[i], "weight": round(weight[i] * fade / NANO, 6)} for i in range(a, b)]
            rest = round(whole - said - sum(i["weight"] for i in items), 6) + 0.0
            found.append(canonical_json(({"declared": said} if said else {}) | {"items": items, "rest": rest}))
        return found


def user_interest(
    user_topic_day: pa.Table,
    items: pa.Table,
    sessions: pa.Table,
    ds: dt.date,
    model_version: str,
    run_id: str,
    weights: Weights = DEFAULT_WEIGHTS,
    stances: Stances = NOBODY,
) -> pa.Table:
    """Rows of the table `user_interest` for ds: at most MAX_TOPICS topics per user and horizon.

    `items` are rows of user_item_day joined with item_topic (topic_id, weight) by night and item; nights as `clock.clock` counts them.

    score       as of the user's last night with events, see `Scores`, times 2^(−nights since / half-life in days): while a user is away,
                all fades alike, and no rank and no share moves
    share       score / Σ score of the user's topics; what has no support or is not entered yet is in the sum, but no row
    lift        (score + κ·π) / (total·π + κ·π) with π the topic's share in the population, κ = LIFT_EVENTS
    confidence  n_eff / (n_eff + CONFIDENCE_EVENTS) with n_eff the decayed count of events
    evidence    the items of largest weight, `declared` where the user said so, and the rest: they sum to the score

    An interest needs SUPPORT items, or searches without an item in their place, within the user's nights, or to be declared. Muted topics
    are gone before any share is made.
    """
    scores = Scores(sessions, user_topic_day, items, ds, weights, stances)
    return scores.rows(scores.population(), model_version, run_id)


def _fading(parts: Floats, gone: tuple[Ints, Ints], half_life: HalfLife, decays: list[float]) -> Floats:
    """Σ over parts, given by decay, of part · what is left of it."""
    return sum((part * faded(*gone, half_life, decay) for part, decay in zip(parts, decays, strict=True)), np.zeros(parts.shape[1]))


def _place(groups: Ints) -> Ints:
    """The place of each row within its group; rows of a group stand together."""
    starts = np.flatnonzero(np.concatenate([[True], groups[1:] != groups[:-1]])) if len(groups) else np.zeros(0, np.int64)
    return np.arange(len(groups)) - np.repeat(starts, np.diff(np.append(starts, len(groups))))


def _share_of_all(population: Population, horizon: str, topics: Ints) -> Floats:
    """Each topic's part in the population's scores."""
    whole = sum(s for (_, h), s in population.items() if h == horizon)
    return np.array([population.get((int(t), horizon), 0) / max(whole, 1) for t in topics])
