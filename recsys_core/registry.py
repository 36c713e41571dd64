"""Model versions: stored with the data, chosen by the night they are valid from, loaded only when their bytes are the recorded ones.

`_models/<kind>/<version>/model.json` lies beside the artefacts it names; `_models/<kind>/promotions.json` tells who came into use and went.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import re
import zipfile
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from recsys_core.lake import Lake, LakeError, canonical_json
from recsys_core.tables import TABLES

# Artefacts that are data alone, whatever wrote them: nothing in them is ever run or unpickled.
SAFE_ENDINGS = (".json", ".npz", ".parquet", ".safetensors", ".txt")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class ModelVersion:
    """A registered model; the fields are those of the table `model_version`, dates as ISO text.

    status       candidate: never in use; champion: the one in use that is valid last; retired: was champion, nights name it
    promoted_at  set while new nights use the version
    files        each artefact's name → its sha256
    replaces     version, valid from the same night, that went out of use when this one was promoted: a rollback brings it back
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
    replaces: str | None = None

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


def arrays_from_bytes(data: bytes, place: str = "the file") -> dict[str, np.ndarray]:
    """Arrays of an .npz file; LakeError, which names `place`, for anything else and anything that would need unpickling."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            members = packed.infolist()
        # As np.savez writes them: what is compressed, or said to be larger than the file, might fill the memory.
        if any(m.compress_type != zipfile.ZIP_STORED for m in members) or sum(m.file_size for m in members) > len(data):
            raise ValueError("its arrays are compressed")
        if odd := [m.filename for m in members if not m.filename.endswith(".npy")]:
            raise ValueError(f"{odd[0]} is no array")
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (ValueError, TypeError, AttributeError, EOFError, MemoryError, OverflowError, NotImplementedError, zipfile.BadZipFile) as error:
        raise LakeError(f"{place} is no file of plain arrays, and nothing is unpickled ({error}): remove it and train again") from error


def _check_safe(version: ModelVersion, name: str, data: bytes | None = None) -> None:
    """LakeError unless an artefact can be read without running anything: a plain name, a known kind of data, no pickled objects."""
    place = f"{version.folder}/{name}"
    if not all(_NAME.fullmatch(part) for part in (version.kind, version.model_version, name)):
        raise LakeError(f"{place} is no plain name (letters, digits, '.', '_', '-'; no '.' or '-' first): remove it and train again")
    if not name.endswith(SAFE_ENDINGS):
        raise LakeError(f"{place} is none of {', '.join(SAFE_ENDINGS)}, the only data that models are loaded from: train again")
    if data is not None and name.endswith(".npz"):
        arrays_from_bytes(data, place)
    if data is not None and name.endswith(".safetensors"):
        _check_tensors(data, place)


def _check_tensors(data: bytes, place: str) -> None:
    from safetensors import SafetensorError, deserialize

    try:
        deserialize(data)
    except SafetensorError as error:
        raise LakeError(f"{place} is no file of plain tensors ({error}): remove it and train again") from error


def register(lake: Lake, version: ModelVersion, artifacts: dict[str, bytes]) -> ModelVersion:
    """Store a version with its artefacts; an equal version that is there already keeps its status and is returned.

    A promoted version never changes: LakeError when the same name comes with other bytes, or when an artefact is unsafe (`load`).
    """
    for name, data in artifacts.items():
        _check_safe(version, name, data)
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
    """A version by name, or None; LakeError when what lies there is another version's record or none."""
    relative = f"_models/{kind}/{model_version}/model.json"
    try:
        found = ModelVersion(**json.loads(lake.read_bytes(relative)))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise LakeError(f"{lake.path(relative)} is no model record ({error}): restore it or train again") from error
    if (found.kind, found.model_version) != (kind, model_version):
        raise LakeError(f"{lake.path(relative)} is the record of {found.model_version} ({found.kind}): restore its own")
    return found


def versions(lake: Lake, kind: str | None = None) -> list[ModelVersion]:
    """All versions (of a kind), by valid_from_ds, then name."""
    kinds = [kind] if kind else lake.folders("_models")
    found = [v for k in kinds for name in lake.folders(f"_models/{k}") if (v := find(lake, k, name))]
    return sorted(found, key=lambda v: (v.valid_from_ds, v.model_version))


def valid_for(lake: Lake, kind: str, ds: dt.date) -> ModelVersion | None:
    """The version that a new night uses: of those in use and valid from ds or before, the newest; None when there is none."""
    in_use = [v for v in versions(lake, kind) if v.promoted_at and v.valid_from_ds <= ds.isoformat()]
    return max(in_use, key=lambda v: (v.valid_from_ds, v.promoted_at or "", v.model_version), default=None)


def load(lake: Lake, version: ModelVersion, name: str) -> bytes:
    """An artefact's bytes; LakeError when they are not the ones that were registered, or are not plain data."""
    place = f"{lake.path(version.folder)}/{name}"
    if name not in version.files:
        raise LakeError(f"{place} is no artefact that was registered: restore model.json or train again")
    _check_safe(version, name)
    try:
        data = lake.read_bytes(f"{version.folder}/{name}")
    except FileNotFoundError as error:
        raise LakeError(f"{place} is missing: restore it or train again") from error
    if hashlib.sha256(data).hexdigest() != version.files[name]:
        raise LakeError(f"{place} was changed after it was registered: restore it or train again")
    _check_safe(version, name, data)
    return data


# -- in and out of use ----------------------------------------------------------------------------------------------------------------
def promotions(lake: Lake, kind: str) -> list[dict[str, Any]]:
    """What was promoted and rolled back, oldest first: action, model_version, at, reason."""
    try:
        found: list[dict[str, Any]] = json.loads(lake.read_bytes(_promotions(kind)))
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise LakeError(f"{lake.path(_promotions(kind))} is no record of promotions ({error}): restore it") from error
    return found


def promote(lake: Lake, version: ModelVersion, promoted_at: dt.datetime, at: dt.datetime, reason: str = "") -> None:
    """Let new nights use a version instead of the one valid from the same night, which is retired: published nights name it.

    `at` is when that is done, for the record. A version that is in use stays as it is.
    """
    name, found = version.model_version, {v.model_version: v for v in versions(lake, version.kind)}
    same = [v for v in found.values() if v.promoted_at and v.valid_from_ds == version.valid_from_ds and v.model_version != name]
    chosen = found[name]
    if not chosen.promoted_at:
        _note(lake, version.kind, "promote", chosen, at, reason)
        chosen = replace(chosen, promoted_at=promoted_at.isoformat(), replaces=same[0].model_version if same else None)
    _settle(lake, found, [chosen, *(replace(v, promoted_at=None) for v in same)])


def rollback(lake: Lake, version: ModelVersion, at: dt.datetime, reason: str) -> None:
    """Take a version out of use, so that new nights use the one before it; nights that were built under it still name it."""
    found = {v.model_version: v for v in versions(lake, version.kind)}
    back = [replace(old, promoted_at=version.promoted_at)] if (old := found.get(version.replaces or "")) else []
    _note(lake, version.kind, "rollback", version, at, reason)
    _settle(lake, found, [*back, replace(version, promoted_at=None, status="retired", replaces=None)])


def before(lake: Lake, version: ModelVersion) -> ModelVersion | None:
    """The version that new nights use in place of one in use once that is rolled back."""
    if version.replaces and (found := find(lake, version.kind, version.replaces)):
        return found
    earlier = dt.date.fromisoformat(version.valid_from_ds) - dt.timedelta(days=1)
    return valid_for(lake, version.kind, earlier)


def _settle(lake: Lake, found: dict[str, ModelVersion], changed: list[ModelVersion]) -> None:
    """Save what `changed` makes of the versions: of those in use the one valid last is champion, who ever was in use else is retired."""
    stand = found | {v.model_version: v for v in changed}
    champion = max((v for v in stand.values() if v.promoted_at), key=lambda v: v.valid_from_ds, default=None)
    for version in stand.values():
        ever = version.promoted_at or version.status != "candidate"
        settled = replace(version, status="champion" if version is champion else "retired" if ever else "candidate")
        stand[version.model_version] = settled
    # What comes into use is saved first: at no moment is there none.
    for version in sorted(stand.values(), key=lambda v: not v.promoted_at):
        if version != found[version.model_version]:
            save(lake, version)


def _promotions(kind: str) -> str:
    return f"_models/{kind}/promotions.json"


def _note(lake: Lake, kind: str, action: str, version: ModelVersion, at: dt.datetime, reason: str) -> None:
    entry = {"action": action, "model_version": version.model_version, "at": at.isoformat(), "reason": reason}
    lake.write_bytes(_promotions(kind), canonical_json([*promotions(lake, kind), entry]).encode())


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
