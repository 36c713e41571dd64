"""Spark jobs from raw files to the facts of a night: clean, aggregate, texts."""

from __future__ import annotations

import datetime as dt

from jobs.runner import Night


def clean(night: Night) -> None:
    """Accepted events, refused lines, the catalogue and the ledger, from the landing partitions of the day before to three days after."""
    from recsys_core.catalogue import items_as_of
    from recsys_core.events_of_night import accepted, counted, parsed, quarantined
    from recsys_core.lake import canonical_json
    from recsys_core.parse import ParseJob
    from recsys_core.quality import ledger, quality_rows

    source, settings = night.landing.source(), night.settings
    window = [night.ds + dt.timedelta(days=n) for n in range(-1, 4)]
    job = ParseJob(
        landing=night.landing.url,
        files=tuple((file, day) for day in window for file in night.landing.files(day)),
        night=night.ds,
        time_zone=settings.time_zone,
        naive_zone=source["time_zone_of_naive_ts"],
        source=source["source"],
        secret=settings.secret(),
        empty_files_allowed=bool(source.get("empty_files_allowed")),
    )
    rows = parsed(night.spark, job).persist()
    try:
        found = ledger(night.ds, counted(rows))
        night.write("event_clean", accepted(rows, night.ds))
        night.write("event_quarantine", quarantined(rows, night.ds, night.stamp.run_id))
    finally:
        rows.unpersist()
    items, met = items_as_of(night.landing, night.ds)
    night.write("item", items)
    night.write("quality_result", quality_rows(night.stamp.run_id, found, met, source["expected_reasons"]))
    night.runner.say(canonical_json(found.report()))


def aggregate(night: Night) -> None:
    """Counts per user, item and event type; sessions."""
    from recsys_core.aggregate import sessions, user_item_day

    events = night.scan("event_clean")
    night.write("user_item_day", user_item_day(night.ds, events))
    night.write("session", sessions(night.ds, events))


def texts(night: Night) -> None:
    """Texts of items, reviews and searches; behaviour in words."""
    from recsys_core.user_texts import item_texts, user_texts

    night.write("item_text", item_texts(night.ds, night.read("item")))
    night.write("user_text", user_texts(night.ds, night.scan("event_clean"), night.scan("user_item_day"), night.scan("item")))
