"""The forward pass of BERT and its kin over texts laid end to end, each attending to itself alone; transformers is not loaded for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from recsys_core.encoders.products import Product, Products

if TYPE_CHECKING:
    from torch import Tensor

# Models of this architecture, and how many positions they pass over at the start: 0, or those up to the padding id.
TYPES = {"bert": 0, "roberta": 1, "xlm-roberta": 1, "camembert": 1}
# What config.json has to say.
_SIZES = ("num_attention_heads", "num_hidden_layers", "hidden_size", "layer_norm_eps", "pad_token_id")
_TABLES = ("word", "position", "token_type")
_DENSE = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
_NORMS = ("attention.output.LayerNorm", "output.LayerNorm")
# Neighbours of one length: (first token, texts, tokens in each).
Run = tuple[int, int, int]
# (weight, bias)
Norm: TypeAlias = "tuple[Tensor, Tensor]"


def fits(config: Mapping[str, Any]) -> bool:
    """Whether a model of that config.json has this forward pass."""
    plain = config.get("hidden_act") == "gelu" and config.get("position_embedding_type") in (None, "absolute")
    return config.get("model_type") in TYPES and plain and not config.get("is_decoder") and all(config.get(n) is not None for n in _SIZES)


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """(config, weights in float32) of a folder; None for another architecture, and for weights in several files or under other names."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not fits(config) or not (folder / "model.safetensors").is_file():
        return None
    from safetensors.torch import load_file

    return _held(config, load_file(folder / "model.safetensors"))


def of(module: Any) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """The same of a transformers model that is loaded."""
    config = module.config.to_dict()
    return _held(config, module.state_dict()) if fits(config) else None


def _held(config: dict[str, Any], found: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    prefix = f"{config['model_type'].removeprefix('xlm-')}."
    layers = [f"encoder.layer.{n}.{part}" for n in range(config["num_hidden_layers"]) for part in (*_DENSE, *_NORMS)]
    needed = {f"{name}.{part}" for name in (*layers, "embeddings.LayerNorm") for part in ("weight", "bias")}
    needed |= {f"embeddings.{name}_embeddings.weight" for name in _TABLES}
    weights = {short: held.float() for name, held in found.items() if (short := name.removeprefix(prefix)) in needed}
    return (config, weights) if len(weights) == len(needed) else None


class Bert:
    """Last hidden states of tokens.

    weights   by the names that they have in transformers
    products  what multiplies matrices
    """

    def __init__(self, config: Mapping[str, Any], weights: Mapping[str, Tensor], products: Products) -> None:
        import torch

        self._heads, self._epsilon = config["num_attention_heads"], config["layer_norm_eps"]
        self.padding: int = config["pad_token_id"]
        # The position of a text's first token.
        self.first: int = TYPES[config["model_type"]] * (self.padding + 1)

        def both(name: str) -> tuple[Tensor, Tensor]:
            return weights[f"{name}.weight"], weights[f"{name}.bias"]

        def norm(name: str) -> Norm:
            weight, bias = both(name)
            return weight.to(products.dtype), bias.to(products.dtype)

        self._words, self._positions, kinds = (weights[f"embeddings.{name}_embeddings.weight"].to(products.dtype) for name in _TABLES)
        self._kind, self._norm = kinds[0], norm("embeddings.LayerNorm")
        self._layers: list[tuple[Product, Product, Product, Norm, Norm]] = []
        for n in range(config["num_hidden_layers"]):
            query, key, value, attended, wide, narrow = (both(f"encoder.layer.{n}.{part}") for part in _DENSE)
            mixed = [torch.cat([part[i] for part in (query, key, value)]) for i in (0, 1)]
            after_attention, after_all = (norm(f"encoder.layer.{n}.{part}") for part in _NORMS)
            mixing, out = products.linear(*mixed), products.linear(*attended)
            self._layers.append((mixing, out, products.feed_forward(wide, narrow), after_attention, after_all))

    def states(self, ids: np.ndarray, positions: np.ndarray, runs: Sequence[Run]) -> Tensor:
        """Float32 of shape (tokens, dimensions); `runs` says where the texts are, what lies behind them is padding."""
        import torch

        x = self._normal(self._words[torch.from_numpy(ids)] + self._positions[torch.from_numpy(positions)] + self._kind, self._norm)
        for mixing, out, feed_forward, after_attention, after_all in self._layers:
            x = self._normal(x + out(self._attention(mixing(x), runs).to(x.dtype)), after_attention)
            x = self._normal(x + feed_forward(x), after_all)
        return x.float()

    def _normal(self, x: Tensor, norm: Norm) -> Tensor:
        import torch

        return torch.nn.functional.layer_norm(x, x.shape[1:], *norm, self._epsilon)

    def _attention(self, mixed: Tensor, runs: Sequence[Run]) -> Tensor:
        """Attention within each text, in float32: it is faster than in bfloat16, and no narrower."""
        import torch

        mixed = mixed.float()
        out = mixed.new_zeros(len(mixed), mixed.shape[1] // 3)
        for at, count, length in runs:
            among = slice(at, at + count * length)
            query, key, value = mixed[among].view(count, length, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
            out[among] = torch.nn.functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(count * length, -1)
        return out
