"""What each source would show a user, united: few items a user, with every source's score of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys_core.ranking.top_n import DIGITS
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
    return among({name: source.scores(users) for name, source in sources.items()}, allowed, per_source)


def among(scores: Mapping[str, Floats], allowed: NDArray[np.bool_], per_source: int = PER_SOURCE) -> Candidates:
    """The same from what each source says of all items, (m, n_items)."""
    from recsys_core.ranking import choosing, kernels

    fallback = FALLBACK if FALLBACK in scores else list(scores)[-1]
    columns = np.flatnonzero(allowed.any(axis=0))
    if 2 * len(columns) < allowed.shape[1]:  # few where only new items are asked for
        some = among({name: own.take(columns, axis=1) for name, own in scores.items()}, allowed.take(columns, axis=1), per_source)
        return Candidates(np.append(columns, -1)[some.item], some.features)
    allowed = np.require(allowed, bool, ["C", "W"])
    chosen, unit = np.zeros(allowed.shape, bool), 10.0**DIGITS
    tops = [
        kernels.mark(np.require(found, np.float64, ["C", "W"]), allowed, unit, name == fallback, per_source, chosen)
        for name, found in scores.items()
    ]
    item = kernels.united(chosen, 1)
    features: Floats = np.zeros((*item.shape, len(scores)))
    for place, (found, top) in enumerate(zip(scores.values(), tops, strict=True)):
        choosing.shares(np.require(found, np.float64, ["C", "W"]), item, top, unit, features, place)
    return Candidates(item, features)
