"""The graph of topics: held together, taken up one after the other, or alike."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.grouping import Ranks, flags, whole
from recsys_core.profiles.items import weighted
from recsys_core.totals import totals

# A user holds a topic once its mass reaches one whole event.
HELD_MICRO = 1_000_000
COOCCUR_NIGHTS = 30
TRANSITION_DAYS = 14
# What is expanded is to be touched for the first time within so many days; a topic is touched once its mass reaches half an event.
AHEAD_DAYS = 7
TOUCHED_MICRO = 500_000
SIMILAR_NEIGHBOURS = 5
# Pairs of topics of the same users that are looked at together.
_PAIRS = 1 << 21

Counts = Mapping[tuple[int | None, int | None], int]

_EDGE = ["src_topic_id", "dst_topic_id", "relation", "directed", "n_users", "weight", "lift"]


class Counted(NamedTuple):
    """Numbers by pair of topics (a, b).

    held   users who held both in the last 30 nights; a topic with itself counts its users, the pair of Nones all who hold any topic
    then   users who first took up a, and b within the 14 days after
    days   of a topic with itself: days that users were watched after they took it up, 14 for each at most and none after ds; of two topics:
           how many of those b is no longer, or not at all, something that they can take up for the first time
    """

    held: Counts
    then: Counts
    days: Counts


def columns(base: Mapping[str, float]) -> list[str]:
    """Columns of user_topic_day that `taken` takes."""
    return ["ds", "user_key", "topic_id", "mass_micro", *(f"mass_{name}_micro" for name in base)]


def taken(days: Iterable[pa.Table], ds: dt.date, base: Mapping[str, float] | None = None) -> pa.Table:
    """What users have to do with topics within the window, one row each, in no order: user_key (a dictionary), topic_id, and

    held                     whether its mass reached one event in the last 30 nights
    first                    the first night on which it reached half an event; null for none
    before_micro, week_micro its mass up to seven nights ago, and in the last seven
    liked_before, liked_week the same by the weights of event types in `base`, in millionths; 0 without any

    `days` are rows of user_topic_day, the `columns` for `base`, in tables (one at least) of which one at a time is held: a night each.
    """
    none, never = pa.scalar(0, pa.int64()), pa.scalar(None, pa.date32())
    users = pa.array([], pa.string())

    def coded(keys: pa.ChunkedArray) -> pa.Array:
        """Places in `users`, which is added to: whole numbers are added up in a third of the time of keys."""
        nonlocal users
        night = keys.combine_chunks().dictionary_encode()
        users = pa.concat_arrays([users, night.dictionary.filter(pc.invert(pc.is_in(night.dictionary, users)))])
        return pc.index_in(night.dictionary, users).take(night.indices)

    def condensed(rows: pa.Table) -> pa.Table:
        mass, day = rows["mass_micro"], rows["ds"]
        recent, week = (pc.greater(day, pa.scalar(ds - dt.timedelta(days=back), pa.date32())) for back in (COOCCUR_NIGHTS, AHEAD_DAYS))
        liked = pc.round(pa.array(weighted(rows, base or {}, "mass", "_micro")), round_mode="half_towards_infinity").cast(pa.int64())
        return pa.table(
            {
                "user_key": coded(rows["user_key"].cast(pa.string())),
                "topic_id": rows["topic_id"],
                "held": pc.if_else(recent, mass, none),
                "first": pc.if_else(pc.greater_equal(mass, HELD_MICRO // 2), day, never),
                "before_micro": pc.if_else(week, none, mass),
                "week_micro": pc.if_else(week, mass, none),
                "liked_before": pc.if_else(week, none, liked),
                "liked_week": pc.if_else(week, liked, none),
            }
        )

    sums = ("held", "before_micro", "week_micro", "liked_before", "liked_week")
    found = totals(map(condensed, days), ["user_key", "topic_id"], dict.fromkeys(sums, "sum") | {"first": "min"})
    keys = pa.DictionaryArray.from_arrays(found["user_key"].combine_chunks(), users)
    found = found.set_column(found.column_names.index("user_key"), "user_key", keys)
    return found.set_column(found.column_names.index("held"), "held", pc.greater_equal(found["held"], HELD_MICRO))


def counted(topics: pa.Table, ds: dt.date) -> Counted:
    """Users and days by pair of topics, of the rows of `taken`."""
    rows = topics.filter(pc.or_(topics["held"], topics["first"].is_valid()))
    users = Ranks.of_column(rows["user_key"])
    order = np.argsort(users.of, kind="stable")
    ids, column = np.unique(rows["topic_id"].to_numpy()[order], return_inverse=True)
    held, night = flags(rows["held"])[order], (ds - dt.date(1970, 1, 1)).days
    # What was never taken up comes after whatever is watched.
    first = whole(rows["first"].cast(pa.int32()), night + TRANSITION_DAYS + 1)[order]
    watched = np.clip(night - first, 0, TRANSITION_DAYS)
    of_user = np.bincount(users.of, minlength=len(users.values))
    # Of each row's user: how many topics there are, and the first row.
    n, start = (np.repeat(x, of_user) for x in (of_user, np.cumsum(of_user) - of_user))
    sums = np.zeros((len(Counted._fields), len(ids) ** 2), np.int64)
    for low, high in pairwise([*np.unique(np.searchsorted(np.cumsum(n), np.arange(0, n.sum(), _PAIRS))), len(n)]):
        a = np.repeat(np.arange(low, high), n[low:high])
        b = start[a] + np.arange(len(a)) - np.repeat(np.cumsum(n[low:high]) - n[low:high], n[low:high])
        after = first[b] - first[a]
        pair = column[a] * len(ids) + column[b]
        both, soon = held[a] & held[b], (after > 0) & (after <= TRANSITION_DAYS)
        for total, of_pair in zip(sums, (both, soon, np.maximum(watched[a] - np.maximum(after, 0), 0)), strict=True):
            total += np.bincount(pair, of_pair, len(total)).astype(np.int64)
    pairs = [(a, b) for a in ids.tolist() for b in ids.tolist()]
    held_by, then, days = ({pairs[p]: int(total[p]) for p in np.flatnonzero(total)} for total in sums)
    return Counted(held_by | {(None, None): len(np.unique(users.of[flags(rows["held"])]))}, then, days)


def cooccurrence(counts: Counts, min_users: int) -> list[dict[str, object]]:
    """Undirected edges (src < dst) between topics that the same users held in the last 30 nights.

    `counts` are `Counted.held`. weight = NPMI = ln(p(a,b) / p(a)p(b)) / −ln p(a,b) (Bouma 2009), lift = p(a,b) / p(a)p(b), over
    users who hold any topic.

    >>> users = {(None, None): 8, (1, 1): 4, (2, 2): 4, (1, 2): 3, (2, 1): 3}
    >>> [(e["src_topic_id"], e["dst_topic_id"], e["lift"], e["weight"]) for e in cooccurrence(users, 1)]
    [(1, 2, 1.5, 0.41339)]
    """
    users, found = counts.get((None, None), 0), []
    for (a, b), n in counts.items():
        if a is not None and b is not None and a < b and n >= min_users:
            lift, share = n * users / (counts[a, a] * counts[b, b]), n / users
            npmi = math.log(lift) / -math.log(share) if share < 1 else 1.0
            found.append(_edge(a, b, "cooccur", False, n, npmi, lift))
    return found


def transitions(counted: Counted, min_users: int) -> list[dict[str, object]]:
    """Directed edges A → B: users who first took up A, and B within the 14 days after. An order in time, not a cause.

    At risk is who has taken up A and not B, on each of the 14 days after A up to the night; those who had B before A never are, and those
    who took up A lately are for the days that they were seen. With the rate r = users who took up B / days at risk, weight is the
    probability within 14 days, 1 − (1 − r)^14, and lift is r over the same rate after any topic, B's base rate.

    Of 4 users at risk for 14 days each after 1, and as many after 3, two and one took up 2 on the last day:

    >>> watched = {(1, 1): 56, (3, 3): 56}
    >>> found = transitions(Counted({}, {(1, 2): 2, (3, 2): 1}, watched), 1)
    >>> [(e["src_topic_id"], e["dst_topic_id"], e["lift"], e["weight"]) for e in found]  # 2/56 over 3/112
    [(1, 2, 1.333333, 0.398992), (3, 2, 0.666667, 0.222957)]
    """
    after, before = {b for _, b in counted.then}, [a for a, b in counted.days if a == b and a is not None]
    at_risk = {(a, b): counted.days[a, a] - counted.days.get((a, b), 0) for a in before for b in after if a != b}
    base: dict[int | None, tuple[int, int]] = {}
    for (a, b), days in at_risk.items():
        n, total = base.get(b, (0, 0))
        base[b] = n + counted.then.get((a, b), 0), total + days
    found = []
    for (src, dst), n in counted.then.items():
        if src is not None and dst is not None and n >= min_users:
            rate, (n_any, days_any) = n / at_risk[src, dst], base[dst]
            found.append(_edge(src, dst, "transition", True, n, 1 - (1 - rate) ** TRANSITION_DAYS, rate * days_any / n_any))
    return found


def _edge(a: int, b: int, relation: str, directed: bool, n: int, weight: float, lift: float) -> dict[str, object]:
    rounded = (float(Decimal(repr(x)).quantize(Decimal("1e-6"), ROUND_HALF_UP)) for x in (weight, lift))  # halves go up, as Spark's do
    return dict(zip(_EDGE, (a, b, relation, directed, n, *rounded), strict=True))


def similarity(centroids: np.ndarray, keywords: Sequence[Iterable[str]]) -> np.ndarray:
    """How alike topics are, (k, k) within 0 to 1, 1 on the diagonal: cosine of centroids c and shared keywords o, as 1 − (1 − c)(1 − o).

    `centroids` (k, dimensions) of unit length; o is the number of shared words over the number of the topic that has fewer; negative
    cosines count as 0.

    >>> similarity(np.array([[1.0, 0], [0.6, 0.8]]), [["tent", "rope"], ["rope", "stove", "pot"]]).tolist()
    [[1.0, 0.8], [0.8, 1.0]]
    """
    cosine = np.clip(centroids.astype(np.float64) @ centroids.astype(np.float64).T, 0.0, 1.0)
    words = [frozenset(w) for w in keywords]
    shared = np.array([[len(a & b) / max(min(len(a), len(b)), 1) for b in words] for a in words]).reshape(cosine.shape)
    found: np.ndarray = np.round(1 - (1 - cosine) * (1 - shared), 6)
    np.fill_diagonal(found, 1.0)
    return found


def similar(topic_ids: np.ndarray, alike: np.ndarray, neighbours: int = SIMILAR_NEIGHBOURS) -> list[dict[str, object]]:
    """Edges (src < dst) from each topic to its nearest neighbours by `alike`, see `similarity`, which is their weight.

    `topic_ids` int64 (k,). n_users is 0 (nobody was counted) and lift 1.
    """
    others = alike.copy()
    np.fill_diagonal(others, -np.inf)
    pairs: dict[tuple[int, int], float] = {}
    for i, row in enumerate(others):
        for j in np.lexsort((topic_ids, -row))[: min(neighbours, len(topic_ids) - 1)]:
            a, b = sorted((int(topic_ids[i]), int(topic_ids[j])))
            pairs[a, b] = float(row[j])
    return [_edge(a, b, "similar", False, 0, w, 1.0) for (a, b), w in sorted(pairs.items())]


def taxonomy(parent_of: Mapping[int, int | None], given: Iterable[tuple[int, int]] = ()) -> list[dict[str, object]]:
    """Edges that people or the hierarchy know; weight and lift are 1, n_users 0.

    They lead from each topic to the one above it, join those with the same one above them (src < dst), and are those `given`, directed.

    >>> [(e["src_topic_id"], e["dst_topic_id"], e["directed"]) for e in taxonomy({1: 9, 2: 9, 3: None}, [(3, 1)])]
    [(1, 2, False), (1, 9, True), (2, 9, True), (3, 1, True)]
    """
    ways = {(a, b): False for a, p in parent_of.items() for b, q in parent_of.items() if p is not None and p == q and a < b}
    ways |= {(a, p): True for a, p in parent_of.items() if p is not None} | dict.fromkeys(given, True)
    return [_edge(a, b, "taxonomy", directed, 0, 1.0, 1.0) for (a, b), directed in sorted(ways.items())]


def matrix(topic_ids: np.ndarray, edges: Iterable[Mapping[str, object]], relation: str) -> np.ndarray:
    """(k, k) weights of a relation's edges between `topic_ids`, from row to column, undirected ones both ways; 0 where none is positive."""
    at = {int(t): i for i, t in enumerate(topic_ids)}
    found = np.zeros((len(topic_ids), len(topic_ids)))
    for edge in (e for e in edges if e["relation"] == relation):
        a, b = at.get(int(edge["src_topic_id"])), at.get(int(edge["dst_topic_id"]))  # type: ignore[call-overload]
        if a is not None and b is not None:
            found[a, b] = max(float(edge["weight"]), 0.0)  # type: ignore[arg-type]
            if not edge["directed"]:
                found[b, a] = found[a, b]
    return found
