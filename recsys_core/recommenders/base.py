"""What recommenders learn from and what they owe: interactions as arrays, and the contract."""

from __future__ import annotations

import copy
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys_core.lake import canonical_json
from recsys_core.registry import arrays_from_bytes, arrays_to_bytes

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interactions:
    """One row for what a user did with an item on a night, rows ordered by user, then time, then item.

    user, item   codes (0 … n_users − 1, 0 … n_items − 1); item codes follow the order of ids: ties fall the same way everywhere
    weight       Σ event weights of the night; > 0 the user wants more of this, ≤ 0 less
    age          nights before the night that the recommender is fitted for, 0 = that night
    group        language group of each user, −1 = unknown, shape (n_users,)
    vectors      unit vectors of the items (a zero row = no text), shape (n_items, d), or None without texts
    topics       p(topic | item), shape (n_items, k), or None without topics
    """

    user: Ints
    item: Ints
    weight: Floats
    age: Ints
    n_users: int
    n_items: int
    group: Ints
    vectors: NDArray[np.float32] | None = None
    topics: sparse.csr_matrix | None = None

    @staticmethod
    def of(
        user: Ints,
        item: Ints,
        weight: Floats,
        age: Ints,
        time: Ints,
        n_users: int,
        n_items: int,
        group: Ints | None = None,
        vectors: NDArray[np.float32] | None = None,
        topics: sparse.csr_matrix | None = None,
    ) -> Interactions:
        """Interactions from rows in any order; `time` orders a user's rows (any unit)."""
        rows = np.lexsort((item, time, user))
        groups = np.full(n_users, -1) if group is None else group
        return Interactions(user[rows], item[rows], weight[rows], age[rows], n_users, n_items, groups, vectors, topics)

    def take(self, rows: NDArray[np.bool_]) -> Interactions:
        """The rows of a mask; users, items and vectors keep their codes."""
        return replace(self, user=self.user[rows], item=self.item[rows], weight=self.weight[rows], age=self.age[rows])

    def positive(self) -> Interactions:
        """The rows that speak for the item."""
        return self.take(self.weight > 0)

    def seen(self) -> sparse.csr_matrix:
        """(n_users, n_items), 1 where the user ever met the item, for better or worse."""
        matrix = sparse.csr_matrix((np.ones(len(self.user), np.int8), (self.user, self.item)), shape=(self.n_users, self.n_items))
        matrix.sum_duplicates()
        matrix.data[:] = 1  # a sum of so small numbers may have gone round to 0
        return matrix


def places_from_end(user: Ints) -> Ints:
    """How many rows of the same user come after each row; `user` must be grouped.

    >>> places_from_end(np.array([4, 4, 4, 7])).tolist()
    [2, 1, 0, 0]
    """
    if not len(user):
        return np.empty(0, np.int64)
    ends = np.flatnonzero(np.r_[user[1:] != user[:-1], True])
    return np.repeat(ends, np.diff(np.r_[-1, ends])) - np.arange(len(user))


def profiles(history: Interactions, decay: float, last: int, weight_power: float = 0.0) -> sparse.csr_matrix:
    """What each user is about now: their `last` positive interactions, each weighing weight^weight_power · decay^(interactions since).

    Returns a matrix (n_users, n_items); an item met on several nights adds up. Decay goes by interactions, not by days:
    users who come rarely keep their profile.
    """
    liked = history.positive()
    since = places_from_end(liked.user)
    keep = since < last
    value = liked.weight[keep] ** weight_power * decay ** since[keep].astype(np.float64)
    matrix = sparse.csr_matrix((value, (liked.user[keep], liked.item[keep])), shape=(history.n_users, history.n_items))
    matrix.sum_duplicates()
    return matrix


class Recommender(ABC):
    """A source of proposals: fitted on interactions up to a night, deterministic, able to say what in a history led to a proposal.

    A recommender learns from interactions (`learn`), then meets the users whom it is to speak of (`meet`): mostly the same, as `fit` does,
    but any histories over the same items will do (`about`). The constructor's parameters lie in attributes of the same names.
    """

    # The arrays and sparse matrices that `learn` leaves behind, by attribute, with those of their axes that are items.
    STATE: ClassVar[Mapping[str, tuple[int, ...]]] = {}

    @abstractmethod
    def learn(self, history: Interactions) -> None:
        """Learn the model, the attributes of STATE, from interactions."""

    @abstractmethod
    def meet(self, histories: Interactions) -> None:
        """Take in the users that scores are asked for: their histories by the codes of the items that the model knows."""

    @abstractmethod
    def scores(self, users: Ints) -> Floats:
        """Scores ≥ 0 of all items, 0 = no opinion, shape (len(users), n_items); the scale is the recommender's own."""

    @abstractmethod
    def evidence(self, users: Ints, items: Ints) -> Ints:
        """For each (user, item) pair the item of the user's history that adds most to the score, ties to the lower code; −1 = none does."""

    @abstractmethod
    def similar(self, items: Ints) -> Floats:
        """How much each item speaks for every other, ≥ 0, 0 = not at all, shape (len(items), n_items), 0 for the item itself."""

    def fit(self, history: Interactions) -> Self:
        """Learn from the whole history and meet its users; returns itself."""
        self.learn(history)
        self.meet(history)
        return self

    def about(self, histories: Interactions) -> Self:
        """The same model for other users, or for other histories of the same: a copy that has met them."""
        other = copy.copy(self)
        other.meet(histories)
        return other

    @property
    def parameters(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def save(self) -> dict[str, bytes]:
        """The model as files of plain data; `load` brings it back, without users."""
        arrays: dict[str, np.ndarray] = {}
        for name in self.STATE:
            value = getattr(self, name)
            if sparse.issparse(value):
                arrays |= {f"{name}.{part}": getattr(value, part) for part in ("data", "indices", "indptr")}
                arrays[f"{name}.shape"] = np.array(value.shape)
            else:
                arrays[name] = value
        return {"recommender.json": canonical_json(self.parameters).encode(), "recommender.npz": arrays_to_bytes(**arrays)}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Self:
        """A saved model of this class; it is to meet users next."""
        found = cls(**json.loads(files["recommender.json"]))
        arrays = arrays_from_bytes(files["recommender.npz"], "recommender.npz")
        for name in cls.STATE:
            if f"{name}.data" in arrays:
                data, indices, indptr, shape = (arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr", "shape"))
                setattr(found, name, sparse.csr_matrix((data, indices, indptr), shape=tuple(shape.tolist())))
            else:
                setattr(found, name, arrays[name])
        return found

    def recoded(self, code: Ints, n_items: int) -> Self:
        """The model over other item codes, without users: item i of its own is now `code[i]`, −1 = gone; what is new has zeros."""
        kept = np.flatnonzero(code >= 0)
        place = sparse.csr_matrix((np.ones(len(kept)), (code[kept], kept)), shape=(n_items, len(code)))
        other = copy.copy(self)
        for name, axes in self.STATE.items():
            value = getattr(self, name)
            if sparse.issparse(value):
                value = place @ value if 0 in axes else value
                value = (value @ place.T if 1 in axes else value).tocsr()
                value.sort_indices()
            else:
                for axis in axes:
                    moved = np.zeros((*value.shape[:axis], n_items, *value.shape[axis + 1 :]), value.dtype)
                    np.moveaxis(moved, axis, 0)[code[kept]] = np.moveaxis(value, axis, 0)[kept]
                    value = moved
            setattr(other, name, value)
        return other


def strongest(profile: sparse.csr_matrix, users: Ints, contribution: NDArray[np.float64]) -> Ints:
    """Evidence from contributions: row r of `contribution` holds those of the entries of `profile`'s row `users[r]`, padded with zeros."""
    best = contribution.argmax(axis=1)
    rows = np.arange(len(users))
    positive = contribution[rows, best] > 0
    found = np.full(len(users), -1, np.int64)
    found[positive] = profile.indices[profile.indptr[users[positive]] + best[positive]]
    return found


def padded(profile: sparse.csr_matrix, users: Ints) -> tuple[Ints, Floats]:
    """Items and values of the profiles of `users`, shape (len(users), longest); short rows are padded with item 0 and value 0."""
    lengths = np.diff(profile.indptr)[users]
    places = np.arange(max(int(lengths.max(initial=0)), 1))
    inside = places < lengths[:, None]
    at = np.where(inside, profile.indptr[users][:, None] + places, 0)
    if not profile.nnz:
        return np.zeros(at.shape, np.int64), np.zeros(at.shape)
    return np.where(inside, profile.indices[at], 0).astype(np.int64), np.where(inside, profile.data[at], 0.0)
