"""A night of profiles as work on ranges of users: what it follows from, and what is made of each range, in this process or another one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import pyarrow as pa

from recsys_core import contexts
from recsys_core.declared import Stances
from recsys_core.events import Weights
from recsys_core.lake import Part, Target
from recsys_core.profiles.clock import WINDOW, encoded
from recsys_core.profiles.interests import Scores
from recsys_core.profiles.items import ItemTopics, condensed_days, condensed_items
from recsys_core.profiles.pooled import item_weights
from recsys_core.profiles.spread import Users, within
from recsys_core.tables import TABLES

_CODED = ("user_key", "item_id", "daypart", "device")


class Facts(NamedTuple):
    """What interests of some users are made of; `before` are the earlier nights of user_topic_day, of which only dates are asked."""

    sessions: pa.Table
    days: pa.Table
    before: pa.Table
    items: pa.Table
    contexts: pa.Table
    topics: ItemTopics

    def of(self, users: Users) -> Facts:
        """Those of some of the users."""
        return self._replace(**{name: within(rows, users) for name, rows in self._asdict().items() if name != "topics"})


@dataclass(frozen=True)
class Work:
    """All that interests of the night follow from; it travels to Spark's tasks.

    nights  by table, those that are looked back at, with what tells the rows of each of them from all others
    """

    url: str
    ds: dt.date
    nights: Mapping[str, Sequence[tuple[dt.date, str]]]
    parts: Mapping[str, Mapping[str, str]]
    weights: Weights
    said: Stances
    hidden: Collection[int]
    model_version: str | None
    run_id: str
    contexts: Target | None

    def facts(self, read: Callable[..., pa.Table]) -> Facts:
        """The facts, night by night as `read` (table, night, columns, how they are condensed) gives them."""

        def of(table: str, columns: list[str] | None, make: Callable[[pa.Table], pa.Table], back: range) -> pa.Table:
            nights = [d for d, _ in self.nights[table] if (self.ds - d).days in back]
            found = [read(table, d, columns, make) for d in nights]
            schema = TABLES[table].arrow_schema()
            found = found or [make(pa.schema([schema.field(c) for c in columns or schema.names]).empty_table())]
            return pa.concat_tables(found).unify_dictionaries()

        window = range(2 * WINDOW - 1)
        dates = ["ds", "user_key", "topic_id"]
        return Facts(
            of("session", ["ds", "user_key", "n_events"], lambda rows: encoded(rows, "user_key"), window),
            of("user_topic_day", None, lambda rows: condensed_days(rows, self.weights), window),
            of("user_topic_day", dates, lambda rows: encoded(rows, "user_key"), range(2 * WINDOW - 1, 10_000)),
            of("user_item_day", None, lambda rows: condensed_items(rows, self.weights), window),
            of(
                "user_item_context_day",
                None,
                lambda rows: encoded(rows, "user_key", "item_id", "daypart", "device"),
                range(contexts.NIGHTS),
            ),
            ItemTopics(of("item_topic", ["ds", "item_id", "topic_id", "weight"], lambda rows: encoded(rows, "item_id"), window)),
        )

    def made(self, number: int, users: Users, facts: Facts) -> tuple[Summary, Made]:
        """What follows from the facts of some users alone; their contexts are written at once."""
        said = replace(self.said, prior=within(self.said.prior, users))
        weights = item_weights(facts.items, facts.sessions, self.ds, self.weights)
        if self.contexts is None or self.model_version is None:
            return Summary([], []), Made(facts.sessions, weights)
        scores = Scores(facts.sessions, facts.days, facts.items, self.ds, self.weights, said, facts.topics, facts.before)
        found = contexts.user_context_interest(facts.contexts, self.ds, self.model_version, self.hidden, said, facts.topics)
        summary = Summary([(*of, n) for of, n in scores.population().items()], [self.contexts.write(number, found)])
        return summary, Made(facts.sessions, weights, scores.without_lift(self.model_version, self.run_id))


class Summary(NamedTuple):
    """What a range of users adds to the whole: (topic, horizon, score) in the population, and its part of user_context_interest."""

    population: list[tuple[int, str, int]]
    contexts: list[Part]


class Made(NamedTuple):
    """What was made of a range of users; `interests` lack their lift until the population is known, and are None without a topic model."""

    sessions: pa.Table
    weights: pa.Table
    interests: pa.Table | None = None
