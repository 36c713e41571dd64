"""Texts a second, beside sentence-transformers' default on the same texts in the same run, and how near the vectors are.

`python -m benchmarks embed --texts FILE --out V.npy`: FILE has a text on each line, in UTF-8; row i of V is the vector of line i, an empty
line's too. Both models are loaded first, then take turns; their first turn is told apart from the warm ones, of which the fastest counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

from recsys_core import encoders
from recsys_core.encoders.transformer import BACKENDS, Encoder

PEER_BATCH = 32
GEMM_S = 1.0


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, ended by line feeds alone; a ClickException names the place of what is no UTF-8."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise click.ClickException(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from error
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def floor(peer: Any, texts: list[str]) -> str:
    """What matrix products alone would allow: texts a second, in float32 and in bfloat16, of the model's linear layers."""
    import torch

    weights = sum(layer.weight.numel() for layer in peer[0].modules() if isinstance(layer, torch.nn.Linear))
    lengths = [len(ids) for ids in peer.tokenizer(texts, truncation=True, max_length=peer.max_seq_length)["input_ids"]]
    said = []
    for dtype in (torch.float32, torch.bfloat16):
        a, b = (torch.ones(shape, dtype=dtype, device=peer.device) for shape in ((2_048, 384), (384, 1_536)))
        rounds, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < GEMM_S:
            (a @ b)[0, 0].item()
            rounds += 1
        flops = 2 * 2_048 * 384 * 1_536 * rounds / spent
        said.append(
            f"{str(dtype).removeprefix('torch.')} {flops / (2 * weights * np.mean(lengths)):,.0f} texts/s ({flops / 1e9:,.0f} GFLOP/s)"
        )
    return f"floor, matrix products alone at {np.mean(lengths):.1f} tokens a text: " + ", ".join(said)


@click.command(help=__doc__)
@click.option("--texts", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="where the vectors go: .npy, float16")
@click.option("--encoder", "name", default="bilingual", show_default=True)
@click.option("--backend", type=click.Choice(BACKENDS), default="auto", show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--rounds", type=click.IntRange(2), default=3, show_default=True, help="turns of each, the first of which is not warm")
@click.option("--alone", is_flag=True, help="without sentence-transformers")
def main(path: Path, out: Path, name: str, backend: str, device: str, rounds: int, alone: bool) -> None:
    texts = read_lines(path)
    try:
        load_s, ours = _timed(lambda: encoders.load(name, device, backend))
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error
    assert isinstance(ours, Encoder)
    if alone or not texts:
        spent, vectors = _timed(lambda: ours.encode(texts))
        np.save(out, vectors)
        click.echo(f"{name} on {ours.device}: {len(texts):,} texts in {spent:.1f} s ({len(texts) / spent:,.0f} texts/s)")
        return
    from sentence_transformers import SentenceTransformer

    peer_load_s, peer = _timed(lambda: SentenceTransformer(str(ours.model_dir), device=ours.device))
    worded = [ours.wording(text) for text in texts]  # the peer knows no Chinese: it gets the same words, and not the time of making them
    times: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(rounds):
        spent, vectors = _timed(lambda: ours.encode(texts))
        times["ours"].append(spent)
        spent, theirs = _timed(lambda: peer.encode(worded, batch_size=PEER_BATCH, show_progress_bar=False, normalize_embeddings=True))
        times["peer"].append(spent)
    np.save(out, vectors)
    cosines = (vectors.astype(np.float64) * theirs.astype(np.float64)).sum(1)
    click.echo(f"{len(texts):,} texts ({len(set(texts)):,} distinct) on {ours.device}, {rounds} turns each, texts/s")
    labels = {"ours": f"{name} ({backend})", "peer": f"sentence-transformers, float32, batch {PEER_BATCH}"}
    for who, loaded in (("ours", load_s), ("peer", peer_load_s)):
        first, warm = times[who][0], min(times[who][1:])
        click.echo(f"{labels[who]:42s} load {loaded:5.1f} s  first {len(texts) / first:8,.1f}  warm {len(texts) / warm:8,.1f}")
    first, warm = times["peer"][0] / times["ours"][0], min(times["peer"][1:]) / min(times["ours"][1:])
    click.echo(f"ratio: first {first:.2f}, warm {warm:.2f}")
    same = "the same words" if worded == texts else "the same text in English glosses"
    click.echo(f"cosine to sentence-transformers' float32 of {same}: mean {cosines.mean():.5f}, min {cosines.min():.5f}")
    click.echo(floor(peer, worded))
