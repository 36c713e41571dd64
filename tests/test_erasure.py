"""People who ask to be forgotten: found wherever they are, gone to the last byte, and nobody else's rows or nights the worse for it."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from jobs import erase
from jobs.__main__ import main
from jobs.runner import ParameterError
from recsys_core import registry
from recsys_core.attempts import claim
from recsys_core.erasure import landing, requests, rows
from recsys_core.lake import FencedError, Lake, Stamp
from recsys_core.landing import Landing
from recsys_core.parse import ParseJob, parsed_rows
from recsys_core.privacy import user_key
from recsys_core.tables import TABLES, Table
from recsys_core.warehouse import NIGHT_TABLES
from tests.shop import ONE_DAY, SECRET, Shop

DAY = dt.date(2026, 3, 2)
SALT = bytes(range(32))
NOW = dt.datetime(2026, 5, 1, tzinfo=dt.UTC)


def event(user: Any, **more: Any) -> str:
    return json.dumps(
        {"event_id": f"e-{user}-{len(more)}", "user_id": user, "item_id": "i1", "event_type": "view", "ts": f"{DAY}T10:00:00Z"} | more
    )


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


def forget(shop: Shop, *given: Any, **more: Any) -> dict[str, Any]:
    """The report of an erasure."""
    runner = shop.runner()
    runner.now, runner.settings.report = NOW, str(shop.root / "report")
    return erase.forget(runner, *given, **more)


def put(root: Path, file: str, data: bytes) -> str:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return file


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
        left = lake.read(t.name, [DAY], None, **{p: "m" for p in t.partition if p != "ds"})
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


def hits(root: Path, words: list[str]) -> list[str]:
    """Files below a folder in which one of the words stands, packed, encoded or plain."""
    wanted = [w.encode() for w in words]
    return [
        str(p)
        for p in ([root] if root.is_file() else sorted(root.rglob("*")))
        if p.is_file() and any(w in text for text in readings(p) for w in wanted)
    ]


def readings(path: Path) -> Iterator[bytes]:
    data = path.read_bytes()
    yield data
    if data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    if data[:4] == b"PAR1":
        found = pq.read_table(path)
        yield repr(found.to_pydict()).encode()
        if "raw_base64" in found.column_names:
            yield b"\n".join(map(base64.b64decode, found["raw_base64"].to_pylist()))


# -- a shop ----------------------------------------------------------------------------------------------------------------------------
NIGHTS = [DAY, DAY + ONE_DAY]
PEOPLE = [f"person-{n:02}-x7k3" for n in range(50)]
FORGOTTEN, OTHERS = PEOPLE[0::2], PEOPLE[1::2]


def marks(people: list[str]) -> list[str]:
    """Words that only these people wrote, their ids, those of their devices and their keys."""
    anonymous = [f"device-of-{p}" for p in people]
    return [*people, *(f"wrote{p[7:9]}zq" for p in people), *(user_key(SECRET.encode(), i) for i in (*people, *anonymous))]


def deliver(root: Path) -> None:
    """Two nights of fifty people, of whom every one writes, asks, logs in, and sends something broken and something late."""
    for n in range(30):
        words = ("train", "puzzle", "kettle", "lamp", "chess", "tea")
        item = {"item_id": f"i{n}", "title": f"{words[n % 6]} number {n}", "description": f"a {words[(n + 1) % 6]} for {words[n % 5]}"}
        with (
            (root / put(root, f"items/ds={DAY}/items.jsonl", b"")).open("a")
            if n == 0
            else (root / f"items/ds={DAY}/items.jsonl").open("a") as file
        ):
            file.write(json.dumps(item) + "\n")
    for night, ds in enumerate(NIGHTS):
        lines, packed, broken, logins = [], [], [], []
        for p, person in enumerate(PEOPLE):
            mark = f"wrote{person[7:9]}zq"
            for e in range(6):
                at = f"{ds}T{8 + e:02}:{p:02}:00Z"
                more = {
                    "event_id": f"e-{night}-{p}-{e}",
                    "ts": at,
                    "item_id": f"i{(p * 7 + e * 5 + night) % 30}",
                    "session_id": f"s-{person}",
                }
                lines.append(event(person, **more))
            packed.append(
                event(
                    person,
                    event_id=f"r-{night}-{p}",
                    event_type="review",
                    rating=5,
                    text=f"a lovely thing says {mark} to all",
                    ts=f"{ds}T20:00:00Z",
                )
            )
            packed.append(
                event(person, event_id=f"q-{night}-{p}", event_type="search", query=f"lamp {mark}", ts=f"{ds}T20:01:00Z", colour=mark)
            )
            packed.append(event(f"device-of-{person}", event_id=f"d-{night}-{p}", ts=f"{ds}T07:00:00Z"))
            if night:
                packed.append(event(person, event_id=f"l-{p}", text=f"late but {mark} anyway here", ts=f"{DAY}T23:00:00Z"))
                logins.append(json.dumps({"anonymous_id": f"device-of-{person}", "user_id": person}))
            elif p < 4:
                broken.append(event(person, rating=9, text=mark) if p % 2 else f'{{"user_id": "{person}", "text": "{mark}')
        put(root, f"events/ds={ds}/web.jsonl", ("\n".join(lines) + "\n").encode())
        put(root, f"events/ds={ds}/app.jsonl.gz", gzip.compress("\n".join(packed).encode()))
        put(root, f"events/ds={ds}/.unfinished", "\n".join(lines[:30]).encode())
        if broken:
            put(root, f"events/ds={ds}/b.jsonl", "\n".join(broken).encode())
            put(root, "_source.json", b'{"expected_reasons": ["rating_out_of_range", "json_truncated"]}')
        put(root, f"identity/ds={ds}/logins.jsonl", "\n".join(logins).encode())
    put(root, f"optout/ds={NIGHTS[1]}/o.jsonl", f'{{"user_id": "{FORGOTTEN[3]}"}}\n{{"user_id": "{OTHERS[3]}"}}\n'.encode())


@pytest.fixture(scope="module")
def built(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The shop's two nights, built and published; tests work on copies."""
    shop = Shop(tmp_path_factory.mktemp("people"))
    deliver(shop.landing)
    shop.runner().nights(NIGHTS[0], NIGHTS[1])
    version = registry.ModelVersion("topics-x", "topics", str(DAY), str(DAY), str(NIGHTS[1] + ONE_DAY), {}, "f", "c")
    registry.register(Lake(str(shop.lake)), version, {})
    registry.register(
        Lake(str(shop.lake)), dataclasses.replace(version, model_version="topics-old", train_from="2026-01-01", train_to="2026-01-31"), {}
    )
    return shop


def lake_rows(shop: Shop, keys: set[str]) -> dict[str, list[str]]:
    """Rows of all tables of the lake, those of some users left out, ledgers of files and vectors as well."""
    lake, found = Lake(str(shop.lake)), {}
    for name in (t.name for t in TABLES.values() if t.lake and t.name not in rows.BY_CONTENT):
        for p in rows.partitions(lake, name):
            found[p.path] = sorted(str(r) for r in lake.read(name, [p.ds], None, **p.parts).to_pylist() if r.get("user_key") not in keys)
    return found


def warehouse_rows(shop: Shop, keys: set[str]) -> dict[str, list[str]]:
    """The same of the warehouse."""
    with shop.open() as warehouse:
        return {
            f"{t} {ds}": sorted(str(r) for r in warehouse.read(t, ds).to_pylist() if r.get("user_key") not in keys)
            for t in NIGHT_TABLES
            if t != "landing_file"
            for ds in NIGHTS
        }


KEYS = {m for m in marks(FORGOTTEN) if len(m) == 64}


def state(shop: Shop) -> tuple[Any, Any, list[str]]:
    """Everybody else's rows in the lake and in the warehouse, and the plan of the nights."""
    return lake_rows(shop, KEYS), warehouse_rows(shop, KEYS), list(shop.runner().plan(NIGHTS[0], NIGHTS[1]))


@pytest.fixture(scope="module")
def before(built: Shop) -> tuple[Any, Any, list[str]]:
    """The shop's, before anybody is forgotten."""
    return state(built)


def check_forgotten(shop: Shop, report: dict[str, Any], before: tuple[Any, Any, list[str]]) -> None:
    """Nothing of the one half is left anywhere, and all of the other half."""
    everywhere = [f for root in (shop.landing, shop.lake) for f in hits(root, marks(FORGOTTEN))]
    assert everywhere == []
    assert state(shop) == before
    runner = shop.runner()
    for ds in NIGHTS:
        runner.run("publish", ds)
    assert not any("generation" in line for line in shop.said)
    assert [line for line in shop.said if "up to date" in line] == [f"{ds} publish: up to date" for ds in NIGHTS]
    ledgers = {r["file"]: r for ds in NIGHTS for r in Lake(str(shop.lake)).read("landing_file", [ds]).to_pylist()}
    zone = Landing(str(shop.landing))
    assert {f: (r["sha256"], r["n_bytes"]) for f, r in ledgers.items() if r["kind"] != "items"} == {
        f: (zone.sha256(f), zone.size(f)) for f, r in ledgers.items() if r["kind"] != "items"
    }
    assert all(r["n_objects"] == r["n_good"] + r["n_repaired"] + r["n_quarantined"] for r in ledgers.values())
    assert ledgers[f"events/ds={DAY}/web.jsonl"]["n_objects"] == 300, "what was delivered"
    assert report["models"] == ["topics-x"]
    assert report["totals"]["unknown"] == 0
    assert not any(w in json.dumps(report) for w in marks(PEOPLE))


def test_half_of_fifty_are_forgotten_to_the_last_byte(built: Shop, before: tuple[Any, Any, list[str]], tmp_path: Path) -> None:
    shop = built.copy(tmp_path, warehouse=True, landing=True)
    for root in (shop.landing, shop.lake, shop.root):
        assert len(hits(root, marks(FORGOTTEN))) > 5
    assert not any("stale" in line for line in before[2])
    again = {f: (shop.landing / f).read_bytes() for f in (f"events/ds={DAY}/app.jsonl.gz", f"identity/ds={NIGHTS[1]}/logins.jsonl")}
    for who, name in ((FORGOTTEN[0], "a.html"), (OTHERS[0], "b.html")):
        put(tmp_path, f"report/{name}", user_key(SECRET.encode(), who).encode())
    report = forget(shop, FORGOTTEN, salt=SALT)
    assert report["pages"] == ["a.html"]
    check_forgotten(shop, report, before)
    assert hits(tmp_path, marks(FORGOTTEN)) == []
    assert report["totals"]["objects"] == sum(f["objects"] for f in report["landing"]) > 25 * 18
    with shop.open() as warehouse:
        asked = warehouse.read("erasure_request").to_pylist()
        assert len(asked) == 25
        assert all(r["completed_at"] and r["rows_removed"] > 20 and r["files_rewritten"] >= 5 for r in asked)
        triggers = {r["trigger"] for r in warehouse.query("SELECT DISTINCT trigger FROM publication WHERE is_live").to_pylist()}
    assert triggers == {"erasure"}

    for file, data in again.items():  # delivered again, under other names
        put(shop.landing, file.replace(str(DAY), str(NIGHTS[1])).replace("/app", "/copy").replace("/logins", "/copy"), data)
    shop.runner().nights(NIGHTS[0], NIGHTS[1])
    assert hits(shop.lake, marks(FORGOTTEN)) == hits(shop.root / "warehouse.duckdb", marks(FORGOTTEN)) == []
    counted = {
        r["file"].rpartition("/")[2]: json.loads(r["by_reason"]) for r in Lake(str(shop.lake)).read("landing_file", [NIGHTS[1]]).to_pylist()
    }
    assert counted["copy.jsonl.gz"]["erased"] == 25 * 3
    assert len(hits(shop.landing, marks(FORGOTTEN))) == 2
    plan = list(shop.runner().plan(NIGHTS[0], NIGHTS[1]))
    assert forget(shop, again=True)["totals"]["objects"] == 25 * 4
    assert hits(tmp_path, marks(FORGOTTEN)) == []
    assert list(shop.runner().plan(NIGHTS[0], NIGHTS[1])) == plan
    shop.runner().run("clean", NIGHTS[0], force=True)
    assert not any("empty_source" in str(r) for r in Lake(str(shop.lake)).read("landing_file", [NIGHTS[0]]).to_pylist())


CUTS = {
    "in mid landing": (landing, "blank", 3),
    "in mid lake": (rows.Sweep, "_rewrite", 7),
    "before what is dead goes": (rows, "remove_dead", 1),
    "in mid labels": (Lake, "relabel", 5),
    "before the warehouse": (erase._Erasure, "_warehouse", 1),
    "before the end": (requests, "note_pending", 2),
}


@pytest.mark.parametrize("cut", CUTS)
def test_cut_off_anywhere_it_ends_the_same(
    cut: str, built: Shop, before: tuple[Any, Any, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = built.copy(tmp_path, warehouse=True, landing=True)
    where, name, call = CUTS[cut]
    calls, real = [], getattr(where, name)

    def cut_off(*args: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(where, name, cut_off)
        if hasattr(erase, name):
            patch.setattr(erase, name, cut_off)
        with pytest.raises(KeyboardInterrupt):
            forget(shop, FORGOTTEN, salt=SALT)
    known = requests.requests(Lake(str(shop.lake)))
    assert len(known) == 25
    assert not any(r.completed_at for r in known.values() if cut != "before the end")
    report = forget(shop, again=True) if call % 2 else forget(shop, FORGOTTEN)
    check_forgotten(shop, report | {"totals": report["totals"] | {"unknown": 0}}, before)
    assert all(r.completed_at and r.models == ("topics-x",) for r in requests.requests(Lake(str(shop.lake))).values())


def test_postgres_keeps_no_byte(built: Shop, postgres_db: str, tmp_path: Path) -> None:
    shop = dataclasses.replace(built.copy(tmp_path, landing=True), warehouse_url=postgres_db)
    for ds in NIGHTS:
        shop.runner().run("publish", ds)
    with psycopg.connect(postgres_db, autocommit=True) as admin:
        admin.execute("CHECKPOINT")
        found = admin.execute("SHOW data_directory").fetchone()
    data = Path(found[0] if found else "")
    words = [m.encode() for m in marks(FORGOTTEN)]

    def left() -> list[str]:
        return [str(p) for p in data.rglob("*") if p.is_file() and any(w in p.read_bytes() for w in words)]

    assert left()
    before = state(shop)
    report = forget(shop, FORGOTTEN, salt=SALT)
    check_forgotten(shop, report, before)
    assert left() == []
    assert report["totals"]["warehouse_rows"] > 100


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
