"""Tokens of texts, by the tokenizer that lies beside a model's weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# Settings of a BERT tokenizer that stand in two files: where the files agree, tokenizer.json says all.
_SAID_TWICE = {"do_lower_case": "lowercase", "strip_accents": "strip_accents", "tokenize_chinese_chars": "handle_chinese_chars"}


def tokenizer(folder: Path, max_tokens: int) -> Callable[[Sequence[str]], list[np.ndarray]]:
    """texts → ids of the tokens of each, int32, special ones included and at most max_tokens; never none at all.

    Read offline, without transformers where tokenizer.json alone says what it would do.
    """
    ids = _fast(folder, max_tokens) or _any(folder, max_tokens)
    return lambda texts: [np.array(found, np.int32) for found in ids(texts)]


def _fast(folder: Path, max_tokens: int) -> Callable[[Sequence[str]], list[list[int]]] | None:
    config, given = _json(folder / "tokenizer_config.json"), _json(folder / "tokenizer.json")
    normalizer = given.get("normalizer") or {}
    if config.get("tokenizer_class") not in ("BertTokenizer", "BertTokenizerFast") or normalizer.get("type") != "BertNormalizer":
        return None
    if any(config.get(ours, normalizer.get(theirs)) != normalizer.get(theirs) for ours, theirs in _SAID_TWICE.items()):
        return None
    from tokenizers import Tokenizer

    made = Tokenizer.from_file(str(folder / "tokenizer.json"))
    made.no_padding()
    made.enable_truncation(max_tokens)
    return lambda texts: [found.ids for found in made.encode_batch_fast(list(texts))]


def _any(folder: Path, max_tokens: int) -> Callable[[Sequence[str]], list[list[int]]]:
    import transformers

    made = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    options = {"truncation": True, "max_length": max_tokens, "padding": False, "return_attention_mask": False}
    none = [made.eos_token_id or 0]
    return lambda texts: [found or none for found in made(list(texts), **options)["input_ids"]] if texts else []


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
