"""Whole small landing zones of bad input, and what must become of them: the third part of `tests.corpus`."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from dataclasses import dataclass, field
from typing import Any

from tests.corpus import BEYOND, DAY, GOOD, at, day

EVENTS = f"events/ds={DAY}"
DECLARED = {"source": "shop", "time_zone_of_naive_ts": "Europe/Berlin", "expected_reasons": []}

# Shares of a night's objects: they need a zone without a thousand others.
DRIFTED = {"source": "drifted"}


@dataclass(frozen=True)
class Landing:
    """Files of a landing zone by path, and what the lake must hold of them after the nights of all their partitions.

    events       event_id → repairs, in event_clean of `ds`
    gone         ids of events that are in event_clean of no night
    refused      path → code: files of which nothing is used; None for one that is used
    quarantined  path → (code, the bytes) of its refused objects, in order
    repaired     path → codes with how many of its objects
    items        item_id → columns of its row in table item of `ds`; None if it has none
    checks       check_name → whether it passed on `ds`
    source       what `_source.json` declares
    """

    kind: int
    name: str
    files: dict[str, bytes]
    events: dict[str, list[str]] = field(default_factory=dict)
    gone: tuple[str, ...] = ()
    refused: dict[str, str | None] = field(default_factory=dict)
    quarantined: dict[str, list[tuple[str, bytes]]] = field(default_factory=dict)
    repaired: dict[str, dict[str, int]] = field(default_factory=dict)
    items: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    checks: dict[str, bool] = field(default_factory=dict)
    source: dict[str, Any] | None = None
    ds: dt.date = DAY

    def __str__(self) -> str:
        return f"{self.kind}-{self.name}"


def on(number: int, name: str) -> str:
    """Path of a file of events that is delivered so many days after DAY."""
    return f"events/ds={day(number)}/{name}"


def lines(*ids: str, **changes: Any) -> bytes:
    """Lines of good events with changes."""
    return b"".join(json.dumps(GOOD | {"event_id": i, "user_id": i, "session_id": i} | changes).encode() + b"\n" for i in ids)


def moments(user: str, *seconds: int, **changes: Any) -> bytes:
    """Lines of one user at these seconds after 10:00, each about an item of its own."""
    rows = ((i, at("2026-01-05T10:00:00") + dt.timedelta(seconds=s)) for i, s in enumerate(seconds))
    return b"".join(lines(f"{user}{i:04}", user_id=user, item_id=f"i{i}", ts=t.isoformat(), **changes) for i, t in rows)


BERLIN_GAP, BERLIN_FOLD = dt.date(2026, 3, 29), dt.date(2026, 10, 25)
AGAIN = lines("again1", "again2")

LANDINGS: tuple[Landing, ...] = (
    # -- times -------------------------------------------------------------------------------------------------------------------------
    Landing(
        38,
        "no zone, one declared",
        {f"events/ds={BERLIN_GAP}/zone.jsonl": lines("zone", ts="2026-03-29T12:00:00")},
        events={"zone": ["tz_assumed"]},
        source=DECLARED,
        ds=BERLIN_GAP,
    ),
    Landing(
        46,
        "an hour that the clocks skipped",
        {f"events/ds={BERLIN_GAP}/gap.jsonl": lines("gap", ts="2026-03-29T02:30:00")},
        events={"gap": ["dst_gap", "tz_assumed"]},
        source=DECLARED,
        ds=BERLIN_GAP,
    ),
    Landing(
        46,
        "an hour that came twice",
        {
            f"events/ds={BERLIN_FOLD}/fold.jsonl": lines("fold1", "fold2", ts="2026-10-25T02:30:00")
            + lines("utc1", ts="2026-10-25T00:30:00Z")
            + lines("utc2", ts="2026-10-25T01:30:00Z")
        },
        events={"fold1": ["dst_fold", "tz_assumed"], "fold2": ["dst_fold", "tz_assumed"], "utc1": [], "utc2": []},
        source=DECLARED,
        ds=BERLIN_FOLD,
    ),
    Landing(
        36,
        "epochs of several units",
        {f"{EVENTS}/mixed.jsonl": lines("mixed1", ts=1767607200) + lines("mixed2", ts=1767607200000)},
        events={"mixed1": ["epoch_s"], "mixed2": ["epoch_ms"]},
        checks={"mixed_epoch": False},
    ),
    # -- deliveries --------------------------------------------------------------------------------------------------------------------
    Landing(
        47,
        "one to three days late",
        {on(n, "late.jsonl"): lines(f"late{n}") for n in (1, 2, 3)},
        events={f"late{n}": ["late"] for n in (1, 2, 3)},
    ),
    Landing(
        47,
        "four and thirty days late",
        {on(n, "too-late.jsonl"): lines(f"late{n}") for n in (4, 30)},
        gone=("late4", "late30"),
        quarantined={on(n, "too-late.jsonl"): [("too_late", lines(f"late{n}").rstrip())] for n in (4, 30)},
    ),
    Landing(
        48,
        "a line twice",
        {f"{EVENTS}/twice.jsonl": lines("twice", "twice")},
        events={"twice": []},
        repaired={f"{EVENTS}/twice.jsonl": {"dedup": 1}},
    ),
    Landing(
        48,
        "an event in two files",
        {f"{EVENTS}/two-a.jsonl": lines("two", "two-a"), f"{EVENTS}/two-b.jsonl.gz": gzip.compress(lines("two-b", "two"), mtime=0)},
        events={"two": [], "two-a": [], "two-b": []},
        repaired={f"{EVENTS}/two-a.jsonl": {}, f"{EVENTS}/two-b.jsonl.gz": {"dedup": 1}},
    ),
    Landing(
        48,
        "an event on two days",
        {f"{EVENTS}/days.jsonl": lines("days"), on(1, "days.jsonl"): lines("days", "days-late")},
        events={"days": [], "days-late": ["late"]},
        repaired={f"{EVENTS}/days.jsonl": {}},
    ),
    Landing(
        49,
        "one id, two events",
        {f"{EVENTS}/conflict.jsonl": lines("conflict", rating=5) + lines("conflict", rating=1)},
        events={"conflict": []},
        repaired={f"{EVENTS}/conflict.jsonl": {"dedup": 1}},
        checks={"id_conflict": False},
    ),
    Landing(
        70,
        "a file by two names",
        {f"{EVENTS}/again-a.jsonl": AGAIN, f"{EVENTS}/again-b.jsonl": AGAIN},
        events={"again1": [], "again2": []},
        refused={f"{EVENTS}/again-b.jsonl": "file_repeated"},
    ),
    Landing(
        70,
        "a file on two days",
        {f"{EVENTS}/next-day.jsonl": lines("next-day"), on(1, "next-day.jsonl"): lines("next-day")},
        events={"next-day": []},
        refused={on(1, "next-day.jsonl"): "file_repeated"},
    ),
    # -- names ---------------------------------------------------------------------------------------------------------------------------
    Landing(
        12,
        "names in another case",
        {f"{EVENTS}/case.jsonl": lines("case").replace(b"event_id", b"EVENT_ID").replace(b"user_id", b"User_Id")},
        quarantined={
            f"{EVENTS}/case.jsonl": [("no_user", lines("case").replace(b"event_id", b"EVENT_ID").replace(b"user_id", b"User_Id").rstrip())]
        },
        checks={"field_case:EVENT_ID~event_id": False, "field_case:User_Id~user_id": False},
        source=DRIFTED,
    ),
    Landing(
        63,
        "new and changed fields",
        {f"{EVENTS}/drift.jsonl": lines("drift", colour_of_page="red", price="1.5")},
        events={"drift": ["num_from_text", "unknown_fields"]},
        checks={"new_field:colour_of_page": False, "field_type:price": False},
        source=DRIFTED,
    ),
    Landing(
        69,
        "a file that did not come, and one that may be empty",
        {
            f"{EVENTS}/_expected.json": json.dumps(["came.jsonl", "absent.jsonl", {"name": "silent.jsonl", "may_be_empty": True}]).encode(),
            f"{EVENTS}/came.jsonl": lines("came"),
            f"{EVENTS}/silent.jsonl": b"",
            f"{EVENTS}/_SUCCESS": b"",
        },
        events={"came": []},
        refused={f"{EVENTS}/absent.jsonl": "missing_file", f"{EVENTS}/came.jsonl": None, f"{EVENTS}/silent.jsonl": None},
        checks={"expected_files": False},
    ),
    Landing(
        69,
        "names that are passed over in silence",
        {f"{EVENTS}/_hidden.jsonl": lines("hidden"), f"{EVENTS}/.hidden.jsonl.gz": gzip.compress(lines("hidden2"), mtime=0)},
        gone=("hidden", "hidden2"),
        refused={f"{EVENTS}/_hidden.jsonl": "hidden_name", f"{EVENTS}/.hidden.jsonl.gz": "hidden_name"},
    ),
    Landing(
        69,
        "a source whose files may be empty",
        {f"{EVENTS}/empty.jsonl": b"", f"{EVENTS}/blank.jsonl.gz": gzip.compress(b"\n", mtime=0), f"{EVENTS}/full.jsonl": lines("full")},
        events={"full": []},
        refused={f"{EVENTS}/empty.jsonl": None, f"{EVENTS}/blank.jsonl.gz": None},
        source={"source": "shop", "empty_files_allowed": True},
    ),
    # -- who it was ------------------------------------------------------------------------------------------------------------------------
    Landing(
        BEYOND,
        "an anonymous id that is known",
        {
            f"identity/ds={DAY}/a.jsonl": b'{"anonymous_id": "c-1", "user_id": "stitched"}\n{"anonymous_id": "c-1"}\n',
            f"{EVENTS}/stitched.jsonl": lines("stitched", user_id="c-1"),
        },
        events={"stitched": ["stitched"]},
        quarantined={f"identity/ds={DAY}/a.jsonl": [("no_user", b'{"anonymous_id": "c-1"}')]},
    ),
    Landing(
        BEYOND,
        "a user who opted out, and one who came back",
        {
            f"optout/ds={day(-1)}/a.jsonl": b'{"user_id": "out"}\n{"user_id": "back"}\n',
            f"optout/ds={DAY}/a.jsonl": b'{"user_id": "back", "opted_out": false}\n',
            f"{EVENTS}/out.jsonl": lines("out1", "out2", user_id="out") + lines("back", user_id="back"),
        },
        events={"back": []},
        gone=("out1", "out2"),
        repaired={f"{EVENTS}/out.jsonl": {"opted_out": 2}},
    ),
    # -- crowds --------------------------------------------------------------------------------------------------------------------------
    Landing(
        74,
        "a user beyond the cap, each event about another item",
        {f"{EVENTS}/crowd.jsonl": moments("crowd", *range(0, 2 * 5_100, 2))},
        events={f"crowd{i:04}": ["bot"] for i in range(5_000)},
        gone=tuple(f"crowd{i:04}" for i in range(5_000, 5_100)),
        repaired={f"{EVENTS}/crowd.jsonl": {"bot": 5_000, "capped": 100}},
    ),
    Landing(
        74,
        "an event each second",
        {f"{EVENTS}/fast.jsonl": moments("fast", *range(400))},
        events={f"fast{i:04}": ["bot"] for i in range(400)},
        repaired={f"{EVENTS}/fast.jsonl": {"bot": 400}},
    ),
    Landing(
        74,
        "an event each minute",
        {f"{EVENTS}/regular.jsonl": moments("regular", *range(0, 250 * 60, 60))},
        events={f"regular{i:04}": ["bot"] for i in range(250)},
        repaired={f"{EVENTS}/regular.jsonl": {"bot": 250}},
    ),
    Landing(
        74,
        "a busy person",
        {f"{EVENTS}/busy.jsonl": moments("busy", *(i * i % 997 + 60 * i for i in range(300)))},
        events={f"busy{i:04}": [] for i in range(300)},
        repaired={f"{EVENTS}/busy.jsonl": {}},
    ),
    Landing(
        74,
        "one text by many users",
        {f"{EVENTS}/echo.jsonl": lines(*(f"echo{i}" for i in range(100)), event_type="review", text="best shop ever, visit my page")},
        events={f"echo{i}": [] for i in range(100)},
    ),
)
