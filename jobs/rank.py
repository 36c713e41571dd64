"""Lists for every user."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import pyarrow as pa
import pyarrow.compute as pc

from jobs import past
from recsys_core import registry

if TYPE_CHECKING:
    from jobs.night import Night
    from recsys_core.experiments import Experiment
    from recsys_core.lists import Recipe, Variant
    from recsys_core.ranking.blender import Blend
    from recsys_core.ranking.shop import Shop
    from recsys_core.recommenders.base import Recommender


def recommend(
    night: Night,
    *,
    list_size: Annotated[int, "slots of for_you, unless LISTS_FILE says otherwise", range(1, 1001)] = 20,
    active_nights: Annotated[int, "users with an event in so many last nights get lists of their own", range(1, 366)] = 90,
    popularity_nights: Annotated[int, "nights that count for popularity", range(1, 366)] = 14,
    copy_items: Annotated[int, "pairs of topic and item that get a sentence, with the setting REASON_COPY", range(1, 10**6)] = 200,
    seed: Annotated[int, "of recommenders that draw", range(2**31)] = 0,
) -> None:
    """Write user_topn of the night: lists for every active user and who declared interests, and some for unknown users.

    The blend is that of the ranker that is valid for the night, else the default one.
    """
    import numpy as np

    from recsys_core import experiments, lists
    from recsys_core.ranking import ranker, training

    rules, weights = night.list_rules, night.event_types.base
    recipe = lists.Recipe(rules.list_size or list_size, active_nights, popularity_nights, weights, rules)
    shop = _shop(night, popularity_nights)
    version = registry.valid_for(night.lake, ranker.KIND, night.ds)
    running = night.experiment()
    names = ranker.names(night.settings.recommenders)
    wanted = training.Sources(names, training.usual_options(popularity_nights), seed, past.cluster(night))
    blend, sources = ranker.sources_for(night.lake, version, wanted, shop.history, shop.past.items)
    for name in (n for arm in (running.arms if running else ()) for n in arm.changes.get("sources", {}) if n not in sources):
        sources[name] = wanted.fit(name, shop.history)
    variants = _variants(running, recipe, blend, version.model_version if version else None, sources)
    keys = [*shop.past.users.to_pylist(), *shop.newcomers(active_nights)]
    arm = experiments.assign(keys, running) if running else np.zeros(len(keys), np.int64)
    rows = lists.make(shop, recipe, sources, variants, arm, night.stamp.run_id, arranged=True)
    if night.settings.reason_copy:
        rows = _with_copy(night, rows, shop, copy_items)
    night.write("user_topn", rows, **({"ranker": version.model_version} if version else {}))


def _shop(night: Night, popularity_nights: int) -> Shop:
    """What is known on the night; parts of the day matter within `popularity_nights` alone."""
    from recsys_core.ranking.shop import Shop
    from recsys_core.topics.tables import read_rows

    read = past.read(night)
    interests = night.read("user_interest", columns=["user_key", "topic_id", "horizon", "share"])
    topics = read_rows(night.lake, night.topics, "topic").to_pylist() if night.topics else []
    return Shop(
        night.ds,
        read.history,
        read.languages,
        read.catalogue,
        night.read("category"),
        read.sessions,
        read.topics,
        past.contexts(night, popularity_nights),
        interests.filter(pc.equal(interests["horizon"], "90d")),
        night.read("user_interest_expansion", columns=["user_key", "topic_id", "via_topic_id", "method", "score"]),
        {r["topic_id"]: (r["label_en"], r["label_zh"]) for r in topics},
        night.stances,
        night.sensitive,
    )


def _variants(
    running: Experiment | None, recipe: Recipe, blend: Blend, version: str | None, sources: dict[str, Recommender]
) -> list[Variant]:
    """The ways of making lists on the night: one, or one for each arm of the experiment that runs."""
    from recsys_core.lists import VARIANT, Variant
    from recsys_core.ranking.blender import Blend

    own = {name: sources[name] for name in blend.sources}
    usual = Variant(VARIANT, blend, version or recipe.version(blend, own))
    if running is None:
        return [usual]
    found = []
    for arm in running.arms:
        weights = arm.changes.get("sources")
        mixed = Blend.linear(weights) if weights else blend
        variant = replace(usual, name=arm.name, blend=mixed, changes={k: v for k, v in arm.changes.items() if k != "sources"})
        if weights or not version:
            variant = replace(variant, version=variant.of(recipe).version(mixed, {n: sources[n] for n in mixed.sources}))
        found.append(variant)
    return found


def _with_copy(night: Night, rows: pa.Table, shop: Shop, most: int) -> pa.Table:
    """The rows with a generated sentence behind some reasons."""
    from recsys_core.generate import copy

    items = shop.catalogue.select(["item_id", "title", "description"])
    return copy.added(rows, items, shop.labels, night.settings.generator(), night.lake, night.runner.say, most)
