"""What texts say: sentiment, names and labels, in English and Chinese by the same assertions; the job that writes them."""

from __future__ import annotations

import datetime as dt
import doctest
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jobs.runner import Runner
from jobs.settings import SettingError, Settings
from recsys_core import encoders, registry
from recsys_core.annotate import classify, entities, models, sentiment, sentiment_zh
from recsys_core.annotate.entities import Entity, Gazetteer
from recsys_core.lake import Stamp
from recsys_core.tables import TABLES
from recsys_core.texts import simplified, text_hash

D = dt.date(2024, 5, 1)


@pytest.mark.parametrize("module", [sentiment, entities, classify])
def test_the_worked_examples_hold(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert (found.failed, found.attempted > 0) == (0, True)


# -- sentiment -------------------------------------------------------------------------------------------------------------------------
SAID = {
    "en": {
        "good": "The game is good",
        "very good": "The game is very good",
        "fairly good": "The game is somewhat good",
        "not good": "The game is not good",
        "bad": "The game is bad",
        "not bad": "The game is not bad",
        "good but": "The sound is bad, but the game is good",
        "bad but": "The game is good, but the sound is bad",
        "good!": "The game is good!!!",
        "neither": "The box has four wheels and a handle",
        "over a comma": "It is not mine, good game",
    },
    "zh": {
        "good": "这个游戏好玩",
        "very good": "这个游戏非常好玩",
        "fairly good": "这个游戏有点好玩",
        "not good": "这个游戏不好玩",
        "bad": "这个游戏无聊",
        "not bad": "这个游戏并不无聊",
        "good but": "声音很差，但是游戏好玩",
        "bad but": "游戏好玩，但是声音很差",
        "good!": "这个游戏好玩！！！",
        "neither": "盒子有四个轮子和一个把手",
        "over a comma": "这不是我的，好玩的游戏",
    },
}


@pytest.mark.parametrize("lang", SAID)
def test_sentiment_is_strengthened_weakened_turned_and_set_off_in_both_languages(lang: str) -> None:
    s = {name: sentiment.sentiment(text) for name, text in SAID[lang].items()}
    assert s["good!"] > s["good"] > 0 > s["bad"]
    assert s["very good"] > s["good"] > s["fairly good"] > 0
    assert s["not good"] < 0 < s["not bad"] < s["good"]
    assert s["good but"] > 0 > s["bad but"]
    assert s["neither"] == 0
    assert s["over a comma"] == s["good"], "a clause ends what a negation reaches"
    assert all(-1 <= v <= 1 for v in s.values())


def test_sentiment_takes_either_script_full_width_and_mixed_texts() -> None:
    for one, other in (
        ("這個遊戲很難玩，畫面太爛", "这个游戏很难玩，画面太烂"),
        ("ＧＯＯＤ　ｇａｍｅ！", "good game!"),
        ("don’t like it", "don't like it"),
    ):
        assert sentiment.sentiment(one) == sentiment.sentiment(other) != 0
    assert sentiment.sentiment("这个 DLC 很 boring") < 0 < sentiment.sentiment("这个 DLC 很 great")
    assert sentiment.sentiment("👍👍") > 0
    assert [sentiment.sentiment(t) for t in ("", " ", "🙂\ud83d", "12345", "卫生间还在二楼", "显卡和网卡")] == [0] * 6
    assert sentiment.sentiment("好" * 100_000) == sentiment.sentiment("good " * 100_000) == 1


def test_words_have_one_part_to_play() -> None:
    lexicon = sentiment._lexicon()
    assert not set(lexicon.valences) & set(lexicon.roles)
    assert all(-4 <= v <= 4 for v in lexicon.valences.values())
    assert all(simplified(w) == w for w in (*lexicon.valences, *lexicon.roles)), "a traditional word would never be met"
    words = [w for line in sentiment_zh._LINES.strip().splitlines() for w in line.split()[1:]]
    assert len(words) == len(set(words)) == len(sentiment_zh.CHINESE) > 900


# -- entities --------------------------------------------------------------------------------------------------------------------------
NAMES = [
    *(("brand", "Lego"), ("brand", "Lego City"), ("author", "Ursula K. Le Guin"), ("place", "Paris"), ("brand", "Paris")),
    *(("brand", "乐高"), ("brand", "乐高城市"), ("author", "刘慈欣"), ("place", "巴黎"), ("brand", "巴黎")),
]
FOUND = {
    "en": {
        "my LEGO is old": [("brand", "Lego", "LEGO")],
        "a lego city set": [("brand", "Lego City", "lego city")],
        "by Ursula K. Le Guin.": [("author", "Ursula K. Le Guin", "Ursula K. Le Guin")],
        "from Paris": [("brand", "Paris", "Paris"), ("place", "Paris", "Paris")],
        "legos, a lego1 and Parisian": [],
        "Lego Cityscape": [("brand", "Lego", "Lego")],
    },
    "zh": {
        "我的乐高很旧": [("brand", "乐高", "乐高")],
        "一套樂高城市": [("brand", "乐高城市", "樂高城市")],
        "作者是劉慈欣。": [("author", "刘慈欣", "劉慈欣")],
        "来自巴黎": [("brand", "巴黎", "巴黎"), ("place", "巴黎", "巴黎")],
        "乐 高": [],
        "买了Lego乐高": [("brand", "Lego", "Lego"), ("brand", "乐高", "乐高")],
    },
}


@pytest.mark.parametrize("lang", FOUND)
def test_the_longest_name_is_found_where_a_word_begins_and_ends(lang: str) -> None:
    gazetteer = Gazetteer(NAMES)
    for text, wanted in FOUND[lang].items():
        assert [(e.entity_type, e.entity, text[e.begin : e.end]) for e in gazetteer([text])[0]] == wanted, text
    assert Gazetteer([])(["Lego"]) == [[]]
    assert gazetteer(["", "İstanbul Lego ﬁ" * 5_000])[1][0] == Entity("brand", "Lego", 9, 13), "folding keeps places"


def test_the_catalogue_names_brands_and_by_tags_authors_and_places() -> None:
    items = pa.table(
        {
            "brand": ["Ｌｅｇｏ", "乐高", None, "the", "7", "Gone", "X"],
            "tags": [
                ["author: Liu Cixin", "作者：刘慈欣", "toys"],
                ["产地：巴黎", "place:Rome"],
                None,
                [],
                [":x"],
                ["author:Nobody"],
                ["author:"],
            ],
            "deleted": [False] * 5 + [True, False],
        }
    )
    assert entities.names_of(items) == [
        *(("author", "Liu Cixin"), ("author", "刘慈欣"), ("brand", "Lego"), ("brand", "乐高"), ("place", "Rome"), ("place", "巴黎")),
    ]


# -- pretrained models -----------------------------------------------------------------------------------------------------------------
def tiny(folder: Path, kind: str, names: list[str], bias: list[float]) -> str:
    """A BERT of a few hundred random weights whose classes lean as `bias` says."""
    import torch
    import transformers

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "game", "好", "玩"]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    transformers.BertTokenizerFast(vocab_file=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    labels = dict(enumerate(names))
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, max_position_embeddings=32,
        id2label=labels, label2id={n: i for i, n in labels.items()},
    )  # fmt: skip
    model = getattr(transformers, kind)(config)
    with torch.no_grad():
        model.classifier.bias.copy_(torch.tensor(bias))
    model.save_pretrained(folder, safe_serialization=True)
    return str(folder)


def test_a_classifier_can_take_the_place_of_the_lexicon(tmp_path: Path) -> None:
    texts = ["good game", "好玩", "", "good " * 500]
    kind, classes = "BertForSequenceClassification", ["negative", "neutral", "positive"]
    good, bad = (models.scorer(tiny(tmp_path / n, kind, classes, b), "cpu") for n, b in (("g", [0.0, 0.0, 9.0]), ("b", [9.0, 0.0, 0.0])))
    assert good[1].startswith("model:") and good[1] != bad[1] and models.scorer(None, "cpu")[1] == "lexicon"  # noqa: PT018
    assert all(s > 0.9 for s in good[0](texts)) and all(s < -0.9 for s in bad[0](texts))  # noqa: PT018
    even, _ = models.scorer(tiny(tmp_path / "e", kind, ["1 star", "3 stars", "5 stars"], [0.0, 0.0, 0.0]), "cpu")
    alone = [even([t])[0] for t in texts]
    assert even(texts) == alone and len(set(alone)) > 2  # noqa: PT018
    with pytest.raises(RuntimeError, match=r"classes LABEL_0, LABEL_1 of .* are no sentiment: name them negative"):
        models.scorer(tiny(tmp_path / "u", kind, ["LABEL_0", "LABEL_1"], [0.0, 0.0]), "cpu")[0](["x"])
    with pytest.raises(RuntimeError, match="is not on this machine: name a folder"):
        models.scorer("nobody/nothing", "cpu")


def test_a_token_classifier_finds_spans_of_the_text(tmp_path: Path) -> None:
    kind, names = "BertForTokenClassification", ["O", "B-ORG", "I-ORG"]
    begins, goes_on, nothing = (
        models.EntityModel(tiny(tmp_path / n, kind, names, b), "cpu")(["good  game", "好玩"])
        for n, b in (("b", [0.0, 99.0, 0.0]), ("i", [0.0, 0.0, 99.0]), ("o", [99.0, 0.0, 0.0]))
    )
    assert begins == [[Entity("org", "good", 0, 4), Entity("org", "game", 6, 10)], [Entity("org", "好", 0, 1), Entity("org", "玩", 1, 2)]]
    assert goes_on == [[Entity("org", "good  game", 0, 10)], [Entity("org", "好玩", 0, 2)]]
    assert nothing == [[], []]


# -- labels ----------------------------------------------------------------------------------------------------------------------------
def test_a_label_is_as_near_as_its_nearest_text_and_holds_from_the_threshold() -> None:
    tax = classify.taxonomy("# ours\nchess\tchess\t国际象棋\n\ntea\t\t茶\n", "t.tsv")
    assert tax.texts() == (["chess", "国际象棋", "茶"], [0, 0, 1])
    vectors = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    scores = classify.similarities(vectors, np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32), tax.texts()[1])
    assert np.allclose(scores, [[1, 0.6], [1, 0.8], [0, -0.6]])
    assert [(r, label, round(s, 6)) for r, label, s in classify.chosen(scores, 0.7)] == [(0, 0, 1.0), (1, 0, 1.0), (1, 1, 0.8)]
    assert len(classify.chosen(scores, -1, 1)) == 3
    best = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.1], [0.2, 0.1]])
    # From .31 to .80 two labels are given, both right: 2·2 / (2 + 4).
    threshold, f1 = classify.tuned(best, np.array([0, 1, 1, 1]))
    assert (threshold, round(f1, 6)) == (0.31, 0.666667)


def test_a_taxonomy_names_all_its_faults(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("a\tb\n\nc\td\te\nc\tf\tg\n\tx\ty\nq\t\t\n", encoding="utf-8")
    with pytest.raises(SettingError) as error:
        _ = Settings(taxonomy_file=str(path)).taxonomy
    assert [line.rpartition("line ")[2][:1] for line in str(error.value).splitlines()] == ["1", "4", "5", "6"]
    assert "label 'c' is there already; name it once" in str(error.value)
    with pytest.raises(SettingError, match=r"TAXONOMY_FILE names .*, which is not there"):
        _ = Settings(taxonomy_file=str(tmp_path / "x")).taxonomy
    with pytest.raises(classify.TaxonomyError, match=r"t\.tsv: there is no label; write one on each line"):
        classify.taxonomy("", "t.tsv")


@pytest.mark.parametrize("n_labels", [2, 4])
def test_a_head_learns_categories_and_shuffled_ones_teach_nothing(n_labels: int) -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(n_labels, size=400)
    vectors = rng.normal(size=(400, 16)) * 0.4 + np.eye(16)[truth] * 2
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    names = [f"类{t}" if t % 2 else f"c{t}" for t in truth]
    head, metrics = classify.fit_head(vectors, names, seed=1)
    assert metrics["accuracy_ci_low"] > 0.9 > metrics["majority_accuracy"] + 0.2
    assert metrics["f1"] > 0.9 and metrics["n"] == 40  # noqa: PT018
    again = classify.LinearHead.of(registry.arrays_from_bytes(registry.arrays_to_bytes(**classify.fit_head(vectors, names, 1)[0].arrays())))
    assert np.array_equal(again.probabilities(vectors), head.probabilities(vectors))
    assert np.allclose(head.probabilities(vectors).sum(axis=1), 1)
    assert (again.labels, again.threshold) == (head.labels, head.threshold)
    _, shuffled = classify.fit_head(vectors, list(rng.permutation(names)), seed=1)
    assert shuffled["accuracy_ci_low"] < shuffled["majority_accuracy"] + 0.05
    with pytest.raises(ValueError, match="two at least"):
        classify.fit_head(vectors, ["one"] * 400)


# -- the jobs --------------------------------------------------------------------------------------------------------------------------
BOOTS = [f"{a} hiking boots for {b} trails" for a in ("light", "sturdy", "wide") for b in ("alpine", "muddy", "forest", "desert")]
CAKES = [f"{a} chocolate cake with {b}" for a in ("moist", "dark", "small") for b in ("butter", "cream", "almonds", "cherries")]


def write(runner: Runner, table: str, found: list[dict[str, Any]], **parts: str) -> None:
    """A night's partition from rows."""
    made = pa.Table.from_pylist([{"ds": D} | r for r in found], schema=TABLES[table].arrow_schema())
    runner.lake.write(table, D, made, Stamp(f"{table}-run", "hash"), **parts)


def test_a_night_is_annotated_by_catalogue_taxonomy_and_head(tmp_path: Path) -> None:
    (tmp_path / "landing" / "events" / f"ds={D}").mkdir(parents=True)
    (tmp_path / "taxonomy.tsv").write_text(
        "outdoor\thiking boots and trails\t徒步鞋\nbaking\tcakes and baking\t烘焙蛋糕\n", encoding="utf-8"
    )
    site = {"landing": str(tmp_path / "landing"), "lake": str(tmp_path / "lake"), "user_key_secret": "s", "device": "cpu"}
    said: list[str] = []
    runner = Runner(Settings.model_validate(site), said.append)
    users = {
        "I like my Lego hiking boots": "review",
        "樂高的蛋糕": "review",
        "chocolate cake": "search",
        "巧克力蛋糕": "search",
        "viewed Lego": "behaviour",
    }
    items = [(f"i{n:02}", t, c) for n, (t, c) in enumerate([(t, "shoes") for t in BOOTS] + [(t, "food") for t in CAKES])]
    write(
        runner,
        "item",
        [
            {"item_id": i, "title": t, "category": c, "lang": "en", "valid_from_ds": D, "first_ds": D, "deleted": False, "brand": b}
            for (i, t, c), b in zip(items, ["Lego", "乐高"] * 12, strict=True)
        ],
    )
    write(runner, "item_text", [{"item_id": i, "text_hash": text_hash(t), "lang": "en", "kind": "title", "text": t} for i, t, _ in items])
    said_by = {"user_key": "u", "lang": "en", "item_id": None, "n_events": 1}
    write(runner, "user_text", [said_by | {"text_hash": text_hash(t), "kind": k, "text": t} for t, k in users.items()])
    write(runner, "declared_interest", [])
    runner.run("embed", D)
    runner.run("annotate", D)
    rows = runner.lake.read("text_entity", [D]).to_pylist()
    found = {(r["text_hash"], r["entity"], r["begin_char"], r["end_char"], r["source"]) for r in rows}
    assert found == {
        (text_hash(t), e, b, b + n, "gazetteer")
        for t, e, b, n in (("I like my Lego hiking boots", "Lego", 10, 4), ("樂高的蛋糕", "乐高", 0, 2))
    }
    assert runner.lake.read("text_label", [D]).num_rows == 0, "nobody asked for labels"
    runner.run("annotate", D)
    assert said[-1].endswith("up to date")

    with_labels = Runner(Settings.model_validate(site | {"taxonomy_file": str(tmp_path / "taxonomy.tsv")}), said.append)
    with_labels.run("annotate", D)
    labels = {(r["text_hash"], r["label"]): r["score"] for r in with_labels.lake.read("text_label", [D]).to_pylist()}
    texts = {t for t, k in users.items() if k != "behaviour"} | {t for _, t, _ in items}
    assert {h for h, _ in labels} <= {text_hash(t) for t in texts}
    assert all((text_hash(t), "outdoor") in labels and (text_hash(t), "baking") not in labels for t in BOOTS)
    assert all((text_hash(t), "baking") in labels for t in [*CAKES, "chocolate cake", "巧克力蛋糕"])

    # A head that is trained on a night is valid from the next; here it is made valid for the night itself.
    runner.run("fit_labels", D, min_items=10)
    (head,) = registry.versions(runner.lake, "text_head")
    assert (head.valid_from_ds, head.embedding_space) == ("2024-05-02", encoders.space_of(runner.settings.encoder))
    assert head.params["held_out"]["n"] == 2
    assert registry.valid_for(runner.lake, "text_head", D) is None
    registry.save(runner.lake, type(head)(**(vars(head) | {"valid_from_ds": D.isoformat(), "promoted_at": "2024-05-01T00:00:00+00:00"})))
    runner.run("annotate", D)
    by_head = {(r["text_hash"], r["label"]) for r in runner.lake.read("text_label", [D]).to_pylist()}
    assert {(text_hash(t), c) for _, t, c in items} <= by_head
    assert {(text_hash(t), "food") for t in ("chocolate cake", "巧克力蛋糕")} <= by_head
    assert json.loads(runner.lake.read_bytes(f"{head.folder}/model.json"))["params"]["held_out"]["accuracy"] == 1
