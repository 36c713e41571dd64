"""What items are called, from the lake: the warehouse knows them by id alone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.kept import Kept
from recsys_core.lake import Lake, LakeError

# Catalogues that are kept: a few nights of a million items.
KEPT_BYTES = 256 << 20


class LakeTitles:
    """Titles of a night's catalogue; none where the lake has no such night or cannot be read, which the pages bear."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._kept = Kept(KEPT_BYTES)

    def __call__(self, ds: dt.date, item_ids: Collection[str]) -> Mapping[str, str]:
        if not item_ids:
            return {}
        try:
            live = self._lake.manifest("item", ds)
            if live is None:
                return {}
            rows = self._kept.of((ds, live.run_id), lambda: self._lake.read("item", [ds], ["item_id", "title"]).drop_null())
        except (LakeError, OSError, ImportError, ValueError):  # not of this machine, or a file system that is not installed here
            return {}
        found = rows.filter(pc.is_in(rows["item_id"], value_set=pa.array(sorted(item_ids), pa.string())))
        return dict(zip(found["item_id"].to_pylist(), found["title"].to_pylist(), strict=True))
