"""Interests of users and what is told of them."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from recsys_core.kept import Kept
from recsys_core.lake import Lake, Part, Target, empty
from recsys_core.tables import TABLES

if TYPE_CHECKING:
    from jobs.night import Night
    from recsys_core.declared import Stances
    from recsys_core.events import Weights
    from recsys_core.profiles.spread import Users

# Rows looked back at that cost what one of those costs by which SPARK_FROM_ROWS counts, and rows of a range of users.
_BACK, RANGE_ROWS = 120, 2_000_000
THREADS = 2
# Facts of nights, condensed, for the next night of this process.
_kept = Kept(1 << 30)
_TABLES = ("session", "user_topic_day", "user_item_day", "item_topic", "user_item_context_day")


class Facts(NamedTuple):
    """What interests of some users are made of; `before` are the earlier nights of user_topic_day, of which only dates are asked."""

    sessions: pa.Table
    days: pa.Table
    before: pa.Table
    items: pa.Table
    contexts: pa.Table
    topics: pa.Table

    def of(self, users: Users) -> Facts:
        """Those of some of the users."""
        from recsys_core.profiles.spread import within

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
        from recsys_core.contexts import NIGHTS
        from recsys_core.profiles import WINDOW
        from recsys_core.profiles.clock import encoded
        from recsys_core.profiles.items import condensed_days, condensed_items

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
            of("user_item_context_day", None, lambda rows: encoded(rows, "user_key", "item_id", "daypart", "device"), range(NIGHTS)),
            of("item_topic", ["ds", "item_id", "topic_id", "weight"], lambda rows: encoded(rows, "item_id"), window),
        )

    def made(self, number: int, users: Users, facts: Facts) -> tuple[Summary, Made]:
        """What follows from the facts of some users alone; their contexts are written at once."""
        from recsys_core.contexts import user_context_interest
        from recsys_core.profiles import item_weights
        from recsys_core.profiles.interests import Scores
        from recsys_core.profiles.spread import within

        said = replace(self.said, prior=within(self.said.prior, users))
        weights = item_weights(facts.items, facts.sessions, self.ds, self.weights)
        if self.contexts is None or self.model_version is None:
            return Summary([], []), Made(facts.sessions, weights)
        scores = Scores(facts.sessions, facts.days, facts.items, self.ds, self.weights, said, facts.topics, facts.before)
        found = user_context_interest(facts.contexts, self.ds, self.model_version, self.hidden, said, facts.topics)
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


def profile(night: Night) -> None:
    """Write what the night says of each user, see the tables that the job writes; a range of users at a time."""
    from recsys_core.profiles.spread import ranges

    model, parts_of = night.topics, {t: night.runner.parts(t, night.under) for t in _TABLES}
    live = {t: [(d, m) for d in night.nights(t) if (m := night.lake.manifest(t, d, **parts_of[t]))] for t in _TABLES}
    rows = sum(m.rows for table in live.values() for _, m in table)
    work = Work(
        night.lake.url,
        night.ds,
        {t: [(d, m.run) for d, m in nights] for t, nights in live.items()},
        parts_of,
        night.event_types,
        night.stances,
        night.sensitive,
        model.model_version if model else None,
        night.stamp.run_id,
        night.target("user_context_interest") if model else None,
    )
    n = 1 + rows // RANGE_ROWS
    summaries, made = (_here if rows < _BACK * night.settings.spark_from_rows else _by_spark)(night, work, n)
    if work.contexts:
        night.finish(work.contexts, [part for summary in summaries for part in summary.contexts])
    else:
        night.write("user_context_interest", empty(TABLES["user_context_interest"]))
    population: Counter[tuple[int, str]] = Counter()
    for summary in summaries:
        population.update({(topic, horizon): score for topic, horizon, score in summary.population})
    told = _Told(night, work, population)
    parts: dict[str, list[Part]] = {t: [] for t in told.targets}
    with ThreadPoolExecutor(THREADS) as pool:  # one writes and hashes while another one makes
        for number, (users, of_range) in enumerate(zip(ranges(n), made, strict=True)):
            for table, part in [(t, pool.submit(told.written, number, t, make)) for t, make in told.of(users, of_range).items()]:
                parts[table].append(part.result())
    for table, target in told.targets.items():
        night.finish(target, parts[table])


def _here(night: Night, work: Work, n: int) -> tuple[list[Summary], Iterable[Made]]:
    """In this process, which keeps the facts that it has condensed for its next night."""
    from recsys_core.profiles.spread import ranges

    runs = {(t, d): run for t, nights in work.nights.items() for d, run in nights}

    def read(table: str, ds: dt.date, columns: list[str] | None, make: Callable[[pa.Table], pa.Table]) -> pa.Table:
        key = work.url, table, runs[table, ds], len(columns or []), repr(work.weights)
        return _kept.of(key, lambda: make(night.lake.read(table, [ds], columns, None, **work.parts[table])))

    facts = work.facts(read)
    with ThreadPoolExecutor(THREADS) as pool:
        found = [*pool.map(lambda number, users: work.made(number, users, facts.of(users)), range(n), ranges(n))]
    return [summary for summary, _ in found], [made for _, made in found]


def _by_spark(night: Night, work: Work, n: int) -> tuple[list[Summary], Iterable[Made]]:
    """By Spark: each task reads its users' rows, and leaves what was made of them in the night's staging folder."""
    from recsys_core.profiles.spread import in_tasks

    folder, lake = night.staging, night.lake

    def task(number: int, users: Users) -> Summary:
        theirs = Lake(work.url)

        def read(table: str, ds: dt.date, columns: list[str] | None, make: Callable[[pa.Table], pa.Table]) -> pa.Table:
            some = users if "user_key" in TABLES[table].names else None
            return make(theirs.read(table, [ds], columns, some, **work.parts[table]))

        summary, made = work.made(number, users, work.facts(read))
        for name, rows in made._asdict().items():
            if rows is not None:
                sink = pa.BufferOutputStream()
                pq.write_table(rows, sink, compression="lz4")
                theirs.write_bytes(f"{folder}/{name}-{number:05}.parquet", sink.getvalue().to_pybytes())
        return summary

    def made(number: int) -> Made:
        names = [name for name in Made._fields if lake.exists(f"{folder}/{name}-{number:05}.parquet")]
        return Made(**{name: pq.read_table(pa.BufferReader(lake.read_bytes(f"{folder}/{name}-{number:05}.parquet"))) for name in names})

    found = in_tasks(night.spark, task, n)
    summaries = [Summary([tuple(p) for p in population], [Part.of(c) for c in contexts]) for population, contexts in found]
    return summaries, (made(number) for number in range(n))


class _Told:
    """What is told of users, a range of them at a time."""

    def __init__(self, night: Night, work: Work, population: Mapping[tuple[int, str], int]) -> None:
        """For a population's scores by topic and horizon."""
        from recsys_core.topics.tables import labels

        self.night, self.work, self.population = night, work, population
        # Of an item with several texts the one with the lowest hash, the last one here, stands for it.
        texts = night.read("item_text", columns=["item_id", "text_hash"]).sort_by([("item_id", "ascending"), ("text_hash", "descending")])
        self.item_ids, self.vectors = texts["item_id"].to_pylist(), night.vectors(texts["text_hash"].to_pylist())
        self.titles, self.labels = night.read("item", columns=["item_id", "title"]), labels(night.lake, night.topics)
        self.generator = night.settings.generator()
        self.targets = {t: night.target(t) for t in ("user_interest", "user_interest_vector", "user_profile", "user_history_text")}

    def of(self, users: Users, made: Made) -> dict[str, Callable[[], pa.Table]]:
        """What makes the rows of each table of `targets`."""
        from recsys_core import profiles
        from recsys_core.medoids import interest_vectors
        from recsys_core.profiles.interests import with_lift
        from recsys_core.profiles.pooled import heaviest
        from recsys_core.profiles.spread import within
        from recsys_core.user_texts import HISTORY_ITEMS, history_texts

        night, ds, hidden = self.night, self.work.ds, self.work.hidden
        interests = empty(TABLES["user_interest"]) if made.interests is None else with_lift(made.interests, self.population)
        vectors = profiles.pooled_vectors(made.weights, self.item_ids, self.vectors)
        tonight = night.read("session", 1, ["user_key", "lang"], users)

        def profile_rows() -> pa.Table:
            declared = set(within(self.work.said.prior, users)["user_key"].to_pylist())
            made_by = night.space, self.work.model_version, night.stamp.run_id
            rows = profiles.user_profile(made.sessions, interests, vectors, self.labels, ds, *made_by, declared, hidden)
            shown = profiles.shares_of(interests, "90d", hidden)
            profiles.write_summaries(rows, shown, self.labels, self.generator, night.lake, night.runner.say)
            return pa.Table.from_pylist(rows, schema=TABLES["user_profile"].arrow_schema())

        return {
            "user_interest_vector": lambda: interest_vectors(made.weights, self.item_ids, self.vectors, ds, night.space),
            "user_profile": profile_rows,
            "user_interest": lambda: interests,
            "user_history_text": lambda: history_texts(ds, heaviest(made.weights, self.titles, HISTORY_ITEMS), self.titles, tonight),
        }

    def written(self, number: int, table: str, make: Callable[[], pa.Table]) -> Part:
        """The part of a table that a range of users is."""
        return self.targets[table].write(number, make())
