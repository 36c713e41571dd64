"""Several vectors of a user: the medoid items of the clusters of what they turn to.

After PinnerSage (Pal et al. 2020, arXiv:2007.03634): one pooled vector of somebody who likes tea and cameras lies between the two, where
nothing is; a medoid is an item, and lies where something is.
"""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_core.profiles.clock import places
from recsys_core.profiles.evidence import millionths
from recsys_core.profiles.pooled import with_rows
from recsys_core.tables import TABLES
from recsys_core.topics.spherical import unit

MAX_ITEMS = 50
MAX_VECTORS = 5
# Ward distance from which clusters stay apart. Of two single items it is their distance, √(2 − 2·cosine) of unit vectors; it grows with the
# clusters, by √(2·n·m / (n + m)) for n and m items. 1.5 finds the planted topics of simulated users best.
CUT = 1.5


def interest_vectors(
    weights: pa.Table, item_ids: list[str], vectors: NDArray[np.float32], ds: dt.date, embedding_space: str | None
) -> pa.Table:
    """Rows of the table `user_interest_vector` for ds: at most MAX_VECTORS clusters a user, by their share of the user's weight.

    weights   user_key, item_id, weight (above 0); a user's MAX_ITEMS heaviest items with a vector are clustered, by Ward's method
    vectors   unit vectors, one row per entry of `item_ids`; a zero row is no vector

    `vector` is that of the medoid, the item from which the cluster's items are least far (Σ squared distance, ties to the heavier item).
    Clusters are found in vectors that are centred on the mean of all, as what all texts share says nothing about one of them.
    """
    from recsys_core import ward
    from recsys_core.profiles.kernels import heaviest

    known = np.abs(vectors).sum(axis=1) > 0 if len(vectors) else np.zeros(0, bool)
    users, user, row, weight = with_rows(weights, item_ids, known)
    whole, few = np.bincount(user, weight, len(users)), heaviest(user, weight, len(users), MAX_ITEMS)
    start, row, weight = np.searchsorted(user[few], np.arange(len(users) + 1)), row[few], weight[few]
    group, medoid, n, mass = ward.clusters(_centred(vectors, known), row, weight, start, CUT, MAX_VECTORS)
    of = row[start[group] + medoid]
    schema = TABLES["user_interest_vector"].arrow_schema()
    columns = {
        "ds": pa.repeat(pa.scalar(ds, pa.date32()), len(of)),
        "user_key": users.take(pa.array(group)),
        "rank": places(group) + 1,
        "item_id": pa.array(item_ids, pa.string()).take(pa.array(of)),
        "share": millionths(mass / whole[group]) / 1e6,
        "n_items": n,
        "vector": lists(vectors[of]),
        "embedding_space": pa.repeat(pa.scalar(embedding_space, pa.string()), len(of)),
    }
    return pa.table([pa.array(columns[f.name]).cast(f.type) for f in schema], schema=schema)


def clusters(points: NDArray[np.float64], weight: NDArray[np.float64], cut: float = CUT) -> list[tuple[int, int, float]]:
    """(place of the medoid, number of points, weight) of each cluster, heaviest first, ties to the earlier medoid.

    >>> clusters(np.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [1.0, 0.0]]), np.array([4.0, 3.0, 2.0, 1.0]), cut=1.0)
    [(0, 3, 7.0), (1, 1, 3.0)]
    """
    from recsys_core import ward

    if not np.isfinite(points).all():
        raise ValueError("points to cluster must be finite numbers")
    n = len(points)
    given = np.asarray(points, np.float64), np.arange(n), np.asarray(weight, np.float64), np.array([0, n])
    return [*zip(*(v.tolist() for v in ward.clusters(*given, float(cut), n)[1:]), strict=True)]


def lists(values: NDArray[np.float32]) -> pa.Array:
    """Each row as a list."""
    n, dimensions = values.shape
    return pa.ListArray.from_arrays(pa.array(np.arange(n + 1) * dimensions, pa.int32()), pa.array(values.ravel(), pa.float32()))


def _centred(vectors: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    found = vectors.astype(np.float64)
    if known.sum() > 1:
        found[known] -= found[known].mean(axis=0)
    return unit(found)
