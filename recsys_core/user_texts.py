"""Frames of texts: what items say, what users wrote and searched for, and what they did in words."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import functions as F

from recsys_core.events import type_weights
from recsys_core.tables import TABLES
from recsys_core.texts import MIN_REVIEW_WORDS, MODEL_CHARS, compose_item, count_words, describe_behaviour, language, normalise, text_hash

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# Items of one user that a behaviour description chooses from; a bot's thousands need not travel to one worker.
CANDIDATES = 64


def item_texts(ds: dt.date, items: pa.Table) -> pa.Table:
    """Rows of item_text, kind 'title': one for each item that is not deleted and has any text."""
    rows = []
    columns = ("item_id", "title", "description", "tags", "deleted")
    for item, title, description, tags, deleted in zip(*(items.column(c).to_pylist() for c in columns), strict=True):
        text, lang = ("", "other") if deleted else compose_item(title, description, tags)
        if text:
            rows.append((ds, item, text_hash(text), lang, "title", text))
    schema = TABLES["item_text"].arrow_schema()
    return (
        pa.table([pa.array(c, f.type) for c, f in zip(zip(*rows, strict=True), schema, strict=True)], schema=schema)
        if rows
        else schema.empty_table()
    )


def user_texts(ds: dt.date, events: DataFrame, user_items: DataFrame, items: DataFrame) -> DataFrame:
    """Rows of user_text.

    kind review     what was written with any event, from MIN_REVIEW_WORDS words on; item_id when all events with the text share one
    kind search     queries
    kind behaviour  the user's day in words, in the language of most of the user's texts and pages that night (Chinese, else English)
    """
    said = (
        events.select("user_key", "item_id", F.lit("review").alias("kind"), "text")
        .unionByName(events.select("user_key", "item_id", F.lit("search").alias("kind"), F.col("query").alias("text")))
        .where("text IS NOT NULL")
    )
    told = _acts(user_items, items).join(_languages(events), "user_key", "left").select("user_key", "acts", "lang")
    written = said.mapInArrow(_hashed, "user_key string, item_id string, kind string, text string, lang string, text_hash string")
    described = told.mapInArrow(_described, "user_key string, item_id string, kind string, text string, lang string, text_hash string")
    return (
        written.unionByName(described)
        .groupBy("user_key", "text_hash", "kind")
        .agg(
            F.min("lang").alias("lang"),
            F.when(F.min(F.coalesce("item_id", F.lit(""))) == F.max(F.coalesce("item_id", F.lit(""))), F.max("item_id")).alias("item_id"),
            F.count(F.lit(1)).alias("n_events"),
            F.min("text").alias("text"),
        )
        .withColumn("ds", F.lit(ds))
        .select(*TABLES["user_text"].names)
    )


def _languages(events: DataFrame) -> DataFrame:
    """(user_key, lang): zh or en, whichever more of a user's events have."""
    return events.groupBy("user_key").agg(
        F.when(F.sum((F.col("lang") == "zh").cast("int")) > F.sum((F.col("lang") == "en").cast("int")), "zh").otherwise("en").alias("lang")
    )


def _acts(user_items: DataFrame, items: DataFrame) -> DataFrame:
    """(user_key, acts): up to CANDIDATES (strength, weight, kind, title) of largest absolute weight; kind is the strongest act."""
    weights = type_weights()
    # Thousandths as whole numbers: their sums do not depend on the order of rows.
    micro = sum((F.col(f"n_{t}") * F.lit(round(w * 1000)) for t, w in weights.items()), F.lit(0).cast("bigint"))
    kinds = sorted(weights, key=lambda t: (-abs(weights[t]), t))
    kind = F.coalesce(*(F.when(F.col(f"n_{t}") > 0, F.lit(t)) for t in kinds))
    titled = items.where("title IS NOT NULL").select("item_id", "title")
    act = F.struct((-F.abs(micro)).alias("strength"), micro.alias("weight"), kind.alias("kind"), F.col("title").alias("title"))
    return (
        user_items.join(titled, "item_id").groupBy("user_key").agg(F.slice(F.sort_array(F.collect_list(act)), 1, CANDIDATES).alias("acts"))
    )


def _hashed(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        rows = []
        for user, item, kind, text in zip(*(batch.column(c).to_pylist() for c in range(4)), strict=True):
            # Cut before normalising, so that a text of a megabyte costs no more than what is used of it; NFKC may lengthen.
            text = normalise(text[: 2 * MODEL_CHARS])[:MODEL_CHARS].strip()
            if text and (kind == "search" or count_words(text) >= MIN_REVIEW_WORDS):
                rows.append((user, item, kind, text, language(text), text_hash(text)))
        yield _batch(rows)


def _described(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        rows = []
        for user, acts, lang in zip(*(batch.column(c).to_pylist() for c in range(3)), strict=True):
            text = describe_behaviour(((a["weight"] / 1000, a["kind"], a["title"]) for a in acts), lang or "en")
            rows.append((user, None, "behaviour", text, lang or "en", text_hash(text)))
        yield _batch(rows)


_SCHEMA = pa.schema([(n, pa.string()) for n in ("user_key", "item_id", "kind", "text", "lang", "text_hash")])


def _batch(rows: Sequence[tuple[str | None, ...]]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True) if rows else ((),) * len(_SCHEMA)
    return pa.RecordBatch.from_arrays([pa.array(c, pa.string()) for c in columns], schema=_SCHEMA)
