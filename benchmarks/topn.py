"""Top-N on public sequences: leave the last item out, rank all items, beside published figures.

`python -m benchmarks.topn --data Beauty.txt [--split valid|test]` reads a user a line (`user item item …` in time order). Parameters are
chosen on `valid` (the last item but one); `test` (the last item, validation item given) is for the final figure.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np

from recsys_core.metrics import bootstrap, hits, ranking_metrics
from recsys_core.rank import ranked
from recsys_core.recommenders import Interactions, Recommender
from recsys_core.recommenders.popularity import Popularity
from recsys_core.recommenders.transitions import Transitions

# R@10 / NDCG@10 on Beauty, full ranking, as published by the named repositories or papers.
PUBLISHED = {
    "Pop (S3-Rec)": (0.0152, 0.0068),
    "SASRec, BCE (S3-Rec)": (0.0605, 0.0318),
    "TIGER (2023)": (0.0648, 0.0384),
    "ActionPiece (2025)": (0.0775, 0.0424),
    "eSASRec (2025)": (0.0928, 0.0523),
    "BARGE (2026)": (0.0927, 0.0547),
}


def read_sequences(path: Path, held_out: int) -> tuple[Interactions, np.ndarray, np.ndarray]:
    """The history without each user's last `held_out` items, the users, and the first item held out of each."""
    sequences = [np.array(line.split()[1:], dtype=str) for line in path.read_text(encoding="utf-8").splitlines()]
    sequences = [s for s in sequences if len(s) > held_out]
    codes = np.unique(np.concatenate(sequences), return_inverse=True)[1]
    lengths = np.array([len(s) for s in sequences])
    user = np.repeat(np.arange(len(sequences)), lengths)
    place = np.arange(len(codes)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    given = place < lengths[user] - held_out
    n, n_items = int(given.sum()), int(codes.max()) + 1
    history = Interactions.of(user[given], codes[given], np.ones(n), np.zeros(n, np.int64), place[given], len(sequences), n_items)
    return history, np.arange(len(sequences)), codes[place == lengths[user] - held_out]


@click.command(help=__doc__)
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True, help="file of sequences")
@click.option("--split", type=click.Choice(["valid", "test"]), default="valid", help="which item is held out")
@click.option("--seed", default=0, help="of the bootstrap")
def main(data: Path, split: str, seed: int) -> None:
    """Print recall and NDCG at 10 with user-bootstrap intervals, and seconds."""
    history, users, target = read_sequences(data, 2 if split == "valid" else 1)
    eligible = np.ones(history.n_items, bool)
    models: dict[str, Recommender] = {
        "popularity": Popularity(),
        "transitions": Transitions(),
        "transitions, direction-blind": Transitions(directed=False),
    }
    click.echo(f"{data.name}, {split}: {len(users):,} users, {history.n_items:,} items")
    for name, model in models.items():
        started = time.perf_counter()
        model.fit(history)
        fitted = time.perf_counter()
        hit = hits(ranked(model, history, users, eligible, 10), users, target)
        done = time.perf_counter()
        found = ranking_metrics(hit, np.ones(len(users), np.int64), 10)
        recall, ndcg = bootstrap(np.column_stack([found["recall"], found["ndcg"]]), seed)
        click.echo(
            f"{name:30} R@10 {recall.value:.4f} [{recall.low:.4f}, {recall.high:.4f}]  "
            f"N@10 {ndcg.value:.4f} [{ndcg.low:.4f}, {ndcg.high:.4f}]  "
            f"fit {fitted - started:.1f} s, lists {done - fitted:.1f} s"
        )
    for name, (r, n) in PUBLISHED.items():
        click.echo(f"{name:30} R@10 {r:.4f}                   N@10 {n:.4f}                   published, test split")


if __name__ == "__main__":
    main()
