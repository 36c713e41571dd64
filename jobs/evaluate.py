"""What became of earlier lists, interests, forecasts and expansions, and how good the topics are."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from jobs.runner import Night


def evaluate(
    night: Night,
    *,
    seed: Annotated[int, "of the resampling behind the intervals", range(2**31)] = 0,
    popularity_nights: Annotated[int, "nights that count for the popularity baseline", range(1, 366)] = 14,
) -> None:
    """Write eval_metric and topn_outcome of the night.

    eval_metric: the newest earlier lists and interests against tonight; what was measured of the night's topics when they were trained, and
    how far tonight's new item texts are from what they were trained on. topn_outcome: seven nights' lists against tonight.
    """
    from recsys_core import evaluation
    from recsys_core.recommenders import history
    from recsys_core.tables import TABLES

    catalogue = night.read("item", columns=["item_id", "deleted"])
    facts = (night.lake.read("user_item_day", [d], history.COLUMNS) for d in night.nights("user_item_day"))
    past = history.build(history.reduced(facts, night.event_types), catalogue.column("item_id").to_pylist(), night.ds)
    earlier = [d for d in night.nights("user_topn") if d < night.ds]
    shown = night.lake.read("user_topn", earlier)
    sessions = night.read("session", columns=["user_key", "lang"])
    rows = []
    if earlier:
        last = shown.filter(pc.equal(shown.column("ds"), earlier[-1]))
        rows += evaluation.list_metrics(past, catalogue, last, earlier[-1], sessions, night.ds, popularity_nights, seed)
    held = [d for d in night.nights("user_interest") if d < night.ds]
    if held and night.topics is not None:
        columns = ["user_key", "topic_id", "horizon", "score", "rank", "model_version"]
        interests = night.lake.read("user_interest", held[-1:], columns)
        rows += evaluation.interest_metrics(interests, night.read("user_topic_day", 1), night.topics.model_version, night.ds, seed)
        now, came = night.read("user_interest", 1, columns), night.read("session", 1, ["user_key"])["user_key"]
        rows += evaluation.stability_metrics(interests, now, came, night.topics.model_version, night.ds, seed)
    rows += _topic_rows(night)
    rows += _forecast_rows(night, seed)
    rows += _expansion_rows(night, seed)
    night.write("eval_metric", pa.Table.from_pylist(rows, schema=TABLES["eval_metric"].arrow_schema()))
    tonight = night.lake.read("user_item_day", [night.ds] if night.ds in night.nights("user_item_day") else [])
    week = night.ds - dt.timedelta(days=7)
    night.write("topn_outcome", evaluation.outcomes(shown.filter(pc.greater_equal(shown.column("ds"), week)), tonight, night.ds))


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
