"""Text encoders by name: unit vectors that depend on their text alone, and the id of the space they live in.

Importing this loads nothing heavy: `space_of` is asked for every job of every night. A new encoder is one module with `space()` and
`Encoder(device)` and one line here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Protocol, cast

import numpy as np

ENCODERS: dict[str, str] = {
    "minilm": "recsys_core.encoders.minilm",
}


class TextEncoder(Protocol):
    """What an encoder's class offers."""

    dimensions: int
    device: str  # where it runs: cpu or cuda

    def encode(self, texts: Sequence[str], say: Callable[[str], None] | None = None) -> np.ndarray:
        """Unit vectors of the texts, float16, shape (len(texts), dimensions), in their order."""


def _module(name: str) -> ModuleType:
    if name not in ENCODERS:
        raise RuntimeError(f"no encoder is named {name!r}: set ENCODER to one of {', '.join(ENCODERS)}")
    return importlib.import_module(ENCODERS[name])


@cache
def space_of(name: str) -> str:
    """Id of an encoder's embedding space: equal for two runs only when equal texts get equal vectors; RuntimeError for an unknown name."""
    return cast(str, _module(name).space())


@cache
def load(name: str, device: str = "auto") -> TextEncoder:
    """An encoder with its weights, loaded once per process, on 'cpu', 'cuda' or, by 'auto', the GPU if there is one.

    Raises RuntimeError for an unknown name or a missing GPU.
    """
    return cast(TextEncoder, _module(name).Encoder(device))
