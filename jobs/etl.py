"""Spark jobs from raw files to the facts of a night: clean, aggregate, texts."""

from __future__ import annotations

import datetime as dt
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa

from jobs.as_of import end_of, known_cutoff
from jobs.runner import Night, ParameterError
from recsys_core.tables import TABLES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from recsys_core.identity import Identities
    from recsys_core.landing import Delivery
    from recsys_core.parse import ParseJob
    from recsys_core.quality import FileLedger

# Frames of no more rows than this are written by this process: a Spark job would cost more than the rows.
_FEW = 50_000


def clean(
    night: Night,
    *,
    daily_cap: Annotated[int, "events of one user and night that are kept at most", range(1, 1_000_001)] = 5_000,
    bot_min_events: Annotated[int, "users with fewer events are never taken for bots", range(2, 1_000_001)] = 200,
) -> None:
    """Accepted events, refused lines, the catalogue and the ledger, from the landing partitions of the day before to three days after."""
    from recsys_core.bots import BotRule
    from recsys_core.catalogue import catalogue_as_of
    from recsys_core.declared import declared_as_of, declared_rows
    from recsys_core.erasure import erased
    from recsys_core.events_of_night import cleaned, parsed, rows_of
    from recsys_core.identity import identities_as_of
    from recsys_core.privacy import user_key
    from recsys_core.quality import landing_file_rows
    from recsys_core.user_attributes import attribute_rows, attributes_as_of

    landing, source, forgotten = night.landing, night.landing.source(), erased(night.lake)
    delivery, known = landing.delivery(night.ds), identities_as_of(landing, night.ds, forgotten)
    declared, secret = declared_as_of(landing, night.ds, known, forgotten), night.settings.secret()
    attributes = attributes_as_of(landing, night.ds, known, forgotten)
    job = parse_job(night, delivery, known, daily_cap)
    if job.known_cutoff and job.known_cutoff < (end := end_of(night.ds, night.settings)):
        raise ParameterError(f"{night.ds} was not over at the known cutoff {job.known_cutoff.isoformat()}: it ended at {end.isoformat()}")
    catalogue = catalogue_as_of(landing, night.ds)
    lake, staging = night.lake, night.staging
    try:
        parsed_files = parsed(night.spark, job, lake.url, staging)
        rows = rows_of(night.spark, [lake.spark_path(f["path"]) for f in parsed_files if f["path"]])
        found = cleaned(rows, parsed_files, job, BotRule(min_events=bot_min_events), night.settings.key_id, night.stamp.run_id)
        accepted = night.write("event_clean", found.events)
        n_refused = sum(f.quarantined for f in found.files)
        of_files = catalogue.quarantine + known.quarantine + declared.quarantine + attributes.quarantine
        night.write(
            "event_quarantine",
            _quarantined(night, found.quarantine, n_refused, of_files),
        )
        night.write("id_map", _few(found.users, found.n_users))
        night.write("open_session", _few(found.open_sessions, found.n_before))
        found.close()
    finally:
        lake.remove(staging)
    night.write("declared_interest", declared_rows(declared, night.ds, partial(user_key, secret)))
    night.write("user_attribute", attribute_rows(attributes, night.ds, partial(user_key, secret)))
    night.write("item", catalogue.items)
    night.write("category", catalogue.categories)
    if accepted.rows != found.n_events and found.files:  # events were lost on the way: the balance must show it
        found.files[0].good += accepted.rows - found.n_events
    files = found.files + _not_read(delivery, night.ds)
    for f in files:
        f.expected = delivery.expected is None or f.file.rsplit("/", 1)[-1] in delivery.expected
        if f.reason != "missing_file":
            f.sha256, f.n_bytes = landing.sha256(f.file), landing.size(f.file)
    if (n := catalogue.warnings["ids_differ_in_case"]) and catalogue.files:
        catalogue.files[0].fields["note:ids_differ_in_case"] += n
    files += [*catalogue.files, *known.files, *declared.files, *attributes.files]
    night.write("landing_file", landing_file_rows(night.ds, files, source["expected_reasons"]))
    reopened = sorted({d for f in found.files for n in f.fields if n.startswith("night:") and (d := n[6:]) < night.ds.isoformat()})
    if reopened:
        night.runner.say(
            f"{night.ds} clean: late events re-open {', '.join(reopened)}; what that makes stale: "
            f"`python -m jobs plan --from {reopened[0]} --to {reopened[-1]}`"
        )


def parse_job(night: Night, delivery: Delivery, known: Identities, daily_cap: int) -> ParseJob:
    """What the parser needs to know of a night."""
    from recsys_core.erasure import erased
    from recsys_core.parse import ParseJob

    source = night.landing.source()
    return ParseJob(
        landing=night.landing.url,
        files=delivery.files,
        night=night.ds,
        time_zone=night.settings.time_zone,
        naive_zone=source["time_zone_of_naive_ts"],
        source=source["source"],
        secret=night.settings.secret(),
        may_be_empty=frozenset(f for f, _ in delivery.files) if source.get("empty_files_allowed") else delivery.may_be_empty,
        repeated=delivery.repeated,
        identities=known.stitched,
        opted_out=frozenset(known.opted_out),
        daily_cap=daily_cap,
        known_cutoff=known_cutoff(night.ds, night.settings),
        erased=erased(night.lake),
    )


def _not_read(delivery: Delivery, ds: dt.date) -> list[FileLedger]:
    """Ledgers of files that are expected and missing, or there under a name that marks them as no data."""
    from recsys_core.quality import FileLedger

    absent = [("missing_file", n) for n in delivery.missing] + [("hidden_name", n) for n in delivery.hidden]
    return [FileLedger("events", ds, f"events/ds={ds.isoformat()}/{name}", reason) for reason, name in absent]


def _few(rows: DataFrame, n: int) -> DataFrame | pa.Table:
    """The rows in this process when they are few (`n`, or fewer)."""
    return rows if n > _FEW else rows.toArrow()


def _quarantined(night: Night, refused: DataFrame, n: int, beside: list[dict[str, Any]]) -> DataFrame | pa.Table:
    """Rows of event_quarantine: refused lines of events, and `beside` of the other kinds of files."""
    table = TABLES["event_quarantine"]
    more = pa.Table.from_pylist([{"ds": night.ds, "run_id": night.stamp.run_id, **row} for row in beside], schema=table.arrow_schema())
    rows = _few(refused.select(*table.names), n)
    if isinstance(rows, pa.Table):
        return pa.concat_tables([rows.select(table.names).cast(table.arrow_schema()), more])
    return rows.unionByName(night.spark.createDataFrame(more)) if beside else rows


def ledger_line(night: Night) -> dict[str, Any]:
    """What became of the objects of the night's landing partition."""
    from recsys_core.quality import Night as Delivered

    return Delivered(night.ds, night.lake.read("landing_file", [night.ds]).to_pylist()).report()


def aggregate(night: Night) -> None:
    """Counts per user and item, by event type and by context; how texts of events sound; sessions."""
    from recsys_core.aggregate import persons, sessions, user_item_context_day, user_item_day

    events = persons(night.scan("event_clean"))
    heard = _heard(night, events)
    night.write("text_sentiment", heard)
    # Most nights of a small shop have no verdict, and a join costs more than all of them.
    verdicts = not isinstance(heard, pa.Table) or heard["item_id"].null_count < heard.num_rows
    said = night.lake.scan(night.spark, "text_sentiment", [night.ds]) if verdicts else None
    night.write("user_item_day", user_item_day(night.ds, events, said))
    night.write("user_item_context_day", user_item_context_day(night.ds, events))
    night.write("session", sessions(night.ds, events, night.scan("open_session")))


def _heard(night: Night, events: DataFrame) -> DataFrame | pa.Table:
    """Rows of text_sentiment."""
    from recsys_core.aggregate import SAID, text_sentiment
    from recsys_core.annotate.models import scorer

    table = TABLES["text_sentiment"]
    score, source = scorer(night.settings.sentiment_model, night.settings.device)
    manifest = night.lake.manifest("event_clean", night.ds)
    if manifest is None or manifest.rows > _FEW:
        texted = events.where("text IS NOT NULL").select(*SAID)
        return texted.mapInArrow(lambda batches: text_sentiment(batches, score, source), table.spark_schema())
    rows = night.read("event_clean", columns=[*SAID, "repairs"])
    human = [
        text is not None and "bot" not in repairs for text, repairs in zip(*(rows[c].to_pylist() for c in ("text", "repairs")), strict=True)
    ]
    batches = rows.filter(pa.array(human, pa.bool_())).select(SAID).combine_chunks().to_batches()
    return pa.Table.from_batches(text_sentiment(batches, score, source), table.arrow_schema())


def texts(night: Night) -> None:
    """Texts of items, reviews and searches; behaviour in words."""
    from recsys_core.aggregate import persons
    from recsys_core.user_texts import item_texts, user_texts

    night.write("item_text", item_texts(night.ds, night.read("item")))
    night.write("user_text", user_texts(night.ds, persons(night.scan("event_clean")), night.scan("user_item_day"), night.scan("item")))
