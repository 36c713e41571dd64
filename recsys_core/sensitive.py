"""Sensitive topics: held like others, but never expanded, never shown. A site names them by id or by words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recsys_core import toml_file
from recsys_core.texts import folded, term_pattern

if TYPE_CHECKING:
    import pyarrow as pa

_KEYS = ("topics", "words")
_REMEDY = 'write topics = [12, 40] and words = ["gambling", "赌博"]'


class SensitiveError(ValueError):
    """A file of sensitive topics that cannot be used: every fault on a line of its own, with its place and its remedy."""


@dataclass(frozen=True)
class Sensitive:
    """What is sensitive: topics by id, with all below them, and words that make every topic sensitive that is named or described by one."""

    topics: tuple[int, ...] = ()
    words: tuple[str, ...] = ()

    def among(self, topic: pa.Table) -> frozenset[int]:
        """Ids of the sensitive ones among rows of the table `topic`: those named here, and those that are flagged in their row.

        A word matches whole words of keywords and labels, whatever its case; a Chinese one any part of them.

        >>> import pyarrow as pa
        >>> rows = {"topic_id": [4, 5, 6, 7], "parent_topic_id": [None, 4, None, None], "sensitive": [False] * 4}
        >>> rows |= {"keywords": ['["pot"]', '["tea"]', '["poker", "card"]', '["网上赌博"]']}
        >>> rows |= {"label_en": ["pot", "tea", "Poker & cards", "bets"], "label_zh": ["锅", "茶", "扑克", "博彩"]}
        >>> sorted(Sensitive((4,), ("poke", "POKER", "赌博")).among(pa.table(rows)))
        [4, 5, 6, 7]
        """
        names = ("topic_id", "parent_topic_id", "sensitive", "keywords", "label_en", "label_zh")
        rows = topic.select(names).to_pylist()
        found = {r["topic_id"] for r in rows if r["sensitive"] or r["topic_id"] in self.topics}
        if self.words:
            pattern = term_pattern(self.words)
            found |= {r["topic_id"] for r in rows if pattern.search(_said(r))}
        above = {r["topic_id"]: r["parent_topic_id"] for r in rows}
        return frozenset(t for t in above if any(a in found for a in _upwards(t, above)))


def marked(topic: pa.Table, sensitive: Sensitive) -> pa.Table:
    """Rows of `topic` whose column `sensitive` says what is sensitive now."""
    import pyarrow as pa

    found = sensitive.among(topic)
    column = pa.array([t in found for t in topic.column("topic_id").to_pylist()], pa.bool_())
    return topic.set_column(topic.column_names.index("sensitive"), topic.schema.field("sensitive"), column)


def sensitive(text: str, name: str) -> Sensitive:
    """What the TOML file `name` calls sensitive; SensitiveError names all its faults.

    >>> sensitive('topics = [12]\\nwords = ["gambling", "赌博"]', "site.toml")
    Sensitive(topics=(12,), words=('gambling', '赌博'))
    """
    given = toml_file.checked(text, name, _REMEDY, _faults, SensitiveError)
    return Sensitive(tuple(sorted(set(given.get("topics", ())))), tuple(sorted(set(given.get("words", ())))))


def _faults(given: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    for key, value in given.items():
        if key not in _KEYS:
            yield (key,), f"there is no key {key!r}; {toml_file.nearest(key, _KEYS)}"
        elif not isinstance(value, list):
            yield (key,), f"{key} is no list; {_REMEDY}"
        else:
            for each in value:
                if key == "topics" and (not isinstance(each, int) or isinstance(each, bool) or each < 1):
                    yield (
                        (key,),
                        f"topics names {json.dumps(each, default=str, ensure_ascii=False)}; give ids of topics, whole numbers from 1",
                    )
                elif key == "words" and (not isinstance(each, str) or not re.search(r"\w", each)):
                    yield (key,), f"words names {json.dumps(each, default=str, ensure_ascii=False)}; give words in quotes"


def _said(row: Mapping[str, Any]) -> str:
    """All names and keywords of a topic, one a line."""
    return "\n".join(folded(text) for text in (row["label_en"], row["label_zh"], *json.loads(row["keywords"])))


def _upwards(topic: int | None, above: Mapping[int, int | None]) -> Iterable[int]:
    """The topic and all above it."""
    while topic is not None:
        yield topic
        topic = above.get(topic)
