"""The blend of the nightly lists beside its sources: `python -m benchmarks lists --source NAME [--data DIR]`.

From a cut in time on, week after week: sources and coefficients are fitted on what lies before the week as `fit_ranker` does it,
coefficients come into use as its gate says, and everything that may be shown is ranked for the users who are known. What these turn to in
the week counts. Weeks before the cut are for choosing; `--repeats` lets items come back that a user has met.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
from scipy import sparse

from benchmarks.topic_days import lines
from recsys_core import encoders
from recsys_core.events import COUNTED_TYPES, LOW_RATING
from recsys_core.metrics import bootstrap, ranking_metrics
from recsys_core.ranking.blender import FEW_EVENTS, Blend, fit
from recsys_core.ranking.offer import Offer
from recsys_core.ranking.training import (
    AHEAD,
    Showable,
    Sources,
    as_of,
    better,
    choices_after,
    gathered,
    judged,
    only,
    unseen,
    usual_options,
)
from recsys_core.recommenders.history import History, build, item_vectors, reduce_night, usual
from recsys_core.recommenders.popularity import Popularity
from recsys_core.simulate import simulate
from recsys_core.sources import land
from recsys_core.texts import compose_item

SOURCES = ("steam", "online-retail", "simulated")
# The first night that is scored.
CUTS = {"steam": "2015-12-04", "online-retail": "2011-11-10", "simulated": "2026-03-30"}
K = 10
WINDOWED = "popularity, 14 nights alike"
FEW = 2  # events up to which texts are asked for what they add, beside all users
LEAST_USERS = 10


def read(source: str, data: str | None, seed: int, encoder: str) -> tuple[History, dt.date]:
    """The whole history of a data set, landed as the product lands it, with vectors of the items' texts; and its last night."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "landing"
        if source == "simulated":
            simulate(str(root), dt.date(2026, 3, 2), 49, users=600, items=1200, events_per_night=6000, seed=seed, text_share=0.01)
        elif data is None:
            raise click.UsageError(f"--data names the folder of {source}, or a landing zone that it was landed in")
        elif (Path(data) / "events").is_dir():
            root = Path(data)
        else:
            land(source, data, str(root))
        rows, langs = _facts(root)
        texts = {
            r["item_id"]: compose_item(r["title"], r.get("description"), r.get("tags"))[0]
            for _, r in lines(root / "items")
            if r.get("title")
        }
    known = set(rows["item_id"].to_pylist())
    items = sorted(i for i in texts if i in known)
    past = build(rows, items, last := max(rows["ds"].to_pylist()))
    written = [texts[i] for i in items]
    made = encoders.restore(encoder, make(written)) if (make := encoders.fitter(encoder)) else encoders.load(encoder)
    vectors = item_vectors(past, pa.chunked_array([pa.array(items, pa.string())]), made.encode(written).astype(np.float32))
    group = usual(langs, "lang", past.users)[1]
    return replace(past, interactions=replace(past.interactions, vectors=vectors, group=group)), last


def _facts(root: Path) -> tuple[pa.Table, pa.Table]:
    """(rows as of history.reduce_night, the language of each event) of what is landed."""
    counts: dict[tuple[dt.date, str, str], Counter[str]] = {}
    times: dict[tuple[dt.date, str, str], int] = {}
    langs: list[tuple[str, str | None]] = []
    for ds, row in lines(root / "events"):
        if not row.get("item_id") or not row.get("user_id") or "fault" in row:
            continue
        key = (ds, row["user_id"], row["item_id"])
        low = ["n_low_rated"] * ((row.get("rating") or 5) <= LOW_RATING)
        counts.setdefault(key, Counter()).update(["n_events", f"n_{row['event_type']}", *low])
        at = dt.datetime.fromisoformat(row["ts"]).replace(tzinfo=dt.UTC)
        times[key] = max(times.get(key, 0), int(at.timestamp() * 1e6))
        langs.append((row["user_id"], row.get("lang")))
    nights, users, items = zip(*counts, strict=True)
    columns = {name: [of[name] for of in counts.values()] for name in ("n_events", *(f"n_{t}" for t in COUNTED_TYPES))}
    keys = {"ds": pa.array(nights, pa.date32()), "user_key": users, "item_id": items}
    rows = reduce_night(pa.table(keys | columns | {"last_event_ts": pa.array(list(times.values()), pa.timestamp("us"))}))
    who, lang = zip(*langs, strict=True)
    return rows, pa.table({"user_key": pa.array(who, pa.string()), "lang": pa.array(lang, pa.string())})


def weeks(past: History, last: dt.date, cut: dt.date, nights: int, warm: int) -> Iterator[tuple[bool, int]]:
    """(whether it is scored, nights from its eve to the last night) of each week."""
    first = cut - warm * dt.timedelta(days=AHEAD)
    for start in range(0, nights + warm * AHEAD, AHEAD):
        eve = first + dt.timedelta(days=start - 1)
        if eve < last:
            yield start >= warm * AHEAD, (last - eve).days


def showable(history_items: int, repeats: bool) -> Showable:
    """All items of the data set; those that a user has met only with `repeats`."""
    everything = np.ones(history_items, bool)
    if not repeats:
        return unseen(everything)
    return lambda past, back: Offer.everywhere(everything, sparse.csr_matrix((past.n_users, past.n_items), dtype=np.int8))


def measured(past: History, last: dt.date, cut: dt.date, nights: int, warm: int, sources: Sources, repeats: bool) -> dict[str, np.ndarray]:
    """User, week, events and NDCG@10 and recall@10 by list: arrays over (user, week)."""
    history, n_events = past.interactions, past.n_events
    may, in_use = showable(history.n_items, repeats), Blend.default(sources.names)
    without = tuple(n for n in sources.names if n != "content")
    parts: list[dict[str, np.ndarray]] = []
    for scored, back in weeks(past, last, cut, nights, warm):
        then = as_of(history, back)
        known = history.age >= back
        found = gathered(then, n_events[known], sources, may)
        fitted, bare, promoted = in_use, Blend.default(without), False
        if found is not None:
            fitted = fit(found.fitting, Blend.default(sources.names))
            bare = fit(only(found.fitting, without), Blend.default(without))
            if promoted := better(judged(found.judging, fitted, in_use, found.fitting, 0, sources.names)):
                in_use = fitted
        said = "; ".join(f"{s}: " + ", ".join(f"{n} {w:.2f}" for n, w in fitted.shares(s).items()) for s in fitted.weights)
        night = (last - dt.timedelta(days=back)).isoformat()
        click.echo(f"{night} {'fitted' if found else 'too few to fit by'}{', promoted' if promoted else ''} – {said}", err=True)
        if not scored:
            continue
        learned = {n: m.about(then) for n, m in sources.learned(then).items()}
        choices = choices_after(history, n_events, back, sources.fitted(then, learned), may, max_users=None)
        windowed = choices_after(history, n_events, back, {WINDOWED: Popularity().fit(then)}, may, max_users=None)
        if choices is None or windowed is None:
            continue
        row: dict[str, np.ndarray] = {"user": choices.user}
        blends = {
            "blend in use": in_use,
            "blend fitted last": fitted,
            "default blend": Blend.default(sources.names),
            "blend without texts": bare,
        }
        blends |= {name: Blend.default([name]) for name in sources.names}
        blends |= {WINDOWED: Blend.default([WINDOWED])}
        for name, blend in blends.items():
            own = only(windowed if name == WINDOWED else choices, blend.sources)
            metrics = ranking_metrics(own.hits(blend.scores(own.features, own.segment), K), own.n_relevant, K)
            row |= {f"{name}|ndcg": metrics["ndcg"], f"{name}|recall": metrics["recall"]}
        row["events"] = np.bincount(then.user, n_events[known], then.n_users)[choices.user]
        parts.append(row)
    if not parts:
        raise click.ClickException("nobody who is known turned to anything in these nights")
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def by_user(user: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Means of a user's weeks, (users, columns)."""
    row = np.unique(user, return_inverse=True)[1]
    return np.stack([np.bincount(row, v) for v in values.T], axis=1) / np.bincount(row)[:, None]


@click.command(help=__doc__)
@click.option("--source", type=click.Choice(SOURCES), required=True)
@click.option("--data", type=click.Path(exists=True), help="folder of a public data set, or a landing zone with it")
@click.option("--cut", type=click.DateTime(["%Y-%m-%d"]), help="first night that is scored")
@click.option("--nights", default=30, show_default=True, help="nights that are scored")
@click.option("--warm", default=4, show_default=True, help="weeks before the cut in which coefficients may come into use")
@click.option("--recommenders", default="transitions,content,popularity", show_default=True, help="sources, comma-separated")
@click.option("--repeats/--no-repeats", default=False, help="whether items may come back")
@click.option("--encoder", default="lsa", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="of bootstrap, models and the simulated shop")
def main(
    source: str,
    data: str | None,
    cut: dt.datetime | None,
    nights: int,
    warm: int,
    recommenders: str,
    repeats: bool,
    encoder: str,
    seed: int,
) -> None:
    """Print NDCG and recall at 10 of every list with user-bootstrap intervals, and the paired differences of the blend in use to each."""
    past, last = read(source, data, seed, encoder)
    names = tuple(recommenders.split(","))
    sources = Sources(names, usual_options(14), seed)
    day = (cut or dt.datetime.fromisoformat(CUTS[source])).date()
    found = measured(past, last, day, nights, warm, sources, repeats)
    lists = list(dict.fromkeys(name.split("|")[0] for name in found if "|" in name))
    slices = {
        "all known users": 2**62,
        f"users with fewer than {FEW_EVENTS} events": FEW_EVENTS - 1,
        f"users with {FEW} events at most": FEW,
    }
    for title, most in slices.items():
        rows = found["events"] <= most
        user = found["user"][rows]
        if len(np.unique(user)) < LEAST_USERS:
            click.echo(f"\n- {title}: fewer than {LEAST_USERS}, nothing to say")
            continue
        click.echo(
            f"\n- {source}, {nights} nights from {day}, repeats {'allowed' if repeats else 'left out'}: {title}, {len(np.unique(user)):,}\n"
        )
        click.echo("| list | NDCG@10 | recall@10 | blend in use − it, NDCG@10 | recall@10 |\n|---|---|---|---|---|")
        for name in lists:
            own, theirs = (np.column_stack([found[f"{x}|{m}"][rows] for m in ("ndcg", "recall")]) for x in (name, lists[0]))
            n, r, dn, dr = bootstrap(by_user(user, np.hstack([own, theirs - own])), seed)
            ahead = " | ".join(f"{e.value:+.4f} [{e.low:+.4f}, {e.high:+.4f}]" if name != lists[0] else "" for e in (dn, dr))
            click.echo(f"| {name} | {n.value:.4f} [{n.low:.4f}, {n.high:.4f}] | {r.value:.4f} [{r.low:.4f}, {r.high:.4f}] | {ahead} |")
        texts, bare = (found[f"{x}|ndcg"][rows] for x in ("blend fitted last", "blend without texts"))
        (gain,) = bootstrap(by_user(user, (texts - bare)[:, None]), seed)
        click.echo(f"\n- Texts add {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] NDCG@10 to the blend fitted last.")


if __name__ == "__main__":
    main()
