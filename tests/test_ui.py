"""`make up` as a user meets it: log in with a browser, build a chosen night, backfill a range by command, `make down`; nothing is left."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import duckdb
import pytest

from dags import nightly
from dags.launcher import descendants, processes
from jobs.runner import Runner
from jobs.settings import Settings
from recsys_core.tables import TABLES
from recsys_core.warehouse import connect
from tests.hostile import HOSTILE
from tests.shop import FACTS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

REPO = Path(__file__).resolve().parent.parent
CHROMIUM = shutil.which("chromium")
SHOTS = REPO / "var" / "ui"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NIGHTS = ["2026-03-01", "2026-03-02", "2026-03-03", "2026-03-04"]
STAGES = ["ready", "facts", "texts", "topics", "interests", "lists", "publish", "report"]

# `airflow dags trigger` for each conf of a list, in one process; why each was refused, as JSON.
TRIGGER = """
import json, sys
from airflow.cli.cli_parser import get_parser
said = []
for conf in json.load(sys.stdin):
    args = get_parser().parse_args(["dags", "trigger", "nightly", "--conf", conf])
    try:
        args.func(args)
        said.append("created")
    except Exception as error:
        said.append(str(error))
print('said', json.dumps(said))
"""

pytestmark = [pytest.mark.ui, pytest.mark.timeout(900)]


class Site:
    """A running `standalone.py up` with its own home, port and a tiny simulated shop."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder = folder
        self.home = folder / "airflow"
        self.warehouse = folder / "warehouse.duckdb"
        self.settings = {
            "LANDING": folder / "landing",
            "LAKE": folder / "lake",
            "WAREHOUSE": f"duckdb:///{self.warehouse}",
            "REPORT": folder / "report",
            "USER_KEY_SECRET": "a secret of this test",
            "SPARK_MASTER": "local[2]",
        }
        file = folder / "settings.env"
        file.write_text("".join(f"{name}={value}\n" for name, value in self.settings.items()))
        self.env = os.environ | {"AIRFLOW_HOME": str(self.home), "AIRFLOW_PORT": str(self.port), "SETTINGS_FILE": str(file)}

    def call(self, *argv: str, wanted: int = 0, fed: str | None = None) -> str:
        """What `python argv…` prints; fails unless it exits as wanted."""
        done = subprocess.run([sys.executable, *argv], env=self.env, cwd=REPO, capture_output=True, text=True, check=False, input=fed)
        assert done.returncode == wanted, f"{' '.join(argv)} exited with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """What Airflow's REST API answers: a command for each question would keep a core busy with imports."""
        headers = {"Content-Type": "application/json"} | ({} if path == "/auth/token" else {"Authorization": f"Bearer {self.token}"})
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers), timeout=60) as answer:
            return json.load(answer)

    def refused(self, path: str, body: dict[str, Any]) -> tuple[int, str]:
        """(status, reason) of a question that the API refuses."""
        with pytest.raises(urllib.error.HTTPError) as refusal:
            self.ask(path, body)
        return refusal.value.code, str(json.loads(refusal.value.read())["detail"])

    @cached_property
    def token(self) -> str:
        """A token for the API."""
        token: str = self.ask("/auth/token", {"username": "admin", "password": self.password})["access_token"]
        return token

    @property
    def password(self) -> str:
        return json.loads((self.home / "passwords.json").read_text())["admin"]

    def wait_for_runs(self, wanted: dict[str, str], within_s: float = 600, dag: str = "nightly") -> None:
        """Waits until every run (by id) has its wanted state; a run that ends otherwise fails with its task logs."""
        deadline = time.monotonic() + within_s
        while True:
            states = {run["run_id"]: run["state"] for run in self.runs(dag)}
            if all(states.get(run) == state for run, state in wanted.items()):
                return
            failed = [run for run in wanted if states.get(run) == "failed"]
            assert not failed, self.logs(failed[0], dag)
            assert time.monotonic() < deadline, f"not in time: {states}"
            time.sleep(3)

    def runs(self, dag: str = "nightly") -> list[dict[str, str]]:
        """The runs of a DAG."""
        found = self.ask(f"/api/v2/dags/{dag}/dagRuns?limit=100")["dag_runs"]
        return [{"run_id": r["dag_run_id"], "state": r["state"], "logical_date": r["logical_date"] or ""} for r in found]

    def trigger(self, run: str, ds: str, dag: str = "nightly") -> None:
        """Start a run by hand."""
        self.ask(f"/api/v2/dags/{dag}/dagRuns", {"dag_run_id": run, "logical_date": None, "conf": {"ds": ds}})

    def tasks(self, run: str) -> dict[str, str]:
        """The states of the tasks of a run of nightly."""
        found = self.ask(f"/api/v2/dags/nightly/dagRuns/{quote(run, safe='')}/taskInstances?limit=100")["task_instances"]
        return {t["task_id"]: t["state"] for t in found}

    def logs(self, run: str, dag: str = "nightly") -> str:
        """The messages of all task logs of a run."""
        found = []
        for path in sorted((self.home / "logs" / "tasks" / f"dag_id={dag}" / f"run_id={run}").rglob("*.log")):
            found += [f"--- {path.parent.name}", *(str(json.loads(line).get("event")) for line in path.read_text().splitlines()[-60:])]
        return "\n".join(found)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Airflow on a free port over three landed nights; stopped afterwards, and nothing may be left."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (apt-get install chromium): the pages of Airflow are not driven")
    site = Site(tmp_path_factory.mktemp("site"))
    size = ["--users", "40", "--items", "60", "--events-per-night", "300"]
    site.call("-m", "jobs", "simulate", "--start", NIGHTS[0], "--nights", str(len(NIGHTS)), *size)
    try:
        said = site.call("docker/standalone.py", "up")
        assert f"http://127.0.0.1:{site.port}" in said
        assert site.password in said
        yield site
    finally:
        record = json.loads((site.home / "supervisor.json").read_text())
        tree = {record["pid"]} | descendants([record["pid"]])
        site.call("docker/standalone.py", "down")
        left = {pid: entry for pid, entry in processes().items() if entry[2] not in "ZX"}
        assert not tree & set(left)
        assert not [pid for pid, (_, session, _) in left.items() if session == record["pid"]]
        assert "not running" in site.call("docker/standalone.py", "status", wanted=3)


@pytest.fixture(scope="module")
def page(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser page, logged in."""
    from playwright.sync_api import sync_playwright

    SHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("browser")), executable_path=CHROMIUM, args=FLAGS, viewport={"width": 1400, "height": 1000}
        )
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.goto(f"http://127.0.0.1:{site.port}/")
        page.fill('input[name="username"]', "admin")
        page.fill('input[name="password"]', site.password)
        page.click('button[type="submit"]')
        page.wait_for_url(lambda url: "/login" not in url)
        yield page
        browser.close()


def runner_of(places: Mapping[str, object]) -> Runner:
    """A runner in this process, with the settings of the site; its Spark session is everyone's."""
    return Runner(Settings.model_validate({name.lower(): str(value) for name, value in places.items()}), lambda _: None)


def test_up_is_private_and_says_so_the_second_time(site: Site) -> None:
    for name in ("airflow.cfg", "passwords.json", "supervisor.json"):
        assert (site.home / name).stat().st_mode & 0o777 == 0o600
    assert site.home.stat().st_mode & 0o777 == 0o700
    again = site.call("docker/standalone.py", "up")
    assert "already running" in again
    assert site.password not in again
    listening = {line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"}
    assert f"0100007F:{site.port:04X}" in listening  # 127.0.0.1, and not 0.0.0.0
    assert f"00000000:{site.port:04X}" not in listening


def test_up_on_a_taken_port_is_one_sentence(site: Site, tmp_path: Path) -> None:
    env = site.env | {"AIRFLOW_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "docker/standalone.py", "up"], env=env, cwd=REPO, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"Port {site.port} of 127.0.0.1 is taken" in done.stderr


def test_a_night_chosen_in_the_form_is_built(site: Site, page: Any) -> None:
    page.goto(f"http://127.0.0.1:{site.port}/dags/nightly")
    page.get_by_test_id("trigger-dag-button").click()
    form = page.get_by_role("dialog")
    form.locator('[name="element_ds"]').fill(NIGHTS[0])
    page.screenshot(path=SHOTS / "trigger.png")
    form.get_by_role("button", name="Trigger", exact=True).click()
    page.wait_for_url(re.compile(r"/runs/manual"))
    run = page.url.partition("/runs/")[2].partition("?")[0].partition("/")[0]
    run = run.replace("%3A", ":").replace("%2B", "+")
    site.wait_for_runs({run: "success"})
    page.get_by_test_id("state-badge").filter(has_text=re.compile("success", re.IGNORECASE)).first.wait_for()
    page.screenshot(path=SHOTS / "success.png")
    assert site.tasks(run) == dict.fromkeys(STAGES, "success")
    page.goto("about:blank")  # the page of a run asks for news all the time
    assert f"{NIGHTS[0]} is over and landed" in site.logs(run)  # a line of the job's own, streamed into the task log


def test_a_backfill_from_the_dialog_builds_both_ends_of_its_range(site: Site, page: Any, spark: SparkSession) -> None:
    nights = [date.fromisoformat(night) for night in NIGHTS]
    # Facts that are there already are passed over, which spares the tasks their Spark.
    runner_of(site.settings).nights(nights[1], nights[3], FACTS)
    lake = site.folder / "other"
    shutil.copytree(site.folder / "lake", lake, ignore=shutil.ignore_patterns(f"ds={NIGHTS[0]}"))
    backfill(site, page, NIGHTS[1], NIGHTS[3])
    runs = {run["run_id"]: run["logical_date"][:10] for run in site.runs() if run["run_id"].startswith("backfill__")}
    assert sorted(runs.values()) == NIGHTS[1:]
    site.wait_for_runs(dict.fromkeys(runs, "success"))
    assert all(f"{night} aggregate: up to date" in site.logs(run) for run, night in runs.items())
    with duckdb.connect(str(site.warehouse), read_only=True) as db:
        rows = db.sql("SELECT ds::VARCHAR, string_agg(DISTINCT trigger) FROM publication WHERE is_live GROUP BY ds ORDER BY ds").fetchall()
    assert rows == [(NIGHTS[0], "manual"), *((night, "backfill") for night in NIGHTS[1:])]
    # The same nights in one process, in a place of their own that has those facts and nothing else, give the same rows.
    other = f"duckdb:///{site.folder / 'other.duckdb'}"
    runner_of(site.settings | {"LAKE": str(lake), "WAREHOUSE": other}).nights(nights[0], nights[3])
    with connect(f"duckdb:///{site.warehouse}") as by_airflow, connect(other) as at_once:
        for table in [t for t in TABLES.values() if t.warehouse and t.by_night and not t.ledger]:
            for night in nights:
                assert by_airflow.checksum(table.name, night) == at_once.checksum(table.name, night), (table.name, night)


def backfill(site: Site, page: Any, first: str, last: str) -> None:
    """Fill in the dialog and press the button, again where SQLite is locked: Airflow reads before it writes, so waiting does not help."""
    for left in range(4, -1, -1):
        page.goto(f"http://127.0.0.1:{site.port}/dags/nightly")
        page.get_by_test_id("trigger-dag-button").click()
        form = page.get_by_role("dialog")
        form.get_by_text("Run this Dag for a range of dates").click()
        for day in (first, last):
            form.get_by_text("Select date and time").first.click()
            page.get_by_placeholder("YYYY/MM/DD").last.fill(day.replace("-", "/"))
            page.get_by_placeholder("HH:mm").last.fill("00:00")
            page.keyboard.press("Enter")
            page.keyboard.press("Escape")
        form.get_by_text(re.compile("3 runs will be triggered")).wait_for()
        page.screenshot(path=SHOTS / "backfill.png")
        form.get_by_role("button", name="Run Backfill").click()
        answer = page.get_by_text(re.compile("Backfill generated|database is locked|Internal Server Error")).first
        answer.wait_for()
        if "generated" in answer.inner_text() or not left:
            break
    page.goto("about:blank")


def test_the_command_line_of_airflow_refuses_hostile_values(site: Site) -> None:
    before = {run["run_id"] for run in site.runs()}
    asked = [json.dumps({param: value}) for param in nightly.dag.params for value in HOSTILE if value is not None]
    lines = site.call("-c", TRIGGER, fed=json.dumps(asked)).splitlines()
    said = json.loads(next(line for line in lines if line.startswith("said ")).removeprefix("said "))
    assert len(said) == len(asked)
    assert [conf for conf, reason in zip(asked, said, strict=True) if "Invalid input for param" not in reason] == []
    assert {run["run_id"] for run in site.runs()} == before


def test_training_registers_a_version_for_the_next_night(site: Site) -> None:
    site.trigger("by-hand", NIGHTS[1], "training")
    site.wait_for_runs({"by-hand": "success"}, dag="training")
    with duckdb.connect(str(site.warehouse), read_only=True) as db:
        rows = db.sql("SELECT kind, status, train_to::VARCHAR, valid_from_ds::VARCHAR FROM model_version ORDER BY kind").fetchall()
    assert rows == [
        ("encoder", "champion", "0001-01-01", "0001-01-01"),
        ("topics", "champion", NIGHTS[1], NIGHTS[2]),
        ("topics_lda", "candidate", NIGHTS[1], NIGHTS[2]),
    ]


def test_retention_asks_airflow_who_is_at_work_and_removes_nothing_unasked(site: Site) -> None:
    site.ask("/api/v2/dags/retention/dagRuns", {"dag_run_id": "by-hand", "logical_date": None, "conf": {}})
    site.wait_for_runs({"by-hand": "success"}, dag="retention")
    assert "nothing is removed: no RETAIN_…_DAYS is set" in site.logs("by-hand", "retention")


def test_the_form_refuses_a_day_that_is_none_with_the_reason(site: Site, page: Any) -> None:
    before = {run["run_id"] for run in site.runs()}
    page.goto(f"http://127.0.0.1:{site.port}/dags/nightly")
    page.get_by_test_id("trigger-dag-button").click()
    form = page.get_by_role("dialog")
    form.locator('[name="element_ds"]').fill("2099-01-01")
    form.get_by_test_id("trigger-dag-submit").click()
    form.get_by_text("'2099-01-01' is not a 'day like 2026-03-01 that has begun'").first.wait_for()
    page.screenshot(path=SHOTS / "refused.png")
    # The date picker holds no 30th of February; below it the same fields can be typed.
    form.get_by_text("Advanced Options").click()
    form.locator(".monaco-editor").first.click()
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.insert_text('{"ds": "2026-02-30"}')
    page.keyboard.press("Control+Shift+End")  # what the editor closes by itself
    page.keyboard.press("Delete")
    form.get_by_test_id("trigger-dag-submit").click()
    form.get_by_text("'2026-02-30' is not a").first.wait_for()
    assert {run["run_id"] for run in site.runs()} == before
    page.goto("about:blank")


def test_a_hostile_value_is_refused_before_a_task_starts_and_an_unlanded_night_is_skipped(site: Site) -> None:
    before = {run["run_id"] for run in site.runs()}
    for param in nightly.dag.params:
        for value in HOSTILE:
            status, said = site.refused("/api/v2/dags/nightly/dagRuns", {"logical_date": None, "conf": {param: value}})
            assert (status, bool(said)) in ((400, True), (422, True)), (param, value)
    assert {run["run_id"] for run in site.runs()} == before
    site.trigger("absent", "2026-02-20")
    site.wait_for_runs({"absent": "success"})
    assert site.tasks("absent") == dict.fromkeys(STAGES, "skipped")


def test_the_explorer_is_in_the_menu_for_whoever_is_logged_in(site: Site, page: Any) -> None:
    address = f"http://127.0.0.1:{site.port}/explorer/"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{address}en/", timeout=60)
    page.goto(f"http://127.0.0.1:{site.port}/")
    page.get_by_role("link", name="Interests").click()
    explorer = page.frame_locator("iframe")
    explorer.get_by_role("heading", name=f"Night {NIGHTS[-1]}").wait_for()
    explorer.get_by_role("link", name="Earlier night").click()
    explorer.get_by_role("heading", name=f"Night {NIGHTS[-2]}").wait_for()
    page.screenshot(path=SHOTS / "explorer.png")
    page.wait_for_url(f"**/plugin/explorer/explorer/en/?ds={NIGHTS[-2]}")  # the address can be sent to somebody …
    asked = urllib.request.Request(f"{address}en/?ds={NIGHTS[-2]}", headers={"Accept": "text/html"})
    with urllib.request.urlopen(asked, timeout=60) as login:  # … who logs in first
        assert login.url == f"http://127.0.0.1:{site.port}/auth/login?next={quote(f'/explorer/en/?ds={NIGHTS[-2]}', safe='')}"


def test_the_report_and_the_calendar_show_the_nights(site: Site, page: Any) -> None:
    page.goto((site.folder / "report" / "index.html").as_uri())
    for night in NIGHTS:
        page.get_by_role("row", name=night).filter(visible=True).first.wait_for()
    page.get_by_role("link", name=NIGHTS[-1]).filter(visible=True).first.click()
    page.get_by_role("heading", name=NIGHTS[-1]).filter(visible=True).first.wait_for()
    page.screenshot(path=SHOTS / "report.png")
    page.goto(f"http://127.0.0.1:{site.port}/dags/nightly/calendar")
    shown = page.get_by_test_id("calendar-current-period")
    while "Mar 2026" not in shown.inner_text():
        page.get_by_role("button", name="Previous month").click()
    colours = "cells => cells.map(cell => getComputedStyle(cell.firstElementChild || cell).backgroundColor)"
    page.wait_for_load_state("networkidle")
    page.screenshot(path=SHOTS / "calendar.png")
    cells = Counter(page.get_by_test_id("calendar-cell").evaluate_all(colours))
    assert min(cells.values()) == len(NIGHTS) - 1, (
        cells
    )  # of March most hours have no run, many nights are to come; the first was built today
    page.goto("about:blank")
