"""Who is who, and who is not to be known: the identity map and the opt-out list as of a night.

Both are landed by day, as JSON lines, and hold from the night of their day on: a login never rewrites the nights before it.

    identity/ds=2026-03-15/*.jsonl   {"anonymous_id": "c-81", "user_id": "u1"}
    optout/ds=2026-03-15/*.jsonl     {"user_id": "u1"}      {"user_id": "u2", "opted_out": false}
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from recsys_core.parse.rules import Fault
from recsys_core.user_files import Delivered, rows_as_of, user_id

if TYPE_CHECKING:
    from recsys_core.erasure.requests import Erased
    from recsys_core.landing import Landing


@dataclass
class Identities(Delivered):
    """What is known of users on a night, and what became of its own files of both kinds.

    stitched    anonymous id → user id, the last one known
    opted_out   user ids
    """

    stitched: dict[str, str] = field(default_factory=dict)
    opted_out: set[str] = field(default_factory=set)


def identities_as_of(landing: Landing, ds: dt.date, erased: Erased | None = None) -> Identities:
    """The identity map and the opt-out list from all partitions up to ds; the newest row of an id holds."""
    found = Identities()
    for _, anonymous_id, known_as in rows_as_of(landing, ds, "identity", _identity, found, erased):
        found.stitched[anonymous_id] = known_as
    for _, user, is_out in rows_as_of(landing, ds, "optout", _optout, found, erased):
        (found.opted_out.add if is_out else found.opted_out.discard)(user)
    return found


def _identity(row: dict[str, Any], repairs: list[str]) -> tuple[str, str]:
    return user_id(row, "anonymous_id", repairs), user_id(row, "user_id", repairs)


def _optout(row: dict[str, Any], repairs: list[str]) -> tuple[str, bool]:
    flag = row.get("opted_out", True)
    if not isinstance(flag, bool):
        raise Fault("bad_flag", "opted_out")
    return user_id(row, "user_id", repairs), flag
