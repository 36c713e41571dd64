"""The nightly checks of lists find planted faults from the tables alone, and nothing in good lists."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest

from recsys_core.explain import CODES
from recsys_core.quality import Night, failed, landing_file_rows, quality_rows
from recsys_core.ranking.checks import CHECKS, Site, met, observed, short
from recsys_core.ranking.policy import EVERY, ListRules
from recsys_core.tables import TABLES

D = dt.date(2026, 3, 10)
ITEMS = [f"i{n}" for n in range(8)]


def day(nights_ago: int, user: str, item: str, **counts: int) -> dict[str, Any]:
    """A row of user_item_day."""
    ds = D - dt.timedelta(days=nights_ago)
    row = {n: 0 if n.startswith("n_") else None for n in TABLES["user_item_day"].names} | {f"n_{t}": n for t, n in counts.items()}
    return row | {"ds": ds, "user_key": user, "item_id": item, "last_event_ts": dt.datetime(ds.year, ds.month, ds.day, tzinfo=dt.UTC)}


FACTS = [[day(9, "u1", "i0", purchase=1), day(9, "u2", "i0", view=1)], [day(2, "u1", "i1", view=1)], [day(0, "u2", "i2", hide=1)]]


def table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=TABLES[name].arrow_schema())


def slots(user: str, *items: str, list_name: str = "for_you", **other: Any) -> list[dict[str, Any]]:
    values = {"ds": D, "user_key": user, "list_name": list_name, "variant": "default", "score": 1.0, "source": "popularity"}
    values |= {"exploration": False, "reason_code": "popular", "reason_text_en": "", "reason_text_zh": "", "contributions": "{}"}
    values |= {"model_version": "m", "run_id": "r", "topic_id": None, "evidence_item_id": None} | other
    return [values | {"rank": rank, "item_id": item} for rank, item in enumerate(items, 1)]


GOOD = [*slots("u1", "i2", "i3", "i4"), *slots("u2", "i1", "i3", "i4"), *slots("*", "i0", "i1", "i2", list_name="popular")]


def item(item_id: str, **other: Any) -> dict[str, Any]:
    given = {"ds": D, "item_id": item_id, "lang": "en", "valid_from_ds": D, "deleted": False, "first_ds": D - dt.timedelta(days=99)}
    return dict.fromkeys(TABLES["item"].names) | given | other


def site(*changed: dict[str, Any], sessions: Any = (), muted: Any = (), hidden: Any = ()) -> Site:
    catalogue = {i: item(i) for i in ITEMS} | {c["item_id"]: c for c in changed}
    topics = pa.table({"item_id": ITEMS, "topic_id": list(range(8))})
    regions = pa.table([pa.array([s[k] for s in sessions], pa.string()) for k in (0, 1)], ["user_key", "region"])
    return Site(table("item", [*catalogue.values()]), table("category", []), topics, regions, muted, hidden)


def found(rows: list[dict[str, Any]], of: Site | None = None, rules: ListRules | None = None) -> list[int]:
    lists = table("user_topn", rows)
    facts = (table("user_item_day", night) for night in FACTS)
    told = met(lists, short(lists)["user_key"].unique(), facts)
    seen = observed(lists, told, of or site(), rules or ListRules(), D)
    assert list(seen) == list(CHECKS)
    return list(seen.values())


def test_good_lists_pass_and_a_planted_slot_blocks_the_night() -> None:
    assert found(GOOD) == [0, 0, 0]
    assert found([]) == [0, 0, 0]
    planted = [*slots("u1", "i2", "i0", "i4"), *GOOD[3:]]
    assert found(planted) == [1, 0, 0]
    assert found([*GOOD, *slots("u2", "i0", "i2", "i5", list_name="new_for_you")]) == [2, 0, 0]
    tonight = Night(D, landing_file_rows(D, [], ()).to_pylist())
    for rows, blocked in ((GOOD, []), (planted, ["consumed_in_list"])):
        observed = dict(zip(CHECKS, found(rows), strict=True))
        result = quality_rows("run", tonight, [], lists={name: (CHECKS[name], n) for name, n in observed.items()}).to_pylist()
        assert [(r["table_name"], r["check_name"]) for r in failed(result)] == [("user_topn", name) for name in blocked]
        assert {r["check_name"] for r in result} >= set(CHECKS)
    assert not {r["check_name"] for r in quality_rows("run", tonight, []).to_pylist()} & set(CHECKS)


@pytest.mark.parametrize(
    ("nights", "consumed"),
    [(0, 1), (2, 1), (3, 2), (9, 2), (10, 4)],
)
def test_what_may_return_is_not_held_against_a_list(nights: int, consumed: int) -> None:
    """u1 met i0 nine nights ago and i1 two; u2 met i0 nine nights ago and hid i2 tonight, which never comes back."""
    rules = ListRules(category={EVERY: {"repeat": nights}})
    assert found([*slots("u1", "i0", "i1", "i5"), *slots("u2", "i0", "i2", "i5")], rules=rules)[0] == consumed


def test_a_list_stops_short_only_when_more_could_be_shown() -> None:
    brief = [*slots("u1", *ITEMS[2:7]), *slots("u2", *ITEMS[3:8], "i1")]
    assert found(brief) == [0, 1, 0]
    assert found([*slots("u1", *ITEMS[2:8]), *slots("u2", *ITEMS[3:8])]) == [0, 1, 0], "u2 could have i1"
    assert found([*brief, *slots("u1", "i7", list_name="new_for_you")])[1] == 1, "other lists may be short"
    gone = [
        site(item("i7", deleted=True)),
        site(item("i7", stock=0)),
        site(item("i7", available_to_ds=D)),
        site(item("i7", regions=["CN"]), sessions=[("u1", "US"), ("u2", "CN")]),
        site(muted=[("u1", 7)]),
        site(hidden=[7]),
    ]
    for number, of in enumerate(gone):
        assert found(brief, of)[1] == 0, number
    there = [site(item("i7", regions=["us"]), sessions=[("u1", "US")]), site(muted=[("u2", 7), ("u1", 6)]), site(item("i7", stock=1))]
    assert [found(brief, of)[1] for of in there] == [1, 0, 1]
    assert found([*slots("new", *ITEMS[:6]), *slots("newer", *ITEMS)])[1] == 1, "users of whom nothing is known have lists, too"


def test_reasons_that_speak_of_an_item_need_one_that_was_met() -> None:
    def told(evidence: str | None, code: str = "followed") -> int:
        return found([*slots("u1", "i2", "i3", "i4", reason_code=code, evidence_item_id=evidence), *GOOD[3:]])[2]

    assert [told(e) for e in ("i1", "i0", "i5", "zz", None)] == [0, 0, 3, 3, 3]
    assert told("i2") == 3, "another user met it"
    about_items = {"followed", "together", "points", "sequence", "similar_text", "because_you_liked"}
    assert {c for c in CODES if told(None, c)} == about_items
