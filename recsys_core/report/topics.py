"""The page of topics: where they lie, how large they are, what they are about, where they came from, and how good each version is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from markupsafe import Markup

from recsys_core import registry
from recsys_core.lake import Lake, LakeError
from recsys_core.report import charts
from recsys_core.report.lineage_chart import MOST_VERSIONS, Step, lineage_flow
from recsys_core.report.pages import render
from recsys_core.report.words import Text, Words, label

if TYPE_CHECKING:
    import pyarrow as pa

Query = Callable[[str, dict[str, Any]], "pa.Table"]
KIND = "topics"
MOST_CHANGES, MOST_ROWS = 40, 12
_SQL = {
    "version": """SELECT model_version, kind, status, train_from, train_to, valid_from_ds, embedding_space,
        CAST(params AS VARCHAR) AS params FROM model_version WHERE starts_with(kind, 'topics') ORDER BY valid_from_ds, model_version""",
    "held": """SELECT model_version, topic_id, n_docs, n_users, coherence_npmi, medoid_item_id FROM topic_version
        ORDER BY model_version, topic_id""",
    "topic": """SELECT topic_id, level, parent_topic_id, label_en, label_zh, label_source, CAST(keywords AS VARCHAR) AS keywords, born_ds
        FROM topic WHERE sensitive IS NOT TRUE ORDER BY topic_id""",
    "lineage": """SELECT model_version, prev_model_version, topic_id, prev_topic_id, relation, similarity FROM topic_lineage
        ORDER BY model_version, relation, topic_id, prev_topic_id""",
}
_QUALITY = """SELECT model_version, metric, k, value FROM eval_metric
    WHERE subject = 'topics' AND slice_dim = 'all' AND baseline = '' ORDER BY ds, metric, k"""


@dataclass(frozen=True)
class ModelTables:
    """The warehouse's tables of topic models as rows, and the charts that follow from them; sensitive topics are left out."""

    version: list[dict[str, Any]]
    held: list[dict[str, Any]]
    topic: dict[int, dict[str, Any]]
    lineage: list[dict[str, Any]]

    @classmethod
    def read(cls, query: Query) -> Self:
        """What the warehouse holds now; `query(sql, params)` gives Arrow rows."""
        rows = {name: query(sql, {}).to_pylist() for name, sql in _SQL.items()}
        # A birth has no topic before, which the table writes as 0.
        topic = {t["topic_id"]: t for t in rows["topic"]}
        lineage = [r | {"prev_topic_id": r["prev_topic_id"] or None} for r in rows["lineage"]]
        lineage = [r for r in lineage if {r["topic_id"], r["prev_topic_id"]} - {None} <= topic.keys()]
        return cls(rows["version"], rows["held"], topic, lineage)

    def sizes(self, name: str | None) -> dict[int, float]:
        """topic_id → texts of a version's leaf topics."""
        leaves = {t for t, row in self.topic.items() if not row["level"]}
        return {r["topic_id"]: float(r["n_docs"] or 0) for r in self.held if r["model_version"] == name and r["topic_id"] in leaves}

    def map(self, name: str | None, lake: Lake | None, sizes: Mapping[int, float] | None = None) -> Markup:
        """The map of a version's topics, by texts or other sizes; '' when the lake does not hold its centres."""
        found = _centres(lake, name) if lake is not None and name else None
        if found is None:
            return Markup("")
        chosen = self.sizes(name) if sizes is None else sizes
        places = charts.plane(found[1])
        shown = [(n, int(i)) for n, i in enumerate(found[0]) if int(i) in self.topic]
        return charts.topic_map([self._label(i) for _, i in shown], places[[n for n, _ in shown]], [chosen.get(i, 0.0) for _, i in shown])

    def flow(self, name: str | None) -> Markup:
        """The lineage up to a version; '' for one without a version before."""
        chain = [name] if name else []
        before = {r["model_version"]: r["prev_model_version"] for r in self.lineage if r["prev_model_version"]}
        while chain and len(chain) < MOST_VERSIONS and (prev := before.get(chain[0])):
            chain.insert(0, prev)
        # A version before that is no longer published is known by the steps that lead from it alone.
        sizes = [
            self.sizes(v) or {r["prev_topic_id"]: 1.0 for r in self.lineage if r["prev_model_version"] == v and r["prev_topic_id"]}
            for v in chain
        ]
        steps = [
            [Step(r["relation"], r["topic_id"], r["prev_topic_id"]) for r in self.lineage if r["model_version"] == v] for v in chain[1:]
        ]
        ends = {v["model_version"]: v["train_to"].isoformat() for v in self.version}
        labels = {t: label(row) for t, row in self.topic.items()}
        return lineage_flow([ends.get(str(v), str(v)) for v in chain], sizes, steps, labels)

    def changes(self, name: str | None) -> list[dict[str, Any]]:
        """What is not the same as in the version before, in words."""
        found = []
        for row in (r for r in self.lineage if r["model_version"] == name and r["relation"] != "same" and r["prev_model_version"]):
            gone = row["relation"] == "death"
            topic = row["prev_topic_id"] if gone else row["topic_id"]
            before: Text = "" if gone or row["prev_topic_id"] in (None, 0, topic) else self._label(row["prev_topic_id"])
            found.append({**row, "name": self._label(topic), "before": before})
        return found

    def _label(self, topic_id: int) -> Text:
        row = self.topic.get(topic_id)
        return label(row) if row else Words(f"topic {topic_id}", f"主题 {topic_id}")


def topics_page(query: Query, lake: Lake | None = None, fingerprint: str = "") -> str:
    """The HTML of the champion's topics and of all versions; the map needs the lake that holds the model."""
    known = ModelTables.read(query)
    told: dict[str, dict[str, Any]] = {v["model_version"]: json.loads(v["params"]) for v in known.version}
    quality = {name: dict(params.get("measured", {}).get("metrics", {})) for name, params in told.items()}
    for row in query(_QUALITY, {}).to_pylist():
        quality.setdefault(row["model_version"], {})[f"{row['metric']}@{row['k']}" if row["k"] else row["metric"]] = row["value"]
    version = next((v for v in reversed(known.version) if v["kind"] == KIND and v["status"] == "champion"), None)
    name = version["model_version"] if version else None
    params = told[version["model_version"]] if version else {}
    topics = []
    for row in (r for r in known.held if r["model_version"] == name):
        topic = known.topic.get(row["topic_id"])
        if topic and not topic["level"]:
            parent = known.topic.get(topic["parent_topic_id"])
            more = {"keywords": json.loads(topic["keywords"])[:10], "name": label(topic), "parent": label(parent) if parent else ""}
            topics.append({**row, **topic, **more})
    topics.sort(key=lambda t: (-(t["n_docs"] or 0), t["topic_id"]))
    changes = known.changes(name)
    tried = sorted((float(k), float(v)) for k, v in params.get("silhouette", {}).items())
    counted = [
        {**v, "n_topics": len(known.sizes(v["model_version"])), "quality": quality.get(v["model_version"], {})} for v in known.version
    ]
    return render(
        "topics.html.j2",
        {},
        fingerprint=fingerprint,
        version={**version, "params": params} if version else None,
        topics=topics,
        topic_map=known.map(name, lake),
        size_chart=charts.bars(
            [t["name"] for t in topics],
            [t["n_docs"] or 0 for t in topics],
            Words("texts whose first topic it is", "以其为首要主题的文本数"),
        ),
        flow_chart=known.flow(name),
        changes=changes[:MOST_CHANGES],
        more_changes=len(changes) - MOST_CHANGES if len(changes) > MOST_CHANGES else 0,
        k_chart=charts.curve(tried, float(params.get("k", 0)), Words("number of topics", "主题数"), Words("silhouette", "轮廓系数")),
        versions=counted[::-1][:MOST_ROWS],
        metrics=sorted({m for v in counted for m in v["quality"]}),
    )


def _centres(lake: Lake, name: str) -> Any:
    """(topic ids, unit centroids) of a version; None when it is not in the lake or has no centres."""
    from recsys_core.topics import tables

    try:
        version = registry.find(lake, KIND, name)
        return tables.centroids(lake, version) if version else None
    except (LakeError, KeyError, AttributeError):  # it is gone, or of another release
        return None
