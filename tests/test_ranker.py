"""The job that fits the blend, on a small lake of literal nights: what it registers, promotes, says and refuses."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jobs.runner import ParameterError, Runner
from jobs.settings import Settings
from recsys_core import registry
from recsys_core.experiments import assign
from recsys_core.lake import Stamp
from recsys_core.ranking import ranker, training
from recsys_core.ranking.blender import Blend
from recsys_core.recommenders.history import build, reduce_night
from recsys_core.tables import TABLES

D, DAY = dt.date(2026, 3, 2), dt.timedelta(days=1)
NIGHTS, ITEMS, USERS = 24, 60, 90
TABLES_READ = ("user_item_day", "session", "item", "category", "item_text")


def table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows of a table; what a row leaves out is null, or zero for numbers that must be there."""
    schema = TABLES[name].arrow_schema()
    zeros = {f.name: 0 for f in schema if not f.nullable and (pa.types.is_integer(f.type) or pa.types.is_floating(f.type))}
    zeros |= {f.name: [] for f in schema if not f.nullable and pa.types.is_list(f.type)}
    return pa.Table.from_pylist([dict.fromkeys(schema.names) | zeros | r for r in rows], schema)


def lake_of(folder: Path, nights: int = NIGHTS, shuffled: bool = False, seed: int = 4) -> tuple[Runner, list[str]]:
    """A lake of users who walk one ring of items, a step a night from a place of their own; mixed up, they go anywhere."""
    rng, said = np.random.default_rng(seed), list[str]()
    start, anywhere = rng.integers(0, ITEMS, USERS), rng.integers(0, ITEMS, (nights, USERS))
    values = {"landing": folder / "landing", "lake": folder / "lake", "warehouse": f"duckdb:///{folder}/w.duckdb"}
    settings = Settings.model_validate({k: str(v) for k, v in values.items()} | {"user_key_secret": "of the tests", "encoder": "lsa"})
    runner = Runner(settings, said.append)
    for night in range(nights):
        ds = D + night * DAY
        (Path(runner.landing.root) / "events" / f"ds={ds}").mkdir(parents=True)
        met = anywhere[night] if shuffled else (start + night) % ITEMS
        at = dt.datetime.combine(ds, dt.time(12), dt.UTC)
        facts = [
            {"ds": ds, "user_key": f"u{u:02}", "item_id": f"i{i:02}", "n_view": 1, "n_events": 1, "last_event_ts": at}
            for u, i in enumerate(met.tolist())
        ]
        item = {"ds": ds, "deleted": False, "lang": "en", "valid_from_ds": D, "first_ds": D}
        made = {
            "user_item_day": facts,
            "item": [item | {"item_id": f"i{i:02}", "title": f"item {i}"} for i in range(ITEMS)],
        }
        for name in TABLES_READ:
            runner.lake.write(name, ds, table(name, made.get(name, [])), Stamp(f"by-hand-{ds}", "h"))
    return runner, said


def test_a_ranker_is_fitted_judged_promoted_and_used(tmp_path: Path) -> None:
    runner, said = lake_of(tmp_path)
    last = D + (NIGHTS - 1) * DAY
    runner.run("fit_ranker", last, sources="popularity,content,transitions")
    (version,) = registry.versions(runner.lake, ranker.KIND)
    assert (version.status, version.valid_from_ds, version.train_from) == ("champion", str(last + DAY), str(D))
    assert version.params["in_use"] is None
    assert set(version.params["coefficients"]["many"]) == {"popularity", "content", "transitions"}
    gate = version.params["measured"][training.GATE]
    assert gate["in_use_diff"][1] > 0
    assert gate["value"][0] == pytest.approx(gate["popularity"][0] + gate["popularity_diff"][0], abs=2e-6)
    assert any("fit_ranker: users of many events: 0." in line and " transitions" in line for line in said)
    assert any(f"{version.model_version}: promoted" in line for line in said)
    assert registry.promotions(runner.lake, ranker.KIND)[0]["action"] == "promote"

    runner.run("fit_ranker", last, sources="popularity,content,transitions")  # equal training, equal name: nothing is done
    assert any(line.endswith(f"fit_ranker: {version.model_version}") for line in said)
    with pytest.raises(ParameterError, match="no recommender is named magic: there are transitions"):
        runner.run("fit_ranker", last, sources="popularity,magic")

    # A night uses it from the next one on, with its own sources whatever the setting says.
    facts = runner.lake.read("user_item_day", [D + n * DAY for n in range(NIGHTS)])
    past = build(reduce_night(facts), [], last)
    assert registry.valid_for(runner.lake, ranker.KIND, last) is None
    wanted = training.Sources(("popularity", "sasrec"), {}, 0)
    for found, names in ((None, ["popularity"]), (version, ["content", "popularity", "transitions"])):
        blend, sources = ranker.sources_for(runner.lake, found, wanted, past.interactions, past.items)
        assert list(sources) == list(blend.sources) == names
        assert sources["popularity"].scores(np.arange(3)).shape == (3, ITEMS)
    assert blend == Blend(version.params["coefficients"], version.params["sharpness"])
    with pytest.raises(ValueError, match="of sasrec none learns in a night"):
        ranker.sources_for(runner.lake, None, training.Sources(("sasrec",), {}, 0), past.interactions, past.items)


def test_noise_is_not_promoted_and_too_little_is_said(tmp_path: Path) -> None:
    runner, said = lake_of(tmp_path, 16, shuffled=True, seed=6)
    runner.run("fit_ranker", D + DAY)
    assert said[0] == f"{D + DAY} fit_ranker: 2 nights, after which fewer than 50 users turned to something new: no ranker"
    assert registry.versions(runner.lake, ranker.KIND) == []
    runner.run("fit_ranker", D + 15 * DAY)
    assert [v.status for v in registry.versions(runner.lake, ranker.KIND)] == ["candidate"]
    assert any(line.endswith(": not promoted") for line in said)


def test_each_arm_of_an_experiment_gets_lists_of_its_own(tmp_path: Path) -> None:
    runner, _ = lake_of(tmp_path)
    last = D + (NIGHTS - 1) * DAY
    for n in range(NIGHTS):
        ds = D + n * DAY
        runner.lake.write("user_item_context_day", ds, table("user_item_context_day", []), Stamp(f"by-hand-{ds}", "h"))
    for name in ("user_interest", "user_interest_expansion"):
        runner.lake.write(name, last, table(name, []), Stamp(f"by-hand-{last}", "h"))
    arms = "[a.arms.as_before]\nshare = 0.5\n[a.arms.crowd]\nshare = 0.5\nnew_for_you = 0\nsources = { popularity = 1.0, ease = 0.5 }\n"
    (tmp_path / "experiments.toml").write_text(f'[a]\nsalt = "x"\nfrom = {last}\nto = {last}\n{arms}')
    runner.settings = Settings.model_validate(runner.settings.model_dump() | {"experiments_file": str(tmp_path / "experiments.toml")})
    runner.run("recommend", last)
    rows = runner.lake.read("user_topn", [last]).to_pylist()
    running = runner.settings.experiments.running(last)
    assert running is not None
    users = [f"u{u:02}" for u in range(USERS)]
    of = dict(zip(users, assign(users, running).tolist(), strict=True))
    mine = [r for r in rows if r["user_key"] != "*"]
    assert {(r["user_key"], r["variant"]) for r in mine} == {(u, ("as_before", "crowd")[of[u]]) for u in users}
    versions = {arm: {r["model_version"] for r in mine if r["variant"] == arm} for arm in ("as_before", "crowd")}
    assert len(versions["as_before"] | versions["crowd"]) == 2
    found = {arm: {r["source"] for r in mine if r["variant"] == arm and r["list_name"] == "for_you"} for arm in versions}
    assert "transitions" in found["as_before"] - found["crowd"]
    assert found["crowd"] <= {"popularity", "ease"}
    walked = [r for r in mine if r["list_name"] == "for_you" and r["rank"] == 1 and r["variant"] == "as_before"]
    ahead = {r["user_key"]: int(r["item_id"][1:]) for r in walked}
    start = np.random.default_rng(4).integers(0, ITEMS, USERS)
    near = [(item - start[int(user[1:])] - NIGHTS) % ITEMS < 6 for user, item in ahead.items()]
    assert np.mean(near) > 0.9, "what comes next on the ring comes first"
    runner.run("recommend", last)
    assert runner.lake.read("user_topn", [last]).to_pylist() == rows
    with runner.lake.fs.open(runner.lake.path(f"user_topn/ds={last}/_manifest.json")) as file:
        assert "experiments" in file.read().decode()
