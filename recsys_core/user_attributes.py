"""What a site tells of its users, an age band or a gender, so that lists can be compared between groups; used for nothing else.

Landed by day, as JSON lines that hold from the night of their day on; the last word on each attribute counts, null takes it back:

    attributes/ds=2026-03-15/*.jsonl   {"user_id": "u1", "attributes": {"age_band": "25-34", "gender": "f"}}
                                       {"user_id": "u1", "attributes": {"gender": null}}
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from recsys_core.parse.pii import mask
from recsys_core.parse.rules import Fault
from recsys_core.parse.values import text
from recsys_core.tables import TABLES
from recsys_core.user_files import Delivered, rows_as_of, user_id

if TYPE_CHECKING:
    from recsys_core.erasure.requests import Erased
    from recsys_core.identity import Identities
    from recsys_core.landing import Landing

MAX_ATTRIBUTES, MAX_VALUE_CHARS = 20, 100
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")


@dataclass
class Attributes(Delivered):
    """What was told of users as of a night, and what became of its own files.

    by_user  user id → attribute → value
    """

    by_user: dict[str, dict[str, str]] = field(default_factory=dict)


def attributes_as_of(landing: Landing, ds: dt.date, known: Identities, erased: Erased | None = None) -> Attributes:
    """What was told in all partitions up to ds, the newest value of a user's attribute holding.

    An anonymous id is the user whom it is known to belong to on ds; of who opted out or is to be forgotten nothing is kept.
    """
    found = Attributes()
    for _, who, told in rows_as_of(landing, ds, "attributes", _attributes, found, erased):
        user = known.stitched.get(who, who)
        if user in known.opted_out or (erased and (erased.request(user) or erased.request(who))):
            continue
        values = found.by_user.setdefault(user, {}) | told
        found.by_user[user] = {name: value for name, value in values.items() if value is not None}
    return found


def attribute_rows(found: Attributes, ds: dt.date, user_key: Callable[[str], str]) -> pa.Table:
    """Rows of the table user_attribute."""
    rows = [
        {"ds": ds, "user_key": user_key(user), "attribute": name, "attribute_value": value}
        for user, told in found.by_user.items()
        for name, value in told.items()
    ]
    rows.sort(key=lambda r: (r["user_key"], r["attribute"]))
    return pa.Table.from_pylist(rows, schema=TABLES["user_attribute"].arrow_schema())


def _attributes(row: dict[str, Any], repairs: list[str]) -> tuple[str, dict[str, str | None]]:
    who, told = user_id(row, "user_id", repairs), row.get("attributes")
    if not isinstance(told, dict) or not told:
        raise Fault("missing_required", "attributes")
    if len(told) > MAX_ATTRIBUTES or not all(_NAME.fullmatch(name) for name in told):
        raise Fault("bad_attributes", "attributes")
    values: dict[str, str | None] = {}
    for name, given in told.items():
        value = None if given is None else text(given, repairs)
        if given is not None and not value:
            raise Fault("bad_attributes", "attributes")
        if value and len(value) > MAX_VALUE_CHARS:
            raise Fault("text_too_long", "attributes")
        if value and (masked := mask(value)) != value:
            value = masked
            repairs.append("pii_masked")
        values[name] = value
    return who, values
