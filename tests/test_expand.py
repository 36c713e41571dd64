"""Proposals against products written out by hand."""

from __future__ import annotations

import numpy as np

from recsys_core.expand import MAX_PROPOSALS, expansions, neighbour_matrix

IDS = np.array([10, 20, 30])


def edge(src: int, dst: int, weight: float, relation: str = "cooccur") -> dict[str, object]:
    return {"src_topic_id": src, "dst_topic_id": dst, "relation": relation, "weight": weight, "lift": 2 * weight}


def test_neighbour_matrix_is_symmetric_and_of_one_relation() -> None:
    edges = [edge(10, 30, 0.5), edge(10, 20, -0.25), edge(20, 30, 0.75, "similar"), edge(30, 99, 1.0)]
    assert neighbour_matrix(IDS, edges, "cooccur").tolist() == [[0, 0, 0.5], [0, 0, 0], [0.5, 0, 0]]
    assert neighbour_matrix(IDS, edges, "similar")[2, 1] == 0.75
    assert neighbour_matrix(IDS, edges, "cooccur", "lift")[0, 2] == 1.0
    assert not neighbour_matrix(IDS, [], "cooccur").any()


def test_a_proposal_comes_by_its_strongest_way() -> None:
    neighbours = np.zeros((4, 4))
    neighbours[0, 2] = neighbours[2, 0] = 0.4
    neighbours[1, 2] = neighbours[2, 1] = 0.9
    neighbours[0, 3] = neighbours[3, 0] = 0.5
    shares = np.array([[0.6, 0.4, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert expansions(shares, neighbours, shares > 0) == [
        (0, 2, 1, 0.36, 1),  # .4 · .9 beats .6 · .4
        (0, 3, 0, 0.3, 2),
        (1, 1, 2, 0.9, 1),
        (1, 0, 2, 0.4, 2),
    ]


def test_held_topics_are_never_proposed() -> None:
    shares = np.array([[0.9, 0.1]])
    assert expansions(shares, np.ones((2, 2)), shares > 0) == []
    assert expansions(shares, np.ones((2, 2)), np.array([[True, False]])) == [(0, 1, 0, 0.9, 1)]


def test_only_the_five_strongest_topics_lead_on() -> None:
    shares = np.array([[0.3, 0.25, 0.2, 0.15, 0.06, 0.04, 0.0]])
    neighbours = np.zeros((7, 7))
    neighbours[5, 6] = neighbours[6, 5] = 1.0
    assert expansions(shares, neighbours, shares > 0) == []
    neighbours[4, 6] = 0.5
    assert expansions(shares, neighbours, shares > 0) == [(0, 6, 4, 0.03, 1)]


def test_ties_go_to_the_lower_column_and_lists_end_at_ten() -> None:
    shares = np.zeros((1, 15))
    shares[0, 14] = 1.0
    found = expansions(shares, np.full((15, 15), 0.5), shares > 0)
    assert [column for _, column, *_ in found] == list(range(MAX_PROPOSALS))
    assert [rank for *_, rank in found] == list(range(1, MAX_PROPOSALS + 1))


def test_users_in_later_blocks_are_the_same() -> None:
    rng = np.random.default_rng(1)
    shares = rng.dirichlet(np.full(6, 0.3), 2050) * (rng.random((2050, 6)) < 0.5)
    neighbours = rng.random((6, 6))
    neighbours = neighbours + neighbours.T
    whole = expansions(shares, neighbours, shares > 0)
    alone = [(2049, *rest) for _, *rest in expansions(shares[2049:], neighbours, shares[2049:] > 0)]
    assert [p for p in whole if p[0] == 2049] == alone
    assert max(p[0] for p in whole) >= 2048
