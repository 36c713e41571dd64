"""Promotes another model and builds nights again that were published under the one before."""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

from jobs.runner import Runner
from recsys_core import registry
from recsys_core.lake import Lake
from tests.faults.stand import DS, TRAINED, Place, grown
from tests.shop import ONE_DAY, Shop

NIGHTS = 10


def trial(n: int, rng: random.Random, place: Place) -> dict[str, Any]:
    """Nights built again after another model was promoted equal those under the old one; with the flag all carry the new one."""
    if place.stand.short:
        shop, nights = place.shop(of=place.reference.after), [DS]
    else:
        nights = [TRAINED + (k + 1) * ONE_DAY for k in range(NIGHTS)]
        shop = grown(place.folder / "grown", 2 + NIGHTS)
        shop.runner().nights(nights[0], nights[-1])
    before, old = checksums(shop, nights), _named(shop, nights)
    shop.runner().run("fit_topics", TRAINED, force=True, seed=rng.randrange(1, 2**31))
    shop.runner().run("promote", TRAINED)
    valid = registry.valid_for(Lake(str(shop.lake)), "topics", nights[0])
    assert valid is not None
    assert len(old) == 1, f"the nights were built under {old}"
    assert valid.model_version not in old, "the second training gave the first model"
    shop.runner().nights(nights[0], nights[-1], force=True)
    assert _named(shop, nights) == old, f"nights built again carry {_named(shop, nights)}, not {old}"
    after = checksums(shop, nights)
    assert not (odd := sorted(k for k, v in before.items() if after.get(k) != v)), (
        f"built again, {', '.join(odd[:5])} differ ({len(odd)} in all)"
    )
    Runner(shop.runner().settings, shop.said.append, use_current_models=True).nights(nights[0], nights[-1])
    assert _named(shop, nights) == {valid.model_version}, f"with the flag nights carry {_named(shop, nights)}"
    return {"nights": len(nights), "partitions_and_tables": len(before)}


def checksums(shop: Shop, nights: list[dt.date]) -> dict[str, str]:
    """Of the nights' partitions and of their rows in the warehouse; the model tables are about all models there are."""
    dates = {f"ds={ds}" for ds in nights}
    lake = {k: v for k, v in shop.lake_checksums().items() if dates & set(k.split("/"))}
    return lake | {k: v for k, v in shop.warehouse_checksums(*nights).items() if " " in k}


def _named(shop: Shop, nights: list[dt.date]) -> set[str]:
    """Models named in the nights' rows and in their manifests."""
    found = set()
    for ds in nights:
        for table in ("user_interest", "item_topic"):
            found |= {r["model_version"] for r in shop.rows(f"SELECT DISTINCT model_version FROM {table} WHERE ds = :ds", ds=ds)}
        manifest = Lake(str(shop.lake)).manifest("user_interest", ds)
        assert manifest is not None
        found.add(manifest.models["topics"])
    return found
