"""What the nightly page shows of people's interests: how they went, what carries them, how topics hang together, what is forecast."""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from recsys_core.report import charts, interest_charts, list_charts
from recsys_core.report.canvas import HALF
from recsys_core.report.topics import Query
from recsys_core.report.words import Text, Words, label, named

COLD_LEVELS = ("0 nothing known", "1 declared", "2 few events", "3 full")
CHANGES = ("new", "rising", "returned", "falling", "lost")
MOST_CHANGED = 12
_SQL = {
    "went": """SELECT i.ds, i.user_key, i.topic_id, i.share FROM user_interest i JOIN topic t ON t.topic_id = i.topic_id
        WHERE i.ds <= :ds AND i.ds > CAST(:ds AS DATE) - 30 AND i.horizon = '7d' AND t.sensitive IS NOT TRUE
        AND i.user_key IN (:one, :two, :three) ORDER BY i.user_key, i.ds, i.topic_id""",
    "levels": """SELECT ds, cold_level, count(*) AS n_users FROM user_profile
        WHERE ds <= :ds AND ds > CAST(:ds AS DATE) - 30 GROUP BY ds, cold_level ORDER BY ds, cold_level""",
    "edges": """SELECT e.src_topic_id, e.dst_topic_id, e.relation, e.directed, e.n_users, e.weight, e.lift FROM interest_edge e
        WHERE e.ds = :ds AND e.relation IN ('cooccur', 'transition') AND e.lift > 1 ORDER BY e.src_topic_id, e.dst_topic_id, e.relation""",
    "changes": """SELECT c.topic_id, c.change, t.label_en, t.label_zh, count(*) AS n_users FROM user_interest_change c
        JOIN topic t ON t.topic_id = c.topic_id WHERE c.ds = :ds AND t.sensitive IS NOT TRUE
        GROUP BY c.change, t.label_en, t.label_zh, c.topic_id ORDER BY n_users DESC, c.topic_id, c.change""",
    "segments": """SELECT segment, count(*) AS n_users, min(reason) AS reason FROM user_segment
        WHERE ds = :ds GROUP BY segment ORDER BY n_users DESC, segment LIMIT 12""",
    "next": """SELECT f.user_key, f.horizon_days, t.label_en, t.label_zh, f.probability, f.baseline_probability
        FROM user_interest_forecast f JOIN topic t ON t.topic_id = f.topic_id WHERE f.ds = :ds AND f.rank <= 3 AND t.sensitive IS NOT TRUE
        AND f.user_key IN (:one, :two, :three) ORDER BY f.user_key, f.horizon_days, f.rank""",
    "forecast": """SELECT model_version, CAST(params AS VARCHAR) AS params FROM model_version
        WHERE kind = 'forecast' AND model_version IN (SELECT f.model_version FROM user_interest_forecast f WHERE f.ds = :ds)""",
}


def night_parts(query: Query, ds: dt.date, people: Sequence[dict[str, Any]], topics: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Charts and rows of the night for the page; each person of `people` gets a chart of how their interests went, and what is forecast.

    people  rows with user_key, at most three
    topics  rows with topic_id, name and n_users, the most held first
    """
    keys = [p["user_key"] for p in people][:3]
    who = dict(zip(("one", "two", "three"), [*keys, "", "", ""], strict=False))
    data = {name: query(sql, {"ds": ds, **(who if ":one" in sql else {})}).to_pylist() for name, sql in _SQL.items()}
    labels = {t["topic_id"]: t["name"] for t in topics}
    for person in people:
        mine = [r for r in data["went"] if r["user_key"] == person["user_key"]]
        person["stream"] = _stream(mine, labels)
        person["next"] = [r | {"name": label(r)} for r in data["next"] if r["user_key"] == person["user_key"]]
    return {
        "levels_chart": _levels(data["levels"]),
        "graph_chart": _graph(data["edges"], topics[: interest_charts.MOST_NODES]),
        "reliability_chart": _reliability(data["forecast"]),
        "changes_chart": _changes(data["changes"]),
        "changes": [r | {"name": label(r)} for r in data["changes"][:MOST_CHANGED]],
        "segments": data["segments"],
    }


def evidence_chart(evidence: Mapping[str, Any], titles: Mapping[str, str]) -> Markup:
    """What carries an interest: the items of its evidence, what was declared, and the rest, as bars that sum to the score."""
    parts: list[tuple[Text, float]] = [(titles.get(e["item_id"], e["item_id"]), e["weight"]) for e in evidence["items"]]
    others = {"declared": Words("declared", "声明的兴趣"), "rest": Words("searches and other items", "搜索与其他商品")}
    parts += [(name, evidence[key]) for key, name in others.items() if evidence.get(key)]
    meaning = Words("parts of the 90-day score", "90 天得分的构成")
    return charts.bars([name for name, _ in parts], [max(w, 0.0) for _, w in parts], meaning, 2, HALF)


def _changes(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Topics by how many users' interest in them changed, and how."""
    names = {r["topic_id"]: label(r) for r in rows}
    n_users = {(r["topic_id"], r["change"]): r["n_users"] for r in rows}
    total = {t: sum(n for (topic, _), n in n_users.items() if topic == t) for t in names}
    order = sorted(names, key=lambda t: (-total[t], t))[:MOST_CHANGED]
    parts = [(named(change), [float(n_users.get((t, change), 0)) for t in order]) for change in CHANGES]
    meaning = Words("users whose interest changed beyond chance", "兴趣变化超出偶然的用户数")
    return list_charts.stacked([names[t] for t in order], parts, meaning, 0, HALF)


def _stream(rows: Sequence[dict[str, Any]], labels: Mapping[int, Text]) -> Markup:
    days = sorted({r["ds"] for r in rows})
    share = {(r["ds"], r["topic_id"]): r["share"] for r in rows}
    total: defaultdict[int, float] = defaultdict(float)
    for r in rows:
        total[r["topic_id"]] += r["share"]
    order = sorted(total, key=lambda t: (-total[t], t))
    series = [(labels.get(t, Words(f"topic {t}", f"主题 {t}")), [share.get((d, t), 0.0) for d in days]) for t in order]
    return interest_charts.stream(days, series, Words("share of interest, 7 days", "7 天兴趣占比"), HALF)


def _levels(rows: Sequence[dict[str, Any]]) -> Markup:
    """The mix of cold levels over nights."""
    days = sorted({r["ds"] for r in rows})
    count = {(r["ds"], r["cold_level"]): r["n_users"] for r in rows}
    series = [(named(name), [count.get((d, level), 0) for d in days]) for level, name in enumerate(COLD_LEVELS)]
    return interest_charts.stream(days, [s for s in series if any(s[1])], Words("users", "用户数"), HALF)


def _graph(edges: Sequence[dict[str, Any]], topics: Sequence[dict[str, Any]]) -> Markup:
    """Topics that people hold together, or take up one after the other, by how far above chance."""
    ids = _side_by_side([t["topic_id"] for t in topics], edges)
    place = {t: n for n, t in enumerate(ids)}
    of = {t["topic_id"]: t for t in topics}
    # Lift has no upper end: halfway is where a pair is met twice as often as by chance.
    drawn = [
        interest_charts.Edge(place[e["src_topic_id"]], place[e["dst_topic_id"]], 1 - 1 / e["lift"], bool(e["directed"]))
        for e in edges
        if e["src_topic_id"] in place and e["dst_topic_id"] in place
    ]
    meaning = Words(
        "lines: held together more often than by chance; arrows: taken up within 14 days after",
        "连线：同时持有的频率高于偶然；箭头：其后 14 天内开始关注",
    )
    return interest_charts.network([of[t]["name"] for t in ids], [of[t]["n_users"] for t in ids], drawn, meaning)


def _side_by_side(ids: Sequence[int], edges: Sequence[dict[str, Any]]) -> list[int]:
    """The topics so ordered that each stands beside the one left that it is held together with most; the first comes first."""
    lift = {frozenset((e["src_topic_id"], e["dst_topic_id"])): e["lift"] for e in edges if not e["directed"]}
    left: list[int] = list(ids)
    found: list[int] = []
    while left:
        last = found[-1] if found else None
        chosen = max(left, key=lambda t: (lift.get(frozenset((last, t)), 0.0), -left.index(t))) if found else left[0]
        found.append(chosen)
        left.remove(chosen)
    return found


def _reliability(versions: Sequence[dict[str, Any]]) -> Markup:
    """The calibration that the night's forecast model had on nights it was not trained on."""
    if not versions:
        return Markup("")
    measured = json.loads(versions[-1]["params"]).get("measured", {})
    lines: list[tuple[Text, list[tuple[float, float, float]]]] = [
        (
            Words(f"within {horizon} day{'' if horizon == '1' else 's'}", f"{horizon} 天内"),
            [(float(p), float(share), float(n)) for p, share, n in found["curve"]],
        )
        for horizon, found in sorted(measured.items(), key=lambda x: int(x[0]))
    ]
    return interest_charts.reliability(lines, Words("forecast probability", "预测概率"), Words("share that came about", "实际发生的比例"))
