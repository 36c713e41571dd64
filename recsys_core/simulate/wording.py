"""Sentences of the simulated shop: titles, descriptions, tags, queries and reviews, in English and Chinese."""

from __future__ import annotations

from collections.abc import Sequence

from recsys_core.simulate.vocabulary import BRANDS_EN, BRANDS_ZH, GENERIC_EN, GENERIC_ZH, Topic

_MASK = (1 << 64) - 1
_GENERIC = {"en": GENERIC_EN, "zh": GENERIC_ZH}
_BRANDS = {"en": BRANDS_EN, "zh": BRANDS_ZH}

_TITLES = {
    "en": (
        "{brand} {generic} {product}",
        "{brand} {product} with {detail}",
        "{product} by {brand}, {generic} and {near}",
        "{brand} {product} for {use}",
        "{generic} {product}, {detail}",
        "{brand} {near} {product}",
    ),
    "zh": (
        "{brand}{generic}{product}",
        "{brand}{product} {detail}",
        "{generic}{product} {near}款",
        "{brand}{product} 适合{use}",
        "{near}{product} {detail}",
    ),
}
# Each takes words of one topic; the topic-free ones below stand beside them in every description.
_SENTENCES = {
    "en": (
        "A {generic} {product} made for {use}.",
        "The {detail} makes a real difference for {use}.",
        "Ideal for {use} and {use2}.",
        "Comes with {detail} and {detail2}.",
        "Made with {near} and {use} in mind.",
        "People who enjoy {use} will like the {detail}.",
        "Think {near}, {near2} and {use}.",
    ),
    "zh": (
        "这款{generic}的{product}专为{use}设计。",
        "{detail}让{use}更加轻松。",
        "适合{use}和{use2}。",
        "配有{detail}与{detail2}。",
        "兼顾{near}与{use}。",
        "喜欢{use}的朋友会爱上它的{detail}。",
        "{near}、{near2}，{use}都用得上。",
    ),
}
_PLAIN = {
    "en": (
        "Free returns within thirty days.",
        "A {generic} choice at a fair price.",
        "Ships in plastic-free packaging.",
        "{generic}, {generic2} and {near}.",
        "Two years of warranty.",
        "Makes a nice gift.",
        "One of our best sellers this season.",
    ),
    "zh": (
        "三十天内可免费退货。",
        "价格公道，{generic}之选。",
        "环保包装发货。",
        "{generic}、{generic2}、{near}。",
        "两年质保。",
        "送礼也合适。",
        "本季热卖单品。",
    ),
}
_QUERIES = {
    "en": (
        "{product}",
        "{generic} {product}",
        "{product} for {use}",
        "best {product} {detail}",
        "{product} {near}",
        "{use}",
        "what do I need for {use}",
    ),
    "zh": ("{product}", "{generic}{product}", "{product} {use}", "{product} {detail} 推荐", "{near} {product}", "{use}用什么好", "{use}"),
}
# Reviews by sentiment: bad (1–2 stars), mixed (3), good (4–5).
_OPENINGS = {
    "en": (
        (
            "Disappointed with this {product}.",
            "Would not buy this {product} again.",
            "The {product} broke after {days} days.",
            "Poor value, sadly.",
            "Sent it back.",
        ),
        (
            "The {product} is okay.",
            "Not bad, not great.",
            "An average {product} for the price.",
            "It does the job, mostly.",
            "Mixed feelings about this {product}.",
        ),
        (
            "Love this {product}!",
            "Exactly the {product} I was looking for.",
            "Great {product}, well worth it.",
            "Could not be happier after {days} days.",
            "Five friends have asked me about this {product}.",
        ),
    ),
    "zh": (
        ("这个{product}让人失望。", "不会再买这款{product}了。", "{product}用了{days}天就坏了。", "不值这个价。", "已经退货。"),
        ("{product}还行吧。", "不好不坏。", "这个价位的{product}算中规中矩。", "基本能用。", "对这款{product}感觉一般。"),
        (
            "太喜欢这个{product}了！",
            "正是我想要的{product}。",
            "{product}很棒，物有所值。",
            "用了{days}天，非常满意。",
            "好几个朋友都来问这款{product}。",
        ),
    ),
}
_REASONS = {
    "en": (
        (
            "The {detail} is flimsy and useless for {use}.",
            "It failed me while {use} was on the plan.",
            "The {detail} arrived damaged.",
            "Not {generic} at all.",
        ),
        (
            "The {detail} is fine, but for {use} I expected more.",
            "Good enough for {use}.",
            "{generic}, though the {detail} could be better.",
        ),
        (
            "The {detail} is perfect for {use}.",
            "I use it for {use} all the time.",
            "Really {generic}, and the {detail} is excellent.",
            "A joy for {use} and {use2}.",
        ),
    ),
    "zh": (
        ("{detail}太差，{use}根本不能用。", "{use}的时候掉链子。", "收到时{detail}就有破损。", "一点也不{generic}。"),
        ("{detail}还可以，但{use}时差点意思。", "应付{use}够了。", "算{generic}，{detail}还能改进。"),
        ("{detail}非常适合{use}。", "{use}一直在用它。", "真的很{generic}，{detail}也出色。", "{use}和{use2}都靠它，开心。"),
    ),
}
_CLOSINGS = {
    "en": ("", "Delivery took {days} days.", "Bought it for my sister.", "Packaging was fine.", "Second one I own."),
    "zh": ("", "物流{days}天到。", "给妹妹买的。", "包装不错。", "第二次买了。"),
}


class Picker:
    """A stream of choices that follows from one integer: the same integer always makes the same text, on any platform."""

    def __init__(self, state: int) -> None:
        self.state = state & _MASK

    def below(self, n: int) -> int:
        """The stream's next number in 0 … n−1 (64-bit linear congruential step, Knuth's MMIX constants, high bits used)."""
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) & _MASK
        return (self.state >> 33) % n

    def of(self, options: Sequence[str]) -> str:
        """One of the options, the stream's next choice."""
        return options[self.below(len(options))]


class _Words(dict[str, str]):
    """Fills a template's slots on demand with words of one topic, so that only slots that occur cost a choice."""

    def __init__(self, topic: Topic, pick: Picker, product: str | None = None) -> None:
        super().__init__({} if product is None else {"product": product})
        self.topic, self.pick = topic, pick

    def __missing__(self, slot: str) -> str:
        topic = self.topic
        if slot == "days":
            return str(2 + self.pick.below(40))
        pools: dict[str, tuple[str, ...]] = {
            "product": topic.products,
            "detail": topic.details,
            "use": topic.uses,
            "near": topic.near,
            "generic": _GENERIC[topic.lang],
            "brand": _BRANDS[topic.lang],
        }
        return self.pick.of(pools[slot.rstrip("2")])


def _sentence(template: str, words: _Words) -> str:
    text = template.format_map(words)
    return text[:1].upper() + text[1:]


def product_of(topic: Topic, state: int) -> str:
    """The product that the item with this text state is."""
    return Picker(state).of(topic.products)


def brand_of(topic: Topic, state: int) -> str:
    """The brand of the item with this text state."""
    return Picker(state ^ 0x5BD1E995).of(_BRANDS[topic.lang])


def item_text(main: Topic, second: Topic | None, state: int, edition: int = 0) -> dict[str, str | list[str]]:
    """Title, description, tags and brand of an item; `second` takes about 30 % of its sentences, `edition` rewrites the title alone."""
    lang, product, brand = main.lang, product_of(main, state), brand_of(main, state)
    words = _Words(main, Picker(state + 7919 * (edition + 1)), product)
    words["brand"] = brand
    title = _sentence(words.pick.of(_TITLES[lang]), words)
    pick = Picker(state ^ 0x9E3779B97F4A7C15)
    sentences = []
    for k in range(4 + pick.below(2)):
        borrowed = second is not None and (k == 1 or (k == 3 and pick.below(3) == 0))
        if k == 2 and not borrowed:
            sentences.append(_sentence(pick.of(_PLAIN[lang]), _Words(main, pick)))
        elif borrowed:
            assert second is not None
            sentences.append(_sentence(pick.of(_SENTENCES[lang]), _Words(second, pick)))
        else:
            sentences.append(_sentence(pick.of(_SENTENCES[lang]), _Words(main, pick, product)))
    tags = [pick.of(main.uses), pick.of(main.near), pick.of((second or main).details), pick.of(_GENERIC[lang])]
    return {"title": title, "description": ("" if lang == "zh" else " ").join(sentences), "tags": tags, "brand": brand}


def query_text(topic: Topic, state: int, product: str | None = None) -> str:
    """A search query in the topic's language, about `product` where given."""
    pick = Picker(state)
    return pick.of(_QUERIES[topic.lang]).format_map(_Words(topic, pick, product))


def review_text(topic: Topic, product: str, stars: int, state: int) -> str:
    """A review of an item of this topic whose sentiment agrees with its 1–5 stars."""
    pick, mood, lang = Picker(state), 0 if stars <= 2 else 1 if stars == 3 else 2, topic.lang
    words = _Words(topic, pick, product)
    parts = [pick.of(_OPENINGS[lang][mood]), pick.of(_REASONS[lang][mood]), pick.of(_CLOSINGS[lang])]
    return ("" if lang == "zh" else " ").join(_sentence(part, words) for part in parts if part)
