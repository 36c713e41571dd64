"""What comes next, by self-attention over what came before."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from recsys_core.recommenders.base import Floats, Interactions, Ints
from recsys_core.recommenders.neural import (
    FULL_SOFTMAX,
    Neural,
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

# Histories that are read at once, filled up to this number: what a history's vector is must not depend on its neighbours.
BATCH = 256


class SASRec(Neural):
    """Scores by a causal Transformer that reads a user's latest items and was trained to tell the next one (Kang and McAuley 2018).

    Other than there, the loss is a softmax over all items of a small catalogue, or over `negatives` drawn for each batch: with one negative
    a target the probability of what is rare is overestimated (Petrov and Macdonald 2023, gSASRec). Users and items are compared by cosine.
    A user whose history holds no item known from training has no scores.

    max_len    latest items that are read;  hidden, blocks, heads, dropout  of the Transformer
    negatives  items sampled uniformly in each batch where the catalogue has more than FULL_SOFTMAX
    epochs     at most, and fewer when the items kept for it are told no better for `patience` epochs
    """

    STATE: ClassVar[Mapping[str, tuple[int, ...]]] = {"items": (0,), "weights": ()}

    def __init__(
        self,
        max_len: int = 50,
        hidden: int = 64,
        blocks: int = 2,
        heads: int = 2,
        dropout: float = 0.5,
        temperature: float = 0.05,
        negatives: int = 512,
        epochs: int = 24,
        patience: int = 6,
        batch: int = 128,
        learning_rate: float = 3e-3,
        weight_decay: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.max_len, self.hidden, self.blocks, self.heads, self.dropout = max_len, hidden, blocks, heads, dropout
        self.temperature, self.negatives, self.epochs, self.patience = temperature, negatives, epochs, patience
        self.batch, self.learning_rate, self.weight_decay, self.seed = batch, learning_rate, weight_decay, seed

    def learn(self, history: Interactions) -> None:
        """Train on each place of each history, except the last ones that tell when to stop."""
        met = known_items(history)
        rows, bounds = sequences(history, met)
        codes = np.flatnonzero(met)
        self.items = np.zeros((history.n_items, self.hidden), np.float32)
        with repeatable(self.seed) as rng:
            network = self._network(len(codes))
            if np.diff(bounds).max(initial=0) > 1:
                self.gains = self._train(network, np.searchsorted(codes, rows.item), bounds, rng)
            self.items[codes] = network.items.weight.detach().numpy()[1:]
            self.weights = flat(network.attention)

    def place(self, histories: Interactions) -> Floats:
        """The vectors of training."""
        known = np.flatnonzero(filled(self.items))
        self._code = np.searchsorted(known, np.arange(len(self.items)))
        self._reader = self._network(len(known))
        with torch.no_grad():
            self._reader.items.weight[1:] = torch.from_numpy(self.items[known])
        put(self._reader.attention, self.weights)
        self._reader.eval()
        return unit(self.items)

    def read(self, histories: Interactions) -> Floats:
        """States after the latest item."""
        rows, bounds = sequences(histories, filled(self.items))
        return self._states([rows.item[max(first, end - self.max_len) : end] for first, end in pairwise(bounds)])

    def similar(self, items: Ints) -> Floats:
        """Cosines of all items to what comes next when an item is all of a history, 0 where negative and for the item itself."""
        known = filled(self.items)
        states = self._states([items[n : n + 1][known[items[n : n + 1]]] for n in range(len(items))])
        found: Floats = np.maximum(states @ self.item_vectors.T, 0.0).round(9)
        found[np.arange(len(items)), items] = 0.0
        return found

    def _network(self, n_items: int) -> Network:
        return Network(n_items, self.max_len, self.hidden, self.blocks, self.heads, self.dropout)

    def _states(self, histories: list[Ints]) -> Floats:
        """Unit vectors of histories of items, zero rows for empty ones; each depends on its own history alone."""
        found = np.zeros((len(histories), self.hidden))
        lengths = np.array([len(h) for h in histories], np.int64)
        # Widths are powers of two, so that a history is always filled up to the same one.
        width = np.minimum(2 ** np.ceil(np.log2(np.maximum(lengths, 1))).astype(np.int64), self.max_len)
        with repeatable(self.seed), torch.inference_mode():
            for w in np.unique(width[lengths > 0]):
                rows = np.flatnonzero((width == w) & (lengths > 0))
                for first in range(0, len(rows), BATCH):
                    part = rows[first : first + BATCH]
                    tokens = np.zeros((BATCH, w), np.int64)
                    for n, row in enumerate(part):
                        tokens[n, w - lengths[row] :] = self._code[histories[row]] + 1
                    found[part] = self._reader(torch.from_numpy(tokens))[: len(part), -1].numpy()
        return unit(found)

    def _train(self, network: Network, item: Ints, bounds: Ints, rng: np.random.Generator) -> list[float]:
        chosen = kept_back(bounds, rng)
        ends = bounds[1:] - np.isin(np.arange(len(bounds) - 1), chosen)  # the last item of these users is kept back
        windows = _windows(bounds[:-1], ends, self.max_len)
        given = np.zeros((len(chosen), self.max_len), np.int64)
        for row, user in enumerate(chosen):
            own = item[max(bounds[user], ends[user] - self.max_len) : ends[user]]
            given[row, self.max_len - len(own) :] = own + 1
        target, given_tokens = item[ends[chosen]], torch.from_numpy(given)
        met = [item[bounds[user] : ends[user]] for user in chosen]

        def loss(rows: Ints, rng: np.random.Generator) -> Tensor:
            first, last = windows[rows].T
            width = int((last - first).max()) - 1
            at = last[:, None] - 1 - width + np.arange(width + 1)
            tokens = torch.from_numpy(np.where(at >= first[:, None], item[np.maximum(at, 0)] + 1, 0))
            return network.loss(tokens, self.negatives, self.temperature, rng)

        def gain() -> float:
            if not len(chosen):
                return 0.0
            users = torch.cat([network(part)[:, -1] for part in given_tokens.split(BATCH)]).numpy()
            items = unit(network.items.weight.detach().numpy()[1:])
            return discounted_gain(unit(users), items, met, target)

        sizes = windows[:, 1] - windows[:, 0]
        options = (self.epochs, self.patience, self.batch, self.learning_rate, self.weight_decay)
        return train(network, sizes, loss, gain, rng, *options)


def _windows(first: Ints, end: Ints, length: int) -> Ints:
    """(first, end) of stretches of at most `length` + 1 items, shape (n, 2): each item but a user's first is once one that is not first.

    >>> _windows(np.array([0, 7]), np.array([7, 8]), 3).tolist()
    [[0, 4], [3, 7]]
    """
    found = [(max(stop - length - 1, f), stop) for f, e in zip(first, end, strict=True) for stop in range(e, f + 1, -length)]
    return np.array(sorted(found), np.int64).reshape(-1, 2)


class Network(nn.Module):
    """Item vectors, token 0 = filling, and attention over them; `forward` gives the state at each place, (n, length, hidden)."""

    def __init__(self, n_items: int, max_len: int, hidden: int, blocks: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items + 1, hidden)
        nn.init.normal_(self.items.weight, std=hidden**-0.5)
        self.attention = Attention(max_len, hidden, blocks, heads, dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """States of histories that end at the last place."""
        found: Tensor = self.attention(self.items(tokens), tokens > 0)
        return found

    def loss(self, tokens: Tensor, negatives: int, temperature: float, rng: np.random.Generator) -> Tensor:
        """Loss of each token but the first of its history, by the state before it."""
        n_items = self.items.num_embeddings - 1
        wanted = tokens[:, :-1] > 0
        target = tokens[:, 1:][wanted] - 1
        states = unit_rows(self(tokens[:, :-1])[wanted])
        everything = n_items <= max(FULL_SOFTMAX, negatives)
        candidates = torch.arange(n_items) if everything else torch.from_numpy(rng.choice(n_items, negatives, replace=False))
        near = (states * unit_rows(self.items(target + 1))).sum(dim=1)
        cosine = states @ unit_rows(self.items(candidates + 1)).T
        expected = None if everything else torch.full((negatives,), float(np.log(negatives / n_items)))
        return softmax_loss(near, target, candidates, cosine, expected, temperature)


class Attention(nn.Module):
    """Pre-norm causal Transformer; places are counted from the last one, which so is the same however long the history is."""

    def __init__(self, max_len: int, hidden: int, blocks: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.place = nn.Embedding(max_len, hidden)
        nn.init.normal_(self.place.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(hidden, heads, dropout) for _ in range(blocks))
        self.norm, self.dropout = nn.LayerNorm(hidden), nn.Dropout(dropout)

    def forward(self, items: Tensor, known: Tensor) -> Tensor:
        """States (n, length, hidden) from item vectors and where there are any."""
        length = items.shape[1]
        places = self.place(torch.arange(length - 1, -1, -1))
        states = self.dropout(items * items.shape[2] ** 0.5 + places) * known[:, :, None]
        # Filling stands before a history: it is looked at by itself alone.
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        allowed = (causal & known[:, None, :]) | torch.eye(length, dtype=torch.bool)
        for block in self.blocks:
            states = block(states, allowed[:, None])
        found: Tensor = self.norm(states)
        return found


class Block(nn.Module):
    """Self-attention, then a network at each place, each added to what came in."""

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.split, self.join = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.wide, self.narrow = nn.Linear(hidden, 4 * hidden), nn.Linear(4 * hidden, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, allowed: Tensor) -> Tensor:
        """States after the block."""
        n, length, hidden = states.shape
        q, k, v = self.split(self.before(states)).view(n, length, 3, self.heads, hidden // self.heads).permute(2, 0, 3, 1, 4)
        met = functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        states = states + self.dropout(self.join(met.transpose(1, 2).reshape(n, length, hidden)))
        found: Tensor = states + self.dropout(self.narrow(functional.gelu(self.wide(self.between(states)))))
        return found
