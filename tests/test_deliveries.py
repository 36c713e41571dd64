"""Whole users in buckets, by Spark's tasks, give the rows that one process gives, whatever users have in common."""

from __future__ import annotations

import datetime as dt
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from jobs import JOBS, etl
from jobs.runner import Runner
from jobs.settings import Settings
from recsys_core.buckets import answers, met_again
from recsys_core.grouping import Groups, micros, ratio
from recsys_core.parse.staging import MAX_BUCKETS, NOBODY, buckets_of, users_of
from recsys_core.privacy import user_key

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DAY = dt.date(2026, 1, 5)
FACTS = ("clean", "aggregate", "texts")
KINDS = ("view", "search", "rating", "review", "return")
SAID = ("I love it, really wonderful", "太垃圾了，非常失望，不喜欢", "It broke and I hate it")


def lines(day: dt.date, n: int, seed: int) -> list[str]:
    """Events of a day, some ids and session names of which others of the window have too."""
    draw, found = random.Random(seed), []
    for number in range(n):
        at = dt.datetime.combine(day, dt.time()) + dt.timedelta(seconds=draw.randrange(86_400))
        row: dict[str, Any] = {"event_id": f"{seed}-{number}", "user_id": f"u{draw.randrange(40)}", "ts": f"{at.isoformat()}Z"}
        row |= {"event_type": (kind := draw.choice(KINDS)), "item_id": f"i{draw.randrange(9)}", "dwell_s": draw.randrange(99) / 7}
        row |= {"rating": draw.randrange(2, 11) / 2} if kind == "rating" else {"text": draw.choice(SAID)} if kind == "review" else {}
        row |= {"query": "red train"} if kind == "search" else {}
        if draw.random() < 0.2:
            row["event_id"] = f"shared {draw.randrange(20)}"
        if draw.random() < 0.4:
            row["session_id"] = f"s{draw.randrange(12)}"
        if draw.random() < 0.5:
            row["received_ts"] = f"{(at + dt.timedelta(seconds=draw.randrange(60))).isoformat()}Z"
        found.append(json.dumps(row))
    machine = {"user_id": "machine", "event_type": "view", "item_id": "i1"}
    midnight = dt.datetime.combine(day, dt.time())
    found += [json.dumps(machine | {"event_id": f"m{seed}-{n}", "ts": f"{midnight + dt.timedelta(seconds=10 * n)}Z"}) for n in range(260)]
    return [*found, "{", json.dumps({"event_id": "nobody", "ts": f"{day}T10:00:00Z", "event_type": "view", "item_id": "i1"})]


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    """Three days in two files each."""
    for number, day in enumerate((DAY - dt.timedelta(days=1), DAY, DAY + dt.timedelta(days=1))):
        folder = tmp_path / "landing" / "events" / f"ds={day}"
        folder.mkdir(parents=True)
        for half in (0, 1):
            (folder / f"{half}.jsonl").write_text("\n".join([*lines(day, 150, 2 * number + half), ""]), encoding="utf-8")
    items = tmp_path / "landing" / "items" / f"ds={DAY}"
    items.mkdir(parents=True)
    (items / "a.jsonl").write_text("".join(json.dumps({"item_id": f"i{n}", "title": f"Train {n}"}) + "\n" for n in range(6)))
    return tmp_path / "landing"


def facts(landing: Path, lake: Path, spark: SparkSession | None) -> tuple[dict[str, str], dict[str, int], dict[str, Any]]:
    """(checksum, number of files of each table, the ledger's line)."""
    said: list[str] = []
    runner = Runner(
        Settings(landing=str(landing), lake=str(lake), user_key_secret="secret", spark_from_rows=0 if spark else 500_000), said.append
    )
    if spark is not None:
        runner.__dict__["spark"] = spark
    for job in FACTS:
        if job == "aggregate":
            ledger = json.loads(said[-1])
        runner.run(job, DAY, daily_cap=220) if job == "clean" else runner.run(job, DAY)
    assert spark is not None or "spark" not in runner.__dict__, "a small night starts no session"
    live = {t: runner.lake.manifest(t, DAY) for job in FACTS for t in JOBS[job].writes}
    return {t: m.checksum for t, m in live.items() if m}, {t: len(m.files) for t, m in live.items() if m}, ledger


def test_buckets_of_users_give_the_rows_of_one_process(
    spark: SparkSession, landing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, one_file, ledger = facts(landing, tmp_path / "whole", None)
    assert set(one_file.values()) == {1}
    assert {"dedup", "bot", "capped", "json_truncated", "no_user"} <= ledger["by_reason"].keys()
    monkeypatch.setattr(etl, "BUCKET_ROWS", 400)
    spread, files, same_ledger = facts(landing, tmp_path / "spread", spark)
    assert spread == whole
    assert same_ledger == ledger
    assert {t for t, n in files.items() if n > 2} >= {"event_clean", "session", "user_item_day", "user_text", "id_map"}


def test_buckets_are_ranges_of_keys_and_leave_nobody_out() -> None:
    keys = pa.array([*(user_key(b"s", f"u{n}") for n in range(500)), None])
    for buckets in (1, 3, 16, 1000, MAX_BUCKETS):
        of = buckets_of(keys, buckets)
        assert of[-1] == NOBODY
        for key, bucket in zip(keys.to_pylist()[:-1], of.tolist(), strict=False):
            low, high = users_of(bucket, buckets)
            assert (low or "") <= key < (high or "g")
    assert len(set(buckets_of(keys, 3).tolist())) == 4


def test_what_several_have_is_found_in_one_process_and_by_spark(spark: SparkSession) -> None:
    def hashes(number: int) -> np.ndarray:
        return np.array([number, 7, -(2**63) + number // 2], np.int64)

    for session in (None, spark):
        assert met_again(range(4), hashes, session).tolist() == [-(2**63), -(2**63) + 1, 7]
        assert answers([4, 2], lambda n: {"n": [n]}, session) == [{"n": [4]}, {"n": [2]}]
        assert answers([], lambda n: n, session) == []


def test_groups_are_counted_and_summed_exactly() -> None:
    big = 2**53 + 1
    for keys in ([np.array([2, 1, 2, 1])], [np.array([2, 1, 2, 1]) << 61, np.array([0, -(2**62), 0, -(2**62)])]):
        found = Groups(keys)
        assert found.of.tolist() == [1, 0, 1, 0]
        assert found.sums(np.array([big, 1, 2, 3])).tolist() == [4, big + 2]
        assert found.places().tolist() == [0, 0, 1, 1]
        assert (found.least(np.arange(4)).tolist(), found.greatest(np.arange(4)).tolist()) == ([1, 0], [3, 2])
    nothing = Groups([np.zeros(0, np.int64)])
    assert (nothing.n, nothing.counts().tolist(), nothing.sums(np.zeros(0, np.int64)).tolist()) == (0, [], [])
    assert micros(pa.array([0.0000005, -0.0000005, 0.0000004, None])).tolist() == [1, -1, 0, 0]
    assert ratio(np.array([5, -5, 1_000_000]), np.array([2, 2, 3])).to_pylist() == [3e-06, -3e-06, 0.333333]
