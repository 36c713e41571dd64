"""Event types: what behaviour a raw log line may report, what it counts for, and how a site changes that."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from recsys_core import toml_file

Signal = Literal["explicit", "implicit", "generated"]


@dataclass(frozen=True)
class EventType:
    """One kind of behaviour.

    name         the value of `event_type` in the logs, and of the column `n_<name>`
    signal       implicit (behaviour), explicit (a stated opinion) or generated (the user wrote something)
    polarity     +1 the user wants more of this, −1 less
    base_weight  signed strength of one event; applied in profile and rank, never baked into facts
    decay        factor on a horizon's half-life: n nights later an event counts base_weight · 2^(−n / (half-life · decay))
    meaning      what the user did
    """

    name: str
    signal: Signal
    polarity: int
    base_weight: float
    decay: float
    meaning: str


EVENT_TYPES: dict[str, EventType] = {
    t.name: t
    for t in (
        EventType("view", "implicit", +1, 1.0, 1.0, "saw the item's page"),
        EventType("click", "implicit", +1, 1.5, 1.0, "clicked on the item in a list or an advertisement"),
        EventType("search", "implicit", +1, 1.5, 1.0, "searched; without an item it counts for topics alone"),
        EventType("add_to_cart", "implicit", +1, 3.0, 1.0, "put the item into the cart"),
        EventType("purchase", "implicit", +1, 5.0, 1.0, "bought the item"),
        EventType("rating", "explicit", +1, 2.0, 1.0, "rated the item, 1 to 5"),
        EventType("review", "generated", +1, 3.0, 1.0, "wrote a review, with or without a rating"),
        EventType("comment", "generated", +1, 2.0, 1.0, "wrote a comment or a tag"),
        EventType("post", "generated", +1, 3.0, 1.0, "wrote a post or an answer"),
        EventType("edit", "generated", +1, 1.0, 1.0, "edited what is written"),
        EventType("like", "explicit", +1, 3.0, 1.0, "liked the item"),
        EventType("favorite", "explicit", +1, 3.0, 1.0, "kept the item among the favourites"),
        EventType("share", "explicit", +1, 3.0, 1.0, "passed the item on"),
        EventType("dislike", "explicit", -1, -3.0, 1.0, "disliked the item"),
        EventType("hide", "explicit", -1, -3.0, 1.0, "asked not to see the item"),
        EventType("return", "explicit", -1, -4.0, 1.0, "sent the item back"),
    )
}

# A rating or a review of LOW_RATING or less counts under its own type *and* as `low_rated`, whose weight turns it negative.
LOW_RATING = 2.0
_LOW_RATED = EventType("low_rated", "explicit", -1, -6.0, 1.0, f"no `event_type`: added to a rating or review of {LOW_RATING:g} or less")
# The text of a review without a rating says how good it is: its sentiment, 0 to 1 on either side, is added to what the review counts.
# Sentiment s so multiplies a review by 1 + s/2 where it is good and by 1 + 2s where it is bad, as a low rating does with s = −1.
_PRAISED = EventType(
    "praised", "generated", +1, 1.5, 1.0, "no `event_type`: added to a review without a rating, times its praise of 0 to 1"
)
_PANNED = EventType("panned", "generated", -1, -6.0, 1.0, "no `event_type`: added to a review without a rating, times its blame of 0 to 1")
# Columns that hold sums of grades, not counts.
GRADED_TYPES: tuple[str, ...] = (_PRAISED.name, _PANNED.name)
_COUNTED = EVENT_TYPES | {t.name: t for t in (_LOW_RATED, _PRAISED, _PANNED)}
# What is added to events of other types → those types.
_ADDED_TO = {"low_rated": ("rating", "review"), "praised": ("review",), "panned": ("review",)}

# Column suffixes of every count or mass that is kept by type, in the one order used everywhere.
COUNTED_TYPES: tuple[str, ...] = tuple(_COUNTED)


# Kind of the registered versions of fitted weights, and what jobs call them that go by them.
FITTED_WEIGHTS = "event_weights"


@dataclass(frozen=True)
class Weights:
    """What an event of each of COUNTED_TYPES counts for: `base`, signed and without unit, and `decay`, a factor on half-lives."""

    base: Mapping[str, float]
    decay: Mapping[str, float]

    @property
    def cap(self) -> float:
        """What an item counts for on one night at most, on either side: one whole funnel, or a single event that weighs more.

        >>> DEFAULT_WEIGHTS.cap
        12.0
        """
        funnel = ("view", "click", "search", "add_to_cart", "purchase")
        return max(sum(self.base[t] for t in funnel), *map(abs, self.base.values()))

    def fitted(self, params: Mapping[str, Any]) -> Self:
        """The weights of a version that was fitted from these; themselves when it started from others, as before a site changed its own."""
        return replace(self, base=params["base"]) if params["hand_set"] == self.params else self

    @property
    def params(self) -> dict[str, dict[str, float]]:
        """Both as plain data."""
        return {"base": dict(self.base), "decay": dict(self.decay)}

    def by_decay(self) -> dict[float, dict[str, float]]:
        """Decay → weights of the types that have it, both in the order of COUNTED_TYPES: types that fade alike are summed before they fade.

        >>> [list(of) for of in overridden("purchase.decay = 2", "site.toml").by_decay().values()][1]
        ['purchase']
        """
        found: dict[float, dict[str, float]] = {}
        for name, weight in self.base.items():
            found.setdefault(self.decay[name], {})[name] = weight
        return found


def type_weights() -> dict[str, float]:
    """Weight of one event of each of COUNTED_TYPES as it ships (no unit); negative means less interest."""
    return {name: t.base_weight for name, t in _COUNTED.items()}


DEFAULT_WEIGHTS = Weights(type_weights(), {name: t.decay for name, t in _COUNTED.items()})

# -- a site's own weights ----------------------------------------------------------------------------------------------------------
MAX_WEIGHT, MAX_DECAY = 100, 10
_KEYS = ("base_weight", "decay")


class OverrideError(ValueError):
    """Overrides that cannot be used: every fault of the file on a line of its own, with its place and its remedy."""


def overridden(text: str, name: str) -> Weights:
    """The weights with a site's own on top: TOML tables named by what is counted, with `base_weight` and `decay`.

    What is added to other types (low_rated, praised, panned) fades like the slowest of those unless its own decay is given, so that no low
    rating turns into praise with age.
    OverrideError names all faults of the file `name`; when it is no TOML at all, the first.

    >>> overridden("[purchase]\\nbase_weight = 8", "site.toml").base["purchase"]
    8.0
    """
    given = toml_file.checked(text, name, "write [purchase], and below it decay = 1.0", _faults, OverrideError)
    own = {n: {k: float(v) + 0.0 for k, v in table.items()} for n, table in given.items()}  # + 0.0: −0 is 0
    base = {n: own.get(n, {}).get("base_weight", shipped) for n, shipped in DEFAULT_WEIGHTS.base.items()}
    decay = {n: own.get(n, {}).get("decay", shipped) for n, shipped in DEFAULT_WEIGHTS.decay.items()}
    for added, to in _ADDED_TO.items():
        if "decay" not in own.get(added, {}):
            decay[added] = max(decay[t] for t in to)
    return Weights(base, decay)


def _faults(given: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """(path of a key, what is wrong with it and what to write instead)"""
    for name, table in given.items():
        if name not in _COUNTED:
            yield (name,), f"no event type is named {name!r}; {toml_file.nearest(name, COUNTED_TYPES)}"
        elif not isinstance(table, dict):
            yield (name,), f"{name} is not a table; write [{name}], and below it base_weight = {_COUNTED[name].base_weight:g}"
        else:
            for key, value in table.items():
                if key in ("signal", "polarity"):
                    yield (name, key), f"[{name}] {key} is part of the facts and stays; a site sets {' and '.join(_KEYS)}"
                elif key not in _KEYS:
                    yield (name, key), f"[{name}] has no key {key!r}; {toml_file.nearest(key, _KEYS)}"
                elif wanted := _wanted(_COUNTED[name], key, value):
                    yield (name, key), f"[{name}] {key} is {json.dumps(value, default=str)[:60]}; give {wanted}"


def _wanted(of: EventType, key: str, value: Any) -> str | None:
    """What a value should be, None when it is."""
    number = isinstance(value, int | float) and not isinstance(value, bool)  # comparisons with NaN are false
    if key == "decay":
        return None if number and 0 < value <= MAX_DECAY else f"a number above 0 and at most {MAX_DECAY}, like 1.0"
    if number and 0 <= value * of.polarity <= MAX_WEIGHT:
        return None
    bounds, side = (f"0 to {MAX_WEIGHT}", "for") if of.polarity > 0 else (f"-{MAX_WEIGHT} to 0", "against")
    return f"a number from {bounds}, like {of.base_weight:g}: {of.name} speaks {side} an item"


# -- the generated page ------------------------------------------------------------------------------------------------------------
_PAGE = """# Event types

Generated from [`recsys_core/events.py`](../recsys_core/events.py) by `make generate`.

{table}

(A rating or a review of {low:g} or less counts under its own type and as `low_rated`: together they speak against the item. Of a review
without a rating the text decides: its sentiment s, −1 to 1, is added as `praised` or `panned`, so that the review counts 1 + s/2 times
where it is good and 1 + 2s times where it is bad. A review with a rating is weighed by its rating alone, never twice.)

Facts count events by type and know no weight (behaviour told in words, `user_text`, goes by the weights above on every site). What looks
back weighs them:

- `user_interest`: score = Σ over nights and types of base weight · mass · 2^(−(nights / days + events / 100) / decay), with a half-life of
  1, 7 or 90 days, and of 100 events of the user besides, counted back from the user's last night with events, over 90 nights up to it.
  What an item counts for on a night is Σ base weight · count, of views times f(dwell) = 2·m / (m + 30) for m seconds a view (1 where none
  are told), and at most one whole funnel on either side: view, click, search, cart and purchase together, {cap:g} as above. After the last
  night with events all of a user fades alike, by days. The evidence is the same sum for single items; `user_profile.vector` is made of
  item vectors with the 90-day sum.
- `user_topn`, `eval_metric`: what a user did with an item on a night speaks for it when Σ base weight · count is above 0. Lists let
  profiles fade by interactions, not by nights: decay does not enter.

## Other weights for a site

Name a TOML file in the setting `EVENT_TYPES_FILE`. What it leaves out stays as above:

```toml
[view]
base_weight = 0.5

[purchase]
base_weight = 8.0
decay = 2.0        # fades half as fast: its half-lives are 2, 14 and 180 days, and 200 events

[low_rated]
base_weight = -10.0
```

`base_weight` is a number from 0 to {weight} for types that speak for an item and from −{weight} to 0 for those that speak against it; 0
leaves a type out of account. `decay` is above 0 and at most {decay}. `low_rated` fades like the slower of `rating` and `review`, unless the
file gives it a decay of its own: were it to fade faster, an old low rating would end up in favour; `praised` and `panned` fade like
`review`. Who raises `rating` or `review` should lower `low_rated` and `panned` as well. Signal and polarity are part of the facts and
cannot be changed. A file with a fault stops every command before it starts, and each fault is named with its line.

## Fitted weights

Each training fits the weights anew, starting from those in use, on the week before the last one (`fit_event_weights`): of the topics that a
user had touched by then, the ones touched in the following seven nights are to be as probable as can be, where a topic's probability goes
with its weighted, faded mass. Signs stay, types that nobody used keep their weight, rare ones stay near it, and all together weigh as much
as before. They come into use on the next night if under them the topics of the last week, from which nothing was learnt, are ranked better
(NDCG) and are more probable, both with 95 % confidence over at least 100 users; else the weights stay. `model_version` (kind
`event_weights`) tells what was fitted and measured, `python -m jobs rollback --kind event_weights --reason TEXT` takes a version back. A
changed file leaves fitted weights aside until the next training starts from it.

A changed file makes `profile`, `expand`, `recommend` and `evaluate` stale, with what follows, and no fact: `python -m jobs plan` lists the
nights, `python -m jobs nights` builds them again. Comments, order and values equal to those above change nothing.
"""


def markdown() -> str:
    """The page docs/event-types.md."""
    rows = ["| event type | signal | polarity | base weight | decay | the user … |", "|---|---|---|---|---|---|"]
    rows += [
        f"| `{t.name}` | {t.signal} | {'+1' if t.polarity > 0 else '−1'} | {t.base_weight:g} | {t.decay:g} | {t.meaning} |".replace(
            "| -", "| −"
        )
        for t in _COUNTED.values()
    ]
    return _PAGE.format(table="\n".join(rows), low=LOW_RATING, weight=MAX_WEIGHT, decay=MAX_DECAY, cap=DEFAULT_WEIGHTS.cap)
