"""`python -m jobs`: exit codes, messages and help, as a user meets them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import duckdb
import pytest
from click.testing import CliRunner, Result

from jobs import JOBS, NIGHTLY
from jobs.__main__ import Commands, main
from recsys_core import registry
from recsys_core.lake import Lake, Stamp, empty
from recsys_core.tables import TABLES
from recsys_core.warehouse import connect
from tests.test_warehouse import models, night

COMMANDS = Commands().list_commands(click.Context(main))
SETTINGS = {"LANDING": "landing", "LAKE": "lake", "WAREHOUSE": "duckdb:///w.duckdb", "USER_KEY_SECRET": "a secret of the tests"}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with settings that point into it."""
    monkeypatch.chdir(tmp_path)
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def call(*args: str) -> Result:
    """Run a command; anything but an exit is an error of the test."""
    result = CliRunner().invoke(main, args, prog_name="python -m jobs")
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.output
    return result


def land(place: Path, *days: str) -> None:
    for day in days:
        (place / f"landing/events/ds={day}").mkdir(parents=True)


def champion(lake: Lake) -> None:
    """A topic model valid from the first of February on."""
    made = registry.ModelVersion("m", "topics", "2026-01-01", "2026-01-31", "2026-02-01", {}, "d", "c", status="champion")
    registry.register(lake, dataclasses.replace(made, promoted_at="2026-02-01T00:00:00+00:00"), {})


# -- help --------------------------------------------------------------------------------------------------------------------------
def test_help_lists_every_command_in_pipeline_order_with_one_line_each() -> None:
    result = call("--help")
    assert result.exit_code == 0
    assert re.findall(r"^  ([a-z_]+) {2,}\S", result.output, re.MULTILINE) == COMMANDS
    assert COMMANDS[: len(JOBS)] == list(JOBS)
    assert {"night", "nights", "training", "stage", "ready", "plan", "simulate", "land", "demo", "generate"} <= set(COMMANDS)
    assert call().exit_code == 2  # no command is wrong usage


def test_a_job_s_switches_take_no_value() -> None:
    found = {
        (name, p.opts[0])
        for name in JOBS
        if (command := Commands().get_command(click.Context(main), name))
        for p in command.params
        if isinstance(p, click.Option) and p.is_flag
    }
    assert found >= {("promote", "--accept-churn"), ("promote", "--accept-worse"), ("fit_topics", "--cold"), ("fit_encoder", "--refit")}
    assert ("embed", "--embed-behaviour-text") in found


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_lists_every_parameter_with_a_text(name: str) -> None:
    result = call(name, "--help")
    assert result.exit_code == 0
    command = Commands().get_command(click.Context(main), name)
    assert command
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert (parameter.help or "").strip(), f"{name} {parameter.opts[0]} has no help text"
            assert parameter.opts[0] in result.output
    if name in NIGHTLY:
        assert {"--ds", "--landing", "--lake", "--warehouse", "--force"} <= {p.opts[0] for p in command.params}


@pytest.mark.parametrize("value", ["0", "-3", "many"])
def test_a_value_out_of_range_is_a_usage_error(value: str) -> None:
    result = call("recommend", "--ds", "2026-03-02", "--list-size", value)
    assert result.exit_code == 2
    assert "--list-size" in result.output
    assert "Traceback" not in result.output


def test_help_of_a_job_says_what_it_reads_and_writes() -> None:
    result = call("expand", "--help")
    output = " ".join(result.output.split())
    assert "Reads user_interest, user_topic_day, user_item_day, item_topic, declared_topic" in output
    assert "writes user_interest_expansion, interest_edge." in output
    assert re.search(r"--min-users INTEGER RANGE users that an edge .* \[default 20\]", output)


# -- wrong usage: 2, a sentence, no trace ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("expand",), "Missing option '--ds'"),
        (("expand", "--ds", "2026-02-30"), "'2026-02-30' is no date of the form 2026-01-31"),
        (("expand", "--ds", "20260201"), "'20260201' is no date"),
        (("expand", "--ds", "2026-W05-1"), "'2026-W05-1' is no date"),
        (("expand", "--ds", "2026-02-01T00:00"), "is no date"),
        (("expand", "--ds", "2026-02-01", "--min-users", "many"), "'many' is not a valid integer"),
        (
            ("expand", "--ds", "2026-02-01", "--warehouse", "mysql://x"),
            "WAREHOUSE: Value error, give duckdb:///path/to/file.duckdb or postgresql://",
        ),
        (("expand", "--ds", "2026-02-01", "--lake", "nowhere://x"), "LAKE: nowhere://x: Protocol not known"),
        (("ready", "--ds", "2026-02-01", "--landing", "nowhere://x"), "LANDING: nowhere://x: Protocol not known"),
        (("expand", "--ds", "2026-02-01", "--trigger", "chance"), "'chance' is not one of 'scheduled', 'manual'"),
        (("expand", "--ds", "2026-02-01", "--colour", "red"), "No such option '--colour'"),
        (("explode", "--ds", "2026-02-01"), "No such command 'explode'"),
        (
            ("stage", "dreams", "--ds", "2026-02-01"),
            "'dreams' is not one of 'facts', 'texts', 'topics', 'interests', 'lists', 'publish', 'report'",
        ),
        (("nights", "--from", "2026-02-02", "--to", "2026-02-01"), "--from 2026-02-02 is after --to 2026-02-01"),
        (
            ("night", "--ds", "2026-02-01", "--known-cutoff", "2026-02-02"),
            "KNOWN_CUTOFF: Value error, '2026-02-02' is no moment with a time and a zone, like 2026-03-16T00:00:00Z",
        ),
        (("plan", "--from", "2026-02-02", "--to", "2026-02-02", "--known-cutoff", "yesterday"), "'yesterday' is no moment"),
        (("rollback",), "Missing option '--reason'"),
        (("plan", "--from", "2026-02-02", "--to", "2026-02-01"), "--from 2026-02-02 is after --to 2026-02-01"),
        (
            ("nights", "--from", "2026-02-01", "--to", "2026-02-01", "--jobs", "clean,dream"),
            "no nightly job dream; there are clean, aggregate",
        ),
        (("simulate", "--start", "2026-02-01", "--nights", "0"), "0 is not in the range x>=1"),
        (("land", "--source", "dreams", "--input", "."), "no source 'dreams'; there are steam, stackexchange"),
        (("land", "--source", "steam", "--input", "missing.json"), "Path 'missing.json' does not exist"),
        (("land", "--source", "steam", "--input", ".", "--from", "2026-02-02", "--to", "2026-02-01"), "is after"),
        (("demo", "--nights", "1"), "1 is not in the range 3<=x<=60"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else "",
)
def test_wrong_usage_is_a_sentence_and_two(args: tuple[str, ...], message: str) -> None:
    result = call(*args)
    assert message in result.output
    assert result.exit_code == 2


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TIME_ZONE", "Mars/Olympus", "TIME_ZONE: Value error, 'Mars/Olympus' is no IANA time zone, like UTC or Asia/Shanghai"),
        ("GRACE_S", "soon", "GRACE_S: Input should be a valid integer"),
        ("GRACE_S", "-1", "GRACE_S: Input should be greater than or equal to 0"),
        ("WAREHOUSE", "sqlite:///x", "WAREHOUSE: Value error, give duckdb:///"),
        ("DEVICE", "tpu", "DEVICE: String should match"),
        ("ENCODER", "oracle", "ENCODER: no encoder is named 'oracle': set ENCODER to one of bilingual, "),
        ("SPARK_CONF", "{", 'field "spark_conf"'),
        ("LANDING", "nowhere://x", "LANDING: nowhere://x: Protocol not known"),
    ],
)
def test_wrong_setting_is_named(name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    result = call("expand", "--ds", "2026-02-01")
    assert message in result.output
    assert result.exit_code == 2


def test_missing_secret_says_how_to_set_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("USER_KEY_SECRET")
    for command in (("expand", "--ds", "2026-02-01"), ("plan", "--from", "2026-02-01", "--to", "2026-02-01")):
        result = call(*command)
        assert "USER_KEY_SECRET is not set: export it, or put its file's name into USER_KEY_SECRET_FILE" in result.output
        assert result.exit_code == 2
    monkeypatch.setenv("USER_KEY_SECRET_FILE", str(place / "none"))
    assert "none, which is not there" in call("expand", "--ds", "2026-02-01").output
    (place / "secret").write_text("from a file\n")
    monkeypatch.setenv("USER_KEY_SECRET_FILE", str(place / "secret"))
    assert call("expand", "--ds", "2026-02-01").exit_code == 99  # the secret is found, the night never landed


def test_no_message_tells_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER_KEY_SECRET", "xyzzy-plugh")
    monkeypatch.setenv("WAREHOUSE", "sqlite:///x")
    assert "xyzzy" not in call("expand", "--ds", "2026-02-01").output


def test_settings_come_from_the_environment_then_the_file(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "site.env").write_text("TIME_ZONE=Mars/Olympus\nGRACE_S=5\n")
    monkeypatch.setenv("SETTINGS_FILE", str(place / "site.env"))
    assert "Mars/Olympus" in call("ready", "--ds", "2026-02-01").output
    monkeypatch.setenv("TIME_ZONE", "UTC")
    assert call("ready", "--ds", "2026-02-01").exit_code == 99


# -- 75, 99, 1, 0 ------------------------------------------------------------------------------------------------------------------
def test_a_night_that_never_landed_is_99(place: Path) -> None:
    for args in (
        ("expand", "--ds", "2026-02-01"),
        ("night", "--ds", "2026-02-01"),
        ("nights", "--from", "2026-02-01", "--to", "2026-02-03"),
    ):
        result = call(*args)
        assert result.exit_code == 99
        assert result.output.startswith("absent: nothing was landed f")
        assert f"{place}/landing" in result.output
    assert not (place / "lake").exists()


def test_an_earlier_night_not_built_is_75_and_named(place: Path) -> None:
    land(place, "2026-02-01", "2026-02-02")
    Lake("lake").write("user_interest", dt.date.fromisoformat("2026-02-02"), empty(TABLES["user_interest"]), Stamp("r", "h"))
    champion(Lake("lake"))
    result = call("expand", "--ds", "2026-02-02")
    assert result.output == (
        "not built yet: expand of 2026-02-02 needs user_topic_day of 2026-02-01, 2026-02-02, landed but not built: "
        "run `python -m jobs nights --from 2026-02-01 --to 2026-02-02` first\n"
    )
    assert result.exit_code == 75


def test_a_damaged_lake_is_1_and_a_sentence(place: Path) -> None:
    land(place, "2026-02-01")
    manifest = place / "lake/user_interest/ds=2026-02-01/_manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("{")
    result = call("expand", "--ds", "2026-02-01")
    assert re.fullmatch(r"failed: .*_manifest.json is no manifest \(.*\): remove it and run the night again\n", result.output)
    assert result.exit_code == 1


def test_a_lake_that_cannot_be_written_is_1(place: Path) -> None:
    land(place, "2026-02-01")
    (place / "lake").write_text("a file")
    result = call("night", "--ds", "2026-02-01")
    assert result.output.startswith("failed: ")
    assert result.exit_code == 1


def test_done_is_0_and_done_again_is_up_to_date(place: Path) -> None:
    land(place, "2026-02-01")
    for table in ("user_interest", "user_item_day"):
        Lake("lake").write(table, dt.date.fromisoformat("2026-02-01"), empty(TABLES[table]), Stamp("r", "h"))
    first = call("expand", "--ds", "2026-02-01")
    assert re.fullmatch(r"2026-02-01 expand: \d+\.\d s – interest_edge 0, user_interest_expansion 0\n", first.output)
    assert first.exit_code == 0
    again = call("expand", "--ds", "2026-02-01")
    assert (again.output, again.exit_code) == ("2026-02-01 expand: up to date\n", 0)
    assert " s – " in call("expand", "--ds", "2026-02-01", "--force").output
    assert " s – " in call("expand", "--ds", "2026-02-01", "--min-users", "3").output


def test_stage_requests_its_night(place: Path) -> None:
    land(place, "2026-02-01")
    assert call("stage", "interests", "--ds", "2026-02-01").exit_code == 75
    assert (place / "lake/_requested/ds=2026-02-01").exists()


def test_ready_tells_over_from_not_over_from_impossible(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    land(place, "2026-02-01")
    result = call("ready", "--ds", "2026-02-01")
    assert (result.exit_code, result.output) == (0, "2026-02-01 is over and landed\n")
    result = call("ready", "--ds", "2026-02-02")
    assert (result.exit_code, result.output.split(":")[0]) == (99, "absent")
    result = call("ready", "--ds", "9999-01-01")
    assert (result.exit_code, "is in the future" in result.output) == (1, True)
    monkeypatch.setenv("GRACE_S", str(10**10))
    result = call("ready", "--ds", "2026-02-01")
    assert (result.exit_code, "is not over: it ends, grace included, at" in result.output) == (75, True)
    monkeypatch.delenv("USER_KEY_SECRET")
    assert call("ready", "--ds", "2026-02-01").exit_code == 75  # needs no secret


def test_plan_prints_and_writes_nothing(place: Path) -> None:
    land(place, "2026-02-01")
    result = call("plan", "--from", "2026-02-01", "--to", "2026-02-01")
    assert result.exit_code == 0
    assert "2026-02-01 clean: to build (never built)\n" in result.output
    assert "\nclean: 1 to build\n" in result.output
    assert not (place / "lake").exists()


def test_plan_names_nights_that_stay_under_their_model_and_a_rollback_needs_one_in_use(place: Path) -> None:
    land(place, "2026-02-01")
    lake, night, moment = Lake("lake"), dt.date(2026, 2, 1), dt.datetime(2026, 2, 1, tzinfo=dt.UTC)
    champion(lake)
    lake.write("user_interest", night, empty(TABLES["user_interest"]), Stamp("r", "h", models={"topics": "m"}))
    found = registry.versions(lake, "topics")[0]
    second = dataclasses.replace(found, model_version="m2", status="candidate", promoted_at=None)
    registry.promote(lake, registry.register(lake, second, {}), moment, moment)
    days = ("--from", "2026-02-01", "--to", "2026-02-01")
    pinned = "(pinned to m; --use-current-models would take m2)\n"
    lines = {line.split(":")[0]: line for line in call("plan", *days).output.splitlines(keepends=True)}
    assert all(lines[f"2026-02-01 {job}"].endswith(pinned) for job in ("profile", "expand", "recommend", "evaluate", "publish"))
    assert {name for name in lines if "assign_topics (" in name} == {"2026-02-01 assign_topics (m)", "2026-02-01 assign_topics (m2)"}
    assert sum(pinned in line for line in lines.values()) == 9
    assert "pinned" not in call("plan", *days, "--use-current-models").output
    result = call("rollback", "--model-version", "m", "--reason", "worse")
    assert (result.exit_code, result.output) == (1, "failed: m of kind 'topics' is not in use: there are m2\n")


def test_a_night_that_was_not_over_at_the_known_cutoff_is_wrong_usage(place: Path) -> None:
    land(place, "2026-02-01")
    result = call("clean", "--ds", "2026-02-01", "--known-cutoff", "2026-02-02T00:59+01:00")
    assert result.exit_code == 2
    assert "2026-02-01 was not over at the known cutoff 2026-02-01T23:59:00+00:00: it ended at 2026-02-02T00:00:00+00:00" in result.output


def test_simulating_into_a_full_folder_is_a_sentence(place: Path) -> None:
    land(place, "2026-02-01")
    result = call("simulate", "--start", "2026-02-01", "--nights", "1")
    assert "is not empty: remove it or name another one" in result.output
    assert result.exit_code in (1, 2)


def test_as_a_process(place: Path, repo_root: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(repo_root)}
    run = subprocess.run(
        [sys.executable, "-m", "jobs", "expand", "--ds", "soon"], cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.startswith("Usage: python -m jobs expand [OPTIONS]")


def test_a_short_secret_is_warned_of_by_what_makes_keys_and_by_status(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    land(place, "2026-03-02")
    monkeypatch.setenv("USER_KEY_SECRET", "secret")
    says = "USER_KEY_SECRET has 6 bytes: it can be guessed, and then anybody can tell whose key is whose; put 32 random bytes in its place"
    told = call("plan", "--from", "2026-03-02", "--to", "2026-03-02")
    assert (told.exit_code, told.stderr.count(f"warning: {says}")) == (0, 1)
    assert says not in told.stdout
    (warning,) = json.loads(call("status").stdout)["warnings"]
    assert warning.startswith(says)
    assert "warning" not in call("ready", "--ds", "2026-03-02").stderr, "what needs no secret does not ask for one"
    (place / "secret").write_text("sixteen bytes ok\n")
    monkeypatch.delenv("USER_KEY_SECRET")
    assert json.loads(call("status").stdout)["warnings"] == []  # that a secret is missing says who needs it
    monkeypatch.setenv("USER_KEY_SECRET_FILE", "secret")
    assert call("plan", "--from", "2026-03-02", "--to", "2026-03-02").stderr == ""
    assert json.loads(call("status").stdout)["warnings"] == []


def test_a_query_about_a_night_that_is_not_published_says_so_beside_its_empty_answer(place: Path) -> None:
    days = [dt.date(2026, 3, day) for day in (2, 3, 4, 6, 8, 10, 12, 14)]
    with connect(SETTINGS["WAREHOUSE"]) as warehouse:
        warehouse.publish_nights([night(day) for day in days], models(dt.date(2026, 1, 1)))
        warehouse.retire(dt.date(2026, 3, 3))
    asked = ("query", "7_who_holds_this_topic", "--param", "topic_id=1", "--param", "horizon=90d", "--param", "min_share=0.1", "--param")
    said = call(*asked, "ds=2026-03-05")
    assert (said.exit_code, len(said.stdout.splitlines())) == (0, 1), "the answer is the query's own: its columns, and no row"
    shown = "published are earlier ones, 2026-03-06, 2026-03-08, 2026-03-10, 2026-03-12, 2026-03-14"
    assert said.stderr == f"0 rows: 2026-03-05 is not published; {shown}\n"
    assert call(*asked, "ds=2026-03-02").stderr == f"0 rows: 2026-03-02 was published, and removed for its age; {shown}\n"
    assert call(*asked, "ds=2026-03-03").stderr == "1 rows\n"
    assert call(*asked[:4], *asked[4:6], "--param", "min_share=0.99", "--param", "ds=2026-03-03").stderr == "0 rows\n"
    (place / "own.sql").write_text("SELECT 1 AS n WHERE :ds = 'x'")
    assert call("query", "own.sql", "--param", "ds=2026-02-30").stderr == "0 rows\n", "no date, no night"
    with duckdb.connect("other.duckdb") as other:
        other.execute("CREATE TABLE t (n INTEGER)")
    assert call("query", "own.sql", "--param", "ds=2026-03-05", "--warehouse", "duckdb:///other.duckdb").stderr == "0 rows\n"


def test_a_reader_of_a_query_may_go_before_its_end(place: Path, repo_root: Path) -> None:
    duckdb.connect(str(place / "w.duckdb")).execute("CREATE TABLE nothing (x INTEGER)").close()
    (place / "many.sql").write_text("SELECT * FROM range(200000) t(i)")
    environment = {**os.environ, "PYTHONPATH": str(repo_root)}
    command = [sys.executable, "-m", "jobs", "query", "many.sql"]
    with subprocess.Popen(command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == "i\n"
        process.stdout.close()
        assert process.stderr.read() == "200,000 rows\n"
    assert process.returncode == 0
