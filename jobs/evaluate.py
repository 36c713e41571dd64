"""What became of earlier lists, interests, forecasts and expansions, and how good the topics are."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.past import facts, lists, ratings, sessions

if TYPE_CHECKING:
    from jobs.night import Night
    from recsys_core.evaluation import Cut
    from recsys_core.recommenders.history import History

WEEK = 7


def evaluate(
    night: Night,
    *,
    seed: Annotated[int, "of the resampling behind the intervals", range(2**31)] = 0,
    popularity_nights: Annotated[int, "nights that count for the popularity baseline", range(1, 366)] = 14,
) -> None:
    """Write eval_metric, experiment_metric and topn_outcome of the night.

    eval_metric: the newest earlier lists and interests against tonight, the lists of seven nights ago against the seven nights since, and
    ratings; what was measured of the night's topics when they were trained, and how far tonight's new item texts are from what they were
    trained on. experiment_metric: the arms of the experiments behind these lists. topn_outcome: seven nights' lists against tonight.
    Slices and arms of fewer users than may be told of are left out.
    """
    from threadpoolctl import threadpool_limits

    from recsys_core import evaluation
    from recsys_core.tables import TABLES

    # Matrices are small here: threads that share a product mostly wait for one another, at full load where the cores are busy.
    with threadpool_limits(1, "blas"):
        rows, trials = _list_rows(night, seed, popularity_nights)
        held = [d for d in night.nights("user_interest") if d < night.ds]
        came = night.read("session", 1, ["user_key"])["user_key"]
        if held and night.topics is not None:
            columns = ["user_key", "topic_id", "horizon", "score", "rank", "model_version"]
            interests = night.lake.read("user_interest", held[-1:], columns)
            rows += evaluation.interest_metrics(interests, night.read("user_topic_day", 1), night.topics.model_version, night.ds, seed)
            now = night.read("user_interest", 1, columns)
            rows += evaluation.stability_metrics(interests, now, came, night.topics.model_version, night.ds, seed)
        rows += evaluation.rating_metrics(ratings(night), night.ds, seed)
        rows += _topic_rows(night)
        rows += _forecast_rows(night, seed)
        rows += _expansion_rows(night, seed)
    least = night.release.least
    rows = [r for r in rows if r["subject"] != "recommender" or r["slice_dim"] == "all" or r["n"] >= least]
    trials = [r for r in trials if r["n"] >= least]
    night.write("eval_metric", pa.Table.from_pylist(rows, schema=TABLES["eval_metric"].arrow_schema()))
    night.write("experiment_metric", pa.Table.from_pylist(trials, schema=TABLES["experiment_metric"].arrow_schema()))
    tonight = night.lake.read("user_item_day", [night.ds] if night.ds in night.nights("user_item_day") else [])
    found = [evaluation.outcomes(lists(night, d), tonight, night.ds) for d in night.nights("user_topn") if d < night.ds]
    night.write("topn_outcome", pa.concat_tables([TABLES["topn_outcome"].arrow_schema().empty_table(), *found]))


def _list_rows(night: Night, seed: int, popularity_nights: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of eval_metric about earlier lists, and of experiment_metric about the experiments that they were part of."""
    from recsys_core import evaluation
    from recsys_core.evaluation import trial
    from recsys_core.kept import decoded
    from recsys_core.lists import UNKNOWN_USER
    from recsys_core.recommenders import history

    made = [d for d in night.nights("user_topn") if (m := night.lake.manifest("user_topn", d)) and m.rows]
    week_ago, last = night.ds - dt.timedelta(days=WEEK), max((d for d in made if d < night.ds), default=None)
    if last is None:
        return [], []
    of_night = {d: lists(night, d) for d in (week_ago, last, night.ds) if d in made}
    catalogue = night.read("item", columns=["item_id"])
    past = history.build(facts(night), pc.unique(catalogue["item_id"]).to_pylist(), night.ds)
    where, weights = {"ds": night.ds}, night.event_types.base
    cut, dims = _cut(night, past, last, beyond_accuracy=True)
    rows = evaluation.list_metrics(cut, past, of_night[last], where, dims, popularity_nights, seed)
    if night.ds in of_night:
        came = night.read("session", 1, ["user_key"])["user_key"]
        rows += evaluation.list_stability(of_night[last], of_night[night.ds], came, night.ds, seed)
    after = None
    if week_ago in of_night:
        then, _ = _cut(night, past, week_ago, beyond_accuracy=False)
        rows += evaluation.list_metrics(then, past, of_night[week_ago], where, {}, popularity_nights, seed, horizon="_7d")
        after = night.lake.read("user_item_day", [d for d in night.nights("user_item_day") if week_ago < d])
        rows += evaluation.proxy_metrics(decoded(of_night[week_ago]), after, weights, where, seed)
    trials = []
    of_night = {d: decoded(rows_of) for d, rows_of in of_night.items() if night.experiment(d)}
    for experiment in {e.name: e for d in (week_ago, last) if (e := night.experiment(d))}.values():
        measured, own = [], []
        for d in (week_ago, last):
            if night.experiment(d) == experiment and d in of_night:
                mask = pc.and_(pc.equal(of_night[d]["list_name"], trial.LIST), pc.not_equal(of_night[d]["user_key"], UNKNOWN_USER))
                own.append(of_night[d].filter(mask))
                measured += [trial.next_night(cut, past, own[-1])] if d == last else []
                measured += [trial.seven_nights(own[-1], after, weights)] if d == week_ago else []
        if own:
            trials += (found := evaluation.experiment_rows(experiment, own[-1], measured, night.ds, seed))
            if found and found[0]["sample_ratio_p"] < trial.SUSPICIOUS_P:
                night.runner.say(
                    f"{night.ds} evaluate: WARNING: experiment {experiment.name}: users are not dealt to its arms as declared (p = "
                    f"{found[0]['sample_ratio_p']:.2g}): find out why before you believe any of its figures"
                )
    return rows, trials


def _cut(night: Night, past: History, list_ds: dt.date, beyond_accuracy: bool) -> tuple[Cut, dict[str, tuple[list[str], Any]]]:
    """What the lists of an earlier night are judged by, under the rules they kept to; the slices of their users as known on that night."""

    from recsys_core import evaluation
    from recsys_core.ranking import policy
    from recsys_core.recommenders import history

    def then(name: str, columns: list[str] | None = None) -> pa.Table:
        return night.lake.read(name, [list_ds] if list_ds in night.nights(name) else [], columns)

    items, tree, rules = then("item"), then("category"), night.list_rules
    topics = night.read("item_topic", 1, ["item_id", "topic_id", "weight", "rank"])
    eligible = rules.eligible(items, tree, past.items, list_ds)
    eligible[policy.of_topics(topics, past.items, night.sensitive)] = False
    come = sessions(night)
    come = come.filter(pc.less_equal(come["ds"], pa.scalar(list_ds, pa.date32())))
    langs, regions = history.usual(come, "lang", past.users), history.usual(come, "region", past.users)
    vectors = members = None
    if beyond_accuracy:
        texts = night.read("item_text", 1, ["item_id", "text_hash"])
        vectors = history.item_vectors(past, texts["item_id"], night.vectors(texts["text_hash"].to_pylist()))
        members = history.item_topics(past, topics, pc.unique(topics["topic_id"]))
    cut = evaluation.cut_at(
        past,
        (night.ds - list_ds).days,
        eligible,
        rules.cool_down(items, tree, past.items),
        langs[1],
        vectors if vectors is not None and vectors.any() else None,
        members if members is not None and members.nnz else None,
        regions[1],
        policy.in_region(items, past.items, regions[0]),
    )
    levels = then("user_profile", ["user_key", "cold_level"])
    known = {"cold_level": pa.table({"user_key": levels["user_key"], "value": levels["cold_level"].cast(pa.string())})}
    told = then("user_attribute", ["user_key", "attribute", "attribute_value"])
    for name in sorted(set(told["attribute"].to_pylist())):
        of_users = told.filter(pc.equal(told["attribute"], name))
        known[f"{evaluation.ATTRIBUTE}{name}"] = pa.table({"user_key": of_users["user_key"], "value": of_users["attribute_value"]})
    return cut, {"lang": langs, "region": regions, **evaluation.user_slices(past, cut, known)}


def _forecast_rows(night: Night, seed: int) -> list[dict[str, Any]]:
    """Rows of eval_metric about the forecasts that fall due tonight, as far as they speak of the topics that the night is under."""
    from recsys_core import evolution, registry
    from recsys_core.evolution import features, metrics
    from recsys_core.topics.tables import load_topics

    made = {(night.ds - d).days: d for d in night.nights("user_interest_forecast") if d < night.ds}
    due = {h: night.lake.read("user_interest_forecast", [made[h]]) for h in evolution.HORIZONS if h in made}
    found = [mine for h, said in due.items() if (mine := said.filter(pc.equal(said["horizon_days"], h))).num_rows]
    if night.topics is None or not found:
        return []
    rows, columns = [], ["ds", "user_key", "topic_id", "mass_micro"]
    days = features.topic_days(night.read("user_topic_day", 14, columns), load_topics(night.lake, night.topics).ids)
    for said in found:
        version = registry.find(night.lake, evolution.KIND, said["model_version"][0].as_py())
        if version and version.params["topics"] == night.topics.model_version:
            rows += metrics.forecast_metrics(said, days, version, night.ds, seed)
    return rows


def _expansion_rows(night: Night, seed: int) -> list[dict[str, Any]]:
    """Rows of eval_metric about the expansions of seven nights ago, if they are of the topics that the night is under."""
    from recsys_core.expansion import coverage, state
    from recsys_core.graph import AHEAD_DAYS
    from recsys_core.topics.tables import load_topics

    then = night.ds - dt.timedelta(days=AHEAD_DAYS)
    made = night.lake.manifest("user_interest_expansion", then) if then in night.nights("user_interest_expansion") else None
    if night.topics is None or made is None or made.models.get("topics") != night.topics.model_version:
        return []
    ids = sorted(set(load_topics(night.lake, night.topics).ids.tolist()) - night.sensitive)
    days = night.read("user_topic_day", columns=["ds", "user_key", "topic_id", "mass_micro"])
    shown = night.lake.read("user_interest_expansion", [then], ["user_key", "topic_id", "method", "score", "rank"])
    return coverage.expansion_metrics(shown, state.week(state.summed(days, night.ds), ids), ids, night.topics.model_version, night.ds, seed)


def _topic_rows(night: Night) -> list[dict[str, Any]]:
    """Rows of eval_metric about the night's topic model; none without one."""
    import numpy as np

    from recsys_core.topics import quality
    from recsys_core.topics.tables import load_state, load_topics

    if night.topics is None or "measured" not in night.topics.params:
        return []
    name, measured = night.topics.model_version, night.topics.params["measured"]
    rows, state = quality.metric_rows(night.ds, name, measured), load_state(night.lake, night.topics)
    assert state is not None, "what is measured is remembered, too"
    texts = night.read("item_text", columns=["item_id", "text_hash"])
    new = texts.filter(pa.array(state.unknown(texts["text_hash"].to_pylist()))).group_by("text_hash").aggregate([("item_id", "min")])
    topics = night.read("item_topic", columns=["item_id", "topic_id", "rank"])
    first = topics.filter(pc.equal(topics["rank"], 1))
    topic_of = dict(zip(first["item_id"].to_pylist(), first["topic_id"].to_pylist(), strict=True))
    met = sorted(
        (h, topic_of[i]) for h, i in zip(new["text_hash"].to_pylist(), new["item_id_min"].to_pylist(), strict=True) if i in topic_of
    )
    place = {int(i): n for n, i in enumerate(load_topics(night.lake, night.topics).ids)}
    own = np.array([place[t] for _, t in met], np.int64)
    cosines = quality.own_cosines(night.vectors([h for h, _ in met]), own, state.centroids) if met else np.zeros(0)
    return rows + quality.drift_rows(night.ds, name, own, cosines, state.shares, measured["metrics"] | {"floor": measured["floor"]})
