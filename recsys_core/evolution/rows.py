"""Forecasts of a night as rows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Set

import numpy as np
import pyarrow as pa

from recsys_core.evolution.features import WINDOW, Singles, TopicDays, active, week_share
from recsys_core.evolution.metrics import ranked
from recsys_core.evolution.network import Forecaster
from recsys_core.recommenders.base import Floats, Ints
from recsys_core.tables import TABLES

FORECAST, STATE = "user_interest_forecast", "user_state"


def rows(
    forecaster: Forecaster,
    days: TopicDays,
    ds: dt.date,
    model_version: str,
    top: int,
    hidden: Set[int] = frozenset(),
    muted: Set[tuple[str, int]] = frozenset(),
    device: str = "cpu",
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """(user_interest_forecast, user_state) of ds, batch by batch, for all users with an event in the last WINDOW nights, by user key.

    `days` are those nights under the forecaster's topics. Of each user and horizon the `top` likeliest topics, without those `hidden` from
    all and those the user `muted`, ties to the lower place; probability and share rounded to 6 decimals before they are ranked.
    """
    user = active(days, ds.toordinal() - WINDOW + 1, ds.toordinal())
    day, place = np.full(len(user), ds.toordinal()), {int(t): n for n, t in enumerate(days.topics)}
    out = [place[t] for t in sorted(hidden) if t in place]
    unwanted: dict[str, list[int]] = {}
    for key, topic in muted:
        if topic in place:
            unwanted.setdefault(key, []).append(place[topic])
    for part, found, h in forecaster.probabilities(days, user, day, device):
        keys = days.users.take(pa.array(user[part]))
        said, share = np.round(found, 6), np.round(week_share(days, user[part], day[part]), 6)
        said[:, out] = -1.0
        for row, key in enumerate(keys.to_pylist()):
            said[row, unwanted.get(key, [])] = -1.0
        yield _forecasts(forecaster, days, ds, keys, said, share, model_version, top), _states(ds, keys, h, model_version)


def _forecasts(
    forecaster: Forecaster, days: TopicDays, ds: dt.date, keys: pa.Array, said: Floats, share: Floats, model_version: str, top: int
) -> pa.Table:
    n, k, _ = said.shape
    orders = [ranked(said[:, :, at], np.zeros((n, k)))[:, :top] for at in range(said.shape[2])]
    order = np.stack(orders, axis=1)  # users × horizons × places
    owner, horizon, place = np.indices(order.shape).reshape(3, -1)
    topic: Ints = order.reshape(-1)
    kept = said[owner, topic, horizon] >= 0
    owner, horizon, place, topic = owner[kept], horizon[kept], place[kept], topic[kept]
    return pa.table(
        {
            "ds": pa.repeat(pa.scalar(ds, pa.date32()), len(owner)),
            "user_key": keys.take(pa.array(owner)),
            "topic_id": days.topics[topic],
            "horizon_days": np.array(forecaster.recipe.horizons, np.int16)[horizon],
            "probability": said[owner, topic, horizon],
            "baseline_probability": share[owner, topic],
            "rank": (place + 1).astype(np.int16),
            "model_version": pa.repeat(model_version, len(owner)),
        },
        schema=TABLES[FORECAST].arrow_schema(),
    )


def _states(ds: dt.date, keys: pa.Array, h: Singles, model_version: str) -> pa.Table:
    return pa.table(
        {
            "ds": pa.repeat(pa.scalar(ds, pa.date32()), len(keys)),
            "user_key": keys,
            "h": pa.array(list(np.round(h, 6)), pa.list_(pa.float32())),
            "model_version": pa.repeat(model_version, len(keys)),
        },
        schema=TABLES[STATE].arrow_schema(),
    )
