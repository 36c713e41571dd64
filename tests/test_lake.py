"""Partitions are live whole or not at all, and equal contents have equal checksums."""

from __future__ import annotations

import datetime as dt
import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from recsys_core.lake import Lake, LakeError, Part, SchemaError, Stamp, canonical_json, checksum, conform, digest, empty, parts
from recsys_core.lake.checksums import Sums, sums
from recsys_core.landing import Landing
from recsys_core.tables import TABLES

D = dt.date(2026, 3, 2)
NEXT = D + dt.timedelta(days=1)
UTC = dt.UTC
STAMP = Stamp("clean-20260302-abc", "hash-1", (("landing", "x"),), "code", {"topics": "t1"})


def items(*rows: dict[str, Any], ds: dt.date = D) -> pa.Table:
    """Rows of the table item; each names what differs from a plain one."""
    plain = {
        "ds": ds,
        "title": "a",
        "description": None,
        "tags": ["x", "y"],
        "category": "c",
        "brand": None,
        "price": Decimal("9.9900"),
        "lang": "en",
        "valid_from_ds": ds,
        "first_ds": ds,
        "deleted": False,
    }
    return pa.Table.from_pylist([plain | r for r in rows], schema=TABLES["item"].arrow_schema())


ROWS = items(
    {"item_id": "i1"},
    {"item_id": "i2", "tags": [], "title": "", "price": None},
    {"item_id": "i3", "tags": None, "title": None, "description": "商品 № 3"},
)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


# -- writing and reading -----------------------------------------------------------------------------------------------------------
def test_what_is_written_is_read_back(lake: Lake) -> None:
    manifest = lake.write("item", D, ROWS, STAMP)
    assert lake.read("item", [D]).equals(ROWS)
    assert lake.read("item", [D], ["tags", "item_id"]).column_names == ["tags", "item_id"]
    assert lake.manifest("item", D) == manifest
    assert (manifest.rows, manifest.run_id, manifest.input_hash, manifest.models) == (3, STAMP.run_id, "hash-1", {"topics": "t1"})
    assert manifest.checksum == checksum(ROWS)
    assert manifest.bytes == sum((Path(lake.root) / f).stat().st_size for f in manifest.files)
    assert lake.nights("item") == [D]


def test_nights_are_read_in_the_order_asked_for(lake: Lake) -> None:
    lake.write("item", NEXT, items({"item_id": "b"}, ds=NEXT), STAMP)
    lake.write("item", D, items({"item_id": "a"}), STAMP)
    assert lake.nights("item") == [D, NEXT]
    assert lake.read("item", [D, NEXT])["item_id"].to_pylist() == ["a", "b"]
    assert lake.read("item", []).equals(empty(TABLES["item"]))


def test_empty_night_is_a_partition(lake: Lake) -> None:
    assert lake.manifest("item", D) is None
    lake.write("item", D, empty(TABLES["item"]), STAMP)
    assert lake.manifest("item", D).rows == 0  # type: ignore[union-attr]
    assert lake.read("item", [D]).num_rows == 0


def test_night_not_built_is_named(lake: Lake) -> None:
    with pytest.raises(LakeError, match="item of 2026-03-03 is not built"):
        lake.read("item", [NEXT])


def test_broken_manifest_is_named_with_its_remedy(lake: Lake) -> None:
    lake.write("item", D, ROWS, STAMP)
    lake.write_bytes("item/ds=2026-03-02/_manifest.json", b"{")
    with pytest.raises(LakeError, match=r"ds=2026-03-02/_manifest.json is no manifest .*run the night again"):
        lake.manifest("item", D)


@pytest.mark.parametrize("read", [lambda lake: lake.read("item", [D]), lambda lake: list(lake.stream("item", [D]).to_batches())])
def test_a_file_without_a_column_is_named_with_its_remedy(lake: Lake, read: Callable[[Lake], Any]) -> None:
    (relative,) = lake.write("item", D, ROWS, STAMP).files
    pq.write_table(ROWS.drop_columns(["brand", "tags"]), lake.path(relative))  # as an earlier version would have left it
    with pytest.raises(LakeError, match=r"part-.* has no tags, brand: an earlier version .* build its night again"):
        read(lake)
    assert lake.read("item", [D], ["item_id"])["item_id"].to_pylist() == ["i1", "i2", "i3"]


def test_partition_columns_beside_ds(lake: Lake) -> None:
    rows = pa.Table.from_pylist(
        [{"ds": D, "item_id": "i1", "topic_id": 7, "weight": 1.0, "rank": 1, "model_version": "m1"}],
        schema=TABLES["item_topic"].arrow_schema(),
    )
    lake.write("item_topic", D, rows, STAMP, model_version="m1")
    assert lake.manifest("item_topic", D, model_version="m1").partition == {"model_version": "m1"}  # type: ignore[union-attr]
    assert lake.manifest("item_topic", D, model_version="m2") is None
    with pytest.raises(LakeError, match="laid out by ds, model_version: got nothing beside ds"):
        lake.read("item_topic", [D])
    with pytest.raises(SchemaError, match=r"another partition than item_topic/ds=2026-03-02/model_version=m2 \(model_version\)"):
        lake.write("item_topic", D, rows, STAMP, model_version="m2")


def test_space_comes_before_the_night(lake: Lake) -> None:
    row = {"ds": D, "text_hash": "h", "embedding_space": "s1", "vec": np.ones(4, "<f2").tobytes()}
    lake.write(
        "text_embedding", D, pa.Table.from_pylist([row], schema=TABLES["text_embedding"].arrow_schema()), STAMP, embedding_space="s1"
    )
    assert lake.nights("text_embedding", embedding_space="s1") == [D]
    assert lake.nights("text_embedding", embedding_space="s2") == []
    assert (Path(lake.root) / "text_embedding/embedding_space=s1/ds=2026-03-02/_manifest.json").is_file()


def test_rows_of_another_night_are_strangers(lake: Lake) -> None:
    with pytest.raises(SchemaError, match=r"table item: rows of another partition than item/ds=2026-03-03 \(ds\)"):
        lake.write("item", NEXT, ROWS, STAMP)
    mixed = pa.concat_tables([ROWS, items({"item_id": "i9"}, ds=NEXT)])
    with pytest.raises(SchemaError, match="another partition"):
        lake.write("item", D, mixed, STAMP)


def test_lake_can_be_copied(lake: Lake, tmp_path: Path) -> None:
    manifest = lake.write("item", D, ROWS, STAMP)
    shutil.move(lake.root, tmp_path / "elsewhere")
    moved = Lake(str(tmp_path / "elsewhere"))
    assert moved.manifest("item", D) == manifest
    assert moved.read("item", [D]).equals(ROWS)


def test_a_lake_may_be_any_file_system_that_fsspec_knows() -> None:
    lake = Lake("memory://shop/lake")
    lake.write("item", D, ROWS, STAMP)
    assert lake.read("item", [D]).equals(ROWS)
    assert lake.nights("item") == [D]


# -- one atomic step ---------------------------------------------------------------------------------------------------------------
class Killed(BaseException):
    """Stands for the end of the process."""


class DyingLake(Lake):
    """Dies when it is about to make a partition live."""

    def write_bytes(self, relative: str, data: bytes) -> None:
        raise Killed


def test_interrupted_write_leaves_the_old_partition_live(lake: Lake) -> None:
    lake.write("item", D, ROWS, STAMP)
    before = lake.manifest("item", D)
    with pytest.raises(Killed):
        DyingLake(lake.root).write("item", D, items({"item_id": "new"}), STAMP)
    assert len(lake.folders("item/ds=2026-03-02")) == 2  # the dead run's files lie there, and nobody sees them
    assert lake.manifest("item", D) == before
    assert lake.read("item", [D]).equals(ROWS)
    lake.write("item", D, items({"item_id": "new"}), STAMP)
    assert lake.read("item", [D])["item_id"].to_pylist() == ["new"]


def test_interrupted_first_write_leaves_nothing(lake: Lake) -> None:
    with pytest.raises(Killed):
        DyingLake(lake.root).write("item", D, ROWS, STAMP)
    assert lake.nights("item") == []


def test_process_killed_while_replacing_a_file_leaves_the_old_one(lake: Lake, repo_root: Path) -> None:
    lake.write_bytes("a/b", b"old")
    code = (
        "import os, sys\nfrom recsys_core import lake\n"
        "lake.os.replace = lambda *a: os.kill(os.getpid(), 9)\n"
        "lake.Lake(sys.argv[1]).write_bytes('a/b', b'new')\n"
    )
    assert subprocess.run([sys.executable, "-c", code, lake.root], cwd=repo_root, check=False).returncode == -9
    assert lake.read_bytes("a/b") == b"old"


def test_refused_rows_leave_the_old_partition_live(lake: Lake) -> None:
    lake.write("item", D, ROWS, STAMP)
    with pytest.raises(SchemaError):
        lake.write("item", D, pa.concat_tables([ROWS, ROWS]), STAMP)
    assert lake.read("item", [D]).equals(ROWS)


# -- validation --------------------------------------------------------------------------------------------------------------------
def test_every_difference_is_named_in_one_error() -> None:
    table = TABLES["item_topic"]
    wrong = pa.table(
        {
            "ds": [D, D],
            "item_id": ["i1", None],
            "topic_id": ["seven", "8"],
            "weight": pa.array([1, 1], pa.int32()),
            "rank": pa.array([1, 70_000], pa.int64()),
            "colour": ["red", "red"],
        }
    )
    with pytest.raises(SchemaError) as caught:
        conform(wrong, table)
    message = str(caught.value)
    assert message.startswith("table item_topic: ")
    for part in (
        "missing column model_version",
        "undeclared column colour",
        "column item_id has 1 nulls",
        "column topic_id is string, declared int64",
    ):
        assert part in message
    assert "column rank is int64, declared int16" in message
    assert "weight" not in message


def test_conform_orders_and_casts_what_loses_nothing() -> None:
    given_rows = ROWS.select(list(reversed(ROWS.column_names)))
    given_rows = given_rows.set_column(given_rows.column_names.index("deleted"), "deleted", pa.array([False] * 3))
    given_rows = given_rows.set_column(given_rows.column_names.index("lang"), "lang", pa.array(["en"] * 3, pa.large_string()))
    assert conform(given_rows, TABLES["item"]).equals(ROWS)


def test_cast_that_would_lose_something_is_refused() -> None:
    row = {"ds": D, "item_id": "i", "topic_id": 1.5, "weight": 1.0, "rank": 1, "model_version": "m"}
    with pytest.raises(SchemaError, match="topic_id is double, declared int64"):
        conform(pa.Table.from_pylist([row]), TABLES["item_topic"])


def test_repeated_keys_are_counted() -> None:
    with pytest.raises(SchemaError, match=r"2 rows repeat the key \(ds, item_id\)"):
        conform(items({"item_id": "a"}, {"item_id": "a"}, {"item_id": "b"}, {"item_id": "a"}), TABLES["item"])


# -- checksum ----------------------------------------------------------------------------------------------------------------------


def test_checksum_does_not_depend_on_order_or_chunks() -> None:
    wanted = checksum(ROWS)
    assert checksum(ROWS.take([2, 0, 1])) == wanted
    assert checksum(pa.concat_tables([ROWS.slice(2), ROWS.slice(0, 1), ROWS.slice(1, 1)])) == wanted
    assert checksum(pa.concat_tables([items({"item_id": "i0"}), ROWS]).slice(1)) == wanted
    assert checksum(ROWS.select(list(reversed(ROWS.column_names)))) == wanted


@pytest.mark.parametrize(
    "change",
    [
        {"item_id": "i2"},
        {"title": "b"},
        {"title": ""},
        {"title": None},
        {"tags": None},
        {"tags": []},
        {"tags": ["xy"]},
        {"tags": ["x", "y", ""]},
        {"tags": ["x", None]},
        {"tags": ["y", "x"]},
        {"price": Decimal("9.9901")},
        {"price": None},
        {"valid_from_ds": NEXT},
        {"deleted": True},
        {"category": "d", "lang": "en"},
        {"category": "", "lang": "cen"},
    ],
    ids=str,
)
def test_checksum_sees_every_change(change: dict[str, Any]) -> None:
    assert checksum(items({"item_id": "i1"} | change)) != checksum(items({"item_id": "i1"}))


def test_checksum_sees_where_lists_and_strings_are_cut() -> None:
    a = items({"item_id": "1", "tags": ["x"], "title": "ab"}, {"item_id": "2", "tags": ["y", "z"], "title": "c"})
    b = items({"item_id": "1", "tags": ["x", "y"], "title": "ab"}, {"item_id": "2", "tags": ["z"], "title": "c"})
    c = items({"item_id": "1", "tags": ["x"], "title": "a"}, {"item_id": "2", "tags": ["y", "z"], "title": "bc"})
    assert len({checksum(t) for t in (a, b, c)}) == 3


def test_checksum_of_numbers() -> None:
    def of(*values: Any, kind: pa.DataType | None = None) -> str:
        return checksum(pa.table({"k": list(range(len(values))), "v": pa.array(values, kind or pa.float64())}))

    assert of(0.0) == of(-0.0)
    assert of([0.0, -0.0], kind=pa.list_(pa.float32())) == of([-0.0, 0.0], kind=pa.list_(pa.float32()))
    assert len({of(0.0), of(None), of(0.1), of(0.1 + 1e-15), of(float("inf")), of(float("nan"))}) == 6
    assert of(0, kind=pa.int64()) != of(None, kind=pa.int64())
    assert of(False, kind=pa.bool_()) != of(None, kind=pa.bool_()) != of(True, kind=pa.bool_())
    moment = dt.datetime(2026, 1, 1, tzinfo=UTC)
    later = moment + dt.timedelta(microseconds=1)
    assert of(moment, kind=pa.timestamp("us", "UTC")) != of(later, kind=pa.timestamp("us", "UTC"))
    assert of(b"", kind=pa.binary()) != of(None, kind=pa.binary()) != of(b"\0", kind=pa.binary())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=4) | st.none(), st.lists(st.text(max_size=3) | st.none(), max_size=3) | st.none()), max_size=5),
    st.randoms(use_true_random=False),
)
def test_checksum_of_any_rows_survives_a_shuffle_and_tells_rows_apart(rows: list[tuple[Any, Any]], random: Any) -> None:
    schema = pa.schema([("k", pa.int64()), ("s", pa.string()), ("l", pa.list_(pa.string()))])
    made = [{"k": i, "s": s, "l": values} for i, (s, values) in enumerate(rows)]
    mixed = random.sample(made, len(made))
    wanted = checksum(pa.Table.from_pylist(made, schema=schema))
    assert checksum(pa.Table.from_pylist(mixed, schema=schema)) == wanted
    if made:
        changed = [{**made[0], "s": "changed!"}, *made[1:]]
        assert checksum(pa.Table.from_pylist(changed, schema=schema)) != wanted


def test_canonical_json_is_sorted_and_tight() -> None:
    assert canonical_json({"b": [1, 0.5], "a": "é"}) == '{"a":"é","b":[1,0.5]}'
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 1})


# -- Spark -------------------------------------------------------------------------------------------------------------------------
FULL = {
    "event_clean": {
        "ds": D,
        "event_id": "e1",
        "user_key": "u",
        "item_id": None,
        "event_type": "search",
        "event_ts": dt.datetime(2026, 3, 2, 23, 59, 59, 999_999, UTC),
        "received_ts": dt.datetime(1969, 12, 31, 23, 0, tzinfo=UTC),
        "session_id": None,
        "rating": -0.0,
        "quantity": 2,
        "price": Decimal("12345.6789"),
        "dwell_s": 1.5,
        "text": "",
        "query": "红茶",
        "lang": None,
        "device": None,
        "region": None,
        "daypart": "night",
        "source": "canonical",
        "repairs": ["day_precision"],
        "extra": None,
    },
    "user_profile": {
        "ds": D,
        "user_key": "u",
        "lifecycle": "new",
        "cold_level": 2,
        "n_events_30d": 3,
        "n_topics": 1,
        "entropy": 0.0,
        "drift_7d": None,
        "top_topic_id": 4,
        "summary_en": "s",
        "summary_zh": "句",
        "vector": [0.25, -0.5],
        "embedding_space": "m",
        "model_version": None,
        "run_id": "r",
    },
}


@pytest.mark.parametrize("name", FULL)
def test_spark_and_arrow_writes_of_the_same_rows_are_equal(lake: Lake, spark: SparkSession, name: str) -> None:
    key = TABLES[name].key[-1]
    rows = [FULL[name] | {key: f"{key}{i}"} for i in range(7)]
    table = pa.Table.from_pylist(rows, schema=TABLES[name].arrow_schema())
    arrow = lake.write(name, D, table, STAMP)
    read = lake.scan(spark, name, [D])
    by_spark = Lake(f"{lake.root} by spark")  # a folder with a space in its name
    written = by_spark.write(name, D, read.repartition(3), STAMP)
    assert (written.rows, written.checksum) == (7, arrow.checksum)
    assert by_spark.read(name, [D]).sort_by(key).equals(table.sort_by(key))
    nothing = by_spark.write(name, D, read.where("1 = 0"), STAMP)
    assert nothing.checksum == checksum(table.slice(0, 0))
    assert by_spark.scan(spark, name, [D]).count() == 0
    assert by_spark.scan(spark, name, []).dtypes == read.dtypes


def test_spark_rows_are_audited_before_they_are_live(lake: Lake, spark: SparkSession) -> None:
    lake.write("item", D, ROWS, STAMP)
    read = lake.scan(spark, "item", [D])
    with pytest.raises(SchemaError, match="missing column lang; undeclared column colour"):
        lake.write("item", D, read.withColumnRenamed("lang", "colour"), STAMP)
    with pytest.raises(SchemaError, match="3 rows repeat the key"):
        lake.write("item", D, read.union(read), STAMP)
    with pytest.raises(SchemaError, match="another partition"):
        lake.write("item", NEXT, read, STAMP)
    assert lake.read("item", [D]).equals(ROWS)


# -- landing -----------------------------------------------------------------------------------------------------------------------
def test_landing_lists_days_and_data_files(tmp_path: Path) -> None:
    for file in (
        "events/ds=2026-03-03/b.jsonl",
        "events/ds=2026-03-03/a.jsonl.gz",
        "events/ds=2026-03-03/_expected.json",
        "events/notes/x",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"[]")
    (tmp_path / "events/ds=2026-03-02").mkdir()
    landing = Landing(str(tmp_path))
    assert landing.nights() == [D, NEXT]
    assert landing.nights("items") == []
    assert landing.files(D) == landing.files(dt.date(2026, 1, 1)) == []
    assert landing.files(NEXT) == ["events/ds=2026-03-03/a.jsonl.gz", "events/ds=2026-03-03/b.jsonl"]
    first = landing.fingerprint(landing.files(NEXT))
    (tmp_path / "events/ds=2026-03-03/b.jsonl").write_bytes(b"longer")
    second = landing.fingerprint(landing.files(NEXT))
    assert first[0] == second[0]
    assert first[1] != second[1]


def test_landing_declares_its_source(tmp_path: Path) -> None:
    landing = Landing(str(tmp_path))
    assert landing.source() == {"source": "canonical", "time_zone_of_naive_ts": None, "expected_reasons": []}
    (tmp_path / "_source.json").write_text('{"source": "steam", "expected_reasons": ["no_user"]}')
    assert landing.source() == {"source": "steam", "time_zone_of_naive_ts": None, "expected_reasons": ["no_user"]}
    (tmp_path / "_source.json").write_text("{")
    with pytest.raises(LakeError, match=r"_source.json is not JSON"):
        landing.source()


# -- files that are neither many nor lost ------------------------------------------------------------------------------------------
def test_a_small_partition_has_few_files_however_many_tasks_wrote_it(lake: Lake, spark: SparkSession) -> None:
    names = [f"i{n:03}" for n in range(100)]
    rows = items(*({"item_id": n} for n in names))
    before = str(spark.conf.get("spark.sql.shuffle.partitions"))
    spark.conf.set("spark.sql.shuffle.partitions", "9")
    try:
        made = lake.write("item", D, spark.createDataFrame(rows).repartition(9), STAMP)
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", before)
    folder = made.files[0].rpartition("/")[0]
    assert len(made.files) == 4
    assert [n for n in lake.names(folder) if n.endswith(".parquet")] == [f.rpartition("/")[2] for f in made.files]
    assert made.bytes == sum(lake.fs.size(lake.path(f)) for f in made.files)
    assert sorted(lake.read("item", [D])["item_id"].to_pylist()) == names
    assert made.checksum == lake.write("item", D, rows, STAMP).checksum
    assert [len(lake.write("item", D, spark.createDataFrame(rows).repartition(n), STAMP).files) for n in (1, 3)] == [1, 3]


def test_a_full_disk_is_named_and_leaves_the_old_partition_live(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.write("item", D, ROWS, STAMP)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(LakeError, match=r"item/ds=2026-03-02: No space left on device: free space there and run again"):
        lake.write("item", D, items({"item_id": "new"}), STAMP)
    assert lake.read("item", [D]).equals(ROWS)


# -- parts that tasks write --------------------------------------------------------------------------------------------------------
def days(*users: str, mass: int = 1) -> pa.Table:
    """Rows of user_topic_day, one for each user."""
    rows = [{"ds": D, "model_version": "m", "user_key": u, "topic_id": 1, "mass_micro": mass} for u in users]
    schema = TABLES["user_topic_day"].arrow_schema()
    return pa.Table.from_pylist([{f.name: 0 for f in schema if not f.nullable} | r for r in rows], schema=schema)


def test_parts_of_many_tasks_become_one_partition_and_no_other_file_does(lake: Lake) -> None:
    target = pickle.loads(pickle.dumps(lake.target("user_topic_day", D, STAMP, model_version="m")))
    again = [target.write(0, days("a", "b")) for _ in range(2)]  # a task that was tried twice
    later = target.write(1, days("d", "c"))
    assert (later.low, later.high, later.rows) == ("c", "d", 2)
    assert lake.manifest("user_topic_day", D, model_version="m") is None
    made = lake.finish(target, [later, Part.of(json.loads(json.dumps(again[1])))])
    assert [f.rpartition("/")[2] for f in made.files] == [again[1].name, later.name]
    assert [n for n in lake.names(target.path) if n.endswith(".parquet")] == [again[1].name, later.name]
    whole = lake.write("user_topic_day", D, days("d", "b", "a", "c"), STAMP, model_version="m")
    assert (whole.rows, whole.checksum) == (made.rows, made.checksum)
    assert lake.read("user_topic_day", [D], model_version="m")["user_key"].to_pylist() == ["a", "b", "c", "d"]
    assert lake.finish(lake.target("item", D, STAMP), []).rows == 0


@pytest.mark.parametrize("second", [["c", "b"], ["b"], ["a", "z"]], ids=str)
def test_a_key_in_two_parts_is_found(lake: Lake, second: list[str]) -> None:
    target = lake.target("user_topic_day", D, STAMP, model_version="m")
    parts = [target.write(0, days("a", "b")), target.write(1, days(*second))]
    with pytest.raises(SchemaError, match=r"1 rows repeat the key \(ds, model_version, user_key, topic_id\)"):
        lake.finish(target, parts)
    assert lake.manifest("user_topic_day", D, model_version="m") is None


def test_parts_whose_ranges_overlap_are_taken_when_no_key_repeats(lake: Lake) -> None:
    target = lake.target("user_topic_day", D, STAMP, model_version="m")
    assert lake.finish(target, [target.write(0, days("a", "c")), target.write(1, days("b", "d"))]).rows == 4


def test_a_part_that_is_gone_is_said(lake: Lake) -> None:
    target = lake.target("item", D, STAMP)
    part = target.write(0, ROWS)
    lake.remove(f"{target.path}/{part.name}")
    with pytest.raises(LakeError, match="is not there as it was written: run again"):
        lake.finish(target, [part])
    with pytest.raises(SchemaError, match="another partition than item/ds=2026-03-03"):
        lake.target("item", NEXT, STAMP).write(0, ROWS)


def test_some_users_are_read_by_row_groups(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "GROUP_ROWS", 2)
    lake.write("user_topic_day", D, days(*"fbdace"), STAMP, model_version="m")
    file = pq.ParquetFile(lake.path(lake.manifest("user_topic_day", D, model_version="m").files[0]))  # type: ignore[union-attr]
    assert [file.read_row_group(n)["user_key"].to_pylist() for n in range(3)] == [["a", "b"], ["c", "d"], ["e", "f"]]

    def users(low: str | None, high: str | None) -> list[str]:
        found: list[str] = lake.read("user_topic_day", [D], ["user_key"], (low, high), model_version="m")["user_key"].to_pylist()
        return found

    assert users("b", "e") == ["b", "c", "d"]
    assert users(None, "b") == ["a"]
    assert users("e", None) == ["e", "f"]
    assert users("x", None) == []
    assert lake.read("user_topic_day", [D], ["mass_micro"], ("b", "c"), model_version="m").column_names == ["mass_micro"]
    asked: list[list[int]] = []
    read = pq.ParquetFile.read_row_groups

    def noted(file: pq.ParquetFile, groups: list[int], **how: Any) -> pa.Table:
        asked.append(groups)
        return read(file, groups, **how)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", noted)
    assert (users("c", "d"), users("b", "c")) == (["c"], ["b"])
    assert asked == [[1], [0]]


def test_a_stream_has_the_rows_of_a_partition_a_part_at_a_time(lake: Lake) -> None:
    target = lake.target("item", D, STAMP)
    made = lake.finish(target, [target.write(0, ROWS.slice(0, 2)), target.write(1, ROWS.slice(2))])
    found = lake.stream("item", [D])
    assert (found.num_rows, found.schema) == (3, ROWS.schema)
    assert [b.num_rows for b in found.to_batches(1)] == [1, 1, 1]
    for _ in range(2):  # as often as is asked
        assert sums(found.to_batches()).checksum(found.schema.names) == made.checksum
    with pytest.raises(LakeError, match="item of 2026-03-03 is not built"):
        lake.stream("item", [D, NEXT])


def test_a_checksum_of_an_earlier_version_is_made_anew(lake: Lake) -> None:
    made = lake.write("item", D, ROWS, STAMP)
    assert lake.renewed(made) == made
    before = lake.relabel(made, checksum="ab" * 32)
    assert lake.renewed(before) == made == lake.manifest("item", D)


def test_a_checksum_stays_what_manifests_have_noted() -> None:
    values = {
        "text": pa.array(["", None, "eight by", "nine bytes", "long" * 300]),
        "name": pa.array(["b", "a", None, "b", "a"]).dictionary_encode(),
        "flag": pa.array([True, None, False, True, False]),
        "day": pa.array([0, 1, None, -1, 20_000], pa.date32()),
        "at": pa.array([0, None, -1, 1, 10**15], pa.timestamp("us", "UTC")),
        "n": pa.array([0, None, -1, 2**40, 7]),
        "x": pa.array([0.5, -0.0, None, 1e300, 7.0]),
        "price": pa.array([Decimal("1.5"), None, Decimal(-2), Decimal(0), Decimal(7)], pa.decimal128(18, 4)),
        "codes": pa.array([[], None, ["a"], ["a", None, "b"], ["b", "a"]], pa.list_(pa.string())),
        "vector": pa.array([[0.5], [], None, [1.0, 2.0], [2.0, 1.0]], pa.list_(pa.float32())),
    }
    assert checksum(pa.table(values)) == "665a1b6240e93bd2e330940d631a6d98"


def test_checksum_adds_up_over_any_cuts() -> None:
    longest = items(*({"item_id": f"i{n}", "title": "長" * n, "description": "x" * (n * n)} for n in range(60)))
    whole = sums(longest)
    for cut in (1, 7, 59):
        assert sums(longest.slice(0, cut)).plus(sums(longest.slice(cut))) == whole
    assert len({sums(longest.slice(n, 1)) for n in range(60)}) == 60
    changed = longest.set_column(3, "description", pa.array(["x" * (n * n - 1) + "y" if n else "" for n in range(60)]))
    kept = [n for n in range(60) if sums(changed.slice(n, 1)) == sums(longest.slice(n, 1))]
    assert kept == [0]


@pytest.mark.parametrize("kind", [pa.string(), pa.binary(), pa.large_string(), pa.list_(pa.string())], ids=str)
def test_a_value_of_several_rows_on_end_counts_as_often_as_it_stands(kind: pa.DataType) -> None:
    runs = [None, "", "a", "長" * 400, "a", None]
    values = [value for n, value in enumerate(runs) for _ in range(n + 1)]
    rows = pa.table({"v": pa.array([[v, v] for v in values] if pa.types.is_list(kind) else values, kind)})
    alone = Sums()
    for number in range(len(values)):
        alone = alone.plus(sums(rows.slice(number, 1)))
    assert sums(rows) == alone


def test_checksum_is_the_same_in_every_version_of_the_code() -> None:
    assert checksum(ROWS) == "7921779d4fb00a0b0017e87cb53fce9b"


def test_texts_as_a_dictionary_are_the_same_rows_in_the_same_file(lake: Lake) -> None:
    coded = ROWS
    for name in ("item_id", "title", "category", "description"):
        held = ROWS.column(name).combine_chunks().dictionary_encode()
        coded = coded.set_column(coded.column_names.index(name), name, held)
    # A dictionary may hold what no row has, and in any order.
    held = pa.DictionaryArray.from_arrays(pa.array([2, 2, 2], pa.int32()), pa.array(["z", "never", "c"]))
    coded = coded.set_column(coded.column_names.index("category"), "category", held)
    assert sums(coded) == sums(ROWS)
    found = []
    for rows in (ROWS, coded):
        target = lake.target("item", D, STAMP)
        manifest = lake.finish(target, [target.write(0, rows)])
        found.append((manifest.rows, manifest.checksum, lake.read("item", [D])))
    assert found[0] == found[1]
    assert found[1][2].schema == ROWS.schema
