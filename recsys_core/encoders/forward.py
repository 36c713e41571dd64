"""Forward passes of fixed shapes: which texts go together, and the vectors of a batch.

`Packed` lays texts end to end, without padding, and lets each attend to itself alone (`bert`); `Padded` is for everything else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from recsys_core.encoders.bert import Bert, Run
from recsys_core.encoders.recipe import Recipe

TOKENS_PER_PACK = 1_024
# A padded text fills one of these lengths, then the doubles of the last.
LENGTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256)
TOKENS_PER_BATCH = {"cpu": 768, "cuda": 49_152}


class Forward(Protocol):
    """How an encoder's batches are made and computed."""

    def batches(self, tokens: Sequence[np.ndarray]) -> Iterator[list[int]]:
        """Places of the texts of each batch; every text is in one."""

    def vectors(self, tokens: list[np.ndarray]) -> np.ndarray:
        """Unit vectors of a batch's texts, float16."""


def load_module(model_dir: Path | str) -> Any:
    """The transformer of a folder in float32, read offline from .safetensors files alone: nothing is unpickled, no code of it runs."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    offline = {"local_files_only": True, "use_safetensors": True, "trust_remote_code": False}
    return transformers.AutoModel.from_pretrained(str(model_dir), dtype="float32", **offline)


def open_padded(module: Any, recipe: Recipe, filler: np.ndarray, device: str) -> Padded:
    """The forward pass by transformers in the half precision that the device multiplies natively, else in float32."""
    import torch

    dtype = torch.float16 if device == "cuda" else torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32
    module = module.eval().to(device=device, dtype=dtype)

    def states(ids: np.ndarray, mask: np.ndarray) -> Any:
        return module(input_ids=torch.from_numpy(ids).to(device), attention_mask=torch.from_numpy(mask).to(device)).last_hidden_state

    return Padded(states, recipe, filler, device)


class Packed:
    """Texts of about one length laid end to end up to `size` tokens: no padding but behind the last text."""

    def __init__(self, bert: Bert, recipe: Recipe, size: int) -> None:
        self._bert, self._recipe, self._size = bert, recipe, size

    def batches(self, tokens: Sequence[np.ndarray]) -> Iterator[list[int]]:
        pack: list[int] = []
        filled = 0
        for place in sorted(range(len(tokens)), key=lambda p: len(tokens[p])):
            if filled + len(tokens[place]) > self._size:
                yield pack
                pack, filled = [], 0
            pack.append(place)
            filled += len(tokens[place])
        if pack:
            yield pack

    def vectors(self, tokens: list[np.ndarray]) -> np.ndarray:
        import torch

        ids = np.full(self._size, self._bert.padding, np.int64)
        positions = np.full(self._size, self._bert.first, np.int64)
        runs: list[Run] = []
        at = 0
        for found in tokens:
            length = len(found)
            ids[at : at + length] = found
            positions[at : at + length] += np.arange(length)
            same = bool(runs) and runs[-1][2] == length
            runs[len(runs) - same :] = [(runs[-1][0], runs[-1][1] + 1, length) if same else (at, 1, length)]
            at += length
        with torch.inference_mode():
            states = self._bert.states(ids, positions, runs)
            parts = (states[at : at + count * length].view(count, length, -1) for at, count, length in runs)
            return _unit(torch.cat([_pooled(part, None, self._recipe) for part in parts]))


def packed_size(recipe: Recipe) -> int:
    """Tokens of a pack."""
    return max(TOKENS_PER_PACK, recipe.max_tokens)


class Padded:
    """Texts of about one length, padded to one of a few, a fixed number in each batch.

    states  (ids, mask), each int64 of shape (texts, length) → the last hidden states
    filler  the text of no words, which fills up a batch
    """

    def __init__(self, states: Callable[[np.ndarray, np.ndarray], Any], recipe: Recipe, filler: np.ndarray, device: str) -> None:
        self._states, self._recipe, self._filler = states, recipe, filler
        self._tokens_per_batch = TOKENS_PER_BATCH[device]

    def batches(self, tokens: Sequence[np.ndarray]) -> Iterator[list[int]]:
        by_length: dict[int, list[int]] = defaultdict(list)
        for place, ids in enumerate(tokens):
            by_length[_padded(len(ids))].append(place)
        for length in sorted(by_length):
            rows = self._rows(length)
            for at in range(0, len(by_length[length]), rows):
                yield by_length[length][at : at + rows]

    def vectors(self, tokens: list[np.ndarray]) -> np.ndarray:
        import torch

        length = _padded(max(map(len, tokens)))
        rows = self._rows(length)
        ids = np.zeros((rows, length), np.int64)
        mask = np.zeros((rows, length), np.int64)
        for row, found in enumerate(tokens + [self._filler] * (rows - len(tokens))):
            ids[row, : len(found)], mask[row, : len(found)] = found, 1
        with torch.inference_mode():
            states = self._states(ids, mask).float()
            return _unit(_pooled(states, torch.from_numpy(mask).to(states.device), self._recipe))[: len(tokens)]

    def _rows(self, length: int) -> int:
        return max(1, self._tokens_per_batch // length)


def _padded(tokens: int) -> int:
    length = next((length for length in LENGTHS if tokens <= length), LENGTHS[-1])
    while length < tokens:
        length *= 2
    return length


def _pooled(states: Any, mask: Any, recipe: Recipe) -> Any:
    """One vector of each text: `states` float32 (texts, length, dimensions), `mask` (texts, length) of what is text, None for all of it."""
    import torch

    if recipe.pooling == "cls":
        return states[:, 0]
    if mask is None:
        mask = torch.ones(states.shape[:2], dtype=torch.int64)
    if recipe.pooling == "last":
        return states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]
    if recipe.pooling == "max":
        return states.masked_fill(mask.unsqueeze(-1) == 0, -torch.inf).amax(1)
    weight = mask.unsqueeze(-1).float()
    return (states * weight).sum(1) / weight.sum(1)


def _unit(vectors: Any) -> np.ndarray:
    import torch

    found: np.ndarray = torch.nn.functional.normalize(vectors, dim=1).half().cpu().numpy()
    return found


@contextmanager
def side_by_side(device: str) -> Generator[ThreadPoolExecutor]:
    """A pool of as many passes at once as torch has threads, each pass on one; a GPU computes one after another."""
    import torch

    workers = torch.get_num_threads() if device == "cpu" else 1
    with ThreadPoolExecutor(workers, initializer=partial(torch.set_num_threads, 1) if device == "cpu" else None) as pool:
        yield pool
