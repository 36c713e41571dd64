"""The table of docs/benchmarks.md: every topic model on one labelled corpus, beside published rows and simple baselines of the same run.

`python -m benchmarks topics-table --corpus TSV` reads `text TAB split TAB label` lines. NPMI is gensim's c_npmi over the words between
spaces, of ten words a topic; TD = distinct words / all words of the topics; plain: of words in the order of their c-TF-IDF alone; purity
and NMI compare the strongest topics with the labels; K found counts topics that are some document's strongest. Means over --ks and --seeds,
and purity and NMI once more at --label-k topics. Vectors are made once for each encoder, and their seconds are given apart. CPU s: of fit,
assignment and keywords, over all cores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.topics import Result, embed, read_lines, run, words_of
from recsys_core.topics import TOPIC_MODELS, keywords, topic_model
from recsys_core.topics.quality import topic_diversity

# NPMI and TD on OCTIS BBC_News as published (BERTopic: Grootendorst 2022, table 1).
PUBLISHED = {
    "LDA, gensim": (0.014, 0.577),
    "Top2Vec": (0.171, 0.792),
    "CTM": (0.094, 0.819),
    "BERTopic, all-MiniLM-L6-v2": (0.170, 0.802),
}


@dataclass(frozen=True)
class Run:
    """One fit of a row of the table."""

    row: str
    k: int
    seed: int
    found: Result


def bertopic_like(words: Sequence[Sequence[str]], vectors: np.ndarray, k: int, seed: int) -> Result:
    """scikit-learn's k-means on the vectors and plain c-TF-IDF."""
    from sklearn.cluster import KMeans

    started, cpu = time.perf_counter(), time.process_time()
    first = KMeans(k, random_state=seed).fit_predict(vectors)
    found = keywords.keywords(words, np.eye(k)[first], coherent=False)
    return Result(found, found, first, 0.0, time.perf_counter() - started, time.process_time() - cpu)


def scikit_nmf(words: Sequence[Sequence[str]], _: np.ndarray, k: int, seed: int) -> Result:
    """scikit-learn's NMF on sublinear TF-IDF, and the heaviest words of its topics."""
    from sklearn.decomposition import NMF
    from sklearn.feature_extraction.text import TfidfVectorizer

    started, cpu = time.perf_counter(), time.process_time()
    vectorizer = TfidfVectorizer(analyzer=lambda document: document, sublinear_tf=True, min_df=2)
    model = NMF(k, init="nndsvd", random_state=seed)
    first = model.fit_transform(vectorizer.fit_transform(words)).argmax(axis=1)
    names = vectorizer.get_feature_names_out()
    found = [names[np.argsort(-row)[:10]].tolist() for row in model.components_]
    return Result(found, found, first, 0.0, time.perf_counter() - started, time.process_time() - cpu)


def purity(first: np.ndarray, labels: np.ndarray) -> float:
    """Share of documents whose label is the most frequent one of their topic."""
    counted = np.zeros((first.max() + 1, labels.max() + 1))
    np.add.at(counted, (first, labels), 1)
    return float(counted.max(axis=1).sum() / len(labels))


@click.command(help=__doc__)
@click.option("--corpus", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--ks", default="10,20,30,40,50", show_default=True)
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--label-k", type=click.IntRange(1), default=5, show_default=True)
@click.option("--models", default=",".join(TOPIC_MODELS), show_default=True)
@click.option("--encoders", "names", default="minilm,lsa", show_default=True, help="for models on vectors")
@click.option("--baselines/--no-baselines", default=True)
def main(corpus: Path, ks: str, seeds: int, label_k: int, models: str, names: str, baselines: bool) -> None:
    """Print the table."""
    from gensim.corpora import Dictionary
    from gensim.models import CoherenceModel
    from sklearn.metrics import normalized_mutual_info_score

    texts, _, labels = (np.array(column) for column in zip(*(line.split("\t") for line in read_lines(corpus)), strict=True))
    truth, words = np.unique(labels, return_inverse=True)[1], words_of(texts.tolist())
    vectors = {}
    for name in names.split(","):
        started = time.perf_counter()
        vectors[name] = embed(texts.tolist(), name, corpus)
        click.echo(f"{name}: {len(texts):,} documents embedded in {time.perf_counter() - started:.1f} s")
    last = vectors[names.split(",")[-1]]
    rows: dict[str, Callable[[int, int], Result]] = {}
    for method in models.split(","):
        if topic_model(method).documents == "vectors":
            rows |= {f"{method} on {name}": lambda k, s, m=method, v=v: run(m, words, v, k, s) for name, v in vectors.items()}  # type: ignore[misc]
        else:
            rows[method] = lambda k, s, m=method: run(m, words, last, k, s)  # type: ignore[misc]
    if baselines:
        rows |= {
            f"scikit-learn k-means on {n}, plain c-TF-IDF": lambda k, s, v=v: bertopic_like(words, v, k, s)  # type: ignore[misc]
            for n, v in vectors.items()
        }
        rows["scikit-learn NMF, its words"] = lambda k, s: scikit_nmf(words, last, k, s)
    numbers = [int(k) for k in ks.split(",")]
    runs: list[Run] = []
    for row, fit in rows.items():
        for k in [label_k, *(k for k in numbers if k != label_k)]:
            runs += [Run(row, k, seed, fit(k, seed)) for seed in range(seeds)]
            click.echo(f"{row}, K = {k}: {np.mean([r.found.cpu_seconds for r in runs[-seeds:]]):.1f} CPU s a fit", err=True)
    documents = [text.split() for text in texts.tolist()]

    def coherence(topics: list[list[list[str]]]) -> list[float]:
        flat: list[Any] = [topic for part in topics for topic in part]
        model = CoherenceModel(topics=flat, texts=documents, dictionary=Dictionary(documents), coherence="c_npmi", topn=10, processes=1)
        found = iter(model.get_coherence_per_topic())
        return [float(np.mean([next(found) for _ in part])) for part in topics]

    scores = iter(coherence([part for r in runs for part in (r.found.topics, r.found.plain)]))
    npmi = {id(r): (next(scores), next(scores)) for r in runs}
    click.echo(f"\n| model | NPMI | TD | plain NPMI | plain TD | purity | NMI | purity, K = {label_k} | NMI | K found | CPU s | outliers |")
    click.echo("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        own = [r for r in runs if r.row == row and r.k in numbers]
        few = [r for r in runs if r.row == row and r.k == label_k]
        cells = [
            np.mean([npmi[id(r)][0] for r in own]),
            np.mean([topic_diversity(r.found.topics) for r in own]),
            np.mean([npmi[id(r)][1] for r in own]),
            np.mean([topic_diversity(r.found.plain) for r in own]),
        ]
        for part in (own, few):
            cells.append(np.mean([purity(r.found.first, truth) for r in part]))
            cells.append(np.mean([normalized_mutual_info_score(truth, r.found.first) for r in part]))
        found = np.mean([len(np.unique(r.found.first)) for r in own])
        seconds, outliers = np.mean([r.found.cpu_seconds for r in own]), np.mean([r.found.outlier_share for r in own])
        click.echo(f"| {row} | {' | '.join(f'{c:.3f}' for c in cells)} | {found:.1f} | {seconds:.1f} | {outliers:.3f} |")
    for row, (value, diversity) in PUBLISHED.items():
        click.echo(f"| {row} (published) | {value:.3f} | {diversity:.3f} | | | | | | | | | |")


if __name__ == "__main__":
    main()
