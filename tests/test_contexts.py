"""Contexts of interests: counted by night, and told by user, against arithmetic written out by hand."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest

from recsys_core.aggregate import user_item_context_day
from recsys_core.contexts import user_context_interest
from recsys_core.declared import Stances
from recsys_core.lake import checksum, conform
from recsys_core.profiles import spread
from recsys_core.profiles.interests import NOBODY
from recsys_core.tables import TABLES

SUNDAY = dt.date(2026, 3, 15)
SATURDAY = SUNDAY - dt.timedelta(days=1)
TOPICS = {"tea": [(1, 1.0)], "pot": [(1, 0.5), (2, 0.5)], "hat": [(3, 1.0)], "cap": [(4, 1.0)]}


def met(*rows: tuple[str, str, dt.date, str, str, int]) -> pa.Table:
    """(user, item, night, daypart, device, n_events) with the topics of the item."""
    found = [
        {"ds": ds, "user_key": user, "item_id": item, "daypart": daypart, "device": device, "n_events": n, "topic_id": t, "weight": p}
        for user, item, ds, daypart, device, n in rows
        for t, p in TOPICS[item]
    ]
    more = pa.schema([("topic_id", pa.int64()), ("weight", pa.float64())])
    return pa.Table.from_pylist(found, schema=pa.unify_schemas([TABLES["user_item_context_day"].arrow_schema(), more]))


ROWS = met(
    ("u", "tea", SUNDAY, "morning", "phone", 6),
    ("u", "pot", SUNDAY, "morning", "", 2),
    ("u", "hat", SATURDAY, "evening", "", 4),
    ("u", "tea", SATURDAY, "evening", "desktop", 2),
    ("u", "cap", SATURDAY, "evening", "desktop", 2),
    ("few", "tea", SUNDAY, "morning", "phone", 4),
)


def told(rows: pa.Table, hidden: frozenset[int] = frozenset(), stances: Stances = NOBODY) -> dict[tuple[str, str, str], list[Any]]:
    """(user, dimension, value) → (topic, share, lift, n_events), by rank."""
    found = conform(user_context_interest(rows, SUNDAY, "m", hidden, stances), TABLES["user_context_interest"]).to_pylist()
    by: dict[tuple[str, str, str], list[Any]] = {}
    for r in sorted(found, key=lambda r: r["rank"]):
        by.setdefault((r["user_key"], r["context_dim"], r["context_value"]), []).append(
            (r["topic_id"], r["share"], r["lift"], r["n_events"])
        )
        assert r["rank"] == len(by[r["user_key"], r["context_dim"], r["context_value"]])
    return by


def test_topics_of_each_context_beside_the_others() -> None:
    found = told(ROWS)
    # Nobody has five events on a device but u on the phone; where none is told there is none.
    assert {user for user, _, _ in found} == {"u"}
    assert sorted(k[1:] for k in found) == [
        ("daypart", "evening"),
        ("daypart", "morning"),
        ("device", "phone"),
        ("weekday", "6"),
        ("weekday", "7"),
    ]
    # Morning: 6 + 1 of tea, 1 of pots, of 8; all day tea is 9 of 16, pots 1.
    assert found["u", "daypart", "morning"] == [
        (1, 0.875, pytest.approx((7 + 5 * 9 / 16) / (13 * 9 / 16), abs=1e-6), 8),
        (2, 0.125, pytest.approx((1 + 5 / 16) / (13 / 16), abs=1e-6), 2),
    ]
    assert [row[:2] for row in found["u", "daypart", "evening"]] == [(3, 0.5), (1, 0.25), (4, 0.25)]  # ties to the lower topic
    assert found["u", "daypart", "evening"][0][2] > 1 > found["u", "daypart", "evening"][1][2]
    assert found["u", "weekday", "7"] == found["u", "daypart", "morning"]
    # Of those that told a device, six were tea on the phone, and four on the desktop: of ten, eight were tea.
    assert found["u", "device", "phone"] == [(1, 1.0, pytest.approx((6 + 5 * 0.8) / (11 * 0.8), abs=1e-6), 6)]


def test_three_topics_at_most_and_none_that_is_hidden_or_muted() -> None:
    more = pa.concat_tables([ROWS, met(("u", "pot", SATURDAY, "evening", "", 1))])
    assert [row[0] for row in told(more)["u", "weekday", "6"]] == [3, 1, 4]
    assert [row[0] for row in told(more, frozenset({3}))["u", "weekday", "6"]] == [1, 4, 2]
    muted = told(more, stances=Stances(NOBODY.prior, frozenset({("u", 1), ("v", 3)})))
    assert [row[0] for row in muted["u", "weekday", "6"]] == [3, 4, 2]
    assert [row[1] for row in muted["u", "weekday", "6"]] == [round(x / 6.5, 6) for x in (4, 2, 0.5)]


def test_contexts_are_read_from_when_and_where_and_from_nothing_else() -> None:
    table = TABLES["user_context_interest"]
    wanted = conform(user_context_interest(ROWS, SUNDAY, "m"), table)
    assert checksum(conform(user_context_interest(ROWS.take(list(range(len(ROWS)))[::-1]), SUNDAY, "m"), table)) == checksum(wanted)
    swapped = ROWS.set_column(ROWS.schema.get_field_index("daypart"), "daypart", ROWS["daypart"].take(list(range(len(ROWS)))[::-1]))
    assert told(swapped)["u", "daypart", "morning"] != told(ROWS)["u", "daypart", "morning"]
    assert told(swapped)["u", "weekday", "7"] == told(ROWS)["u", "weekday", "7"]
    assert user_context_interest(ROWS.slice(0, 0), SUNDAY, "m").num_rows == 0


def test_counted_by_night() -> None:
    at = dt.datetime(2026, 3, 15, 8, tzinfo=dt.UTC)
    event = {"event_ts": at, "event_type": "view", "daypart": "morning", "source": "test", "repairs": [], "user_key": "u"}
    events = [
        *({"item_id": "a", "device": "phone"},) * 2,
        {"item_id": "a"},
        {"item_id": "a", "device": "phone", "daypart": "night"},
        {"item_id": "b", "user_key": "v"},
        {"device": "phone", "query": "tea"},
    ]
    rows = [event | {"ds": SUNDAY, "event_id": str(n)} | e for n, e in enumerate(events)]
    frame = pa.Table.from_pylist(rows, schema=TABLES["event_clean"].arrow_schema())
    counted = conform(user_item_context_day(SUNDAY, frame), TABLES["user_item_context_day"])
    assert sorted(tuple(r.values())[1:] for r in counted.to_pylist()) == [
        ("u", "a", "morning", "", 1),
        ("u", "a", "morning", "phone", 2),
        ("u", "a", "night", "phone", 1),
        ("v", "b", "morning", "", 1),
    ]


def test_ranges_of_users_tell_the_same() -> None:
    table, bounds = TABLES["user_context_interest"], [(None, "g"), ("g", None)]
    parts = [user_context_interest(spread.within(ROWS, users), SUNDAY, "m") for users in bounds]
    assert all(p.num_rows for p in parts[1:])
    assert checksum(pa.concat_tables(parts)) == checksum(conform(user_context_interest(ROWS, SUNDAY, "m"), table))


def test_rows_may_be_joined_with_topics_or_not() -> None:
    items = [r["item_id"] for r in ROWS.to_pylist()]
    told = [(ds, i, t, p) for ds in (SUNDAY, SATURDAY) for i in sorted(set(items)) for t, p in TOPICS[i]]
    columns = dict(zip(("ds", "item_id", "topic_id", "weight"), (list(c) for c in zip(*told, strict=True)), strict=True))
    topics = pa.table(
        columns, schema=pa.schema([("ds", pa.date32()), ("item_id", pa.string()), ("topic_id", pa.int64()), ("weight", pa.float64())])
    )
    alone = ROWS.drop_columns(["topic_id", "weight"]).to_pylist()
    rows = pa.Table.from_pylist(
        [r for n, r in enumerate(alone) if r not in alone[:n]], schema=TABLES["user_item_context_day"].arrow_schema()
    )
    assert user_context_interest(rows, SUNDAY, "m", topics=topics).to_pylist() == user_context_interest(ROWS, SUNDAY, "m").to_pylist()
