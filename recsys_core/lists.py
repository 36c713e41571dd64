"""A night's lists as rows: what each user is shown, by variant, and popular and rising items for users nobody knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_core import explain
from recsys_core.coded import values_at
from recsys_core.events import type_weights
from recsys_core.explain import Reasons
from recsys_core.grouping import order
from recsys_core.lake import canonical_json, digest
from recsys_core.ranking import cold, named
from recsys_core.ranking.blender import Blend, segments
from recsys_core.ranking.offer import Offer
from recsys_core.ranking.personal import Lists, Wish
from recsys_core.ranking.policy import ListRules
from recsys_core.ranking.shop import Shop
from recsys_core.ranking.top_n import Slots, normalise
from recsys_core.recommenders.base import Floats, Ints, Recommender
from recsys_core.recommenders.history import codes
from recsys_core.recommenders.popularity import Popularity
from recsys_core.tables import TABLES

UNKNOWN_USER = "*"
VARIANT = "default"
EXPLORATION = "expansion"  # source of slots that explore
MAX_REGIONS = 20
LIST_LANGUAGES = ("en", "zh")  # always there, whoever came so far


@dataclass(frozen=True)
class Recipe:
    """All that decides a list beside the data and the blend.

    Size, who gets one, the popularity window, the weights of event types behind the history, and the site's rules.
    """

    list_size: int = 20
    active_nights: int = 90
    popularity_nights: int = 14
    event_weights: Mapping[str, float] = field(default_factory=type_weights)
    rules: ListRules = field(default_factory=ListRules)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, int) and value < 1:
                raise RuntimeError(f"{name} is {value}, but must be at least 1")

    def version(self, blend: Blend, sources: Mapping[str, Recommender]) -> str:
        """Name of lists by a blend that no training registered: a function of all that decides them, the sources' parameters included."""
        parameters = {name: source.parameters for name, source in sources.items()}
        return f"lists-{digest([asdict(self), asdict(blend), parameters, cold.DECLARED_WEIGHTS])[:8]}"


@dataclass(frozen=True)
class Variant:
    """One way of making lists: `version` is the model version of its rows, `changes` other values of fields of a Recipe or its rules."""

    name: str
    blend: Blend
    version: str
    changes: Mapping[str, Any] = field(default_factory=dict)

    def of(self, recipe: Recipe) -> Recipe:
        """The recipe with the changes; RuntimeError when they do not go together with the rules of the site."""
        own = {k: v for k, v in self.changes.items() if k in vars(recipe)}
        rules = replace(recipe.rules, **{k: v for k, v in self.changes.items() if k not in own})
        if rules.diversity + rules.calibration > 1:
            shares = f"diversity {rules.diversity:g} and calibration {rules.calibration:g}"
            raise RuntimeError(f"variant {self.name}: with the site's rules it has {shares}, more than 1 together: lower one of them")
        return replace(recipe, rules=rules, **own)


@dataclass(frozen=True)
class Part:
    """Slots of one kind, on their way to rows: of each `keys` has the user, `names` the list."""

    keys: pa.Array
    names: pa.Array
    slots: Slots
    sources: Sequence[str]
    reasons: Reasons
    popularity_nights: int
    variant: pa.Array
    version: pa.Array


def make(
    shop: Shop,
    recipe: Recipe,
    sources: Mapping[str, Recommender],
    variants: Sequence[Variant],
    arm: Ints,
    run_id: str,
    arranged: bool = False,
) -> pa.Table:
    """Rows of user_topn for the night.

    sources   recommenders that have met the history; 'popularity' is among them or made
    variants  ways of making lists
    arm       the place of each user's among them: of the past's users, then of the shop's newcomers
    arranged  by user, list, variant and rank, as the lake keeps them, instead of one kind of list after the other
    """
    active = np.unique(shop.history.user[shop.history.age < recipe.active_nights])
    popular = Popularity(window=recipe.popularity_nights).fit(shop.history)
    offer = shop.offer(recipe.rules)  # the same for all: variants change no rule of what may be shown
    parts: list[Part] = []
    for number, variant in enumerate(variants):
        own = variant.of(recipe)
        parts += _personal(shop, own, sources, variant, active[arm[active] == number], popular, offer)
    parts += _declared(shop, recipe, variants, arm[shop.history.n_users :], offer)
    parts += _for_unknown(shop, recipe, popular, variants[0].version, offer)
    compared = named.compared_nights(shop.history)
    made = pa.concat_tables(_rows(shop, part, compared) for part in parts)
    made = _arranged(made) if arranged else made
    return (
        made.append_column("run_id", pa.repeat(run_id, made.num_rows))
        .select(TABLES["user_topn"].names)
        .cast(TABLES["user_topn"].arrow_schema())
    )


def _personal(
    shop: Shop,
    recipe: Recipe,
    sources: Mapping[str, Recommender],
    variant: Variant,
    users: Ints,
    popular: Popularity,
    offer: Offer,
) -> Iterator[Part]:
    """for_you, because_you_liked and new_for_you of some users."""
    history, rules = shop.history, recipe.rules
    own = {name: sources[name] for name in variant.blend.sources}
    if popular.window != recipe.popularity_nights:  # the variant's own
        popular = Popularity(window=recipe.popularity_nights).fit(history)
        if isinstance(usual := own.get("popularity"), Popularity):
            own["popularity"] = Popularity(**usual.parameters | {"window": recipe.popularity_nights}).fit(history)
    names = [*own, EXPLORATION]
    segment = segments(np.bincount(history.user, shop.past.n_events, history.n_users))
    lists = Lists(own, variant.blend, segment, offer.to)
    lately = popular.in_window > 0

    def part(list_name: str, slots: Slots, reasons: Reasons, of: Sequence[str]) -> Part:
        n = len(slots.user)
        labels = (pa.repeat(list_name, n), pa.repeat(variant.name, n), pa.repeat(variant.version, n))
        return Part(shop.past.users.take(pa.array(slots.user)), labels[0], slots, of, reasons, recipe.popularity_nights, *labels[1:])

    explored = shop.exploration(popular.by_group[-1], rules.exploration_slots) if rules.exploration_slots else None
    wishes = [Wish(recipe.list_size, None, shop.order(rules), explored)]
    known_since = named.since(shop.catalogue, shop.past.items)
    fresh = named.fresh(offer.eligible, known_since, shop.ds, rules.new_nights)
    if rules.new_for_you and fresh.any():
        wishes.append(Wish(rules.new_for_you, fresh))
    (slots, why), *new = lists.wished(users, wishes)
    reasons = _reasons(shop, own, slots, lately)
    yield part("for_you", slots, reasons.but(why >= 0, "explore", why[why >= 0]), names)

    if rules.because_you_liked:
        leading = {name: source for name, source in own.items() if name != "popularity"}
        weights = variant.blend.shares("many")
        found = named.because_you_liked(leading, weights, history, shop.past.liked, users, offer.to, rules.because_you_liked)
        yield part("because_you_liked", *found, list(leading))
    if new:
        found = named.new_for_you(lambda *_: new[0][0], history, users, offer.eligible, known_since, shop.ds, rules.new_nights)
        yield part("new_for_you", *found, names)


def _reasons(shop: Shop, sources: Mapping[str, Recommender], slots: Slots, lately: NDArray[np.bool_]) -> Reasons:
    names = list(sources)
    source = np.minimum(slots.source, len(names) - 1)  # slots that explore have none of them, and get a reason of their own
    found = Reasons.of_sources(names, source, slots.evidence, lately[slots.item])
    return found.but_repeats(slots.user, slots.item, shop.history, shop.ds)


def _declared(shop: Shop, recipe: Recipe, variants: Sequence[Variant], arm: Ints, offer: Offer) -> Iterator[Part]:
    """for_you of users who only declared what they like."""
    keys = shop.newcomers(recipe.active_nights)
    who, slots, lately = cold.declared_slots(
        shop.past, shop.topics, shop.stances, keys, offer, shop.first_topics, recipe.popularity_nights, recipe.list_size
    )
    sources = list(cold.DECLARED_WEIGHTS)
    reasons = Reasons.of_sources(sources, slots.source, slots.evidence, lately[slots.item])
    place = pa.array(arm[codes(who, pa.array(keys, pa.string()))])
    labels = [pa.array([getattr(v, what) for v in variants], pa.string()).take(place) for what in ("name", "version")]
    yield Part(who, pa.repeat("for_you", len(who)), slots, sources, reasons, recipe.popularity_nights, *labels)


def _for_unknown(shop: Shop, recipe: Recipe, popular: Popularity, version: str, offer: Offer) -> Iterator[Part]:
    """Popular and rising items for users nobody knows."""
    history, languages, window = shop.history, shop.languages, recipe.popularity_nights
    open_to = {"": offer.to_unknown()}
    scores = {"popular": popular.by_group[-1]}
    for lang in sorted({*LIST_LANGUAGES, *languages}):
        known = lang in languages and languages.index(lang) < len(popular.by_group) - 1
        scores[f"popular_{lang}"] = popular.by_group[languages.index(lang) if known else -1]
    scores |= {f"popular_daypart_{part}": s for part, s in cold.by_daypart(shop.past, shop.contexts, window, shop.ds).items()}
    regions, region = shop.regions
    if 0 < len(regions) <= MAX_REGIONS:
        by_region = Popularity(window=window).fit(replace(history, group=region)).by_group
        for place, name in enumerate(regions[: len(by_region) - 1]):
            scores[f"popular_region_{name}"] = by_region[place]
            open_to[f"popular_region_{name}"] = offer.eligible & offer.open_to[place]
    allowed = np.stack([open_to.get(name, open_to[""]) for name in scores])
    slots = cold.popular_slots(normalise(np.stack(list(scores.values())), allowed), allowed, recipe.list_size)
    reasons = Reasons.of_sources(["popularity"], slots.source, slots.evidence, popular.in_window[slots.item] > 0)
    parts = [([*scores], slots, reasons, "popularity")]
    if recipe.rules.trending:
        parts.append((*named.trending(history, languages, open_to[""], recipe.rules.trending), "trending"))
    for names, found, why, source in parts:
        n = len(found.user)
        lists = pa.array(names, pa.string()).take(pa.array(found.user))
        yield Part(pa.repeat(UNKNOWN_USER, n), lists, found, [source], why, window, pa.repeat(VARIANT, n), pa.repeat(version, n))


def _rows(shop: Shop, part: Part, compared: int) -> pa.Table:
    """What repeats stands there as a dictionary: its values are written out once the rows are in their order."""
    slots, past, reasons, n = part.slots, shop.past, part.reasons, len(part.slots.item)
    explored = reasons.code == explain.CODES.index("explore")
    proposals = shop.proposals(reasons.about[explored])
    english, chinese = explain.reason_texts(
        reasons.code, reasons.about, shop.titles, part.popularity_nights, reasons.before, proposals, compared
    )
    rows = {
        "ds": pa.repeat(pa.scalar(shop.ds, pa.date32()), n),
        "user_key": part.keys.dictionary_encode(),
        "list_name": part.names.dictionary_encode(),
        "variant": part.variant.dictionary_encode(),
        "rank": slots.rank,
        "item_id": values_at(slots.item, past.items),
        "score": slots.score,
        "source": values_at(slots.source, pa.array([*part.sources], pa.string())),
        "topic_id": shop.topic_of_item.take(pa.array(slots.item)),
        "exploration": explored,
        "reason_code": values_at(reasons.code, pa.array(explain.CODES)),
        "reason_text_en": english,
        "reason_text_zh": chinese,
        "evidence_item_id": values_at(np.where(explored, -1, slots.evidence), past.items),
        "contributions": _contributions(slots, part.sources),
        "model_version": part.version.dictionary_encode(),
    }
    return pa.table(rows)


def _arranged(rows: pa.Table) -> pa.Table:
    """In the order of the key: the lake then sees that none repeats by comparing neighbours."""
    rows, keys = rows.unify_dictionaries().combine_chunks(), []
    for name in ("user_key", "list_name", "variant"):
        column = rows[name].combine_chunks()
        keys.append(pc.rank(column.dictionary, tiebreaker="dense").to_numpy()[column.indices.to_numpy()].astype(np.int64))
    return rows.take(pa.array(order([*keys, rows["rank"].to_numpy()])))


def _contributions(slots: Slots, sources: Sequence[str]) -> pa.Array:
    """What each source adds to the score of each slot, as canonical JSON; sources that add nothing are left out."""
    names = sorted(range(slots.parts.shape[1]), key=lambda place: sources[place])
    nothing = pa.repeat("", len(slots.parts))
    told = pc.binary_join_element_wise(nothing, *(_members(sources[place], slots.parts[:, place]) for place in names), "")
    return pc.binary_join_element_wise("{", pc.utf8_slice_codeunits(told, 1), "}", "")  # without the first comma


def _members(name: str, values: Floats) -> pa.Array:
    """`,"name":value` of each value, nothing for 0; each different number is written once."""
    encoded = pa.array(values).dictionary_encode()
    different = encoded.dictionary.to_numpy()
    texts, begin = _written(different), f",{canonical_json(name)}:"
    return pc.if_else(pa.array(different != 0), pc.binary_join_element_wise(begin, texts, ""), "").take(encoded.indices)


def _written(values: Floats) -> pa.Array:
    """Numbers as JSON has them, as Python does: those of six decimals between 0 and 1, which most are, by their digits."""
    micro = np.rint(values * 1e6)
    usual = (micro >= 100) & (micro < 1e6) & (micro / 1e6 == values)  # smaller ones have an exponent
    digits = pc.utf8_lpad(pa.array(micro[usual].astype(np.int64)).cast(pa.string()), 6, "0")
    rest = pa.array([repr(v) for v in values[~usual].tolist()], pa.string())
    texts = pa.concat_arrays([pc.binary_join_element_wise("0.", pc.utf8_rtrim(digits, "0"), ""), rest])
    place = np.empty(len(values), np.int64)
    place[np.r_[np.flatnonzero(usual), np.flatnonzero(~usual)]] = np.arange(len(values))
    return texts.take(pa.array(place))
