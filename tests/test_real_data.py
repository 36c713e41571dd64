"""Real logs, landed by their sources and run to published nights; skipped, with the reason, where the logs are not there."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from recsys_core.lake import Lake
from recsys_core.sources import land
from tests.shop import FACTS, ONE_DAY, Shop

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.e2e


def test_steam_reviews_to_published_nights(shared_data: Path, tmp_path: Path, spark: SparkSession) -> None:
    """Dated reviews of a sample of Steam's users: days only, half of them with a text."""
    shop, first, trained, last = Shop(tmp_path), dt.date(2013, 12, 27), dt.date(2013, 12, 28), dt.date(2013, 12, 30)
    report = land("steam", str(shared_data / "steam" / "sample_events.csv.gz"), str(shop.landing), first, last)
    assert report.events > 30
    assert len(report.nights) == 4
    shop.runner().nights(first, trained, FACTS)
    shop.runner().training(trained)
    shop.runner().nights(trained + ONE_DAY, last)
    lake = Lake(str(shop.lake))
    events = lake.read("event_clean", list(report.nights)).to_pylist()
    assert len(events) + sum(m.rows for d in report.nights if (m := lake.manifest("event_quarantine", d))) == report.events
    assert all("day_precision" in e["repairs"] for e in events)
    assert len({e["event_ts"] for e in events}) == len(events), "made-up times tell events apart"
    assert {e["rating"] for e in events} == {1.0, 5.0}
    live = Counter(r["ds"] for r in shop.rows("SELECT ds FROM publication WHERE is_live"))
    assert set(live) == {trained + ONE_DAY, last}
    counts = {r["table_name"]: r["row_count"] for r in shop.rows("SELECT table_name, row_count FROM publication WHERE ds = :ds", ds=last)}
    assert min(counts[t] for t in ("user_item_day", "item_topic", "user_interest", "user_profile", "user_topn", "eval_metric")) > 0
    users = {e["user_key"] for e in events}
    assert {r["user_key"] for r in shop.rows("SELECT user_key FROM user_profile WHERE ds = :ds", ds=last)} == users
    print({"events": len(events), "users": len(users), **counts})


def test_online_retail_to_published_nights(shared_data: Path, tmp_path: Path, spark: SparkSession) -> None:
    """A quarter of the lines have no customer: refused and counted, but declared by the source, so the nights are published."""
    shop, first, last = Shop(tmp_path), dt.date(2010, 12, 1), dt.date(2010, 12, 2)
    report = land("online-retail", str(shared_data / "online-retail" / "by-day.tar.gz"), str(shop.landing), first, last)
    assert len(report.nights) == 2
    shop.runner().nights(first, last)
    lake = Lake(str(shop.lake))
    for ds in report.nights:
        refused = Counter(lake.read("event_quarantine", [ds], ["reason"]).column("reason").to_pylist())
        good = lake.manifest("event_clean", ds)
        assert good is not None
        if ds == first:
            assert refused["no_user"] > 0.02 * (good.rows + refused.total()), "nothing to declare as expected: the test cannot fail"
        balance = [r for r in lake.read("quality_result", [ds]).to_pylist() if "balance" in r["check_name"]]
        assert balance
        assert all(r["passed"] for r in balance)
    landed = sum(m.rows for d in report.nights for t in ("event_clean", "event_quarantine") if (m := lake.manifest(t, d)))
    assert landed == report.events + report.fault_lines
    assert {r["ds"] for r in shop.rows("SELECT ds FROM publication WHERE is_live")} == set(report.nights)
    slots = shop.rows("SELECT count(DISTINCT user_key) AS users, count(*) AS slots FROM user_topn WHERE ds = :ds", ds=last)[0]
    assert slots["users"] > 100
    print({"lines": report.events, **slots})
