"""Rules of audiences that a site writes in a TOML file: who did what how often, holds a topic, or changes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from recsys_core import toml_file
from recsys_core.events import EVENT_TYPES

# A similarity audience is named `topic:<id>`.
RESERVED = "topic:"
MAX_NIGHTS = 90
HORIZONS = ("1d", "7d", "90d")
LIFECYCLES = ("new", "active", "lapsing", "dormant")
CHANGES = ("new", "rising", "falling", "lost", "returned")
_REMEDY = 'write [tea_lovers.searched], and below it event_types = "search", term = ["tea", "茶"] and at_least = 3'


class SegmentError(ValueError):
    """Rules that cannot be used: every fault of the file on a line of its own, with its place and its remedy."""


@dataclass(frozen=True)
class Did:
    """At least so many events of the types within the last nights, about a topic or one below it, or of a term, category or brand."""

    event_types: tuple[str, ...]
    topic: tuple[int, ...] = ()
    term: tuple[str, ...] = ()
    category: tuple[str, ...] = ()
    brand: tuple[str, ...] = ()
    at_least: int = 1
    nights: int = 7

    @property
    def by_item(self) -> bool:
        """Whether what an item is decides which events count."""
        return bool(self.term or self.category or self.brand)


@dataclass(frozen=True)
class Holds:
    """A share of the topic, with all below it, of at least so much."""

    topic: tuple[int, ...]
    min_share: float
    horizon: str = "90d"


@dataclass(frozen=True)
class Changed:
    """A change of the topic or one below it, tonight."""

    topic: tuple[int, ...]
    change: tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    """A segment: all conditions hold; no lifecycle or cold level given = any."""

    segment: str
    conditions: tuple[Did | Holds | Changed, ...]
    lifecycle: tuple[str, ...] = ()
    cold_level: tuple[int, ...] = ()

    def about(self) -> set[int]:
        """Topics that its conditions name."""
        return {t for c in self.conditions for t in c.topic}


@dataclass(frozen=True)
class Rules:
    """All rules of a site, by name."""

    rules: tuple[Rule, ...] = ()

    def did(self) -> list[Did]:
        """The conditions that count events, each once."""
        return list(dict.fromkeys(c for r in self.rules for c in r.conditions if isinstance(c, Did)))


def rules(text: str, name: str) -> Rules:
    """The rules of the TOML file `name`; SegmentError names all its faults.

    A table is a segment, with what is asked of the profile; each table in it is a condition under a name of the site's own.

    >>> rules('[tea]\\nlifecycle = "active"\\n[tea.often]\\nterm = ["tea", "茶"]\\nat_least = 3', "site.toml").rules[0].conditions[0].term
    ('tea', '茶')
    """
    given = toml_file.checked(text, name, _REMEDY, _faults, SegmentError)
    return Rules(tuple(_rule(segment, table) for segment, table in sorted(given.items())))


def _rule(segment: str, table: dict[str, Any]) -> Rule:
    conditions = [_condition(value) for value in table.values() if isinstance(value, dict)]
    return Rule(segment, tuple(conditions), _many(table.get("lifecycle", ())), _many(table.get("cold_level", ())))


def _condition(given: dict[str, Any]) -> Did | Holds | Changed:
    kind = _kind(given)
    values: dict[str, Any] = {key: value if key in _SINGLE else _many(value) for key, value in given.items()}
    if kind is Holds:
        values["min_share"] = float(values["min_share"])
    if kind is Did:
        values.setdefault("event_types", tuple(t.name for t in EVENT_TYPES.values() if t.polarity > 0))
    found: Did | Holds | Changed = kind(**values)
    return found


def _many(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _kind(given: dict[str, Any]) -> type[Did] | type[Holds] | type[Changed]:
    return Changed if "change" in given else Holds if {"min_share", "horizon"} & given.keys() else Did


# -- faults ------------------------------------------------------------------------------------------------------------------------
def _words(value: Any) -> bool:
    return isinstance(value, str) and bool(re.search(r"\w", value))


# Key → (what a value has to be, what to give). Those that are not in _SINGLE take one value or a list of them.
_SINGLE = ("at_least", "nights", "min_share", "horizon")
_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "event_types": (lambda v: v in EVENT_TYPES, f"one or more of {', '.join(EVENT_TYPES)}"),
    "topic": (toml_file.whole(1, 2**63 - 1), "ids of topics, whole numbers from 1"),
    "term": (_words, 'words in quotes, like ["tea", "茶"]'),
    "category": (_words, "names of categories in quotes"),
    "brand": (_words, "names of brands in quotes"),
    "at_least": (toml_file.whole(1, 1_000_000), "a whole number from 1 to 1000000"),
    "nights": (toml_file.whole(1, MAX_NIGHTS), f"a whole number from 1 to {MAX_NIGHTS}"),
    "min_share": (lambda v: type(v) in (int, float) and 0 < v <= 1, "a number above 0 and at most 1, like 0.2"),
    "horizon": (lambda v: v in HORIZONS, f"one of {', '.join(HORIZONS)}"),
    "change": (lambda v: v in CHANGES, f"one or more of {', '.join(CHANGES)}"),
    "lifecycle": (lambda v: v in LIFECYCLES, f"one or more of {', '.join(LIFECYCLES)}"),
    "cold_level": (toml_file.whole(0, 3), "one or more of 0, 1, 2, 3"),
}
_PROFILE = ("lifecycle", "cold_level")
_KEYS: dict[type, tuple[str, ...]] = {
    Did: ("event_types", "topic", "term", "category", "brand", "at_least", "nights"),
    Holds: ("topic", "min_share", "horizon"),
    Changed: ("topic", "change"),
}
Faults = Iterator[tuple[tuple[str, ...], str]]


def _faults(given: dict[str, Any]) -> Faults:
    """(path of a key, what is wrong with it and what to write instead)"""
    for segment, table in given.items():
        if not isinstance(table, dict):
            yield (segment,), f"{segment} is no segment; {_REMEDY}"
            continue
        if segment.startswith(RESERVED) or not re.search(r"\w", segment):
            yield (
                (segment,),
                f"[{segment}] is no name of a segment: give words, not beginning with {RESERVED} (audiences by similarity are named so)",
            )
        if not table:
            yield (segment,), f"[{segment}] has no condition, so everybody would be in it; {_REMEDY}"
        for key, value in table.items():
            if isinstance(value, dict):
                yield from _condition_faults((segment, key), value)
            elif key in _PROFILE:
                yield from _value_faults((segment, key), value)
            elif key in _VALUES:
                yield (segment, key), f"[{segment}] {key} belongs to a condition: write [{segment}.some_name], and below it {key} = …"
            else:
                yield (
                    (segment, key),
                    f"[{segment}] has no key {key!r}; {toml_file.nearest(key, _PROFILE)}, and conditions [{segment}.some_name]",
                )


def _condition_faults(path: tuple[str, str], given: dict[str, Any]) -> Faults:
    name, kind = f"[{'.'.join(path)}]", _kind(given)
    known = _KEYS[kind]
    for key, value in given.items():
        if key in known:
            yield from _value_faults((*path, key), value)
        elif key in _VALUES:
            yield (
                (*path, key),
                f"{name} {key} does not go with {', '.join(k for k in given if k in known) or 'events'}; here there are {', '.join(known)}",
            )
        else:
            yield (*path, key), f"{name} has no key {key!r}; {toml_file.nearest(key, known)}"
    if kind is Did:
        yield from _event_faults(path, given)
    elif missing := [k for k in known if k not in given and k != "horizon"]:
        yield path, f"{name} lacks {' and '.join(missing)}; {'; '.join(f'{k} is {_VALUES[k][1]}' for k in missing)}"


def _event_faults(path: tuple[str, str], given: dict[str, Any]) -> Faults:
    name = f"[{'.'.join(path)}]"
    if not given:
        yield path, f"{name} is empty; {_REMEDY}"
    beside = [k for k in ("term", "category", "brand") if k in given]
    if "topic" in given and beside:
        yield (*path, beside[0]), f"{name} {beside[0]} does not go with topic: write a condition for each"
    places = [k for k in ("category", "brand") if k in given]
    if places and "search" in _many(given.get("event_types", ())):
        yield (*path, "event_types"), f"{name} event_types names search, but a search has no {places[0]}: give a term or a topic"


def _value_faults(path: tuple[str, ...], value: Any) -> Faults:
    key = path[-1]
    right, wanted = _VALUES[key]
    listed = isinstance(value, list) and key not in _SINGLE
    for each in value if listed and value else [value]:
        if isinstance(each, list | dict) or not right(each):
            written = json.dumps(each, default=str, ensure_ascii=False)[:60]
            near = toml_file.nearest(each, tuple(EVENT_TYPES)).split("?")[0] if key == "event_types" and isinstance(each, str) else ""
            asked = f"{near}? " if near.startswith("did you mean") else ""
            yield path, f"[{'.'.join(path[:-1])}] {key} is {written}; {asked}give {wanted}"
