"""What users hold of topics: windowed, decayed sums of topic mass and of what they did with items, by pair of user and topic.

Whole users at a time, as arrays: `spread` gives the same rows of more users than fit into one process. Sums are of whole billionths, so
that they come out the same whatever order rows arrive in.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_core.declared import NOBODY, Stances
from recsys_core.events import DEFAULT_WEIGHTS, Weights
from recsys_core.profiles.clock import CHECKPOINTS, HORIZONS, NANO, SPAN, Floats, Ints, clock, codes, dates, distinct, encoded, faded, total
from recsys_core.profiles.items import ItemTopics, by_decay, condensed_days, condensed_items, memberships

# What all that a user declared weighs together, in events of the average weight of a funnel: as much as one item on one night at most.
PRIOR_EVENTS = 5.0
PRIOR_HORIZON = "90d"


class Sums:
    """What users hold, by pair of user and topic, as of each user's last night with events; sums in billionths.

    score         horizon → (CHECKPOINTS, pairs): Σ_d Σ_type weight · mass · 2^(−(age / days + after / events) / decay of the type), and for
                  nights with items what dwell and cap add or take; not below 0
    mass          horizon → pairs: Σ_d mass · 2^(−age / days − after / events)
    prior         pairs: what a declared interest adds to the score of PRIOR_HORIZON
    n_events, n_items, n_searches, net, stated, first, last   pairs: counts within the window, opinions, first and last night (days)
    """

    def __init__(
        self,
        sessions: pa.Table,
        days: pa.Table,
        items: pa.Table,
        ds: dt.date,
        weights: Weights = DEFAULT_WEIGHTS,
        stances: Stances = NOBODY,
        topics: pa.Table | ItemTopics | None = None,
        before: pa.Table | None = None,
    ) -> None:
        """From rows of session, of user_topic_day and of user_item_day, or what `condensed_days` and `condensed_items` make of them.

        topics  rows of item_topic; without them those of `items` are joined with it (topic_id, weight) already
        before  ds, user_key, topic_id of earlier nights of user_topic_day, of which only the dates are asked
        """
        from recsys_core.profiles.kernels import met_topics

        self.ds, self.weights = ds, weights
        low, high, item_topic, weight = memberships(items, topics)
        sessions, days = encoded(sessions, "user_key"), encoded(condensed_days(days, weights), "user_key")
        items = encoded(condensed_items(items, weights), "user_key", "item_id")
        self.users = distinct(sessions["user_key"], days["user_key"], items["user_key"], stances.prior["user_key"])
        self.time = clock(self.users, sessions, ds)
        user_days, user_items, user_prior = (codes(t["user_key"], self.users) for t in (days, items, stances.prior))
        named = days["topic_id"].to_numpy(), item_topic, stances.prior["topic_id"].to_numpy()
        self.topics = np.sort(pc.unique(pa.chunked_array([pa.array(t, pa.int64()) for t in named])).to_numpy())
        topic_days, topic, topic_prior = (np.searchsorted(self.topics, t) for t in named)
        seen = np.zeros((len(self.users), len(self.topics)), bool)
        seen[user_days, topic_days] = seen[user_prior, topic_prior] = True
        met_topics(user_items, low, high, topic, seen)
        self.user, self.topic = np.nonzero(seen)
        self.n = len(self.user)
        # The number of each user's pair with each topic.
        self.pair: NDArray[np.int32] = np.full(seen.shape, -1, np.int32)
        self.pair[seen] = np.arange(self.n)
        muted = self._muted(stances)
        of_days = self.pair[user_days, topic_days]
        self._seen([(days, of_days), *([self._earlier(before)] if before is not None else [])])
        self._fades()
        self._days(days, user_days, of_days)
        self.items = distinct(items["item_id"])
        self._items(items, user_items, (low, high, topic, weight * NANO))
        self.topic = self.topics[self.topic]
        self.prior = total(
            self.pair[user_prior, topic_prior], stances.prior["weight"].to_numpy() * (PRIOR_EVENTS * (weights.cap / 5) * NANO), self.n
        )
        self.score[PRIOR_HORIZON] = self.score[PRIOR_HORIZON] + self.prior
        for h in HORIZONS:
            self.score[h] = np.where(muted, 0, np.maximum(self.score[h], 0))

    def _muted(self, stances: Stances) -> NDArray[np.bool_]:
        """Which pairs their user does not want to see."""
        named, found = sorted(stances.muted), np.zeros(self.n + 1, bool)
        user = codes(pa.array([u for u, _ in named], pa.string()), self.users)
        topic = codes(pa.array([t for _, t in named], pa.int64()), pa.array(self.topics))
        known = (user >= 0) & (topic >= 0)
        found[self.pair[user[known], topic[known]]] = True  # the last one stands for pairs that are not there
        return found[:-1]

    def _earlier(self, before: pa.Table) -> tuple[pa.Table, NDArray[np.int32]]:
        """The rows of earlier nights whose pairs are there, and their pairs."""
        before = encoded(before, "user_key")
        user, topic = codes(before["user_key"], self.users), codes(before["topic_id"], pa.array(self.topics))
        known = (user >= 0) & (topic >= 0)
        known[known] = self.pair[user[known], topic[known]] >= 0
        return before.filter(pa.array(known)), self.pair[user[known], topic[known]]

    def _seen(self, rows: Sequence[tuple[pa.Table, NDArray[np.int32]]]) -> None:
        """Each pair's first and last night, of rows of nights and their pairs."""
        self.first, self.last = np.full(self.n, np.iinfo(np.int64).max), np.full(self.n, -1)
        for days, of in rows:
            np.minimum.at(self.first, of, dates(days["ds"]))
            np.maximum.at(self.last, of, dates(days["ds"]))

    def _fades(self) -> None:
        """What is left of a part, by night, decay, checkpoint and horizon; and how many checkpoints, the first, each night counts at."""
        time, decays = self.time, list(self.weights.by_decay())
        since = time.checkpoints[time.keys // SPAN]
        seen = (since[:, :, 0] >= 0) & (time.age[:, None] >= since[:, :, 0])
        gone = time.age[:, None] - since[:, :, 0], time.after[:, None] - since[:, :, 1]
        self.fades = np.zeros((len(seen), len(decays), CHECKPOINTS, len(HORIZONS)))
        for h, half_life in enumerate(HORIZONS.values()):
            for d, decay in enumerate(decays):
                self.fades[:, d, :, h][seen] = faded(gone[0][seen], gone[1][seen], half_life, decay)
        self.checkpoints = seen.sum(axis=1)

    def _days(self, days: pa.Table, user: Ints, of: NDArray[np.int32]) -> None:
        from recsys_core.profiles.kernels import faded_sums

        night = self.time.night_of(user, days["ds"])
        sums = faded_sums(of, night, by_decay(days, "part"), self.fades, self.checkpoints, self.n)
        self.score = dict(zip(HORIZONS, sums, strict=True))
        fades = np.stack([faded(self.time.age, self.time.after, x) for x in HORIZONS.values()], axis=1)
        mass = faded_sums(
            of, night, days["mass_micro"].to_numpy()[None] * 1000.0, fades[:, None, None], np.ones(len(fades), np.int64), self.n
        )
        self.mass = dict(zip(HORIZONS, mass[:, 0], strict=True))
        within = night >= 0
        of = of[within]
        self.net, self.stated, self.n_events = (total(of, days[name].to_numpy()[within], self.n) for name in ("net", "stated", "n_events"))

    def _items(self, items: pa.Table, user: Ints, topics: tuple[Ints, Ints, Ints, Floats]) -> None:
        """`topics` are where those of each row stand (low, high), the place of each in `topics`, and its weight in billionths."""
        from recsys_core.profiles.kernels import grouped, item_sums

        item = codes(items["item_id"], self.items)
        order = grouped(user, grouped(item, np.arange(len(item)), len(self.items)), len(self.users))
        self._walked = order, user, item, self.time.night_of(user, items["ds"]), *topics
        self._capped, self._item_events = by_decay(items, "capped"), items["n_events"].to_numpy()
        more = by_decay(items, "more")
        sums, self.n_items, met = item_sums(*self._walked, more, self._item_events, self.pair, self.fades, self.checkpoints, self.n)
        self.score = {h: self.score[h] + sums[at] for at, h in enumerate(HORIZONS)}
        self.n_searches = np.maximum(self.n_events - met, 0)

    def heaviest(self, kept: Sequence[Ints], most: int) -> list[tuple[Ints, Ints, Ints, Ints]]:
        """(place in `kept`, item, weight in billionths, events) of the items of largest own weight in pairs, by horizon.

        `kept` are the pairs of each horizon; up to `most` items of each, the heaviest first, ties to the lower id.
        """
        from recsys_core.profiles.kernels import heaviest_items

        bounds = np.cumsum([0, *map(len, kept)])
        place = np.full((self.n, len(HORIZONS)), -1, np.int32)
        for h, pairs in enumerate(kept):
            place[pairs, h] = np.arange(bounds[h], bounds[h + 1])
        number, *columns = heaviest_items(
            *self._walked, self._capped, self._item_events, self.pair, self.fades, place, int(bounds[-1]), most
        )
        found = []
        for low, high in pairwise(bounds.tolist()):
            there = np.arange(most) < number[low:high, None]
            found.append((np.nonzero(there)[0], *(c[low:high][there] for c in columns)))
        return found
