"""Pretrained models that lie on this machine: where, and which files they are."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

# What decides on a model's answers: weights, configuration, vocabulary, wording of prompts.
FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")


def folder_of(model: str) -> Path:
    """The folder of a model's files: `model` itself, or where a Hugging Face id was downloaded to; RuntimeError when it is not there."""
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, local_files_only=True))
    except (OSError, ValueError) as error:
        raise RuntimeError(f"model {model} is not on this machine: name a folder, or download it to the local cache before") from error


def fingerprint(folder: Path) -> str:
    """16 hex digits: a hash of the names and bytes of a model's files."""
    hasher = hashlib.sha256()
    for path in sorted({p for pattern in FILES for p in folder.glob(pattern)}):
        hasher.update(path.name.encode())
        with path.open("rb") as file:
            hasher.update(hashlib.file_digest(file, "sha256").digest())
    return hasher.hexdigest()[:16]


class Pretrained:
    """A transformers model of the kind `head`: nothing is loaded before it is needed, and nothing but safetensors.

    gpu_dtype  number format on a GPU: 'auto' is that of the weights; on a CPU it is float32
    """

    head: str
    gpu_dtype = "float32"

    def __init__(self, model: str, device: str = "auto") -> None:
        """`model` is a folder, or a Hugging Face id that was downloaded before; RuntimeError when it is not on this machine."""
        self.folder, self.device = folder_of(model), device

    @cached_property
    def loaded(self) -> tuple[Any, Any]:
        """(tokenizer, model)."""
        import torch
        import transformers

        cuda = self.device != "cpu" and torch.cuda.is_available()
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(self.folder), local_files_only=True)
        model = getattr(transformers, self.head).from_pretrained(
            str(self.folder), local_files_only=True, use_safetensors=True, dtype=self.gpu_dtype if cuda else "float32"
        )
        return tokenizer, model.eval().to("cuda" if cuda else "cpu")
