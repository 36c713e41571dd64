"""A gated recurrent unit (Cho et al. 2014) over a user's active nights: h_t = f(h_(t−1), x_t)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Gru(nn.Module):
    """One layer; a night costs the same however long the history is."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.cell = nn.GRU(width, hidden, batch_first=True)

    def forward(self, steps: Tensor, lengths: Tensor) -> Tensor:
        """See `SequenceModel`."""
        states, _ = self.cell(steps)
        found: Tensor = states[torch.arange(len(steps), device=steps.device), lengths - 1]
        return found
