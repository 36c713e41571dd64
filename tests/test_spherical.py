"""k-means' rounds: exact, whatever is left out, and however rows are shared out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans

from recsys_core.topics import lloyd as rounds
from recsys_core.topics.lloyd import lloyd
from recsys_core.topics.sharded import share_out
from recsys_core.topics.spherical import cluster, unit


def mixed(n: int = 3000, topics: int = 24, d: int = 32, seed: int = 0) -> np.ndarray:
    """Unit rows about overlapping topics, float32."""
    rng = np.random.default_rng(seed)
    centres = unit(rng.normal(size=(topics, d)))
    return unit(centres[rng.integers(topics, size=n)] + rng.normal(0, 0.22, (n, d))).astype(np.float32)


def plain(x: np.ndarray, centroids: np.ndarray, n_rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Every product of every round, in double precision."""
    x, centroids, labels = x.astype(np.float64), centroids.astype(np.float64), np.full(len(x), -1)
    for _ in range(n_rounds):
        found = (x @ centroids.T).argmax(axis=1)
        if np.array_equal(found, labels):
            break
        labels = found
        centroids = unit(np.stack([x[labels == t].sum(axis=0) for t in range(len(centroids))])).astype(np.float32).astype(np.float64)
    return labels, centroids


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_what_is_left_out_changes_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = mixed().astype(kind)
    begun, looked, look = x[:30].astype(np.float32), list[int](), rounds._Lloyd._look

    def watched(self: rounds._Lloyd, rows: np.ndarray) -> None:
        looked.append(len(rows))
        look(self, rows)

    monkeypatch.setattr(rounds._Lloyd, "_look", watched)
    monkeypatch.setattr(rounds, "BLOCK", 700)
    for n_rounds in (3, 60):
        centroids, labels, score = lloyd(x, begun, n_rounds)
        expected, means = plain(x, begun, n_rounds)
        assert np.array_equal(labels, expected)
        assert np.allclose(centroids, means, atol=1e-6)
        assert score == pytest.approx((x.astype(np.float64) * centroids[labels]).sum(), abs=1e-4)
    assert sum(looked[9:]) < 0.2 * len(x) * len(looked[9:]), "most rows are looked at in the first rounds only"
    if kind == "float32":
        theirs = KMeans(30, init=begun, n_init=1, max_iter=60, tol=0).fit(x)
        assert score > (x * unit(theirs.cluster_centers_)[theirs.labels_]).sum() - 5, "as good as where centroids are not made unit"


def test_equal_rows_fill_all_clusters_and_ties_go_to_the_lower() -> None:
    x = np.repeat(np.eye(4, dtype=np.float32)[:2], [5, 7], axis=0)
    _, labels, score = lloyd(x, np.eye(4, dtype=np.float32)[[0, 0, 1]])
    assert sorted(np.bincount(labels, minlength=3)) == [1, 4, 7]
    assert score == 12
    assert lloyd(x, np.eye(4, dtype=np.float32)[[2, 0]], 1)[1].tolist() == [1] * 5 + [0] * 7
    assert lloyd(x[:3], x[:1])[1].tolist() == [0, 0, 0]
    zeros = lloyd(np.zeros((3, 4), np.float32), np.eye(4, dtype=np.float32)[:2])
    assert np.bincount(zeros[1]).tolist() == [2, 1]
    assert np.isfinite(zeros[0]).all()


def test_a_tensor_multiplies_as_numpy_does_and_so_do_more_threads() -> None:
    import torch

    x = mixed()
    one = lloyd(x, x[:30])
    for other in (lloyd(x, x[:30], tensor=torch.from_numpy(x)), lloyd(x, x[:30], threads=3)):
        assert np.array_equal(one[0], other[0])
        assert np.array_equal(one[1], other[1])
        assert one[2] == other[2]


def test_two_processes_find_what_one_finds() -> None:
    x = np.concatenate([mixed(801), np.repeat(np.eye(32, dtype=np.float32)[:1], 40, axis=0)])
    starts = [x[:20], np.concatenate([x[:18], x[-2:]])]  # of the last three, two are equal: a cluster is empty at first
    for one, two in zip([lloyd(x, s) for s in starts], share_out(x, starts, 60, 2, "cpu"), strict=True):
        assert np.array_equal(one[0], two[0])
        assert np.array_equal(one[1], two[1])
        assert one[2] == two[2]


def test_restarts_are_the_best_of_each_alone() -> None:
    x = mixed(600)
    best = cluster(x, 12, 5, 4)
    assert best[2] >= cluster(x, 12, 5, 1)[2]
    assert np.array_equal(best[1], cluster(x, 12, 5, 4)[1])
    assert np.array_equal(cluster(x, 12, 5, 9, start=best[0])[1], best[1]), "what is settled stays"
