"""Rows of eval_metric from values per user: means beside baselines, paired differences and gaps between slices, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_core.metrics import interval, resampled
from recsys_core.recommenders.base import Floats, Ints
from recsys_core.recommenders.history import coded

CUTS = (5, 10, 20)
# Slices with fewer users are no part of a gap: the best and the worst of many small ones differ by chance.
MIN_GAP_USERS = 30
# Of a dimension with more values, the most frequent ones; the rest together are OTHER.
MAX_VALUES = 20
OTHER, UNKNOWN = "other", "unknown"
# Dimensions that a site tells of its users; a value that fewer share goes with the others, since it might name somebody.
ATTRIBUTE, MIN_SHARED = "attribute:", 30
Row = dict[str, Any]
Name = tuple[str, int]  # metric, k
# (slice_dim, slice_value, mask of users)
Slice = tuple[str, str, NDArray[np.bool_]]


def compared(values: Floats, baseline: Floats, names: Sequence[Name], against: str, where: Row, seed: int) -> list[Row]:
    """One row a metric: its mean, the baseline's, and their paired difference, each over the same users.

    values, baseline  (users, metrics); NaN = the user does not count, in both
    """
    sliced = [(where["slice_dim"], where["slice_value"], np.ones(len(values), bool))]
    return compared_in(sliced, values, {against: baseline}, names, where, seed)


def compared_in(
    slices: Sequence[Slice],
    values: Floats,
    baselines: Mapping[str, Floats],
    names: Sequence[Name],
    where: Row,
    seed: int,
    slice_cut: int | None = None,
    gaps: Sequence[str] = (),
) -> list[Row]:
    """The same for each slice that counts anybody and each baseline; without one the rows stand alone, `baseline` being ''.

    slice_cut  slices of a dimension other than 'all' have the metrics of this k alone; None = all of them
    gaps       metrics at slice_cut of which each dimension gets a row `<metric>_gap` beside the first baseline, see `_gaps`
    """
    m = len(names)
    stacked = np.hstack([values, *baselines.values()])
    slices = [s for s in slices if s[2].any()]
    at_cut = np.array([slice_cut in (None, k) for _, k in names])
    told = [at_cut | (dim == "all") for dim, _, _ in slices]
    columns = [np.flatnonzero(np.tile(mine, len(baselines) + 1)) for mine in told]
    draws = resampled(stacked, seed, [mask for _, _, mask in slices], columns).reshape(-1, len(slices), len(baselines) + 1, m)
    own, theirs = interval(draws[:, :, 0]), interval(draws[:, :, :1] - draws[:, :, 1:])
    rows: list[Row] = []
    means = np.empty((len(slices), len(baselines) + 1, m))
    for s, (dim, value, mask) in enumerate(slices):
        n = (~np.isnan(stacked[mask])).sum(axis=0).reshape(-1, m)
        means[s] = (np.nansum(stacked[mask], axis=0) / np.maximum(n.ravel(), 1)).reshape(-1, m)
        for i, (metric, k) in enumerate(names):
            if not (n[0, i] and told[s][i]):
                continue
            row = where | {"slice_dim": dim, "slice_value": value, "metric": metric, "k": k, "n": int(n[0, i])}
            row |= {"value": rounded(means[s, 0, i]), "ci_low": rounded(own[0, s, i]), "ci_high": rounded(own[1, s, i])}
            for b, against in enumerate(baselines):
                diff = {"diff_ci_low": rounded(theirs[0, s, b, i]), "diff_ci_high": rounded(theirs[1, s, b, i])}
                diff |= {"diff": rounded(means[s, 0, i] - means[s, b + 1, i]), "baseline_value": rounded(means[s, b + 1, i])}
                rows.append(row | {"baseline": against} | diff)
            if not baselines:
                rows.append(row | {"baseline": ""})
    wanted = [i for i, (metric, k) in enumerate(names) if metric in gaps and k == slice_cut]
    where = where | {"baseline": next(iter(baselines), "")}
    return rows + _gaps(slices, means[:, :2, wanted], draws[:, :, :2, wanted], [names[i] for i in wanted], where)


def _gaps(slices: Sequence[Slice], means: Floats, draws: Floats, names: Sequence[Name], where: Row) -> list[Row]:
    """One row a metric and dimension: the mean of the best slice less that of the worst one.

    means (slices, 2, metrics) are the lists' and the baseline's, draws (resamples, slices, 2, metrics) the same in each resample.
    Slices of MIN_GAP_USERS users and more count. The interval is that of the difference of these two slices as they were found, so it can
    hold 0. The baseline's value is its own difference between the same two. n are the users of all slices that count.
    """
    rows: list[Row] = []
    for dim in dict.fromkeys(d for d, _, _ in slices if d != "all"):
        at = np.array([s for s, (d, _, mask) in enumerate(slices) if d == dim and mask.sum() >= MIN_GAP_USERS], np.int64)
        if len(at) < 2:
            continue
        best, worst = at[means[at, 0].argmax(axis=0)], at[means[at, 0].argmin(axis=0)]
        n = int(np.any([slices[s][2] for s in at], axis=0).sum())
        for i, (metric, k) in enumerate(names):
            gap, gap_then = means[best[i], :, i] - means[worst[i], :, i]
            own, theirs = (draws[:, best[i], c, i] - draws[:, worst[i], c, i] for c in (0, 1))
            (low, high), (diff_low, diff_high) = interval(own), interval(own - theirs)
            row = where | {"slice_dim": dim, "slice_value": "", "metric": f"{metric}_gap", "k": k, "n": n, "value": rounded(gap)}
            row |= {"ci_low": rounded(low), "ci_high": rounded(high), "baseline_value": rounded(gap_then)}
            rows.append(row | {"diff": rounded(gap - gap_then), "diff_ci_low": rounded(diff_low), "diff_ci_high": rounded(diff_high)})
    return rows


def sliced(users: Ints, dims: Mapping[str, tuple[Sequence[str], Ints]]) -> list[Slice]:
    """Slices of `users` that hold anybody, by dimension → (its values, code of each of all users into them, −1 = unknown)."""
    found: list[Slice] = []
    for dim, (values, code) in dims.items():
        own = code[users]
        counts = np.bincount(own[own >= 0], minlength=len(values))
        kept = np.lexsort((np.arange(len(values)), -counts))[:MAX_VALUES]
        kept = kept[counts[kept] >= (MIN_SHARED if dim.startswith(ATTRIBUTE) else 1)]
        found += [(dim, values[i], own == i) for i in np.sort(kept)]
        found += [(dim, OTHER, (own >= 0) & ~np.isin(own, kept)), (dim, UNKNOWN, own < 0)]
    return [s for s in found if s[2].any()]


def grouped(rows: pa.Table, by: Sequence[str]) -> list[tuple[dict[str, str], Ints]]:
    """(values of the columns `by`, places of the rows that have them), by these values."""
    found, key = [coded(rows[column]) for column in by], np.zeros(rows.num_rows, np.int64)
    for known, code in found:
        key = key * max(len(known), 1) + code
    order = np.argsort(key, kind="stable")
    places = np.split(order, np.flatnonzero(np.diff(key[order])) + 1) if len(key) else []
    return [({c: known[int(code[at[0]])].as_py() for c, (known, code) in zip(by, found, strict=True)}, at) for at in places]


def rounded(value: float) -> float:
    """A number as it is written."""
    return round(float(value), 6)
