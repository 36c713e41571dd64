"""What each source would show a user, united: few items a user, with every source's score of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys_core.ranking.top_n import DIGITS, normalise, ordered_keys
from recsys_core.recommenders.base import Floats, Ints, Recommender

# Items that each source proposes: twice the longest list, so that what is re-ranked has something to choose from.
PER_SOURCE = 100
FALLBACK = "popularity"


@dataclass(frozen=True)
class Candidates:
    """The candidates of a block of users.

    item      (m, c) item codes of each user in rising order, −1 behind them
    features  (m, c, f) each source's score over the user's largest allowed one, 0 … 1, 0 where there is no candidate
    """

    item: Ints
    features: Floats


def candidates(sources: Mapping[str, Recommender], users: Ints, allowed: NDArray[np.bool_], per_source: int = PER_SOURCE) -> Candidates:
    """The union of every source's `per_source` best allowed items with a score above 0, for each of `users`.

    The source 'popularity', the last one without it, also gives what it has no opinion of, by code: there are `per_source` candidates at
    least, or all that is allowed. `allowed` is (len(users), n_items). Sources have met the users. Scores count to 6 decimals, ties go to
    the lower code.
    Scores of all items are held for these users alone: ask for `top_n.BLOCK` of them at a time.
    """
    fallback = FALLBACK if FALLBACK in sources else list(sources)[-1]
    columns = np.flatnonzero(allowed.any(axis=0))  # few where only new items are asked for
    allowed = allowed[:, columns]
    scores, united = [], np.zeros(allowed.shape, bool)
    for name, source in sources.items():
        found = np.round(normalise(source.scores(users)[:, columns], allowed), DIGITS)
        united |= best(found, allowed if name == fallback else allowed & (found > 0), per_source)
        scores.append(found)
    row, code = np.nonzero(united)
    n = np.bincount(row, minlength=len(users))
    item = np.full((len(users), max(int(n.max(initial=0)), 1)), -1)
    item[row, np.arange(len(row)) - np.repeat(np.cumsum(n) - n, n)] = code
    if not len(columns):
        return Candidates(item, np.zeros((*item.shape, len(sources))))
    features = np.stack([np.take_along_axis(found, np.maximum(item, 0), axis=1) for found in scores], axis=2)
    features[item < 0] = 0.0
    return Candidates(np.where(item >= 0, columns[item], -1), features)


def best(scores: Floats, allowed: NDArray[np.bool_], n: int) -> NDArray[np.bool_]:
    """Which columns are among the n best allowed ones of their row, all if there are fewer; ties go to the lower column.

    >>> best(np.array([[0.5, 0.9, 0.5, 0.5]]), np.array([[True, False, True, True]]), 2).tolist()
    [[True, False, True, False]]
    """
    if n >= scores.shape[1]:
        return allowed
    keys = ordered_keys(scores, allowed)
    least: Ints = np.partition(keys, -n, axis=1)[:, -n, None]
    return (keys >= least) & allowed
