"""One self-contained HTML page per night, made from what was published: no script, no outside file, every text escaped."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

from markupsafe import Markup

from recsys_core.lake import Lake
from recsys_core.report import charts
from recsys_core.report.interests import evidence_chart, night_parts
from recsys_core.report.lists import list_parts
from recsys_core.report.topics import ModelTables, Query, render, topics_page

_SQL = {
    "quality": """SELECT check_name, table_name, observed, threshold, passed, severity FROM quality_result
        WHERE ds = :ds ORDER BY passed, check_name, table_name""",
    "topics": """SELECT t.topic_id, t.label_en, t.label_zh, CAST(t.keywords AS VARCHAR) AS keywords, count(*) AS n_users,
        sum(i.score) AS mass FROM user_interest i JOIN topic t ON t.topic_id = i.topic_id
        WHERE i.ds = :ds AND i.horizon = '90d' AND t.sensitive IS NOT TRUE
        GROUP BY t.topic_id, t.label_en, t.label_zh, CAST(t.keywords AS VARCHAR) ORDER BY n_users DESC, t.topic_id""",
    "people": """SELECT p.user_key, p.lifecycle, p.n_events_30d, p.summary_en, p.summary_zh FROM user_profile p
        JOIN user_interest i ON i.ds = p.ds AND i.user_key = p.user_key AND i.horizon = '90d' AND i.rank = 1
        WHERE p.ds = :ds AND p.n_topics >= 3 ORDER BY i.share * i.confidence DESC, p.user_key LIMIT 3""",
    "interests": """SELECT i.user_key, t.label_en AS label, i.share, i.lift, i.confidence, CAST(i.evidence AS VARCHAR) AS evidence
        FROM user_interest i JOIN topic t ON t.topic_id = i.topic_id
        WHERE i.ds = :ds AND i.horizon = '90d' AND i.rank <= 4 AND t.sensitive IS NOT TRUE ORDER BY i.user_key, i.rank""",
    "metrics": """SELECT subject, list_name, baseline, metric, k, slice_dim, slice_value, value, ci_low, ci_high, baseline_value,
        diff, diff_ci_low, diff_ci_high, n
        FROM eval_metric
        WHERE ds = :ds AND subject <> 'topics' AND (subject <> 'recommender' OR slice_dim = 'exploration' OR list_name = 'for_you'
            AND baseline IN ('', 'popularity') AND k IN (0, 10)
            AND (slice_dim = 'all' OR metric IN ('recall', 'ndcg', 'recall_gap', 'ndcg_gap')))
        ORDER BY CASE WHEN slice_dim = 'all' THEN 0 ELSE 1 END, slice_dim, slice_value, subject, list_name, metric, k, baseline,
        model_version""",
    "trend": """SELECT ds, value, baseline_value FROM eval_metric
        WHERE ds <= :ds AND subject = 'recommender' AND metric = 'recall' AND k = 10 AND baseline = 'popularity'
        AND slice_dim = 'all' AND list_name = 'for_you' AND variant = 'default' ORDER BY ds""",
    "time": """SELECT i.ds, i.topic_id, sum(i.score) AS mass FROM user_interest i
        WHERE i.ds <= :ds AND i.ds > CAST(:ds AS DATE) - 30 AND i.horizon = '1d' GROUP BY i.ds, i.topic_id ORDER BY i.ds, i.topic_id""",
    "publication": """SELECT table_name, row_count, generation, run_id, "trigger" FROM publication
        WHERE ds = :ds AND is_live ORDER BY table_name""",
    "counts": """SELECT count(DISTINCT user_key) AS users, CAST(coalesce(sum(n_events), 0) AS BIGINT) AS events
        FROM user_item_day WHERE ds = :ds""",
    "model": "SELECT max(model_version) AS model FROM user_interest WHERE ds = :ds",
}


def night_page(query: Query, ds: dt.date, lake: Lake | None = None) -> str:
    """The HTML of a published night; `query(sql, params)` gives Arrow rows. The map of topics needs the lake that holds their model."""
    data = {name: query(sql, {"ds": ds}).to_pylist() for name, sql in _SQL.items()}
    model = data["model"][0]["model"]
    mass = sum(t["mass"] for t in data["topics"]) or 1.0
    for topic in data["topics"]:
        topic["keywords"] = json.loads(topic["keywords"])[:8]
        topic["share"] = topic["mass"] / mass
    titles = _titles(lake, ds)
    for person in data["people"]:
        person["interests"] = [i for i in data["interests"] if i["user_key"] == person["user_key"]]
        for interest in person["interests"]:
            found = json.loads(interest["evidence"])
            interest["because"] = ", ".join(f"{titles.get(e['item_id'], e['item_id'])} ({e['n_events']}×)" for e in found["items"][:3])
            interest["chart"] = evidence_chart(found, titles)
    labels = [t["label_en"] for t in data["topics"]]
    known = ModelTables.read(query)
    lists = [("lists", [r["value"] for r in data["trend"]]), ("popularity", [r["baseline_value"] for r in data["trend"]])]
    return render(
        "night.html.j2",
        data,
        ds=ds.isoformat(),
        users=data["counts"][0]["users"],
        events=data["counts"][0]["events"],
        model=model,
        topic_map=known.map(model, lake, {t["topic_id"]: t["n_users"] for t in data["topics"]}),
        audience_chart=charts.bars(labels, [t["n_users"] for t in data["topics"]], "users who hold the topic (90 days)"),
        time_chart=_over_time(data["time"], data["topics"]),
        flow_chart=known.flow(model),
        metric_chart=charts.trend([r["ds"] for r in data["trend"]], lists, "recall@10"),
        **night_parts(query, ds, data["people"], data["topics"]),
        **list_parts(query, ds, data["people"], titles),
    )


def _titles(lake: Lake | None, ds: dt.date) -> dict[str, str]:
    """item_id → title, as the lake knows them that night; nothing without a lake."""
    if lake is None or lake.manifest("item", ds) is None:
        return {}
    rows = lake.read("item", [ds], ["item_id", "title"]).drop_null()
    return dict(zip(rows["item_id"].to_pylist(), rows["title"].to_pylist(), strict=True))


def _over_time(rows: list[dict[str, Any]], topics: list[dict[str, Any]]) -> Markup:
    """The largest topics' shares of each night's interest."""
    days = sorted({r["ds"] for r in rows})
    mass = {(r["ds"], r["topic_id"]): r["mass"] for r in rows}
    total = {d: sum(r["mass"] for r in rows if r["ds"] == d) or 1.0 for d in days}
    series = [(t["label_en"], [mass.get((d, t["topic_id"]), 0.0) / total[d] for d in days]) for t in topics[: charts.MOST_PANELS]]
    return charts.over_time(days, series, "share of all users' interest of the day")


def write_report(query: Query, ds: dt.date, folder: Path, lake: Lake | None = None) -> Path:
    """Write the night's page, the page of topics and an index of all pages in `folder`; returns the night's page."""
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{ds.isoformat()}.html"
    page.write_text(night_page(query, ds, lake), encoding="utf-8")
    (folder / "topics.html").write_text(topics_page(query, lake), encoding="utf-8")
    nights = sorted((p.stem for p in folder.glob("????-??-??.html")), reverse=True)
    links = "".join(f'<li><a href="{n}.html">{n}</a></li>' for n in nights)
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Nights</title>'
    body = f'<h1>Nights</h1><p><a href="topics.html">Topics · 主题</a></p><ul>{links}</ul>'
    (folder / "index.html").write_text(f"{head}{body}</html>\n", encoding="utf-8")
    return page
