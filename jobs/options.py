"""What all commands share: typed options, settings with the command line on top, and faults as exit codes."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import sys
import tempfile
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from pydantic import ValidationError
from pydantic_settings import SettingsError

from jobs import NIGHTLY
from jobs.observe import logs
from jobs.settings import SettingError, Settings, load_settings

EX_TEMPFAIL, EX_ABSENT = 75, 99
TRIGGERS = ("scheduled", "manual", "backfill", "intraday", "erasure")


class Night(click.ParamType):
    """A date written YYYY-MM-DD."""

    name = "YYYY-MM-DD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dt.date:
        """The date, or a usage error."""
        if isinstance(value, dt.date):
            return value
        try:
            if not re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII):  # fromisoformat takes week dates and more
                raise ValueError
            return dt.date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no date of the form 2026-01-31", param, ctx)


SETTING_OPTIONS = ("landing", "lake", "warehouse")


# Commands that need only some of them.
OPTIONS_OF: dict[str, tuple[str, ...]] = {
    "simulate": ("landing",),
    "land": ("landing",),
    "check": (),
    "ready": ("landing",),
    "tidy": ("lake",),
    "query": ("warehouse",),
    "migrate": ("warehouse",),
    "status": ("landing", "warehouse"),
    "probe": ("landing", "warehouse"),
}


def settings_options(command: click.Command, names: tuple[str, ...] = SETTING_OPTIONS) -> None:
    for name in names:
        text = Settings.model_fields[name].description or ""
        command.params.append(click.Option([f"--{name}"], metavar="URI", help=f"{text} [setting {name.upper()}]"))


def settings_of(values: dict[str, Any], secret: bool = True) -> Settings:
    """Settings with the command line's values on top; wrong or missing ones are usage errors."""
    try:
        loaded = load_settings()
        given = {k: v for k in (*SETTING_OPTIONS, "device", "encoder", "known_cutoff") if (v := values.get(k))}
        loaded = Settings.model_validate(loaded.model_dump() | given)
        if secret:
            loaded.secret()
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        raise click.UsageError(faults) from error
    except (SettingError, SettingsError) as error:
        raise click.UsageError(str(error)) from error
    logs.begin(loaded.log_format, loaded.secrets())
    for line in loaded.warnings() if secret else ():
        logs.warn(line)
    _check_places(loaded)
    return loaded


def _check_places(loaded: Settings) -> None:
    """A usage error for a URL that no installed file system knows, or an encoder that is not registered."""
    from fsspec.core import url_to_fs

    from recsys_core import encoders

    for name in ("landing", "lake"):
        try:
            url_to_fs(getattr(loaded, name))
        except (ValueError, ImportError) as error:
            raise click.UsageError(f"{name.upper()}: {getattr(loaded, name)}: {error}") from error
    try:
        encoders.check(loaded.encoder)
    except RuntimeError as error:
        raise click.UsageError(f"ENCODER: {error}") from error


def check_range(values: dict[str, Any]) -> None:
    if values["first"] and values["last"] and values["first"] > values["last"]:
        raise click.UsageError(f"--from {values['first']} is after --to {values['last']}")


def guard(work: Callable[[], None]) -> None:
    """Run; a fault that the user can mend ends in one sentence and its exit code."""
    from jobs.runner import AbsentNightError, NotBuiltError, ParameterError
    from recsys_core.lake import LakeError
    from recsys_core.spark import death

    try:
        work()
    except NotBuiltError as error:
        logs.complain(f"not built yet: {error}")
        sys.exit(EX_TEMPFAIL)
    except ParameterError as error:
        raise click.UsageError(str(error)) from error
    except AbsentNightError as error:
        logs.complain(f"absent: {error}")
        sys.exit(EX_ABSENT)
    except Exception as error:
        died = None if isinstance(error, LakeError) else death(error)
        if died is None and not isinstance(error, (LakeError, OSError)) and type(error) is not RuntimeError:
            raise
        logs.complain(f"failed: {died or error}")
        sys.exit(1)


def run(values: dict[str, Any], work: Callable[[Any], None]) -> None:
    from jobs.runner import Runner

    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    runner = Runner(settings_of(values), logs.say, bool(values.get("use_current_models")), now)

    def whole() -> None:
        try:
            _naming_full_disks(lambda: work(runner), runner.settings)
        finally:
            runner.close()  # before the error is said: its sentence comes after whatever Spark still logs

    guard(whole)


def _naming_full_disks(work: Callable[[], None], settings: Settings) -> None:
    """Run; where something finds its disk full, in this process, the JVM or a worker, LakeError says which places have how much left."""
    from recsys_core.lake import LakeError, disk_full, place

    try:
        work()
    except Exception as error:
        if isinstance(error, LakeError) or not disk_full(error):
            raise
        _, lake, local = place(settings.lake)
        places = {"lake": lake} if local else {}
        if settings.warehouse.startswith("duckdb:///"):
            places["warehouse"] = str(Path(settings.warehouse.removeprefix("duckdb:///")).absolute().parent)
        places["temporary files"] = settings.spark_conf.get("spark.local.dir") or tempfile.gettempdir()
        left = "; ".join(
            f"{what} {at}: {shutil.disk_usage(at).free / 2**20:,.1f} MiB free" for what, at in places.items() if os.path.exists(at)
        )
        raise LakeError(f"a disk is full ({left}): free some space and run the same command again; what was live still is") from error


def click_type(annotation: Any) -> tuple[Any, str]:
    """(click type, help) of an `Annotated[T, "help"]` parameter; T is int, float, str, bool, date or a Literal.

    A third item, a `range`, bounds an int.
    """
    text, bounds = "", None
    if get_origin(annotation) is typing.Annotated:
        annotation, text, *rest = get_args(annotation)
        bounds = rest[0] if rest else None
    if bounds is not None:
        return click.IntRange(bounds.start, bounds.stop - 1), text
    if get_origin(annotation) is Literal:
        return click.Choice(get_args(annotation)), text
    return {int: click.INT, float: click.FLOAT, bool: click.BOOL, dt.date: Night()}.get(annotation, click.STRING), text


def force_option() -> click.Option:
    return click.Option(["--force"], is_flag=True, help="rebuild even when an equal run is live")


def current_models_option() -> click.Option:
    return click.Option(
        ["--use-current-models"], is_flag=True, help="take the models valid for the night now, not those that it was built under"
    )


def known_cutoff_option() -> click.Option:
    return click.Option(
        ["--known-cutoff"],
        metavar="MOMENT",
        help="leave out what was received after a moment like 2026-03-16T00:00:00Z [setting KNOWN_CUTOFF]",
    )


def run_options() -> list[click.Parameter]:
    """How a night, or many, are to be run."""
    return [force_option(), current_models_option(), known_cutoff_option(), trigger_option()]


def trigger_option() -> click.Option:
    return click.Option(["--trigger"], type=click.Choice(TRIGGERS), default="manual", show_default=True, help="what started the run")


def ds_option() -> click.Option:
    return click.Option(["--ds"], type=Night(), required=True, help="the night")


def _jobs_list(ctx: click.Context, param: click.Parameter, value: str) -> list[str]:
    names = [n.strip() for n in value.split(",") if n.strip()]
    unknown = [n for n in names if n not in NIGHTLY]
    if unknown:
        raise click.BadParameter(f"no nightly job {', '.join(unknown)}; there are {', '.join(NIGHTLY)}")
    return names


def range_options(first_help: str = "first night", last_help: str = "last night, included", required: bool = True) -> list[click.Parameter]:
    return [
        click.Option(["--from", "first"], type=Night(), required=required, help=first_help),
        click.Option(["--to", "last"], type=Night(), required=required, help=last_help),
    ]


def jobs_option() -> click.Option:
    return click.Option(["--jobs"], default=",".join(NIGHTLY), callback=_jobs_list, help="only these, comma-separated [default all]")
