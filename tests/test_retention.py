"""What is old goes, from deliveries, lake, warehouse and reports; what younger nights look back on stays."""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from jobs.retention import look_back, retain
from jobs.runner import NotBuiltError, RemovedError, Runner
from jobs.settings import Settings
from recsys_core.lake import Lake, LakeError, Stamp, empty
from recsys_core.report import write_reports
from recsys_core.retention import TEXTS, Days, built_from, horizon
from recsys_core.status import unpublished
from recsys_core.tables import TABLES
from recsys_core.warehouse import NIGHT_TABLES, connect
from tests.test_warehouse import interest, models, night, table

LAST = dt.date(2024, 6, 30)
FEW = ("landing_file", "event_clean", "user_interest", "user_item_day", "text_embedding", "user_text")


def ago(n: int) -> dt.date:
    return LAST - dt.timedelta(days=n)


def site(
    folder: Path, warehouse: str = "", nights: tuple[int, ...] = (120, 60, 40, 39, 30, 9, 0), **settings: object
) -> tuple[Runner, list[str]]:
    """Nights so many days ago, delivered, with some of their tables in the lake."""
    said: list[str] = []
    places = {"landing": f"{folder}/landing", "lake": f"{folder}/lake", "warehouse": warehouse or f"duckdb:///{folder}/w.duckdb"}
    made = Settings.model_validate(places | {"report": f"{folder}/report", "user_key_secret": SecretStr("of these tests")} | settings)
    for day in map(ago, nights):
        landed = folder / "landing" / "events" / f"ds={day}"
        if not landed.exists():
            landed.mkdir(parents=True)
            (landed / "part.jsonl").write_text('{"user_id": "someone"}\n')
            for name in FEW:
                parts = {"embedding_space": "s"} if name == "text_embedding" else {}
                Lake(places["lake"]).write(name, day, empty(TABLES[name]), Stamp("r", "in"), **parts)
    return Runner(made, said.append), said


def left(runner: Runner, name: str) -> list[int]:
    """How many days ago the nights of a table are."""
    parts = {"embedding_space": "s"} if name == "text_embedding" else {}
    return [(LAST - ds).days for ds in runner.lake.nights(name, **parts)]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock"}


def test_restricted_tables_and_texts_go_by_the_days_of_texts() -> None:
    assert {t.name for t in TABLES.values() if t.restricted} <= set(TEXTS)
    assert {t.name for t in TABLES.values() if {"text", "query"} & set(t.names) and "user_key" in t.names} <= set(TEXTS)


def test_what_can_still_be_built_keeps_what_it_looks_back_on() -> None:
    found = horizon(LAST, Days(landing=40, lake=20, text=5, warehouse=9), {"user_topic_day": 365, "user_item_day": None})
    assert found.built == ago(4), "a night without its texts is not built again"
    assert (found.landing, found.warehouse) == (ago(39), ago(8))
    assert found.lake["event_clean"] == ago(4)
    assert found.lake["user_interest"] == ago(19)
    assert found.lake["user_topic_day"] == ago(4 + 364)
    assert "user_item_day" not in found.lake
    assert "text_embedding" not in found.lake
    # Of deliveries alone: a night is compared with those of a month before its window.
    assert horizon(LAST, Days(landing=36), {}).built == ago(3)
    assert horizon(LAST, Days(lake=20), {}, noted=ago(7)).built == ago(7), "it never moves back"
    assert horizon(LAST, Days(), {}).lake == {}


def test_old_nights_go_and_the_rest_can_be_read(tmp_path: Path) -> None:
    runner, said = site(tmp_path, retain_landing_days=40, retain_lake_days=10, retain_text_days=10)
    with connect(runner.settings.warehouse) as warehouse:
        held = {n: table("user_interest", [interest(ago(n), "u", 1, "90d", 1.0, 1)]) for n in (60, 9, 0)}
        warehouse.publish_nights([night(ago(n), {"user_interest": rows}) for n, rows in held.items()], models(ago(200)))
    runner.settings.retain_warehouse_days = 30
    (tmp_path / "report").mkdir()
    for n in (60, 9):
        (tmp_path / "report" / f"{ago(n)}.html").write_text("a page")
    before = files(tmp_path)
    retain(runner, dry_run=True)
    assert files(tmp_path) == before
    promised = [line for line in said if line.startswith(("lake ", "landing ", "warehouse", "report "))]
    said.clear()
    retain(runner)
    assert [line for line in said if line.startswith(("lake ", "landing ", "warehouse", "report "))] == promised
    assert left(runner, "event_clean") == [9, 0]
    # Nights from 9 days ago on are built again, and evaluated by lists and interests of the 8 before.
    assert left(runner, "user_interest") == [9, 0]
    assert left(runner, "user_text") == [120, 60, 40, 39, 30, 9, 0], "promoting a model reads a year of texts"
    assert left(runner, "user_item_day") == left(runner, "text_embedding") == [120, 60, 40, 39, 30, 9, 0]
    assert "user_item_day is kept for ever: nights look back on all of it" in said
    assert sorted(p.parent.name for p in (tmp_path / "landing").rglob("part.jsonl")) == [f"ds={ago(n)}" for n in (39, 30, 9, 0)]
    assert len(runner.landing.nights()) == 7, "a day that was there is still known"
    assert [p.name for p in (tmp_path / "report").iterdir()] == [f"{ago(9)}.html"]
    with connect(runner.settings.warehouse) as warehouse:
        assert warehouse.query("SELECT DISTINCT ds FROM user_interest ORDER BY ds")["ds"].to_pylist() == [ago(9), ago(0)]
        assert warehouse.live(ago(60)) == {}
        kept = warehouse.query("SELECT count(*) AS n FROM publication WHERE ds = :ds", {"ds": ago(60)})["n"].to_pylist()
        assert kept == [len(NIGHT_TABLES)], "what was published is still known"
    said.clear()
    retain(runner)
    assert said[-1] == "0 partitions and days of deliveries removed, 0 bytes"


def test_the_index_of_reports_leads_to_no_page_that_is_gone(tmp_path: Path) -> None:
    runner, _ = site(tmp_path, retain_warehouse_days=30)
    folder = tmp_path / "report"
    with connect(runner.settings.warehouse) as warehouse:
        warehouse.publish_nights([night(ago(n)) for n in (60, 9, 0)], models(ago(200)))
        write_reports(warehouse.query, [], folder)
        for n in (60, 9):
            (folder / f"{ago(n)}.html").write_text("a page")
        write_reports(warehouse.query, [], folder)

    def led_to() -> set[str]:
        return set(re.findall(r'href="([\d-]+)\.html"', (folder / "index.html").read_text()))

    assert led_to() == {str(ago(60)), str(ago(9))}
    before = (folder / "index.html").read_bytes()
    retain(runner, dry_run=True)
    assert (folder / "index.html").read_bytes() == before
    retain(runner)
    assert led_to() == {p.stem for p in folder.glob("2*.html")} == {str(ago(9))}
    (folder / f"{ago(9)}.html").unlink()  # as if a removal had been cut off behind its pages
    retain(runner)
    assert led_to() == set()


def test_a_night_of_which_something_is_gone_is_not_built_again(tmp_path: Path) -> None:
    runner, said = site(tmp_path, retain_lake_days=10)
    retain(runner)
    assert built_from(runner.lake) == ago(9)
    with pytest.raises(RemovedError, match=rf"{ago(30)} stays as it is: of the nights before {ago(9)} something was removed for its age"):
        runner.run("clean", ago(30))
    assert next(iter(runner.plan(ago(120), LAST))) == f"nights before {ago(9)} stay as they are: something of them was removed for its age"
    with pytest.raises(RemovedError, match=r"needs session of .*, which was removed for its age"):
        runner.window("recommend", "session", LAST, None)
    said.clear()
    later, _ = site(tmp_path, nights=(0,), retain_lake_days=20)
    retain(later)
    assert built_from(later.lake) == ago(9), "what is gone does not come back with another setting"
    runner.lake.write_bytes("_retained.json", b"{}")
    with pytest.raises(LakeError, match="does not say which nights can be built"):
        runner.run("clean", LAST)


def test_a_removal_that_was_cut_off_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner, _ = site(tmp_path, retain_lake_days=10, retain_landing_days=40)
    once, gone = Lake.remove, 0

    def remove(lake: Lake, path: str) -> None:
        nonlocal gone
        gone += 1
        if gone == 4:
            raise KeyboardInterrupt
        once(lake, path)

    monkeypatch.setattr(Lake, "remove", remove)
    with pytest.raises(KeyboardInterrupt):
        retain(runner)
    monkeypatch.undo()
    with pytest.raises(RemovedError):
        runner.run("clean", ago(30))
    retain(runner)
    assert left(runner, "event_clean") == [9, 0]
    assert not list((tmp_path / "lake" / "event_clean").glob(f"ds={ago(30)}*"))


def test_nothing_is_removed_unless_it_is_asked_for(tmp_path: Path) -> None:
    runner, said = site(tmp_path)
    retain(runner)
    assert said == ["nothing is removed: no RETAIN_…_DAYS is set"]
    assert built_from(runner.lake) is None
    for name in ("retain_lake_days", "retain_landing_days", "dp_epsilon"):
        assert getattr(Settings.model_validate({name: ""}), name) is None
    with pytest.raises(ValueError, match="greater than or equal to 36"):
        Settings.model_validate({"retain_landing_days": "7"})


def test_postgres_forgets_old_nights_too(tmp_path: Path, postgres_db: str) -> None:
    runner, said = site(tmp_path, postgres_db, retain_warehouse_days=30)
    with connect(postgres_db) as warehouse:
        warehouse.publish_nights([night(ago(60)), night(ago(0))], models(ago(200)))
        retain(runner)
        assert f"warehouse: 1 nights from {ago(60)} to {ago(60)}" in said
        assert warehouse.query("SELECT DISTINCT ds FROM user_topn")["ds"].to_pylist() == [ago(0)]
        assert warehouse.live(ago(60)) == {}
        assert unpublished(warehouse.query, ago(60)) == f"{ago(60)} was published, and removed for its age; published are {ago(0)}"
        assert unpublished(warehouse.query, ago(0)) == ""


def test_nights_of_another_secret_are_not_taken_for_those_of_this_one(tmp_path: Path) -> None:
    """Rotation is building again: until a night is cleaned with the new secret, nothing looks back on it."""
    runner, _ = site(tmp_path, nights=(2, 1, 0))
    other, _ = site(tmp_path, nights=(), user_key_secret=SecretStr("the next secret"), key_id="k2")
    for made, nights in ((runner, (2, 1, 0)), (other, (0,))):
        made.lake.create(f"_keys/{made.key}")
        for n in nights:
            made.lake.write("id_map", ago(n), empty(TABLES["id_map"]), Stamp("r", "in", (("user_key_secret", made.key),)))
    with pytest.raises(
        NotBuiltError, match=rf"needs user_item_day of {ago(2)}, {ago(1)}, landed but not built: run `python -m jobs nights"
    ):
        other.window("recommend", "user_item_day", LAST, None)
    for n in (2, 1):
        other.lake.write("id_map", ago(n), empty(TABLES["id_map"]), Stamp("r", "in", (("user_key_secret", other.key),)))
    assert other.window("recommend", "user_item_day", LAST, None) == [ago(2), ago(1), ago(0)]
    assert runner.key not in json.dumps(
        [p.read_text() for p in (tmp_path / "lake" / "id_map").rglob("_manifest.json") if "run=" not in str(p)]
    )
    # What can't be built again keeps its old names, and nobody looks at it.
    other.lake.write("id_map", ago(2), empty(TABLES["id_map"]), Stamp("r", "in", (("user_key_secret", runner.key),)))
    other.lake.write_bytes("_retained.json", json.dumps({"built_from": ago(1).isoformat()}).encode())
    assert other.window("recommend", "user_item_day", LAST, None) == [ago(1), ago(0)]


def test_the_registry_says_what_is_looked_back_on() -> None:
    found = look_back()
    assert found["user_item_day"] is None
    assert found["user_topic_day"] == 365
    assert found["event_clean"] == 1
