"""What a topic is about: its most telling words, and how well they hang together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys_core.topics.bag import Windows
from recsys_core.topics.keywords import N_KEYWORDS as N_KEYWORDS
from recsys_core.topics.keywords import WINDOW
from recsys_core.topics.keywords import keywords as keywords


def npmi(documents: Sequence[Sequence[str]], topics: Sequence[Sequence[str]], window: int | None = WINDOW) -> list[float]:
    """Mean normalised pointwise mutual information of all pairs of each topic's words, about −1 to 1, 1 when they are always together.

    Counted in stretches of `window` words, or with None in whole documents (Bouma 2009; Röder et al. 2015: c_npmi). gensim's c_npmi is the
    same with a window of 10, but for a word that is twice in a stretch, which it loses with the first: up to .01 lower on prose. Words of
    no document are left out; a topic of fewer than two words has 0.

    >>> npmi([["a", "b"], ["a", "b"], ["c"], ["d"]], [["a", "b"], ["a", "c"]])
    [1.0, -0.924743]
    """
    present = {word for document in documents for word in document}
    held = [[w for w in topic if w in present] for topic in topics]
    windows = Windows(documents, sorted({w for topic in held for w in topic}), window)
    scores = [windows.npmi(topic)[np.triu_indices(len(topic), 1)] for topic in held]
    return [round(float(s.mean()), 6) if len(s) else 0.0 for s in scores]
