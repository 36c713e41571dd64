"""Stops PostgreSQL as a crash would while a night is published, and starts it again."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import psycopg

from recsys_core.tables import TABLES
from recsys_core.warehouse import WarehouseError, _Reader, connect
from tests.faults.stand import Place, seen

TRIES = 8


def trial(n: int, rng: random.Random, place: Place) -> dict[str, Any]:
    """A publication whose server stops (-m immediate) under it is whole after the publisher's own retries, or after a second run."""
    url, contents = place.stand.database(), place.stand.contents
    with connect(url) as warehouse:
        warehouse.publish_nights([contents.of(1)], contents.models)
        began = time.monotonic()
        warehouse.publish_nights([contents.of(2)], contents.models)
        usual_s = time.monotonic() - began
    for generation in range(3, 3 + TRIES):
        outcome = _stopped(place, url, generation, rng.uniform(0, usual_s), rng.uniform(0, 1))
        _assert_clean(url, generation)
        if outcome is not None:
            return outcome
    raise AssertionError(f"{TRIES} publications ended before the server was stopped")


def _stopped(place: Place, url: str, generation: int, at_s: float, down_s: float) -> dict[str, Any] | None:
    """Publish a generation while the server stops at a moment; None when the publisher was done before."""
    errors: list[BaseException] = []

    def publish() -> None:
        try:
            with connect(url) as warehouse:
                warehouse.publish_nights([place.stand.contents.of(generation)], place.stand.contents.models)
        except BaseException as error:  # noqa: BLE001 - looked at below
            errors.append(error)

    place.stand.contents.of(generation)
    publisher = threading.Thread(target=publish)
    began = time.monotonic()
    publisher.start()
    time.sleep(at_s)
    place.stand.server.crash()
    hit = publisher.is_alive() or bool(errors)
    time.sleep(down_s)
    place.stand.server.start()
    publisher.join(180)
    assert not publisher.is_alive(), "the publisher hangs after its server came back"
    assert all(isinstance(e, WarehouseError) for e in errors), errors
    if errors:
        with connect(url) as warehouse:
            warehouse.publish_nights([place.stand.contents.of(generation)], place.stand.contents.models)
    if not hit:
        return None
    return {"stops": 1, "by_itself": int(not errors), "by_second_run": len(errors), "published_s": time.monotonic() - began}


def _assert_clean(url: str, generation: int) -> None:
    """Fails unless the generation is live, whole, in a ledger without gaps, and nothing lies about."""
    with connect(url) as warehouse:
        assert (found := seen(_Reader(warehouse))) == generation, f"generation {found} is live instead of {generation}"
        ledger = warehouse.query("SELECT table_name, generation, is_live FROM publication").to_pylist()
    for name in {r["table_name"] for r in ledger}:
        numbers = sorted(r["generation"] for r in ledger if r["table_name"] == name)
        assert numbers == list(range(1, generation + 1)), f"generations of {name}: {numbers}"
        assert [r["generation"] for r in ledger if r["table_name"] == name and r["is_live"]] == [generation]
    with psycopg.connect(url) as connection:
        temporary = connection.execute("SELECT count(*) FROM pg_class WHERE relpersistence = 't'").fetchone()
        prepared = connection.execute("SELECT count(*) FROM pg_prepared_xacts").fetchone()
        tables = {r[0] for r in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    assert (temporary, prepared) == ((0,), (0,)), f"left behind: {temporary} temporary tables, {prepared} prepared transactions"
    assert not (odd := tables - {t.name for t in TABLES.values() if t.warehouse} - {"alembic_version"}), f"left behind: tables {odd}"
