"""Which users of a night are no persons, by the times of their events alone."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class BotRule:
    """When a user's night is a bot's.

    min_events      fewer events than this are never looked at
    busy_seconds    too fast: events in at least so many seconds of one clock's ten minutes (600 is all of them)
    regular_bits    too regular: the pauses between events, in whole seconds, have an entropy below this many bits (Shannon)

    Both look at distinct seconds: the hundred lines of one invoice, or of a batch that was logged at once, are one moment.
    """

    min_events: int = 200
    busy_seconds: int = 300
    regular_bits: float = 1.0


def bots(crowd: DataFrame, rule: BotRule, crowded: set[tuple[str, dt.date]]) -> set[tuple[str, dt.date]]:
    """(user, day) that are bots among the events of users with `rule.min_events` and more, and those `crowded`, who reached the cap.

    entropy = −Σ p·log₂ p over the distinct pauses, p being a pause's share of all pauses (Shannon 1948).
    """
    seconds = crowd.select("user_key", "ds", F.unix_seconds("event_ts").alias("s")).distinct()
    fast = seconds.groupBy("user_key", "ds", F.floor(F.col("s") / 600)).agg(F.count(F.lit(1)).alias("n"))
    fast = fast.where(F.col("n") >= rule.busy_seconds).select("user_key", "ds")
    pauses = seconds.withColumn("pause", F.col("s") - F.lag("s").over(Window.partitionBy("user_key", "ds").orderBy("s")))
    each = pauses.where("pause IS NOT NULL").groupBy("user_key", "ds", "pause").agg(F.count(F.lit(1)).alias("n"))
    n, total = F.col("n"), F.sum("n")
    # −Σ (n/N)·log₂(n/N) = log₂ N − Σ n·log₂ n / N
    entropy = F.log2(total) - F.sum(n * F.log2(n)) / total
    regular = each.groupBy("user_key", "ds").agg(total.alias("pauses"), F.round(entropy, 6).alias("bits"))
    regular = regular.where((F.col("pauses") >= rule.min_events - 1) & (F.col("bits") < rule.regular_bits)).select("user_key", "ds")
    return crowded | {(r["user_key"], r["ds"]) for r in fast.union(regular).distinct().collect()}
