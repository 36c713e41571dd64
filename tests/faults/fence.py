"""Freezes a publisher before it publishes, lets its successor publish, and thaws it."""

from __future__ import annotations

import os
import random
import signal
import time
from typing import Any

from tests.faults.stand import DS, Place, ran, started
from tests.shop import Shop

PUBLISH = ("publish", "--ds", str(DS), "--force")


def trial(n: int, rng: random.Random, place: Place) -> dict[str, Any]:
    """An attempt that was overtaken while it was frozen is refused as fenced, and the night is its successor's; on both engines."""
    found: dict[str, Any] = {}
    for engine, url in place.warehouses().items():
        shop = place.shop(engine, of=place.reference.after, warehouse_url=url)
        ran(shop, "publish", "--ds", str(DS))
        found |= _frozen(shop, engine, rng.uniform(0.0, 0.1))
        odd = [k for k, v in shop.warehouse_checksums(DS).items() if place.reference.checksums[1].get(k) != v]
        assert not odd, f"{engine}: {', '.join(odd)} differ after the fenced attempt"
    return {"refused": len(found), **found}


def _frozen(shop: Shop, engine: str, delay_s: float) -> dict[str, Any]:
    attempts = shop.lake / "_attempts" / "publish" / f"ds={DS}"
    before = _newest(attempts)
    first = started(shop, "-m", "jobs", *PUBLISH)
    try:
        deadline = time.monotonic() + 60
        while _newest(attempts) == before:
            assert first.poll() is None, f"the publisher ended: {first.communicate()[0]}"
            assert time.monotonic() < deadline, f"no attempt appeared in {attempts}"
            time.sleep(0.001)
        time.sleep(delay_s)
        os.kill(first.pid, signal.SIGSTOP)
        began = time.monotonic()
        ran(shop, *PUBLISH)
        successor_s = time.monotonic() - began
        live = _live(shop)
        os.kill(first.pid, signal.SIGCONT)
        said = first.communicate(timeout=120)[0]
    finally:
        first.kill()
    assert first.returncode == 1, f"{engine}: the overtaken attempt exited with {first.returncode}: {said[-800:]}"
    assert "fenced" in said, f"{engine}: the overtaken attempt was not refused as fenced: {said[-800:]}"
    assert "Traceback" not in said, said[-800:]
    assert _live(shop) == live, f"{engine}: the overtaken attempt changed the ledger"
    assert {r["generation"] for r in live} == {2}, live
    return {f"{engine}_successor_s": successor_s}


def _newest(attempts: Any) -> int:
    return max((int(p.name) for p in attempts.glob("*") if p.name.isdecimal()), default=0)


def _live(shop: Shop) -> list[dict[str, Any]]:
    return shop.rows("SELECT table_name, generation, published_at FROM publication WHERE ds = :ds AND is_live ORDER BY table_name", ds=DS)
