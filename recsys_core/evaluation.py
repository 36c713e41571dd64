"""What became of earlier lists and interests: rows of eval_metric and topn_outcome, beside a baseline, with intervals."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_core.events import EVENT_TYPES
from recsys_core.lists import UNKNOWN_USER
from recsys_core.metrics import bootstrap, coverage, hits, novelty, rank_biased_overlap, ranking_metrics
from recsys_core.rank import ranked
from recsys_core.recommenders.base import Floats, Ints
from recsys_core.recommenders.history import History, codes, usual
from recsys_core.recommenders.popularity import Popularity
from recsys_core.tables import TABLES

CUTS = (5, 10, 20)
# Events before tonight up to which a user counts as light, and as medium.
LIGHT, MEDIUM = 5, 30
TOP_TOPICS = 3


def list_metrics(
    past: History,
    catalogue: pa.Table,
    shown: pa.Table,
    list_ds: dt.date,
    sessions: pa.Table,
    ds: dt.date,
    popularity_nights: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Rows of eval_metric for the lists `shown` of night `list_ds` against night `ds`, by list and variant.

    Relevant is what a listed user turned to positively on ds (net weight > 0), never met before ds, and finds in the catalogue (item_id,
    deleted). The whole catalogue is ranked, nothing is sampled. Users without a relevant item do not count; the mean is over users. The
    baseline, for the same users with the same seen filter, is windowed popularity by language as of list_ds. Empty when nobody counts.
    """
    history = past.interactions
    languages, group = usual(sessions, "lang", past.users)
    eligible = np.zeros(history.n_items, bool)
    eligible[past.item_codes(catalogue.filter(pc.invert(catalogue.column("deleted"))).column("item_id"))] = True
    relevant_user, relevant_item = relevant(past, eligible)
    gap = (ds - list_ds).days
    known = history.take(history.age >= gap)
    known = replace(known, age=known.age - gap, group=group)
    popularity = Popularity(window=popularity_nights).fit(known)
    met = np.diff(known.seen().tocsc().indptr)
    n_known = len(np.unique(known.user))
    before = np.bincount(history.user, past.n_events * (history.age > 0), minlength=history.n_users)
    personal = shown.filter(pc.not_equal(shown.column("user_key"), UNKNOWN_USER))
    rows: list[dict[str, Any]] = []
    blends = ["model_version", "list_name", "variant"]
    for version, list_name, variant in sorted(
        {tuple(r.values()) for r in personal.select(blends).group_by(blends).aggregate([]).to_pylist()}
    ):
        mask = pc.and_(pc.equal(personal.column("list_name"), list_name), pc.equal(personal.column("variant"), variant))
        mine = personal.filter(pc.and_(mask, pc.equal(personal.column("model_version"), version)))
        user = past.user_codes(mine.column("user_key"))
        users = np.intersect1d(user, relevant_user)
        if not len(users):
            continue
        width = max(CUTS)
        lists = np.full((len(users), width), -1, np.int64)
        place = mine.column("rank").to_numpy().astype(np.int64) - 1
        inside = np.isin(user, users) & (place < width)
        lists[np.searchsorted(users, user[inside]), place[inside]] = past.item_codes(mine.column("item_id"))[inside]
        counted = np.isin(relevant_user, users)
        row, item = np.searchsorted(users, relevant_user[counted]), relevant_item[counted]
        baseline = ranked(popularity, known, users, eligible, width)
        values = [_per_user(x, row, item, met, n_known) for x in (lists, baseline)]
        activity = np.select([before[users] <= LIGHT, before[users] <= MEDIUM], [0, 1], 2)
        slices: list[tuple[str, str, NDArray[np.bool_]]] = [("all", "", np.ones(len(users), bool))]
        slices += [("lang", lang, group[users] == i) for i, lang in enumerate(languages)]
        slices += [("lang", "unknown", group[users] == -1)]
        slices += [("activity", name, activity == i) for i, name in enumerate(("light", "medium", "heavy"))]
        frame = {"ds": ds, "subject": "recommender", "model_version": version, "list_name": list_name, "variant": variant}
        for dim, value, chosen in slices:
            if not chosen.any():
                continue
            where = frame | {"slice_dim": dim, "slice_value": value}
            rows += compared(values[0][1][chosen], values[1][1][chosen], values[0][0], "popularity", where, seed)
            for k in CUTS:
                shares = [coverage(x[chosen], eligible, k) for x in (lists, baseline)]
                rows.append(
                    where
                    | {"metric": "coverage", "k": k, "baseline": "popularity", "n": int(chosen.sum())}
                    | {"value": _r(shares[0]), "baseline_value": _r(shares[1]), "diff": _r(shares[0] - shares[1])}
                )
    return rows


def relevant(past: History, eligible: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """(user, item) pairs of tonight (age 0) with a positive net weight, never met on an earlier night, eligible; sorted."""
    history = past.interactions
    pair = history.user * history.n_items + history.item
    tonight = (history.age == 0) & (history.weight > 0) & eligible[history.item]
    fresh = np.setdiff1d(pair[tonight], pair[history.age > 0])
    return fresh // max(history.n_items, 1), fresh % max(history.n_items, 1)


def _per_user(lists: Ints, row: Ints, item: Ints, met: Ints, n_known: int) -> tuple[list[tuple[str, int]], Floats]:
    """Names (metric, k) and values (users × names) of all metrics that are means over users."""
    hit, n_relevant = hits(lists, row, item), np.bincount(row, minlength=len(lists))
    named: dict[tuple[str, int], Floats] = {}
    for k in CUTS:
        named |= {(name, k): v for name, v in ranking_metrics(hit, n_relevant, k).items()}
        named[("novelty", k)] = novelty(lists, met, n_known, k)
    return list(named), np.column_stack(list(named.values()))


def compared(
    values: Floats, baseline: Floats, names: list[tuple[str, int]], against: str, where: dict[str, Any], seed: int
) -> list[dict[str, Any]]:
    """One row a metric: its mean, the baseline's, and their paired difference, each over the same users."""
    m = len(names)
    found = bootstrap(np.hstack([values, baseline, values - baseline]), seed)
    return [
        where
        | {"metric": name, "k": k, "baseline": against, "n": len(values), "value": _r(found[i].value)}
        | {"ci_low": _r(found[i].low), "ci_high": _r(found[i].high), "baseline_value": _r(found[m + i].value)}
        | {"diff": _r(found[2 * m + i].value), "diff_ci_low": _r(found[2 * m + i].low), "diff_ci_high": _r(found[2 * m + i].high)}
        for i, (name, k) in enumerate(names)
    ]


def interest_metrics(interests: pa.Table, tonight: pa.Table, model_version: str, ds: dt.date, seed: int) -> list[dict[str, Any]]:
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


def stability_metrics(
    before: pa.Table, tonight: pa.Table, came: pa.ChunkedArray, model_version: str, ds: dt.date, seed: int
) -> list[dict[str, Any]]:
    """Rows of eval_metric: how alike a user's 90-day rankings of topics of the night before and of tonight are (rank-biased overlap).

    before, tonight  user_key, topic_id, horizon, rank, model_version of both nights
    came             keys of users with events on ds; the others, `idle`, keep their ranking: 1
    Users with interests on one of the nights only do not count. There is no baseline: 1 is what nothing that happened gives.
    """
    ranks = []
    for rows in (before, tonight):
        mask = pc.and_(pc.equal(rows.column("horizon"), "90d"), pc.equal(rows.column("model_version"), model_version))
        ranks.append(rows.filter(mask).select(["user_key", "topic_id", "rank"]))
    users = pc.unique(ranks[0].column("user_key"))
    users = users.filter(pc.is_in(users, value_set=pc.unique(ranks[1].column("user_key"))))
    users = users.take(pc.sort_indices(users))
    if not len(users):
        return []
    joined = ranks[0].join(ranks[1], ["user_key", "topic_id"], join_type="full outer", right_suffix="_now")
    user = codes(joined.column("user_key"), users)
    first, second = (pc.fill_null(joined.column(c), 0).to_numpy().astype(np.int64)[user >= 0] for c in ("rank", "rank_now"))
    overlap = np.round(rank_biased_overlap(user[user >= 0], first, second), 6)
    active = np.asarray(pc.is_in(users, value_set=pc.unique(came)))
    frame = {"ds": ds, "subject": "profile", "model_version": model_version, "list_name": "", "variant": "default", "baseline": ""}
    found = []
    for dim, value, chosen in (("all", "", active | True), ("activity", "idle", ~active), ("activity", "active", active)):
        if chosen.any():
            (e,) = bootstrap(overlap[chosen][:, None], seed)
            row = frame | {"slice_dim": dim, "slice_value": value, "metric": "rbo", "k": 0, "n": int(chosen.sum())}
            found.append(row | {"value": _r(e.value), "ci_low": _r(e.low), "ci_high": _r(e.high)})
    return found


def outcomes(shown: pa.Table, tonight: pa.Table, ds: dt.date) -> pa.Table:
    """Rows of topn_outcome: for each slot of earlier lists that its user met on ds, the events by type.

    shown    user_topn rows; those of ds itself, and those for unknown users, have no outcome yet, or none at all
    tonight  user_item_day of ds
    """
    empty = TABLES["topn_outcome"].arrow_schema().empty_table()
    slots = shown.filter(
        pc.and_(pc.less(shown.column("ds"), pa.scalar(ds, pa.date32())), pc.not_equal(shown.column("user_key"), UNKNOWN_USER))
    )
    slots = slots.rename_columns(["list_ds" if c == "ds" else c for c in slots.column_names])
    kept = ["list_ds", "user_key", "list_name", "variant", "rank", "item_id", "source", "exploration"]
    joined = slots.select(kept).join(tonight.drop_columns(["ds"]), ["user_key", "item_id"], join_type="inner")
    parts = [empty]
    for event_type in EVENT_TYPES:
        happened = joined.filter(pc.greater(joined.column(f"n_{event_type}"), 0))
        columns = {c: happened.column(c) for c in kept} | {"n_events": happened.column(f"n_{event_type}")}
        columns |= {"ds": pa.repeat(pa.scalar(ds, pa.date32()), happened.num_rows), "event_type": pa.repeat(event_type, happened.num_rows)}
        parts.append(pa.table(columns).select(empty.column_names).cast(empty.schema))
    keys = ("list_ds", "user_key", "list_name", "variant", "rank", "event_type")
    return pa.concat_tables(parts).sort_by([(c, "ascending") for c in keys])


def _r(value: float) -> float:
    return round(value, 6)
