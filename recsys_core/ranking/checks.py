"""What is wrong with a night's lists, found again from the tables alone: slots not to be, lists that stop short, empty reasons."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.events import DEFAULT_WEIGHTS, Weights
from recsys_core.explain import TEMPLATES
from recsys_core.ranking.policy import ListRules, consumed, in_region, muted, of_topics
from recsys_core.recommenders.base import Ints
from recsys_core.recommenders.history import History, build, codes, reduced, usual

# Check → whether it stops the night.
CHECKS = {"consumed_in_list": "block", "short_lists": "warn", "reasons_without_evidence": "warn"}
FULL_LIST = "for_you"


@dataclass(frozen=True)
class Site:
    """What decides, beside what users did, which items a list may hold: as for the lists themselves.

    catalogue   all columns of item; tree the table category; topics item_id and topic_id of the items' first topics
    sessions    user_key and region
    muted       (user_key, topic_id); hidden topics are shown to nobody
    """

    catalogue: pa.Table
    tree: pa.Table
    topics: pa.Table
    sessions: pa.Table
    muted: Collection[tuple[str, int]]
    hidden: Collection[int]


def short(lists: pa.Table) -> pa.Table:
    """user_key, variant and n of the for_you lists that are shorter than the longest of the night."""
    full = lists.filter(pc.equal(lists["list_name"], FULL_LIST)).group_by(["user_key", "variant"]).aggregate([([], "count_all")])
    n = full["count_all"]
    return full.rename_columns(["user_key", "variant", "n"]).filter(pc.less(n, pc.max(n)))


def met(lists: pa.Table, users: pa.Array, facts: Iterable[pa.Table], weights: Weights = DEFAULT_WEIGHTS) -> pa.Table:
    """What all nights tell of what was listed: of (user, item) and (user, evidence) pairs of the lists, and everything of `users`.

    `facts` are rows of user_item_day, one night after the other; those that matter are reduced as for recommenders (`history.reduced`).
    """
    keys = pc.unique(lists["user_key"])
    items = pc.unique(pa.chunked_array([*lists["item_id"].chunks, *lists["evidence_item_id"].chunks], pa.string()))
    listed = [_pairs(lists["user_key"], lists[column], keys, items) for column in ("item_id", "evidence_item_id")]
    wanted = np.sort(np.concatenate(listed))

    def matter(rows: pa.Table) -> pa.Table:
        pairs = _pairs(rows["user_key"], rows["item_id"], keys, items)
        order = np.argsort(pairs)  # looked up in order, which is far faster among millions
        at = np.minimum(np.searchsorted(wanted, pairs[order]), max(len(wanted) - 1, 0))
        named = np.zeros(len(pairs), bool)
        named[order] = (wanted[at] == pairs[order]) & (pairs[order] >= 0) if len(wanted) else False
        return rows.filter(pc.or_(pa.array(named), pc.is_in(rows["user_key"], users)))

    return reduced(map(matter, facts), weights)


def observed(lists: pa.Table, rows: pa.Table, site: Site, rules: ListRules, ds: dt.date) -> dict[str, int]:
    """How many slots or lists fail each of CHECKS; `rows` as of `met` with the users of `short`.

    consumed_in_list          the user met the item up to `ds`, and the rules do not let it come back yet
    short_lists               for_you lists shorter than the longest though more could be shown to their users
    reasons_without_evidence  the reason speaks of an item that is missing, or that the user never met
    """
    past = build(rows, [*lists["item_id"].to_pylist(), *site.catalogue["item_id"].to_pylist()], ds)
    taken = consumed(past.interactions, rules.cool_down(site.catalogue, site.tree, past.items)).tocoo()
    out = np.sort(taken.row * np.int64(len(past.items)) + taken.col)
    mine = lists.filter(pc.is_in(lists["user_key"], past.users))
    slots = _pairs(mine["user_key"], mine["item_id"], past.users, past.items)
    about = lists.filter(pc.is_in(lists["reason_code"], pa.array([c for c, t in TEMPLATES.items() if t.about == "item"])))
    evidence = _pairs(about["user_key"], about["evidence_item_id"], past.users, past.items)
    known = np.unique(past.interactions.user * len(past.items) + past.interactions.item)
    return {
        "consumed_in_list": int(np.isin(slots, out).sum()),
        "short_lists": _stopping_short(short(lists), out, past, site, rules, ds),
        "reasons_without_evidence": int((~np.isin(evidence, known)).sum()),
    }


def _stopping_short(found: pa.Table, out: Ints, past: History, site: Site, rules: ListRules, ds: dt.date) -> int:
    """How many of the lists `found` are shorter than what may be shown; `out` are the (user, item) pairs that are consumed, ascending."""
    if not found.num_rows:
        return 0
    keys, items = found["user_key"].combine_chunks(), past.items
    eligible = rules.eligible(site.catalogue, site.tree, items, ds)
    eligible[of_topics(site.topics, items, site.hidden)] = False
    regions, region = usual(site.sessions, "region", keys)
    shown = in_region(site.catalogue, items, regions)
    kept = muted(site.muted, keys, items, site.topics)
    code, n, more = past.user_codes(keys), found["n"].to_numpy(), 0
    for row in range(len(keys)):
        may = eligible & shown[region[row]]
        may[kept.indices[kept.indptr[row] : kept.indptr[row + 1]]] = False
        if code[row] >= 0:
            begin, end = np.searchsorted(out, np.array([code[row], code[row] + 1]) * len(items))
            may[out[begin:end] % len(items)] = False
        more += int(may.sum() > n[row])
    return more


def _pairs(users: pa.ChunkedArray, items: pa.ChunkedArray, known_users: pa.Array, known_items: pa.Array) -> Ints:
    """One number for each (user, item), −1 where either is unknown."""
    user, item = codes(users, known_users), codes(items, known_items)
    return np.where((user >= 0) & (item >= 0), user * len(known_items) + item, -1)
