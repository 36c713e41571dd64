"""Site settings: from the environment, else from the file that SETTINGS_FILE names (default `settings.env`)."""

from __future__ import annotations

import datetime as dt
import os
from functools import cached_property
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from recsys_core.events import DEFAULT_WEIGHTS, OverrideError, Weights, overridden


class SettingError(Exception):
    """A setting is missing, or names a file that is; the message says which and how to set it."""


class Settings(BaseSettings):
    """What a site sets once; names in the environment are the field names in capitals."""

    model_config = SettingsConfigDict(env_file=None, extra="ignore")

    landing: str = Field("var/landing", description="root of the landing zone (a path or any fsspec URL)")
    lake: str = Field("var/lake", description="root of the lake (a path or any fsspec URL)")
    warehouse: str = Field("duckdb:///var/warehouse.duckdb", description="duckdb:///path or postgresql://user@host:port/database")
    report: str = Field("var/report", description="folder of the nightly reports")
    user_key_secret: SecretStr | None = Field(None, description="secret of the user keys, used as UTF-8 bytes")
    user_key_secret_file: str | None = Field(None, description="file that holds the secret")
    key_id: str = Field("k1", description="name of the secret in use")
    time_zone: str = Field("UTC", description="IANA time zone that cuts the nights")
    grace_s: int = Field(0, ge=0, description="seconds to wait for late deliveries after a night's local end")
    spark_master: str = Field("local[2]", description="Spark master URL")
    spark_conf: dict[str, str] = Field(default_factory=dict, description="further Spark settings, as a JSON object")
    known_cutoff: dt.datetime | None = Field(None, description="what was received later is not known: a moment like 2026-03-16T00:00:00Z")
    block_on_history: bool = Field(False, description="whether a jump of volume or null shares blocks a big night, instead of warning")
    encoder: str = Field("minilm", description="name of a registered text encoder")
    event_types_file: str | None = Field(None, description="TOML file with other weights and decay of event types: docs/event-types.md")
    erasure_inbox: str | None = Field(None, description="folder of lists of user ids that the DAG erasure forgets, one id on each line")
    device: str = Field("auto", pattern="^(auto|cpu|cuda)$", description="where texts are embedded: auto, cpu or cuda")

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

    @field_validator("warehouse")
    @classmethod
    def _known_warehouse(cls, value: str) -> str:
        if not value.startswith(("duckdb:///", "postgresql://", "postgres://")):
            raise ValueError("give duckdb:///path/to/file.duckdb or postgresql://user@host:port/database")
        return value

    def secret(self) -> bytes:
        """The secret's bytes; SettingError when neither the value nor its file is set, or it is empty."""
        value = self.user_key_secret.get_secret_value() if self.user_key_secret else ""
        if not value and self.user_key_secret_file:
            path = Path(self.user_key_secret_file)
            if not path.is_file():
                raise SettingError(f"USER_KEY_SECRET_FILE names {path}, which is not there")
            value = path.read_text(encoding="utf-8").strip()
        if not value:
            raise SettingError(
                "USER_KEY_SECRET is not set: export it, or put its file's name into USER_KEY_SECRET_FILE "
                "(`make demo` generates one into var/demo/settings.env)"
            )
        return value.encode()

    @cached_property
    def event_types(self) -> Weights:
        """Weights and decay of event types, the site's file on top; SettingError when it is missing, or names all its faults."""
        if not self.event_types_file:
            return DEFAULT_WEIGHTS
        path = Path(self.event_types_file)
        if not path.is_file():
            raise SettingError(f"EVENT_TYPES_FILE names {path}, which is not there")
        raw = path.read_bytes()
        try:
            return overridden(raw.decode("utf-8-sig"), str(path))
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise SettingError(f"EVENT_TYPES_FILE: {path}, line {line}: not UTF-8; save the file as UTF-8") from error
        except OverrideError as error:
            raise SettingError(f"EVENT_TYPES_FILE: {error}") from error


def load_settings() -> Settings:
    """Settings of this process; pydantic's ValidationError names each wrong value, SettingError a missing file or a wrong one."""
    named = os.environ.get("SETTINGS_FILE")
    if named and not Path(named).exists():
        raise SettingError(f"SETTINGS_FILE names {named}, which is not there")
    path = named or "settings.env"
    loaded = Settings(_env_file=path if Path(path).is_file() else None)
    _ = loaded.event_types  # a wrong file is said before any job starts
    return loaded
