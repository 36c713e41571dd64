"""Embedding spaces: which encoder a night's vectors come from, fitted encoders, and vectors made in shards."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from jobs.gpu import embed_shard
from jobs.runner import NO_MODEL, Runner
from recsys_core import encoders, registry
from recsys_core.encoders import versions
from recsys_core.lake import LakeError
from tests.test_training import D1, D2, D3, ITEMS, LATE, SEARCHES, Shop

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CHINESE = {
    f"z{n:02}": text
    for n, text in enumerate(
        [f"{w}登山鞋，适合{p}徒步" for w in ("轻便", "防水", "结实") for p in ("高山", "泥地")]
        + [f"{w}巧克力蛋糕，配{p}" for w in ("松软", "黑", "夹心") for p in ("奶油", "樱桃")]
    )
}
BOTH = ITEMS | CHINESE


def under(shop: Shop, encoder: str) -> Shop:
    """The same lake with another encoder set."""
    spark = shop.runner.__dict__.get("spark")
    shop.runner = Runner(shop.runner.settings.model_copy(update={"encoder": encoder}), shop.said.append)
    if spark is not None:
        shop.runner.__dict__["spark"] = spark
    return shop


def vectors(shop: Shop, ds: dt.date, space: str) -> pa.Table:
    return shop.lake.read("text_embedding", [ds], ["text_hash", "vec"], embedding_space=space).sort_by("text_hash")


def landed(folder: Path, spark: SparkSession | None, encoder: str) -> Shop:
    shop = under(Shop(folder, spark), encoder)
    shop.land(D1, BOTH, SEARCHES, [("ann", "i00", {"view": 2}), ("bob", "z07", {"view": 1})])
    shop.land(D2, BOTH | LATE, [], [("ann", "late1", {"view": 1})])
    shop.land(D3, BOTH | LATE, [("ann", "search", "boots for muddy trails", None)], [])
    return shop


def test_a_night_keeps_the_space_of_its_topics_when_another_encoder_is_set(spark: SparkSession, tmp_path: Path) -> None:
    old, new = encoders.space_of("minilm"), encoders.space_of("bilingual")
    shop = landed(tmp_path, spark, "minilm")
    shop.runner.training(D1)
    shop.runner.run("embed", D2)
    shop.runner.run("assign_topics", D2)
    under(shop, "bilingual")
    shop.said.clear()
    shop.runner.run("embed", D2)
    assert shop.said == [f"{D2} embed: up to date"], "its topics live in the space of the encoder that was set before"
    shop.runner.run("assign_topics", D2)
    assert shop.lake.nights("text_embedding", embedding_space=new) == []
    shop.runner.run("fit_encoder", D2)
    shop.runner.run("fit_topics", D2)
    shop.runner.run("promote", D2, accept_churn=True, accept_worse=True, reason="reads Chinese")
    assert shop.lake.nights("text_embedding", embedding_space=new) == [D1, D2], "a training embeds its nights in its own space"
    assert [m.embedding_space for m in shop.runner.models_for("profile", D2) if m] == [old]
    assert [m.embedding_space for m in shop.runner.models_for("profile", D3) if m] == [new]
    assert [m.embedding_space for m in shop.runner.models_for("embed", D2) if m] == [old, new], "nights after it read this one in theirs"
    shop.runner.run("embed", D3)
    assert (vectors(shop, D3, new).num_rows, shop.lake.nights("text_embedding", embedding_space=old)) == (1, [D1, D2])


def test_a_fitted_encoder_is_fitted_once_and_its_space_opened_again(spark: SparkSession, tmp_path: Path) -> None:
    shop = landed(tmp_path, spark, "lsa")
    shop.runner.run("embed", D1)
    assert shop.said == [f"{D1} embed: {NO_MODEL}"]
    shop.runner.training(D1)
    (version,) = registry.versions(shop.lake, versions.kind_of("lsa"))
    space = version.embedding_space
    assert space is not None
    assert (version.train_to, version.valid_from_ds, version.status) == (str(D1), str(D2), "champion")
    assert {v.embedding_space for v in registry.versions(shop.lake)} == {space}
    shop.runner.run("embed", D2)
    shop.runner.run("assign_topics", D2)
    shop.runner.training(D2)
    assert registry.versions(shop.lake, versions.kind_of("lsa")) == [version], "it is kept: a new one would be another space"
    for champion in registry.versions(shop.lake, "topics"):
        found = shop.lake.read("item_topic", [D2], model_version=champion.model_version).to_pylist()
        top = {r["item_id"]: r["topic_id"] for r in found if r["rank"] == 1}
        for boots, cakes in (("i00", "i01"), ("z00", "z06")):
            assert top[boots] != top[cakes]
    # Years later another encoder is set: the space of the night is opened from the registry.
    again = under(shop, "minilm")
    again.runner.run("embed", D3)
    assert vectors(again, D3, space).num_rows == 1
    again.lake.write_bytes(f"{version.folder}/{next(iter(version.files))}", b"other bytes")
    with pytest.raises(LakeError, match="changed after it was registered"):
        versions.open_space(again.lake, space, "minilm", "cpu", "torch")
    with pytest.raises(LakeError, match=r"of this night belong to minilm-0.* but the encoder minilm .* makes minilm-"):
        versions.open_space(again.lake, "minilm-0", "minilm")


def test_shards_share_a_night_and_what_one_leaves_undone_is_done(tmp_path: Path) -> None:
    shop, plain = landed(tmp_path / "sharded", None, "minilm"), landed(tmp_path / "plain", None, "minilm")
    plain.runner.run("embed", D1)
    embed_shard(shop.runner, D1, 1, 3)
    embed_shard(shop.runner, D1, 3, 3)
    embed_shard(shop.runner, D1, 2, 4)  # an earlier cut of the night: the texts that it shares with the others count once
    all_new = set(vectors(plain, D1, encoders.space_of("minilm"))["text_hash"].to_pylist())
    new = [{h for h in all_new if int(h[:16], 16) % of == part - 1} for part, of in ((1, 3), (3, 3), (2, 4))]
    assert all(new)
    assert new[2] & (new[0] | new[1])
    shop.said.clear()
    shop.runner.run("embed", D1)
    space = encoders.space_of("minilm")
    left = len(all_new - new[0] - new[1] - new[2])
    assert f"embedded {left} of {left} texts" in shop.said
    assert vectors(shop, D1, space).equals(vectors(plain, D1, space)), "the same bytes, whoever encoded them"
    assert shop.lake.names("_staging/embed_shards/" + space) == []


def test_sparks_executors_give_the_vectors_of_this_process(spark: SparkSession, tmp_path: Path) -> None:
    space, found = encoders.space_of("bilingual"), []
    for where in ("local", "spark"):
        shop = Shop(tmp_path / where, spark)
        shop.land(D1, dict(list(BOTH.items())[::9]), [], [])
        shop.runner.settings.embed_on = where
        shop.runner.run("embed", D1)
        found.append(vectors(shop, D1, space))
        manifest = shop.lake.manifest("text_embedding", D1, embedding_space=space)
        assert manifest
        assert manifest.models["device"] == ("spark" if where == "spark" else "cpu")
    local, far = (np.stack([np.frombuffer(v, "<f2").astype(np.float64) for v in table["vec"].to_pylist()]) for table in found)
    assert found[0]["text_hash"].equals(found[1]["text_hash"])
    assert np.abs(local - far).max() <= 1e-5
