"""How many days until a change of interests is told, beside a plain 30-day window at the same rate of false alarms.

`python -m benchmarks delay --source simulated` takes the switches of simulated shops. With `--source steam` (or `stackexchange`) and
`--data DIR` real users are spliced: the first half of one's events, then the second half of another's, from the same night on. Topics of
their items are by k-means, fitted on all items met.

A change is told when a topic is found risen or fallen, as is true of it. False alarms are user-topics told changed within 30 nights though
the user is steady: of a shop's steady users the planted topics; of real users those with a tenth of their events, after their nights were
put in random order. The plain rule tells a change when the share of 30 nights differs by θ from that of the 30 nights before, with at least
m events in each; of all θ and m with no more false alarms than ours on the validation half, it gets those that find most changes there.
Figures are of the other half.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

import click
import numpy as np
import pyarrow as pa

from benchmarks.topic_days import SOURCES, read_logs, topic_rows
from recsys_core import change
from recsys_core.simulate.behaviour import TYPES, Block, open_shelf, simulate_block
from recsys_core.simulate.shop import CHANGES, SECOND_TOPIC_WEIGHT, SLOTS, make_catalogue, make_population
from recsys_core.simulate.vocabulary import TOPICS

MICRO = 1_000_000
MONTH, HORIZON, PAST = 30, 90, 120
SHOP_NIGHTS, SHOP_ITEMS, FIRST_CHANGE = 100, 1500, 28
SHOP_EVENTS = (12, 4)  # a user and night, of the two shops of either half
VALIDATION_SEEDS, TEST_SEEDS = (11, 12), (21, 22)
HELD = 0.1  # share of a user's events from which on a real user holds a topic
EXCHANGED = 0.5  # least distance (half the L1 norm) between the shares before and after a splice
Alarms = list[tuple[np.ndarray, np.ndarray]]  # a night's (user, topic) pairs as one number, and the signs of their changes
Rule = Callable[["Panel", int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Panel:
    """Users by night: `mass` (nights, users, topics) in millionths of an event; who is steady; who changes, from which night, and how.

    steady     (users, topics) whether a change told is a false alarm
    changing   users that change
    begin      (users,) night of the change, alike for all whose logs are spliced
    direction  (users, topics) sign of the true change
    first, last  nights on which alarms are counted, half-open
    """

    mass: np.ndarray
    steady: np.ndarray
    changing: np.ndarray
    begin: np.ndarray
    direction: np.ndarray
    first: int
    last: int

    def __post_init__(self) -> None:
        until = np.cumsum(np.pad(self.mass, ((1, 0), (0, 0), (0, 0))), axis=0)
        nights = np.arange(len(self.mass))[:, None, None]
        object.__setattr__(self, "_until", until)
        object.__setattr__(self, "_touched", np.maximum.accumulate(np.where(self.mass >= change.TOUCH_MICRO, nights, -1)))
        seen = self.mass.sum(axis=2) > 0
        object.__setattr__(self, "_begun", np.where(seen.any(axis=0), seen.argmax(axis=0), len(self.mass)))

    def total(self, first: int, last: int) -> np.ndarray:
        """Mass of the nights from first to last, half-open and cut to what there is, (users, topics)."""
        until: np.ndarray = self._until  # type: ignore[attr-defined]
        return until[max(last, 0)] - until[max(first, 0)]

    def weeks(self, night: int) -> change.Weeks:
        """What the product would hold on the night."""
        end = night + 1
        mass = np.stack([self.total(end - (w + 1) * change.WEEK, end - w * change.WEEK) for w in range(change.WEEKS)], axis=2)
        user, topic = np.nonzero(mass.any(axis=2))
        newest = self._touched[max(night - change.WEEK, 0)][user, topic]  # type: ignore[attr-defined]
        touched = np.where((newest >= 0) & (night >= change.WEEK), night - newest, change.NEVER).astype(np.int16)
        users, topics = pa.array([f"{u:08d}" for u in range(mass.shape[0])]), np.arange(mass.shape[1])
        oldest = np.maximum(night - self._begun, 0)  # type: ignore[attr-defined]
        return change.Weeks(users, topics, user, topic, mass[user, topic], touched, mass.sum(axis=1), oldest)


def ours(z: float = change.Z) -> Rule:
    """The product's rule."""

    def rule(panel: Panel, night: int) -> tuple[np.ndarray, np.ndarray]:
        weeks = panel.weeks(night)
        found = change.changes(weeks, z)
        return weeks.user[found.pair] * panel.mass.shape[2] + weeks.topic[found.pair], np.sign(found.z)

    return rule


def plain(theta: float, least: int, window: int = MONTH) -> Rule:
    """A change is a share of the window that differs by `theta` from that of the window before, with `least` events in each."""

    def rule(panel: Panel, night: int) -> tuple[np.ndarray, np.ndarray]:
        now, before = (panel.total(night + 1 - (n + 1) * window, night + 1 - n * window) for n in (0, 1))
        enough = np.minimum(now.sum(axis=1), before.sum(axis=1)) >= least * MICRO
        shares = [x / np.maximum(x.sum(axis=1), 1)[:, None] for x in (now, before)]
        gap = np.where(enough[:, None], shares[0] - shares[1], 0.0)
        user, topic = np.nonzero(np.abs(gap) >= theta)
        return user * panel.mass.shape[2] + topic, np.sign(gap[user, topic])

    return rule


def alarms(panel: Panel, rule: Rule) -> Alarms:
    """What the rule tells on each night of the panel."""
    return [rule(panel, night) for night in range(panel.first, panel.last)]


def false_alarms(panel: Panel, told: Alarms) -> float:
    """Share of the steady user-topics told changed within 30 nights, the mean over the panel's spans of 30 nights."""
    steady = np.flatnonzero(panel.steady)
    starts = range(len(told) % MONTH, len(told), MONTH)
    return float(np.mean([np.isin(steady, np.concatenate([pair for pair, _ in told[s : s + MONTH]])).mean() for s in starts]))


def delays(panel: Panel, told: Alarms) -> np.ndarray:
    """Nights from the change to the first night that tells it, both counted; infinite where it is not told within HORIZON nights."""
    found, width = np.full(panel.mass.shape[1], np.inf), panel.mass.shape[2]
    for night, (pair, sign) in enumerate(told, panel.first):
        user = pair // width
        right = (sign == panel.direction.ravel()[pair]) & (night >= panel.begin[user]) & (night < panel.begin[user] + HORIZON)
        np.minimum.at(found, user[right], (night - panel.begin[user] + 1)[right])
    return found[panel.changing]


def shop(seed: int, users: int, events: int) -> Panel:
    """A simulated shop by its planted topics, items of two topics belonging to both; who changes is who switches."""
    rng = [np.random.default_rng([seed, n]) for n in range(6)]
    key = int(rng[0].integers(1, 2**62))
    catalogue = make_catalogue(rng[1], rng[5], SHOP_ITEMS, SHOP_NIGHTS, key)
    people = make_population(rng[2], users, SHOP_NIGHTS, key ^ 0x0F0F0F0F)
    block = Block(np.arange(users), np.full(users * SLOTS, -1, dtype=np.int64), {})
    mass = np.zeros((SHOP_NIGHTS, users, len(TOPICS)), np.int64)
    objections = [TYPES.index(t) for t in change.OBJECTIONS if t in TYPES]
    for day in range(SHOP_NIGHTS):
        date = dt.date(2026, 1, 5) + dt.timedelta(day)
        shelf, chance = open_shelf(catalogue, day, date), np.random.default_rng([seed, 4, day])
        night, _ = simulate_block(block, people, catalogue, shelf, day, date, events, 0.05, 0, chance)
        night = night.take((night.item >= 0) & ~np.isin(night.kind, objections) & ~people.bot[night.user])
        second = catalogue.second[night.item]
        mixed, part = second >= 0, round(SECOND_TOPIC_WEIGHT * MICRO)
        np.add.at(mass[day], (night.user, catalogue.topic[night.item]), np.where(mixed, MICRO - part, MICRO))
        np.add.at(mass[day], (night.user[mixed], second[mixed]), part)
    stable = (people.change == CHANGES.index("stable")) & ~people.bot & (people.join == 0)
    steady, direction = (np.zeros((users, len(TOPICS)), dtype) for dtype in (bool, np.int64))
    rows, slots = np.nonzero((people.topics[:, :3] >= 0) & stable[:, None])
    steady[rows, people.topics[rows, slots]] = True
    direction[np.arange(users), people.topics[:, 3]], direction[np.arange(users), people.topics[:, 0]] = 1, -1
    begin = people.change_day
    switched = (people.change == CHANGES.index("switch")) & ~people.bot & (begin >= FIRST_CHANGE) & (begin < SHOP_NIGHTS - change.WEEK)
    return Panel(mass, steady, np.flatnonzero(switched), begin, direction, FIRST_CHANGE, SHOP_NIGHTS)


def active(panel: Panel, least: int) -> np.ndarray:
    """Which of the changing users have so many events in the seven nights from the change on, and in the seven weeks before."""
    total = panel.mass.sum(axis=2)
    now = [total[b : b + change.WEEK, u].sum() for u, b in zip(panel.changing, panel.begin[panel.changing], strict=True)]
    before = [total[max(b - 49, 0) : b, u].sum() for u, b in zip(panel.changing, panel.begin[panel.changing], strict=True)]
    return np.minimum(now, before) >= least * MICRO


def real_users(source: str, data: str | None, least: int, k: int, encoder: str, seed: int) -> list[np.ndarray]:
    """(night, topic, millionths of an event) of each user with so many events, by night; the night is a day's number."""
    logs = read_logs(source, data, seed)
    rows, _ = topic_rows(logs, logs.night_at(1.0), encoder, seed, k)
    user = np.unique(rows["user_key"].to_numpy(zero_copy_only=False), return_inverse=True)[1]
    night = rows["ds"].cast(pa.int32()).to_numpy()
    facts = np.column_stack([night, rows["topic_id"].to_numpy(), rows["mass_micro"].to_numpy()])[np.lexsort((night, user))]
    found = np.split(facts, np.cumsum(np.bincount(user))[:-1])
    return [events for events in found if events[:, 2].sum() >= least * MICRO]


def spliced(users: list[np.ndarray], k: int, rng: np.random.Generator) -> Panel:
    """Real users around the night of their middle event: spliced ones, the users themselves, and they with their nights in random order.

    All are moved so that this night is night PAST. Partners are drawn without replacement, and again where their topics are alike.
    """
    aligned, shares = [], []
    for events in users:
        until = events[:, 2].cumsum()
        night = events[:, 0] - events[np.searchsorted(until, until[-1] / 2), 0] + PAST
        aligned.append(np.column_stack([night, events[:, 1:]]))
        sides = (np.bincount(events[side, 1], events[side, 2], minlength=k) for side in (night < PAST, night >= PAST))
        shares.append([side / max(side.sum(), 1.0) for side in sides])
    pairs: dict[int, int] = {}
    for a in rng.permutation(len(users)).tolist():
        for b in rng.permutation(len(users)).tolist():
            if a != b and b not in pairs.values() and np.abs(shares[a][0] - shares[b][1]).sum() / 2 >= EXCHANGED:
                pairs[a] = b
                break
    logs = [np.concatenate([aligned[a][aligned[a][:, 0] < PAST], aligned[b][aligned[b][:, 0] >= PAST]]) for a, b in pairs.items()]
    direction = np.zeros((len(logs) + 2 * len(users), k), np.int64)
    direction[: len(logs)] = [np.sign(np.round(shares[b][1] - shares[a][0], 9)) for a, b in pairs.items()]
    logs += aligned
    for events in aligned:
        nights, at = np.unique(events[:, 0], return_inverse=True)
        logs.append(np.column_stack([rng.permutation(nights)[at], events[:, 1:]]))
    mass = np.zeros((PAST + HORIZON, len(logs), k), np.int64)
    for user, events in enumerate(logs):
        night, topic, micro = events[(events[:, 0] >= 0) & (events[:, 0] < len(mass))].T
        np.add.at(mass[:, user], (night, topic), micro)
    held = mass.sum(axis=0)
    steady: np.ndarray = held > HELD * held.sum(axis=1, keepdims=True)
    steady[: len(pairs) + len(users)] = False
    return Panel(mass, steady, np.arange(len(pairs)), np.full(len(logs), PAST), direction, PAST, PAST + HORIZON)


def calibrated(panels: list[Panel], most: float) -> tuple[float, int]:
    """θ and m of the plain rule that find most changes within HORIZON nights, then the soonest, with at most so many false alarms."""
    best = ((-1.0, 0.0), 1.0, 1)
    for least in (1, 2, 3, 5, 8, 12, 20):
        for theta in np.round(np.arange(0.1, 1.01, 0.1), 2):
            told = [alarms(p, plain(float(theta), least)) for p in panels]
            if np.mean([false_alarms(p, t) for p, t in zip(panels, told, strict=True)]) <= most:
                found = np.concatenate([delays(p, t) for p, t in zip(panels, told, strict=True)])
                score = (float(np.isfinite(found).mean()), float((1 / found).mean()))
                best = max(best, (score, float(theta), least))
    return best[1], best[2]


def report(name: str, panel: Panel, rules: dict[str, Rule], least: int) -> None:
    """Lines by rule, of all changes and of those of active users: median delay, share told within 7, 30, HORIZON nights, false alarms."""
    for rule_name, rule in rules.items():
        told = alarms(panel, rule)
        found, wrong = delays(panel, told), false_alarms(panel, told)
        for who, chosen in (("all", np.ones(len(found), bool)), (f"{least} events", active(panel, least))):
            middle = float(np.median(found[chosen])) if chosen.any() else np.inf
            shown = f"{middle:.0f}" if np.isfinite(middle) else f"over {HORIZON}"
            within = " | ".join(f"{(found[chosen] <= n).mean():.0%}" if chosen.any() else "–" for n in (change.WEEK, MONTH, HORIZON))
            click.echo(f"{name} | {who} | {chosen.sum()} | {rule_name} | {shown} | {within} | {wrong:.1%}")


@click.command(help=__doc__)
@click.option("--source", type=click.Choice(SOURCES), default="simulated", show_default=True)
@click.option("--data", type=click.Path(exists=True, file_okay=False), help="folder of the Steam reviews or of Stack Exchange")
@click.option("--users", type=click.IntRange(200), default=1000, show_default=True, help="of a simulated shop")
@click.option("--least", type=click.IntRange(1), default=20, show_default=True, help="events that make a real user count")
@click.option("--active-events", type=click.IntRange(1), default=20, show_default=True, help="in seven nights, of who is active enough")
@click.option("--k", type=click.IntRange(2), default=20, show_default=True, help="topics of real items")
@click.option("--encoder", default="lsa", show_default=True, help="of real items")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="of topics and splices")
def main(source: str, data: str | None, users: int, least: int, active_events: int, k: int, encoder: str, seed: int) -> None:
    """Print a table: median delay in nights, shares told in time, false alarms."""
    simulated = source == "simulated"
    if simulated:
        made = [[shop(s, users, n * users) for s, n in zip(seeds, SHOP_EVENTS, strict=True)] for seeds in (VALIDATION_SEEDS, TEST_SEEDS)]
    else:
        events = real_users(source, data, least, k, encoder, seed)
        halves = np.array_split(np.random.default_rng(seed).permutation(len(events)), 2)
        made = [[spliced([events[u] for u in half], k, np.random.default_rng([seed, n]))] for n, half in enumerate(halves)]
    validation, test = made
    most = float(np.mean([false_alarms(p, alarms(p, ours())) for p in validation]))
    theta, m = calibrated(validation, most)
    click.echo("changes | users | counted | rule | median nights | within 7 | 30 | 90 | false alarms a month")
    rules = {"changes": ours(), f"30 nights, θ {theta:g}, {m} events": plain(theta, m)}
    for n, panel in enumerate(test):
        report(f"{source}, {SHOP_EVENTS[n]} events a night and user" if simulated else source, panel, rules, active_events)


if __name__ == "__main__":
    main()
