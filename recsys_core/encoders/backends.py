"""Other ways to compute a transformer's hidden states on a CPU: extras, used when they are asked for, installed and near to float32.

An embedding space's id does not depend on the backend: vectors within a mean cosine of NEAREST of float32's rank neighbours alike. That is
measured on SAMPLES whenever a backend is opened, on the machine that will use it; one that falls short is refused.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from recsys_core.encoders.forward import Forward, Padded
from recsys_core.encoders.recipe import Recipe

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


def open_checked(
    name: str, module: Any, recipe: Recipe, filler: np.ndarray, tokens: Callable[[Sequence[str]], list[np.ndarray]]
) -> Forward:
    """The forward pass of a backend; RuntimeError when it is not installed, or its vectors are not near enough to float32's."""
    given = tokens(SAMPLES)
    reference = Padded(in_float32(copy.deepcopy(module).eval()), recipe, filler, "cpu")
    found = Padded(STATES[name](module), recipe, filler, "cpu")
    cosines = (_encoded(reference, given) * _encoded(found, given)).sum(1)
    if (mean := float(cosines.mean())) < NEAREST:
        raise RuntimeError(f"vectors by {name} have a mean cosine of {mean:.4f} to float32, below {NEAREST}: set ENCODER_BACKEND=torch")
    return found


def _encoded(forward: Forward, tokens: list[np.ndarray]) -> np.ndarray:
    batches = list(forward.batches(tokens))
    vectors = np.concatenate([forward.vectors([tokens[place] for place in members]) for members in batches])
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
