"""Models are chosen by the night alone and trusted by their bytes."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import io
import pickle
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


def version(name: str, valid_from: str, status: str = "champion", promoted_at: str | None = "") -> ModelVersion:
    """A version promoted at the begin of `valid_from`, unless that is said, or it is a candidate."""
    promoted_at = None if status == "candidate" else f"{valid_from}T00:00:00+00:00" if promoted_at == "" else promoted_at
    return ModelVersion(name, "topics", "2026-01-01", "2026-01-31", valid_from, {"k": 20}, "data", "code", "space", status, promoted_at)


def test_a_night_uses_the_newest_version_valid_on_it(lake: Lake) -> None:
    for made in (
        version("a", "2026-02-01"),
        version("b", "2026-02-10", "retired"),
        version("c", "2026-03-01"),
        version("d", "2026-02-05", "candidate"),
        version("e", "2026-02-20", "retired", None),
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
        "2026-02-28": "b",  # e was rolled back
        "2026-03-01": "c",
    }
    assert registry.valid_for(lake, "ranker", DAY("2026-03-01")) is None


def test_two_versions_valid_from_the_same_night_are_told_apart_by_promotion(lake: Lake) -> None:
    registry.register(lake, version("a", "2026-02-01", promoted_at="2026-02-03T00:00:00+00:00"), {})
    registry.register(lake, version("b", "2026-02-01", promoted_at="2026-02-02T00:00:00+00:00"), {})
    assert registry.valid_for(lake, "topics", DAY("2026-02-01")).model_version == "a"  # type: ignore[union-attr]


def pickled() -> bytes:
    """An .npz that holds an object."""
    buffer = io.BytesIO()
    np.savez(buffer, bad=np.array([{"a": 1}], dtype=object))
    return buffer.getvalue()


def test_artefacts_come_back_and_a_changed_one_is_refused(lake: Lake) -> None:
    arrays = registry.arrays_to_bytes(a=np.arange(3))
    made = registry.register(lake, version("a", "2026-02-01"), {"centroids.npz": arrays, "labels.json": b"{}"})
    assert registry.load(lake, made, "centroids.npz") == arrays
    assert registry.find(lake, "topics", "a") == made
    lake.write_bytes(f"{made.folder}/labels.json", b"[]")
    with pytest.raises(LakeError, match=r"a/labels.json was changed after it was registered: restore it or train again"):
        registry.load(lake, made, "labels.json")
    lake.remove(f"{made.folder}/labels.json")
    with pytest.raises(LakeError, match=r"a/labels.json is missing: restore it or train again"):
        registry.load(lake, made, "labels.json")
    with pytest.raises(LakeError, match=r"a/more.json is no artefact that was registered: restore model.json or train again"):
        registry.load(lake, made, "more.json")


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("../a.json", b"{}", r"_models/topics/a/\.\./a.json is no plain name"),
        ("sub/a.json", b"{}", "is no plain name"),
        ("..\\a.json", b"{}", "is no plain name"),
        ("/etc/a.json", b"{}", "is no plain name"),
        (".hidden.json", b"{}", "is no plain name"),
        ("a.json\n", b"{}", "is no plain name"),
        ("model.pkl", b"\x80\x04.", r"is none of .json, .npz, .parquet, .safetensors, .txt, .*: train again"),
        ("model.pt", b"PK", "is none of"),
        ("model.joblib", b"", "is none of"),
        ("model.npy", b"", "is none of"),
        ("json", b"{}", "is none of"),
        ("objects.npz", pickled(), r"_models/topics/a/objects.npz is no file of plain arrays, and nothing is unpickled .*: remove it"),
        ("pickle.npz", pickle.dumps({"a": 1}), "is no file of plain arrays"),
        ("cut.npz", registry.arrays_to_bytes(a=np.arange(3))[:40], "is no file of plain arrays"),
        ("empty.npz", b"", "is no file of plain arrays"),
    ],
    ids=lambda value: repr(value)[:16],
)
def test_unsafe_artefacts_are_neither_registered_nor_loaded(lake: Lake, name: str, data: bytes, says: str) -> None:
    with pytest.raises(LakeError, match=says):
        registry.register(lake, version("a", "2026-02-01"), {"good.json": b"{}", name: data})
    assert registry.versions(lake) == [], "nothing of it is kept"
    # A record that somebody else wrote does not help either.
    made = dataclasses.replace(version("a", "2026-02-01"), files={name: hashlib.sha256(data).hexdigest()})
    registry.save(lake, made)
    if name.endswith(".npz"):
        lake.write_bytes(f"{made.folder}/{name}", data)
    with pytest.raises(LakeError, match=says):
        registry.load(lake, made, name)


def test_a_version_of_an_unsafe_name_is_refused(lake: Lake) -> None:
    for name in ("../a", "a/b", ".a", ""):
        with pytest.raises(LakeError, match="is no plain name"):
            registry.register(lake, version(name, "2026-02-01"), {"x.json": b"1"})


def test_training_again_restores_the_artefacts_and_keeps_the_status(lake: Lake) -> None:
    made = registry.register(lake, version("a", "2026-02-01"), {"x.txt": b"1"})
    lake.write_bytes(f"{made.folder}/x.txt", b"2")
    again = registry.register(lake, version("a", "2026-02-01", "candidate"), {"x.txt": b"1"})
    assert again == made
    assert again.status == "champion"
    assert registry.load(lake, again, "x.txt") == b"1"
    with pytest.raises(LakeError, match="a is in use and equal training gave other bytes"):
        registry.register(lake, version("a", "2026-02-01", "candidate"), {"x.txt": b"2"})


def test_record_that_is_no_record_is_named(lake: Lake) -> None:
    lake.write_bytes("_models/topics/a/model.json", b"[]")
    with pytest.raises(LakeError, match=r"topics/a/model.json is no model record"):
        registry.versions(lake, "topics")
    registry.save(lake, version("b", "2026-02-01"))
    lake.write_bytes("_models/topics/a/model.json", lake.read_bytes("_models/topics/b/model.json"))
    with pytest.raises(LakeError, match=r"topics/a/model.json is the record of b \(topics\): restore its own"):
        registry.versions(lake, "topics")
    with pytest.raises(LakeError, match=r"is the record of b"):
        registry.find(lake, "topics", "../topics/b")


def test_arrays_travel_without_pickle() -> None:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "words": np.array(["茶", "tea"])}
    data = registry.arrays_to_bytes(**arrays)
    assert data == registry.arrays_to_bytes(**arrays)
    back = registry.arrays_from_bytes(data)
    assert sorted(back) == ["a", "words"]
    assert all(np.array_equal(back[n], arrays[n]) and back[n].dtype == arrays[n].dtype for n in arrays)
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        registry.arrays_to_bytes(bad=np.array([{"a": 1}], dtype=object))
    with pytest.raises(LakeError, match=r"x.npz is no file of plain arrays, and nothing is unpickled \(.*allow_pickle=False"):
        registry.arrays_from_bytes(pickled(), "x.npz")


# -- in and out of use ---------------------------------------------------------------------------------------------------------------
NOW = dt.datetime(2026, 5, 1, 9, tzinfo=dt.UTC)


def end(day: str) -> dt.datetime:
    return dt.datetime.fromisoformat(f"{day}T00:00:00+00:00")


def stand(lake: Lake) -> dict[str, str]:
    """Version → its status, with a star when new nights use it."""
    return {v.model_version: v.status + "*" * bool(v.promoted_at) for v in registry.versions(lake, "topics")}


def use(lake: Lake, *names: str) -> None:
    """Promote candidates: a is valid from the 1st of February, b1, b2 and b3 from the 8th, c from the 15th."""
    days = {"a": "2026-02-01", "b1": "2026-02-08", "b2": "2026-02-08", "b3": "2026-02-08", "c": "2026-02-15"}
    for name, day in days.items():
        if registry.find(lake, "topics", name) is None:
            registry.register(lake, version(name, day, "candidate"), {})
    for name in names:
        found = registry.find(lake, "topics", name)
        assert found
        registry.promote(lake, found, end(days[name]), NOW, f"{name} is better")


def valid(lake: Lake, day: str) -> str | None:
    found = registry.valid_for(lake, "topics", DAY(day))
    return found.model_version if found else None


def test_the_order_of_promotions_of_several_nights_does_not_matter(tmp_path: Path) -> None:
    lakes = [Lake(str(tmp_path / name)) for name in "123"]
    for lake, order in zip(lakes, (["a", "b1", "c"], ["c", "b1", "a"], ["b1", "c", "a"]), strict=True):
        use(lake, *order)
        assert stand(lake) == {"a": "retired*", "b1": "retired*", "b2": "candidate", "b3": "candidate", "c": "champion*"}
    records = [[registry.find(lake, "topics", n) for n in ("a", "b1", "c")] for lake in lakes]
    assert records[0] == records[1] == records[2]
    assert [valid(lakes[0], d) for d in ("2026-01-31", "2026-02-07", "2026-02-08", "2026-02-15")] == [None, "a", "b1", "c"]


def test_a_version_of_the_same_night_takes_the_place_and_gives_it_back(lake: Lake) -> None:
    use(lake, "a", "b1", "b2")
    assert stand(lake) == {"a": "retired*", "b1": "retired", "b2": "champion*", "b3": "candidate", "c": "candidate"}
    use(lake, "b2")  # again: nothing changes
    use(lake, "b3")
    seen = []
    while (found := [v for v in registry.versions(lake, "topics") if v.status == "champion"]) and len(found) == 1:
        before = registry.before(lake, found[0])
        registry.rollback(lake, found[0], NOW, "worse")
        seen.append((found[0].model_version, before and before.model_version, valid(lake, "2026-02-09")))
    assert seen == [("b3", "b2", "b2"), ("b2", "b1", "b1"), ("b1", "a", "a"), ("a", None, None)]
    assert stand(lake) == {"a": "retired", "b1": "retired", "b2": "retired", "b3": "retired", "c": "candidate"}
    use(lake, "b2", "b1")  # what was rolled back may be promoted again
    assert (stand(lake)["b1"], stand(lake)["b2"], valid(lake, "2026-02-09")) == ("champion*", "retired", "b1")
    record = registry.promotions(lake, "topics")
    assert [(r["action"], r["model_version"]) for r in record] == [
        *(("promote", n) for n in ("a", "b1", "b2", "b3")),
        *(("rollback", n) for n in ("b3", "b2", "b1", "a")),
        ("promote", "b2"),
        ("promote", "b1"),
    ]
    assert record[3] == {"action": "promote", "model_version": "b3", "at": "2026-05-01T09:00:00+00:00", "reason": "b3 is better"}


def test_one_that_is_not_the_champion_can_be_rolled_back(lake: Lake) -> None:
    use(lake, "a", "b1", "c")
    middle = registry.find(lake, "topics", "b1")
    assert middle
    assert registry.before(lake, middle).model_version == "a"  # type: ignore[union-attr]
    registry.rollback(lake, middle, NOW, "worse")
    assert stand(lake) == {"a": "retired*", "b1": "retired", "b2": "candidate", "b3": "candidate", "c": "champion*"}
    assert [valid(lake, d) for d in ("2026-02-10", "2026-02-15")] == ["a", "c"]


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
    registry.register(lake, version("b", "2026-02-01", promoted_at="2026-02-01T03:00:00+00:00"), {"x.txt": b"1"})
    registry.register(lake, version("a", "2026-03-01", "candidate"), {"x.txt": b"2"})
    rows = registry.as_table(registry.versions(lake))
    assert rows.schema.equals(TABLES["model_version"].arrow_schema())
    assert rows["model_version"].to_pylist() == ["b", "a"]
    assert rows["promoted_at"].to_pylist() == [dt.datetime(2026, 2, 1, 3, tzinfo=dt.UTC), None]
    assert rows["params"].to_pylist() == ['{"k":20}'] * 2
    assert len(set(rows["artifact_sha256"].to_pylist())) == 2
    assert rows["artifact_uri"].to_pylist()[0] == "_models/topics/b"
