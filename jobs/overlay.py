"""What the day so far makes of a night: parsed rows to counts, topics and shares, by the functions of the night."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs import NIGHTLY
from jobs.as_of import end_of
from jobs.etl import parse_job
from jobs.night import Night
from jobs.runner import AbsentNightError, Runner, code_version, parameters_of
from recsys_core.intraday.running_day import WHAT, RunningDay
from recsys_core.lake import LakeError, Manifest, Stamp, checksum, digest, empty
from recsys_core.tables import TABLES
from recsys_core.vectors import VectorStore

if TYPE_CHECKING:
    from recsys_core.erasure.requests import Erased
    from recsys_core.identity import Identities
    from recsys_core.registry import ModelVersion
    from recsys_core.topics.tables import Topics


@dataclass
class Overlay:
    """The day so far over the night `night`: what it follows from (`input_hash`), and its rows.

    root    where the files of the day lie
    files   (file, day of its partition) of all that was delivered
    """

    runner: Runner
    day: RunningDay
    night: dt.date
    root: str
    files: tuple[tuple[str, dt.date], ...]

    def __post_init__(self) -> None:
        from recsys_core.declared import declared_as_of, declared_rows
        from recsys_core.erasure import erased
        from recsys_core.identity import identities_as_of
        from recsys_core.privacy import user_key
        from recsys_core.topics.tables import load_topics, read_rows

        runner, ds, settings = self.runner, self.day.ds, self.runner.settings
        self.lake, self.landing, self.settings, self.ds = runner.lake, runner.landing, settings, ds
        model = runner.models.of(ds)
        if model is None:
            raise AbsentNightError(f"no topic model is valid for {ds.isoformat()}: run `python -m jobs training` of an earlier night")
        self.model: ModelVersion = model
        self.topics: Topics = load_topics(self.lake, model)
        self.forgotten: Erased | None = erased(self.lake)
        self.known: Identities = identities_as_of(self.landing, ds, self.forgotten)
        declared = declared_as_of(self.landing, ds, self.known, self.forgotten)
        self.declared = declared_rows(declared, ds, partial(user_key, settings.secret()))
        self.hidden = settings.sensitive_topics.among(read_rows(self.lake, model, "topic"))
        catalogues = self.landing.fingerprint(
            f for d in self.landing.nights("items") if self.night < d <= ds for f in self.landing.files(d, "items")
        )
        self.input_hash = digest(
            [
                *(ds.isoformat(), [file for file, _ in self.files], self.rules, self._manifest("user_interest").checksum),
                *(self._manifest("item_topic", model_version=model.model_version).checksum, model.model_version, catalogues),
                *(checksum(self.declared), sorted(self.hidden)),
                *(settings.intraday_kappa, settings.sentiment_model, self.runner.event_types(ds).params),
            ]
        )

    @cached_property
    def clean(self) -> dict[str, Any]:
        """The parameters with which nights are cleaned."""
        return {n: p.default for n, p in parameters_of(NIGHTLY["clean"]).items()}

    @cached_property
    def rules(self) -> str:
        """Names all that the parser goes by beside the files."""
        known, settings = self.known, self.settings
        people = [sorted(known.stitched.items()), sorted(known.opted_out), bool(self.forgotten)]
        return digest([people, self.landing.source(), settings.time_zone, settings.key_id, self.clean, code_version()])[:16]

    def _manifest(self, table: str, **parts: str) -> Manifest:
        """The manifest of the last night; LakeError when it is not in this lake."""
        manifest = self.lake.manifest(table, self.night, **parts)
        if manifest is None:
            day = self.night.isoformat()
            raise LakeError(f"{day} is published, but its {table} is not in {self.lake.url}: run `python -m jobs night --ds {day}`")
        return manifest

    def rows(self) -> tuple[pa.Table, dt.datetime]:
        """(rows of user_interest_intraday, the latest moment that their events tell of)."""
        from recsys_core.aggregate import user_item_day
        from recsys_core.intraday import HORIZON, overlay, topic_scores
        from recsys_core.topics import assign

        ds, of_buckets, texts, moments = self.ds, [], [], []
        for events in self._events():
            of_buckets.append(user_item_day(ds, events, self._verdicts(events)))
            texts.append(self._searches(events))
            moments += [m for c in ("event_ts", "received_ts") if (m := pc.max(events[c]).as_py())]
        items, asked = pa.concat_tables(of_buckets), pa.concat_tables(texts)
        users, n = asked["user_key"].to_pylist(), asked["n_events"].to_pylist()
        of_queries = assign.search_topics(users, n, self._documents(asked), self.topics)
        of_items = self._item_topics(pc.unique(items["item_id"].combine_chunks()))
        today = topic_scores(items, of_items, of_queries, self.runner.event_types(ds))
        told = items.filter(pc.is_in(items["item_id"], pc.unique(of_items["item_id"]))).select(["user_key", "n_events"])
        n_events = (
            pa.concat_tables([told, asked.select(told.column_names).cast(told.schema)])
            .group_by("user_key")
            .aggregate([("n_events", "sum")])
        )
        n_events = n_events.rename_columns({"n_events_sum": "n_events"})
        held = self.lake.read("user_interest", [self.night], ["user_key", "topic_id", "horizon", "share"])
        held = held.filter(pc.equal(held["horizon"], HORIZON)).select(["user_key", "topic_id", "share"])
        at = max(moments, default=end_of(self.night, self.settings))
        return overlay(ds, held, today, n_events, at, self.settings.intraday_kappa, self._muted(), self.hidden), at

    def _events(self) -> Iterator[pa.Table]:
        """Rows of event_clean of the day, without those of bots, a bucket of users at a time."""
        from recsys_core.aggregate import persons
        from recsys_core.bots import BotRule
        from recsys_core.coded import plain
        from recsys_core.deliveries import known_repeats
        from recsys_core.events_of_night import cleaned

        night = Night(self.runner, "clean", self.ds, self.model, Stamp(WHAT, self.input_hash), self.clean)
        job = parse_job(night, self.landing.delivery(self.ds), self.known, self.clean["daily_cap"])
        job, rule = replace(job, landing=self.root, files=self.files), BotRule(min_events=self.clean["bot_min_events"])
        rows = self.day.rows(self.runner.spark, job, self.rules)
        known = known_repeats(rows, None)
        for bucket in range(rows.buckets):
            yield plain(persons(cleaned(rows.rows(bucket), job, rule, self.settings.key_id, known).events))

    def _verdicts(self, events: pa.Table) -> pa.Table:
        """Rows of text_sentiment of those events whose sentiment enters the counts of items."""
        from recsys_core.aggregate import SAID, text_sentiment
        from recsys_core.annotate.models import scorer

        score, source = scorer(self.settings.sentiment_model, self.settings.device)
        is_verdict = (pc.field("event_type") == "review") & pc.field("rating").is_null() & pc.field("item_id").is_valid()
        texted = events.filter(is_verdict & pc.field("text").is_valid()).select(SAID).combine_chunks()
        return pa.Table.from_batches(text_sentiment(texted.to_batches(), score, source), TABLES["text_sentiment"].arrow_schema())

    def _item_topics(self, seen: pa.Array) -> pa.Table:
        """Rows of item_topic of the items seen: as of the last night, and by their texts of those that it did not know."""
        from recsys_core.catalogue import catalogue_as_of
        from recsys_core.topics import assign
        from recsys_core.user_texts import item_texts

        rows = self.lake.read("item_topic", [self.night], model_version=self.model.model_version)
        rows = rows.filter(pc.is_in(rows["item_id"], seen))
        new = set(seen.to_pylist()) - set(rows["item_id"].to_pylist())
        parts = [rows.set_column(0, rows.schema.field("ds"), pa.repeat(pa.scalar(self.ds, pa.date32()), rows.num_rows))]
        if new:
            texts = item_texts(self.ds, catalogue_as_of(self.landing, self.ds).items)
            texts = texts.filter(pc.is_in(texts["item_id"], pa.array(sorted(new))))
            parts.append(
                assign.item_topic(texts["item_id"].to_pylist(), self._documents(texts), self.topics, self.ds, self.model.model_version)
            )
        return pa.concat_tables(parts)

    def _searches(self, events: pa.Table) -> pa.Table:
        """Rows of user_text of searches that led to no item."""
        from recsys_core.user_texts import user_texts

        nothing = (empty(TABLES[t]) for t in ("user_item_day", "item"))
        told = user_texts(self.ds, events.filter(pc.is_valid(events["query"])), *nothing)
        return told.filter((pc.field("kind") == "search") & pc.field("item_id").is_null())

    def _muted(self) -> frozenset[tuple[str, int]]:
        """(user, topic) that a user does not want to see, as declared by now."""
        from recsys_core.declared import MUTE, Stances, declared_topics, topics_of_terms
        from recsys_core.texts import language

        rows = self.declared.filter(pc.equal(self.declared["stance"], MUTE))
        terms = dict(zip(rows["term"].drop_null().to_pylist(), rows["text_hash"].drop_null().to_pylist(), strict=True))
        said = pa.table({"text_hash": [*terms.values()], "text": [*terms], "lang": [language(t) for t in terms]})
        of_term = topics_of_terms([*terms], self.topics.assign(self._documents(said))) if terms else {}
        return Stances.of(declared_topics(self.ds, rows, of_term, set(self.topics.ids.tolist()), self.model.model_version)).muted

    def _documents(self, texts: pa.Table) -> Any:
        """Texts (text_hash, text, lang) as the topic model takes them."""
        hashes, said, langs = (texts[c].to_pylist() for c in ("text_hash", "text", "lang"))
        return self.topics.documents(hashes, said, langs, partial(self._vectors, dict(zip(hashes, said, strict=True))))

    def _vectors(self, texts: Mapping[str, str], hashes: list[str]) -> np.ndarray:
        """Unit vectors by hash, those that no night has encoded and kept for the rest of the day."""
        from recsys_core.encoders import versions

        space = self.model.embedding_space
        assert space is not None, "a model of vectors has their space"
        store = VectorStore(self.lake, space)
        for rows in self.day.vectors(space):
            store.add(rows)
        if new := store.missing(hashes):
            encoder = versions.open_space(self.lake, space, self.settings.encoder, self.settings.device, self.settings.encoder_backend)
            vectors = encoder.encode([texts[h] for h in new], self.runner.say)
            rows = pa.table({"text_hash": new, "vec": [v.astype("<f2").tobytes() for v in vectors]})
            self.day.keep_vectors(space, rows)
            store.add(rows)
        return store.get(hashes)
