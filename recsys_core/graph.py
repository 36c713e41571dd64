"""The graph of topics: held together, taken up one after the other, or alike."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

# A user holds a topic once its mass reaches one whole event.
HELD_MICRO = 1_000_000
COOCCUR_NIGHTS = 30
TRANSITION_DAYS = 14
# What is expanded is to be touched for the first time within so many days; a topic is touched once its mass reaches half an event.
AHEAD_DAYS = 7
TOUCHED_MICRO = 500_000
SIMILAR_NEIGHBOURS = 5

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


def taken(user_topic_day: DataFrame, ds: dt.date, base: Mapping[str, float] | None = None) -> DataFrame:
    """What users have to do with topics within the window, one row each: user_key, topic_id, and

    held                     whether its mass reached one event in the last 30 nights
    first                    the first night on which it reached half an event; null for none
    before_micro, week_micro its mass up to seven nights ago, and in the last seven
    liked_before, liked_week the same by the weights of event types in `base`, in millionths; 0 without any
    """
    recent, taken_up = F.col("ds") > F.lit(ds - dt.timedelta(days=COOCCUR_NIGHTS)), F.col("mass_micro") >= HELD_MICRO // 2
    liked = F.lit(0.0)
    for name, weight in (base or {}).items():
        liked = liked + F.lit(weight) * F.col(f"mass_{name}_micro")
    liked, week = F.round(liked).cast("bigint"), F.col("ds") > F.lit(ds - dt.timedelta(days=AHEAD_DAYS))
    zero = F.lit(0).cast("bigint")
    return user_topic_day.groupBy("user_key", "topic_id").agg(
        F.coalesce(F.sum(F.when(recent, F.col("mass_micro"))) >= HELD_MICRO, F.lit(False)).alias("held"),
        F.min(F.when(taken_up, F.col("ds"))).alias("first"),
        F.sum(F.when(week, zero).otherwise(F.col("mass_micro"))).alias("before_micro"),
        F.sum(F.when(week, F.col("mass_micro")).otherwise(zero)).alias("week_micro"),
        F.sum(F.when(week, zero).otherwise(liked)).alias("liked_before"),
        F.sum(F.when(week, liked).otherwise(zero)).alias("liked_week"),
    )


def counted(topics: DataFrame, ds: dt.date) -> Counted:
    """Users and days by pair of topics, of the rows of `taken`.

    They come of one pass, and of rows of counts alone: a query of Spark over the few hundred topics would cost more than the pass.
    """
    each = F.collect_list(F.struct("topic_id", "held", "first"))
    anything = F.struct(F.lit(None).cast("bigint").alias("topic_id"), F.bool_or("held").alias("held"), F.min("first").alias("first"))
    of_user = topics.where("held OR first IS NOT NULL").groupBy("user_key").agg(F.array_append(each, anything).alias("topics"))
    pairs = of_user.select(F.explode("topics").alias("a"), "topics").select("a", F.explode("topics").alias("b"))
    same = F.col("a.topic_id").eqNullSafe(F.col("b.topic_id"))
    two = F.col("a.topic_id").isNotNull() & F.col("b.topic_id").isNotNull()
    held = F.col("a.held") & F.col("b.held") & (same | two)
    after = F.datediff(F.col("b.first"), F.col("a.first"))
    then = F.coalesce(two & (after > 0) & (after <= TRANSITION_DAYS), F.lit(False))
    watched = F.least(F.lit(TRANSITION_DAYS), F.datediff(F.lit(ds), F.col("a.first")))
    days = F.when(F.col("a.first").isNull(), 0).when(same, watched).when(after <= 0, watched).otherwise(watched - F.least(watched, after))
    found = pairs.select(
        F.col("a.topic_id").alias("a"), F.col("b.topic_id").alias("b"), held.alias("held"), then.alias("then"), days.alias("days")
    )
    counts = found.groupBy("a", "b").agg(
        F.count_if("held").alias("held"), F.count_if("then").alias("then"), F.coalesce(F.sum("days"), F.lit(0)).alias("days")
    )
    rows = counts.toArrow().sort_by([("a", "ascending"), ("b", "ascending")]).to_pylist()
    return Counted(*({(r["a"], r["b"]): r[name] for r in rows if r[name]} for name in Counted._fields))


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
