"""Vectors of texts from a pretrained transformer: tokens, forward pass, pooling, unit length.

What a vector depends on is its text, the weights and the recipe. It does not depend on what is embedded with it: every forward pass has one
of a few fixed shapes (what is missing is filled up), and on a CPU each is computed by one thread, so that neither neighbours nor the number
of cores change a sum's order. Several passes run side by side, one per core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from recsys_core.encoders import forward
from recsys_core.encoders.recipe import Recipe

BACKENDS = ("auto", "torch", "openvino")
SAY_EVERY = 2_000
TOKENIZED_AT_ONCE = 4_096


class Encoder:
    """A transformer of the folder `model_dir` on one device.

    prepare  what is done to a text before all else (words in another language, say)
    module   a transformers model to use instead of the folder's weights: fine-tuned ones
    backend  what computes on a CPU: `auto` is `torch`; `openvino` is an extra, see `backends`

    RuntimeError for a GPU that is not there, and for a backend that is not installed or not near enough to float32.
    """

    def __init__(
        self,
        model_dir: Path | str,
        recipe: Recipe,
        device: str = "auto",
        backend: str = "auto",
        *,
        prepare: Callable[[str], str] | None = None,
        module: Any = None,
    ) -> None:
        import torch

        if device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("no GPU is to be seen: set DEVICE=cpu or auto, or mend the CUDA installation")
        if backend not in BACKENDS:
            raise RuntimeError(f"no backend is named {backend!r}: set ENCODER_BACKEND to one of {', '.join(BACKENDS)}")
        self.device = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
        self.recipe, self.model_dir = recipe, Path(model_dir)
        self._prepare = prepare
        self._tokenizer = forward.load_tokenizer(model_dir)
        module = module or forward.load_module(model_dir)
        self.dimensions: int = module.config.hidden_size
        # Special tokens alone: what fills up a batch, and a text of no tokens at all.
        self._filler = np.array(self._tokenizer("")["input_ids"] or [self._tokenizer.eos_token_id or 0], np.int32)
        if self.device == "cpu" and backend not in ("auto", "torch"):
            from recsys_core.encoders import backends

            self._forward = backends.open_checked(backend, module, recipe, self._filler, self._tokens)
        else:
            self._forward = forward.open_torch(module, recipe, self._filler, self.device)

    def encode(self, texts: Sequence[str], say: Callable[[str], None] | None = None) -> np.ndarray:
        """Unit vectors of the texts in their order, float16, shape (len(texts), dimensions).

        Equal texts are embedded once; `say` gets a counted line every SAY_EVERY texts.
        """
        place: dict[str, int] = {}
        rows = [place.setdefault(text, len(place)) for text in texts]
        vectors = np.zeros((len(place), self.dimensions), np.float16)
        done = 0
        for members, found in self._vectors(list(place)):
            vectors[members] = found
            before, done = done, done + len(members)
            if say and (done // SAY_EVERY > before // SAY_EVERY or done == len(place)):
                say(f"embedded {done:,} of {len(place):,} texts")
        return vectors[rows] if texts else vectors

    def _vectors(self, texts: list[str]) -> Iterator[tuple[list[int], np.ndarray]]:
        """(places, their vectors) of one forward pass after another."""
        tokens = self._tokens(texts)
        batches = self._forward.batches(tokens)
        with forward.side_by_side(self.device) as (pool, workers):
            while chunk := list(islice(batches, 8 * workers)):
                passes = pool.map(self._forward.vectors, ([tokens[m] for m in members] for members in chunk))
                yield from zip(chunk, passes, strict=True)

    def _tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Ids of the tokens of each text, at most max_tokens."""
        tokens: list[np.ndarray] = []
        for at in range(0, len(texts), TOKENIZED_AT_ONCE):
            given = [self.wording(text) for text in texts[at : at + TOKENIZED_AT_ONCE]]
            found = self._tokenizer(given, truncation=True, max_length=self.recipe.max_tokens, padding=False, return_attention_mask=False)
            tokens += [np.array(ids, np.int32) if ids else self._filler for ids in found["input_ids"]]
        return tokens

    def wording(self, text: str) -> str:
        """The text as the tokenizer is given it."""
        text = self.recipe.prefix + (self._prepare(text) if self._prepare else text)
        return text.lower() if self.recipe.lower_case else text
