"""Training of a forecast: nights before a cut to learn from, later ones to stop by and to calibrate on; in one process or in several.

Several processes train one network: each takes its share of every batch, and their gradients are averaged (DistributedDataParallel), so
that the result is that of one process up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional

from recsys_core.evolution.calibration import platt
from recsys_core.evolution.cut import Cut, Moments, Part, moments
from recsys_core.evolution.features import MAX_STEPS, WINDOW, TopicDays, active, inputs, touched
from recsys_core.evolution.network import Forecaster, Network, Recipe, logits, one_thread, tensors
from recsys_core.processes import in_processes
from recsys_core.recommenders.base import Ints

# Moments that means and scales are taken from; batches among which users of about equal history are put together.
_SAMPLE, _SHELF = 2_048, 16


@dataclass(frozen=True)
class Task:
    """How a network is trained.

    patience  epochs without a better validation loss after which it stops
    most      (user, night) pairs of a part, at most about so many
    """

    model: str = "gru"
    hidden: int = 48
    epochs: int = 20
    patience: int = 3
    batch: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    dropout: float = 0.1
    most: int = 20_000
    seed: int = 0
    device: str = "cpu"
    processes: int = 1


def fit(days: TopicDays, cut: Cut, task: Task) -> tuple[Forecaster, list[float]]:
    """A calibrated forecaster, and the validation losses before the first epoch and after each, of which the least is kept.

    Equal input gives equal bytes on one CPU process. ValueError when no user was active before a night of the training or validation part.
    """
    if any(not len(active(days, part.first - WINDOW + 1, part.last)) for part in (cut.train, cut.validation)):
        raise ValueError("nobody was active before the nights that are learnt from, or before those that are chosen by")
    with one_thread():
        state, losses = _train(days, cut, task) if task.processes == 1 else _in_processes(days, cut, task)
    network = Network(_recipe(days, cut, task))
    network.load_state_dict(load(state))
    chosen_by = moments(days, cut.validation, task.most, task.seed)
    found = np.concatenate([out for _, out, _ in logits(network.to(task.device), days, chosen_by.user, chosen_by.day, task.device)])
    came, known = _labels(days, cut, cut.validation, chosen_by.user, chosen_by.day)
    scaling = [platt(found[known[:, n], :, n], came[known[:, n], :, n] > 0) for n in range(len(cut.horizons))]
    return Forecaster(network, np.array(scaling)), losses


def _recipe(days: TopicDays, cut: Cut, task: Task) -> Recipe:
    return Recipe(task.model, tuple(int(t) for t in days.topics), cut.horizons, task.hidden)


def _labels(days: TopicDays, cut: Cut, part: Part, user: Ints, day: Ints) -> tuple[np.ndarray, np.ndarray]:
    """(what was touched (n, topics, horizons) as float32, which horizons are known (n, horizons))."""
    came = np.stack([touched(days, user, day, h) for h in cut.horizons], axis=2).astype(np.float32)
    return came, np.stack([part.knows(day, h) for h in cut.horizons], axis=1)


def _batches(lengths: Ints, size: int, rng: np.random.Generator) -> Iterator[Ints]:
    """All places in random batches; users of about equal history come together, so that little is filled up."""
    order = rng.permutation(len(lengths))
    shelves = [order[n : n + size * _SHELF] for n in range(0, len(order), size * _SHELF)]
    found = []
    for shelf in shelves:
        shelf = shelf[np.argsort(lengths[shelf], kind="stable")]
        found += [shelf[n : n + size] for n in range(0, len(shelf), size)]
    for n in rng.permutation(len(found)):
        yield found[n]


def _train(days: TopicDays, cut: Cut, task: Task, rank: int = 0) -> tuple[bytes, list[float]]:
    """(the best state of the network, validation losses); the work of one process of `task.processes`."""
    torch.manual_seed(task.seed)
    device = task.device if task.device == "cpu" or task.processes == 1 else f"cuda:{rank % torch.cuda.device_count()}"
    given = moments(days, cut.train, task.most, task.seed, back=max(cut.horizons))
    chosen_by = moments(days, cut.validation, task.most, task.seed)
    network = _begun(days, cut, task, given).to(device)
    model: nn.Module = nn.parallel.DistributedDataParallel(network) if task.processes > 1 else network
    optimiser = torch.optim.AdamW(network.parameters(), lr=task.learning_rate, weight_decay=task.weight_decay)
    torch.manual_seed(task.seed + rank)  # what is dropped out differs by process
    begin, end = days.rows(given.user, given.day - WINDOW + 1, given.day)
    lengths, rng = np.minimum(end - begin, MAX_STEPS), np.random.default_rng(task.seed)
    losses, best = list[float](), b""
    for epoch in range(task.epochs + 1):  # before the first epoch it is looked at, too
        model.train()
        for batch in _batches(lengths, task.batch, rng) if epoch else ():
            if len(batch) < task.processes:
                continue
            own = batch[rank :: task.processes]
            user, day = given.user[own], given.day[own]
            optimiser.zero_grad()
            out, _h = model(*tensors(inputs(days, user, day), device))
            loss = (_loss(out, *_labels(days, cut, cut.train, user, day)) * torch.from_numpy(given.weight[own]).to(out)).sum()
            # Gradients are averaged over processes: so scaled they are those of the mean over the whole batch.
            (loss * task.processes / len(batch)).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
        losses.append(_agreed(_validation_loss(network, days, cut, chosen_by, device), device, task.processes))
        if losses[-1] <= min(losses):
            best = save({k: v.detach().cpu().contiguous() for k, v in sorted(network.state_dict().items())})
        if epoch - int(np.argmin(losses)) >= task.patience:
            break
    return best, losses


def _begun(days: TopicDays, cut: Cut, task: Task, given: Moments) -> Network:
    """A network before its first batch: scaled, and expecting how often each topic is touched, by a sample."""
    network = Network(_recipe(days, cut, task), task.dropout)
    sample = np.unique(np.linspace(0, len(given.user) - 1, min(len(given.user), _SAMPLE)).astype(np.int64))
    user, day, weight = given.user[sample], given.day[sample], given.weight[sample]
    sampled = inputs(days, user, day)
    network.standardise(sampled)
    came, known = _labels(days, cut, cut.train, user, day)
    times, of = np.einsum("n,nth,nh->h", weight, came, known), weight @ known * came.shape[1]
    network.expect(sampled, (times + 0.1) / (of + 1.0))
    return network


def _loss(out: Tensor, came: np.ndarray, known: np.ndarray) -> Tensor:
    """Loss of each user over all horizons known: log losses of all topics, and for who touches something the cross entropy of which.

    The second one learns the order of topics where few users come back, so that the first says little else than that.
    """
    target, counts = torch.from_numpy(came).to(out.device), torch.from_numpy(known).to(out.device)
    each = functional.binary_cross_entropy_with_logits(out, target, reduction="none").sum(dim=1)
    which = -(functional.log_softmax(out, dim=1) * target).sum(dim=1) / target.sum(dim=1).clamp(min=1)
    return ((each + which) * counts).sum(dim=1)


def _validation_loss(network: Network, days: TopicDays, cut: Cut, given: Moments, device: str) -> float:
    """Mean loss on the validation part, rounded to 6 decimals."""
    total = 0.0
    for part, out, _ in logits(network, days, given.user, given.day, device):
        total += float(_loss(torch.from_numpy(out), *_labels(days, cut, cut.validation, given.user[part], given.day[part])).double().sum())
    return round(total / len(given.user), 6)


def _agreed(loss: float, device: str, processes: int) -> float:
    """The first process's loss, so that all stop after the same epoch."""
    if processes == 1:
        return loss
    held = torch.tensor([loss], dtype=torch.float64, device=device)
    torch.distributed.broadcast(held, 0)
    return float(held.item())


def _in_processes(days: TopicDays, cut: Cut, task: Task) -> tuple[bytes, list[float]]:
    """What `_train` gives, trained by several processes of this machine."""
    found: tuple[bytes, list[float]] = in_processes(_worker, task.processes, task.device, days, cut, task)[0]
    return found


def _worker(days: TopicDays, cut: Cut, task: Task) -> tuple[bytes, list[float]]:
    with one_thread():
        return _train(days, cut, task, torch.distributed.get_rank())
