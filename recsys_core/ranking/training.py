"""Fitting the blend on what users turned to after nights of the past, and judging it on later ones."""

from __future__ import annotations

import datetime as dt
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_core.metrics import bootstrap, ranking_metrics
from recsys_core.ranking.blender import Blend, Choices, fit, log_losses, segments, sharpened
from recsys_core.ranking.candidates import PER_SOURCE, candidates
from recsys_core.ranking.offer import Offer
from recsys_core.ranking.policy import ListRules, consumed
from recsys_core.ranking.top_n import BLOCK
from recsys_core.recommenders import Interactions, Recommender, recommender
from recsys_core.recommenders.base import Floats, Ints
from recsys_core.recommenders.history import History, codes

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Sources that take long to learn: they are learned in training and kept with the ranker. All others learn anew every night.
TRAINED = frozenset({"sasrec", "two_towers"})
# Of the blend's source by popularity, in nights: better than an even window on the weeks before the cuts of all benchmarks.
HALF_LIFE = 3.0
AHEAD = 7  # nights after a cut that say what users turned to
CUTS = (7, 14, 21)  # nights back; the first one judges, the others fit
K = 10
MAX_USERS, MIN_USERS = 2000, 50  # of a cut; to fit and to judge by
GATE = f"ndcg@{K}"
ITEMS = "items.txt"

# (history as of a cut, nights back) → what could be shown then, and to whom.
Showable = Callable[[Interactions, int], Offer]


@dataclass(frozen=True)
class Sources:
    """The sources of a blend, by name, not fitted: `options` are arguments of some, `seed` that of all that draw.

    spark  the session on which those learn that can; None = all learn on this machine
    """

    names: tuple[str, ...]
    options: Mapping[str, Mapping[str, Any]]
    seed: int = 0
    spark: SparkSession | None = None

    def fresh(self, name: str) -> Recommender:
        """One of them, not fitted; ValueError for a name that is not registered."""
        cls = recommender(name)
        drawn = {"seed": self.seed} if "seed" in inspect.signature(cls).parameters else {}
        return cls(**(drawn | dict(self.options.get(name, {}))))

    def fit(self, name: str, history: Interactions) -> Recommender:
        """One of them, fitted."""
        model = self.fresh(name)
        if self.spark is not None:
            from recsys_core.recommenders import spark

            if spark.learn(model, history, self.spark):
                model.meet(history)
                return model
        return model.fit(history)

    def learned(self, history: Interactions) -> dict[str, Recommender]:
        """Those of TRAINED, fitted."""
        return {name: self.fit(name, history) for name in self.names if name in TRAINED}

    def fitted(self, history: Interactions, learned: Mapping[str, Recommender]) -> dict[str, Recommender]:
        """All that `learned` has or that learn anew, having met `history`; in the order of names."""
        return {
            name: learned[name].about(history) if name in learned else self.fit(name, history)
            for name in self.names
            if name in learned or name not in TRAINED
        }


def usual_options(popularity_nights: int) -> dict[str, dict[str, Any]]:
    """The arguments of sources in nightly lists."""
    return {"popularity": {"window": popularity_nights, "half_life": HALF_LIFE}}


def artefacts(learned: Mapping[str, Recommender], items: Collection[str]) -> dict[str, bytes]:
    """Learned sources as files, with the ids of their items' codes; none for none. ValueError for an id that is no line of a text."""
    if not learned:
        return {}
    if broken := [i for i in items if i.splitlines() != [i]]:
        raise ValueError(f"item id {broken[0]!r} holds a line break: learned sources cannot name it; leave {', '.join(learned)} out")
    files = {ITEMS: "\n".join(items).encode()}
    return files | {f"{name}{n.removeprefix('recommender')}": data for name, model in learned.items() for n, data in model.save().items()}


def restored(files: Mapping[str, bytes], items: pa.Array) -> dict[str, Recommender]:
    """What `artefacts` made of learned sources, by the codes of `items`; users are to be met next."""
    if ITEMS not in files:
        return {}
    code = codes(pa.array(files[ITEMS].decode().split("\n")), items)
    found = {}
    for name in sorted(TRAINED & {file.partition(".")[0] for file in files}):
        own = {f"recommender.{f.partition('.')[2]}": data for f, data in files.items() if f.partition(".")[0] == name}
        found[name] = recommender(name).load(own).recoded(code, len(items))
    return found


def unseen(eligible: NDArray[np.bool_]) -> Showable:
    """Everything eligible that a user never met could be shown."""
    return lambda past, back: Offer.everywhere(eligible, past.seen())


def listable(past: History, catalogue: pa.Table, tree: pa.Table, rules: ListRules, ds: dt.date, hidden: Ints) -> Showable:
    """What the site's rules let lists of earlier nights hold, by the catalogue of the night `ds`; `hidden` are codes of items for nobody.

    Regions and muted topics play no part: they change which items a user is shown, not whom to believe.
    """
    first = np.full(len(past.items), np.datetime64(dt.date.max, "D"))
    first[past.item_codes(catalogue["item_id"])] = catalogue["first_ds"].to_numpy().astype("datetime64[D]")
    cool_down = rules.cool_down(catalogue, tree, past.items)

    def found(known: Interactions, back: int) -> Offer:
        then = ds - dt.timedelta(days=back)
        eligible = rules.eligible(catalogue, tree, past.items, then) & (first <= np.datetime64(then, "D"))
        eligible[hidden] = False
        return Offer.everywhere(eligible, consumed(known, cool_down))

    return found


def as_of(history: Interactions, back: int) -> Interactions:
    """The history as it was so many nights ago."""
    past = history.take(history.age >= back)
    return replace(past, age=past.age - back)


def choices_after(
    history: Interactions,
    n_events: Ints,
    back: int,
    sources: Mapping[str, Recommender],
    showable: Showable,
    ahead: int = AHEAD,
    max_users: int | None = MAX_USERS,
    per_source: int = PER_SOURCE,
) -> Choices | None:
    """What known users turned to (Σ weight > 0) in the `ahead` nights after a cut, among their candidates as of it; None when nobody did.

    `sources` have met the history as of `back` nights ago. At most `max_users` users are asked, evenly over the order of keys.
    """
    past = as_of(history, back)
    offer = showable(past, back)
    since = history.take((history.age < back) & (history.age >= back - ahead))
    width = history.n_items
    pair, at = np.unique(since.user * width + since.item, return_inverse=True)
    wanted = pair[np.bincount(at, since.weight, len(pair)) > 0]
    wanted = wanted[offer.eligible[wanted % width] & np.isin(wanted // width, past.user)]
    closed = np.asarray(offer.barred[wanted // width, wanted % width]).ravel() != 0 if len(wanted) else np.zeros(0, bool)
    wanted = wanted[~closed]
    users = np.unique(wanted // width)
    if max_users:
        users = users[:: max(1, -(-len(users) // max_users))]
    segment = segments(np.bincount(history.user, n_events * (history.age >= back), history.n_users))
    parts = []
    for first in range(0, len(users), BLOCK):
        block = users[first : first + BLOCK]
        found = candidates(sources, block, offer.to(block), per_source)
        chosen = np.isin(block[:, None] * width + found.item, wanted) & (found.item >= 0)
        own = wanted[np.isin(wanted // width, block)] // width
        n_relevant = np.bincount(np.searchsorted(block, own), minlength=len(block))
        parts.append(Choices(tuple(sources), block, found.item, found.features, chosen, n_relevant, segment[block]))
    return Choices.joined(parts) if parts else None


@dataclass(frozen=True)
class Outcome:
    """What users chose after nights of the past: to fit a blend by, and to judge it by.

    `halves` says that both are of the newest cut, every second user each: the shop is too young for older ones.
    """

    fitting: Choices
    judging: Choices
    halves: bool


def gathered(
    history: Interactions,
    n_events: Ints,
    sources: Sources,
    showable: Showable,
    cuts: Sequence[int] = CUTS,
    min_users: int = MIN_USERS,
) -> Outcome | None:
    """Choices after the older cuts to fit by, and after the first to judge by; None when fewer than `min_users` chose a candidate.

    Each source learns from what was known at the cut. Those of TRAINED do so once, at the oldest cut, and meet the later histories: that
    is a little to their disadvantage, as nights use them up to a week after their training.
    """
    learned = sources.learned(as_of(history, max(cuts))) if history.age.max(initial=-1) >= max(cuts) else {}
    newest, *older = (_choices_at(history, n_events, back, sources, learned, showable) for back in cuts)
    if newest is None:
        return None
    found = Outcome(Choices.joined(kept), newest, False) if (kept := [c for c in older if c is not None]) else None
    if found is None or n_asked(found.fitting) < min_users:
        odd = np.arange(len(newest.item)) % 2 == 1
        found = Outcome(newest.take(~odd), newest.take(odd), True)
    return found if min(n_asked(found.fitting), n_asked(found.judging)) >= min_users else None


def _choices_at(
    history: Interactions, n_events: Ints, back: int, sources: Sources, learned: Mapping[str, Recommender], showable: Showable
) -> Choices | None:
    past = as_of(history, back)
    fitted = sources.fitted(past, learned) if len(past.user) else {}
    return choices_after(history, n_events, back, fitted, showable) if fitted else None


def n_asked(choices: Choices) -> int:
    """Users who chose a candidate."""
    return int(choices.chosen.any(axis=1).sum())


@dataclass(frozen=True)
class Trained:
    """A fitted blend, what was measured of it, and the sources that were learned for it on the whole history."""

    blend: Blend
    measured: dict[str, Any]
    learned: dict[str, Recommender]


def train(
    history: Interactions, n_events: Ints, sources: Sources, showable: Showable, in_use: Blend, seed: int = 0, **options: Any
) -> Trained | None:
    """A blend of `sources`, fitted and judged as `gathered` (whose options it takes) says; None for too few users."""
    needed = replace(sources, names=tuple(dict.fromkeys([*sources.names, *in_use.sources])))
    found = gathered(history, n_events, needed, showable, **options)
    if found is None:
        return None
    # A source that could not be learned yet is in no blend.
    names = [name for name in sources.names if name in found.fitting.sources]
    blend = fit(only(found.fitting, names), Blend.default(names))
    told = {"fitted_users": n_asked(found.fitting), "halves_of_users": found.halves}
    measured = told | judged(found.judging, blend, in_use, found.fitting, seed, names)
    return Trained(blend, measured, replace(sources, names=tuple(names)).learned(history))


def only(choices: Choices, names: Sequence[str]) -> Choices:
    """The same candidates seen by some of the sources, in this order; one that had not been asked knows nothing."""
    features = np.zeros((*choices.item.shape, len(names)))
    for place, name in enumerate(names):
        if name in choices.sources:
            features[:, :, place] = choices.features[:, :, choices.sources.index(name)]
    return replace(choices, sources=tuple(names), features=features)


def ndcg(choices: Choices, score: Floats, k: int = K) -> Floats:
    """NDCG at k of each user's candidates in the order of `score` (m, c)."""
    return ranking_metrics(choices.hits(score, k), choices.n_relevant, k)["ndcg"]


def judged(choices: Choices, blend: Blend, in_use: Blend, fitting: Choices, seed: int, singles: Sequence[str]) -> dict[str, Any]:
    """NDCG and log loss of a blend, of the one in use and of single sources over the same users: [mean, low, high] with 95 %.

    `<name>_diff` is the paired difference of the blend to each. A log loss needs a sharpness: each gets the one that suits `fitting`.
    """
    rivals = {"in_use": in_use} | {name: Blend.default([name]) for name in singles}
    order = {"value": blend} | rivals
    gains, losses = [], []
    for one in order.values():
        own = only(choices, one.sources)
        gains.append(ndcg(own, one.scores(own.features, own.segment)))
        sharp = sharpened(only(fitting, one.sources), one)
        factor = np.array(list(sharp.sharpness.values()))[own.segment]
        losses.append(log_losses(own, factor[:, None] * one.scores(own.features, own.segment)))
    asked = choices.chosen.any(axis=1)
    return {
        "users": len(choices.item),
        "candidate_recall": round(float((choices.chosen.sum(axis=1) / choices.n_relevant).mean()), 6),
        GATE: _compared(dict(zip(order, gains, strict=True)), seed),
        "log_loss": _compared({name: values[asked] for name, values in zip(order, losses, strict=True)}, seed),
    }


def _compared(values: Mapping[str, Floats], seed: int) -> dict[str, list[float]]:
    """[mean, low, high] of each, and of the first one's paired difference to each other."""
    named = dict(values) | {f"{name}_diff": values["value"] - other for name, other in values.items() if name != "value"}
    found = bootstrap(np.column_stack(list(named.values())), seed)
    return {name: [round(v, 6) for v in (e.value, e.low, e.high)] for name, e in zip(named, found, strict=True)}


def best_single(measured: Mapping[str, Any]) -> str:
    """The single source with the highest NDCG, ties to the first by name."""
    gate = measured[GATE]
    singles = sorted(n for n in gate if n not in ("value", "in_use") and not n.endswith("_diff"))
    return max(singles, key=lambda n: gate[n][0])


def better(measured: Mapping[str, Any]) -> bool:
    """Whether a blend may come into use: with 95 % its NDCG is above that of the one in use, and not below the best single source's.

    Where nothing was promoted yet, the default coefficients are what is in use, and the rule is the same: a shop that they suit needs no
    others, and noise would pass every rule that lets through what is merely not worse.
    """
    gate = measured[GATE]
    return bool(gate["in_use_diff"][1] > 0 and gate[f"{best_single(measured)}_diff"][2] >= 0)
