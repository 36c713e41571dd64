"""Tables of texts: what items say, what users wrote and searched for, and what they did in words."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.events import GRADED_TYPES, type_weights
from recsys_core.grouping import Groups, Ranks, flags, whole
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

# What can be told of a user, the strongest first; grades are no acts of their own.
_WEIGHTS = {t: w for t, w in type_weights().items() if t not in GRADED_TYPES}
ACTS = tuple(sorted(_WEIGHTS, key=lambda t: (-abs(_WEIGHTS[t]), t)))
# Items of one user that a behaviour description chooses from, of largest absolute weight.
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


def user_texts(ds: dt.date, events: pa.Table, user_items: pa.Table, items: pa.Table) -> pa.Table:
    """Rows of user_text, by key.

    kind review     what was written with any event, from MIN_REVIEW_WORDS words on; item_id when all events with the text share one
    kind search     queries
    kind behaviour  the user's day in words, in the language of most of the user's texts and pages that night (Chinese, else English)
    """
    schema = TABLES["user_text"].arrow_schema()
    found = pa.concat_tables([_said(events, "text", "review"), _said(events, "query", "search"), _told(events, user_items, items)])
    found = found.append_column("ds", pa.repeat(pa.scalar(ds, pa.date32()), found.num_rows)).select(schema.names).cast(schema)
    return found.sort_by([(k, "ascending") for k in TABLES["user_text"].key[1:]])


def _said(events: pa.Table, column: str, kind: str) -> pa.Table:
    """Texts of one kind, each once for each user."""
    events = events.select(["user_key", "item_id", column]).filter(pc.is_valid(events[column]))
    raw = Ranks.of_column(events[column])
    kept = [written(text) for text in raw.values.to_pylist()]
    worth = np.array([bool(t) and (kind == "search" or count_words(t) >= MIN_REVIEW_WORDS) for t in kept], bool)
    # Texts that differ in what is not kept of them are one.
    texts = Ranks.of_column(pa.array(kept, pa.string()))
    rows = np.flatnonzero(worth[raw.of]) if len(kept) else np.zeros(0, np.int64)
    users, items = Ranks.of_column(events["user_key"]), Ranks.of_column(events["item_id"])
    text, user, item = texts.of[raw.of[rows]], users.of[rows], items.of[rows]
    groups = Groups([user, text])
    least, most = groups.least(item), groups.greatest(item)
    distinct, place = np.unique(text[groups.first], return_inverse=True)
    said = texts.names(distinct).to_pylist()
    return pa.table(
        {
            "user_key": users.names(user[groups.first]),
            "text_hash": pa.array([text_hash(t) for t in said], pa.string()).take(pa.array(place)),
            "lang": pa.array([language(t) for t in said], pa.string()).take(pa.array(place)),
            "kind": pa.repeat(kind, groups.n),
            "item_id": items.names(np.where(least == most, most, -1)),
            "n_events": pa.array(groups.counts(), pa.int64()),
            "text": texts.names(text[groups.first]),
        }
    )


def _told(events: pa.Table, user_items: pa.Table, items: pa.Table) -> pa.Table:
    """The day of each user with an item that has a title, in words."""
    titled = items.select(["item_id", "title"]).filter(pc.is_valid(items["title"]))
    place = pc.index_in(user_items["item_id"], titled["item_id"].combine_chunks())
    met, titles = user_items.filter(pc.is_valid(place)), titled["title"].take(place.drop_null()).to_pylist()
    counts = {t: met[f"n_{t}"].to_numpy() for t in ACTS}
    # Thousandths as whole numbers: their sums do not depend on the order of rows.
    weights = sum((counts[t] * round(w * 1000) for t, w in _WEIGHTS.items()), np.zeros(met.num_rows, np.int64))
    strongest = np.argmax(np.stack([counts[t] > 0 for t in ACTS], axis=1), axis=1) if met.num_rows else np.zeros(0, np.int64)
    acts: dict[str, list[tuple[float, str, str]]] = {}
    for user, weight, act, title in zip(met["user_key"].to_pylist(), (weights / 1000).tolist(), strongest.tolist(), titles, strict=True):
        acts.setdefault(user, []).append((weight, ACTS[act], title))
    zh = _chinese(events)
    langs = ["zh" if user in zh else "en" for user in acts]
    texts = [describe_behaviour(_candidates(done), lang) for done, lang in zip(acts.values(), langs, strict=True)]
    n = len(texts)
    return pa.table(
        {
            "user_key": pa.array([*acts], pa.string()),
            "text_hash": pa.array([text_hash(t) for t in texts], pa.string()),
            "lang": pa.array(langs, pa.string()),
            "kind": pa.repeat("behaviour", n),
            "item_id": pa.nulls(n, pa.string()),
            "n_events": pa.array(np.ones(n, np.int64)),
            "text": pa.array(texts, pa.string()),
        }
    )


def _candidates(acts: list[tuple[float, str, str]]) -> list[tuple[float, str, str]]:
    return acts if len(acts) <= CANDIDATES else sorted(acts, key=lambda a: (-abs(a[0]), *a))[:CANDIDATES]


def _chinese(events: pa.Table) -> set[str]:
    """Users more of whose events are Chinese than English."""
    keys = Ranks.of_column(events["user_key"])
    more = np.zeros(len(keys.values), np.int64)
    for lang, sign in (("zh", 1), ("en", -1)):
        more += sign * np.bincount(keys.of[flags(pc.equal(events["lang"], lang))], minlength=len(more))
    return set(keys.names(np.flatnonzero(more > 0)).to_pylist())


def history_texts(ds: dt.date, weights: pa.Table, items: pa.Table, sessions: pa.Table) -> pa.Table:
    """Rows of user_history_text: for each user with a session on ds what they did in 90 nights, in words, by decayed weight.

    weights   (user_key, item_id, weight, act) of 90 nights, see profiles.item_weights
    items     the catalogue's item_id and title
    sessions  the night's user_key and lang: a text is in the language of most of a user's sessions that have one of the two, else English
    """
    titled = items.filter(pc.not_equal(pc.fill_null(items["title"], ""), ""))
    users, names, acts = (Ranks.of_column(weights[c]) for c in ("user_key", "item_id", "act"))
    place = whole(pc.index_in(names.values, titled["item_id"].combine_chunks()), -1)
    there = flags(pc.is_in(users.values, pc.unique(sessions["user_key"])))
    rows = np.flatnonzero(there[users.of] & (place[names.of] >= 0))
    rows = rows[np.argsort(users.of[rows], kind="stable")]
    kinds, titles = np.array(acts.values.to_pylist(), object), np.array(titled["title"].to_pylist(), object)
    told = [
        *zip(*(v.tolist() for v in (weights["weight"].to_numpy()[rows], kinds[acts.of[rows]], titles[place[names.of[rows]]])), strict=True)
    ]
    of, first = np.unique(users.of[rows], return_index=True)
    keys, zh = users.names(of), _chinese(sessions)
    langs = ["zh" if user in zh else "en" for user in keys.to_pylist()]
    bounds = pairwise([*first.tolist(), len(rows)])
    texts = [describe_behaviour(told[low:high], lang, HISTORY_ITEMS) for (low, high), lang in zip(bounds, langs, strict=True)]
    n, schema = len(texts), TABLES["user_history_text"].arrow_schema()
    columns = {
        "ds": pa.repeat(pa.scalar(ds, pa.date32()), n),
        "user_key": keys,
        "text_hash": pa.array([text_hash(text) for text in texts], pa.string()),
        "lang": pa.array(langs, pa.string()),
        "kind": pa.repeat("behaviour_90d", n),
        "text": pa.array(texts, pa.string()),
    }
    return pa.table(columns).select(schema.names).cast(schema)
