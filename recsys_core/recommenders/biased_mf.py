"""What somebody will rate: the mean, how generous a user and how liked an item is, and factors for the taste that is left."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
from scipy import sparse

from recsys_core.lake import canonical_json
from recsys_core.recommenders.base import Floats, Ints
from recsys_core.recommenders.ridge import ridge
from recsys_core.registry import arrays_from_bytes, arrays_to_bytes


class BiasedMF:
    """Biased matrix factorisation of explicit ratings: r̂ = μ + b_u + b_i + p_u · q_i (Koren, Bell and Volinsky 2009).

    Predictions are kept within the range of the ratings seen. Minimises the squared error + Σ over users and items of bias_reg · b² +
    reg · n · |factors|², n being their number of ratings (Zhou et al. 2008), by alternating least squares: a side's biases and factors are
    solved for together, exactly. `factors=0` leaves the biases alone.
    """

    STATE: ClassVar[tuple[str, ...]] = ("mean", "limits", "user_bias", "item_bias", "user_factors", "item_factors")
    mean: Floats
    limits: Floats
    user_bias: Floats
    item_bias: Floats
    user_factors: Floats
    item_factors: Floats

    def __init__(self, factors: int = 32, reg: float = 0.15, bias_reg: float = 3.0, iterations: int = 10, seed: int = 0) -> None:
        self.factors, self.reg, self.bias_reg, self.iterations, self.seed = factors, reg, bias_reg, iterations, seed

    def fit(self, user: Ints, item: Ints, rating: Floats, n_users: int, n_items: int) -> Self:
        """Learn from ratings in any order, one row each, users and items by codes from 0. ValueError without a row."""
        if not len(rating):
            raise ValueError("no rating to learn from: give BiasedMF.fit at least one row")
        rows = np.lexsort((rating, item, user))
        user, item, rating = user[rows], item[rows], np.asarray(rating, np.float64)[rows]
        self.mean, self.limits = rating.mean(keepdims=True), np.array([rating.min(), rating.max()])
        by_user, by_item = _Side(user, item, rating - self.mean, n_users, n_items), _Side(item, user, rating - self.mean, n_items, n_users)
        rng = np.random.default_rng(self.seed)
        self.item_bias, self.item_factors = np.zeros(n_items), rng.normal(0, 0.1, (n_items, self.factors))
        for _ in range(self.iterations):
            self.user_bias, self.user_factors = by_user.solved(self.item_bias, self.item_factors, self.bias_reg, self.reg)
            self.item_bias, self.item_factors = by_item.solved(self.user_bias, self.user_factors, self.bias_reg, self.reg)
        return self

    def predict(self, user: Ints, item: Ints) -> Floats:
        """Expected ratings of the pairs; −1 = a user or an item that nothing is known of, for which the other's bias and the mean stand."""
        known_user, known_item = user >= 0, item >= 0
        found = self.mean + np.where(known_user, self.user_bias[user], 0.0) + np.where(known_item, self.item_bias[item], 0.0)
        taste = np.einsum("nf,nf->n", self.user_factors[user], self.item_factors[item])
        return np.clip(found + np.where(known_user & known_item, taste, 0.0), *self.limits).round(6)

    @property
    def parameters(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def save(self) -> dict[str, bytes]:
        """The model as files of plain data; `load` brings it back."""
        arrays = arrays_to_bytes(**{name: getattr(self, name) for name in self.STATE})
        return {"ratings.json": canonical_json(self.parameters).encode(), "ratings.npz": arrays}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Self:
        """A saved model."""
        found = cls(**json.loads(files["ratings.json"]))
        arrays = arrays_from_bytes(files["ratings.npz"], "ratings.npz")
        for name in cls.STATE:
            setattr(found, name, arrays[name])
        return found


class _Side:
    """Ratings less their mean by the users, or by the items, that are solved for."""

    def __init__(self, of: Ints, other: Ints, residual: Floats, n: int, n_other: int) -> None:
        order = np.argsort(of, kind="stable")
        self.other, self.residual, self.shape = other[order], residual[order], (n, n_other)
        self.starts = np.r_[0, np.bincount(of, minlength=n).cumsum()]

    def _matrix(self, values: Floats) -> sparse.csr_matrix:
        return sparse.csr_matrix((values, self.other, self.starts), shape=self.shape)  # two ratings of one item stay two entries

    def solved(self, bias: Floats, factors: Floats, bias_reg: float, reg: float) -> tuple[Floats, Floats]:
        """Biases and factors of this side, given the other's: ridge regression on (1, factors)."""
        n, width = self.shape[0], factors.shape[1] + 1
        features = np.column_stack([np.ones(len(bias)), factors])
        penalty = np.full((n, width), bias_reg, np.float64)
        penalty[:, 1:] = np.maximum(reg * np.diff(self.starts), 1e-9)[:, None]
        targets = self._matrix(self.residual - bias[self.other])
        found = ridge(self._matrix(np.ones(len(self.other))), targets, features, np.zeros((width, width)), penalty)
        return found[:, 0], found[:, 1:]


RATING_MODELS: dict[str, Callable[[], BiasedMF]] = {"biased_mf": BiasedMF, "biases": partial(BiasedMF, factors=0)}
