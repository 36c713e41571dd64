"""The lake, the landing zone and the models on an S3-compatible server: all that is not Spark's own reading and writing."""

from __future__ import annotations

import datetime as dt
import gzip
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from moto.server import ThreadedMotoServer

from recsys_core import registry
from recsys_core.acceptance import accept, acceptances
from recsys_core.attempts import claim
from recsys_core.catalogue import catalogue_as_of
from recsys_core.janitor import dead, tidy
from recsys_core.lake import FencedError, Lake, LakeError, Stamp
from recsys_core.landing import Landing
from recsys_core.tables import TABLES

D = dt.date(2026, 3, 2)
NEXT = D + dt.timedelta(days=1)
STAMP = Stamp("clean-20260302-abcdef0123", "inputs", attempt=1)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    running = ThreadedMotoServer(port=0)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """URL of an empty bucket; whoever opens it finds the server by the environment, as in production."""
    for name, value in {"AWS_ENDPOINT_URL": server, "AWS_ACCESS_KEY_ID": "ana", "AWS_SECRET_ACCESS_KEY": "secret"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    fsspec.filesystem("s3").clear_instance_cache()
    name = f"b{abs(hash(request.node.name))}"
    fsspec.filesystem("s3", use_listings_cache=False).mkdir(name)
    return f"s3://{name}"


def rows(*names: str, ds: dt.date = D) -> pa.Table:
    return pa.Table.from_pylist([{"ds": ds, "category": n, "valid_from_ds": ds} for n in names], schema=TABLES["category"].arrow_schema())


def test_partitions_become_live_whole_and_are_seen_by_others_at_once(bucket: str) -> None:
    lake, other = Lake(f"{bucket}/lake"), Lake(f"{bucket}/lake")
    assert other.nights("category") == []
    assert other.manifest("category", D) is None
    made = lake.write("category", D, rows("a", "b"), STAMP)
    assert other.manifest("category", D) == made
    assert other.nights("category") == [D]
    assert other.read("category", [D]).equals(rows("a", "b"))
    assert (made.rows, len(made.files)) == (2, 1)
    assert made.bytes == lake.fs.size(lake.path(made.files[0]))
    lake.write("category", D, rows(), replace(STAMP, attempt=2))
    assert other.read("category", [D]).num_rows == 0, "an empty night is a night"
    with pytest.raises(LakeError, match="category of 2026-03-03 is not built"):
        other.read("category", [D, NEXT])
    lake.write("user_topic_day", D, TABLES["user_topic_day"].arrow_schema().empty_table(), STAMP, model_version="v1")
    assert other.nights("user_topic_day", model_version="v1") == [D]
    assert other.manifest("user_topic_day", D, model_version="v2") is None


def test_attempts_are_fenced_and_remains_tidied(bucket: str) -> None:
    lake = Lake(f"{bucket}/lake")
    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda _: claim(lake, "publish", D).number, range(8)))
    assert len(set(numbers)) == 8
    first = claim(lake, "clean", D)
    second = claim(lake, "clean", D)
    with pytest.raises(FencedError, match="overtaken"):
        first.check()
    lake.write("category", D, rows("new"), replace(STAMP, attempt=second.number))
    with pytest.raises(FencedError, match="other inputs"):
        lake.write("category", D, rows("old"), replace(STAMP, attempt=first.number, input_hash="before"))
    lake.write("category", D, rows("newest"), replace(STAMP, attempt=3))
    lake.write_bytes(f"{lake.staging('clean', D, 1)}/x", b"1")
    assert sorted(d.what for d in dead(lake)) == ["staging", "superseded"]
    assert tidy(lake, dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)) == []
    assert len(tidy(lake, dt.datetime.now(dt.UTC) + dt.timedelta(hours=1))) == 2
    assert lake.read("category", [D])["category"].to_pylist() == ["newest"]
    lake.clear_staging("clean", D, 5)
    assert lake.names("_staging/clean/ds=2026-03-02") == []


def test_models_and_acceptances(bucket: str) -> None:
    lake = Lake(f"{bucket}/lake")
    day = D.isoformat()
    version = registry.ModelVersion("topics-1", "topics", day, day, NEXT.isoformat(), {"k": 2}, "data", "code")
    made = registry.register(lake, version, {"centroids.npz": registry.arrays_to_bytes(centroids=np.eye(2))})
    assert registry.versions(Lake(lake.url), "topics") == [made]
    assert registry.arrays_from_bytes(registry.load(lake, made, "centroids.npz"))["centroids"].tolist() == [[1, 0], [0, 1]]
    lake.write_bytes(f"{made.folder}/centroids.npz", b"other")
    with pytest.raises(LakeError, match="changed"):
        registry.load(lake, made, "centroids.npz")
    accept(lake, D, "landing_file", "volume", "a sale", dt.datetime(2026, 3, 3, tzinfo=dt.UTC))
    assert acceptances(lake, D)["reason"].to_pylist() == ["a sale"]


def test_the_landing_zone(bucket: str) -> None:
    landing = Landing(f"{bucket}/landing")
    files = {"events/ds=2026-03-02/a.jsonl": b"{}\n", "items/ds=2026-03-02/i.csv.gz": gzip.compress(b"item_id,title\ni1,Tea\n", mtime=0)}
    assert landing.nights() == []
    for name, data in files.items():
        landing.fs.pipe_file(f"{landing.root}/{name}", data)
    assert landing.nights() == [D]
    assert landing.files(D) == ["events/ds=2026-03-02/a.jsonl"]
    before = landing.fingerprint(landing.read_by(D))
    assert [f for f, _ in before] == sorted(files)
    landing.fs.pipe_file(f"{landing.root}/events/ds=2026-03-02/a.jsonl", b"{} \n")
    assert landing.fingerprint(landing.read_by(D)) != before
    assert catalogue_as_of(landing, D).items.select(["item_id", "title"]).to_pylist() == [{"item_id": "i1", "title": "Tea"}]
