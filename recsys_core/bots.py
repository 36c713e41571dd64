"""Which users of a night are no persons, by the times of their events alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys_core.grouping import Groups


@dataclass(frozen=True)
class BotRule:
    """When a user's night is a bot's.

    min_events      fewer events than this are never looked at
    busy_seconds    too fast: events in at least so many seconds of one clock's ten minutes (600 is all of them)
    regular_bits    too regular: the pauses between events, in whole seconds, have an entropy below this many bits (Shannon)

    Both look at distinct seconds: the hundred lines of one invoice, or of a batch that was logged at once, are one moment.
    """

    min_events: int = 200
    busy_seconds: int = 300
    regular_bits: float = 1.0


def bots(who: np.ndarray, seconds: np.ndarray, rule: BotRule) -> np.ndarray:
    """Sorted numbers of those who are bots among the events (who, seconds since 1970) of users with `rule.min_events` and more.

    entropy = −Σ p·log₂ p over the distinct pauses, p being a pause's share of all pauses (Shannon 1948).
    """
    moments = Groups([who, seconds])
    who, seconds = who[moments.first], seconds[moments.first]
    busy = Groups([who, seconds // 600])
    fast = who[busy.first[busy.counts() >= rule.busy_seconds]]
    goes_on = who[1:] == who[:-1]
    paused, pause = who[1:][goes_on], (seconds[1:] - seconds[:-1])[goes_on]
    each = Groups([paused, pause])
    n, of = each.counts(), Groups([paused[each.first]])
    total = of.sums(n)
    # −Σ (n/N)·log₂(n/N) = log₂ N − Σ n·log₂ n / N
    bits = np.round(np.log2(np.maximum(total, 1)) - np.bincount(of.of, n * np.log2(n), of.n) / np.maximum(total, 1), 6)
    regular = paused[each.first][of.first[(total >= rule.min_events - 1) & (bits < rule.regular_bits)]]
    return np.union1d(fast, regular)
