"""What the nightly page shows of lists: what they hold and why, how much each source counts, and how sure it is that they are good."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from recsys_core.report import charts, list_charts
from recsys_core.report.canvas import HALF
from recsys_core.report.topics import Query
from recsys_core.report.words import Text, Words, around, named

_BASELINES = {
    "popularity": Words("popular of late", "近期热门"),
    "popularity_all_time": Words("popular ever", "历史热门"),
    "last_item": Words("after the last item", "接续上一件"),
}
_TRENDS = (("recall", 10), ("ndcg", 10))
_DIFFERENCE = Words("difference, with 95 %", "差值及 95 % 区间")
_SQL = {
    "slots": """SELECT l.user_key, l.rank, l.item_id, l.score, l.source, l.exploration, l.reason_text_en, l.reason_text_zh,
        CAST(l.contributions AS VARCHAR) AS contributions FROM user_topn l
        LEFT JOIN topic t ON t.topic_id = l.topic_id
        WHERE l.ds = :ds AND l.list_name = 'for_you' AND l.rank <= 10 AND t.sensitive IS NOT TRUE
        AND l.user_key IN (:one, :two, :three) ORDER BY l.user_key, l.rank""",
    "held": """SELECT list_name, variant, count(DISTINCT user_key) AS n_users, count(*) AS n_slots FROM user_topn
        WHERE ds = :ds GROUP BY list_name, variant ORDER BY list_name, variant""",
    "sources": """SELECT source, count(*) AS n_slots FROM user_topn WHERE ds = :ds AND list_name = 'for_you'
        GROUP BY source ORDER BY n_slots DESC, source""",
    "ranker": """SELECT CAST(params AS VARCHAR) AS params FROM model_version
        WHERE kind = 'ranker' AND model_version IN (SELECT l.model_version FROM user_topn l WHERE l.ds = :ds) ORDER BY model_version""",
    "better": """SELECT list_name, variant, baseline, metric, k, diff, diff_ci_low, diff_ci_high FROM eval_metric
        WHERE ds = :ds AND subject = 'recommender' AND slice_dim = 'all' AND metric IN ('ndcg', 'recall') AND k = 10
        AND diff_ci_low IS NOT NULL AND (list_name = 'for_you' OR metric = 'ndcg' AND baseline = 'popularity')
        ORDER BY list_name, variant, metric, baseline, model_version""",
    "slices": """SELECT slice_dim, slice_value, metric, k, diff, diff_ci_low, diff_ci_high FROM eval_metric
        WHERE ds = :ds AND subject = 'recommender' AND slice_dim NOT IN ('all', 'exploration') AND metric = 'recall' AND k = 10
        AND baseline = 'popularity' AND list_name = 'for_you' AND variant = 'default' AND diff_ci_low IS NOT NULL
        ORDER BY diff, slice_dim, slice_value""",
    "trend": """SELECT ds, metric, value, ci_low, ci_high, baseline_value FROM eval_metric
        WHERE ds <= :ds AND ds > CAST(:ds AS DATE) - 60 AND subject = 'recommender' AND metric IN ('recall', 'ndcg') AND k = 10
        AND baseline = 'popularity' AND slice_dim = 'all' AND list_name = 'for_you' AND variant = 'default' ORDER BY metric, ds""",
    "trials": """SELECT experiment, variant, metric, value, ci_low, ci_high, n, sample_ratio_p FROM experiment_metric
        WHERE ds = :ds ORDER BY experiment, metric, variant""",
}


def list_parts(query: Query, ds: dt.date, people: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> dict[str, Any]:
    """Charts and rows of the night's lists for the page; `people` are rows with user_key, at most three, whose lists are shown."""
    keys = [p["user_key"] for p in people][:3]
    who = dict(zip(("one", "two", "three"), [*keys, "", "", ""], strict=False))
    data = {name: query(sql, {"ds": ds, **(who if ":one" in sql else {})}).to_pylist() for name, sql in _SQL.items()}
    shown = []
    for key in keys:
        slots = [r | {"title": titles.get(r["item_id"], r["item_id"])} for r in data["slots"] if r["user_key"] == key]
        if slots:
            shown.append({"user_key": key, "slots": slots, "chart": _made_of(slots)})
    return {
        "shown_lists": shown,
        "held_lists": data["held"],
        "sources_chart": charts.bars(
            [named(r["source"]) for r in data["sources"]],
            [r["n_slots"] for r in data["sources"]],
            Words("slots of for_you", "“为你推荐”的位置数"),
            width=HALF,
        ),
        "blend_chart": _blend(data["ranker"]),
        "better_chart": _better(data["better"]),
        "slice_chart": _slices(data["slices"]),
        "trend_charts": [chart for metric, k in _TRENDS if (chart := _trend(data["trend"], metric, k))],
        "trials": data["trials"],
    }


def _made_of(slots: Sequence[Mapping[str, Any]]) -> Markup:
    """What each source adds to the scores of a list."""
    parts = [json.loads(r["contributions"]) for r in slots]
    names = sorted({name for p in parts for name in p}, key=lambda n: (-sum(p.get(n, 0.0) for p in parts), n))
    labels = [f"{r['rank']}. {r['title']}" for r in slots]
    meaning = Words("score, and what each source adds to it", "得分，以及各来源的贡献")
    return list_charts.stacked(labels, [(named(n), [p.get(n, 0.0) for p in parts]) for n in names], meaning, width=HALF)


def _blend(versions: Sequence[Mapping[str, Any]]) -> Markup:
    """How much each source's first choice counts, by how well users are known; '' while no ranker is in use."""
    if not versions:
        return Markup("")
    weights = json.loads(versions[-1]["params"])["coefficients"]
    names = sorted({n for of in weights.values() for n in of}, key=lambda n: (-sum(sum(of.get(n, [0.0])) for of in weights.values()), n))
    labels = [Words(f"users of {segment} events", f"行为 {segment} 的用户") for segment in weights]
    parts = [(named(n), [float(sum(of.get(n, [0.0]))) for of in weights.values()]) for n in names]
    meaning = Words("share of each source in the score of an item that all put first", "各来源都排第一的商品，其得分中各来源的占比")
    return list_charts.stacked(labels, parts, meaning)


def _better(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """By how much lists are better than what anybody could do."""
    found: list[tuple[Text, float, float, float]] = []
    for r in rows:
        if (against := _BASELINES.get(r["baseline"])) is not None:
            whose = r["list_name"] if r["variant"] == "default" else f"{r['list_name']}, {r['variant']}"
            label = around(f"{whose}: {r['metric']}@{r['k']} – ", against)
            found.append((label, float(r["diff"]), float(r["diff_ci_low"]), float(r["diff_ci_high"])))
    return list_charts.intervals(found, _DIFFERENCE)


def _slices(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """The same for kinds of users, the worst first."""
    found: list[tuple[Text, float, float, float]] = []
    for r in rows[: charts.MOST_BARS]:
        kind = around("", named(r["slice_dim"]), f": {r['slice_value']}")
        found.append((kind, float(r["diff"]), float(r["diff_ci_low"]), float(r["diff_ci_high"])))
    return list_charts.intervals(found, _DIFFERENCE, HALF)


def _trend(rows: Sequence[Mapping[str, Any]], metric: str, k: int) -> Markup:
    """A metric of the lists by night, with its interval, beside popularity."""
    mine = [r for r in rows if r["metric"] == metric]
    lines = [(Words("lists", "推荐列表"), [r["value"] for r in mine]), (named("popularity"), [r["baseline_value"] for r in mine])]
    return charts.trend([r["ds"] for r in mine], lines, f"{metric}@{k}", band=[(r["ci_low"], r["ci_high"]) for r in mine])
