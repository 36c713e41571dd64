"""Arms of an experiment side by side: rows of experiment_metric."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import chdtrc

from recsys_core.evaluation.outcomes import PROXIES, proxies
from recsys_core.evaluation.relevance import Cut
from recsys_core.evaluation.rows import Row, rounded
from recsys_core.experiments import Experiment
from recsys_core.metrics import hits, interval, ranking_metrics, resampled
from recsys_core.recommenders.base import Floats
from recsys_core.recommenders.history import History, codes

# The list whose arms are compared, and the cut-off.
LIST, K = "for_you", 10
# Of users who are dealt as declared, one check in a thousand is below this.
SUSPICIOUS_P = 1e-3


class Measured(NamedTuple):
    """Values (users, metrics) of users by key; NaN = the user does not count."""

    users: pa.Array
    names: tuple[str, ...]
    values: Floats


def next_night(cut: Cut, past: History, shown: pa.Table) -> Measured:
    """hit_rate_10 and ndcg_10 of the users of `shown`, the list of one night; who turned to nothing relevant does not count."""
    users = pc.unique(shown["user_key"]).sort()
    lists = np.full((len(users), K), -1, np.int64)
    place = shown["rank"].to_numpy().astype(np.int64) - 1
    lists[codes(shown["user_key"], users)[place < K], place[place < K]] = past.item_codes(shown["item_id"])[place < K]
    code = np.full(cut.known.n_users, -1, np.int64)
    at = past.user_codes(users)
    code[at[at >= 0]] = np.flatnonzero(at >= 0)
    listed = code[cut.user] >= 0
    row, item = code[cut.user[listed]], cut.item[listed]
    n = np.bincount(row, minlength=len(users))
    found = ranking_metrics(hits(lists, row, item), np.maximum(n, 1), K)
    values = np.where(n[:, None] > 0, np.column_stack([found["hit_rate"], found["ndcg"]]), np.nan)
    return Measured(users, (f"hit_rate_{K}", f"ndcg_{K}"), values)


def seven_nights(shown: pa.Table, after: pa.Table, weights: Mapping[str, float]) -> Measured:
    """The proxies of satisfaction of the users of `shown`, the list of one night, over the seven nights after it."""
    return Measured(*_named(*proxies(shown, after, weights)))


def _named(users: pa.Array, values: Floats) -> tuple[pa.Array, tuple[str, ...], Floats]:
    return users, tuple(f"{name}_7d" for name in PROXIES), values


def experiment_rows(experiment: Experiment, shown: pa.Table, measured: list[Measured], ds: dt.date, seed: int) -> list[Row]:
    """Rows of experiment_metric: of each arm the mean of each metric, and `<metric>_diff`, by how much it is above the first arm's.

    shown     user_key, variant: whose lists were made by which arm, one row a user or more
    measured  see `next_night` and `seven_nights`

    Intervals draw users, of all arms together. `n` are the users that count; sample_ratio_p says how probable it is that shares as the
    experiment declares them deal so many users to each arm, or less evenly (chi-square): below SUSPICIOUS_P something else than the hash
    decides who is in an arm, and no other figure is to be trusted. The row `users` counts them.
    """
    names = [arm.name for arm in experiment.arms]
    pairs = shown.select(["user_key", "variant"]).group_by(["user_key", "variant"]).aggregate([])
    pairs = pairs.filter(pc.is_in(pairs["variant"], pa.array(names))).sort_by("user_key")
    if not pairs.num_rows:
        return []
    users, arm = pairs["user_key"].combine_chunks(), codes(pairs["variant"], pa.array(names))
    counts = np.bincount(arm, minlength=len(names))
    p = rounded(sample_ratio_p(experiment, counts))
    frame: Row = {"ds": ds, "experiment": experiment.name, "sample_ratio_p": p}
    rows: list[Row] = [
        frame | {"variant": n, "metric": "users", "value": float(c), "n": int(c)} for n, c in zip(names, counts, strict=True)
    ]
    if not measured:
        return rows
    metrics = [name for m in measured for name in m.names]
    values = np.hstack([_of(m, users) for m in measured])
    groups = [arm == a for a in range(len(names))]
    draws = resampled(values, seed, groups)
    for a, mask in enumerate(groups):
        for i, metric in enumerate(metrics):
            own, first = (values[g, i][~np.isnan(values[g, i])] for g in (mask, groups[0]))
            if not len(own):
                continue
            low, high = interval(draws[:, a, i])
            row = frame | {"variant": names[a], "n": len(own)}
            rows.append(row | {"metric": metric, "value": rounded(own.mean()), "ci_low": rounded(low), "ci_high": rounded(high)})
            if a and len(first):
                low, high = interval(draws[:, a, i] - draws[:, 0, i])
                diff = {"value": rounded(own.mean() - first.mean()), "ci_low": rounded(low), "ci_high": rounded(high)}
                rows.append(row | {"metric": f"{metric}_diff"} | diff)
    return rows


def sample_ratio_p(experiment: Experiment, counts: np.ndarray) -> float:
    """p value of so many users by arm under the declared shares; 1 for nobody."""
    if not counts.sum():
        return 1.0
    shares = np.array([arm.share for arm in experiment.arms])
    expected = shares / shares.sum() * counts.sum()
    return float(chdtrc(len(counts) - 1, ((counts - expected) ** 2 / expected).sum()))  # the package scipy.stats takes a second to load


def _of(measured: Measured, users: pa.Array) -> Floats:
    at = codes(users, measured.users)
    return np.where(at[:, None] >= 0, measured.values[at], np.nan)
