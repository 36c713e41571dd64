"""`python -m jobs NAME --ds D …`: the commands, and with jobs/options.py the only place that parses a date, reads settings or the clock.

Exit codes: 0 done or up to date, 1 failed, 2 wrong usage, 75 an earlier night must be built first (or the night is not over), 99 the night
never landed.
"""

from __future__ import annotations

import datetime as dt
import inspect
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click

from jobs import JOBS, NIGHTLY, ON_REQUEST, TRAINING, Job, stages, tools
from jobs.observe import logs
from jobs.options import (
    EX_ABSENT,
    EX_TEMPFAIL,
    OPTIONS_OF,
    SETTING_OPTIONS,
    Night,
    check_range,
    click_type,
    current_models_option,
    ds_option,
    force_option,
    guard,
    jobs_option,
    known_cutoff_option,
    range_options,
    run,
    run_options,
    settings_of,
    settings_options,
    trigger_option,
)


def _job_command(name: str, job: Job) -> click.Command:
    from jobs.runner import parameters_of

    own = parameters_of(job)

    def invoke(**values: Any) -> None:
        given = {n: values[n] for n in own if n != "force" and values.get(n) is not None}
        run(values, lambda runner: runner.run(name, values["ds"], values["force"], values["trigger"], **given))

    command = click.Command(name, callback=invoke, help=_help(job))
    command.params.append(click.Option(["--ds"], type=Night(), required=True, help="the night"))
    settings_options(command)
    for parameter in own.values():
        if parameter.name in ("force", "trigger"):
            continue
        kind, text = click_type(parameter.annotation)
        shown = "" if parameter.default in (None, inspect.Parameter.empty) else f" [default {parameter.default}]"
        names = [f"--{parameter.name.replace('_', '-')}"]
        if kind is click.BOOL:
            command.params.append(click.Option(names, is_flag=True, help=text))
        else:
            command.params.append(click.Option(names, type=kind, help=text + shown))
    command.params += [force_option(), trigger_option()]
    if name in NIGHTLY:
        command.params.append(current_models_option())
    if "landing" in job.reads:
        command.params.append(known_cutoff_option())
    return command


def _help(job: Job) -> str:
    writes = ", ".join(job.writes) or "the registry or the warehouse"
    return f"{job.help[0].upper()}{job.help[1:]}. Reads {', '.join(job.reads)}; writes {writes}."


def _stage(**values: Any) -> None:
    registry = TRAINING if values["name"] in stages(TRAINING) else NIGHTLY
    names = stages(registry)[values["name"]]

    def work(runner: Any) -> None:
        if registry is NIGHTLY:
            runner.request([values["ds"]])
        for job in names:
            runner.run(job, values["ds"], values["force"], values["trigger"])

    run(values, work)


def _night(**values: Any) -> None:
    run(values, lambda r: r.night(values["ds"], values["jobs"], values["force"], values["trigger"]))


def _nights(**values: Any) -> None:
    check_range(values)
    names = ("first", "last", "jobs", "force", "trigger", "parallel")
    run(values, lambda r: r.nights(*(values[name] for name in names), processes=True))


def _training(**values: Any) -> None:
    run(values, lambda r: r.training(values["ds"], values["force"]))


def _plan(**values: Any) -> None:
    check_range(values)

    def work(runner: Any) -> None:
        for line in runner.plan(values["first"], values["last"]):
            click.echo(line)

    run(values, work)


def _accept(**values: Any) -> None:
    from jobs.quality import accept

    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    run(values, lambda r: accept(r, values["ds"], values["check"], values["table"], values["reason"], now, values["trigger"]))


def _replay(**values: Any) -> None:
    from jobs.quality import replay

    run(values, lambda r: replay(r, values["ds"], values["reason"], values["trigger"]))


def _tidy(**values: Any) -> None:
    from recsys_core.janitor import tidy

    before = dt.datetime.now(dt.UTC) - dt.timedelta(days=values["older_than"])

    def work(runner: Any) -> None:
        found = tidy(runner.lake, before, values["dry_run"])
        for dead in found:
            click.echo(f"{dead.what} {dead.path}: {dead.n_bytes:,} bytes, last written {dead.written_at:%Y-%m-%d %H:%M} UTC")
        verb = "would go" if values["dry_run"] else "removed"
        click.echo(f"{len(found)} {verb}, {sum(d.n_bytes for d in found):,} bytes; what is live, or younger, stays")

    run(values, work)


def _retain(**values: Any) -> None:
    from jobs.retention import retain

    run(values, lambda r: retain(r, values["dry_run"]))


def _embed_shard(**values: Any) -> None:
    from jobs.gpu import embed_shard

    part, of = values["shard"]
    run(values, lambda r: embed_shard(r, values["ds"], part, of, values["embed_behaviour_text"], values["device"]))


def _shard(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, int]:
    part, slash, of = value.partition("/")
    if not (slash and part.isdecimal() and of.isdecimal() and 1 <= int(part) <= int(of)):
        raise click.BadParameter("give the shard's number and how many there are, like 1/4")
    return int(part), int(of)


def _forget(**values: Any) -> None:
    from jobs.erase import forget, from_inbox, ids_of

    if [values["ids"] is not None, values["inbox"], values["again"]].count(True) != 1:
        raise click.UsageError("name one of --ids FILE, --ids -, --inbox and --again")

    def work(runner: Any) -> None:
        runner.say = lambda line: click.echo(line, err=True)  # the report alone goes to standard output
        salt = os.urandom(32)
        if values["inbox"]:
            report = from_inbox(runner, salt)
        else:
            given = values["ids"]
            report = forget(runner, ids_of(given.read(), getattr(given, "name", "the list")) if given else (), values["again"], salt)
        text = json.dumps(report, indent=1)
        click.echo(text)
        if values["report"]:
            Path(values["report"]).write_text(text + "\n", encoding="utf-8")

    run(values, work)


def _rollback(**values: Any) -> None:
    from jobs.train import rollback

    run(values, lambda r: rollback(r, values["kind"], values["model_version"], values["reason"], r.now, values["trigger"]))


def _intraday(**values: Any) -> None:
    from jobs.intraday import follow

    def work(runner: Any) -> None:
        follow(runner, values["ds"], lambda: dt.datetime.now(ZoneInfo(runner.settings.time_zone)), values["continuous"])

    run(values, work)


def _migrate(**values: Any) -> None:
    from recsys_core.warehouse import connect

    def work() -> None:
        with connect(settings_of(values, secret=False).warehouse, say=click.echo) as warehouse:
            warehouse.ensure_schema(may_drop=True)
        click.echo("the warehouse has the declared tables")

    guard(work)


def _status(**values: Any) -> None:
    """Print how things stand as JSON, and write it as metrics where METRICS_FOLDER says."""
    settings = settings_of(values, secret=False)

    def work() -> None:
        from jobs.observe.state import looked_up

        if settings.metrics_folder:
            from jobs.observe.metrics import write_status

            write_status(settings)
        click.echo(json.dumps(looked_up(settings), indent=1, ensure_ascii=False))

    guard(work)


def _probe(**values: Any) -> None:
    """Print one line of JSON; exit 0 when all is well, 1 when not."""
    from jobs.observe.alerts import alert, post, runbook
    from jobs.observe.state import probe

    settings = settings_of(values, secret=False)
    well, found = probe(settings, values["max_age_h"] or settings.max_night_age_h, values["airflow"] or settings.airflow_url)
    found["faults"] = [fault | {"runbook": runbook(settings, fault["what"])} for fault in found["faults"]]
    if values["alert"]:
        found["not_sent"] = [why for fault in found["faults"] if (why := post(settings, alert(settings, fault["what"], fault["why"])))]
    click.echo(logs.hidden(json.dumps(found, ensure_ascii=False)))
    sys.exit(0 if well else 1)


def _ready(**values: Any) -> None:
    """Exit 0 once the night is over and landed, 75 before its end, 99 when it never landed, 1 for a night still to come."""
    from recsys_core.landing import Landing

    settings, ds = settings_of(values, secret=False), values["ds"]
    zone = ZoneInfo(settings.time_zone)
    now = dt.datetime.now(zone)
    if ds > now.date():
        logs.complain(f"{ds} is in the future: it is {now:%Y-%m-%d %H:%M} in {settings.time_zone}")
        sys.exit(1)
    end = dt.datetime.combine(ds + dt.timedelta(days=1), dt.time(), zone) + dt.timedelta(seconds=settings.grace_s)
    if now < end:
        logs.complain(f"{ds} is not over: it ends, grace included, at {end:%Y-%m-%d %H:%M:%S %Z}")
        sys.exit(EX_TEMPFAIL)
    if ds not in Landing(settings.landing).nights():
        logs.complain(f"absent: nothing was landed for {ds} below {settings.landing}")
        sys.exit(EX_ABSENT)
    logs.say(f"{ds} is over and landed")


def _input_options() -> list[click.Parameter]:
    sources = "steam, stackexchange, online-retail, movielens, amazon-reviews, segment, ga4, canonical, or mapped: your own columns"
    return [
        click.Option(["--source"], required=True, help=sources),
        click.Option(["--input"], type=click.Path(exists=True), required=True, help="file or folder, as its owner distributes it"),
        click.Option(
            ["--mapping"],
            type=click.Path(exists=True, dir_okay=False),
            help="of --source mapped: TOML file that says which column is what [default mapping.toml in the input's folder]",
        ),
    ]


def _not_blank(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not value.strip():
        raise click.BadParameter("say why, in words")
    return value.strip()


def _others() -> dict[str, tuple[str, Callable[..., None], Callable[[], list[click.Parameter]]]]:
    """Commands that are no jobs: name → (help, callback, own parameters)."""
    whole = {**stages(NIGHTLY), **stages(TRAINING)}
    return {
        "night": ("All nightly jobs of one night.", _night, lambda: [ds_option(), jobs_option(), *run_options()]),
        "nights": (
            "All nightly jobs of many nights, in one process.",
            _nights,
            lambda: [
                *range_options(),
                jobs_option(),
                *run_options(),
                click.Option(
                    ["--parallel"],
                    type=click.IntRange(1, 64),
                    default=2,
                    show_default=True,
                    help="nights of a job at a time, each in a process",
                ),
            ],
        ),
        "training": ("All training jobs on nights up to ds.", _training, lambda: [ds_option(), force_option()]),
        "stage": (
            "The jobs of one stage; what an Airflow task runs.",
            _stage,
            lambda: [click.Argument(["name"], type=click.Choice(list(whole))), ds_option(), *run_options()],
        ),
        "ready": ("Whether a night is over and landed.", _ready, lambda: [ds_option()]),
        "embed_shard": (
            "Vectors of one shard of a night's new texts, which `embed` takes up: several workers or GPUs share a night.",
            _embed_shard,
            lambda: [
                ds_option(),
                click.Option(["--shard"], required=True, callback=_shard, metavar="I/N", help="which shard of how many, like 1/4"),
                click.Option(["--embed-behaviour-text"], is_flag=True, help="as for embed"),
                click.Option(["--device"], type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="where the encoder runs"),
            ],
        ),
        "intraday": (
            "Interests as of what has landed of a day that is not over, until its night is published.",
            _intraday,
            lambda: [
                click.Option(["--ds"], type=Night(), help="the day [default the one that is running]"),
                click.Option(["--continuous"], is_flag=True, help="go on until stopped, with each file that lands"),
            ],
        ),
        "accept": (
            "Publish a night although a blocking check failed; recorded with the reason.",
            _accept,
            lambda: [
                ds_option(),
                click.Option(["--check"], required=True, help="name of the failed check"),
                click.Option(["--table"], help="its table, where two have a failed check of that name"),
                click.Option(["--reason"], required=True, callback=_not_blank, help="why, in words; it is published with the night"),
                trigger_option(),
            ],
        ),
        "replay": (
            "Look at a night's refused lines again after a rule was mended, and publish the night again.",
            _replay,
            lambda: [
                ds_option(),
                click.Option(["--reason"], multiple=True, help="only lines refused for this reason; may be given several times"),
                trigger_option(),
            ],
        ),
        "rollback": (
            "Take a model out of use, so that new nights use the one promoted before it.",
            _rollback,
            lambda: [
                click.Option(["--kind"], default="topics", show_default=True, help="what the model is for"),
                click.Option(["--model-version"], help="the version [default the champion]"),
                click.Option(["--reason"], required=True, callback=_not_blank, help="why, in words, for the record of promotions"),
                trigger_option(),
            ],
        ),
        "plan": (
            "What would be built or rebuilt, per night and job.",
            _plan,
            lambda: [*range_options(), current_models_option(), known_cutoff_option()],
        ),
        "tidy": (
            "Remove dead runs and intermediate files of the lake that are old; never what is live.",
            _tidy,
            lambda: [
                click.Option(["--older-than"], type=click.FloatRange(0), default=7.0, show_default=True, help="days since the last write"),
                click.Option(["--dry-run"], is_flag=True, help="only say what would go"),
            ],
        ),
        "retain": (
            "Remove what is older than RETAIN_LANDING_DAYS, RETAIN_LAKE_DAYS, RETAIN_TEXT_DAYS and RETAIN_WAREHOUSE_DAYS say.",
            _retain,
            lambda: [click.Option(["--dry-run"], is_flag=True, help="only say what would go")],
        ),
        "forget": (
            "Erase users from delivered files, lake and warehouse; prints a report as JSON, without ids.",
            _forget,
            lambda: [
                click.Option(["--ids"], type=click.File("rb"), help="file of user ids, one on each line; - for standard input"),
                click.Option(["--inbox"], is_flag=True, help="take the files in the folder ERASURE_INBOX, and remove those that are done"),
                click.Option(["--again"], is_flag=True, help="look again for all who were ever forgotten, and finish what was cut off"),
                click.Option(["--report"], type=click.Path(dir_okay=False), help="write the report to a file, too"),
            ],
        ),
        "simulate": (
            "A shop's logs with planted truth.",
            tools.simulate,
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
            tools.land,
            lambda: [
                *_input_options(),
                *range_options("first day to land", "last day to land, included", required=False),
            ],
        ),
        "check": (
            "What landing and cleaning would make of files; writes nothing.",
            tools.check,
            lambda: [
                *_input_options(),
                *range_options("first day to look at", "last day to look at, included", required=False),
            ],
        ),
        "demo": (
            "The whole thing on a simulated shop, below var/demo.",
            tools.demo,
            lambda: [
                click.Option(["--nights"], type=click.IntRange(3, 60), default=14, show_default=True, help="nights to simulate and run")
            ],
        ),
        "query": (
            "A query of sql/queries (or a file) against the warehouse, tab-separated.",
            tools.query,
            lambda: [
                click.Argument(["name"]),
                click.Option(["--param"], multiple=True, metavar="NAME=VALUE", help="a parameter of the query; may be given several times"),
            ],
        ),
        "migrate": ("Bring the warehouse to the declared tables; what was published stays.", _migrate, list),
        "status": ("How things stand, as JSON: the last good night, its age, rows and checks, the models, the last runs.", _status, list),
        "probe": (
            "Whether all is well, as one line of JSON and the exit code (0 yes, 1 no): for a scheduler outside of Airflow.",
            _probe,
            lambda: [
                click.Option(
                    ["--max-age-h"], type=click.FloatRange(0), help="hours that the last night may be over [setting MAX_NIGHT_AGE_H]"
                ),
                click.Option(["--airflow"], metavar="URL", help="an Airflow to ask, too, like http://127.0.0.1:8080 [setting AIRFLOW_URL]"),
                click.Option(["--alert"], is_flag=True, help="post what is not well to ALERT_WEBHOOK"),
            ],
        ),
        "generate": ("Write the generated files again: DDL, table list, schemas.", tools.generate, list),
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
                settings_options(command, OPTIONS_OF.get(cmd_name, SETTING_OPTIONS))
            return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One line each, without loading any job."""
        sections = {
            "Nightly jobs": [(n, j.help) for n, j in NIGHTLY.items()],
            "Training jobs": [(n, j.help) for n, j in (TRAINING | ON_REQUEST).items()],
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
