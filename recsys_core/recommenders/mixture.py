"""Several recommenders as one."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys_core.lake import canonical_json
from recsys_core.ranking.top_n import normalise
from recsys_core.recommenders import recommender
from recsys_core.recommenders.base import Floats, Interactions, Ints, Recommender

Part = tuple[str, Mapping[str, Any], float]  # name in the registry, its constructor's arguments, weight


class Mixture(Recommender):
    """Scores: Σ weight × (the part's score over the largest it gives the user for an item not met yet)^power.

    The parts are (name, parameters, weight) of registered recommenders; each learns, meets and is saved on its own. A power below 1 brings
    scores that fall off fast, like probabilities, nearer to each other, so that other parts have a say in the order of all but the first.
    """

    def __init__(self, parts: Sequence[Part], power: float = 1.0) -> None:
        self.power = power
        self.parts = [(name, dict(parameters), float(weight)) for name, parameters, weight in parts]
        self.sources: list[Recommender] = [recommender(name)(**parameters) for name, parameters, _ in self.parts]

    def learn(self, history: Interactions) -> None:
        """Every part learns."""
        for source in self.sources:
            source.learn(history)

    def meet(self, histories: Interactions) -> None:
        """Copies of the parts meet the users."""
        self.sources = [source.about(histories) for source in self.sources]
        self.seen = histories.seen()

    def scores(self, users: Ints) -> Floats:
        """Weighted sums."""
        found: Floats = np.sum(self._shares(users), axis=0)
        return found

    def evidence(self, users: Ints, items: Ints) -> Ints:
        """That of the part which adds most to the score and has any."""
        who, row = np.unique(users, return_inverse=True)
        added = np.stack([share[row, items] for share in self._shares(who)])
        said = np.stack([source.evidence(users, items) for source in self.sources])
        best = np.where((said >= 0) & (added > 0), added, 0.0)
        chosen, pairs = best.argmax(axis=0), np.arange(len(users))
        found: Ints = np.where(best[chosen, pairs] > 0, said[chosen, pairs], -1)
        return found

    def similar(self, items: Ints) -> Floats:
        """Weighted sums of what the parts say, each over its largest figure for the item."""
        anything = np.ones((len(items), 1), bool)
        found: Floats = np.sum(
            [w * normalise(s.similar(items), anything) ** self.power for s, (_, _, w) in zip(self.sources, self.parts, strict=True)], axis=0
        )
        return found

    def save(self) -> dict[str, bytes]:
        """The files of each part, numbered, and the parts' parameters."""
        numbered = {f"{n}.{file}": data for n, source in enumerate(self.sources) for file, data in source.save().items()}
        return {"recommender.json": canonical_json(self.parameters).encode()} | numbered

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Self:
        """A saved mixture."""
        found = cls(**json.loads(files["recommender.json"]))
        found.sources = [
            type(source).load({file.removeprefix(f"{n}."): data for file, data in files.items() if file.startswith(f"{n}.")})
            for n, source in enumerate(found.sources)
        ]
        return found

    def recoded(self, code: Ints, n_items: int) -> Self:
        """Every part over the other codes."""
        other = copy.copy(self)
        other.sources = [source.recoded(code, n_items) for source in self.sources]
        return other

    def _shares(self, users: Ints) -> list[Floats]:
        allowed = unmet(self.seen, users)
        return [
            weight * normalise(source.scores(users), allowed) ** self.power
            for source, (_, _, weight) in zip(self.sources, self.parts, strict=True)
        ]


def unmet(seen: sparse.csr_matrix, users: Ints) -> NDArray[np.bool_]:
    """Which items each of `users` never met, shape (len(users), n_items)."""
    met, found = seen[users], np.ones((len(users), seen.shape[1]), bool)
    found[np.repeat(np.arange(len(users)), np.diff(met.indptr)), met.indices] = False
    return found
