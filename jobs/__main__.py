"""`python -m jobs NAME --ds D …`: the only place that parses a date, reads settings or looks at the clock.

Exit codes: 0 done or up to date, 1 failed, 2 wrong usage, 75 an earlier night must be built first (or the night is not over), 99 the night
never landed.
"""

from __future__ import annotations

import datetime as dt
import inspect
import os
import re
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from zoneinfo import ZoneInfo

import click
from pydantic import ValidationError
from pydantic_settings import SettingsError

from jobs import JOBS, NIGHTLY, TRAINING, Job, stages
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


_SETTING_OPTIONS = ("landing", "lake", "warehouse")


# Commands that need only some of them.
_OPTIONS_OF: dict[str, tuple[str, ...]] = {
    "simulate": ("landing",),
    "land": ("landing",),
    "ready": ("landing",),
    "query": ("warehouse",),
    "report": ("warehouse",),
}


def _settings_options(command: click.Command, names: tuple[str, ...] = _SETTING_OPTIONS) -> None:
    for name in names:
        text = Settings.model_fields[name].description or ""
        command.params.append(click.Option([f"--{name}"], metavar="URI", help=f"{text} [setting {name.upper()}]"))


def _settings(values: dict[str, Any], secret: bool = True) -> Settings:
    """Settings with the command line's values on top; wrong or missing ones are usage errors."""
    try:
        loaded = load_settings()
        given = {k: v for k in (*_SETTING_OPTIONS, "device", "encoder") if (v := values.get(k))}
        loaded = Settings.model_validate(loaded.model_dump() | given)
        if secret:
            loaded.secret()
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        raise click.UsageError(faults) from error
    except (SettingError, SettingsError) as error:
        raise click.UsageError(str(error)) from error
    _check_places(loaded)
    return loaded


def _check_places(loaded: Settings) -> None:
    """A usage error for a URL that no installed file system knows, or an encoder that is not registered."""
    from fsspec.core import url_to_fs

    from recsys_core.encoders import ENCODERS

    for name in ("landing", "lake"):
        try:
            url_to_fs(getattr(loaded, name))
        except (ValueError, ImportError) as error:
            raise click.UsageError(f"{name.upper()}: {getattr(loaded, name)}: {error}") from error
    if loaded.encoder not in ENCODERS:
        raise click.UsageError(f"ENCODER: no encoder is named {loaded.encoder!r}; there are {', '.join(ENCODERS)}")


def _check_range(values: dict[str, Any]) -> None:
    if values["first"] and values["last"] and values["first"] > values["last"]:
        raise click.UsageError(f"--from {values['first']} is after --to {values['last']}")


def _guard(work: Callable[[], None]) -> None:
    """Run; a fault that the user can mend ends in one sentence and its exit code."""
    from jobs.runner import AbsentNightError, NotBuiltError, ParameterError
    from recsys_core.lake import LakeError

    try:
        work()
    except NotBuiltError as error:
        click.echo(f"not built yet: {error}", err=True)
        sys.exit(EX_TEMPFAIL)
    except ParameterError as error:
        raise click.UsageError(str(error)) from error
    except AbsentNightError as error:
        click.echo(f"absent: {error}", err=True)
        sys.exit(EX_ABSENT)
    except (LakeError, OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and type(error) is not RuntimeError:
            raise
        click.echo(f"failed: {error}", err=True)
        sys.exit(1)


def _run(values: dict[str, Any], work: Callable[[Any], None]) -> None:
    from jobs.runner import Runner

    runner = Runner(_settings(values), say=lambda line: click.echo(line))
    try:
        _guard(lambda: work(runner))
    finally:
        runner.close()


def _click_type(annotation: Any) -> tuple[Any, str]:
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


def _job_command(name: str, job: Job) -> click.Command:
    from jobs.runner import parameters_of

    own = parameters_of(job)

    def invoke(**values: Any) -> None:
        given = {n: values[n] for n in own if n != "force" and values.get(n) is not None}
        _run(values, lambda runner: runner.run(name, values["ds"], values["force"], values["trigger"], **given))

    command = click.Command(name, callback=invoke, help=_help(job))
    command.params.append(click.Option(["--ds"], type=Night(), required=True, help="the night"))
    _settings_options(command)
    for parameter in own.values():
        if parameter.name in ("force", "trigger"):
            continue
        kind, text = _click_type(parameter.annotation)
        shown = "" if parameter.default in (None, inspect.Parameter.empty) else f" [default {parameter.default}]"
        command.params.append(click.Option([f"--{parameter.name.replace('_', '-')}"], type=kind, help=text + shown))
    command.params += [_force(), _trigger()]
    return command


def _help(job: Job) -> str:
    writes = ", ".join(job.writes) or "the registry or the warehouse"
    return f"{job.help[0].upper()}{job.help[1:]}. Reads {', '.join(job.reads)}; writes {writes}."


def _force() -> click.Option:
    return click.Option(["--force"], is_flag=True, help="rebuild even when an equal run is live")


def _trigger() -> click.Option:
    return click.Option(["--trigger"], type=click.Choice(TRIGGERS), default="manual", show_default=True, help="what started the run")


def _ds() -> click.Option:
    return click.Option(["--ds"], type=Night(), required=True, help="the night")


def _jobs_list(ctx: click.Context, param: click.Parameter, value: str) -> list[str]:
    names = [n.strip() for n in value.split(",") if n.strip()]
    unknown = [n for n in names if n not in NIGHTLY]
    if unknown:
        raise click.BadParameter(f"no nightly job {', '.join(unknown)}; there are {', '.join(NIGHTLY)}")
    return names


def _stage(**values: Any) -> None:
    registry = TRAINING if values["name"] in stages(TRAINING) else NIGHTLY
    names = stages(registry)[values["name"]]

    def work(runner: Any) -> None:
        if registry is NIGHTLY:
            runner.request([values["ds"]])
        for job in names:
            runner.run(job, values["ds"], values["force"], values["trigger"])

    _run(values, work)


def _night(**values: Any) -> None:
    _run(values, lambda r: r.night(values["ds"], values["jobs"], values["force"], values["trigger"]))


def _nights(**values: Any) -> None:
    _check_range(values)
    _run(values, lambda r: r.nights(values["first"], values["last"], values["jobs"], values["force"], values["trigger"]))


def _training(**values: Any) -> None:
    _run(values, lambda r: r.training(values["ds"], values["force"]))


def _plan(**values: Any) -> None:
    _check_range(values)

    def work(runner: Any) -> None:
        for line in runner.plan(values["first"], values["last"]):
            click.echo(line)

    _run(values, work)


def _ready(**values: Any) -> None:
    """Exit 0 once the night is over and landed, 75 before its end, 99 when it never landed, 1 for a night still to come."""
    from recsys_core.lake import Landing

    settings, ds = _settings(values, secret=False), values["ds"]
    zone = ZoneInfo(settings.time_zone)
    now = dt.datetime.now(zone)
    if ds > now.date():
        click.echo(f"{ds} is in the future: it is {now:%Y-%m-%d %H:%M} in {settings.time_zone}", err=True)
        sys.exit(1)
    end = dt.datetime.combine(ds + dt.timedelta(days=1), dt.time(), zone) + dt.timedelta(seconds=settings.grace_s)
    if now < end:
        click.echo(f"{ds} is not over: it ends, grace included, at {end:%Y-%m-%d %H:%M:%S %Z}", err=True)
        sys.exit(EX_TEMPFAIL)
    if ds not in Landing(settings.landing).nights():
        click.echo(f"absent: nothing was landed for {ds} below {settings.landing}", err=True)
        sys.exit(EX_ABSENT)
    click.echo(f"{ds} is over and landed")


def _simulate(**values: Any) -> None:
    from recsys_core.simulate import simulate

    def work() -> None:
        landing = values["landing"] or _settings(values, secret=False).landing
        shop = {k: values[k] for k in ("start", "nights", "users", "items", "events_per_night", "seed", "text_share", "dirt")}
        try:
            counts = simulate(landing, **shop, progress=click.echo)
        except ValueError as error:  # arguments that do not go together
            raise click.UsageError(str(error)) from error
        click.echo(", ".join(f"{k} {v:,}" if isinstance(v, int) else f"{k} {v}" for k, v in counts.items()))

    _guard(work)


def _land(**values: Any) -> None:
    from recsys_core.sources import SOURCES, SourceError, land

    _check_range(values)
    if values["source"] not in SOURCES:
        raise click.UsageError(f"no source {values['source']!r}; there are {', '.join(SOURCES)}")

    def work() -> None:
        target = values["landing"] or _settings(values, secret=False).landing
        try:
            report = land(values["source"], values["input"], target, values["first"], values["last"], progress=_rows_read)
        except SourceError as error:
            raise RuntimeError(str(error)) from error
        click.echo(str(report))

    _guard(work)


def _rows_read(count: int) -> None:
    if count % 100_000 == 0:
        click.echo(f"{count:,} rows read")


def _report(**values: Any) -> None:
    from recsys_core.report import write_report
    from recsys_core.warehouse import connect

    settings = _settings(values, secret=False)

    def work() -> None:
        with connect(settings.warehouse) as warehouse:
            click.echo(str(write_report(warehouse.query, values["ds"], Path(settings.report))))

    _guard(work)


def _query(**values: Any) -> None:
    """Run a stored or given query and print its rows as a table."""
    from recsys_core.warehouse import connect

    root = Path(__file__).resolve().parent.parent / "sql" / "queries"
    path = next((p for p in (Path(values["name"]), root / f"{values['name']}.sql") if p.is_file()), None)
    if path is None:
        raise click.UsageError(
            f"no file {values['name']!r} and no such query in sql/queries: {', '.join(sorted(p.stem for p in root.glob('*.sql')))}"
        )
    settings, params = _settings(values, secret=False), {}
    for pair in values["param"]:
        key, sign, value = pair.partition("=")
        if not sign:
            raise click.UsageError(f"--param {pair!r}: write name=value")
        params[key] = value

    def work() -> None:
        with connect(settings.warehouse) as warehouse:
            found = warehouse.query(path.read_text(encoding="utf-8"), params)
        click.echo("\t".join(found.column_names))
        for row in found.to_pylist():
            click.echo("\t".join("" if v is None else str(v) for v in row.values()))
        click.echo(f"{found.num_rows:,} rows", err=True)

    _guard(work)


def _demo(**values: Any) -> None:
    from jobs.demo import demo

    _guard(lambda: demo(values["nights"], say=click.echo))


def _generate() -> None:
    from recsys_core import landing_schema, tables

    root = Path(__file__).resolve().parent.parent
    tables.main(str(root))
    landing_schema.main([str(root / "docs")])
    click.echo("sql/tables.sql, README.md and docs/ are fresh")


def _range(first_help: str = "first night", last_help: str = "last night, included", required: bool = True) -> list[click.Parameter]:
    return [
        click.Option(["--from", "first"], type=Night(), required=required, help=first_help),
        click.Option(["--to", "last"], type=Night(), required=required, help=last_help),
    ]


def _jobs_option() -> click.Option:
    return click.Option(["--jobs"], default=",".join(NIGHTLY), callback=_jobs_list, help="only these, comma-separated [default all]")


def _others() -> dict[str, tuple[str, Callable[..., None], Callable[[], list[click.Parameter]]]]:
    """Commands that are no jobs: name → (help, callback, own parameters)."""
    whole = {**stages(NIGHTLY), **stages(TRAINING)}
    return {
        "night": ("All nightly jobs of one night.", _night, lambda: [_ds(), _jobs_option(), _force(), _trigger()]),
        "nights": ("All nightly jobs of many nights, in one process.", _nights, lambda: [*_range(), _jobs_option(), _force(), _trigger()]),
        "training": ("All training jobs on nights up to ds.", _training, lambda: [_ds(), _force()]),
        "stage": (
            "The jobs of one stage; what an Airflow task runs.",
            _stage,
            lambda: [click.Argument(["name"], type=click.Choice(list(whole))), _ds(), _force(), _trigger()],
        ),
        "ready": ("Whether a night is over and landed.", _ready, lambda: [_ds()]),
        "plan": ("What would be built or rebuilt, per night and job.", _plan, lambda: _range()),
        "simulate": (
            "A shop's logs with planted truth.",
            _simulate,
            lambda: [
                click.Option(["--start"], type=Night(), required=True, help="first night"),
                click.Option(["--nights"], type=click.IntRange(1), required=True, help="how many nights"),
                click.Option(["--users"], type=click.IntRange(1), default=400, show_default=True, help="users by the last night"),
                click.Option(["--items"], type=click.IntRange(48), default=600, show_default=True, help="items by the last night"),
                click.Option(["--events-per-night"], type=click.IntRange(1), default=4000, show_default=True, help="mean events a night"),
                click.Option(["--seed"], type=click.IntRange(0), default=0, show_default=True, help="equal seeds give equal bytes"),
                click.Option(
                    ["--text-share"], type=click.FloatRange(0, 0.5), default=0.05, show_default=True, help="share of events with new text"
                ),
                click.Option(["--dirt"], is_flag=True, help="add duplicates, late events and malformed lines"),
            ],
        ),
        "land": (
            "Public data sets and own files into the landing format.",
            _land,
            lambda: [
                click.Option(
                    ["--source"], required=True, help="steam, stackexchange, online-retail, movielens, amazon-reviews or canonical"
                ),
                click.Option(["--input"], type=click.Path(exists=True), required=True, help="file or folder, as its owner distributes it"),
                *_range("first day to land", "last day to land, included", required=False),
            ],
        ),
        "demo": (
            "The whole thing on a simulated shop, below var/demo.",
            _demo,
            lambda: [
                click.Option(["--nights"], type=click.IntRange(3, 60), default=14, show_default=True, help="nights to simulate and run")
            ],
        ),
        "query": (
            "A query of sql/queries (or a file) against the warehouse, tab-separated.",
            _query,
            lambda: [
                click.Argument(["name"]),
                click.Option(["--param"], multiple=True, metavar="NAME=VALUE", help="a parameter of the query; may be given several times"),
            ],
        ),
        "report": ("The HTML page of a published night.", _report, lambda: [_ds()]),
        "generate": ("Write the generated files again: DDL, table list, schemas.", _generate, list),
    }


class Commands(click.Group):
    """Jobs by their registry line, and the runners; a command's module is loaded when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in pipeline order."""
        return [*JOBS, *_others()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name in JOBS:
            return _job_command(cmd_name, JOBS[cmd_name])
        if cmd_name in _others():
            text, callback, own = _others()[cmd_name]
            command = click.Command(cmd_name, callback=callback, help=text, params=own())
            if cmd_name not in ("generate", "demo"):
                _settings_options(command, _OPTIONS_OF.get(cmd_name, _SETTING_OPTIONS))
            return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One line each, without loading any job."""
        sections = {
            "Nightly jobs": [(n, j.help) for n, j in NIGHTLY.items()],
            "Training jobs": [(n, j.help) for n, j in TRAINING.items()],
            "Runners and tools": [(n, o[0]) for n, o in _others().items()],
        }
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)


@click.command(cls=Commands, context_settings={"max_content_width": 140})
def main() -> None:
    """Nightly Interests: behaviour logs to user interests and top-N lists, a night at a time."""


if __name__ == "__main__":
    # Block-buffered output would reach a task's log only when the command ends.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main(prog_name="python -m jobs")
