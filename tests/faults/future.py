"""Scrambles all that happened, was delivered or was trained after a night, and builds the nights up to it again."""

from __future__ import annotations

import random
from typing import Any

from tests.faults.models import checksums
from tests.faults.stand import OLD, START, TRAINED, Place
from tests.shop import FACTS
from tests.test_pipeline import Future


def trial(n: int, rng: random.Random, place: Place) -> dict[str, Any]:
    """Later events in whatever partition, later catalogues and a later model change no byte of a night."""
    nights = [START, TRAINED, OLD]
    shop = place.reference.after.copy(place.folder / "shop", warehouse=True, landing=True)
    before = checksums(shop, nights)
    future = Future(shop.landing, OLD)
    future.rng = rng
    future.events()
    future.catalogue()
    shop.runner().training(OLD)
    shop.runner().nights(START, TRAINED, FACTS, force=True)
    shop.runner().night(OLD, force=True)
    after = checksums(shop, nights)
    assert not (odd := sorted(k for k, v in before.items() if after.get(k) != v)), (
        f"{', '.join(odd[:5])} follow from the future ({len(odd)} in all)"
    )
    assert future.changed, "nothing was scrambled"
    return {"events_scrambled": future.changed, "partitions_and_tables": len(before)}
