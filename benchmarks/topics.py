"""Topics of any text file: `python -m benchmarks topics --corpus FILE --model NAME --k K --seed S --out OUT.json`.

FILE holds one document a line, UTF-8. OUT.json gets

    topics             K lists of 10 words, best first (fewer only if the whole file has fewer words)
    doc_topic          the strongest topic of each line, counted from 0; a line without text goes with the largest topic
    k                  number of topics, lower than asked for where the file has fewer distinct texts
    seconds            embedding, fit, assignment and keywords together
    embedding_seconds  the part of the encoder, its start included; 0 for models on words
    empty_lines, outlier_share, npmi, topic_diversity, plain_npmi, plain_topic_diversity
                       for the reader; plain: of the words in the order of their c-TF-IDF alone

A file of words that are told apart by spaces already is taken as it is, so that all words of the topics are words of the file.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from recsys_core import encoders
from recsys_core.stop_words import STOP_WORDS
from recsys_core.texts import MODEL_CHARS, language, normalise, tokenize
from recsys_core.topics import TOPIC_MODELS, keywords, topic_model
from recsys_core.topics.number import number_of_topics
from recsys_core.topics.quality import outlier_floor, own_cosines, topic_diversity

K_MIN, K_MAX = 2, 200
# Shares of lines that look like words told apart by spaces; of Chinese, the mean length of what stands between spaces, in characters.
TOKENISED, HAN_WORD = 0.99, 3.0
_TOKENS = re.compile(r"[^\W_]+(?:['’_-]+[^\W_]+)*(?: [^\W_]+(?:['’_-]+[^\W_]+)*)*")
_HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff]")
_HAN_RUN = re.compile("[\u3400-\u9fff\uf900-\ufaff]+")


@dataclass(frozen=True)
class Result:
    """What one run found: keywords, the plain ones beside, each document's first topic; seconds by the clock and of all cores."""

    topics: list[list[str]]
    plain: list[list[str]]
    first: np.ndarray
    outlier_share: float
    seconds: float
    cpu_seconds: float


def read_lines(path: Path) -> list[str]:
    """The lines without their ends, a byte-order mark left out; ClickException, with file and line, for what is not UTF-8 or no text."""
    raw = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    lines = []
    for n, line in enumerate(raw[:-1] if not raw[-1] else raw, 1):
        try:
            lines.append(line.removesuffix(b"\r").decode())
        except UnicodeDecodeError as error:
            found = f"byte 0x{line[error.start]:02x} at place {error.start + 1}"
            raise click.ClickException(f"{path}, line {n}: {found} is no UTF-8: save the file as UTF-8") from None
    if not any(line.strip() for line in lines):
        raise click.ClickException(f"{path}: none of its {len(lines)} lines holds text: give a file with one document a line")
    return lines


def is_tokenised(lines: Sequence[str]) -> bool:
    """Whether lines are lower-case words with single spaces between them already, Chinese ones segmented."""
    filled = [line for line in lines if line.strip()]
    plain = sum(line == line.lower() and " " in line and _TOKENS.fullmatch(line.strip()) is not None for line in filled)
    runs = [len(run) for line in filled for run in _HAN_RUN.findall(line)]
    return plain >= TOKENISED * sum(" " in line.strip() for line in filled) > 0 and (not runs or sum(runs) / len(runs) <= HAN_WORD)


def words_of(lines: Sequence[str]) -> list[list[str]]:
    """Words of each line, without stop words, numbers and single characters; all that stands between spaces if no line has others."""
    if is_tokenised(lines):
        found = [[w for w in line.split() if len(w) > 1 and not w.isdecimal() and w not in STOP_WORDS] for line in lines]
    else:
        # Only Han characters are cut into words by language.
        found = [tokenize(line, language(line) if _HAN.search(line) else "en") for line in lines]
    return found if any(found) else [line.split() for line in lines]


def embed(lines: Sequence[str], encoder: str, source: Path) -> np.ndarray:
    """Unit vectors of the lines, float32; an encoder that is fitted is fitted on them. ClickException where that is impossible."""
    texts = [normalise(line)[:MODEL_CHARS] for line in lines]
    try:
        if encoder not in encoders.FITTED:
            return encoders.load(encoder).encode(texts).astype(np.float32)
        if fit := encoders.fitter(encoder):
            return encoders.restore(encoder, fit(texts)).encode(texts).astype(np.float32)
    except (RuntimeError, ValueError) as error:
        raise click.ClickException(f"{source}: {error}") from None
    raise click.ClickException(f"the encoder {encoder} is not fitted on texts alone: choose another")


def run(method: str, words: Sequence[Sequence[str]], vectors: np.ndarray | None, k: int, seed: int) -> Result:
    """One model on documents that are not empty; `vectors` are needed by models on vectors, and for the outlier share."""
    cls = topic_model(method)
    started, cpu = time.perf_counter(), time.process_time()
    documents = vectors if cls.documents == "vectors" else words
    model = cls.fit(documents, k, seed)
    weights = model.weights(documents)
    found = keywords.keywords(words, weights)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    first, outliers = weights.argmax(axis=1), 0.0
    if vectors is not None:
        member = np.eye(k)[first]
        centroids = np.where(member.sum(axis=0)[:, None] > 0, member.T @ vectors, 1.0)
        cosines = own_cosines(vectors, first, centroids)
        outliers = float((cosines < outlier_floor(cosines)).mean())
    return Result(found, keywords.keywords(words, weights, coherent=False), first, outliers, seconds, cpu)


@click.command(help=__doc__)
@click.option("--corpus", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True, help="one document a line, UTF-8")
@click.option("--model", "method", type=click.Choice(sorted(TOPIC_MODELS)), default="kmeans", show_default=True)
@click.option("--k", type=click.IntRange(1), help="number of topics; without it, the best by the model's criterion")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--encoder", default="bilingual", show_default=True, help="of models on vectors")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="JSON file to write")
def main(corpus: Path, method: str, k: int | None, seed: int, encoder: str, out: Path) -> None:
    """Write topics of a text file."""
    lines = read_lines(corpus)
    words = words_of(lines)
    on_words = topic_model(method).documents == "tokens"
    filled = [n for n, line in enumerate(lines) if (words[n] if on_words else line.strip())]
    kept = [words[n] for n in filled]
    started = time.perf_counter()
    vectors = None if on_words else embed([lines[n] for n in filled], encoder, corpus)
    embedding = time.perf_counter() - started
    distinct = len({tuple(w) for w in kept} if vectors is None else np.unique(vectors, axis=0))
    started = time.perf_counter()
    if k is None:
        k = number_of_topics(method, kept if on_words else vectors, K_MIN, K_MAX, seed)[0]
    chosen = time.perf_counter() - started
    found = run(method, kept, vectors, min(k, distinct), seed)
    doc_topic = np.full(len(lines), int(np.bincount(found.first).argmax()))
    doc_topic[filled] = found.first
    common = [word for word, _ in sorted(Counter(w for line in words for w in set(line)).items(), key=lambda item: (-item[1], item[0]))]
    topics = [[*topic, *(w for w in common[: 2 * keywords.N_KEYWORDS] if w not in topic)][: keywords.N_KEYWORDS] for topic in found.topics]
    result = {
        "topics": topics,
        "doc_topic": doc_topic.tolist(),
        "k": len(topics),
        "seconds": round(embedding + chosen + found.seconds, 3),
        "embedding_seconds": round(embedding if not on_words else 0.0, 3),
        "empty_lines": len(lines) - len(filled),
        "outlier_share": round(found.outlier_share, 6),
        "npmi": round(float(np.mean(keywords.npmi(kept, found.topics))), 6),
        "topic_diversity": round(topic_diversity(found.topics), 6),
        "plain_npmi": round(float(np.mean(keywords.npmi(kept, found.plain))), 6),
        "plain_topic_diversity": round(topic_diversity(found.plain), 6),
    }
    out.write_text(json.dumps(result, ensure_ascii=False) + "\n", encoding="utf-8")
    click.echo(f"{len(lines):,} lines, {result['k']} topics by {method} in {result['seconds']} s: {out}")


if __name__ == "__main__":
    main()
