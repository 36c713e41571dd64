"""Lists of single users: candidates, blended, put in order, a few slots of them to explore."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys_core.ranking import candidates
from recsys_core.ranking.blender import Blend
from recsys_core.ranking.candidates import FALLBACK
from recsys_core.ranking.exploration import Proposed, explore
from recsys_core.ranking.rerank import rerank
from recsys_core.ranking.top_n import DIGITS, Slots, in_blocks
from recsys_core.recommenders.base import Floats, Ints, Recommender

# Users → (len(users), n_items), what may be shown to each; a copy.
Allowed = Callable[[Ints], NDArray[np.bool_]]
# Those of slots, and the proposals that they explore.
_Columns = tuple[Ints, Ints, Ints, Floats, Ints, Ints, Floats, Ints]


@dataclass(frozen=True)
class Order:
    """What puts the best candidates in order, see `rerank`.

    vectors  (n_items, d)
    topics   (n_items, k) p(topic | item)
    target   (n_users, k) how much each user is about each topic
    """

    vectors: NDArray[np.float32]
    topics: sparse.csr_matrix
    target: sparse.csr_matrix
    diversity: float
    calibration: float


@dataclass(frozen=True)
class Exploration:
    """What slots of a list are given to, see `explore`."""

    proposed: Proposed
    members: list[Ints]
    slots: int


@dataclass(frozen=True)
class Wish:
    """What a list is to be: the `n` best, only of the items `among` (n_items,), in an order other than that of scores, with exploration."""

    n: int
    among: NDArray[np.bool_] | None = None
    order: Order | None = None
    exploration: Exploration | None = None


@dataclass(frozen=True)
class Lists:
    """Makes lists of users from sources that have met them.

    sources  those of the blend, in its order
    segment  place in SEGMENTS of each user, shape (n_users,)
    allowed  what may be shown to whom
    """

    sources: Mapping[str, Recommender]
    blend: Blend
    segment: Ints
    allowed: Allowed

    def best(
        self,
        users: Ints,
        n: int,
        among: NDArray[np.bool_] | None = None,
        order: Order | None = None,
        exploration: Exploration | None = None,
    ) -> tuple[Slots, Ints]:
        """(the n best items of each of `users`, for each slot the row of the proposal that it explores, −1 = none).

        Every list is full, or holds all that may be shown: what no source knows comes last, by code, under the source FALLBACK (the last
        one without it). Items that explore are of a source of their own, behind the others. `among` (n_items,) leaves the rest out. Users
        keep the order given.
        """
        return self.wished(users, [Wish(n, among, order, exploration)])[0]

    def wished(self, users: Ints, wishes: Sequence[Wish]) -> list[tuple[Slots, Ints]]:
        """The same for several lists of each user, from scores that are found once."""

        def block(own: Ints) -> list[_Columns]:
            scores = {name: source.scores(own) for name, source in self.sources.items()}
            allowed = self.allowed(own)
            return [self._block(own, scores, allowed if w.among is None else allowed & w.among, w) for w in wishes]

        blocks = in_blocks(block, users, len(self.allowed(users[:0]).T))
        none, f = np.empty(0, np.int64), len(self.sources)
        nothing: _Columns = (none, none, none, np.empty(0), none, none, np.empty((0, f)), none)
        found = []
        for place in range(len(wishes)):
            *columns, why = (np.concatenate(column) for column in zip(*[b[place] for b in blocks] or [nothing], strict=True))
            found.append((Slots(*columns), why))
        return found

    def _block(self, users: Ints, scores: Mapping[str, Floats], allowed: NDArray[np.bool_], wish: Wish) -> _Columns:
        from recsys_core.ranking import choosing

        n, order, exploration = wish.n, wish.order, wish.exploration
        found = candidates.among(scores, allowed, max(candidates.PER_SOURCE, n))
        weights = self.blend.matrix(self.blend.sources)
        item, score, parts = choosing.blended(found.item, found.features, weights, self.segment[users], 10.0**DIGITS)
        lists = item[:, :n]
        if order is not None and (order.diversity or order.calibration):
            target = order.target[users].toarray()
            places = rerank(item, score, order.vectors, order.topics, target, n, order.diversity, order.calibration)
            lists = np.where(places >= 0, np.take_along_axis(item, np.maximum(places, 0), axis=1), -1)
        why = np.full(lists.shape, -1, np.int64)
        if exploration is not None:
            lists = np.pad(lists, ((0, 0), (0, n - lists.shape[1])), constant_values=-1)
            lists, why = explore(users, lists, item, score, allowed, exploration.proposed, exploration.members, exploration.slots)
        row, place = np.nonzero(lists >= 0)
        chosen, why = lists[row, place], why[row, place]
        at = choosing.standing(item, row, chosen)  # what explores need not be a candidate
        parts = np.where((at >= 0)[:, None], parts[row, at], 0.0)
        names = list(self.sources)
        fallback = names.index(FALLBACK) if FALLBACK in names else len(names) - 1
        # Of sources that add the same the one that everybody has comes last: it has no reason of the user's own.
        first = np.array([place for place in range(len(names)) if place != fallback] + [fallback])
        source = np.where(parts.any(axis=1), first[parts[:, first].argmax(axis=1)], fallback)
        evidence = np.full(len(row), -1, np.int64)
        for number, name in enumerate(names):
            if (mine := source == number).any():
                evidence[mine] = self.sources[name].evidence(users[row[mine]], chosen[mine])
        source[why >= 0] = len(names)
        return users[row], place + 1, chosen, np.round(parts.sum(axis=1), DIGITS), source, evidence, parts, why
