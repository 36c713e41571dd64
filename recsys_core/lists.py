"""A night's lists as rows: for_you for every active user, popular ones for users nobody knows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_core import explain
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
        return f"lists-{digest([asdict(self), weights, {name: vars(source) for name, source in self.sources().items()}])[:8]}"


def make(
    past: History,
    catalogue: pa.Table,
    vectors: NDArray[np.float32],
    sessions: pa.Table,
    topics: pa.Table,
    recipe: Recipe,
    ds: dt.date,
    run_id: str,
) -> pa.Table:
    """Rows of user_topn for the night `ds`.

    past       everything up to the night; users with an event in the last `active_nights` nights get the list for_you
    catalogue  item_id, title, deleted; what is deleted is not listed
    vectors    by item code, zero rows without a text
    sessions   user_key, lang, region: which popularity a user is shown
    topics     item_id, topic_id, rank (may be empty: topic_id is then null)
    """
    languages, group = usual(sessions, "lang", past.users)
    history = replace(past.interactions, group=group, vectors=vectors)
    eligible = np.zeros(history.n_items, bool)
    eligible[past.item_codes(catalogue.filter(pc.invert(catalogue.column("deleted"))).column("item_id"))] = True
    weights = choose_weights(recipe.sources(), CANDIDATES, history, eligible, recipe.validation_nights)
    sources = {name: source.fit(history) for name, source in recipe.sources().items()}
    active = np.unique(history.user[history.age < recipe.active_nights])
    slots = blend(sources, weights, history, active, eligible, recipe.list_size)
    parts = [(past.users.take(pa.array(slots.user)), pa.repeat("for_you", len(slots.user)), slots)]

    popular = Popularity(window=recipe.popularity_nights).fit(history)
    named = {"popular": popular.by_group[-1]}
    for lang in sorted({*LIST_LANGUAGES, *languages}):
        known = lang in languages and languages.index(lang) < len(popular.by_group) - 1
        named[f"popular_{lang}"] = popular.by_group[languages.index(lang) if known else -1]
    regions, region = usual(sessions, "region", past.users)
    if 0 < len(regions) <= MAX_REGIONS:
        by_region = Popularity(window=recipe.popularity_nights).fit(replace(history, group=region)).by_group
        named |= {f"popular_region_{r}": by_region[i] for i, r in enumerate(regions) if i < len(by_region) - 1}
    parts.append(_popular(named, eligible, recipe.list_size, list(sources).index("popularity")))

    # A slot says it is popular only when somebody chose its item within the window.
    code_of_source = np.array([explain.CODES.index(explain.REASON_OF_SOURCE[name]) for name in sources])
    tables = [
        _rows(keys, names, s, code_of_source, list(sources), popular.in_window, past, catalogue, topics, recipe, ds)
        for keys, names, s in parts
    ]
    made = pa.concat_tables(tables)
    made = made.append_column("model_version", pa.repeat(recipe.version(weights), made.num_rows)).append_column(
        "run_id", pa.repeat(run_id, made.num_rows)
    )
    return made.cast(TABLES["user_topn"].arrow_schema())


def _popular(named: dict[str, np.ndarray], eligible: NDArray[np.bool_], n: int, source: int) -> tuple[pa.Array, pa.Array, Slots]:
    allowed = np.broadcast_to(eligible, (len(named), len(eligible)))
    scores = normalise(np.stack(list(named.values())), allowed)
    chosen = top_n(scores, allowed, n)
    row, place = np.nonzero(chosen >= 0)
    item = chosen[row, place]
    slots = Slots(row, place + 1, item, np.round(scores[row, item], DIGITS), np.full(len(row), source), np.full(len(row), -1, np.int64))
    return pa.repeat(UNKNOWN_USER, len(row)), pa.array(list(named), pa.string()).take(pa.array(row)), slots


def _rows(
    keys: pa.Array,
    list_names: pa.Array,
    slots: Slots,
    code_of_source: Ints,
    sources: list[str],
    in_window: Ints,
    past: History,
    catalogue: pa.Table,
    topics: pa.Table,
    recipe: Recipe,
    ds: dt.date,
) -> pa.Table:
    n = len(slots.item)
    reason = code_of_source[slots.source]
    reason[(reason == explain.CODES.index("popular")) & (in_window[slots.item] == 0)] = explain.CODES.index(explain.CATALOGUE)
    titles = past.items.to_pylist()  # an item without a title goes by its id
    for code, title in zip(past.item_codes(catalogue.column("item_id")).tolist(), catalogue.column("title").to_pylist(), strict=True):
        titles[code] = title or titles[code]
    english, chinese = explain.reason_texts(reason, slots.evidence, titles, recipe.popularity_nights)
    main = topics.filter(pc.equal(topics.column("rank"), 1))
    at = pc.index_in(past.items.take(pa.array(slots.item)), value_set=main.column("item_id").combine_chunks())
    rows = {
        "ds": pa.repeat(pa.scalar(ds, pa.date32()), n),
        "user_key": keys,
        "list_name": list_names,
        "variant": pa.repeat(VARIANT, n),
        "rank": slots.rank,
        "item_id": past.items.take(pa.array(slots.item)),
        "score": slots.score,
        "source": pa.array(sources, pa.string()).take(pa.array(slots.source)),
        "topic_id": main.column("topic_id").combine_chunks().take(at),
        "exploration": pa.repeat(False, n),
        "reason_code": pa.array(explain.CODES).take(pa.array(reason)),
        "reason_text_en": english,
        "reason_text_zh": chinese,
        "evidence_item_id": past.items.take(pa.array(slots.evidence, mask=slots.evidence < 0)),
    }
    return pa.table(rows)
