"""Earlier lists against what their users turned to: how right, how fresh, how varied, how fair, beside three baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from scipy import sparse

from recsys_core.evaluation.baselines import POPULARITY, baseline_lists
from recsys_core.evaluation.relevance import Cut
from recsys_core.evaluation.rows import CUTS, Name, Row, compared_in, grouped, rounded, sliced
from recsys_core.metrics import calibration_kl, coverage, diversity, gini, hits, mean_popularity, novelty, ranking_metrics, serendipity
from recsys_core.ranking.top_n import BLOCK
from recsys_core.recommenders.base import Floats, Ints, profiles
from recsys_core.recommenders.content import unit
from recsys_core.recommenders.history import History

# Slices are compared, and what goes beyond accuracy is measured, at one cut-off.
SLICE_CUT = 10
GAPS = ("recall", "ndcg", "hit_rate")
BY = ("model_version", "list_name", "variant")
Dims = Mapping[str, tuple[Sequence[str], Ints]]


class _Lists(NamedTuple):
    """Lists of the users who have relevant items, and their values."""

    lists: Ints
    names: list[Name]
    values: Floats


def list_metrics(
    cut: Cut, past: History, shown: pa.Table, where: Row, dims: Dims, popularity_nights: int, seed: int, horizon: str = ""
) -> list[Row]:
    """Rows of eval_metric for the lists `shown` of one night against what came after it, by list, variant and version, and by baseline.

    shown    user_topn rows of the night of the cut: user_key, list_name, variant, rank, item_id, model_version
    where    what all rows have in common: ds
    dims     slices, see `sliced`
    horizon  '' for the next night; else a suffix of the metrics' names, and only everyone's accuracy is measured

    All eligible items are ranked, nothing is sampled. Users without a relevant item do not count; the mean is over users. The baselines
    know what the lists knew and keep to the same rules. Coverage, exposure and popularity lift belong to all lists of a slice together and
    have no interval. Empty when nobody counts.
    """
    user = past.user_codes(shown["user_key"])
    relevant = np.append(np.bincount(cut.user, minlength=len(past.users)) > 0, False)  # the last place is that of −1
    listed = np.flatnonzero(np.bincount(user[relevant[user]], minlength=len(past.users)))
    if not len(listed):
        return []
    made = baseline_lists(cut, listed, popularity_nights, max(CUTS))
    context = _Context(cut, listed, made[POPULARITY], full=not horizon)
    baselines = {name: context.judged(lists, listed) for name, lists in made.items()}
    item, place = past.item_codes(shown["item_id"]), shown["rank"].to_numpy().astype(np.int64) - 1
    rows: list[Row] = []
    for key, mine in grouped(shown, BY):
        mine = mine[relevant[user[mine]]]
        users = np.unique(user[mine])
        if not len(users):
            continue
        lists = np.full((len(users), max(CUTS)), -1, np.int64)
        inside = mine[place[mine] < max(CUTS)]
        lists[np.searchsorted(users, user[inside]), place[inside]] = item[inside]
        own, at = context.judged(lists, users), np.searchsorted(listed, users)
        others = {name: _Lists(b.lists[at], b.names, b.values[at]) for name, b in baselines.items()}
        rows += _rows(context, own, others, users, dims, where | {"subject": "recommender"} | key, seed, horizon)
    return rows


def _rows(
    context: _Context, own: _Lists, others: dict[str, _Lists], users: Ints, dims: Dims, where: Row, seed: int, horizon: str
) -> list[Row]:
    slices = [("all", "", np.ones(len(users), bool)), *sliced(users, {} if horizon else dims)]
    named = [(f"{name}{horizon}", k) for name, k in own.names]
    rows = compared_in(slices, own.values, {name: b.values for name, b in others.items()}, named, where, seed, SLICE_CUT, GAPS)
    for dim, value, mask in [] if horizon else slices:
        for k in CUTS if dim == "all" else (SLICE_CUT,):
            amounts = context.together(own.lists[mask], users[mask], k)
            for name, theirs in others.items():
                against = context.together(theirs.lists[mask], users[mask], k)
                for metric, amount in amounts.items():
                    row = where | {"slice_dim": dim, "slice_value": value, "metric": metric, "k": k, "baseline": name, "n": int(mask.sum())}
                    row |= {"value": rounded(amount), "baseline_value": rounded(against[metric])}
                    rows.append(row | {"diff": rounded(amount - against[metric])})
    return rows


class _Context:
    """What lists of a cut are measured with; `full` = beyond accuracy, too."""

    def __init__(self, cut: Cut, listed: Ints, popular: Ints, full: bool) -> None:
        known = cut.known
        self.cut, self.listed, self.popular, self.full = cut, listed, popular, full
        self.met = np.diff(known.seen().tocsc().indptr)
        self.n_known = len(np.unique(known.user))
        self.popularity = self.met / max(self.n_known, 1)
        self.vectors = unit(known.vectors.astype(np.float64)).astype(np.float32) if known.vectors is not None and full else None
        self.profile = profiles(known, 1.0, max(len(known.user), 1))
        n_nights = np.asarray(self.profile @ np.ones(known.n_items))
        self.taste = np.asarray(self.profile @ self.popularity) / np.maximum(n_nights, 1)

    def judged(self, lists: Ints, users: Ints) -> _Lists:
        """The lists of `users`, sorted, with the values of each user."""
        counted = np.isin(self.cut.user, users)
        row, item = np.searchsorted(users, self.cut.user[counted]), self.cut.item[counted]
        hit, n_relevant = hits(lists, row, item), np.bincount(row, minlength=len(users))
        named: dict[Name, Floats] = {}
        for k in CUTS:
            named |= {(name, k): v for name, v in ranking_metrics(hit, n_relevant, k).items()}
            if self.full:
                named[("novelty", k)] = novelty(lists, self.met, self.n_known, k)
        if self.full:
            obvious = self.popular[np.searchsorted(self.listed, users)]
            named[("serendipity", SLICE_CUT)] = serendipity(hit, lists, obvious, SLICE_CUT)
            if self.vectors is not None:
                named[("diversity", SLICE_CUT)] = diversity(lists, self.vectors, SLICE_CUT)
            if self.cut.known.topics is not None:
                named[("calibration_kl", SLICE_CUT)] = self._calibration(lists, users)
        return _Lists(lists, list(named), np.column_stack(list(named.values())))

    def together(self, lists: Ints, users: Ints, k: int) -> dict[str, float]:
        """What belongs to all lists together: share of the catalogue shown, and at SLICE_CUT how uneven and how mainstream it is."""
        found = {"coverage": coverage(lists, self.cut.offer.eligible, k)}
        if k == SLICE_CUT:
            counts = np.bincount(lists[:, :k][lists[:, :k] >= 0], minlength=len(self.cut.offer.eligible))
            found["exposure_gini"] = gini(counts[self.cut.offer.eligible])
            taste = self.taste[users].mean()
            found["popularity_lift"] = mean_popularity(lists, self.popularity, k).mean() / taste - 1 if taste > 0 else 0.0
        return found

    def _calibration(self, lists: Ints, users: Ints) -> Floats:
        """By blocks of users: topics are many."""
        topics, found = self.cut.known.topics, np.empty(len(users))
        assert topics is not None
        for first in range(0, len(users), BLOCK):
            cut = lists[first : first + BLOCK, :SLICE_CUT]
            row, place = np.nonzero(cut >= 0)
            slots = sparse.csr_matrix((np.ones(len(row)), (row, cut[row, place])), shape=(len(cut), topics.shape[0]))
            shown = (slots @ topics).toarray()
            wanted = (self.profile[users[first : first + BLOCK]] @ topics).toarray()
            found[first : first + BLOCK] = calibration_kl(wanted, shown)
        return found
