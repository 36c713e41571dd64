"""Publishes again and again while processes read all tables in one snapshot."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recsys_core.warehouse import connect
from tests.faults.stand import Place, answers, seen, started

PUBLISHES, FEW = 25, 8
KINDS = {"postgres": ("snapshot",) * 4, "duckdb": ("reader", "reader", "held", "held")}
HOLD_READS, HOLD_S = 3, 0.05


def trial(n: int, rng: random.Random, place: Place) -> dict[str, Any]:
    """Four readers see a whole generation in every snapshot, never an older one than before, while 25 are published."""
    engine, publishes = list(KINDS)[n % 2], FEW if place.stand.short else PUBLISHES
    url, stop = place.warehouses()[engine], place.folder / "stop"
    with connect(url) as warehouse:
        warehouse.publish_nights([place.stand.contents.of(1)], place.stand.contents.models)
        readers = [started(place.reference.after, "-m", "tests.faults.readers", url, kind, str(stop)) for kind in KINDS[engine]]
        publish_s = []
        try:
            while not all((place.folder / f"stop.{reader.pid}").exists() for reader in readers):
                assert all(reader.poll() is None for reader in readers), "a reader did not start"
                time.sleep(0.02)
            for generation in range(2, publishes + 2):
                began = time.monotonic()
                warehouse.publish_nights([place.stand.contents.of(generation)], place.stand.contents.models)
                publish_s.append(time.monotonic() - began)
                time.sleep(rng.uniform(0, 0.05))
        finally:
            stop.touch()
            found = answers(readers, 60)
    assert all(r["last"] == publishes + 1 for r in found), (
        f"a reader that began after the last publication saw {[r['last'] for r in found]}"
    )
    return {
        f"{engine}_publishes": publishes,
        f"{engine}_reads": sum(r["reads"] for r in found),
        f"{engine}_read_s": max(r["slowest_s"] for r in found),
        f"{engine}_publish_s": max(publish_s),
    }


def watch(url: str, kind: str, stop: Path) -> dict[str, Any]:
    """Read snapshots until the file `stop` is there, and one after that."""
    snapshot = {"snapshot": _postgres, "reader": _reader, "held": _held}[kind](url)
    last, reads, slowest = 0, 0, 0.0
    (stop.parent / f"stop.{os.getpid()}").touch()
    while True:
        ending = stop.exists()
        began = time.monotonic()
        found = snapshot()
        slowest = max(slowest, time.monotonic() - began)
        assert found >= last, f"generation {found} was seen after {last}"
        last, reads = found, reads + 1
        if ending:
            return {"reads": reads, "slowest_s": slowest, "last": last}


def _postgres(url: str) -> Callable[[], int]:
    """One transaction that sees one state throughout."""
    import adbc_driver_postgresql.dbapi as driver

    from recsys_core.warehouse.postgres_session import PostgresSession

    connection = driver.connect(url)
    session = PostgresSession(connection)

    def snapshot() -> int:
        session.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY", {})
        try:
            return seen(session)
        finally:
            connection.rollback()

    return snapshot


def _reader(url: str) -> Callable[[], int]:
    """The product's own reader: it opens the file again when that was replaced."""
    from recsys_core.warehouse.duckdb import DuckDBWarehouse

    warehouse = connect(url)
    assert isinstance(warehouse, DuckDBWarehouse)
    return lambda: seen(warehouse.reader())


def _held(url: str) -> Callable[[], int]:
    """A plain connection that is held open over several reads: it keeps the file that it opened."""
    import duckdb

    from recsys_core.warehouse.duckdb_session import DuckDBSession

    def snapshot() -> int:
        with duckdb.connect(url.removeprefix("duckdb:///"), read_only=True) as connection:
            session = DuckDBSession(connection)
            first = seen(session)
            for _ in range(HOLD_READS - 1):
                time.sleep(HOLD_S)
                assert seen(session) == first, "a held connection saw another generation"
            return first

    return snapshot


if __name__ == "__main__":
    print(json.dumps(watch(sys.argv[1], sys.argv[2], Path(sys.argv[3]))))
