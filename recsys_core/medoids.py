"""Several vectors of a user: the medoid items of the clusters of what they turn to.

After PinnerSage (Pal et al. 2020, arXiv:2007.03634): one pooled vector of somebody who likes tea and cameras lies between the two, where
nothing is; a medoid is an item, and lies where something is.
"""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

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
    found = {"user_key": weights["user_key"], "weight": weights["weight"], "item_id": weights["item_id"]}
    ordered = pa.table(found).sort_by([("user_key", "ascending"), ("weight", "descending"), ("item_id", "ascending")])
    known = np.abs(vectors).sum(axis=1) > 0 if len(vectors) else np.zeros(0, bool)
    row_of = {item: row for row, item in enumerate(item_ids) if known[row]}
    users, items, weight = (ordered[c].to_pylist() for c in ("user_key", "item_id", "weight"))
    held: dict[str, list[tuple[int, float]]] = {}
    for user, item, w in zip(users, items, weight, strict=True):
        if item in row_of:
            held.setdefault(user, []).append((row_of[item], w))
    centred = _centred(vectors, known)
    rows = []
    for user, pairs in held.items():
        total = sum(w for _, w in pairs)
        at, heaviest = np.array([p[0] for p in pairs[:MAX_ITEMS]]), np.array([p[1] for p in pairs[:MAX_ITEMS]])
        for rank, (medoid, n, mass) in enumerate(clusters(centred[at], heaviest)[:MAX_VECTORS], 1):
            row = at[medoid]
            rows.append((ds, user, rank, item_ids[row], round(mass / total, 6), n, vectors[row], embedding_space))
    schema = TABLES["user_interest_vector"].arrow_schema()
    columns = zip(*rows, strict=True) if rows else ([] for _ in schema)
    return pa.table([pa.array(list(values), f.type) for values, f in zip(columns, schema, strict=True)], schema=schema)


def clusters(points: NDArray[np.float64], weight: NDArray[np.float64], cut: float = CUT) -> list[tuple[int, int, float]]:
    """(place of the medoid, number of points, weight) of each cluster, heaviest first, ties to the earlier medoid.

    >>> clusters(np.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [1.0, 0.0]]), np.array([4.0, 3.0, 2.0, 1.0]), cut=1.0)
    [(0, 3, 7.0), (1, 1, 3.0)]
    """
    label = fcluster(linkage(points, "ward"), cut, "distance") if len(points) > 1 else np.ones(1, int)
    found = []
    for cluster in np.unique(label):
        members = np.flatnonzero(label == cluster)
        own = points[members]
        # Σ_j ‖x − x_j‖² = n·‖x‖² − 2·x·Σ_j x_j + what is the same for all; rounded, so that equal distances are equal.
        far = len(own) * (own**2).sum(axis=1) - 2 * own @ own.sum(axis=0)
        medoid = members[int(np.round(far, 9).argmin())]
        found.append((int(medoid), len(members), float(weight[members].sum())))
    return sorted(found, key=lambda c: (-round(c[2], 9), c[0]))


def _centred(vectors: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    found = vectors.astype(np.float64)
    if known.sum() > 1:
        found[known] -= found[known].mean(axis=0)
    return unit(found)
