"""Top-N lists for any file of histories, by a named recommender or by the one that suits the file.

`python -m benchmarks topn --sequences FILE --model NAME|auto --k 20 --seed S --out RECS.parquet`: FILE has `user item item …` a line, in
time order, all of it history. `--interactions FILE` takes user, item, rating, timestamp instead, apart by tabs, with or without a line of
names. Ids are integers or any text. RECS.parquet has columns user, item, rank (from 1), score (over the user's largest; 0 = by popularity),
ids as they came in. Every user of FILE gets k items, or all that they have not met.

`auto` holds a part of FILE out (each user's last item of --sequences, a random quarter of each item's rows of --interactions, which suits a
test that is drawn at random; say `--validation time` where what comes later is to be found), tries recommenders and parameter sets
while --budget-s lasts, mixes the best, keeps what has the largest NDCG@10, prints the table, and fits that on all of FILE. The same seed
gives the same bytes as long as the same sets are tried.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.interactions import Log, as_ids, read_ids, read_interactions, read_sequences
from recsys_core.recommenders import RECOMMENDERS
from recsys_core.recommenders.grid import GRID
from recsys_core.recommenders.holdout import CUTS, SHARE, lists
from recsys_core.recommenders.selection import NEED_TEXTS, Selection, built, choose, sets

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def candidates() -> list[str]:
    """Recommenders that can do without texts, in the order in which `auto` tries them."""
    return [name for name in GRID | RECOMMENDERS if name in RECOMMENDERS and name not in NEED_TEXTS]


def chosen(log: Log, validation: str, share: float, seed: int, budget: float, allow_seen: bool = False, blind: bool = False) -> Selection:
    """What suits the log, by a cut inside it."""
    return choose(log.history(), candidates(), validation, share, seed, budget, time.perf_counter, allow_seen, blind)


@click.command(help=__doc__)
@click.option("--sequences", type=FILE, help="`user item item …` a line, in time order")
@click.option("--interactions", type=FILE, help="user, item, rating, timestamp, apart by tabs")
@click.option("--model", default="auto", show_default=True, help=f"auto, {', '.join(candidates())}")
@click.option("--k", type=click.IntRange(1), default=20, show_default=True, help="length of the lists")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Parquet file to write")
@click.option("--allow-seen", is_flag=True, help="lists may hold what the user met already")
@click.option("--users", "wanted", type=FILE, help="make lists for these users alone, an id a line; unknown ones get what is popular")
@click.option("--budget-s", "budget", type=click.FloatRange(0), default=300, show_default=True, help="seconds in which auto chooses")
@click.option("--validation", type=click.Choice(CUTS), help="what auto holds out [default: last of sequences, random of interactions]")
@click.option("--validation-share", "share", type=click.FloatRange(0.01, 0.9), default=SHARE, show_default=True, help="of random and time")
@click.option("--direction-blind", is_flag=True, help="auto tries nothing that depends on the direction of a sequence")
def main(
    sequences: Path | None,
    interactions: Path | None,
    model: str,
    k: int,
    seed: int,
    out: Path,
    allow_seen: bool,
    wanted: Path | None,
    budget: float,
    validation: str | None,
    share: float,
    direction_blind: bool,
) -> None:
    """Read, choose, fit, recommend, write."""
    if (sequences is None) == (interactions is None):
        raise click.UsageError("give one of --sequences and --interactions")
    if model in NEED_TEXTS:
        raise click.UsageError(f"{model} needs the texts of items, which these files do not have; without texts: {', '.join(candidates())}")
    if model != "auto" and model not in RECOMMENDERS:
        raise click.UsageError(f"no recommender is named {model!r}: there are auto, {', '.join(RECOMMENDERS)}")
    if not out.parent.is_dir():
        raise click.UsageError(f"--out: there is no folder {out.parent}; make it first")
    try:
        log = read_sequences(sequences) if sequences else read_interactions(interactions)  # type: ignore[arg-type]
        validation = validation or ("last" if sequences else "random")
        if model == "auto":
            found = chosen(log, validation, share, seed, budget, allow_seen, direction_blind)
            click.echo(f"{len(log.users):,} users, {len(log.items):,} items, {len(log.user):,} interactions; validation: {validation}")
            click.echo(found.table())
            if found.left_out:
                click.echo(f"left out, {budget:g} s being too short: {'; '.join(found.left_out)}")
            click.echo(f"chosen: {found.best.name}")
            parts, power = found.best.parts, found.best.power
        else:
            name, parameters = sets([model], log.history(), seed)[0]
            parts, power = [(name, parameters, 1.0)], 1.0
        asked = None if wanted is None else read_ids(wanted)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    began = time.perf_counter()
    nobody = len(log.users)  # the code of whoever the file does not know: a user without a history
    history = replace(log.history(), n_users=nobody + 1, group=np.full(nobody + 1, -1))
    source = built(parts, power).fit(history)
    fitted = time.perf_counter()
    known = {str(user): code for code, user in enumerate(log.users.to_pylist())}
    users = np.arange(nobody) if asked is None else np.array([known.get(user, nobody) for user in asked], np.int64)
    items, scores = lists(source, history, users, k, allow_seen)
    done = time.perf_counter()
    row, place = np.nonzero(items >= 0)
    ids = log.users if asked is None else as_ids(asked)
    columns = {"user": ids.take(pa.array(row)), "item": log.items.take(pa.array(items[row, place]))}
    pq.write_table(pa.table(columns | {"rank": pa.array(place + 1, pa.int32()), "score": scores[row, place]}), out)
    click.echo(f"fit {fitted - began:.1f} s, recommend {done - fitted:.1f} s")
    short = len(users) - int((items[:, -1] >= 0).sum())
    click.echo(f"{len(row):,} rows for {len(users):,} users in {out}" + (f"; {short:,} lists hold all there is" if short else ""))


if __name__ == "__main__":
    main()
