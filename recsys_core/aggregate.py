"""Facts of a night from its events: what each user did with each item, how their texts sound, and sessions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pyarrow as pa
from pyspark.sql import Window
from pyspark.sql import functions as F

from recsys_core.events import EVENT_TYPES, GRADED_TYPES, LOW_RATING
from recsys_core.tables import TABLES
from recsys_core.texts import language, text_hash, written

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

SESSION_GAP_S = 30 * 60
MICRO = 1_000_000


def _low_rated() -> Column:
    return F.col("event_type").isin("rating", "review") & F.coalesce(F.col("rating") <= LOW_RATING, F.lit(False))


def _of_types(names: list[str]) -> Column:
    return F.col("event_type").isin(*names)


def _n(condition: Column) -> Column:
    return F.count(F.when(condition, True))


def _exact_micros(column: str) -> Column:
    """Sum of a column in millionths, as a whole number: the same in whatever order rows come."""
    return F.sum(F.round(F.col(column) * MICRO).cast("bigint"))


# Columns of the events that `text_sentiment` is given, in this order.
SAID = ("ds", "event_id", "user_key", "item_id", "event_type", "rating", "text")


def text_sentiment(said: Iterable[pa.RecordBatch], score: Callable[[list[str]], list[float]], source: str) -> Iterator[pa.RecordBatch]:
    """Rows of text_sentiment, a batch for each batch of events (columns SAID): one for each text that is English or Chinese.

    score   sentiments of texts, −1 to 1, in their order
    source  what `score` is
    """
    schema = TABLES["text_sentiment"].arrow_schema()
    for batch in said:
        rows = []
        for ds, event, user, item, kind, rating, text in zip(*(c.to_pylist() for c in batch.columns), strict=True):
            if (kept := written(text)) and language(kept) != "other":
                # A rating says better what the user thinks, and other texts are talk: who asks about a fault likes the thing.
                rows.append((ds, event, user, item if kind == "review" and rating is None else None, kept))
        texts = sorted({row[-1] for row in rows})
        of = {t: (text_hash(t), round(s, 6)) for t, s in zip(texts, score(texts), strict=True)}
        made = [(*row, *of[text], source) for *row, text in rows]
        columns = zip(*made, strict=True) if made else ((),) * len(schema)
        yield pa.RecordBatch.from_arrays([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)


def _graded(rows: DataFrame, said: DataFrame | None) -> DataFrame:
    """The rows of users and items with n_praised and n_panned: sums of the sentiment of verdicts, on either side."""
    names = [f"n_{t}" for t in GRADED_TYPES]
    if said is None:
        return rows.withColumns(dict.fromkeys(names, F.lit(0.0)))
    verdicts = said.where("item_id IS NOT NULL").withColumns(
        {"n_praised": F.greatest("sentiment", F.lit(0.0)), "n_panned": F.greatest(-F.col("sentiment"), F.lit(0.0))}
    )
    sums = verdicts.groupBy("user_key", "item_id").agg(*((_exact_micros(n) / MICRO).alias(n) for n in names))
    return rows.join(sums, ["user_key", "item_id"], "left").fillna(0.0, names)


def user_item_day(ds: dt.date, events: DataFrame, said: DataFrame | None) -> DataFrame:
    """Rows of user_item_day from event_clean and text_sentiment: one per user and item; events without an item (searches) are left out.
    `said` may be None when no text is a verdict.

    n_low_rated      ratings and reviews of LOW_RATING or less, counted also under their own type
    n_positive, n_negative  by the type's polarity, a low rating being negative; they sum to n_events
    n_praised, n_panned  sums of the sentiment of reviews without a rating, 0 to 1 each, on either side
    rating           mean of the ratings given; dwell_s sum of seconds; both null without any
    sentiment        (positive − negative) / all of the explicit and generated events, −1 to 1; null without any; a review is negative as
                     far as it is panned
    """
    negative = _of_types([t.name for t in EVENT_TYPES.values() if t.polarity < 0]) | _low_rated()
    stated = _of_types([t.name for t in EVENT_TYPES.values() if t.signal != "implicit"])
    n_stated = _n(stated)
    grouped = events.where("item_id IS NOT NULL").groupBy("user_key", "item_id")
    rows = grouped.agg(
        F.count(F.lit(1)).alias("n_events"),
        *(_n(F.col("event_type") == t).alias(f"n_{t}") for t in EVENT_TYPES),
        _n(_low_rated()).alias("n_low_rated"),
        _n(~negative).alias("n_positive"),
        _n(negative).alias("n_negative"),
        F.round(_exact_micros("rating") / F.nullif(F.count("rating"), F.lit(0)) / MICRO, 6).alias("rating"),
        n_stated.alias("_stated"),
        _n(stated & negative).alias("_against"),
        (_exact_micros("dwell_s") / MICRO).alias("dwell_s"),
        F.max("event_ts").alias("last_event_ts"),
    )
    rows = _graded(rows, said)
    sentiment = (F.col("_stated") - 2 * (F.col("_against") + F.col("n_panned"))) / F.nullif(F.col("_stated"), F.lit(0))
    return rows.withColumns({"ds": F.lit(ds), "sentiment": F.round(sentiment, 6)}).select(*TABLES["user_item_day"].names)


def user_item_context_day(ds: dt.date, events: DataFrame) -> DataFrame:
    """Rows of user_item_context_day: the events of a user with an item, by part of the day and device ('' where none is told)."""
    told = events.where("item_id IS NOT NULL").withColumns({"ds": F.lit(ds), "device": F.coalesce("device", F.lit(""))})
    counted = told.groupBy("ds", "user_key", "item_id", "daypart", "device").agg(F.count(F.lit(1)).alias("n_events"))
    return counted.select(*TABLES["user_item_context_day"].names)


def persons(events: DataFrame) -> DataFrame:
    """The events of event_clean that facts are made of: those of bots are left out, so that no person's rows depend on them."""
    return events.where(~F.array_contains("repairs", "bot"))


def _named(events: DataFrame) -> DataFrame:
    """The events with `name`: the source's session id, else a hash of the user and of when a run without long pauses began."""
    unnamed = F.col("session_id").isNull()
    order = Window.partitionBy("user_key", unnamed).orderBy("event_ts", "event_id")
    seconds = F.unix_micros("event_ts") - F.lag(F.unix_micros("event_ts")).over(order)
    begins = F.when(F.coalesce(seconds > SESSION_GAP_S * MICRO, F.lit(True)), F.unix_micros("event_ts"))
    started = F.last(begins, ignorenulls=True).over(order.rowsBetween(Window.unboundedPreceding, Window.currentRow))
    made = F.substring(F.sha2(F.concat_ws("|", "user_key", started.cast("string")), 256), 1, 32)
    return events.withColumn("name", F.coalesce("session_id", made))


def open_sessions(ds: dt.date, before: DataFrame, time_zone: str) -> DataFrame:
    """Rows of open_session: of the events of the day before ds, each user's session that may go on after midnight.

    One that the source names needs none: it has its name on both nights.
    """
    midnight = dt.datetime.combine(ds, dt.time(), ZoneInfo(time_zone)).astimezone(dt.UTC)
    ends = F.max("event_ts")
    last = _named(before.where("session_id IS NULL")).groupBy("user_key", "name").agg(ends.alias("end_ts"))
    last = last.where(F.col("end_ts") >= F.lit(midnight - dt.timedelta(seconds=SESSION_GAP_S)))
    return last.select(F.lit(ds).alias("ds"), "user_key", F.col("name").alias("carry_id"), "end_ts")


def sessions(ds: dt.date, events: DataFrame, opened: DataFrame) -> DataFrame:
    """Rows of session from event_clean, all events of the night being in exactly one.

    A session that the source names (session_id) is kept whole. Other events of a user make a session until SESSION_GAP_S pass without one;
    its id is the hash of the user and the first event's time. A named session of several users is one session for each.
    carry_id is the session's own, but for one that goes on from the night before within SESSION_GAP_S: it carries the id of the session
    there (`opened`, rows of open_session), so that its parts share one.
    """
    most = [F.mode(c, deterministic=True).alias(c) for c in ("device", "region", "lang")]
    rows = (
        _named(events)
        .groupBy("user_key", "name")
        .agg(
            F.min("event_ts").alias("start_ts"),
            F.max("event_ts").alias("end_ts"),
            F.count(F.lit(1)).alias("n_events"),
            F.size(F.collect_set("item_id")).cast("bigint").alias("n_items"),
            F.bool_or(F.col("session_id").isNull()).alias("_made"),
            *most,
        )
    )
    shared = F.count(F.lit(1)).over(Window.partitionBy("name")) > 1
    own = F.substring(F.sha2(F.concat_ws("|", "user_key", "name"), 256), 1, 32)
    rows = rows.withColumn("session_id", F.when(shared, own).otherwise(F.col("name")))
    rows = rows.join(opened.select("user_key", F.col("carry_id").alias("_from"), F.col("end_ts").alias("_until")), "user_key", "left")
    pause = F.unix_micros("start_ts") - F.unix_micros("_until")
    goes_on = F.col("_made") & (pause <= SESSION_GAP_S * MICRO)
    carry = F.when(F.coalesce(goes_on, F.lit(False)), F.col("_from")).otherwise(F.col("session_id"))
    return rows.withColumn("carry_id", carry).withColumn("ds", F.lit(ds)).select(*TABLES["session"].names)
