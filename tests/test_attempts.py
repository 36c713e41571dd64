"""Attempts at a night and what they leave behind: numbers of their own, fencing of the older, and a janitor that spares what lives."""

from __future__ import annotations

import datetime as dt
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from recsys_core.attempts import claim
from recsys_core.janitor import dead, tidy
from recsys_core.lake import FencedError, Lake, Stamp
from recsys_core.tables import TABLES

D = dt.date(2026, 3, 2)
STAMP = Stamp("clean-20260302-abcdef0123", "inputs of the night")


def rows(*names: str) -> pa.Table:
    return pa.Table.from_pylist([{"ds": D, "category": n, "valid_from_ds": D} for n in names], schema=TABLES["category"].arrow_schema())


def by(number: int, inputs: str = STAMP.input_hash) -> Stamp:
    return replace(STAMP, attempt=number, input_hash=inputs)


def remains(lake: Lake) -> dict[str, str]:
    return {d.path.rsplit("/", 1)[-1].split("-")[-2] if "run=" in d.path else d.path: d.what for d in dead(lake)}


def test_numbers_grow_and_are_shared_by_nobody(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: claim(Lake(str(tmp_path)), "clean", D).number, range(400)))
    assert len(set(numbers)) == 400
    assert claim(lake, "clean", D).number == max(numbers) + 1
    assert claim(lake, "clean", D + dt.timedelta(days=1)).number == 1, "each night counts for itself"
    assert claim(lake, "texts", D).number == 1, "and each job"


def test_only_the_newest_attempt_passes(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    first = claim(lake, "publish", D)
    first.check()
    second = claim(lake, "publish", D)
    with pytest.raises(FencedError, match=r"attempt 1 at publish of 2026-03-02 was overtaken by attempt 2.*run again"):
        first.check()
    second.check()


def test_an_older_attempt_does_not_undo_what_a_newer_one_wrote(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    lake.write("category", D, rows("new"), by(2))
    with pytest.raises(FencedError, match=r"attempt 2 has written category/ds=2026-03-02 from other inputs while attempt 1"):
        lake.write("category", D, rows("old"), by(1, "inputs before"))
    assert lake.read("category", [D])["category"].to_pylist() == ["new"]
    assert lake.write("category", D, rows("new"), by(1)).attempt == 2, "equal inputs: the newer one's rows are these"
    assert remains(lake) == {}, "what was refused is gone"
    lake.write("category", D, rows("newest"), by(3))
    assert lake.read("category", [D])["category"].to_pylist() == ["newest"]


def test_the_next_attempt_removes_what_an_unfinished_one_left(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    lake.write("category", D, rows("a"), by(1))
    for number, whole in ((2, False), (3, True), (5, False)):
        folder = tmp_path / f"category/ds=2026-03-02/run=clean-20260302-abcdef0123-a{number:06}-0123abcd"
        folder.mkdir()
        (folder / "part-0.parquet").write_bytes(b"half")
        if whole:
            (folder / "_manifest.json").write_bytes(b"{}")
    lake.write("category", D, rows("b"), by(4))
    assert remains(lake) == {"a000001": "superseded", "a000003": "superseded", "a000005": "unfinished"}, "5 may be at work"


def test_staging_goes_with_its_attempt_and_those_before(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    for number in (1, 2, 3):
        lake.write_bytes(f"{lake.staging('clean', D, number)}/rows.parquet", b"x")
    lake.clear_staging("clean", D, 2)
    assert lake.names("_staging/clean/ds=2026-03-02") == ["000003"]
    lake.clear_staging("clean", D, 3)
    assert lake.names("_staging/clean") == []
    lake.clear_staging("texts", D, 9)


def test_the_janitor_removes_what_is_old_and_dead_and_nothing_else(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    lake.write("category", D, rows("a"), by(1))
    lake.write("category", D, rows("b"), by(2))
    lake.write("item_topic", D, TABLES["item_topic"].arrow_schema().empty_table(), by(1), model_version="v1")
    lake.write_bytes(f"{lake.staging('clean', D, 1)}/rows.parquet", b"xyz")
    (tmp_path / "_models").mkdir()
    (tmp_path / "_models/model.json.0123.tmp").write_bytes(b"half")
    claim(lake, "clean", D)
    for path in tmp_path.rglob("*"):
        os.utime(path, (time.time() - 86_400, time.time() - 86_400))
    lake.write_bytes(f"{lake.staging('clean', D, 2)}/rows.parquet", b"at work")

    def kept() -> set[str]:
        return {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}

    everything = kept()
    hour_ago = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    announced = tidy(lake, hour_ago, dry_run=True)
    assert kept() == everything
    assert tidy(lake, hour_ago - dt.timedelta(days=30)) == []
    gone = tidy(lake, hour_ago)
    assert gone == announced
    assert sorted(g.what for g in gone) == ["staging", "superseded", "temporary"]
    assert {g.n_bytes for g in gone if g.what == "staging"} == {3}
    left = {f for f in everything if not any(f == g.path or f.startswith(f"{g.path}/") for g in gone)}
    assert kept() == left
    assert lake.read("category", [D])["category"].to_pylist() == ["b"]
    assert lake.manifest("item_topic", D, model_version="v1") is not None
    assert any("clean/ds=2026-03-02/000002" in f for f in left)
