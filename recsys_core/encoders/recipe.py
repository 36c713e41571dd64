"""What turns a text into a vector beside a transformer's weights, written down or read from what lies beside the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Pooling = Literal["mean", "cls", "max", "last"]


@dataclass(frozen=True)
class Recipe:
    """What turns a text into a vector beside the weights; the vector has unit length in any case.

    pooling     of the last hidden states: their mean, the first token's, the largest of each dimension, or the last token's
    max_tokens  special tokens included; the rest of a text is cut off
    prefix      goes before every text (a prompt that the model was trained with)
    lower_case  whether texts are lowered first
    """

    pooling: Pooling
    max_tokens: int
    prefix: str = ""
    lower_case: bool = False
