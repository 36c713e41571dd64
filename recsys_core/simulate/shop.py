"""Who and what the simulated shop holds: the catalogue and the population, with their planted topics, as arrays."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys_core.simulate.vocabulary import TOPICS

NEVER = 1 << 30  # a day index after every night
MIXED_SHARE = 0.2
SECOND_TOPIC_WEIGHT = 0.3
CATEGORY_AGREEMENT = 0.6
CHANGES = ("stable", "switch", "start", "grow", "fade")
SOLD_OUT_SHARE, REGIONAL_SHARE = 0.02, 0.03  # of the items that few ask for
N_REGIONS = 4  # of each language
SLOTS = 4  # up to three topics from the beginning, and one that may come later
_BASE_SHARES = np.array([[1.0, 0, 0], [0.8, 0.2, 0], [0.7, 0.18, 0.12]])
TOPIC_IS_EN = np.array([topic.lang == "en" for topic in TOPICS])

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def opaque(numbers: Ints | NDArray[np.uint64], key: int) -> NDArray[np.uint64]:
    """Distinct 64-bit numbers without order or meaning for distinct numbers (splitmix64's finaliser, a bijection; Steele 2014)."""
    x = numbers.astype(np.uint64) + np.uint64(key)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def hex_ids(numbers: NDArray[np.uint64]) -> list[str]:
    """Each number as 16 hex digits."""
    digits = numbers.astype(">u8").tobytes().hex()
    return [digits[k : k + 16] for k in range(0, len(digits), 16)]


@dataclass
class Catalogue:
    """Items as arrays of equal length, in an order without meaning.

    topic, second (−1 = pure)   planted topics, indices of TOPICS
    category                    index of TOPICS whose shelf it stands on; −1 … −4 = one of SALE_SHELVES
    arrival, removal            day indices; on sale on arrival ≤ day < removal, which is known from the beginning
    popularity                  Zipf weight within the topic; `season` is its peak's day of the year, −1 = no season
    ring                        place in the order that shoppers walk: the items of one topic stand next to each other
    sold_out                    day index from which none is left in stock, NEVER = stock is not told
    region                      the one region, an index, where it may be shown; −1 = everywhere
    """

    ids: list[str]
    topic: Ints
    second: Ints
    category: Ints
    arrival: Ints
    removal: Ints
    popularity: Floats
    season: Ints
    ring: Ints
    price: Floats
    text_state: Ints
    edition: Ints
    sold_out: Ints
    region: Ints

    def alive(self, day: int) -> NDArray[np.bool_]:
        """Which items are on sale on the day."""
        return (self.arrival <= day) & (day < self.removal)

    def appeal(self, day: int, date: dt.date) -> Floats:
        """Popularity on the day (> 0, no unit): seasonal items rise threefold around their peak, new ones for a week, absent ones are 0."""
        distance = np.abs(date.timetuple().tm_yday - self.season)
        distance = np.minimum(distance, 365 - distance)
        seasonal = np.where(self.season < 0, 1.0, 0.15 + 3.0 * np.exp(-0.5 * (distance / 20.0) ** 2))
        fresh = np.where((self.arrival > 0) & (day - self.arrival < 7), 1.5, 1.0)
        return self.popularity * seasonal * fresh * self.alive(day)


def make_catalogue(rng: np.random.Generator, limits: np.random.Generator, items: int, nights: int, key: int) -> Catalogue:
    """A catalogue of `items`: 15 % arrive after the first day; every topic has at least two items that are there on all nights.

    `limits` draws what keeps an item off lists: shoppers go by the rest, so that most of it befalls items that few ask for.
    """
    n_topics = len(TOPICS)
    sizes = rng.uniform(0.6, 1.4, n_topics)
    topic = np.concatenate([np.repeat(np.arange(n_topics), 2), rng.choice(n_topics, items - 2 * n_topics, p=sizes / sizes.sum())])
    late = rng.random(items) < 0.15
    late[: 2 * n_topics] = False
    arrival = np.where(late & (nights > 1), rng.integers(1, max(nights, 2), items), 0)
    removal = np.where(
        (np.arange(items) < 2 * n_topics) | (rng.random(items) > 0.0004 * nights),
        NEVER,
        arrival + 1 + rng.integers(0, max(nights, 1), items),
    )
    order = rng.permutation(items)
    topic, arrival, removal = topic[order], arrival[order], removal[order]
    # A neighbour of the same language: the second topic of the items that mix two.
    half = n_topics // 2

    def another() -> Ints:
        return (topic // half) * half + (topic % half + rng.integers(1, half, items)) % half

    second = another()
    second = np.where(rng.random(items) < MIXED_SHARE, second, -1)
    elsewhere = np.where(rng.random(items) < 0.2, -rng.integers(1, 5, items), another())
    category = np.where(rng.random(items) < CATEGORY_AGREEMENT, topic, elsewhere)
    rank = np.empty(items)
    for t in range(n_topics):
        members = np.flatnonzero(topic == t)
        rank[members] = rng.permutation(len(members)) + 1
    ring = np.empty(items, dtype=np.int64)
    ring[np.lexsort((rng.random(items), topic))] = np.arange(items)
    medians = np.array([t.price for t in TOPICS])
    obscure = rank > np.median(rank)
    sold_out = np.where(obscure & (limits.random(items) < SOLD_OUT_SHARE), limits.integers(0, nights, items), NEVER)
    return Catalogue(
        ids=hex_ids(opaque(np.arange(items), key)),
        topic=topic,
        second=second,
        category=category,
        arrival=arrival,
        removal=removal,
        popularity=rank**-0.9,
        season=np.where(rng.random(items) < 0.1, rng.integers(1, 366, items), -1),
        ring=ring,
        price=np.round(medians[topic] * rng.lognormal(0, 0.5, items), 2),
        text_state=rng.integers(0, 2**62, items),
        edition=np.zeros(items, dtype=np.int64),
        sold_out=sold_out,
        region=np.where(obscure & (limits.random(items) < REGIONAL_SHARE), limits.integers(0, N_REGIONS, items), -1),
    )


@dataclass
class Population:
    """Users as arrays of equal length.

    english, bilingual, region, device   storefront facts; region and device are indices
    topics, base                         SLOTS planted topics (−1 = none) and their first shares
    change, change_day, ramp             how interests move (index of CHANGES), from which day, over how many days
    join, activity, bot                  first day, sessions a night (relative, log-normal), robots have no interests
    """

    ids: list[str]
    english: NDArray[np.bool_]
    bilingual: NDArray[np.bool_]
    region: Ints
    device: Ints
    topics: NDArray[np.int8]
    base: NDArray[np.float32]
    change: Ints
    change_day: Ints
    ramp: int
    join: Ints
    activity: Floats
    bot: NDArray[np.bool_]

    def shares(self, day: int, rows: Ints | None = None) -> Floats:
        """Planted share of each slot on the day, (users, SLOTS), each row summing to 1."""
        rows = np.arange(len(self.ids)) if rows is None else rows
        share, change, at = self.base[rows].astype(np.float64), self.change[rows], self.change_day[rows]
        progress = np.clip((day - at + 1) / self.ramp, 0.0, 1.0)
        begun = day >= at
        switch, start, grow, fade = (change == CHANGES.index(name) for name in CHANGES[1:])
        share[:, 3] = np.where(switch & begun, share[:, 0], np.where(start & begun, 1.8, np.where(grow, 2.5 * progress, 0.0)))
        share[:, 0] = np.where(switch & begun, 0.0, np.where(fade, share[:, 0] * (1.0 - progress), share[:, 0]))
        return share / share.sum(axis=1, keepdims=True)


def make_population(rng: np.random.Generator, users: int, nights: int, key: int) -> Population:
    """A population: half reads English, half Chinese, one in eight both; a fifth joins after the first day; 0.1 % are robots."""
    n_topics = len(TOPICS)
    english = rng.random(users) < 0.5
    bilingual = rng.random(users) < 0.125
    # Topics of each user without replacement: the largest of log-weight + Gumbel noise.
    liking = np.log(rng.permutation(n_topics) + 3.0).astype(np.float32) * -0.5
    gumbel = liking + rng.gumbel(size=(users, n_topics)).astype(np.float32)
    own = TOPIC_IS_EN[None, :] == english[:, None]
    gumbel[~own & ~bilingual[:, None]] = -np.inf
    gumbel[~own] -= 1.0
    topics = np.argsort(-gumbel, axis=1, kind="stable")[:, :SLOTS].astype(np.int8)
    count = rng.choice(3, users, p=[0.5, 0.32, 0.18])
    change = rng.choice(len(CHANGES), users, p=[0.5, 0.15, 0.1, 0.125, 0.125])
    if nights < 3:
        change[:] = 0
    count = np.where((change == CHANGES.index("fade")) & (count == 0), 1, count)
    topics[:, :3][np.arange(3)[None, :] > count[:, None]] = -1
    topics[(change == 0) | (change == CHANGES.index("fade")), 3] = -1
    join = np.where(rng.random(users) < 0.2, rng.integers(0, nights, users), 0)
    bot = np.zeros(users, dtype=bool)
    if users >= 200:
        bot[rng.choice(users, max(1, users // 1000), replace=False)] = True
    base = np.zeros((users, SLOTS), dtype=np.float32)
    base[:, :3] = _BASE_SHARES[count]
    return Population(
        ids=hex_ids(opaque(np.arange(users), key)),
        english=english,
        bilingual=bilingual,
        region=rng.choice(N_REGIONS, users, p=[0.55, 0.2, 0.15, 0.1]),
        device=rng.choice(3, users, p=[0.62, 0.3, 0.08]),
        topics=topics,
        base=base,
        change=change,
        change_day=np.maximum(join + 1, rng.integers(max(1, nights // 4), max(2, nights * 3 // 4 + 1), users)),
        ramp=max(2, nights // 6),
        join=np.where(bot, 0, join),
        activity=rng.lognormal(0.0, 0.8, users),
        bot=bot,
    )
