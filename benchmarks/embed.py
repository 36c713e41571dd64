"""Texts a second beside sentence-transformers' default and OpenVINO on the same texts, and how near the vectors are.

`python -m benchmarks embed --texts FILE --out V.npy`: FILE has a text on each line, in UTF-8; row i of V is the vector of line i, an empty
line's too. With `--alone` that is all; else ways are compared on the first texts. Without a file texts are simulated.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.ways import Laps, aim, compare, show
from recsys_core import encoders
from recsys_core.encoders.backends import NAMES

PEER_BATCH = 32
PEER = f"sentence-transformers, float32, batch {PEER_BATCH}"
DEFAULT, FAST, OPENVINO, LSA = "torch, bfloat16 (default)", "int8", "OpenVINO, bfloat16, a stream a core, our batches", "lsa"
GEMM = "matrix products alone, bfloat16"
BACKEND = {DEFAULT: "torch", FAST: "int8", OPENVINO: "openvino"}
# lsa is so fast that it is given every text so many times, with a number behind it.
LSA_COPIES = 20


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, ended by line feeds alone; a ClickException names the place of what is no UTF-8."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise click.ClickException(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from error
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def simulated(n: int) -> list[str]:
    """Texts of words of the simulated shop, about as long as reviews: 42 word pieces in the mean."""
    from recsys_core.simulate.vocabulary import GENERIC_EN

    rng = np.random.default_rng(5)
    sizes = rng.lognormal(3.1, 0.9, n).clip(3, 180).astype(int)
    return [" ".join(rng.choice(GENERIC_EN, size)) + "." for size in sizes]


def _products(texts: list[str]) -> Callable[[], Any]:
    """The matrix products of MiniLM's linear layers for as many tokens as the texts have, and nothing else."""
    import torch

    from recsys_core.encoders import forward, minilm
    from recsys_core.encoders.products import Bfloat16

    encoder = minilm.Encoder("cpu", "torch")
    size, wide = forward.TOKENS_PER_PACK, 4 * encoder.dimensions
    packs = -(-sum(map(len, encoder.tokens(texts))) // size)
    made = Bfloat16(size)
    layer = [
        (torch.ones(size, inputs, dtype=made.dtype), made.linear(torch.ones(outputs, inputs), torch.zeros(outputs)))
        for inputs, outputs in (
            (encoder.dimensions, 3 * encoder.dimensions),
            (encoder.dimensions,) * 2,
            (encoder.dimensions, wide),
            (wide, encoder.dimensions),
        )
    ]

    def pack(_: int) -> None:
        with torch.inference_mode():
            for x, product in 6 * layer:
                product(x)

    def work() -> None:
        with forward.side_by_side("cpu") as pool:
            list(pool.map(pack, range(packs)))

    return work


def _work(way: str, texts: list[str], name: str) -> Callable[[], Any]:
    """What a way does in a call; what comes before belongs to its start."""
    if way == PEER:
        from sentence_transformers import SentenceTransformer

        from recsys_core.encoders.fine_tuned import base_of

        base = base_of(name)
        # It knows no Chinese: it gets the same words, without the time of making them.
        worded = [base.prepare(text) for text in texts] if base.prepare else texts
        peer = SentenceTransformer(str(base.folder), device="cpu")
        return partial(peer.encode, worded, batch_size=PEER_BATCH, show_progress_bar=False, normalize_embeddings=True)
    if way == GEMM:
        return _products(texts)
    if way == LSA:
        fit = encoders.fitter("lsa")
        assert fit is not None
        return partial(encoders.restore("lsa", fit(texts)).encode, [f"{text} {n}" for n in range(LSA_COPIES) for text in texts])
    return partial(encoders.load(name, "cpu", BACKEND[way]).encode, texts)


def _alone(texts: list[str], out: Path, name: str, backend: str, device: str) -> None:
    try:
        encoder = encoders.load(name, device, backend)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error
    start = time.perf_counter()
    vectors = encoder.encode(texts)
    spent = time.perf_counter() - start
    np.save(out, vectors)
    click.echo(f"{name} on {encoder.device}: {len(texts):,} texts in {spent:.1f} s ({len(texts) / spent:,.0f} texts/s)")


@click.command(help=__doc__)
@click.option("--texts", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="left out: simulated ones")
@click.option("--most", type=click.IntRange(1), default=1_500, show_default=True, help="texts that ways are compared on, distinct ones")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="where the vectors of --texts go: .npy, float16")
@click.option("--encoder", "name", default="bilingual", show_default=True)
@click.option("--backend", type=click.Choice(NAMES), default="auto", show_default=True, help="with --alone")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="cpu", show_default=True, help="with --alone")
@click.option("--rounds", type=click.IntRange(1), default=1, show_default=True, help="processes of each way, in turns")
@click.option("--calls", type=click.IntRange(2), default=3, show_default=True, help="calls in a process, the first of which is not warm")
@click.option("--alone", is_flag=True, help="embed the file and no more")
@click.option("--way", hidden=True)
@click.option("--keep", hidden=True, type=click.Path(path_type=Path), help="folder of the ways' vectors")
def main(
    path: Path | None,
    most: int,
    out: Path | None,
    name: str,
    backend: str,
    device: str,
    rounds: int,
    calls: int,
    alone: bool,
    way: str | None,
    keep: Path | None,
) -> None:
    if alone and not (path and out):
        raise click.UsageError("--alone needs --texts and --out")
    if path and out:
        _alone(read_lines(path), out, name, backend, device)
        if alone:
            return
    laps = Laps()
    texts = list(dict.fromkeys(filter(None, read_lines(path))))[:most] if path else simulated(most)
    if way:
        work = _work(way, texts, name)
        laps.lap("start")
        vectors = work()
        laps.lap("first")
        for _ in range(calls - 1):
            work()
            laps.lap("warm")
        if keep and way in (PEER, *BACKEND):
            np.save(keep / f"{[PEER, *BACKEND].index(way)}.npy", vectors)
        laps.say(**{"texts/s": (LSA_COPIES if way == LSA else 1) * len(texts) / laps.of("warm")})
        return
    with tempfile.TemporaryDirectory() as folder:
        given = ["--most", str(most), "--keep", folder, "--encoder", name, "--calls", str(calls), *(["--texts", str(path)] if path else [])]
        floors = [GEMM] if name in ("bilingual", "minilm") else []
        runs = compare("benchmarks.embed", [PEER, *BACKEND, *floors, LSA], given, rounds)
        near, *found = (np.load(Path(folder) / f"{n}.npy").astype(np.float64) for n in range(1 + len(BACKEND)))
    lsa, peer = runs.pop(LSA), runs[PEER]
    cosines = {way: (near * vectors).sum(1) / np.linalg.norm(near, axis=1) for way, vectors in zip(BACKEND, found, strict=True)}
    for way, of_way in cosines.items():
        runs[way].figures["cosine mean"], runs[way].figures["cosine min"] = of_way.mean(), of_way.min()
    kept = [f"cosines are to the vectors of {PEER}", f"lsa, fitted on the texts: {lsa.figures['texts/s']:,.0f} texts/s warm"]
    show(f"{len(texts):,} texts embedded", runs, (DEFAULT, FAST), floors, kept, ("torch", "sentence-transformers", "openvino"))
    for way, times, cosine in ((DEFAULT, 3.5, 0.9999), (FAST, 6.0, 0.995)):
        ratio, mean = peer.best / runs[way].best, cosines[way].mean()
        reached = f"{ratio:.1f} × at {mean:.5f}"
        aim(f"embedding by {way}", f">= {times} × {PEER} at a mean cosine >= {cosine}", reached, ratio >= times and mean >= cosine)
    aim("lsa", ">= 25,000 texts/s", f"{lsa.figures['texts/s']:,.0f}", lsa.figures["texts/s"] >= 25_000)


if __name__ == "__main__":
    main()
