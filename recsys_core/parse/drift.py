"""How delivered fields differ from the declared ones: names that are new or nearly a declared one, values of another type."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from recsys_core.landing_schema import Field

# So many names of undeclared fields are told apart in one file; a field name is cut to this many characters.
MAX_NEW_FIELDS, MAX_FIELD_NAME = 64, 64
# How alike a name must be to a required one to be taken for it (difflib's ratio).
NEAR = 0.88
_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "boolean": (bool,),
    "timestamp": (str, int, float),
    "date": (str,),
    "strings": (list,),
    "object": (dict, str),
}


class Declared:
    """The declared fields of one kind of row, for comparison with what comes.

    >>> from recsys_core.landing_schema import EVENT_FIELDS
    >>> [Declared(EVENT_FIELDS).meant(name) for name in ("User_Id", "eventtype", "evnt_type", "colour")]
    ['user_id', 'event_type', 'event_type', None]
    """

    def __init__(self, fields: Iterable[Field]) -> None:
        declared = tuple(fields)
        self.types = {f.name: _JSON_TYPES[f.type] for f in declared}
        self._plain = {_plain(name): name for name in self.types}
        self._required = sorted(f.name for f in declared if f.required)
        self.meant = lru_cache(maxsize=4096)(self._meant)

    def _meant(self, name: str) -> str | None:
        """The declared field that a name is likely to stand for: equal but for case and separators, or nearly a required one."""
        name = name[:MAX_FIELD_NAME]
        if known := self._plain.get(_plain(name)):
            return known
        close = get_close_matches(name.lower(), self._required, 1, NEAR)
        return close[0] if close else None

    def is_odd(self, name: str, value: Any) -> bool:
        """Whether the value of a declared field has another JSON type than declared; null has none."""
        types = self.types[name]
        return value is not None and (not isinstance(value, types) or (isinstance(value, bool) and bool not in types))


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def shown(name: str) -> str:
    """A field name that can be printed and is not long."""
    return "".join(c if c.isprintable() else "?" for c in name[:MAX_FIELD_NAME]).encode("utf-8", "replace").decode()
