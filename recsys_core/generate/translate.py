"""A word in the other language, by CC-CEDICT: enough for a label that stands beside the one in the word's own language."""

from __future__ import annotations

import re
from functools import cache

from recsys_core.encoders.glosses import dictionary, english, senses_of
from recsys_core.texts import HAN, segmenter

# A longer gloss is an explanation.
MAX_WORDS = 3
# What an entry's second sense counts for, beside how often the Chinese word is met.
_SECOND = 0.3
_HAN_CHAR = re.compile(f"[{HAN}]")
_PLURALS = (("ies", "y"), ("es", ""), ("s", ""))


def translated(word: str, lang: str) -> str:
    """The word in 'en' or 'zh': itself when it is in that language, or is not in the dictionary, or takes more than MAX_WORDS words.

    >>> [translated(w, "en") for w in ("帐篷", "野营", "tent")], [translated(w, "zh") for w in ("tents", "coffee", "frobnicate")]
    (['tent', 'camp', 'tent'], ['帐篷', '咖啡', 'frobnicate'])
    """
    if bool(_HAN_CHAR.search(word)) == (lang == "zh"):
        return word
    if lang == "en":
        found = english(word)
        return found if len(found.split()) <= MAX_WORDS and not _HAN_CHAR.search(found) else word
    lower = word.lower()
    forms = [lower, *(lower.removesuffix(end) + instead for end, instead in _PLURALS if lower.endswith(end))]
    return next((_chinese()[form] for form in forms if form in _chinese()), word)


@cache
def _chinese() -> dict[str, str]:
    """English sense → the most frequent Chinese word, by jieba's counts, that has it as its first or second; ties go to the lower word."""
    frequency, best = segmenter().FREQ, dict[str, tuple[float, str]]()
    for word, entries in dictionary().items():
        for is_name, written in entries:
            for place, sense in enumerate(() if is_name else senses_of(written)[:2]):
                rank = (-(frequency.get(word, 0) + 1) * _SECOND**place, word)
                best[sense.lower()] = min(rank, best.get(sense.lower(), rank))
    return {sense: word for sense, (_, word) in best.items()}
