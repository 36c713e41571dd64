"""Segment and Google Analytics 4: what their published rows land as, whose they are, and the catalogue that they tell."""

from __future__ import annotations

import gzip
import json
from datetime import date
from itertools import permutations
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_core.sources import SOURCES, Event, Identity, Item, Refusal, land
from recsys_core.sources.base import Raw
from recsys_core.sources.partitions import fault_line, landing_line
from recsys_core.sources.products import ProductHistory
from tests.ecosystem import GA4, MONOPOLY, SEGMENT, UNO


def converted(source: str, row: dict[str, Any]) -> list[Any]:
    """What a row becomes: events as their lines, identities as pairs, refusals as (reason, night)."""
    found: list[Any] = []
    for outcome in SOURCES[source].outcomes(Raw("row", row)):
        if isinstance(outcome, Event):
            found.append(outcome.row)
        elif isinstance(outcome, Identity):
            found.append((outcome.anonymous_id, outcome.user_id))
        elif isinstance(outcome, Refusal):
            found.append((outcome.reason, str(outcome.ds)))
    return found


def segment(number: int, **changes: Any) -> list[Any]:
    """What the call of that number becomes, with changes of its top-level fields."""
    return converted("segment", next(row for row in SEGMENT if row["messageId"] == f"ajs-{number}") | changes)


def ga4(number: int, **changes: Any) -> list[Any]:
    """What the row of that number becomes, with changes of its top-level fields."""
    return converted("ga4", next(row for row in GA4 if row["batch_event_index"] == str(number)) | changes)


ANONYMOUS, KNOWN = "23adfd82-aa0f-45a7-a756-24f2a7a4c895", "AiUGstSDIg"
CONTEXT = {"device": "desktop", "region": "United States", "lang": "en-US", "url": "https://www.example.com/games"}


def times(second: str) -> dict[str, str]:
    return {"ts": f"{second}.249Z", "received_ts": f"{second}.266Z"}


def test_segment_calls_become_lines() -> None:
    assert segment(1) == [
        {
            "event_id": "ajs-1",
            "user_id": ANONYMOUS,
            "item_id": MONOPOLY,
            "event_type": "view",
            "price": 18.99,
            **times("2026-01-02T19:11:01"),
            **CONTEXT,
        }
    ]
    search = {"event_id": "ajs-2", "user_id": ANONYMOUS, "event_type": "search", "query": "blue roses"}
    assert segment(2) == [search | times("2026-01-02T19:12:01") | CONTEXT]
    pair, review = segment(9)
    assert pair == (ANONYMOUS, KNOWN)
    assert (review["event_type"], review["rating"], review["text"]) == ("review", 5, "I love this product & the box")
    assert [row["event_type"] for n in (3, 10, 11) for row in segment(n)] == ["click", "favorite", "share"]
    assert segment(3)[0]["item_id"] == "G-33"  # the sku stands for a missing product_id
    added = segment(4)[1]
    assert (added["event_type"], added.get("quantity")) == ("add_to_cart", None)  # what is in a cart is not bought


def test_segment_orders_are_one_event_for_each_product_and_refunds_are_negative() -> None:
    pair, first, second = segment(7)
    assert pair == (ANONYMOUS, KNOWN)
    assert [(r["event_id"], r["item_id"], r["event_type"], r["quantity"], r["price"]) for r in (first, second)] == [
        ("ajs-7-1", MONOPOLY, "purchase", 1, 19),
        ("ajs-7-2", UNO, "purchase", 2, 3),
    ]
    assert first["ts"] == "2026-01-02T23:59:58.249Z"  # it happened the day before it was received
    assert [(r["event_type"], r["quantity"]) for r in segment(8)[1:]] == [("return", -2)]
    broken = {"products": [{"product_id": "a", "quantity": "2"}, "b"]}
    assert segment(7, properties=broken, userId=None)[0]["quantity"] == "2"  # for cleaning to judge
    assert segment(7, properties=broken, userId=None)[1] == ("missing_required", "2026-01-03")
    assert "item_id" not in segment(7, properties={"order_id": "o"}, userId=None)[0]


@pytest.mark.parametrize(
    ("changes", "device"),
    [
        ({"context": {"device": {"type": "ios"}}}, "mobile"),
        ({"context": {"device": {"type": "Tablet"}, "userAgentData": {"mobile": True}}}, "tablet"),
        ({"context": {"userAgentData": {"mobile": True}}}, "mobile"),
        ({"context": {"userAgentData": {"mobile": "yes"}}}, None),
        ({"context": None}, None),
        ({"context": ["a"]}, None),
    ],
)
def test_segment_devices(changes: dict[str, Any], device: str | None) -> None:
    assert segment(1, **changes)[0].get("device") == device


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"userId": "u1"}, [(ANONYMOUS, "u1"), "u1"]),
        ({"userId": 17}, [(ANONYMOUS, "17"), "17"]),
        ({"userId": " "}, [ANONYMOUS]),
        ({"userId": "undefined"}, [ANONYMOUS]),
        ({"userId": ["u1"]}, [ANONYMOUS]),
        ({"userId": "u1", "anonymousId": "u1"}, ["u1"]),
        ({"userId": None, "anonymousId": None}, [None]),
        # A call that is no event still tells who somebody is.
        ({"type": "page", "userId": "u1"}, [(ANONYMOUS, "u1"), ("unknown_event_type", "2026-01-02")]),
        ({"type": "identify", "userId": "u1"}, [(ANONYMOUS, "u1")]),
        ({"type": "identify"}, [("unknown_event_type", "2026-01-02")]),
        ({"type": "alias", "userId": "u1", "previousId": "a9"}, [("a9", "u1")]),
        ({"type": "alias", "userId": "u1"}, [("unknown_event_type", "2026-01-02")]),
    ],
)
def test_segment_identities(changes: dict[str, Any], found: list[Any]) -> None:
    assert [row.get("user_id") if isinstance(row, dict) else row for row in segment(1, **changes)] == found


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"receivedAt": None}, "2026-01-02"),
        ({"receivedAt": "2026-01-05T00:30:00+01:00"}, "2026-01-04"),
        ({"receivedAt": "soon", "timestamp": None}, "2026-01-02"),
        ({"receivedAt": 5, "timestamp": None, "originalTimestamp": ""}, ("bad_ts", "None")),
        ({"event": 7}, ("unknown_event_type", "2026-01-02")),
        ({"event": "product viewed"}, ("unknown_event_type", "2026-01-02")),
        ({"event": "Product List Filtered"}, ("impression", "2026-01-02")),
        ({"type": None}, ("unknown_record", "None")),
    ],
)
def test_segment_nights_and_refusals(changes: dict[str, Any], found: Any) -> None:
    row = SEGMENT[0] | changes
    if isinstance(found, str):
        (event,) = SOURCES["segment"].outcomes(Raw("row", row))
        assert isinstance(event, Event)
        assert str(event.ds) == found
    else:
        assert converted("segment", row) == [found]


def test_ga4_rows_become_lines() -> None:
    (view,) = ga4(4)
    assert view == {
        "event_id": view["event_id"],
        "user_id": "1026454.4271112504",
        "item_id": "GGOEGAAX0105",
        "event_type": "view",
        "ts": "2026-01-03T00:00:04.002Z",
        "price": 18.0,
        "session_id": view["session_id"],
        "device": "mobile",
        "region": "United States",
        "lang": "en-us",
        "url": "https://shop.googlemerchandisestore.com/",
    }
    assert view["event_id"].startswith("ga4-")
    assert "1026454" not in view["session_id"]  # a pseudonym stays in the landing zone
    assert view["session_id"] == ga4(5)[0]["session_id"]
    assert [row["event_type"] for n in (5, 6, 7, 8, 9, 10) for row in ga4(n)] == [
        "click",
        "search",
        "search",
        "add_to_cart",
        "favorite",
        "share",
    ]
    assert [(row.get("item_id"), row.get("query")) for n in (6, 7, 10) for row in ga4(n)] == [
        (None, "google tee"),
        (None, "T恤"),
        ("GGOEGAAX0105", None),
    ]
    assert "user_id" not in ga4(13)[0]
    assert ga4(4, device={"category": "(not set)", "language": "(not set)"}, geo=None)[0].keys().isdisjoint({"device", "lang", "region"})


def test_ga4_purchases_and_refunds() -> None:
    pair, tee, cap = ga4(11)
    assert pair == ("1026454.4271112504", "u-1")
    assert [(r["user_id"], r["item_id"], r["event_type"], r["quantity"], r["price"]) for r in (tee, cap)] == [
        ("u-1", "GGOEGAAX0105", "purchase", 2, 18.0),
        ("u-1", "GGOEGCBQ016499", "purchase", 1, 12.5),
    ]
    assert tee["event_id"] != cap["event_id"]
    assert [(r["event_type"], r["quantity"]) for r in ga4(12)[1:]] == [("return", -2)]


def test_ga4_whole_numbers_may_be_texts_or_numbers() -> None:
    as_texts = ga4(11)
    row = next(row for row in GA4 if row["batch_event_index"] == "11")
    as_numbers = json.loads(json.dumps(row))
    for name in ("event_timestamp", "event_bundle_sequence_id", "batch_event_index", "batch_page_id"):
        as_numbers[name] = int(as_numbers[name])
    for entry in as_numbers["event_params"]:
        if entry["value"]["int_value"] is not None:
            entry["value"]["int_value"] = int(entry["value"]["int_value"])
    for item in as_numbers["items"]:
        item["quantity"] = int(item["quantity"])
    assert converted("ga4", as_numbers) == as_texts


def test_ga4_ids_tell_rows_apart_and_do_not_depend_on_what_a_later_export_fills_in() -> None:
    ids = [row["event_id"] for number in range(4, 14) for row in ga4(number) if isinstance(row, dict)]
    assert len(set(ids)) == len(ids) == 11
    again = ga4(4, user_id="u-1", user_ltv={"revenue": 3.5}, traffic_source=None)
    assert again[1]["event_id"] == ga4(4)[0]["event_id"]
    assert ga4(4, batch_event_index="5")[0]["event_id"] != ga4(4)[0]["event_id"]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"event_timestamp": None}, ("bad_ts", "2026-01-03")),
        ({"event_timestamp": "soon", "event_date": "20260230"}, ("bad_ts", "None")),
        ({"event_name": "scroll"}, ("unknown_event_type", "2026-01-03")),
        ({"event_name": "view_promotion"}, ("impression", "2026-01-03")),
        ({"event_name": None}, ("unknown_record", "None")),
    ],
)
def test_ga4_refusals(changes: dict[str, Any], found: Any) -> None:
    assert ga4(4, **changes) == [found]


def test_an_identity_lands_once_on_its_first_day_and_one_older_than_the_range_on_its_start(tmp_path: Path) -> None:
    calls = [
        SEGMENT[0] | {"userId": user, "receivedAt": f"2026-01-0{day}T10:00:00Z"}
        for day, user in ((4, "u1"), (2, "u1"), (3, "u2"), (4, "u2"))
    ]
    (tmp_path / "calls.json").write_text("".join(json.dumps(call) + "\n" for call in calls))

    def pairs(landing: Path) -> dict[str, list[str]]:
        files = sorted((landing / "identity").rglob("*.gz"))
        return {f.parent.name: [json.loads(line)["user_id"] for line in gzip.decompress(f.read_bytes()).splitlines()] for f in files}

    report = land("segment", str(tmp_path / "calls.json"), str(tmp_path / "all"))
    assert pairs(tmp_path / "all") == {"ds=2026-01-02": ["u1"], "ds=2026-01-03": ["u2"]}
    assert (report.events, report.identities, report.identity_rows) == (4, 2, 0)
    land("segment", str(tmp_path / "calls.json"), str(tmp_path / "late"), start=date(2026, 1, 4))
    assert pairs(tmp_path / "late") == {"ds=2026-01-04": ["u1", "u2"]}
    land("segment", str(tmp_path / "calls.json"), str(tmp_path / "early"), end=date(2026, 1, 2))
    assert pairs(tmp_path / "early") == {"ds=2026-01-02": ["u1"]}


def test_the_catalogue_of_events_has_history(tmp_path: Path) -> None:
    for name, rows in (("segment", SEGMENT), ("ga4", GA4)):
        (tmp_path / f"{name}.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
        land(name, str(tmp_path / f"{name}.json"), str(tmp_path / name))
    found = {
        str(p.relative_to(tmp_path).parent): {
            row["item_id"]: row for row in map(json.loads, gzip.decompress(p.read_bytes()).decode().splitlines())
        }
        for p in tmp_path.rglob("items/*/*.gz")
    }
    monopoly = {"item_id": MONOPOLY, "title": "Monopoly: 3rd Edition", "category": "Games", "brand": "Hasbro"}
    assert found["segment/items/ds=2026-01-02"][MONOPOLY] == monopoly | {"price": 18.99}
    assert found["segment/items/ds=2026-01-03"] == {MONOPOLY: monopoly | {"price": 19.0}}
    assert found["segment/items/ds=2026-01-02"]["G-33"] == {"item_id": "G-33", "title": "Cluedo"}
    tee = {"item_id": "GGOEGAAX0105", "title": "Google Tee White", "tags": ["Adult"], "category": "Apparel", "brand": "Google"}
    assert found["ga4/items/ds=2026-01-03"]["GGOEGAAX0105"] == tee | {"price": 18.0}
    assert found["ga4/items/ds=2026-01-04"] == {"GGOEGAAX0105": tee | {"price": 20.0}}


def history(*notes: tuple[int, dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """(day of January, fields) of a product's rows."""
    found = ProductHistory()
    for day, fields in notes:
        found.note(date(2026, 1, day), "i", fields)
    return [
        (item.ds.day, {k: v for k, v in item.row.items() if k != "item_id"}) for item in found.items() if item.ds and type(item.row) is dict
    ]


def test_a_product_gets_a_row_on_each_day_that_changed_it() -> None:
    assert history((3, {"price": 1.0})) == []  # no title yet
    assert history((3, {"price": 1.0}), (5, {"title": "A"}), (6, {"title": "A"})) == [(5, {"title": "A", "price": 1.0})]
    assert history((3, {"title": "A"}), (3, {"title": "B"}), (4, {"price": 2.0}), (9, {"title": "A"})) == [
        (3, {"title": "B"}),
        (4, {"title": "B", "price": 2.0}),
        (9, {"title": "A", "price": 2.0}),
    ]


def test_the_order_of_days_does_not_matter() -> None:
    notes = [(day, {"title": title}) for day, title in ((1, "A"), (3, "A"), (4, "B"), (7, "A"), (9, "A"))]
    expected = [(1, {"title": "A"}), (4, {"title": "B"}), (7, {"title": "A"})]
    for order in permutations(notes):
        assert history(*order) == expected, order


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NESTED = ("properties", "context", "items", "event_params", "device", "geo", "ecommerce")


@settings(max_examples=300, deadline=None)
@given(
    source=st.sampled_from(["segment", "ga4"]),
    number=st.integers(0, 13),
    changes=st.dictionaries(st.sampled_from(sorted({*SEGMENT[0], *GA4[0]})), JSON, max_size=3),
    inner=st.tuples(
        st.sampled_from(NESTED), st.sampled_from(["products", "product_id", "quantity", "price", "rating", "query", "type", "key"]), JSON
    ),
)
def test_whatever_a_row_holds_it_becomes_lines_or_a_refusal(
    source: str, number: int, changes: dict[str, Any], inner: tuple[str, str, Any]
) -> None:
    row = (SEGMENT if source == "segment" else GA4)[number] | changes
    name, key, value = inner
    if isinstance(row.get(name), dict):
        row = row | {name: row[name] | {key: value}}
    elif isinstance(row.get(name), list):
        row = row | {name: [*row[name], {key: value}, value]}
    with NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(row, file)
        file.flush()
        raws = list(SOURCES[source].read(Path(file.name)))
    assert raws[0].kind != "refused"
    outcomes = [outcome for raw in raws for outcome in SOURCES[source].outcomes(raw)]
    assert outcomes
    for outcome in outcomes:
        if isinstance(outcome, Refusal):
            assert json.loads(fault_line(outcome, row))["fault"] == outcome.reason
        elif isinstance(outcome, (Event, Item)):
            assert b"\n" not in landing_line(outcome.row)
