"""How interests go on: sequence models of users' nights by name, under one contract, that say which topics are touched next.

A new sequence model is one module with a class that offers what `SequenceModel` lists, and one line here.
"""

from __future__ import annotations

import datetime as dt
import importlib
from typing import TYPE_CHECKING, Any, Protocol

from recsys_core import registry

if TYPE_CHECKING:
    from torch import Tensor

    from recsys_core.lake import Lake

SEQUENCE_MODELS: dict[str, str] = {
    "gru": "recsys_core.evolution.gru:Gru",
    "transformer": "recsys_core.evolution.transformer:CausalTransformer",
}

# Kind of the registered versions that nights use; those of another sequence model stand beside it under a kind of their own.
KIND = "forecast"
HORIZONS = (1, 7)


class SequenceModel(Protocol):
    """A torch module, made with (width of a step, width of the hidden state)."""

    def __call__(self, steps: Tensor, lengths: Tensor) -> Tensor:
        """Hidden states h (n, hidden) after the last step of each of n users.

        `steps` (n, longest, width) are filled up behind each user's `lengths` ≥ 1 first ones; a state depends on those alone, and on their
        order.
        """


def sequence_model(name: str) -> Any:
    """The class of a registered sequence model; ValueError for an unknown name."""
    if name not in SEQUENCE_MODELS:
        raise ValueError(f"no sequence model is named {name!r}: there are {', '.join(SEQUENCE_MODELS)}")
    module, cls = SEQUENCE_MODELS[name].split(":")
    return getattr(importlib.import_module(module), cls)


def kind_of(name: str, champion: str) -> str:
    """The kind under which a sequence model's versions are registered where nights use the model `champion`."""
    return KIND if name == champion else f"{KIND}_{name}"


def valid_for(lake: Lake, ds: dt.date, topics: str | None) -> registry.ModelVersion | None:
    """The version that a night under the topic model `topics` uses: of those in use, valid from ds or before and trained on the topics of
    that model, the newest; None when there is none.
    """
    found = [
        v for v in registry.versions(lake, KIND) if v.promoted_at and v.valid_from_ds <= ds.isoformat() and v.params["topics"] == topics
    ]
    return max(found, key=lambda v: (v.valid_from_ds, v.promoted_at or "", v.model_version), default=None)
