"""Recommenders by name. A new one is one module and one line; the contract tests pick it up."""

from __future__ import annotations

import importlib

from recsys_core.recommenders.base import Interactions, Recommender

RECOMMENDERS: dict[str, str] = {
    "transitions": "recsys_core.recommenders.transitions:Transitions",
    "next_item": "recsys_core.recommenders.next_item:NextItem",
    "item_knn": "recsys_core.recommenders.item_knn:ItemKNN",
    "rp3beta": "recsys_core.recommenders.rp3beta:RP3Beta",
    "ease": "recsys_core.recommenders.ease:EASE",
    "content": "recsys_core.recommenders.content:Content",
    "popularity": "recsys_core.recommenders.popularity:Popularity",
    "als": "recsys_core.recommenders.als:ALS",
    "medoids": "recsys_core.recommenders.medoids:Medoids",
    "two_towers": "recsys_core.recommenders.two_towers:TwoTowers",
    "sasrec": "recsys_core.recommenders.sasrec:SASRec",
}


def recommender(name: str) -> type[Recommender]:
    """The class of a registered recommender; ValueError for an unknown name."""
    if name not in RECOMMENDERS:
        raise ValueError(f"no recommender is named {name!r}: there are {', '.join(RECOMMENDERS)}")
    module, cls = RECOMMENDERS[name].split(":")
    found: type[Recommender] = getattr(importlib.import_module(module), cls)
    return found


__all__ = ["RECOMMENDERS", "Interactions", "Recommender", "recommender"]
