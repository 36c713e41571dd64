"""Parameter sets that automatic selection tries, by recommender: the cheap and the usually good first.

What was found worth mixing (docs/benchmarks.md): on sequences with an order `next_item` weighs its own paths and gains little from another
closed form; of plain sums, the second and the third set of `transitions` (1 to .4). Where users have long histories with an order, `ease`
and `transitions` (1 to .7). Where order means nothing, `ease`: what a cut that takes much out of the histories adds to it does not last.
"""

from __future__ import annotations

from typing import Any

# Within a model the first set is the one to try when time is short. Sets that differ in one respect only say which question they ask:
# profile_decay 1.0 (or .99) suits histories whose order means nothing, .5 to .8 those where the latest items decide.
GRID: dict[str, list[dict[str, Any]]] = {
    "popularity": [{}, {"window": 1_000_000}],
    "transitions": [
        {},
        {"window": 30, "decay": 0.9, "row_power": 0.7, "column_power": 0.1, "prior": 100.0, "back": 0.2, "profile_decay": 0.65},
        {"window": 10, "decay": 0.5, "row_power": 0.7, "column_power": 0.1, "prior": 100.0, "profile_decay": 0.5},
        {"window": 50, "decay": 0.95, "column_power": 0.1, "prior": 30.0, "back": 0.2, "profile_decay": 0.9, "last": 100},
        {"window": 50, "decay": 1.0, "column_power": 0.5, "directed": False, "profile_decay": 1.0, "last": 1000},
    ],
    "next_item": [{}, {"profile_decay": 0.85, "last": 100}],
    "item_knn": [
        {"profile_decay": 0.6, "shrink": 30.0, "neighbours": 400},
        {"profile_decay": 1.0, "last": 1000, "neighbours": 400},
        {"profile_decay": 0.9, "neighbours": 400},
    ],
    "rp3beta": [
        {"profile_decay": 1.0, "last": 1000},
        {"alpha": 0.6, "beta": 0.1, "profile_decay": 0.65},
        {"alpha": 0.6, "profile_decay": 0.9},
    ],
    "ease": [
        {"regularisation": 400.0, "weight_power": 0.5, "profile_decay": 1.0, "last": 1000, "max_items": 5000},
        {"regularisation": 800.0, "profile_decay": 0.9, "max_items": 5000},
        {"regularisation": 100.0, "profile_decay": 0.7, "max_items": 5000},
    ],
    "als": [
        {"factors": 128, "alpha": 4.0, "profile_decay": 1.0},
        {"factors": 128, "alpha": 10.0, "profile_decay": 0.7},
        {"factors": 128, "profile_decay": 0.8},
    ],
    "medoids": [{}],
    # Seconds on one core: about .3 (two towers) and 1.5 (SASRec) by thousand interactions.
    "two_towers": [{}, {"last": 5, "profile_decay": 0.7}],
    "sasrec": [{}, {"dropout": 0.2, "max_len": 100}],
}
