"""From the lake's rows to arrays: what every user did with every item, one weight a night."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from recsys_core.events import COUNTED_TYPES, DEFAULT_WEIGHTS, Weights
from recsys_core.recommenders.base import Interactions, Ints

# What of user_item_day is needed; 40 bytes a row stay once a night is reduced, and all rows of all nights are held on one machine. Ids are
# kept once a night.
COLUMNS = ["ds", "user_key", "item_id", "n_events", *(f"n_{t}" for t in COUNTED_TYPES), "last_event_ts"]
# Event types by which people say that they like something, or pay for it.
LIKING_TYPES = ("purchase", "rating", "review", "like", "favorite", "share")


def reduce_night(rows: pa.Table, weights: Weights = DEFAULT_WEIGHTS) -> pa.Table:
    """Rows of user_item_day as (ds, user_key, item_id, weight, liked, n_events, time): weight = Σ count × base weight, time in µs.

    liked: one of LIKING_TYPES is among the events, and all together speak for the item.
    """
    weight = np.zeros(rows.num_rows)
    for name, per_event in weights.base.items():
        weight += per_event * rows.column(f"n_{name}").to_numpy()
    said = np.sum([rows.column(f"n_{name}").to_numpy() for name in LIKING_TYPES], axis=0)
    return pa.table(
        {
            "ds": rows.column("ds"),
            "user_key": rows.column("user_key").dictionary_encode(),
            "item_id": rows.column("item_id").dictionary_encode(),
            "weight": np.round(weight, 6),
            "liked": (said > 0) & (weight > 0),
            "n_events": rows.column("n_events"),
            "time": rows.column("last_event_ts").cast(pa.int64()),
        }
    )


def in_order(rows: pa.Table) -> pa.Table:
    """Rows of `reduce_night` by time, then item: what `build` has to put in order anyway, once for all nights that look back on them."""
    return rows.take(np.lexsort((coded(rows["item_id"])[1], rows["time"].to_numpy())))


@dataclass(frozen=True)
class History:
    """Interactions with the ids behind their codes; users and items are sorted by id.

    `n_events` and `liked` (the user said so, or bought it) belong to the interactions' rows.
    """

    interactions: Interactions
    users: pa.Array
    items: pa.Array
    n_events: Ints
    liked: NDArray[np.bool_]

    def user_codes(self, keys: pa.Array | pa.ChunkedArray) -> Ints:
        """Codes of user keys, −1 where unknown."""
        return codes(keys, self.users)

    def item_codes(self, ids: pa.Array | pa.ChunkedArray) -> Ints:
        """Codes of item ids, −1 where unknown."""
        return codes(ids, self.items)


def codes(values: pa.Array | pa.ChunkedArray, known: pa.Array) -> Ints:
    """Places of values in `known`, −1 where absent; of a dictionary's values each different one is looked up once."""
    if pa.types.is_dictionary(values.type):
        parts = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
        found = [np.append(codes(p.dictionary, known), -1)[pc.fill_null(p.indices, -1).to_numpy()] for p in parts]
        return np.concatenate([np.empty(0, np.int64), *found])
    found = pc.fill_null(pc.index_in(values, value_set=known), -1)
    return np.asarray(found).astype(np.int64)


def pairs(users: pa.ChunkedArray, items: pa.ChunkedArray, known_users: pa.Array, known_items: pa.Array) -> Ints:
    """One number for each (user, item), by the place of both in what is known, −1 where either is unknown."""
    user, item = codes(users, known_users), codes(items, known_items)
    return np.where((user >= 0) & (item >= 0), user * len(known_items) + item, -1)


def build(rows: pa.Table, catalogue: Iterable[str], ds: dt.date) -> History:
    """History as of the end of night `ds` from rows of reduce_night; `catalogue` adds the items nobody has met.

    Users have no group yet.
    """
    users, user = coded(rows.column("user_key"))
    items, item = coded(rows.column("item_id"), pa.array(catalogue, pa.string()))
    age = np.int64((ds - dt.date(1970, 1, 1)).days) - rows.column("ds").cast(pa.int32()).to_numpy().astype(np.int64)
    order = _by_user(user, rows.column("time").to_numpy(), item, len(users))
    weight, group = rows.column("weight").to_numpy()[order], np.full(len(users), -1, np.int64)
    interactions = Interactions(user[order], item[order], weight, age[order], len(users), len(items), group)
    n_events, liked = rows.column("n_events").to_numpy()[order], rows.column("liked").to_numpy(zero_copy_only=False)[order]
    return History(interactions, users, items, n_events, liked)


def _by_user(user: Ints, time: Ints, item: Ints, n_users: int) -> Ints:
    """Order of rows by user, then time, then item; rows that are in order but for their users are only dealt out to these."""
    later = np.diff(time)
    if np.all((later > 0) | ((later == 0) & (np.diff(item) >= 0))):
        rows = np.arange(len(user))
        return sparse.coo_matrix((rows, (user, rows)), shape=(n_users, len(rows))).tocsr().data
    return np.lexsort((item, time, user))


def coded(ids: pa.ChunkedArray, more: pa.Array | None = None) -> tuple[pa.Array, Ints]:
    """All different ids, sorted, with `more`, and the place of each row's (−1: null); each night's different ones are looked up once."""
    parts = [chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode() for chunk in ids.chunks]
    here = [part.dictionary.take(pc.unique(part.indices).drop_null()) for part in parts]  # a slice may not name all of its dictionary
    known = _sorted_unique(pa.chunked_array([*here, *([] if more is None else [more])], pa.string()))
    return known, np.concatenate([np.empty(0, np.int64), *(codes(part, known) for part in parts)])


def _sorted_unique(values: pa.ChunkedArray) -> pa.Array:
    unique = pc.unique(values)
    return unique.take(pc.sort_indices(unique))


def usual(sessions: pa.Table, column: str, users: pa.Array) -> tuple[list[str], Ints]:
    """The value of `column` (lang or region) in most of each user's sessions, ties to the first by name.

    Returns the values that occur, sorted, and for each user the place of theirs, −1 without one.
    """
    values, value = coded(sessions[column])
    user = codes(sessions["user_key"], users)
    if not len(values):
        return [], np.full(len(users), -1, np.int64)
    known = (user >= 0) & (value >= 0)
    met = sparse.csr_matrix((np.ones(int(known.sum()), np.int64), (user[known], value[known])), shape=(len(users), len(values)))
    met.sum_duplicates()
    owner, choice, counts = np.repeat(np.arange(len(users)), np.diff(met.indptr)), met.indices, met.data
    best = np.lexsort((choice, -counts, owner))
    first = best[np.r_[True, owner[best][1:] != owner[best][:-1]]] if len(best) else best
    found = np.full(len(users), -1, np.int64)
    found[owner[first]] = choice[first]
    return values.to_pylist(), found


def item_vectors(history: History, item_ids: pa.ChunkedArray, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors by item code from one vector per text: the mean over an item's texts, a zero row without any."""
    code = history.item_codes(item_ids)
    found = np.zeros((len(history.items), vectors.shape[1] if len(vectors) else 1), np.float32)
    if len(vectors):
        np.add.at(found, code[code >= 0], vectors[code >= 0])
        found /= np.maximum(np.bincount(code[code >= 0], minlength=len(found)), 1)[:, None].astype(np.float32)
    return found


def item_topics(history: History, topics: pa.Table, ids: pa.Array) -> sparse.csr_matrix:
    """p(topic | item) from item_id, topic_id and weight, shape (n_items, max(len(ids), 1)): the columns are the topics `ids`."""
    at = history.item_codes(topics["item_id"]), codes(topics["topic_id"], ids)
    return sparse.csr_matrix((topics["weight"].to_numpy(), at), shape=(len(history.items), max(len(ids), 1)))
