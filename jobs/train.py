"""Topic models: trained on the nights up to one, promoted for the nights after it."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import orjson

from jobs import WINDOW, YEAR
from jobs.as_of import end_of
from jobs.runner import Night, ParameterError, Runner
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


def promote(
    night: Night,
    *,
    model_version: Annotated[str | None, "a k-means version trained on ds [default the one trained last]"] = None,
    reason: Annotated[str, "why, in words, for the record of promotions"] = "",
) -> None:
    """Build the window of a k-means version that was trained on ds, let new nights use it, and publish the model tables.

    Its `promoted_at` is the local end of ds: the moment from which it could have been promoted, whenever that is done. Nights built before
    stay under their version.
    """
    ds, lake, runner = night.ds.isoformat(), night.lake, night.runner
    name = model_version
    if name is None:
        try:
            name = orjson.loads(lake.read_bytes(_record(night.ds)))["kmeans"]
        except FileNotFoundError as error:
            raise LakeError(f"no topics were trained on {ds}: run `python -m jobs fit_topics --ds {ds}`") from error
    trained = {v.model_version: v for v in registry.versions(lake, "topics") if v.train_to == ds}
    if name not in trained:
        raise LakeError(f"{name} is no version that was trained on {ds}: there {_are(list(trained))}")
    nights = night.nights("user_item_day")
    nights += [d for d in _built_nights(runner, trained[name]) if d > night.ds]
    _build_window(runner, trained[name], nights, night.trigger)
    end = end_of(night.ds, night.settings)
    registry.promote(lake, trained[name], end, runner.now or end, reason)
    _publish_models(runner)


def rollback(runner: Runner, kind: str, name: str | None, reason: str, now: dt.datetime, trigger: str) -> None:
    """Take a version (by default the champion) out of use, so that new nights use the one promoted before it, and publish the model tables.

    The window of that one is built first. Nights built under the version stay as they are; those published are named.
    """
    in_use = [v for v in registry.versions(runner.lake, kind) if v.promoted_at]
    found = [v for v in in_use if name in (None, v.model_version)]
    if not found:
        raise LakeError(f"{name or 'the champion'} of kind {kind!r} is not in use: there {_are([v.model_version for v in in_use])}")
    version = found[-1]
    if before := registry.before(runner.lake, version):
        _build_window(runner, before, _built_nights(runner, version), trigger)
    registry.rollback(runner.lake, version, now, reason)
    _publish_models(runner)
    runner.say(f"{version.model_version} is rolled back; new nights use {before.model_version if before else 'no topic model'}")
    if published := _published_under(runner, version):
        first, last = published[0].isoformat(), published[-1].isoformat()
        runner.say(
            f"{len(published)} published nights used it and stay as they are: {', '.join(d.isoformat() for d in published)}; "
            f"to build them anew: `python -m jobs nights --from {first} --to {last} --use-current-models`"
        )


def _built_nights(runner: Runner, version: registry.ModelVersion) -> list[dt.date]:
    """Built nights that nights for which the version is (or was) valid read."""
    valid_from = dt.date.fromisoformat(version.valid_from_ds)
    later = [
        v.valid_from_ds for v in registry.versions(runner.lake, version.kind) if v.promoted_at and v.valid_from_ds > version.valid_from_ds
    ]
    last = min(later, default="9999-12-31")
    built = set(runner.lake.nights("user_interest")) & set(runner.landing.nights())
    return [d for d in sorted(built) if valid_from - dt.timedelta(days=YEAR) < d and d.isoformat() < last]


def _build_window(runner: Runner, version: registry.ModelVersion, nights: list[dt.date], trigger: str) -> None:
    """Assign the version's topics to the nights."""
    for count, ds in enumerate(nights, 1):
        if count == 1 or count % 30 == 0 or count == len(nights):
            runner.say(f"window of {version.model_version}, night {count} of {len(nights)}")
        runner.run("assign_topics", ds, trigger=trigger, under=version)


def _publish_models(runner: Runner) -> None:
    from recsys_core.topics.tables import model_tables
    from recsys_core.warehouse import connect

    with connect(runner.settings.warehouse, runner.say) as warehouse:
        warehouse.publish_models(model_tables(runner.lake))


def _published_under(runner: Runner, version: registry.ModelVersion) -> list[dt.date]:
    """Nights whose live publication was made under the version."""
    from recsys_core.warehouse import connect

    with connect(runner.settings.warehouse) as warehouse:
        live = warehouse.query("SELECT DISTINCT ds, CAST(model_versions AS VARCHAR) AS models FROM publication WHERE is_live")
    return sorted({r["ds"] for r in live.to_pylist() if version.model_version in orjson.loads(r["models"]).values()})


def _are(names: list[str]) -> str:
    return f"are {', '.join(names)}" if names else "is none"


def _record(ds: dt.date) -> str:
    """Where it is noted which versions were trained last on ds."""
    return f"_training/ds={ds.isoformat()}.json"
