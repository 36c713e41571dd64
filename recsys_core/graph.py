"""The graph of topics: held together, taken up one after the other, or alike."""

from __future__ import annotations

import datetime as dt

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

# A user holds a topic once its mass reaches one whole event.
HELD_MICRO = 1_000_000
COOCCUR_NIGHTS = 30
TRANSITION_DAYS = 14
SIMILAR_NEIGHBOURS = 5

_EDGE = ["src_topic_id", "dst_topic_id", "relation", "directed", "n_users", "weight", "lift"]


def cooccurrence(user_topic_day: DataFrame, ds: dt.date, min_users: int) -> DataFrame:
    """Undirected edges (src < dst) between topics that the same users held in the last 30 nights.

    weight = NPMI = ln(p(a,b) / p(a)p(b)) / −ln p(a,b) (Bouma 2009), lift = p(a,b) / p(a)p(b), over users who hold any topic.
    """
    recent = user_topic_day.where(F.col("ds") > F.lit(ds - dt.timedelta(days=COOCCUR_NIGHTS)))
    mass = recent.groupBy("user_key", "topic_id").agg(F.sum("mass_micro").alias("m"))
    held = mass.where(F.col("m") >= HELD_MICRO).select("user_key", "topic_id")
    of_user = held.groupBy("user_key").agg(F.array_sort(F.collect_set("topic_id")).alias("topics"))
    pairs = of_user.select(F.explode("topics").alias("a"), "topics").select("a", F.explode("topics").alias("b")).where("a <= b")
    counts = pairs.groupBy("a", "b").agg(F.count("*").alias("n"))
    single = counts.where("a = b").select(F.col("a").alias("t"), F.col("n").alias("n_t"))
    lift = F.col("n") * F.col("users") / (F.col("n_a") * F.col("n_b"))
    share = F.col("n") / F.col("users")
    npmi = F.when(share < 1, F.log(lift) / -F.log(share)).otherwise(F.lit(1.0))
    pairs = counts.where((F.col("a") < F.col("b")) & (F.col("n") >= min_users))
    return _edges(pairs, single, of_user, "cooccur", directed=False, weight=npmi, lift=lift)


def transitions(user_topic_day: DataFrame, min_users: int) -> DataFrame:
    """Directed edges A → B: users who first held A and took up B within the 14 days after.

    weight = n(A then B) / n(A); lift = weight over B's base rate n(B) / n(users). An order in time, not a cause.
    """
    first = user_topic_day.where(F.col("mass_micro") >= HELD_MICRO // 2).groupBy("user_key", "topic_id").agg(F.min("ds").alias("d"))
    of_user = first.groupBy("user_key").agg(F.collect_list(F.struct("topic_id", "d")).alias("topics"))
    left = of_user.select(F.explode("topics").alias("a"), "topics").select("a", F.explode("topics").alias("b"))
    gap = F.datediff(F.col("b.d"), F.col("a.d"))
    counts = (
        left.where((gap > 0) & (gap <= TRANSITION_DAYS))
        .groupBy(F.col("a.topic_id").alias("a"), F.col("b.topic_id").alias("b"))
        .agg(F.count("*").alias("n"))
    )
    single = first.groupBy(F.col("topic_id").alias("t")).agg(F.count("*").alias("n_t"))
    weight = F.col("n") / F.col("n_a")
    lift = weight * F.col("users") / F.col("n_b")
    return _edges(counts.where(F.col("n") >= min_users), single, of_user, "transition", directed=True, weight=weight, lift=lift)


def _edges(
    pairs: DataFrame, single: DataFrame, of_user: DataFrame, relation: str, *, directed: bool, weight: Column, lift: Column
) -> DataFrame:
    """Edges of pairs (a, b, n), with each topic's own count (single: t, n_t) and the number of users at hand as n_a, n_b and users."""
    total = of_user.agg(F.count("*").alias("users"))
    return (
        pairs.join(F.broadcast(single.select(F.col("t").alias("a"), F.col("n_t").alias("n_a"))), "a")
        .join(F.broadcast(single.select(F.col("t").alias("b"), F.col("n_t").alias("n_b"))), "b")
        .crossJoin(F.broadcast(total))
        .select(
            F.col("a").alias("src_topic_id"),
            F.col("b").alias("dst_topic_id"),
            F.lit(relation).alias("relation"),
            F.lit(directed).alias("directed"),
            F.col("n").alias("n_users"),
            F.round(weight, 6).alias("weight"),
            F.round(lift, 6).alias("lift"),
        )
    )


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
