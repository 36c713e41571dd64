"""Texts: cleaned, told apart by language, cut into words, and composed from items and behaviour, Chinese and English alike."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from importlib import resources
from typing import Any, Literal

from recsys_core.stop_words import STOP_WORDS

Lang = Literal["zh", "en", "other"]

# What the encoder is given of one text at most, in characters.
MODEL_CHARS = 2000
# What decides on the language of a text in Latin letters, in characters; more of it costs time and changes nothing.
LANGUAGE_CHARS = 200
# Below this ratio of the probability of English to that of the likeliest language, a text is not English.
NOT_ENGLISH = 5e-4
# Reviews with fewer words than this say nothing about a topic.
MIN_REVIEW_WORDS = 3
# Items of the description of one day's behaviour and of 90 days', and what both hold at most: word pieces (an encoder reads 256) and
# characters of one title.
BEHAVIOUR_ITEMS, HISTORY_ITEMS = 8, 24
BEHAVIOUR_TOKENS = 200
BEHAVIOUR_TITLE_CHARS = 80

# Ranges of Han characters, for use inside a bracket of a regular expression.
HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_HAN_CHARS = re.compile(f"[{HAN}]")
_HAN_RUN = re.compile(f"[{HAN}]+")
_ACCENTED = re.compile("[\u00c0-\u024f\u1e00-\u1eff]")
_LATIN = "A-Za-z\u00c0-\u024f\u1e00-\u1eff"
_LATIN_CHARS = re.compile(f"[{_LATIN}]")
_LATIN_WORDS = re.compile(f"[{_LATIN}]+")
_KANA_CHARS = re.compile("[\u3040-\u30ff\u31f0-\u31ff]")
# A run of Han, or a run of other letters and digits with inner apostrophes and hyphens.
_WORDS = re.compile(rf"[{HAN}]+|[^\W_{HAN}]+(?:['’-][^\W_{HAN}]+)*")
# Joiners stay for emoji; tab and line feed become spaces. Dropped: other controls, direction marks, byte-order marks.
_DROPPED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_LANGUAGES: dict[str, Lang] = {"zh": "zh", "cmn": "zh", "zho": "zh", "chi": "zh", "chinese": "zh", "en": "en", "eng": "en", "english": "en"}
# Told apart where the letters are Latin, English first. Danish stands for Norwegian too; each further one is found in more English titles.
_LATIN_LANGUAGES = (
    *("ENGLISH", "GERMAN", "FRENCH", "SPANISH", "PORTUGUESE", "ITALIAN", "DUTCH", "POLISH", "TURKISH", "SWEDISH", "DANISH", "FINNISH"),
    *("CZECH", "HUNGARIAN", "ROMANIAN", "INDONESIAN", "VIETNAMESE"),
)
# Frequent English words of which no other of these languages has two that are frequent.
_ENGLISH_WORDS = {
    *("about", "and", "but", "for", "from", "have", "how", "is", "it", "not", "that", "the", "there", "they", "this", "to", "were", "what"),
    *("with", "would", "you", "your"),
}
_SPACES = re.compile(r"\s+")
_MARKS = re.compile(r"[^\w\s]")


def normalise(text: str) -> str:
    """One line in NFKC with single spaces, without controls and direction marks; Han characters, case and joined emoji stay as they are.

    >>> normalise("  ＡＢＣ１２３\\n繁體字\\u202e ")
    'ABC123 繁體字'
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return _SPACES.sub(" ", _DROPPED.sub("", text)).strip()


def folded(text: str) -> str:
    """The text normalised and without case, as terms are looked up in it."""
    return normalise(text).casefold()


def term_pattern(terms: Iterable[str]) -> re.Pattern[str]:
    """Finds a term in a text that is `folded`: a Chinese one anywhere, any other as whole words.

    >>> [bool(term_pattern(("茶", "Tea")).search(text)) for text in ("绿茶", "买tea", "tea pot", "steam")]
    [True, True, True, False]
    """
    letter = rf"[^\W{HAN}]"
    said = (re.escape(folded(term)) for term in terms)
    return re.compile("|".join(t if _HAN_CHARS.search(t) else rf"(?<!{letter}){t}(?!{letter})" for t in said))


def language(text: str) -> Lang:
    """'zh', 'en' or 'other': by script where script is enough, else by a library that tells the languages of Latin letters apart.

    Han without kana is Chinese; letters neither Han nor Latin are other, and so is a text without letters. A Han character weighs as
    much as three Latin letters, about what a word takes in each; Latin words with capitals are names beside them and weigh a third.

    >>> [language(t) for t in ("Great game", "很好玩的游戏 DLC", "とても楽しい", "Отличная игра", "🙂")]
    ['en', 'zh', 'other', 'other', 'other']
    >>> [language(t) for t in ("Sehr gutes Spiel, macht viel Spaß", "WHITE HANGING HEART T-LIGHT HOLDER", "Apple iPhone 15 Pro 手机壳")]
    ['other', 'en', 'zh']
    """
    head = text[: 4 * LANGUAGE_CHARS]
    han = kana = others = 0
    if not head.isascii():
        letters, han, latin, kana = sum(map(str.isalpha, head)), *(len(p.findall(head)) for p in (_HAN_CHARS, _LATIN_CHARS, _KANA_CHARS))
        others = letters - han - latin
    if not han and not others:
        return ("en" if _is_english(_prose(head)) else "other") if _LATIN_CHARS.search(head) else "other"
    if kana * 10 > han:
        han, others = 0, others + 3 * han
    thirds = sum(len(w) * (3 if w.islower() else 1) for w in _LATIN_WORDS.findall(head))
    if thirds > 3 * max(3 * han, others):
        return "en" if _is_english(_prose(head)) else "other"
    return "zh" if 3 * han >= others else "other"


def _prose(text: str) -> str:
    """The first LANGUAGE_CHARS of a text without addresses and names of users, which look like some language or other."""
    return " ".join(w for w in text.split() if "://" not in w and "@" not in w and not w.startswith("www."))[:LANGUAGE_CHARS]


@lru_cache(maxsize=1 << 16)
def _is_english(text: str) -> bool:
    """Whether a text in Latin letters is English; in doubt it is.

    Names and titles fool letter statistics, so only a probability far below that of another language counts: in capitals, or beside one of
    the English words, a tenth of NOT_ENGLISH, and ten times as much where letters have accents.
    """
    words = _LATIN_WORDS.findall(text.lower())
    known = [w for w in words if w in _ENGLISH_WORDS]
    if 7 * len(known) >= len(words) and len(set(known)) >= 2:
        return True
    english, detector = _detector()
    found = {c.language: c.value for c in detector.compute_language_confidence_values(text)}
    limit = NOT_ENGLISH * (10 if _ACCENTED.search(text) else 1) * (0.1 if known or text.isupper() else 1)
    return found[english] >= limit * max(found.values())


@cache
def _detector() -> tuple[Any, Any]:
    """(English, detector) of lingua: trigrams alone take 30 MiB a process, all its n-grams 460 MiB and six times as long."""
    from lingua import Language, LanguageDetectorBuilder

    languages = [getattr(Language, name) for name in _LATIN_LANGUAGES]
    return languages[0], LanguageDetectorBuilder.from_languages(*languages).with_low_accuracy_mode().build()


def language_code(declared: str | None, text: str | None) -> Lang | None:
    """The language a row declares (BCP 47, so zh-CN is zh), else that of its text, else None."""
    if declared:
        head = re.split("[-_]", declared.strip().lower(), maxsplit=1)[0]
        if head:
            return _LANGUAGES.get(head, "other")
    return language(text) if text else None


def text_hash(text: str) -> str:
    """64 hex digits: SHA-256 of the text's UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def segmenter() -> Any:
    """jieba with its own dictionary, built in memory: its cache file in the shared temporary folder is neither read nor written."""
    import jieba

    segmenter = jieba.Tokenizer()
    segmenter.FREQ, segmenter.total = segmenter.gen_pfdict(segmenter.get_dict_file())
    segmenter.initialized = True
    return segmenter


@cache
def _traditional() -> dict[int, str]:
    """Traditional characters and the simplified one for each, from OpenCC's table; of several the first."""
    table = resources.files("opencc").joinpath("dictionary", "TSCharacters.txt").read_text(encoding="utf-8")
    return {ord(key): values.split()[0] for key, values in (line.split("\t") for line in table.splitlines()) if len(key) == 1}


def simplified(text: str) -> str:
    """The text with simplified Han characters for traditional ones, one for one, so that places in it stay.

    >>> simplified("這款遊戲很好玩 ok")
    '这款游戏很好玩 ok'
    """
    return text if text.isascii() else text.translate(_traditional())


def segmented(run: str) -> list[str]:
    """The words of a run of Han, as they are written: jieba knows the simplified ones."""
    words, start = [], 0
    for word in segmenter().lcut(simplified(run)):
        words.append(run[start : start + len(word)])
        start += len(word)
    return words


def runs(text: str) -> list[str]:
    """What `tokenize` makes words of: runs of Han and words of other letters and digits, in lower case, in order."""
    return _WORDS.findall(normalise(text).lower().replace("’", "'"))


def tokenize(text: str, lang: str) -> list[str]:
    """Words of a text for topic models and keywords, in order, lower case, without stop words, numbers and single characters.

    Runs of Han of either script are segmented by jieba, also inside English texts; of lang 'other' (Japanese kanji, say) they stay whole.

    >>> tokenize("The dragons' lair wasn't 3 easy: rogue-like fun!", "en")
    ['dragons', 'lair', 'easy', 'rogue-like', 'fun']
    """
    words: list[str] = []
    for run in runs(text):
        if _HAN_RUN.match(run):
            words += segmented(run) if lang != "other" else [run]
        else:
            words.append(run.removesuffix("'s"))
    return [w for w in words if len(w) > 1 and not w.isdecimal() and simplified(w) not in STOP_WORDS]


def count_words(text: str) -> int:
    """Words of a text, stop words included, a Han character counting as one: cheap, no segmenter needed."""
    return sum(len(run) if _HAN_RUN.match(run) else 1 for run in _WORDS.findall(text))


def estimate_tokens(text: str) -> int:
    """About how many word pieces a text is to an encoder, without one: a Han character or another mark is one, a word one per four letters.

    >>> [estimate_tokens(t) for t in ("", "围棋和象棋", "viewed Backgammon, Go")]
    [0, 5, 7]
    """
    words = _WORDS.findall(text)
    return sum(len(w) if _HAN_RUN.match(w) else -(-len(w) // 4) for w in words) + len(_MARKS.findall(text))


def written(text: str) -> str:
    """What of a text that somebody wrote is kept: normalised, at most MODEL_CHARS; '' for nothing."""
    # Cut before normalising, so that a text of a megabyte costs no more than what is used of it; NFKC may lengthen.
    return normalise(text[: 2 * MODEL_CHARS])[:MODEL_CHARS].strip()


def compose_item(title: str | None, description: str | None, tags: Sequence[str] | None) -> tuple[str, Lang]:
    """(text of an item to embed, its language): title, description and tags in one line, at most MODEL_CHARS; ('', 'other') for none.

    >>> compose_item("Wooden train", "A train of beech.", ["toys", "wood"])
    ('Wooden train. A train of beech. toys, wood', 'en')
    >>> compose_item("木制火车", "山毛榉木。", ["玩具", "木头"])
    ('木制火车。山毛榉木。玩具、木头', 'zh')
    """
    given = [title or "", description or ""]
    lang = language(" ".join([*given, *(tags or ())]))
    stop, comma = ("。", "、") if lang == "zh" else (". ", ", ")
    parts = [normalise(p).strip() for p in (*given, comma.join(tags or ()))]
    parts = [p.rstrip(".。") for p in parts[:-1] if p] + [p for p in parts[-1:] if p]
    text = stop.join(p for p in parts if p)[:MODEL_CHARS].strip()
    return (text, lang) if text else ("", "other")


# What a user did, by the strongest kind: words in English and in Chinese.
_VERBS: dict[str, tuple[str, str]] = {
    "view": ("viewed", "浏览了"),
    "click": ("clicked", "点击了"),
    "search": ("searched for", "搜索了"),
    "add_to_cart": ("put into the cart", "加购了"),
    "purchase": ("bought", "购买了"),
    "rating": ("rated", "评分了"),
    "review": ("reviewed", "评价了"),
    "comment": ("commented on", "评论了"),
    "post": ("posted about", "发布了"),
    "edit": ("edited", "编辑了"),
    "like": ("liked", "点赞了"),
    "favorite": ("saved", "收藏了"),
    "share": ("shared", "分享了"),
    "dislike": ("disliked", "不喜欢"),
    "hide": ("hid", "隐藏了"),
    "return": ("returned", "退货了"),
    "low_rated": ("rated low", "打了低分"),
}


@lru_cache(1 << 16)
def _named(title: str) -> tuple[str, int]:
    """A title as it is told, and about how many tokens that is: many users have done something with an item."""
    name = normalise(title)[:BEHAVIOUR_TITLE_CHARS].strip()
    return name, estimate_tokens(name)


def describe_behaviour(
    acts: Iterable[tuple[float, str, str]], lang: str, most: int = BEHAVIOUR_ITEMS, tokens: int = BEHAVIOUR_TOKENS
) -> str:
    """What a user did, in words, in Chinese for lang 'zh', else in English; '' without acts.

    acts    (weight, kind of act, title): those of largest absolute weight are told, grouped by kind in that order
    most    how many of them at most; fewer when together they are more than `tokens` (by `estimate_tokens`), but at least one
    >>> describe_behaviour([(3.0, "review", "Chess"), (1.0, "view", "Go"), (1.0, "view", "Backgammon")], "en")
    'reviewed Chess, then viewed Backgammon and Go'
    >>> describe_behaviour([(1.0, "view", "围棋"), (1.0, "view", "象棋")], "zh")
    '浏览了围棋和象棋'
    """
    zh = lang == "zh"
    by_kind: dict[str, list[str]] = {}
    for _, kind, title in sorted(acts, key=lambda a: (-abs(a[0]), a[1], a[2]))[:most]:
        name, size = _named(title)
        tokens -= size + (1 if kind in by_kind else 1 + estimate_tokens(_VERBS[kind][zh]))
        if tokens < 0 and by_kind:
            break
        by_kind.setdefault(kind, []).append(name)
    comma, conjunction, then = ("、", "和", "，然后") if zh else (", ", " and ", ", then ")
    phrases = []
    for kind, titles in by_kind.items():
        listed = comma.join(titles[:-1]) + conjunction + titles[-1] if len(titles) > 1 else titles[0]
        phrases.append(_VERBS[kind][zh] + ("" if zh else " ") + listed)
    return then.join(phrases)
