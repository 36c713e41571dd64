"""One self-contained HTML page per night, made from what was published: no script, no outside file, every text escaped."""

from __future__ import annotations

import datetime as dt
import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa
from markupsafe import Markup

Query = Callable[[str, dict[str, Any]], pa.Table]

_SQL = {
    "quality": """SELECT check_name, table_name, observed, threshold, passed, severity FROM quality_result
        WHERE ds = :ds ORDER BY passed, check_name, table_name""",
    "topics": """SELECT t.topic_id, t.label_en, t.label_zh, CAST(t.keywords AS VARCHAR) AS keywords, count(*) AS n_users,
        sum(i.score) AS mass FROM user_interest i JOIN topic t ON t.topic_id = i.topic_id WHERE i.ds = :ds AND i.horizon = '90d'
        GROUP BY t.topic_id, t.label_en, t.label_zh, CAST(t.keywords AS VARCHAR) ORDER BY n_users DESC, t.topic_id""",
    "people": """SELECT p.user_key, p.lifecycle, p.n_events_30d, p.summary_en, p.summary_zh FROM user_profile p
        JOIN user_interest i ON i.ds = p.ds AND i.user_key = p.user_key AND i.horizon = '90d' AND i.rank = 1
        WHERE p.ds = :ds AND p.n_topics >= 3 ORDER BY i.share * i.confidence DESC, p.user_key LIMIT 3""",
    "interests": """SELECT i.user_key, t.label_en AS label, i.share, i.lift, i.confidence, CAST(i.evidence AS VARCHAR) AS evidence
        FROM user_interest i JOIN topic t ON t.topic_id = i.topic_id
        WHERE i.ds = :ds AND i.horizon = '90d' AND i.rank <= 4 ORDER BY i.user_key, i.rank""",
    "metrics": """SELECT metric, k, slice_dim, slice_value, value, ci_low, ci_high, baseline_value, diff, diff_ci_low, diff_ci_high, n
        FROM eval_metric
        WHERE ds = :ds ORDER BY CASE WHEN slice_dim = 'all' THEN 0 ELSE 1 END, slice_dim, slice_value, subject, metric, k, model_version""",
    "trend": """SELECT ds, value, baseline_value FROM eval_metric
        WHERE ds <= :ds AND subject = 'recommender' AND metric = 'recall' AND k = 10
        AND slice_dim = 'all' AND list_name = 'for_you' AND variant = 'default' ORDER BY ds""",
    "publication": """SELECT table_name, row_count, generation, run_id, "trigger" FROM publication
        WHERE ds = :ds AND is_live ORDER BY table_name""",
    "counts": """SELECT count(DISTINCT user_key) AS users, CAST(coalesce(sum(n_events), 0) AS BIGINT) AS events
        FROM user_item_day WHERE ds = :ds""",
    "model": "SELECT max(model_version) AS model FROM user_interest WHERE ds = :ds",
}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 1 else f"{value:.4f}"


def _svg(draw: Callable[[Any], None], size: tuple[float, float]) -> Markup:
    """An SVG made by matplotlib without a display; text stays text, ids are fixed so that equal data give equal bytes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    settings = {"svg.hashsalt": "nightly-interests", "svg.fonttype": "none", "font.size": 9}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # Text stays text in the file: the reader's fonts draw it, so a glyph that matplotlib's own font lacks is no fault.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure, axes = pyplot.subplots(figsize=size)
        draw(axes)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        text = io.StringIO()
        figure.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None})
        pyplot.close(figure)
    return Markup(text.getvalue()[text.getvalue().index("<svg") :])  # noqa: S704 - matplotlib escapes what it draws


def _audience(topics: list[dict[str, Any]]) -> Markup:
    top = topics[:15][::-1]

    def draw(axes: Any) -> None:
        axes.barh(range(len(top)), [t["n_users"] for t in top], color="#0969da")
        axes.set_yticks(range(len(top)), [t["label_en"][:40].replace("$", r"\$") for t in top])
        axes.set_xlabel("users who hold the topic (90 days)")

    return _svg(draw, (7, 0.28 * len(top) + 0.8)) if top else Markup("")


def _trend(rows: list[dict[str, Any]]) -> Markup:
    def draw(axes: Any) -> None:
        days = [r["ds"] for r in rows]
        axes.plot(days, [r["value"] for r in rows], marker="o", color="#0969da", label="lists")
        axes.plot(days, [r["baseline_value"] for r in rows], marker="o", color="#8c959f", label="popularity")
        axes.set_ylim(bottom=0)
        axes.set_ylabel("recall@10")
        axes.legend(frameon=False)
        axes.tick_params(axis="x", rotation=30)

    return _svg(draw, (7, 2.6)) if rows else Markup("")


def night_page(query: Query, ds: dt.date) -> str:
    """The HTML of a published night; `query(sql, params)` gives Arrow rows."""
    data = {name: query(sql, {"ds": ds}).to_pylist() for name, sql in _SQL.items()}
    mass = sum(t["mass"] for t in data["topics"]) or 1.0
    for topic in data["topics"]:
        topic["words"] = ", ".join(json.loads(topic["keywords"])[:8])
        topic["share"] = topic["mass"] / mass
    for person in data["people"]:
        person["interests"] = [i for i in data["interests"] if i["user_key"] == person["user_key"]]
        for interest in person["interests"]:
            found = json.loads(interest["evidence"])
            interest["because"] = ", ".join(f"{e['item_id']} ({e['n_events']}×)" for e in found["items"][:3])
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True)
    environment.filters |= {"number": _number, "percent": lambda v: f"{v:.1%}"}
    return environment.get_template("report.html.j2").render(
        data,
        ds=ds.isoformat(),
        users=data["counts"][0]["users"],
        events=data["counts"][0]["events"],
        model=data["model"][0]["model"],
        audience_chart=_audience(data["topics"]),
        metric_chart=_trend(data["trend"]),
    )


def write_report(query: Query, ds: dt.date, folder: Path) -> Path:
    """Write the night's page and an index of all pages in `folder`; returns the night's page."""
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{ds.isoformat()}.html"
    page.write_text(night_page(query, ds), encoding="utf-8")
    nights = sorted((p.stem for p in folder.glob("????-??-??.html")), reverse=True)
    links = "".join(f'<li><a href="{n}.html">{n}</a></li>' for n in nights)
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Nights</title>'
    (folder / "index.html").write_text(f"{head}<h1>Nights</h1><ul>{links}</ul></html>\n", encoding="utf-8")
    return page
