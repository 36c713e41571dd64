"""Tables of top-N figures by published protocols, beside peers re-run and published rows.

`python -m benchmarks topn-table --data DIR [--only beauty,ml-100k]` reads `Beauty.txt` (sequences: each user's last item is the test, all
before it is given) and `ml-100k.inter` (a quarter of each item's ratings, drawn with numpy's seed 42 in file order, is the test). All items
are ranked, those met are left out, means are over users, with 95 % intervals by resampling users. Everything of our rows and of the peers
re-run is chosen by a validation cut inside what is given: the last item but one, or a random quarter of each item's rows. Seconds, those
of the budget, too, are CPU time, which other work on the machine leaves as it is.

`auto` is what `python -m benchmarks topn` chooses; single models have their best parameter set of that validation, --slow adds those for
which the budget is too small. A peer is the package itself, with the best of a few settings on the same validation; --rectools names the
Python of an environment that has RecTools, which cannot share ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.interactions import Log, read_interactions, read_sequences
from benchmarks.topn import candidates
from benchmarks.topn_peers import peers, rectools, tuned
from recsys_core.metrics import Estimate, bootstrap
from recsys_core.recommenders.base import Floats
from recsys_core.recommenders.holdout import SHARE, Cut, K, cut, lists, measured, stratified
from recsys_core.recommenders.selection import Selection, Trial, built, choose, sets

PEER_USERS = 3_000  # validation users that choose a peer's setting


@dataclass(frozen=True)
class Protocol:
    """A data set, how it is cut, what is shown of it, and what others have published for that.

    read        the log of a folder's file
    split       the test: what is known, and what is to be found
    validation  the cut inside what is known
    metrics     name of a metric → heading
    published   row → figures in the order of `metrics`, None where not stated
    """

    file: str
    read: Callable[[Path], Log]
    split: Callable[[Log], Cut]
    validation: str
    metrics: Mapping[str, str]
    published: Mapping[str, Sequence[float | None]]


@dataclass(frozen=True)
class Row:
    """One line of the table: metrics of each test user; CPU seconds of fitting and of making the lists."""

    name: str
    values: Floats
    fit: float
    recommend: float


def last_items(log: Log) -> Cut:
    """Each user's last item is to be found."""
    return cut(log.history(), "last", 0, 0)


def quarter_by_item(log: Log) -> Cut:
    """The split of the Recommenders benchmark: one draw a row in the order of the file, a quarter of each item's rows is to be found."""
    given = stratified(log.item, np.random.RandomState(42).random_sample(len(log.item)), 0.75)
    pair = np.unique(log.user[~given] * len(log.items) + log.item[~given])
    pair = pair[np.isin(pair // len(log.items), log.user[given])]
    users, row = np.unique(pair // len(log.items), return_inverse=True)
    return Cut(log.history(given), users, row, pair % len(log.items))


PROTOCOLS = {
    "beauty": Protocol(
        "Beauty.txt",
        read_sequences,
        last_items,
        "last",
        {"recall": "R@10", "ndcg": "NDCG@10"},
        {
            "Pop (S3-Rec's repository)": (0.0152, 0.0068),
            "SASRec, BCE loss (same)": (0.0605, 0.0318),
            "S3-Rec (2020)": (0.0647, 0.0327),
            "TIGER (2023)": (0.0648, 0.0384),
            "ActionPiece (2025)": (0.0775, 0.0424),
            "FuXi-α (eSASRec's repository)": (0.0809, 0.0451),
            "SASRec, sampled softmax (same)": (0.0921, 0.0531),
            "eSASRec (2025)": (0.0928, 0.0523),
            "BARGE (2026)": (0.0927, 0.0547),
        },
    ),
    "ml-100k": Protocol(
        "ml-100k.inter",
        read_interactions,
        quarter_by_item,
        "random",
        {"map_by_relevant": "MAP", "ndcg": "nDCG@10", "precision": "P@10", "recall": "R@10"},
        {
            "SAR (Recommenders' table)": (0.114, 0.394, 0.341, 0.185),
            "NCF (same)": (0.108, 0.396, 0.347, 0.181),
            "LightGCN (same)": (0.121, 0.416, 0.380, 0.196),
            "BPR (same)": (0.133, 0.442, 0.388, 0.213),
            "BiVAE (same, their best)": (0.146, 0.475, 0.412, 0.219),
        },
    ),
}


def row(name: str, source: Any, test: Cut, protocol: Protocol) -> Row:
    """Fit on what is known, make lists, compare."""
    begun = time.process_time()
    source.fit(test.known)
    fitted = time.process_time()
    items, _ = lists(source, test.known, test.users, K)
    done = time.process_time()
    found = measured(items, test)
    click.echo(f"  {name}: {', '.join(f'{found[m].mean():.4f}' for m in protocol.metrics)}", err=True)
    return Row(name, np.column_stack([found[m] for m in protocol.metrics]), fitted - begun, done - fitted)


def table(name: str, data: Path, budget: float, seed: int, slow: bool = False, python: str | None = None) -> str:
    """The Markdown table of a protocol from the file in `data`, and what was chosen."""
    protocol = PROTOCOLS[name]
    log = protocol.read(data / protocol.file)
    test = protocol.split(log)
    held = cut(test.known, protocol.validation, SHARE, seed)
    held = held.among(np.sort(np.random.default_rng(seed).permutation(held.users)[:PEER_USERS]))

    def selection(blind: bool) -> Selection:
        return choose(test.known, candidates(), protocol.validation, SHARE, seed, budget, time.process_time, direction_blind=blind)

    chosen: list[tuple[str, Selection]] = []
    rows: list[Row] = []
    for label in ("auto", "auto, direction-blind")[: 2 if protocol.validation == "last" else 1]:
        found = selection(label != "auto")
        click.echo(found.table(), err=True)
        chosen.append((label, found))
        rows.append(row(f"**{label}**", built(found.best.parts, found.best.power), test, protocol))
    found = chosen[0][1]
    singles = _best_of_each(found.trials)
    rows += [row(t.name, built(t.parts), test, protocol) for t in singles.values()]
    late = sets([n for n in candidates() if slow and n not in singles], test.known, seed)
    rows += [row(n, built([(n, parameters, 1.0)]), test, protocol) for n, parameters in dict(reversed(late)).items()]
    re_run = [row(f"{n} ({_settings(p)}), re-run", p, test, protocol) for n, ps in peers(seed).items() for p in [tuned(ps, held)]]
    for label, items, fit, recommend in rectools(python, test, held, seed) if python else ():
        values = measured(items, test)
        re_run.append(Row(f"{label}, re-run", np.column_stack([values[m] for m in protocol.metrics]), fit, recommend))
    return "\n".join([*_lines(protocol, rows, re_run, seed), "", *_notes(protocol, chosen, rows, re_run, test, seed)]) + "\n"


def _best_of_each(trials: Sequence[Trial]) -> dict[str, Trial]:
    best: dict[str, Trial] = {}
    for trial in trials:
        if len(trial.parts) == 1:
            best.setdefault(trial.parts[0][0], trial)
    return best


def _settings(peer: Any) -> str:
    return ", ".join(f"{k} {v:g}" for k, v in peer.parameters.items())


def _lines(protocol: Protocol, rows: Sequence[Row], re_run: Sequence[Row], seed: int) -> list[str]:
    lines = [f"| | {' | '.join(protocol.metrics.values())} | fit, CPU s | lists, CPU s |", "|---" * (len(protocol.metrics) + 3) + "|"]
    for r in [*rows, *re_run]:
        cells = " | ".join(_cell(e) for e in bootstrap(r.values, seed))
        lines.append(f"| {r.name} | {cells} | {r.fit:.1f} | {r.recommend:.1f} |")
    for name, figures in protocol.published.items():
        lines.append(f"| {name}, published | {' | '.join('' if f is None else _short(f) for f in figures)} | | |")
    return lines


def _notes(
    protocol: Protocol,
    chosen: Sequence[tuple[str, Selection]],
    rows: Sequence[Row],
    re_run: Sequence[Row],
    test: Cut,
    seed: int,
) -> list[str]:
    place = list(protocol.metrics).index("ndcg")
    notes = [f"- {len(test.users):,} users, {test.known.n_items:,} items, {len(test.known.user):,} interactions given."]
    for label, found in chosen:
        reached = max(found.best.mean("ndcg", True), found.best.mean("ndcg", False))
        notes.append(f"- {label}: {found.best.name}; {reached:.4f} NDCG@10 on validation.")
    best = max(re_run, key=lambda r: r.values[:, place].mean())
    difference = bootstrap(rows[0].values - best.values, seed)
    said = ", ".join(f"{heading} {_cell(e, '+')}" for heading, e in zip(protocol.metrics.values(), difference, strict=True))
    notes.append(f"- auto less the best peer re-run ({best.name.removesuffix(', re-run')}), paired: {said}.")
    if left_out := chosen[0][1].left_out:
        notes.append(f"- Left out by the budget: {'; '.join(left_out)}.")
    return notes


def _short(value: float, sign: str = "") -> str:
    return f"{value:{sign}.4f}".replace("0.", ".", 1)


def _cell(e: Estimate, sign: str = "") -> str:
    return f"{_short(e.value, sign)} [{_short(e.low, sign)}, {_short(e.high, sign)}]"


@click.command(help=__doc__)
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, help="folder of both files")
@click.option("--only", default=",".join(PROTOCOLS), show_default=True)
@click.option("--budget-s", "budget", type=click.FloatRange(0), default=300, show_default=True, help="CPU seconds in which auto chooses")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--slow", is_flag=True, help="rows of recommenders that auto had no time for, too")
@click.option("--rectools", "python", envvar="RECTOOLS_PYTHON", help="Python of an environment with RecTools, for its rows")
def main(data: Path, only: str, budget: float, seed: int, slow: bool, python: str | None) -> None:
    """Print the tables."""
    for name in only.split(","):
        if name not in PROTOCOLS:
            raise click.UsageError(f"no protocol is named {name!r}: there are {', '.join(PROTOCOLS)}")
        click.echo(f"{name}\n\n{table(name, data, budget, seed, slow, python)}")


if __name__ == "__main__":
    main()
