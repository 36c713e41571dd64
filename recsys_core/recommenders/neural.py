"""What neural recommenders share: users and items as unit vectors of one space, training that repeats itself, evidence by leaving out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from recsys_core.evolution.network import one_thread
from recsys_core.recommenders.base import Floats, Interactions, Ints, Recommender

Singles = NDArray[np.float32]
# The catalogue up to which every item stands in the denominator of the softmax; above it a sample does.
FULL_SOFTMAX = 2_000
# Users by whose last item training is stopped: a tenth of all, or so many where that is less (half of few), at most the second number.
_FEW_USERS, _MANY_USERS = 200, 2_000
# Batches an epoch has at least, as far as there are rows: little data takes as many steps as much.
_BATCHES = 8
# Rows of an epoch, at most: a random part of larger data. Pairs whose evidence is looked for at once.
_EPOCH, _PAIRS = 200_000, 4_096


class Neural(Recommender):
    """Scores exp((cosine of user and item − 1) / temperature): softmax over items up to a factor of the user's, 0 where one is unknown.

    That factor makes no difference to a ranking, and without it what is scored depends on no other item. A subclass says where items and
    users lie: `place` and `read` give unit vectors, zero rows = unknown.
    """

    temperature: float
    seed: int
    weights: Singles
    # Latest items of a history that evidence is looked for among.
    LOOKED_AT: ClassVar[int] = 10

    @abstractmethod
    def place(self, histories: Interactions) -> Floats:
        """Unit vectors of the items, as far as the model or the histories know them; called before `read`."""

    @abstractmethod
    def read(self, histories: Interactions) -> Floats:
        """Unit vectors of the users, each of which depends on the user's own history alone."""

    def meet(self, histories: Interactions) -> None:
        """Place the items, then the users."""
        self.histories = histories
        self.item_vectors = self.place(histories)
        self.user_vectors = self.read(histories)

    def scores(self, users: Ints) -> Floats:
        """Softmax scores; see the class."""
        return _softmax_scores(self.user_vectors[users], self.item_vectors, self.temperature)

    def evidence(self, users: Ints, items: Ints) -> Ints:
        """The one of the user's latest items without which the score falls most: histories are read again without each of them."""
        who, row = np.unique(users, return_inverse=True)
        latest, without = self._without_each(who)
        found = np.full(len(users), -1, np.int64)
        for first in range(0, len(users), _PAIRS):
            part = slice(first, first + _PAIRS)
            of, towards = row[part], self.item_vectors[items[part]]
            whole = np.einsum("nd,nd->n", self.user_vectors[users[part]], towards).round(6)
            left = np.einsum("npd,nd->np", without[of], towards).round(6)
            left[~filled(without[of])] = -np.inf  # nothing is left of the user
            left[latest[of] < 0] = np.inf
            best = left.argmin(axis=1)
            falls = (left[np.arange(len(of)), best] < whole) & filled(towards)
            found[part][falls] = latest[of, best][falls]
        return found

    def _without_each(self, users: Ints) -> tuple[Ints, Floats]:
        """The users' latest known items, ascending, −1 = none, shape (n, LOOKED_AT), and user vectors without each, (n, LOOKED_AT, d)."""
        given, known = self.histories, filled(self.item_vectors)
        latest = np.full((len(users), self.LOOKED_AT), -1, np.int64)
        rows, at = [np.empty(0, np.int64)], list[tuple[int, int]]()
        for row, (first, end) in enumerate(np.searchsorted(given.user, np.column_stack([users, users + 1]))):
            items, liked = given.item[first:end], (given.weight[first:end] > 0) & known[given.item[first:end]]
            own = np.unique(items[liked][-self.LOOKED_AT :])
            latest[row, : len(own)] = own
            rows += [first + np.flatnonzero(items != i) for i in own]
            at += [(row, n) for n in range(len(own))]
        lengths = [len(r) for r in rows[1:]]
        taken = np.concatenate(rows)
        owner, group = np.repeat(np.arange(len(at)), lengths), given.group[users[[row for row, _ in at]]]
        item, weight, age = given.item[taken], given.weight[taken], given.age[taken]
        left = replace(given, user=owner, item=item, weight=weight, age=age, n_users=len(at), group=group)
        found = np.zeros((*latest.shape, self.item_vectors.shape[1]))
        if at:
            found[tuple(np.array(at).T)] = self.read(left)
        return latest, found

    def similar(self, items: Ints) -> Floats:
        """Cosines of item vectors, 0 where negative and for the item itself."""
        found: Floats = np.maximum(self.item_vectors[items] @ self.item_vectors.T, 0.0).round(9)
        found[np.arange(len(items)), items] = 0.0
        return found


def _softmax_scores(users: Floats, items: Floats, temperature: float) -> Floats:
    # Rounded before the exponential, because a product's last bits depend on the row's place in the block.
    found: Floats = np.exp(((users @ items.T - 1) / temperature).round(6))
    found[~filled(users)] = 0.0
    found[:, ~filled(items)] = 0.0
    return found


def flat(network: nn.Module) -> Singles:
    """All weights of a network as one vector."""
    return torch.nn.utils.parameters_to_vector(network.parameters()).detach().numpy().copy()


def put(network: nn.Module, weights: Singles) -> None:
    """Give a network the weights that `flat` took from one like it; ValueError when it is not like it."""
    expected = sum(p.numel() for p in network.parameters())
    if expected != len(weights):
        raise ValueError(f"the model has {len(weights)} weights and its parameters ask for {expected}: train it again")
    torch.nn.utils.vector_to_parameters(torch.from_numpy(weights), network.parameters())


@contextmanager
def repeatable(seed: int) -> Iterator[np.random.Generator]:
    """One thread, and random numbers that begin with the seed; those of the process go on afterwards as if nothing had been."""
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield np.random.default_rng(seed)


def train(
    network: nn.Module,
    sizes: Ints,
    loss: Callable[[Ints, np.random.Generator], Tensor],
    gain: Callable[[], float],
    rng: np.random.Generator,
    epochs: int,
    patience: int,
    batch: int,
    learning_rate: float,
    weight_decay: float,
) -> list[float]:
    """Train in place by AdamW, its rate falling to nothing along the epochs; the weights of the epoch with the largest gain stay.

    Returns the gain after each epoch.

    sizes  by row; rows of about equal size share batches, so that little is filled up
    loss   of a batch of rows;  gain  of the network as it is, on what training does not see
    """
    optimiser = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
    size = int(np.clip(len(sizes) // _BATCHES, 1, batch))
    gains, best = list[float](), flat(network)
    for epoch in range(epochs):
        network.train()
        for parameters in optimiser.param_groups:
            parameters["lr"] = learning_rate * (1 - epoch / epochs)
        for rows in _batches(sizes, size, rng):
            optimiser.zero_grad()
            loss(rows, rng).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
        network.eval()
        with torch.inference_mode():
            gains.append(round(gain(), 6))
        if gains[-1] >= max(gains):
            best = flat(network)
        if epoch - int(np.argmax(gains)) >= patience:
            break
    put(network, best)
    network.eval()
    return gains


def _batches(sizes: Ints, size: int, rng: np.random.Generator) -> Iterator[Ints]:
    order = rng.permutation(len(sizes))[:_EPOCH]
    shelf = 16 * size
    found = []
    for first in range(0, len(order), shelf):
        rows = order[first : first + shelf]
        rows = rows[np.argsort(sizes[rows], kind="stable")]
        found += [rows[n : n + size] for n in range(0, len(rows), size)]
    for n in rng.permutation(len(found)):
        yield found[n]


def softmax_loss(
    near: Tensor, target: Tensor, candidates: Tensor, cosine: Tensor, log_expected: Tensor | None, temperature: float
) -> Tensor:
    """Mean cross entropy of each row's target among itself and the candidates, by cosines over temperature.

    near          (n,) cosine to the target;  target (n,) its code
    candidates    (c,) codes, the same for all rows;  cosine (n, c) to them
    log_expected  (c,) log of how often the sample holds each candidate on average, taken off its logit: the loss is then that of the
                  softmax over all items, about (Bengio and Senécal 2008); None when the candidates are all items
    """
    logits = cosine / temperature
    if log_expected is not None:
        logits = logits - log_expected
    logits = logits.masked_fill(candidates == target[:, None], -torch.inf)
    own = near / temperature
    return (torch.logsumexp(torch.cat([own[:, None], logits], dim=1), dim=1) - own).mean()


def discounted_gain(users: Floats, items: Floats, met: Sequence[Ints], target: Ints) -> float:
    """Mean of 1 / log2(1 + rank) of each user's target among all items that they have not met; `met` holds those by user."""
    total = 0.0
    for first in range(0, len(target), _PAIRS // 16):
        part = slice(first, first + _PAIRS // 16)
        cosine = users[part] @ items.T
        own = np.take_along_axis(cosine, target[part, None], axis=1)
        for row, codes in enumerate(met[part]):
            cosine[row, codes] = -np.inf
        total += float((1 / np.log2(2 + (cosine > own).sum(axis=1))).sum())
    return total / max(len(target), 1)


def unit_rows(x: Tensor) -> Tensor:
    """Rows of length one."""
    return functional.normalize(x, dim=-1)


def sequences(history: Interactions, known: NDArray[np.bool_]) -> tuple[Interactions, Ints]:
    """(rows, bounds): the known items that users turned to, less those that repeat the one before; user u has bounds[u] … bounds[u + 1]."""
    liked = history.positive()
    liked = liked.take(known[liked.item])
    new = np.r_[True, (liked.user[1:] != liked.user[:-1]) | (liked.item[1:] != liked.item[:-1])][: len(liked.user)]
    liked = liked.take(new)
    return liked, np.r_[0, np.cumsum(np.bincount(liked.user, minlength=history.n_users))]


def known_items(history: Interactions) -> NDArray[np.bool_]:
    """Which items somebody turned to."""
    found: NDArray[np.bool_] = np.bincount(history.positive().item, minlength=history.n_items) > 0
    return found


def kept_back(bounds: Ints, rng: np.random.Generator) -> Ints:
    """The users, sorted, whose last items are kept from training to stop it by; each has three items at least."""
    able = np.flatnonzero(np.diff(bounds) > 2)
    number = min(max(len(able) // 10, min((len(able) + 1) // 2, _FEW_USERS)), _MANY_USERS)
    return np.sort(rng.permutation(able)[:number])


def filled(rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows are not all zeros."""
    found: NDArray[np.bool_] = np.any(rows != 0, axis=-1)
    return found


def unit(rows: NDArray[Any]) -> Floats:
    """Rows of length one, float64; zero rows stay."""
    wide = rows.astype(np.float64)
    length = np.linalg.norm(wide, axis=-1, keepdims=True)
    return np.divide(wide, length, where=length > 1e-9, out=np.zeros_like(wide))
