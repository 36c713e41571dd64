"""Topic models: every registered one keeps the contract; descriptions, lineage and stored versions."""

from __future__ import annotations

import datetime as dt
import doctest
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import v_measure_score

from recsys_core import registry, topics
from recsys_core.lake import Lake, LakeError
from recsys_core.registry import ModelVersion
from recsys_core.topics import MICRO, TOPIC_MODELS, TopicModel, describe, membership, tables, topic_model
from recsys_core.topics.kmeans import KMeans, choose_k
from recsys_core.topics.lineage import new_ids, trace

DAY = dt.date(2024, 5, 31)
GROUPS, EACH = 5, 30
TRUTH = np.repeat(np.arange(GROUPS), EACH)


def planted(kind: str, seed: int = 3, shuffled: bool = False) -> Any:
    """Documents of five planted topics; `shuffled` deals the same words or coordinates out at random."""
    rng = np.random.default_rng(seed)
    if kind == "vectors":
        vectors = np.eye(24)[:GROUPS][TRUTH] + rng.normal(0, 0.15, (len(TRUTH), 24))
        if shuffled:
            vectors = rng.permuted(vectors, axis=1)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    own = [[f"{name}{n}" for n in range(12)] for name in ("tent", "cake", "茶", "dog", "yoga")]
    words = [[*rng.choice(own[t], 9), *rng.choice([f"shared{n}" for n in range(8)], 5)] for t in TRUTH]
    if shuffled:
        pool = rng.permutation([w for document in words for w in document])
        words = [list(part) for part in np.split(pool, len(words))]
    return [[str(w) for w in document] for document in words]


@pytest.fixture(params=sorted(TOPIC_MODELS))
def cls(request: pytest.FixtureRequest) -> type[TopicModel]:
    return topic_model(request.param)


def test_planted_topics_are_found_and_vanish_with_the_signal(cls: type[TopicModel]) -> None:
    found = cls.fit(planted(cls.documents), GROUPS, 1)
    weights = found.weights(planted(cls.documents))
    assert weights.shape == (len(TRUTH), GROUPS)
    assert np.allclose(weights.sum(axis=1), 1)
    assert v_measure_score(TRUTH, weights.argmax(axis=1)) >= 0.95
    noise = planted(cls.documents, shuffled=True)
    assert v_measure_score(TRUTH, cls.fit(noise, GROUPS, 1).weights(noise).argmax(axis=1)) <= 0.2


def test_equal_documents_and_seed_give_equal_bytes(cls: type[TopicModel]) -> None:
    documents = planted(cls.documents)
    assert cls.fit(documents, GROUPS, 7).save() == cls.fit(documents, GROUPS, 7).save()


def test_a_saved_model_assigns_as_before_each_document_on_its_own(cls: type[TopicModel]) -> None:
    documents = planted(cls.documents)
    model = cls.fit(documents, GROUPS, 1)
    again = cls.load(model.save())
    assert again.n_topics == model.n_topics == GROUPS
    assert np.array_equal(again.weights(documents), model.weights(documents))
    assert np.allclose(again.weights(documents[40:43]), model.weights(documents)[40:43], rtol=0, atol=1e-12)
    assert again.save() == model.save()


def test_a_changed_file_is_refused(cls: type[TopicModel], tmp_path: Any) -> None:
    lake = Lake(str(tmp_path))
    version = stored(lake, cls.method, DAY, cls.fit(planted(cls.documents), GROUPS, 1), range(1, GROUPS + 1))
    assert np.array_equal(tables.load_topics(lake, version).ids, np.arange(1, GROUPS + 1))
    name = next(iter(cls.fit(planted(cls.documents), GROUPS, 1).save()))
    lake.write_bytes(f"{version.folder}/{name}", lake.read_bytes(f"{version.folder}/{name}") + b"x")
    with pytest.raises(LakeError, match="changed after it was registered"):
        tables.load_topics(lake, version)


def test_unknown_models_and_impossible_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'plsa'.*kmeans, lda"):
        topic_model("plsa")
    with pytest.raises(ValueError, match="4 topics cannot be made of 3 vectors"):
        KMeans.fit(np.eye(3), 4, 0)
    with pytest.raises(ValueError, match="hold no words"):
        topic_model("lda").fit([[], []], 2, 0)


def test_weights_sum_to_exactly_one_and_small_ones_are_dropped() -> None:
    rng = np.random.default_rng(0)
    document, topic, micro, rank = membership(rng.dirichlet([0.3] * 9, 500))
    assert np.array_equal(np.bincount(document, micro, 500), np.full(500, MICRO))
    assert micro.min() >= 0.05 * MICRO
    assert rank.max() == 3
    assert len(set(zip(document, topic, strict=True))) == len(document)
    assert np.all(np.diff(micro)[np.diff(document) == 0] <= 0)
    assert [part.tolist() for part in membership(np.array([[1.0]]))] == [[0], [0], [MICRO], [1]]
    assert [len(part) for part in membership(np.zeros((0, 4)))] == [0, 0, 0, 0]


def test_the_number_of_topics_is_the_planted_one() -> None:
    k, tried = choose_k(planted("vectors"), 2, 15, 0)
    assert k == GROUPS == max(tried, key=lambda n: tried[n])
    assert choose_k(planted("vectors"), 20, 200, 0)[0] <= len(TRUTH) // 8


def test_kmeans_keeps_all_its_topics_and_half_the_documents_are_decided() -> None:
    equal = np.repeat(np.eye(4)[:2], 6, axis=0)
    assert KMeans.fit(equal, 4, 0).n_topics == 4
    model = KMeans.fit(planted("vectors"), GROUPS, 0)
    _, _, micro, rank = membership(model.weights(planted("vectors")), min_weight=0)
    assert np.median(micro[rank == 1]) == pytest.approx(800_000, abs=2_000)


@pytest.mark.parametrize("module", [topics, describe])
def test_worked_examples(module: ModuleType) -> None:
    outcome = doctest.testmod(module)
    assert outcome.attempted
    assert not outcome.failed


def test_words_that_hang_together_score_higher() -> None:
    words = [["a", "b", "c"]] * 3 + [["d", "e", "c"]] * 3 + [["a", "d", "c"]]
    together, mixed, alone = describe.npmi(words, [["a", "b"], ["b", "e"], ["a", "unknown"]])
    # p(a) = 4/7, p(b) = p(a, b) = 3/7: ln(1 / (4/7)) / −ln(3/7)
    assert together == pytest.approx(np.log(7 / 4) / np.log(7 / 3), abs=1e-6)
    assert (mixed, alone) == (-1.0, 0.0)
    assert describe.npmi(words, [["c", "c"]]) == [1.0]


def test_keywords_leave_shared_and_single_words_behind() -> None:
    documents = [["tent", "camp", "good"], ["tent", "camp", "good", "norvik"], ["茶", "杯子", "good"], ["茶", "杯子", "good"]]
    weights = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], float)
    first, second = describe.keywords(documents, weights)
    assert first == ["camp", "tent", "good", "norvik"]
    assert second == ["杯子", "茶", "good"]
    assert describe.keywords([[], []], weights[:2]) == [[], []]
    assert describe.labels(first, 1) == ("camp, tent, good", "camp、tent、good")
    assert describe.labels([], 9) == ("topic 9", "主题 9")


def test_topics_keep_their_ids_over_a_retrain() -> None:
    axes = np.eye(6)
    tilted = np.array([0, np.cos(0.45), np.sin(0.45), 0, 0, 0])
    far = np.array([0, 0, 0, 0, 1.0, 0])
    ids = new_ids(DAY, {202405310001})
    found = trace(np.stack([far, tilted, axes[0]]), [11, 12, 13], axes[:3], ids)
    assert [(o.topic_id, o.relation, o.prev_topic_id) for o in found] == [
        (202405310002, "birth", None),
        (12, "drift", 12),
        (11, "same", 11),
        (13, "death", 13),
    ]
    assert found[1].similarity == pytest.approx(np.cos(0.45), abs=1e-6)
    assert [o.relation for o in trace(axes[:2], [], axes[:0], ids)] == ["birth", "birth"]


def stored(lake: Lake, method: str, train_to: dt.date, model: TopicModel, ids: Any, status: str = "candidate") -> ModelVersion:
    """Register a version whose topics have no more than the rows need."""
    name = f"{tables.KINDS[method]}-{train_to}"
    topic = {"level": 0, "label_zh": "题", "label_source": "keywords", "keywords": "[]", "status": "active", "sensitive": False}
    rows: dict[str, list[dict[str, Any]]] = {
        "topic": [topic | {"topic_id": i, "method": method, "label_en": f"{i} of {name}", "born_ds": train_to} for i in ids],
        "topic_version": [{"model_version": name, "topic_id": i, "n_docs": 1} for i in ids],
        "topic_lineage": [{"model_version": name, "topic_id": i, "relation": "birth"} for i in ids],
    }
    valid = (train_to + dt.timedelta(days=1)).isoformat()
    promoted_at = f"{valid}T00:00:00+00:00" if status != "candidate" else None
    day, kind = train_to.isoformat(), tables.KINDS[method]
    version = ModelVersion(name, kind, day, day, valid, {"method": method}, "f", "c", None, status, promoted_at)
    return registry.register(lake, version, tables.artifacts(tables.Topics(np.array(list(ids), np.int64), model), rows))


def test_the_model_tables_tell_when_a_topic_retired(tmp_path: Any) -> None:
    lake, model = Lake(str(tmp_path)), KMeans(np.eye(3, dtype=np.float32), 0.1)
    stored(lake, "kmeans", DAY, model, [1, 2, 3], "retired")
    stored(lake, "kmeans", DAY + dt.timedelta(days=7), model, [1, 3, 4], "champion")
    stored(lake, "kmeans", DAY + dt.timedelta(days=9), model, [7, 8, 9])
    found = tables.model_tables(lake)
    rows = {r["topic_id"]: (r["status"], r["retired_ds"], r["label_en"]) for r in found["topic"].to_pylist()}
    assert rows == {
        1: ("active", None, "1 of topics-2024-06-07"),
        2: ("retired", dt.date(2024, 6, 7), "2 of topics-2024-05-31"),
        3: ("active", None, "3 of topics-2024-06-07"),
        4: ("active", None, "4 of topics-2024-06-07"),
    }
    assert (found["topic_version"].num_rows, found["topic_lineage"].num_rows, found["model_version"].num_rows) == (6, 6, 3)
    assert tables.ids_in_use(lake, {"topics-2024-06-09"}) == {1, 2, 3, 4}
    # Rolled back, the second version holds no topic active; what it alone holds was never in use to stay.
    registry.rollback(lake, registry.versions(lake, "topics")[1], dt.datetime(2024, 7, 1, tzinfo=dt.UTC), "worse")
    again = {r["topic_id"]: (r["status"], r["retired_ds"], r["label_en"]) for r in tables.model_tables(lake)["topic"].to_pylist()}
    assert again == {
        1: ("active", None, "1 of topics-2024-05-31"),
        2: ("active", None, "2 of topics-2024-05-31"),
        3: ("active", None, "3 of topics-2024-05-31"),
        4: ("retired", dt.date(2024, 6, 8), "4 of topics-2024-06-07"),
    }
    assert tables.model_tables(lake)["topic_version"].num_rows == 6, "published nights refer to them"
    assert tables.labels(lake, None) == {}
    assert {n: t.num_rows for n, t in tables.model_tables(Lake(str(tmp_path / "none"))).items()} == dict.fromkeys(found, 0)
