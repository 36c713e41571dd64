"""The night's staged tables into the warehouse."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from jobs import JOBS
from jobs.as_of import cleaned_as_known, end_of, known_otherwise
from jobs.night import Night
from recsys_core.job_runs import noted, taken
from recsys_core.lake import checksum, digest, empty
from recsys_core.tables import TABLES

if TYPE_CHECKING:
    import pyarrow as pa

    from recsys_core.lake import Manifest
    from recsys_core.warehouse import NightTables, Source, Warehouse

# Nights whose Parquet files are together larger than this are published one after the other: all their rows are in memory at once.
TOGETHER_BYTES = 256 << 20


def publish(night: Night, *, force: bool = False) -> None:
    """Make all warehouse tables of the night live in one transaction, with the model tables they refer to.

    Nothing is done when the live publication has equal inputs and contents, unless forced. PublishError when a blocking check of the night
    failed or the rows do not fit; the last good state stays live.
    """
    publish_together([night], force=force)


def publish_together(nights: Sequence[Night], *, force: bool = False) -> None:
    """The same for many nights, as many in one transaction as fit; one that is refused does not keep the others back.

    PublishError names all that were refused, once the others are live.
    """
    from recsys_core.topics.tables import model_tables
    from recsys_core.warehouse import PublishError, connect

    refused: list[str] = []
    with connect(nights[0].settings.warehouse, nights[0].runner.say) as warehouse:
        for batch in _batches([n for n in nights if force or not _up_to_date(n, warehouse)]):
            fit, models = {}, model_tables(batch[0].lake, batch[0].settings.sensitive_topics, batch[0].settings.release)
            for night in batch:
                try:
                    fit[night.ds] = night, staged(night)
                except PublishError as error:
                    refused.append(str(error))
            try:
                _publish(warehouse, fit, models)
            except PublishError as error:
                if len(fit) == 1:
                    refused.append(str(error))
                    continue
                for ds, one in fit.items():
                    try:
                        _publish(warehouse, {ds: one}, models)
                    except PublishError as mine:
                        refused.append(str(mine))
    if refused:
        raise PublishError("; ".join(refused))


def _publish(warehouse: Warehouse, nights: dict[dt.date, tuple[Night, NightTables]], models: dict[str, pa.Table]) -> None:
    """Publish nights in one transaction, if none of them was overtaken by a newer attempt."""

    def fence() -> None:
        for night, _ in nights.values():
            assert night.attempt is not None, "a night is published under an attempt"
            night.attempt.check()

    if not nights:
        return
    from recsys_core.intraday.running_day import folder_of

    lake = next(iter(nights.values()))[0].lake
    runs, notes = noted(lake)
    made = warehouse.publish_nights([tables for _, tables in nights.values()], models, fence, runs)
    taken(lake, notes)
    for ds, (night, staged_night) in nights.items():
        night.published |= {t: rows.num_rows for t, rows in staged_night.tables.items()}
        night.lake.remove(folder_of(ds))  # what the day so far was made of
        counts = ", ".join(f"{t} {rows.num_rows:,}" for t, rows in staged_night.tables.items() if rows.num_rows)
        night.runner.say(f"{ds} published as generation {max(made[ds].values())}: {counts or 'an empty night'}")


def _up_to_date(night: Night, warehouse: Warehouse) -> bool:
    """Whether what is live has the night's inputs and contents."""
    live = {t: (row["input_hash"], row["content_hash"]) for t, row in warehouse.live(night.ds).items()}
    if live == {t: (s.input_hash, s.content_hash) for t, s in sources(night).items()}:
        night.runner.say(f"{night.ds} publish: up to date")
        return True
    return False


def _batches(nights: Sequence[Night]) -> Iterator[list[Night]]:
    """The nights in order, in groups that are published together: no more than the warehouse takes and than memory holds."""
    from recsys_core.warehouse import MAX_NIGHTS

    batch: list[Night] = []
    held = 0
    for night in nights:
        size = sum(m.bytes for m in _manifests(night).values() if m)
        if batch and (len(batch) == MAX_NIGHTS or held + size > TOGETHER_BYTES):
            yield batch
            batch, held = [], 0
        batch.append(night)
        held += size
    if batch:
        yield batch


def _manifests(night: Night) -> dict[str, Manifest | None]:
    """The live manifest of every warehouse table of the night: None for one that no job makes, or that needs a topic model it has not."""
    from recsys_core.warehouse import NIGHT_TABLES

    made = [t for t in NIGHT_TABLES if t in JOBS[night.job].reads and night.nights(t)]
    found = {t: night.lake.manifest(t, night.ds, **night.runner.parts(t, night.topics)) if t in made else None for t in NIGHT_TABLES}
    return {t: night.lake.renewed(m) if m else None for t, m in found.items()}


def sources(night: Night) -> dict[str, Source]:
    """What the ledger says of each table of the night."""
    from recsys_core.warehouse import Source

    found = {}
    for name, made in _manifests(night).items():
        if made is None:
            none = empty(TABLES[name])
            found[name] = Source(night.stamp.run_id, digest([name, "empty"]), checksum(none))
        else:
            found[name] = Source(made.run_id, made.input_hash, made.checksum, made.models)
    return found


def staged(night: Night) -> NightTables:
    """Rows of every warehouse table of the night, and what the ledger says of them; PublishError when a check of the night stops it."""
    from recsys_core.warehouse import NightTables, Publication

    found = _manifests(night)
    tables = {name: night.stream(name) if made else empty(TABLES[name]) for name, made in found.items()}
    quality, accepted = (night.read(t) if found[t] else empty(TABLES[t]) for t in ("quality_result", "quality_acceptance"))
    refuse(quality, accepted, night.ds)
    _refuse_mixed(night)
    ends, known = end_of(night.ds, night.settings), cleaned_as_known(night.lake, night.ds)
    return NightTables(night.ds, tables, Publication(sources(night), ends, known, night.trigger))


def _refuse_mixed(night: Night) -> None:
    """Raise PublishError when the night is built as known at a moment and nights that it looks back on are not."""
    from recsys_core.warehouse import PublishError

    if others := known_otherwise(night.lake, night.ds, night.settings):
        cutoff = cleaned_as_known(night.lake, night.ds)
        raise PublishError(
            f"night {night.ds} is not published: it is built as known at {cutoff}, {', '.join(map(str, others))} otherwise; run "
            f"`python -m jobs nights --from {others[0]} --to {night.ds} --known-cutoff {cutoff and cutoff.isoformat()}`"
        )


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
