"""Users: who is there, one user on a night, one user on two nights, and the lists of those whom nobody knows."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from recsys_core.explorer.reads import Night, Reads

MOST_USERS, MOST_SLOTS, MOST_NEXT, MOST_ROWS, CHART_NIGHTS = 40, 600, 5, 20, 30
# Topics that are shown, and topics that are looked at to know whether one is held.
MOST_TOPICS, MOST_HELD = 12, 60
NOBODY = "*"
_HEX = re.compile(r"[0-9a-f]{1,64}")


@dataclass(frozen=True)
class Behind:
    """An item that carries an interest: `part` is how much of the interest's score it is, 0 to 1."""

    item_id: str
    title: str
    n_events: int
    part: float


@dataclass(frozen=True)
class Interest:
    """A topic that a user holds: the row of user_interest, the items behind it and the share on each night of the chart."""

    row: Mapping[str, Any]
    behind: tuple[Behind, ...]
    rest: float
    history: tuple[float, ...]


@dataclass(frozen=True)
class Listed:
    """A list of a user: its slots in order, each with the titles of its item and of the item behind it."""

    name: str
    variant: str
    slots: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Person:
    """All that a night says of a user; `nights` are those of the histories, `gone` what was held on one of them and is not now."""

    user_key: str
    profile: Mapping[str, Any] | None
    nights: tuple[dt.date, ...]
    interests: tuple[Interest, ...]
    gone: tuple[tuple[Mapping[str, Any], tuple[float, ...]], ...]
    changes: tuple[Mapping[str, Any], ...]
    forecast: tuple[Mapping[str, Any], ...]
    expansion: tuple[Mapping[str, Any], ...]
    segments: tuple[Mapping[str, Any], ...]
    lists: tuple[Listed, ...]


@dataclass(frozen=True)
class Between:
    """A user on two nights: topics with both shares, lists with both ranks of every item; None where it is not there."""

    user_key: str
    before: Night
    after: Night
    interests: tuple[Mapping[str, Any], ...]
    lists: tuple[tuple[str, str, tuple[Mapping[str, Any], ...]], ...]


def find_users(reads: Reads, ds: dt.date, prefix: str) -> list[dict[str, Any]]:
    """Users of a night whose key begins so, in order; none when it is not the beginning of a key."""
    if not _HEX.fullmatch(prefix):
        return []
    # 'g' follows all that a key can go on with.
    rows = reads.rows("users", ds=ds, first=prefix, last=f"{prefix}g", most=MOST_USERS)
    return [reads.shown_in(row, "summary_en", "summary_zh") for row in rows]


def person(reads: Reads, ds: dt.date, user_key: str, horizon: str) -> Person | None:
    """A user on a night; None when the night has neither a profile nor a list of such a user."""
    who = {"ds": ds, "user_key": user_key}
    profile = next(iter(reads.rows("user", **who)), None)
    slots = reads.rows("user_lists", **who, most=MOST_SLOTS)
    if profile is None and not slots:
        return None
    rows = reads.rows("user_interests", **who, horizon=horizon, most=MOST_HELD)
    held = {row["topic_id"] for row in rows}
    rows = rows[:MOST_TOPICS]
    evidence = [json.loads(row.pop("evidence")) for row in rows]
    titles = _titles(reads, ds, slots, (e["item_id"] for each in evidence for e in each["items"]))
    nights = reads.until(ds, CHART_NIGHTS)
    shares, labels = _history(reads, ds, user_key, horizon, nights)
    gone = [(labels[topic], tuple(said)) for topic, said in shares.items() if topic not in held]
    expansion = [reads.shown_in(row, "reason") for row in reads.rows("user_expansion", **who, most=MOST_NEXT)]
    return Person(
        user_key,
        reads.shown_in(profile, "summary_en", "summary_zh") if profile else None,
        tuple(nights),
        tuple(_interest(row, e, titles, shares.get(row["topic_id"], [])) for row, e in zip(rows, evidence, strict=True)),
        tuple(sorted(gone, key=lambda g: (-max(g[1]), g[0]["topic_id"]))[:MOST_TOPICS]),
        tuple(reads.rows("user_changes", **who, most=MOST_ROWS)),
        tuple(reads.rows("user_forecast", **who, most=MOST_NEXT)),
        tuple(expansion),
        tuple(reads.shown_in(row, "reason") for row in reads.rows("user_segments", **who, most=MOST_ROWS)),
        _lists(reads, slots, titles),
    )


def visitors(reads: Reads, ds: dt.date) -> tuple[Listed, ...]:
    """The lists of a night for whom nobody knows."""
    slots = reads.rows("user_lists", ds=ds, user_key=NOBODY, most=MOST_SLOTS)
    return _lists(reads, slots, _titles(reads, ds, slots, ()))


def between(reads: Reads, user_key: str, before: Night, after: Night, horizon: str) -> Between | None:
    """A user on two nights; None when neither night knows the user."""
    ends = (before.ds, after.ds)
    shares: dict[int, dict[str, Any]] = {}
    lists: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for side, ds in zip(("before", "after"), ends, strict=True):
        for row in reads.rows("user_interests", ds=ds, user_key=user_key, horizon=horizon, most=MOST_HELD):
            found = shares.setdefault(row["topic_id"], {"before": None, "after": None})
            found |= {name: row[name] for name in ("topic_id", "label_en", "label_zh")} | {side: row["share"]}
        slots = reads.rows("user_lists", ds=ds, user_key=user_key, most=MOST_SLOTS)
        titles = _titles(reads, ds, slots, ())
        for slot in slots:
            items = lists.setdefault((slot["list_name"], slot["variant"]), {})
            item = items.setdefault(slot["item_id"], {"before": None, "after": None})
            item |= {side: slot["rank"], "title": titles.get(slot["item_id"], slot["item_id"])}
    if not shares and not lists:
        return None
    interests = sorted(shares.values(), key=lambda r: (-max(r["before"] or 0.0, r["after"] or 0.0), r["topic_id"]))
    last = MOST_SLOTS  # after every rank
    ordered = (
        (*name, tuple(items[i] for i in sorted(items, key=lambda i: (items[i]["after"] or last, items[i]["before"] or last, i))))
        for name, items in sorted(lists.items())
    )
    return Between(user_key, before, after, tuple(interests[:MOST_ROWS]), tuple(ordered))


def _interest(row: dict[str, Any], evidence: Mapping[str, Any], titles: Mapping[str, str], history: Iterable[float]) -> Interest:
    total = sum(e["weight"] for e in evidence["items"]) + evidence["rest"] or 1.0
    behind = (Behind(e["item_id"], titles.get(e["item_id"], e["item_id"]), e["n_events"], e["weight"] / total) for e in evidence["items"])
    return Interest(row, tuple(behind), evidence["rest"] / total, tuple(history))


def _history(
    reads: Reads, ds: dt.date, user_key: str, horizon: str, nights: list[dt.date]
) -> tuple[dict[int, list[float]], dict[int, dict[str, Any]]]:
    """topic → its share on each of the nights, and topic → the names of it."""
    shares: dict[int, list[float]] = {}
    labels: dict[int, dict[str, Any]] = {}
    place = {night: n for n, night in enumerate(nights)}
    for row in reads.rows("user_history", ds=ds, user_key=user_key, horizon=horizon, from_ds=nights[0], most=MOST_HELD):
        if row["ds"] in place:
            shares.setdefault(row["topic_id"], [0.0] * len(nights))[place[row["ds"]]] = row["share"]
            labels[row["topic_id"]] = row
    return shares, labels


def _titles(reads: Reads, ds: dt.date, slots: list[dict[str, Any]], more: Iterable[str]) -> Mapping[str, str]:
    wanted = {slot[name] for slot in slots for name in ("item_id", "evidence_item_id")} | set(more)
    return reads.titles(ds, wanted - {None})


def _lists(reads: Reads, slots: list[dict[str, Any]], titles: Mapping[str, str]) -> tuple[Listed, ...]:
    def told(slot: dict[str, Any]) -> dict[str, Any]:
        because = slot["evidence_item_id"]
        names = {"title": titles.get(slot["item_id"], slot["item_id"]), "because": titles.get(because, because) if because else None}
        return reads.shown_in(slot, "reason_text_en", "reason_text_zh") | names

    by_list = groupby(slots, key=lambda s: (s["list_name"], s["variant"]))
    return tuple(Listed(name, variant, tuple(map(told, held))) for (name, variant), held in by_list)
