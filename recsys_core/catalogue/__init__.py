"""The catalogue: delivered files of items and categories to what was known on a night, every row accounted for."""

from __future__ import annotations

from recsys_core.catalogue.night import Catalogue, catalogue_as_of
from recsys_core.catalogue.rows import item_row

__all__ = ["Catalogue", "catalogue_as_of", "item_row"]
