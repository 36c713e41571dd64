"""A night's lists as rows: for_you for every active user, popular ones for users nobody knows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_core import cold_lists, explain
from recsys_core.declared import Stances
from recsys_core.events import type_weights
from recsys_core.lake import digest
from recsys_core.rank import DIGITS, Slots, blend, choose_weights, normalise, top_n
from recsys_core.recommenders.base import Ints, Recommender
from recsys_core.recommenders.content import Content
from recsys_core.recommenders.history import History, usual
from recsys_core.recommenders.popularity import Popularity
from recsys_core.recommenders.transitions import Transitions
from recsys_core.tables import TABLES

UNKNOWN_USER = "*"
VARIANT = "default"
# Blends to choose from, the first one until there is a week to choose by: how far popularity leads differs greatly between shops.
CANDIDATES = tuple(
    dict(zip(("transitions", "content", "popularity"), weights, strict=True))
    for weights in (
        (1.0, 0.3, 0.3),
        (1.0, 0.3, 0.1),
        (1.0, 0.0, 0.1),
        (1.0, 0.0, 0.3),
        (1.0, 0.3, 1.0),
        (1.0, 1.0, 0.3),
        (1.0, 0.3, 3.0),
        (0.3, 1.0, 0.3),
        (0.3, 0.1, 10.0),
    )
)
# Users with fewer events are known by what they turned to rather than by what others did after it: texts count for them at least so much.
FEW_EVENTS, FEW_EVENTS_CONTENT = 10, 0.3
MAX_REGIONS = 20
LIST_LANGUAGES = ("en", "zh")  # always there, whoever came so far


@dataclass(frozen=True)
class Recipe:
    """All that decides a list beside the data.

    Size, who gets one, the popularity window, the nights that choose the blend, and the weights of event types behind the history.
    """

    list_size: int = 20
    active_nights: int = 90
    popularity_nights: int = 14
    validation_nights: int = 7
    event_weights: Mapping[str, float] = field(default_factory=type_weights)

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, int) and value < 1:
                raise RuntimeError(f"{name} is {value}, but must be at least 1")

    def sources(self) -> dict[str, Recommender]:
        """The recommenders of the blend, not fitted yet."""
        return {"transitions": Transitions(), "content": Content(), "popularity": Popularity(window=self.popularity_nights)}

    def version(self, weights: dict[str, float]) -> str:
        """Name of a blend: a function of its weights and parameters, the recommenders' own included."""
        parameters = {name: vars(source) for name, source in self.sources().items()}
        return f"lists-{digest([asdict(self), weights, parameters, FEW_EVENTS, FEW_EVENTS_CONTENT, cold_lists.DECLARED_WEIGHTS])[:8]}"


def make(
    past: History,
    catalogue: pa.Table,
    vectors: NDArray[np.float32],
    sessions: pa.Table,
    topics: pa.Table,
    recipe: Recipe,
    ds: dt.date,
    run_id: str,
    contexts: pa.Table,
    stances: Stances,
    hidden: Collection[int] = (),
) -> pa.Table:
    """Rows of user_topn for the night `ds`.

    past       everything up to the night; users with an event in the last `active_nights` nights get the list for_you
    catalogue  item_id, title, deleted; what is deleted is not listed
    vectors    by item code, zero rows without a text
    sessions   user_key, lang, region: which popularity a user is shown
    topics     item_id, topic_id, weight, rank (may be empty: topic_id is then null)
    contexts   ds, user_key, item_id, daypart: the part of the day in which an item was met
    stances    who declared an interest gets for_you without any event, too; items of a muted topic are not listed for who muted it
    hidden     topics whose items are listed for nobody
    """
    languages, group = usual(sessions, "lang", past.users)
    history = replace(past.interactions, group=group, vectors=vectors)
    eligible = np.zeros(history.n_items, bool)
    eligible[past.item_codes(catalogue.filter(pc.invert(catalogue.column("deleted"))).column("item_id"))] = True
    first = topics.filter(pc.equal(topics["rank"], 1))
    shunned = first.filter(pc.is_in(first["topic_id"], pa.array(sorted(hidden), pa.int64())))
    eligible[np.setdiff1d(past.item_codes(shunned["item_id"]), [-1])] = False
    weights = choose_weights(recipe.sources(), CANDIDATES, history, eligible, recipe.validation_nights)
    sources = {name: source.fit(history) for name, source in recipe.sources().items()}
    active = np.unique(history.user[history.age < recipe.active_nights])
    n_events = np.bincount(history.user, past.n_events, history.n_users)
    barred = cold_lists.barred(past.users, past, first, stances.muted)
    parts = []
    for few in (False, True):
        own = weights | ({"content": max(weights["content"], FEW_EVENTS_CONTENT)} if few else {})
        users = active[(n_events[active] < FEW_EVENTS) == few]
        slots = blend(sources, own, history, users, eligible, recipe.list_size, barred=barred)
        parts.append((past.users.take(pa.array(slots.user)), pa.repeat("for_you", len(slots.user)), slots, list(sources)))
    known = past.users.take(pa.array(active)).to_pylist()
    window, size = recipe.popularity_nights, recipe.list_size
    keys, slots = cold_lists.declared_slots(past, vectors, topics, stances.prior, known, eligible, stances.muted, window, size)
    parts.append((keys, pa.repeat("for_you", len(keys)), slots, list(cold_lists.DECLARED_WEIGHTS)))

    popular = Popularity(window=recipe.popularity_nights).fit(history)
    named = {"popular": popular.by_group[-1]}
    for lang in sorted({*LIST_LANGUAGES, *languages}):
        known = lang in languages and languages.index(lang) < len(popular.by_group) - 1
        named[f"popular_{lang}"] = popular.by_group[languages.index(lang) if known else -1]
    named |= {f"popular_daypart_{part}": scores for part, scores in cold_lists.by_daypart(past, contexts, window, ds).items()}
    regions, region = usual(sessions, "region", past.users)
    if 0 < len(regions) <= MAX_REGIONS:
        by_region = Popularity(window=recipe.popularity_nights).fit(replace(history, group=region)).by_group
        named |= {f"popular_region_{r}": by_region[i] for i, r in enumerate(regions) if i < len(by_region) - 1}
    parts.append((*_popular(named, eligible, recipe.list_size), ["popularity"]))

    # A slot says it is popular only when somebody chose its item within the window.
    tables = [_rows(keys, names, s, of, popular.in_window, past, catalogue, first, recipe, ds) for keys, names, s, of in parts]
    made = pa.concat_tables(tables)
    made = made.append_column("model_version", pa.repeat(recipe.version(weights), made.num_rows)).append_column(
        "run_id", pa.repeat(run_id, made.num_rows)
    )
    return made.cast(TABLES["user_topn"].arrow_schema())


def _popular(named: dict[str, np.ndarray], eligible: NDArray[np.bool_], n: int) -> tuple[pa.Array, pa.Array, Slots]:
    allowed = np.broadcast_to(eligible, (len(named), len(eligible)))
    scores = normalise(np.stack(list(named.values())), allowed)
    chosen = top_n(scores, allowed, n)
    row, place = np.nonzero(chosen >= 0)
    item = chosen[row, place]
    slots = Slots(row, place + 1, item, np.round(scores[row, item], DIGITS), np.zeros(len(row), np.int64), np.full(len(row), -1, np.int64))
    return pa.repeat(UNKNOWN_USER, len(row)), pa.array(list(named), pa.string()).take(pa.array(row)), slots


def _rows(
    keys: pa.Array,
    list_names: pa.Array,
    slots: Slots,
    sources: list[str],
    in_window: Ints,
    past: History,
    catalogue: pa.Table,
    first_topics: pa.Table,
    recipe: Recipe,
    ds: dt.date,
) -> pa.Table:
    n = len(slots.item)
    reason = np.array([explain.CODES.index(explain.REASON_OF_SOURCE[name]) for name in sources])[slots.source]
    reason[(reason == explain.CODES.index("popular")) & (in_window[slots.item] == 0)] = explain.CODES.index(explain.CATALOGUE)
    titles = past.items.to_pylist()  # an item without a title goes by its id
    for code, title in zip(past.item_codes(catalogue.column("item_id")).tolist(), catalogue.column("title").to_pylist(), strict=True):
        titles[code] = title or titles[code]
    english, chinese = explain.reason_texts(reason, slots.evidence, titles, recipe.popularity_nights)
    at = pc.index_in(past.items.take(pa.array(slots.item)), value_set=first_topics["item_id"].combine_chunks())
    rows = {
        "ds": pa.repeat(pa.scalar(ds, pa.date32()), n),
        "user_key": keys,
        "list_name": list_names,
        "variant": pa.repeat(VARIANT, n),
        "rank": slots.rank,
        "item_id": past.items.take(pa.array(slots.item)),
        "score": slots.score,
        "source": pa.array(sources, pa.string()).take(pa.array(slots.source)),
        "topic_id": first_topics["topic_id"].combine_chunks().take(at),
        "exploration": pa.repeat(False, n),
        "reason_code": pa.array(explain.CODES).take(pa.array(reason)),
        "reason_text_en": english,
        "reason_text_zh": chinese,
        "evidence_item_id": past.items.take(pa.array(slots.evidence, mask=slots.evidence < 0)),
        "contributions": pa.repeat("{}", n),
    }
    return pa.table(rows)
