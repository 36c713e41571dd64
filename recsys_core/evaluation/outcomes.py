"""What users did with the slots of earlier lists: rows of topn_outcome, and what they tell about satisfaction."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.evaluation.rows import Row, compared_in
from recsys_core.events import EVENT_TYPES
from recsys_core.lists import UNKNOWN_USER
from recsys_core.recommenders.base import Floats
from recsys_core.recommenders.history import coded, pairs
from recsys_core.tables import TABLES

# Nights after a list in which what happens is its outcome.
NIGHTS = 7
BY = ["model_version", "list_name", "variant"]
# What speaks against an item, and so is no consumption of it.
AGAINST = tuple(t.name for t in EVENT_TYPES.values() if t.polarity < 0)
# Of them, what asks to be spared the item.
UNWANTED = ("hide", "dislike")
PROXIES = ("slot_hit_rate", "positive_share", "hide_rate", "return")


def outcomes(shown: pa.Table, tonight: pa.Table, ds: dt.date) -> pa.Table:
    """Rows of topn_outcome: for each slot of earlier lists that its user met on ds, the events by type.

    shown    user_topn rows; those of the NIGHTS nights before ds count, for who is known
    tonight  user_item_day of ds
    """
    schema = TABLES["topn_outcome"].arrow_schema()
    begin, end = (pa.scalar(d, pa.date32()) for d in (ds - dt.timedelta(days=NIGHTS), ds))
    users, items = (pc.unique(tonight[column]) for column in ("user_key", "item_id"))
    met = pairs(tonight["user_key"], tonight["item_id"], users, items)
    order = np.argsort(met)
    listed = pairs(shown["user_key"], shown["item_id"], users, items)
    slot = np.flatnonzero((listed >= 0) & np.asarray(pc.and_(pc.greater_equal(shown["ds"], begin), pc.less(shown["ds"], end))))
    at = np.minimum(np.searchsorted(met[order], listed[slot]), max(len(met) - 1, 0))
    same = met[order[at]] == listed[slot]
    slot, row = slot[same], order[at[same]]
    counts = np.column_stack([tonight[f"n_{name}"].to_numpy()[row] for name in sorted(EVENT_TYPES)])
    place, event_type = np.nonzero(counts > 0)
    slots = shown.take(pa.array(slot[place])).rename_columns(["list_ds" if c == "ds" else c for c in shown.column_names])
    keys = [
        slots["list_ds"].cast(pa.int32()),
        *(coded(slots[c])[1] for c in ("user_key", "list_name", "variant")),
        slots["rank"],
        event_type,
    ]
    rows = np.lexsort([np.asarray(key) for key in reversed(keys)])
    told = {"ds": pa.repeat(pa.scalar(ds, pa.date32()), len(rows)), "n_events": counts[place, event_type][rows]}
    told["event_type"] = pa.array(sorted(EVENT_TYPES)).take(pa.array(event_type[rows]))
    ordered = slots.take(pa.array(rows))
    return pa.table({c: told[c] if c in told else ordered[c] for c in schema.names}).cast(schema)


class Proxies(NamedTuple):
    """Values (users, PROXIES) of satisfaction, by user key, sorted; a user without such a slot has NaN."""

    users: pa.Array
    values: Floats


def proxies(slots: pa.Table, after: pa.Table, weights: Mapping[str, float]) -> Proxies:
    """What the users of one list did in the nights after it.

    slots    user_key, item_id of one list, one row a slot
    after    user_item_day of those nights
    weights  event type → its weight

    slot_hit_rate   share of the slots whose item the user met, other than to dislike, hide or return it
    positive_share  share of the slots whose item the user met with a net weight above 0
    hide_rate       share of the slots whose item the user hid or disliked
    return          1 for a user who came back at all, whatever for

    They stand in for satisfaction, which nobody asked about.
    """
    counts = {name: after[f"n_{name}"].to_numpy() for name in weights}
    liking = np.sum([weight * counts[name] for name, weight in weights.items()], axis=0)
    met = np.sum([counts[name] for name in EVENT_TYPES if name not in AGAINST], axis=0)
    unwanted = np.sum([counts[name] for name in UNWANTED], axis=0)
    keys = ["user_key", "item_id"]
    done = pa.table({"user_key": after["user_key"], "item_id": after["item_id"], "met": met, "liking": liking, "unwanted": unwanted})
    done = done.group_by(keys).aggregate([("met", "sum"), ("liking", "sum"), ("unwanted", "sum")])
    joined = slots.select(keys).join(done, keys, join_type="left outer")
    users = pc.unique(slots["user_key"])
    users = users.take(pc.sort_indices(users))
    user = np.asarray(pc.index_in(joined["user_key"], value_set=users)).astype(np.int64)
    happened = [pc.fill_null(joined[f"{c}_sum"], 0).to_numpy().round(6) > 0 for c in ("met", "liking", "unwanted")]
    shares = [np.bincount(user, h, len(users)) / np.bincount(user, minlength=len(users)) for h in happened]
    back = np.asarray(pc.is_in(users, value_set=pc.unique(after["user_key"]))).astype(np.float64)
    return Proxies(users, np.column_stack([*shares, back]))


def proxy_metrics(shown: pa.Table, after: pa.Table, weights: Mapping[str, float], where: Row, seed: int) -> list[Row]:
    """Rows of eval_metric, `proxy_<name>_7d`, of the lists of one night by what happened in the seven nights after, see `proxies`.

    Beside all slots, those given to exploration and the others stand apart where there are any: what exploring yields and costs.
    There is no baseline: nobody was shown one.
    """
    personal = shown.filter(pc.not_equal(shown["user_key"], UNKNOWN_USER))
    rows: list[Row] = []
    for key in sorted(personal.select(BY).group_by(BY).aggregate([]).to_pylist(), key=lambda k: [k[c] for c in BY]):
        mine = personal
        for column, value in key.items():
            mine = mine.filter(pc.equal(mine[column], value))
        of_all = ("all", "", mine, PROXIES)
        kinds = [("exploration", name, mine.filter(pc.equal(mine["exploration"], yes)), PROXIES[:3]) for name, yes in _EXPLORED]
        for dim, value, slots, names in (of_all, *(kinds if all(k[2].num_rows for k in kinds) else ())):
            found = proxies(slots, after, weights).values[:, : len(names)]
            everyone = np.ones(len(found), bool)
            named = [(f"proxy_{name}_7d", 0) for name in names]
            rows += compared_in([(dim, value, everyone)], found, {}, named, where | {"subject": "recommender"} | key, seed)
    return rows


_EXPLORED = (("yes", True), ("no", False))
