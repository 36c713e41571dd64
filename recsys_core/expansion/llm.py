"""What a language model says of pairs of topics: whether who likes the one may like the other. Asked once per pair, never about a user."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np

from recsys_core.generate import Prompt, Templates, TextGenerator, answers
from recsys_core.lake import Lake

# Each topic is paired with these many at most: those most alike.
PAIRED_WITH = 8
_ASKED = (
    "Here are two topics of a catalogue, each with its name and keywords.\nA: {a}\nB: {b}\n"
    "Is somebody who likes A likely to be interested in B, too? Answer yes or no.\nAnswer:"
)


def pairs(
    generator: TextGenerator, described: Sequence[str], alike: np.ndarray, cache: Lake | None, say: Callable[[str], None]
) -> np.ndarray:
    """(k, k) symmetric, 1 for the pairs of topics that the generator says yes to, else 0; all 0 for the template, which knows nothing.

    `described` says what each topic is about; it is quoted as JSON, so that no word of a catalogue reads like the prompt's own. `alike`
    (k, k) chooses the pairs. An answer counts by its first word, in yes or no; any other is a no. Answers are kept in `cache`.
    """
    k = len(described)
    found = np.zeros((k, k))
    if generator.name == Templates.name:
        return found
    asked = sorted(
        {(min(a, b), max(a, b)) for a in range(k) for b in np.argsort(-alike[a], kind="stable")[: PAIRED_WITH + 1].tolist() if a != b}
    )
    quoted = [json.dumps(text, ensure_ascii=False) for text in described]
    prompts = [Prompt(_ASKED.format(a=quoted[a], b=quoted[b]), "no", "en") for a, b in asked]
    for (a, b), answer in zip(asked, answers(generator, prompts, cache, say), strict=True):
        if answer.generated and answer.text.lower().split(maxsplit=1)[0].strip(".,;:!") == "yes":
            found[a, b] = found[b, a] = 1.0
    return found
