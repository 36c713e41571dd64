"""Fifty people and two nights of theirs, told apart by words that only each of them wrote; half of them are forgotten."""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from jobs import erase
from recsys_core.erasure import rows
from recsys_core.lake import Lake
from recsys_core.landing import Landing
from recsys_core.privacy import user_key
from recsys_core.tables import TABLES
from recsys_core.warehouse import NIGHT_TABLES
from tests.shop import ONE_DAY, SECRET, Shop

DAY = dt.date(2026, 3, 2)
SALT = bytes(range(32))
NOW = dt.datetime(2026, 5, 1, tzinfo=dt.UTC)


def event(user: Any, **more: Any) -> str:
    return json.dumps(
        {"event_id": f"e-{user}-{len(more)}", "user_id": user, "item_id": "i1", "event_type": "view", "ts": f"{DAY}T10:00:00Z"} | more
    )


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
            yield b"\n".join(map(base64.b64decode, found["raw_base64"].drop_null().to_pylist()))


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
    wanted = [json.dumps({"user_id": person, "term": f"lamps for {person}"}) for person in (*FORGOTTEN[:9], *OTHERS[:9])]
    put(root, f"declared/ds={NIGHTS[0]}/d.jsonl", "\n".join(wanted).encode())
    told = [json.dumps({"user_id": person, "attributes": {"town": f"home of {person}"}}) for person in (*FORGOTTEN[:9], *OTHERS[:9])]
    put(root, f"attributes/ds={NIGHTS[0]}/a.jsonl", "\n".join(told).encode())
    put(root, f"optout/ds={NIGHTS[1]}/o.jsonl", f'{{"user_id": "{FORGOTTEN[3]}"}}\n{{"user_id": "{OTHERS[3]}"}}\n'.encode())


def lake_rows(shop: Shop, keys: set[str]) -> dict[str, list[str]]:
    """Rows of all tables of the lake, those of some users left out, ledgers of files and vectors as well."""
    lake, found = Lake(str(shop.lake)), {}
    for name in (t.name for t in TABLES.values() if t.lake and t.name not in rows.BY_CONTENT):
        for p in rows.partitions(lake, name):
            kept = lake.read(name, [p.ds], None, None, **p.parts).to_pylist()
            found[p.path] = sorted(str(r) for r in kept if r.get("user_key") not in keys)
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
