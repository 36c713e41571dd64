"""Model versions: stored with the data, chosen by the night they are valid from, loaded only when their bytes are the recorded ones."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from recsys_core.lake import Lake, LakeError, canonical_json
from recsys_core.tables import TABLES


@dataclass(frozen=True)
class ModelVersion:
    """A registered model; the fields are those of the table `model_version`, dates as ISO text.

    `files` maps each artefact's name to its sha256. `status` is candidate, champion or retired.
    """

    model_version: str
    kind: str
    train_from: str
    train_to: str
    valid_from_ds: str
    params: dict[str, Any]
    data_fingerprint: str
    code_sha: str
    embedding_space: str | None = None
    status: str = "candidate"
    promoted_at: str | None = None
    files: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """Where the artefacts lie, relative to the lake."""
        return f"_models/{self.kind}/{self.model_version}"


def version_name(kind: str, train_to: dt.date, data_fingerprint: str, params: dict[str, Any]) -> str:
    """A version's name: a function of kind, last training night, data and parameters alone, so that equal training gives equal names."""
    tail = hashlib.sha256(canonical_json([kind, train_to.isoformat(), data_fingerprint, params]).encode()).hexdigest()[:8]
    return f"{kind}-{train_to.isoformat()}-{tail}"


def arrays_to_bytes(**arrays: np.ndarray) -> bytes:
    """Arrays as one .npz file."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def arrays_from_bytes(data: bytes) -> dict[str, np.ndarray]:
    """Arrays of an .npz file; anything that would need unpickling is refused (ValueError)."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def register(lake: Lake, version: ModelVersion, artifacts: dict[str, bytes]) -> ModelVersion:
    """Store a version with its artefacts; an equal version that is there already keeps its status and is returned.

    A promoted version never changes: LakeError when the same name comes with other bytes.
    """
    known = find(lake, version.kind, version.model_version)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(artifacts.items())}
    if known is not None and known.status != "candidate" and known.files != hashes:
        raise LakeError(
            f"{version.model_version} is in use and equal training gave other bytes (other code?): nights that used it must stay "
            "as they are; train on another night or with another seed"
        )
    for name, data in artifacts.items():  # also when it is known: what was lost or changed on disk comes back
        lake.write_bytes(f"{version.folder}/{name}", data)
    if known is not None and known.files == hashes:
        return known
    version = replace(version, files=hashes)
    save(lake, version)
    return version


def save(lake: Lake, version: ModelVersion) -> None:
    """Write a version's record."""
    lake.write_bytes(f"{version.folder}/model.json", canonical_json(asdict(version)).encode())


def find(lake: Lake, kind: str, model_version: str) -> ModelVersion | None:
    """A version by name, or None."""
    relative = f"_models/{kind}/{model_version}/model.json"
    try:
        return ModelVersion(**json.loads(lake.read_bytes(relative)))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise LakeError(f"{lake.path(relative)} is no model record ({error}): restore it or train again") from error


def versions(lake: Lake, kind: str | None = None) -> list[ModelVersion]:
    """All versions (of a kind), by valid_from_ds, then name."""
    kinds = [kind] if kind else lake.folders("_models")
    found = [v for k in kinds for name in lake.folders(f"_models/{k}") if (v := find(lake, k, name))]
    return sorted(found, key=lambda v: (v.valid_from_ds, v.model_version))


def valid_for(lake: Lake, kind: str, ds: dt.date) -> ModelVersion | None:
    """The version a night uses: of those ever promoted and valid from ds or before, the newest; None when there is none."""
    promoted = [v for v in versions(lake, kind) if v.status != "candidate" and v.valid_from_ds <= ds.isoformat()]
    return max(promoted, key=lambda v: (v.valid_from_ds, v.promoted_at or "", v.model_version), default=None)


def load(lake: Lake, version: ModelVersion, name: str) -> bytes:
    """An artefact's bytes; LakeError when they are not the ones that were registered."""
    data = lake.read_bytes(f"{version.folder}/{name}")
    if hashlib.sha256(data).hexdigest() != version.files.get(name):
        raise LakeError(f"{lake.path(version.folder)}/{name} was changed after it was registered: restore it or train again")
    return data


def as_table(found: list[ModelVersion]) -> pa.Table:
    """Versions as rows of the table `model_version`."""

    def row(v: ModelVersion) -> dict[str, Any]:
        day = dt.date.fromisoformat
        return {
            "model_version": v.model_version,
            "kind": v.kind,
            "status": v.status,
            "train_from": day(v.train_from),
            "train_to": day(v.train_to),
            "valid_from_ds": day(v.valid_from_ds),
            "embedding_space": v.embedding_space,
            "code_sha": v.code_sha,
            "params": canonical_json(v.params),
            "data_fingerprint": v.data_fingerprint,
            "artifact_uri": v.folder,
            "artifact_sha256": hashlib.sha256(canonical_json(v.files).encode()).hexdigest(),
            "promoted_at": dt.datetime.fromisoformat(v.promoted_at) if v.promoted_at else None,
        }

    return pa.Table.from_pylist([row(v) for v in found], schema=TABLES["model_version"].arrow_schema())
