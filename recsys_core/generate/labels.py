"""Names of topics in English and Chinese: their most telling words, or what a text generator makes of words and typical texts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence

from recsys_core.generate import Prompt, TextGenerator, answers
from recsys_core.generate.translate import translated
from recsys_core.lake import Lake
from recsys_core.texts import normalise

LABEL_WORDS = 3
MAX_CHARS = {"en": 60, "zh": 30}
_WORD_CHARS, _TEXT_CHARS = 30, 120
_HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff]")
_LANGS = ("en", "zh")
_ASKED = {
    "en": "Name a topic of a catalogue in two to five English words. Answer with the name alone.\n"
    "Keywords: {words}\nTypical texts: {texts}\nName:",
    "zh": "用二到十个汉字为商品目录的一个主题命名。只回答名称。\n关键词：{words}\n典型文本：{texts}\n名称：",
}
_NUMBERED = {"en": "topic {id}", "zh": "主题 {id}"}
_COMMA = {"en": ", ", "zh": "、"}

Topic = tuple[Sequence[str], Sequence[str], int]


def topic_labels(
    topics: Sequence[Topic], generator: TextGenerator, cache: Lake | None, say: Callable[[str], None]
) -> list[tuple[str, str, str]]:
    """(English label, Chinese label, source) of each topic, given as (keywords, best first; typical texts; topic_id).

    source is llm when the generator wrote any of the two, else keywords. No two topics share a label of one language, whatever its case:
    the later topic takes its template, and there its next words.

    >>> from recsys_core.generate import Templates
    >>> words = ["帐篷", "防潮垫", "tent", "野营"]
    >>> topic_labels([(words, [], 7), (words[::-1], [], 8)], Templates(), None, print)
    [('tent, groundsheet, camp', '帐篷、防潮垫、野营', 'keywords'), ('camp, tent, groundsheet', '野营、防潮垫、帐篷', 'keywords')]
    """
    prompts = [Prompt(_asked(t, lang), next(_by_words(t, lang)), lang, MAX_CHARS[lang]) for t in topics for lang in ("en", "zh")]
    written = iter(answers(generator, prompts, cache, say))
    taken: dict[str, set[str]] = {lang: set() for lang in _LANGS}
    found = []
    for topic in topics:
        label: dict[str, str] = {}
        generated = False
        for lang in _LANGS:
            answer = next(written)
            if own := answer.generated and answer.text.casefold() not in taken[lang]:
                label[lang] = answer.text
            else:
                label[lang] = next(text for text in _by_words(topic, lang) if text.casefold() not in taken[lang])
            generated |= own
            taken[lang].add(label[lang].casefold())
        found.append((label["en"], label["zh"], "llm" if generated else "keywords"))
    return found


def _by_words(topic: Topic, lang: str) -> Iterator[str]:
    """Labels by template, the best first: the topic's first words of the language if it has LABEL_WORDS, else of any, translated.

    Then the last word is another one, then there is one more; at the end stands the topic's number, which is its own.
    """
    words, _, topic_id = topic
    numbered = _NUMBERED[lang].format(id=topic_id)
    different = _different(words)
    own = [w for w in different if bool(_HAN.search(w)) == (lang == "zh")]
    chosen = own if len(own) >= LABEL_WORDS else _different([translated(w, lang) for w in different])
    if chosen:
        rest = chosen[LABEL_WORDS - 1 :] or [""]
        for last in rest:
            yield _COMMA[lang].join(w for w in (*chosen[: LABEL_WORDS - 1], last) if w)
        yield _COMMA[lang].join([*chosen[: LABEL_WORDS + 1], numbered])
    yield numbered


def _different(words: Sequence[str]) -> list[str]:
    """Words that say something new: no other case, plural or spelling with a hyphen of one before, no Han that one before holds or is in.

    >>> _different(["Tent", "tents", "rogue-like", "roguelike", "cart", "art", "露营帐篷", "帐篷"])
    ['Tent', 'rogue-like', 'cart', 'art', '露营帐篷']
    """
    found: dict[str, str] = {}
    for word in (normalise(w)[:_WORD_CHARS] for w in words):
        stem = re.sub(r"[\W_]", "", word.casefold())
        stem = stem if _HAN.search(stem) else re.sub("(?<=...)(?:(?<=[sxz])es|(?<!s)s)$", "", stem)
        held = stem in found or (_HAN.search(stem) and any(stem in s or s in stem for s in found if _HAN.search(s)))
        if stem and not held:
            found[stem] = word
    return list(found.values())


def _asked(topic: Topic, lang: str) -> str:
    """The prompt; words and texts of the catalogue are quoted as JSON, so that none of them reads like the prompt's own words."""
    words, texts, _ = topic
    shown = ([normalise(w)[:_WORD_CHARS] for w in words], [normalise(t)[:_TEXT_CHARS] for t in texts])
    return _ASKED[lang].format(words=json.dumps(shown[0], ensure_ascii=False), texts=json.dumps(shown[1], ensure_ascii=False))
