"""The page of a night: what came in, topics, interests, lists and how it was made, from what was published."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from markupsafe import Markup

from recsys_core.lake import Lake
from recsys_core.report import charts
from recsys_core.report.arrivals import arrival_parts
from recsys_core.report.interests import evidence_chart, night_parts
from recsys_core.report.lists import list_parts
from recsys_core.report.operations import operation_parts
from recsys_core.report.pages import render
from recsys_core.report.topics import ModelTables, Query
from recsys_core.report.words import Words, label

MOST_CHANGES = 15
_SQL = {
    "topics": """SELECT t.topic_id, t.label_en, t.label_zh, CAST(t.keywords AS VARCHAR) AS keywords, count(*) AS n_users,
        sum(i.score) AS mass FROM user_interest i JOIN topic t ON t.topic_id = i.topic_id
        WHERE i.ds = :ds AND i.horizon = '90d' AND t.sensitive IS NOT TRUE
        GROUP BY t.topic_id, t.label_en, t.label_zh, CAST(t.keywords AS VARCHAR) ORDER BY n_users DESC, t.topic_id""",
    "people": """SELECT p.user_key, p.lifecycle, p.n_events_30d, p.summary_en, p.summary_zh FROM user_profile p
        JOIN user_interest i ON i.ds = p.ds AND i.user_key = p.user_key AND i.horizon = '90d' AND i.rank = 1
        WHERE p.ds = :ds AND p.n_topics >= 3 ORDER BY i.share * i.confidence DESC, p.user_key LIMIT 3""",
    "interests": """SELECT i.user_key, t.label_en, t.label_zh, i.share, i.lift, i.confidence, CAST(i.evidence AS VARCHAR) AS evidence
        FROM user_interest i JOIN topic t ON t.topic_id = i.topic_id
        WHERE i.ds = :ds AND i.horizon = '90d' AND i.rank <= 4 AND t.sensitive IS NOT TRUE AND i.user_key IN (:one, :two, :three)
        ORDER BY i.user_key, i.rank""",
    "metrics": """SELECT subject, list_name, baseline, metric, k, slice_dim, slice_value, value, ci_low, ci_high, baseline_value,
        diff, diff_ci_low, diff_ci_high, n
        FROM eval_metric
        WHERE ds = :ds AND subject <> 'topics' AND (subject <> 'recommender' OR slice_dim = 'exploration' OR list_name = 'for_you'
            AND baseline IN ('', 'popularity') AND k IN (0, 10)
            AND (slice_dim = 'all' OR metric IN ('recall', 'ndcg', 'recall_gap', 'ndcg_gap')))
        ORDER BY CASE WHEN slice_dim = 'all' THEN 0 ELSE 1 END, slice_dim, slice_value, subject, list_name, metric, k, baseline,
        model_version""",
    "time": """SELECT i.ds, i.topic_id, sum(i.score) AS mass FROM user_interest i
        WHERE i.ds <= :ds AND i.ds > CAST(:ds AS DATE) - 30 AND i.horizon = '1d' GROUP BY i.ds, i.topic_id ORDER BY i.ds, i.topic_id""",
    "counts": """SELECT count(DISTINCT user_key) AS users, CAST(coalesce(sum(n_events), 0) AS BIGINT) AS events
        FROM user_item_day WHERE ds = :ds""",
    "model": "SELECT max(model_version) AS model FROM user_interest WHERE ds = :ds",
}


class _Titles(dict[str, str]):
    """item_id → title, as the lake knows them that night; nothing without a lake."""

    def __init__(self, lake: Lake | None, ds: dt.date) -> None:
        super().__init__()
        if lake is not None and lake.manifest("item", ds) is not None:
            rows = lake.read("item", [ds], ["item_id", "title"]).drop_null()
            self.update(zip(rows["item_id"].to_pylist(), rows["title"].to_pylist(), strict=True))


def night_page(query: Query, ds: dt.date, lake: Lake | None = None, fingerprint: str = "") -> str:
    """The HTML of a published night; `query(sql, params)` gives Arrow rows. The map of topics needs the lake that holds their model."""
    data: dict[str, list[dict[str, Any]]] = {}
    for name, sql in _SQL.items():
        who = dict(zip(("one", "two", "three"), [*(p["user_key"] for p in data.get("people", [])), "", "", ""], strict=False))
        data[name] = query(sql, {"ds": ds, **(who if ":one" in sql else {})}).to_pylist()
    model = data["model"][0]["model"]
    shares = _shares(data["time"])
    mass = sum(t["mass"] for t in data["topics"]) or 1.0
    for topic in data["topics"]:
        topic |= {"name": label(topic), "keywords": json.loads(topic["keywords"])[:8], "share": topic["mass"] / mass}
        topic["moved"] = _moved(shares, ds, topic["topic_id"])
    titles = _Titles(lake, ds)
    for person in data["people"]:
        person["interests"] = [i | {"name": label(i)} for i in data["interests"] if i["user_key"] == person["user_key"]]
        for interest in person["interests"]:
            found = json.loads(interest["evidence"])
            interest["because"] = ", ".join(f"{titles.get(e['item_id'], e['item_id'])} ({e['n_events']}×)" for e in found["items"][:3])
            interest["chart"] = evidence_chart(found, titles)
    known = ModelTables.read(query)
    changes = known.changes(model)
    names = [t["name"] for t in data["topics"]]
    return render(
        "night.html.j2",
        {k: data[k] for k in ("topics", "people", "metrics")},
        fingerprint=fingerprint,
        ds=ds.isoformat(),
        weekday=ds.weekday(),
        users=data["counts"][0]["users"],
        events=data["counts"][0]["events"],
        model=model,
        topic_map=known.map(model, lake, {t["topic_id"]: t["n_users"] for t in data["topics"]}),
        audience_chart=charts.bars(
            names, [t["n_users"] for t in data["topics"]], Words("users who hold the topic (90 days)", "持有该主题的用户数（90 天）")
        ),
        time_chart=_over_time(shares, data["topics"]),
        flow_chart=known.flow(model),
        topic_changes=changes[:MOST_CHANGES],
        more_changes=max(len(changes) - MOST_CHANGES, 0),
        **arrival_parts(query, ds),
        **night_parts(query, ds, data["people"], data["topics"]),
        **list_parts(query, ds, data["people"], titles),
        **operation_parts(query, ds),
    )


def _shares(rows: list[dict[str, Any]]) -> dict[dt.date, dict[int, float]]:
    """Each topic's share of a night's interest, by night, oldest first."""
    total: dict[dt.date, float] = {}
    for r in rows:
        total[r["ds"]] = total.get(r["ds"], 0.0) + r["mass"]
    found: dict[dt.date, dict[int, float]] = {day: {} for day in sorted(total)}
    for r in rows:
        found[r["ds"]][r["topic_id"]] = r["mass"] / (total[r["ds"]] or 1.0)
    return found


def _moved(shares: dict[dt.date, dict[int, float]], ds: dt.date, topic_id: int) -> float | None:
    """The share of the last seven nights less that of the seven before, as means; None without nights before."""
    late = [s.get(topic_id, 0.0) for d, s in shares.items() if d > ds - dt.timedelta(days=7)]
    early = [s.get(topic_id, 0.0) for d, s in shares.items() if ds - dt.timedelta(days=14) < d <= ds - dt.timedelta(days=7)]
    return sum(late) / len(late) - sum(early) / len(early) if late and early else None


def _over_time(shares: dict[dt.date, dict[int, float]], topics: list[dict[str, Any]]) -> Markup:
    """The largest topics' shares of each night's interest."""
    series = [(t["name"], [of.get(t["topic_id"], 0.0) for of in shares.values()]) for t in topics[: charts.MOST_PANELS]]
    return charts.over_time(list(shares), series, Words("share of all users' interest of the day", "占当日全部兴趣的比例"))
