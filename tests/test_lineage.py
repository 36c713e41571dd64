"""Topics over retrains: ids that keep their meaning, relations by planted sequences in two languages, quality and the gates."""

from __future__ import annotations

import datetime as dt
import doctest
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from recsys_core import registry
from recsys_core.generate import Templates
from recsys_core.generate.labels import topic_labels
from recsys_core.lake import Lake
from recsys_core.registry import ModelVersion
from recsys_core.texts import text_hash
from recsys_core.topics import lineage, quality, state, tables, training
from recsys_core.topics.corpus import Corpus
from recsys_core.topics.lineage import Before, Origin, new_ids, trace

START = dt.date(2024, 1, 31)
WORDS = {
    "en": {
        "camping": ["tent", "stove", "rain", "trail", "lantern"],
        "baking": ["cake", "flour", "oven", "sugar", "butter"],
        "tea": ["oolong", "teapot", "leaves", "brew", "jasmine"],
        "chess": ["bishop", "knight", "opening", "endgame", "rook"],
        "skiing": ["snow", "slope", "boots", "lift", "goggles"],
    },
    "zh": {
        "camping": ["帐篷", "炉子", "雨衣", "步道", "灯笼"],
        "baking": ["蛋糕", "面粉", "烤箱", "砂糖", "黄油"],
        "tea": ["乌龙", "茶壶", "茶叶", "冲泡", "茉莉"],
        "chess": ["象棋", "骑士", "开局", "残局", "城堡"],
        "skiing": ["白雪", "雪坡", "雪靴", "缆车", "护目镜"],
    },
}
AXES = {name: n for n, name in enumerate(WORDS["en"])}


class Retrains:
    """Versions trained month by month on planted documents, each promoted."""

    def __init__(self, lake: Lake, lang: str) -> None:
        self.lake, self.lang, self.months = lake, lang, 0
        self.versions: list[ModelVersion] = []

    def corpus(self, groups: dict[str, int], turned: bool = False) -> Corpus:
        """So many documents of each group, each group near its own axis (another one when turned) and with its own words."""
        rng, rows = np.random.default_rng(0), []
        for group, n in groups.items():
            # a+b: documents of b's words that lie between the two
            axes = [AXES[g] for g in group.split("+")]
            for number in range(n):
                near = rng.normal(0, 0.08, 12)
                near[axes] += 1 / len(axes) if len(axes) > 1 else 1
                own = WORDS[self.lang][group.split("+")[-1]]
                words = [own[(number + step) % len(own)] for step in range(3)]
                vector = np.roll(near, 5)[::-1] if turned else near
                rows.append((text_hash(f"{group} {number}"), " ".join(words), words, vector / np.linalg.norm(vector), f"{group}-{number}"))
        rows.sort(key=lambda r: r[0])
        return Corpus(
            hashes=[r[0] for r in rows],
            texts=[r[1] for r in rows],
            items=[[r[4]] for r in rows],
            vectors=np.stack([r[3] for r in rows]),
            words=[r[2] for r in rows],
            reviews=[],
            users={r[4]: np.array([int(r[4].rsplit("-", 1)[1]) % 7]) for r in rows},
        )

    def train(
        self, groups: dict[str, int], k: int | None = None, method: str = "kmeans", space: str = "one", days: int = 30
    ) -> ModelVersion:
        """The next version; K is the number of groups unless it is given."""
        data, train_to = self.corpus(groups, turned=space != "one"), START + dt.timedelta(days=self.months)
        self.months += days
        name, ds = f"topics-{train_to}", train_to.isoformat()
        proto = ModelVersion("", "", ds, ds, (train_to + dt.timedelta(days=1)).isoformat(), {}, "data", "code", space)
        task = training.Task("", "", k or len(groups), 0, train_to, space, lambda t: topic_labels(t, Templates(), None, print))
        follows = {method: tables.version_before(self.lake, "topics", train_to)}
        (version,) = training.fit_versions(self.lake, data, {method: name}, proto, task, follows)
        at = dt.datetime.combine(train_to, dt.time(), dt.UTC)
        registry.promote(self.lake, version, at, at)
        self.versions.append(version)
        return version

    def ids(self, version: ModelVersion) -> dict[str, int]:
        """Group → topic id, by the medoids."""
        rows = tables.read_rows(self.lake, version, "topic_version").to_pylist()
        leaves = set(tables.load_topics(self.lake, version).ids.tolist())
        return {r["medoid_item_id"].rsplit("-", 1)[0]: r["topic_id"] for r in rows if r["topic_id"] in leaves}

    def relations(self, version: ModelVersion) -> set[tuple[str, int, int]]:
        """(relation, topic, topic before) of the version."""
        rows = tables.read_rows(self.lake, version, "topic_lineage").to_pylist()
        return {(r["relation"], r["topic_id"], r["prev_topic_id"]) for r in rows}

    def status(self) -> dict[int, str]:
        """Topic id → status in the warehouse."""
        return {r["topic_id"]: r["status"] for r in tables.model_tables(self.lake)["topic"].to_pylist() if r["level"] == 0}


@pytest.fixture(params=["en", "zh"])
def retrains(request: pytest.FixtureRequest, tmp_path: Path) -> Retrains:
    return Retrains(Lake(str(tmp_path)), request.param)


@pytest.mark.parametrize("method", ["kmeans", "lda", "nmf"])
def test_topics_that_stay_keep_their_ids_and_new_ones_are_born(retrains: Retrains, method: str) -> None:
    first = retrains.train({"camping": 30, "baking": 24, "tea": 18}, method=method)
    ids = retrains.ids(first)
    assert retrains.relations(first) == {("birth", i, 0) for i in ids.values()}
    second = retrains.train({"tea": 30, "chess": 24, "camping": 18, "baking": 26}, method=method)
    again = retrains.ids(second)
    assert {g: again[g] for g in ids} == ids
    assert again["chess"] not in ids.values()
    assert {(r, t, p) for r, t, p in retrains.relations(second) if r != "drift"} >= {("birth", again["chess"], 0)}
    assert second.params["measured"]["kept"] >= 0.95
    rows = {r["topic_id"]: r for r in tables.read_rows(retrains.lake, second, "topic_lineage").to_pylist()}
    assert rows[ids["tea"]]["user_overlap"] == 1.0
    assert rows[again["chess"]]["user_overlap"] is None
    topic = {r["topic_id"]: r for r in tables.read_rows(retrains.lake, second, "topic").to_pylist()}
    assert topic[ids["tea"]]["born_ds"] == START + dt.timedelta(days=1)
    assert set(WORDS[retrains.lang]["chess"]) >= set(json.loads(topic[again["chess"]]["keywords"])[:3])
    # Every method has centroids in the space of the vectors, of unit length.
    found, centres = tables.centroids(retrains.lake, second)
    assert np.allclose(np.linalg.norm(centres, axis=1), 1)
    assert centres[found.tolist().index(ids["tea"])].argmax() == AXES["tea"]


def test_a_seasonal_topic_sleeps_and_wakes_under_its_own_id(retrains: Retrains) -> None:
    winter = retrains.ids(retrains.train({"camping": 20, "baking": 20, "skiing": 20}))
    spring = retrains.train({"camping": 20, "baking": 20})
    assert ("death", winter["skiing"], winter["skiing"]) in retrains.relations(spring)
    assert retrains.status()[winter["skiing"]] == "dormant"
    assert retrains.ids(retrains.train({"camping": 20, "baking": 20, "tea": 20}))["tea"] not in winter.values()
    again = retrains.train({"camping": 20, "baking": 20, "tea": 20, "skiing": 20})
    assert retrains.ids(again)["skiing"] == winter["skiing"]
    assert {r for r in retrains.relations(again) if r[1] == winter["skiing"]} == {("same", winter["skiing"], winter["skiing"])}
    assert set(retrains.status().values()) == {"active"}
    # What sleeps too long is retired: its id is never given to anything else, and what comes back then is new.
    retrains.train({"camping": 20, "baking": 20, "tea": 20})
    retrains.months += state.DORMANT_NIGHTS
    retrains.train({"camping": 20, "baking": 20, "tea": 20})
    assert retrains.status()[winter["skiing"]] == "retired"
    assert retrains.ids(retrains.train({"camping": 20, "baking": 20, "tea": 20, "skiing": 20}))["skiing"] not in winter.values()


def test_another_encoder_is_matched_by_the_documents_both_know(retrains: Retrains) -> None:
    groups = {"camping": 20, "baking": 16, "tea": 14, "chess": 12}
    ids = retrains.ids(retrains.train(groups))
    other = retrains.train(groups | {"skiing": 15}, space="two")
    again = retrains.ids(other)
    assert {g: again[g] for g in ids} == ids
    assert again["skiing"] not in ids.values()
    assert other.params["measured"]["n_compared"] == 62
    # Once in the new space, its own centroids count.
    assert retrains.ids(retrains.train(groups | {"skiing": 15}, space="two")) == again


def test_one_topic_splits_and_two_merge(retrains: Retrains) -> None:
    both = {"camping": 20, "skiing": 16, "baking": 20, "tea": 16}
    first = retrains.ids(retrains.train({"camping": 20, "baking": 20, "tea": 16}, k=3))
    apart = retrains.train(both, k=4)
    ids = retrains.ids(apart)
    merged = retrains.train(both, k=2)
    kept = {i for r, i, _ in retrains.relations(merged) if r in ("same", "drift")}
    gone = {p: t for r, t, p in retrains.relations(merged) if r == "merge"}
    assert set(gone) == set(ids.values()) - kept
    assert set(gone.values()) <= kept
    again = retrains.train(both, k=4)
    # What had merged and comes apart again has its old ids.
    assert retrains.ids(again) == ids
    assert {g: ids[g] for g in first} == first


def test_each_relation_by_hand() -> None:
    """Documents alone decide: rows are new topics, columns old ones."""
    old = Before(np.array([1, 2, 3, 4]), np.repeat([0, 1, 2, 3, -1], [10, 10, 4, 4, 5]))
    #        1 → mostly A, some to B | 2 → C | 3 → C | 4 → spread | not known before → D
    first = np.array([*[0] * 7, *[1] * 3, *[2] * 10, *[2] * 4, 0, 1, 2, 3, *[3] * 5])
    found = trace(4, first, None, old, iter([11, 12, 13]))
    assert [(o.topic_id, o.relation, o.prev_topic_id) for o in found] == [
        (1, "drift", 1),
        (11, "split", 1),
        (2, "drift", 2),
        (12, "birth", None),
        (2, "merge", 3),
        (4, "death", 4),
    ]
    assert found[0].similarity == pytest.approx(7 / 11, abs=1e-6)


def test_centroids_decide_where_no_document_is_known() -> None:
    axes, nobody = np.eye(6), np.zeros(0, np.int64)
    tilted = np.array([0, np.cos(0.45), np.sin(0.45), 0, 0, 0])
    far = np.array([0, 0, 0, 0, 1.0, 0])
    ids = new_ids(START, {202401310001})
    found = trace(3, nobody, np.stack([far, tilted, axes[0]]), Before(np.array([11, 12, 13]), nobody, axes[:3]), ids)
    assert found == [
        Origin(202401310002, "birth"),
        Origin(12, "drift", 12, round(float(np.cos(0.45)), 6)),
        Origin(11, "same", 11, 1.0),
        Origin(13, "death", 13),
    ]
    assert [o.relation for o in trace(2, nobody, axes[:2], None, ids)] == ["birth", "birth"]
    # Small steps add up: alike the last version, but no longer what it was born as.
    crept = Before(np.array([7]), nobody, tilted[None], np.stack([np.array([0, np.cos(0.9), -np.sin(0.9), 0, 0, 0])]))
    assert [o.relation for o in trace(1, nobody, tilted[None], crept, ids)] == ["birth", "death"]


def test_parents_roll_up_leaves_and_keep_their_ids(retrains: Retrains, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "hierarchy", lambda centres, sizes: (np.array([5, 5, 5, 6, 6, -1, -1]), np.array([0, 0, 0, 0, 0, 1, 1])))
    groups = dict(zip(WORDS["en"], (30, 26, 22, 18, 14), strict=True))
    found = []
    for _ in range(2):
        version = retrains.train(groups)
        rows = {r["topic_id"]: r for r in tables.read_rows(retrains.lake, version, "topic").to_pylist()}
        counts = {r["topic_id"]: r["n_docs"] for r in tables.read_rows(retrains.lake, version, "topic_version").to_pylist()}
        parents = sorted(i for i, r in rows.items() if r["level"] == 1)
        assert len(parents) == 2
        for parent in parents:
            children = [i for i, r in rows.items() if r["parent_topic_id"] == parent]
            assert counts[parent] == sum(counts[c] for c in children)
        assert len({r["label_en"] for r in rows.values()}) == len({r["label_zh"] for r in rows.values()}) == 7
        assert not set(parents) & set(tables.load_topics(retrains.lake, version).ids.tolist())
        assert not set(parents) & {t for _, t, _ in retrains.relations(version)}
        found.append(parents)
    assert found[0] == found[1]


def test_training_measures_and_the_night_measures_what_is_new(retrains: Retrains) -> None:
    groups = {"camping": 24, "baking": 20, "tea": 16}
    first = retrains.train(groups)
    measured = first.params["measured"]
    assert set(measured["metrics"]) == {
        *("n_topics", "npmi", "topic_diversity", "irbo", "silhouette", "size_entropy", "similarity", "outlier_share"),
    }
    assert (measured["metrics"]["n_topics"], measured["n_docs"]) == (3, 60)
    assert measured["metrics"]["silhouette"] > 0.7
    assert measured["metrics"]["outlier_share"] == pytest.approx(1 / 60, abs=1e-6)
    second = retrains.train(groups | {"baking": 60})
    rows = quality.metric_rows(START, "v", second.params["measured"])
    by = {(r["metric"], r["baseline"]): r for r in rows}
    assert by["npmi", "champion"]["diff"] == by["npmi", "champion"]["value"] - by["npmi", "champion"]["baseline_value"]
    assert 0 < by["doc_drift", ""]["value"] < 1
    assert by["churn", ""]["value"] == 0
    assert len(by) == len(rows) == 10 + 3
    held = tables.load_state(retrains.lake, first)
    assert held is not None
    known, strange = retrains.corpus(groups), retrains.corpus({"baking": 80})
    assert not held.unknown(known.hashes).any()
    assert held.unknown(strange.hashes).sum() == 60
    place = held.centroids[:, AXES["baking"]].argmax()
    found = quality.drift_rows(START, "v", np.full(60, place), np.full(60, 0.1), held.shares, measured["metrics"] | {"floor": 0.5})
    drift = {r["metric"]: (r["value"], r["baseline_value"], r["n"]) for r in found}
    assert drift["outlier_share"] == (1.0, pytest.approx(1 / 60, abs=1e-6), 60)
    assert drift["doc_drift"][0] == pytest.approx(quality.jensen_shannon(np.array([0, 1, 0]), np.array([24, 20, 16])), abs=1e-6)
    assert quality.drift_rows(START, "v", np.zeros(0, int), np.zeros(0), held.shares, measured["metrics"]) == []


def test_the_gates_name_their_numbers() -> None:
    fine = {"kept": 0.9, "compared": {"npmi": [0.18, 0.2, 0], "topic_diversity": [0.9, 0.9, 0], "silhouette": [0.1, 0.11, 0]}}
    assert quality.refusals(fine) == {"churn": [], "worse": []}
    assert quality.refusals({}) == {"churn": [], "worse": []}, "there was no champion"
    assert quality.refusals(fine | {"kept": 0.41})["churn"] == ["41% of the documents keep their topic, 70% is the least"]
    assert quality.refusals(fine | {"kept": 0.41}, 0.4)["churn"] == []
    worse = quality.refusals({"kept": 1.0, "compared": {"npmi": [0.1, 0.2, 0.04], "silhouette": [0.3, 0.1, 0]}})["worse"]
    assert worse == ["npmi 0.100 ± 0.040, the champion has 0.200 on the same documents (margin 0.03)"]
    assert quality.refusals({"compared": {"npmi": [0.1, 0.2, 0.05]}})["worse"] == [], "it may be chance"


def test_quality_by_hand() -> None:
    assert quality.inverted_rbo([["a", "b"], ["b", "a"]], 0.9) == pytest.approx(1 - (0 * 1 + 1 * 0.9) / 1.9)
    assert quality.inverted_rbo([["a", "b"]]) == 1.0
    assert quality.topic_diversity([]) == 0.0
    assert quality.size_entropy(np.array([3, 1])) == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)) / np.log(2))
    two = np.array([[1, 0], [1, 0], [0, 1], [0, 1.0]])
    assert quality.silhouette(two, np.array([0, 0, 1, 1]), 0) == pytest.approx(1.0)
    assert quality.silhouette(two, np.array([0, 0, 0, 0]), 0) == 0.0
    assert quality.outlier_floor(np.array([0.5, 0.6, 0.7, 0.8, 0.9])) == pytest.approx(0.6 - 1.5 * 0.2)
    assert quality.own_cosines(two, np.array([0, 1, 1, 0]), 2 * np.eye(2)).tolist() == [1, 0, 1, 0]


def test_lineage_reads_as_sentences() -> None:
    rows = [
        {"relation": "same", "topic_id": 1, "prev_topic_id": 1, "similarity": 0.97},
        {"relation": "drift", "topic_id": 2, "prev_topic_id": 2, "similarity": 0.71},
        {"relation": "split", "topic_id": 5, "prev_topic_id": 2, "similarity": 0.3},
        {"relation": "merge", "topic_id": 1, "prev_topic_id": 3, "similarity": 0.4},
        {"relation": "death", "topic_id": 4, "prev_topic_id": 4, "similarity": None},
    ]
    assert lineage.sentences(rows, {1: "tents", 2: "乌龙茶", 5: "茶壶"}, {2: "茶", 3: "stoves"}) == [
        "“茶壶” (5) split off from “茶” (2), which lives on",
        "“stoves” (3) went into “tents” (1)",
        "4 has no documents any more and is dormant",
        "“乌龙茶” (2) drifted: it was “茶” (2) (similarity 0.71)",
        "1 of 3 topics stayed the same",
    ]


@pytest.mark.parametrize("module", [lineage, quality])
def test_worked_examples(module: ModuleType) -> None:
    outcome = doctest.testmod(module)
    assert outcome.attempted
    assert not outcome.failed


def test_what_other_versions_remember_is_not_needed(tmp_path: Path) -> None:
    """A version that was made before versions remembered anything still has centroids, and can be followed."""
    lake, made = Lake(str(tmp_path)), Retrains(Lake(str(tmp_path)), "en")
    version = made.train({"camping": 20, "baking": 20})
    topics = tables.load_topics(lake, version)
    rows: dict[str, list[dict[str, Any]]] = {n: tables.read_rows(lake, version, n).to_pylist() for n in tables.TABLE_NAMES}
    for name in list(version.files):
        lake.remove(f"{version.folder}/{name}")
    lake.remove(f"{version.folder}/model.json")
    bare = registry.register(lake, version, tables.artifacts(topics, rows))
    registry.promote(lake, bare, dt.datetime(2024, 2, 1, tzinfo=dt.UTC), dt.datetime(2024, 2, 1, tzinfo=dt.UTC))
    assert tables.load_state(lake, bare) is None
    assert tables.centroids(lake, bare)[1].shape == (2, 12)
    assert made.ids(made.train({"camping": 20, "baking": 20})) == made.ids(bare)
