"""Runs jobs: finds what a night needs, skips what is up to date, stamps what is written."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import importlib
import inspect
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, is_dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs import JOBS, NIGHTLY, TRAINING, Job, is_fact
from jobs.as_of import KNOWN_CUTOFF, known_cutoff
from jobs.models import NightModels, topic_model_of
from jobs.night import ONE_DAY, Night
from jobs.observe import logs
from jobs.observe.observer import Observer
from recsys_core import evolution, job_runs, registry
from recsys_core.acceptance import acceptances
from recsys_core.events import FITTED_WEIGHTS
from recsys_core.lake import Lake, LakeError, Manifest, Stamp, canonical_json, digest
from recsys_core.landing import Landing
from recsys_core.retention import built_from
from recsys_core.tables import TABLES
from recsys_core.vectors import VectorStore

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from jobs.settings import Settings
    from recsys_core.events import Weights

# Parameters that say how to compute, not what: they do not enter a run's identity.
_NOT_CONFIG = {"device", "trigger"}
# A partition column's value where there is no model: no such partition exists.
NONE = "none"
# What clean notes of the secret of the user keys, and the folder of all that were in use.
_KEY, _KEYS = "user_key_secret", "_keys"
NO_MODEL = "no topic model, or no fitted encoder, is valid for this night"


class NotBuiltError(LakeError):
    """An earlier night that this one needs is landed but not built yet."""


class ParameterError(LakeError):
    """Parameters of a job that do not go together."""


class RemovedError(LakeError):
    """What a night is made of was removed for its age: it stays as it is."""


class AbsentNightError(LakeError):
    """Nothing was landed for the night."""


@cache
def code_version() -> str:
    """Hash of the source that rows come from, so that a changed rule is a changed run; what only lands, shows or starts is left out."""
    hasher = hashlib.sha256()
    root = Path(__file__).resolve().parent.parent
    apart = {
        root / "jobs" / name
        for name in (
            "__main__.py",
            "dictionary.py",
            "options.py",
            "tools.py",
            "demo.py",
            "erase.py",
            "intraday.py",
            "overlay.py",
            "report.py",
            "retention.py",
            "workers.py",
        )
    }
    apart |= {root / "recsys_core" / "erasure" / name for name in ("landing.py", "rows.py")}
    apart |= {root / "recsys_core" / name for name in ("job_runs.py", "status.py")} | set((root / "jobs" / "observe").rglob("*.py"))
    apart |= {path for name in ("intraday", "report", "simulate", "sources") for path in (root / "recsys_core" / name).rglob("*.py")}
    for path in sorted({*(root / "jobs").rglob("*.py"), *(root / "recsys_core").rglob("*.py")} - apart):
        hasher.update(str(path.relative_to(root)).encode())
        hasher.update(path.read_bytes())
    return hasher.hexdigest()[:16]


def function_of(job: Job) -> Callable[..., None]:
    """The function that a Job names."""
    return _named(job.run)


def _named(place: str) -> Callable[..., Any]:
    """The function at 'module:function'."""
    module, name = place.split(":")
    return getattr(importlib.import_module(module), name)


def parameters_of(job: Job) -> dict[str, inspect.Parameter]:
    """A job's own keyword parameters, by name."""
    # Job modules import Night for type checkers only, so its name is given here.
    signature = inspect.signature(function_of(job), eval_str=True, locals={"Night": Night})
    return {n: p for n, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY}


def _config(value: Any) -> Any:
    """A setting as what enters a run's identity."""
    return digest(asdict(value)) if is_dataclass(value) and not isinstance(value, type) else value


def listed(names: list[str], most: int = 5) -> str:
    """The first of the names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


class Runner:
    """Runs jobs over one lake, landing zone and warehouse, with one Spark session.

    A night that is built again stays under its topic model unless `use_current_models`. `now` is when the command started, for records of
    what people did; rows never follow from it.
    """

    def __init__(
        self,
        settings: Settings,
        say: Callable[[str], None] = print,
        use_current_models: bool = False,
        now: dt.datetime | None = None,
    ) -> None:
        self.settings, self.say, self.now = settings, say, now
        self.lake, self.landing = Lake(settings.lake), Landing(settings.landing)
        self.models = NightModels(self.lake, settings.encoder, use_current_models)
        self._vectors: dict[str | None, VectorStore] = {}
        self.observer = Observer(settings, lambda line: self.say(line))

    @staticmethod
    def spec(job: str) -> Job:
        """A job's line in the registry."""
        return JOBS[job]

    @cached_property
    def spark(self) -> SparkSession:
        """The one Spark session, started on first use."""
        from recsys_core.spark import session

        return session(self.settings.spark_master, conf=self.settings.spark_conf)

    @cached_property
    def key(self) -> str:
        """A mark of the secret of the user keys, and of its name."""
        # User keys are SHA-256 of the same secret: this is no user's.
        return digest([self.settings.key_id, hmac.digest(self.settings.secret(), b"", "sha512").hex()])[:16]

    @property
    def built_from(self) -> dt.date | None:
        """The first night that can still be built, when something of those before it was removed for its age."""
        return built_from(self.lake)

    def vectors(self, space: str | None) -> VectorStore:
        """Vectors in an embedding space; two spaces never meet."""
        return self._vectors.setdefault(space, VectorStore(self.lake, space))

    def event_types(self, ds: dt.date) -> Weights:
        """The weights of event types for a night: the site's own, or those that were fitted from them and are valid for it."""
        version, own = registry.valid_for(self.lake, FITTED_WEIGHTS, ds), self.settings.event_types
        return own.fitted(version.params) if version else own

    # -- what a night needs ------------------------------------------------------------------------------------------------------
    def parts(self, table: str, under: registry.ModelVersion | None) -> dict[str, str]:
        """Partition columns of a table beside ds."""
        found, topics = {}, topic_model_of(under)
        if "model_version" in TABLES[table].partition:
            found["model_version"] = topics.model_version if topics else NONE
        if "embedding_space" in TABLES[table].partition:
            found["embedding_space"] = (under.embedding_space if under else None) or NONE
        return found

    def request(self, nights: Iterable[dt.date]) -> None:
        """Note that these nights are to be built whole, so that what looks back on them waits instead of passing over them."""
        landed = set(self.landing.nights())
        for ds in (d for d in nights if d in landed):
            marker = f"_requested/ds={ds.isoformat()}"
            if not self.lake.exists(marker):
                self.lake.write_bytes(marker, b"")

    def window(self, job: str, table: str, ds: dt.date, under: registry.ModelVersion | None, back: int | None = None) -> list[dt.date]:
        """Nights of `table` that `job` reads for ds, oldest first.

        Facts must be there for every landed night of the window; what looks back itself (lists, interests) for every night that was ever
        requested whole. NotBuiltError names the first that is missing of a table that is not optional. Nights that never landed are absent.
        """
        found, missing = self.look_back(job, table, ds, under, back)
        if missing and table not in JOBS[job].optional:
            if self.built_from and missing[0] < self.built_from:
                raise RemovedError(f"{job} of {ds.isoformat()} needs {table} of {missing[0].isoformat()}, which was removed for its age")
            first, last = missing[0].isoformat(), missing[-1].isoformat()
            # Nights are embedded in the space of their own topics; a training sees to those of its own.
            training = job in TRAINING and table == "text_embedding"
            remedy = f"fit_encoder --ds {ds.isoformat()}" if training else f"nights --from {first} --to {last}"
            raise NotBuiltError(
                f"{job} of {ds.isoformat()} needs {table} of {listed([d.isoformat() for d in missing])}, landed but not built: "
                f"run `python -m jobs {remedy}` first"
            )
        return found

    def look_back(
        self, job: str, table: str, ds: dt.date, under: registry.ModelVersion | None, back: int | None = None
    ) -> tuple[list[dt.date], list[dt.date]]:
        """(nights that are built, nights that should be and are not) of a table within a job's look-back, each oldest first."""
        declared = JOBS[job].reads.get(table)
        if declared is None:
            raise LakeError(f"job {job} does not declare that it reads {table}: add it to its line in jobs/__init__.py")
        parts = self.parts(table, under)
        if NONE in parts.values():
            return [], []
        first = ds - dt.timedelta(days=min(back or declared, declared) - 1)
        landed = [d for d in self.landing.nights() if first <= d <= ds]
        found, missing, strange = [], [], self._keyed_otherwise(d for d in landed if d != ds)
        for night in sorted({*landed, ds}):
            if night in strange and self.built_from and night < self.built_from:
                continue  # users of before have other names now, and nothing gives them these
            if night not in strange and self.lake.manifest(table, night, **parts) is not None:
                found.append(night)
            elif night in landed and (is_fact(table) or night == ds or self.lake.exists(f"_requested/ds={night.isoformat()}")):
                missing.append(night)
        return found, missing

    def _keyed_otherwise(self, nights: Iterable[dt.date]) -> set[dt.date]:
        """Nights that were cleaned with another secret of the user keys: who is who in them and now cannot be told."""
        known = self.lake.names(_KEYS)
        if not known or known == [self.key]:
            return set()
        cleaned = {night: self.lake.manifest("id_map", night) for night in nights}
        return {night for night, made in cleaned.items() if made and any(w == _KEY and key != self.key for w, key in made.inputs)}

    def inputs(self, job: str, ds: dt.date, under: registry.ModelVersion | None) -> list[tuple[str, str]]:
        """(what, checksum) of all that a job reads for ds."""
        found: list[tuple[str, str]] = []
        for table in JOBS[job].reads:
            if table == "landing":
                found += self.landing.fingerprint(self.landing.read_by(ds))
                found += [(f"{file}#repeated", "") for file in sorted(self.landing.delivery(ds).repeated)]
                found.append(("_source.json", digest(self.landing.source())))
                if cutoff := known_cutoff(ds, self.settings):
                    found.append((KNOWN_CUTOFF, cutoff.isoformat()))
            elif table == "accepted":
                found.append((table, digest(acceptances(self.lake, ds).drop(["ds", "accepted_at"]).to_pylist())))
            elif table == "forecast_model":
                forecast = evolution.valid_for(self.lake, ds, topics.model_version) if (topics := topic_model_of(under)) else None
                found.append((table, forecast.model_version if forecast else ""))
            elif table == "experiments":
                for night in (ds - dt.timedelta(days=back) for back in range(JOBS[job].reads[table])):
                    if experiment := self.settings.experiments.running(night):
                        found.append((f"{table}/{night.isoformat()}", digest(repr(experiment))))
            elif table in (FITTED_WEIGHTS, "text_head", "ranker"):
                valid = registry.valid_for(self.lake, table, ds + ONE_DAY if job in TRAINING else ds)
                found.append((table, valid.model_version if valid else ""))
            elif table == "text_embedding":
                # A vector follows from its text and its space; who wrote it first does not matter.
                self.window(job, table, ds, under)
                found.append((table, self.parts(table, under)["embedding_space"]))
            else:
                parts = self.parts(table, under)
                for night in self.window(job, table, ds, under):
                    manifest = self.lake.manifest(table, night, **parts)
                    found.append((f"{table}/{night.isoformat()}", manifest.checksum if manifest else ""))
        return found

    def models_for(self, job: str, ds: dt.date) -> list[registry.ModelVersion | None]:
        """Models under which a job runs for ds, one run each.

        That is the night's topic model; for tables kept by topic model all under which they are read; for vectors one for each embedding
        space of those. Where a job needs no more than vectors, an encoder stands in for the topic model that is not there; what is trained
        is trained on the vectors of the encoder that is set, or on the topics (and in their space) that are valid from the next night on.
        """
        spec, own = JOBS[job], self.models.of(ds)
        vectors = any("embedding_space" in TABLES[t].partition for t in (*spec.reads, *spec.writes) if t in TABLES)
        if job in TRAINING:
            topics = any("model_version" in TABLES[t].partition for t in spec.reads if t in TABLES)
            valid = self.models.valid(ds + ONE_DAY) if topics or not vectors else None
            return [valid or (self.models.encoder(ds + ONE_DAY) if vectors else None)]
        if any("model_version" in TABLES[t].partition for t in spec.writes):
            return [*self.models.reading(ds)]
        if any("embedding_space" in TABLES[t].partition for t in spec.writes):
            found: dict[str | None, registry.ModelVersion | None] = {}
            for model in (own or self.models.encoder(ds), *self.models.reading(ds)):
                if model:
                    found.setdefault(model.embedding_space, model)
            return [*found.values()]
        return [own or (self.models.encoder(ds) if vectors else None)]

    def built(self, table: str, ds: dt.date) -> bool:
        """Whether the night's partition of a table is live, or none is needed because the night has no model for it."""
        parts = self.parts(table, self.models.of(ds) or self.models.encoder(ds))
        return NONE in parts.values() or self.lake.manifest(table, ds, **parts) is not None

    # -- running -----------------------------------------------------------------------------------------------------------------
    def run(
        self,
        job: str,
        ds: dt.date,
        force: bool = False,
        trigger: str = "manual",
        under: registry.ModelVersion | None = None,
        **params: Any,
    ) -> None:
        """Run one job for a night, under each topic model it needs (or the one given), unless an equal run is live."""
        if job in NIGHTLY and ds not in self.landing.nights():
            raise AbsentNightError(f"nothing was landed for {ds.isoformat()}: no {self.landing.url}/events/ds={ds.isoformat()}")
        if job in NIGHTLY and self.built_from and ds < self.built_from:
            raise RemovedError(
                f"{ds.isoformat()} stays as it is: of the nights before {self.built_from.isoformat()} something was removed for its age "
                "(`python -m jobs retain`)"
            )
        models = [under] if under else self.models_for(job, ds)
        if not models:
            self.say(f"{ds.isoformat()} {job}: {NO_MODEL}")
        for model in models:
            self._run_under(job, ds, model, force, trigger, params)

    def prepared(self, job: str, ds: dt.date, under: registry.ModelVersion | None) -> Night:
        """A night of a job with its default parameters, before an attempt at it is claimed."""
        params = {n: p.default for n, p in parameters_of(JOBS[job]).items()}
        return Night(self, job, ds, under, self.stamp(job, ds, under, params), params)

    def _run_under(
        self, job: str, ds: dt.date, under: registry.ModelVersion | None, force: bool, trigger: str, overrides: dict[str, Any]
    ) -> None:
        started = time.perf_counter()
        spec = JOBS[job]
        params = {n: p.default for n, p in parameters_of(spec).items()} | overrides
        stamp = self.stamp(job, ds, under, params)
        live = self.live(job, ds, under)
        night = Night(self, job, ds, under, stamp, params, trigger)
        if live and not force and all(m is not None and m.input_hash == stamp.input_hash for m in live):
            # Its own attempt may have been cut off after the last manifest.
            self.lake.clear_staging(night.attempted, ds, max(m.attempt for m in live if m))
            with logs.about(**logs.of_night(night), state="up to date"):
                self.say(f"{ds.isoformat()} {job}: up to date")
            self.say_last(night)
            return
        night = night.begun()
        if "landing" in spec.reads:
            self.lake.create(f"{_KEYS}/{self.key}")
        if "force" in params:
            params["force"] = force
        with self.observer.watching([night]):
            function_of(spec)(night, **params)
            if forgotten := [t for t in spec.writes if t not in night.written]:
                raise LakeError(
                    f"job {job} did not write {', '.join(forgotten)}, which it declares: write it in {spec.run}, empty if need be"
                )
            self.lake.clear_staging(night.attempted, ds, night.stamp.attempt)
        counts, seconds = {t: m.rows for t, m in night.written.items()}, time.perf_counter() - started
        said = ", ".join(f"{t} {rows:,}" for t, rows in counts.items())
        with logs.about(**logs.of_night(night), state="done", seconds=round(seconds, 1), counts=counts | night.published):
            self.say(f"{ds.isoformat()} {job}: {seconds:.1f} s{' – ' + said if said else ''}")
        self.say_last(night)

    def run_together(self, job: str, nights: Iterable[dt.date], force: bool = False, trigger: str = "manual") -> None:
        """Run a job that can do many nights at once; it decides itself which of them are up to date."""
        spec = JOBS[job]
        assert spec.together is not None, f"{job} does one night at a time"
        made = [replace(self.prepared(job, ds, m), trigger=trigger) for ds in nights for m in self.models_for(job, ds)]
        begun = [night.begun() for night in made]
        with self.observer.watching(begun):
            _named(spec.together)(begun, force=force)

    def say_last(self, night: Night) -> None:
        """Say the last line of a job that has one."""
        if name := JOBS[night.job].last_line:
            with logs.about(**logs.of_night(night)):
                self.say(canonical_json(_named(name)(night)))

    def stamp(self, job: str, ds: dt.date, under: registry.ModelVersion | None, params: dict[str, Any]) -> Stamp:
        """What a run of the job would be stamped with now: its inputs, and the hash over them, parameters, settings, models and code."""
        spec, inputs = JOBS[job], self.inputs(job, ds, under)
        inputs += [(_KEY, self.key)] if "landing" in spec.reads else []
        models, settings = self.stamped_models(job, under), self.settings
        config = {
            "params": {k: v for k, v in params.items() if k not in _NOT_CONFIG},
            "time_zone": settings.time_zone,
            "key": self.key,
            **{name: _config(getattr(settings, name)) for name in spec.settings},
        }
        input_hash = digest([job, ds.isoformat(), inputs, config, models, code_version()])
        # Files delivered after the night may hold late events of it, which is a new run; but what is not about the night renames no row.
        known = [i for i in inputs if not (i[0].startswith("events/ds=") and i[0][10:20] > ds.isoformat())]
        run = digest([job, ds.isoformat(), known, config, models, code_version()])[:10]
        return Stamp(f"{job}-{ds:%Y%m%d}-{run}", input_hash, tuple(inputs), code_version(), models)

    def stamped_models(self, job: str, under: registry.ModelVersion | None) -> dict[str, str]:
        """Models that a run of the job is stamped with: topic model and embedding space, where it reads or writes what is kept by them."""
        partitions = {p for t in (*JOBS[job].reads, *JOBS[job].writes) if t in TABLES for p in TABLES[t].partition}
        found, topics = {}, topic_model_of(under)
        if topics and "model_version" in partitions:
            found["topics"] = topics.model_version
        if under and under.embedding_space and "embedding_space" in partitions:
            found["encoder"] = under.embedding_space
        return found

    def live(self, job: str, ds: dt.date, under: registry.ModelVersion | None) -> list[Manifest | None]:
        """The live manifest of each table that a job writes."""
        return [self.lake.manifest(t, ds, **self.parts(t, under)) for t in JOBS[job].writes]

    def night(self, ds: dt.date, jobs: Iterable[str] = NIGHTLY, force: bool = False, trigger: str = "manual") -> None:
        """Run jobs of the nightly registry for ds, in its order."""
        wanted = set(jobs)
        if wanted == set(NIGHTLY):
            self.request([ds])
        for job in NIGHTLY:
            if job in wanted:
                self.run(job, ds, force, trigger)

    def nights(
        self,
        first: dt.date,
        last: dt.date,
        jobs: Iterable[str] = NIGHTLY,
        force: bool = False,
        trigger: str = "manual",
        parallel: int = 1,
        processes: bool = False,
    ) -> None:
        """Run all landed nights from first to last, both included (see jobs.backfill): those that never landed are named.

        `parallel` nights of a job at a time; `processes` says whether in processes of their own where that can be.
        """
        from jobs import backfill
        from jobs.workers import Workers

        landed = [d for d in self.landing.nights() if first <= d <= last]
        if landed and self.built_from and landed[0] < self.built_from:
            self.say(f"nights before {self.built_from.isoformat()} stay as they are: something of them was removed for its age")
            landed = [d for d in landed if d >= self.built_from]
        if not landed:
            raise AbsentNightError(f"nothing was landed from {first.isoformat()} to {last.isoformat()} below {self.landing.url}/events")
        jobs = list(jobs)
        if set(jobs) == set(NIGHTLY):
            self.request(landed)
        workers = Workers(self, parallel) if processes and parallel > 1 and len(landed) > 1 else None
        try:
            backfill.nights(self, landed, jobs, force, trigger, parallel, workers)
        finally:
            if workers:
                workers.close()
        absent = (last - first).days + 1 - len(landed)
        if absent:
            self.say(f"{absent} nights of the range never landed and are absent")

    def plan(self, first: dt.date, last: dt.date) -> Iterator[str]:
        """Lines that say what `nights` from first to last would build and why, see `jobs.plan`."""
        from jobs.plan import plan

        return plan(self, first, last)

    # -- training ----------------------------------------------------------------------------------------------------------------
    def training(self, ds: dt.date, force: bool = False) -> None:
        """Run the training registry on nights up to ds; its models are valid from the next night on."""
        for job in TRAINING:
            self.run(job, ds, force)

    def publish_models(self) -> None:
        """Publish the model tables, whole."""
        from recsys_core.topics.tables import model_tables
        from recsys_core.warehouse import connect

        runs, notes = job_runs.noted(self.lake)
        with connect(self.settings.warehouse, self.say) as warehouse:
            warehouse.publish_models(model_tables(self.lake, self.settings.sensitive_topics, self.settings.release), runs=runs)
        job_runs.taken(self.lake, notes)

    def close(self) -> None:
        """Stop the Spark session, if one was started."""
        if "spark" in self.__dict__:
            from recsys_core.spark import stop

            stop(self.spark)
