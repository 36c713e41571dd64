"""Sources of logs: each turns a data set as its owner distributes it into canonical landing partitions."""

from __future__ import annotations

from recsys_core.sources import amazon_reviews, canonical, ga4, mapped, movielens, online_retail, segment, stackexchange, steam
from recsys_core.sources.base import Event, Identity, Item, Refusal, Source, SourceError

SOURCES: dict[str, Source] = {
    "steam": steam.SOURCE,
    "stackexchange": stackexchange.SOURCE,
    "online-retail": online_retail.SOURCE,
    "movielens": movielens.SOURCE,
    "amazon-reviews": amazon_reviews.SOURCE,
    "segment": segment.SOURCE,
    "ga4": ga4.SOURCE,
    "canonical": canonical.SOURCE,
    "mapped": mapped.SOURCE,
}

# Below the registry, which `landing` reads.
from recsys_core.sources.landing import LandReport, land  # noqa: E402

__all__ = ["SOURCES", "Event", "Identity", "Item", "LandReport", "Refusal", "Source", "SourceError", "land"]
