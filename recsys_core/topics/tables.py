"""Topic versions as rows and as stored files: what a version is made of, and the model tables of the warehouse."""

from __future__ import annotations

import datetime as dt
import io
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_core import registry
from recsys_core.lake import Lake
from recsys_core.registry import ModelVersion, arrays_from_bytes, arrays_to_bytes
from recsys_core.tables import TABLES
from recsys_core.topics import TopicModel, membership, topic_model

# Kinds of registered topic versions: the one that nights use, and the one that stands beside it.
KINDS = {"kmeans": "topics", "lda": "topics_lda"}
TABLE_NAMES = ("topic", "topic_version", "topic_lineage")
_IDS = "topic_ids.npz"


@dataclass(frozen=True)
class Topics:
    """A topic model with the ids of its topics, in the model's order."""

    ids: np.ndarray
    model: TopicModel

    def assign(self, documents: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Memberships as (document, topic_id, weight in millionths, rank), see `membership`."""
        document, topic, micro, rank = membership(self.model.weights(documents))
        return document, self.ids[topic], micro, rank


@dataclass(frozen=True)
class Previous:
    """The version before: its name, its space, its topics and their rows of the table `topic` by id."""

    model_version: str
    embedding_space: str | None
    topics: Topics
    rows: dict[int, dict[str, Any]]


def artifacts(topics: Topics, rows: dict[str, list[dict[str, Any]]]) -> dict[str, bytes]:
    """The files of a version: the model's own, its topic ids, and its rows of each of TABLE_NAMES as Parquet."""
    files = topics.model.save() | {_IDS: arrays_to_bytes(topic_ids=topics.ids)}
    for name in TABLE_NAMES:
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows[name], schema=TABLES[name].arrow_schema()), buffer)
        files[f"{name}.parquet"] = buffer.getvalue()
    return files


def load_topics(lake: Lake, version: ModelVersion) -> Topics:
    """A registered version, ready to assign; LakeError when a file is not the registered one."""
    own = [name for name in version.files if name != _IDS and not name.endswith(".parquet")]
    model = topic_model(version.params["method"]).load({name: registry.load(lake, version, name) for name in own})
    return Topics(arrays_from_bytes(registry.load(lake, version, _IDS))["topic_ids"], model)


def read_rows(lake: Lake, version: ModelVersion, table: str) -> pa.Table:
    """A version's own rows of one of TABLE_NAMES."""
    data = registry.load(lake, version, f"{table}.parquet")
    return pq.ParquetFile(io.BytesIO(data)).read().cast(TABLES[table].arrow_schema())


def labels(lake: Lake, version: ModelVersion | None) -> dict[int, tuple[str, str]]:
    """topic_id → (English, Chinese) label under a version; empty without one."""
    rows = read_rows(lake, version, "topic").to_pylist() if version else []
    return {r["topic_id"]: (r["label_en"], r["label_zh"]) for r in rows}


def centroids(lake: Lake, version: ModelVersion) -> tuple[np.ndarray, np.ndarray]:
    """(topic ids, unit centroids of shape (topics, dimensions), float64) of a version of the kind that nights use."""
    topics = load_topics(lake, version)
    found = np.asarray(topics.model.centroids, np.float64)  # type: ignore[attr-defined]
    return topics.ids, found / np.linalg.norm(found, axis=1, keepdims=True)


def published_versions(lake: Lake) -> dict[str, list[ModelVersion]]:
    """Kind → versions whose topics readers see, oldest first: those that nights may have used, and every LDA."""
    return {kind: [v for v in registry.versions(lake, kind) if kind != "topics" or v.status != "candidate"] for kind in KINDS.values()}


def model_tables(lake: Lake) -> dict[str, pa.Table]:
    """The warehouse's topic, topic_version, topic_lineage and model_version, whole.

    A topic has the words and labels of the last version that holds it, one in use before one that was rolled back or replaced. It is active
    while the newest version in use of its kind holds it, else retired since the night before the first version without it became valid; a
    topic that no version in use holds, since the first night of the version that does.
    """
    topic: dict[int, dict[str, Any]] = {}
    parts: dict[str, list[pa.Table]] = {name: [TABLES[name].arrow_schema().empty_table()] for name in TABLE_NAMES}
    for kind, found in published_versions(lake).items():
        in_use = [v for v in found if kind != "topics" or v.promoted_at]
        ends: dict[str, dt.date | None] = {v.model_version: dt.date.fromisoformat(v.valid_from_ds) for v in found}
        ends |= {v.model_version: dt.date.fromisoformat(after.valid_from_ds) - dt.timedelta(days=1) for v, after in pairwise(in_use)}
        ends |= {v.model_version: None for v in in_use[-1:]}
        for version in [*(v for v in found if v not in in_use), *in_use]:
            for name in TABLE_NAMES[1:]:
                parts[name].append(read_rows(lake, version, name))
            end = ends[version.model_version]
            for row in read_rows(lake, version, "topic").to_pylist():
                topic[row["topic_id"]] = row | {"status": "retired" if end else "active", "retired_ds": end}
    tables = {name: pa.concat_tables(held).combine_chunks() for name, held in parts.items() if name != "topic"}
    rows = [topic[i] for i in sorted(topic)]
    tables["topic"] = pa.Table.from_pylist(rows, schema=TABLES["topic"].arrow_schema())
    tables["model_version"] = registry.as_table(registry.versions(lake))
    return tables


def ids_in_use(lake: Lake, besides: set[str]) -> set[int]:
    """Topic ids of all registered versions other than those named."""
    found = [v for kind in KINDS.values() for v in registry.versions(lake, kind) if v.model_version not in besides]
    return {int(i) for v in found for i in arrays_from_bytes(registry.load(lake, v, _IDS))["topic_ids"]}


def version_before(lake: Lake, method: str, train_to: dt.date) -> Previous | None:
    """The version that one trained up to `train_to` follows: the one valid on that night, or the last of a kind that no night uses."""
    kind = KINDS[method]
    earlier = [v for v in registry.versions(lake, kind) if v.train_to < train_to.isoformat()]
    version = registry.valid_for(lake, kind, train_to) if kind == "topics" else earlier[-1] if earlier else None
    if version is None:
        return None
    rows = {r["topic_id"]: r for r in read_rows(lake, version, "topic").to_pylist()}
    return Previous(version.model_version, version.embedding_space, load_topics(lake, version), rows)
