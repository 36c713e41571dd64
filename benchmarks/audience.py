"""Audiences of a simulated night, beside a full scan of `user_interest`: `python -m benchmarks audience --users 1000000`.

The night is published as any other, with its checks and hashes. Each question is one statement of sql/queries, asked through the product's
own `query`, its rows fetched; times are medians.
"""

from __future__ import annotations

import datetime as dt
import resource
import statistics
import time
from contextlib import ExitStack
from typing import Any

import click
import numpy as np
import pyarrow as pa

from recsys_core.lake import canonical_json, checksum, empty
from recsys_core.tables import TABLES
from recsys_core.warehouse import MODEL_TABLES, NIGHT_TABLES, SQL, NightTables, Publication, Source, Warehouse, connect

DS = dt.date(2026, 3, 10)
MODEL = "topics-bench"
PARENTS, LEAVES = 8, 64
# Topics that a user holds by horizon; together they are so many rows of user_interest for each user.
HELD = {"90d": 5, "7d": 3, "1d": 1}
CHUNK = 100_000
SCAN = "SELECT count(*) AS n, min(user_key) AS first_user, sum(share) AS shares, max(topic_id) AS last_topic FROM user_interest"


def keys(users: int, rng: np.random.Generator) -> pa.Array:
    """User keys of 64 hex digits, as the product has them, ascending."""
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)[rng.integers(0, 16, (users, 64), np.uint8)]
    offsets = np.arange(0, 64 * (users + 1), 64, dtype=np.int32)
    made = pa.Array.from_buffers(pa.string(), users, [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(digits))])
    return made.sort()


def filled(name: str, n: int, columns: dict[str, Any]) -> pa.Table:
    """Rows of a table: single values are repeated, columns left out are null."""
    schema = TABLES[name].arrow_schema()
    arrays = []
    for f in schema:
        given = columns.get(f.name)
        is_rows = isinstance(given, np.ndarray | pa.Array)
        arrays.append(pa.array(given).cast(f.type) if is_rows else pa.repeat(pa.scalar(given, f.type), n))
    return pa.table(arrays, schema=schema)


def chunk(users: pa.Array, rng: np.random.Generator) -> tuple[pa.Table, pa.Table]:
    """user_interest and user_interest_change of some users: few topics are popular, shares of a user and horizon sum to about 1."""
    n = len(users)
    popularity = np.log(1.0 / np.arange(1, LEAVES + 1))
    order = np.argsort(-(popularity + rng.gumbel(size=(n, LEAVES))), axis=1)
    interests = []
    for horizon, held in HELD.items():
        share = np.sort(rng.dirichlet(np.ones(held), n), axis=1)[:, ::-1].ravel()
        who, rank = np.repeat(np.arange(n), held), np.tile(np.arange(1, held + 1), n)
        weight = np.round(share * 10, 1)
        texts = [canonical_json({"items": [{"item_id": "item", "n_events": 3, "weight": w / 10}], "rest": 0.0}) for w in range(101)]
        columns = {
            "ds": DS,
            "user_key": users.take(pa.array(who)),
            "topic_id": 101 + order[:, :held].ravel(),
            "horizon": horizon,
            "score": weight,
            "share": np.floor(share * 1e6) / 1e6,
            "lift": np.round(rng.gamma(2.0, 1.0, len(who)), 6),
            "rank": rank,
            "confidence": 0.5,
            "n_events": 3,
            "n_items": 1,
            "first_seen_ds": DS,
            "last_seen_ds": DS,
            "evidence": pa.array(texts).take(pa.array(np.round(weight * 10).astype(np.int64))),
            "model_version": MODEL,
            "run_id": "bench",
        }
        interests.append(filled("user_interest", len(who), columns))
    moved = rng.random(n) < 0.5
    before, now = np.round(rng.random((2, int(moved.sum()))), 6)
    changes = {
        "ds": DS,
        "user_key": users.filter(pa.array(moved)),
        "topic_id": 101 + order[moved, 0],
        "change": pa.array(np.where(now > before, "rising", "falling")),
        "share_prev": before,
        "share_now": now,
        "z": 2.0,
        "slope": 0.0,
        "compared_ds": DS - dt.timedelta(days=7),
    }
    return pa.concat_tables(interests), filled("user_interest_change", int(moved.sum()), changes)


def night(users: int, seed: int) -> tuple[NightTables, dict[str, pa.Table]]:
    """A night of so many users, and its model tables: PARENTS topics over LEAVES."""
    rng = np.random.default_rng(seed)
    everyone = keys(users, rng)
    parts = [chunk(everyone[first : first + CHUNK], rng) for first in range(0, users, CHUNK)]
    tables = {name: empty(TABLES[name]) for name in NIGHT_TABLES}
    tables["user_interest"], tables["user_interest_change"] = (pa.concat_tables(part) for part in zip(*parts, strict=True))
    sources = {name: Source("bench", "bench", checksum(rows)) for name, rows in tables.items()}
    ids = np.r_[np.arange(1, PARENTS + 1), np.arange(101, 101 + LEAVES)]
    above = pa.array([None] * PARENTS + [1 + i % PARENTS for i in range(LEAVES)], pa.int64())
    named = {"label_en": pa.array([f"t{i}" for i in ids]), "label_zh": pa.array([f"题{i}" for i in ids])}
    fixed = {"method": "kmeans", "label_source": "template", "keywords": "[]", "status": "active", "born_ds": DS, "sensitive": False}
    level = (ids <= PARENTS).astype(np.int16)
    models = {name: empty(TABLES[name]) for name in MODEL_TABLES}
    models["topic"] = filled("topic", len(ids), {"topic_id": ids, "parent_topic_id": above, "level": level, **named, **fixed})
    version: dict[str, Any] = dict.fromkeys(("code_sha", "data_fingerprint", "artifact_uri", "artifact_sha256"), "bench")
    version |= {"model_version": MODEL, "kind": "topics", "status": "champion", "params": "{}", "embedding_space": "bench"}
    dates = {"train_from": DS, "train_to": DS - dt.timedelta(days=1), "valid_from_ds": DS}
    models["model_version"] = filled("model_version", 1, version | dates)
    return NightTables(DS, tables, Publication(sources, dt.datetime(2026, 3, 11, tzinfo=dt.UTC))), models


def measured(warehouse: Warehouse, sql: str, params: dict[str, Any], repeats: int) -> tuple[float, int]:
    """(median seconds of a statement and of fetching its rows, number of rows)."""
    seconds, n = [], 0
    for _ in range(repeats):
        started = time.perf_counter()
        n = warehouse.query(sql, params).num_rows
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), n


@click.command(help=__doc__)
@click.option("--users", type=click.IntRange(1), default=100_000, show_default=True)
@click.option("--warehouse", "url", required=True, help="URL of an empty warehouse; `postgresql` alone starts a server that goes when done")
@click.option("--repeats", type=click.IntRange(1), default=7, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def main(users: int, url: str, repeats: int, seed: int) -> None:
    """Publish a night and print the time of each question."""
    with ExitStack() as stack:
        if url == "postgresql":
            from docker.postgres import serve

            url = stack.enter_context(serve())
        warehouse = stack.enter_context(connect(url))
        made, models = night(users, seed)
        started = time.perf_counter()
        warehouse.publish_night(made.ds, made.tables, models, made.publication)
        n = made.tables["user_interest"].num_rows
        click.echo(f"{users:,} users, {n:,} rows of user_interest published in {time.perf_counter() - started:.1f} s")
        rising, holds = (next((SQL / "queries").glob(f"{k}_*.sql")).read_text(encoding="utf-8") for k in (3, 7))
        audience = {"ds": DS, "horizon": "90d"}
        questions = {
            "full scan of user_interest": (SCAN, {}),
            "interest rising in a topic or its children": (rising, {"ds": DS, "topic_id": 2}),
            "share of at least .2 in a topic and its children": (holds, audience | {"topic_id": 2, "min_share": 0.2}),
            "the same of one leaf topic, the rarest": (holds, audience | {"topic_id": 100 + LEAVES, "min_share": 0.2}),
            "the same of one leaf topic, the most common": (holds, audience | {"topic_id": 101, "min_share": 0.2}),
        }
        for name, (sql, params) in questions.items():
            seconds, rows = measured(warehouse, sql, params, repeats)
            click.echo(f"{name:55} {seconds * 1000:8.0f} ms  {rows:>9,} rows")
        click.echo(f"peak memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


if __name__ == "__main__":
    main()
