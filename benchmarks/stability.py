"""Monthly retrains on dated reviews: how many documents keep a topic id that means the same, with and without warm start and matching.

`python -m benchmarks stability --data DIR` reads `events.csv.gz` and `items.jsonl.gz` of the Steam reviews. Each month a version is trained
on the reviews of the last nights, as in production. A topic id keeps its meaning when it is there in both months, each month's medoid has
that id under the other month's model too, and half of the ten keywords are the same. The figure is the share of the month's documents
whose topic is such a one; those of a new topic count against it.
"""

from __future__ import annotations

import calendar
import csv
import datetime as dt
import gzip
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import click
import numpy as np

from recsys_core import encoders, registry
from recsys_core.generate import Templates
from recsys_core.generate.labels import topic_labels
from recsys_core.lake import Lake
from recsys_core.texts import MIN_REVIEW_WORDS, MODEL_CHARS, count_words, language, normalise, text_hash, tokenize
from recsys_core.topics import tables, training
from recsys_core.topics.corpus import Corpus
from recsys_core.topics.lineage import kept_share, sentences

MIN_OVERLAP = 0.5


@dataclass(frozen=True)
class Review:
    """A distinct review text with the day, user and game it was first written by and for."""

    day: dt.date
    user: str
    item: str
    text: str
    hash: str


@dataclass(frozen=True)
class Month:
    """A month's fit: topic id → words, medoid (a place in the corpus) and label; and topic ids of any corpus under its model."""

    corpus: Corpus
    words: dict[int, list[str]]
    medoids: dict[int, int]
    assign: Callable[[Corpus], np.ndarray]
    measured: dict[str, float]
    version: registry.ModelVersion


def read_reviews(data: Path) -> list[Review]:
    """The reviews with words enough to say something, oldest first."""
    found: dict[str, Review] = {}
    with gzip.open(data / "events.csv.gz", "rt", encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            text = normalise(row["review"] or "")[:MODEL_CHARS]
            if count_words(text) >= MIN_REVIEW_WORDS:
                day, digest = dt.date.fromisoformat(row["event_date"]), text_hash(text)
                if digest not in found or day < found[digest].day:
                    found[digest] = Review(day, row["user_id"], row["item_id"], text, digest)
    return sorted(found.values(), key=lambda r: (r.day, r.hash))


def vectors_of(reviews: Sequence[Review], encoder: str, path: Path | None) -> dict[str, np.ndarray]:
    """hash → vector; the file at `path` is read first, and written when something was missing."""
    space, held = encoders.space_of(encoder), {}
    if path and path.is_file():
        with np.load(path) as stored:
            if str(stored["space"]) == space:
                held = dict(zip(stored["hashes"].tolist(), stored["vectors"], strict=True))
    missing = [r for r in reviews if r.hash not in held]
    if missing:
        encoded = encoders.load(encoder).encode([r.text for r in missing], click.echo)
        held |= {r.hash: v for r, v in zip(missing, encoded, strict=True)}
        if path:
            np.savez(path, space=space, hashes=np.array(list(held)), vectors=np.stack(list(held.values())))
    return held


def month_ends(last: dt.date, months: int) -> list[dt.date]:
    """The last days of so many months, up to that of `last`."""
    firsts = [(last.year * 12 + last.month - 1 - n) for n in reversed(range(months))]
    return [dt.date(m // 12, m % 12 + 1, calendar.monthrange(m // 12, m % 12 + 1)[1]) for m in firsts]


def corpus_of(reviews: Sequence[Review], end: dt.date, nights: int, most: int, vectors: dict[str, np.ndarray]) -> Corpus:
    """Reviews of the nights up to `end` as a training corpus; of too many those with the lowest hashes."""
    chosen = sorted((r for r in reviews if end - dt.timedelta(days=nights) < r.day <= end), key=lambda r: r.hash)[:most]
    codes = {u: n for n, u in enumerate(sorted({r.user for r in chosen}))}
    users: dict[str, list[int]] = {}
    for r in chosen:
        users.setdefault(r.item, []).append(codes[r.user])
    held = np.stack([vectors[r.hash] for r in chosen]).astype(np.float32)
    return Corpus(
        hashes=[r.hash for r in chosen],
        texts=[r.text for r in chosen],
        items=[[r.item] for r in chosen],
        vectors=held / np.linalg.norm(held, axis=1, keepdims=True),
        words=[tokenize(r.text, language(r.text)) for r in chosen],
        reviews=[],
        users={item: np.unique(found) for item, found in users.items()},
    )


def fit(lake: Lake, data: Corpus, end: dt.date, method: str, k: int, seed: int, space: str, matched: bool, warm: bool) -> Month:
    """A version trained up to `end` and promoted; unmatched, its ids are the topics' places by size."""
    follows = tables.version_before(lake, tables.CHAMPIONS, end) if matched else None
    name, valid = f"topics-{end}", (end + dt.timedelta(days=1)).isoformat()
    proto = registry.ModelVersion(name, "", end.isoformat(), end.isoformat(), valid, {"k": k}, "", "", space)
    task = training.Task(name, method, k, seed, end, space, lambda t: topic_labels(t, Templates(), None, click.echo), warm=warm)
    (version,) = training.fit_versions(lake, data, {method: name}, proto, task, {method: follows})
    registry.promote(lake, version, dt.datetime.combine(end, dt.time(23), dt.UTC), dt.datetime.combine(end, dt.time(23), dt.UTC))
    topics, rows = tables.load_topics(lake, version), tables.read_rows(lake, version, "topic").to_pylist()

    def first(of: Corpus) -> np.ndarray:
        found: np.ndarray = topics.model.weights(tables.documents_of(topics.model, of.vectors, of.words)).argmax(axis=1)
        return found

    own, weights = first(data), topics.model.weights(tables.documents_of(topics.model, data.vectors, data.words))
    place = np.argsort(np.argsort(-np.bincount(own, minlength=len(topics.ids)), kind="stable")) + 1
    ids = topics.ids if matched else place
    words = {r["topic_id"]: json.loads(r["keywords"]) for r in rows}
    typical = {n: data.typical(weights[:, n], np.flatnonzero(own == n)) for n in range(len(ids))}
    return Month(
        data,
        {int(ids[n]): words[int(i)] for n, i in enumerate(topics.ids)},
        {int(ids[n]): int(found[0]) for n, found in typical.items() if len(found)},
        lambda of: ids[first(of)],
        version.params["measured"]["metrics"],
        version,
    )


def meaning_kept(before: Month, now: Month) -> tuple[float, float, float]:
    """(share of documents whose topic id keeps its meaning, share that keep their id, mean keyword overlap of the ids in both)."""
    ids, under_old = now.assign(now.corpus), before.assign(now.corpus)
    under_new = now.assign(before.corpus)
    shared = sorted(now.medoids.keys() & before.medoids.keys())
    overlap = {i: len(set(now.words[i]) & set(before.words[i])) / max(len(now.words[i]), 1) for i in shared}
    kept = [i for i in shared if overlap[i] >= MIN_OVERLAP and under_old[now.medoids[i]] == i and under_new[before.medoids[i]] == i]
    return float(np.isin(ids, kept).mean()), kept_share(ids, under_old)[0], float(np.mean(list(overlap.values())))


@click.command(help=__doc__)
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, help="folder of the Steam reviews")
@click.option("--months", type=click.IntRange(2), default=12, show_default=True, help="retrains")
@click.option("--last", default="2016-08", show_default=True, help="the last month")
@click.option("--nights", type=click.IntRange(1), default=365, show_default=True, help="nights that a version is trained on")
@click.option("--documents", type=click.IntRange(10), default=8_000, show_default=True, help="reviews of a version at most")
@click.option("--method", default="kmeans", show_default=True, help="topic model")
@click.option("--k", type=click.IntRange(2), help="topics [default by the criterion of the first month, from 20]")
@click.option("--encoder", default="minilm", show_default=True, help="text encoder")
@click.option("--vectors", type=click.Path(dir_okay=False, path_type=Path), help="file that keeps the vectors for the next run")
@click.option("--seed", default=0, show_default=True, help="of the fits")
def main(
    data: Path,
    months: int,
    last: str,
    nights: int,
    documents: int,
    method: str,
    k: int | None,
    encoder: str,
    vectors: Path | None,
    seed: int,
) -> None:
    """Print a table by arm, then the lineage in words."""
    reviews = read_reviews(data)
    ends = month_ends(dt.date.fromisoformat(f"{last}-01"), months)
    reviews = [r for r in reviews if ends[0] - dt.timedelta(days=nights) < r.day <= ends[-1]]
    held, space = vectors_of(reviews, encoder, vectors), encoders.space_of(encoder)
    corpora = [corpus_of(reviews, end, nights, documents, held) for end in ends]
    k = k or training.number_of_topics(corpora[0], method, 20, 100, seed)[0]
    sizes = [len(c.hashes) for c in corpora]
    click.echo(
        f"{len(reviews):,} reviews, {months} months to {last}, {min(sizes):,}–{max(sizes):,} documents a version, {method}, {k} topics"
    )
    click.echo("arm | ids that mean the same, mean | least | documents that keep their id | keyword overlap | NPMI | topics born | ended")
    arms = {"warm start and matching": (True, True), "matching alone": (True, False), "independent fits": (False, False)}
    for arm, (matched, warm) in arms.items():
        with tempfile.TemporaryDirectory() as folder:
            lake = Lake(folder)
            fitted = [fit(lake, c, end, method, k, seed, space, matched, warm) for c, end in zip(corpora, ends, strict=True)]
            found = np.array([meaning_kept(*pair) for pair in pairwise(fitted)])
            lineage = [tables.read_rows(lake, m.version, "topic_lineage").to_pylist() for m in fitted]
            named = [{i: en for i, (en, _) in tables.labels(lake, m.version).items()} for m in fitted]
        born = sum(r["relation"] in ("birth", "split") for rows in lineage[1:] for r in rows) if matched else "–"
        ended = sum(r["relation"] in ("death", "merge") for rows in lineage[1:] for r in rows) if matched else "–"
        npmi = np.mean([m.measured["npmi"] for m in fitted])
        kept, same, overlap = found.mean(axis=0)
        click.echo(f"{arm} | {kept:.3f} | {found[:, 0].min():.3f} | {same:.3f} | {overlap:.3f} | {npmi:.3f} | {born} | {ended}")
        if matched and warm:
            told = [sentences(rows, named[n + 1], named[n]) for n, rows in enumerate(lineage[1:])]
    for end, lines in zip(ends[1:], told, strict=True):
        click.echo(f"\n{end:%Y-%m}")
        for line in lines:
            click.echo(f"  {line}")


if __name__ == "__main__":
    main()
