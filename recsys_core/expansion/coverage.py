"""Whether users turned to what was proposed to them: future-interest coverage beside popular topics."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.evaluation import compared
from recsys_core.expansion import MAX_PROPOSALS, METHODS
from recsys_core.expansion.state import Floats, Ints, Week
from recsys_core.metrics import hits, ranking_metrics
from recsys_core.topics import MICRO

CUTS = (1, 5, 10)
UNION = "union"


def expansion_metrics(
    shown: pa.Table, found: Week, topic_ids: Sequence[int], model_version: str, ds: dt.date, seed: int
) -> list[dict[str, Any]]:
    """Rows of eval_metric: of the topics that a user touched for the first time in the seven nights up to ds, the share that was proposed.

    shown  user_key, topic_id, method, score, rank: the expansions of the night seven nights before ds
    found  the users then and since; `topic_ids` are its columns
    list_name is the method, or "union": all by the sum of their scores (CombSUM, Fox and Shaw 1994). Users count who had touched anything
    before and have touched something new since, with or without proposals; the mean is over them. The baseline are the topics that most
    users had touched, without those that the user had. Empty when nobody counts.
    """
    users = np.flatnonzero(found.new.any(axis=1) & found.before.touched.any(axis=1))
    if not len(users):
        return []
    baseline = covered(popular(found, users), found.new[users])
    frame = {"ds": ds, "subject": "expansion", "model_version": model_version, "variant": "default", "slice_dim": "all", "slice_value": ""}
    rows = []
    for name, lists in proposed(shown, found.users, topic_ids).items():
        values = covered(lists[users], found.new[users])
        rows += compared(values, baseline, [("future_coverage", k) for k in CUTS], "popularity", frame | {"list_name": name}, seed)
    return rows


def proposed(shown: pa.Table, users: Sequence[str], topic_ids: Sequence[int]) -> Mapping[str, Ints]:
    """By method, and for the union, the columns of the topics proposed to each user, best first, (users, MAX_PROPOSALS), −1 at the end."""
    row, column = (
        pc.index_in(shown["user_key"].cast(pa.string()), pa.array(users, pa.string())),
        pc.index_in(shown["topic_id"], pa.array(topic_ids)),
    )
    kept = pc.and_(row.is_valid(), column.is_valid())
    method = shown["method"].filter(kept).to_numpy(zero_copy_only=False)
    at = [c.filter(kept).to_numpy() for c in (row, column, shown["score"])]
    lists = {m: _ranked(at[0][method == m], at[1][method == m], at[2][method == m], len(users)) for m in METHODS if (method == m).any()}
    return {UNION: _ranked(at[0], at[1], at[2], len(users))} | lists


def _ranked(row: Ints, column: Ints, score: Floats, n_users: int) -> Ints:
    """Columns by the descending sum of their scores, in millionths, ties to the lower one, each once."""
    width = int(column.max(initial=0)) + 1
    pair, at = np.unique(row.astype(np.int64) * width + column, return_inverse=True)
    total = np.bincount(at, np.rint(score * MICRO), len(pair))
    row, column = pair // width, pair % width
    order = np.lexsort((column, -total, row))
    row, column = row[order], column[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    found = np.full((n_users, MAX_PROPOSALS), -1, np.int64)
    inside = place < MAX_PROPOSALS
    found[row[inside], place[inside]] = column[inside]
    return found


def popular(found: Week, users: Ints) -> Ints:
    """The columns of the topics that most users had touched, for each of the users those that they had not, (users, MAX_PROPOSALS)."""
    order = np.lexsort((np.arange(found.new.shape[1]), -found.before.touched.sum(axis=0)))
    open_ = ~found.before.touched[users][:, order]
    row, place = np.nonzero(open_)
    return _ranked(row, order[place], -place.astype(np.float64), len(users))


def covered(lists: Ints, new: np.ndarray) -> Floats:
    """(users, CUTS) share of each user's new topics that are among the first ones of their list.

    >>> covered(np.array([[2, 0, 1, -1, -1, -1]]), np.array([[False, True, False, True]])).tolist()
    [[0.0, 0.5, 0.5]]
    """
    user, topic = np.nonzero(new)
    hit, n_new = hits(lists, user, topic), new.sum(axis=1)
    return np.column_stack([ranking_metrics(hit, n_new, k)["recall"] for k in CUTS])
