"""What a job is given: its night, what it may read, and where it writes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from jobs import TRAINING, Job
from jobs.models import topic_model_of
from recsys_core import registry
from recsys_core.attempts import Attempt, claim
from recsys_core.lake import Lake, LakeError, Manifest, Part, Stamp, Stream, Target
from recsys_core.landing import Landing

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

    from jobs.runner import Runner
    from jobs.settings import Settings
    from recsys_core.declared import Stances
    from recsys_core.events import Weights
    from recsys_core.experiments import Experiment
    from recsys_core.privacy.release import Release
    from recsys_core.ranking.policy import ListRules
    from recsys_core.sensitive import Sensitive

ONE_DAY = dt.timedelta(days=1)


@dataclass
class Night:
    """What a job is given: its night, what it may read, and where it writes. Rows go in and out through here alone.

    `written` has the manifest of each partition that was written so far, `published` the rows of each warehouse table that went out.
    """

    runner: Runner
    job: str
    ds: dt.date
    under: registry.ModelVersion | None
    stamp: Stamp
    params: dict[str, Any]
    trigger: str = "manual"
    attempt: Attempt | None = None
    written: dict[str, Manifest] = field(default_factory=dict)
    published: dict[str, int] = field(default_factory=dict)

    @property
    def spec(self) -> Job:
        """The job's line in the registry."""
        return self.runner.spec(self.job)

    @property
    def topics(self) -> registry.ModelVersion | None:
        """The topic model that the night is under; None when it has none."""
        return topic_model_of(self.under)

    @property
    def space(self) -> str | None:
        """Id of the embedding space of the night's vectors: its topic model's, else the encoder's; None while no encoder is fitted."""
        return self.under.embedding_space if self.under else None

    @property
    def lake(self) -> Lake:
        """The lake."""
        return self.runner.lake

    @property
    def landing(self) -> Landing:
        """The landing zone."""
        return self.runner.landing

    @property
    def settings(self) -> Settings:
        """Site settings."""
        return self.runner.settings

    @property
    def event_types(self) -> Weights:
        """The weights of event types for the night; the job declares that it uses them, so that other weights are another run."""
        self._declared("event_types")
        return self.runner.event_types(self.ds + ONE_DAY if self.job in TRAINING else self.ds)

    @property
    def sensitive(self) -> frozenset[int]:
        """Topics of the night's model that are never expanded and never shown; the job declares the setting sensitive_topics."""
        from recsys_core.topics.tables import read_rows

        named: Sensitive = self._declared("sensitive_topics")
        return named.among(read_rows(self.lake, self.topics, "topic")) if self.topics else frozenset()

    def experiment(self, ds: dt.date | None = None) -> Experiment | None:
        """The site's experiment with the lists of the night, or of `ds`; the job reads experiments."""
        if "experiments" not in self.spec.reads:
            raise LakeError(f"job {self.job} does not declare that it reads experiments: add it to its line in jobs/__init__.py")
        return self.settings.experiments.running(ds or self.ds)

    @property
    def list_rules(self) -> ListRules:
        """The site's rules of lists; the job declares that it uses them."""
        found: ListRules = self._declared("list_rules")
        return found

    @property
    def release(self) -> Release:
        """How numbers about users may leave; the job declares that it uses it."""
        found: Release = self._declared("release")
        return found

    @property
    def stances(self) -> Stances:
        """What users declared, in the topics of the night's model; the job reads declared_topic."""
        from recsys_core.declared import Stances

        return Stances.of(self.read("declared_topic", 1))

    @property
    def spark(self) -> SparkSession:
        """The process's Spark session, started when first asked for."""
        return self.runner.spark

    def begun(self) -> Night:
        """The night with an attempt at it claimed: what is written from now on bears its number."""
        attempt = claim(self.lake, self.attempted, self.ds)
        return replace(self, attempt=attempt, stamp=replace(self.stamp, attempt=attempt.number))

    @property
    def attempted(self) -> str:
        """What an attempt is made at: the job, with the topic model or the embedding space that it writes by."""
        by = {p: v for t in self.spec.writes for p, v in self._parts(t).items()}
        return ".".join([self.job, *by.values()])

    @property
    def staging(self) -> str:
        """Relative path of the folder for this attempt's intermediate files, which is removed once the job is done."""
        assert self.attempt is not None, "a job runs under an attempt"
        return self.lake.staging(self.attempted, self.ds, self.attempt.number)

    def nights(self, table: str, back: int | None = None) -> list[dt.date]:
        """Built nights of a table within the declared look-back (or `back` nights, fewer), tonight included, oldest first."""
        return self.runner.window(self.job, table, self.ds, self.under, back)

    def read(
        self,
        table: str,
        back: int | None = None,
        columns: list[str] | None = None,
        users: tuple[str | None, str | None] | None = None,
    ) -> pa.Table:
        """Rows of those nights as Arrow, those of users from low to below high where `users` says so (None: no bound)."""
        return self.lake.read(table, self.nights(table, back), columns, users, **self._parts(table))

    def stream(self, table: str) -> Stream:
        """Tonight's rows, for who passes them on and holds few at a time."""
        return self.lake.stream(table, self.nights(table, 1), **self._parts(table))

    def scan(self, table: str, back: int | None = None) -> DataFrame:
        """Rows of those nights as a Spark DataFrame."""
        return self.lake.scan(self.spark, table, self.nights(table, back), **self._parts(table))

    def vectors(self, hashes: list[str]) -> np.ndarray:
        """Unit vectors of texts by hash, float32 (n, dimensions), whichever night embedded them; zeros (n, 1) without a space."""
        return self.runner.vectors(self.space).get(hashes)

    def write(self, table: str, rows: pa.Table | DataFrame, **made_by: str) -> Manifest:
        """Write tonight's partition of a table that the job declares; `made_by` adds to the models that its manifest names."""
        self.written[table] = self.lake.write(table, self.ds, rows, self._stamp_of(table, made_by), **self._parts(table))
        return self.written[table]

    def target(self, table: str, **made_by: str) -> Target:
        """Where tasks write parts of tonight's partition of a table that the job declares, for `finish`."""
        return self.lake.target(table, self.ds, self._stamp_of(table, made_by), **self._parts(table))

    def finish(self, target: Target, parts: Sequence[Part]) -> Manifest:
        """Make the partition live that consists of these parts."""
        self.written[target.table] = self.lake.finish(target, parts)
        return self.written[target.table]

    def _stamp_of(self, table: str, made_by: dict[str, str]) -> Stamp:
        if table not in self.spec.writes:
            raise LakeError(f"job {self.job} does not declare that it writes {table}: add it to its line in jobs/__init__.py")
        return replace(self.stamp, models=self.stamp.models | made_by)

    def _declared(self, setting: str) -> Any:
        """A site setting; the job declares that it uses it, so that another one is another run."""
        if setting not in self.spec.settings:
            raise LakeError(f"job {self.job} does not declare the setting {setting}: add it to its line in jobs/__init__.py")
        return getattr(self.settings, setting)

    def _parts(self, table: str) -> dict[str, str]:
        return self.runner.parts(table, self.under)
