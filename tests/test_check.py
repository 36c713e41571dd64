"""`check`: what it says an input would come to is what landing and cleaning make of it, and it writes nothing."""

from __future__ import annotations

import doctest
import gzip
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jobs.__main__ import main
from recsys_core.parse.rules import RULES
from recsys_core.sources import SourceError, check_report, land
from recsys_core.sources.check import check
from recsys_core.sources.check_report import EXAMPLE_LENGTH, CheckReport, printable
from tests.ecosystem import GA4, SEGMENT

EVENT: dict[str, Any] = {"event_id": "e1", "user_id": "u1", "item_id": "i1", "event_type": "view", "ts": "2026-01-02T10:00:00Z"}


def jsonl(*rows: dict[str, Any] | str) -> bytes:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()


def layout(root: Path, **contents: bytes) -> Path:
    """A folder in the landing layout; `events_02_a__jsonl` is events/ds=2026-01-02/a.jsonl."""
    for name, data in contents.items():
        kind, day, file = name.split("_", 2)
        folder = root / kind / f"ds=2026-01-{day}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file.replace("__", ".")).write_bytes(data)
    return root


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_events_and_catalogue_by_code(tmp_path: Path) -> None:
    raw = layout(
        tmp_path / "raw",
        events_02_a__jsonl=jsonl(
            EVENT,
            {**EVENT, "price": "1.5", "colour": "red"},
            {**EVENT, "price": 0, "Item_Id": "i2"},
            {**EVENT, "user_id": None},
            "{cut",
            "",
            f"{json.dumps(EVENT)}{json.dumps(EVENT)}",
            {**EVENT, "ts": "2026-01-09T00:00:00Z"},
            {"fault": "not_a_product", "record": {"code": "POST"}},
        ),
        events_03_a__jsonl=jsonl({**EVENT, "ts": "2026-01-01T00:00:00Z"}),
        items_02_a__csv=b"item_id,title,price\ni1,Train,1.5\ni2,Doll,x\ni3\n,Nameless,1\n",
        categories_02_a__jsonl=jsonl({"category": "Toys"}, {"parent": "Toys"}),
        identity_02_a__jsonl=jsonl({"anonymous_id": "a", "user_id": "u"}),
    )
    before = everything(tmp_path)
    report = check("canonical", str(raw))
    assert everything(tmp_path) == before
    assert (report.rows_read, report.nights, report.files_refused) == (17, {date(2026, 1, 2), date(2026, 1, 3)}, [])
    assert (report.events.good, report.events.repaired, report.events.quarantined) == (1, 5, 4)
    assert report.events.by_code == {
        "num_from_text": 1,
        "unknown_fields": 2,
        "zero_price": 1,
        "glued_objects": 2,
        "late": 1,
        "no_user": 1,
        "json_truncated": 1,
        "future_ts": 1,
        "not_a_product": 1,
    }
    assert report.fields == {"new:colour": 1, "new:Item_Id": 1, "type:price": 1}
    assert (report.items.good, report.items.repaired, report.items.quarantined) == (2, 0, 3)
    assert report.items.by_code == {"bad_number": 1, "missing_required": 2}
    assert (report.refused.by_code, report.identities) == ({"bad_row": 1}, 1)
    assert report.items.examples["bad_number"][0][1:] == (3, '{"item_id":"i2","title":"Doll","price":"x"}')


def test_a_damaged_file_is_refused_and_the_others_count(tmp_path: Path) -> None:
    good = jsonl(*[{**EVENT, "event_id": f"e{n}"} for n in range(20)])
    raw = layout(
        tmp_path / "raw",
        events_02_a__jsonl=good,
        events_02_b__jsonl__gz=gzip.compress(good * 500)[:-9],
        events_02_c__jsonl=good.decode().encode("utf-16"),
        events_02_d__jsonl=b"",
        events_02_e__jsonl=jsonl(*["<html>"] * 5, EVENT),
        events_02_f__jsonl__gz=good,
        events_02__g__jsonl=good,
        events_02_h__jsonl=jsonl(*["{cut"] * 4, EVENT),
        items_02_a__csv=b"item_id,title\ni1,Train\n",
        items_02_b__csv=b"id,title\ni2,Doll\n",
        items_02_c__csv=b'item_id,title\ni3,"Doll\n',
        items_02_d__csv="item_id,title\ni4,Bär\n".encode("latin-1"),
    )
    report = check("canonical", str(raw))
    assert {(Path(file).name, code) for file, code in report.files_refused} == {
        ("b.jsonl.gz", "gz_truncated"),
        ("c.jsonl", "encoding"),
        ("d.jsonl", "empty_source"),
        ("e.jsonl", "not_json_lines"),
        ("f.jsonl.gz", "not_gzip"),
        ("_g.jsonl", "hidden_name"),
        ("b.csv", "bad_header"),
        ("c.csv", "csv_open_quote"),
        ("d.csv", "encoding"),
    }
    assert all(RULES[code][0] == "refused" for _, code in report.files_refused)
    assert (report.events.good, report.events.by_code, report.items.good) == (21, {"json_truncated": 4}, 1)
    assert report.rows_read == 20 + 5 + 1  # of the refused files nothing counts
    text = str(report).splitlines()
    assert "refused file  events/ds=2026-01-02/b.jsonl.gz: gz_truncated, the gzip stream ends too early" in text
    (raw / "_source.json").write_text('{"source": "shop", "empty_files_allowed": true}')
    assert "empty_source" not in {code for _, code in check("canonical", str(raw)).files_refused}


@pytest.mark.parametrize(("source", "rows"), [("segment", SEGMENT), ("ga4", GA4)])
def test_it_counts_what_landing_counts(source: str, rows: tuple[dict[str, Any], ...], tmp_path: Path) -> None:
    (tmp_path / "raw.json").write_bytes(jsonl(*rows, "{cut"))
    for start, end in ((None, None), (date(2026, 1, 3), None), (None, date(2026, 1, 2))):
        landing = tmp_path / f"{start}-{end}"
        found, landed = (
            check(source, str(tmp_path / "raw.json"), start, end),
            land(source, str(tmp_path / "raw.json"), str(landing), start, end),
        )
        assert found.rows_read == landed.rows_read
        assert found.events.accepted + found.events.quarantined == landed.events
        assert found.items.accepted + found.items.quarantined == landed.items
        assert found.refused.by_code == landed.refused
        assert found.outside_range == landed.outside_range
    whole = check(source, str(tmp_path / "raw.json"))
    quarantined = {"segment": {}, "ga4": {"no_user": 1}}[source]
    assert {code: n for code, n in whole.events.by_code.items() if RULES[code][0] == "quarantined"} == quarantined
    assert whole.items.quarantined == 0


def test_events_are_judged_in_the_zone_of_the_nights(tmp_path: Path) -> None:
    raw = layout(tmp_path, events_02_a__jsonl=jsonl({**EVENT, "ts": "2026-01-01T20:00:00Z"}))
    assert check("canonical", str(raw)).events.by_code == {"late": 1}
    assert check("canonical", str(raw), time_zone="Asia/Shanghai").events.good == 1


def test_the_report_shows_meanings_places_and_at_most_three_examples(tmp_path: Path) -> None:
    bad = [{**EVENT, "user_id": "", "text": f"\u202e{n}" + "x" * 500} for n in range(4)]
    raw = layout(tmp_path / "raw", events_02_a__jsonl=jsonl(*bad, EVENT), items_02_a__csv=b"item_id,title\ni1,Train\n")
    (raw / "_source.json").write_text('{"source": "shop", "expected_reasons": ["no_user"]}')
    lines = str(check("canonical", f"{raw}/")).splitlines()
    assert lines[0] == f"read          6 rows of canonical in {raw}; nothing was written"
    assert lines[1] == "events        5: 1 good, 0 repaired, 4 quarantined, on 1 nights, 2026-01-02 … 2026-01-02"
    assert lines[2] == f"  quarantined         4  no_user: {RULES['no_user'][1]}, expected of this source"
    examples = [line for line in lines if "ds=2026-01-02/a.jsonl:" in line]
    assert [line.split()[0] for line in examples] == [f"events/ds=2026-01-02/a.jsonl:{n}" for n in (1, 2, 3)]
    assert all(line.endswith("x…") and line.isprintable() and len(line) < EXAMPLE_LENGTH + 70 for line in examples)
    assert "catalogue     1: 1 good, 0 repaired, 0 quarantined" in lines


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        (b"a\tb\x00\x1b[2J", "a\\tb\\x00\\x1b[2J"),
        (b"caf\xe9", "caf\\xe9"),
        ("\u202eabc\u2028\r\n", "\\u202eabc\\u2028\\r\\n"),
        ({"id": "很好", "n": 10**30}, '{"id":"很好","n":1000000000000000000000000000000}'),
        ("x" * EXAMPLE_LENGTH, "x" * EXAMPLE_LENGTH),
        ("x" * (EXAMPLE_LENGTH + 1), "x" * (EXAMPLE_LENGTH - 1) + "…"),
        ("\x01" * EXAMPLE_LENGTH, ("\\x01" * EXAMPLE_LENGTH)[: EXAMPLE_LENGTH - 1] + "…"),
    ],
)
def test_examples_can_be_shown_on_any_terminal(row: Any, shown: str) -> None:
    assert printable(row) == shown


def test_codes_that_only_a_line_knows_are_shown(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(jsonl({**EVENT, "repairs": ["shop_mended"]}))
    assert "shop_mended: a repair that the line says of itself" in str(check("canonical", str(tmp_path)))


def test_a_catalogue_alone_has_no_night(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,title\ni1,Train\n")
    assert "no night to land on: give the first one with --from" in str(check("canonical", str(tmp_path)))
    assert not check("canonical", str(tmp_path), date(2026, 1, 2)).homeless


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        ("steam", "raw", "no events.csv"),
        ("steam", "gone", "no such file"),
        ("stream", "raw", "unknown source"),
        ("canonical", "raw", "no file"),
    ],
)
def test_an_input_that_is_not_the_source_is_one_error(source: str, name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    with pytest.raises(SourceError, match=message):
        check(source, str(tmp_path / name))


def test_examples_in_the_docstrings_run() -> None:
    assert doctest.testmod(check_report) == (0, 1)
    assert str(CheckReport("steam", "raw")).splitlines()[-1] == "nothing of it would be accepted"


def test_the_command_writes_nothing_needs_no_secret_and_fails_when_nothing_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.jsonl").write_bytes(jsonl(EVENT, "{cut"))
    (tmp_path / "bad.jsonl").write_bytes(jsonl("{cut"))
    before = everything(tmp_path)
    call = CliRunner().invoke
    good = call(main, ["check", "--source", "canonical", "--input", "good.jsonl"])
    assert (good.exit_code, good.output.splitlines()[0]) == (0, "read          2 rows of canonical in good.jsonl; nothing was written")
    bad = call(main, ["check", "--source", "canonical", "--input", "bad.jsonl"])
    assert (bad.exit_code, bad.output.splitlines()[-1]) == (1, "nothing of it would be accepted")
    none = call(main, ["check", "--source", "canonical", "--input", "good.jsonl", "--from", "2026-02-01"])
    assert (none.exit_code, "out of range  1 rows" in none.output) == (1, True)
    wrong = call(main, ["check", "--source", "steam", "--input", "good.jsonl"])
    assert (wrong.exit_code, wrong.output.startswith("failed: no events.csv")) == (1, True)
    assert call(main, ["check", "--source", "dreams", "--input", "."]).exit_code == 2
    assert everything(tmp_path) == before
