"""Jobs from raw files to the facts of a night: clean, aggregate, texts. A night of few events needs no Spark."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from jobs.as_of import end_of, known_cutoff
from jobs.night import Night
from jobs.runner import ParameterError
from recsys_core.lake import Part

if TYPE_CHECKING:
    import pyarrow as pa

    from recsys_core.identity import Identities
    from recsys_core.landing import Delivery
    from recsys_core.parse import ParseJob
    from recsys_core.quality import FileLedger

    Users = tuple[str | None, str | None]

# Rows of a bucket of users, as Spark's tasks take them.
BUCKET_ROWS = 200_000
# About how many bytes a line of events has, and how many times its size a compressed file holds.
_LINE_BYTES, _PACKED = 250, 6
# Of a night's window most lines are of other nights, of which little is read: so many cost what one of the night does.
_BESIDE = 2
# Columns of event_clean that facts and texts are made of.
_FACTS = (
    *("ds", "event_id", "user_key", "item_id", "event_type", "event_ts", "session_id", "rating", "dwell_s", "text", "device", "region"),
    *("lang", "daypart", "repairs"),
)
# Of them those whose values come again and again.
_CODED = ("session_id", "user_key", "item_id", "event_type", "device", "region", "lang", "daypart")
_TEXTS = ("user_key", "item_id", "text", "query", "lang", "repairs")


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
    from recsys_core.deliveries import clean_buckets, parsed
    from recsys_core.erasure import erased
    from recsys_core.events_of_night import ledgers
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
    of_files = catalogue.quarantine + known.quarantine + declared.quarantine + attributes.quarantine
    lake, staging, rule = night.lake, night.staging, BotRule(min_events=bot_min_events)
    buckets = _buckets_of_lines(night, delivery)
    spark = night.spark if buckets > 1 else None
    targets = {t: night.target(t) for t in ("event_clean", "id_map", "open_session", "event_quarantine")}
    try:
        rows, parsed_files = parsed(job, buckets, lake.url, staging, spark)
        parts, dropped = clean_buckets(rows, job, rule, night.settings.key_id, targets, of_files, spark)
    finally:
        lake.remove(staging)
    for table, target in targets.items():
        night.finish(target, parts[table])
    found, accepted = ledgers(parsed_files, job, dropped), night.written["event_clean"]
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


def _buckets_of_lines(night: Night, delivery: Delivery) -> int:
    """Over how many buckets of users a delivery is spread, see `_buckets`."""
    lines = sum(night.landing.size(f) * (1 if f.endswith(".jsonl") else _PACKED) for f, _ in delivery.files) // _LINE_BYTES
    return _buckets(lines, _BESIDE * night.settings.spark_from_rows)


def _buckets_of_events(night: Night) -> int:
    """Over how many buckets of users the night's events are spread, see `_buckets`: those of `clean`, so that each reads one file."""
    manifest = night.lake.manifest("event_clean", night.ds)
    buckets, files = _buckets(manifest.rows if manifest else 0, night.settings.spark_from_rows), len(manifest.files) if manifest else 0
    return files if min(buckets, files) > 1 else buckets


def _buckets(rows: int, from_rows: int) -> int:
    """One for rows that this process goes through alone, else an even number, for Spark's tasks, so that two end together."""
    from recsys_core.parse.staging import MAX_BUCKETS

    return 1 if rows < from_rows else min(2 * max(1, -(-rows // (2 * BUCKET_ROWS))), MAX_BUCKETS)


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


def ledger_line(night: Night) -> dict[str, Any]:
    """What became of the objects of the night's landing partition."""
    from recsys_core.quality import Night as Delivered

    return Delivered(night.ds, night.lake.read("landing_file", [night.ds]).to_pylist()).report()


def aggregate(night: Night) -> None:
    """Counts per user and item, by event type and by context; how texts of events sound; sessions."""
    from recsys_core.aggregate import facts, named_sessions, persons
    from recsys_core.annotate.models import scorer
    from recsys_core.deliveries import names_of_several
    from recsys_core.parse.staging import users_of

    lake, ds, buckets = night.lake, night.ds, _buckets_of_events(night)
    score, source = scorer(night.settings.sentiment_model, night.settings.device)

    def names(bucket: int) -> pa.Array:
        return named_sessions(persons(lake.read("event_clean", [ds], ["session_id", "repairs"], users_of(bucket, buckets), _CODED[:1])))

    def make(users: Users) -> dict[str, pa.Table]:
        events = persons(lake.read("event_clean", [ds], list(_FACTS), users, _CODED))
        return facts(ds, events, lake.read("open_session", [ds], users=users), score, source, shared)

    shared = names_of_several(names, buckets, night.spark) if buckets > 1 else None
    _write_by_users(night, ("text_sentiment", "user_item_day", "user_item_context_day", "session"), make, buckets)


def texts(night: Night) -> None:
    """Texts of items, reviews and searches; behaviour in words."""
    from recsys_core.aggregate import persons
    from recsys_core.user_texts import item_texts, user_texts

    lake, ds = night.lake, night.ds
    night.write("item_text", item_texts(ds, night.read("item")))

    def make(users: Users) -> dict[str, pa.Table]:
        events = persons(lake.read("event_clean", [ds], list(_TEXTS), users))
        items = lake.read("item", [ds], ["item_id", "title"])
        return {"user_text": user_texts(ds, events, lake.read("user_item_day", [ds], users=users), items)}

    _write_by_users(night, ("user_text",), make, _buckets_of_events(night))


def _write_by_users(night: Night, tables: Sequence[str], make: Callable[[Users], dict[str, pa.Table]], buckets: int) -> None:
    """Write what `make` makes of the users of each bucket, a part of each table for each."""
    from recsys_core.buckets import answers
    from recsys_core.parse.staging import users_of

    targets = {t: night.target(t) for t in tables}

    def write(bucket: int) -> dict[str, Part]:
        return {t: targets[t].write(bucket, rows) for t, rows in make(users_of(bucket, buckets)).items()}

    found = answers(range(buckets), write, night.spark if buckets > 1 else None)
    for table, target in targets.items():
        night.finish(target, [Part.of(parts[table]) for parts in found])
