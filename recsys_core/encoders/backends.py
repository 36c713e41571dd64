"""What computes a transformer's hidden states, on a GPU or by one of several ways on a CPU.

An embedding space's id does not depend on the way: vectors within a mean cosine of NEAREST of float32's rank neighbours alike. Of what is
not torch's own half precision that is measured on SAMPLES whenever it is opened, on the machine that will use it; what falls short is
refused.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recsys_core.encoders import bert
from recsys_core.encoders.forward import Forward, Packed, Padded, load_module, open_padded, packed_size, side_by_side
from recsys_core.encoders.products import Bfloat16, Float32, Int8, Products, Ranges
from recsys_core.encoders.recipe import Recipe

NAMES = ("auto", "torch", "int8", "openvino")
# Mean cosine to float32 below which a backend is refused.
NEAREST = 0.995
# Short and long, titles and prose, both languages.
SAMPLES = (
    *("light hiking boots for wet trails", "espresso machine", "usb-c cable 2 m", "Great game!", "10/10", "", "a"),
    *("not worth the price, it broke after two days and nobody answered my letters", "Wooden train. A train of beech. toys, wood"),
    *(
        "登山鞋 防水",
        "露营帐篷",
        "很好玩的游戏，就是服务器太差，老是掉线",
        "木制火车。山毛榉木。玩具、木头",
        "紫砂壶",
        "质量很好 👍 iPhone 15 手机壳",
    ),
    "viewed Backgammon and Go, then reviewed Chess. " * 8,
    "The story starts slowly, but the second half makes up for it: the characters grow, the music fits, and the puzzles are fair. " * 6,
    "浏览了围棋和象棋，然后评价了跳棋。" * 12,
)

States = Callable[[np.ndarray, np.ndarray], Any]


@dataclass(frozen=True)
class Opened:
    """A forward pass, how long its vectors are, and where it was compared, their mean cosine to float32's on SAMPLES."""

    dimensions: int
    forward: Forward
    cosine: float | None = None


def opened(
    folder: Path,
    module: Any,
    recipe: Recipe,
    filler: np.ndarray,
    device: str,
    backend: str,
    tokens: Callable[[Sequence[str]], list[np.ndarray]],
) -> Opened:
    """The forward pass of the folder's weights, or of `module`.

    RuntimeError for a backend that is not installed, does not fit the model, or is not near enough to float32.
    """
    by_torch = device == "cuda" or backend in ("auto", "torch")
    held = None
    if device == "cpu" and (by_torch or backend == "int8"):
        held = bert.of(module) if module else bert.read(folder)
        if held is None and module is None:
            module = load_module(folder)
            held = bert.of(module)
    if held:
        return _packed(*held, recipe, backend, tokens)
    if device == "cpu" and backend == "int8":
        raise RuntimeError(f"int8 is for {', '.join(bert.TYPES)} with GELU, which {folder} is not: set ENCODER_BACKEND=torch")
    module = module or load_module(folder)
    dimensions: int = module.config.hidden_size
    if by_torch:
        return Opened(dimensions, open_padded(module, recipe, filler, device))
    given = tokens(SAMPLES)
    near = _encoded(Padded(in_float32(copy.deepcopy(module).eval()), recipe, filler, "cpu"), given)
    return _checked(backend, dimensions, Padded(STATES[backend](module), recipe, filler, "cpu"), near, given)


def _packed(config: Any, weights: Any, recipe: Recipe, backend: str, tokens: Callable[[Sequence[str]], list[np.ndarray]]) -> Opened:
    import torch

    size, dimensions = packed_size(recipe), config["hidden_size"]

    def by(products: Products) -> Packed:
        return Packed(bert.Bert(config, weights, products), recipe, size)

    if backend != "int8":
        return Opened(dimensions, by(Bfloat16(size) if torch.cpu._is_avx512_bf16_supported() else Float32()))
    ranges, given = Ranges(), tokens(SAMPLES)
    near = _encoded(by(ranges), given)
    return _checked(backend, dimensions, by(Int8(ranges.found, size)), near, given)


def _checked(name: str, dimensions: int, found: Forward, near: np.ndarray, given: list[np.ndarray]) -> Opened:
    """`found`, measured; RuntimeError when its vectors of SAMPLES are not near enough to `near`, float32's."""
    if (mean := float((near * _encoded(found, given)).sum(1).mean())) < NEAREST:
        raise RuntimeError(f"vectors by {name} have a mean cosine of {mean:.4f} to float32, below {NEAREST}: set ENCODER_BACKEND=torch")
    return Opened(dimensions, found, mean)


def _encoded(forward: Forward, tokens: list[np.ndarray]) -> np.ndarray:
    batches = list(forward.batches(tokens))
    with side_by_side("cpu") as pool:  # so that what is measured on the way does not depend on the number of cores
        vectors = np.concatenate([*pool.map(forward.vectors, ([tokens[place] for place in members] for members in batches))])
    return vectors[np.argsort(np.concatenate(batches))].astype(np.float64)


def in_float32(module: Any) -> States:
    """Torch without any half precision: what backends are measured against."""
    import torch

    return lambda ids, mask: module(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)).last_hidden_state


def _openvino(module: Any) -> States:
    """OpenVINO, in bfloat16 where the CPU multiplies it natively: one stream on one thread for each core."""
    import torch

    try:
        import openvino
    except ImportError as error:
        raise RuntimeError("OpenVINO is not installed: `pip install openvino`, or set ENCODER_BACKEND=torch") from error

    class Traced(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.held = module.eval()

        def forward(self, ids: Any, mask: Any) -> Any:
            return self.held(input_ids=ids, attention_mask=mask).last_hidden_state

    module.set_attn_implementation("eager")
    example = torch.ones(2, 16, dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = openvino.convert_model(Traced(), example_input={"ids": example, "mask": example})
    native = torch.cpu._is_avx512_bf16_supported()
    cores = torch.get_num_threads()
    options = {"INFERENCE_PRECISION_HINT": "bf16" if native else "f32", "NUM_STREAMS": cores, "INFERENCE_NUM_THREADS": cores}
    compiled = openvino.Core().compile_model(traced, "CPU", options)

    def states(ids: np.ndarray, mask: np.ndarray) -> Any:
        return torch.from_numpy(compiled.create_infer_request().infer([ids, mask])[0])

    return states


STATES: dict[str, Callable[[Any], States]] = {"openvino": _openvino}
