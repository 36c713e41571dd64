"""What users say of themselves: interests they state and what they do not want to see, as of a night.

Landed by day, as JSON lines that hold from the night of their day on; the last word on a topic or a term counts:

    declared/ds=2026-03-15/*.jsonl   {"user_id": "u1", "term": "露营"}                          wants to see camping
                                     {"user_id": "u1", "topic_id": 17, "stance": "mute"}        never wants to see topic 17
                                     {"user_id": "u1", "term": "露营", "stance": "withdrawn"}   takes it back
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.parse.pii import mask
from recsys_core.parse.rules import Fault
from recsys_core.parse.values import text
from recsys_core.tables import TABLES
from recsys_core.texts import folded, text_hash
from recsys_core.topics import MICRO
from recsys_core.user_files import Delivered, rows_as_of, user_id

if TYPE_CHECKING:
    from recsys_core.erasure.requests import Erased
    from recsys_core.identity import Identities
    from recsys_core.landing import Landing

INTEREST, MUTE, WITHDRAWN = "interest", "mute", "withdrawn"
STANCES = (INTEREST, MUTE, WITHDRAWN)
MAX_TERM_CHARS = 200
# A term mutes a topic that it belongs to by so much; what it touches besides stays.
MUTED_FROM = 0.5


@dataclass
class Declared(Delivered):
    """What users declared as of a night, and what became of its own files.

    by_user  user id → declared → the row of declared_interest without ds and user_key
    """

    by_user: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)


def declared_as_of(landing: Landing, ds: dt.date, known: Identities, erased: Erased | None = None) -> Declared:
    """What users declared in all partitions up to ds, the newest row of a user and topic or term holding.

    An anonymous id is the user whom it is known to belong to on ds; of who opted out or is to be forgotten nothing is kept.
    """
    found = Declared()
    for day, (who, about), row in rows_as_of(landing, ds, "declared", _declared, found, erased):
        user = known.stitched.get(who, who)
        if user in known.opted_out or (erased and (erased.request(user) or erased.request(who))):
            continue
        said = found.by_user.setdefault(user, {})
        said.pop(about, None)
        if row["stance"] != WITHDRAWN:
            said[about] = row | {"declared": about, "declared_ds": day}
    return found


def declared_rows(found: Declared, ds: dt.date, user_key: Callable[[str], str]) -> pa.Table:
    """Rows of the table declared_interest."""
    rows = [{"ds": ds, "user_key": user_key(user), **row} for user, said in found.by_user.items() for row in said.values()]
    rows.sort(key=lambda r: (r["user_key"], r["declared"]))
    return pa.Table.from_pylist(rows, schema=TABLES["declared_interest"].arrow_schema())


def _declared(row: dict[str, Any], repairs: list[str]) -> tuple[tuple[str, str], dict[str, Any]]:
    who, stance, topic = user_id(row, "user_id", repairs), row.get("stance", INTEREST), row.get("topic_id")
    if stance not in STANCES:
        raise Fault("bad_stance", "stance")
    if topic is not None:
        if isinstance(topic, str) and topic.isascii() and topic.isdigit() and len(topic) <= 18:
            topic = int(topic)
            repairs.append("num_from_text")
        if type(topic) is not int or not 0 < topic < 2**63:
            raise Fault("bad_number", "topic_id")
        return (who, f"topic:{topic}"), {"stance": stance, "topic_id": topic, "term": None, "text_hash": None}
    term = text(row.get("term"), repairs)
    if term and (masked := mask(term)) != term:
        term = masked
        repairs.append("pii_masked")
    term = folded(term or "")
    if not term:
        raise Fault("missing_required", "term")
    if len(term) > MAX_TERM_CHARS:
        raise Fault("text_too_long", "term")
    return (who, f"term:{term}"), {"stance": stance, "topic_id": None, "term": term, "text_hash": text_hash(term)}


def topics_of_terms(terms: Sequence[str], assigned: tuple[np.ndarray, ...]) -> dict[str, dict[int, float]]:
    """Term → its topics and how much it belongs to each, 0 to 1, from what `Topics.assign` says of the terms in this order."""
    found: dict[str, dict[int, float]] = {term: {} for term in terms}
    row, topic, micro = (column.tolist() for column in assigned[:3])
    for at, topic_id, weight in zip(row, topic, micro, strict=True):
        found[terms[at]][topic_id] = weight / MICRO
    return found


def declared_topics(
    ds: dt.date, declared: pa.Table, topics_of_term: Mapping[str, Mapping[int, float]], topic_ids: Collection[int], model_version: str
) -> pa.Table:
    """Rows of the table declared_topic: what declared_interest says in topics of a model, one row a user and topic.

    topics_of_term  see `topics_of_terms`
    topic_ids       the model's topics; a declared topic that is none of them says nothing on this night

    The weight of an interest is the topic's part in all that its user wants to see; a muted topic has weight 1 and is no interest.
    """
    wanted: dict[tuple[str, int], float] = {}
    muted: set[tuple[str, int]] = set()
    for row in declared.select(["user_key", "stance", "topic_id", "term"]).to_pylist():
        topics = {row["topic_id"]: 1.0} if row["topic_id"] is not None else topics_of_term.get(row["term"], {})
        for topic, weight in topics.items():
            pair = row["user_key"], topic
            if topic in topic_ids and row["stance"] == INTEREST:
                wanted[pair] = wanted.get(pair, 0.0) + weight
            elif topic in topic_ids and weight >= MUTED_FROM:
                muted.add(pair)
    total: dict[str, float] = {}
    for user, topic in sorted(wanted.keys() - muted):
        total[user] = total.get(user, 0.0) + wanted[user, topic]
    rows = [
        (*pair, MUTE, 1.0) if pair in muted else (*pair, INTEREST, round(wanted[pair] / total[pair[0]], 6))
        for pair in wanted.keys() | muted
    ]
    columns = ("user_key", "topic_id", "stance", "weight")
    found = [{"ds": ds, "model_version": model_version, **dict(zip(columns, row, strict=True))} for row in sorted(rows)]
    return pa.Table.from_pylist(found, schema=TABLES["declared_topic"].arrow_schema())


@dataclass(frozen=True)
class Stances:
    """What users declared, by topics of one model.

    prior  user_key, topic_id, weight: how much of what the user wants to see the topic is, 0 to 1; a user's weights sum to about 1
    muted  (user_key, topic_id) that a user does not want to see; such a pair has no prior
    """

    prior: pa.Table
    muted: frozenset[tuple[str, int]]

    @classmethod
    def of(cls, rows: pa.Table) -> Stances:
        """From rows of declared_topic."""
        wanted, muted = (rows.filter(pc.equal(rows["stance"], stance)) for stance in (INTEREST, MUTE))
        pairs = zip(muted["user_key"].to_pylist(), muted["topic_id"].to_pylist(), strict=True)
        return cls(wanted.select(["user_key", "topic_id", "weight"]), frozenset(pairs))

    def keep(self, rows: pa.Table) -> pa.Table:
        """The rows (user_key, topic_id, …) without those of muted topics."""
        if not self.muted:
            return rows
        pairs = zip(rows["user_key"].to_pylist(), rows["topic_id"].to_pylist(), strict=True)
        return rows.filter(pa.array([pair not in self.muted for pair in pairs], pa.bool_()))


# Where nobody declared anything.
NOBODY = Stances.of(TABLES["declared_topic"].arrow_schema().empty_table())
