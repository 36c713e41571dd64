"""Why a slot is there, in words: exact templates over what was computed, never more than that."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from recsys_core.recommenders.base import Ints

# What each source may claim. 'catalogue' stands for a slot that only fills the list: nobody has chosen the item lately.
REASON_OF_SOURCE = {"transitions": "followed", "content": "similar_text", "popularity": "popular", "declared": "declared"}
CATALOGUE = "catalogue"

TEMPLATES: dict[str, tuple[str, str]] = {
    "followed": ("Because of “{title}”: others went on from it to this", "因为“{title}”：其他人在它之后选择了这个"),
    "similar_text": ("Because of “{title}”: its description is similar", "因为“{title}”：两者的描述相近"),
    "popular": ("Popular in the last {nights} nights", "近{nights}天的热门"),
    CATALOGUE: ("More from the catalogue", "更多商品"),
    "declared": ("Close to the interests you named", "贴近您声明的兴趣"),
}
CODES = tuple(TEMPLATES)


def reason_text(code: str, title: str | None, nights: int) -> tuple[str, str]:
    """The reason in English and Chinese; `title` is the evidence item's, `nights` the width of the popularity window.

    >>> reason_text("similar_text", "Tea pot {x}", 14)[0]
    'Because of “Tea pot {x}”: its description is similar'
    >>> reason_text("popular", None, 14)
    ('Popular in the last 14 nights', '近14天的热门')
    """
    english, chinese = TEMPLATES[code]
    return english.format(title=title, nights=nights), chinese.format(title=title, nights=nights)


def reason_texts(codes: Ints, evidence: Ints, titles: list[str], nights: int) -> tuple[pa.Array, pa.Array]:
    """Reasons of many slots in English and Chinese: `codes` are places in CODES, `evidence` places in `titles` (−1 = none)."""
    pairs, place = np.unique(codes * (len(titles) + 1) + evidence + 1, return_inverse=True)
    texts = [
        reason_text(CODES[pair // (len(titles) + 1)], titles[found - 1] if (found := pair % (len(titles) + 1)) else None, nights)
        for pair in pairs.tolist()
    ]
    english, chinese = (pa.array([t[side] for t in texts], pa.string()).take(pa.array(place)) for side in (0, 1))
    return english, chinese
