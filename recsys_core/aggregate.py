"""Facts of a night from its events: what each user did with each item, how their texts sound, and sessions.

All of them are of whole users: the rows of some users are those of the night that are theirs, whoever else is there.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.coded import compact, places
from recsys_core.coded import whole as whole_column
from recsys_core.events import EVENT_TYPES, GRADED_TYPES, LOW_RATING
from recsys_core.grouping import MICRO, Groups, Ranks, flags, having, micros, ratio, whole
from recsys_core.grouping import order as ascending
from recsys_core.tables import TABLES
from recsys_core.texts import language, text_hash, written

SESSION_GAP_S = 30 * 60

_KINDS = pa.array(list(EVENT_TYPES))
_AGAINST = np.array([t.polarity < 0 for t in EVENT_TYPES.values()])
_STATED = np.array([t.signal != "implicit" for t in EVENT_TYPES.values()])
_JUDGED = np.array([t in ("rating", "review") for t in EVENT_TYPES])
# Columns of the events that `text_sentiment` is given, in this order.
SAID = ("ds", "event_id", "user_key", "item_id", "event_type", "rating", "text")
_UTC = pa.timestamp("us", "UTC")


def persons(events: pa.Table) -> pa.Table:
    """The events of event_clean that facts are made of: those of bots are left out, so that no person's rows depend on them."""
    machines = having(events["repairs"], "bot")
    return events.filter(pa.array(~machines)) if machines.any() else events


def text_sentiment(said: Iterable[pa.RecordBatch], score: Callable[[list[str]], list[float]], source: str) -> Iterator[pa.RecordBatch]:
    """Rows of text_sentiment, a batch for each batch of events (columns SAID): one for each text that is English or Chinese.

    score   sentiments of texts, −1 to 1, in their order
    source  what `score` is
    """
    schema = TABLES["text_sentiment"].arrow_schema()
    for batch in said:
        rows = []
        texts_of = {text: written(text) for text in pc.unique(batch.column("text")).to_pylist()}
        told = {kept for kept in texts_of.values() if kept and language(kept) != "other"}
        for ds, event, user, item, kind, rating, text in zip(*(c.to_pylist() for c in batch.columns), strict=True):
            if (kept := texts_of[text]) in told:
                # A rating says better what the user thinks, and other texts are talk: who asks about a fault likes the thing.
                rows.append((ds, event, user, item if kind == "review" and rating is None else None, kept))
        texts = sorted({row[-1] for row in rows})
        of = {t: (text_hash(t), round(s, 6)) for t, s in zip(texts, score(texts), strict=True)}
        made = [(*row, *of[text], source) for *row, text in rows]
        columns = zip(*made, strict=True) if made else ((),) * len(schema)
        yield pa.RecordBatch.from_arrays([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)


def _table(name: str, ds: dt.date, n: int, **columns: Any) -> pa.Table:
    """`n` rows of a table of the night; what are dictionaries stay so."""
    given = {"ds": pa.repeat(pa.scalar(ds, pa.date32()), n), **columns}
    made = {f: given[f.name] if isinstance(given[f.name], pa.DictionaryArray) else pa.array(given[f.name], f.type) for f in _schema(name)}
    return pa.table([*made.values()], schema=pa.schema([f.with_type(column.type) for f, column in made.items()]))


def _schema(name: str) -> pa.Schema:
    return TABLES[name].arrow_schema()


def _graded(said: pa.Table | None, users: Ranks, items: Ranks, pairs: Groups) -> dict[str, np.ndarray]:
    """n_praised and n_panned of pairs of user and item, in millionths: sums of the sentiment of verdicts, on either side."""
    found = {f"n_{t}": np.zeros(pairs.n, np.int64) for t in GRADED_TYPES}
    if said is None or not pairs.n:
        return found
    user, item = places(said["user_key"], users.values), places(said["item_id"], items.values)
    there = users.of[pairs.first] * len(items.values) + items.of[pairs.first]  # ascends, as groups do
    wanted = np.where((user < 0) | (item < 0), -1, user.astype(np.int64) * len(items.values) + item)
    to = np.minimum(np.searchsorted(there, wanted), pairs.n - 1)
    verdicts = there[to] == wanted
    heard = micros(said["sentiment"])[verdicts]
    for name, side in zip(found, (heard, -heard), strict=True):
        np.add.at(found[name], to[verdicts], np.maximum(side, 0))
    return found


def user_item_day(ds: dt.date, events: pa.Table, said: pa.Table | None) -> pa.Table:
    """Rows of user_item_day from event_clean and text_sentiment, by key: one per user and item; events without an item (searches) are
    left out. `said` may be None when no text is a verdict.

    n_low_rated      ratings and reviews of LOW_RATING or less, counted also under their own type
    n_positive, n_negative  by the type's polarity, a low rating being negative; they sum to n_events
    n_praised, n_panned  sums of the sentiment of reviews without a rating, 0 to 1 each, on either side
    rating           mean of the ratings given; dwell_s sum of seconds; both null without any
    sentiment        (positive − negative) / all of the explicit and generated events, −1 to 1; null without any; a review is negative as
                     far as it is panned
    """
    told = ["user_key", "item_id", "event_type", "event_ts", "rating", "dwell_s"]
    events = events.select(told).filter(pc.is_valid(events["item_id"]))
    users, items = Ranks.of_column(events["user_key"]), Ranks.of_column(events["item_id"])
    pairs = Groups([users.of, items.of])
    kind = places(events["event_type"], _KINDS)
    by_type = np.bincount(pairs.of * len(_KINDS) + kind, minlength=pairs.n * len(_KINDS)).reshape(pairs.n, len(_KINDS))
    low = _JUDGED[kind] & flags(pc.less_equal(events["rating"], LOW_RATING))
    against, stated = _AGAINST[kind] | low, _STATED[kind]
    rated, stayed = flags(pc.is_valid(events["rating"])), flags(pc.is_valid(events["dwell_s"]))
    n, n_against, n_stated = pairs.counts(), pairs.counts(against), pairs.counts(stated)
    graded = _graded(said, users, items, pairs)
    opposed = pairs.counts(stated & against) * MICRO + graded["n_panned"]
    return _table(
        "user_item_day",
        ds,
        pairs.n,
        user_key=users.like(users.of[pairs.first]),
        item_id=items.like(items.of[pairs.first]),
        n_events=n,
        **{f"n_{t}": by_type[:, place] for place, t in enumerate(EVENT_TYPES)},
        n_low_rated=pairs.counts(low),
        **{name: sums / MICRO for name, sums in graded.items()},
        n_positive=n - n_against,
        n_negative=n_against,
        rating=ratio(pairs.sums(micros(events["rating"])), pairs.counts(rated)),
        sentiment=ratio(n_stated * MICRO - 2 * opposed, n_stated),
        dwell_s=pa.array(pairs.sums(micros(events["dwell_s"])) / MICRO, mask=pairs.counts(stayed) == 0),
        last_event_ts=pa.array(pairs.greatest(whole(events["event_ts"]))).cast(_UTC),
    )


def user_item_context_day(ds: dt.date, events: pa.Table) -> pa.Table:
    """Rows of user_item_context_day, by key: the events of a user with an item, by part of the day and device ('' where none is told)."""
    events = events.select(["user_key", "item_id", "daypart", "device"]).filter(pc.is_valid(events["item_id"]))
    ranks = {name: Ranks.of_column(events[name]) for name in ("user_key", "item_id", "daypart", "device")}
    ranks["device"] = _or_empty(ranks["device"])
    groups = Groups([r.of for r in ranks.values()])
    keys = {name: r.like(r.of[groups.first]) for name, r in ranks.items()}
    return _table("user_item_context_day", ds, groups.n, **keys, n_events=groups.counts())


def _or_empty(found: Ranks) -> Ranks:
    """The same with '' for null."""
    if (found.of >= 0).all():
        return found
    if len(found.values) and found.values[0].as_py() == "":
        return replace(found, of=np.maximum(found.of, 0))
    return replace(found, of=found.of + 1, values=pa.concat_arrays([pa.array([""]), found.values]))


def in_time(users: np.ndarray, at: np.ndarray, ids: pa.ChunkedArray, place: np.ndarray) -> np.ndarray:
    """The order of events by user, time and id; the ids are those at `place`."""
    order = ascending([users, at])
    again = (users[order][1:] == users[order][:-1]) & (at[order][1:] == at[order][:-1])
    if again.any():
        tied = np.zeros(len(order), bool)
        tied[1:] |= again
        tied[:-1] |= again
        places = np.flatnonzero(tied)
        rows = order[places]
        of_ids = Ranks.of_column(ids.take(pa.array(place[rows]))).of
        order[places] = rows[np.lexsort((of_ids, at[rows], users[rows]))]
    return order


def _named(events: pa.Table, users: Ranks) -> pa.Array:
    """Names of the sessions of events: the source's session id, else a hash of the user and of when a run without long pauses began."""
    names = whole_column(events["session_id"])
    if not names.null_count:
        return names
    names = names.cast(pa.string())
    rows = np.flatnonzero(~flags(pc.is_valid(names)))
    who, at = users.of[rows], whole(events["event_ts"])[rows]
    order = in_time(who, at, events["event_id"], rows)
    who, at = who[order], at[order]
    begins = np.ones(len(order), bool)
    begins[1:] = (who[1:] != who[:-1]) | (at[1:] - at[:-1] > SESSION_GAP_S * MICRO)
    keys = users.names(who[begins]).to_pylist()
    made = [_hashed(f"{user}|{start}") for user, start in zip(keys, at[begins].tolist(), strict=True)]
    of = np.full(len(names), -1)
    of[rows[order]] = np.cumsum(begins) - 1
    return pc.coalesce(names, pa.array(made, pa.string()).take(pa.array(of, mask=of < 0)))


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def open_sessions(ds: dt.date, before: pa.Table, time_zone: str) -> pa.Table:
    """Rows of open_session, by key: of the events of the day before ds, each user's session that may go on after midnight.

    One that the source names needs none: it has its name on both nights.
    """
    midnight = dt.datetime.combine(ds, dt.time(), ZoneInfo(time_zone)).astimezone(dt.UTC)
    before = before.filter(pc.is_null(before["session_id"]))
    users = Ranks.of_column(before["user_key"])
    names = Ranks.of_column(_named(before, users))
    groups = Groups([users.of, names.of])
    ends = groups.greatest(whole(before["event_ts"]))
    last = ends >= int(midnight.timestamp()) * MICRO - SESSION_GAP_S * MICRO
    rows = groups.first[last]
    keys, carried = users.names(users.of[rows]), names.names(names.of[rows])
    return _table("open_session", ds, len(rows), user_key=keys, carry_id=carried, end_ts=pa.array(ends[last]).cast(_UTC))


def _most(groups: Groups, column: pa.ChunkedArray) -> pa.Array:
    """Of each group the value that most rows have, of several the lowest; null where all are."""
    values = Ranks.of_column(column)
    rows = np.flatnonzero(values.of >= 0)
    pairs = Groups([groups.of[rows], values.of[rows]])
    group, value = groups.of[rows][pairs.first], values.of[rows][pairs.first]
    found = np.full(groups.n, -1)
    order = np.lexsort((-value, pairs.counts(), group))  # the last one of a group stays
    found[group[order]] = value[order]
    return values.like(found)


def named_sessions(events: pa.Table) -> pa.Array:
    """Names of the sessions that the source names, each once; session_id is a dictionary."""
    return whole_column(compact(events.select(["session_id"]))["session_id"]).dictionary


def sessions(ds: dt.date, events: pa.Table, opened: pa.Table, shared: pa.Array | None = None) -> pa.Table:
    """Rows of session from event_clean, all events of the night being in exactly one.

    A session that the source names (session_id) is kept whole. Other events of a user make a session until SESSION_GAP_S pass without one;
    its id is the hash of the user and the first event's time. A named session of several users is one session for each (`shared` names
    those with users who are not among these events).
    carry_id is the session's own, but for one that goes on from the night before within SESSION_GAP_S: it carries the id of the session
    there (`opened`, rows of open_session), so that its parts share one.
    """
    users = Ranks.of_column(events["user_key"])
    names = Ranks.of_column(_named(events, users))
    groups = Groups([users.of, names.of])
    at, items = whole(events["event_ts"]), Ranks.of_column(events["item_id"])
    met = np.flatnonzero(items.of >= 0)
    of_items = Groups([groups.of[met], items.of[met]])
    n_items = np.bincount(groups.of[met][of_items.first], minlength=groups.n)
    starts, ends = groups.least(at), groups.greatest(at)
    user, name = users.of[groups.first], names.of[groups.first]
    several = np.bincount(name, minlength=len(names.values))[name] > 1
    own = names.names(name)
    if shared is not None:
        several |= flags(pc.is_in(own, shared))
    keys = users.like(user)
    if several.any():
        given = own.to_pylist()
        for place in np.flatnonzero(several):
            given[place] = _hashed(f"{keys[place].as_py()}|{given[place]}")
        own = pa.array(given, pa.string())
    made = groups.counts(flags(pc.is_null(events["session_id"]))) > 0
    of_opened = places(keys, opened["user_key"].combine_chunks())
    known, at_opened = of_opened >= 0, pa.array(of_opened, mask=of_opened < 0)
    until = whole(opened["end_ts"].take(at_opened))
    goes_on = made & known & (starts - until <= SESSION_GAP_S * MICRO)
    return _table(
        "session",
        ds,
        groups.n,
        session_id=own,
        user_key=keys,
        carry_id=pc.if_else(pa.array(goes_on), opened["carry_id"].take(at_opened).combine_chunks(), own),
        start_ts=pa.array(starts).cast(_UTC),
        end_ts=pa.array(ends).cast(_UTC),
        n_events=groups.counts(),
        n_items=n_items,
        **{c: _most(groups, events[c]) for c in ("device", "region", "lang")},
    )


def facts(
    ds: dt.date,
    events: pa.Table,
    opened: pa.Table,
    score: Callable[[list[str]], list[float]],
    source: str,
    shared: pa.Array | None = None,
) -> dict[str, pa.Table]:
    """Rows of all tables of facts, from the events of `persons` (and see `text_sentiment` and `sessions`)."""
    said = events.select(SAID).filter(pc.is_valid(events["text"])).combine_chunks()
    heard = pa.Table.from_batches(text_sentiment(said.to_batches(), score, source), TABLES["text_sentiment"].arrow_schema())
    return {
        "text_sentiment": heard,
        "user_item_day": user_item_day(ds, events, heard),
        "user_item_context_day": user_item_context_day(ds, events),
        "session": sessions(ds, events, opened, shared),
    }
