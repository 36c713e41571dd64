"""The day so far: what landed of a day that is not over, laid over the last published night."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from jobs.as_of import ONE_DAY, end_of
from jobs.overlay import Overlay
from jobs.runner import AbsentNightError, Runner
from recsys_core.attempts import Attempt, claim
from recsys_core.intraday.running_day import WHAT, RunningDay, folder_of
from recsys_core.lake import LakeError, checksum
from recsys_core.warehouse import INTRADAY, Source, connect

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


# Seconds between two looks at the landing zone, and at whether to stop, of a run that goes on.
EVERY_S = 30


def follow(runner: Runner, ds: dt.date | None, clock: Callable[[], dt.datetime], continuous: bool) -> None:
    """Take in a day once, or (continuous) as it goes on: the given one until it is published, else every day in its turn.

    `clock` tells the time in the zone that cuts the nights; without ds it says which day is running.
    """
    while True:
        day = ds or clock().date()
        try:
            intraday(runner, day, continuous, lambda day=day: ds is None and clock().date() != day)  # type: ignore[misc]
        except AbsentNightError as error:
            if not continuous:
                raise
            runner.say(f"waiting: {error}")
            time.sleep(EVERY_S)
            continue
        if ds or not continuous:
            return


def intraday(runner: Runner, ds: dt.date, continuous: bool = False, over: Callable[[], bool] = lambda: False) -> None:
    """Publish the interests of users as of what has landed of day ds: once, or (continuous) with every batch until `over` says so.

    Batches are Spark's: what was landed since the last one, exactly once, wherever a run was cut off. AbsentNightError when nothing has
    landed yet or no night before ds is published; when ds itself is, there is nothing to do but to remove the working files.
    """
    from pyspark.errors import StreamingQueryException

    from recsys_core.intraday.streams import LANDING, stream

    if runner.settings.intraday_source == LANDING and ds not in runner.landing.nights():
        raise AbsentNightError(f"nothing was landed for {ds.isoformat()} yet: no {runner.landing.url}/events/ds={ds.isoformat()}")
    with connect(runner.settings.warehouse, runner.say) as warehouse:
        newest = warehouse.newest()
    if newest is None:
        raise AbsentNightError(f"no night is published that {ds.isoformat()} could go on from: publish one first")
    if newest >= ds:
        _superseded(runner, ds, newest)
        return
    attempt = claim(runner.lake, WHAT, ds)
    day = RunningDay(runner.lake, ds, attempt.check)
    day.begin()
    source = stream(runner.settings.intraday_source, runner.landing, day, end_of(ds - ONE_DAY, runner.settings))
    so_far = SoFar(runner, day, attempt, source.url)
    faults: list[BaseException] = []

    def take(batch: DataFrame, number: int) -> None:
        try:
            day.note(number, source.delivered(batch, number))
            so_far.publish()
        except BaseException as error:
            faults.append(error)  # Spark would hand on no more than its text
            raise

    writer = source.frame(runner.spark).writeStream.foreachBatch(take)
    writer = writer.option("checkpointLocation", runner.lake.spark_path(day.checkpoint))
    writer = writer.trigger(processingTime=f"{EVERY_S} seconds") if continuous else writer.trigger(availableNow=True)
    query = writer.start()
    try:
        while not query.awaitTermination(EVERY_S):
            if continuous and (over() or so_far.superseded):
                query.stop()
    except StreamingQueryException:
        raise faults[-1] if faults else LakeError(f"the stream of {ds.isoformat()} ended: {query.exception()}") from None
    finally:
        query.stop()
    so_far.publish()  # the night below may be another one, or what users say of themselves


def _superseded(runner: Runner, ds: dt.date, newest: dt.date) -> None:
    runner.lake.remove(folder_of(ds))
    runner.say(f"{ds.isoformat()} intraday: superseded by the published night {newest.isoformat()}")


@dataclass
class SoFar:
    """What is known of a running day, and its publication."""

    runner: Runner
    day: RunningDay
    attempt: Attempt
    root: str
    superseded: bool = False

    def publish(self) -> None:
        """Make the day so far what readers see, unless it is already."""
        started = time.perf_counter()
        runner, ds = self.runner, self.day.ds
        if not (files := self.day.files()):
            runner.say(f"{ds.isoformat()} intraday: no file yet")
            return
        with connect(runner.settings.warehouse, runner.say) as warehouse:
            night = warehouse.newest()
            assert night is not None, "the day goes on from a night"
            found = Overlay(runner, self.day, night, self.root, files)
            live = warehouse.live(ds).get(INTRADAY)
            if live and live["input_hash"] == found.input_hash:
                runner.say(f"{ds.isoformat()} intraday: up to date")
                return
            rows, as_of_ts = found.rows()
            models = {"topics": found.model.model_version}
            source = Source(f"intraday-{ds:%Y%m%d}-{found.input_hash[:10]}", found.input_hash, checksum(rows), models)
            generation = warehouse.publish_intraday(ds, rows, source, as_of_ts, self.attempt.check)
        if generation is None:
            self.superseded = True
            _superseded(runner, ds, ds)
            return
        users = len(pc.unique(rows["user_key"]))
        runner.say(
            f"{ds.isoformat()} intraday: {time.perf_counter() - started:.1f} s – {len(files):,} files, {users:,} users as of "
            f"{as_of_ts.isoformat(timespec='seconds')}, on the night of {found.night.isoformat()}"
        )
