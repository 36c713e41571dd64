"""Lists for every user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

if TYPE_CHECKING:
    from jobs.runner import Night


def recommend(
    night: Night,
    *,
    list_size: Annotated[int, "slots of a list", range(1, 1001)] = 20,
    active_nights: Annotated[int, "users with an event in so many last nights get a list of their own", range(1, 366)] = 90,
    popularity_nights: Annotated[int, "nights that count for popularity", range(1, 366)] = 14,
    validation_nights: Annotated[int, "last nights that choose the weights of the blend", range(1, 91)] = 7,
) -> None:
    """Write user_topn of the night: a list for every active user and who declared interests, and popular ones for unknown users."""
    from recsys_core import lists
    from recsys_core.recommenders import history

    catalogue = night.read("item", columns=["item_id", "title", "deleted"])
    texts = night.read("item_text", columns=["item_id", "text_hash"])
    facts = (night.lake.read("user_item_day", [d], history.COLUMNS) for d in night.nights("user_item_day"))
    past = history.build(history.reduced(facts, night.event_types), catalogue.column("item_id").to_pylist(), night.ds)
    vectors = history.item_vectors(past, texts.column("item_id"), night.vectors(texts.column("text_hash").to_pylist()))
    recipe = lists.Recipe(list_size, active_nights, popularity_nights, validation_nights, night.event_types.base)
    topics = night.read("item_topic", columns=["item_id", "topic_id", "weight", "rank"])
    sessions = night.read("session", columns=["user_key", "lang", "region"])
    contexts = night.read("user_item_context_day", columns=["ds", "user_key", "item_id", "daypart"])
    told = (sessions, topics, recipe, night.ds, night.stamp.run_id, contexts, night.stances, night.sensitive)
    night.write("user_topn", lists.make(past, catalogue, vectors, *told))
