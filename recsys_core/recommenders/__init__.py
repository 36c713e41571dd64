"""Recommenders by name. A new one is one module and one line; the contract tests pick it up."""

from __future__ import annotations

from recsys_core.recommenders.base import Interactions, Recommender
from recsys_core.recommenders.content import Content
from recsys_core.recommenders.popularity import Popularity
from recsys_core.recommenders.transitions import Transitions

RECOMMENDERS: dict[str, type[Transitions] | type[Content] | type[Popularity]] = {
    "transitions": Transitions,
    "content": Content,
    "popularity": Popularity,
}

__all__ = ["RECOMMENDERS", "Interactions", "Recommender"]
