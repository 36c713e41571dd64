"""What changed about users' interests: each topic's share of the last seven nights against the seven weeks before, by one test for all.

Shares are of attention: events that object (hide, dislike, return, bad grades) do not count. Eight weeks, newest first, are held as sums of
millionths of an event, so that no order of rows matters.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_core.recommenders.base import Floats, Ints
from recsys_core.recommenders.history import codes
from recsys_core.tables import TABLES

WEEK, WEEKS = 7, 8
# |z| from which a change is told, so that in a month of nights at most 5 % of the topics of steady users are (docs/benchmarks.md).
Z = 3.2
# A night with half an event on a topic touches it: memberships are soft, and crumbs of an interest nearby are none in this topic.
TOUCH_MICRO = 500_000
# Nights without a touch after which an interest is back, and of history without which nothing is called new or back.
ABSENT_NIGHTS = 28
# Of a share that was held, what is left when it is lost.
LOST = 0.1
NEVER = np.iinfo(np.int16).max
CHANGES = ("new", "rising", "falling", "lost", "returned")
OBJECTIONS = ("dislike", "hide", "return", "low_rated", "panned")
COLUMNS = ["user_key", "topic_id", "mass_micro", *(f"mass_{t}_micro" for t in OBJECTIONS)]

_BLOCK = 1 << 18
_EFFECT_STEPS = 5
_TOPIC_BITS = 20  # of a topic's place in a pair's key


@dataclass(frozen=True)
class Weeks:
    """Attention of users by topic and week. Pairs (user, topic) are sorted by user, then topic; week 0 is the newest.

    user, topic   of each pair: its places in `users` and `topics`
    mass          (pairs, WEEKS) millionths of an event
    touched       (pairs,) nights from the newest touch before week 0 to tonight, NEVER without one
    total         (users, WEEKS) Σ mass of the user
    oldest        (users,) nights from the user's first night to tonight, of the eight weeks to the week
    """

    users: pa.Array
    topics: Ints
    user: Ints
    topic: Ints
    mass: Ints
    touched: NDArray[np.int16]
    total: Ints
    oldest: Ints


@dataclass(frozen=True)
class Changes:
    """Changes as arrays of equal length: the pair, its class (a place in CHANGES), both shares, z, slope a week."""

    pair: Ints
    change: Ints
    share_prev: Floats
    share_now: Floats
    z: Floats
    slope: Floats


def attention(rows: pa.Table) -> pa.Table:
    """Rows of user_topic_day as (user_key, topic_id, micro): mass without that of events that object, rows without any left out."""
    micro = rows["mass_micro"].to_numpy() - sum(rows[f"mass_{t}_micro"].to_numpy() for t in OBJECTIONS)
    found = pa.table({"user_key": rows["user_key"], "topic_id": rows["topic_id"], "micro": micro})
    return found.filter(pa.array(micro > 0))


def weeks_of(nights: Iterable[tuple[int, pa.Table]]) -> Weeks:
    """Weeks from (nights before tonight, rows as `attention` gives them), tonight being 0, the newest night first.

    Older nights than the eight weeks say only when pairs of the eight weeks were touched, and since when their users came. What is held at
    once is a week of nights and about 150 bytes a pair.
    """
    users, topics = pa.array([], pa.string()), pa.array([], pa.int64())
    nightly: dict[int, list[tuple[Ints, Ints, Ints]]] = {}
    weekly: list[tuple[int, Ints, Ints, Ints]] = []
    weeks = None
    for age, rows in nights:
        if age >= WEEK * WEEKS:
            weeks = weeks or _weeks(users, topics, [*weekly, *(_summed(*w) for w in nightly.items())])
            _look_back(weeks, age, rows)
            continue
        users, user = _coded(rows["user_key"], users)
        topics, topic = _coded(rows["topic_id"], topics)
        week, micro = age // WEEK, rows["micro"].to_numpy()
        nightly.setdefault(week, []).append((user << _TOPIC_BITS | topic, micro, np.where(micro >= TOUCH_MICRO, age, NEVER)))
        weekly += [_summed(w, nightly.pop(w)) for w in [*nightly] if w < week]
    return weeks or _weeks(users, topics, [*weekly, *(_summed(*w) for w in nightly.items())])


def _coded(values: pa.ChunkedArray, known: pa.Array) -> tuple[pa.Array, Ints]:
    """`known` with the values that it lacks at its end, and the values as places in it."""
    unique = pc.unique(values)
    known = pa.concat_arrays([known, unique.filter(pc.invert(pc.is_in(unique, value_set=known)))])
    return known, codes(values, known)


def _summed(week: int, nights: list[tuple[Ints, Ints, Ints]]) -> tuple[int, Ints, Ints, Ints]:
    """A week's pairs, sorted, with the sum of each and its newest touch."""
    key, micro, touch = (np.concatenate(c) for c in zip(*nights, strict=True))
    pairs, at = np.unique(key, return_inverse=True)
    mass, newest = np.zeros(len(pairs), np.int64), np.full(len(pairs), NEVER, np.int64)
    np.add.at(mass, at, micro)
    np.minimum.at(newest, at, touch)
    return week, pairs, mass, newest


def _weeks(users: pa.Array, topics: pa.Array, weekly: list[tuple[int, Ints, Ints, Ints]]) -> Weeks:
    """The weeks side by side, users and topics sorted; nothing older has been looked at."""
    by_key, by_id = (np.asarray(pc.sort_indices(v)).astype(np.int64) for v in (users, topics))
    found = np.unique(np.concatenate([k for _, k, _, _ in weekly])) if weekly else np.zeros(0, np.int64)
    user, topic = np.argsort(by_key)[found >> _TOPIC_BITS], np.argsort(by_id)[found & (1 << _TOPIC_BITS) - 1]
    place = np.argsort(np.lexsort((topic, user)))
    mass = np.zeros((len(found), WEEKS), np.int64)
    touched = np.full(len(found), NEVER, np.int16)
    for week, pairs, micro, newest in weekly:
        at = place[np.searchsorted(found, pairs)]
        mass[at, week] = micro
        if week:
            touched[at] = np.minimum(touched[at], newest)
    user, topic = np.sort(user), topic[np.argsort(place)]
    total = np.zeros((len(users), WEEKS), np.int64)
    np.add.at(total, user, mass)
    oldest = np.where(total > 0, np.arange(WEEKS) * WEEK, 0).max(axis=1, initial=0)
    return Weeks(users.take(pa.array(by_key)), topics.to_numpy()[by_id], user, topic, mass, touched, total, oldest)


def _look_back(weeks: Weeks, age: int, rows: pa.Table) -> None:
    """Note in `weeks` what a night before the eight weeks tells of their pairs and users."""
    user, topic = codes(rows["user_key"], weeks.users), codes(rows["topic_id"], pa.array(weeks.topics))
    weeks.oldest[user[user >= 0]] = age
    touch = (user >= 0) & (topic >= 0) & (rows["micro"].to_numpy() >= TOUCH_MICRO)
    key, wanted = weeks.user * len(weeks.topics) + weeks.topic, user[touch] * len(weeks.topics) + topic[touch]
    at = np.searchsorted(key, wanted)
    at = at[(at < len(key)) & (key[np.minimum(at, len(key) - 1)] == wanted)]
    weeks.touched[at] = np.minimum(weeks.touched[at], age)


def signed_root(x_now: Floats, n_now: Floats, x_prev: Floats, n_prev: Floats) -> Floats:
    """Signed root of the likelihood ratio of x_now of n_now against x_prev of n_prev: about standard normal where the shares are equal.

    sign(x_now/n_now − x_prev/n_prev) · √(2 Σ x ln(x / expected)) over both periods, inside and outside (Wilks 1938); counts need not be
    whole. 0 where a period is empty.

    >>> signed_root(*(np.array([v]) for v in (5.0, 10.0, 10.0, 20.0))).tolist()
    [0.0]
    >>> signed_root(*(np.array([v]) for v in (4.0, 4.0, 0.0, 12.0))).round(3).tolist()  # √(2 (4 ln 4 + 12 ln 4/3 + 0))
    [4.242]
    """
    n = n_now + n_prev
    with np.errstate(divide="ignore", invalid="ignore"):
        p = (x_now + x_prev) / n
        likelihood = np.zeros_like(n)
        for x, m in ((x_now, n_now), (x_prev, n_prev)):
            for part, expected in ((x, m * p), (m - x, m * (1 - p))):
                likelihood += np.where(part > 0, part * np.log(part / expected), 0.0)
        sign = np.sign(x_now / n_now - x_prev / n_prev)
    return np.where((n_now > 0) & (n_prev > 0), sign * np.sqrt(2 * np.maximum(likelihood, 0.0)), 0.0)


def design_effect(weeks: Weeks) -> float:
    """How much more weekly shares vary than those of independent events would, at least 1 (Rao and Scott 1992: counts are divided by it).

    Events come in visits to one topic. From differences of neighbouring weeks, which a lasting change enters once only (von Neumann 1941):
    φ = Σ N (p₁ − p₂)² / (1/n₁ + 1/n₂) over Σ N p (1 − p) / (1 − φ/N), with N = n₁ + n₂ and p of both weeks, over pairs of weeks that hold
    two visits (N ≥ 2 φ); φ is on both sides, and found by repetition.
    """
    effect = 1.0
    for _ in range(_EFFECT_STEPS):
        observed = expected = 0.0
        for first in range(0, len(weeks.user), _BLOCK):
            x = weeks.mass[first : first + _BLOCK] / 1e6
            n = weeks.total[weeks.user[first : first + _BLOCK]] / 1e6
            for w in range(WEEKS - 1):
                both = (n[:, w] > 0) & (n[:, w + 1] > 0) & (n[:, w] + n[:, w + 1] >= 2 * effect)
                x1, x2, n1, n2 = (v[both] for v in (x[:, w], x[:, w + 1], n[:, w], n[:, w + 1]))
                p, size = (x1 + x2) / (n1 + n2), n1 + n2
                observed += float(((x1 / n1 - x2 / n2) ** 2 / (1 / n1 + 1 / n2) * size).sum())
                expected += float((p * (1 - p) / (1 - effect / size) * size).sum())
        effect = max(1.0, observed / expected) if expected > 0 else 1.0
    return effect


def changes(weeks: Weeks, least: float = Z) -> Changes:
    """The pairs whose share of week 0 differs from that of the weeks before, |z| = |signed_root of counts over design_effect| ≥ `least`.

    Up is `new` when nothing touched the topic before, `returned` when nothing did for ABSENT_NIGHTS in which the user came, both only of
    users with ABSENT_NIGHTS of history; else `rising`. Down is `lost` when a tenth of the share or less is left, else `falling`.
    """
    effect = 1e6 * design_effect(weeks)
    total = np.column_stack([weeks.total[:, 0], weeks.total[:, 1:].sum(axis=1)]) / effect
    z = np.zeros(len(weeks.user))
    for first in range(0, len(z), _BLOCK):
        block = slice(first, first + _BLOCK)
        n = total[weeks.user[block]]
        x = weeks.mass[block, 0] / effect, weeks.mass[block, 1:].sum(axis=1) / effect
        z[block] = np.round(signed_root(x[0], n[:, 0], x[1], n[:, 1]), 6)
    pair = np.flatnonzero(np.abs(z) >= least)
    user, mass, touched = weeks.user[pair], weeks.mass[pair], weeks.touched[pair]
    now, prev = mass[:, 0] / weeks.total[user, 0], mass[:, 1:].sum(axis=1) / weeks.total[user, 1:].sum(axis=1)
    known = weeks.oldest[user] >= WEEK + ABSENT_NIGHTS
    # Nobody is back at a topic who was away from all of them.
    gone = (touched >= WEEK + ABSENT_NIGHTS) & weeks.total[user, 1 : 1 + ABSENT_NIGHTS // WEEK].any(axis=1)
    up = np.select([known & (touched == NEVER), known & gone], [CHANGES.index("new"), CHANGES.index("returned")], CHANGES.index("rising"))
    down = np.where(now <= LOST * prev, CHANGES.index("lost"), CHANGES.index("falling"))
    return Changes(pair, np.where(z[pair] > 0, up, down), prev, now, z[pair], slopes(weeks, pair))


def rows(weeks: Weeks, found: Changes, ds: dt.date, unseen: Collection[int] = (), muted: Collection[tuple[str, int]] = ()) -> pa.Table:
    """Rows of user_interest_change for ds, without topics that are `unseen` and the (user, topic) pairs that are `muted`."""
    user, topic = weeks.users.take(pa.array(weeks.user[found.pair])), weeks.topics[weeks.topic[found.pair]]
    columns = {
        "ds": pa.repeat(pa.scalar(ds, pa.date32()), len(found.pair)),
        "user_key": user,
        "topic_id": topic,
        "change": pa.array(CHANGES).take(pa.array(found.change)),
        "share_prev": np.round(found.share_prev, 6),
        "share_now": np.round(found.share_now, 6),
        "z": np.round(found.z, 6),
        "slope": np.round(found.slope, 6),
        "compared_ds": pa.repeat(pa.scalar(ds - dt.timedelta(days=WEEK), pa.date32()), len(found.pair)),
    }
    shown = [t not in unseen and (u, t) not in muted for u, t in zip(user.to_pylist(), topic.tolist(), strict=True)]
    return pa.table(columns, schema=TABLES["user_interest_change"].arrow_schema()).filter(pa.array(shown, pa.bool_()))


def slopes(weeks: Weeks, pair: Ints) -> Floats:
    """Change of the share a week: the median slope between any two weeks with events (Theil 1950, Sen 1968); 0 with fewer than two."""
    total = weeks.total[weeks.user[pair]].astype(float)
    share = np.where(total > 0, weeks.mass[pair] / np.where(total > 0, total, 1.0), np.nan)
    older, newer = np.triu_indices(WEEKS, 1)[::-1]
    between = np.sort((share[:, newer] - share[:, older]) / (older - newer), axis=1)  # NaN last
    known = np.isfinite(between).sum(axis=1)
    row = np.arange(len(pair))
    middle = (between[row, np.maximum(known - 1, 0) // 2] + between[row, known // 2]) / 2
    return np.where(known > 0, middle, 0.0)
