"""Whether deliveries and lists of a night are good enough: the checks, the last word of a person, a second look at refused lines."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from jobs import JOBS, NIGHTLY
from jobs.as_of import cleaned_as_known, known_cutoff
from jobs.night import Night
from jobs.runner import ParameterError, parameters_of
from recsys_core.acceptance import acceptances
from recsys_core.lake import LakeError, digest
from recsys_core.tables import TABLES

if TYPE_CHECKING:
    from jobs.runner import Runner
    from recsys_core.replay import Replay


def audit(night: Night) -> None:
    """Write the checks of what was delivered, beside the same weekday of four weeks, and of lists, and what somebody accepted in spite."""
    from recsys_core import quality

    rows = {d: night.lake.read("landing_file", [d]).to_pylist() for d in night.nights("landing_file")}
    compared = [d for n in quality.COMPARED_NIGHTS if (d := night.ds - dt.timedelta(days=n)) in rows]
    tonight, *history = (quality.Night(d, rows[d]) for d in (night.ds, *compared))
    found = quality.quality_rows(night.stamp.run_id, tonight, history, night.settings.block_on_history, _of_lists(night))
    night.write("quality_result", found)
    night.write("quality_acceptance", acceptances(night.lake, night.ds))


def _of_lists(night: Night) -> dict[str, tuple[str, int]]:
    """The checks of the night's lists, none while there are no lists: deliveries can be looked at as soon as they are cleaned."""
    from jobs import past
    from recsys_core.ranking import checks

    if not night.nights("user_topn"):
        return {}
    lists = past.lists(night, night.ds)
    users = checks.short(lists)["user_key"].unique()
    rows = checks.told(lists, users, past.by_night(night))
    topics = night.read("item_topic", columns=["item_id", "topic_id", "rank"])
    site = checks.Site(
        night.read("item"),
        night.read("category"),
        topics.filter(pc.equal(topics["rank"], 1)),
        past.sessions(night),
        night.stances.muted,
        night.sensitive,
    )
    found = checks.observed(lists, rows, site, night.list_rules, night.ds)
    return {name: (severity, found[name]) for name, severity in checks.CHECKS.items()}


def accept(runner: Runner, ds: dt.date, check: str, table: str | None, reason: str, now: dt.datetime, trigger: str) -> None:
    """Record that a failed blocking check is accepted, and publish the night if all its jobs have run.

    ParameterError when the night has no such failed check, or two tables have.
    """
    from recsys_core.acceptance import accept as record
    from recsys_core.quality import failed

    if runner.lake.manifest("quality_result", ds) is None:
        raise LakeError(f"{ds} has not been audited: run `python -m jobs audit --ds {ds}` first")
    stopped = failed(runner.lake.read("quality_result", [ds]).to_pylist())
    found = [r for r in stopped if r["check_name"] == check and table in (None, r["table_name"])]
    if not found:
        names = ", ".join(f"{r['check_name']} of {r['table_name']}" for r in stopped) or "none"
        raise ParameterError(f"no blocking check {check!r} failed for {ds}; those that did: {names}")
    if len(found) > 1:
        raise ParameterError(f"{check!r} failed for {', '.join(r['table_name'] for r in found)}: name one by --table")
    record(runner.lake, ds, found[0]["table_name"], check, reason, now)
    runner.say(f"{ds} accepted: {check} of {found[0]['table_name']}, observed {found[0]['observed']:g} ({reason})")
    publish = [n for n, job in NIGHTLY.items() if job.stage == NIGHTLY["publish"].stage]
    unbuilt = [t for t in NIGHTLY["publish"].reads if t not in NIGHTLY["audit"].writes and not runner.built(t, ds)]
    if unbuilt:
        runner.say(f"{ds} is not published yet: {', '.join(unbuilt)} not built; run `python -m jobs night --ds {ds}`")
        return
    runner.night(ds, [*publish, "report"], trigger=trigger)


def replay(runner: Runner, ds: dt.date, reasons: Iterable[str], trigger: str) -> None:
    """Look at the night's refused lines again under the rules of today, add what is good now, and publish the night again.

    Lines that meet accepted ones (a repeated id, a very busy user, another night) can't be judged alone: the night is then cleaned whole.
    The partitions written here are not taken for a full run: the next one cleans the night whole, and gives the same rows.
    """
    from recsys_core import replay as again
    from recsys_core.parse.rules import RULES

    wanted = frozenset(reasons)
    if unknown := sorted(wanted - set(RULES)):
        raise ParameterError(f"no reason is called {', '.join(unknown)}: docs/ingest.md lists them")
    if not all(runner.built(t, ds) for t in JOBS["clean"].writes):
        raise LakeError(f"{ds} has not been cleaned: run `python -m jobs night --ds {ds}` first")
    night = _night(runner, ds, trigger)
    found = _found(night, wanted)
    doubtful = found.doubtful
    if cleaned_as_known(runner.lake, ds) != known_cutoff(ds, runner.settings):
        doubtful = "the night is built as known at another moment"
    if found.events.num_rows and not doubtful:
        accepted = night.lake.read("event_clean", [ds], ["event_id", "user_key"])
        doubtful = again.meets(found.events, accepted, night.params["bot_min_events"])
    if doubtful:
        runner.say(f"{ds} replay: {doubtful}; the night is cleaned whole")
        runner.run("clean", ds, force=True, trigger=trigger)
    elif found.quarantine.equals(night.lake.read("event_quarantine", [ds])):
        runner.say(f"{ds} replay: {found.looked_at:,} lines looked at again, none of them is judged otherwise")
        return
    else:
        _add(night, found)
        runner.say(f"{ds} replay: {found.looked_at:,} lines looked at again, {found.events.num_rows:,} of them are good now")
    runner.night(ds, [j for j in NIGHTLY if j != "clean"], trigger=trigger)
    runner.say_last(night)


def _night(runner: Runner, ds: dt.date, trigger: str) -> Night:
    """A night of `clean`, whose stamp tells that only refused lines were looked at."""
    params = {n: p.default for n, p in parameters_of(JOBS["clean"]).items()}
    topics = runner.models.of(ds)
    stamp = runner.stamp("clean", ds, topics, params)
    before = runner.lake.manifest("event_clean", ds)
    chain = digest(["replay", before.input_hash if before else "", stamp.input_hash])
    stamp = replace(stamp, run_id=f"replay-{ds:%Y%m%d}-{chain[:10]}", input_hash=chain)
    return Night(runner, "clean", ds, topics, stamp, params, trigger).begun()


def _found(night: Night, reasons: frozenset[str]) -> Replay:
    from jobs.etl import parse_job
    from recsys_core.identity import identities_as_of
    from recsys_core.parse import EventParser
    from recsys_core.replay import replay

    delivery, known = night.landing.delivery(night.ds), identities_as_of(night.landing, night.ds)
    parser = EventParser(parse_job(night, delivery, known, night.params["daily_cap"]))
    quarantine, files = (night.lake.read(t, [night.ds]) for t in ("event_quarantine", "landing_file"))
    return replay(parser, quarantine, files.to_pylist(), reasons, frozenset(night.landing.source()["expected_reasons"]))


def _add(night: Night, found: Replay) -> None:
    """Write the night's events and users with those that are good now, and what stays refused."""
    lake, ds, key_id = night.lake, night.ds, night.settings.key_id
    known = set(lake.read("id_map", [ds], ["user_key"]).column(0).to_pylist())
    new = [{"ds": ds, "user_key": k, "key_id": key_id, "user_id": u} for k, u in found.users.items() if k not in known]
    users = pa.Table.from_pylist(new, schema=TABLES["id_map"].arrow_schema())
    events = lake.scan(night.spark, "event_clean", [ds]).unionByName(night.spark.createDataFrame(found.events))
    night.write("event_clean", events if found.events.num_rows else lake.read("event_clean", [ds]))
    night.write("id_map", pa.concat_tables([lake.read("id_map", [ds]), users]))
    night.write("event_quarantine", found.quarantine)
    night.write("landing_file", pa.Table.from_pylist(found.files, schema=TABLES["landing_file"].arrow_schema()))
