"""The loops of profiles that arrays alone would walk many times over, compiled; whoever needs one imports this module then.

Rows of a user's items are walked by user and item, and each row's topics where they stand in an index: what a user did with an item is
never put down once for each of the item's topics. Sums are of whole numbers, so that no order of rows matters.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from recsys_core.compiled import kernel


@kernel
def faded_sums(of: Any, night: Any, parts: Any, fades: Any, first: Any, n: int) -> Any:
    """(horizons, checkpoints, n) Σ of parts that fade, in whole numbers: each row adds to its group at every checkpoint it is not after.

    of      the group of each row, 0 … n − 1
    night   its night, a place in `fades` and `first`; −1 adds nothing
    parts   (decays, rows)
    fades   (nights, decays, checkpoints, horizons) what is left of a part
    first   by night: at how many checkpoints it counts, the first ones
    """
    nights, decays, checkpoints, horizons = fades.shape
    sums, left = np.zeros((n, checkpoints * horizons), np.int64), fades.reshape(nights, decays, checkpoints * horizons)
    value = np.empty(checkpoints * horizons)
    for row in range(len(of)):
        at = night[row]
        if at < 0:
            continue
        _add(sums[of[row]], parts[:, row], 1.0, left[at], first[at] * horizons, value)
    return sums.reshape(n, checkpoints, horizons).transpose(2, 1, 0)


@kernel
def _add(sums: Any, parts: Any, share: float, left: Any, most: int, value: Any) -> None:
    """Add a share of parts by decay to the first `most` of `sums`, by what is `left` of them (decays, sums); `value` is overwritten."""
    for j in range(most):
        value[j] = parts[0] * share * left[0, j]
    for d in range(1, len(parts)):
        for j in range(most):
            value[j] += parts[d] * share * left[d, j]
    for j in range(most):
        sums[j] += np.int64(np.rint(value[j]))


@kernel
def grouped(key: Any, order: Any, n: int) -> Any:
    """`order` (rows) sorted by their key, 0 … n − 1; rows of one key stay in their order."""
    start = np.zeros(n + 1, np.int64)
    for row in order:
        start[key[row] + 1] += 1
    for k in range(n):
        start[k + 1] += start[k]
    found = np.empty_like(order)
    for row in order:
        found[start[key[row]]] = row
        start[key[row]] += 1
    return found


@kernel
def met_topics(user: Any, low: Any, high: Any, topic: Any, seen: Any) -> None:
    """Note in `seen` (users, topics) which topics the items of each user's rows have, those at low … high of `topic`."""
    for row in range(len(user)):
        for at in range(low[row], high[row]):
            seen[user[row], topic[at]] = True


@kernel
def item_sums(
    order: Any, user: Any, item: Any, night: Any, low: Any, high: Any, topic: Any, share: Any, more: Any, events: Any, pair: Any,
    fades: Any, first: Any, n: int,
) -> Any:  # fmt: skip
    """((horizons, checkpoints, n) as of `faded_sums`, items, events) by pair of user and topic, of rows of users' items.

    order      rows by user and item
    night      of each row, a place in `fades` and `first`; −1 does not count
    low, high  where its topics stand in `topic` and `share`
    more       (decays, rows), of which each topic has its share
    pair       (users, topics) the number of each pair, 0 … n − 1
    """
    nights, decays, checkpoints, horizons = fades.shape
    sums, left = np.zeros((n, checkpoints * horizons), np.int64), fades.reshape(nights, decays, checkpoints * horizons)
    value = np.empty(checkpoints * horizons)
    items, met, last = np.zeros(n, np.int64), np.zeros(n, np.int64), np.full(n, -1, np.int64)
    for row in order:
        at = night[row]
        if at < 0:
            continue
        changed = False
        for d in range(decays):
            changed |= more[d, row] != 0
        for place in range(low[row], high[row]):
            of = pair[user[row], topic[place]]
            met[of] += events[row]
            if last[of] != item[row]:
                last[of] = item[row]
                items[of] += 1
            if changed:
                _add(sums[of], more[:, row], share[place], left[at], first[at] * horizons, value)
    return sums.reshape(n, checkpoints, horizons).transpose(2, 1, 0), items, met


@kernel
def heaviest_items(
    order: Any, user: Any, item: Any, night: Any, low: Any, high: Any, topic: Any, share: Any, capped: Any, events: Any, pair: Any,
    fades: Any, kept: Any, n: int, most: int,
) -> Any:  # fmt: skip
    """(number, item, weight, events) of up to `most` items of each kept pair and horizon, the heaviest first, ties to the earlier item.

    kept    (pairs, horizons) the place, 0 … n − 1, of each pair and horizon that is kept; −1 of all others
    number  (n,) how many there are; the others are (n, most); weight is Σ capped · share · fade, of each row in whole numbers

    All else as `item_sums` has it.
    """
    horizons, topics, value = kept.shape[1], pair.shape[1], np.empty(kept.shape[1])
    number, items, weights, met = (
        np.zeros(n, np.int64),
        np.zeros((n, most), np.int64),
        np.zeros((n, most), np.int64),
        np.zeros((n, most), np.int64),
    )
    wanted = np.zeros(len(kept), np.bool_)
    for p in range(len(kept)):
        for h in range(horizons):
            wanted[p] |= kept[p, h] >= 0
    # Of the item that is walked: its topics, and what each has of it.
    own, own_events, there, touched, found = (
        np.zeros((topics, horizons), np.int64),
        np.zeros(topics, np.int64),
        np.zeros(topics, np.bool_),
        np.empty(topics, np.int64),
        0,
    )
    for i in range(len(order)):
        row = order[i]
        at = night[row]
        if at >= 0:
            for place in range(low[row], high[row]):
                t = topic[place]
                if not wanted[pair[user[row], t]]:
                    continue
                if not there[t]:
                    there[t], touched[found] = True, t
                    found += 1
                own_events[t] += events[row]
                _add(own[t], capped[:, row], share[place], fades[at, :, 0], horizons, value)
        following = order[i + 1] if i + 1 < len(order) else -1
        if following >= 0 and item[following] == item[row] and user[following] == user[row]:
            continue
        for f in range(found):
            t = touched[f]
            for h in range(horizons):
                of = kept[pair[user[row], t], h]
                if of >= 0:
                    to = number[of]
                    while to > 0 and weights[of, to - 1] < own[t, h]:
                        to -= 1
                    if to < most:
                        for later in range(min(number[of], most - 1), to, -1):
                            items[of, later], weights[of, later], met[of, later] = (
                                items[of, later - 1],
                                weights[of, later - 1],
                                met[of, later - 1],
                            )
                        items[of, to], weights[of, to], met[of, to] = item[row], own[t, h], own_events[t]
                        number[of] = min(number[of] + 1, most)
                own[t, h] = 0
            there[t], own_events[t] = False, 0
        found = 0
    return number, items, weights, met


@kernel
def weights_of_items(order: Any, user: Any, item: Any, night: Any, capped: Any, act: Any, fades: Any) -> Any:
    """(user, item, Σ capped · fade of each row in whole numbers, least act) of each user and item with a row that counts, in order.

    `order` are rows by user and item; `fades` (decays, nights).
    """
    n, decays = 0, len(capped)
    users, items = np.empty(len(order), np.int32), np.empty(len(order), np.int32)
    weights, acts = np.empty(len(order), np.int64), np.empty(len(order), np.int8)
    for row in order:
        at = night[row]
        if at < 0:
            continue
        value = 0.0
        for d in range(decays):
            value += capped[d, row] * fades[d, at]
        if n == 0 or users[n - 1] != user[row] or items[n - 1] != item[row]:
            users[n], items[n], weights[n], acts[n] = user[row], item[row], 0, act[row]
            n += 1
        weights[n - 1] += np.int64(np.rint(value * 1_000_000_000))
        acts[n - 1] = min(acts[n - 1], act[row])
    return users[:n], items[:n], weights[:n], acts[:n]


@kernel
def heaviest(group: Any, weight: Any, n: int, most: int) -> Any:
    """Rows of up to `most` of each group, 0 … n − 1, group by group, the heaviest first, ties to the earlier row; `group` is sorted."""
    rows = np.empty(len(group), np.int64)
    first = np.searchsorted(group, np.arange(n + 1))
    found = 0
    for g in range(n):
        start = found
        for row in range(first[g], first[g + 1]):
            at = found
            while at > start and weight[rows[at - 1]] < weight[row]:
                at -= 1
            if at < start + most:
                last = min(found, start + most - 1)
                for later in range(last, at, -1):
                    rows[later] = rows[later - 1]
                rows[at] = row
                found = last + 1
    return rows[:found]


@kernel
def context_sums(
    order: Any,
    user: Any,
    value: Any,
    low: Any,
    high: Any,
    topic: Any,
    weight: Any,
    events: Any,
    shown: Any,
    n_values: int,
    least: int,
    most: int,
) -> Any:
    """Columns of the topics that lead in each user's contexts: user, value, topic, mass, events, mass of the context, of the topic and
    of all, and rank.

    order      rows by user
    value      of each row, 0 … n_values − 1; −1 is no context
    low, high  where its topics stand in `topic` and `weight`
    shown      (users, topics) what is not to be left out

    Mass is Σ weight · events in millionths, of each row in whole numbers; a context has `least` of it at least, and `most` topics with any
    mass, ties to the lower topic, lead it. The mass of the topic, and of all, is that over all values.
    """
    users, topics = shown.shape
    limit = min(users * n_values * most, len(order) * max(topics, 1))
    found, n = np.empty((9, limit), np.int64), 0
    mass, met = np.zeros((n_values, topics), np.int64), np.zeros((n_values, topics), np.int64)
    of_value, of_topic, rank = np.zeros(n_values, np.int64), np.zeros(topics, np.int64), np.zeros(topics, np.int64)
    for i in range(len(order)):
        row = order[i]
        who, v = user[row], value[row]
        if v >= 0:
            for place in range(low[row], high[row]):
                t = topic[place]
                if shown[who, t]:
                    micro = np.int64(np.rint(weight[place] * events[row] * 1_000_000.0))
                    mass[v, t] += micro
                    met[v, t] += events[row]
                    of_value[v] += micro
                    of_topic[t] += micro
        if i + 1 < len(order) and user[order[i + 1]] == who:
            continue
        whole = of_value.sum()
        for v in range(n_values):
            if of_value[v] >= least:
                rank[:] = 0
                for place in range(1, most + 1):
                    best = -1
                    for t in range(topics):
                        if rank[t] == 0 and mass[v, t] > 0 and (best < 0 or mass[v, t] > mass[v, best]):
                            best = t
                    if best < 0:
                        break
                    rank[best] = place
                for t in range(topics):
                    if rank[t]:
                        found[0, n], found[1, n], found[2, n], found[3, n], found[4, n] = who, v, t, mass[v, t], met[v, t]
                        found[5, n], found[6, n], found[7, n], found[8, n] = of_value[v], of_topic[t], whole, rank[t]
                        n += 1
        mass[:], met[:], of_value[:], of_topic[:] = 0, 0, 0, 0
    return found[:, :n]
