"""The graph of topics: held together, taken up one after the other, or alike."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

# A user holds a topic once its mass reaches one whole event.
HELD_MICRO = 1_000_000
COOCCUR_NIGHTS = 30
TRANSITION_DAYS = 14
SIMILAR_NEIGHBOURS = 5

Counts = Mapping[tuple[int | None, int | None], int]

_EDGE = ["src_topic_id", "dst_topic_id", "relation", "directed", "n_users", "weight", "lift"]


def counted(user_topic_day: DataFrame, ds: dt.date) -> tuple[Counts, Counts]:
    """Users by pair of topics (a, b): who held both in the last 30 nights, and who first held a and took up b within the 14 days after.

    A topic with itself counts its users; the pair of Nones, all users who hold any topic, or ever took one up. Both come of one pass, and
    of rows of counts alone: a query of Spark over the few hundred topics would cost more than the pass.
    """
    recent, taken_up = F.col("ds") > F.lit(ds - dt.timedelta(days=COOCCUR_NIGHTS)), F.col("mass_micro") >= HELD_MICRO // 2
    topics = user_topic_day.groupBy("user_key", "topic_id").agg(
        F.coalesce(F.sum(F.when(recent, F.col("mass_micro"))) >= HELD_MICRO, F.lit(False)).alias("held"),
        F.min(F.when(taken_up, F.col("ds"))).alias("first"),
    )
    each = F.collect_list(F.struct("topic_id", "held", "first"))
    anything = F.struct(F.lit(None).cast("bigint").alias("topic_id"), F.bool_or("held").alias("held"), F.min("first").alias("first"))
    of_user = topics.where("held OR first IS NOT NULL").groupBy("user_key").agg(F.array_append(each, anything).alias("topics"))
    pairs = of_user.select(F.explode("topics").alias("a"), "topics").select("a", F.explode("topics").alias("b"))
    same, days = F.col("a.topic_id").eqNullSafe(F.col("b.topic_id")), F.datediff(F.col("b.first"), F.col("a.first"))
    two = F.col("a.topic_id").isNotNull() & F.col("b.topic_id").isNotNull()
    held = F.col("a.held") & F.col("b.held") & (same | two)
    then = F.coalesce(F.when(same, days == 0).otherwise(two & (days > 0) & (days <= TRANSITION_DAYS)), F.lit(False))
    found = pairs.select(F.col("a.topic_id").alias("a"), F.col("b.topic_id").alias("b"), held.alias("held"), then.alias("then"))
    counts = found.where("held OR then").groupBy("a", "b").agg(F.count_if("held").alias("held"), F.count_if("then").alias("then"))
    rows = counts.toArrow().sort_by([("a", "ascending"), ("b", "ascending")]).to_pylist()
    of_both, of_one_then_other = ({(r["a"], r["b"]): r[name] for r in rows if r[name]} for name in ("held", "then"))
    return of_both, of_one_then_other


def cooccurrence(counts: Counts, min_users: int) -> list[dict[str, object]]:
    """Undirected edges (src < dst) between topics that the same users held in the last 30 nights.

    `counts` are the first of `counted`. weight = NPMI = ln(p(a,b) / p(a)p(b)) / −ln p(a,b) (Bouma 2009), lift = p(a,b) / p(a)p(b), over
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


def transitions(counts: Counts, min_users: int) -> list[dict[str, object]]:
    """Directed edges A → B: users who first held A and took up B within the 14 days after.

    `counts` are the second of `counted`. weight = n(A then B) / n(A); lift = weight over B's base rate n(B) / n(users). An order in time,
    not a cause.
    """
    users, found = counts.get((None, None), 0), []
    for (a, b), n in counts.items():
        if a is not None and b is not None and a != b and n >= min_users:
            weight = n / counts[a, a]
            found.append(_edge(a, b, "transition", True, n, weight, weight * users / counts[b, b]))
    return found


def _edge(a: int, b: int, relation: str, directed: bool, n: int, weight: float, lift: float) -> dict[str, object]:
    rounded = (float(Decimal(repr(x)).quantize(Decimal("1e-6"), ROUND_HALF_UP)) for x in (weight, lift))  # halves go up, as Spark's do
    return dict(zip(_EDGE, (a, b, relation, directed, n, *rounded), strict=True))


def similar(topic_ids: np.ndarray, centroids: np.ndarray, neighbours: int = SIMILAR_NEIGHBOURS) -> list[dict[str, object]]:
    """Edges (src < dst) from each topic to its nearest neighbours by cosine of centroids.

    `topic_ids` int64 (k,), `centroids` (k, dimensions), unit length. n_users is 0 (nobody was counted) and lift 1.
    """
    cosine = np.round((centroids.astype(np.float64) @ centroids.astype(np.float64).T), 6)
    np.fill_diagonal(cosine, -np.inf)
    pairs: dict[tuple[int, int], float] = {}
    for i, row in enumerate(cosine):
        for j in np.lexsort((topic_ids, -row))[: min(neighbours, len(topic_ids) - 1)]:
            a, b = sorted((int(topic_ids[i]), int(topic_ids[j])))
            pairs[a, b] = float(row[j])
    return [dict(zip(_EDGE, (a, b, "similar", False, 0, w, 1.0), strict=True)) for (a, b), w in sorted(pairs.items())]
