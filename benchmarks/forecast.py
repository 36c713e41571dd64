"""Which topics users touch next, beside simple forecasts: `python -m benchmarks forecast --source steam --data DIR`.

Topics are fitted on items met before the first of two global time cuts, by shares of all events: nights before the first are learnt from,
those up to the second choose, those after it are the test. A user counts who was active in the 90 nights before and touches a topic in the
next 7 (or 30) nights; values are means over users with 95 % bootstrap intervals, differences are paired. Ties of all simple forecasts go
by what was common in the last 28 nights. Parameters are chosen with --split validation.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta

import click
import numpy as np

from benchmarks.topic_days import SOURCES, read_logs, topic_rows
from recsys_core.evolution import SEQUENCE_MODELS, metrics
from recsys_core.evolution.cut import Cut, Part, moments
from recsys_core.evolution.features import MONTH, WINDOW, topic_days, touched, week_share
from recsys_core.evolution.training import Task, fit

CUTS = (0.7, 0.85)


@click.command(help=__doc__)
@click.option("--source", type=click.Choice(SOURCES), required=True)
@click.option("--data", type=click.Path(exists=True), help="folder of the data set; a shop is simulated without")
@click.option("--model", type=click.Choice(sorted(SEQUENCE_MODELS)), default="gru", show_default=True)
@click.option("--horizons", default="7,30", show_default=True, help="nights ahead, comma-separated")
@click.option("--encoder", default="bilingual", show_default=True, help="of item texts")
@click.option("--split", type=click.Choice(["validation", "test"]), default="test", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="of the shop, topics, training and intervals")
@click.option("--epochs", type=click.IntRange(1), default=20, show_default=True)
@click.option("--most", type=click.IntRange(100), default=20_000, show_default=True, help="(user, night) pairs of each part, about")
def main(source: str, data: str | None, model: str, horizons: str, encoder: str, split: str, seed: int, epochs: int, most: int) -> None:
    """Print ndcg and recall at 10 of the forecast and of the simple ones, and how well its probabilities are calibrated."""
    logs = read_logs(source, data, seed)
    cuts = [logs.night_at(share) for share in CUTS]
    table, k = topic_rows(logs, cuts[0] - timedelta(days=1), encoder, seed)
    days = topic_days(table, range(k))
    first, last = int(days.day.min()), int(days.day.max())
    one, two = (c.toordinal() for c in cuts)
    parts = Part(first + 1, one - 1, one), Part(one, two - 1, two), Part(two, last - 1, last)
    cut = Cut(*parts, tuple(sorted(int(h) for h in horizons.split(","))))
    began = time.perf_counter()
    forecaster, losses = fit(days, cut, Task(model=model, epochs=epochs, most=most, seed=seed))
    seconds = time.perf_counter() - began
    click.echo(f"{source}, {split}: {len(days.users):,} users, {k} topics, cuts {cuts[0]} and {cuts[1]}")
    click.echo(f"{model}: {len(losses) - 1} epochs in {seconds:.0f} s, validation loss {losses[0]:.4f} before, {min(losses):.4f} at best")
    part = cut.test if split == "test" else cut.validation
    judged = metrics.judged(forecaster, days, replace(cut, test=part), most, seed)
    for n, horizon in enumerate(cut.horizons):
        here = moments(days, part, most, seed, back=horizon)
        known = part.knows(here.day, horizon)
        user, day = here.user[known], here.day[known]
        said = np.concatenate([p[:, :, n] for _, p, _ in forecaster.probabilities(days, user, day)])
        came, ties = touched(days, user, day, horizon), days.population(day, MONTH)
        others = metrics.baselines(days, user, day)
        others |= {"share_90d": week_share(days, user, day, WINDOW), "popularity": ties}
        users, found = metrics.compared(said, others, ties, came, user, seed)
        for metric in ("ndcg@10", "recall@10"):
            e = found[metric]
            click.echo(f"next {horizon} nights, {metric}, {users:,} users: {model} {_ends(e['value'])}")
            for name in others:
                click.echo(f"  {name:14} {_ends(e[name])}  difference {_ends(e[f'{name}_diff'])}")
        m = judged[str(horizon)]
        share = f"of the seven-day share as a probability {m['share']['brier']:.6f} and {m['share']['ece']:.5f}"
        click.echo(f"  Brier score {m['brier']:.6f} and calibration error {m['ece']:.5f} of all users and topics; {share}")


def _ends(e: metrics.Estimate) -> str:
    return f"{e.value:.4f} [{e.low:.4f}, {e.high:.4f}]"


if __name__ == "__main__":
    main()
