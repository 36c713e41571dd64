"""Recall of next items, by what the numbers of an encoder are rounded to, and by an adapter trained on what users did before.

`python -m benchmarks recall-by-precision --data DIR` reads `events.csv.gz` and `items.jsonl.gz` of the Steam reviews. A user's text names
the games of the last three days with reviews; what is looked for is the games recommended next, by cosine among all games with reviews that
the user had not reviewed. Differences are paired over users, with 95 % intervals; `kept` is the share of the first k games of float32.
"""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np

from recsys_core import encoders, finetune
from recsys_core.encoders import fine_tuned
from recsys_core.encoders.transformer import Encoder
from recsys_core.finetune import Moment
from recsys_core.texts import compose_item, describe_behaviour

Vectors = Callable[[Sequence[str]], np.ndarray]


def read(folder: Path) -> tuple[list[Moment], dict[str, str]]:
    """(moments, game → text) of the games with reviews."""
    with gzip.open(folder / "events.csv.gz", "rt", encoding="utf-8", newline="") as file:
        events = list(csv.DictReader(file))
    reviewed = {e["item_id"] for e in events}
    titles, known = {}, {}
    with gzip.open(folder / "items.jsonl.gz", "rt", encoding="utf-8") as file:
        for item in map(json.loads, file):
            name, (text, _) = str(item["item_id"]), compose_item(item["title"], None, item["tags"])
            if name in reviewed and text:
                titles[name], known[name] = item["title"] or name, text
    days: dict[tuple[str, dt.date], list[tuple[str, bool]]] = defaultdict(list)
    for e in events:
        if e["item_id"] in known:
            days[e["user_id"], dt.date.fromisoformat(e["event_date"])].append((e["item_id"], e["event_type"] == "review_recommend"))
    told, done = [], []
    for (user, ds), acts in days.items():
        text = describe_behaviour([(1.0 if good else -1.0, "review", titles[item]) for item, good in acts], "en")
        told.append({"user_key": user, "ds": ds, "text": text})
        done += [{"user_key": user, "ds": ds, "item_id": item, "n_positive": int(good)} for item, good in acts]
    return finetune.moments(told, done, known), known


def as_int8(vectors: np.ndarray) -> np.ndarray:
    """Each dimension in 255 equal steps of its largest value."""
    step = np.abs(vectors).max(axis=0) / 127
    return np.rint(vectors / step).clip(-127, 127) * step


def as_bfloat16(vectors: np.ndarray) -> np.ndarray:
    """The upper half of each float32, rounded."""
    bits = np.ascontiguousarray(vectors, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


ROUNDED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "float16 vectors": lambda v: v.astype(np.float16).astype(np.float32),
    "bfloat16 vectors": as_bfloat16,
    "int8 vectors": as_int8,
    "1 bit a dimension": np.sign,
}


def exact(folder: Path) -> Vectors:
    """sentence-transformers in float32 on this machine's CPU."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    return lambda texts: np.asarray(model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False), np.float32)


@click.command(help=__doc__)
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, help="folder of the Steam reviews")
@click.option("--backend", multiple=True, help="further backends of the encoder beside torch: openvino, onnx")
@click.option("--moments", "most", type=click.IntRange(10), default=1_500, show_default=True, help="moments to judge by, the last ones")
@click.option("--k", type=click.IntRange(1), default=10, show_default=True, help="length of the lists")
@click.option("--pairs", type=click.IntRange(0), default=0, show_default=True, help="pairs to train an adapter on; 0 for none")
@click.option("--epochs", type=click.IntRange(1), default=2, show_default=True, help="passes over them")
@click.option("--seed", type=int, default=0, show_default=True)
def main(data: Path, backend: tuple[str, ...], most: int, k: int, pairs: int, epochs: int, seed: int) -> None:
    """Print the tables."""
    moments, known = read(data)
    train, validation, test = finetune.time_split(moments)
    test, items = test[-most:], sorted(known)
    asked, catalogue = [m.text for m in test], [known[i] for i in items]
    click.echo(f"{len(moments):,} moments; {len(test):,} of {len({m.user for m in test}):,} users, {len(items):,} games")

    def line(name: str, base: np.ndarray, other: np.ndarray, kept: float | None) -> None:
        first, second, difference, _ = finetune.compared(base, other, test, seed)
        told = "" if kept is None else f"  kept {kept:.4f}"
        ends = f"[{difference.low:+.4f}, {difference.high:+.4f}]"
        click.echo(f"{name:28} recall@{k} {second.value:.4f}  beside {first.value:.4f}: {difference.value:+.5f} {ends}{told}")

    def judged(queries: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        lists = finetune.nearest(queries, vectors, items, test, k)
        return lists, finetune.recalls(lists, items, test, k)

    base = fine_tuned.base_of("minilm")
    vectors_of = exact(base.folder)
    queries, vectors = vectors_of(asked), vectors_of(catalogue)
    lists, whole = judged(queries, vectors)

    def beside(name: str, other: tuple[np.ndarray, np.ndarray]) -> None:
        found, recall = judged(*other)
        same = np.mean([len(set(a[a >= 0]) & set(b[b >= 0])) / max(int((a >= 0).sum()), 1) for a, b in zip(lists, found, strict=True)])
        line(name, whole, recall, float(same))

    for name, rounded in ROUNDED.items():
        beside(name, (rounded(queries), rounded(vectors)))
    for name in ("torch", *backend):
        made = Encoder(base.folder, base.recipe, "cpu", name)
        beside(f"encoder by {name}", (made.encode(asked), made.encode(catalogue)))
    if pairs:
        given = finetune.pairs(train, known, pairs, seed)
        chosen = validation[:: max(1, len(validation) // 300)]

        def watch(encode: Vectors) -> float:
            found = finetune.nearest(encode([m.text for m in chosen]), encode(catalogue), items, chosen, k)
            return float(finetune.recalls(found, items, chosen, k).mean())

        files = finetune.fit(given, base, "minilm", seed, "cpu", epochs, 32, watch=watch, say=click.echo)
        plain, tuned = encoders.load("minilm", "cpu"), fine_tuned.restore(files, "cpu")
        before, after = (judged(e.encode(asked), e.encode(catalogue))[1] for e in (plain, tuned))
        line(f"adapter, {len(given):,} pairs", before, after, None)


if __name__ == "__main__":
    main()
