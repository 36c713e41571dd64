"""Fine-tuning of the text encoder on what users did next: a new embedding space, used only once it is better than its base."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from jobs import WINDOW
from jobs.as_of import end_of
from recsys_core import registry
from recsys_core.lake import LakeError, canonical_json, digest

if TYPE_CHECKING:
    import numpy as np

    from jobs.night import Night

NAME = "fine_tuned"
DEFAULT_BASE = "bilingual"
# About so many moments of the validation nights are looked at after each epoch.
VALIDATED = 300


def fine_tune(
    night: Night,
    *,
    base: Annotated[str | None, "the pretrained encoder that is fine-tuned [default the setting ENCODER, else bilingual]"] = None,
    epochs: Annotated[int, "passes over the training pairs; the one that is best on the validation nights is kept", range(1, 101)] = 3,
    batch: Annotated[int, "pairs that are told apart at a time", range(2, 4097)] = 64,
    learning_rate: Annotated[float, "of the adapter"] = 1e-4,
    max_pairs: Annotated[int, "training pairs at most; of more a sample is drawn", range(2, 10_000_001)] = 20_000,
    k: Annotated[int, "length of the lists that recall looks at", range(1, 1001)] = 10,
    seed: Annotated[int, "seed of all that is drawn", range(2**31)] = 0,
    train_nights: Annotated[int, "nights of training data, the last one included", range(3, WINDOW + 1)] = WINDOW,
    device: Annotated[Literal["auto", "cpu", "cuda"], "where it is trained; auto: as the setting DEVICE says"] = "auto",
    force: bool = False,
) -> None:
    """Register an encoder trained on (behaviour in words, text of the next item) of the nights up to ds, valid from the next night.

    It is promoted when on the last nights, which it was not trained on, its recall of next items is above the base's with 95 % confidence.
    A training then uses it by ENCODER=fine_tuned.
    """
    from recsys_core import encoders, finetune
    from recsys_core.encoders import fine_tuned, versions

    ds, lake, say = night.ds.isoformat(), night.lake, night.runner.say
    base = base or (DEFAULT_BASE if night.settings.encoder in encoders.FITTED else night.settings.encoder)
    kind, ground = versions.kind_of(NAME), fine_tuned.base_of(base)
    where = night.settings.device if device == "auto" else device
    fingerprint = digest([list(i) for i in night.stamp.inputs])
    params = {"encoder": NAME, "base": base, "base_space": ground.space, "epochs": epochs, "batch": batch, "learning_rate": learning_rate}
    params |= {"max_pairs": max_pairs, "k": k, "seed": seed, "train_nights": train_nights}
    record = f"_training/fine_tune/ds={ds}-{digest([fingerprint, params])[:16]}.json"
    if not force and lake.exists(record):
        say(f"{ds} fine_tune: {lake.read_bytes(record).decode()}")
        return
    nights = night.nights("item_text", train_nights)
    texts = night.read("item_text", train_nights, ["ds", "item_id", "text"]).to_pylist()
    known = {r["item_id"]: r["text"] for r in sorted(texts, key=lambda r: (r["ds"], r["item_id"], r["text"]))}  # the last night's text
    told = night.read("user_text", train_nights, ["ds", "user_key", "kind", "text"]).to_pylist()
    found = finetune.moments(
        [r for r in told if r["kind"] == "behaviour"],
        night.read("user_item_day", train_nights, ["ds", "user_key", "item_id", "n_positive"]).to_pylist(),
        known,
    )
    try:
        train, validation, test = finetune.time_split(found)
    except ValueError as error:
        raise LakeError(f"{error}: build more nights up to {ds}") from error
    items, chosen = sorted(known), validation[:: max(1, len(validation) // VALIDATED)]
    given = finetune.pairs(train, known, max_pairs, seed)
    say(f"{ds} fine_tune: {len(given):,} pairs of {len(train):,} moments, {len(validation):,} to choose by, {len(test):,} to judge by")

    def recall(encode: Callable[[Sequence[str]], np.ndarray], part: list[finetune.Moment]) -> np.ndarray:
        lists = finetune.nearest(encode([m.text for m in part]), encode([known[i] for i in items]), items, part, k)
        return finetune.recalls(lists, items, part, k)

    watch = None if epochs == 1 else lambda encode: float(recall(encode, chosen).mean())
    files = finetune.fit(given, ground, base, seed, where, epochs, batch, learning_rate, watch, say)
    each = [recall(e.encode, test) for e in (encoders.load(base, where), fine_tuned.restore(files, where))]
    before, after, difference, users = finetune.compared(each[0], each[1], test, seed)
    metric: dict[str, Any] = {"metric": "recall", "k": k, "n": users, "baseline": base}
    for name, estimate in (("baseline_value", before), ("value", after), ("diff", difference)):
        metric[name] = round(estimate.value, 6)
        if name != "baseline_value":
            ends = "diff_ci" if name == "diff" else "ci"
            metric |= {f"{ends}_low": round(estimate.low, 6), f"{ends}_high": round(estimate.high, 6)}
    space = fine_tuned.space(files)
    valid_from = (night.ds + dt.timedelta(days=1)).isoformat()
    version = registry.ModelVersion(
        space, kind, nights[0].isoformat(), ds, valid_from, params | {"next_item": metric}, fingerprint, night.stamp.code, space
    )
    version = registry.register(lake, version, files)
    better = difference.low > 0
    told_of = f"recall@{k} of next items {after.value:.4f}, {base} {before.value:.4f}, difference {difference.value:+.4f}"
    told_of += f" [{difference.low:+.4f}, {difference.high:+.4f}] over {users:,} users"
    if better:
        end = end_of(night.ds, night.settings)
        registry.promote(lake, version, end, night.runner.now or end, told_of)
    verdict = "promoted: ENCODER=fine_tuned uses it from the next training on" if better else "not promoted: it is not surely better"
    lake.write_bytes(record, canonical_json({"model_version": space, "promoted": better, "next_item": metric}).encode())
    say(f"{ds} fine_tune: {space}: {told_of}; {verdict}")
