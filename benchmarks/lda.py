"""Time to topics of equal coherence: our LDA models beside gensim, tomotopy and scikit-learn, each at several lengths of training.

`python -m benchmarks lda [--corpus FILE …] [--k 40]` reads files of one document a line, UTF-8; without any it takes
items' texts of the simulator, in two languages. Each corpus is a table. `npmi` is the mean over topics of the normalised
pointwise mutual information of their ten most probable words, in stretches of ten words of the same documents; `td` the share of these
words that are distinct. A way fits anew for each of its lengths; `first` is the longest, and `s to equal` that of the shortest that reaches
the coherence of gensim as most people call it (ten passes).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.topics import read_lines, words_of
from benchmarks.ways import Laps, Run, aim, compare, show
from recsys_core.simulate.vocabulary import TOPICS
from recsys_core.simulate.wording import item_text
from recsys_core.texts import tokenize
from recsys_core.topics import keywords, lda, lda_gibbs, topic_model
from recsys_core.topics.bag import counts, vocabulary
from recsys_core.topics.quality import topic_diversity

WORDS = 10
OURS, GIBBS, GENSIM, MULTICORE = "lda (gensim, our settings)", "lda_gibbs (tomotopy, one worker)", "gensim LdaModel", "gensim LdaMulticore"
TOMOTOPY, ONLINE = "tomotopy, two workers", "scikit-learn, online"
# Passes or sweeps over the documents.
LENGTHS = {
    OURS: [5, lda.PASSES],
    GIBBS: [30, 100, lda_gibbs.SWEEPS],
    GENSIM: [1, 10],
    MULTICORE: [1, 10],
    TOMOTOPY: [30, 100, 400],
    ONLINE: [2, 10],
}
Words = Sequence[Sequence[str]]


def simulated(documents: int, seed: int) -> list[list[str]]:
    """Words of texts of items as the simulator writes them, half English and half Chinese; three in ten are about two topics."""
    rng = np.random.default_rng(seed)
    half, found = len(TOPICS) // 2, []
    for n in range(documents):
        main, second = n % 2 * half + rng.integers(half, size=2)
        text = item_text(TOPICS[main], TOPICS[second] if rng.random() < 0.3 else None, int(rng.integers(2**62)))
        found.append(tokenize(f"{text['title']} {text['description']}", TOPICS[main].lang))
    return found


def fitted(way: str, length: int, words: Words, k: int, seed: int) -> tuple[list[str], np.ndarray]:
    """(vocabulary, weight of each word in each topic) that a way ends with."""
    if way in (OURS, GIBBS):
        lda.PASSES = lda.LEAST_PASSES = lda_gibbs.SWEEPS = lda_gibbs.LEAST_SWEEPS = length
        model: Any = topic_model("lda" if way == OURS else "lda_gibbs").fit(words, k, seed)
        return model.vocabulary, model.lambda_ if way == OURS else model.topics
    known = vocabulary(words)
    place = {word: n for n, word in enumerate(known)}
    if way == TOMOTOPY:
        import tomotopy

        model = tomotopy.LDAModel(k=k, seed=seed)
        for document in words:
            if kept := [w for w in document if w in place]:
                model.add_doc(kept)
        model.train(length, workers=2)
        return list(model.used_vocabs), np.stack([model.get_topic_word_dist(t) for t in range(k)])
    bags = counts(words, place)
    if way == ONLINE:
        from sklearn.decomposition import LatentDirichletAllocation

        model = LatentDirichletAllocation(k, learning_method="online", max_iter=length, n_jobs=2, random_state=seed)
        return known, model.fit(bags).components_
    from gensim.matutils import Sparse2Corpus
    from gensim.models import LdaModel, LdaMulticore

    make: Callable[..., Any] = LdaModel if way == GENSIM else lambda *a, **more: LdaMulticore(*a, workers=2, **more)
    model = make(
        list(Sparse2Corpus(bags, documents_columns=False)),
        num_topics=k,
        passes=length,
        eval_every=None,
        random_state=seed,
        id2word=dict(enumerate(known)),
    )
    return known, model.state.get_lambda()


def judged(found: tuple[list[str], np.ndarray], words: Words) -> tuple[float, float]:
    """(mean NPMI, diversity) of the most probable words."""
    known, weights = found
    best = [[known[n] for n in np.argsort(-row, kind="stable")[:WORDS]] for row in weights]
    return float(np.mean(keywords.npmi(words, best))), topic_diversity(best)


def corpus_of(path: str, documents: int, seed: int) -> Words:
    """Words of a file's lines that have any, or simulated ones without a file."""
    return [w for w in words_of(read_lines(Path(path))) if w] if path else simulated(documents, seed)


@click.command(help=__doc__)
@click.option("--corpus", "corpora", multiple=True, type=click.Path(exists=True, dir_okay=False), help="may be given several times")
@click.option("--documents", default=2_000, show_default=True, help="simulated, without a corpus")
@click.option("--k", default=40, show_default=True)
@click.option("--rounds", default=1, show_default=True, help="processes of each way, in turns")
@click.option("--seed", default=0, show_default=True)
@click.option("--way", help="do this one way, in this process")
def main(corpora: Sequence[str], documents: int, k: int, rounds: int, seed: int, way: str | None) -> None:
    """Print a table a corpus."""
    common = ["--documents", str(documents), "--k", str(k), "--seed", str(seed)]
    for corpus in corpora or [""]:
        if way:
            _one(way, corpus_of(corpus, documents, seed), k, seed)
            continue
        runs = compare("benchmarks.lda", list(LENGTHS), [*common, *(["--corpus", corpus] if corpus else [])], rounds)
        _show(Path(corpus).stem or "simulated items", runs, k)


def _one(way: str, words: Words, k: int, seed: int) -> None:
    laps, trace = Laps(), []
    fitted(way, 1, words[:200], 2, seed)  # what is loaded at the first call is no part of the job
    laps.lap("start")
    npmi, diversity = 0.0, 0.0
    for length in LENGTHS[way]:
        laps.skip()
        found = fitted(way, length, words, k, seed)
        took = laps.lap("first" if length == LENGTHS[way][-1] else "shorter")
        npmi, diversity = judged(found, words)
        trace.append((took, npmi))
    laps.say(json.dumps(trace), npmi=npmi, td=diversity)


def _show(name: str, runs: dict[str, Run], k: int) -> None:
    target = runs[GENSIM].figures["npmi"]
    reached = {way: next((took for took, npmi in json.loads(run.result) if npmi >= target), None) for way, run in runs.items()}
    told = {
        way: replace(run, figures={n: v for n, v in run.figures.items() if n != "shorter"} | ({"s to equal": s} if s is not None else {}))
        for way, run in runs.items()
        for s in [reached[way]]
    }
    note = f"{name}, K = {k}, ten words a topic; passes or sweeps: " + ", ".join(
        f"{w} {', '.join(map(str, n))}" for w, n in LENGTHS.items()
    )
    show(f"lda: {name}", told, [OURS, GIBBS], (), [note], ["gensim", "tomotopy", "scikit-learn"])
    ours = min((s for way in (OURS, GIBBS) if (s := reached[way]) is not None), default=None)
    theirs = min((s for way, s in reached.items() if way not in (OURS, GIBBS) and s is not None), default=None)
    if ours is not None and theirs is not None:
        aim(
            f"LDA on {name}",
            "the coherence of gensim in ten passes as soon as any other",
            f"{ours / theirs:.2f} × the time of the next",
            ours <= theirs,
        )


if __name__ == "__main__":
    main()
