"""How many users hold the topics of a night."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recsys_core.lake import empty
from recsys_core.tables import TABLES

if TYPE_CHECKING:
    from jobs.night import Night


def count_audiences(night: Night) -> None:
    """Write topic_audience of the night without sensitive topics, and in privacy_spend what all its releases with noise have spent."""
    from recsys_core.privacy import release
    from recsys_core.topics.tables import read_rows

    if night.topics is None:
        night.write("topic_audience", empty(TABLES["topic_audience"]))
    else:
        topics = zip(*(read_rows(night.lake, night.topics, "topic")[c].to_pylist() for c in ("topic_id", "level")), strict=True)
        leaves = {topic for topic, level in topics if level == 0} - night.sensitive
        interests = night.read("user_interest", columns=["user_key", "topic_id", "horizon", "rank"])
        secret = night.settings.secret()
        rows, spent = release.audiences(interests, leaves, night.ds, night.topics.model_version, night.release, secret)
        release.spend(night.lake, night.ds, "topic_audience", spent)
        night.write("topic_audience", rows)
    night.write("privacy_spend", release.spending(night.lake, night.ds))
