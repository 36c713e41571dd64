"""What is wrong with a night's lists, found again from the tables alone: slots not to be, lists that stop short, empty reasons."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_core.events import DEFAULT_WEIGHTS, Weights
from recsys_core.explain import TEMPLATES
from recsys_core.ranking.policy import ListRules, consumed, in_region, muted, of_topics
from recsys_core.recommenders.base import Ints
from recsys_core.recommenders.history import History, build, coded, codes, pairs, reduce_night, usual

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
    (users, user), (variants, variant) = (coded(lists[column]) for column in ("user_key", "variant"))
    full = codes(lists["list_name"], pa.array([FULL_LIST])) == 0
    n = np.bincount(user[full] * len(variants) + variant[full])
    found = np.flatnonzero((n > 0) & (n < n.max(initial=0)))
    whose, how = divmod(found, max(len(variants), 1))
    return pa.table({"user_key": users.take(pa.array(whose)), "variant": variants.take(pa.array(how)), "n": n[found]})


def met(lists: pa.Table, users: pa.Array, facts: Iterable[pa.Table], weights: Weights = DEFAULT_WEIGHTS) -> pa.Table:
    """What all nights tell of what was listed, see `told`; `facts` are rows of user_item_day, one night after the other."""
    return told(lists, users, (reduce_night(rows, weights) for rows in facts))


def told(lists: pa.Table, users: pa.Array, nights: Iterable[pa.Table]) -> pa.Table:
    """Of nights as of `history.reduce_night` the rows of (user, item) and (user, evidence) pairs of the lists, and all rows of `users`."""
    keys = coded(lists["user_key"])[0]
    items = coded(pa.chunked_array([*lists["item_id"].chunks, *lists["evidence_item_id"].chunks], lists["item_id"].type))[0]
    listed = np.concatenate([pairs(lists["user_key"], lists[column], keys, items) for column in ("item_id", "evidence_item_id")])
    # Most rows matter to no list: they are told by a bit, of which some pairs have the same, before the pairs are looked up.
    wanted, marked = np.sort(listed[listed >= 0]), np.zeros(_BITS, bool)
    marked[wanted % _BITS] = True

    def matter(rows: pa.Table) -> pa.Table:
        pair = pairs(rows["user_key"], rows["item_id"], keys, items)
        may = np.flatnonzero((pair >= 0) & marked[pair % _BITS])
        may = may[np.argsort(pair[may])]  # looked up in order, which is far faster among millions
        at = np.minimum(np.searchsorted(wanted, pair[may]), max(len(wanted) - 1, 0))
        kept = codes(rows["user_key"], users) >= 0
        kept[may[wanted[at] == pair[may]]] = True
        return rows.filter(pa.array(kept))

    return pa.concat_tables(map(matter, nights))


_BITS = 1 << 24


def observed(lists: pa.Table, rows: pa.Table, site: Site, rules: ListRules, ds: dt.date) -> dict[str, int]:
    """How many slots or lists fail each of CHECKS; `rows` as of `met` with the users of `short`.

    consumed_in_list          the user met the item up to `ds`, and the rules do not let it come back yet
    short_lists               for_you lists shorter than the longest though more could be shown to their users
    reasons_without_evidence  the reason speaks of an item that is missing, or that the user never met
    """
    past = build(rows, [*coded(lists["item_id"])[0].to_pylist(), *site.catalogue["item_id"].to_pylist()], ds)
    taken = consumed(past.interactions, rules.cool_down(site.catalogue, site.tree, past.items)).tocoo()
    out = np.sort(taken.row * np.int64(len(past.items)) + taken.col)
    slots = pairs(lists["user_key"], lists["item_id"], past.users, past.items)
    about = lists.filter(pa.array(codes(lists["reason_code"], pa.array([c for c, t in TEMPLATES.items() if t.about == "item"])) >= 0))
    evidence = pairs(about["user_key"], about["evidence_item_id"], past.users, past.items)
    known = np.sort(past.interactions.user * len(past.items) + past.interactions.item)
    return {
        "consumed_in_list": int(_among(slots, out).sum()),
        "short_lists": _stopping_short(short(lists), out, past, site, rules, ds),
        "reasons_without_evidence": int((~_among(evidence, known)).sum()),
    }


def _among(values: Ints, ascending: Ints) -> NDArray[np.bool_]:
    at = np.minimum(np.searchsorted(ascending, values), max(len(ascending) - 1, 0))
    return ascending[at] == values if len(ascending) else np.zeros(len(values), bool)


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
