"""A sentence about an item for people who like a topic, by a text generator, behind the exact reason of a slot; '' where none is fit."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.generate import Prompt, TextGenerator, answers
from recsys_core.lake import Lake
from recsys_core.texts import normalise

MAX_CHARS = 120
BETWEEN = " · "
_TITLE_CHARS, _TEXT_CHARS = 120, 400
_SIDES: tuple[tuple[int, Literal["en", "zh"]], ...] = ((0, "en"), (1, "zh"))
_ASKED = {
    "en": "Write one short sentence about an item for people who like a topic. Say only what the item's text says: no "
    "prices, no numbers, no superlatives, nothing about the reader. Answer with the sentence alone.\n"
    "Topic: {topic}\nItem: {title}\nText: {text}\nSentence:",
    "zh": "用一句简短的中文为喜欢某一主题的人介绍一件商品。只说商品文本中的内容：不提价格、数字、最高级，不谈论读者。只回答这句话。\n"
    "主题：{topic}\n商品：{title}\n文本：{text}\n句子：",
}
# What only the item's own text may bring up, and what no text may: claims about who reads it.
_CLAIM = re.compile(
    r"[$€£¥￥%％‰]|\b(?:percent|price\w*|cheap\w*|discount\w*|free|sale|best|most|least|greatest|finest|perfect|ultimate|only|never|always|"
    r"guarantee\w*|first|top|number one|no\. ?1|unique|leading|\w{3,}est)\b"
    r"|最|第一|唯一|首选|顶级|极致|绝对|完美|价格|便宜|打折|折扣|优惠|免费|特价|百分|保证|独家|领先",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*|[一二三四五六七八九十百千万两]+(?=[元块折倍个件款年月天次])")
_READER = re.compile(r"\b(?:you|your|yours|yourself|we|our|us|i|my)\b|you'|[您你]|我们|咱", re.IGNORECASE)


def fit(sentence: str, text: str) -> bool:
    """Whether a sentence claims nothing that the item's `text` does not: no number, price, share or superlative of its own, no reader.

    >>> [fit(s, "Tent for 2, 1.8 kg") for s in ("A light tent of 1.8 kg.", "A tent for 3.", "The lightest tent.", "Your next tent.")]
    [True, False, False, False]
    """
    held = text.casefold()
    claims = [*_CLAIM.findall(sentence), *_NUMBER.findall(sentence)]
    numbers = set(_NUMBER.findall(text))
    return (
        len(sentence) <= MAX_CHARS
        and not _READER.search(sentence)
        and all(c in numbers if _NUMBER.fullmatch(c) else c.casefold() in held for c in claims)
    )


def added(
    rows: pa.Table,
    items: pa.Table,
    labels: Mapping[int, tuple[str, str]],
    generator: TextGenerator,
    cache: Lake | None,
    say: Callable[[str], None],
    most: int,
) -> pa.Table:
    """Rows of user_topn with a generated sentence behind the reasons of the `most` (topic, item) pairs that are shown most often.

    items    item_id, title, description
    labels   names of topics in English and Chinese; slots of other topics, or of none, stay as they are

    The reason itself stays, word for word. A pair is paid for once: answers are kept in the lake by the prompt, which is the topic's name
    and the item's text, never anything of a user. What is not `fit` is left out.
    """
    topics, shown = pc.fill_null(rows["topic_id"], -1).to_numpy(), rows["item_id"].combine_chunks()
    codes = shown.dictionary_encode()
    keys = pc.index_in(codes.dictionary, value_set=items["item_id"].combine_chunks())
    pair = np.stack([topics, codes.indices.to_numpy()])
    different, place, count = np.unique(pair, axis=1, return_inverse=True, return_counts=True)
    names = codes.dictionary.to_pylist()
    known = [k for k, (t, i) in enumerate(different.T.tolist()) if t in labels and keys[i].is_valid]
    known = sorted(known, key=lambda k: (-count[k], int(different[0, k]), names[different[1, k]]))[:most]
    asked, texts = [], []
    for k in known:
        item = items.slice(keys[int(different[1, k])].as_py(), 1).to_pylist()[0]
        title, text = (normalise(item[c] or "") for c in ("title", "description"))
        texts.append(f"{title} {text}")
        quoted = (json.dumps(value, ensure_ascii=False) for value in (title[:_TITLE_CHARS], text[:_TEXT_CHARS]))
        title, text = quoted
        for side, lang in _SIDES:
            topic = json.dumps(normalise(labels[int(different[0, k])][side]), ensure_ascii=False)
            asked.append(
                Prompt(_ASKED[lang].format(topic=topic, title=title, text=text), "", lang, max_chars=10 * MAX_CHARS, max_tokens=48)
            )
    said = answers(generator, asked, cache, say)
    sentences = np.full((2, different.shape[1]), "", object)
    for row, k in enumerate(known):
        for side, _ in _SIDES:
            answer = said[2 * row + side]
            if answer.generated and fit(answer.text, texts[row]):
                sentences[side, k] = BETWEEN + answer.text
    for side, lang in _SIDES:
        name = f"reason_text_{lang}"
        behind = pa.array(sentences[side], pa.string()).take(pa.array(place.ravel()))
        rows = rows.set_column(rows.column_names.index(name), rows.schema.field(name), pc.binary_join_element_wise(rows[name], behind, ""))
    return rows
