"""Topic models: trained on the nights up to one, promoted for the nights after it."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Annotated
from zoneinfo import ZoneInfo

import orjson

from jobs import WINDOW
from jobs.runner import Night, ParameterError
from recsys_core import registry
from recsys_core.lake import LakeError, canonical_json, digest

_ONE_DAY = dt.timedelta(days=1)


def fit_topics(
    night: Night,
    *,
    k_min: Annotated[int, "fewest topics to try (a small catalogue lowers it)", range(2, 1001)] = 20,
    k_max: Annotated[int, "most topics to try", range(2, 1001)] = 200,
    seed: Annotated[int, "seed of all that is drawn", range(2**31)] = 0,
    train_nights: Annotated[int, "nights of training data, the last one included", range(1, WINDOW + 1)] = WINDOW,
    max_reviews: Annotated[int, "reviews whose words LDA and the keywords' coherence look at", range(1_000_000)] = 5_000,
    force: bool = False,
) -> None:
    """Register a k-means and an LDA version trained on the nights up to ds, as candidates valid from the next night."""
    from recsys_core.encoders import space_of
    from recsys_core.topics import tables, training

    if k_min > k_max:
        raise ParameterError(f"--k-min {k_min} is more than --k-max {k_max}")
    ds, lake, say, space = night.ds.isoformat(), night.lake, night.runner.say, space_of(night.settings.encoder)
    nights = night.nights("item_text", max(train_nights, 1))
    if not nights:
        raise LakeError(f"no night up to {ds} has item texts: run `python -m jobs nights --jobs clean,aggregate,texts,embed` on some first")
    params = {"k_min": k_min, "k_max": k_max, "seed": seed, "train_nights": len(nights), "max_reviews": max_reviews, "encoder": space}
    fingerprint = digest([list(i) for i in night.stamp.inputs])
    names = {m: registry.version_name(kind, night.ds, fingerprint, {**params, "method": m}) for m, kind in tables.KINDS.items()}
    if force or any(registry.find(lake, tables.KINDS[m], name) is None for m, name in names.items()):
        data = training.corpus(
            lake.read("item_text", nights[-1:]),
            night.read("user_text", train_nights, ["kind", "text_hash", "lang", "text"]),
            night.read("user_item_day", train_nights, ["user_key", "item_id"]),
            night.vectors,
            max_reviews,
        )
        k, silhouettes = training.number_of_topics(data, k_min, k_max, seed)
        counts = f"{len(data.items):,} item texts, {len(data.reviews):,} reviews"
        say(f"{ds} fit_topics: {counts}: {k} topics (silhouette {silhouettes[k]:.3f})")
        embedded = [m for d in nights if (m := lake.manifest("text_embedding", d, embedding_space=space))]
        devices = sorted({m.models["device"] for m in embedded if "device" in m.models})
        known = params | {"k": k, "silhouette": {str(n): s for n, s in silhouettes.items()}, "embedding_devices": devices}
        proto = registry.ModelVersion(
            "", "", nights[0].isoformat(), ds, (night.ds + _ONE_DAY).isoformat(), known, fingerprint, night.stamp.code, space
        )
        training.fit_versions(lake, data, names, proto, k, seed)
    lake.write_bytes(_record(night.ds), canonical_json(names).encode())
    say(f"{ds} fit_topics: {', '.join(names.values())}")


def promote(night: Night) -> None:
    """Make the k-means version that was trained on ds the champion, build its window, and publish the model tables.

    Its `promoted_at` is the local end of ds: the moment from which it could have been promoted, whenever that is done.
    """
    from recsys_core.topics.tables import model_tables
    from recsys_core.warehouse import connect

    lake, runner = night.lake, night.runner
    try:
        name = orjson.loads(lake.read_bytes(_record(night.ds)))["kmeans"]
    except FileNotFoundError as error:
        raise LakeError(
            f"no topics were trained on {night.ds.isoformat()}: run `python -m jobs fit_topics --ds {night.ds.isoformat()}`"
        ) from error
    window = night.nights("user_item_day")
    end = dt.datetime.combine(night.ds + _ONE_DAY, dt.time(), ZoneInfo(night.settings.time_zone)).astimezone(dt.UTC)
    promote_version(night, name, end)
    for count, ds in enumerate(window, 1):
        if count == 1 or count % 30 == 0 or count == len(window):
            runner.say(f"{night.ds.isoformat()} promote: window of {name}, night {count} of {len(window)}")
        runner.run("assign_topics", ds, trigger=night.trigger)
    with connect(night.settings.warehouse) as warehouse:
        warehouse.publish_models(model_tables(lake))


def promote_version(night: Night, name: str, promoted_at: dt.datetime) -> None:
    """Set the versions' states: of those promoted the one that is valid last is the champion, the others are retired.

    One training night has one promoted version: an earlier one of the same night becomes a candidate again.
    """
    found = {v.model_version: v for v in registry.versions(night.lake, "topics")}
    chosen = found[name]
    stand = {name: replace(chosen, promoted_at=promoted_at.isoformat())}
    for version in found.values():
        if version.status != "candidate" and version.model_version != name:
            same = version.valid_from_ds == chosen.valid_from_ds
            stand[version.model_version] = replace(version, status="candidate", promoted_at=None) if same else version
    promoted = [v for v in stand.values() if v.promoted_at]
    champion = max(promoted, key=lambda v: v.valid_from_ds)
    for version in stand.values():
        status = "candidate" if not version.promoted_at else "champion" if version is champion else "retired"
        if (wanted := replace(version, status=status)) != found[version.model_version]:
            registry.save(night.lake, wanted)


def _record(ds: dt.date) -> str:
    """Where it is noted which versions were trained last on ds."""
    return f"_training/ds={ds.isoformat()}.json"
