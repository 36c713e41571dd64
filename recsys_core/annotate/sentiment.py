"""Sentiment of texts, −1 to 1: a lexicon of English and of Chinese words read by one set of rules, or a transformers classifier."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

from recsys_core.annotate.sentiment_zh import CHINESE
from recsys_core.texts import HAN, normalise, simplified

# The rules and their numbers are VADER's (Hutto & Gilbert 2014), for Chinese as well.
INTENSIFIER = 0.293
NEGATION = -0.74
BEFORE_BUT, AFTER_BUT = 0.5, 1.5
# How far a word strengthens, weakens or turns those after it in its clause, and what is left of it at one, two and three words' distance.
FADES = (1.0, 0.95, 0.9)
EXCLAMATION, MOST_EXCLAMATIONS = 0.292, 4
# Σ / √(Σ² + ALPHA) brings the sum of a text into −1 … 1.
ALPHA = 15
# Chinese characters outside the lexicon that make about one word.
CHARS_PER_WORD = 2

_PARTS = ("not", "+", "-", "but")
_TOKENS = re.compile(rf"(?P<han>[{HAN}]+)|(?P<word>[^\W_{HAN}]+(?:['’-][^\W_{HAN}]+)*)|(?P<end>[,.;:!?、。…]+)|(?P<mark>[^\s\w])")


@dataclass(frozen=True)
class Lexicon:
    """Words with their valence, −4 to 4, and words with a part to play: 'not', '+', '-' and 'but'; no word is both."""

    valences: dict[str, float]
    roles: dict[str, str]
    longest: dict[str, int]  # first character → characters of the longest Chinese word that begins so


def sentiment(text: str) -> float:
    """How good (1) or bad (−1) a text sounds, 0 for neither, rounded to 6 decimals; Han of either script and Latin words may mix.

    Each word of the lexicon counts its valence, which words shortly before it in its clause strengthen, weaken or turn; what comes before
    a 'but' counts half, what comes after it one and a half.

    >>> [sentiment(t) > 0 for t in ("Great game, I love it", "这个游戏很好玩", "It is not good at all", "一点也不好玩")]
    [True, True, False, False]
    """
    lexicon = _lexicon()
    text = simplified(normalise(text)).lower().replace("’", "'")
    valences: list[float] = []
    before: list[tuple[float, str]] = []  # (place in words, role) of the clause so far
    place, turn = 0.0, 0
    for word, width in _words(text, lexicon):
        role = lexicon.roles.get(word)
        if not width:  # the end of a clause
            before.clear()
        elif role == "but":
            before.clear()
            turn = len(valences)
        elif role:
            before.append((place, role))
        elif valence := lexicon.valences.get(word):
            valences.append(_in_context(valence, place, before))
        place += width
    if turn:
        valences = [v * (BEFORE_BUT if i < turn else AFTER_BUT) for i, v in enumerate(valences)]
    total = math.fsum(valences)
    if total:
        total += math.copysign(EXCLAMATION * min(text.count("!"), MOST_EXCLAMATIONS), total)
    return round(total / math.sqrt(total * total + ALPHA), 6) + 0.0


def _in_context(valence: float, place: float, before: list[tuple[float, str]]) -> float:
    turned = 1.0
    for at, role in before:
        if (distance := int(place - at)) > len(FADES):
            continue
        if role == "not":
            turned *= NEGATION
        else:
            strength = INTENSIFIER * FADES[max(distance, 1) - 1] * (1 if role == "+" else -1)
            valence += math.copysign(1, valence) * strength
    return valence * turned


def _words(text: str, lexicon: Lexicon) -> Iterator[tuple[str, float]]:
    """(word, width in words): Chinese by the longest word of the lexicon at each place, clause ends with width 0."""
    for token in _TOKENS.finditer(text):
        if token.lastgroup == "han":
            yield from _han_words(token[0], lexicon)
        else:
            yield token[0], 0.0 if token.lastgroup == "end" else 1.0


def _han_words(run: str, lexicon: Lexicon) -> Iterator[tuple[str, float]]:
    start = 0
    while start < len(run):
        for end in range(min(start + lexicon.longest.get(run[start], 0), len(run)), start, -1):
            if (word := run[start:end]) in lexicon.valences or word in lexicon.roles:
                yield word, 1.0
                break
        else:
            end = start + 1
            yield run[start:end], 1 / CHARS_PER_WORD
        start = end


@cache
def _lexicon() -> Lexicon:
    """VADER's English words, read from its package, and the Chinese ones."""
    from vaderSentiment.vaderSentiment import BOOSTER_DICT, NEGATE

    valences, roles = {}, dict.fromkeys(NEGATE, "not") | {w: "+" if v > 0 else "-" for w, v in BOOSTER_DICT.items()} | {"but": "but"}
    for line in resources.files("vaderSentiment").joinpath("vader_lexicon.txt").read_text(encoding="utf-8").splitlines():
        word, valence, *_ = line.split("\t")
        valences[word] = float(valence)
    valences |= {word: float(value) for word, value in CHINESE.items() if value not in _PARTS}
    roles |= {word: value for word, value in CHINESE.items() if value in _PARTS}
    longest: dict[str, int] = {}
    for word in CHINESE:
        longest[word[0]] = max(len(word), longest.get(word[0], 0))
    return Lexicon({w: v for w, v in valences.items() if w not in roles}, roles, longest)
