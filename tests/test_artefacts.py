"""Model files that would run something, read something else, or fill the memory are refused, whoever put them there."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys_core import registry
from recsys_core.lake import Lake, LakeError
from recsys_core.registry import ModelVersion

GOOD = ModelVersion("topics-1", "topics", "2026-01-01", "2026-01-31", "2026-02-01", {"k": 2}, "data", "code", files={})


class Runs:
    """Unpickled, it makes a file."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(Path.cwd() / "artefact-ran"),)


def archive(name: str, data: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as made:
        made.writestr(name, data)
    return buffer.getvalue()


def npy(shape: tuple[int, ...], data: bytes = b"", descr: str = "<f8") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue() + data


def objects() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, bad=np.array([Runs()], dtype=object))
    return buffer.getvalue()


def tensors(header: object, size: int | None = None, data: bytes = b"\0" * 8) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
UNSAFE: dict[str, tuple[str, bytes, str]] = {
    "a pickle": ("model.pkl", pickle.dumps(Runs()), "is none of"),
    "torch's own": ("pytorch_model.bin", archive("archive/data.pkl", pickle.dumps(Runs())), "is none of"),
    "a pickle by another name": ("model.npz", pickle.dumps(Runs()), "is no file of plain arrays, and nothing is unpickled"),
    "a pickle within arrays": ("model.npz", objects(), "is no file of plain arrays, and nothing is unpickled"),
    "torch's own by another name": ("model.npz", archive("data.pkl", pickle.dumps(Runs())), "is no file of plain arrays"),
    "a zip bomb": ("model.npz", archive("a.npy", npy((1 << 24,), b"\0" * (1 << 27)), zipfile.ZIP_DEFLATED), "its arrays are compressed"),
    "an array larger than the file": ("model.npz", archive("a.npy", npy((1 << 45,))), "is no file of plain arrays"),
    "an oversized header": ("model.safetensors", tensors({"a": F32}, 1 << 60), "is no file of plain tensors"),
    "tensors beyond the file": (
        "model.safetensors",
        tensors({"a": F32 | {"shape": [200], "data_offsets": [0, 800]}}),
        "is no file of plain",
    ),
    "tensors that overlap": ("model.safetensors", tensors({"a": F32, "b": F32}), "is no file of plain tensors"),
    "a path out": ("../../../etc/model.json", b"{}", "is no plain name"),
    "an absolute path": ("/etc/model.json", b"{}", "is no plain name"),
    "a URL": ("https://example.org/model.json", b"{}", "is no plain name"),
}


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.chdir(tmp_path)
    return Lake(str(tmp_path / "lake"))


def planted(lake: Lake, name: str, data: bytes) -> ModelVersion:
    """The version as somebody would leave it who may write in the lake, with the right hash."""
    made = replace(GOOD, files={name: hashlib.sha256(data).hexdigest()})
    registry.save(lake, made)
    path = Path(lake.path(made.folder)) / name.lstrip("/")
    if "://" not in name:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return made


@pytest.mark.parametrize("case", UNSAFE, ids=lambda c: c.replace(" ", "_"))
def test_an_unsafe_artefact_is_refused_when_it_is_written_and_when_it_is_read(lake: Lake, tmp_path: Path, case: str) -> None:
    name, data, says = UNSAFE[case]
    with pytest.raises(LakeError, match=says):
        registry.register(lake, GOOD, {name: data})
    with pytest.raises(LakeError, match=says):
        registry.load(lake, planted(lake, name, data), name)
    assert not (tmp_path / "artefact-ran").exists()


def test_bytes_are_those_that_were_registered(lake: Lake, tmp_path: Path) -> None:
    good = registry.arrays_to_bytes(a=np.arange(3))
    made = registry.register(lake, GOOD, {"a.npz": good, "b.npz": registry.arrays_to_bytes(a=np.arange(4))})
    path = Path(lake.path(made.folder))

    # Two good files that changed places, a changed byte, and a link to something else.
    def linked() -> None:
        (path / "a.npz").unlink()
        (tmp_path / "outside.npz").write_bytes(b"secret")
        (path / "a.npz").symlink_to(tmp_path / "outside.npz")

    swapped: list[Callable[[], object]] = [
        lambda: (path / "a.npz").write_bytes((path / "b.npz").read_bytes()),
        lambda: (path / "a.npz").write_bytes(good[:-1] + b"\1"),
        linked,
    ]
    for swap in swapped:
        swap()
        with pytest.raises(LakeError, match=r"a\.npz was changed after it was registered: restore it or train again"):
            registry.load(lake, made, "a.npz")
    with pytest.raises(LakeError, match="is no artefact that was registered"):
        registry.load(lake, made, "c.npz")


def test_where_artefacts_lie_follows_from_the_name_alone(lake: Lake) -> None:
    """No record can point elsewhere: not by a URI of its own, not by another version's name, not by a name with a path in it."""
    record = Path(lake.path(f"{GOOD.folder}/model.json"))
    registry.register(lake, GOOD, {})
    known = json.loads(record.read_text())
    for strange in ({"artifact_uri": "file:///etc"}, {"model_version": "../../x"}, {"kind": "ranker"}):
        record.write_text(json.dumps(known | strange))
        with pytest.raises(LakeError, match=r"is no model record|is the record of"):
            registry.find(lake, GOOD.kind, GOOD.model_version)
    with pytest.raises(LakeError, match="is no plain name"):
        registry.register(lake, replace(GOOD, model_version="../../../etc"), {"a.json": b"{}"})


def test_nothing_loads_pickles(repo_root: Path) -> None:
    """The code has no call that could: numpy, torch, joblib, pandas, transformers."""
    calls = ("pickle.load", "joblib", "torch.load", "allow_pickle=True", "trust_remote_code=True", "read_pickle", "weights_only=False")
    found = [
        f"{path.name}: {call}"
        for room in ("recsys_core", "jobs", "dags")
        for path in sorted((repo_root / room).rglob("*.py"))
        for call in calls
        if call in path.read_text(encoding="utf-8")
    ]
    assert found == []
