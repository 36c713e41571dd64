"""Models are chosen by the night alone and trusted by their bytes."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
from pathlib import Path

import numpy as np
import pytest

from recsys_core import registry
from recsys_core.lake import Lake, LakeError
from recsys_core.registry import ModelVersion
from recsys_core.tables import TABLES

DAY = dt.date.fromisoformat


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path))


def version(name: str, valid_from: str, status: str = "champion", promoted_at: str | None = None) -> ModelVersion:
    return ModelVersion(name, "topics", "2026-01-01", "2026-01-31", valid_from, {"k": 20}, "data", "code", "space", status, promoted_at)


def test_a_night_uses_the_newest_version_valid_on_it(lake: Lake) -> None:
    for made in (
        version("a", "2026-02-01"),
        version("b", "2026-02-10", "retired"),
        version("c", "2026-03-01"),
        version("d", "2026-02-05", "candidate"),
    ):
        registry.register(lake, made, {})
    chosen = {
        day: registry.valid_for(lake, "topics", DAY(day))
        for day in ("2026-01-31", "2026-02-01", "2026-02-09", "2026-02-10", "2026-02-28", "2026-03-01")
    }
    assert {d: v and v.model_version for d, v in chosen.items()} == {
        "2026-01-31": None,
        "2026-02-01": "a",
        "2026-02-09": "a",  # d is a candidate: never
        "2026-02-10": "b",  # b was champion then, though it is retired now
        "2026-02-28": "b",
        "2026-03-01": "c",
    }
    assert registry.valid_for(lake, "ranker", DAY("2026-03-01")) is None


def test_two_versions_valid_from_the_same_night_are_told_apart_by_promotion(lake: Lake) -> None:
    registry.register(lake, version("a", "2026-02-01", promoted_at="2026-02-03T00:00:00+00:00"), {})
    registry.register(lake, version("b", "2026-02-01", promoted_at="2026-02-02T00:00:00+00:00"), {})
    assert registry.valid_for(lake, "topics", DAY("2026-02-01")).model_version == "a"  # type: ignore[union-attr]


def test_artefacts_come_back_and_a_changed_one_is_refused(lake: Lake) -> None:
    made = registry.register(lake, version("a", "2026-02-01"), {"centroids.npz": b"bytes", "labels.json": b"{}"})
    assert registry.load(lake, made, "centroids.npz") == b"bytes"
    assert registry.find(lake, "topics", "a") == made
    lake.write_bytes(f"{made.folder}/centroids.npz", b"Bytes")
    with pytest.raises(LakeError, match=r"a/centroids.npz was changed after it was registered: restore it or train again"):
        registry.load(lake, made, "centroids.npz")
    with pytest.raises(LakeError, match="changed"):
        registry.load(lake, dataclasses.replace(made, files={}), "labels.json")


def test_training_again_restores_the_artefacts_and_keeps_the_status(lake: Lake) -> None:
    made = registry.register(lake, version("a", "2026-02-01"), {"x": b"1"})
    lake.write_bytes(f"{made.folder}/x", b"2")
    again = registry.register(lake, version("a", "2026-02-01", "candidate"), {"x": b"1"})
    assert again == made
    assert again.status == "champion"
    assert registry.load(lake, again, "x") == b"1"


def test_record_that_is_no_record_is_named(lake: Lake) -> None:
    lake.write_bytes("_models/topics/a/model.json", b"[]")
    with pytest.raises(LakeError, match=r"topics/a/model.json is no model record"):
        registry.versions(lake, "topics")


def test_arrays_travel_without_pickle() -> None:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "words": np.array(["茶", "tea"])}
    data = registry.arrays_to_bytes(**arrays)
    assert data == registry.arrays_to_bytes(**arrays)
    back = registry.arrays_from_bytes(data)
    assert sorted(back) == ["a", "words"]
    assert all(np.array_equal(back[n], arrays[n]) and back[n].dtype == arrays[n].dtype for n in arrays)
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        registry.arrays_to_bytes(bad=np.array([{"a": 1}], dtype=object))
    pickled = io.BytesIO()
    np.savez(pickled, bad=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        registry.arrays_from_bytes(pickled.getvalue())


def test_equal_training_has_an_equal_name_and_anything_else_another() -> None:
    base = ("topics", DAY("2026-01-31"), "fingerprint", {"k": 20, "seed": 1})
    name = registry.version_name(*base)
    assert name == registry.version_name("topics", DAY("2026-01-31"), "fingerprint", {"seed": 1, "k": 20})
    assert name.startswith("topics-2026-01-31-")
    others = [
        ("lda", *base[1:]),
        (base[0], DAY("2026-02-01"), *base[2:]),
        (*base[:2], "other", base[3]),
        (*base[:3], {"k": 21, "seed": 1}),
    ]
    assert len({name, *(registry.version_name(*o) for o in others)}) == 5


def test_versions_are_rows_of_their_table(lake: Lake) -> None:
    registry.register(lake, version("b", "2026-02-01", promoted_at="2026-02-01T03:00:00+00:00"), {"x": b"1"})
    registry.register(lake, version("a", "2026-03-01", "candidate"), {"x": b"2"})
    rows = registry.as_table(registry.versions(lake))
    assert rows.schema.equals(TABLES["model_version"].arrow_schema())
    assert rows["model_version"].to_pylist() == ["b", "a"]
    assert rows["promoted_at"].to_pylist() == [dt.datetime(2026, 2, 1, 3, tzinfo=dt.UTC), None]
    assert rows["params"].to_pylist() == ['{"k":20}'] * 2
    assert len(set(rows["artifact_sha256"].to_pylist())) == 2
    assert rows["artifact_uri"].to_pylist()[0] == "_models/topics/b"
