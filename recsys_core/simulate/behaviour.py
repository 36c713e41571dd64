"""One night of the simulated shop: sessions, the walk through a topic's items, and the funnel of each step."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from recsys_core.simulate.shop import SECOND_TOPIC_WEIGHT, SLOTS, TOPIC_IS_EN, Catalogue, Floats, Ints, Population
from recsys_core.simulate.vocabulary import TOPICS

TYPES = ("view", "click", "search", "add_to_cart", "purchase", "rating", "review", "like", "dislike", "hide", "return")
CODE = {name: k for k, name in enumerate(TYPES)}
NOISE_SHARE = 0.2
BOT_SHARE = 0.02
_BROWSE_SHARE = 0.15  # of the steps that follow an interest: drawn by popularity within the topic instead of along the walk
_SUCCESSORS = 4
_DAY_MS = 86_400_000
_LAST_MS = _DAY_MS - 60_000  # leaves room for delivery before midnight
_WEEKDAY = (0.95, 0.93, 0.94, 0.97, 1.04, 1.11, 1.06)
# Sessions by hour (UTC): quiet nights, a lunch bump, an evening peak.
_HOURS = np.array([3, 2, 1, 1, 1, 2, 3, 5, 7, 8, 8, 9, 11, 10, 8, 8, 9, 11, 14, 18, 21, 20, 14, 7], dtype=np.float64)
_SESSION_STEPS_P = 0.28
_MAX_STEPS = 15


@dataclass
class Events:
    """Events as columns of equal length, ordered by time; item −1 = none, stars 0 = no rating, about −1 = no text."""

    user: Ints
    item: Ints
    kind: NDArray[np.int8]
    ms: Ints
    session: Ints
    stars: NDArray[np.int8]
    about: NDArray[np.int8]
    noise: NDArray[np.bool_]

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Events:
        """The chosen rows, in the order given."""
        return Events(*(getattr(self, f.name)[rows] for f in fields(self)))

    @staticmethod
    def concat(parts: list[Events]) -> Events:
        """All parts, one after another."""
        return Events(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Events)))


def _events(
    user: Ints,
    item: Ints,
    kind: str,
    ms: Ints,
    session: Ints,
    stars: Ints | int = 0,
    about: Ints | int = -1,
    noise: NDArray[np.bool_] | bool = False,
) -> Events:
    n = len(user)
    wide = [np.broadcast_to(np.asarray(x), n) for x in (CODE[kind], stars, about, noise)]
    return Events(user, item, wide[0].astype(np.int8), ms, session, wide[1].astype(np.int8), wide[2].astype(np.int8), wide[3].astype(bool))


@dataclass(frozen=True)
class Shelf:
    """What can be met on one night: the walk's successors and the popularity draws, by topic and by language.

    order        items on sale in walk order, all of a topic together
    successors   (items on sale, 4) places in `order` that may follow each place; `cumulative` their probabilities, summed
    """

    order: Ints
    places: Ints
    successors: Ints
    cumulative: Floats
    browse_items: Ints
    browse_ends: Floats
    browse_bounds: Floats
    popular: tuple[tuple[Ints, Floats], tuple[Ints, Floats]]

    def place_of(self, item: Ints, catalogue: Catalogue) -> Ints:
        """Places in `order` of the items, or of the next ones on sale where they are gone."""
        return np.minimum(np.searchsorted(self.places, catalogue.ring[item]), len(self.order) - 1)

    def browse(self, topic: Ints, rng: np.random.Generator) -> Ints:
        """One item for each topic, by popularity within it (mixed items belong to both of theirs, 70/30)."""
        low, high = self.browse_bounds[topic], self.browse_bounds[topic + 1]
        found = np.searchsorted(self.browse_ends, low + rng.random(len(topic)) * (high - low), side="right")
        return self.browse_items[np.minimum(found, len(self.browse_items) - 1)]

    def noise(self, english: NDArray[np.bool_], rng: np.random.Generator) -> Ints:
        """One item for each storefront language, by popularity alone."""
        out = np.empty(len(english), dtype=np.int64)
        for side, (items, ends) in enumerate(self.popular):
            rows = np.flatnonzero(english == bool(side))
            out[rows] = items[np.minimum(np.searchsorted(ends, rng.random(len(rows)) * ends[-1], side="right"), len(items) - 1)]
        return out


def open_shelf(catalogue: Catalogue, day: int, date: dt.date) -> Shelf:
    """The night's shelf from the items on sale."""
    appeal = catalogue.appeal(day, date)
    alive = np.flatnonzero(appeal > 0)
    order = alive[np.argsort(catalogue.ring[alive])]
    topic = catalogue.topic[order]
    starts = np.searchsorted(topic, np.arange(len(TOPICS) + 1))
    first, size = starts[topic], np.diff(starts)[topic]
    place = np.arange(len(order))
    successors = np.stack([first + (place - first + j) % size for j in range(1, _SUCCESSORS + 1)], axis=1)
    weight = appeal[order][successors] ** 0.6 * np.array([1.0, 0.6, 0.35, 0.2])
    cumulative = np.cumsum(weight / weight.sum(axis=1, keepdims=True), axis=1)
    mixed = alive[catalogue.second[alive] >= 0]
    in_topic = np.concatenate([catalogue.topic[alive], catalogue.second[mixed]])
    items = np.concatenate([alive, mixed])
    main = np.where(catalogue.second[alive] >= 0, 1.0 - SECOND_TOPIC_WEIGHT, 1.0) * appeal[alive]
    weights = np.concatenate([main, SECOND_TOPIC_WEIGHT * appeal[mixed]])
    by_topic = np.argsort(in_topic, kind="stable")
    ends = np.cumsum(weights[by_topic])
    bounds = np.concatenate([[0.0], ends])[np.searchsorted(in_topic[by_topic], np.arange(len(TOPICS) + 1))]
    popular = tuple(
        (rows, np.cumsum(appeal[rows]))
        for rows in (alive[~TOPIC_IS_EN[catalogue.topic[alive]]], alive[TOPIC_IS_EN[catalogue.topic[alive]]])
    )
    return Shelf(order, catalogue.ring[order], successors, cumulative, items[by_topic], ends, bounds, (popular[0], popular[1]))


def _time_of_day(rng: np.random.Generator, n: int) -> Ints:
    hour = rng.choice(24, n, p=_HOURS / _HOURS.sum())
    return hour * 3_600_000 + rng.integers(0, 3_600_000, n)


def _walk(shelf: Shelf, catalogue: Catalogue, pointer: Ints, walker: Ints, rng: np.random.Generator) -> Ints:
    """Item of each step along the rings, moving the pointers on; steps are grouped by `walker` (an index of `pointer`), in time order."""
    item = np.empty(len(walker), dtype=np.int64)
    starts = np.flatnonzero(np.r_[True, walker[1:] != walker[:-1]]) if len(walker) else np.empty(0, dtype=np.int64)
    lengths = np.diff(np.r_[starts, len(walker)])
    at = shelf.place_of(pointer[walker[starts]], catalogue)
    draw = rng.random(len(walker))
    rank, rows = 0, np.arange(len(starts))
    while len(rows):
        step = starts[rows] + rank
        choice = np.minimum((draw[step, None] > shelf.cumulative[at[rows]]).sum(axis=1), _SUCCESSORS - 1)
        at[rows] = shelf.successors[at[rows], choice]
        item[step] = shelf.order[at[rows]]
        rank += 1
        rows = rows[lengths[rows] > rank]
    pointer[walker[starts]] = shelf.order[at]
    return item


@dataclass
class Block:
    """Users that are simulated together, their places in the walks, and what they still owe: ratings, reviews, returns, by day."""

    users: Ints
    pointer: Ints  # (users × SLOTS) last item of each walk, −1 = not begun
    owed: dict[int, list[Events]]


def simulate_block(
    block: Block,
    people: Population,
    catalogue: Catalogue,
    shelf: Shelf,
    day: int,
    date: dt.date,
    events: float,
    text_share: float,
    first_session: int,
    rng: np.random.Generator,
) -> tuple[Events, int]:
    """About `events` (before the weekday's rhythm) events of the block on the day, by time, and the number of sessions used."""
    here = np.flatnonzero(people.join[block.users] <= day)
    human = here[~people.bot[block.users[here]]]
    owed = block.owed.pop(day, [])
    if not len(human):
        return _events(*(np.empty(0, dtype=np.int64),) * 2, "view", *(np.empty(0, dtype=np.int64),) * 2), 0
    budget = events * _WEEKDAY[date.weekday()]
    # Expected events of a step: its funnel, and the texts on top of it. Half of what follows a purchase comes on later days.
    funnel = 1 + 0.35 + 0.35 * 0.35 * (1 + 0.45 * (1 + 0.35 + 0.07)) + 0.05 + 0.015
    texts = funnel * text_share / (1 - text_share)
    search_rate, review_rate = min(1.0, 0.6 * texts / (1 - NOISE_SHARE)), 0.4 * texts
    steps_mean = (1 - (1 - _SESSION_STEPS_P) ** _MAX_STEPS) / _SESSION_STEPS_P
    human_events = budget * (1 - BOT_SHARE * bool(people.bot[block.users[here]].any())) - sum(len(part.user) for part in owed) * 0.5
    n = max(1, round(human_events / (steps_mean * (funnel + texts))))

    # Sessions: who, when, about which of the user's topics; a quarter moves on to a second one.
    weight = np.cumsum(people.activity[block.users[human]])
    local = human[np.minimum(np.searchsorted(weight, rng.random(n) * weight[-1], side="right"), len(human) - 1)]
    begin = _time_of_day(rng, n)
    by_time = np.lexsort((begin, local))
    local, begin = local[by_time], begin[by_time]
    shares = np.cumsum(people.shares(day, block.users[local]), axis=1)
    slots = [np.minimum((rng.random(n)[:, None] > shares).sum(axis=1), SLOTS - 1) for _ in range(2)]
    length = np.minimum(rng.geometric(_SESSION_STEPS_P, n), _MAX_STEPS)
    turn = np.where(rng.random(n) < 0.25, rng.integers(1, _MAX_STEPS, n), _MAX_STEPS)

    # Steps: one item each, by the walk, by popularity within the topic, or by noise.
    session = np.repeat(np.arange(n), length)
    m = len(session)
    step = np.arange(m) - np.repeat(np.cumsum(length) - length, length)
    slot = np.where(step < turn[session], slots[0][session], slots[1][session])
    person = local[session]
    user = block.users[person]
    topic = people.topics[user, slot].astype(np.int64)
    noise = rng.random(m) < NOISE_SHARE
    browse = ~noise & (rng.random(m) < _BROWSE_SHARE)
    walker = person * SLOTS + slot
    fresh = np.flatnonzero(block.pointer[walker] < 0)
    block.pointer[walker[fresh]] = shelf.browse(topic[fresh], rng)
    item = np.empty(m, dtype=np.int64)
    item[noise] = shelf.noise(TOPIC_IS_EN[topic[noise]], rng)
    item[browse] = shelf.browse(topic[browse], rng)
    walking = np.flatnonzero(~noise & ~browse)
    walking = walking[np.argsort(walker[walking], kind="stable")]
    item[walking] = _walk(shelf, catalogue, block.pointer, walker[walking], rng)

    # The funnel of each step; every stage needs the one before it and comes later.
    u = rng.random((9, m), dtype=np.float32)
    clicked = u[0] < 0.35
    carted = clicked & (u[1] < 0.35)
    bought = carted & (u[2] < 0.45)
    reviewed = np.where(bought, u[3] < min(0.6, review_rate / 0.055), u[3] < max(0.0, (review_rate - 0.6 * 0.055) / 0.945))
    rated = bought & (u[4] < 0.35)
    returned = bought & (u[5] < np.where(noise, 0.15, 0.05))
    liked = u[6] < np.where(noise, 0.01, 0.06)
    disliked = ~liked & (u[6] > np.where(noise, 0.95, 0.995))
    searched = ~noise & (u[7] < search_rate)
    stars = np.where(returned, rng.integers(1, 3, m), np.clip(np.round(rng.normal(np.where(noise, 2.9, 4.3), 0.9)), 1, 5)).astype(np.int64)

    def pause(low: int, high: int) -> Ints:
        return rng.integers(low * 1000, high * 1000, m)

    seen = np.where(searched, pause(4, 15), 0)
    click = seen + pause(2, 12)
    cart = click + pause(5, 30)
    buy = cart + pause(10, 90)
    after = buy + pause(20, 60)
    spent = np.where(bought, after + 30_000, np.where(carted, cart, np.where(clicked, click, seen))) + (
        rng.lognormal(3.2, 0.8, m) * 1000
    ).astype(np.int64)
    spent = np.minimum(spent, 400_000)
    ends = np.cumsum(spent)
    offset = ends - spent - np.repeat((ends - spent)[np.cumsum(length) - length], length)
    duration = np.add.reduceat(spent, np.cumsum(length) - length) + 400_000
    start = np.minimum(begin, _LAST_MS - duration)[session] + offset
    number = session + first_session

    def part(rows: NDArray[np.bool_], kind: str, at: Ints, with_stars: bool = False, about: bool = False) -> Events:
        return _events(
            user[rows],
            item[rows],
            kind,
            (start + at)[rows],
            number[rows],
            stars[rows] if with_stars else 0,
            catalogue.topic[item[rows]] if about else -1,
            noise[rows],
        )

    later = bought & (u[8] < 0.5)
    query = part(searched, "search", np.zeros(m, dtype=np.int64))
    query.about[:] = topic[searched]
    query.item[rng.random(len(query.user)) < 0.75] = -1
    parts = [
        query, part(np.ones(m, dtype=bool), "view", seen), part(clicked, "click", click), part(carted, "add_to_cart", cart),
        part(bought, "purchase", buy), part(liked, "like", seen + 1_500), part(rated & ~later, "rating", after, True),
        part(reviewed & ~later, "review", np.where(bought, after + 15_000, click + 1_000), True, True),
        part(disliked & (u[0] < 0.5), "dislike", seen + 1_700), part(disliked & (u[0] >= 0.5), "hide", seen + 1_700),
    ]  # fmt: skip
    for rows, kind, texted in ((rated & later, "rating", False), (reviewed & later, "review", True), (returned, "return", False)):
        promised = part(rows, kind, after, kind != "return", texted)
        wait = 1 + np.minimum(rng.geometric(0.3, len(promised.user)), 10)
        for days in np.unique(wait):
            block.owed.setdefault(day + int(days), []).append(promised.take(wait == days))
    used = n
    if owed:  # ratings, reviews and returns of earlier purchases: a visit of their own
        due = Events.concat(owed)
        due.ms, due.session = _time_of_day(rng, len(due.user)).clip(0, _LAST_MS), first_session + used + np.arange(len(due.user))
        parts.append(due)
        used += len(due.user)
    robots = here[people.bot[block.users[here]]]
    if len(robots):  # one endless visit, any item, every second or two
        views = np.full(len(robots), max(1, int(budget * BOT_SHARE / len(robots))))
        who = np.repeat(np.arange(len(robots)), views)
        nth = np.arange(len(who)) - np.repeat(np.cumsum(views) - views, views)
        gap = min(2000, _LAST_MS // 2 // int(views[0] + 1) + 1)
        at = (rng.integers(0, _LAST_MS // 2, len(robots))[who] + nth * gap + rng.integers(0, gap, len(who))).astype(np.int64)
        parts.append(
            _events(
                block.users[robots[who]],
                shelf.order[rng.integers(0, len(shelf.order), len(who))],
                "view",
                at,
                first_session + used + who,
                noise=True,
            )
        )
        used += len(robots)
    everything = Events.concat(parts)
    return everything.take(np.lexsort((everything.session, everything.ms))), used
