"""How much each source counts in the lists, fitted on what users turned to and in use from the next night on if lists get better."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from jobs import past
from jobs.as_of import end_of
from jobs.night import ONE_DAY
from jobs.runner import ParameterError
from recsys_core import registry
from recsys_core.lake import canonical_json, digest

if TYPE_CHECKING:
    from jobs.night import Night


def fit_ranker(
    night: Night,
    *,
    sources: Annotated[str | None, "recommenders of the blend, comma-separated [setting RECOMMENDERS]"] = None,
    popularity_nights: Annotated[int, "nights that count for popularity", range(1, 366)] = 14,
    seed: Annotated[int, "of models that draw, and of the resampling behind the intervals", range(2**31)] = 0,
    force: bool = False,
) -> None:
    """Register the coefficients of the blend that are valid from the next night, fitted on two weeks before the last one.

    They are promoted when the last week's lists by them are better than by those in use, with 95 % confidence (NDCG@10, the same users),
    and not worse than those of the best single source.
    """
    from recsys_core.ranking import ranker, training
    from recsys_core.ranking.policy import of_topics

    ds, lake, say = night.ds.isoformat(), night.lake, night.runner.say
    try:
        names = ranker.names(sources or night.settings.recommenders)
    except ValueError as error:
        raise ParameterError(str(error)) from error
    wanted = training.Sources(names, training.usual_options(popularity_nights), seed, past.cluster(night))
    # The one of tonight, not of the next night, so that a training that is repeated is judged against the same.
    before = registry.valid_for(lake, ranker.KIND, night.ds)
    in_use = ranker.blend(before, names)
    nights = night.nights("user_item_day")
    params = {"sources": list(names), "options": wanted.options, "in_use": before.model_version if before else None, "seed": seed}
    fingerprint = digest([list(i) for i in night.stamp.inputs])
    name = registry.version_name(ranker.KIND, night.ds, fingerprint, params)
    if not force and registry.find(lake, ranker.KIND, name) is not None:
        say(f"{ds} fit_ranker: {name}")
        night.runner.publish_models()
        return
    read = past.read(night)
    tree, history = night.read("category", columns=["category", "parent"]), read.history
    hidden = of_topics(read.topics, history.items, night.sensitive)
    may = training.listable(history, read.catalogue, tree, night.list_rules, night.ds, hidden)
    trained = training.train(history.interactions, history.n_events, wanted, may, in_use, seed)
    if trained is None:
        fewest = training.MIN_USERS
        say(f"{ds} fit_ranker: {len(nights)} nights, after which fewer than {fewest} users turned to something new: no ranker")
        return
    files = training.artefacts(trained.learned, history.items.to_pylist())
    told = {"coefficients": trained.blend.weights, "sharpness": trained.blend.sharpness, "measured": trained.measured}
    valid = (night.ds + ONE_DAY).isoformat()
    proto = registry.ModelVersion(name, ranker.KIND, nights[0].isoformat(), ds, valid, params, fingerprint, night.stamp.code, night.space)
    version = registry.register(lake, replace(proto, params=params | told), files)
    better = training.better(trained.measured)
    if better:
        end = end_of(night.ds, night.settings)
        registry.promote(lake, version, end, night.runner.now or end, canonical_json(trained.measured[training.GATE]))
    for line in ranker.sentences(trained.blend, trained.measured):
        say(f"{ds} fit_ranker: {line}")
    say(f"{ds} fit_ranker: {name}: {'promoted' if better else 'not promoted'}")
    night.runner.publish_models()
