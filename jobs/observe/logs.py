"""What commands say: lines for people, or, with LOG_FORMAT=json, one JSON object a line. No secret and no user's key is in either.

A line has `at` (UTC), `level` and `message`, and what it is about as far as it is about a job's run: job, ds, run_id, attempt, state,
seconds, counts. What somebody else says over Python's logging, or by a warning, becomes such a line, too, and so does a failure that
nobody caught, of which only the kind and the places in the code are told: its text may hold anything.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from jobs.night import Night

_ABOUT: ContextVar[Mapping[str, Any]] = ContextVar("about", default=MappingProxyType({}))
_USER_KEY = re.compile(r"\b[0-9a-f]{64}\b")


@dataclass
class _Voice:
    as_json: bool = False
    secrets: tuple[str, ...] = ()


_voice = _Voice()


def begin(log_format: str, secrets: Iterable[str]) -> None:
    """From now on this process speaks in a format, `text` or `json`, and never says one of the secrets."""
    _voice.as_json, _voice.secrets = log_format == "json", tuple(sorted(set(secrets), key=len, reverse=True))
    if _voice.as_json:
        logging.basicConfig(handlers=[_Lines()], level=logging.WARNING, force=True)
        logging.captureWarnings(True)
        sys.excepthook = _uncaught


def say(line: str) -> None:
    """Say a line on standard output."""
    click.echo(_written(line, "info"))


def complain(line: str) -> None:
    """Say on standard error what went wrong."""
    click.echo(_written(line, "error"), err=True)


def warn(line: str) -> None:
    """Say on standard error what is dangerous and stops nothing."""
    click.echo(_written(f"warning: {line}", "warning"), err=True)


def hidden(text: str) -> str:
    """The text without the secrets, and with an ellipsis behind the first signs of each user's key."""
    for secret in _voice.secrets:
        text = text.replace(secret, "***")
    return _USER_KEY.sub(lambda key: f"{key[0][:8]}…", text)


@contextmanager
def about(**fields: Any) -> Iterator[None]:
    """What is said in the block is about these."""
    token = _ABOUT.set({**_ABOUT.get(), **fields})
    try:
        yield
    finally:
        _ABOUT.reset(token)


def current() -> dict[str, Any]:
    """What is said now is about these."""
    return dict(_ABOUT.get())


def of_night(night: Night) -> dict[str, Any]:
    """What is said of a job's night is about."""
    number = night.attempt.number if night.attempt else None
    return {"job": night.job, "ds": night.ds.isoformat(), "run_id": night.stamp.run_id, **({"attempt": number} if number else {})}


def message_of(line: str) -> str:
    """The message of a line as `say` writes them; the line itself when it is none."""
    try:
        found = json.loads(line)["message"]
    except (ValueError, KeyError, TypeError):
        return line
    return found if isinstance(found, str) else line


def _written(line: str, level: str) -> str:
    if not _voice.as_json:
        return hidden(line)
    at = dt.datetime.fromtimestamp(time.time(), dt.UTC).isoformat(timespec="milliseconds")
    return hidden(json.dumps({"at": at, "level": level, "message": hidden(line), **_ABOUT.get()}, ensure_ascii=False))


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Say a record of Python's logging on standard error."""
        click.echo(_written(f"{record.name}: {record.getMessage()}", record.levelname.lower()), err=True)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)]
    with about(error=kind.__name__, at_code=places):
        complain(f"failed: {kind.__name__}, which nobody expected; with LOG_FORMAT=text it is told in full")
