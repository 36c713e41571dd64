"""What a forecast is made from: a user's active nights as steps, and numbers about each of the user's topics, as of the end of a night.

All of it is a function of the rows of at most WINDOW nights up to that night: nothing is carried from one night to the next.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys_core.recommenders.base import Floats, Ints
from recsys_core.recommenders.history import codes

WINDOW = 90
# Last active nights that a sequence model looks at.
MAX_STEPS = 60
# A topic is touched by half an event and more: the first topic of one item, not its third.
TOUCH = 0.5
# Half-lives of the shares, in days and in events of the user.
HALF_LIVES = (1.0, 3.0, 7.0, 30.0, 90.0)
HALF_EVENTS = (3.0, 10.0, 30.0)
WEEK, MONTH = 7, 28
LAGS = 3
N_CALENDAR = 4  # numbers of a step beside its topics
N_BLENDS = 3
N_TOPIC = len(HALF_LIVES) + len(HALF_EVENTS) + LAGS + 10 + N_BLENDS
N_USER = 13
_DAY = 1 << 22  # more than any night's ordinal: (user, night) as one number

Singles = NDArray[np.float32]


@dataclass(frozen=True)
class TopicDays:
    """Mass by user, night and topic: one row of `mass` (rows × topics, events) for each active night of a user, by user, then night.

    users   user keys, sorted; `user` are places among them
    topics  topic ids, the columns
    day     nights as ordinals (date.toordinal)
    """

    users: pa.Array
    topics: Ints
    user: Ints
    day: Ints
    mass: csr_matrix

    @property
    def first(self) -> int:
        """The first night with an event, 0 without any."""
        return int(self.day.min(initial=_DAY)) % _DAY

    @cached_property
    def keys(self) -> Ints:
        """(user, night) of each row as one rising number."""
        return self.user * _DAY + self.day

    @cached_property
    def totals(self) -> Floats:
        """Mass of each row."""
        return np.asarray(self.mass.sum(axis=1)).ravel()

    @cached_property
    def by_time(self) -> tuple[Ints, Ints]:
        """(rows by night, their nights)."""
        order = np.argsort(self.day, kind="stable")
        return order, self.day[order]

    @cached_property
    def touch(self) -> csr_matrix:
        """1 where a topic was touched on a night."""
        found = self.mass.copy()
        found.data = (found.data >= TOUCH).astype(np.float64)
        return found

    @cached_property
    def by_day(self) -> tuple[Ints, Floats]:
        """(nights, mass of all users by topic up to and with each, with a row of zeros before them)."""
        nights, at = np.unique(self.day, return_inverse=True)
        summed = csr_matrix((np.ones(len(at)), (at, np.arange(len(at)))), (len(nights), len(at))) @ self.mass
        return nights, np.vstack([np.zeros((1, len(self.topics))), np.cumsum(summed.toarray(), axis=0)])

    def rows(self, user: Ints, first: Ints, last: Ints) -> tuple[Ints, Ints]:
        """(begin, end) of the rows of each user from night `first` to `last`, both included."""
        begin = np.searchsorted(self.keys, user * _DAY + first)
        return begin, np.searchsorted(self.keys, user * _DAY + last, side="right")

    def population(self, day: Ints, nights: int) -> Floats:
        """Share of each topic in the mass of all users over `nights` nights up to `day`; (days, topics), zeros where nothing was."""
        known, summed = self.by_day
        found = summed[np.searchsorted(known, day, side="right")] - summed[np.searchsorted(known, day - nights, side="right")]
        return found / np.maximum(found.sum(axis=1, keepdims=True), 1e-9)


def topic_days(rows: pa.Table, topics: Iterable[int]) -> TopicDays:
    """Rows of user_topic_day (ds, user_key, topic_id, mass_micro) as arrays over the topics given; others are left out."""
    topics = np.fromiter(topics, np.int64)
    place = codes(rows["topic_id"], pa.array(topics, pa.int64()))
    kept = (place >= 0) & (rows["mass_micro"].to_numpy() > 0)
    users = pc.unique(rows["user_key"])
    users = users.take(pc.sort_indices(users))
    user = codes(rows["user_key"], users)[kept]
    day = rows["ds"].cast(pa.int32()).to_numpy()[kept].astype(np.int64) + dt.date(1970, 1, 1).toordinal()
    pairs, row = np.unique(user * _DAY + day, return_inverse=True)
    # Duplicates are summed as integers: the order of rows changes nothing.
    micro = csr_matrix((rows["mass_micro"].to_numpy()[kept], (row, place[kept])), (len(pairs), len(topics)), dtype=np.int64)
    micro.sort_indices()
    return TopicDays(users, topics, pairs // _DAY, pairs % _DAY, micro.astype(np.float64) / 1e6)


def active(days: TopicDays, first: int, last: int) -> Ints:
    """Users with an event on one of the nights first … last, in rising order."""
    order, sorted_days = days.by_time
    found: Ints = np.unique(days.user[order[np.searchsorted(sorted_days, first) : np.searchsorted(sorted_days, last, side="right")]])
    return found


@dataclass(frozen=True)
class Inputs:
    """Inputs of n users, each as of the end of a night.

    steps    (n, longest, topics + N_CALENDAR) shares of the night's mass, log mass, log nights since the step before, weekday on the circle
    lengths  (n,) steps of each user, at least one
    topic    (n, topics, N_TOPIC) numbers about user and topic, see `_about_topics`
    user     (n, N_USER) numbers about the user, see `_about_users`
    """

    steps: Singles
    lengths: Ints
    topic: Singles
    user: Singles


def inputs(days: TopicDays, user: Ints, day: Ints) -> Inputs:
    """Inputs of users that were active in the WINDOW nights up to `day` (one night each)."""
    begin, end = days.rows(user, day - WINDOW + 1, day)
    steps, lengths = _steps(days, np.maximum(begin, end - MAX_STEPS), end)
    return Inputs(steps, lengths, _about_topics(days, day, begin, end), _about_users(days, day, begin, end))


def touched(days: TopicDays, user: Ints, day: Ints, horizon: int) -> NDArray[np.bool_]:
    """Whether each user touches each topic in the `horizon` nights after `day`; (n, topics)."""
    begin, end = days.rows(user, day + 1, day + horizon)
    return _summed(days, begin, end)[0] >= TOUCH - 1e-9


def week_share(days: TopicDays, user: Ints, day: Ints, nights: int = WEEK) -> Floats:
    """Share of each topic in the mass of each user over the last `nights` nights; zeros for who did nothing."""
    begin, end = days.rows(user, day - nights + 1, day)
    return _share(_summed(days, begin, end)[0])


def last_share(days: TopicDays, user: Ints, day: Ints) -> Floats:
    """Share of each topic in the mass of each user's last active night."""
    begin, end = days.rows(user, day - WINDOW + 1, day)
    return _share(_summed(days, np.maximum(begin, end - 1), end)[0])


def _flat(begin: Ints, end: Ints) -> tuple[Ints, Ints]:
    """(owner, row) of all rows begin … end − 1 of each owner, one after another."""
    size = end - begin
    owner = np.repeat(np.arange(len(size)), size)
    return owner, np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size) + begin[owner]


def _summed(days: TopicDays, begin: Ints, end: Ints, *weights: Floats) -> list[Floats]:
    """Weighted sums of each owner's rows by topic, one (n, topics) for each of `weights` (one a row of `_flat`), plain without any."""
    row = _flat(begin, end)[1]
    bounds = np.append(0, np.cumsum(end - begin))
    shape = (len(begin), len(days.user))
    return [(csr_matrix((w, row, bounds), shape) @ days.mass).toarray() for w in weights or (np.ones(len(row)),)]


def _share(mass: Floats) -> Floats:
    return mass / np.maximum(mass.sum(axis=1, keepdims=True), 1e-9)


def _weekday(day: Ints) -> list[Floats]:
    angle = 2 * np.pi * (day % 7) / 7
    return [np.sin(angle), np.cos(angle)]


def _steps(days: TopicDays, begin: Ints, end: Ints) -> tuple[Singles, Ints]:
    """(steps, lengths) of the rows begin … end − 1."""
    owner, row = _flat(begin, end)
    lengths = end - begin
    place = row - begin[owner]
    steps = np.zeros((len(begin), int(lengths.max(initial=1)), len(days.topics) + N_CALENDAR), np.float32)
    total = days.totals[row]
    gap = np.where(place > 0, days.day[row] - days.day[np.maximum(row - 1, 0)], 0)
    steps[owner, place, : len(days.topics)] = days.mass[row].toarray() / total[:, None]
    steps[owner, place, len(days.topics) :] = np.column_stack([np.log1p(total), np.log1p(gap), *_weekday(days.day[row])])
    return steps, lengths


def _about_topics(days: TopicDays, day: Ints, begin: Ints, end: Ints) -> Singles:
    """Shares by half-life in days and in events and of the last active nights, shares of seven and of all nights, log masses, share of
    active nights with a touch, how long ago the last was, how common the topic is among all users; behind these the N_BLENDS logs of shares
    (half-life of a week, last active night, all nights) with a little of what is common.
    """
    owner, row = _flat(begin, end)
    age = (day[owner] - days.day[row]).astype(np.float64)
    summed = np.append(0.0, np.cumsum(days.totals))
    later = summed[end[owner]] - summed[row + 1]  # the user's events after the row's night
    decays = [2.0 ** (-age / h) for h in HALF_LIVES] + [2.0 ** (-later / h) for h in HALF_EVENTS]
    recent = [(row == end[owner] - 1 - lag).astype(np.float64) for lag in range(LAGS)]
    sums = _summed(days, begin, end, *decays, *recent, (age < WEEK).astype(np.float64), np.ones(len(row)))
    nights = np.maximum(end - begin, 1)[:, None]
    bounds, shape = np.append(0, np.cumsum(end - begin)), (len(begin), len(days.user))
    times = (csr_matrix((np.ones(len(row)), row, bounds), shape) @ days.touch).toarray()
    # The last touch is the sharpest decay's: 2^(−4 · age) of the latest outweighs all before it.
    last = -np.log2(np.maximum((csr_matrix((2.0 ** (-4.0 * np.minimum(age, 240)), row, bounds), shape) @ days.touch).toarray(), 1e-300)) / 4
    met = times > 0
    columns = [_share(s) for s in sums]
    columns += [np.log1p(sums[HALF_LIVES.index(7.0)]), np.log1p(sums[-1])]
    columns += [times / nights, np.log1p(times), np.where(met, 1 / (1 + np.maximum(last, 0)), 0.0), met.astype(np.float64)]
    common = [days.population(day, n) for n in (WEEK, MONTH)]
    columns += [np.log(c + 1e-3) for c in common]
    shares = columns[HALF_LIVES.index(7.0)], columns[len(HALF_LIVES) + len(HALF_EVENTS)], columns[len(sums) - 1]
    columns += [np.log(0.95 * share + 0.05 * common[-1] + 1e-4) for share in shares]
    return np.stack(columns, axis=2).astype(np.float32)


def _about_users(days: TopicDays, day: Ints, begin: Ints, end: Ints) -> Singles:
    """How long ago, how often and how much: gap, share of active nights in a week, a month and all, masses, history, the next weekday,
    how many topics there are and how even their shares.
    """
    owner, row = _flat(begin, end)
    age = day[owner] - days.day[row]
    gap = day - days.day[np.maximum(end - 1, 0)]
    counts = [np.bincount(owner, age < n, minlength=len(begin)) / n for n in (WEEK, MONTH)]
    first = day - days.day[np.minimum(begin, len(days.day) - 1)]
    history = np.minimum(day - days.first + 1, WINDOW)  # nights that could have been active
    total = np.bincount(owner, days.totals[row], minlength=len(begin))
    shares = _share(_summed(days, begin, end)[0])
    columns = [np.log1p(gap), 1 / (1 + gap), *counts, (end - begin) / history, np.log1p(end - begin), np.log1p(total)]
    columns += [np.log1p(total / np.maximum(end - begin, 1)), np.log1p(first), history / WINDOW, *_weekday(day + 1)]
    columns.append(-(shares * np.log(np.maximum(shares, 1e-12))).sum(axis=1))
    return np.column_stack(columns).astype(np.float32)
