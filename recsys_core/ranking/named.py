"""Lists beside for_you, each of one kind of reason; they hold what there is and may be short or missing, where for_you is always full."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_core.explain import Reasons, last_met
from recsys_core.ranking.personal import Allowed
from recsys_core.ranking.top_n import DIGITS, Slots, in_blocks, top_n
from recsys_core.recommenders.base import Floats, Interactions, Ints, Recommender

THIS_WEEK, WEEKS_BEFORE = 7, 28
# Fewer users are no trend but somebody's errand.
MIN_USERS = 5
# Standard errors that an item must have risen by: of steady items one in seven hundred does by chance.
LEAST_RISE = 3.0

# (users, items that may be shown (n_items,)) → the best of those by the blend, with source and evidence, for each of the users.
Ranker = Callable[[Ints, NDArray[np.bool_]], Slots]


def latest_liked(history: Interactions, liked: NDArray[np.bool_]) -> Ints:
    """The item that each user liked last, shape (n_users,), −1 = none; `liked` is a mask of the rows of `history`.

    What a user turned away from since (a row of weight ≤ 0 later on) is not liked any more.

    >>> rows = [np.array(x) for x in ([0, 0, 0, 1], [3, 4, 4, 3], [5.0, 5.0, -3.0, 1.0], [3, 2, 1, 0], [1, 2, 3, 1])]
    >>> latest_liked(Interactions.of(*rows, 3, 5), np.array([True, True, False, False])).tolist()
    [3, -1, -1]
    """
    pair = history.user * history.n_items + history.item
    against = np.flatnonzero(history.weight <= 0)
    turned, last = np.unique(pair[against][::-1], return_index=True)
    last = against[::-1][last]
    rows = np.flatnonzero(liked)
    if len(turned):
        at = np.minimum(np.searchsorted(turned, pair[rows]), len(turned) - 1)
        rows = rows[(turned[at] != pair[rows]) | (last[at] < rows)]
    found = np.full(history.n_users, -1, np.int64)
    found[history.user[rows]] = history.item[rows]  # rows follow time: the last one stands
    return found


def because_you_liked(
    sources: Mapping[str, Recommender],
    weights: Mapping[str, float],
    history: Interactions,
    liked: NDArray[np.bool_],
    users: Ints,
    allowed_to: Allowed,
    n: int,
) -> tuple[Slots, Reasons]:
    """Up to n items that each user never met, most like the one that they liked last, which is the evidence of all of them.

    Score: Σ weight × the source's `similar` over its largest for an item that may be shown; only what is above 0. Who liked nothing has no
    list. `liked` is a mask of the rows of `history` (bought, rated, reviewed, …), `source` of a slot the place in `sources`.
    """
    from recsys_core.ranking import kernels

    seeds, seen = latest_liked(history, liked), history.seen()
    share = np.array([weights[name] for name in sources], np.float64)

    def block(own: Ints) -> _Columns:
        seed = seeds[own]
        allowed = allowed_to(own) & (seen[own].toarray() == 0)
        different, place = np.unique(seed, return_inverse=True)
        similar = np.stack([np.asarray(source.similar(different), np.float64) for source in sources.values()])
        chosen, shares = kernels.best_mixed(similar, place, share, allowed, 10.0**DIGITS, n)
        row, place = np.nonzero(chosen >= 0)
        item = chosen[row, place]
        adds: Floats = shares[row, place].round(DIGITS)
        return own[row], place + 1, item, adds.sum(axis=1).round(DIGITS), adds.argmax(axis=1), seed[row], adds

    # Who liked the same item last is looked at together: what is like it is found once.
    liking = users[seeds[users] >= 0]
    parts = in_blocks(block, liking[np.argsort(seeds[liking], kind="stable")], history.n_items) if sources else []
    columns = [np.concatenate(column) for column in zip(_nothing(len(sources)), *parts, strict=True)]
    place = np.empty(history.n_users, np.int64)
    place[users] = np.arange(len(users))
    back = np.argsort(place[columns[0]], kind="stable")
    slots = Slots(*(column[back] for column in columns))
    return slots, Reasons.of("because_you_liked", slots.evidence)


def since(catalogue: pa.Table, items: pa.Array) -> Ints:
    """The night from which each item is known (days since 1970), by item code; −1 where the catalogue never said when.

    `catalogue` has item_id and first_ds. What was there when the catalogue was first told may have been there for ever.
    """
    days = catalogue["first_ds"].cast(pa.int32()).to_numpy().astype(np.int64)
    told = np.where(days > days.min(initial=np.iinfo(np.int64).max), days, -1)
    found = pc.fill_null(pc.index_in(items, value_set=catalogue["item_id"].combine_chunks()), -1).to_numpy().astype(np.int64)
    return np.where(found >= 0, told[found], -1) if len(told) else np.full(len(items), -1, np.int64)


def fresh(eligible: NDArray[np.bool_], known_since: Ints, ds: dt.date, new_nights: int) -> NDArray[np.bool_]:
    """Which items the catalogue first told of within the last `new_nights` nights, `ds` being one of them; `known_since` as of `since`."""
    today = (ds - dt.date(1970, 1, 1)).days
    return eligible & (known_since > today - new_nights) & (known_since >= 0)


def new_for_you(
    best: Ranker, history: Interactions, users: Ints, eligible: NDArray[np.bool_], known_since: Ints, ds: dt.date, new_nights: int
) -> tuple[Slots, Reasons]:
    """The best of the items that are `fresh`.

    `best` ranks them as for_you does; what nothing in it speaks for (score 0) is left out, as is what the user met already.
    """
    among = fresh(eligible, known_since, ds, new_nights)
    if not among.any():
        return _joined([_nothing()]), Reasons.of("new", _NONE)
    found = best(users, among)
    kept = _taken(found, (found.score > 0) & (last_met(found.user, found.item, history) < 0))
    return kept, Reasons.of("new", known_since[kept.item])


def trending(history: Interactions, languages: Sequence[str], eligible: NDArray[np.bool_], n: int) -> tuple[list[str], Slots, Reasons]:
    """Up to n items that rise, for everybody and by language: (list names, slots whose `user` is a place in them, reasons).

    Counted are user-nights with a positive interaction, as for popularity: `a` of `A` in all in this week, `b` of `B` in up to four weeks
    before. Score: the log ratio of the item's shares over its standard error, after Monroe, Colaresi and Quinn 2008 ("Fightin' Words", eq.
    16, 19 and 22), with one user-night a week and as many as that makes before in favour of "no change":

        δ = ln((a + 1) / A) − ln((b + B/A) / B),  score = δ / √(1 / (a + 1) + 1 / (b + B/A))

    Listed are items with a score of LEAST_RISE at least, MIN_USERS users in this week and more user-nights a night than before, so that
    nothing "rises" because all else fell. There is no list while less than a week is known of the time before. Languages have a list of
    their own where something rises in them; `history.group` holds their places in `languages`.
    """
    before = compared_nights(history)
    names = ["trending", *(f"trending_{lang}" for lang in languages)]
    chosen = history.take((history.weight > 0) & (history.age < THIS_WEEK + before))
    parts, counts = [_nothing()], [(_NONE, _NONE)]
    for place in range(len(names) if before else 0):
        own = chosen.take(history.group[chosen.user] == place - 1) if place else chosen
        week = own.age < THIS_WEEK
        now, then = (np.bincount(own.item[rows], minlength=own.n_items) for rows in (week, ~week))
        pairs = np.unique(own.user[week] * own.n_items + own.item[week])
        n_users = np.bincount(pairs % own.n_items, minlength=own.n_items)
        score = rise(now, then)
        rising = eligible & (n_users >= MIN_USERS) & (score >= LEAST_RISE) & (now * before > then * THIS_WEEK)
        item = top_n(score[None], rising[None], n)[0]
        item = item[item >= 0]
        nothing, value = np.full(len(item), -1), np.round(score[item], DIGITS)
        parts.append((np.full(len(item), place), np.arange(len(item)) + 1, item, value, nothing + 1, nothing, value[:, None]))
        counts.append((now[item], then[item]))
    return names, _joined(parts), Reasons.of("trending", *(np.concatenate(c) for c in zip(*counts, strict=True)))


def rise(now: Ints, then: Ints) -> Floats:
    """The score of `trending` by item, from user-nights in this week and before; 0 where either time is empty.

    >>> rise(np.array([10, 40, 5]), np.array([0, 160, 60])).round(2).tolist()
    [4.11, 0.0, -2.3]
    """
    a, b = int(now.sum()), int(then.sum())
    if not a or not b:
        return np.zeros(len(now))
    more, less = now + 1.0, then + b / a
    found: Floats = (np.log(more / a) - np.log(less / b)) / np.sqrt(1 / more + 1 / less)
    return found


def compared_nights(history: Interactions) -> int:
    """How many nights before this week `trending` compares with: four weeks, fewer in a young shop, 0 where less than one is known."""
    known = int(history.age.max(initial=-1)) + 1 - THIS_WEEK
    return min(known, WEEKS_BEFORE) if known >= THIS_WEEK else 0


_Columns = tuple[Ints, Ints, Ints, Floats, Ints, Ints, Floats]
_NONE = np.empty(0, np.int64)


def _nothing(n_sources: int = 1) -> _Columns:
    return _NONE, _NONE, _NONE, np.empty(0), _NONE, _NONE, np.empty((0, n_sources))


def _joined(parts: Sequence[_Columns]) -> Slots:
    return Slots(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _taken(slots: Slots, rows: NDArray[np.bool_]) -> Slots:
    """Some of the slots, with ranks from 1 again."""
    user = slots.user[rows]
    start = np.flatnonzero(np.r_[True, user[1:] != user[:-1]][: len(user)])
    rank = np.arange(len(user)) - np.repeat(start, np.diff(np.r_[start, len(user)])) + 1
    return replace(slots, **{f.name: getattr(slots, f.name)[rows] for f in fields(slots)} | {"rank": rank})
