"""The catalogue as of a night: newest rows, by header name, nothing invented."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from recsys_core.catalogue import item_row, items_as_of
from recsys_core.lake import Landing, conform
from recsys_core.parse import Fault
from recsys_core.tables import TABLES

FIRST, SECOND, THIRD = (dt.date(2026, 1, d) for d in (1, 2, 3))


def land(root: Path, ds: dt.date, name: str, content: bytes) -> None:
    """Write one catalogue file."""
    folder = root / "items" / f"ds={ds}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def jsonl(*rows: dict[str, Any]) -> bytes:
    """Rows as JSON lines."""
    return "".join(json.dumps(r) + "\n" for r in rows).encode()


def as_of(root: Path, ds: dt.date) -> dict[str, dict[str, Any]]:
    """Rows of the item table by item_id, checked against its declaration."""
    table, _ = items_as_of(Landing(str(root)), ds)
    return {r["item_id"]: r for r in conform(table, TABLES["item"]).to_pylist()}


def test_an_item_is_its_newest_row_up_to_the_night(tmp_path: Path) -> None:
    land(
        tmp_path, FIRST, "a.jsonl", jsonl({"item_id": "i1", "title": "Old", "price": 1}, {"item_id": "i1", "title": "New", "price": "2.50"})
    )
    land(tmp_path, SECOND, "a.jsonl.gz", gzip.compress(jsonl({"item_id": "i2", "title": "木制火车", "tags": "玩具|木头|玩具"})))
    land(tmp_path, THIRD, "a.jsonl", jsonl({"item_id": "i1", "deleted": True}, {"item_id": "I1", "title": "Another"}))
    first, second, third = (as_of(tmp_path, d) for d in (FIRST, SECOND, THIRD))
    assert list(first) == ["i1"]
    assert (first["i1"]["title"], first["i1"]["price"], first["i1"]["lang"]) == ("New", Decimal("2.5000"), "en")
    assert (second["i2"]["tags"], second["i2"]["lang"], second["i2"]["valid_from_ds"]) == (["玩具", "木头"], "zh", SECOND)
    assert second["i1"]["valid_from_ds"] == FIRST
    assert sorted(third) == ["I1", "i1", "i2"]
    assert (third["i1"]["deleted"], third["i1"]["title"], third["i1"]["valid_from_ds"]) == (True, "New", THIRD)


def test_csv_is_read_by_header_name_with_quoted_line_ends(tmp_path: Path) -> None:
    content = (
        '\ufefftitle,price,item_id,tags,deleted\r\n"Train, ""big""\nred",3.5,i1,"[""a"",""b""]",false\r\ntoo,few\r\nBus,1,i2,"x,y",\r\n'
    )
    land(tmp_path, FIRST, "a.csv", content.encode())
    rows = as_of(tmp_path, FIRST)
    assert (rows["i1"]["title"], rows["i1"]["price"], rows["i1"]["tags"]) == ('Train, "big"\nred', Decimal("3.5"), ["a", "b"])
    assert (rows["i2"]["title"], rows["i2"]["tags"]) == ("Bus", ["x", "y"])
    _, met = items_as_of(Landing(str(tmp_path)), FIRST)
    assert (met["rows"], met["bad_row"]) == (3, 1)


def test_a_file_that_cannot_be_read_by_name_is_refused_whole(tmp_path: Path) -> None:
    cases = {
        "a.csv": (b"item_id;title\ni1;Train\n", "bad_header"),
        "b.csv": (b'item_id,title\ni1,"open\ni2,x\n', "bad_row"),
        "c.csv": ("item_id,title\ni1,caf\xe9\n".encode("latin-1"), "encoding"),
        "d.jsonl.gz": (gzip.compress(b'{"item_id":"i1","title":"x"}\n')[:-9], "gz_truncated"),
    }
    for name, (content, _) in cases.items():
        land(tmp_path, FIRST, name, content)
    table, met = items_as_of(Landing(str(tmp_path)), FIRST)
    assert table.num_rows == 0
    assert met == {code: 1 for _, code in cases.values()}


def test_bad_rows_are_counted_and_no_catalogue_is_an_empty_one(tmp_path: Path) -> None:
    assert items_as_of(Landing(str(tmp_path)), FIRST)[0].num_rows == 0
    land(
        tmp_path,
        FIRST,
        "a.jsonl",
        b'{"item_id":"i1","title":"a","title":"b"}\n{"title":"no id"}\n{"item_id":"i2"}\n{"item_id":"i3","title":"x","price":-1}\n',
    )
    table, met = items_as_of(Landing(str(tmp_path)), FIRST)
    assert table.num_rows == 0
    assert met == {"rows": 4, "dup_key": 1, "missing_required": 2, "negative_price": 1}


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
