"""Topic versions as rows and as stored files: what a version is made of, and the model tables of the warehouse."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_core import registry
from recsys_core.lake import Lake, LakeError
from recsys_core.privacy.release import Release
from recsys_core.registry import ModelVersion, arrays_from_bytes, arrays_to_bytes
from recsys_core.sensitive import Sensitive, marked
from recsys_core.tables import TABLES
from recsys_core.texts import tokenize
from recsys_core.topics import TopicModel, membership, topic_model
from recsys_core.topics.spherical import unit
from recsys_core.topics.state import State

# Kind of the registered versions that nights use. Those of another method stand beside it under a kind of their own.
CHAMPIONS = "topics"
TABLE_NAMES = ("topic", "topic_version", "topic_lineage")
_IDS, _STATE = "topic_ids.npz", "topic_state.npz"


def kind_of(method: str, champion: str) -> str:
    """The kind under which a method's versions are registered where nights use the method `champion`."""
    return CHAMPIONS if method == champion else f"{CHAMPIONS}_{method}"


def kinds(lake: Lake) -> list[str]:
    """Kinds of topic versions that are there."""
    return [k for k in lake.folders("_models") if k == CHAMPIONS or k.startswith(f"{CHAMPIONS}_")]


def documents_of(model: TopicModel | type[TopicModel], vectors: np.ndarray, words: Sequence[Sequence[str]]) -> Any:
    """What a topic model takes of documents that are given as unit vectors and as words."""
    return vectors if model.documents == "vectors" else words


@dataclass(frozen=True)
class Topics:
    """A topic model with the ids of its topics, in the model's order."""

    ids: np.ndarray
    model: TopicModel

    def documents(
        self, hashes: Sequence[str], texts: Sequence[str], langs: Sequence[str], vectors_of: Callable[[list[str]], np.ndarray]
    ) -> Any:
        """What `assign` takes of texts: their vectors, which `vectors_of` gives by hash, or their words; the other is not made."""
        if self.model.documents == "vectors":
            return vectors_of(list(hashes))
        return [tokenize(text, lang) for text, lang in zip(texts, langs, strict=True)]

    def assign(self, documents: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Memberships as (document, topic_id, weight in millionths, rank), see `membership`."""
        document, topic, micro, rank = membership(self.model.weights(documents))
        return document, self.ids[topic], micro, rank


@dataclass(frozen=True)
class Previous:
    """The version before: its record, its topics, what it remembers, and its rows of the table `topic` by id."""

    version: ModelVersion
    topics: Topics
    state: State | None
    rows: dict[int, dict[str, Any]]


def artifacts(topics: Topics, rows: dict[str, list[dict[str, Any]]], state: State | None = None) -> dict[str, bytes]:
    """The files of a version: the model's own, its topic ids, its state, and its rows of each of TABLE_NAMES as Parquet."""
    files = topics.model.save() | {_IDS: arrays_to_bytes(topic_ids=topics.ids)}
    if state is not None:
        files[_STATE] = arrays_to_bytes(**asdict(state))
    for name in TABLE_NAMES:
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows[name], schema=TABLES[name].arrow_schema()), buffer)
        files[f"{name}.parquet"] = buffer.getvalue()
    return files


def load_topics(lake: Lake, version: ModelVersion) -> Topics:
    """A registered version, ready to assign; LakeError when a file is not the registered one, or one of an earlier form."""
    own = [name for name in version.files if name not in (_IDS, _STATE) and not name.endswith(".parquet")]
    held = {name: registry.load(lake, version, name) for name in own}
    try:
        model = topic_model(version.params["method"]).load(held)
    except KeyError as error:
        raise LakeError(
            f"{version.model_version} has no {error}: an earlier version of the program made it; train again "
            "(python -m jobs training --ds NIGHT) and build the nights after NIGHT with --use-current-models"
        ) from error
    return Topics(arrays_from_bytes(registry.load(lake, version, _IDS))["topic_ids"], model)


def load_state(lake: Lake, version: ModelVersion) -> State | None:
    """What a version remembers; None for one that was made before versions did."""
    return State(**arrays_from_bytes(registry.load(lake, version, _STATE))) if _STATE in version.files else None


def read_rows(lake: Lake, version: ModelVersion, table: str) -> pa.Table:
    """A version's own rows of one of TABLE_NAMES."""
    data = registry.load(lake, version, f"{table}.parquet")
    found, schema = pq.ParquetFile(io.BytesIO(data)).read(), TABLES[table].arrow_schema()
    filled = [_filled(found.column(f.name), f) for f in schema]
    return pa.table(filled, schema=schema)


def _filled(column: pa.ChunkedArray, wanted: pa.Field) -> pa.ChunkedArray:
    """The column as declared; versions made before a column lost its nulls have 0 there now."""
    return (column if wanted.nullable or not column.null_count else column.fill_null(0)).cast(wanted.type)


def labels(lake: Lake, version: ModelVersion | None) -> dict[int, tuple[str, str]]:
    """topic_id → (English, Chinese) label under a version, parents and dormant topics included; empty without one."""
    rows = read_rows(lake, version, "topic").to_pylist() if version else []
    return {r["topic_id"]: (r["label_en"], r["label_zh"]) for r in rows}


def centroids(lake: Lake, version: ModelVersion) -> tuple[np.ndarray, np.ndarray]:
    """(topic ids, unit centroids of shape (topics, dimensions), float64) of a version, whatever its method."""
    topics, state = load_topics(lake, version), load_state(lake, version)
    return topics.ids, unit(state.centroids if state else topics.model.centroids)  # type: ignore[attr-defined]


def published_versions(lake: Lake) -> dict[str, list[ModelVersion]]:
    """Kind → versions whose topics readers see, oldest first: those that nights may have used, and all that stand beside them."""
    return {kind: [v for v in registry.versions(lake, kind) if kind != CHAMPIONS or v.status != "candidate"] for kind in kinds(lake)}


def model_tables(lake: Lake, sensitive: Sensitive | None = None, release: Release | None = None) -> dict[str, pa.Table]:
    """The warehouse's topic, topic_version, topic_lineage and model_version, whole.

    A topic has the words and labels of the last version that holds it, one in use before one that was rolled back or replaced. It is active
    or dormant as the newest version in use of its kind says, else retired since the night before the first version without it became valid;
    a topic that no version in use holds, since the first night of the version that does. What is `sensitive` is marked so. How many users
    a topic has is told where `release` lets it leave.
    """
    topic: dict[int, dict[str, Any]] = {}
    parts: dict[str, list[pa.Table]] = {name: [TABLES[name].arrow_schema().empty_table()] for name in TABLE_NAMES}
    for kind, found in published_versions(lake).items():
        in_use = [v for v in found if kind != CHAMPIONS or v.promoted_at]
        ends: dict[str, dt.date | None] = {v.model_version: dt.date.fromisoformat(v.valid_from_ds) for v in found}
        ends |= {v.model_version: dt.date.fromisoformat(after.valid_from_ds) - dt.timedelta(days=1) for v, after in pairwise(in_use)}
        ends |= {v.model_version: None for v in in_use[-1:]}
        for version in [*(v for v in found if v not in in_use), *in_use]:
            for name in TABLE_NAMES[1:]:
                parts[name].append(read_rows(lake, version, name))
            end = ends[version.model_version]
            for row in read_rows(lake, version, "topic").to_pylist():
                topic[row["topic_id"]] = row | ({"status": "retired", "retired_ds": end} if end else {})
    tables = {name: pa.concat_tables(held).combine_chunks() for name, held in parts.items() if name != "topic"}
    rows = [topic[i] for i in sorted(topic)]
    told = tables["topic_version"]
    at = told.column_names.index("n_users")
    tables["topic_version"] = told.set_column(at, told.schema.field(at), (release or Release()).counts(told["n_users"]))
    tables["topic"] = marked(pa.Table.from_pylist(rows, schema=TABLES["topic"].arrow_schema()), sensitive or Sensitive())
    tables["model_version"] = registry.as_table(registry.versions(lake))
    return tables


def ids_in_use(lake: Lake, besides: set[str]) -> set[int]:
    """Topic ids of all registered versions other than those named, of whatever level and status."""
    found = [v for kind in kinds(lake) for v in registry.versions(lake, kind) if v.model_version not in besides]
    return {int(i) for v in found for i in read_rows(lake, v, "topic")["topic_id"].to_pylist()}


def version_before(lake: Lake, kind: str, train_to: dt.date) -> ModelVersion | None:
    """The version that one trained up to `train_to` follows: the one valid on that night, or the last of a kind that no night uses."""
    if kind == CHAMPIONS:
        return registry.valid_for(lake, kind, train_to)
    return next((v for v in reversed(registry.versions(lake, kind)) if v.train_to < train_to.isoformat()), None)


def previous(lake: Lake, version: ModelVersion | None) -> Previous | None:
    """A version as what the next one follows."""
    if version is None:
        return None
    rows = {r["topic_id"]: r for r in read_rows(lake, version, "topic").to_pylist()}
    return Previous(version, load_topics(lake, version), load_state(lake, version), rows)
