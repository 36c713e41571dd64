"""Deliveries of every kind through the real `clean`: late, repeated, of machines, in other zones; and refused lines once more."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pyarrow.compute as pc
import pytest

from jobs.quality import replay
from jobs.runner import Runner
from jobs.settings import Settings
from recsys_core.lake import checksum
from recsys_core.parse import ParseJob, parsed_rows
from recsys_core.parse import event as rules
from recsys_core.privacy import user_key
from recsys_core.tables import TABLES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DAY = dt.date(2026, 1, 5)
ONE_DAY = dt.timedelta(days=1)
FACTS = ("clean", "aggregate")
GOOD = {"user_id": "u1", "item_id": "i1", "event_type": "view"}
Landed = dict[dt.date, dict[str, list[str]]]


def line(event_id: str, at: dt.datetime | str, **changes: Any) -> str:
    """A landing line."""
    when = at if isinstance(at, str) else at.isoformat()
    return json.dumps({k: v for k, v in (GOOD | {"event_id": event_id, "ts": when} | changes).items() if v is not ...})


def land(root: Path, landed: Landed, kind: str = "events") -> None:
    """Write files of lines."""
    for day, files in landed.items():
        folder = root / "landing" / kind / f"ds={day}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, lines in files.items():
            data = "".join(r + "\n" for r in lines).encode()
            (folder / name).write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)


@pytest.fixture
def runner(spark: SparkSession, tmp_path: Path) -> Callable[..., Runner]:
    """Makes a runner over tmp_path (or another root) that uses the tests' Spark session; what it says is in `said`."""

    def make(lake: str = "lake", root: Path = tmp_path, **settings: Any) -> Runner:
        site = {"landing": str(root / "landing"), "lake": str(root / lake), "user_key_secret": "secret", **settings}
        said: list[str] = []
        made = Runner(Settings(**site), said.append)
        made.__dict__ |= {"spark": spark, "said": said}
        return made

    return make


def read(made: Runner, table: str, ds: dt.date = DAY) -> list[dict[str, Any]]:
    """Rows of a night, by the table's key."""
    found: list[dict[str, Any]] = made.lake.read(table, [ds]).to_pylist()
    return sorted(found, key=lambda r: tuple(r[k] for k in TABLES[table].key))


def report(made: Runner) -> dict[str, Any]:
    """The last line of a `clean`."""
    found: dict[str, Any] = json.loads(made.__dict__["said"][-1])
    return found


def fact_checksums(made: Runner, ds: dt.date = DAY) -> dict[str, str]:
    """Checksums of the facts; of event_clean without its repairs, which tell of an event that it was late."""
    found = {t: made.lake.manifest(t, ds).checksum for t in ("user_item_day", "session")}  # type: ignore[union-attr]
    return found | {"event_clean": checksum(made.lake.read("event_clean", [ds]).drop(["repairs"]))}


def a_days_events(n: int, seed: int = 7) -> list[str]:
    """Events of DAY, of 30 users, some with texts."""
    draw, found = random.Random(seed), []
    for i in range(n):
        at = dt.datetime(2026, 1, 5, tzinfo=dt.UTC) + dt.timedelta(seconds=draw.randrange(86_400))
        more = {"text": f"really a fine thing {draw.randrange(9)}", "event_type": "review"} if i % 10 == 0 else {}
        found.append(line(f"e{i}", at, user_id=f"u{draw.randrange(30)}", item_id=f"i{draw.randrange(20)}", **more))
    return found


def test_late_events_give_the_night_of_on_time_delivery_in_any_order(runner: Callable[..., Runner], tmp_path: Path) -> None:
    events, draw = a_days_events(400), random.Random(1)
    late = {1: events[0:4], 2: events[4:8], 3: events[8:12], 4: events[12:16], 30: events[16:20]}
    on_time, expected = events[20:], events[:12] + events[20:]
    deliveries: Landed = {DAY + days * ONE_DAY: {"late.jsonl": lines} for days, lines in late.items()}

    land(tmp_path / "punctual", {DAY: {"a.jsonl.gz": expected}})
    punctual = runner(root=tmp_path / "punctual")
    punctual.nights(DAY, DAY, FACTS)
    wanted = fact_checksums(punctual)

    at_once = tmp_path / "at_once"
    land(at_once, {DAY: {"a.jsonl.gz": on_time}} | deliveries)
    made = runner(root=at_once)
    made.nights(DAY, DAY, FACTS)
    assert fact_checksums(made) == wanted
    assert sum("late" in r["repairs"] for r in read(made, "event_clean")) == 12

    for name, days in (("forward", [1, 2, 3, 4, 30]), ("backward", [30, 4, 3, 2, 1])):
        root = tmp_path / name
        shuffled = on_time.copy()
        draw.shuffle(shuffled)
        land(root, {DAY: {"b.jsonl": shuffled[:200], "a.jsonl": shuffled[200:]}})
        runner(root=root).nights(DAY, DAY, FACTS if name == "forward" else ("clean",))
        for day in days:
            land(root, {DAY + day * ONE_DAY: deliveries[DAY + day * ONE_DAY]})
            if name == "forward" and day == 3:
                planned = list(runner(root=root).plan(DAY, DAY))
                assert any(p.startswith(f"{DAY} clean: stale: inputs changed (events/ds=") for p in planned), planned
                assert any(p.startswith(f"{DAY} aggregate: stale") for p in planned)
        made = runner(root=root)
        made.nights(DAY, DAY, FACTS)
        assert fact_checksums(made) == wanted, name

    made = runner(root=at_once)
    for day in (3, 4, 30):
        made.run("clean", DAY + day * ONE_DAY)
        refused = [(r["reason"], json.loads(_raw(r))["event_id"]) for r in read(made, "event_quarantine", DAY + day * ONE_DAY)]
        ids = [json.loads(e)["event_id"] for e in late[day]] if day > 3 else []
        assert sorted(refused) == sorted(("too_late", e) for e in ids)
    assert f"{DAY + 3 * ONE_DAY} clean: late events re-open {DAY}" in "\n".join(made.__dict__["said"])


def _raw(row: dict[str, Any]) -> bytes:
    import base64

    return base64.b64decode(row["raw_base64"])


HOSTS = ("UTC", "Pacific/Kiritimati", "America/St_Johns", "Asia/Kolkata")
# With Spark only these two, which have no day in common for an hour of each.
FAR_APART = ("Pacific/Kiritimati", "America/St_Johns")
# A zone, a day on which its clocks change or that only leap years have, and its length in hours.
LONG_AND_SHORT = (
    ("Europe/Berlin", dt.date(2026, 3, 29), 23),
    ("Europe/Berlin", dt.date(2026, 10, 25), 25),
    ("America/New_York", dt.date(2026, 3, 8), 23),
    ("Australia/Lord_Howe", dt.date(2026, 4, 5), 24.5),
    ("Asia/Shanghai", dt.date(2024, 2, 29), 24),
    ("UTC", dt.date(2024, 2, 29), 24),
)


@pytest.fixture
def host_zone(spark: SparkSession) -> Iterator[Callable[[str], None]]:
    """Puts this process, the JVM and Spark's Python workers into a time zone; all back at the end."""
    context = spark.sparkContext
    zones, before = context._jvm.java.util.TimeZone, os.environ.get("TZ")  # type: ignore[union-attr]
    jvm_before = zones.getDefault()

    def put(zone: str) -> None:
        os.environ["TZ"] = context.environment["TZ"] = zone
        time.tzset()
        zones.setDefault(zones.getTimeZone(zone))

    yield put
    context.environment.pop("TZ", None)
    os.environ.pop("TZ", None)
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()
    zones.setDefault(jvm_before)


def quarters_of(zone: str, day: dt.date, hours: float) -> list[tuple[dt.datetime, dt.date]]:
    """(time in UTC, its local day) of each quarter of an hour of a local day, and of the hour before and after it."""
    start = dt.datetime.combine(day, dt.time(), ZoneInfo(zone)).astimezone(dt.UTC)
    at = [start + dt.timedelta(minutes=15 * q) for q in range(-4, int(hours * 4) + 4)]
    return [(t, t.astimezone(ZoneInfo(zone)).date()) for t in at]


def test_the_parser_cuts_local_days_whatever_the_host_thinks(monkeypatch: pytest.MonkeyPatch) -> None:
    for zone, day, hours in LONG_AND_SHORT:
        quarters = quarters_of(zone, day, hours)
        data = "".join(line(f"e{n}", when) + "\n" for n, (when, its_day) in enumerate(quarters) if its_day == day).encode()
        found = []
        for host in HOSTS:
            monkeypatch.setenv("TZ", host)
            time.tzset()
            job = ParseJob("/landing", (), day, zone, None, "test", b"secret")
            rows, counts = parsed_rows(job, f"events/ds={day}/a.jsonl", day, partial(io.BytesIO, data))
            assert counts["good"] == counts["objects"] == int(hours * 4), (zone, day, host)
            assert {r["ds"] for r in rows if r["verdict"] == "event"} == {day}
            found.append(rows)
        assert all(f == found[0] for f in found), (zone, day)
    monkeypatch.undo()
    time.tzset()


def test_nights_are_local_days_whatever_the_host_the_jvm_and_the_workers_think(
    runner: Callable[..., Runner], tmp_path: Path, host_zone: Callable[[str], None]
) -> None:
    for zone, day, hours in LONG_AND_SHORT[::2]:
        root = tmp_path / f"{zone.replace('/', '_')}{day}"
        quarters = quarters_of(zone, day, hours)
        days: Landed = {d: {"a.jsonl": []} for d in sorted({d for _, d in quarters})}
        for n, (when, its_day) in enumerate(quarters):
            days[its_day]["a.jsonl"].append(line(f"e{n}", when, text=None))
        land(root, days)
        found = []
        for host in FAR_APART:
            host_zone(host)
            made = runner(f"lake_{host.replace('/', '_')}", root, time_zone=zone)
            made.run("clean", day)
            events = read(made, "event_clean", day)
            assert [e["event_id"] for e in events] == sorted(f"e{n}" for n, (_, d) in enumerate(quarters) if d == day), (zone, day, host)
            assert {e["ds"] for e in events} == {day}
            manifests = [made.lake.manifest(t, day) for t in ("event_clean", "open_session", "landing_file")]
            found.append([m.checksum for m in manifests if m])
        assert found[0] == found[1], (zone, day)


def test_a_session_that_midnight_cuts_carries_one_id_on_both_nights(runner: Callable[..., Runner], tmp_path: Path) -> None:
    before = DAY - ONE_DAY
    rows: Landed = {
        before: {"a.jsonl": [line("a1", "2026-01-04T23:20:00Z"), line("n1", "2026-01-04T23:50:00Z", user_id="named", session_id="s-1")]},
        DAY: {
            "a.jsonl": [
                line("a2", "2026-01-04T23:45:00Z"),  # of the day before, a day late
                line("a3", "2026-01-05T00:10:00Z"),
                line("a4", "2026-01-05T00:41:00Z"),  # 31 minutes later: another session
                line("n2", "2026-01-05T00:05:00Z", user_id="named", session_id="s-1"),
                line("c1", "2026-01-05T00:20:00Z", user_id="new"),
            ]
        },
    }
    land(tmp_path, rows)
    made = runner()
    for ds in (before, DAY):
        made.nights(ds, ds, ("clean", "aggregate"))
    key = {u: user_key(b"secret", u) for u in ("u1", "named", "new")}
    evening = {r["user_key"]: r for r in read(made, "session", before)}
    morning = {(r["user_key"], r["start_ts"].minute): r for r in read(made, "session")}
    assert evening[key["u1"]]["n_events"] == 2
    assert morning[key["u1"], 10]["carry_id"] == evening[key["u1"]]["carry_id"] == evening[key["u1"]]["session_id"]
    assert morning[key["u1"], 10]["session_id"] != evening[key["u1"]]["session_id"]
    assert morning[key["u1"], 41]["carry_id"] == morning[key["u1"], 41]["session_id"]
    assert morning[key["named"], 5]["carry_id"] == evening[key["named"]]["carry_id"] == "s-1"
    assert morning[key["new"], 20]["carry_id"] == morning[key["new"], 20]["session_id"]


def test_one_machine_does_not_change_a_row_of_anybody_else(runner: Callable[..., Runner], tmp_path: Path) -> None:
    people = a_days_events(600)
    start = dt.datetime(2026, 1, 5, 3, tzinfo=dt.UTC)
    flood = [line(f"f{i}", start + dt.timedelta(seconds=i % 20_000), user_id="flood", item_id=f"i{i % 300}") for i in range(20_000)]
    regular = [line(f"r{i}", start + dt.timedelta(minutes=i), user_id="regular") for i in range(400)]
    draw = random.Random(9)
    often = [start + dt.timedelta(seconds=draw.randrange(70_000)) for _ in range(6_000)]
    greedy = [line(f"y{i}", at, user_id="greedy", item_id=f"i{i % 90}") for i, at in enumerate(often)]  # neither fast nor regular
    invoice = [line(f"v{i}", start, user_id="shopkeeper", event_type="purchase", item_id=f"i{i}") for i in range(300)]
    land(tmp_path / "people", {DAY: {"a.jsonl": people + invoice}})
    land(
        tmp_path / "machines",
        {DAY: {"a.jsonl": people + regular + flood[:9000], "b.jsonl.gz": flood[9000:] + flood[:50] + invoice, "c.jsonl": greedy}},
    )
    calm, busy = runner(root=tmp_path / "people"), runner(root=tmp_path / "machines")
    for made in (calm, busy):
        made.nights(DAY, DAY, (*FACTS, "texts"))
    assert calm.lake.manifest("user_text", DAY).checksum == busy.lake.manifest("user_text", DAY).checksum  # type: ignore[union-attr]
    assert fact_checksums(calm) | {"event_clean": ""} == fact_checksums(busy) | {"event_clean": ""}
    events = busy.lake.read("event_clean", [DAY])
    of_bots = events.filter([("bot" in r) for r in events["repairs"].to_pylist()])
    counts = {r["values"]: r["counts"] for r in pc.value_counts(of_bots["user_key"]).to_pylist()}
    assert counts == {user_key(b"secret", "flood"): 5000, user_key(b"secret", "greedy"): 5000, user_key(b"secret", "regular"): 400}
    busy.run("clean", DAY)  # up to date, and says its line all the same
    found = report(busy)
    assert found["objects_in"] == 600 + 400 + 20_050 + 300 + 6_000 == found["good"] + found["repaired"] + found["quarantined"]
    assert found["by_reason"] == {"bot": 10_400, "capped": 16_000, "dedup": 50}


def test_a_user_is_known_by_a_key_a_stitched_id_and_may_opt_out(runner: Callable[..., Runner], tmp_path: Path) -> None:
    before = DAY - ONE_DAY
    of_day = [line(f"{u}{i}", "2026-01-05T10:00:00Z", user_id=u) for u in ("u1", "cookie", "gone", "back") for i in (1, 2)]
    bad = line("g3", "2026-01-05T10:00:00Z", user_id="gone", price="abc")
    land(tmp_path, {before: {"a.jsonl": [line("c0", "2026-01-04T10:00:00Z", user_id="cookie")]}, DAY: {"a.jsonl": [*of_day, bad]}})
    land(tmp_path, {DAY: {"a.jsonl": ['{"anonymous_id": "cookie", "user_id": "u1"}', '{"anonymous_id": "x"}']}}, "identity")
    land(tmp_path, {before: {"a.jsonl": ['{"user_id": "gone"}', '{"user_id": "back"}']}}, "optout")
    land(tmp_path, {DAY: {"a.jsonl": ['{"user_id": "back", "opted_out": false}']}}, "optout")
    land(tmp_path, {DAY: {"a.jsonl": ['{"user_id": "cookie", "term": "tea"}', '{"user_id": "gone", "term": "tea"}', "{}"]}}, "declared")
    made = runner(key_id="k7")
    for ds in (before, DAY):
        made.run("clean", ds)
    key = {u: user_key(b"secret", u) for u in ("u1", "cookie", "gone", "back")}
    assert [r["user_key"] for r in read(made, "event_clean", before)] == [key["cookie"]], "a later login rewrites no night"
    assert {(r["user_key"], tuple(r["repairs"])) for r in read(made, "event_clean")} == {
        (key["u1"], ()),
        (key["u1"], ("stitched",)),
        (key["back"], ()),
    }
    assert {(r["user_key"], r["key_id"], r["user_id"]) for r in read(made, "id_map")} == {
        (key["u1"], "k7", "u1"),
        (key["back"], "k7", "back"),
    }
    found = report(made)
    assert (found["objects_in"], found["good"], found["repaired"], found["quarantined"]) == (9, 4, 5, 0)
    assert found["by_reason"] == {"opted_out": 3, "stitched": 2}
    refused = [(r["file"].split("/")[0], r["reason"]) for r in read(made, "event_quarantine")]
    assert refused == [("declared", "no_user"), ("identity", "no_user")]
    assert [(r["user_key"], r["declared"], r["stance"]) for r in read(made, "declared_interest")] == [(key["u1"], "term:tea", "interest")]
    everything = b"".join(p.read_bytes() for p in (tmp_path / "lake").rglob("*.parquet") if "id_map" not in str(p))
    assert b"gone" not in everything
    assert (tmp_path / "lake" / "id_map").stat().st_mode & 0o077 == 0


def test_copies_count_once_and_expected_files_are_missed(runner: Callable[..., Runner], tmp_path: Path) -> None:
    one, two = [line("a", "2026-01-05T10:00:00Z")], [line("b", "2026-01-05T11:00:00Z")]
    land(tmp_path, {DAY - ONE_DAY: {"z.jsonl": []}, DAY: {"one.jsonl": one, "copy.jsonl": one, "_two.jsonl": two, ".three.jsonl": two}})
    land(tmp_path, {DAY: {"empty.jsonl": []}, DAY + ONE_DAY: {"again.jsonl": one, "new.jsonl": [line("c", "2026-01-06T01:00:00Z")]}})
    folder = tmp_path / "landing" / "events" / f"ds={DAY}"
    expected = {"files": ["one.jsonl", "_two.jsonl", {"name": "empty.jsonl", "may_be_empty": True}, "lost.jsonl"]}
    (folder / "_expected.json").write_text(json.dumps(expected))
    made = runner()
    for n in (-1, 0, 1):
        made.run("clean", DAY + n * ONE_DAY)
    assert [r["event_id"] for r in read(made, "event_clean")] == ["a", "b"]
    files = {r["file"].rsplit("/", 1)[1]: (r["reason"], r["expected"], r["n_objects"]) for r in read(made, "landing_file")}
    assert files == {
        "one.jsonl": ("file_repeated", True, 0),  # copy.jsonl comes first by name
        "copy.jsonl": (None, False, 1),
        "_two.jsonl": (None, True, 1),
        ".three.jsonl": ("hidden_name", False, 0),
        "empty.jsonl": (None, True, 0),
        "lost.jsonl": ("missing_file", True, 0),
    }
    again = {r["file"].rsplit("/", 1)[1]: r["reason"] for r in read(made, "landing_file", DAY + ONE_DAY)}
    assert again == {"again.jsonl": "file_repeated", "new.jsonl": None}
    made.run("audit", DAY)
    failed = {r["check_name"]: r["observed"] for r in read(made, "quality_result") if r["severity"] == "block" and not r["passed"]}
    assert failed == {"expected_files": 1}
    (folder / "lost.jsonl").write_text(line("d", "2026-01-05T12:00:00Z"))
    made.run("clean", DAY)
    made.run("audit", DAY)
    assert not [r for r in read(made, "quality_result") if r["severity"] == "block" and not r["passed"]]


def test_replayed_lines_give_the_night_of_a_full_run(
    runner: Callable[..., Runner], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = [line(f"g{i}", "2026-01-05T10:00:00Z", user_id=f"u{i}", text="fine it is") for i in range(5)]
    odd = [line(f"o{i}", "2026-01-05T11:00:00Z", event_type="glance", user_id="odd") for i in range(3)]
    broken = ["{", line("p", "2026-01-05T12:00:00Z", price="abc")]
    land(tmp_path, {DAY: {"a.jsonl": [*good, *odd, *broken], "b.jsonl.gz": [f"[{odd[0].replace('o0', 'o9')}]"]}})
    made = runner()
    made.nights(DAY, DAY, FACTS)
    assert report_of(made)["quarantined"] == 6

    monkeypatch.setattr(made, "night", lambda ds, jobs, **more: None)  # publishing has its own tests
    replay(made, DAY, ["unknown_event_type"], "manual")
    assert "none of them is judged otherwise" in made.__dict__["said"][-1]

    # The rule is mended: a glance is a view. (Workers must see it too, so both ways of parsing take it from the line.)
    monkeypatch.setattr(rules.EventParser, "event", _glancing(rules.EventParser.event))
    replay(made, DAY, ["unknown_event_type"], "manual")
    assert "4 lines looked at again, 4 of them are good now" in "\n".join(made.__dict__["said"])
    assert [r["event_id"] for r in read(made, "event_clean")] == ["g0", "g1", "g2", "g3", "g4", "o0", "o1", "o2", "o9"]
    assert sorted(r["reason"] for r in read(made, "event_quarantine")) == ["bad_number", "json_truncated"]
    assert report_of(made) | {"by_reason": {}} == {
        "ds": "2026-01-05",
        "files": 2,
        "files_refused": 0,
        "lines": 11,
        "objects_in": 11,
        "good": 8,
        "repaired": 1,
        "quarantined": 2,
        "other_nights": 0,
        "by_reason": {},
    }
    full = tmp_path / "full"
    land(full, {DAY: {"a.jsonl": [x.replace("glance", "view") for x in (*good, *odd, *broken)]}})
    land(full, {DAY: {"b.jsonl.gz": [f"[{odd[0].replace('o0', 'o9').replace('glance', 'view')}]"]}})
    whole = runner(root=full)
    whole.run("clean", DAY)
    assert made.lake.manifest("event_clean", DAY).checksum == whole.lake.manifest("event_clean", DAY).checksum  # type: ignore[union-attr]
    assert made.lake.manifest("id_map", DAY).checksum == whole.lake.manifest("id_map", DAY).checksum  # type: ignore[union-attr]
    counts = [
        [{k: r[k] for k in r if k.startswith(("n_o", "n_g", "n_r", "n_q", "by", "fi"))} for r in read(m, "landing_file")]
        for m in (made, whole)
    ]
    assert counts[0] == counts[1]


def report_of(made: Runner) -> dict[str, Any]:
    """What the live partition says became of the night's objects."""
    from recsys_core.quality import Night

    return Night(DAY, read(made, "landing_file")).report()


def _glancing(event: Any) -> Any:
    def mended(self: Any, row: dict[str, Any], *rest: Any) -> dict[str, Any]:
        found: dict[str, Any] = event(self, row | {"event_type": "view"} if row.get("event_type") == "glance" else row, *rest)
        return found

    return mended


def test_a_replayed_line_that_repeats_an_accepted_id_has_the_night_cleaned_whole(
    runner: Callable[..., Runner], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [line("same", "2026-01-05T10:00:00Z", event_type="glance"), line("same", "2026-01-05T10:00:00Z")]
    land(tmp_path, {DAY: {"a.jsonl": rows}})
    made = runner()
    made.run("clean", DAY)
    monkeypatch.setattr(made, "night", lambda ds, jobs, **more: None)
    monkeypatch.setattr(rules.EventParser, "event", _glancing(rules.EventParser.event))
    replay(made, DAY, [], "manual")
    assert "repeat an event_id that was accepted; the night is cleaned whole" in "\n".join(made.__dict__["said"])
