"""Builds many nights by one command, night by night, and from the last one back."""

from __future__ import annotations

import datetime as dt
import random
import time
from typing import Any

from tests.faults.stand import PUBLISHED, TRAINED, Place, grown, ran
from tests.shop import FACTS, ONE_DAY, Shop

NIGHTS = 90


def trial(n: int, rng: random.Random, place: Place) -> dict[str, Any]:
    """Nights built together by `nights` equal those built one after the other, and those whose facts were built from the last one back."""
    if place.stand.short:
        nights = list(PUBLISHED)
        start, one_by_one, cold_s = place.reference.facts, place.reference.checksums, place.reference.night_s
    else:
        nights = [TRAINED + (k + 1) * ONE_DAY for k in range(NIGHTS)]
        start = grown(place.folder / "start", 2 + NIGHTS)
        one_by_one, cold_s = _one_by_one(start.copy(place.folder / "one-by-one", warehouse=True), nights)
    together = start.copy(place.folder / "together", warehouse=True)
    began = time.monotonic()
    if place.stand.short:
        together.runner().nights(nights[0], nights[-1], parallel=2)
    else:
        ran(together, "nights", "--from", str(nights[0]), "--to", str(nights[-1]), within_s=4 * 3600)
    together_s = (time.monotonic() - began) / len(nights)
    _assert_equal("together", together, one_by_one, nights)
    _assert_equal("backwards", _backwards(start.copy(place.folder / "backwards", warehouse=True), nights), one_by_one, nights)
    return {"nights": len(nights), "a_night_together_s": together_s, "a_cold_night_s": cold_s}


def _one_by_one(shop: Shop, nights: list[dt.date]) -> tuple[tuple[dict[str, str], dict[str, str]], float]:
    """Checksums of lake and warehouse, and seconds of the last night in a process of its own."""
    for ds in nights[:-1]:
        shop.runner().night(ds)
    began = time.monotonic()
    ran(shop, "night", "--ds", str(nights[-1]))
    return _checksums(shop, nights), time.monotonic() - began


def _backwards(shop: Shop, nights: list[dt.date]) -> Shop:
    """Facts and topics of the last night first; what looks back waits for all of them."""
    for ds in reversed(nights):
        shop.runner().night(ds, (*FACTS, "assign_topics"))
    shop.runner().nights(nights[0], nights[-1])
    return shop


def _checksums(shop: Shop, nights: list[dt.date]) -> tuple[dict[str, str], dict[str, str]]:
    return shop.lake_checksums(), shop.warehouse_checksums(*nights)


def _assert_equal(what: str, shop: Shop, wanted: tuple[dict[str, str], dict[str, str]], nights: list[dt.date]) -> None:
    for place, first, second in zip(("lake", "warehouse"), wanted, _checksums(shop, nights), strict=True):
        odd = sorted(k for k in first.keys() | second.keys() if first.get(k) != second.get(k))
        assert not odd, f"built {what}, the {place} differs in {', '.join(odd[:5])} ({len(odd)} in all)"
