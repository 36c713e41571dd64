"""Frames of texts: what items say, what users wrote and searched for, and what they did in words."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import functions as F

from recsys_core.events import GRADED_TYPES, type_weights
from recsys_core.tables import TABLES
from recsys_core.texts import (
    HISTORY_ITEMS,
    MIN_REVIEW_WORDS,
    compose_item,
    count_words,
    describe_behaviour,
    language,
    text_hash,
    written,
)

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

# What can be told of a user, the strongest first; grades are no acts of their own.
_WEIGHTS = {t: w for t, w in type_weights().items() if t not in GRADED_TYPES}
ACTS = tuple(sorted(_WEIGHTS, key=lambda t: (-abs(_WEIGHTS[t]), t)))
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


def strongest_act() -> Column:
    """The place in ACTS of the strongest act that a row of user_item_day counts."""
    return F.coalesce(*(F.when(F.col(f"n_{t}") > 0, F.lit(place)) for place, t in enumerate(ACTS)))


def act_at(place: Column) -> Column:
    """The name of an act by its place in ACTS."""
    return F.element_at(F.array(*map(F.lit, ACTS)), place + 1)


def _languages(events: DataFrame) -> DataFrame:
    """(user_key, lang): zh or en, whichever more of a user's events have."""
    return events.groupBy("user_key").agg(
        F.when(F.sum((F.col("lang") == "zh").cast("int")) > F.sum((F.col("lang") == "en").cast("int")), "zh").otherwise("en").alias("lang")
    )


def _acts(user_items: DataFrame, items: DataFrame) -> DataFrame:
    """(user_key, acts): up to CANDIDATES (strength, weight, kind, title) of largest absolute weight; kind is the strongest act."""
    # Thousandths as whole numbers: their sums do not depend on the order of rows.
    micro = sum((F.col(f"n_{t}") * F.lit(round(w * 1000)) for t, w in _WEIGHTS.items()), F.lit(0).cast("bigint"))
    titled = items.where("title IS NOT NULL").select("item_id", "title")
    act = F.struct(
        (-F.abs(micro)).alias("strength"), micro.alias("weight"), act_at(strongest_act()).alias("kind"), F.col("title").alias("title")
    )
    return (
        user_items.join(titled, "item_id").groupBy("user_key").agg(F.slice(F.sort_array(F.collect_list(act)), 1, CANDIDATES).alias("acts"))
    )


def history_texts(ds: dt.date, weights: pa.Table, items: pa.Table, sessions: pa.Table) -> pa.Table:
    """Rows of user_history_text: for each user with a session on ds what they did in 90 nights, in words, by decayed weight.

    weights   (user_key, item_id, weight, act) of 90 nights, see profiles.item_weights
    items     the catalogue's item_id and title
    sessions  the night's user_key and lang: a text is in the language of most of a user's sessions that have one of the two, else English
    """
    zh: dict[str, int] = {}
    for user, lang in zip(sessions["user_key"].to_pylist(), sessions["lang"].to_pylist(), strict=True):
        zh[user] = zh.get(user, 0) + (lang == "zh") - (lang == "en")
    titles = {i: t for i, t in zip(items["item_id"].to_pylist(), items["title"].to_pylist(), strict=True) if t}
    acts: dict[str, list[tuple[float, str, str]]] = {}
    theirs = weights.filter(pc.is_in(weights["user_key"], pa.array(sorted(zh), pa.string())))
    for user, item, weight, act in zip(*(theirs[c].to_pylist() for c in ("user_key", "item_id", "weight", "act")), strict=True):
        if item in titles:
            acts.setdefault(user, []).append((weight, act, titles[item]))
    rows = []
    for user in sorted(acts):
        lang = "zh" if zh[user] > 0 else "en"
        text = describe_behaviour(acts[user], lang, HISTORY_ITEMS)
        rows.append({"ds": ds, "user_key": user, "text_hash": text_hash(text), "lang": lang, "kind": "behaviour_90d", "text": text})
    return pa.Table.from_pylist(rows, schema=TABLES["user_history_text"].arrow_schema())


def _hashed(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        rows = []
        for user, item, kind, text in zip(*(batch.column(c).to_pylist() for c in range(4)), strict=True):
            text = written(text)
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
