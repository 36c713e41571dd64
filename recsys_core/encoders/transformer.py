"""Vectors of texts from a pretrained transformer: tokens, forward pass, pooling, unit length.

What a vector depends on is its text, the weights and the recipe. It does not depend on what is embedded with it: every forward pass has one
of a few fixed shapes (what is missing is filled up), and on a CPU each is computed by one thread, so that neither neighbours nor the number
of cores change a sum's order. Several passes run side by side, one per core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from recsys_core.encoders import backends, forward
from recsys_core.encoders.recipe import Recipe
from recsys_core.encoders.tokens import tokenizer

SAY_EVERY = 2_000
# Texts of which batches are made at once, while the next ones are cut into tokens.
WINDOW = {"cpu": 8_192, "cuda": 131_072}


class Encoder:
    """A transformer of the folder `model_dir` on one device.

    prepare  what is done to a text before all else (words in another language, say)
    module   a transformers model to use instead of the folder's weights: fine-tuned ones
    backend  what computes on a CPU: `auto` is `torch`; `int8` is faster and coarser, `openvino` an extra, see `backends`

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
        if backend not in backends.NAMES:
            raise RuntimeError(f"no backend is named {backend!r}: set ENCODER_BACKEND to one of {', '.join(backends.NAMES)}")
        self.device = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
        self.recipe, self.model_dir = recipe, Path(model_dir)
        self._prepare = prepare
        self._tokenize = tokenizer(self.model_dir, recipe.max_tokens)
        # Special tokens alone: what fills up a batch, and a text of no tokens at all.
        filler = self._tokenize([""])[0]
        found = backends.opened(self.model_dir, module, recipe, filler, self.device, backend, self.tokens)
        self.dimensions, self._forward = found.dimensions, found.forward
        self.made_by = {"device": self.device}
        if found.cosine is not None:
            self.made_by |= {"backend": backend, "cosine_to_float32": f"{found.cosine:.4f}"}

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
        """(places, their vectors) of one forward pass after another; the next window is cut into tokens beside them."""
        # What may take long to prepare (words in another language) comes last: the rest is computed meanwhile.
        first = [not self._prepare or self.device != "cpu" or text.isascii() for text in texts]
        size = WINDOW[self.device]
        parts = ([place for place, is_first in enumerate(first) if is_first is wanted] for wanted in (True, False))
        windows = [part[at : at + size] for part in parts for at in range(0, len(part), size)]
        with ThreadPoolExecutor(1) as ahead, forward.side_by_side(self.device) as pool:
            following = [ahead.submit(self.tokens, [texts[place] for place in window]) for window in windows[:1]]
            for window, after in zip_longest(windows, windows[1:]):
                tokens = following.pop().result()
                if after:
                    following.append(ahead.submit(self.tokens, [texts[place] for place in after]))
                batches = list(self._forward.batches(tokens))
                passes = pool.map(self._forward.vectors, ([tokens[m] for m in members] for members in batches))
                for members, found in zip(batches, passes, strict=True):
                    yield [window[m] for m in members], found

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Ids of the tokens of each text, at most max_tokens."""
        return self._tokenize([self.wording(text) for text in texts])

    def wording(self, text: str) -> str:
        """The text as the tokenizer is given it."""
        text = self.recipe.prefix + (self._prepare(text) if self._prepare else text)
        return text.lower() if self.recipe.lower_case else text
