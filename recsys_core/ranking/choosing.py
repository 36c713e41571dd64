"""Compiled loops over the candidates of users: their shares, how they blend, lists that grow slot by slot, slots that explore.

Importing this loads numba: do so where a loop is needed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys_core.compiled import kernel
from recsys_core.ranking.kernels import product
from recsys_core.recommenders.base import Floats, Ints


@kernel
def shares(scores: Floats, item: Ints, tops: Floats, unit: float, features: Floats, source: int) -> None:
    """Scores of candidates over the row's largest allowed one, in whole 1 / unit, into `features[:, :, source]`; where that is 0, none."""
    for row in range(len(item)):
        if tops[row] > 0:
            for place in range(item.shape[1]):
                if item[row, place] >= 0:
                    features[row, place, source] = np.rint(scores[row, item[row, place]] / tops[row] * unit) / unit


@kernel
def blended(item: Ints, features: Floats, weights: Floats, segment: Ints, unit: float) -> tuple[Ints, Floats, Floats]:
    """Candidates by what `Blend.contributions` says of them, the largest sum first, ties in the order given; with the sums and the parts.

    item      (m, c) codes, −1 behind them
    features  (m, c, f)
    weights   (segments, f, 2) of a score and of its root
    segment   (m,)
    """
    m, c, f = features.shape
    found, score, parts = np.full((m, c), -1, np.int64), np.zeros((m, c)), np.zeros((m, c, f))
    keys = np.empty(c, np.int64)
    for row in range(m):
        own, n = weights[segment[row]], 0
        while n < c and item[row, n] >= 0:
            total = 0.0
            for source in range(f):
                share = features[row, n, source]
                total += np.rint((own[source, 0] * share + own[source, 1] * np.sqrt(share)) * unit) / unit
            keys[n] = np.int64(np.rint(total * unit)) * c + (c - 1 - n)
            n += 1
        order = np.sort(keys[:n])
        for place in range(n):
            key = order[n - 1 - place]
            at = c - 1 - key % c
            found[row, place], score[row, place] = item[row, at], (key // c) / unit
            for source in range(f):
                share = features[row, at, source]
                parts[row, place, source] = np.rint((own[source, 0] * share + own[source, 1] * np.sqrt(share)) * unit) / unit
    return found, score, parts


@kernel
def standing(item: Ints, row: Ints, chosen: Ints) -> Ints:
    """Where each chosen item stands among the candidates of its row, −1 = nowhere."""
    found = np.full(len(row), -1, np.int64)
    for slot in range(len(row)):
        for place in range(item.shape[1]):
            if item[row[slot], place] == chosen[slot]:
                found[slot] = place
                break
    return found


@kernel
def explored(
    users: Ints,
    item: Ints,
    score: Floats,
    allowed: NDArray[np.bool_],
    begin: Ints,
    topic: Ints,
    row_of: Ints,
    begin_of_topic: Ints,
    member: Ints,
    ranks: Ints,
    lists: Ints,
    why: Ints,
) -> None:
    """Give slots at `ranks` to proposed topics, in `lists` and `why`, as `exploration.explore` says.

    begin, topic, row_of    of users: where their proposals begin, each one's topic, and its row
    begin_of_topic, member  of topics: where their items begin, in the order in which they are taken
    """
    n = lists.shape[1]
    liking, is_open = np.zeros(allowed.shape[1]), np.zeros(allowed.shape[1], np.bool_)
    chosen, because, rest = np.empty(len(ranks), np.int64), np.empty(len(ranks), np.int64), np.empty(n, np.int64)
    for row in range(len(lists)):
        first, last = begin[users[row]], begin[users[row] + 1]
        if first == last or lists[row].min() < 0:
            continue
        for place in range(item.shape[1]):
            if item[row, place] >= 0:
                liking[item[row, place]] = score[row, place]
        is_open[:] = allowed[row]
        for place in range(n):
            is_open[lists[row, place]] = False
        waiting, size, turn = np.ones(last - first, np.bool_), 0, True
        while turn and size < len(ranks):
            turn = False
            for place in range(first, last):
                if not waiting[place - first] or size == len(ranks):
                    continue
                best = -1
                for entry in range(begin_of_topic[topic[place]], begin_of_topic[topic[place] + 1]):
                    if is_open[member[entry]] and (best < 0 or liking[member[entry]] > liking[best]):
                        best = member[entry]
                waiting[place - first] = best >= 0
                if best >= 0:
                    is_open[best], turn = False, True
                    chosen[size], because[size] = best, row_of[place]
                    size += 1
        for place in range(item.shape[1]):
            if item[row, place] >= 0:
                liking[item[row, place]] = 0.0
        rest[:] = lists[row]
        taken = 0
        for place in range(n):
            if taken < size and ranks[taken] == place + 1:
                lists[row, place], why[row, place] = chosen[taken], because[taken]
                taken += 1
            else:
                lists[row, place] = rest[place - taken]


@kernel
def grown(
    item: Ints,
    discount: Floats,
    vectors: NDArray[np.float32],
    begin: Ints,
    topic: Ints,
    weight: Floats,
    target: Floats,
    places: Ints,
    diversity: float,
    calibration: float,
    smoothing: float,
    unit: float,
) -> None:
    """Places among the candidates of each user's list, into `places` (m, n), which holds −1; see `rerank`.

    item                  (m, c) codes, the best first, −1 behind them
    discount              (c,) 1 / s of each place
    begin, topic, weight  rows of p(topic | item), each of sum 1
    target                (m, k), each row of sum 1 or 0

    A value is bounded first: as if all of a candidate's topics were wanted in full, and it were like nothing but what it was compared with.
    One that even so is behind the best is passed over without a logarithm or a cosine.
    """
    m, c = item.shape
    n, k = places.shape[1], target.shape[1]
    likeness, bound = np.empty(c), np.empty(c)
    compared, is_open = np.empty(c, np.int64), np.empty(c, np.bool_)
    held, terms, gain, slope, scored = np.empty(k), np.empty(k), np.empty(k), np.empty(k), np.empty(c)
    for user in range(m):
        there = 0
        while there < c and item[user, there] >= 0:
            there += 1
        wanted = False
        for t in range(k):
            held[t] = 0.0
            wanted = wanted or target[user, t] > 0
        share = calibration if wanted else 0.0
        likeness[:there], compared[:there], is_open[:there] = 0.0, 0, True
        for at in range(there):
            scored[at] = (1 - diversity - share) / discount[at]
        for place in range(min(n, there)):
            size = place + 1
            without = 0.0
            for t in range(k):
                terms[t], gain[t], slope[t] = 0.0, 0.0, 0.0
                if share > 0 and target[user, t] > 0:
                    terms[t] = _term(target[user, t], held[t] / size, smoothing)
                    gain[t] = terms[t] - _term(target[user, t], (held[t] + 1) / size, smoothing)
                    slope[t] = target[user, t] * (1 - smoothing) / ((1 - smoothing) * held[t] + smoothing * target[user, t] * size)
                    without += terms[t]
            first = -1
            for at in range(there):
                if is_open[at]:
                    nearest = without
                    for e in range(begin[item[user, at]], begin[item[user, at] + 1]):
                        nearest -= min(gain[topic[e]], slope[topic[e]] * weight[e])
                    fixed = scored[at] - share * size * (nearest / np.log(1 / smoothing))
                    bound[at] = np.rint((fixed - diversity * likeness[at]) * unit) + 1  # for what rounding may have taken away
                    if first < 0 or bound[at] > bound[first]:
                        first = at
            best, value = -1, -np.inf
            for turn in range(-1, there):  # the most promising one, then all others
                at = first if turn < 0 else turn
                if not is_open[at] or turn == first or not _ahead(bound[at], at, value, best):
                    continue
                fixed = scored[at]
                if share > 0:
                    with_it = 0.0
                    for e in range(begin[item[user, at]], begin[item[user, at] + 1]):
                        t = topic[e]
                        with_it += _term(target[user, t], (held[t] + weight[e]) / size, smoothing) - terms[t]
                    fixed -= share * size * ((without + with_it) / np.log(1 / smoothing))
                if diversity > 0 and _ahead(np.rint((fixed - diversity * likeness[at]) * unit), at, value, best):
                    own = vectors[item[user, at]]
                    for before in range(compared[at], place):
                        likeness[at] = max(likeness[at], product(own, vectors[item[user, places[user, before]]]))
                    compared[at] = place
                found = np.rint((fixed - diversity * likeness[at]) * unit)
                if _ahead(found, at, value, best):
                    best, value = at, found
            places[user, place] = best
            is_open[best] = False
            for e in range(begin[item[user, best]], begin[item[user, best] + 1]):
                held[topic[e]] += weight[e]


@kernel
def _ahead(value: float, at: int, than: float, best: int) -> bool:
    """Whether a candidate is taken rather than the best so far: ties go to the one that comes first."""
    return value > than or (value == than and at < best)


@kernel
def _term(target: float, held: float, smoothing: float) -> float:
    """What one topic adds to the divergence."""
    return target * np.log(target / ((1 - smoothing) * held + smoothing * target)) if target > 0 else 0.0
