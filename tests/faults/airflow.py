"""Backfills nights in Airflow, with its metadata on PostgreSQL, while the nightly run and runs by hand overlap."""

from __future__ import annotations

import datetime as dt
import random
import time
from pathlib import Path
from typing import Any

from tests.faults.models import checksums
from tests.faults.stand import Place, grown
from tests.shop import ONE_DAY, SECRET, Shop
from tests.test_ui import Site

NIGHTS, BY_HAND, SIDE_BY_SIDE, WITHIN_S = 30, 5, 4, 3 * 3600.0


class OnPostgres(Site):
    """Airflow over a shop, with warehouse and metadata in PostgreSQL."""

    def __init__(self, folder: Path, shop: Shop, metadata: str) -> None:
        super().__init__(folder)
        self.settings |= {"LANDING": shop.landing, "LAKE": shop.lake, "WAREHOUSE": shop.warehouse_url, "USER_KEY_SECRET": SECRET}
        (folder / "settings.env").write_text("".join(f"{name}={value}\n" for name, value in self.settings.items()))
        self.env["AIRFLOW_DATABASE"] = metadata.replace("postgresql://", "postgresql+psycopg2://")


def trial(n: int, rng: random.Random, place: Place) -> dict[str, Any]:
    """Nights of a backfill, four at a time, beside the scheduled night and five runs by hand, equal those that nothing disturbed."""
    count, by_hand = (2, 1) if place.stand.short else (NIGHTS, BY_HAND)
    first = dt.datetime.now(dt.UTC).date() - (count + 1) * ONE_DAY  # Airflow schedules yesterday, which is the last night
    nights = [first + k * ONE_DAY for k in range(count + 1)]
    undisturbed = grown(place.folder / "undisturbed", count + 1, first)
    shop = undisturbed.copy(place.folder / "shop")
    shop.warehouse_url = place.stand.database()
    undisturbed.runner().nights(nights[0], nights[-1])
    (place.folder / "site").mkdir()
    site = OnPostgres(place.folder / "site", shop, place.stand.database())
    began = time.monotonic()
    try:
        site.call("docker/standalone.py", "up")
        ends = ["--from-date", str(nights[0]), "--to-date", str(nights[-2])]
        site.call("-m", "airflow", "backfill", "create", "--dag-id", "nightly", *ends, "--max-active-runs", str(SIDE_BY_SIDE))
        chosen = rng.sample(nights[:-1], by_hand)
        for k, ds in enumerate(chosen):
            site.trigger(f"by-hand-{k}", str(ds))
        deadline = time.monotonic() + 120
        while sum(r["run_id"].startswith(("scheduled", "backfill")) for r in site.runs()) < len(nights):
            assert time.monotonic() < deadline, site.runs()
            time.sleep(2)
        site.wait_for_runs(dict.fromkeys([r["run_id"] for r in site.runs()], "success"), WITHIN_S)
        took_s = time.monotonic() - began
    finally:
        site.call("docker/standalone.py", "down")
    wanted, found = checksums(undisturbed, nights), checksums(shop, nights)
    equal = [ds for ds in nights if all(found.get(k) == v for k, v in wanted.items() if str(ds) in k)]
    assert equal == nights, f"{len(equal)} of {len(nights)} nights equal the undisturbed ones; not {sorted(set(nights) - set(equal))[:5]}"
    return {"nights": count, "equal": len(equal) - 1, "scheduled": 1, "by_hand": by_hand, "all_s": took_s}
