"""A simulated shop with planted truth: logs and a catalogue in the landing format, and beside them what is really behind them."""

from __future__ import annotations

import datetime as dt
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_core.simulate.behaviour import Block, open_shelf, simulate_block
from recsys_core.simulate.landing import MAX_LINES, NightWriter, item_rows, write_lines
from recsys_core.simulate.shop import CHANGES, SLOTS, Catalogue, Population, make_catalogue, make_population
from recsys_core.simulate.vocabulary import TOPICS

MIN_ITEMS = 2 * len(TOPICS)
_BLOCK_EVENTS = 200_000  # a block of users is simulated at once; more events a night make more blocks, not more memory
_TOPIC_NAMES = pa.array([topic.name for topic in TOPICS])
_USER_TOPIC = pa.schema([("ds", pa.date32()), ("user_id", pa.string()), ("topic", pa.string()), ("share", pa.float64())])


def simulate(
    landing: str,
    start: dt.date,
    nights: int,
    users: int,
    items: int,
    events_per_night: int,
    seed: int,
    text_share: float = 0.05,
    dirt: bool = False,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Lands `nights` nights of a shop from `start` on and returns counts (events, sessions, searches, reviews, files, malformed …).

    Writes `<landing>/events`, `<landing>/items`, `<landing>/_source.json` and the truth; the folder appears whole, at the end:
        _truth/item_topic.parquet    item_id, topic (the main one of a mixed item)
        _truth/user_topic.parquet    ds, user_id, topic, share (each user that has joined, robots excepted; shares sum to 1)
        _truth/user_change.parquet   user_id, change, ds (when interests start, switch, begin to grow or to fade)

    events_per_night   mean over a week; nights follow the weekday (±11 %) and chance
    text_share         share of events with free text that a user wrote (searches three fifths, reviews two fifths), 0 … 0.5
    dirt               about 1 % exact duplicates, 1 % events delivered 1–3 days late, 0.3 % malformed lines; else none of these

    Equal arguments give equal bytes. Memory is that of about 200,000 events, the users and the items, however many events are made.
    Raises ValueError where an argument is out of range or the landing folder is not empty.
    """
    target = _checked_target(landing, nights, users, items, events_per_night, seed, text_share)
    key = int(np.random.default_rng([seed, 0]).integers(1, 2**62))
    catalogue = make_catalogue(np.random.default_rng([seed, 1]), np.random.default_rng([seed, 5]), items, nights, key)
    people = make_population(np.random.default_rng([seed, 2]), users, nights, key ^ 0x0F0F0F0F)
    work = target.with_name(target.name + ".partial")
    if work.exists():
        shutil.rmtree(work)
    (work / "_truth").mkdir(parents=True)
    (work / "events").mkdir()
    n_blocks = max(1, min(users // 50, -(-events_per_night // _BLOCK_EVENTS)))
    blocks = []
    for b in range(n_blocks):
        members = np.arange(b, users, n_blocks)
        blocks.append(Block(members, np.full(len(members) * SLOTS, -1, dtype=np.int64), {}))
    weight = np.array([people.activity[block.users].sum() for block in blocks])
    writer = NightWriter(work, catalogue, people, key ^ 0x33CC, start + dt.timedelta(nights - 1), dirt)
    sessions = 0
    with pq.ParquetWriter(work / "_truth" / "user_topic.parquet", _USER_TOPIC, use_dictionary=["topic", "ds"]) as truth:
        for day in range(nights):
            date, before = start + dt.timedelta(day), writer.counts["events"]
            (work / "events" / f"ds={date}").mkdir(exist_ok=True)
            _land_items(work, catalogue, day, date, np.random.default_rng([seed, 3, day]))
            shelf = open_shelf(catalogue, day, date)
            for b, block in enumerate(blocks):
                rng = np.random.default_rng([seed, 4, day, b])
                share = events_per_night * weight[b] / weight.sum()
                events, used = simulate_block(block, people, catalogue, shelf, day, date, share, text_share, sessions, rng)
                writer.write(events, date, b, writer.counts["events"], rng)
                sessions += used
            truth.write_table(_user_topic(people, day, date))
            if progress:
                progress(f"night {day + 1}/{nights} {date}: {writer.counts['events'] - before:,} events")
    _write_fixed_truth(work, catalogue, people, start, nights)
    source: dict[str, Any] = {"source": "simulated", "time_zone_of_naive_ts": None, "expected_reasons": []}
    (work / "_source.json").write_bytes(orjson.dumps(source, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    if target.exists():
        target.rmdir()
    work.rename(target)
    found: Counter[str] = writer.counts
    return {
        "nights": nights,
        "users": users,
        "items": items,
        "robots": int(people.bot.sum()),
        "events": found["events"],
        "sessions": sessions,
        "searches": found["search"],
        "reviews": found["review"],
        "files": found["files"],
        "lines": found["events"] + found["duplicates"],
        "duplicates": found["duplicates"],
        "late": found["late"],
        "malformed": sum(writer.malformed.values()),
        "malformed_by_kind": dict(sorted(writer.malformed.items())),
    }


def _checked_target(landing: str, nights: int, users: int, items: int, events_per_night: int, seed: int, text_share: float) -> Path:
    least = {
        "nights": (nights, 1),
        "users": (users, 1),
        "items": (items, MIN_ITEMS),
        "events_per_night": (events_per_night, 1),
        "seed": (seed, 0),
    }
    for name, (value, low) in least.items():
        if value < low:
            raise ValueError(f"{name} is {value}, but must be at least {low}")
    if not 0 <= text_share <= 0.5:
        raise ValueError(f"text_share is {text_share}, but must lie between 0 and 0.5")
    if "://" in landing and not landing.startswith("file://"):
        raise ValueError(f"the simulator writes to a local folder, not to {landing}: simulate locally, then copy the folder there")
    target = Path(landing.removeprefix("file://"))
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"the landing folder {target} is not empty: remove it or name another one")
    return target


def _land_items(work: Path, catalogue: Catalogue, day: int, date: dt.date, rng: np.random.Generator) -> None:
    """The catalogue's delta of the day: arrivals, removals, what is sold out, and now and then a new price or title."""
    new = np.flatnonzero((catalogue.arrival == day) & (catalogue.removal > day))
    gone = np.flatnonzero((catalogue.removal == day) & (catalogue.arrival < day))
    changed = np.flatnonzero((catalogue.sold_out == day) & (catalogue.arrival < day) & (catalogue.removal > day))
    if day:
        settled = np.flatnonzero(catalogue.alive(day) & (catalogue.arrival < day))
        priced = rng.choice(settled, min(len(settled), rng.poisson(max(0.5, 0.002 * len(settled)))), replace=False)
        titled = rng.choice(settled, min(len(settled), rng.poisson(max(0.2, 0.0005 * len(settled)))), replace=False)
        catalogue.price[priced] = np.round(catalogue.price[priced] * rng.uniform(0.75, 1.2, len(priced)), 2)
        catalogue.edition[titled] += 1
        changed = np.union1d(changed, np.union1d(priced, titled))
    rows = np.sort(np.concatenate([new, gone, changed])).tolist()
    deleted = frozenset(gone.tolist())
    for k, first in enumerate(range(0, len(rows), MAX_LINES)):
        chunks = (
            item_rows(catalogue, rows[at : at + 10_000], day, date, deleted)
            for at in range(first, min(first + MAX_LINES, len(rows)), 10_000)
        )
        write_lines(work / "items" / f"ds={date}" / f"part-{k:03d}.jsonl.gz", chunks)


def _user_topic(people: Population, day: int, date: dt.date) -> pa.Table:
    rows = np.flatnonzero((people.join <= day) & ~people.bot)
    shares = people.shares(day, rows)
    user, slot = np.nonzero(shares > 0)
    topic = people.topics[rows[user], slot].astype(np.int64)
    columns = [
        pa.repeat(pa.scalar(date, pa.date32()), len(user)),
        pa.array(people.ids).take(pa.array(rows[user])),
        _TOPIC_NAMES.take(pa.array(topic)),
        pa.array(shares[user, slot]),
    ]
    return pa.Table.from_arrays(columns, schema=_USER_TOPIC)


def _write_fixed_truth(work: Path, catalogue: Catalogue, people: Population, start: dt.date, nights: int) -> None:
    topics = pa.table({"item_id": pa.array(catalogue.ids), "topic": _TOPIC_NAMES.take(pa.array(catalogue.topic))})
    pq.write_table(topics, work / "_truth" / "item_topic.parquet")
    moved = np.flatnonzero((people.change > 0) & (people.change_day < nights) & ~people.bot)
    changes = {
        "user_id": pa.array([people.ids[row] for row in moved]),
        "change": pa.array([CHANGES[people.change[row]] for row in moved]),
        "ds": pa.array([start + dt.timedelta(int(people.change_day[row])) for row in moved], pa.date32()),
    }
    pq.write_table(pa.table(changes), work / "_truth" / "user_change.parquet")
