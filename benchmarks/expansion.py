"""Topics that users take up next, beside popular ones: `python -m benchmarks expansion --source NAME [--data DIR]`.

Topics are made of what was met up to a cut in time; what happened up to it proposes topics to users who have touched some, and the next
nights decide. Future-interest coverage@m: of the topics that a user touches for the first time, the share among the m proposed ones.
"""

from __future__ import annotations

import datetime as dt

import click
import numpy as np
import pyarrow as pa

from benchmarks.topic_days import SOURCES, Logs, read_logs, rows_and_centroids
from recsys_core import expansion, graph
from recsys_core.expansion import coverage, state
from recsys_core.topics.hierarchy import hierarchy


def proposals(found: state.Week, ids: list[int], leads: dict[str, np.ndarray]) -> pa.Table:
    """user_key, topic_id, method, score, rank of all methods that have something to go by."""
    parts = []
    for method, made in expansion.expansions(found, leads).items():
        columns = {
            "user_key": np.array(found.users)[made.user],
            "topic_id": np.array(ids)[made.topic],
            "score": made.score,
            "rank": made.rank,
        }
        parts.append(pa.table({**columns, "method": pa.repeat(method, len(made.user))}))
    return pa.concat_tables(parts)


def measured(logs: Logs, cut: dt.date, ahead: int, encoder: str, seed: int) -> list[dict[str, object]]:
    """Rows as of eval_metric: the cut's proposals against the nights after it."""
    days, centroids = rows_and_centroids(logs, cut, encoder, seed)
    k = len(centroids)
    ids, (above, _) = list(range(k)), hierarchy(centroids, np.ones(k))
    alike = graph.similarity(centroids, [[] for _ in ids])
    taxonomy = graph.matrix(np.array(ids), graph.taxonomy({t: int(p) if (p := above[t]) >= 0 else None for t in ids}), "taxonomy")
    leads = {"context": alike - np.eye(k), "knowledge": taxonomy}
    shown = proposals(state.week(state.summed(days, cut, ahead), ids), ids, leads)
    after = cut + dt.timedelta(days=ahead)
    click.echo(f"{k} topics as of {cut}, {len(set(shown['user_key'].to_pylist())):,} users with proposals")
    return coverage.expansion_metrics(shown, state.week(state.summed(days, after, ahead), ids), ids, "", after, seed)


@click.command(help=__doc__)
@click.option("--source", type=click.Choice(SOURCES), required=True)
@click.option("--data", type=click.Path(exists=True, file_okay=False), help="folder of a public data set")
@click.option("--cut", "share", type=click.FloatRange(0.1, 0.95), default=0.8, show_default=True, help="share of all events before the cut")
@click.option("--ahead", type=click.IntRange(1, 365), default=30, show_default=True, help="nights after the cut that decide")
@click.option("--encoder", default="minilm", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="of topics, bootstrap and simulated shop")
def main(source: str, data: str | None, share: float, ahead: int, encoder: str, seed: int) -> None:
    """Print coverage by method with user-bootstrap intervals, and what it is over that of popular topics."""
    logs = read_logs(source, data, seed)
    click.echo("method          m  users  coverage                 popular  difference")
    for r in measured(logs, logs.night_at(share), ahead, encoder, seed):
        click.echo(
            f"{r['list_name']:14}{r['k']:>3}{r['n']:>7,}  {r['value']:.4f} [{r['ci_low']:.4f}, {r['ci_high']:.4f}]   "
            f"{r['baseline_value']:.4f}   "
            f"{r['diff']:+.4f} [{r['diff_ci_low']:+.4f}, {r['diff_ci_high']:+.4f}]"
        )


if __name__ == "__main__":
    main()
