"""Numbers about users as they may leave: none that few stand behind and, where a site asks for it, with noise that hides each of them.

A release with noise is ε-differentially private towards one user's rows of one night: whether they are there changes the probability of any
outcome by a factor of e^ε at most. What is released of other nights, or of other tables, adds up; `privacy_spend` lists it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.lake import LakeError, canonical_json
from recsys_core.tables import TABLES

if TYPE_CHECKING:
    from recsys_core.lake import Lake

K = TypeVar("K")
Pairs = Mapping[tuple[int | None, int | None], int]
HORIZONS = ("1d", "7d", "90d")
_FOLDER = "_privacy"


@dataclass(frozen=True)
class Release:
    """How numbers about users may leave.

    least    users that must stand behind a number (k)
    epsilon  what a release with noise spends; None = exact numbers
    cap      with noise: topics for which a user counts at most
    """

    least: int = 1
    epsilon: float | None = None
    cap: int = 5

    def counts(self, users: pa.ChunkedArray) -> pa.ChunkedArray:
        """Numbers of users with null for what few stand behind, and for all of them where only noise may leave."""
        kept = pc.greater_equal(users, self.least) if self.epsilon is None else pa.scalar(False)
        return pc.if_else(kept, users, pa.scalar(None, users.type))


@dataclass(frozen=True)
class Spent:
    """A release with noise: which it is, what it spent, and by how much one user can change its counts together."""

    release: str
    epsilon: float
    cap: int
    sensitivity: int


def shown(query: Callable[[str, Any], pa.Table], least: int) -> Callable[[str, Any], pa.Table]:
    """The query function, without rows that fewer than `least` users stand behind (`n_users`; 0 says that nobody was counted)."""

    def asked(sql: str, params: Any) -> pa.Table:
        rows = query(sql, params)
        if "n_users" not in rows.column_names:
            return rows
        few = pc.and_(pc.greater(rows["n_users"], 0), pc.less(rows["n_users"], least))
        return rows.filter(pc.invert(pc.fill_null(few, False)))

    return asked


# -- noise -------------------------------------------------------------------------------------------------------------------------
def geometric(key: bytes, n: int, scale: float) -> list[int]:
    """n whole numbers with P(x) ∝ e^(−|x| / scale), which follow from the key alone (Ghosh, Roughgarden, Sundararajan 2009).

    Each is the difference of two geometric ones, whose uniform numbers are SHAKE-256's.
    """
    words = np.frombuffer(hashlib.shake_256(key).digest(16 * n), "<u8").reshape(2, n)
    uniform = ((words >> np.uint64(11)) + 1) * 2.0**-53  # above 0, up to 1
    up, down = np.floor(-np.log(uniform) * scale).astype(np.int64)
    found: list[int] = (up - down).tolist()
    return found


def noisy(counts: Mapping[K, int], sensitivity: int, rule: Release, about: Iterable[str], secret: bytes) -> tuple[dict[K, int], Spent]:
    """Counts with noise of scale sensitivity / ε, in the order given, and what that spent.

    counts       of everything that might be counted, zeros too: which keys there are must not follow from users
    sensitivity  by how much one user can change all counts together
    about        table and night

    The noise follows from the secret and the counts: the same counts give the same rows again, so that nothing can be averaged out, and
    other ones a release of its own. Who has the secret can take the noise off again.
    """
    assert rule.epsilon is not None, "noise needs an epsilon"
    what = canonical_json([*about, rule.epsilon, rule.cap, sensitivity, [[repr(key), n] for key, n in counts.items()]]).encode()
    # User keys are SHA-256 of the same secret: no user's id has this value.
    key = hmac.digest(secret, what, "sha512")
    noise = geometric(key[:32], len(counts), sensitivity / rule.epsilon)
    made = {k: n + x for (k, n), x in zip(counts.items(), noise, strict=True)}
    return made, Spent(key[32:40].hex(), rule.epsilon, rule.cap, sensitivity)


# -- what is released --------------------------------------------------------------------------------------------------------------
def audiences(
    interests: pa.Table, topics: Iterable[int], ds: dt.date, model_version: str, rule: Release, secret: bytes
) -> tuple[pa.Table, Spent | None]:
    """Rows of topic_audience: users by topic and horizon, for topics that enough of them hold; and what the noise in them spent.

    `interests` are user_key, topic_id, horizon and rank of user_interest; `topics` those that may be shown, whoever holds them.
    """
    if rule.epsilon is not None:
        interests = interests.filter(pc.less_equal(interests["rank"], rule.cap))
    held = interests.group_by(["topic_id", "horizon"]).aggregate([([], "count_all")])
    found = dict(
        zip(zip(held["topic_id"].to_pylist(), held["horizon"].to_pylist(), strict=True), held["count_all"].to_pylist(), strict=True)
    )
    counts, spent = {(t, h): found.get((t, h), 0) for t in sorted(topics) for h in HORIZONS}, None
    if rule.epsilon is not None:
        counts, spent = noisy(counts, len(HORIZONS) * rule.cap, rule, ["topic_audience", ds.isoformat()], secret)
    rows = [
        {"ds": ds, "topic_id": topic, "horizon": horizon, "n_users": n, "model_version": model_version}
        for (topic, horizon), n in counts.items()
        if n >= rule.least
    ]
    return pa.Table.from_pylist(rows, schema=TABLES["topic_audience"].arrow_schema()), spent


def strongest(taken: pa.Table, cap: int) -> pa.Table:
    """Of the rows of `graph.taken` those of topics that are held now, the `cap` of each user with most mass; nothing was taken up then."""
    rows = taken.filter(taken["held"])
    keys = rows["user_key"].combine_chunks()
    users = (keys if pa.types.is_dictionary(keys.type) else keys.dictionary_encode()).indices.to_numpy()
    mass, topic = pc.add(rows["before_micro"], rows["week_micro"]).to_numpy(), rows["topic_id"].to_numpy()
    order = np.lexsort((topic, -mass, users))
    user = users[order]
    first = np.flatnonzero(np.diff(user, prepend=-1))
    place = np.arange(len(user)) - np.repeat(first, np.diff(first, append=len(user)))
    kept = rows.take(pa.array(np.sort(order[place < cap])))
    at = kept.column_names.index("first")
    return kept.set_column(at, "first", pa.nulls(kept.num_rows, pa.date32()))


def together(
    held: Pairs, topics: Iterable[int], ds: dt.date, rule: Release, secret: bytes
) -> tuple[dict[tuple[int | None, int | None], int], Spent]:
    """`graph.Counted.held` of the `strongest` topics, with noise; and what that spent.

    Counts that noise made impossible are mended by themselves alone: no topic has fewer users than a pair with it, and no more than all.
    """
    ids = sorted(topics)
    pairs = [(a, b) for a in ids for b in ids if a < b]
    counts: dict[tuple[int | None, int | None], int] = {(None, None): held.get((None, None), 0)}
    counts |= {(a, b): held.get((a, b), 0) for a, b in [*((a, a) for a in ids), *pairs]}
    sensitivity = 1 + rule.cap + rule.cap * (rule.cap - 1) // 2
    made, spent = noisy(counts, sensitivity, rule, ["interest_edge", ds.isoformat()], secret)
    for a, b in pairs:
        for one in (a, b):
            made[one, one] = max(made[one, one], made[a, b], 1)
    made[None, None] = max(made[None, None], *(made[a, a] for a in ids), 1) if ids else made[None, None]
    return made, spent


# -- what was spent ----------------------------------------------------------------------------------------------------------------
def spend(lake: Lake, ds: dt.date, table: str, spent: Spent | None) -> None:
    """Note a release of a table of a night, unless it was made before."""
    known = _read(lake, ds)
    if spent and (entry := [table, spent.release, spent.epsilon, spent.cap, spent.sensitivity]) not in known:
        lake.write_bytes(_path(ds), canonical_json(sorted([*known, entry])).encode())


def spending(lake: Lake, ds: dt.date) -> pa.Table:
    """Rows of privacy_spend for a night: all releases that were ever made of it."""
    names = ("table_name", "release", "epsilon", "cap", "sensitivity")
    rows = [{"ds": ds, **dict(zip(names, entry, strict=True))} for entry in _read(lake, ds)]
    return pa.Table.from_pylist(rows, schema=TABLES["privacy_spend"].arrow_schema())


def _path(ds: dt.date) -> str:
    return f"{_FOLDER}/ds={ds.isoformat()}.json"


def _read(lake: Lake, ds: dt.date) -> list[list[Any]]:
    try:
        found: list[list[Any]] = json.loads(lake.read_bytes(_path(ds)))
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise LakeError(f"{lake.path(_path(ds))} is not JSON ({error}): restore it, since what was spent stays spent") from error
    return found
