"""Site settings: from the environment, else from the file that SETTINGS_FILE names (default `settings.env`)."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from recsys_core.events import DEFAULT_WEIGHTS, Weights, overridden

if TYPE_CHECKING:
    from recsys_core.annotate.classify import Taxonomy
    from recsys_core.experiments import Experiments
    from recsys_core.generate import TextGenerator
    from recsys_core.privacy.release import Release
    from recsys_core.ranking.policy import ListRules
    from recsys_core.segments.rules import Rules
    from recsys_core.sensitive import Sensitive
    from recsys_core.taxonomy_edges import TaxonomyEdges

T = TypeVar("T")
# So many random bytes nobody guesses.
SECRET_BYTES = 16
# What is kept for so many days: RETAIN_LANDING_DAYS and so on.
RETAINED = ("landing", "lake", "text", "warehouse")


class SettingError(Exception):
    """A setting is missing, or names a file that is; the message says which and how to set it."""


class Settings(BaseSettings):
    """What a site sets once; names in the environment are the field names in capitals."""

    model_config = SettingsConfigDict(env_file=None, extra="ignore")

    landing: str = Field("var/landing", description="root of the landing zone (a path or any fsspec URL)")
    lake: str = Field("var/lake", description="root of the lake (a path or any fsspec URL)")
    warehouse: str = Field("duckdb:///var/warehouse.duckdb", description="duckdb:///path or postgresql://user@host:port/database")
    warehouse_reader: str | None = Field(
        None, description="the warehouse as the explorer's pages connect to it: a role that only reads; without it, as WAREHOUSE"
    )
    report: str = Field("var/report", description="folder of the nightly reports; empty: none are made")
    user_key_secret: SecretStr | None = Field(None, description="secret of the user keys, used as UTF-8 bytes")
    user_key_secret_file: str | None = Field(None, description="file that holds the secret")
    key_id: str = Field("k1", description="name of the secret in use")
    time_zone: str = Field("UTC", description="IANA time zone that cuts the nights")
    grace_s: int = Field(0, ge=0, description="seconds to wait for late deliveries after a night's local end")
    spark_master: str = Field("local[2]", description="Spark master URL")
    spark_conf: dict[str, str] = Field(default_factory=dict, description="further Spark settings, as a JSON object")
    spark_from_rows: int = Field(
        500_000, ge=0, description="rows from which on Spark does what a single process also can: below, it would cost more than the rows"
    )
    known_cutoff: dt.datetime | None = Field(None, description="what was received later is not known: a moment like 2026-03-16T00:00:00Z")
    block_on_history: bool = Field(False, description="whether a jump of volume or null shares blocks a big night, instead of warning")
    encoder: str = Field("bilingual", description="text encoder: bilingual, minilm, lsa, fine_tuned, or hf:<folder or Hugging Face id>")
    encoder_backend: str = Field(
        "auto", pattern="^(auto|torch|int8|openvino)$", description="what computes vectors on a CPU: int8 is faster and coarser than torch"
    )
    topic_models: str = Field("kmeans,lda", description="topic models that training fits, comma-separated: nights use the first")
    embed_on: str = Field("local", pattern="^(local|spark)$", description="whether this process embeds new texts, or Spark's executors do")
    k_anonymity: int = Field(
        20, ge=1, le=100_000, description="users that must stand behind a number about users before it is published or shown"
    )
    dp_epsilon: float | None = Field(
        None,
        gt=0,
        le=20,
        description="privacy budget of topic_audience and of interest_edge a night, each: docs/security.md; none: no noise",
    )
    dp_topics: int = Field(5, ge=1, le=50, description="DP_EPSILON: topics for which a user counts at most, the strongest")
    retain_landing_days: int | None = Field(None, ge=36, description="days that delivered events are kept; blank: for ever")
    retain_lake_days: int | None = Field(
        None, ge=1, description="days that a table of the lake is kept, or as long as jobs look back on it"
    )
    retain_text_days: int | None = Field(None, ge=1, description="the same for tables that hold what users wrote or are called")
    retain_warehouse_days: int | None = Field(None, ge=9, description="days that published nights are kept; blank: for ever")
    event_types_file: str | None = Field(None, description="TOML file with other weights and decay of event types: docs/event-types.md")
    sensitive_topics_file: str | None = Field(
        None, description="TOML file of topics, by id or by words, that are never expanded and never shown: docs/interests.md"
    )
    taxonomy_edge_file: str | None = Field(
        None, description="CSV file (src, dst) of topics, by id or label, that lead from one to the other for reasons no log shows"
    )
    segments_file: str | None = Field(None, description="TOML file of audiences by rules: docs/segments.md")
    experiments_file: str | None = Field(
        None, description="TOML file of experiments with lists: their nights, arms and what each arm changes: docs/evaluation.md"
    )
    lists_file: str | None = Field(None, description="TOML file of what lists may hold, their sizes and their mixture: docs/lists.md")
    erasure_inbox: str | None = Field(None, description="folder of lists of user ids that the DAG erasure forgets, one id on each line")
    intraday_source: str = Field("landing", description="where the running day's events come from: landing, or kafka://host:port/topic")
    intraday_kappa: float = Field(5.0, gt=0, le=10_000, description="events of a day that weigh as much as the night before in its overlay")
    device: str = Field("auto", pattern="^(auto|cpu|cuda)$", description="where texts are embedded and networks run: auto, cpu or cuda")
    recommend_on: str = Field(
        "local", pattern="^(local|spark)$", description="whether this process counts transitions and factorises for lists, or Spark does"
    )
    recommenders: str = Field("transitions,content,popularity", description="sources that the lists blend, comma-separated")
    forecast_models: str = Field("gru", description="sequence models that training fits, comma-separated: nights use the first")
    train_processes: int = Field(
        1, ge=1, le=64, description="processes that train a forecast or k-means together, each on its own GPU if any"
    )
    text_generator: str = Field(
        "template", pattern="^(template|local|endpoint)$", description="what names topics: template, local (a language model) or endpoint"
    )
    reason_copy: bool = Field(False, description="whether TEXT_GENERATOR writes a sentence behind the reasons of the most shown items")
    text_model: str | None = Field(
        None, description="local: a folder or Hugging Face id downloaded before; endpoint: the model's name there"
    )
    text_endpoint: str | None = Field(None, description="URL of an OpenAI-compatible endpoint, like https://host/v1")
    text_api_key: SecretStr | None = Field(None, description="the endpoint's key")
    text_api_key_file: str | None = Field(None, description="file that holds the endpoint's key")
    text_timeout_s: float = Field(30.0, gt=0, le=600, description="seconds that an answer of the endpoint may take")

    sentiment_model: str | None = Field(
        None, description="classifier (negative, neutral, positive, or stars) instead of the lexicon: folder or downloaded Hugging Face id"
    )
    entity_model: str | None = Field(
        None, description="token classifier beside the catalogue's names: folder or downloaded Hugging Face id"
    )
    taxonomy_file: str | None = Field(None, description="TSV file of labels for texts: label, English words, Chinese words")

    run_jobs: str = Field(
        "local",
        pattern="^(local|pod|submit)$",
        description="where Airflow's tasks run their commands: local, a pod of Kubernetes each, or submit, Spark's by spark-submit",
    )
    jobs_python: str | None = Field(None, description="interpreter of the jobs where Airflow has an environment of its own")
    pod_templates: str | None = Field(
        None, description="RUN_JOBS=pod: folder of default.yaml, a pod, and of what differs in that of a stage, by its name"
    )
    spark_submit: str | None = Field(
        None, description="RUN_JOBS=submit: the words before the job's own, from spark-submit to the path of docker/submit.py"
    )

    log_format: str = Field("text", pattern="^(text|json)$", description="what commands say: text for people, json for machines")
    metrics_folder: str | None = Field(None, description="folder of metrics in Prometheus's text format: docs/operations.md")
    lineage_file: str | None = Field(None, description="file to which OpenLineage events are appended, a JSON object a line")
    alert_webhook: SecretStr | None = Field(None, description="URL that alerts are posted to as JSON")
    alert_webhook_file: str | None = Field(None, description="file that holds that URL")
    runbook_url: str = Field("docs/operations.md", description="where the runbook is read; alerts link to its sections")
    max_night_age_h: float = Field(36.0, gt=0, description="hours after the end of the last published night from which on it is late")
    airflow_url: str | None = Field(None, description="Airflow that the probe asks, like http://127.0.0.1:8080")
    # Airflow's own words for the task that runs a command.
    airflow_ctx_dag_id: str | None = None
    airflow_ctx_dag_run_id: str | None = None
    airflow_ctx_task_id: str | None = None
    airflow_ctx_try_number: str | None = None

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} is no IANA time zone, like UTC or Asia/Shanghai") from error
        return value

    @field_validator("known_cutoff", mode="before")
    @classmethod
    def _moment(cls, value: Any) -> Any:
        if not isinstance(value, str) or not value:
            return value or None
        try:
            found = dt.datetime.fromisoformat(value)
            if found.tzinfo is None:
                raise ValueError
        except ValueError as error:
            raise ValueError(f"{value!r} is no moment with a time and a zone, like 2026-03-16T00:00:00Z") from error
        return found.astimezone(dt.UTC)

    @field_validator("dp_epsilon", *(f"retain_{what}_days" for what in RETAINED), mode="before")
    @classmethod
    def _blank(cls, value: Any) -> Any:
        return value or None

    @field_validator("warehouse", "warehouse_reader")
    @classmethod
    def _known_warehouse(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("duckdb:///", "postgresql://", "postgres://")):
            raise ValueError("give duckdb:///path/to/file.duckdb or postgresql://user@host:port/database")
        return value

    @field_validator("intraday_source")
    @classmethod
    def _known_stream(cls, value: str) -> str:
        if value != "landing" and not re.fullmatch(r"kafka://[^/?#@]+/[A-Za-z0-9._-]+", value):
            raise ValueError("give landing, or kafka://host:port/topic")
        return value

    def secret(self) -> bytes:
        """The secret's bytes; SettingError when neither the value nor its file is set, or it is empty."""
        value = self._secret_of("user_key_secret")
        if not value:
            raise SettingError(
                "USER_KEY_SECRET is not set: export it, or put its file's name into USER_KEY_SECRET_FILE "
                "(`make demo` generates one into var/demo/settings.env)"
            )
        return value.encode()

    def warnings(self) -> list[str]:
        """What is dangerous in the settings and stops nothing, each with its remedy."""
        with suppress(SettingError):  # who needs the secret says that there is none
            if (n := len(self.secret())) < SECRET_BYTES:
                what = f"USER_KEY_SECRET has {n} bytes: it can be guessed, and then anybody can tell whose key is whose"
                return [f"{what}; put {2 * SECRET_BYTES} random bytes in its place, and build all nights again (docs/security.md)"]
        return []

    def webhook(self) -> str:
        """The URL that alerts are posted to, '' when there is none; SettingError when its file is missing."""
        return self._secret_of("alert_webhook")

    def secrets(self) -> set[str]:
        """All that no line, metric or event may hold: secret settings, those of files, and the password of the warehouse."""
        fields, found = type(self).model_fields, set()
        for name in (name for name, field in fields.items() if field.annotation == SecretStr | None and f"{name}_file" in fields):
            with suppress(SettingError):  # who needs it says that its file is missing
                found.add(self._secret_of(name))
        for url in (self.warehouse, self.warehouse_reader or ""):
            if password := re.match(r"\w+://[^/@]*?:([^@/]*)@", url):
                found |= {password[1], unquote(password[1])}
            found |= set(re.findall(r"[?&]password=([^&]+)", url))
        return found - {""}

    def generator(self) -> TextGenerator:
        """What writes short texts for people; SettingError when it cannot be made."""
        from recsys_core.generate import text_generator

        key = self._secret_of("text_api_key") or None
        try:
            return text_generator(
                self.text_generator,
                model=self.text_model,
                url=self.text_endpoint,
                key=key,
                timeout_s=self.text_timeout_s,
                device=self.device,
            )
        except (ValueError, RuntimeError) as error:
            raise SettingError(f"TEXT_GENERATOR={self.text_generator}: {error}") from error

    def _secret_of(self, name: str) -> str:
        """A secret setting's value, else what the file of `<name>_file` holds, else ''; SettingError for a file that is missing."""
        value: SecretStr | None = getattr(self, name)
        file: str | None = getattr(self, f"{name}_file")
        if value and value.get_secret_value():
            return value.get_secret_value()
        if not file:
            return ""
        if not Path(file).is_file():
            raise SettingError(f"{name.upper()}_FILE names {file}, which is not there")
        return Path(file).read_text(encoding="utf-8").strip()

    @property
    def release(self) -> Release:
        """How numbers about users may leave."""
        from recsys_core.privacy.release import Release

        return Release(self.k_anonymity, self.dp_epsilon, self.dp_topics)

    @cached_property
    def event_types(self) -> Weights:
        """Weights and decay of event types, the site's file on top."""
        return self._from_file("event_types_file", overridden, DEFAULT_WEIGHTS)

    @cached_property
    def sensitive_topics(self) -> Sensitive:
        """What the site calls sensitive, nothing without a file."""
        from recsys_core.sensitive import Sensitive, sensitive

        return self._from_file("sensitive_topics_file", sensitive, Sensitive())

    @cached_property
    def segments(self) -> Rules:
        """The site's audiences by rules, none without a file."""
        from recsys_core.segments.rules import Rules, rules

        return self._from_file("segments_file", rules, Rules())

    @cached_property
    def list_rules(self) -> ListRules:
        """The site's rules of lists, the usual ones without a file."""
        from recsys_core.ranking.policy import ListRules, list_rules

        return self._from_file("lists_file", list_rules, ListRules())

    @cached_property
    def experiments(self) -> Experiments:
        """The site's experiments with lists, none without a file."""
        from recsys_core.experiments import Experiments, experiments

        return self._from_file("experiments_file", experiments, Experiments())

    @cached_property
    def taxonomy_edges(self) -> TaxonomyEdges:
        """The site's own edges between topics, none without a file."""
        from recsys_core.taxonomy_edges import TaxonomyEdges, taxonomy_edges

        return self._from_file("taxonomy_edge_file", taxonomy_edges, TaxonomyEdges())

    @cached_property
    def taxonomy(self) -> Taxonomy | None:
        """The labels that texts are given; None without a file."""
        if not self.taxonomy_file:
            return None
        from recsys_core.annotate.classify import taxonomy

        return self._from_file("taxonomy_file", taxonomy, None)

    def _from_file(self, name: str, read: Callable[[str, str], T], without: T) -> T:
        """What `read` makes of the file (text, path) that a setting names; SettingError when it is missing, or names all its faults."""
        if not getattr(self, name):
            return without
        path = Path(getattr(self, name))
        if not path.is_file():
            raise SettingError(f"{name.upper()} names {path}, which is not there")
        raw = path.read_bytes()
        try:
            return read(raw.decode("utf-8-sig"), str(path))
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise SettingError(f"{name.upper()}: {path}, line {line}: not UTF-8; save the file as UTF-8") from error
        except ValueError as error:
            raise SettingError(f"{name.upper()}: {error}") from error


def read_settings() -> Settings:
    """The values alone, for who has not what the files that they name are read with: Airflow's tasks."""
    named = os.environ.get("SETTINGS_FILE")
    if named and not Path(named).exists():
        raise SettingError(f"SETTINGS_FILE names {named}, which is not there")
    path = named or "settings.env"
    return Settings(_env_file=path if Path(path).is_file() else None)


def load_settings() -> Settings:
    """Settings of this process; pydantic's ValidationError names each wrong value, SettingError a missing file or a wrong one."""
    loaded = read_settings()
    # A wrong file is said before any job starts.
    _ = loaded.event_types, loaded.taxonomy, loaded.sensitive_topics, loaded.taxonomy_edges, loaded.segments
    if loaded.lists_file:  # without one nothing is to be checked, and what reads it loads scipy
        _ = loaded.list_rules
    if loaded.experiments_file:
        _ = loaded.experiments
    if loaded.text_generator != "template":
        loaded.generator()  # as is a model or endpoint that is not named
    return loaded
