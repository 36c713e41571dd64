"""The network of a forecast: a sequence model over the user's nights beside a head on numbers about user and topic that all topics share.

logit(user, topic, horizon) = blend(logs of shares) + shared(numbers about user and topic, numbers about the user, h) + own(h), where h is
the sequence model's hidden state. It begins as the mean of simple forecasts, so that little data does little harm; the shared head needs
few users to learn how interests last; the own weights of the topics learn which topic follows which.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional

from recsys_core.evolution import sequence_model
from recsys_core.evolution.features import N_BLENDS, N_CALENDAR, N_TOPIC, N_USER, Inputs, Singles, TopicDays, inputs
from recsys_core.lake import canonical_json
from recsys_core.recommenders.base import Floats, Ints

WEIGHTS, CONFIG = "forecast.safetensors", "forecast.json"
CONTEXT, WIDE = 16, 32
# Users of a batch that is only looked at; a batch is all that is held of a forecast at a time.
BATCH = 512


@dataclass(frozen=True)
class Recipe:
    """What a network is made by: its sequence model, the topics in order, the horizons in nights, the width of the hidden state."""

    model: str
    topics: tuple[int, ...]
    horizons: tuple[int, ...]
    hidden: int


class Network(nn.Module):
    """See the module; `forward` gives (logits (n, topics, horizons), h (n, hidden))."""

    def __init__(self, recipe: Recipe, dropout: float = 0.0) -> None:
        super().__init__()
        self.recipe = recipe
        k, n = len(recipe.topics), len(recipe.horizons)
        for name, width in (("topic", N_TOPIC), ("user", N_USER)):
            self.register_buffer(f"{name}_mean", torch.zeros(width))
            self.register_buffer(f"{name}_scale", torch.ones(width))
        self.sequence = sequence_model(recipe.model)(k + N_CALENDAR, recipe.hidden)
        self.context = nn.Linear(N_USER + recipe.hidden, CONTEXT)
        self.enter, self.given = nn.Linear(N_TOPIC, WIDE), nn.Linear(CONTEXT, WIDE, bias=False)
        self.leave, self.blend = nn.Linear(WIDE, n), nn.Linear(N_BLENDS, n, bias=False)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)
        nn.init.constant_(self.blend.weight, 1 / N_BLENDS)
        self.own = nn.Linear(recipe.hidden, k * n)
        nn.init.zeros_(self.own.weight)
        nn.init.zeros_(self.own.bias)
        self.dropout = nn.Dropout(dropout)

    def standardise(self, given: Inputs) -> None:
        """Take means and scales of the numbers from a sample."""
        for name, values in (("topic", given.topic.reshape(-1, N_TOPIC)), ("user", given.user)):
            getattr(self, f"{name}_mean").copy_(torch.from_numpy(values.mean(axis=0, dtype=np.float64)))
            getattr(self, f"{name}_scale").copy_(torch.from_numpy(np.maximum(values.std(axis=0, dtype=np.float64), 1e-3)))

    def expect(self, given: Inputs, rates: Floats) -> None:
        """Begin with as many touches as there are: `rates` (horizons,) of the user's topics, on the whole, are touched."""
        said = np.exp(given.topic[:, :, -N_BLENDS:].mean(axis=2, dtype=np.float64)).mean()
        with torch.no_grad():
            self.own.bias.copy_(torch.from_numpy(np.log(rates / said)).repeat(len(self.recipe.topics)))

    def forward(self, steps: Tensor, lengths: Tensor, topic: Tensor, user: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and hidden states of a batch."""
        h: Tensor = self.sequence(steps, lengths)
        seen = self.dropout(h)
        simple = self.blend(topic[:, :, -N_BLENDS:])
        topic = ((topic - self.topic_mean) / self.topic_scale).clamp(-5, 5)
        user = ((user - self.user_mean) / self.user_scale).clamp(-5, 5)
        context = functional.gelu(self.context(torch.cat([user, seen], dim=1)))
        shared = self.leave(functional.gelu(self.enter(topic) + self.given(context)[:, None]))
        return simple + shared + self.own(seen).view(shared.shape), h


def tensors(given: Inputs, device: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs as the network takes them."""
    found = (torch.from_numpy(x).to(device) for x in (given.steps, given.lengths, given.topic, given.user))
    return tuple(found)


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums in one order, however many cores there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def logits(network: Network, days: TopicDays, user: Ints, day: Ints, device: str = "cpu") -> Iterator[tuple[slice, Singles, Singles]]:
    """(which users, logits, hidden states) batch by batch, for users as of the ends of their nights `day`."""
    network.eval()
    for first in range(0, len(user), BATCH):
        part = slice(first, min(first + BATCH, len(user)))
        with one_thread(), torch.inference_mode():
            out, h = network(*tensors(inputs(days, user[part], day[part]), device))
        yield part, out.cpu().numpy(), h.cpu().numpy()


@dataclass(frozen=True)
class Forecaster:
    """A trained network with its calibration: p = 1 / (1 + e^−(a · logit + b)) for each horizon (Platt 1999), `scaling` (horizons, 2)."""

    network: Network
    scaling: Floats

    @property
    def recipe(self) -> Recipe:
        """What the network is made by."""
        return self.network.recipe

    def probabilities(self, days: TopicDays, user: Ints, day: Ints, device: str = "cpu") -> Iterator[tuple[slice, Floats, Singles]]:
        """(which users, calibrated probabilities (n, topics, horizons), hidden states) batch by batch."""
        for part, found, h in logits(self.network.to(device), days, user, day, device):
            yield part, 1 / (1 + np.exp(-(self.scaling[:, 0] * found.astype(np.float64) + self.scaling[:, 1]))), h

    def save(self) -> dict[str, bytes]:
        """The forecaster as named files that need no pickle."""
        state = {k: v.detach().cpu().contiguous() for k, v in sorted(self.network.state_dict().items())}
        config = asdict(self.recipe) | {"scaling": [[float(x) for x in pair] for pair in self.scaling]}
        return {WEIGHTS: save(state), CONFIG: canonical_json(config).encode()}


def restore(files: dict[str, bytes]) -> Forecaster:
    """The forecaster that `save` wrote."""
    config: dict[str, Any] = json.loads(files[CONFIG])
    recipe = Recipe(config["model"], tuple(config["topics"]), tuple(config["horizons"]), config["hidden"])
    network = Network(recipe)
    network.load_state_dict(load(files[WEIGHTS]))
    return Forecaster(network.eval(), np.array(config["scaling"], np.float64))
