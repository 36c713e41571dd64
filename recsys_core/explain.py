"""Why a slot is there, in words: exact templates over what was computed, never more than that."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_core.expansion import METHODS
from recsys_core.recommenders.base import Interactions, Ints

# What each source may claim. Only counts of people say what people did: a weight that was learned says no more than that it points there.
REASON_OF_SOURCE = {
    "transitions": "followed",
    "next_item": "together",
    "item_knn": "together",
    "rp3beta": "together",
    "ease": "points",
    "als": "points",
    "biased_mf": "points",
    "two_towers": "points",
    "sasrec": "sequence",
    "content": "similar_text",
    "medoids": "similar_text",
    "popularity": "popular",
    "declared": "declared",
}
# A slot that only fills the list: nobody has chosen the item lately.
CATALOGUE = "catalogue"


@dataclass(frozen=True)
class Template:
    """A reason in English and Chinese, and what its words are about: an item of the user's history, a night, user-nights or a proposal."""

    english: str
    chinese: str
    about: Literal["", "item", "night", "counts", "proposal"] = ""


TEMPLATES: dict[str, Template] = {
    "followed": Template("Because of “{title}”: others went on from it to this", "因为“{title}”：其他人在它之后选择了这个", "item"),
    "similar_text": Template("Because of “{title}”: its description is similar", "因为“{title}”：两者的描述相近", "item"),
    "popular": Template("Popular in the last {nights} nights", "近{nights}天的热门"),
    CATALOGUE: Template("More from the catalogue", "更多商品"),
    "declared": Template("Close to the interests you named", "贴近您声明的兴趣"),
    "together": Template("Because of “{title}”: people who chose it chose this too", "因为“{title}”：选择它的人也选择了这个", "item"),
    "points": Template("Because of “{title}”: of what you chose it points here most", "因为“{title}”：在您的选择中，它最指向这个", "item"),
    "sequence": Template("Because of “{title}”: without it this would count for less", "因为“{title}”：没有它，这个的得分会更低", "item"),
    "because_you_liked": Template("Because you liked “{title}”", "因为您喜欢“{title}”", "item"),
    "repeat": Template("Back again: you last came across it on {date}", "再次推荐：您上次见到它是在{date}", "night"),
    "new": Template("New since {date}", "{date}上新", "night"),
    "trending": Template(
        "Rising: chosen {now} times this week, {before} times in the {compared} nights before",
        "热度上升：本周被选择{now}次，此前{compared}天{before}次",
        "counts",
    ),
    "explore": Template("New to you: {topic} – {why}", "新主题“{topic}”：{why}", "proposal"),
}
CODES = tuple(TEMPLATES)


class Proposal(NamedTuple):
    """A topic that the expansion proposes, the topic that led to it (labels in English and Chinese), and the method that found it."""

    topic: tuple[str, str]
    via: tuple[str, str]
    method: str

    def says(self, side: int) -> tuple[str, str]:
        """The topic and why it is proposed, in English (0) or Chinese (1): as in user_interest_expansion."""
        method = METHODS[self.method]
        return self.topic[side], (method.english, method.chinese)[side].format(self.via[side])


@dataclass(frozen=True)
class Reasons:
    """Why slots are there, one entry a slot.

    code    a place in CODES
    about   what the template is about: a place among titles or proposals, a night (days since 1970) or user-nights; −1 = nothing
    before  the user-nights to compare with, 0 for all others
    """

    code: Ints
    about: Ints
    before: Ints

    @classmethod
    def of(cls, code: str, about: Ints, before: Ints | None = None) -> Self:
        """One reason for all slots."""
        return cls(np.full(len(about), CODES.index(code)), about, np.zeros(len(about), np.int64) if before is None else before)

    @classmethod
    def of_sources(cls, sources: Sequence[str], source: Ints, evidence: Ints, lately: NDArray[np.bool_]) -> Self:
        """What the sources behind slots may claim: `source` are places in `sources`, `evidence` codes of items.

        A source that speaks of an item of the user's history claims nothing without one: its slot is popular, as are slots by popularity,
        if somebody chose the item `lately`, else it only fills the list.
        """
        code = np.array([CODES.index(REASON_OF_SOURCE[name]) for name in sources], np.int64)[source]
        code[_ABOUT_ITEMS[code] & (evidence < 0)] = CODES.index("popular")
        code[(code == CODES.index("popular")) & ~lately] = CODES.index(CATALOGUE)
        return cls(code, np.where(_ABOUT_ITEMS[code], evidence, -1), np.zeros(len(code), np.int64))

    def but(self, slots: NDArray[np.bool_], code: str, about: Ints) -> Self:
        """The same with another reason for some slots; `about` has an entry for each of those."""
        codes, abouts, before = self.code.copy(), self.about.copy(), self.before.copy()
        codes[slots], abouts[slots], before[slots] = CODES.index(code), about, 0
        return replace(self, code=codes, about=abouts, before=before)

    def but_repeats(self, user: Ints, item: Ints, history: Interactions, ds: dt.date) -> Self:
        """The same with `repeat` for slots whose user met the item before, whatever the source: that is why it is known to them."""
        last = last_met(user, item, history)
        return self.but(last >= 0, "repeat", (ds - dt.date(1970, 1, 1)).days - last[last >= 0])


_ABOUT_ITEMS = np.array([t.about == "item" for t in TEMPLATES.values()])


def last_met(user: Ints, item: Ints, history: Interactions) -> Ints:
    """How many nights ago each (user, item) pair last met, −1 = never.

    >>> met = Interactions.of(*(np.array(x) for x in ([0, 0, 1], [5, 5, 5], [1.0, -3.0, 1.0], [9, 2, 4], [1, 2, 1])), 2, 6)
    >>> last_met(np.array([0, 1, 1]), np.array([5, 5, 0]), met).tolist()
    [2, 4, -1]
    """
    wanted, place = np.unique(user * history.n_items + item, return_inverse=True)
    met = history.user * history.n_items + history.item
    at = np.minimum(np.searchsorted(wanted, met), max(len(wanted) - 1, 0))
    found = wanted[at] == met if len(wanted) else np.zeros(len(met), bool)
    age = np.full(len(wanted), np.iinfo(np.int64).max)
    np.minimum.at(age, at[found], history.age[found])
    return np.where(age < np.iinfo(np.int64).max, age, -1)[place]


def reason_text(code: str, about: Any = None, before: int = 0, nights: int = 14, compared: int = 28) -> tuple[str, str]:
    """The reason in English and Chinese.

    about     by the template: a title, a date, user-nights or a Proposal
    before    user-nights in the `compared` nights before, of what is rising
    nights    the width of the popularity window

    >>> reason_text("similar_text", "Tea pot {x}")[0]
    'Because of “Tea pot {x}”: its description is similar'
    >>> reason_text("popular", nights=14)
    ('Popular in the last 14 nights', '近14天的热门')
    >>> reason_text("explore", Proposal(("stoves", "炉子"), ("tents", "帐篷"), "context"))
    ('New to you: stoves – close to tents', '新主题“炉子”：与“帐篷”相近')
    """
    found = []
    for side, template in enumerate((TEMPLATES[code].english, TEMPLATES[code].chinese)):
        topic, why = about.says(side) if isinstance(about, Proposal) else ("", "")
        words = {"title": about, "date": about, "now": about, "before": before, "nights": nights, "compared": compared}
        found.append(template.format(**words, topic=topic, why=why))
    return found[0], found[1]


def reason_texts(
    codes: Ints,
    about: Ints,
    titles: Sequence[str],
    nights: int,
    before: Ints | None = None,
    proposals: Sequence[Proposal] | Mapping[int, Proposal] = (),
    compared: int = 28,
) -> tuple[pa.DictionaryArray, pa.DictionaryArray]:
    """Reasons of many slots in English and Chinese, each different one made once; codes, about and before as in `Reasons`."""
    before = np.zeros(len(codes), np.int64) if before is None else before
    width, depth = int(about.max(initial=0)) + 2, int(before.max(initial=0)) + 1
    encoded = pa.array((codes * width + about + 1) * depth + before).dictionary_encode()
    texts = []
    for key in encoded.dictionary.to_pylist():
        code, what, than = CODES[key // depth // width], key // depth % width - 1, key % depth
        kind = TEMPLATES[code].about
        says: Any = what
        if kind == "item":
            texts.append(tuple(f"{begin}{titles[what]}{end}" for begin, end in _AROUND_TITLE[code]))
            continue
        if kind == "proposal":
            says = proposals[what]
        elif kind == "night":
            says = dt.date(1970, 1, 1) + dt.timedelta(days=what)
        texts.append(reason_text(code, says, than, nights, compared))
    english, chinese = (pa.DictionaryArray.from_arrays(encoded.indices, pa.array([t[side] for t in texts], pa.string())) for side in (0, 1))
    return english, chinese


# What stands before and behind a title, in English and Chinese: a title may hold braces.
_AROUND_TITLE = {
    code: tuple((begin, end) for begin, _, end in (text.partition("{title}") for text in (t.english, t.chinese)))
    for code, t in TEMPLATES.items()
    if t.about == "item"
}
