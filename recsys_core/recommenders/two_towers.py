"""What fits a user by text, topics and context: a tower for users and one for items, compared by cosine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from recsys_core.recommenders.base import Floats, Interactions, Ints
from recsys_core.recommenders.neural import (
    FULL_SOFTMAX,
    Neural,
    Singles,
    discounted_gain,
    filled,
    flat,
    kept_back,
    known_items,
    put,
    repeatable,
    sequences,
    softmax_loss,
    train,
    unit,
    unit_rows,
)

# Rows that a tower is given at once, filled up to this number: a vector must not depend on its neighbours.
BATCH = 1_024
_GROUP, _NUMBERS = 8, 2


class TwoTowers(Neural):
    """Scores by R = U · V, both of length one, learnt by a softmax over items (Covington et al. 2016; Yi et al. 2019).

    The item tower reads the text vector and the topics of an item, and adds a vector of the item's own when it was met in training. In a
    share of training steps (`id_dropout`) that one is missing, so that new items are placed as well as text can (Volkovs et al. 2017). The
    user tower reads the mean of the vectors of the user's latest items, decayed by `profile_decay` for each one since, the language group,
    how many items there were and how many nights ago the last one was. In training the item met next competes with all items that were ever
    met, or beyond FULL_SOFTMAX with those of its batch and `negatives` others, corrected for how often each is drawn. Texts and topics are
    those of the histories that are met: an old model scores new items. A user without a known item has no scores.
    """

    STATE: ClassVar[Mapping[str, tuple[int, ...]]] = {"ids": (0,), "centre": (), "shape": (), "weights": ()}

    def __init__(
        self,
        hidden: int = 64,
        last: int = 20,
        profile_decay: float = 0.8,
        id_dropout: float = 0.5,
        dropout: float = 0.2,
        temperature: float = 0.15,
        negatives: int = 512,
        epochs: int = 30,
        patience: int = 4,
        batch: int = 512,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.01,
        seed: int = 0,
    ) -> None:
        self.hidden, self.last, self.profile_decay, self.id_dropout, self.dropout = hidden, last, profile_decay, id_dropout, dropout
        self.temperature, self.negatives, self.epochs, self.patience = temperature, negatives, epochs, patience
        self.batch, self.learning_rate, self.weight_decay, self.seed = batch, learning_rate, weight_decay, seed

    def learn(self, history: Interactions) -> None:
        """Train on each item of each history by those before it, except the last ones that tell when to stop."""
        met = known_items(history)
        texts, topics = history.vectors, history.topics
        has_text = texts[np.abs(texts).sum(axis=1) > 0] if texts is not None else np.zeros((0, 0), np.float32)
        self.centre = has_text.mean(axis=0) if len(has_text) else np.zeros(0 if texts is None else texts.shape[1], np.float32)
        self.shape = np.array([int(history.group.max(initial=-1)) + 1, len(self.centre), 0 if topics is None else topics.shape[1]])
        self.ids = np.zeros((history.n_items, self.hidden), np.float32)
        codes = np.flatnonzero(met)
        with repeatable(self.seed) as rng:
            network = self._network()
            ids = nn.Embedding(len(codes) + 1, self.hidden, padding_idx=len(codes))
            nn.init.normal_(ids.weight, std=0.3 * self.hidden**-0.5)
            rows, bounds = sequences(history, met)
            if np.diff(bounds).max(initial=0) > 1:
                known = Rows(np.searchsorted(codes, rows.item), rows.age, bounds, history.group)
                self.gains = self._train(nn.ModuleList([network, ids]), torch.from_numpy(self._inputs(history)[codes]), known, rng)
            self.ids[codes] = ids.weight.detach().numpy()[: len(codes)]
            self.weights = flat(network)

    def place(self, histories: Interactions) -> Floats:
        """By texts and topics, and by what training found out about the items."""
        self._towers = self._network()
        put(self._towers, self.weights)
        self._towers.eval()
        inputs = self._inputs(histories)
        with repeatable(self.seed), torch.inference_mode():
            found = _in_batches(self._towers.item, inputs, self.ids)
        found[~filled(inputs) & ~filled(self.ids)] = 0.0
        return found

    def read(self, histories: Interactions) -> Floats:
        """By their items and their context."""
        rows, bounds = sequences(histories, filled(self.item_vectors))
        given = Rows(rows.item, rows.age, bounds, histories.group)
        users = np.flatnonzero(np.diff(bounds))
        ends = bounds[users + 1]
        items, weight = given.before(ends, bounds[users], self.last, self.profile_decay)
        shape = (len(users), histories.n_items)
        profile = sparse.csr_matrix((weight.ravel(), (np.repeat(np.arange(len(users)), self.last), np.maximum(items, 0).ravel())), shape)
        context = given.context(users, ends, np.zeros(len(users), np.int64), int(self.shape[0]))
        found = np.zeros((histories.n_users, self.hidden))
        with repeatable(self.seed), torch.inference_mode():
            pooled = (profile @ self.item_vectors).astype(np.float32)
            found[users] = _in_batches(self._towers.user, pooled, context.astype(np.float32))
        return found

    def _network(self) -> Towers:
        groups, *widths = self.shape.tolist()
        return Towers(sum(widths), groups, self.hidden, self.dropout)

    def _inputs(self, given: Interactions) -> Singles:
        """Centred text vectors and topics side by side; ValueError when they are not what the model was trained on."""
        _, width, n_topics = self.shape.tolist()
        parts = []
        for what, found, wanted in (("text vector", given.vectors, width), ("topic", given.topics, n_topics)):
            if wanted and (found is None or found.shape[1] != wanted):
                has = "none" if found is None else found.shape[1]
                raise ValueError(
                    f"the model reads {wanted} numbers of an item's {what}s, and there are {has}: train it again on these items"
                )
        if width:
            texts = np.asarray(given.vectors)
            centred = np.where(np.abs(texts).sum(axis=1, keepdims=True) > 0, texts - self.centre, 0.0)
            parts.append(unit(centred))
        if n_topics:
            parts.append(sparse.csr_matrix(given.topics).toarray())
        return np.hstack([np.zeros((given.n_items, 0)), *parts]).astype(np.float32)

    def _train(self, network: nn.ModuleList, inputs: Tensor, given: Rows, rng: np.random.Generator) -> list[float]:
        towers, ids = network
        n, bounds = len(inputs), given.bounds
        user = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
        chosen = kept_back(bounds, rng)
        places = np.setdiff1d(np.arange(len(user)), np.r_[bounds[:-1], bounds[chosen + 1] - 1])
        share = np.bincount(given.item[places], minlength=n) / max(len(places), 1)

        def users(at: Ints, items: Tensor, place: Ints) -> Tensor:
            """Vectors of users as they were before their rows `at`; `items` holds the item i at place[i]."""
            before, weight = given.before(at, bounds[user[at]], self.last, self.profile_decay)
            pooled = torch.einsum("np,npd->nd", torch.from_numpy(weight.astype(np.float32)), items[place[np.maximum(before, 0)]])
            context = given.context(user[at], at, given.age[at], int(self.shape[0]))
            found: Tensor = towers.user(pooled, torch.from_numpy(context.astype(np.float32)))
            return found

        def loss(rows: Ints, rng: np.random.Generator) -> Tensor:
            at = places[rows]
            target = given.item[at]
            before, _ = given.before(at, bounds[user[at]], self.last, self.profile_decay)
            everything = n <= max(FULL_SOFTMAX, self.negatives)
            candidates = np.arange(n) if everything else np.union1d(target, rng.choice(n, self.negatives, replace=False))
            needed = np.union1d(candidates, before[before >= 0])
            place = np.zeros(n, np.int64)
            place[needed] = np.arange(len(needed))
            own = ids(torch.from_numpy(np.where(rng.random(len(needed)) < self.id_dropout, n, needed)))
            items = towers.item(inputs[needed], own)
            states, others = users(at, items, place), items[place[candidates]]
            near = (states * items[place[target]]).sum(dim=1)
            # How often an item is among the candidates: at least once in the batch, or drawn.
            drawn = 1 - (1 - share[candidates]) ** len(at) * (1 - min(self.negatives / n, 1.0))
            expected = None if everything else torch.from_numpy(np.log(drawn).astype(np.float32))
            return softmax_loss(near, torch.from_numpy(target), torch.from_numpy(candidates), states @ others.T, expected, self.temperature)

        def gain() -> float:
            items = towers.item(inputs, ids(torch.arange(n)))
            at = bounds[chosen + 1] - 1
            found = users(at, items, np.arange(n)).numpy().astype(np.float64)
            met = [given.item[first:end] for first, end in zip(bounds[chosen], at, strict=True)]
            return discounted_gain(found, unit(items.numpy()), met, given.item[at])

        options = (self.epochs, self.patience, self.batch, self.learning_rate, self.weight_decay)
        return train(network, np.zeros(len(places), np.int64), loss, gain, rng, *options)


class Rows:
    """Histories one after the other: items, their ages in nights, where each user's begin and end, and the users' language groups."""

    def __init__(self, item: Ints, age: Ints, bounds: Ints, group: Ints) -> None:
        self.item, self.age, self.bounds, self.group = item, age, bounds, group

    def before(self, end: Ints, first: Ints, last: int, decay: float) -> tuple[Ints, Floats]:
        """The `last` items before rows `end`, latest first, −1 = none, and their weights, of sum 1; `first` is the user's first row."""
        at = end[:, None] - 1 - np.arange(last)
        inside = at >= first[:, None]
        weight = inside * decay ** np.arange(last)
        return np.where(inside, self.item[np.maximum(at, 0)], -1), weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)

    def context(self, user: Ints, end: Ints, age: Ints, n_groups: int) -> Floats:
        """(place of the language group, 0 = unknown; logs of 1 + items before row `end` and of 1 + nights from the last one to `age`)."""
        group = np.where(self.group[user] < n_groups, self.group[user], -1) + 1
        nights = np.maximum(self.age[np.maximum(end - 1, 0)] - age, 0) if len(end) else np.zeros(0)
        return np.column_stack([group, np.log1p(end - self.bounds[user]), np.log1p(nights)])


class Towers(nn.Module):
    """Both towers: each adds a small network to what goes straight through, so that it begins as the cosine of texts."""

    def __init__(self, width: int, groups: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.width, self.straight = width, nn.Linear(max(width, 1), hidden, bias=False)
        self.item_wide, self.item_narrow = nn.Linear(max(width, 1), 2 * hidden), nn.Linear(2 * hidden, hidden)
        self.group = nn.Embedding(groups + 1, _GROUP)
        self.user_wide, self.user_narrow = nn.Linear(hidden + _GROUP + _NUMBERS, 2 * hidden), nn.Linear(2 * hidden, hidden)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.straight.weight, std=hidden**-0.5)
        for layer in (self.item_narrow, self.user_narrow):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def item(self, inputs: Tensor, own: Tensor) -> Tensor:
        """Unit vectors from texts with topics, (n, width), and the items' own vectors, (n, hidden), zero where they have none."""
        if not self.width:
            return unit_rows(own)
        wide = self.dropout(functional.gelu(self.item_wide(inputs)))
        return unit_rows(self.straight(inputs) + self.item_narrow(wide) + own)

    def user(self, pooled: Tensor, context: Tensor) -> Tensor:
        """Unit vectors from means of item vectors and from context, (n, 1 + _NUMBERS)."""
        given = torch.cat([pooled, self.group(context[:, 0].long()), context[:, 1:]], dim=1)
        return unit_rows(pooled + self.user_narrow(self.dropout(functional.gelu(self.user_wide(given)))))


def _in_batches(tower: nn.Module | object, first: Singles, second: NDArray[np.float32]) -> Floats:
    """A tower's unit vectors of all rows."""
    found = []
    for at in range(0, len(first), BATCH):
        a, b = first[at : at + BATCH], second[at : at + BATCH]
        fill = ((0, BATCH - len(a)), (0, 0))
        found.append(tower(torch.from_numpy(np.pad(a, fill)), torch.from_numpy(np.pad(b, fill)))[: len(a)].numpy())  # type: ignore[operator]
    return unit(np.concatenate(found)) if found else np.zeros((0, first.shape[1]))
