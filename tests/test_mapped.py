"""Files of a site's own form land as their mapping says, and what is wrong with either is said with its place and remedy."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jobs.__main__ import main
from recsys_core.sources import SourceError, land
from recsys_core.sources.check import check
from recsys_core.sources.mapping import mapping
from tests.source_cases import apart, jsonl, landed

HEAD = """
time_zone = "Europe/London"
[events]
user_id = "who"
event_type = { value = "view" }
ts = "at"
item_id = "what"
"""


def given(folder: Path, toml: str, **contents: str | bytes) -> str:
    """A folder with the files and the mapping; `__` in a name is a dot."""
    folder.mkdir(exist_ok=True)
    (folder / "mapping.toml").write_text(toml, encoding="utf-8")
    for name, data in contents.items():
        (folder / name.replace("__", ".")).write_bytes(data.encode() if isinstance(data, str) else data)
    return str(folder)


def lines(tmp_path: Path, toml: str, kind: str = "events", **contents: str | bytes) -> dict[str, list[dict[str, Any]]]:
    land("mapped", given(tmp_path / "raw", toml, **contents), str(tmp_path / "landing"))
    return landed(tmp_path / "landing", kind)


# -- what lands --------------------------------------------------------------------------------------------------------------------
def test_a_row_becomes_a_line_with_constants_numbers_and_the_declared_zone(tmp_path: Path) -> None:
    toml = HEAD + 'price = "p"\nquantity = "n"\ntext = "said"\nlang = { value = "en" }\n'
    text = "who,what,at,p,n,said\nanna , i1,2026-07-01T00:30:00,$1,2,<b>fine</b>&amp; good\n"
    # Half past midnight in London is the day before in UTC, which is the night unless TIME_ZONE says otherwise.
    assert lines(tmp_path, toml, a__csv=text) == {
        "2026-06-30": [
            {
                "user_id": "anna",
                "event_type": "view",
                "ts": "2026-07-01T00:30:00",
                "item_id": "i1",
                "price": 1,
                "quantity": 2,
                "text": "fine & good",
                "lang": "en",
            }
        ]
    }
    assert json.loads((tmp_path / "landing/_source.json").read_text()) == {
        "source": "mapped",
        "time_zone_of_naive_ts": "Europe/London",
        "expected_reasons": [],
    }
    land("mapped", str(tmp_path / "raw"), str(tmp_path / "local"), time_zone="Europe/London")
    assert list(landed(tmp_path / "local", "events")) == ["2026-07-01"]


@pytest.mark.parametrize(
    ("written", "spec", "ts"),
    [
        ("2026-01-05T10:00:00+08:00", '"at"', "2026-01-05T10:00:00+08:00"),
        ("1767607200", '"at"', 1767607200),
        ("1767607200.5", '"at"', 1767607200.5),
        ("1/5/2026 10:00 PM", '{ column = "at", format = "%m/%d/%Y %I:%M %p" }', "2026-01-05T22:00:00"),
        ("05.01.2026 10:00 +0100", '{ column = "at", format = "%d.%m.%Y %H:%M %z" }', "2026-01-05T09:00:00Z"),
    ],
)
def test_times_are_read_as_written(tmp_path: Path, written: str, spec: str, ts: Any) -> None:
    (night,) = lines(tmp_path, HEAD.replace('"at"', spec), a__csv=f"who,what,at\nanna,i1,{written}\n").values()
    assert night[0]["ts"] == ts


def test_a_day_alone_is_placed_around_the_noon_of_its_zone(tmp_path: Path) -> None:
    toml = HEAD.replace('"at"', '{ column = "at", format = "%d/%m/%Y" }').replace("Europe/London", "Asia/Shanghai")
    found = lines(tmp_path, toml, a__csv="who,what,at\n" + "".join(f"u{n},i1,05/01/2026\n" for n in range(50)))
    rows = [row for night in found.values() for row in night]
    assert {row["ts"][:10] for row in rows} == {"2026-01-05"}
    assert "06" <= min(row["ts"][11:13] for row in rows) <= max(row["ts"][11:13] for row in rows) <= "18"
    assert rows[0]["repairs"] == ["day_precision"]


def test_json_lines_by_path_with_lists_and_an_epoch(tmp_path: Path) -> None:
    toml = """
[events]
user_id = "user.id"
item_id = { columns = ["shop", "sku.code"], separator = ":" }
event_type = { column = "event", values = { "product_*" = "view", order = "purchase" } }
ts = "ms"
[items]
title = "sku.name"
tags = "sku.tags"
"""
    row = {
        "user": {"id": 7},
        "shop": "de",
        "sku": {"code": "a", "name": "Zelt", "tags": ["帐篷", "zelt"]},
        "event": "order",
        "ms": 1767607200123,
    }
    other = {**row, "event": "product_seen", "sku": {"code": "b"}, "user": "no object"}
    found = lines(tmp_path, toml, a__jsonl__gz=gzip.compress(jsonl(row, other, {**row, "event": "log out"}).encode()))
    assert found == {"2026-01-05": [{"user_id": 7, "item_id": "de:a", "event_type": "purchase", "ts": 1767607200123}]}
    assert [r["fault"] for r in landed(tmp_path / "landing", "events", faults=True)["2026-01-05"]] == ["no_user", "unknown_event_type"]
    assert landed(tmp_path / "landing", "items") == {"2026-01-05": [{"item_id": "de:a", "title": "Zelt", "tags": ["帐篷", "zelt"]}]}


def test_items_from_files_of_their_own(tmp_path: Path) -> None:
    toml = (
        'encoding = "gb18030"\ndelimiter = "\\t"\n'
        + HEAD
        + (
            '[items]\nfiles = "goods*"\nitem_id = "id"\ntitle = "名称"\nstock = "left"\n'
            'available_from_ds = { column = "from", format = "%d.%m.%y" }\n'
        )
    )
    goods = "id\t名称\tleft\tfrom\ni1\t露营帐篷\t3\t01.02.26\n\t无\t\t\ni2\t灯\t\tsoon\n"
    lines(tmp_path, toml, seen__csv="who\twhat\tat\nanna\ti1\t2026-01-05 10:00\n", goods__tsv=goods.encode("gb18030"))
    assert landed(tmp_path / "landing", "items") == {
        "2026-01-05": [{"item_id": "i1", "title": "露营帐篷", "stock": 3, "available_from_ds": "2026-02-01"}]
    }
    assert [r["fault"] for r in apart(tmp_path / "landing")] == ["missing_required", "bad_date"]


def test_what_a_refused_row_says_of_an_item_does_not_count(tmp_path: Path) -> None:
    toml = HEAD + '[items]\ntitle = "name"\n[refuse.stock_adjustment]\nwhat = "i*"\nname = ["*damaged*", "?"]\n'
    text = "who,what,at,name\nanna,i1,2026-01-05 10:00,Tent\nben,i1,2026-01-05 11:00,damaged\n"
    text += "ben,x1,2026-01-05 11:00,?\n,i2,2026-01-05 12:00,Lamp\n"
    found = lines(tmp_path, toml, a__csv=text)
    assert [row["item_id"] for row in found["2026-01-05"]] == ["i1", "x1"]
    assert landed(tmp_path / "landing", "items")["2026-01-05"] == [{"item_id": "i1", "title": "Tent"}, {"item_id": "x1", "title": "?"}]


# -- what is wrong with the files --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "a__csv",
            "who;what;at\nanna;i1;2026-01-05\n",
            "a.csv: no column who, at, what; the header has who;what;at; mend the column's name",
        ),
        ("a__csv", "who,what,at,who\n", "a.csv: a column stands twice in the header"),
        ("a__csv", b"who,what,at\nann\xe9,i1,2026-01-05\n", "a.csv, line 2: not utf-8"),
        ("a__csv", 'who,what,at\nanna,"i1,2026-01-05\n', "a.csv, line 2: a quote that is never closed"),
        ("a__csv__gz", gzip.compress(b"who,what,at\n" + bytes(range(65, 90)) * 99, mtime=0)[:60], "a.csv.gz is cut or damaged"),
        ("a__csv__gz", b"who,what,at\n", "a.csv.gz is cut or damaged"),
        ("a__csv__gz", gzip.compress(b"who,what,at\n" + b"a" * (17 << 20), mtime=0), "a.csv.gz is cut or damaged"),
        ("a__csv", "who,what,at\n".encode("utf-16"), "a.csv is cut or damaged"),
        ("a__bin", "who,what,at\n", "no file *.csv or *.tsv"),
        ("a__csv", "", "a.csv: no column who, at, what; the header has nothing"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_nothing_is_written(tmp_path: Path, name: str, data: str | bytes, message: str) -> None:
    with pytest.raises(SourceError) as error:
        land("mapped", given(tmp_path / "raw", HEAD, **{name: data}), str(tmp_path / "landing"))
    assert message in str(error.value)
    assert not (tmp_path / "landing").exists()


def test_rows_that_are_no_events_keep_all_they_say(tmp_path: Path) -> None:
    text = "who,what,at\nanna,i1,soon\n" + "9" * 400 + ",i1,9999-12-31T23:59:00\nanna,i1\nanna,i1,0001-01-01T00:00\n"
    report = check("mapped", given(tmp_path / "raw", HEAD, a__csv=text))
    assert report.accepted == 0
    land("mapped", str(tmp_path / "raw"), str(tmp_path / "landing"))
    faults = [*apart(tmp_path / "landing"), *(r for rows in landed(tmp_path / "landing", "events", faults=True).values() for r in rows)]
    assert next(row["record"] for row in faults if row["fault"] == "bad_ts") == {"who": "anna", "what": "i1", "at": "soon"}
    assert {row["fault"] for row in faults} <= {"bad_ts", "bad_row", "ts_out_of_range"}


# -- what is wrong with the mapping ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("", "line 1: nothing says what the columns are"),
        ("[events", "line 1: not TOML"),
        ("events = 1", "line 1: events is no table"),
        (HEAD + "colour = 'c'", "line 8: [events] has no field 'colour'"),
        (HEAD.replace('what"', 'what"\nprice = 3'), "line 8: [events] price: give the name of a column in quotes"),
        (HEAD.replace("user_id", "user"), "line 3: [events] lacks user_id"),
        (HEAD.replace("item_id", "url"), "[events] lacks what was acted on"),
        (HEAD.replace('"view"', '"viewed"'), 'line 5: [events] event_type has no value "viewed"; did you mean view?'),
        (HEAD.replace('{ value = "view" }', '{ column = "e", values = { a = "buy" } }'), 'event_type has no value "buy"; there are view'),
        (HEAD.replace('"at"', '{ column = "at", format = "%Q" }'), 'line 6: [events] ts.format is "%Q": give a format of strptime'),
        (HEAD.replace('"what"', '{ columns = ["a", "b"] }'), "line 7: [events] item_id: say what stands between the columns"),
        (HEAD.replace('"what"', '{ column = "a", value = "b" }'), "line 7: [events] item_id: give one of column, columns and value"),
        (HEAD.replace('"what"', '{ colum = "a" }'), "[events] item_id has no key 'colum'; did you mean column?"),
        (HEAD.replace("London", "Londn"), 'line 2: time_zone is "Europe/Londn": give the zone'),
        ('encoding = "utf-16"' + HEAD, 'line 1: encoding is "utf-16": give an encoding like'),
        ('encoding = "rot13"' + HEAD, 'line 1: encoding is "rot13"'),
        ('delimiter = ";;"' + HEAD, "line 1: delimiter is"),
        ('expected_reasons = ["nobody"]' + HEAD, "line 1: expected_reasons is"),
        ('colour = "red"' + HEAD, "line 1: there is no key 'colour'"),
        (HEAD + "[refuse.postage]\nwhat = 'x'", "line 8: [refuse.postage] is no code of docs/ingest.md"),
        (HEAD + "[refuse.not_a_product]", "line 8: [refuse.not_a_product]: give columns"),
        (HEAD + "[items]\ntitle = 't'\nstock = 's'", "line 10: [items] stock: rows of events tell title"),
        ("[items]\nitem_id = 'i'\ntitle = 't'", "line 1: [items] without [events] needs files of its own"),
        ("format = 'jsonl'\nencoding = 'cp1252'" + HEAD, "line 2: encoding: JSON lines are UTF-8"),
    ],
)
def test_a_wrong_mapping_is_told_with_line_and_remedy(toml: str, message: str) -> None:
    with pytest.raises(SourceError) as error:
        mapping(toml, "shop.toml")
    assert message in str(error.value)
    assert str(error.value).startswith("shop.toml, line ")


# -- the commands ------------------------------------------------------------------------------------------------------------------
def test_land_and_check_take_a_mapping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given(tmp_path / "raw", HEAD, a__csv="who,what,at\nanna,i1,2026-01-05T10:00:00Z\n")
    file = str(tmp_path / "raw" / "a.csv")

    def call(*args: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, args)
        return result.exit_code, result.output

    code, said = call("check", "--source", "mapped", "--input", file, "--mapping", "raw/mapping.toml")
    assert (code, "events        1: 0 good, 1 repaired" in said) == (0, True)  # its id is made from its content
    assert call("land", "--source", "mapped", "--input", file, "--mapping", "raw/mapping.toml", "--landing", "out")[0] == 0
    code, said = call("land", "--source", "mapped", "--input", file, "--landing", "out")
    assert code == 1
    assert "no such mapping file" in said
    assert "--mapping FILE.toml" in said
    code, said = call("check", "--source", "canonical", "--input", file, "--mapping", "raw/mapping.toml")
    assert code == 1
    assert "goes with --source mapped" in said
