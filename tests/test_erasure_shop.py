"""Half of fifty people are forgotten: in lake and warehouse, on both engines, and wherever the erasure is cut off."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from jobs import erase
from recsys_core import registry
from recsys_core.erasure import landing, requests, rows
from recsys_core.lake import Lake
from recsys_core.privacy import user_key
from tests.forgotten import (
    DAY,
    FORGOTTEN,
    NIGHTS,
    OTHERS,
    SALT,
    check_forgotten,
    deliver,
    forget,
    hits,
    marks,
    put,
    state,
)
from tests.shop import ONE_DAY, SECRET, Shop


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


@pytest.fixture(scope="module")
def before(built: Shop) -> tuple[Any, Any, list[str]]:
    """The shop's, before anybody is forgotten."""
    return state(built)


def test_half_of_fifty_are_forgotten_to_the_last_byte(built: Shop, before: tuple[Any, Any, list[str]], tmp_path: Path) -> None:
    shop = built.copy(tmp_path, warehouse=True, landing=True)
    for root in (shop.landing, shop.lake, shop.root):
        assert len(hits(root, marks(FORGOTTEN))) > 5
    assert not any("stale" in line for line in before[2])
    again = {f: (shop.landing / f).read_bytes() for f in (f"events/ds={DAY}/app.jsonl.gz", f"identity/ds={NIGHTS[1]}/logins.jsonl")}
    for who, name in ((FORGOTTEN[0], "a.html"), (OTHERS[0], "b.html")):
        put(tmp_path, f"report/{name}", user_key(SECRET.encode(), who).encode())
    put(tmp_path, "report/index.html", b'<a href="a.html">')
    report = forget(shop, FORGOTTEN, salt=SALT)
    assert report["pages"] == ["a.html"]
    assert "a.html" not in (tmp_path / "report" / "index.html").read_text(), "nothing leads to a page that is gone"
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
