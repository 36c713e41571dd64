"""Forgets half of fifty planted people, and looks for every byte of them."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg

from recsys_core import registry
from recsys_core.lake import Lake
from tests import forgotten as planted
from tests.faults.stand import Place
from tests.shop import Shop


def trial(n: int, rng: random.Random, place: Place) -> dict[str, Any]:
    """Of 25 forgotten people no byte is left in any store, the other 25 have their rows, and what is delivered again is passed over."""
    built = Shop(place.stand.folder / "people")
    if not (built.root / "done").exists():
        shutil.rmtree(built.root, ignore_errors=True)
        planted.deliver(built.landing)
        built.runner().nights(planted.NIGHTS[0], planted.NIGHTS[-1])
        version = registry.ModelVersion("topics-x", "topics", str(planted.DAY), str(planted.DAY), "2030-01-01", {}, "f", "c")
        registry.register(Lake(str(built.lake)), version, {})
        (built.root / "done").touch()
    on_postgres = n % 2 == 1
    shop = built.copy(place.folder / "shop", warehouse=not on_postgres, landing=True)
    if on_postgres:
        shop = replace(shop, warehouse_url=place.stand.database())
        for ds in planted.NIGHTS:
            shop.runner().run("publish", ds)
    before = planted.state(shop)
    marks = planted.marks(planted.FORGOTTEN)
    found_before = len(planted.hits(shop.root, marks))
    again = f"events/ds={planted.DAY}/app.jsonl.gz"
    delivered = (shop.landing / again).read_bytes()
    report = planted.forget(shop, planted.FORGOTTEN, salt=rng.randbytes(32))
    planted.check_forgotten(shop, report, before)
    left = planted.hits(shop.root, marks) + (_in_server(shop.warehouse_url, marks) if on_postgres else [])
    assert not left, f"bytes of forgotten people in {', '.join(left[:5])}"
    planted.put(shop.landing, again.replace(str(planted.DAY), str(planted.NIGHTS[1])).replace("/app", "/copy"), delivered)
    shop.runner().nights(planted.NIGHTS[0], planted.NIGHTS[-1])
    assert not planted.hits(shop.lake, marks), "a file delivered again brought forgotten people back"
    return {
        "on_postgres" if on_postgres else "on_duckdb": 1,
        "erased": len(planted.FORGOTTEN),
        "files_with_them_before": found_before,
        "objects": report["totals"]["objects"],
        "rows": report["totals"]["lake_rows"] + report["totals"]["warehouse_rows"],
    }


def _in_server(url: str, marks: list[str]) -> list[str]:
    """Files of the server in which the forgotten stand."""
    with psycopg.connect(url, autocommit=True) as admin:
        found = admin.execute("SHOW data_directory").fetchone()
    assert found is not None
    words = [word.encode() for word in marks]
    return [str(p) for p in Path(found[0]).rglob("*") if p.is_file() and any(word in p.read_bytes() for word in words)]
