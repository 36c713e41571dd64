"""Encoders as registered versions: which one a night or a training uses, and how an embedding space is opened again years later.

A version's name is the id of its embedding space. An encoder that is not fitted has one version for ever; it is registered by the first
training that uses it, so that the lake itself says how its vectors were made. A fitted one (`FITTED`) has a version for each fit.
"""

from __future__ import annotations

import datetime as dt
from functools import cache

from recsys_core import encoders, registry
from recsys_core.encoders import FITTED, TextEncoder
from recsys_core.lake import Lake, LakeError
from recsys_core.registry import ModelVersion

KIND = "encoder"


def kind_of(name: str) -> str:
    """The kind under which versions of an encoder are registered: a fitted one has its own, so that each has its own champion."""
    return f"{KIND}_{name}" if name in FITTED else KIND


def valid_for(lake: Lake, name: str, ds: dt.date) -> ModelVersion | None:
    """The version of the encoder `name` that is valid for the night ds; None while a fitted encoder has none."""
    if name not in FITTED:
        return _lasting(name)
    return registry.valid_for(lake, kind_of(name), ds)


@cache
def _lasting(name: str) -> ModelVersion:
    """An encoder that is not fitted, as a version: known without a lake, valid for ever."""
    space = encoders.space_of(name)
    first = dt.date.min.isoformat()
    return ModelVersion(space, KIND, first, first, first, {"encoder": name}, "", "", space, "champion")


def registered(lake: Lake, version: ModelVersion) -> ModelVersion:
    """The version as the registry has it, registered if it was not."""
    return registry.find(lake, version.kind, version.model_version) or registry.register(lake, version, {})


def encoder_of(lake: Lake, space: str, name: str) -> tuple[str, ModelVersion | None]:
    """(name of the encoder whose vectors live in `space`, its version if it is registered): `name`, where no other is registered for it.

    LakeError when vectors of that space can be made no more: other weights are installed, or what was fitted is gone.
    """
    version = next((v for n in ("", *FITTED) if (v := registry.find(lake, kind_of(n), space))), None)
    made_by = str(version.params["encoder"]) if version else name
    if made_by in FITTED:
        if version is None:
            raise LakeError(
                f"no encoder is registered for {space}: restore {lake.path(f'_models/{kind_of(name)}/{space}')}, or train again"
            )
    elif (found := encoders.space_of(made_by)) != space:
        raise LakeError(
            f"texts of this night belong to {space}, but the encoder {made_by} that is installed makes {found}: install the one that made "
            "them, or train again and run the night with --use-current-models"
        )
    return made_by, version


def open_space(lake: Lake, space: str, name: str, device: str = "auto", backend: str = "auto") -> TextEncoder:
    """The encoder whose vectors live in `space`, see `encoder_of`."""
    made_by, version = encoder_of(lake, space, name)
    if made_by not in FITTED or version is None:
        return encoders.load(made_by, device, backend)
    return encoders.restore(made_by, {file: registry.load(lake, version, file) for file in version.files}, device, backend)
