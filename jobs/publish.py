"""The night's staged tables into the warehouse."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from jobs import JOBS
from jobs.runner import Night
from recsys_core.lake import checksum, digest, empty
from recsys_core.tables import TABLES

if TYPE_CHECKING:
    import pyarrow as pa

    from recsys_core.warehouse import Publication


def publish(night: Night, *, force: bool = False) -> None:
    """Make all warehouse tables of the night live in one transaction, with the model tables they refer to.

    Nothing is done when the live publication has equal inputs and contents, unless forced. PublishError when a blocking check of the night
    failed or the rows do not fit; the last good state stays live.
    """
    from recsys_core.topics.tables import model_tables
    from recsys_core.warehouse import connect

    tables, publication = staged(night)
    refuse(tables["quality_result"], tables["quality_acceptance"], night.ds)
    with connect(night.settings.warehouse) as warehouse:
        live = warehouse.live(night.ds)
        wanted = {t: (s.input_hash, s.content_hash) for t, s in publication.sources.items()}
        if not force and {t: (row["input_hash"], row["content_hash"]) for t, row in live.items()} == wanted:
            night.runner.say(f"{night.ds} publish: up to date")
            return
        generations = warehouse.publish_night(night.ds, tables, model_tables(night.lake), publication)
    counts = ", ".join(f"{t} {rows.num_rows:,}" for t, rows in tables.items() if rows.num_rows)
    night.runner.say(f"{night.ds} published as generation {max(generations.values())}: {counts or 'an empty night'}")


def staged(night: Night) -> tuple[dict[str, pa.Table], Publication]:
    """Rows of every warehouse table of the night, and what the ledger says of them.

    A table that no job makes, or that needs a topic model on a night without one, is empty.
    """
    from recsys_core.warehouse import NIGHT_TABLES, Publication, Source

    tables, sources = {}, {}
    for name in NIGHT_TABLES:
        rows, manifest = empty(TABLES[name]), None
        if name in JOBS[night.job].reads and night.nights(name):
            rows, manifest = night.read(name), night.lake.manifest(name, night.ds, **night.runner.parts(name, night.topics))
        tables[name] = rows
        if manifest is None:
            sources[name] = Source(night.stamp.run_id, digest([name, "empty"]), checksum(rows, TABLES[name].key))
        else:
            sources[name] = Source(manifest.run_id, manifest.input_hash, manifest.checksum, manifest.models)
    end = dt.datetime.combine(night.ds + dt.timedelta(days=1), dt.time(), ZoneInfo(night.settings.time_zone))
    return tables, Publication(sources, event_cutoff_ts=end.astimezone(dt.UTC), trigger=night.trigger)


def refuse(quality: pa.Table, accepted: pa.Table, ds: dt.date) -> None:
    """Raise PublishError when a blocking check of the night failed and nobody accepted it."""
    from recsys_core.quality import explained, failed
    from recsys_core.warehouse import PublishError

    checks, excused = quality.to_pylist(), {(r["table_name"], r["check_name"]) for r in accepted.to_pylist()}
    stopped = [r for r in failed(checks) if (r["table_name"], r["check_name"]) not in excused]
    if stopped:
        raise PublishError(
            f"night {ds} is not published: {'; '.join(explained(r, checks) for r in stopped)}. The last good night stays live; mend the "
            f"night's input and run it again, or accept: `python -m jobs accept --ds {ds} --check {stopped[0]['check_name']} --reason TEXT`"
        )
