"""Interests of users: windowed, decayed sums of topic mass, and the items behind them.

Sums run over BIGINT billionths, so that they come out the same whatever order rows arrive in.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from recsys_core.events import DEFAULT_WEIGHTS, Weights
from recsys_core.user_texts import act_at, strongest_act

# Horizon → half-life in days. An event n nights back counts 2^(−n / (half-life · decay of its type)).
HORIZONS: dict[str, float] = {"1d": 1.0, "7d": 7.0, "90d": 90.0}
# Confidence is n_eff / (n_eff + CONFIDENCE_EVENTS); lift is shrunk towards 1 as if LIFT_EVENTS of average interest had been seen too.
CONFIDENCE_EVENTS = 5.0
LIFT_EVENTS = 5.0
EVIDENCE_ITEMS = 5
MAX_TOPICS = 30
NANO = 1_000_000_000

_OPINIONS = ("rating", "review", "like", "favorite", "share")
_OBJECTIONS = ("dislike", "hide", "return", "low_rated", "panned")
# Objections that count under the type of their event, too.
_BESIDE = ("low_rated", "panned")


def _weighted(base: Mapping[str, float], prefix: str, suffix: str = "") -> Column:
    """Σ over event types of weight · column, where a type's column is `<prefix>_<type><suffix>`."""
    total = F.lit(0.0)
    for name, weight in base.items():
        total = total + F.lit(weight) * F.col(f"{prefix}_{name}{suffix}")
    return total


def _decayed(ds: dt.date, half_life: float, parts: Mapping[float, Column]) -> Column:
    """Σ over parts, given by decay, of part · 2^(−n / (half-life · decay)), n nights before ds."""
    total = F.lit(0.0)
    for decay, part in parts.items():
        total = total + F.pow(F.lit(2.0), -F.datediff(F.lit(ds), F.col("ds")) / F.lit(half_life * decay)) * part
    return total


def _nano_sum(value: Column) -> Column:
    return F.sum(F.round(value).cast("bigint"))


def _by_horizon(
    frame: DataFrame, keys: Sequence[str], ds: dt.date, decayed: Mapping[str, Mapping[float, Column]], plain: Mapping[str, Column]
) -> DataFrame:
    """One row per key and horizon, in one aggregation: decayed sums (billionths) and the aggregates `plain`.

    `decayed` gives for each sum its values of a night, in billionths, by decay. They become columns first: each is computed once.
    """
    values = {n: {d: f"_{n}_{i}" for i, d in enumerate(parts)} for n, parts in decayed.items()}
    frame = frame.withColumns({values[n][d]: value for n, parts in decayed.items() for d, value in parts.items()})
    sums = [
        _nano_sum(_decayed(ds, h, {d: F.col(c) for d, c in of.items()})).alias(f"{n}_{name}")
        for name, h in HORIZONS.items()
        for n, of in values.items()
    ]
    wide = frame.groupBy(*keys).agg(*sums, *(c.alias(n) for n, c in plain.items()))
    rows = F.explode(
        F.array(*(F.struct(F.lit(name).alias("horizon"), *(F.col(f"{n}_{name}").alias(n) for n in decayed)) for name in HORIZONS))
    )
    return wide.select(*keys, *plain, rows.alias("_")).select(*keys, *plain, "_.*")


def scores(user_topic_day: DataFrame, ds: dt.date, window: int = 90, weights: Weights = DEFAULT_WEIGHTS) -> DataFrame:
    """Decayed mass per user, topic and horizon over the last `window` nights, ds included; rows with a positive score only.

    Columns: user_key, topic_id, horizon, score_nano (billionths), n_eff_nano, n_events, sentiment, first_seen_ds, last_seen_ds.
    score = Σ_d Σ_type weight · mass · 2^(−(ds−d) / (half-life · decay of the type)), n_eff = Σ_d mass · 2^(−(ds−d) / half-life);
    first and last seen look at every night given.
    """
    recent = F.col("ds") > F.lit(ds - dt.timedelta(days=window))
    opinions = sum((F.col(f"mass_{t}_micro") for t in _OPINIONS), F.lit(0))
    # A low rating counts under its own type and as low_rated: it is an objection once, and no opinion in favour. So is a review as far as
    # it is panned.
    objections = sum((F.col(f"mass_{t}_micro") for t in _OBJECTIONS), F.lit(0))
    beside = sum((F.col(f"mass_{t}_micro") for t in _BESIDE), F.lit(0))
    net = opinions - objections - beside
    stated = opinions + objections - beside
    decayed = {
        "score_nano": {
            decay: F.when(recent, _weighted(base, "mass", "_micro") * 1000).otherwise(0.0) for decay, base in weights.by_decay().items()
        },
        "n_eff_nano": {1.0: F.when(recent, F.col("mass_micro") * F.lit(1000.0)).otherwise(0.0)},
    }
    plain = {
        "first_seen_ds": F.min("ds"),
        "last_seen_ds": F.max("ds"),
        "n_events": F.sum(F.when(recent, F.col("n_events")).otherwise(0)),
        "_net": F.sum(F.when(recent, net).otherwise(0)),
        "_all": F.sum(F.when(recent, stated).otherwise(0)),
    }
    sums = _by_horizon(user_topic_day, ("user_key", "topic_id"), ds, decayed, plain)
    sentiment = F.when(F.col("_all") > 0, F.round(F.col("_net") / F.col("_all"), 6))
    return sums.where(F.round(F.col("score_nano") / NANO, 6) > 0).withColumn("sentiment", sentiment).drop("_net", "_all")


def evidence(user_item_day: DataFrame, item_topic: DataFrame, ds: dt.date, weights: Weights = DEFAULT_WEIGHTS) -> DataFrame:
    """Per user, topic and horizon the items that carry the score: n_items, and `top`, the five of largest weight.

    An item's weight is the same decayed sum as the score, over this item's events alone, with the topics that the item had on each night.
    """
    # No hint: which side is small depends on the shop. A large catalogue has millions of memberships in 90 nights, a small one few.
    held = user_item_day.join(item_topic.select("ds", "item_id", "topic_id", F.col("weight").alias("p")), ["ds", "item_id"])
    parts = {decay: _weighted(base, "n") * F.col("p") * F.lit(float(NANO)) for decay, base in weights.by_decay().items()}
    by_item = _by_horizon(held, ("user_key", "topic_id", "item_id"), ds, {"weight_nano": parts}, {"n_events": F.sum("n_events")})
    order = Window.partitionBy("user_key", "topic_id", "horizon").orderBy(F.col("weight").desc(), "item_id")
    ranked = by_item.withColumn("weight", F.round(F.col("weight_nano") / NANO, 6)).withColumn("_r", F.row_number().over(order))
    entry = F.struct("_r", F.struct("item_id", "n_events", "weight").alias("entry"))
    return ranked.groupBy("user_key", "topic_id", "horizon").agg(
        F.count("item_id").alias("n_items"),
        F.transform(F.array_sort(F.collect_list(F.when(F.col("_r") <= EVIDENCE_ITEMS, entry))), lambda x: x["entry"]).alias("top"),
    )


def user_interest(
    user_topic_day: DataFrame,
    user_item_day: DataFrame,
    item_topic: DataFrame,
    ds: dt.date,
    model_version: str,
    run_id: str,
    weights: Weights = DEFAULT_WEIGHTS,
) -> DataFrame:
    """Rows of the table `user_interest` for ds: at most MAX_TOPICS topics per user and horizon.

    share = score / Σ score of the user; lift = (score + κ·π) / (total·π + κ·π) with π the topic's share in the population, κ = LIFT_EVENTS;
    confidence = n_eff / (n_eff + CONFIDENCE_EVENTS) with n_eff the decayed count of events.
    """
    found = scores(user_topic_day, ds, weights=weights)
    of_user = Window.partitionBy("user_key", "horizon")
    population = found.groupBy("topic_id", "horizon").agg(F.sum("score_nano").alias("_topic"))
    population = population.withColumn("_pi", F.col("_topic") / F.sum("_topic").over(Window.partitionBy("horizon")))
    score, total, kappa = F.col("score_nano") / NANO, F.col("_total") / NANO, F.lit(LIFT_EVENTS)
    n_eff = F.col("n_eff_nano") / NANO
    ranked = (
        found.withColumn("_total", F.sum("score_nano").over(of_user))
        .withColumn("rank", F.row_number().over(of_user.orderBy(F.col("score_nano").desc(), "topic_id")))
        .where(F.col("rank") <= MAX_TOPICS)
        .join(F.broadcast(population), ["topic_id", "horizon"])
        .join(evidence(user_item_day, item_topic, ds, weights), ["user_key", "topic_id", "horizon"], "left")
        .withColumn("score", F.round(score, 6))
    )
    top = F.coalesce(F.col("top"), F.array().cast("array<struct<item_id:string,n_events:bigint,weight:double>>"))
    rest = F.round(F.col("score") - F.aggregate(top, F.lit(0.0), lambda acc, x: acc + x["weight"]), 6)
    return ranked.select(
        F.lit(ds).alias("ds"),
        "user_key",
        "topic_id",
        "horizon",
        "score",
        F.round(score / total, 6).alias("share"),
        F.round((score + kappa * F.col("_pi")) / (total * F.col("_pi") + kappa * F.col("_pi")), 6).alias("lift"),
        F.col("rank").cast("smallint").alias("rank"),
        F.round(n_eff / (n_eff + F.lit(CONFIDENCE_EVENTS)), 6).alias("confidence"),
        "n_events",
        F.coalesce("n_items", F.lit(0)).cast("bigint").alias("n_items"),
        "first_seen_ds",
        "last_seen_ds",
        "sentiment",
        F.to_json(F.struct(top.alias("items"), rest.alias("rest"))).alias("evidence"),
        F.lit(model_version).alias("model_version"),
        F.lit(run_id).alias("run_id"),
    )


def item_weights(
    user_item_day: DataFrame, ds: dt.date, half_life: float = HORIZONS["90d"], weights: Weights = DEFAULT_WEIGHTS
) -> DataFrame:
    """Decayed weight of each user and item, and their strongest act with it (user_key, item_id, weight, act), positive weights only."""
    decayed = _decayed(ds, half_life, {decay: _weighted(base, "n") for decay, base in weights.by_decay().items()}) * F.lit(float(NANO))
    total = user_item_day.groupBy("user_key", "item_id").agg(_nano_sum(decayed).alias("_w"), F.min(strongest_act()).alias("_act"))
    return total.where("_w > 0").select("user_key", "item_id", (F.col("_w") / NANO).alias("weight"), act_at(F.col("_act")).alias("act"))


def pooled_vectors(weights: pa.Table, item_ids: list[str], vectors: np.ndarray) -> dict[str, np.ndarray]:
    """user_key → unit vector (float32, rounded to 6 decimals): Σ weight · item vector, over items that have one.

    `weights` has user_key, item_id, weight; `vectors` has one row per entry of `item_ids`.
    """
    from scipy.sparse import csr_matrix

    rows = weights.select(["user_key", "item_id", "weight"]).sort_by([("user_key", "ascending"), ("item_id", "ascending")]).to_pydict()
    row_of, column_of = {u: i for i, u in enumerate(dict.fromkeys(rows["user_key"]))}, {item: i for i, item in enumerate(item_ids)}
    kept = [(row_of[u], column_of[i], w) for u, i, w in zip(*rows.values(), strict=True) if i in column_of]
    if not kept:
        return {}
    users, columns, values = zip(*kept, strict=True)
    sums = np.asarray(csr_matrix((values, (users, columns)), (len(row_of), len(item_ids))) @ vectors.astype(np.float64))
    norms = np.linalg.norm(sums, axis=1)
    return {u: np.round(sums[i] / norms[i], 6).astype(np.float32) for u, i in row_of.items() if norms[i] > 1e-9}


def lifecycle(first: dt.date, last: dt.date, ds: dt.date) -> str:
    """A user's stage: new (first event within 7 nights), active (last event within 7), lapsing (within 30), else dormant.

    >>> lifecycle(dt.date(2026, 1, 1), dt.date(2026, 3, 1), dt.date(2026, 3, 5))
    'active'
    """
    if (ds - first).days < 7:
        return "new"
    age = (ds - last).days
    return "active" if age < 7 else "lapsing" if age < 30 else "dormant"


def entropy(shares: Sequence[float]) -> float:
    """−Σ p ln p over shares that are scaled to sum to 1, in nats.

    >>> round(entropy([0.5, 0.5]), 4)
    0.6931
    """
    p = np.asarray([s for s in shares if s > 0], float)
    p = p / p.sum() if p.size else p
    return float(-(p * np.log(p)).sum()) + 0.0 if p.size else 0.0  # + 0.0: a single topic has 0, not −0


def drift(recent: dict[int, float], long: dict[int, float]) -> float | None:
    """Half the L1 distance of two share distributions, 0 to 1; None when either is empty.

    >>> drift({1: 1.0}, {1: 0.5, 2: 0.5})
    0.5
    """
    if not recent or not long:
        return None
    return 0.5 * sum(abs(recent.get(t, 0.0) - long.get(t, 0.0)) for t in sorted({*recent, *long}))


def summary(shares: dict[int, float], labels: dict[int, tuple[str, str]], n_events_30d: int) -> tuple[str, str]:
    """A profile in one English and one Chinese sentence: the three strongest topics by 90-day share, and how active the user is."""
    top = sorted(shares.items(), key=lambda x: (-x[1], x[0]))[:3]
    if not top:
        return (f"No topic yet; {n_events_30d} events in the last 30 days.", f"尚无兴趣主题；最近30天{n_events_30d}次行为。")
    english = ", ".join(f"{labels.get(t, (str(t), str(t)))[0]} ({share:.0%})" for t, share in top)
    chinese = "、".join(f"{labels.get(t, (str(t), str(t)))[1]}（{share:.0%}）" for t, share in top)
    return f"Mostly {english}; {n_events_30d} events in the last 30 days.", f"主要兴趣：{chinese}；最近30天{n_events_30d}次行为。"


def user_profile(
    sessions: pa.Table,
    interests: pa.Table,
    vectors: dict[str, np.ndarray],
    labels: dict[int, tuple[str, str]],
    ds: dt.date,
    embedding_space: str | None,
    model_version: str | None,
    run_id: str,
) -> list[dict[str, object]]:
    """Rows of the table `user_profile`: one per user with an event in the nights given.

    `sessions` has ds, user_key, n_events; `interests` is tonight's `user_interest`. cold_level: 3 from ten events in those nights,
    else 2 with a vector or an interest, else 0.
    """
    activity = sessions.group_by("user_key").aggregate([("ds", "min"), ("ds", "max"), ("n_events", "sum")])
    month = sessions.filter(pc.field("ds") > pa.scalar(ds - dt.timedelta(days=30)))
    last_month = {r["user_key"]: r["n_events_sum"] for r in month.group_by("user_key").aggregate([("n_events", "sum")]).to_pylist()}
    shares: dict[tuple[str, str], dict[int, float]] = {}
    held = interests.select(["user_key", "topic_id", "horizon", "share"]).to_pydict()
    for user, topic, horizon, share in zip(*held.values(), strict=True):
        shares.setdefault((user, horizon), {})[topic] = share
    rows: list[dict[str, object]] = []
    for row in sorted(activity.to_pylist(), key=lambda r: r["user_key"]):
        user = row["user_key"]
        long, n30 = shares.get((user, "90d"), {}), int(last_month.get(user, 0))
        moved = drift(shares.get((user, "7d"), {}), long)
        english, chinese = summary(long, labels, n30)
        rows.append(
            {
                "ds": ds,
                "user_key": user,
                "lifecycle": lifecycle(row["ds_min"], row["ds_max"], ds),
                "cold_level": 3 if row["n_events_sum"] >= 10 else 2 if user in vectors or long else 0,
                "n_events_30d": n30,
                "n_topics": len(long),
                "entropy": round(entropy([s for _, s in sorted(long.items())]), 6),
                "drift_7d": None if moved is None else round(moved, 6),
                "top_topic_id": min(long, key=lambda t: (-long[t], t), default=None),
                "summary_en": english,
                "summary_zh": chinese,
                "vector": vectors.get(user),
                "embedding_space": embedding_space if user in vectors else None,
                "model_version": model_version,
                "run_id": run_id,
            }
        )
    return rows
