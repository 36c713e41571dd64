"""Short texts for people (names of topics, reasons) by a template, a local language model or an endpoint; the template always holds.

A new generator is one module with a class that offers what `TextGenerator` lists, and one line in GENERATORS.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from recsys_core.lake import Lake, canonical_json
from recsys_core.texts import normalise

GENERATORS: dict[str, str] = {
    "template": "recsys_core.generate:Templates",
    "local": "recsys_core.generate.local:LocalModel",
    "endpoint": "recsys_core.generate.endpoint:Endpoint",
}
CACHE = "_generated"
# What is kept of an answer before a prompt's own limit cuts it.
MAX_ANSWER_CHARS = 1_000
_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_LETTER = {"en": re.compile("[A-Za-z]"), "zh": re.compile("[\u3400-\u9fff\uf900-\ufaff]")}
# What may stand before an answer, as it stood at the end of the prompt, and what an answer is wrapped in.
_HEADING = re.compile(r"^(?:(?:(?:english|topic) )?(?:name|label)|topic|answer|(?:中文|主题)?名称|主题|标签|答案):\s*", re.IGNORECASE)
_WRAPPING = " \t\"'`*#_.。“”‘’「」《》【】"


@dataclass(frozen=True)
class Prompt:
    """What a generator is asked, the template's answer, the language that an answer must be in, and how long it may be."""

    text: str
    template: str
    lang: Literal["en", "zh"]
    max_chars: int = 60
    max_tokens: int = 32


class Answer(NamedTuple):
    """One line of text, and whether a generator wrote it or the template did."""

    text: str
    generated: bool


class TextGenerator(Protocol):
    """What answers prompts. `name` tells two generators apart that may answer differently: it is part of what answers are kept under."""

    @property
    def name(self) -> str:
        """Id of the generator; never a secret."""

    def generate(self, prompts: Sequence[Prompt], say: Callable[[str], None]) -> list[str]:
        """An answer to each prompt as it came, '' where there is none; never an error. `say` gets one line when any is missing."""


class Templates:
    """The templates themselves."""

    name = "template"

    def __init__(self, **_: Any) -> None:
        """A template needs none of the options."""

    def generate(self, prompts: Sequence[Prompt], say: Callable[[str], None]) -> list[str]:
        """Each prompt's template."""
        return [p.template for p in prompts]


def text_generator(name: str, **options: Any) -> TextGenerator:
    """A registered generator made with its own options; ValueError for an unknown name."""
    if name not in GENERATORS:
        raise ValueError(f"no text generator is named {name!r}: there are {', '.join(GENERATORS)}")
    module, cls = GENERATORS[name].split(":")
    made: TextGenerator = getattr(importlib.import_module(module), cls)(**options)
    return made


def one_line(answer: str) -> str:
    """The first line of an answer that says anything, without reasoning, headings, quotes and control characters.

    >>> one_line("<think>camping?</think>\\n\\n**Name: Tents & stoves.**\\nBecause of the words")
    'Tents & stoves'
    >>> one_line("中文名称：《露营装备》")
    '露营装备'
    """
    lines = (normalise(line).strip(_WRAPPING) for line in _THOUGHT.sub("", answer[: 20 * MAX_ANSWER_CHARS]).splitlines())
    found = next((line for line in lines if line), "")
    return _HEADING.sub("", found).strip(_WRAPPING)[:MAX_ANSWER_CHARS]


def answers(generator: TextGenerator, prompts: Sequence[Prompt], cache: Lake | None, say: Callable[[str], None]) -> list[Answer]:
    """An answer to each prompt: the generator's where it is usable, else the template.

    Usable is one line in the prompt's language; one longer than `max_chars` is cut between words. What a generator answered is kept in the
    lake under the hash of its name and the prompt, and never asked for again; what failed is not kept, and no prompt is.
    """
    if generator.name == Templates.name:
        return [Answer(p.template, False) for p in prompts]
    places = [f"{CACHE}/{_key(generator.name, p)}.json" for p in prompts]
    lines = {place: line for place in dict.fromkeys(places) if cache and (line := _kept(cache, place))}
    missing = {place: p for place, p in zip(places, prompts, strict=True) if place not in lines}
    if missing:
        for place, answer in zip(missing, generator.generate(list(missing.values()), say), strict=True):
            if line := one_line(answer):
                lines[place] = line
                if cache:
                    cache.write_bytes(place, canonical_json({"generator": generator.name, "answer": line}).encode())
    found = (_fitting(lines.get(place, ""), p) for place, p in zip(places, prompts, strict=True))
    return [Answer(line or p.template, bool(line)) for line, p in zip(found, prompts, strict=True)]


def _key(generator: str, prompt: Prompt) -> str:
    return hashlib.sha256(canonical_json([generator, prompt.text, prompt.max_tokens]).encode()).hexdigest()


def _kept(cache: Lake, place: str) -> str:
    """The answer that is kept there, '' when there is none or it cannot be read."""
    try:
        return one_line(str(json.loads(cache.read_bytes(place))["answer"]))
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return ""


def _fitting(line: str, prompt: Prompt) -> str:
    """The line cut to the prompt's length, '' when it is in another language."""
    other = _LETTER["zh"] if prompt.lang == "en" else None
    if not _LETTER[prompt.lang].search(line) or (other and other.search(line)):
        return ""
    if len(line) <= prompt.max_chars:
        return line
    head = line[: prompt.max_chars + 1]
    return (head.rsplit(" ", 1)[0] if " " in head else head[:-1]).strip(_WRAPPING + ",，、;；")
