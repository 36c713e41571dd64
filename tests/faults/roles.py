"""Tries as a reader whatever is not reading."""

from __future__ import annotations

import random
from typing import Any

from recsys_core.warehouse import connect
from tests.faults.stand import Place
from tests.test_roles import FORBIDDEN, not_refused, with_roles
from tests.test_sql import DAY, ONE, QUESTIONS, models, shop

VALUES = {"user_key": "u1", "ds": DAY, "time_zone": "UTC", "topic_id": 1, "metric": "recall", "k": 10}
VALUES |= {"horizon": "90d", "min_share": 0.5}


def trial(n: int, rng: random.Random, place: Place) -> dict[str, Any]:
    """A member of nightly_reader is refused every forbidden statement, each for its reason, and gets the stored questions answered."""
    url = place.stand.database()
    with connect(url) as warehouse:
        warehouse.publish_nights(shop()[:2], models(train_to=DAY - 20 * ONE))
    with with_roles(url, rita="nightly_reader") as users:
        reader = users["rita"] + "?options=-csearch_path%3Dpublished"
        shuffled = dict(sorted(FORBIDDEN.items(), key=lambda _: rng.random()))
        assert not (faults := not_refused(reader, shuffled)), "; ".join(faults)
        with connect(reader) as warehouse:
            answers = [warehouse.query(path.read_text(encoding="utf-8"), VALUES).num_rows for path in QUESTIONS]
    assert len(answers) == len(QUESTIONS) >= 7
    assert all(answers), f"rows of the answers: {answers}"
    return {"refused": len(FORBIDDEN), "answered": len(answers)}
