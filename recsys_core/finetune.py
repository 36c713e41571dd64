"""Fine-tuning of a text encoder on what users did next: pairs by time, contrastive training of an adapter, recall of next items.

The loss is in-batch softmax over cosines (MultipleNegativesRankingLoss; Henderson et al. 2017), the adapter LoRA (Hu et al. 2022). Training
needs sentence-transformers, peft, accelerate and datasets; what comes out is opened by `encoders.fine_tuned` without them.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from recsys_core.encoders.fine_tuned import CONFIG, WEIGHTS, Base
from recsys_core.lake import canonical_json
from recsys_core.metrics import Estimate, bootstrap, hits, ranking_metrics
from recsys_core.texts import MODEL_CHARS

# What a user did on so many nights before, the last one first, is the text that the next items are looked for with.
NIGHTS_BEFORE = 3
SHARES = (0.7, 0.85)
MAX_TOKENS = 64
RANK, ALPHA = 16, 32
# Layers behind the last hidden states: vectors are pooled before them.
_APART = ".*pooler.*"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Moment:
    """A user on a night: what the user did before in words, the items touched before, and the new items liked that night, sorted."""

    user: str
    ds: dt.date
    text: str
    seen: frozenset[str]
    liked: tuple[str, ...]


def moments(behaviour: Iterable[Row], user_item: Iterable[Row], known: Mapping[str, str]) -> list[Moment]:
    """All moments, by night and user, in which a user with a text liked new items that have one.

    behaviour  rows of nightly descriptions: user_key, ds, text
    user_item  rows of what was touched: user_key, ds, item_id, n_positive
    known      item → text
    """
    told: dict[str, dict[dt.date, str]] = defaultdict(dict)
    for row in behaviour:
        told[row["user_key"]][row["ds"]] = row["text"]
    days: dict[str, dict[dt.date, list[tuple[str, bool]]]] = defaultdict(lambda: defaultdict(list))
    for row in user_item:
        days[row["user_key"]][row["ds"]].append((row["item_id"], row["n_positive"] > 0))
    found = []
    for user, by_day in days.items():
        seen: set[str] = set()
        for ds in sorted(by_day):
            before = [told[user][d] for d in sorted(told[user], reverse=True) if d < ds][:NIGHTS_BEFORE] if user in told else []
            liked = {item for item, positive in by_day[ds] if positive and item in known} - seen
            if before and liked:
                found.append(Moment(user, ds, ". ".join(before)[:MODEL_CHARS], frozenset(seen), tuple(sorted(liked))))
            seen |= {item for item, _ in by_day[ds]}
    return sorted(found, key=lambda m: (m.ds, m.user))


def time_split(found: Sequence[Moment]) -> tuple[list[Moment], list[Moment], list[Moment]]:
    """(training, validation, test): no night is in two, earlier nights come first, each has one at least and about its share (SHARES).

    ValueError for moments on fewer than three nights.
    """
    nights, counts = np.unique([m.ds.toordinal() for m in found], return_counts=True)
    if len(nights) < 3:
        raise ValueError(
            f"there are moments on {len(nights)} nights: fine-tuning needs users who come back for new items on three at least"
        )
    first, last = np.searchsorted(np.cumsum(counts), np.array(SHARES) * len(found), side="right")
    first = min(max(first, 1), len(nights) - 2)
    last = min(max(last, first + 1), len(nights) - 1)
    part = np.searchsorted(nights[[first, last]], [m.ds.toordinal() for m in found], side="right")
    return tuple([m for m, p in zip(found, part, strict=True) if p == n] for n in range(3))  # type: ignore[return-value]


def pairs(found: Sequence[Moment], known: Mapping[str, str], most: int, seed: int) -> list[tuple[str, str]]:
    """(text of the user, text of the next item), at most `most` of them drawn with `seed`, in the order of time."""
    made = [(m.text, known[item]) for m in found for item in m.liked]
    if len(made) > most:
        made = [made[i] for i in np.sort(np.random.default_rng(seed).choice(len(made), most, replace=False))]
    return made


def nearest(queries: np.ndarray, catalogue: np.ndarray, items: Sequence[str], found: Sequence[Moment], k: int) -> np.ndarray:
    """Places of the k items nearest each moment's text that its user had not touched, by cosine, −1 where there are fewer; int64 (n, k).

    Ties go to the earlier item. `queries` and `catalogue` are unit vectors of the moments' texts and of `items`.
    """
    place = {item: n for n, item in enumerate(items)}
    lists = np.full((len(found), k), -1, np.int64)
    with threadpool_limits(1):
        wide = np.asarray(catalogue, np.float32).T
        for row, moment in enumerate(found):
            scores = np.asarray(queries[row], np.float32) @ wide
            scores[[place[i] for i in moment.seen if i in place]] = -np.inf
            best = np.argsort(-scores, kind="stable")[:k]
            best = best[np.isfinite(scores[best])]
            lists[row, : len(best)] = best
    return lists


def recalls(lists: np.ndarray, items: Sequence[str], found: Sequence[Moment], k: int) -> np.ndarray:
    """Recall@k of each moment's liked items in `lists` of places among `items` (see `nearest`)."""
    place = {item: n for n, item in enumerate(items)}
    rows = np.repeat(np.arange(len(found)), [len(m.liked) for m in found])
    liked = np.array([place[i] for m in found for i in m.liked], np.int64)
    return ranking_metrics(hits(lists, rows, liked), np.array([len(m.liked) for m in found], np.int64), k)["recall"]


def compared(base: np.ndarray, tuned: np.ndarray, found: Sequence[Moment], seed: int) -> tuple[Estimate, Estimate, Estimate, int]:
    """(base, tuned, tuned − base, users) of a value per moment: means over users with paired 95 % intervals."""
    users: dict[str, list[int]] = defaultdict(list)
    for row, moment in enumerate(found):
        users[moment.user].append(row)
    each = np.array([[base[rows].mean(), tuned[rows].mean()] for rows in (users[u] for u in sorted(users))])
    first, second, difference = bootstrap(np.column_stack([each, each[:, 1] - each[:, 0]]), seed)
    return first, second, difference, len(each)


def fit(
    given: Sequence[tuple[str, str]],
    base: Base,
    name: str,
    seed: int,
    device: str = "auto",
    epochs: int = 3,
    batch: int = 64,
    learning_rate: float = 1e-4,
    watch: Callable[[Callable[[Sequence[str]], np.ndarray]], float] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, bytes]:
    """The files of an adapter of the base called `name`, trained on (text, text of what follows); equal input gives equal bytes on CPUs
    of one kind.

    After each epoch `watch` is given a function from texts to unit vectors and says how good these are; the best epoch is kept.
    """
    import torch
    import transformers
    from datasets import Dataset, disable_progress_bars
    from peft import LoraConfig, get_peft_model_state_dict
    from safetensors.torch import save
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer import losses
    from sentence_transformers.sentence_transformer.model_card import SentenceTransformerModelCardData
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    cuda = device != "cpu" and torch.cuda.is_available()
    threads = torch.get_num_threads()
    kept: list[tuple[float, bytes]] = []
    try:
        torch.set_num_threads(1)  # sums in one order, however many cores there are
        transformers.set_seed(seed)
        offline = {"local_files_only": True, "trust_remote_code": False}
        body = Transformer(
            str(base.folder),
            max_seq_length=min(base.recipe.max_tokens, MAX_TOKENS),
            model_kwargs={**offline, "use_safetensors": True},
            processor_kwargs=offline,
            config_kwargs=offline,
        )
        inner: Any = body.model
        inner.add_adapter(LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", exclude_modules=_APART))
        pooling = {"last": "lasttoken"}.get(base.recipe.pooling, base.recipe.pooling)
        card = SentenceTransformerModelCardData()
        card.widget = ["-"]  # no card is written, so that no examples for one are looked for
        model = SentenceTransformer(
            modules=[body, Pooling(inner.config.hidden_size, pooling), Normalize()],
            device="cuda" if cuda else "cpu",
            model_card_data=card,
        )

        def vectors(texts: Sequence[str]) -> np.ndarray:
            found: np.ndarray = model.encode([_worded(t, base) for t in texts], batch_size=64, show_progress_bar=False)
            return found

        class Watch(transformers.TrainerCallback):
            def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                now = {
                    k: v.detach().cpu().contiguous() for k, v in sorted(get_peft_model_state_dict(inner, adapter_name="default").items())
                }
                score = 0.0 if watch is None else watch(vectors)
                if watch is not None:
                    say(f"fine-tuning, epoch {round(state.epoch)} of {epochs}: {score:.4f} on the validation nights")
                if watch is None or not kept or score > kept[-1][0]:
                    kept.append((score, save(now)))
                model.train()

        rows = {"anchor": [_worded(a, base) for a, _ in given], "positive": [_worded(b, base) for _, b in given]}
        with tempfile.TemporaryDirectory() as folder:
            trainer = SentenceTransformerTrainer(
                model=model,
                args=SentenceTransformerTrainingArguments(
                    output_dir=folder,
                    num_train_epochs=epochs,
                    per_device_train_batch_size=batch,
                    learning_rate=learning_rate,
                    warmup_steps=0.1,
                    batch_sampler="no_duplicates",
                    seed=seed,
                    data_seed=seed,
                    use_cpu=not cuda,
                    bf16=cuda or torch.cpu._is_avx512_bf16_supported(),
                    report_to=[],
                    save_strategy="no",
                    logging_strategy="no",
                    disable_tqdm=True,
                ),
                train_dataset=Dataset.from_dict(rows),
                loss=losses.MultipleNegativesRankingLoss(model),
                callbacks=[Watch()],
            )
            trainer.remove_callback(transformers.PrinterCallback)
            trainer.train()
    finally:
        torch.set_num_threads(threads)
    config = {"base": name, "base_space": base.space, "rank": RANK, "alpha": ALPHA}
    return {WEIGHTS: kept[-1][1], CONFIG: canonical_json(config).encode()}


def _worded(text: str, base: Base) -> str:
    """The text as the base's tokenizer is given it."""
    text = base.recipe.prefix + (base.prepare(text) if base.prepare else text)
    return text.lower() if base.recipe.lower_case else text
