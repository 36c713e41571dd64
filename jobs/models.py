"""Which models a night uses: the topic model it was built under, else the one valid for it; and under which its facts are kept."""

from __future__ import annotations

import datetime as dt
from functools import cached_property

from jobs import YEAR
from recsys_core import registry
from recsys_core.encoders import versions
from recsys_core.lake import Lake, LakeError


class NightModels:
    """Topic models by night. A night stays under the one its interests were built under, unless `use_current`."""

    def __init__(self, lake: Lake, encoder_name: str, use_current: bool = False) -> None:
        self.lake, self.encoder_name, self.use_current = lake, encoder_name, use_current
        self._seen: dict[dt.date, str | None] = {}

    def of(self, ds: dt.date) -> registry.ModelVersion | None:
        """The night's topic model; None when none is valid for it. LakeError when the one it was built under is gone."""
        pinned = None if self.use_current else self._pinned(ds)
        if pinned is None:
            return self.valid(ds)
        found = registry.find(self.lake, "topics", pinned)
        if found is None:
            raise LakeError(
                f"{ds.isoformat()} was built under {pinned}, which is not in {self.lake.path('_models/topics')}: restore it, "
                "or build the night anew with --use-current-models"
            )
        return found

    def valid(self, ds: dt.date) -> registry.ModelVersion | None:
        """The topic model that is valid for the night by the registry of today; it never knows the night's future."""
        return registry.valid_for(self.lake, "topics", ds)

    def encoder(self, ds: dt.date) -> registry.ModelVersion | None:
        """The version of the encoder that is set which is valid for the night; None while one that is to be fitted never was."""
        return versions.valid_for(self.lake, self.encoder_name, ds)

    def reading(self, ds: dt.date) -> list[registry.ModelVersion]:
        """Topic models under which some night, this one or a later one, reads the night's topics; the night's own first.

        A profile reads its whole window under one model: so of a night are kept, beside its own, the one valid for it now, those that
        become valid within a year, and those under which nights of that year were built.
        """
        own, valid, last = self.of(ds), self.valid(ds), ds + dt.timedelta(days=YEAR)
        pinned = {name for d, name in (self._built | self._seen).items() if ds <= d <= last}
        found = [v for v in registry.versions(self.lake, "topics") if v == valid or v.model_version in pinned or _soon(v, ds, last)]
        return [own, *(v for v in found if v != own)] if own else found

    def note(self, ds: dt.date) -> str:
        """What the plan says of a night that stays under another model than the one valid for it now; '' for others."""
        own, valid = self.of(ds), self.valid(ds)
        if own is None or own == valid:
            return ""
        return f" (pinned to {own.model_version}; --use-current-models would take {valid.model_version if valid else 'none'})"

    def _pinned(self, ds: dt.date) -> str | None:
        """Name of the model that the night's interests were built under; None when they are not built, or without a model."""
        manifest = self.lake.manifest("user_interest", ds)
        self._seen[ds] = manifest.models.get("topics") if manifest else None
        return self._seen[ds]

    @cached_property
    def _built(self) -> dict[dt.date, str | None]:
        """The same for all built nights, as of when it was first asked for."""
        return {d: m.models.get("topics") for d in self.lake.nights("user_interest") if (m := self.lake.manifest("user_interest", d))}


def topic_model_of(under: registry.ModelVersion | None) -> registry.ModelVersion | None:
    """The model that something runs under if it is a topic model, else None."""
    return under if under and not under.kind.startswith(versions.KIND) else None


def _soon(version: registry.ModelVersion, ds: dt.date, last: dt.date) -> bool:
    """Whether a version comes into use after ds and up to `last`."""
    return bool(version.promoted_at) and ds.isoformat() < version.valid_from_ds <= last.isoformat()
