"""Weights of a mixture: what a validation cut says each recommender should add."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsys_core.metrics import hits, ranking_metrics
from recsys_core.ranking.top_n import DIGITS, normalise, top_n
from recsys_core.recommenders.base import Floats, Ints, Recommender
from recsys_core.recommenders.holdout import Cut, K, blocks, popularity
from recsys_core.recommenders.mixture import unmet

MAX_PARTS = 5
# Share of the mixture that a part joins with.
STEPS = (0.1, 0.2, 0.3, 0.5, 0.7)
# Best items of each source that mixtures are compared on.
CANDIDATES = 50
POWERS = (1.0, 0.5, 0.25, 0.1)  # of the shares that are added up
LEAST_GAIN = 1e-4  # of NDCG, on the half that chooses


@dataclass(frozen=True)
class Proposals:
    """What several recommenders say of their best items for the users of a cut, and of the most popular ones.

    item        codes, ascending, −1 = none, (users, c)
    share       score over the user's largest, as Mixture has it, (users, c, sources)
    popular     the order of what no source knows, below 1, (users, c)
    relevant    whether the item is to be found, (users, c)
    n_relevant  how many are, (users,)
    """

    item: Ints
    share: NDArray[np.float32]
    popular: NDArray[np.float32]
    relevant: NDArray[np.bool_]
    n_relevant: Ints

    def among(self, users: NDArray[np.bool_]) -> Proposals:
        """Those for the users of a mask."""
        return Proposals(self.item[users], self.share[users], self.popular[users], self.relevant[users], self.n_relevant[users])

    def of(self, sources: Sequence[int]) -> Proposals:
        """The same with the sources in this order."""
        return replace(self, share=self.share[:, :, sources])

    def raised(self, power: float) -> Proposals:
        """The same with the power of the shares."""
        return replace(self, share=self.share**power)

    def metrics(self, weights: Floats) -> dict[str, Floats]:
        """Metrics at K of each user's list by a mixture with these weights."""
        total = (self.share @ weights.astype(np.float32)).astype(np.float64)
        place = top_n(np.where(np.round(total, DIGITS) > 0, 1 + total, self.popular), self.item >= 0, K)
        return ranking_metrics(np.take_along_axis(self.relevant, np.maximum(place, 0), axis=1) & (place >= 0), self.n_relevant, K)


def proposals(sources: Sequence[Recommender], held: Cut, allow_seen: bool) -> Proposals:
    """The CANDIDATES best items of each source that has met the cut's users, and the K most popular, of each user."""
    seen, popular, n_items = held.known.seen(), popularity(held.known), held.known.n_items
    parts = []
    for rows in blocks(len(held.users), n_items):
        allowed = unmet(seen, held.users[rows])
        shares = np.stack([normalise(source.scores(held.users[rows]), allowed).astype(np.float32) for source in sources], axis=2)
        if allow_seen:
            allowed = np.ones_like(allowed)
        chosen = np.zeros(allowed.shape, bool)
        for number in range(len(sources) + 1):
            ranked, n = (shares[:, :, number], CANDIDATES) if number < len(sources) else (popular[None], K)
            best = np.argpartition(-np.where(allowed, ranked, -1.0), min(n, n_items) - 1, axis=1)[:, :n]
            np.put_along_axis(chosen, best, True, axis=1)
        chosen &= allowed
        row, item = np.nonzero(chosen)
        counts = chosen.sum(axis=1)
        place = np.arange(len(row)) - np.repeat(counts.cumsum() - counts, counts)
        items = np.full((len(allowed), int(counts.max(initial=0))), -1, np.int64)
        items[row, place] = item
        share = np.zeros((*items.shape, len(sources)), np.float32)
        share[row, place] = shares[row, item]
        parts.append((items, share))
    width = max(items.shape[1] for items, _ in parts)
    gaps = [width - items.shape[1] for items, _ in parts]
    items = np.concatenate([np.pad(i, ((0, 0), (0, gap)), constant_values=-1) for gap, (i, _) in zip(gaps, parts, strict=True)])
    share = np.concatenate([np.pad(s, ((0, 0), (0, gap), (0, 0))) for gap, (_, s) in zip(gaps, parts, strict=True)])
    n_relevant = np.bincount(held.row, minlength=len(held.users))
    return Proposals(items, share, popular.astype(np.float32)[np.maximum(items, 0)], hits(items, held.row, held.item), n_relevant)


def weights(found: Proposals, seed: int) -> tuple[Floats, float]:
    """Weights of the sources, sum 1, and the power of their shares that is best with them, ties to the first of POWERS."""
    tried = [(raised := found.raised(power), _weights(raised, seed), power) for power in POWERS]
    ndcg = [round(float(raised.metrics(weights)["ndcg"].mean()), DIGITS) for raised, weights, _ in tried]
    return tried[int(np.argmax(ndcg))][1:]


def _weights(found: Proposals, seed: int) -> Floats:
    """Greedy forward selection from the first source (Caruana et al. 2004): the mean of what either half of the users chooses; a step must
    gain on the other half, too.
    """
    n, n_sources = found.share.shape[0], found.share.shape[2]
    chooses = np.random.default_rng([seed, 1]).permutation(n) % 2 == 0
    halves = found.among(chooses), found.among(~chooses)

    def ndcg(half: int, weights: Floats) -> float:
        return float(halves[half].metrics(weights)["ndcg"].mean())

    def greedy(half: int) -> Floats:
        weights = np.eye(n_sources)[0]
        reached = [ndcg(half, weights), ndcg(1 - half, weights)]
        while np.count_nonzero(weights) < MAX_PARTS:
            steps = [(1 - step) * weights + step * unit for unit in np.eye(n_sources) for step in STEPS]
            gains = [ndcg(half, step) for step in steps]
            best = int(np.argmax(np.round(gains, DIGITS)))
            now = [gains[best], ndcg(1 - half, steps[best])]
            if now[0] < reached[0] + LEAST_GAIN or now[1] <= reached[1]:
                break
            weights, reached = steps[best], now
        return weights

    return (greedy(0) + greedy(1)) / 2
