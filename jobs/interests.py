"""Interests of users and what is told of them."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_core.kept import Kept
from recsys_core.lake import Lake, Part, empty
from recsys_core.tables import TABLES

if TYPE_CHECKING:
    from jobs.night import Night
    from recsys_core.profiles.spread import Users
    from recsys_core.profiles.work import Made, Summary, Work

# Rows looked back at that cost what one of those costs by which SPARK_FROM_ROWS counts, and rows of a range of users.
_BACK, RANGE_ROWS = 120, 2_000_000
THREADS = 2
# Facts of nights, condensed, for the next night of this process.
_kept = Kept(1 << 30)
_TABLES = ("session", "user_topic_day", "user_item_day", "item_topic", "user_item_context_day")


def profile(night: Night) -> None:
    """Write what the night says of each user, see the tables that the job writes; a range of users at a time."""
    from recsys_core.profiles.spread import ranges
    from recsys_core.profiles.work import Work

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
    from recsys_core.profiles.work import Made, Summary

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
        from recsys_core.generate import Templates
        from recsys_core.medoids import interest_vectors
        from recsys_core.profiles.interests import with_lift
        from recsys_core.profiles.pooled import heaviest
        from recsys_core.profiles.spread import within
        from recsys_core.user_texts import HISTORY_ITEMS, history_texts

        night, ds, hidden = self.night, self.work.ds, self.work.hidden
        interests = empty(TABLES["user_interest"]) if made.interests is None else with_lift(made.interests, self.population)
        vectors = profiles.pooled_vectors(made.weights, self.item_ids, self.vectors)
        tonight = night.read("session", 1, ["user_key", "lang"], users)
        there = made.weights.filter(pc.is_in(made.weights["user_key"], pc.unique(tonight["user_key"])))

        def profile_rows() -> pa.Table:
            declared = set(within(self.work.said.prior, users)["user_key"].to_pylist())
            made_by = night.space, self.work.model_version, night.stamp.run_id
            rows = profiles.user_profile(made.sessions, interests, vectors, self.labels, ds, *made_by, declared, hidden)
            if self.generator.name == Templates.name:
                return rows
            told = rows.select(["user_key", "n_events_30d", "summary_en", "summary_zh"]).to_pylist()
            shown = profiles.shares_of(interests, "90d", hidden)
            profiles.write_summaries(told, shown, self.labels, self.generator, night.lake, night.runner.say)
            for name in ("summary_en", "summary_zh"):
                rows = rows.set_column(rows.column_names.index(name), name, pa.array([row[name] for row in told], pa.string()))
            return rows

        return {
            "user_interest_vector": lambda: interest_vectors(made.weights, self.item_ids, self.vectors, ds, night.space),
            "user_profile": profile_rows,
            "user_interest": lambda: interests,
            "user_history_text": lambda: history_texts(ds, heaviest(there, self.titles, HISTORY_ITEMS), self.titles, tonight),
        }

    def written(self, number: int, table: str, make: Callable[[], pa.Table]) -> Part:
        """The part of a table that a range of users is."""
        return self.targets[table].write(number, make())
