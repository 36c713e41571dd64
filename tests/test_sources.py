"""Sources: each data set, as a few literal rows in its owner's form, becomes the landing lines written out here."""

from __future__ import annotations

import dataclasses
import doctest
import gzip
import io
import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import fsspec
import pytest
from jsonschema import Draft202012Validator

from recsys_core.landing_schema import EVENT_FIELDS, event_schema, item_schema
from recsys_core.parse.rules import RULES
from recsys_core.sources import SOURCES, LandReport, Refusal, SourceError, land, landing, partitions, reading
from recsys_core.sources.base import Event, Raw, Source
from tests.source_cases import (
    CASES,
    RETAIL_DAYS,
    RETAIL_HEAD,
    Case,
    amazon_reviews,
    apart,
    canonical,
    files,
    jsonl,
    landed,
    movielens,
    online_retail,
    snapshot,
    stackexchange,
    steam,
    unzipped,
)


@pytest.fixture(params=list(SOURCES))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Case, Path]:
    """Each source of the registry with its input in a folder."""
    name = request.param
    CASES[name].make(tmp_path / "raw")
    return name, CASES[name], tmp_path / "raw"


def test_every_source_lands_what_is_written_out(case: tuple[str, Case, Path], tmp_path: Path) -> None:
    name, expected, raw = case
    report = land(name, str(raw), str(tmp_path / "landing"))
    events, items = landed(tmp_path / "landing", "events"), landed(tmp_path / "landing", "items")
    if name in ("amazon-reviews", "ga4"):  # their ids are digests
        assert {ds: len(rows) for ds, rows in events.items()} == {ds: len(ids) for ds, ids in expected.events.items()}
    else:
        assert {ds: [row["event_id"] for row in rows] for ds, rows in events.items()} == expected.events
    assert {ds: [row["item_id"] for row in rows] for ds, rows in items.items()} == expected.items
    faults = landed(tmp_path / "landing", "events", faults=True)
    assert {ds: [row["fault"] for row in rows] for ds, rows in faults.items()} == expected.faults
    assert (report.rows_read, report.refused, [str(ds) for ds in report.nights]) == (expected.read, expected.refused, expected.nights)
    assert report.fault_lines == sum(map(len, expected.faults.values()))
    assert Counter(row["fault"] for row in apart(tmp_path / "landing")) == Counter(expected.refused) - Counter(
        code for codes in expected.faults.values() for code in codes
    )
    pairs = landed(tmp_path / "landing", "identity")
    assert {ds: [(row["anonymous_id"], row["user_id"]) for row in rows] for ds, rows in pairs.items()} == expected.identities
    assert (report.several, report.identity_rows) == (expected.several, expected.identity_rows)
    held = report.events + report.items - expected.derived_items + sum(report.refused.values()) + report.identity_rows
    assert held == report.rows_read + report.several


def test_a_refused_row_lands_with_all_that_was_read_of_it(case: tuple[str, Case, Path], tmp_path: Path) -> None:
    name, _, raw = case
    land(name, str(raw), str(tmp_path / "landing"))
    lines = [*apart(tmp_path / "landing"), *(r for rows in landed(tmp_path / "landing", "events", faults=True).values() for r in rows)]
    text = "\n".join(line for file in sorted(raw.iterdir()) for line in unzipped(file))
    assert lines
    for line in lines:
        assert RULES[line["fault"]][0] == "quarantined"
        assert set(line) == {"fault", "record"}
        if isinstance(line["record"], str):
            assert line["record"] in text
        else:
            assert all(str(value) in text for value in line["record"].values() if isinstance(value, str))


def test_every_reason_that_a_source_gives_is_a_rule() -> None:
    given = {code for file in Path(reading.__file__).parent.glob("*.py") for code in re.findall(r'Refusal\(\s*"(\w+)"', file.read_text())}
    assert len(given) > 10
    assert {code for code in given if RULES.get(code, ("",))[0] != "quarantined"} == set()
    assert {code for source in SOURCES.values() for code in source.expected_reasons} <= set(RULES)


def test_every_landed_line_fits_the_schema(case: tuple[str, Case, Path], tmp_path: Path) -> None:
    name, _, raw = case
    land(name, str(raw), str(tmp_path / "landing"))
    declared = json.loads((tmp_path / "landing" / "_source.json").read_text())
    events, items = Draft202012Validator(event_schema()), Draft202012Validator(item_schema())
    for ds, rows in landed(tmp_path / "landing", "events").items():
        for row in rows:
            if row.get("user_id") is None and "no_user" in declared["expected_reasons"]:
                row = {**row, "user_id": "none"}
            events.validate(row)
            assert set(row) <= {f.name for f in EVENT_FIELDS}, "undeclared fields are noise in every event"
            moment = row.get("received_ts", row["ts"])
            ts = datetime.fromtimestamp(moment / 1000, UTC) if isinstance(moment, int) else datetime.fromisoformat(moment)
            assert ts.tzinfo or declared["time_zone_of_naive_ts"] == "UTC"
            assert str((ts.astimezone(UTC) if ts.tzinfo else ts).date()) == ds
    for rows in landed(tmp_path / "landing", "events", faults=True).values():
        for row in rows:
            events.validate(row)
    for rows in landed(tmp_path / "landing", "items").values():
        for row in rows:
            if row["item_id"] != "i4":  # landed as it is, for cleaning to judge
                items.validate(row)


def test_landing_again_gives_the_same_bytes_and_replaces(case: tuple[str, Case, Path], tmp_path: Path) -> None:
    name, _, raw = case
    root = tmp_path / "landing"
    land(name, str(raw), str(root))
    once = snapshot(root)
    night = next(iter(sorted((root / "events").iterdir())))
    (night / f"{name}.jsonl.gz").write_bytes(b"old")
    land(name, str(raw), str(root))
    assert snapshot(root) == once
    assert set(once) == {
        "_source.json",
        *(
            f"{kind}/ds={ds}/{name}.jsonl.gz"
            for kind, nights in (("events", CASES[name].nights), ("items", CASES[name].items), ("identity", CASES[name].identities))
            for ds in nights
        ),
        *([f"_refused/{name}.jsonl.gz"] if apart(root) else []),
    }


def test_a_range_includes_both_ends_and_lands_the_catalogue_on_its_first_night(case: tuple[str, Case, Path], tmp_path: Path) -> None:
    name, expected, raw = case
    last = expected.nights[-1]
    report = land(name, str(raw), str(tmp_path / "landing"), date.fromisoformat(last), date.fromisoformat(last))
    assert [str(ds) for ds in report.nights] == [last]
    assert report.events == len(expected.events.get(last, []))
    assert report.outside_range > 0 or len(expected.nights) == 1
    assert list(landed(tmp_path / "landing", "items")) == [last]
    assert all(list(landed(tmp_path / "landing", "identity")) == [last] for _ in expected.identities)
    total = report.events + report.items - expected.derived_items + report.outside_range + sum(report.refused.values())
    assert total + report.identity_rows == report.rows_read + report.several


def test_bounded_buffers_give_the_same_bytes(case: tuple[str, Case, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, _, raw = case
    land(name, str(raw), str(tmp_path / "whole"))
    monkeypatch.setattr(partitions, "BUFFERED_BYTES", 100)
    land(name, str(raw), str(tmp_path / "bounded"))
    assert snapshot(tmp_path / "bounded") == snapshot(tmp_path / "whole")


def test_steam_ratings_texts_and_times_within_the_day(tmp_path: Path) -> None:
    steam(tmp_path / "raw")
    land("steam", str(tmp_path / "raw"), str(tmp_path / "landing"))
    good, bad = landed(tmp_path / "landing", "events")["2014-01-01"]
    assert (good["rating"], good["text"]) == (5, "Great, really & short")
    assert (bad["rating"], bad["text"]) == (1, "split by a return")
    assert good["repairs"] == bad["repairs"] == ["day_precision"]
    assert good["ts"] == "2014-01-01T17:40:21Z"
    assert "text" not in landed(tmp_path / "landing", "events")["2014-01-03"][0]
    assert landed(tmp_path / "landing", "items")["2014-01-01"] == [
        {"item_id": "10", "title": "A", "tags": ["Indie", "Action"], "category": "Action", "brand": "D", "price": 0.0, "lang": "en"},
        {"item_id": "20", "title": "B", "lang": "en"},
    ]


def test_times_within_a_day_stay_within_six_hours_of_noon() -> None:
    times = [reading.within_day(date(2014, 1, 1), f"steam-{n}") for n in range(2000)]
    assert "2014-01-01T06:00:00Z" <= min(times) < "2014-01-01T06:05:00Z"
    assert "2014-01-01T17:55:00Z" < max(times) <= "2014-01-01T18:00:00Z"


def test_stackexchange_types_texts_and_day_level_events(tmp_path: Path) -> None:
    stackexchange(tmp_path / "raw")
    land("stackexchange", str(tmp_path / "raw" / "sample_events.csv"), str(tmp_path / "landing"))
    rows = [row for night in landed(tmp_path / "landing", "events").values() for row in night]
    assert [row["event_type"] for row in rows] == ["favorite", "post", "edit", "edit", "share", "comment"]
    assert [row.get("repairs") for row in rows] == [["day_precision"], None, None, None, ["day_precision"], None]
    assert [row.get("text") for row in rows] == [None, "If a < b, then? a<b", None, "Grammar tweaks", None, "hi"]
    assert rows[1]["ts"] == "2014-01-21T20:27:29.797"
    assert json.loads((tmp_path / "landing" / "_source.json").read_text())["time_zone_of_naive_ts"] == "UTC"
    item = landed(tmp_path / "landing", "items")["2014-01-21"][0]
    assert (item["description"], item["tags"], item["category"]) == ("x" * 2000, ["hops"], "beer")


def test_retail_returns_unknown_customers_and_titles(tmp_path: Path) -> None:
    online_retail(tmp_path / "raw")
    land("online-retail", str(tmp_path / "raw"), str(tmp_path / "landing"))
    first, second = landed(tmp_path / "landing", "events").values()
    postage = landed(tmp_path / "landing", "events", faults=True)["2010-12-01"][0]
    assert postage == {
        "fault": "not_a_product",
        "record": dict(zip(RETAIL_HEAD.strip().split(","), RETAIL_DAYS["2010-12-01.csv"].splitlines()[-1].split(","), strict=True)),
    }
    assert [row["user_id"] for row in first] == ["17850", "17850", None, None]
    assert (second[0]["event_type"], second[0]["quantity"], second[0]["region"]) == ("return", -1, "France")
    assert landed(tmp_path / "landing", "items")["2010-12-01"][0] == {"item_id": "71053", "title": "LAMP", "price": 3.39, "lang": "en"}
    assert "no_user" in json.loads((tmp_path / "landing" / "_source.json").read_text())["expected_reasons"]


def test_retail_items_after_the_range_are_unknown_and_no_rows_of_the_input(tmp_path: Path) -> None:
    online_retail(tmp_path / "raw")
    report = land("online-retail", str(tmp_path / "raw"), str(tmp_path / "landing"), None, date(2010, 12, 1))
    assert (report.rows_read, report.events, report.items, report.outside_range, report.refused) == (9, 4, 2, 4, {"not_a_product": 1})


def test_retail_lands_the_same_from_a_folder_a_tar_and_one_exported_file(tmp_path: Path) -> None:
    online_retail(tmp_path / "days")
    (tmp_path / "tar").mkdir()
    with tarfile.open(tmp_path / "tar" / "by-day.tar.gz", "w:gz") as archive:
        for name in reversed(RETAIL_DAYS):
            data = (RETAIL_HEAD + RETAIL_DAYS[name]).encode()
            member = tarfile.TarInfo(f"by-day/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    head = RETAIL_HEAD.replace("InvoiceNo", "Invoice").replace("UnitPrice", "Price").replace("CustomerID", "Customer ID")
    rows = "".join(RETAIL_DAYS.values()).replace("2010-12-01 08:26:00", "12/1/2010 8:26")
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "data.csv").write_text(head + rows, encoding="utf-8")
    for form in ("days", "tar", "one"):
        land("online-retail", str(tmp_path / form), str(tmp_path / "landing" / form))
    expected = snapshot(tmp_path / "landing" / "days")
    assert snapshot(tmp_path / "landing" / "tar") == expected
    assert snapshot(tmp_path / "landing" / "one") == expected


def test_movielens_editions(tmp_path: Path) -> None:
    files(tmp_path / "1m", ratings__dat="1::1::5::978300760\n", movies__dat="1::Toy Story (1995)::Animation|Comedy\n")
    flags = "|".join("1" if genre in {"Animation", "Comedy"} else "0" for genre in ("-", "-", "-", "Animation", "-", "Comedy", *"-" * 13))
    files(tmp_path / "100k", u__data="1\t1\t5\t978300760\n")
    (tmp_path / "100k" / "u.item").write_bytes(f"1|Misérables (1995)|01-Jan-1995||http://x|{flags}\n".encode("latin-1"))
    for edition, title in (("1m", "Toy Story (1995)"), ("100k", "Misérables (1995)")):
        land("movielens", str(tmp_path / edition), str(tmp_path / "landing" / edition))
        event = landed(tmp_path / "landing" / edition, "events")["2000-12-31"][0]
        assert event == {
            "event_id": "movielens-rating-1-1-978300760",
            "event_type": "rating",
            "rating": 5.0,
            "user_id": "1",
            "item_id": "1",
            "ts": "2000-12-31T22:12:40Z",
        }
        item = landed(tmp_path / "landing" / edition, "items")["2000-12-31"][0]
        assert item == {"item_id": "1", "title": title, "tags": ["Animation", "Comedy"], "category": "Animation", "lang": "en"}


def test_movielens_half_stars_and_tags(tmp_path: Path) -> None:
    movielens(tmp_path / "raw")
    land("movielens", str(tmp_path / "raw"), str(tmp_path / "landing"))
    events = landed(tmp_path / "landing", "events")
    assert [row["rating"] for row in events["2000-07-30"]] == [4.0, 1.0]
    assert (events["2006-02-04"][0]["event_type"], events["2006-02-04"][0]["text"]) == ("comment", "pixar & fun")


def test_amazon_editions(tmp_path: Path) -> None:
    amazon_reviews(tmp_path / "raw")
    land("amazon-reviews", str(tmp_path / "raw"), str(tmp_path / "landing"))
    old, new = (night[0] for night in landed(tmp_path / "landing", "events").values())
    assert (old["item_id"], old["rating"], old["text"], old["repairs"]) == ("A1", 5.0, "Fine\nFine & good", ["day_precision"])
    assert old["ts"] == reading.within_day(date(2014, 1, 1), old["event_id"])
    assert (new["item_id"], new["rating"], new["text"], new["ts"]) == ("P2", 2.0, "Meh\nBroke soon", "2014-01-02T00:04:05.123Z")
    train, doll = landed(tmp_path / "landing", "items")["2014-01-01"]
    assert (train["price"], train["category"], train["tags"], train["description"]) == (1299.0, "Toys", ["Trains"], "Of wood")
    assert (doll.get("price"), doll["brand"], doll["tags"]) == (None, "Pokus", ["Dolls"])


def test_canonical_keeps_partitions_bytes_empty_nights_and_the_declaration(tmp_path: Path) -> None:
    raw, root = tmp_path / "raw", tmp_path / "landing"
    lines = '{"event_id": "e1",  "ts": "2001-01-01T00:00:00Z"}\n{cut\n\n'
    files(raw / "events" / "ds=2026-01-02", a__jsonl=lines, _expected__json="{}")
    (raw / "events" / "ds=2026-01-04").mkdir()
    files(raw / "items" / "ds=2025-12-01", a__jsonl=jsonl({"item_id": "i1", "title": "Old"}))
    files(raw / "items" / "ds=2026-01-03", a__csv="title,item_id\nNew,i1\n")
    files(raw, _source__json='{"source": "shop", "time_zone_of_naive_ts": "Asia/Tokyo", "expected_reasons": ["no_user"]}')
    report = land("canonical", str(raw), str(root))
    assert gzip.decompress((root / "events/ds=2026-01-02/canonical.jsonl.gz").read_bytes()) == lines.encode()
    assert list((root / "events/ds=2026-01-04").iterdir()) == []
    assert sorted(p.name for p in (root / "events").iterdir()) == ["ds=2026-01-02", "ds=2026-01-04"]
    assert {ds: [row["title"] for row in rows] for ds, rows in landed(root, "items").items()} == {
        "2025-12-01": ["Old"],
        "2026-01-03": ["New"],
    }
    assert json.loads((root / "_source.json").read_text())["time_zone_of_naive_ts"] == "Asia/Tokyo"
    assert report.nights == (date(2026, 1, 2), date(2026, 1, 4))


def test_canonical_types_the_catalogue_csv(tmp_path: Path) -> None:
    canonical(tmp_path / "raw")
    land("canonical", str(tmp_path / "raw"), str(tmp_path / "landing"))
    items = landed(tmp_path / "landing", "items")["2026-01-03"]
    assert items[1:] == [
        {"item_id": "i2", "title": "Zug", "tags": ["toys", "wood"], "price": 1.5},
        {"item_id": "i3", "deleted": True},
        {"item_id": "i4", "title": "Bad", "price": "x"},
    ]


def test_a_landing_can_be_a_url(tmp_path: Path) -> None:
    steam(tmp_path / "raw")
    land("steam", str(tmp_path / "raw"), str(tmp_path / "landing"))
    land("steam", str(tmp_path / "raw"), "memory://bucket/landing")
    fs = fsspec.filesystem("memory")
    there = {path.removeprefix("/bucket/landing/"): fs.cat_file(path) for path in fs.find("/bucket/landing")}
    assert there == snapshot(tmp_path / "landing")


def test_canonical_carries_every_folder_of_the_layout_and_says_what_it_cannot(tmp_path: Path) -> None:
    raw, root = tmp_path / "raw", tmp_path / "landing"
    files(raw / "events" / "ds=2026-01-02", a__jsonl=jsonl({"event_id": "e1"}), b__jsonl="\ufeff" + jsonl({"event_id": "e2"}))
    files(raw / "events" / "ds=2026-01-02", c__log=jsonl({"event_id": "e3"}))
    files(raw / "items" / "ds=2026-01-02", a__csv='title,item_id,colour\n"a\nb",i1,red\n')
    files(raw / "categories" / "ds=2026-01-02", a__csv="category,parent\nTrains,Toys\n", b__jsonl=jsonl({"category": "Toys"}))
    files(raw / "identity" / "ds=2025-01-01", a__jsonl=jsonl({"anonymous_id": "a", "user_id": "u"}))
    files(raw / "optout" / "ds=2026-01-02", a__jsonl=jsonl({"user_id": "u"}))
    report = land("canonical", str(raw), str(root))
    found = {kind: landed(root, kind) for kind in ("events", "items", "categories", "identity", "optout")}
    assert found == {
        "events": {"2026-01-02": [{"event_id": "e1"}, {"event_id": "e2"}, {"event_id": "e3"}]},
        "items": {"2026-01-02": [{"title": "a\nb", "item_id": "i1", "colour": "red"}]},
        "categories": {"2026-01-02": [{"category": "Trains", "parent": "Toys"}, {"category": "Toys"}]},
        "identity": {"2025-01-01": [{"anonymous_id": "a", "user_id": "u"}]},
        "optout": {"2026-01-02": [{"user_id": "u"}]},
    }
    assert (report.rows_read, report.events, report.items, report.identities, report.identity_rows) == (8, 3, 3, 2, 2)
    files(raw / "wishes" / "ds=2026-01-02", a__jsonl="")
    with pytest.raises(SourceError, match="wishes cannot: set LANDING to the folder itself"):
        land("canonical", str(raw), str(root))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl.gz", gzip.compress(b"{}\n" * 99, mtime=0)[:-9], "a.jsonl.gz is cut or damaged: .*gz_truncated"),
        ("a.jsonl.gz", b"{}\n", "a.jsonl.gz is cut or damaged: .*not_gzip"),
        ("a.jsonl", '{"event_id": "e1"}\n'.encode("utf-16"), "encoding"),
        ("_a.jsonl", b"{}\n", "_a.jsonl: a name that begins with '_' marks what is not data"),
        (".a.csv.gz", b"", "marks what is not data"),
    ],
)
def test_canonical_lands_nothing_of_a_damaged_delivery(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    files(raw / "events" / "ds=2026-01-02", b__jsonl=jsonl({"event_id": "e1"}))
    (raw / "events" / "ds=2026-01-02" / name).write_bytes(data)
    with pytest.raises(SourceError, match=message):
        land("canonical", str(raw), str(tmp_path / "landing"))
    assert not (tmp_path / "landing").exists()


def rows_of(text: str, night: Callable[[dict[str, str]], date] | None = None) -> list[tuple[str, int, Any]]:
    """(kind, line, row or (reason, night, record)) of a CSV with the columns a and b."""
    raws = reading.csv_records("row", text.split("\n")[:-1], "x.csv", ("a", "b"), night)
    return [
        (raw.kind, raw.row, (raw.value.reason, raw.value.ds, raw.value.record) if isinstance(raw.value, Refusal) else raw.value)
        for raw in raws
    ]


def test_csv_rows_keep_their_places_and_refused_ones_their_text() -> None:
    text = 'b,a\n1,2\n\n"x\ny",3\n1\n1,"2\n3",4\n5,6\n'
    assert rows_of(text) == [
        ("row", 2, {"b": "1", "a": "2"}),
        ("row", 5, {"b": "x\ny", "a": "3"}),
        ("refused", 6, ("bad_row", None, "1")),
        ("refused", 8, ("bad_row", None, '1,"2\n3",4')),
        ("row", 9, {"b": "5", "a": "6"}),
    ]
    dated = rows_of("a,b\n2026-01-02\n2026-01-03,1,2\nsoon\n", lambda row: reading.day(row["a"]))
    assert [row[2][1] for row in dated] == [date(2026, 1, 2), date(2026, 1, 3), None]
    assert rows_of("b,a\n") == []


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ('a,b\n1,2\n3,"4\n5,6\n', "csv_open_quote", "x.csv, line 3: a quote that is never closed"),
        ('a,b\n1,2\n3,"4\n', "csv_open_quote", "line 3"),
        ('a,"b\n1,2\n', "csv_open_quote", "header"),
        ("a,c\n1,2\n", "bad_header", "no column b; the header has a, c"),
        ("a,b,a\n1,2,3\n", "bad_header", "a column stands twice"),
        ("", "empty_source", "the header has nothing"),
    ],
)
def test_a_csv_that_would_lose_rows_is_no_csv(text: str, code: str, message: str) -> None:
    with pytest.raises(SourceError, match=message) as raised:
        rows_of(text)
    assert raised.value.code == code
    assert RULES[code][0] == "refused"


def test_json_records_are_read_strictly_and_whole(tmp_path: Path) -> None:
    lines = b'\xef\xbb\xbf{"a": 1}\r\n\n{"a": 2}{"a": 3}\n[4]\n{"a": "\xff"}\n{"a": 1, "a": 2}\n{"user_id": 12345678901234567890123}\n'
    (tmp_path / "a.json").write_bytes(lines)
    raws = list(reading.json_records("row", tmp_path / "a.json", date(2026, 1, 2)))
    assert [(raw.kind, raw.row, raw.repairs) for raw in raws] == [
        ("row", 1, ()),
        ("row", 3, ("glued_objects",)),
        ("row", 3, ("glued_objects",)),
        ("refused", 4, ("array_unwrapped",)),
        ("refused", 5, ()),
        ("refused", 6, ()),
        ("row", 7, ()),
    ]
    assert [(raw.value.reason, raw.value.ds) for raw in raws if raw.kind == "refused"] == [
        (reason, date(2026, 1, 2)) for reason in ("not_object", "bad_utf8", "dup_key")
    ]
    assert json.loads(partitions.fault_line(raws[4].value, None)) == {"fault": "bad_utf8", "record_base64": "eyJhIjogIv8ifQ=="}
    assert partitions.landing_line(raws[6].value) == b'{"user_id":12345678901234567890123}'


def test_what_reading_mended_stands_in_the_event(tmp_path: Path) -> None:
    amazon_reviews(tmp_path / "raw")
    line = (tmp_path / "raw" / "Toys.jsonl").read_text().splitlines()[0]
    old = gzip.decompress((tmp_path / "raw" / "Toys.json.gz").read_bytes()).decode().splitlines()[0]
    (tmp_path / "one.json").write_text(f"[{old}, {line}]\n")
    land("amazon-reviews", str(tmp_path / "one.json"), str(tmp_path / "landing"))
    assert [row["repairs"] for rows in landed(tmp_path / "landing", "events").values() for row in rows] == [
        ["day_precision", "array_unwrapped"],
        ["array_unwrapped"],
    ]


def test_refused_rows_of_the_landing_before_are_replaced_or_removed(tmp_path: Path) -> None:
    steam(tmp_path / "raw")
    for place in (str(tmp_path / "landing"), "memory://bucket/refused"):
        land("steam", str(tmp_path / "raw"), place)
        fs, base = fsspec.core.url_to_fs(place)
        assert fs.exists(f"{base}/_refused/steam.jsonl.gz")
        good = tmp_path / "good"
        files(good, events__csv="event_id,event_date,user_id,item_id,event_type,review\n1,2014-01-01,u1,10,review_recommend,\n")
        land("steam", str(good), place)
        assert not fs.exists(f"{base}/_refused/steam.jsonl.gz")


@pytest.mark.parametrize(
    ("source", "raw", "start", "message"),
    [
        ("stream", "raw", None, "unknown source 'stream'; there are steam, "),
        ("steam", "nowhere", None, "no such file or folder"),
        ("steam", "empty", None, "no events.csv"),
        ("movielens", "raw", None, "no ratings.csv"),
        ("online-retail", "empty", None, "no file \\*.csv"),
        ("steam", "columns", None, "no column event_date.*the header has event_id"),
        ("steam", "cut", None, "cut or damaged"),
        ("steam", "latin", None, "line 2: not utf-8"),
        ("steam", "raw", date(2030, 1, 1), "the range ends"),
        ("steam", "landing/raw", None, "lies in the landing folder"),
    ],
)
def test_unusable_inputs_are_named_and_nothing_is_written(source: str, raw: str, start: date | None, message: str, tmp_path: Path) -> None:
    steam(tmp_path / "raw")
    (tmp_path / "empty").mkdir()
    files(tmp_path / "columns", events__csv="event_id\n1\n")
    files(tmp_path / "landing" / "raw", events__csv="")
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "events.csv.gz").write_bytes((tmp_path / "raw" / "events.csv.gz").read_bytes()[:-20])
    (tmp_path / "latin").mkdir()
    (tmp_path / "latin" / "events.csv").write_bytes(
        b"event_id,event_date,user_id,item_id,event_type,review\n1,2014-01-01,u,i,review_recommend,caf\xe9\n"
    )
    with pytest.raises(SourceError, match=message):
        land(source, str(tmp_path / raw), str(tmp_path / "landing"), start, date(2020, 1, 1) if start else None)
    assert [p.name for p in (tmp_path / "landing").iterdir()] == ["raw"]


def test_a_landing_of_another_source_is_not_mixed(tmp_path: Path) -> None:
    steam(tmp_path / "steam")
    movielens(tmp_path / "movielens")
    land("steam", str(tmp_path / "steam"), str(tmp_path / "landing"))
    before = snapshot(tmp_path / "landing")
    with pytest.raises(SourceError, match="holds the logs of 'steam'"):
        land("movielens", str(tmp_path / "movielens"), str(tmp_path / "landing"))
    assert snapshot(tmp_path / "landing") == before


def test_a_range_without_events_lands_nothing_but_the_catalogue_of_its_start(tmp_path: Path) -> None:
    steam(tmp_path / "raw")
    report = land("steam", str(tmp_path / "raw"), str(tmp_path / "landing"), date(2015, 1, 1), date(2015, 1, 2))
    assert (report.events, report.items, report.nights) == (0, 2, ())
    assert list(landed(tmp_path / "landing", "items")) == ["2015-01-01"]
    report = land("steam", str(tmp_path / "raw"), str(tmp_path / "other"), None, date(2012, 1, 1))
    assert (report.items, report.refused["no_night"], report.nights) == (0, 2, ())
    kept = apart(tmp_path / "other")
    assert [json.loads(row["record"])["item_id"] for row in kept if row["fault"] == "no_night"] == ["10", "20"]
    assert sorted(p.name for p in (tmp_path / "other").iterdir()) == ["_refused", "_source.json"]


def test_the_report_reads_well() -> None:
    report = LandReport("steam", 12_345, 12_000, 300, 40, {"bad_ts": 4, "bad_row": 1}, (date(2014, 1, 1), date(2014, 1, 3)), 1)
    assert str(report).splitlines() == [
        "read          12,345 rows of steam",
        "landed        12,000 events on 2 nights, 2014-01-01 … 2014-01-03 (1 absent); 300 items",
        "out of range  40",
        "refused       5 (bad_ts 4, bad_row 1): 1 in their nights as fault lines, 4 in _refused/",
    ]
    more = dataclasses.replace(report, several=1_000, identities=20, identity_rows=30)
    assert str(more).splitlines()[0] == "read          12,345 rows of steam, 1,000 events more than rows"
    assert str(more).splitlines()[2] == "identities    20 pairs; 30 rows tell nothing else"


def test_progress_counts_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steam(tmp_path / "raw")
    monkeypatch.setattr(landing, "PROGRESS_EVERY", 5)
    seen: list[int] = []
    land("steam", str(tmp_path / "raw"), str(tmp_path / "landing"), progress=seen.append)
    assert seen == [5, 10, 11]


def test_a_refused_record_of_another_night_is_out_of_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(raw: Raw) -> list[Event]:
        raise Refusal("no_good", date(2014, 1, int(raw.value)))

    days = Source("days", lambda _: iter([Raw("row", "1"), Raw("row", "2")]), convert, "snapshot")
    monkeypatch.setitem(SOURCES, "days", days)
    report = land("days", str(tmp_path), str(tmp_path / "landing"), date(2014, 1, 2), date(2014, 1, 2))
    assert (report.refused, report.outside_range) == ({"no_good": 1}, 1)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1388534400", "2014-01-01T00:00:00Z"),
        (1388534400123, "2014-01-01T00:00:00.123Z"),
        (1388534400123456, "2014-01-01T00:00:00.123Z"),
        (1388534400000000000, "2014-01-01T00:00:00Z"),
    ],
)
def test_epochs_are_told_apart_by_magnitude(value: Any, expected: str) -> None:
    assert reading.iso(reading.from_epoch(value)) == expected


@pytest.mark.parametrize("value", [0, -5, 5e10, 1e30, "inf", "x", None])
def test_other_numbers_are_no_epochs(value: Any) -> None:
    with pytest.raises(Refusal):
        reading.from_epoch(value)


def test_examples_in_the_docstrings_run() -> None:
    assert doctest.testmod(reading).failed == 0


def test_the_steam_sample_lands_whole(repo_root: Path, tmp_path: Path) -> None:
    shared = Path(os.environ.get("SHARED_DATA") or repo_root.parent / "shared" / "data")
    if not (shared / "steam" / "sample_events.csv.gz").is_file():
        pytest.skip(f"no real data in {shared}: SHARED_DATA names their folder")
    report = land("steam", str(shared / "steam" / "sample_events.csv.gz"), str(tmp_path / "landing"))
    assert report.events == 4045
    assert not {reason for reason in report.refused if reason != "missing_required"}
    assert sum(len(rows) for rows in landed(tmp_path / "landing", "events").values()) == 4045


def test_an_event_without_a_time_of_receipt_lands_on_its_local_day(tmp_path: Path) -> None:
    ga4 = tmp_path / "events_20260105.jsonl"
    late = {"event_name": "view_item", "user_pseudo_id": "c", "event_date": "20260105", "items": [{"item_id": "i"}]}
    micros = [1767628740000000, 1767628860000000]  # a minute before and after midnight in Shanghai
    ga4.write_text("".join(json.dumps(late | {"event_timestamp": t}) + "\n" for t in micros))
    land("ga4", str(ga4), str(tmp_path / "landing"), time_zone="Asia/Shanghai")
    assert {ds: len(rows) for ds, rows in landed(tmp_path / "landing", "events").items()} == {"2026-01-05": 1, "2026-01-06": 1}
    land("ga4", str(ga4), str(tmp_path / "utc"))
    assert {ds: len(rows) for ds, rows in landed(tmp_path / "utc", "events").items()} == {"2026-01-05": 2}
