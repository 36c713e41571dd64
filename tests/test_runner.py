"""What a night needs, when a run is skipped, and what the plan says; on the real registry, and on a small one whose jobs take no time."""

from __future__ import annotations

import datetime as dt
import threading
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pytest
from pydantic import SecretStr

import jobs
from jobs import Job, backfill
from jobs import plan as planning
from jobs import runner as running
from jobs.night import Night
from jobs.runner import AbsentNightError, NotBuiltError, Runner
from jobs.settings import Settings
from recsys_core import registry
from recsys_core.encoders import space_of
from recsys_core.lake import LakeError, Stamp, empty
from recsys_core.tables import TABLES

D = dt.date(2026, 3, 10)


def on(day: int) -> dt.date:
    return dt.date(2026, 3, day)


class Said(list[str]):
    """What the runner said; times are left out."""

    def __call__(self, line: str) -> None:
        self.append(line.split(": ")[0] + ": " + ("up to date" if line.endswith("up to date") else "ran") if line[:2] == "20" else line)


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def runner(tmp_path: Path, said: Said) -> Runner:
    return make(tmp_path, said)


def make(folder: Path, said: Said, **settings: object) -> Runner:
    plain = {"landing": str(folder / "landing"), "lake": str(folder / "lake"), "user_key_secret": SecretStr("secret")}
    return Runner(Settings(**plain | settings), said)  # type: ignore[arg-type]


def land(runner: Runner, *days: int, lines: int = 2) -> None:
    for day in days:
        folder = Path(runner.landing.root) / f"events/ds={on(day).isoformat()}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "part.jsonl").write_text(f'{{"day": {day}}}\n' * lines)


def build(runner: Runner, table: str, *days: int, **parts: str) -> None:
    for day in days:
        runner.lake.write(table, on(day), empty(TABLES[table]), Stamp("by-hand", "h"), **parts)


def champion(runner: Runner, name: str, valid_from: dt.date, status: str = "champion") -> registry.ModelVersion:
    day = (valid_from - dt.timedelta(days=1)).isoformat()
    promoted_at = f"{valid_from.isoformat()}T00:00:00+00:00" if status != "candidate" else None
    made = registry.ModelVersion(name, "topics", day, day, valid_from.isoformat(), {}, "data", "code", None, status, promoted_at)
    return registry.register(runner.lake, made, {})


# -- look-back, on the real registry -----------------------------------------------------------------------------------------------
def test_look_back_names_the_landed_nights_that_are_not_built(runner: Runner) -> None:
    land(runner, 2, 3, 5, 6, 8, 10)
    build(runner, "user_item_day", 2, 5, 10)
    with pytest.raises(NotBuiltError) as caught:
        runner.window("profile", "user_item_day", D, None)
    assert str(caught.value) == (
        "profile of 2026-03-10 needs user_item_day of 2026-03-03, 2026-03-06, 2026-03-08, landed but not built: "
        "run `python -m jobs nights --from 2026-03-03 --to 2026-03-08` first"
    )
    build(runner, "user_item_day", 3, 6, 8)
    assert runner.window("profile", "user_item_day", D, None) == [on(d) for d in (2, 3, 5, 6, 8, 10)]


def test_nights_that_never_landed_and_nights_after_are_absent(runner: Runner) -> None:
    land(runner, 8, 10, 11, 12)
    build(runner, "user_item_day", 8, 10)
    assert runner.window("profile", "user_item_day", D, None) == [on(8), on(10)]


def test_window_is_half_open_and_no_wider_than_declared(runner: Runner) -> None:
    outside = D - dt.timedelta(days=179)
    inside = D - dt.timedelta(days=178)
    for night in (outside, inside, D):
        (Path(runner.landing.root) / f"events/ds={night.isoformat()}").mkdir(parents=True)
        runner.lake.write("user_item_day", night, empty(TABLES["user_item_day"]), Stamp("r", "h"))
    assert runner.window("profile", "user_item_day", D, None) == [inside, D]
    assert runner.window("profile", "user_item_day", D, None, back=1) == [D]
    assert runner.window("profile", "user_item_day", D, None, back=500) == [inside, D]
    assert runner.window("recommend", "user_item_day", D, None) == [outside, inside, D]


def test_a_job_reads_what_it_declares_alone(runner: Runner) -> None:
    with pytest.raises(LakeError, match=r"job aggregate does not declare that it reads user_topn"):
        runner.window("aggregate", "user_topn", D, None)


def test_lists_of_earlier_nights_are_waited_for_once_those_nights_were_requested(runner: Runner) -> None:
    land(runner, 7, 8, 9, 10)
    build(runner, "user_topn", 8, 10)
    assert runner.window("evaluate", "user_topn", D, None) == [on(8), on(10)]
    runner.request([on(9), on(6)])
    with pytest.raises(NotBuiltError, match="needs user_topn of 2026-03-09, landed"):
        runner.window("evaluate", "user_topn", D, None)
    build(runner, "user_topn", 9)
    assert runner.window("evaluate", "user_topn", D, None) == [on(8), on(9), on(10)]  # the 6th never landed


def test_tonights_own_lists_are_always_waited_for(runner: Runner) -> None:
    land(runner, 10)
    with pytest.raises(NotBuiltError, match="needs user_topn of 2026-03-10, landed"):
        runner.window("evaluate", "user_topn", D, None)


def test_a_night_that_never_landed_is_not_requested(runner: Runner) -> None:
    land(runner, 9)
    runner.request([on(9), on(10)])
    assert runner.lake.folders("_requested") == []
    assert [runner.lake.exists(f"_requested/ds=2026-03-{d}") for d in ("09", "10")] == [True, False]


def test_tables_kept_by_model_are_looked_up_under_the_nights_model(runner: Runner) -> None:
    land(runner, 9, 10)
    model = champion(runner, "m1", on(10))
    build(runner, "user_topic_day", 9, 10, model_version="m0")
    with pytest.raises(NotBuiltError, match="2026-03-09, 2026-03-10"):
        runner.window("profile", "user_topic_day", D, model)
    build(runner, "user_topic_day", 9, 10, model_version="m1")
    assert runner.window("profile", "user_topic_day", D, model) == [on(9), on(10)]
    assert runner.window("profile", "user_topic_day", D, None) == []


def test_vectors_are_looked_up_in_the_encoders_space(runner: Runner) -> None:
    land(runner, 10)
    for table in ("item_text", "user_text", "user_item_day", "declared_interest"):
        build(runner, table, 10)
    with pytest.raises(
        NotBuiltError, match=r"fit_topics of 2026-03-10 needs text_embedding .*run `python -m jobs fit_encoder --ds 2026-03-10`"
    ):
        runner.inputs("fit_topics", D, runner.models.encoder(D))
    build(runner, "text_embedding", 10, embedding_space="another")
    with pytest.raises(NotBuiltError, match="needs text_embedding of 2026-03-10"):
        runner.inputs("assign_topics", D, runner.models.encoder(D))
    build(runner, "text_embedding", 10, embedding_space=space_of(runner.settings.encoder))
    found = dict(runner.inputs("assign_topics", D, runner.models.encoder(D)))
    assert found["text_embedding"] == space_of(runner.settings.encoder)
    assert set(found) == {"text_embedding", "item_text/2026-03-10", "user_text/2026-03-10", "user_item_day/2026-03-10"} | {
        "declared_interest/2026-03-10"
    }


def test_clean_reads_the_landing_from_the_day_before_to_three_after(runner: Runner) -> None:
    land(runner, *range(6, 17))
    items = Path(runner.landing.root) / "items"
    for day in (1, 10, 11):
        (items / f"ds={on(day).isoformat()}").mkdir(parents=True)
        (items / f"ds={on(day).isoformat()}/i.csv").write_text("item_id\n")
    names = [name for name, _ in runner.inputs("clean", D, None)]
    assert names == [
        *(f"events/ds=2026-03-{d:02}/part.jsonl" for d in (9, 10, 11, 12, 13)),
        "items/ds=2026-03-01/i.csv",
        "items/ds=2026-03-10/i.csv",
        "_source.json",
    ]


def test_topic_models_of_a_night(runner: Runner) -> None:
    (encoder,) = runner.models_for("profile", D)
    assert encoder == runner.models.encoder(D), "vectors are read without a topic model, too"
    assert runner.models_for("aggregate", D) == [None]
    assert runner.models_for("assign_topics", D) == []
    assert runner.models_for("embed", D) == [encoder]
    old, valid = champion(runner, "m1", on(1), "retired"), champion(runner, "m2", on(10))
    later, latest = champion(runner, "m3", on(12)), champion(runner, "m4", D + dt.timedelta(days=365))
    champion(runner, "m5", on(13), "candidate")
    champion(runner, "m6", D + dt.timedelta(days=366))
    assert runner.models_for("profile", D) == [valid]
    # facts by model are also kept for the models to come whose window reaches back to this night
    assert runner.models_for("assign_topics", D) == [valid, later, latest]
    assert runner.models_for("assign_topics", on(9)) == [old, valid, later]


def test_a_night_that_was_built_stays_under_its_topic_model(runner: Runner, said: Said, tmp_path: Path) -> None:
    """The 10th is built under m1, the 9th without any model; then m2 takes the place of m1. Only when asked for is m2 used for the 10th."""
    land(runner, 8, 9, 10, 11)
    first = champion(runner, "m1", on(10))
    build(runner, "user_interest", 9)
    runner.lake.write("user_interest", D, empty(TABLES["user_interest"]), Stamp("by-hand", "h", models={"topics": "m1"}))
    second = champion(runner, "m2", on(10), "candidate")
    registry.promote(runner.lake, second, dt.datetime(2026, 3, 10, tzinfo=dt.UTC), dt.datetime(2026, 3, 20, tzinfo=dt.UTC))
    asked, plain = make(tmp_path, said), make(tmp_path, said)
    asked.models.use_current = True
    none = space_of(runner.settings.encoder)
    names = {
        (made is asked, job, night.day): [m.model_version if m else None for m in made.models_for(job, night)]
        for made in (plain, asked)
        for job in ("profile", "assign_topics")
        for night in (on(8), on(9), on(10), on(11))
    }
    assert {day: names[False, "profile", day] for day in (8, 9, 10, 11)} == {8: [none], 9: [none], 10: ["m1"], 11: ["m2"]}
    assert {day: names[True, "profile", day] for day in (8, 9, 10, 11)} == {8: [none], 9: [none], 10: ["m2"], 11: ["m2"]}
    # The night's own comes first. The 10th reads the nights before it under m1 as long as it stays so, and the 11th all of them under m2.
    assert [names[False, "assign_topics", day] for day in (8, 9, 10, 11)] == [["m1", "m2"], ["m1", "m2"], ["m1", "m2"], ["m2"]]
    assert [names[True, "assign_topics", day] for day in (8, 9, 10, 11)] == [["m1", "m2"], ["m1", "m2"], ["m2", "m1"], ["m2"]]
    assert plain.models.note(D) == " (pinned to m1; --use-current-models would take m2)"
    assert plain.models.note(on(9)) == plain.models.note(on(11)) == asked.models.note(D) == ""
    Path(runner.lake.path(f"{first.folder}/model.json")).unlink()
    with pytest.raises(LakeError, match=r"2026-03-10 was built under m1, which is not in .*: restore it, or .* --use-current-models"):
        plain.models.of(D)


# -- a small registry --------------------------------------------------------------------------------------------------------------
def count(night: Night, *, scale: Annotated[int, "multiplies"] = 1, device: str = "cpu") -> None:
    lines = sum(Path(night.landing.root, f).read_text().count("\n") for f in night.landing.files(night.ds))
    moment = dt.datetime.combine(night.ds, dt.time(), dt.UTC)
    row = {"ds": night.ds, "session_id": "s", "user_key": "u", "carry_id": "c", "start_ts": moment, "end_ts": moment, "n_items": 1}
    row |= {"n_events": lines * scale, "device": None, "region": None, "lang": None}
    night.write("session", pa.Table.from_pylist([row], schema=TABLES["session"].arrow_schema()))


def assign(night: Night) -> None:
    night.write("item_topic", empty(TABLES["item_topic"]))


def total(night: Night) -> None:
    seen = night.read("session", columns=["n_events"])["n_events"].to_pylist()
    row = {"ds": night.ds, "segment": "all", "user_key": "u", "score": float(sum(seen)), "reason": f"{len(seen)} nights"}
    night.write("user_segment", pa.Table.from_pylist([row], schema=TABLES["user_segment"].arrow_schema()))


def ship(night: Night) -> None:
    night.read("user_segment")


def stray(night: Night) -> None:
    night.write("user_topn", empty(TABLES["user_topn"]))


SMALL = {
    "count": Job(f"{__name__}:count", {"landing": 1}, ("session",), "python", "facts", "counts"),
    "assign": Job(f"{__name__}:assign", {"session": 1}, ("item_topic",), "python", "facts", "assigns"),
    "total": Job(f"{__name__}:total", {"session": 3}, ("user_segment",), "python", "lists", "sums"),
    "ship": Job(f"{__name__}:ship", {"user_segment": 1}, (), "python", "publish", "ships"),
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipeline is `SMALL`: facts, a table by model, a sum over three nights, and a job that keeps nothing in the lake."""
    for module, name in ((jobs, "NIGHTLY"), (running, "NIGHTLY"), (running, "JOBS"), (backfill, "NIGHTLY"), (planning, "NIGHTLY")):
        monkeypatch.setattr(module, name, SMALL)


def rows(runner: Runner, day: int) -> tuple[float, str]:
    row = runner.lake.read("user_segment", [on(day)]).to_pylist()[0]
    return row["score"], row["reason"]


@pytest.mark.usefixtures("small")
def test_nights_run_in_order_and_a_second_time_nothing_is_built(runner: Runner, said: Said) -> None:
    land(runner, 2, 3, 5, lines=2)
    runner.nights(on(1), on(6), SMALL)
    assert [rows(runner, d) for d in (2, 3, 5)] == [(2.0, "1 nights"), (4.0, "2 nights"), (4.0, "2 nights")]
    assert said[0] == "count: nights 2026-03-02 to 2026-03-05 (1 to 3 of 3)"
    assert said[-1] == "3 nights of the range never landed and are absent"
    before = {(t, d): runner.lake.manifest(t, on(d)) for t in ("session", "user_segment") for d in (2, 3, 5)}
    said.clear()
    runner.nights(on(1), on(6), SMALL)
    assert [line for line in said if line.endswith(": ran")] == [f"2026-03-0{d} {j}: ran" for j in ("assign", "ship") for d in (2, 3, 5)]
    assert {(t, d): runner.lake.manifest(t, on(d)) for t in ("session", "user_segment") for d in (2, 3, 5)} == before


@pytest.mark.usefixtures("small")
def test_nights_before_one_that_fails_are_finished_and_none_after_it_is_begun(runner: Runner, said: Said) -> None:
    land(runner, 2, 3, 4, 5)
    (Path(runner.landing.root) / "events/ds=2026-03-04/part.jsonl").write_bytes(b"\xff\n")
    with pytest.raises(UnicodeDecodeError):
        runner.nights(on(2), on(5), SMALL)
    assert [runner.lake.nights(t) for t in ("session", "user_segment")] == [[on(2), on(3)]] * 2
    assert [line for line in said if "ship: ran" in line] == ["2026-03-02 ship: ran", "2026-03-03 ship: ran"]
    land(runner, 4)
    runner.nights(on(2), on(5), SMALL)
    assert [rows(runner, d) for d in (2, 3, 4, 5)] == [(2.0, "1 nights"), (4.0, "2 nights"), (6.0, "3 nights"), (6.0, "3 nights")]


def test_nights_of_a_spark_job_run_side_by_side_in_batches(runner: Runner, monkeypatch: pytest.MonkeyPatch, said: Said) -> None:
    """Two nights meet inside the job, which they could not one after the other; the job that does many nights at once is given a batch."""
    meeting, shipped = threading.Barrier(2, timeout=20), []

    def meet(night: Night) -> None:
        meeting.wait()
        count(night)

    def ship_all(nights: list[Night], force: bool) -> None:
        assert all(night.attempt and night.attempt.number == 1 and not force for night in nights)
        shipped.append([night.ds.day for night in nights])

    pipeline = SMALL | {
        "count": replace(SMALL["count"], run=f"{__name__}:meet", runtime="spark"),
        "ship": replace(SMALL["ship"], together=f"{__name__}:ship_all"),
    }
    for name, function in (("meet", meet), ("ship_all", ship_all)):
        monkeypatch.setitem(globals(), name, function)
    for module, name in ((jobs, "NIGHTLY"), (running, "NIGHTLY"), (running, "JOBS"), (backfill, "NIGHTLY"), (planning, "NIGHTLY")):
        monkeypatch.setattr(module, name, pipeline)
    monkeypatch.setattr(backfill, "BATCH", 4)
    land(runner, *range(2, 8))
    runner.nights(on(2), on(7), pipeline, parallel=2)
    assert shipped == [[2, 3, 4, 5], [6, 7]]
    assert [rows(runner, d)[0] for d in range(2, 8)] == [2.0, 4.0, 6.0, 6.0, 6.0, 6.0]


@pytest.mark.usefixtures("small")
def test_force_builds_an_equal_partition_under_an_equal_stamp(runner: Runner, said: Said) -> None:
    land(runner, 10)
    runner.run("count", D)
    first = runner.lake.manifest("session", D)
    runner.run("count", D)
    runner.run("count", D, force=True)
    second = runner.lake.manifest("session", D)
    assert said == ["2026-03-10 count: ran", "2026-03-10 count: up to date", "2026-03-10 count: ran"]
    assert first
    assert second
    assert first.run != second.run
    assert (first.run_id, first.input_hash, first.checksum) == (second.run_id, second.input_hash, second.checksum)


@pytest.mark.usefixtures("small")
def test_stamps_of_two_lakes_are_equal(tmp_path: Path, said: Said) -> None:
    stamps = []
    for name in ("one", "two"):
        made = make(tmp_path / name, said)
        land(made, 9, 10)
        made.nights(on(9), on(10), SMALL)
        stamps.append([made.lake.manifest(t, on(d)) for t in ("session", "user_segment") for d in (9, 10)])
    for a, b in zip(*stamps, strict=True):
        assert (a.run_id, a.input_hash, a.checksum, a.inputs) == (b.run_id, b.input_hash, b.checksum, b.inputs)
        assert a.run_id.startswith(("count-202603", "total-202603"))


@pytest.mark.usefixtures("small")
def test_what_went_in_decides_and_how_it_is_computed_does_not(runner: Runner, said: Said, tmp_path: Path) -> None:
    land(runner, 10)
    runner.run("count", D)
    runner.run("count", D, device="cuda", trigger="backfill")
    make(tmp_path, said, spark_master="local[1]", warehouse="duckdb:///elsewhere", grace_s=5).run("count", D)
    assert said[1:] == ["2026-03-10 count: up to date"] * 2
    for change in ({"user_key_secret": SecretStr("other")}, {"key_id": "k2"}, {"time_zone": "Asia/Shanghai"}):
        said.clear()
        make(tmp_path, said, **change).run("count", D)
        runner.run("count", D)
        assert said == ["2026-03-10 count: ran"] * 2, change
    said.clear()
    runner.run("count", D, scale=3)
    land(runner, 13, lines=5)  # three days later: in the window
    runner.run("count", D)
    land(runner, 14, lines=5)  # outside
    runner.run("count", D)
    assert said == ["2026-03-10 count: ran", "2026-03-10 count: ran", "2026-03-10 count: up to date"]


@pytest.mark.usefixtures("small")
def test_changed_code_is_another_run(runner: Runner, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    land(runner, 10)
    runner.run("count", D)
    monkeypatch.setattr(running, "code_version", lambda: "changed")
    runner.run("count", D)
    assert said == ["2026-03-10 count: ran"] * 2
    assert runner.lake.manifest("session", D).code == "changed"  # type: ignore[union-attr]


@pytest.mark.usefixtures("small")
def test_equal_rows_upstream_spare_what_follows(runner: Runner, said: Said) -> None:
    land(runner, 10, 11)
    runner.nights(on(10), on(11), SMALL)
    land(runner, 11, lines=3)  # the 10th reads it too, but counts its own lines alone
    said.clear()
    runner.night(on(10), SMALL)
    assert [line for line in said if "ship" not in line and "assign" not in line] == [
        "2026-03-10 count: ran",
        "2026-03-10 total: up to date",
    ]


@pytest.mark.usefixtures("small")
def test_facts_in_any_order_then_what_looks_back_equals_forward_order(tmp_path: Path, said: Said) -> None:
    forward, backward = make(tmp_path / "f", said), make(tmp_path / "b", said)
    for made in (forward, backward):
        for day in (3, 4, 5, 7):
            land(made, day, lines=day)
    forward.nights(on(3), on(7), SMALL)
    for day in (7, 4, 3, 5):
        backward.night(on(day), ["count"])
    for day in (7, 5, 3, 4):
        backward.night(on(day), ["total"])
    for day in (3, 4, 5, 7):
        assert forward.lake.manifest("user_segment", on(day)).checksum == backward.lake.manifest("user_segment", on(day)).checksum  # type: ignore[union-attr]


@pytest.mark.usefixtures("small")
def test_a_night_that_never_landed_cannot_be_run(runner: Runner) -> None:
    with pytest.raises(AbsentNightError, match=r"nothing was landed for 2026-03-10: no .*/events/ds=2026-03-10"):
        runner.night(D, SMALL)
    with pytest.raises(AbsentNightError, match="nothing was landed from 2026-03-01 to 2026-03-10"):
        runner.nights(on(1), D, SMALL)
    assert not runner.lake.exists("_requested/ds=2026-03-10")


@pytest.mark.usefixtures("small")
def test_an_earlier_night_not_built_stops_the_run_by_name(runner: Runner) -> None:
    land(runner, 9, 10)
    runner.run("count", D)
    with pytest.raises(NotBuiltError, match="total of 2026-03-10 needs session of 2026-03-09, landed but not built"):
        runner.run("total", D)
    assert runner.lake.nights("user_segment") == []


@pytest.mark.usefixtures("small")
def test_a_job_writes_what_it_declares_alone(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SMALL, "stray", Job(f"{__name__}:stray", {"landing": 1}, ("session",), "python", "facts", "strays"))
    land(runner, 10)
    with pytest.raises(LakeError, match="job stray does not declare that it writes user_topn"):
        runner.run("stray", D)


# -- the plan ----------------------------------------------------------------------------------------------------------------------
def plan(runner: Runner, first: int, last: int) -> tuple[dict[str, str], dict[str, str]]:
    """(lines by night and job, summary by job)"""
    split = [line.split(": ", 1) for line in runner.plan(on(first), on(last))]
    return {k: v for k, v in split if k[:2] == "20"}, {k: v for k, v in split if k[:2] != "20"}


@pytest.mark.usefixtures("small")
def test_plan_of_an_empty_lake_is_to_build_everything_and_writes_nothing(runner: Runner) -> None:
    land(runner, 9, 10)
    lines, summary = plan(runner, 1, 10)
    assert lines["2026-03-09 count"] == lines["2026-03-10 total"] == "to build (never built)"
    assert lines["2026-03-09 assign"] == f"nothing to do ({running.NO_MODEL})"
    assert lines["2026-03-09 ship"] == "stale: inputs changed (user_segment/2026-03-09)"
    assert summary == {"count": "2 to build", "assign": "2 without a model", "total": "2 to build", "ship": "2 stale"}
    assert not Path(runner.lake.root).exists()


@pytest.mark.usefixtures("small")
def test_plan_after_the_nights_has_nothing_to_do(runner: Runner) -> None:
    champion(runner, "m1", on(10))
    land(runner, 9, 10, 11)
    runner.nights(on(9), on(11), SMALL)
    lines, summary = plan(runner, 9, 11)
    assert lines["2026-03-09 assign (m1)"] == lines["2026-03-10 total"] == "up to date"
    assert lines["2026-03-10 ship"] == "runs every time (it keeps nothing in the lake)"
    assert summary == {"count": "3 up to date", "assign": "3 up to date", "total": "3 up to date", "ship": "3 run every time"}


@pytest.mark.usefixtures("small")
def test_plan_of_a_correction_names_what_changed_and_the_later_nights_that_look_back_on_it(runner: Runner) -> None:
    champion(runner, "m1", on(1))
    land(runner, *range(1, 16))
    runner.nights(on(1), on(15), SMALL)
    land(runner, 5, lines=7)
    lines, summary = plan(runner, 5, 5)
    assert lines == {
        "2026-03-05 count": "stale: inputs changed (events/ds=2026-03-05/part.jsonl)",
        "2026-03-05 assign (m1)": "stale: inputs changed (session/2026-03-05)",
        "2026-03-05 total": "stale: inputs changed (session/2026-03-05)",
        "2026-03-05 ship": "stale: inputs changed (user_segment/2026-03-05)",
        # the 6th reads the landing of the day before, and its own facts follow; the 7th and 8th sum over it
        "2026-03-06 count": "stale: inputs changed (events/ds=2026-03-05/part.jsonl)",
        "2026-03-06 assign (m1)": "stale: inputs changed (session/2026-03-06)",
        "2026-03-06 total": "stale: inputs changed (session/2026-03-05, session/2026-03-06)",
        "2026-03-06 ship": "stale: inputs changed (user_segment/2026-03-06)",
        "2026-03-07 total": "stale: inputs changed (session/2026-03-05, session/2026-03-06)",
        "2026-03-07 ship": "stale: inputs changed (user_segment/2026-03-07)",
        "2026-03-08 total": "stale: inputs changed (session/2026-03-06)",
        "2026-03-08 ship": "stale: inputs changed (user_segment/2026-03-08)",
    }
    assert summary == {"count": "2 stale", "assign": "2 stale", "total": "4 stale", "ship": "4 stale"}
    runner.nights(on(2), on(8), SMALL)
    assert all("stale" not in line for line in plan(runner, 1, 15)[0].values())


@pytest.mark.usefixtures("small")
def test_plan_tells_changed_code_from_changed_inputs(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    land(runner, 10)
    runner.night(D, SMALL)
    monkeypatch.setattr(running, "code_version", lambda: "changed")
    lines, _ = plan(runner, 10, 10)
    assert lines["2026-03-10 count"] == "stale: code or config changed"
    assert lines["2026-03-10 total"] == "stale: inputs changed (session/2026-03-10)"


@pytest.mark.usefixtures("small")
def test_plan_says_what_a_night_waits_for(runner: Runner) -> None:
    land(runner, 8, 9, 10)
    lines, summary = plan(runner, 10, 10)
    assert lines["2026-03-10 count"] == "to build (never built)"
    assert lines["2026-03-10 total"] == "waits for session/2026-03-08, session/2026-03-09"
    assert lines["2026-03-10 ship"] == "waits for user_segment/2026-03-10"
    assert summary["total"] == "1 waiting"


def test_code_version_is_stable_and_short() -> None:
    assert running.code_version() == running.code_version()
    assert len(running.code_version()) == 16
