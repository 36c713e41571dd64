"""As happened and as known: what had not been received by a moment is as if it had never been delivered."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobs.as_of import cleaned_as_known, known_cutoff, known_otherwise
from jobs.runner import ParameterError, Runner
from jobs.settings import Settings
from recsys_core.lake import Stamp, empty
from recsys_core.quality import Night as Delivered
from recsys_core.quality import quality_rows
from recsys_core.tables import TABLES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DAY = dt.date(2026, 3, 15)
ONE_DAY = dt.timedelta(days=1)
CUTOFF = "2026-03-16T00:30:00Z"
FACTS = ("event_clean", "id_map", "open_session")


def event(event_id: str, ts: str, received: str | None, user: str = "u1") -> dict[str, Any]:
    found = {"event_id": event_id, "user_id": user, "item_id": "i1", "event_type": "view", "ts": f"2026-03-{ts}:00Z"}
    return found | ({"received_ts": f"2026-03-{received}:00Z"} if received else {})


# By day of delivery: of the first night those known at the cutoff, and those that were received later.
KNOWN = {
    DAY: [event("on time", "15T09:00", "15T09:01"), event("no time of receipt", "15T10:00", None), event("at it", "15T23:59", "16T00:30")],
    DAY + ONE_DAY: [event("delivered late, received before", "15T23:50", "16T00:10"), event("next", "16T00:05", "16T00:06", "u2")],
}
LATER = {
    DAY: [event("a minute later", "15T23:58", "16T00:31"), event("", "15T23:58", "16T00:31") | {"user_id": None}],
    DAY + ONE_DAY: [event("at the end of its day", "15T11:00", None), event("on time", "15T09:00", "16T00:40", "u3")],
    DAY + 3 * ONE_DAY: [event("three days", "15T12:00", "18T12:00", "u4"), event("broken", "15T12:00", "18T12:00") | {"rating": 9}],
}


def made(root: Path, spark: SparkSession, *landed: dict[dt.date, list[dict[str, Any]]], **settings: Any) -> Runner:
    """A runner over a landing zone of these events, one file a day and delivery."""
    for n, delivery in enumerate(landed):
        for day, events in delivery.items():
            folder = root / "landing" / "events" / f"ds={day}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{n}.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    said: list[str] = []
    site = {"landing": str(root / "landing"), "lake": str(root / "lake"), "user_key_secret": "secret", **settings}
    runner = Runner(Settings(**site), said.append)
    runner.__dict__ |= {"spark": spark, "said": said}
    return runner


def checksums(runner: Runner) -> dict[str, str]:
    return {t: runner.lake.manifest(t, DAY).checksum for t in FACTS}  # type: ignore[union-attr]


def test_as_known_is_as_if_what_came_later_had_never_come(spark: SparkSession, tmp_path: Path) -> None:
    never = made(tmp_path / "never", spark, KNOWN)
    never.run("clean", DAY)
    known = made(tmp_path / "shop", spark, KNOWN, LATER, known_cutoff=CUTOFF)
    known.run("clean", DAY)
    assert checksums(known) == checksums(never)
    ids = {r["event_id"] for r in known.lake.read("event_clean", [DAY], ["event_id"]).to_pylist()}
    assert ids == {"on time", "no time of receipt", "at it", "delivered late, received before"}
    assert known.lake.read("event_quarantine", [DAY]).num_rows == 0, "a line that is not known is not refused either"
    # The ledger counts what was cut, and is balanced.
    ledger = known.lake.read("landing_file", [DAY]).to_pylist()
    counts = {r["file"][-7:]: (r["n_objects"], r["n_good"], r["n_repaired"], r["n_quarantined"]) for r in ledger}
    assert counts == {"0.jsonl": (3, 3, 0, 0), "1.jsonl": (2, 0, 2, 0)}
    assert [json.loads(r["by_reason"]) for r in ledger] == [{}, {"not_known_yet": 2}]
    checks = quality_rows("run", Delivered(DAY, ledger), [], False).to_pylist()
    assert all(r["passed"] for r in checks if "balance" in r["check_name"])
    # The manifest tells it, and another moment is another run.
    assert cleaned_as_known(known.lake, DAY) == dt.datetime(2026, 3, 16, 0, 30, tzinfo=dt.UTC)
    assert ("_known_cutoff", "2026-03-16T00:30:00+00:00") in known.stamp("clean", DAY, None, {}).inputs
    known.run("clean", DAY)
    assert "2026-03-15 clean: up to date" in known.__dict__["said"]

    happened = made(tmp_path / "shop", spark)
    assert "2026-03-15 clean: stale: inputs changed (_known_cutoff)" in list(happened.plan(DAY, DAY))
    happened.run("clean", DAY)
    assert cleaned_as_known(happened.lake, DAY) is None
    whole = {r["event_id"] for r in happened.lake.read("event_clean", [DAY], ["event_id"]).to_pylist()}
    assert whole == ids | {"a minute later", "at the end of its day", "three days"}
    assert [r["reason"] for r in happened.lake.read("event_quarantine", [DAY]).to_pylist()] == ["no_user"]


def test_a_night_that_was_not_over_is_refused(tmp_path: Path) -> None:
    runner = made(tmp_path, None, KNOWN, known_cutoff="2026-03-15T23:59:59Z")  # type: ignore[arg-type]
    with pytest.raises(
        ParameterError, match=r"2026-03-15 was not over at the known cutoff 2026-03-15T23:59:59\+00:00: it ended at 2026-03-16T"
    ):
        runner.run("clean", DAY)


@pytest.mark.parametrize(
    ("zone", "cutoff", "matters"),
    [
        ("UTC", "2026-03-20T00:00:00Z", False),  # the 18th's deliveries were received by the end of the 19th
        ("UTC", "2026-03-19T23:59:59Z", True),
        ("UTC", "2026-03-20T07:59:59+08:00", True),
        ("Asia/Shanghai", "2026-03-19T16:00:00Z", False),
        ("America/New_York", "2026-03-20T03:59:59Z", True),
        ("UTC", "", False),
    ],
)
def test_the_cutoff_is_of_no_matter_once_nothing_can_have_come_later(zone: str, cutoff: str, matters: bool) -> None:
    settings = Settings(time_zone=zone, known_cutoff=cutoff)
    assert known_cutoff(DAY, settings) == (settings.known_cutoff if matters else None)


def test_nights_that_are_known_otherwise_are_named(tmp_path: Path) -> None:
    """Three nights before still had open deliveries at the cutoff; the fourth had none."""
    runner, cutoff = made(tmp_path, None), "2026-03-16T00:30:00+00:00"  # type: ignore[arg-type]

    def build(n: int, *inputs: tuple[str, str]) -> None:
        runner.lake.write("landing_file", DAY - n * ONE_DAY, empty(TABLES["landing_file"]), Stamp("r", "h", inputs))

    for n in range(6):
        build(n)
    assert known_otherwise(runner.lake, DAY, runner.settings) == []
    build(0, ("_known_cutoff", cutoff))
    assert known_otherwise(runner.lake, DAY, runner.settings) == [DAY - n * ONE_DAY for n in (3, 2, 1)]
    for n in (1, 2, 3):
        build(n, ("_known_cutoff", cutoff))
    assert known_otherwise(runner.lake, DAY, runner.settings) == []
    build(4, ("_known_cutoff", cutoff))
    build(2, ("_known_cutoff", "2026-03-16T00:31:00+00:00"))
    assert known_otherwise(runner.lake, DAY, runner.settings) == [DAY - 4 * ONE_DAY, DAY - 2 * ONE_DAY]
