"""Any transformer that sentence-transformers would load: a folder, or an id of the Hugging Face hub, as `hf:<folder or id[@revision]>`.

Pooling, prefix and length come from the files beside the weights (modules.json, 1_Pooling/config.json, sentence_bert_config.json,
config_sentence_transformers.json), else from the tokenizer's and the model's own. What is not supported and would change vectors is refused
in words; weights are read from .safetensors files alone, and no code of a model is run.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from recsys_core.encoders import transformer
from recsys_core.encoders.recipe import Pooling, Recipe

# What sentence-transformers calls a pooling → ours. Older files have one flag for each.
POOLINGS: dict[str, Pooling] = {"mean": "mean", "cls": "cls", "max": "max", "lasttoken": "last"}
FLAGS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
STEPS = ("Transformer", "Pooling", "Normalize")
# The prompt of the texts that are searched, in the order in which it is looked for: all texts are treated alike here.
PROMPTS = ("document", "passage", "corpus")
WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model", "*/config.json")
# Of a longer text nothing is read here, and a tokenizer without a limit says a number with thirty digits.
MOST_TOKENS = 8_192
DEFAULT_TOKENS = 512
_HASH_NAME = re.compile(r"[0-9a-f]{64}")


def folder_of(name: str) -> Path:
    """The folder of a model: `name` itself, else what was downloaded of that id; downloaded now if it was not and the hub can be reached.

    RuntimeError for neither, and for a folder without weights in .safetensors files.
    """
    folder = Path(name)
    if not folder.is_dir():
        folder = _downloaded(name)
    if not (folder / "config.json").is_file():
        raise RuntimeError(f"{folder} is no folder of a transformer: it has no config.json")
    if not list(folder.glob("*.safetensors")):
        raise RuntimeError(
            f"{folder} has no weights in .safetensors files, and nothing is unpickled: convert them, or choose another model"
        )
    return folder


def _downloaded(name: str) -> Path:
    from huggingface_hub import snapshot_download

    model, _, revision = name.partition("@")
    try:
        try:
            return Path(snapshot_download(model, revision=revision or None, local_files_only=True))
        except OSError:
            return Path(snapshot_download(model, revision=revision or None, allow_patterns=list(WEIGHTS)))
    except (OSError, ValueError) as error:
        raise RuntimeError(f"hf:{name} is no folder, was not downloaded before and cannot be now ({error})") from error


def recipe_of(folder: Path) -> Recipe:
    """The recipe that the files beside the weights describe; RuntimeError for one that is not supported."""
    steps = _json(folder / "modules.json", [])
    kinds = {step["type"].rpartition(".")[2]: folder / step.get("path", "") for step in steps}
    if unknown := [kind for kind in kinds if kind not in STEPS]:
        raise RuntimeError(f"{folder}: its vectors go through {', '.join(unknown)}, which is not supported; there are {', '.join(STEPS)}")
    model = _json(folder / "config.json", {})
    if "auto_map" in model:
        raise RuntimeError(f"{folder}: the model needs code of its own (auto_map in config.json), and none is run: choose another model")
    if model.get("is_encoder_decoder"):
        raise RuntimeError(f"{folder}: a model of encoder and decoder is not supported: choose one of an encoder, or of a decoder, alone")
    limits = _json(folder / "sentence_bert_config.json", {})
    return Recipe(
        _pooling(kinds.get("Pooling"), folder), _max_tokens(folder, model, limits), _prefix(folder), bool(limits.get("do_lower_case"))
    )


def _pooling(at: Path | None, folder: Path) -> Pooling:
    given = _json(at / "config.json", {}) if at else {}
    named = given.get("pooling_mode") or [mode for flag, mode in FLAGS.items() if given.get(flag)] or ["mean"]
    modes = [named] if isinstance(named, str) else list(named)
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise RuntimeError(f"{folder}: pooling {' + '.join(modes)} is not supported; there are {', '.join(POOLINGS)}")
    if given.get("include_prompt") is False and _prefix(folder):
        raise RuntimeError(f"{folder}: leaving the prompt out of the pooling is not supported: choose another model")
    return POOLINGS[modes[0]]


def _max_tokens(folder: Path, model: dict[str, Any], limits: dict[str, Any]) -> int:
    """What sentence-transformers was given, within what the tokenizer and the model's positions allow."""
    tokenizer = _json(folder / "tokenizer_config.json", {})
    found = [n for n in (limits.get("max_seq_length"), tokenizer.get("model_max_length")) if n]
    positions = model.get("max_position_embeddings")
    if positions and model.get("model_type") in ("roberta", "xlm-roberta", "camembert"):
        positions -= (model.get("pad_token_id") or 0) + 1  # theirs start behind the padding's
    return int(min([*(found or [DEFAULT_TOKENS]), *([positions] if positions else []), MOST_TOKENS]))


def _prefix(folder: Path) -> str:
    """The default prompt, else that of documents, else none."""
    said = _json(folder / "config_sentence_transformers.json", {})
    prompts = said.get("prompts") or {}
    names = (said.get("default_prompt_name"), *PROMPTS)
    return next((prompts[name] for name in names if name and prompts.get(name)), "")


def _json(path: Path, default: Any) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else default


def space(name: str) -> str:
    """Id of the embedding space: a hash of the model's files, whose weights are read for it, and of the recipe."""
    folder = folder_of(name)
    held = hashlib.sha256(repr(recipe_of(folder)).encode())
    for file in sorted([*folder.glob("*.safetensors"), *(folder / n for n in ("config.json", "tokenizer.json", "tokenizer_config.json"))]):
        if file.is_file():
            held.update(f"{file.name} {_digest(file)}\n".encode())
    title = re.sub(r"[^A-Za-z0-9_.-]+", "-", name.partition("@")[0].rstrip("/").rpartition("/")[2]).strip("-.") or "model"
    return f"hf-{title}-{held.hexdigest()[:8]}"


def _digest(file: Path) -> str:
    """SHA-256 of a file; the hub's cache names large files by it."""
    if _HASH_NAME.fullmatch(file.resolve().name):
        return file.resolve().name
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Encoder(transformer.Encoder):
    """The model called `name` on one device."""

    def __init__(self, name: str, device: str = "auto", backend: str = "auto") -> None:
        folder = folder_of(name)
        super().__init__(folder, recipe_of(folder), device, backend)
