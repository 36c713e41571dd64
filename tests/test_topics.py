"""Topic models: every registered one keeps the contract; descriptions, lineage and stored versions."""

from __future__ import annotations

import datetime as dt
import doctest
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import v_measure_score

from benchmarks import topics as benchmark
from recsys_core import registry, topics
from recsys_core.lake import Lake, LakeError
from recsys_core.registry import ModelVersion
from recsys_core.topics import MICRO, TOPIC_MODELS, TopicModel, bag, keywords, membership, spherical, tables, topic_model
from recsys_core.topics.hierarchy import hierarchy
from recsys_core.topics.kmeans import KMeans, choose_k
from recsys_core.topics.number import number_of_topics
from recsys_core.topics.online import Online

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


def test_topics_go_on_in_their_places_from_a_start(cls: type[TopicModel]) -> None:
    documents = planted(cls.documents)
    before = cls.fit(documents, GROUPS, 1)
    first = before.weights(documents).argmax(axis=1)
    later = planted(cls.documents, seed=4)
    again = cls.fit(later, GROUPS, 9, start=before)
    assert np.mean(again.weights(documents).argmax(axis=1) == first) >= 0.95
    fewer, more = (cls.fit(later, k, 9, start=before) for k in (GROUPS - 1, GROUPS + 1))
    assert (fewer.n_topics, more.n_topics) == (GROUPS - 1, GROUPS + 1)
    gone = {t for t in range(GROUPS) if np.mean(more.weights(documents)[first == t].argmax(axis=1) == t) < 0.5}
    assert len(gone) <= 1, "a further topic may share the documents of one, never move the others"
    assert v_measure_score(TRUTH, fewer.weights(documents).argmax(axis=1)) >= 0.7
    assert cls.fit(later, GROUPS, 9, start=cls.load(before.save())).save() == again.save()


def test_poor_documents_have_topics_too(cls: type[TopicModel]) -> None:
    model = cls.fit(planted(cls.documents), GROUPS, 1)
    if cls.documents == "vectors":
        poor: Any = np.concatenate([np.zeros((1, 24)), np.eye(24)[:1], np.full((1, 24), 24**-0.5)])
        equal: Any = np.repeat(np.eye(24)[:1], 9, axis=0)
    else:
        poor = [[], ["tent1"], ["nobody-knows-it"] * 20_000]
        equal = [["tent", "茶"]] * 9
    weights = model.weights(poor)
    assert weights.shape == (3, GROUPS)
    assert np.isfinite(weights).all()
    assert np.allclose(weights.sum(axis=1), 1)
    if cls.documents == "tokens":
        assert np.allclose(weights[0], weights[2]), "unknown words are no words"
        known = model.weights([["tent1", "tent2", "tent3"]])[0].argmax()
        assert weights[1].argmax() == known
    for documents, k in ((equal, 2), (equal, 1), (poor, 2)):
        small = cls.fit(documents, k, 0)
        assert small.n_topics == k
        assert np.allclose(small.weights(documents).sum(axis=1), 1)


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


def test_a_model_of_an_earlier_form_is_named_with_its_remedy(tmp_path: Any) -> None:
    class Earlier(KMeans):
        def save(self) -> dict[str, bytes]:
            return {"kmeans.npz": registry.arrays_to_bytes(centroids=self.centroids, temperature=np.array(self.temperature))}

    lake = Lake(str(tmp_path))
    version = stored(lake, "kmeans", DAY, Earlier(np.eye(2, dtype=np.float32), 0.1), [1, 2])
    with pytest.raises(LakeError, match=r"topics-2024-05-31 has no 'mean': an earlier version .* train again"):
        tables.load_topics(lake, version)


def test_unknown_models_and_impossible_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'plsa'.*kmeans, lda, lda_gibbs, nmf"):
        topic_model("plsa")
    with pytest.raises(ValueError, match="4 topics cannot be made of 3 vectors"):
        KMeans.fit(np.eye(3), 4, 0)
    with pytest.raises(ValueError, match="hold no words"):
        topic_model("lda").fit([[], []], 2, 0)
    with pytest.raises(ValueError, match="hold no words"):
        topic_model("nmf").fit([], 2, 0)


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
    assert number_of_topics("online", planted("vectors"), 2, 15, 0) == (k, tried)
    k, tried = number_of_topics("lda", [*planted("tokens"), []], 2, 15, 0)
    assert k == max(tried, key=lambda n: tried[n])
    assert k in (4, 7), "of six numbers in equal ratios a nearest"


def test_kmeans_keeps_all_its_topics_and_half_the_documents_are_decided() -> None:
    equal = np.repeat(np.eye(4)[:2], 6, axis=0)
    assert KMeans.fit(equal, 4, 0).n_topics == 4
    model = KMeans.fit(planted("vectors"), GROUPS, 0)
    _, _, micro, rank = membership(model.weights(planted("vectors")), min_weight=0)
    assert np.median(micro[rank == 1]) == pytest.approx(800_000, abs=2_000)


def test_rows_on_a_device_are_clustered_as_in_numpy() -> None:
    import torch

    x = planted("vectors").astype(np.float32)
    labels, cosines = spherical.nearest(x, x[:7])
    on_device = spherical.nearest(torch.from_numpy(x), x[:7])
    assert np.array_equal(labels, on_device[0])
    assert np.allclose(cosines, on_device[1], atol=1e-6)
    means = spherical.neighbour_means(x, 4)
    near = np.argsort(-(x @ x.T - 2 * np.eye(len(x))), axis=1)[:, :4]
    assert np.allclose(means, x[near].mean(axis=1), atol=1e-6)


def test_of_many_documents_a_sample_is_clustered_and_all_are_assigned(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = planted("vectors")
    monkeypatch.setattr("recsys_core.topics.kmeans.CLUSTERED_DOCUMENTS", 60)
    monkeypatch.setattr("recsys_core.topics.kmeans.CLUSTERED_PER_TOPIC", 12)
    monkeypatch.setattr("recsys_core.topics.kmeans.BLOCK", 64)
    model = KMeans.fit(documents, GROUPS, 0)
    first = model.weights(documents).argmax(axis=1)
    assert v_measure_score(TRUTH, first) >= 0.95
    own = [documents[first == t].mean(axis=0) for t in range(GROUPS)]
    assert np.allclose(model.centroids, spherical.unit(np.array(own)), atol=1e-6), "centroids are those of all documents"


def test_documents_of_a_new_kind_are_new_to_frozen_topics() -> None:
    old, rng = planted("vectors"), np.random.default_rng(8)
    model = Online.fit(old, GROUPS, 0)
    strange = np.eye(24)[10] + rng.normal(0, 0.15, (60, 24))
    strange /= np.linalg.norm(strange, axis=1, keepdims=True)
    assert model.outliers(old).mean() <= 0.05
    assert model.outliers(strange).mean() >= 0.95
    assert model.novelty(old).mean() == pytest.approx(0.5, abs=0.02)
    assert model.novelty(strange).min() >= 0.99
    alike, other = model.drift(planted("vectors", seed=5)), model.drift(strange)
    assert alike <= 0.3 < 0.95 <= other
    assert model.drift(old[:0]) == 0.0
    frozen = Online.fit(np.concatenate([old, strange]), GROUPS + 1, 0, start=model)
    assert np.array_equal(frozen.centroids[:GROUPS], model.centroids)
    assert np.mean(frozen.weights(strange).argmax(axis=1) == GROUPS) >= 0.95


def test_parents_join_topics_that_are_alike() -> None:
    centres = np.repeat(np.eye(6)[:4], 2, axis=0) + 0.1 * np.random.default_rng(0).normal(size=(8, 6))
    parents, levels = hierarchy(centres, np.array([1, 1, 9, 9, 2, 2, 5, 5]))
    assert levels.tolist() == [0] * 8 + [1] * 4
    assert parents.tolist() == [11, 11, 8, 8, 10, 10, 9, 9, -1, -1, -1, -1], "the largest first"
    assert [part.tolist() for part in hierarchy(centres[:3], np.ones(3))] == [[-1] * 3, [0] * 3]


@pytest.mark.parametrize("module", [topics, bag, keywords])
def test_worked_examples(module: ModuleType) -> None:
    outcome = doctest.testmod(module)
    assert outcome.attempted
    assert not outcome.failed


def test_words_that_hang_together_score_higher() -> None:
    words = [["a", "b", "c"]] * 3 + [["d", "e", "c"]] * 3 + [["a", "d", "c"]]
    together, mixed, alone = keywords.npmi(words, [["a", "b"], ["b", "e"], ["a", "unknown"]], window=None)
    # p(a) = 4/7, p(b) = p(a, b) = 3/7: ln(1 / (4/7)) / −ln(3/7)
    assert together == pytest.approx(np.log(7 / 4) / np.log(7 / 3), abs=1e-6)
    # Never together: ln(ε / (3/7)²) / −ln ε, as gensim has it.
    assert mixed == pytest.approx(-1 - 2 * np.log(3 / 7) / np.log(1e12), abs=1e-6)
    assert alone == 0.0
    # Twelve words have three stretches of ten: a and b meet in none, a and c in the first.
    far = [["a", "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "c", "x8", "b"], []]
    assert keywords.npmi(far, [["a", "b"]])[0] < -0.85
    # p(a) = 1/4, p(c) = 3/4 and p(a, c) = 1/4 of the three stretches and the empty document.
    assert keywords.npmi(far, [["a", "c"]]) == [pytest.approx(np.log(4 / 3) / np.log(4), abs=1e-6)]


def test_coherence_is_gensims_where_no_word_repeats_in_a_stretch() -> None:
    from gensim.corpora import Dictionary
    from gensim.models import CoherenceModel

    rng = np.random.default_rng(2)
    documents = [[f"词{n}" for n in rng.permutation(30)[: rng.integers(1, 25)]] for _ in range(60)]
    groups = [[f"词{n}" for n in range(a, a + 6)] for a in (0, 6, 20)]
    theirs = CoherenceModel(topics=groups, texts=documents, dictionary=Dictionary(documents), coherence="c_npmi", topn=6, processes=1)
    assert keywords.npmi(documents, groups) == pytest.approx(theirs.get_coherence_per_topic(), abs=1e-6)


@pytest.mark.parametrize(
    "words", [("tent", "camp", "stove", "cake", "flour", "oven", "good"), ("帐篷", "露营", "炉子", "蛋糕", "面粉", "烤箱", "好")]
)
def test_keywords_belong_to_one_topic_and_meet_each_other(words: tuple[str, ...]) -> None:
    tent, camp, stove, cake, flour, oven, good = words
    # In the first topic stove is in more documents than camp and "lamp", but these two meet each other.
    documents = [[tent, camp, "lamp"]] * 6 + [[tent, stove]] * 7 + [[cake, flour, oven, good]] * 13 + [[tent, "norvik"], [good]]
    weights = np.array([[0.9, 0.1]] * 13 + [[0.2, 0.8]] * 13 + [[1, 0], [0.4, 0.6]])
    first, second = keywords.keywords(documents, weights, 3)
    assert first[0] == tent
    assert set(first) == {tent, camp, "lamp"}
    assert set(second) < {cake, flour, oven, good}
    assert keywords.keywords(documents, weights, 2, coherent=False)[0] == [tent, stove]
    whole = keywords.keywords(documents, weights)
    assert len(whole[0]) == 5
    assert whole[0][-1] == "norvik", "a word of a single document comes last"
    # Shared by all, a word is a keyword of the topic where it is strongest, and of others only when these have too few.
    shared = [[tent, camp, good]] * 5 + [[cake, flour, good, good]] * 5
    assert keywords.keywords(shared, np.repeat(np.eye(2), 5, axis=0), 2) == [sorted([tent, camp]), [good, min(cake, flour)]]
    assert keywords.keywords(shared, np.repeat(np.eye(2), 5, axis=0), 3)[0][-1] == good
    assert keywords.keywords([[], []], weights[:2]) == [[], []]
    nobodys = np.array([[1.0, 0.0]] * len(documents))
    assert keywords.keywords(documents, nobodys)[1] == [], "a topic without any weight has no words"


def stored(lake: Lake, method: str, train_to: dt.date, model: TopicModel, ids: Any, status: str = "candidate") -> ModelVersion:
    """Register a version whose topics have no more than the rows need."""
    kind = tables.kind_of(method, "kmeans")
    name = f"{kind}-{train_to}"
    topic = {"level": 0, "label_zh": "题", "label_source": "keywords", "keywords": "[]", "status": "active", "sensitive": False}
    rows: dict[str, list[dict[str, Any]]] = {
        "topic": [topic | {"topic_id": i, "method": method, "label_en": f"{i} of {name}", "born_ds": train_to} for i in ids],
        "topic_version": [{"model_version": name, "topic_id": i, "n_docs": 1} for i in ids],
        "topic_lineage": [{"model_version": name, "topic_id": i, "prev_topic_id": 0, "relation": "birth"} for i in ids],
    }
    valid = (train_to + dt.timedelta(days=1)).isoformat()
    promoted_at = f"{valid}T00:00:00+00:00" if status != "candidate" else None
    day = train_to.isoformat()
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


def test_any_utf8_file_gets_topics(tmp_path: Path) -> None:
    lines = ["tent camp stove", "camp stove tent", "cake flour oven", "oven cake flour"] * 4
    lines += ["帐篷和露营的炉子。", "露营用的帐篷和炉子。", "", "   ", "tent", "🙂", "tent camp " * 10_000]
    corpus, out = tmp_path / "corpus.txt", tmp_path / "out.json"

    def call(data: bytes, *more: str) -> dict[str, Any]:
        corpus.write_bytes(data)
        done = CliRunner().invoke(benchmark.main, ["--corpus", str(corpus), "--model", "nmf", "--out", str(out), *more])
        assert done.exit_code in (0, 1)
        return json.loads(out.read_text(encoding="utf-8")) if done.exit_code == 0 else {"error": done.output}

    found = call(b"\xef\xbb\xbf" + "\r\n".join(lines).encode() + b"\r\n", "--k", "3")
    assert (found["k"], len(found["doc_topic"]), found["empty_lines"]) == (3, len(lines), 3)
    assert [len(topic) for topic in found["topics"]] == [9] * 3, "all words there are"
    topic = found["doc_topic"]
    assert topic[0] == topic[1] == topic[20] == topic[22] != topic[2] == topic[3]
    assert topic[16] == topic[17] not in (topic[0], topic[2])
    assert call(b"tent camp\n" * 9, "--k", "5")["k"] == 1, "equal lines have one topic"
    assert call("\n".join(lines).encode())["k"] >= 2
    assert "line 2: byte 0xff at place 5 is no UTF-8" in call(b"good\nbad \xff\n", "--k", "2")["error"]
    assert "none of its 2 lines holds text" in call(b"\n \n", "--k", "2")["error"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["drought cut crop", "state-run bank"], True),
        (["帐篷 露营 炉子", "露营 帐篷"], True),
        (["Drought cuts crop.", "State-run bank"], False),
        (["帐篷和露营的炉子。", "露营用的帐篷和炉子"], False),
        (["露营用的帐篷和炉子 新款到货", "野外露营帐篷"], False),
    ],
)
def test_words_that_are_told_apart_already_stay_as_they_are(lines: list[str], expected: bool) -> None:
    assert benchmark.is_tokenised(lines) is expected
    if expected:
        assert [w for line in benchmark.words_of(lines) for w in line] == " ".join(lines).split()
