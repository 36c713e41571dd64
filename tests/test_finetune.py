"""Fine-tuning on what users did next: moments, their split by time, a tiny model trained twice, the job that promotes or does not."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs import ON_REQUEST, TRAINING
from jobs import finetune as job
from jobs.runner import Runner
from jobs.settings import Settings
from recsys_core import finetune, registry
from recsys_core.encoders import fine_tuned, versions
from recsys_core.encoders.fine_tuned import CONFIG, WEIGHTS, Base
from recsys_core.encoders.recipe import Recipe
from recsys_core.finetune import Moment
from recsys_core.lake import LakeError, Stamp
from recsys_core.tables import TABLES
from tests.test_training import item_texts, touched, user_texts

D = dt.date(2026, 3, 1)
DAY = dt.timedelta(days=1)
# What one kind of people looks at says nothing, by its words, of what they like next.
KINDS = {"red": "tent", "blue": "cake", "绿": "茶", "黄": "灯"}


def wordy(folder: Path) -> Base:
    """A BERT of random weights that knows the words here."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "viewed", *KINDS, *KINDS.values(), *map(str, range(12))]
    tokenizer = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=32, **special).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
        initializer_range=0.2,
    )
    transformers.BertModel(config).save_pretrained(folder)
    return Base(folder, Recipe("mean", 32), "tiny-0")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return wordy(tmp_path_factory.mktemp("model"))


PAIRS = [(f"viewed {seen} {n}", f"{liked} {5 * n % 12}") for n in range(12) for seen, liked in KINDS.items()]


def test_moments_hold_what_came_before_and_what_was_new_and_liked() -> None:
    told = [{"user_key": "u", "ds": D + n * DAY, "text": f"night {n}"} for n in range(5)]
    acts = [(0, "a", 1), (1, "b", 0), (2, "a", 1), (2, "c", 1), (2, "d", 0), (2, "unknown", 1), (3, "d", 2), (4, "e", 1), (4, "f", 1)]
    done = [{"user_key": "u", "ds": D + n * DAY, "item_id": i, "n_positive": p} for n, i, p in acts]
    done.append({"user_key": "silent", "ds": D, "item_id": "a", "n_positive": 1})
    known = {i: i.upper() for i in "abcdef"}
    found = finetune.moments(told, done, known)
    assert found == [
        # Nothing is said before night 0; b was not liked; a on night 2 and d on night 3 are not new.
        Moment("u", D + 2 * DAY, "night 1. night 0", frozenset("ab"), ("c",)),
        Moment("u", D + 4 * DAY, "night 3. night 2. night 1", frozenset({*"abcd", "unknown"}), ("e", "f")),
    ]
    assert finetune.pairs(found, known, 9, 0) == [("night 1. night 0", "C"), *[("night 3. night 2. night 1", x) for x in "EF"]]
    some = finetune.pairs(found * 50, known, 20, 1)
    assert some == finetune.pairs(found * 50, known, 20, 1) != finetune.pairs(found * 50, known, 20, 2)
    assert len(some) == 20


@pytest.mark.parametrize(
    ("counts", "parts"), [([1, 1, 1], [1, 1, 1]), ([70, 15, 15], [70, 15, 15]), ([1, 1, 98], [1, 1, 98]), ([10] * 20, [140, 30, 30])]
)
def test_no_night_is_in_two_parts(counts: list[int], parts: list[int]) -> None:
    found = [Moment(str(u), D + n * DAY, "t", frozenset(), ("a",)) for n, count in enumerate(counts) for u in range(count)]
    split = finetune.time_split(found)
    assert [len(part) for part in split] == parts
    assert [m for part in split for m in part] == found
    ends = [(part[0].ds, part[-1].ds) for part in split]
    assert ends[0][1] < ends[1][0] <= ends[1][1] < ends[2][0]
    with pytest.raises(ValueError, match="moments on 2 nights"):
        finetune.time_split([m for m in found if m.ds < D + 2 * DAY])


def test_recall_passes_over_what_was_seen_and_intervals_are_paired() -> None:
    catalogue = np.eye(4)[[0, 1, 2, 3]]
    found = [
        Moment("u", D, "", frozenset(), ("b", "c")),
        Moment("u", D + DAY, "", frozenset("a"), ("b",)),
        Moment("v", D, "", frozenset("abcd"), ("d",)),
    ]
    queries = np.array([[1.0, 0.9, 0, 0], [1.0, 0.9, 0, 0], [1.0, 0, 0, 0]])
    lists = finetune.nearest(queries, catalogue, list("abcd"), found, 2)
    assert lists.tolist() == [[0, 1], [1, 2], [-1, -1]]
    assert finetune.recalls(lists, list("abcd"), found, 1).tolist() == [0, 1, 0]
    assert finetune.recalls(lists, list("abcd"), found, 2).tolist() == [0.5, 1, 0]
    before, after, difference, users = finetune.compared(np.array([0.0, 0, 1]), np.array([1.0, 0, 1]), found, 0)
    assert (before.value, after.value, difference.value, users) == (0.5, 0.75, 0.25, 2)
    assert difference.low == 0.0


def test_training_learns_what_follows_and_gives_equal_bytes() -> None:
    from safetensors.torch import load

    base = fine_tuned.base_of("bilingual")
    texts = [f"viewed {seen} 1" for seen in KINDS] + [f"{liked} 2" for liked in KINDS.values()]
    watched: list[np.ndarray] = []

    def right(vectors: np.ndarray) -> int:
        """How many kinds, of both languages, have what they like nearest."""
        first, then = np.split(vectors.astype(np.float64), 2)
        return int((np.argmax(first @ then.T, axis=1) == range(len(KINDS))).sum())

    def watch(encode: Callable[[Any], np.ndarray]) -> float:
        watched.append(encode(texts))
        return float(right(watched[-1]))

    files, again = (finetune.fit(PAIRS, base, "bilingual", 0, "cpu", 2, 8, 2e-3, watch) for _ in range(2))
    assert files == again
    assert len(watched) == 4
    assert set(files) == {WEIGHTS, CONFIG}
    assert not any("pooler" in name for name in load(files[WEIGHTS]))
    tuned = fine_tuned.restore(files, "cpu")
    plain = fine_tuned.transformer.Encoder(base.folder, base.recipe, "cpu", prepare=base.prepare)
    assert right(tuned.encode(texts)) == len(KINDS) > right(plain.encode(texts))
    # What is opened is the best of what was trained.
    assert (tuned.encode(texts) * max(watched, key=right)).sum(axis=1).min() > 0.995
    assert fine_tuned.space(files).startswith("fine_tuned-")
    assert fine_tuned.space(files | {CONFIG: files[CONFIG] + b" "}) != fine_tuned.space(files)
    with pytest.raises(RuntimeError, match=r"an adapter for bilingual-.* does not fit other-1"):
        fine_tuned.restore(files, "cpu", base=Base(base.folder, base.recipe, "other-1"))
    with pytest.raises(RuntimeError, match="'lsa' cannot be fine-tuned"):
        fine_tuned.base_of("lsa")
    assert fine_tuned.base_of("bilingual").space != fine_tuned.base_of("minilm").space


def shop(folder: Path, learnable: bool) -> Runner:
    """Six nights of forty people who view two things of a kind and then like a new thing that belongs to it, or, else, any thing."""
    values = {"landing": folder / "landing", "lake": folder / "lake", "user_key_secret": "of the tests", "device": "cpu"}
    runner = Runner(Settings.model_validate({k: str(v) for k, v in values.items()}), list[str]().append)
    catalogue = {f"{liked}{n}": f"{liked} {n}" for liked in KINDS.values() for n in range(12)}
    items, kinds = list(catalogue), list(KINDS.items())
    for night in range(6):
        ds = D + night * DAY
        (Path(runner.landing.root) / "events" / f"ds={ds}").mkdir(parents=True)
        told, done = list[tuple[str, str, str, str | None]](), []
        for user in range(40):
            seen, liked = kinds[user % len(kinds)]
            told.append((f"u{user:02}", "behaviour", f"viewed {seen} {night} {user % 12}", None))
            item = f"{liked}{(night + user) % 12}" if learnable else items[(7 * user + 11 * night) % len(items)]
            done.append((f"u{user:02}", item, {"purchase": 1}))
        rows = touched(ds, done)
        rows = rows.set_column(rows.column_names.index("n_positive"), "n_positive", [[1] * rows.num_rows])
        for table, found in (("item_text", item_texts(ds, catalogue)), ("user_text", user_texts(ds, told)), ("user_item_day", rows)):
            runner.lake.write(table, ds, found.cast(TABLES[table].arrow_schema()), Stamp(f"{table}-{ds}", "h"))
    return runner


def test_the_job_promotes_what_is_better_and_nothing_else(tmp_path: Path, base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fine_tuned, "base_of", lambda name: base)
    monkeypatch.setattr("recsys_core.encoders.load", lambda name, device: fine_tuned.transformer.Encoder(base.folder, base.recipe, device))
    last = D + 5 * DAY
    options: dict[str, Any] = {"epochs": 4, "batch": 8, "learning_rate": 5e-3, "k": 3}
    kind = versions.kind_of(job.NAME)
    better, same = shop(tmp_path / "better", True), shop(tmp_path / "same", False)
    better.run("fine_tune", last, **options)
    same.run("fine_tune", last, **options | {"epochs": 1})
    version = registry.versions(better.lake, kind)[0]
    metric = version.params["next_item"]
    assert metric["diff_ci_low"] > 0
    assert metric["value"] > metric["baseline_value"]
    assert (version.status, version.embedding_space, version.valid_from_ds) == ("champion", version.model_version, "2026-03-07")
    assert registry.valid_for(better.lake, kind, last) is None
    assert versions.valid_for(better.lake, job.NAME, last + DAY) == version
    opened = fine_tuned.restore({f: registry.load(better.lake, version, f) for f in version.files}, "cpu")
    assert opened.encode(["tent 1"]).shape == (1, 32)
    refused = registry.versions(same.lake, kind)[0]
    assert refused.status == "candidate"
    assert refused.params["next_item"]["diff_ci_low"] <= 0
    assert versions.valid_for(same.lake, job.NAME, last + DAY) is None
    # Again with equal data nothing is trained; on too few nights it says what is missing.
    said = better.say.__self__  # type: ignore[attr-defined]
    assert "promoted: ENCODER=fine_tuned" in said[-2]
    count = len(said)
    better.run("fine_tune", last, **options)
    assert version.model_version in said[count]
    assert "pairs of" not in "".join(said[count:])
    with pytest.raises(LakeError, match=r"fine-tuning needs users .* build more nights up to 2026-03-02"):
        better.run("fine_tune", D + DAY)


def test_no_chain_runs_it() -> None:
    assert "fine_tune" in ON_REQUEST
    assert "fine_tune" not in TRAINING
