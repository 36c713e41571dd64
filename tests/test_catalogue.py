"""The catalogue as of a night: strict files, every row accounted for, history without loss, parents and categories that fit."""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import json
import random
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_core.catalogue import Catalogue, catalogue_as_of, history, item_row
from recsys_core.catalogue.history import History, Remembered, cycles
from recsys_core.lake import conform
from recsys_core.landing import Landing
from recsys_core.parse import RULES, Fault
from recsys_core.quality import FileLedger
from recsys_core.tables import TABLES

FIRST, SECOND, THIRD, FOURTH = (dt.date(2026, 1, d) for d in (1, 2, 3, 4))


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """No history is remembered from another test."""
    monkeypatch.setattr(history, "_REMEMBERED", {})


def land(root: Path, ds: dt.date, name: str, content: bytes, kind: str = "items") -> None:
    """Write one catalogue file."""
    folder = root / kind / f"ds={ds}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def jsonl(*rows: dict[str, Any]) -> bytes:
    """Rows as JSON lines."""
    return "".join(json.dumps(r) + "\n" for r in rows).encode()


def item(name: Any, title: Any = "x", **more: Any) -> dict[str, Any]:
    """A catalogue row."""
    return {"item_id": name, "title": title, **more}


def made(root: Path, ds: dt.date) -> Catalogue:
    """The catalogue, its tables checked against their declarations and its ledgers for balance."""
    found = catalogue_as_of(Landing(str(root)), ds)
    conform(found.items, TABLES["item"])
    conform(found.categories, TABLES["category"])
    for file in found.files:
        if file.reason is None:
            assert file.objects_in == file.good + file.repaired + file.quarantined
            by_verdict = {v: sum(n for c, n in file.by_reason.items() if RULES[c][0] == v) for v in ("quarantined", "refused")}
            assert by_verdict == {"quarantined": file.quarantined, "refused": 0}
        else:
            assert (file.good, file.repaired, file.quarantined, dict(file.by_reason)) == (0, 0, 0, {})
    return found


def as_of(root: Path, ds: dt.date) -> dict[str, dict[str, Any]]:
    """Rows of the item table by item_id."""
    return {r["item_id"]: r for r in made(root, ds).items.to_pylist()}


def ledgers(root: Path, ds: dt.date) -> dict[str, FileLedger]:
    """Ledgers by the name of the file."""
    return {f.file.rsplit("/", 1)[-1]: f for f in made(root, ds).files}


def refused(root: Path, ds: dt.date) -> list[tuple[str, int, str, str | None, bytes]]:
    """(file, offset, reason, field, bytes) of the quarantine."""
    return [
        (q["file"].rsplit("/", 1)[-1], q["byte_offset"], q["reason"], q["field"], base64.b64decode(q["raw_base64"]))
        for q in made(root, ds).quarantine
    ]


def test_an_item_is_its_newest_row_up_to_the_night(tmp_path: Path) -> None:
    land(tmp_path, FIRST, "a.jsonl", jsonl(item("i1", "Old", price=1), item("i1", "New", price="2.50")))
    land(tmp_path, SECOND, "a.jsonl.gz", gzip.compress(jsonl(item("i2", "木制火车", tags="玩具|木头|玩具"))))
    land(tmp_path, THIRD, "a.jsonl", jsonl({"item_id": "i1", "deleted": True}, item("I1", "Another")))
    first, second, third = (as_of(tmp_path, d) for d in (FIRST, SECOND, THIRD))
    assert list(first) == ["i1"]
    assert (first["i1"]["title"], first["i1"]["price"], first["i1"]["lang"]) == ("New", Decimal("2.5000"), "en")
    assert (second["i2"]["tags"], second["i2"]["lang"], second["i2"]["valid_from_ds"]) == (["玩具", "木头"], "zh", SECOND)
    assert second["i1"]["valid_from_ds"] == FIRST
    assert sorted(third) == ["I1", "i1", "i2"]
    assert (third["i1"]["deleted"], third["i1"]["title"], third["i1"]["valid_from_ds"]) == (True, "New", THIRD)
    assert [dict(made(tmp_path, d).warnings) for d in (SECOND, THIRD)] == [{"ids_differ_in_case": 0}, {"ids_differ_in_case": 2}]


def test_no_catalogue_is_an_empty_one(tmp_path: Path) -> None:
    found = made(tmp_path, FIRST)
    assert (found.items.num_rows, found.categories.num_rows, found.files, found.quarantine) == (0, 0, (), [])


def test_equal_contents_delivered_again_are_no_change(tmp_path: Path) -> None:
    land(tmp_path, FIRST, "a.jsonl", jsonl(item("i1", "Train", price=1.5, tags=["a", "b"]), item("i2", "Bus")))
    land(tmp_path, SECOND, "a.csv", b"title,price,item_id,tags\nTrain,1.50,i1,a|b\nCoach,,i2,\n")
    land(tmp_path, THIRD, "a.jsonl", jsonl(item("i2", "Coach"), item("i1", "Train", price="1.5", tags="a,b")))
    assert {i: (r["title"], r["valid_from_ds"]) for i, r in as_of(tmp_path, THIRD).items()} == {
        "i1": ("Train", FIRST),
        "i2": ("Coach", SECOND),
    }
    assert (ledgers(tmp_path, SECOND)["a.csv"].good, ledgers(tmp_path, THIRD)["a.jsonl"].repaired) == (2, 1)


def test_a_deleted_item_keeps_what_was_known_and_may_come_back(tmp_path: Path) -> None:
    land(
        tmp_path, FIRST, "a.jsonl", jsonl(item("i1", "Train", category="Toys", parent_id="i2"), item("i2"), {"item_id": "i3", "deleted": 1})
    )
    for day in (SECOND, THIRD):
        land(tmp_path, day, f"{day}.csv", b"item_id,deleted\ni1,true\n" + b"\n" * day.day)
    land(tmp_path, FOURTH, "a.jsonl", jsonl(item("i1", "Train", category="Toys", parent_id="i2")))
    third, fourth = as_of(tmp_path, THIRD), as_of(tmp_path, FOURTH)
    fields = ("title", "category", "parent_id", "deleted", "valid_from_ds")
    assert [third["i1"][f] for f in fields] == ["Train", "Toys", "i2", True, SECOND]
    assert [fourth["i1"][f] for f in fields] == ["Train", "Toys", "i2", False, FOURTH]
    assert (third["i3"]["title"], third["i3"]["deleted"]) == (None, True)


def test_csv_is_read_by_header_name_with_quoted_line_ends(tmp_path: Path) -> None:
    for day, end in ((FIRST, "\r\n"), (SECOND, "\r"), (THIRD, "\n")):
        lines = (
            "\ufefftitle,price,item_id,tags,deleted",
            '"Train, ""big""\nred",3.5,i1,"[""a"",""b""]",false',
            "too,few",
            "",
            'Bus,1,i2,"x,y",',
        )
        land(tmp_path, day, "a.csv", end.join(lines).encode() + (end.encode() if day != THIRD else b""))
        rows = as_of(tmp_path, day)
        assert (rows["i1"]["title"], rows["i1"]["price"], rows["i1"]["tags"]) == ('Train, "big"\nred', Decimal("3.5"), ["a", "b"])
        assert (rows["i2"]["title"], rows["i2"]["tags"]) == ("Bus", ["x", "y"])
        at = (tmp_path / "items" / f"ds={day}" / "a.csv").read_bytes().index(b"too,few")
        assert refused(tmp_path, day) == [("a.csv", at, "bad_row", None, b"too,few")]
        file = ledgers(tmp_path, day)["a.csv"]
        assert (file.lines, file.objects_in, file.good, file.by_reason) == (6, 3, 2, {"bad_row": 1, "blank_line": 1, "bom": 1})


def test_a_refused_csv_row_keeps_its_bytes_over_all_of_its_lines(tmp_path: Path) -> None:
    rows = [
        b"item_id,title,price\r\n",
        '"i1","Träin",-1\r\n'.encode(),
        b'i2,"two\r\nlines",NaN\r\n',
        b'i3,"broken"quote,2\r\n',
        b'i4,"fine\nlines",2\n',
        b'i5,"1,5","1,5"',
    ]
    land(tmp_path, FIRST, "a.csv.gz", gzip.compress(b"".join(rows)))
    starts = [sum(map(len, rows[:n])) for n in range(len(rows))]
    assert refused(tmp_path, FIRST) == [
        ("a.csv.gz", starts[1], "negative_price", "price", rows[1].rstrip()),
        ("a.csv.gz", starts[2], "non_finite", "price", rows[2].rstrip()),
        ("a.csv.gz", starts[3], "bad_row", None, rows[3].rstrip()),
        ("a.csv.gz", starts[5], "ambiguous_number", "price", rows[5]),
    ]
    assert list(as_of(tmp_path, FIRST)) == ["i4"]
    # Only the night of the delivery tells the rows; the ledger is told as long as the partition is the newest.
    assert refused(tmp_path, SECOND) == []
    assert ledgers(tmp_path, SECOND)["a.csv.gz"].quarantined == 4


def test_objects_of_json_lines_keep_their_place_and_their_repairs(tmp_path: Path) -> None:
    lines = [
        b"\xef\xbb\xbf" + jsonl(item("i1")),
        b'[{"item_id":"i2","title":"x"}, {"item_id":"i3","price":1}]\r\n',
        b'{"item_id":"i4","title":"x"}{"item_id":5,"title":"\\ud800"}\n',
        b'{"item_id":"i6"\n',
        b"\r\n",
        jsonl(item("i7", "t" * 1_000_001)),
        b'{"item_id":"i8","title":"caf\xe9"}\n',
        jsonl(*(item(f"other{n}") for n in range(500))),
        b'{"item_id":"i9","title":"x","price":[1],"deleted":"perhaps"}',
    ]
    land(tmp_path, FIRST, "a.jsonl", b"".join(lines))
    starts = [sum(map(len, lines[:n])) for n in range(len(lines))]
    assert [i for i in as_of(tmp_path, FIRST) if not i.startswith("other")] == ["5", "i1", "i2", "i4"]
    assert refused(tmp_path, FIRST) == [
        ("a.jsonl", starts[1] + 31, "missing_required", "title", b'{"item_id":"i3","price":1}'),
        ("a.jsonl", starts[3], "json_truncated", None, b'{"item_id":"i6"'),
        ("a.jsonl", starts[5], "text_too_long", "title", lines[5].rstrip()),
        ("a.jsonl", starts[6], "bad_utf8", None, lines[6].rstrip()),
        ("a.jsonl", starts[8], "bad_number", "price", lines[8]),
    ]
    assert [q["repairs"] for q in made(tmp_path, FIRST).quarantine] == [["array_unwrapped"], [], [], [], []]
    file = ledgers(tmp_path, FIRST)["a.jsonl"]
    repairs = {"bom": 1, "array_unwrapped": 1, "glued_objects": 2, "id_cast": 1, "surrogate": 1, "blank_line": 1}
    faults = {"missing_required": 1, "json_truncated": 1, "text_too_long": 1, "bad_utf8": 1, "bad_number": 1}
    assert (file.lines, file.objects_in, file.good, file.repaired) == (508, 509, 500, 4)
    assert file.by_reason == repairs | faults


REFUSED = {
    "semicolons.csv": (b"item_id;title\ni1;Train\n", "bad_header"),
    "case.csv": (b"Item_ID,title\ni1,Train\n", "bad_header"),
    "twice.csv": (b"item_id,title, title\ni1,Train,Bus\n", "bad_header"),
    "open.csv": (b'item_id,title\ni1,Train\ni2,"open\ni3,x\n', "csv_open_quote"),
    "latin1.csv": ("item_id,title\ni1,caf\xe9\n".encode("latin-1"), "encoding"),
    "utf16.csv": ("item_id,title\ni1,Train\n".encode("utf-16"), "encoding"),
    "empty.csv": (b"", "empty_source"),
    "header.csv.gz": (gzip.compress(b"item_id,title\n"), "empty_source"),
    "blank.jsonl": (b"\n \r\n", "empty_source"),
    "truncated.jsonl.gz": (gzip.compress(jsonl(*(item(f"i{n}") for n in range(99))))[:-9], "gz_truncated"),
    "plain.jsonl.gz": (jsonl(item("i1")), "not_gzip"),
    "pretty.jsonl": (json.dumps([item(f"i{n}") for n in range(9)], indent=1).encode(), "not_json_lines"),
    "page.jsonl": (b"<html>\n" * 6 + jsonl(*(item(f"i{n}") for n in range(94))), "not_json_lines"),
    "commas.csv": (b"item_id,title,price\n" + b"i1,Train,1,5\n" * 5 + b"".join(b"i%d,x,1\n" % n for n in range(400)), "catalogue_rubbish"),
}


def test_a_file_that_cannot_be_trusted_is_refused_whole_and_the_others_go_on(tmp_path: Path) -> None:
    land(tmp_path, FIRST, "a.jsonl", jsonl(item("i1", "Known")))
    for name, (content, _) in REFUSED.items():
        land(tmp_path, SECOND, name, content)
    land(tmp_path, SECOND, "magic.jsonl", gzip.compress(jsonl(item("i2", "By its bytes"))))
    rows, files = as_of(tmp_path, SECOND), ledgers(tmp_path, SECOND)
    assert {i: (r["title"], r["valid_from_ds"]) for i, r in rows.items()} == {"i1": ("Known", FIRST), "i2": ("By its bytes", SECOND)}
    assert {n: f.reason for n, f in files.items()} == {"magic.jsonl": None} | {n: code for n, (_, code) in REFUSED.items()}
    assert {RULES[code][0] for _, code in REFUSED.values()} == {"refused"}
    assert {n: f.n_bytes for n, f in files.items() if n in REFUSED} == {n: len(content) for n, (content, _) in REFUSED.items()}
    assert files["case.csv"].fields == {"case:Item_ID~item_id": 1}
    assert refused(tmp_path, SECOND) == []


def test_a_file_of_no_rows_is_right_where_the_source_says_so(tmp_path: Path) -> None:
    names = ("empty.csv", "header.csv.gz", "blank.jsonl")
    for day in (FIRST, SECOND):
        for name in names:
            land(tmp_path, day, name, REFUSED[name][0])
    assert {f.reason for f in made(tmp_path, SECOND).files} == {"empty_source"}
    (tmp_path / "_source.json").write_text('{"empty_files_allowed": true}')
    assert [(f.reason, f.objects_in) for f in made(tmp_path, SECOND).files] == [(None, 0)] * 3


@pytest.mark.parametrize(
    ("bad", "good", "reason"),
    [(4, 0, None), (5, 495, None), (5, 494, "catalogue_rubbish"), (6, 594, None), (6, 593, "catalogue_rubbish")],
)
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_more_than_one_row_in_a_hundred_is_rubbish(tmp_path: Path, form: str, bad: int, good: int, reason: str | None) -> None:
    prices = [-1] * bad + [1] * good
    if form == "csv":
        content = b"item_id,title,price\n" + b"".join(b"i%d,x,%d\n" % pair for pair in enumerate(prices))
    else:
        content = jsonl(*(item(f"i{n}", price=p) for n, p in enumerate(prices)))
    land(tmp_path, FIRST, f"a.{form}", content)
    found = made(tmp_path, FIRST)
    assert (found.files[0].reason, found.items.num_rows, len(found.quarantine)) == (reason, *((0, 0) if reason else (good, bad)))


def test_lines_that_an_open_quote_swallowed_all_count(tmp_path: Path) -> None:
    rows = [b"i%d,x,\n" % n for n in range(300)]
    for day, swallowed in ((FIRST, 3), (SECOND, 4)):
        broken = [*rows[:10], b'i10,"open,\n', *rows[11 : 10 + swallowed], b'i98,"y",\n', *rows[99:]]
        land(tmp_path, day, "a.csv", b"item_id,title,price\n" + b"".join(broken))
    assert refused(tmp_path, FIRST) == [("a.csv", 20 + 60, "bad_row", None, b'i10,"open,\ni11,x,\ni12,x,\ni98,"y",')]
    assert [ledgers(tmp_path, d)["a.csv"].reason for d in (FIRST, SECOND)] == [None, "catalogue_rubbish"]


def test_a_copy_of_a_file_does_not_undo_what_came_after_it(tmp_path: Path) -> None:
    old, new = jsonl(item("i1", "Old"), item("i2")), jsonl(item("i1", "New"))
    land(tmp_path, FIRST, "a.jsonl", old)
    land(tmp_path, FIRST, "b.jsonl", new)
    land(tmp_path, FIRST, "c.jsonl", old)
    land(tmp_path, SECOND, "a.jsonl", old)
    land(tmp_path, THIRD, "again.jsonl", old)
    for day in (FIRST, SECOND, THIRD):
        assert as_of(tmp_path, day)["i1"]["title"] == "New"
    assert [(f.reason, f.objects_in) for f in made(tmp_path, FIRST).files] == [(None, 2), (None, 1), ("file_repeated", 0)]
    assert [f.reason for f in made(tmp_path, THIRD).files] == ["file_repeated"]
    # After another delivery an old snapshot is a way back.
    land(tmp_path, THIRD, "again.jsonl", new)
    land(tmp_path, FOURTH, "a.jsonl", old)
    assert as_of(tmp_path, FOURTH)["i1"]["title"] == "Old"


def test_a_copy_of_a_refused_file_is_refused_for_the_same_reason(tmp_path: Path) -> None:
    land(tmp_path, FIRST, "a.csv", REFUSED["case.csv"][0])
    land(tmp_path, SECOND, "a.csv", REFUSED["case.csv"][0])
    land(tmp_path, SECOND, "b.csv", REFUSED["case.csv"][0])
    assert [f.reason for f in made(tmp_path, SECOND).files] == ["bad_header", "bad_header"]


def test_of_several_rows_of_an_item_in_one_delivery_the_last_holds(tmp_path: Path) -> None:
    land(tmp_path, FIRST, "a.jsonl", jsonl(item("i1", "One"), item("i2", "Same", price=1), item("i1", "Two"), item("i3", "x", price=0)))
    land(tmp_path, FIRST, "b.csv", b"item_id,title,price\ni2,Same,1.0\ni1,Three,\ni3,y,0\n")
    rows, files = as_of(tmp_path, FIRST), ledgers(tmp_path, FIRST)
    assert {i: r["title"] for i, r in rows.items()} == {"i1": "Three", "i2": "Same", "i3": "y"}
    first = jsonl(item("i1", "One")).rstrip()
    assert refused(tmp_path, FIRST)[0] == ("a.jsonl", 0, "dup_item", "item_id", first)
    assert [r[4] for r in refused(tmp_path, FIRST)][1:] == [jsonl(item("i1", "Two")).rstrip(), jsonl(item("i3", "x", price=0)).rstrip()]
    assert [q["repairs"] for q in made(tmp_path, FIRST).quarantine] == [[], [], ["zero_price"]]
    assert files["a.jsonl"].by_reason == {"dup_item": 3, "dedup": 1}
    assert files["b.csv"].by_reason == {"zero_price": 1}
    assert (files["a.jsonl"].repaired, files["b.csv"].good) == (1, 2)


def test_a_parent_that_is_not_in_the_catalogue_is_left_out_until_it_is(tmp_path: Path) -> None:
    land(tmp_path, FIRST, "a.jsonl", jsonl(item("i1", parent_id="p"), item("i2", price=0, parent_id="p"), item("i3", parent_id="i1")))
    land(tmp_path, SECOND, "a.jsonl", jsonl({"item_id": "p", "deleted": True}))
    first, second = as_of(tmp_path, FIRST), as_of(tmp_path, SECOND)
    assert {i: r["parent_id"] for i, r in first.items()} == {"i1": None, "i2": None, "i3": "i1"}
    assert {i: (r["parent_id"], r["valid_from_ds"].day) for i, r in second.items()} == {
        "i1": ("p", 1),
        "i2": ("p", 1),
        "i3": ("i1", 1),
        "p": (None, 2),
    }
    file = ledgers(tmp_path, FIRST)["a.jsonl"]
    assert (file.good, file.repaired, file.by_reason) == (1, 2, {"orphan_parent": 2, "zero_price": 1})
    assert ledgers(tmp_path, SECOND)["a.jsonl"].by_reason == {}


def test_a_file_that_closes_a_cycle_of_parents_is_refused_and_history_stands(tmp_path: Path) -> None:
    land(tmp_path, FIRST, "a.jsonl", jsonl(item("i1", parent_id="i2"), item("i2", parent_id="i3"), item("i3")))
    land(tmp_path, SECOND, "a.jsonl", jsonl(item("i1", "Unchanged link", parent_id="i2")))
    land(tmp_path, SECOND, "b.jsonl", jsonl(item("i3", parent_id="i1"), item("i4")))
    land(tmp_path, SECOND, "c.jsonl", jsonl(item("i5", parent_id="i5")))
    land(tmp_path, SECOND, "d.jsonl", jsonl(item("i6", parent_id="i7"), item("i7", parent_id="i8")))
    rows, files = as_of(tmp_path, SECOND), ledgers(tmp_path, SECOND)
    assert {i: (r["title"], r["parent_id"]) for i, r in rows.items()} == {
        "i1": ("Unchanged link", "i2"),
        "i2": ("x", "i3"),
        "i3": ("x", None),
        "i6": ("x", "i7"),
        "i7": ("x", None),
    }
    assert {n: f.reason for n, f in files.items()} == {
        "a.jsonl": None,
        "b.jsonl": "parent_cycle",
        "c.jsonl": "parent_cycle",
        "d.jsonl": None,
    }
    assert files["b.jsonl"].fields["cycle:i1 > i2 > i3"] == 1
    assert files["c.jsonl"].fields["cycle:i5"] == 1
    # A copy of the refused file may come when the way is free.
    land(tmp_path, THIRD, "a.jsonl", jsonl(item("i1")))
    land(tmp_path, THIRD, "b.jsonl", jsonl(item("i3", parent_id="i1"), item("i4")))
    assert as_of(tmp_path, THIRD)["i3"]["parent_id"] == "i1"


def test_an_older_link_that_comes_back_with_a_refusal_closes_no_cycle_either(tmp_path: Path) -> None:
    land(tmp_path, FIRST, "a.jsonl", jsonl(item("i1", parent_id="i2"), item("i2"), item("i3", parent_id="i4"), item("i4")))
    # b closes a cycle and would free i3 as well; without it the link of c to i3 closes another one.
    land(tmp_path, SECOND, "b.jsonl", jsonl(item("i2", parent_id="i1"), item("i3")))
    land(tmp_path, SECOND, "c.jsonl", jsonl(item("i4", parent_id="i3")))
    assert [f.reason for f in made(tmp_path, SECOND).files] == ["parent_cycle", "parent_cycle"]
    assert {i: r["parent_id"] for i, r in as_of(tmp_path, SECOND).items()} == {"i1": "i2", "i2": None, "i3": "i4", "i4": None}


def test_cycles_of_a_long_chain_are_found_in_one_walk() -> None:
    chain = {str(n): str(n + 1) for n in range(100_000)}
    assert cycles(chain, chain) == []
    (found,) = cycles(chain | {"100000": "0"}, chain)
    assert len(found) == 100_001


def test_with_a_category_tree_an_items_category_is_one_of_it(tmp_path: Path) -> None:
    goods = [item("i1", category="Toys"), item("i2", category="Cars"), item("i3"), item("i4", price=0, category="Cars")]
    land(tmp_path, FIRST, "a.jsonl", jsonl(*goods))
    assert [r["category"] for r in as_of(tmp_path, FIRST).values()] == ["Toys", "Cars", None, "Cars"]
    land(tmp_path, FIRST, "c.csv", b"parent,category\n,Toys\nToys,Trains\nVehicles,Boats\n", "categories")
    land(tmp_path, SECOND, "c.jsonl", jsonl({"category": "Cars", "parent": "Vehicles"}, {"category": "Vehicles"}), "categories")
    found = made(tmp_path, FIRST)
    assert [r["category"] for r in found.items.to_pylist()] == ["Toys", "unknown", None, "unknown"]
    assert [(r["category"], r["parent"]) for r in found.categories.to_pylist()] == [("Boats", None), ("Toys", None), ("Trains", "Toys")]
    assert [(f.kind, f.good, f.repaired, f.by_reason) for f in found.files] == [
        ("items", 2, 2, {"orphan_category": 2, "zero_price": 1}),
        ("categories", 2, 1, {"orphan_parent": 1}),
    ]
    second = made(tmp_path, SECOND)
    assert [r["category"] for r in second.items.to_pylist()] == ["Toys", "Cars", None, "Cars"]
    assert [(r["category"], r["parent"], r["valid_from_ds"].day) for r in second.categories.to_pylist()] == [
        ("Boats", "Vehicles", 1),
        ("Cars", "Vehicles", 2),
        ("Toys", None, 1),
        ("Trains", "Toys", 1),
        ("Vehicles", None, 2),
    ]


def test_categories_are_held_to_the_same_rules(tmp_path: Path) -> None:
    land(tmp_path, FIRST, "a.csv", b"category,parent\nToys,\nTrains,Toys\n", "categories")
    land(tmp_path, SECOND, "a.csv", b"category,parent\nToys,Trains\n", "categories")
    land(tmp_path, SECOND, "b.csv", b"name,parent\nCars,\n", "categories")
    land(tmp_path, SECOND, "c.jsonl", jsonl({"category": ""}, {"category": "Cars", "parent": "Toys"}, {"category": "Cars"}), "categories")
    found = made(tmp_path, SECOND)
    assert [f.reason for f in found.files] == ["parent_cycle", "bad_header", None]
    assert [(q["file"], q["reason"], q["field"]) for q in found.quarantine] == [
        (f"categories/ds={SECOND}/c.jsonl", "missing_required", "category"),
        (f"categories/ds={SECOND}/c.jsonl", "dup_item", "category"),
    ]
    assert [(r["category"], r["parent"]) for r in found.categories.to_pylist()] == [("Cars", None), ("Toys", None), ("Trains", "Toys")]


def test_the_ledger_tells_what_the_fields_look_like(tmp_path: Path) -> None:
    land(tmp_path, FIRST, "a.jsonl", jsonl({"Item_Id": "i1", "title": "x"}, item("i2", colour="red", price="1", deleted=1), item(3, True)))
    land(tmp_path, FIRST, "b.csv", b"item_id,title,Parent ID,size\ni4,x,,1\ni5,x,i4,2\n")
    files = ledgers(tmp_path, FIRST)
    assert {n: c for n, c in files["a.jsonl"].fields.items() if not n.startswith("null:")} == {
        "case:Item_Id~item_id": 1,
        "new:colour": 1,
        "type:price": 1,
        "type:deleted": 1,
        "type:item_id": 1,
        "type:title": 1,
    }
    assert {n: files["a.jsonl"].fields[f"null:{n}"] for n in ("item_id", "title", "price", "brand")} == {
        "item_id": 1,
        "title": 0,
        "price": 2,
        "brand": 3,
    }
    odd = {n: c for n, c in files["b.csv"].fields.items() if not n.startswith("null:")}
    assert odd == {"case:Parent ID~parent_id": 2, "new:size": 2}
    land(tmp_path, SECOND, "a.jsonl", jsonl(item("i1", **{f"field{n:03}": 1 for n in range(100)})))
    names = [n for n in ledgers(tmp_path, SECOND)["a.jsonl"].fields if n.startswith("new:")]
    assert (len(names), names[0], names[-1]) == (65, "new:field000", "new:(others)")


def days(root: Path) -> Iterator[tuple[dt.date, list[dict[str, Any]]]]:
    """Thirty days of a catalogue that changes, is delivered whole or in part, and has a bad row now and then."""
    rng = random.Random(1)
    rows = {n: item(f"i{n}", f"Thing {n}", price=n, parent_id=f"i{n // 2}" if n % 3 else None) for n in range(1, 40)}
    for n in range(30):
        for k in rng.sample(sorted(rows), 3):
            rows[k] = rows[k] | rng.choice(({"price": rng.randint(0, 9)}, {"title": f"Thing {rng.randint(0, 9)}"}, {"deleted": n % 2 == 0}))
        sent = list(rows.values()) if n % 3 else rng.sample(list(rows.values()), 5)
        yield dt.date(2026, 1, 1) + dt.timedelta(n), [*sent, item("bad", price=-1)]


def test_a_night_is_the_same_whatever_was_read_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for day, rows in days(tmp_path):
        land(tmp_path, day, "a.jsonl", jsonl(*rows))
        land(tmp_path, day, "b.csv", b"item_id,title\ncsv,always the same\nodd,%d\n" % day.day)
    nights = [day for day, _ in days(tmp_path)]
    read: list[str] = []
    true_read = history.read

    def counting(kind: Any, stream: Any, name: str, *rest: Any) -> Any:
        read.append(name)
        return true_read(kind, stream, name, *rest)

    monkeypatch.setattr(history, "read", counting)
    in_order = [made(tmp_path, d) for d in nights]
    assert len(read) == len(set(read)) == 60
    for night, known in zip(nights[::7], in_order[::7], strict=True):
        monkeypatch.setattr(history, "_REMEMBERED", {})
        assert made(tmp_path, night) == known
    backwards = [made(tmp_path, d) for d in reversed(nights)]
    assert backwards[::-1] == in_order


def test_rows_after_the_night_and_the_order_of_rows_change_nothing(tmp_path: Path) -> None:
    rows = [item(f"i{n}", f"Thing {n}", price=n - 1, parent_id=f"i{n // 2}", colour="red") for n in range(30)]
    tables = []
    for turn in range(3):
        root = tmp_path / str(turn)
        random.Random(turn).shuffle(rows)
        land(root, FIRST, "a.jsonl", jsonl(*rows[:10]))
        land(root, FIRST, "b.jsonl", jsonl(*rows[10:]))
        if turn:
            land(root, SECOND, "a.jsonl", jsonl(*(r | {"title": "Later"} for r in rows)))
            land(root, SECOND, "a.csv", b"category\nToys\n", "categories")
        found = made(root, FIRST)
        tables.append((found.items, found.warnings, sorted(q["raw_base64"] for q in found.quarantine)))
    assert tables[0] == tables[1] == tables[2]
    assert tables[0][0].num_rows == 29


def test_histories_are_let_go_by_their_bytes(tmp_path: Path) -> None:
    def of(size: int) -> History:
        return History({"i": (FIRST, b"x" * size)})

    memory = Remembered(30_000)
    for n in range(3):
        memory.put(str(n), of(10_000))
    assert [memory.get(str(n)) is not None for n in range(3)] == [False, True, True]
    assert memory.get("1") is not None
    memory.put("3", of(10_000))
    assert [memory.get(str(n)) is not None for n in range(4)] == [False, True, False, True]
    memory.put("large", of(10**6))
    assert (memory.get("large") is not None, memory.get("3")) == (True, None)


PIECES = st.sampled_from(
    [
        *(
            b"item_id,title,price\n",
            b"title,item_id\r\n",
            b"i1,Train,1\n",
            b"i1,Train,1\n",
            b"i2,Bus,-1\r",
            b"\xef\xbb\xbf",
            b",",
            b'"',
            b'""',
        ),
        *(
            b"\n",
            b"\r",
            b"\r\n",
            b"\xff",
            b"\0",
            b"i3,x",
            b" ",
            b'"a\nb"',
            b'{"item_id":"i1","title":"x"}',
            b"{",
            b"}",
            b"[",
            b"]",
            b"null",
        ),
        *(
            b'{"item_id":1,"title":"y","parent_id":1}\n',
            b'{"item_id":"i2","title":"x","parent_id":"i1"}\n',
            b'{"item_id":"i4","deleted":true}\n',
        ),
    ]
)


@settings(deadline=None, max_examples=300)
@given(
    st.one_of(
        st.binary(max_size=200), st.lists(PIECES, max_size=30).map(b"".join), st.lists(PIECES, max_size=9).map(b"".join).map(gzip.compress)
    ),
    st.sampled_from(["a.csv", "a.jsonl", "a.csv.gz"]),
    st.sampled_from(["items", "categories"]),
)
def test_any_bytes_end_in_a_balance(data: bytes, name: str, kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        land(Path(folder), FIRST, name, data.replace(b"item_id", b"category") if kind == "categories" else data, kind)
        found = made(Path(folder), FIRST)
        stored = (Path(folder) / kind / f"ds={FIRST}" / name).read_bytes()
    (file,) = found.files
    assert file.n_bytes == len(stored)
    content = gzip.decompress(stored) if file.reason is None and stored[:2] == b"\x1f\x8b" else stored
    quarantined = [(q["byte_offset"], base64.b64decode(q["raw_base64"])) for q in found.quarantine]
    assert len(quarantined) == file.quarantined
    assert len({at for at, _ in quarantined}) == len(quarantined)
    for at, raw in quarantined:
        assert content[at : at + len(raw)] == raw


def test_flags_and_tags_come_in_many_forms() -> None:
    def row(**more: Any) -> dict[str, Any]:
        return item_row({"item_id": "i1", "title": "x", **more}, [])

    assert [row(deleted=v)["deleted"] for v in (None, False, "false", "0", True, "Yes", 1)] == [False] * 4 + [True] * 3
    assert [row(tags=v)["tags"] for v in (None, [], "a, b", ["a", 1, None, ""], "a|b,c")] == [
        None,
        None,
        ["a", "b"],
        ["a", "1"],
        ["a", "b,c"],
    ]
    with pytest.raises(Fault, match="bad_flag"):
        row(deleted="perhaps")


def test_what_keeps_an_item_off_lists_is_read_from_either_format(tmp_path: Path) -> None:
    columns = ("stock", "regions", "available_from_ds", "available_to_ds", "first_ds")

    def found(ds: dt.date) -> dict[str, tuple[Any, ...]]:
        return {i: tuple(row[c] for c in columns) for i, row in as_of(tmp_path, ds).items()}

    land(tmp_path, FIRST, "a.csv", b"item_id,title,stock,regions,available_to_ds\ni1,x,3,DE|AT,2026-02-01\ni2,x,,,\n")
    told = {"stock": 0.5, "regions": ["US"], "available_from_ds": "2026-01-05", "available_to_ds": "2026-01-05"}
    land(tmp_path, SECOND, "b.jsonl", jsonl(item("i2", stock=0), item("i3", **told), item("i4", regions=[])))
    land(tmp_path, THIRD, "c.jsonl", jsonl({"item_id": "i3", "deleted": True}, item("i1", "new")))
    nothing = (None, None, None, None)
    assert found(FIRST) == {"i1": (3, ["DE", "AT"], None, dt.date(2026, 2, 1), FIRST), "i2": (*nothing, FIRST)}
    second = found(SECOND)
    assert second["i2"] == (0, None, None, None, FIRST)
    assert second["i3"] == (1, ["US"], dt.date(2026, 1, 5), dt.date(2026, 1, 5), SECOND)
    assert second["i4"] == (*nothing, SECOND)
    assert found(THIRD)["i3"] == second["i3"], "what was known of a deleted item stays"
    assert found(THIRD)["i1"] == (*nothing, FIRST), "a row says all of its item, and when that was first told of"
    assert ledgers(tmp_path, SECOND)["b.jsonl"].by_reason == {"stock_mended": 1}


@pytest.mark.parametrize(
    ("more", "code", "field"),
    [
        ({"stock": "many"}, "bad_number", "stock"),
        ({"stock": 1e300}, "number_too_large", "stock"),
        ({"regions": {"DE": True}}, "bad_regions", "regions"),
        ({"regions": 7}, "bad_regions", "regions"),
        ({"available_from_ds": "2026-02-30"}, "bad_date", "available_from_ds"),
        ({"available_to_ds": "2026-02-03T00:00:00Z"}, "bad_date", "available_to_ds"),
        ({"available_to_ds": 20260203}, "bad_date", "available_to_ds"),
        ({"available_from_ds": "2026-02-02", "available_to_ds": "2026-02-01"}, "bad_date", "available_to_ds"),
    ],
)
def test_a_limit_that_cannot_be_read_does_not_lift_itself(more: dict[str, Any], code: str, field: str) -> None:
    with pytest.raises(Fault) as fault:
        item_row(item("i1", **more), [])
    assert (fault.value.code, fault.value.field) == (code, field)
