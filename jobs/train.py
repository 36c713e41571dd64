"""Topic models: trained on the nights up to one, promoted for the nights after it."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Annotated

import orjson

from jobs import WINDOW, YEAR
from jobs.as_of import end_of
from jobs.night import Night
from jobs.runner import ParameterError, Runner
from recsys_core import registry
from recsys_core.lake import LakeError, canonical_json, digest

_ONE_DAY = dt.timedelta(days=1)
# Sentences about topics that changed in a training, at most.
SAID_CHANGES = 20


def fit_topics(
    night: Night,
    *,
    methods: Annotated[str | None, "topic models to fit, comma-separated; nights use the first [setting TOPIC_MODELS]"] = None,
    k_min: Annotated[int, "fewest topics to try (a small catalogue lowers it)", range(2, 1001)] = 20,
    k_max: Annotated[int, "most topics to try", range(2, 1001)] = 200,
    seed: Annotated[int, "seed of all that is drawn", range(2**31)] = 0,
    train_nights: Annotated[int, "nights of training data, the last one included", range(1, WINDOW + 1)] = WINDOW,
    max_reviews: Annotated[int, "reviews whose words word models and the keywords' coherence look at", range(1_000_000)] = 5_000,
    cold: Annotated[bool, "fit from scratch instead of starting from the topics in use; ids are still matched"] = False,
    force: bool = False,
) -> None:
    """Register a version of each topic model trained on the nights up to ds, as candidates valid from the next night."""
    from recsys_core.generate.labels import topic_labels
    from recsys_core.topics import tables, training
    from recsys_core.topics.corpus import corpus

    if k_min > k_max:
        raise ParameterError(f"--k-min {k_min} is more than --k-max {k_max}")
    ds, lake, say, space = night.ds.isoformat(), night.lake, night.runner.say, night.space
    wanted, generator = _methods(methods or night.settings.topic_models), night.settings.generator()
    nights = night.nights("item_text", max(train_nights, 1))
    if not nights:
        raise LakeError(f"no night up to {ds} has item texts: run `python -m jobs nights --jobs clean,aggregate,texts,embed` on some first")
    params = {"k_min": k_min, "k_max": k_max, "seed": seed, "train_nights": len(nights), "max_reviews": max_reviews, "encoder": space}
    params |= {"labels": generator.name, "cold": cold}
    fingerprint = digest([list(i) for i in night.stamp.inputs])
    kinds = {m: tables.kind_of(m, wanted[0]) for m in wanted}
    follows = {m: tables.version_before(lake, kind, night.ds) for m, kind in kinds.items()}
    after = {m: before.model_version if before else None for m, before in follows.items()}
    names = {
        m: registry.version_name(kind, night.ds, fingerprint, {**params, "method": m, "follows": after[m]}) for m, kind in kinds.items()
    }
    if force or any(registry.find(lake, kinds[m], name) is None for m, name in names.items()):
        data = corpus(
            lake.read("item_text", nights[-1:]),
            night.read("user_text", train_nights, ["kind", "text_hash", "lang", "text"]),
            night.read("user_item_day", train_nights, ["user_key", "item_id"]),
            night.vectors,
            max_reviews,
        )
        champion = follows[wanted[0]]
        before = champion.params.get("k") if champion else None
        k, tried = training.number_of_topics(data, wanted[0], k_min, k_max, seed, before)
        counts = f"{len(data.items):,} item texts, {len(data.reviews):,} reviews"
        say(f"{ds} fit_topics: {counts}: {k} topics (criterion {tried[k]:.3f})")
        embedded = [m for d in nights if (m := lake.manifest("text_embedding", d, embedding_space=space or ""))]
        devices = sorted({m.models["device"] for m in embedded if "device" in m.models})
        known = params | {"k": k, "silhouette": {str(n): s for n, s in sorted(tried.items())}, "embedding_devices": devices}
        proto = registry.ModelVersion(
            "", "", nights[0].isoformat(), ds, (night.ds + _ONE_DAY).isoformat(), known, fingerprint, night.stamp.code, space
        )
        shared = training.Task("", "", k, seed, night.ds, space, lambda topics: topic_labels(topics, generator, lake, say))
        task = replace(shared, warm=not cold, processes=night.settings.train_processes)
        for version in training.fit_versions(lake, data, names, proto, task, follows):
            _say_fitted(night, version)
    lake.write_bytes(_record(night.ds), canonical_json({kinds[m]: name for m, name in names.items()}).encode())
    say(f"{ds} fit_topics: {', '.join(names.values())}")


def _methods(listed: str) -> list[str]:
    """The topic models of a comma-separated list; ParameterError for one that is not registered, or none."""
    from recsys_core.topics import TOPIC_MODELS

    found = list(dict.fromkeys(name.strip() for name in listed.split(",") if name.strip()))
    if unknown := [name for name in found if name not in TOPIC_MODELS]:
        raise ParameterError(f"no topic model is named {', '.join(unknown)}: there are {', '.join(TOPIC_MODELS)}")
    if not found:
        raise ParameterError(f"no topic model is named: there are {', '.join(TOPIC_MODELS)}")
    return found


def _say_fitted(night: Night, version: registry.ModelVersion) -> None:
    """What was measured, and what became of the topics before."""
    from recsys_core.topics import tables
    from recsys_core.topics.lineage import sentences

    measured, say = version.params["measured"], night.runner.say
    say(f"{version.model_version}: " + ", ".join(f"{name} {value:g}" for name, value in measured["metrics"].items()))
    rows = tables.read_rows(night.lake, version, "topic_lineage").to_pylist()
    before = registry.find(night.lake, version.kind, rows[0]["prev_model_version"]) if rows and rows[0]["prev_model_version"] else None
    if before:
        names = [{i: en for i, (en, _) in tables.labels(night.lake, v).items()} for v in (version, before)]
        *changed, last = sentences(rows, *names)
        for line in [*changed[:SAID_CHANGES], *([f"{len(changed) - SAID_CHANGES} more"] if len(changed) > SAID_CHANGES else []), last]:
            say(f"{version.model_version}: {line}")


def promote(
    night: Night,
    *,
    model_version: Annotated[str | None, "a version of the kind `topics` trained on ds [default the one trained last]"] = None,
    min_kept: Annotated[float, "least share of documents that keep their topic"] = 0.7,
    accept_churn: Annotated[bool, "promote although fewer documents keep their topic; needs a reason"] = False,
    accept_worse: Annotated[bool, "promote although it is worse than the champion on the same documents; needs a reason"] = False,
    reason: Annotated[str, "why, in words, for the record of promotions"] = "",
) -> None:
    """Build the window of a topic version that was trained on ds, let new nights use it, and publish the model tables.

    A version under which too many documents change their topic, or that is worse than the champion beyond a margin, is not promoted: named
    by --model-version that is an error, else the champion stays. Its `promoted_at` is the local end of ds: the moment from which it could
    have been promoted, whenever that is done. Nights built before stay under their version.
    """
    from recsys_core.topics import quality
    from recsys_core.topics.tables import CHAMPIONS

    ds, lake, runner = night.ds.isoformat(), night.lake, night.runner
    if (accept_churn or accept_worse) and not reason.strip():
        raise ParameterError("--accept-churn and --accept-worse need a --reason, which is recorded")
    name = model_version
    if name is None:
        try:
            name = orjson.loads(lake.read_bytes(_record(night.ds)))[CHAMPIONS]
        except (FileNotFoundError, KeyError) as error:
            raise LakeError(f"no topics were trained on {ds}: run `python -m jobs fit_topics --ds {ds}`") from error
    trained = {v.model_version: v for v in registry.versions(lake, CHAMPIONS) if v.train_to == ds}
    if name not in trained:
        raise LakeError(f"{name} is no version that was trained on {ds}: there {_are(list(trained))}")
    version = trained[name]
    refused = {} if version.promoted_at else quality.refusals(version.params.get("measured", {}), min_kept)
    accepted = {"churn": accept_churn, "worse": accept_worse}
    if stopped := {gate: why for gate, why in refused.items() if why and not accepted[gate]}:
        options = " ".join(f"--accept-{gate}" for gate in stopped)
        said = (
            f"{name} is not promoted: {'; '.join(line for why in stopped.values() for line in why)}; to promote it all the same: "
            f"`python -m jobs promote --ds {ds} --model-version {name} {options} --reason TEXT`"
        )
        if model_version:
            raise LakeError(said)
        runner.say(f"{said}. The champion stays")
        if stays := runner.models.valid(night.ds + _ONE_DAY):  # what is trained next reads its topics of every night
            by = {"model_version": stays.model_version}
            nights = [d for d in night.nights("user_item_day") if lake.manifest("user_topic_day", d, **by) is None]
            _build_window(runner, stays, nights, night.trigger)
        runner.publish_models()
        return
    overruled = [line for gate, why in refused.items() if accepted[gate] for line in why]
    nights = night.nights("user_item_day")
    nights += [d for d in _built_nights(runner, version) if d > night.ds]
    _build_window(runner, version, nights, night.trigger)
    end = end_of(night.ds, night.settings)
    registry.promote(lake, version, end, runner.now or end, "; ".join([reason, *(f"accepted: {line}" for line in overruled)]))
    runner.publish_models()


def rollback(runner: Runner, kind: str, name: str | None, reason: str, now: dt.datetime, trigger: str) -> None:
    """Take a version (by default the champion) out of use, so that new nights use the one promoted before it, and publish the model tables.

    The window of a topic model is built first. Nights built under the version stay as they are; those published are named. An encoder or a
    head that is rolled back is no longer used by what is trained or labelled next.
    """
    from recsys_core.topics.tables import CHAMPIONS

    in_use = [v for v in registry.versions(runner.lake, kind) if v.promoted_at]
    found = [v for v in in_use if name in (None, v.model_version)]
    if not found:
        raise LakeError(f"{name or 'the champion'} of kind {kind!r} is not in use: there {_are([v.model_version for v in in_use])}")
    version = found[-1]
    before = registry.before(runner.lake, version)
    if before and kind == CHAMPIONS:
        _build_window(runner, before, _built_nights(runner, version), trigger)
    registry.rollback(runner.lake, version, now, reason)
    runner.publish_models()
    runner.say(f"{version.model_version} is rolled back; new nights use {before.model_version if before else 'none'}")
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
        runner.run("embed", ds, trigger=trigger, under=version)
        runner.run("assign_topics", ds, trigger=trigger, under=version)


def _published_under(runner: Runner, version: registry.ModelVersion) -> list[dt.date]:
    """Nights whose live publication was made under the version."""
    from recsys_core.warehouse import connect

    with connect(runner.settings.warehouse) as warehouse:
        live = warehouse.query(
            "SELECT DISTINCT ds, CAST(model_versions AS VARCHAR) AS models FROM publication WHERE is_live AND trigger <> 'intraday'"
        )
    return sorted({r["ds"] for r in live.to_pylist() if version.model_version in orjson.loads(r["models"]).values()})


def _are(names: list[str]) -> str:
    return f"are {', '.join(names)}" if names else "is none"


def _record(ds: dt.date) -> str:
    """Where it is noted which versions were trained last on ds."""
    return f"_training/ds={ds.isoformat()}.json"
