"""Lists for every user, and what became of earlier ones."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from jobs.runner import Night


def _facts(night: Night) -> pa.Table:
    """All nights of user_item_day, reduced night by night so that the counts by type are never held at once."""
    from recsys_core.recommenders import history

    return pa.concat_tables(
        history.reduce_night(night.lake.read("user_item_day", [d], history.COLUMNS), night.event_types)
        for d in night.nights("user_item_day")
    )


def recommend(
    night: Night,
    *,
    list_size: Annotated[int, "slots of a list", range(1, 1001)] = 20,
    active_nights: Annotated[int, "users with an event in so many last nights get a list of their own", range(1, 366)] = 90,
    popularity_nights: Annotated[int, "nights that count for popularity", range(1, 366)] = 14,
    validation_nights: Annotated[int, "last nights that choose the weights of the blend", range(1, 91)] = 7,
) -> None:
    """Write user_topn of the night: a list for every active user, and popular ones for unknown users."""
    from recsys_core import lists
    from recsys_core.recommenders import history

    catalogue = night.read("item", columns=["item_id", "title", "deleted"])
    texts = night.read("item_text", columns=["item_id", "text_hash"])
    past = history.build(_facts(night), catalogue.column("item_id").to_pylist(), night.ds)
    vectors = history.item_vectors(past, texts.column("item_id"), night.vectors(texts.column("text_hash").to_pylist()))
    recipe = lists.Recipe(list_size, active_nights, popularity_nights, validation_nights, night.event_types.base)
    topics = night.read("item_topic", columns=["item_id", "topic_id", "rank"])
    sessions = night.read("session", columns=["user_key", "lang", "region"])
    night.write("user_topn", lists.make(past, catalogue, vectors, sessions, topics, recipe, night.ds, night.stamp.run_id))


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
    past = history.build(_facts(night), catalogue.column("item_id").to_pylist(), night.ds)
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
        rows += evaluation.interest_metrics(interests, night.read("user_topic_day"), night.topics.model_version, night.ds, seed)
    rows += _topic_rows(night)
    night.write("eval_metric", pa.Table.from_pylist(rows, schema=TABLES["eval_metric"].arrow_schema()))
    tonight = night.lake.read("user_item_day", [night.ds] if night.ds in night.nights("user_item_day") else [])
    week = night.ds - dt.timedelta(days=7)
    night.write("topn_outcome", evaluation.outcomes(shown.filter(pc.greater_equal(shown.column("ds"), week)), tonight, night.ds))


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
