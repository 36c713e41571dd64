"""Pretrained models that lie on this machine: where, and which files they are."""

from __future__ import annotations

import hashlib
from pathlib import Path

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
