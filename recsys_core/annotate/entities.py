"""Names in texts: those of the night's catalogue, found all at once by Aho–Corasick, or what a transformers token classifier finds."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import pyarrow as pa

from recsys_core.stop_words import STOP_WORDS
from recsys_core.tables import TABLES
from recsys_core.texts import HAN, normalise, simplified

# Shorter names are found everywhere and say nothing.
MIN_CHARS = 2
# A catalogue names more than brands by tags like `author:Ursula K. Le Guin` or `作者：刘慈欣`.
TAGS = {
    "brand": "brand",
    "品牌": "brand",
    "author": "author",
    "作者": "author",
    "place": "place",
    "地点": "place",
    "产地": "place",
}
_SPACED = re.compile(rf"[^\W_{HAN}]")


class Entity(NamedTuple):
    """A name that stands in a text, from character `begin` up to `end`."""

    entity_type: str
    entity: str
    begin: int
    end: int


# Entities of each of some texts, in their order.
Finder = Callable[[Sequence[str]], list[list[Entity]]]


def names_of(items: pa.Table) -> list[tuple[str, str]]:
    """(entity_type, name) of all that the catalogue's rows (brand, tags, deleted) name, sorted: brands, and tags as in TAGS."""
    found: set[tuple[str, str]] = set()
    for brand, tags, deleted in zip(*(items[c].to_pylist() for c in ("brand", "tags", "deleted")), strict=True):
        if deleted:
            continue
        found.add(("brand", normalise(brand or "")))
        for tag in tags or ():
            kind, colon, name = normalise(tag or "").partition(":")
            if colon and (entity_type := TAGS.get(kind.strip().lower())):
                found.add((entity_type, name.strip()))
    return sorted((kind, name) for kind, name in found if _telling(name))


def _telling(name: str) -> bool:
    return len(name) >= MIN_CHARS and any(c.isalpha() for c in name) and name.lower() not in STOP_WORDS


def _folded(text: str) -> str:
    """The text without case and in simplified Han, character for character, so that places in it stay."""
    if text.isascii():
        return text.lower()
    return "".join(low if len(low := c.casefold()) == 1 else c for c in simplified(text))


class Gazetteer:
    """Finds names in texts, whatever their case and script of Han: where several overlap, the first and of those the longest.

    Letters and digits must not go on before or after a name, unless they are Han, which know no spaces.

    >>> Gazetteer([("brand", "Lego"), ("brand", "乐高"), ("brand", "乐高城市")])(["my LEGO, not legos", "這是樂高城市系列"])[0]
    [Entity(entity_type='brand', entity='Lego', begin=3, end=7)]
    """

    def __init__(self, names: Iterable[tuple[str, str]]) -> None:
        self.names = list(names)

    @cached_property
    def _automaton(self) -> Any:
        import ahocorasick

        by_key: dict[str, dict[str, str]] = {}
        for kind, name in self.names:
            by_key.setdefault(_folded(name), {}).setdefault(kind, name)
        automaton = ahocorasick.Automaton()
        for key, kinds in by_key.items():
            automaton.add_word(key, (len(key), kinds))
        automaton.make_automaton()
        return automaton

    def __call__(self, texts: Sequence[str]) -> list[list[Entity]]:
        """The names in each text (normalised ones), in the order of their places."""
        return [self._find(_folded(text)) for text in texts] if self.names else [[] for _ in texts]

    def _find(self, text: str) -> list[Entity]:
        found = [(last + 1 - n, last + 1, kinds) for last, (n, kinds) in self._automaton.iter(text)]
        free, entities = 0, []
        for begin, end, kinds in sorted(found, key=lambda f: (f[0], -f[1])):
            if begin >= free and not _goes_on(text, begin) and not _goes_on(text, end):
                entities += [Entity(kind, name, begin, end) for kind, name in sorted(kinds.items())]
                free = end
        return entities


def _goes_on(text: str, at: int) -> bool:
    """Whether a word of spaced letters or digits runs over the place between two characters."""
    return 0 < at < len(text) and bool(_SPACED.match(text[at - 1]) and _SPACED.match(text[at]))


def text_entities(batches: Iterable[pa.RecordBatch], ds: dt.date, find: Finder, source: str) -> Iterator[pa.RecordBatch]:
    """Rows of text_entity, a batch for each batch of distinct texts (text_hash, text); `source` is what `find` is."""
    schema = TABLES["text_entity"].arrow_schema()
    for batch in batches:
        hashes, texts = (c.to_pylist() for c in batch.columns)
        rows = [(ds, h, *e, source) for h, found in zip(hashes, find(texts), strict=True) for e in found]
        columns = zip(*rows, strict=True) if rows else ((),) * len(schema)
        yield pa.RecordBatch.from_arrays([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)
