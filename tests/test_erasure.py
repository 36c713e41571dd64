"""People who ask to be forgotten: found wherever they are, gone to the last byte, and nobody else's rows or nights the worse for it."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from jobs import erase
from jobs.__main__ import main
from jobs.runner import ParameterError
from recsys_core.attempts import claim
from recsys_core.erasure import landing, requests, rows
from recsys_core.lake import FencedError, Lake, Stamp
from recsys_core.landing import Landing
from recsys_core.parse import ParseJob, parsed_rows
from recsys_core.privacy import user_key
from recsys_core.tables import TABLES, Table
from tests.forgotten import DAY, NOW, SALT, event, forget, hits, put
from tests.shop import ONE_DAY, SECRET, Shop


def sought(*ids: str) -> requests.Erased:
    """The people with these ids."""
    plain = requests.Erased(SALT)
    found = requests.Erased(SALT, [requests.opened(None, plain.hash(i), NOW) for i in ids])
    for i in ids:
        found.request(i)
    return found


def blanked(root: Path, erased: requests.Erased, file: str) -> tuple[landing.Scanned, bytes]:
    """What is found in one landed file, and its bytes once that is blank."""
    zone = Landing(str(root))
    owners = landing.Owners(erased, zone)
    kind = file.partition("/")[0]
    found = landing.scan(zone, owners, file, kind, DAY)
    if found.spans:
        landing.blank(zone, found)
    return found, (root / file).read_bytes()


# -- delivered files -------------------------------------------------------------------------------------------------------------------
A, B = event("gone"), event("stays")
LINES = {
    "a line": (f"{B}\n{A}\n{B}\n", f"{B}\n{' ' * len(A)}\n{B}\n", 1),
    "carriage returns and a byte-order mark": (f"\ufeff{A}\r\n{B}\r\n", f"\ufeff{' ' * len(A)}\r\n{B}\r\n", 1),
    "glued": (f"{A}{B} {A}\n", f"{' ' * len(A)}{B} {' ' * len(A)}\n", 2),
    "the first and the middle of an array": (f"[{A}, {B},{A} ,{B}]\n", f"[{' ' * len(A)}  {B} {' ' * len(A)} ,{B}]\n", 2),
    "the last of an array": (f"[{B}, {A}]", f"[{B}  {' ' * len(A)}]", 1),
    "all of an array": (f"[{A},{A}]\n", f"{' ' * (2 * len(A) + 3)}\n", 2),
    "a number, spaces": (
        '{"user_id": 4711}\n{"user_id": " gone "}\n{"user_id": 47110}\n',
        f'{" " * 17}\n{" " * 21}\n{{"user_id": 47110}}\n',
        2,
    ),
    "escaped": ('{"user_id": "g\\u006fne"}', " " * 24, 1),
    "cut off": ('{"user_id": "gone", "item\n{"user_id": "gone2", "it\n', f"{' ' * 25}\n" + '{"user_id": "gone2", "it\n', 1),
    "cut off, escaped": ('{"user_id": "\\u5f20", "x', " " * 24, 1),
    "twice the key": ('{"user_id": "gone", "user_id": "stays"}', " " * 39, 1),
    "without a user": ('{"item_id": "i1", "who": "gone"}\n{"item_id": "gone-i"}', f"{' ' * 32}\n{' ' * 21}", 2),
    "anonymous alone": ('{"anonymous_id": "gone"}', " " * 24, 1),
    "refused at landing, packed": (
        json.dumps({"fault": "not_json", "record_base64": (packed := base64.b64encode(b"x;gone;y").decode())}),
        " " * len(json.dumps({"fault": "not_json", "record_base64": packed})),
        1,
    ),
    "others mention": (f"{event('stays', text='gone, and someone-long')}\n", f"{event('stays', text='gone, and someone-long')}\n", 0),
}


@pytest.mark.parametrize("case", LINES)
def test_objects_become_blanks_and_nothing_else_moves(case: str, tmp_path: Path) -> None:
    before, after, objects = LINES[case]
    file = put(tmp_path, f"events/ds={DAY}/.odd name", before.encode())
    found, data = blanked(tmp_path, sought("gone", "4711", "张", "someone-long"), file)
    assert data.decode() == after
    assert (found.objects.total(), found.mentions) == (objects, case == "others mention")
    assert [p.name for p in (tmp_path / file).parent.iterdir()] == [".odd name"]


def test_packed_wide_and_broken_files(tmp_path: Path) -> None:
    text = f"{B}\n{A}\n{B}\n"
    after = f"{B}\n{' ' * len(A)}\n{B}\n"
    members = gzip.compress(text.encode()[:40]) + gzip.compress(text.encode()[40:])
    _, data = blanked(tmp_path, sought("gone"), put(tmp_path, f"events/ds={DAY}/a", members))
    assert gzip.decompress(data).decode() == after
    assert data[4:8] == bytes(4), "no time in it: equal contents are equal bytes"
    _, data = blanked(tmp_path, sought("gone"), put(tmp_path, f"events/ds={DAY}/not.gz", text.encode()))
    assert data.decode() == after
    for codec in ("utf-16", "utf-16-le", "utf-32", "utf-16-be"):
        chinese = text.replace('"e-', '"张😀')
        _, data = blanked(tmp_path, sought("gone"), put(tmp_path, f"events/ds={DAY}/w", chinese.encode(codec)))
        assert data.decode(codec).split("\n")[0::2] == chinese.split("\n")[0::2]
        assert not data.decode(codec).split("\n")[1].strip()
        assert len(data) == len(chinese.encode(codec))
    broken = gzip.compress(text.encode() * 100)[:-9]
    found, data = blanked(tmp_path, sought("gone"), put(tmp_path, f"events/ds={DAY}/b.gz", broken))
    assert (found.fault, found.objects.total()) == ("gz_truncated", 100)
    again, _ = blanked(tmp_path, sought("gone"), f"events/ds={DAY}/b.gz")
    assert (again.fault, again.objects.total()) == ("gz_truncated", 0), "what was no whole file is none afterwards"
    found, data = blanked(tmp_path, sought("gone"), put(tmp_path, f"events/ds={DAY}/c.gz", b"\x1f\x8b\x08rubbish"))
    assert (found.fault, data) == ("gz_corrupt", b"\x1f\x8b\x08rubbish")


def test_what_spans_blocks_is_blank_to_its_end(tmp_path: Path) -> None:
    long = event("gone", text="x" * (3 << 20))
    found, data = blanked(tmp_path, sought("gone"), put(tmp_path, f"events/ds={DAY}/a", f"{B}\n{long}\n{B}\n".encode()))
    assert data.decode() == f"{B}\n{' ' * len(long)}\n{B}\n"
    assert found.spans == [(len(B) + 1, len(B) + 1 + len(long))]


def test_an_anonymous_id_is_theirs_as_far_as_nobody_else_used_it(tmp_path: Path) -> None:
    pairs = [(0, "a-own", "gone"), (1, "a-shared", "gone"), (3, "a-shared", "other"), (1, "a-later", "other"), (2, "a-later", "gone")]
    for n, anonymous, user in pairs:
        put(
            tmp_path,
            f"identity/ds={DAY + n * ONE_DAY}/{anonymous}.jsonl",
            f'{{"anonymous_id": "{anonymous}", "user_id": "{user}"}}\n'.encode(),
        )
    zone = Landing(str(tmp_path))
    owners = landing.Owners(sought("gone"), zone)
    assert list(owners.aliases) == ["a-own"]
    assert list(owners.first_owned()) == ["a-shared"], "before anybody logged in it was the first one's"
    for anonymous, r in owners.aliases.items():
        owners.erased.add(anonymous, r)
    found = {}
    for n in range(4):
        lines = [json.dumps({"user_id": a}) for a in ("a-own", "a-shared", "a-later")]
        file = put(tmp_path, f"events/ds={DAY + n * ONE_DAY}/e.jsonl", "\n".join(lines).encode())
        scanned = landing.scan(zone, owners, file, "events", DAY + n * ONE_DAY)
        starts = {a for a, _ in scanned.spans}
        found[n] = [
            name
            for name, at in zip(("own", "shared", "later"), (0, len(lines[0]) + 1, len(lines[0]) + len(lines[1]) + 2), strict=True)
            if at in starts
        ]
    assert found == {0: ["own", "shared"], 1: ["own", "shared"], 2: ["own", "shared", "later"], 3: ["own", "later"]}
    kept = {f for f, kind, day in landing.delivered(zone, ("identity",)) if not landing.scan(zone, owners, f, kind, day).spans}
    assert {Path(f).name for f in kept} == {"a-shared.jsonl", "a-later.jsonl"}


# -- what is delivered again -----------------------------------------------------------------------------------------------------------
def test_the_parser_passes_over_who_is_forgotten_in_both_its_ways() -> None:
    lines = [
        event("gone"),
        event("gone", colour="red"),
        event("anon"),
        event("gone", rating=9),
        event("gone", fault="not_json", record="x"),
    ]
    lines += ['{"user_id": "gone", "it', '{"item_id": "i1", "who": "gone"}', event("stays"), event("stays", rating=9, text="gone")]
    job = ParseJob("/l", (("f", DAY),), DAY, "UTC", None, "test", b"secret", identities={"anon": "gone"}, erased=sought("gone"))
    made, note = parsed_rows(job, "f", DAY, lambda: io.BytesIO("\n".join(lines).encode()))
    assert note["by_reason"] == {"erased": 7, "rating_out_of_range": 1}
    assert (note["objects"], note["good"], note["repaired"], note["quarantined"]) == (9, 1, 7, 1)
    assert {r["user_id"] if "user_id" in r else r["note"] for r in made if r["verdict"] == "user"} == {"stays"}
    assert [r["verdict"] for r in made] == ["event", "quarantine", "user"]
    nobody, _ = parsed_rows(dataclasses.replace(job, erased=None), "f", DAY, lambda: io.BytesIO("\n".join(lines).encode()))
    assert len(nobody) > len(made)


# -- every table -----------------------------------------------------------------------------------------------------------------------
GONE, STAYS = (user_key(SECRET.encode(), i) for i in ("gone", "stays"))


def test_every_table_is_covered_and_in_one_way() -> None:
    ways = {name: rows.coverage(name) for name in TABLES}
    assert None not in ways.values(), (
        f"say in recsys_core/erasure/rows.py how people are removed from {[n for n, w in ways.items() if not w]}"
    )
    assert {n for n, w in ways.items() if w == "user_key"} == {t.name for t in TABLES.values() if "user_key" in t.names}
    assert not set(rows.BY_CONTENT) & rows.WITHOUT_PEOPLE
    assert {*rows.BY_CONTENT, *rows.WITHOUT_PEOPLE} <= set(TABLES)


def planted(table: Table, key: str, text: str) -> dict[str, Any]:
    """A row of any table."""
    values: dict[str, Any] = {"date": DAY, "timestamp": NOW, "bigint": 1, "smallint": 1, "double": 0.5, "boolean": True, "binary": b"v"}
    values |= {"string": text, "json": json.dumps([text]), "string[]": [text], "real[]": [0.5], "decimal": None}
    return {c.name: values[c.type] for c in table.columns} | {"ds": DAY, "user_key": key, "model_version": "m"}


def test_a_row_in_every_table_goes_and_the_one_beside_it_stays(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    lake = Lake(str(shop.lake))
    with_users = [t for t in TABLES.values() if t.lake and "user_key" in t.names]
    assert len(with_users) >= 15
    for t in with_users:
        pair = [planted(t, GONE, "mark-of-gone"), planted(t, STAYS, "mark-of-stays")]
        pair = [{k: v for k, v in r.items() if k in t.names} for r in pair]
        parts = {p: "m" for p in t.partition if p != "ds"}
        for _ in range(2):  # the first run is dead afterwards, and goes whole
            lake.write(t.name, DAY, pa.Table.from_pylist(pair, schema=t.arrow_schema()), Stamp("run", "in"), **parts)
    texts = {"item_text": "shared", "user_text": "mark-of-gone"}
    refused = [
        ("events", '{"user_id": "gone", "it'),
        ("events", '{"user_id": "stays", "text": "gone", "rating": 9}'),
        ("items", '{"item_id": "gone"}'),
    ]
    extra = {
        "item_text": [{"ds": DAY, "item_id": "i", "text_hash": texts["item_text"], "lang": "en", "kind": "title", "text": "t"}],
        "text_embedding": [
            {"ds": DAY, "text_hash": h, "embedding_space": "e", "vec": b"vv"} for h in ("shared", "mark-of-gone", "mark-of-stays")
        ],
        "text_entity": [
            {"ds": DAY, "text_hash": h, "entity_type": "brand", "entity": f"{h} Inc", "begin_char": 0, "end_char": 9, "source": "x"}
            for h in ("shared", "mark-of-gone", "mark-of-stays")
        ],
        "text_label": [
            {"ds": DAY, "text_hash": h, "label": "x", "score": 0.5, "model_version": "m"}
            for h in ("shared", "mark-of-gone", "mark-of-stays")
        ],
        "event_quarantine": [
            {
                "ds": DAY,
                "file": f"{kind}/ds={DAY}/f",
                "byte_offset": n,
                "reason": "x",
                "raw_base64": base64.b64encode(raw.encode()).decode(),
                "repairs": [],
                "run_id": "r",
            }
            for n, (kind, raw) in enumerate(refused)
        ],
    }
    for name, given in extra.items():
        parts = {"embedding_space": "e"} if name == "text_embedding" else {}
        lake.write(name, DAY, pa.Table.from_pylist(given, schema=TABLES[name].arrow_schema()), Stamp("run", "in"), **parts)
    put(shop.lake, "_staging/clean/ds=2026-03-02/000001/x.parquet", b"mark-of-gone")
    assert hits(shop.lake, ["mark-of-gone", GONE])

    report = forget(shop, ["gone", "never-seen"], salt=SALT)
    for t in with_users:
        left = lake.read(t.name, [DAY], None, None, **{p: "m" for p in t.partition if p != "ds"})
        assert left["user_key"].to_pylist() == [STAYS], t.name
        manifest = lake.manifest(t.name, DAY, **{p: "m" for p in t.partition if p != "ds"})
        assert manifest
        assert (manifest.run_id, manifest.rows, bool(manifest.erased_by)) == ("run", 1, True)
    assert lake.read("text_embedding", [DAY], embedding_space="e")["text_hash"].to_pylist() == ["shared", "mark-of-stays"]
    for name in rows.OF_TEXTS:
        assert lake.read(name, [DAY])["text_hash"].to_pylist() == ["shared", "mark-of-stays"], name
    assert lake.read("event_quarantine", [DAY])["byte_offset"].to_pylist() == [1, 2]
    assert not hits(shop.lake, ["mark-of-gone", GONE])
    assert hits(shop.lake, ["mark-of-stays"])
    assert report["totals"]["lake_rows"] == len(with_users) + 4
    assert sorted((r["known"], r["rows_removed"]) for r in report["requests"]) == [(False, 0), (True, len(with_users) + 1)]
    assert "gone" not in json.dumps(report)
    assert (shop.lake / "_erasure" / "salt").stat().st_mode & 0o777 == 0o600
    assert forget(shop, again=True)["totals"]["lake_rows"] == 0


# -- the command -----------------------------------------------------------------------------------------------------------------------
def test_lists_and_the_inbox(tmp_path: Path) -> None:
    assert erase.ids_of("\ufeffgone\r\n\n e\u0301 \n4711\n".encode(), "x") == ["gone", "\u00e9", "4711"]
    for data, says in ((b"a\nnull\n", "entry 2"), (b"a\n\xff\n", "not UTF-8"), (b"a\n" + b"x" * 300, "entry 2")):
        with pytest.raises(erase.IdsError, match=says):
            erase.ids_of(data, "x")
    shop = Shop(tmp_path)
    inbox = tmp_path / "inbox"
    runner = shop.runner()
    with pytest.raises(ParameterError, match="ERASURE_INBOX"):
        erase.from_inbox(runner, SALT)
    put(shop.landing, f"events/ds={DAY}/a", f"{A}\n{B}\n".encode())
    put(inbox, "list", b"gone\n")
    runner.settings.erasure_inbox = str(inbox)
    runner.now = NOW
    report = erase.from_inbox(runner, SALT)
    assert (report["lists"], report["totals"]["objects"], list(inbox.iterdir())) == (1, 1, [])
    assert erase.from_inbox(runner, SALT)["totals"]["requests"] == 0


def test_the_command_reports_on_standard_output_and_tells_no_id(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    put(shop.landing, f"events/ds={DAY}/a.jsonl", f"{A}\n{B}\n".encode())

    def run(*args: str, given: str = "") -> Any:
        return CliRunner().invoke(main, ["forget", *args], input=given, env=shop.environment())

    done = run("--ids", "-", "--report", str(tmp_path / "report.json"), given="gone\n")
    assert done.exit_code == 0
    assert json.loads(done.stdout) == json.loads((tmp_path / "report.json").read_text())
    assert [f["path"] for f in json.loads(done.stdout)["landing"]] == [f"events/ds={DAY}/a.jsonl"]
    assert "gone" not in done.output
    for args, says in (((), "name one of"), (("--ids", "-", "--again"), "name one of"), (("--inbox",), "ERASURE_INBOX is not set")):
        assert run(*args).exit_code == 2
        assert says in run(*args).output
    refused = run("--ids", "-", given="null\n")
    assert (refused.exit_code, "entry 1" in refused.output) == (1, True)


def test_a_run_at_work_is_overtaken(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    lake = Lake(str(shop.lake))
    old = claim(lake, "aggregate", DAY)
    pair = [planted(TABLES["user_item_day"], k, "t") for k in (GONE, STAYS)]
    table = pa.Table.from_pylist(
        [{k: v for k, v in r.items() if k in TABLES["user_item_day"].names} for r in pair], schema=TABLES["user_item_day"].arrow_schema()
    )
    lake.write("user_item_day", DAY, table, Stamp("run", "in"))
    publisher = claim(lake, "publish", DAY)
    forget(shop, ["gone"], salt=SALT)
    with pytest.raises(FencedError):
        lake.write("user_item_day", DAY, table, Stamp("run", "other", attempt=old.number))
    lake.write("user_item_day", DAY, table, Stamp("run", "in", attempt=old.number))  # equal inputs: what is live stays
    assert lake.read("user_item_day", [DAY])["user_key"].to_pylist() == [STAYS]
    with pytest.raises(FencedError):
        publisher.check()
