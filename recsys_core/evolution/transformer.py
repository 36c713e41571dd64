"""A small causal Transformer (Vaswani et al. 2017) over a user's active nights: a night attends to itself and to those before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from recsys_core.evolution.features import MAX_STEPS

LAYERS, HEADS = 2, 4


class CausalTransformer(nn.Module):
    """Pre-norm layers; places are counted from the last night, which so has the same place however long the history is."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        if hidden % HEADS:
            raise ValueError(f"the hidden state of a transformer has a multiple of {HEADS} numbers, not {hidden}")
        self.enter = nn.Linear(width, hidden)
        self.place = nn.Embedding(MAX_STEPS, hidden)
        self.layers = nn.ModuleList(_Layer(hidden) for _ in range(LAYERS))
        self.norm = nn.LayerNorm(hidden)

    def forward(self, steps: Tensor, lengths: Tensor) -> Tensor:
        """See `SequenceModel`."""
        at = torch.arange(steps.shape[1], device=steps.device)
        states = self.enter(steps) + self.place((lengths[:, None] - 1 - at).clamp(min=0))
        for layer in self.layers:
            states = layer(states)
        found: Tensor = self.norm(states[torch.arange(len(steps), device=steps.device), lengths - 1])
        return found


class _Layer(nn.Module):
    """Causal self-attention, then a network at each place, each added to what came in."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.split, self.join = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.wide, self.narrow = nn.Linear(hidden, 2 * hidden), nn.Linear(2 * hidden, hidden)

    def forward(self, states: Tensor) -> Tensor:
        n, length, hidden = states.shape
        q, k, v = self.split(self.before(states)).view(n, length, 3, HEADS, hidden // HEADS).permute(2, 0, 3, 1, 4)
        # What fills a sequence up stands behind it, where nothing of it looks.
        met = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        states = states + self.join(met.transpose(1, 2).reshape(n, length, hidden))
        found: Tensor = states + self.narrow(functional.gelu(self.wide(self.between(states))))
        return found
