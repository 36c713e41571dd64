"""What became of interests, and how still profiles and lists stand from night to night."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_core.evaluation.rows import Row, compared, compared_in, grouped
from recsys_core.lists import UNKNOWN_USER
from recsys_core.metrics import rank_biased_overlap
from recsys_core.recommenders.base import Floats
from recsys_core.recommenders.history import coded, codes

TOP_TOPICS = 3


def interest_metrics(interests: pa.Table, tonight: pa.Table, model_version: str, ds: dt.date, seed: int) -> list[Row]:
    """Row of eval_metric: the share of a user's topic mass on ds that fell on the three strongest 90-day topics they were said to hold.

    interests  user_key, topic_id, horizon, score, rank, model_version of an earlier night
    tonight    user_topic_day of ds under `model_version`
    The baseline is the population's three strongest 90-day topics. Empty when the versions differ or nobody known came.
    """
    mask = pc.and_(pc.equal(interests.column("horizon"), "90d"), pc.equal(interests.column("model_version"), model_version))
    held, came = interests.filter(mask), tonight.filter(pc.greater(tonight.column("mass_micro"), 0))
    users = pc.unique(held.column("user_key"))
    user = codes(came.column("user_key"), users)
    came, user = came.filter(pa.array(user >= 0)), user[user >= 0]
    if not len(user):
        return []
    score, topic = held.column("score").to_numpy(), held.column("topic_id").to_numpy()
    topics, at = np.unique(topic, return_inverse=True)
    total = np.bincount(at, np.round(score * 1e6))
    favourite = topics[np.lexsort((topics, -total))][:TOP_TOPICS]
    top = held.filter(pc.less_equal(held.column("rank"), TOP_TOPICS))
    met, mass = came.column("topic_id").to_numpy(), came.column("mass_micro").to_numpy().astype(np.float64)
    width = int(max(topics.max(), met.max())) + 1
    own = np.isin(user * width + met, codes(top.column("user_key"), users) * width + top.column("topic_id").to_numpy())
    who, row = np.unique(user, return_inverse=True)
    order = np.argsort(np.asarray(users.take(pa.array(who)).to_pylist()))  # by user key: the draws must not depend on the order of rows
    share = [np.bincount(row, mass * inside)[order] / np.bincount(row, mass)[order] for inside in (own, np.isin(met, favourite))]
    frame = {"ds": ds, "subject": "profile", "model_version": model_version, "list_name": "", "variant": "default"}
    frame |= {"slice_dim": "all", "slice_value": ""}
    return compared(share[0][:, None], share[1][:, None], [("topic_hit", TOP_TOPICS)], "population", frame, seed)


def stability_metrics(before: pa.Table, tonight: pa.Table, came: pa.ChunkedArray, model_version: str, ds: dt.date, seed: int) -> list[Row]:
    """Rows of eval_metric: how alike a user's 90-day rankings of topics of the night before and of tonight are (rank-biased overlap).

    before, tonight  user_key, topic_id, horizon, rank, model_version of both nights
    came             keys of users with events on ds; the others, `idle`, keep their ranking: 1
    Users with interests on one of the nights only do not count. There is no baseline: 1 is what nothing that happened gives.
    """
    ranks = []
    for rows in (before, tonight):
        mask = pc.and_(pc.equal(rows.column("horizon"), "90d"), pc.equal(rows.column("model_version"), model_version))
        ranks.append(rows.filter(mask).select(["user_key", "topic_id", "rank"]))
    where = {"ds": ds, "subject": "profile", "model_version": model_version, "list_name": "", "variant": "default"}
    return _stability(ranks[0], ranks[1], "topic_id", came, where, seed)


def list_stability(before: pa.Table, tonight: pa.Table, came: pa.ChunkedArray, ds: dt.date, seed: int) -> list[Row]:
    """Rows of eval_metric: the same for the lists of two nights, by list, variant and the version of the night before.

    before, tonight  user_topn of both nights. A list that shows the same to who did not come bores; one that changes wholly was not about
    the user: the number has no best value.
    """
    by, columns = ["model_version", "list_name", "variant"], ["user_key", "item_id", "rank"]
    now = {tuple(key.values()): places for key, places in grouped(tonight, by[1:])}
    rows: list[Row] = []
    personal = before.filter(pa.array(codes(before["user_key"], pa.array([UNKNOWN_USER])) < 0))
    for key, places in grouped(personal, by):
        then = personal.select(columns).take(pa.array(places))
        after = tonight.select(columns).take(pa.array(now.get((key["list_name"], key["variant"]), np.empty(0, np.int64))))
        rows += _stability(then, after, "item_id", came, {"ds": ds, "subject": "recommender"} | key, seed)
    return rows


def _stability(before: pa.Table, tonight: pa.Table, column: str, came: pa.ChunkedArray, where: Row, seed: int) -> list[Row]:
    """Mean overlap of rankings (user_key, `column`, rank) of users who have one on both nights, and of the idle and the active ones."""
    rows = pa.concat_tables([before, tonight])
    known, user = coded(rows["user_key"])
    thing, rank = rows[column], rows["rank"].to_numpy().astype(np.int64)
    other = np.unique(thing.to_numpy(), return_inverse=True)[1] if pa.types.is_integer(thing.type) else coded(thing)[1]
    n, first_night = before.num_rows, np.arange(len(user)) < before.num_rows
    both = (np.bincount(user[:n], minlength=len(known)) > 0) & (np.bincount(user[n:], minlength=len(known)) > 0)
    users = known.filter(pa.array(both))
    if not len(users):
        return []
    place = np.cumsum(both) - 1
    kept = both[user]
    pair, at = np.unique(place[user[kept]] * (int(other.max()) + 1) + other[kept], return_inverse=True)
    first, second = np.zeros((2, len(pair)), np.int64)
    first[at[first_night[kept]]], second[at[~first_night[kept]]] = rank[kept & first_night], rank[kept & ~first_night]
    user = pair // (int(other.max()) + 1)
    overlap: Floats = np.round(rank_biased_overlap(user, first, second), 6)
    active: NDArray[np.bool_] = np.asarray(pc.is_in(users, value_set=pc.unique(came)))
    slices = [("all", "", active | True), ("activity", "idle", ~active), ("activity", "active", active)]
    return compared_in(slices, overlap[:, None], {}, [("rbo", 0)], where, seed)
