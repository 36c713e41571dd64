"""Text encoders by name: unit vectors that depend on their text alone, and the id of the space they live in.

Importing this loads nothing heavy: `space_of` is asked for every job of every night. A new encoder is one module with `space()` and
`Encoder(device, backend)` and one line here; a family of encoders ends in a colon, and its functions get what follows it in a name. A
fitted one has `restore(files, device, backend)` and, when texts are all it needs, `fit(texts)`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import ModuleType
from typing import Protocol, cast

import numpy as np

ENCODERS: dict[str, str] = {
    "bilingual": "recsys_core.encoders.bilingual",
    "minilm": "recsys_core.encoders.minilm",
    "hf:": "recsys_core.encoders.huggingface",
}
# Encoders that come into being in training: each fit is a registered version, and its name is the space's id (see `versions`).
FITTED: dict[str, str] = {
    "fine_tuned": "recsys_core.encoders.fine_tuned",
    "lsa": "recsys_core.encoders.lsa",
}


class TextEncoder(Protocol):
    """What an encoder's class offers."""

    dimensions: int
    device: str  # where it runs: cpu or cuda
    made_by: Mapping[str, str]  # what vectors' manifests say of how they were computed

    def encode(self, texts: Sequence[str], say: Callable[[str], None] | None = None) -> np.ndarray:
        """Unit vectors of the texts, float16, shape (len(texts), dimensions), in their order."""


def check(name: str) -> None:
    """RuntimeError, with the names that there are, for one that is not registered."""
    family, colon, rest = name.partition(":")
    if name not in FITTED and (family + colon not in ENCODERS or bool(colon) != bool(rest)):
        named = ", ".join(f"{n}<folder or Hugging Face id>" if n.endswith(":") else n for n in sorted([*ENCODERS, *FITTED]))
        raise RuntimeError(f"no encoder is named {name!r}: set ENCODER to one of {named}")


def _maker(name: str) -> tuple[ModuleType, tuple[str, ...]]:
    """(module of an encoder that is not fitted, what its functions are given first)."""
    check(name)
    if name in FITTED:
        raise RuntimeError(f"{name} is fitted in training: its versions are opened by `versions.open_space`")
    family, colon, rest = name.partition(":")
    return importlib.import_module(ENCODERS[family + colon]), (rest,) if colon else ()


@cache
def space_of(name: str) -> str:
    """Id of an encoder's embedding space: equal for two runs only when equal texts get equal vectors; RuntimeError for an unknown name."""
    module, named = _maker(name)
    return cast(str, module.space(*named))


@cache
def load(name: str, device: str = "auto", backend: str = "auto") -> TextEncoder:
    """An encoder with its weights, loaded once per process, on 'cpu', 'cuda' or, by 'auto', the GPU if there is one.

    backend  what computes on a CPU: see `transformer.Encoder`

    Raises RuntimeError for an unknown name, a missing GPU and a backend that is missing or not near enough.
    """
    module, named = _maker(name)
    return cast(TextEncoder, module.Encoder(*named, device, backend))


def fitter(name: str) -> Callable[[Sequence[str]], dict[str, bytes]] | None:
    """The function that makes a fitted encoder's files from texts; None for one that is not fitted on texts alone."""
    return cast("Callable[[Sequence[str]], dict[str, bytes]] | None", getattr(importlib.import_module(FITTED[name]), "fit", None))


def restore(name: str, files: dict[str, bytes], device: str = "auto", backend: str = "auto") -> TextEncoder:
    """A fitted encoder from the files of one of its versions."""
    return cast(TextEncoder, importlib.import_module(FITTED[name]).restore(files, device, backend))
